"""hearth's model beside a transcribing peer, on the same clips, in one run: accuracy, latency, size.

    FOLDER/venv/bin/python benches/versus/versus.py --peer FOLDER/whisper-base [--clips DIR] [--hearth PROGRAM]

The peer is faster-whisper base (int8, greedy, English, 2 threads) and the hand-written parser of coffee
orders below. hearth is its own program in batch (`hearth eval --json`) with 2 threads. Each clip is read and
resampled outside the clock of both; the clock of each runs from samples to call. `fetch.sh` puts the peer together.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SIZES = {"small": "small", "medium": "medium", "large": "large", "eight ounce": "eight ounce",
         "twelve ounce": "twelve ounce", "sixteen ounce": "sixteen ounce", "twenty ounce": "twenty ounce"}
DRINKS = ["iced mocha", "iced coffee", "drip coffee", "house coffee", "americano", "cappuccino", "espresso",
          "latte", "mocha", "coffee"]
MILKS = ["skim milk", "whole milk", "soy milk", "almond milk", "milk", "cream"]
SUGARS = ["brown sugar", "sugar", "sweetener"]
AMOUNTS = ["a little bit of", "a bit of", "some", "a lot of", "lots of"]
NUMBERS = {"8": "eight", "12": "twelve", "16": "sixteen", "20": "twenty"}
# What the transcriber writes for a word that it does not expect.
HEARD_AS = [(r"\b(moka|mocca|moca|mokka)\b", "mocha"), (r"\b(latt[eé]|lattee|latey)\b", "latte"),
            (r"\bexpresso\b", "espresso"), (r"\bice (mocha|coffee)\b", r"iced \1"), (r"\boz\b|\bounces\b", "ounce"),
            (r"\bskimmed\b", "skim"), (r"\bcapp?uc+ino\b", "cappuccino"), (r"\bshots\b", "shot"),
            (r"\bsweetner\b", "sweetener"), (r"\bamericana\b", "americano")]


def parse(text):
    """Slots of an order in words, or None when no drink is named."""
    text = " " + re.sub(r"[^a-z0-9é ]", " ", text.lower().replace("-", " ")) + " "
    for pattern, word in HEARD_AS:
        text = re.sub(pattern, word, text)
    text = re.sub(r" (\d+) ", lambda m: f" {NUMBERS.get(m[1], m[1])} ", re.sub(r" +", " ", text))
    slots = {}

    def take(key, values, prefix=""):
        nonlocal text
        for value in values:
            if m := re.search(rf" {prefix}{value} ", text):
                slots[key] = m[0].strip()
                text = text[:m.start()] + " | " + text[m.end():]
                return
    amount = "(?:(?:" + "|".join(AMOUNTS) + ") )?"
    take("milkAmount", MILKS, amount)
    take("sugarAmount", SUGARS, amount)
    take("roast", ["light roast", "medium roast", "dark roast"])
    take("numberOfShots", ["single shot", "double shot", "triple shot"])
    take("coffeeDrink", DRINKS)
    take("size", SIZES)
    return slots if "coffeeDrink" in slots else None


def score(label, slots):
    """(right, strict)"""
    if slots is None or label.get("intent") != "orderDrink":
        return False, False
    right = all(slots.get(k) == v for k, v in label["slots"].items())
    return right, right and set(slots) == set(label["slots"])


def percentile(values, percent):
    values = sorted(values)
    return values[max(0, -(-len(values) * percent // 100) - 1)]


def peer(folder, clips, labels, verbose):
    """(right, strict, median ms, 95th percentile ms, MB of weights)"""
    import soundfile
    from faster_whisper import WhisperModel
    model = WhisperModel(str(folder), device="cpu", compute_type="int8", cpu_threads=2)
    sounds = {f: soundfile.read(clips / f, dtype="float32")[0] for f in labels}

    def hear(sound):
        pieces, _ = model.transcribe(sound, language="en", beam_size=1)
        return " ".join(piece.text for piece in pieces)
    hear(next(iter(sounds.values())))
    right = strict = 0
    took = []
    for name, label in labels.items():
        start = time.perf_counter()
        text = hear(sounds[name])
        slots = parse(text)
        took.append(1000 * (time.perf_counter() - start))
        a, b = score(label, slots)
        right, strict = right + a, strict + b
        if verbose and not a:
            print(f"  {name}: {text.strip()!r} -> {slots}, wanted {label['slots']}", file=sys.stderr)
    return right, strict, percentile(took, 50), percentile(took, 95), (folder / "model.bin").stat().st_size / 1e6


def own(program, config, clips, count):
    done = subprocess.run([program, "--config", config, "eval", str(clips), "--json"], cwd=ROOT, check=True, capture_output=True, text=True)
    report = json.loads(done.stdout)
    weights = sum(f.stat().st_size for f in (ROOT / "onnx/starter/onnx").iterdir())
    return (round(report["accuracy"] * count), round(report["accuracy_strict"] * count), report["latency_ms"]["p50"],
            report["latency_ms"]["p95"], weights / 1e6)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--peer", type=Path, help="folder of a CTranslate2 Whisper model; without it hearth stands alone")
    ap.add_argument("--clips", type=Path, default=ROOT.parent / "shared/speech/coffee")
    ap.add_argument("--hearth", default=str(ROOT / "target/release/hearth"))
    ap.add_argument("--config", default="config.toml")
    ap.add_argument("-v", action="store_true", help="name what the peer got wrong")
    args = ap.parse_args()
    path = args.clips / "labels.json"
    if not path.exists():
        print(f"SKIPPED: no recordings in {args.clips}")
        return
    labels = json.loads(path.read_text())
    rows = [("hearth, starter", own(args.hearth, args.config, args.clips, len(labels)))]
    if args.peer:
        rows.append(("faster-whisper base + parser", peer(args.peer, args.clips, labels, args.v)))
    print(f"{len(labels)} clips of {args.clips}\n")
    print("| | right | strict | median | 95th percentile | weights |\n| --- | --- | --- | --- | --- | --- |")
    for name, (right, strict, p50, p95, size) in rows:
        share = [f"{100 * n / len(labels):.1f} %" for n in (right, strict)]
        print(f"| {name} | {share[0]} | {share[1]} | {p50:.0f} ms | {p95:.0f} ms | {size:.1f} MB |")


if __name__ == "__main__":
    main()
