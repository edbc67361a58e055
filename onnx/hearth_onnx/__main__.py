"""``python -m hearth_onnx``: see :mod:`hearth_onnx.cli`."""

import sys

from .cli import main

sys.exit(main())
