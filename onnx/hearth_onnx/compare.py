"""What a recipe changes in a trained model that hears: its choices token by token, and its calls.

The model is built anew as fp32 and under each recipe, in temporary folders, with the files and flags of
its own. *Choices*: every model is given the prompt and the fp32 model's own greedy answer, and at each
step its best token is compared, without the grammar that keeps calls valid. *Calls*: ``hearth eval``
hears the same clips with each folder.

Reading clips needs ``soundfile`` (``onnx/starter/requirements.txt``); the front end is that of the
model's training recipe.
"""

import importlib.util
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np
from onnxruntime.capi.onnxruntime_pybind11_state import Fail

from . import config as configs
from .folder import FLAGS, SIDE_FILES, Recipe, build
from .precision import PARTS, Precision
from .recipes import Stored
from .runner import Folder
from .weights import HfCheckpoint

BEFORE = ("<bos>", "<|turn>", "user", "\n", "<|audio>")
AFTER = ("<audio|>", "<turn|>", "\n", "<|turn>", "model", "\n")
"""The prompt around the audio rows."""
MAX_STEPS = 64
"""Longest answer; a call has about 15 tokens."""
SOUNDS = (".wav", ".flac")
NO_TOOL = "-"
"""No tool has this name: a clip labelled so is never right, and is reported with what was heard."""


def run(model: Path, clips: Path, limit: int, hearth: Path, recipes: list[Stored]) -> None:
    """Prints the table."""
    files = sorted(path for path in clips.iterdir() if path.suffix in SOUNDS)[:limit]
    if not files:
        raise ValueError(f"{clips}: no clips")
    labels = clips / "labels.json"
    labels = json.loads(labels.read_text()) if labels.exists() else {}
    prompts = [(mel, _ids(model, len(mel))) for mel in map(_front_end(model), files)]
    fp32 = Stored("fp32", "", dict.fromkeys(PARTS, Precision()))
    rows, first = [], None
    for recipe in (fp32, *recipes):
        with tempfile.TemporaryDirectory() as name:
            out = Path(name) / "model"
            try:
                build(_as_stored(model, recipe), out)
                folder = Folder(out)
            except (ValueError, Fail) as reason:
                if first is None:
                    raise
                rows.append([recipe.name, f"does not fit: {str(reason).splitlines()[0]}", *[""] * 3])
                continue
            if first is None:
                answers = [_greedy(folder, *prompt) for prompt in prompts]
            chosen = [_choices(folder, *pair) for pair in zip(prompts, answers)]
            calls = _calls(hearth, out, files)
            size = sum(path.stat().st_size for path in (out / "onnx").iterdir())
        first = first or (chosen, calls)
        same = np.concatenate([a == b for a, b in zip(chosen, first[0])])
        alike = sum(calls[file.name] == first[1][file.name] for file in files)
        right = [_right(calls[file.name], labels[file.name]) for file in files if file.name in labels]
        rows.append([
            recipe.name,
            f"{size / 1e6:.2f}",
            f"{same.sum()} of {len(same)} ({same.mean():.1%})",
            f"{alike} of {len(files)} ({alike / len(files):.1%})",
            f"{sum(right)} of {len(right)}" if right else "no labels",
        ])
        print(f"{recipe.name} done", flush=True)
    print("\n| recipe | MB of graphs | same best token as fp32 | same calls as fp32 | right |\n|---|---|---|---|---|")
    print("\n".join(f"| {' | '.join(row)} |" for row in rows))


def _as_stored(model: Path, recipe: Stored) -> Recipe:
    """The model as its manifest has it, but for the precision."""
    manifest = json.loads((model / "manifest.json").read_text())
    return Recipe(
        config=configs.load(str(model)),
        weights=HfCheckpoint(model),
        name=recipe.name,
        precision=recipe.precision,
        max_context=manifest["max_context"],
        flags={flag: manifest[flag] for flag in FLAGS},
        copies={name: model / name for name in SIDE_FILES if (model / name).exists()},
        vocabulary=manifest.get("vocabulary"),
        quiet_bias=manifest.get("quiet_bias", 0.0),
        min_margin=manifest.get("min_margin"),
    )


def _front_end(model: Path):
    """From a clip to its log-mel frames ``[T,mel]``, normalised per bin."""
    try:
        import soundfile
    except ImportError:
        raise ValueError("reading clips needs soundfile: pip install soundfile") from None
    spec = importlib.util.spec_from_file_location("features", model / "recipe/features.py")
    features = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(features)
    extractor = json.loads((model / "processor_config.json").read_text())["feature_extractor"]
    mean, deviation = (np.float32(extractor[f"per_bin_{name}"]) for name in ("mean", "stddev"))

    def log_mel(path: Path) -> np.ndarray:
        samples, rate_hz = soundfile.read(path, dtype="float32")
        if rate_hz != features.RATE or samples.ndim != 1:
            raise ValueError(f"{path}: must be mono, {features.RATE} Hz")
        return (features.log_mel(samples) - mean) / deviation

    return log_mel


def _ids(model: Path, frames: int) -> list[int]:
    """The prompt of a clip, spelled as the model's tokenizer has it: each piece is one token."""
    pieces = [piece for piece, _ in json.loads((model / "tokenizer.json").read_text())["model"]["vocab"]]
    before, after = ([pieces.index(piece) for piece in part] for part in (BEFORE, AFTER))
    audio = json.loads((model / "config.json").read_text())["audio_token_id"]
    return [*before, *[audio] * -(-frames // 4), *after]


def _prefill(folder: Folder, mel: np.ndarray, ids: list[int]):
    """``(logits, past)`` behind the prompt."""
    rows = folder.embed(ids, folder.encode(mel, np.ones(len(mel), bool)))
    return folder.step(*rows, folder.empty())


def _greedy(folder: Folder, mel: np.ndarray, ids: list[int]) -> list[int]:
    """The answer, with the token that ends it."""
    stops = set(np.atleast_1d(folder.config["eos_token_id"]).tolist())
    (logits, past), answer = _prefill(folder, mel, ids), []
    while len(answer) < MAX_STEPS and not stops.intersection(answer):
        answer.append(int(logits[0, -1].argmax()))
        logits, past = folder.step(*folder.embed(answer[-1:]), past)
    return answer


def _choices(folder: Folder, prompt: tuple[np.ndarray, list[int]], answer: list[int]) -> np.ndarray:
    """The best token at each step of a given answer."""
    logits, past = _prefill(folder, *prompt)
    best = [logits[0, -1].argmax()]
    for token in answer[:-1]:
        logits, past = folder.step(*folder.embed([token]), past)
        best.append(logits[0, -1].argmax())
    return np.array(best)


def _calls(hearth: Path, model: Path, files: list[Path]) -> dict[str, list]:
    """What ``hearth eval`` heard in each clip."""
    with tempfile.TemporaryDirectory() as name:
        for file in files:
            (Path(name) / file.name).symlink_to(file.resolve())
        labels = {file.name: {"intent": NO_TOOL} for file in files}
        (Path(name) / "labels.json").write_text(json.dumps(labels))
        command = [str(hearth.resolve()), "--model", str(model), "eval", name, "--json"]
        done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise ValueError(f"{' '.join(command)}: {done.stderr.strip()}")
    report = json.loads(done.stdout)
    failed = [miss for miss in report["misses"] if miss["error"]]
    if failed or len(report["misses"]) != len(files):
        raise ValueError(f"hearth eval: not every clip was heard: {failed[:1]}")
    return {miss["file"]: miss["heard"] for miss in report["misses"]}


def _right(calls: list, label: dict) -> bool:
    """Is every labelled call there with all its slots, and no other?"""
    wanted = label.get("calls", [label] if label.get("intent") else []) or []
    return len(calls) == len(wanted) and all(
        any(call["intent"] == each["intent"] and each.get("slots", {}).items() <= call["slots"].items() for call in calls)
        for each in wanted
    )
