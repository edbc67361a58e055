"""Measures the graphs against transformers on small random configs, and prints a table.

Errors are ``max|a-b| / max|b|`` per tensor, the worst over tensors of a kind. Fails above
:data:`LIMIT` for fp32, and for 4 bit at level 0 against the reference on the same rounded
weights; the loss through rounding itself is only reported.
"""

import json
import tempfile
from pathlib import Path

import numpy as np

from . import config as configs
from . import signals
from .folder import Recipe, build
from .precision import Precision, parse_parts
from .reference import Reference, features
from .runner import Folder
from .weights import RandomWeights

LIMIT = 1e-4
TOKENS = 40
KINDS = ("audio", "stream", "prompt", "steps", "kv")
SEED = 1
CLIPS = {
    "1.0 s": {"samples": 16000, "sines": [[220, 0.2], [660, 0.1]], "noise": 0.02, "gate_samples": 1900},
    "2.7 s": {"samples": 43211, "sines": [[330, 0.1]], "noise": 0.1, "seed": 7, "gate_samples": 5000},
}


def error(ours: np.ndarray, reference: np.ndarray) -> float:
    """The measure of this check."""
    ours = ours.astype(np.float32)
    assert ours.shape == reference.shape, (ours.shape, reference.shape)
    return float(np.abs(ours - reference).max() / np.abs(reference).max())


def prompt_ids(config: configs.Config, tokens: int) -> list[int]:
    """bos, a user turn with ``tokens`` audio rows, the start of the model's turn (tiny ids)."""
    raw = config.raw
    audio = [raw["boa_token_id"], *[raw["audio_token_id"]] * tokens, raw["eoa_token_index"]]
    return [2, 15, 377, 280, *audio, 16, 280, 15, 382, 280]


def compare(config: configs.Config, folder: Folder, reference: Reference) -> dict[str, float]:
    """Worst errors over the clips: audio rows, whole and streamed in random blocks, all logits of
    the prompt, logits of the steps while both choose alike, KV; and how many ids agree."""
    worst = {"audio": 0.0, "prompt": 0.0, "steps": 0.0, "kv": 0.0, "same ids": TOKENS}
    for clip in CLIPS.values():
        mel, mask = features(signals.make(**clip))
        expected = reference.encode(mel, mask)
        audio = folder.encode(mel, mask)
        worst["audio"] = max(worst["audio"], error(audio, expected))
        if not folder.merged:
            cuts = np.random.default_rng(SEED).choice(range(1, len(audio)), 6, replace=False)
            streamed = folder.hear_blocks(mel[mask], sorted(cuts))
            worst["stream"] = max(worst.get("stream", 0.0), error(streamed, expected))

        ids = prompt_ids(config, len(expected))
        rows, per_layer = folder.embed(ids, audio)
        all_expected, _ = reference.prefill(ids, mel, mask)
        logits, _ = folder.step(rows, per_layer, folder.empty(), keep=0)
        worst["prompt"] = max(worst["prompt"], error(logits[0], all_expected))

        new, steps, kv = reference.generate(ids, mel, mask, TOKENS)
        ours, our_steps, past = folder.generate(rows, per_layer, TOKENS)
        same = next((i for i, (a, b) in enumerate(zip(ours, new)) if a != b), TOKENS)
        worst["same ids"] = min(worst["same ids"], same)
        for index in range(min(same + 1, TOKENS)):
            worst["steps"] = max(worst["steps"], error(our_steps[index], steps[index]))
        keep = len(ids) if same < TOKENS else None
        for name, value in kv.items():
            pair = past[name][:, :, :keep], value[:, :, :keep]
            worst["kv"] = max(worst["kv"], error(*pair))
    return worst


def cases():
    """``(label, config, layout, precision of the graphs, precision of the reference)``."""
    fp32, q4 = Precision(), Precision(4, 32, 0)
    for name in ("tiny", "tiny-e2b"):
        for layout in ("split", "merged"):
            yield f"{name} {layout} fp32", name, layout, "fp32", fp32
        yield f"{name} split q4b32a0, same rounded weights", name, "split", "q4b32a0", q4
        yield f"{name} split q8b32a4, unrounded reference", name, "split", "q8b32a4", fp32
        yield f"{name} split q4b32a4, unrounded reference", name, "split", "q4b32a4", fp32


def run(report: Path | None) -> None:
    """Prints the table; raises ``ValueError`` if a strict row is over the limit."""
    results = {}
    print(f"{'case':50} {'audio':>9} {'stream':>9} {'prompt':>9} {'steps':>9} {'kv':>9}  same ids")
    for label, name, layout, precision, reference_precision in cases():
        config, weights = configs.load(name), RandomWeights(SEED)
        reference = Reference(config, weights, reference_precision)
        with tempfile.TemporaryDirectory() as folder:
            recipe = Recipe(config, weights, name, parse_parts(precision), layout, 512)
            build(recipe, Path(folder))
            worst = compare(config, Folder(folder), reference)
        results[label] = worst
        numbers = " ".join(f"{worst.get(key, float('nan')):9.1e}" for key in KINDS)
        print(f"{label:50} {numbers}  {worst['same ids']}/{TOKENS}", flush=True)
        if "unrounded" not in label:
            over = {key: worst[key] for key in KINDS if worst.get(key, 0.0) > LIMIT}
            if over or worst["same ids"] < TOKENS:
                raise ValueError(f"{label}: {over or worst['same ids']} is outside {LIMIT}")
    if report:
        report.write_text(json.dumps(results, indent=1) + "\n")
