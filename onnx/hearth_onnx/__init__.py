"""Builds the ONNX graphs of Gemma 4 for hearth.

The package turns a Hugging Face ``Gemma4Config`` and a source of weights into a
model folder: ``audio_encoder``, ``embed_tokens`` and the decoder, either merged
(the published interface) or split into ``decoder_lower`` and ``decoder_upper``, with
``audio_stream`` beside the encoder.

Building needs ``onnx``, ``onnx_ir`` and ``numpy``; ``selftest`` also needs
``onnxruntime``; only ``parity`` and ``goldens`` need ``torch`` and ``transformers``.
"""

FORMAT = 1
"""Version of ``manifest.json`` that this package writes."""
