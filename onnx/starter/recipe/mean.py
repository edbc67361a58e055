"""The mean of two model folders' weights, written into the second: `python mean.py FOLDER FOLDER`."""

import sys
from pathlib import Path

from safetensors.torch import load_file, save_file


def main():
    first, second = (Path(a) / "model.safetensors" for a in sys.argv[1:3])
    a, b = load_file(first), load_file(second)
    mean = {k: ((a[k].float() + b[k].float()) / 2).half() for k in b}
    save_file(mean, second, metadata={"format": "pt"})


if __name__ == "__main__":
    main()
