"""Writes the numbers that the Rust tests compare with: ``features.json`` and ``tiny.json``.

Both come from transformers alone (its feature extractor, its model with our seeded weights);
our graphs have no part in them. The signals are those of :mod:`hearth_onnx.signals`.
"""

import json
from pathlib import Path

import numpy as np
import tokenizers
import torch
import transformers

from . import config as configs
from . import signals
from .fixtures import SEED
from .precision import Precision
from .reference import Reference, features
from .tokenizer import tiny_tokenizer
from .weights import RandomWeights

COMMAND = "PYTHONPATH=onnx python -m hearth_onnx goldens --out tests/fixtures/goldens"
CHORD = [[196.0, 0.2], [392.0, 0.15], [1174.7, 0.1], [3520.0, 0.05]]
TOKENS = 40
FEATURE_CASES = {
    "silence 0.1 s": {"samples": 1600},
    "tone 0.1 s": {"samples": 1600, "sines": [[440.0, 0.5]]},
    "tone 1 s": {"samples": 16000, "sines": [[440.0, 0.5]]},
    "chord 0.33 s": {"samples": 5281, "sines": CHORD},
    "chord and noise 2.7 s": {"samples": 43211, "sines": CHORD, "noise": 0.01, "seed": 5},
    "noise 0.5 s": {"samples": 8000, "noise": 0.5, "seed": 2},
    "quiet noise 1.001 s": {"samples": 16017, "noise": 0.0005, "seed": 3},
    "full scale 0.77 s": {"samples": 12345, "sines": [[7900.0, 0.5]], "noise": 0.5, "seed": 4},
    "stretches 9.1 s": {"samples": 145840, "sines": CHORD, "noise": 0.02, "gate_samples": 4001},
    "silence 30 s": {"samples": 480000},
    "tone and noise 30 s": {"samples": 480000, "sines": [[1000.0, 0.3]], "noise": 0.1, "seed": 6},
}
CLIP = {"samples": 23517, "sines": [[220.0, 0.2], [660.0, 0.1]], "noise": 0.02, "seed": 9, "gate_samples": 1900}
PROMPT_HEAD, PROMPT_TAIL = "<bos><|turn>user\n<|audio>", "<audio|><turn|>\n<|turn>model\n"


def write(out: Path) -> None:
    """Writes both files under ``out``."""
    out.mkdir(parents=True, exist_ok=True)
    _save(out / "features.json", feature_goldens())
    _save(out / "tiny.json", tiny_goldens())


def _save(path: Path, value: dict) -> None:
    """One line for each entry of the second level."""
    lines = []
    for key, entry in value.items():
        if isinstance(entry, dict):
            inner = ",\n".join(f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in entry.items())
            lines.append(f" {json.dumps(key)}: {{\n{inner}\n }}")
        else:
            lines.append(f" {json.dumps(key)}: {json.dumps(entry)}")
    path.write_text("{\n" + ",\n".join(lines) + "\n}\n")
    print(f"{path}: {path.stat().st_size / 1000:.0f} kB")


def _made_with() -> dict:
    return {
        "command": COMMAND,
        "signal": " ".join(signals.__doc__.split()),
        "transformers": transformers.__version__,
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def _numbers(values: np.ndarray) -> list:
    """f32 values with 7 significant digits."""
    if values.ndim > 1:
        return [_numbers(row) for row in values]
    return [float(f"{value:.7g}") for value in values]


def _summary(mel: np.ndarray, mask: np.ndarray, row_indices: list[int]) -> dict:
    """Counts and statistics of the valid rows, and some rows whole."""
    valid = mel[mask].astype(np.float64)
    return {
        "frames": int(len(mel)),
        "valid_frames": int(mask.sum()),
        "mean": float(valid.mean()),
        "deviation": float(valid.std()),
        "min": float(valid.min()),
        "max": float(valid.max()),
        "bin_means": _numbers(valid.mean(0)),
        "rows": {str(index): _numbers(mel[index]) for index in row_indices},
    }


def feature_goldens() -> dict:
    """The extractor on every case; one more with a mean and deviation for each bin."""
    value = {"made_with": _made_with(), "cases": {}}
    for name, signal in FEATURE_CASES.items():
        mel, mask = features(signals.make(**signal))
        last = int(mask.sum()) - 1
        indices = sorted({0, last // 2, last})
        value["cases"][name] = {"signal": signal, **_summary(mel, mask, indices)}
    bins = np.arange(128)
    mean, deviation = -3 + bins / 64, 1 + bins / 128
    signal = FEATURE_CASES["chord and noise 2.7 s"]
    mel, mask = features(
        signals.make(**signal), per_bin_mean=mean.tolist(), per_bin_stddev=deviation.tolist()
    )
    value["normalised"] = {
        "per_bin_mean": "-3 + bin / 64",
        "per_bin_stddev": "1 + bin / 128",
        "signal": signal,
        **_summary(mel, mask, [0, 100]),
    }
    return value


def tiny_goldens() -> dict:
    """The tiny model on one clip, through transformers: fp32 weights, and the weights as 4 bit
    in blocks of 32 rounds them (what the graphs at q4b32a0 hold)."""
    config = configs.load("tiny")
    mel, mask = features(signals.make(**CLIP))
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(tiny_tokenizer(config.text.vocabulary)))
    encode = lambda text: tokenizer.encode(text, add_special_tokens=False).ids  # noqa: E731
    value = {
        "made_with": _made_with(),
        "clip": {"signal": CLIP, **_summary(mel, mask, [0, 50])},
    }
    prompt = None
    for label, precision in {"fp32": Precision(), "q4b32a0": Precision(4, 32, 0)}.items():
        reference = Reference(config, RandomWeights(SEED), precision)
        audio = reference.encode(mel, mask)
        if prompt is None:
            ids = encode(PROMPT_HEAD) + [config.raw["audio_token_id"]] * len(audio) + encode(PROMPT_TAIL)
            prompt = {"head": PROMPT_HEAD, "tail": PROMPT_TAIL, "audio_tokens": len(audio), "ids": ids}
            value["prompt"] = prompt
        value[label] = _model_goldens(reference, audio, prompt["ids"], mel, mask, label == "fp32")
    return value


def _model_goldens(reference: Reference, audio, ids, mel, mask, whole: bool) -> dict:
    """Encoder rows, first logits, the greedy answer, and rows of the KV at the end."""
    new, logits, kv = reference.generate(ids, mel, mask, TOKENS)
    ordered = np.sort(logits, -1)
    gap = float((ordered[:, -1] - ordered[:, -2]).min())
    print(f"least gap between the best two logits of a step: {gap:.3f}")
    fed = len(ids) + TOKENS - 1
    positions = [0, len(ids) // 2, len(ids) - 1, fed - 1]
    return {
        "audio_rows": _numbers(audio if whole else audio[:3]),
        "first_logits": _numbers(logits[0]),
        "greedy_ids": new,
        "best_logits": _numbers(logits.max(-1)),
        "least_gap": gap,
        "kv_positions": positions,
        "kv": {
            name.removeprefix("past_key_values."): [
                _numbers(value[0, :, position].ravel()) for position in positions
            ]
            for name, value in kv.items()
        },
        "kv_rows": fed,
    }
