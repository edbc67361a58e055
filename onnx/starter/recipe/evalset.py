"""Speaks the held-out test set: voices and sentence patterns that no training clip has.

`python evalset.py OUT [N] [SEED] [--voices dev|test]` writes 16 kHz FLAC files and labels.json, as `hearth eval OUT`
reads it, and voices.json (file -> voice, words, pattern). `--joe DIR` speaks with the Piper voice
joe instead (also never trained on). `--demo` makes the clips of samples/.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import soundfile as sf

import features
import sentences
import synth
import voices


def room(rng, x, after_s=None):
    """Puts quiet around a clip (0.2 to 0.5 s, or `after_s` after it), and a faint noise floor under it."""
    a = int(rng.uniform(0.2, 0.5) * features.RATE)
    b = int((rng.uniform(0.2, 0.5) if after_s is None else after_s) * features.RATE)
    x = np.concatenate([np.zeros(a, np.float32), x, np.zeros(b, np.float32)])
    x = x * rng.uniform(0.4, 1.2)
    return x + rng.normal(0, rng.uniform(2e-4, 1.5e-3), len(x)).astype(np.float32)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("out")
    ap.add_argument("n", type=int, nargs="?", default=300)
    ap.add_argument("seed", type=int, nargs="?", default=90210)
    ap.add_argument("--joe", help="folder with en_US-joe-medium.onnx")
    ap.add_argument("--voices", choices=list(voices.HELD), default="all")
    ap.add_argument("--shares", default="0.4,0.3,0.3", help="of kokoro, espeak, flite")
    ap.add_argument("--tags", nargs="*", default=[], help="these kinds of sentences alone")
    ap.add_argument("--seen-patterns", action="store_true", help="held-out voices, trained patterns")
    ap.add_argument("--both-patterns", action="store_true", help="half held out, half trained")
    ap.add_argument("--demo", action="store_true")
    args = ap.parse_args()
    out = Path(args.out)
    out.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(args.seed)
    if args.demo:
        k = voices.Kokoro()
        for name, text, voice, gain in (
                ("light-over-the-stove", "turn on the light over the stove", "af_heart", 0.6),
                ("pasta-timer-ten-minutes", "set a pasta timer for ten minutes", "bm_george", 1.0)):
            x = gain * room(rng, synth.trim(k.say(text, [(voice, 1.0)], 1.0)))
            sf.write(out / f"{name}.flac", np.clip(x, -1, 1), 16000, subtype="PCM_16")
        return
    def draw(n, tags):
        half = n // 2 if args.both_patterns else n if args.seen_patterns else 0
        rows = sentences.generate(rng, half, False, tags) + sentences.generate(rng, n - half, True, tags)
        rng.shuffle(rows)
        return rows
    if args.tags:
        rows = draw(args.n, args.tags)
    else:
        talk = draw(args.n // 4, list(sentences.QUIET))
        rows = draw(args.n - len(talk), [t for t in sentences.SHARE if t not in sentences.QUIET])
        rows = [x for pair in zip(talk, [rows[i::len(talk)] for i in range(len(talk))]) for x in [pair[0], *pair[1]]]
    if args.joe:
        joe = voices.Piper(Path(args.joe) / "en_US-joe-medium.onnx")
        said = ((r, joe.say(r[1], float(rng.uniform(0.9, 1.1))), "piper/joe") for r in rows)
    else:
        k = voices.Kokoro()
        cut = [round(len(rows) * x) for x in np.cumsum([0] + [float(s) for s in args.shares.split(",")])]
        said = (x for e, a, b in zip(("kokoro", "espeak", "flite"), cut, cut[1:])
                for x in synth.speak(rng, e, rows[a:b], held=args.voices, kokoro=k))
    labels, info = {}, {}
    for i, ((pattern, text, calls), x, voice) in enumerate(said):
        x = synth.trim(x)
        if x is None:
            continue
        name = f"{i:04}.flac"
        sf.write(out / name, np.clip(room(rng, x), -1, 1), 16000, subtype="PCM_16")
        labels[name] = {"calls": calls}
        info[name] = {"voice": voice, "text": text, "pattern": pattern}
        (out / "labels.json").write_text(json.dumps(labels, indent=1))
        (out / "voices.json").write_text(json.dumps(info, indent=1))


if __name__ == "__main__":
    main()
