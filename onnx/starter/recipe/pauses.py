"""Speaks held-out commands twice, in one breath and with a pause inside, to measure where a turn ends.

`python pauses.py OUT [N] [SEED]` writes OUT/plain and OUT/paused, 16 kHz FLAC files and labels.json, as `hearth eval OUT/paused
--ends` reads them: N sentences of held-out patterns in held-out voices (espeak-ng f2 and m5, flite rms; neither is in any
training clip), the same voice and settings both times. The pause lasts 0.3 to 1.2 s and stands at a word boundary drawn at
random; what is before and after it is spoken by itself, so the voice falls before the pause as it does at an end. A
command is followed by 3.5 s of quiet, and by nothing else. `speech_s` says when the last word is over, `pauses` where
the pause is. OUT/talk has N / 3 sentences that are no commands, in one breath. Needs espeak-ng, flite and the recipe's Python.
"""

import argparse
import json
from pathlib import Path

import numpy as np
import soundfile as sf

import evalset
import features
import sentences
import synth
import voices

KEEP = 0.04
QUIET_S = 3.5
TAGS = ["on", "off", "bright", "set", "cancel", "left"]


def speaker(rng, i):
    """(name, function of a text) of one held-out voice with one setting."""
    if i % 3 == 2:
        s = voices.flite_settings(rng, "all")
        return f"flite/{s['voice']}", lambda text: voices.flite(text, **s)
    s = voices.espeak_settings(rng, "all")
    s["voice"] = f"{s['voice'].split('+')[0]}+{voices.HELD_ESPEAK[i % 3]}"
    return f"espeak/{s['voice']}", lambda text: voices.espeak(text, **s)


class Folder:
    """Clips and their labels."""

    def __init__(self, path):
        self.path, self.labels = path, {}
        path.mkdir(parents=True, exist_ok=True)

    def add(self, name, rng, x, label):
        x = np.clip(evalset.room(rng, x, QUIET_S), -1, 1)
        sf.write(self.path / name, x, features.RATE, subtype="PCM_16")
        over = len(x) - int(QUIET_S * features.RATE) - int(KEEP * features.RATE)
        self.labels[name] = label | {"speech_s": round(over / features.RATE, 4)}

    def close(self):
        (self.path / "labels.json").write_text(json.dumps(self.labels, indent=1) + "\n")


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("out", type=Path)
    ap.add_argument("n", type=int, nargs="?", default=150)
    ap.add_argument("seed", type=int, nargs="?", default=7007)
    args = ap.parse_args()
    rng = np.random.default_rng(args.seed)
    plain, paused, talk = (Folder(args.out / name) for name in ("plain", "paused", "talk"))
    rows = [row for row in sentences.generate(rng, 3 * args.n, True, TAGS) if len(row[1].split()) >= 3]
    done = 0
    for pattern, text, calls in rows:
        if done == args.n:
            break
        voice, say = speaker(rng, done)
        words = text.split()
        at = int(rng.integers(1, len(words)))
        parts = [synth.trim(say(" ".join(part)), KEEP) for part in (words[:at], words[at:])]
        whole = synth.trim(say(text), KEEP)
        if whole is None or any(part is None for part in parts):
            continue
        pause_s = float(rng.uniform(0.3, 1.2))
        # The edges that are kept of either part are in the pause.
        gap = np.zeros(max(0, int((pause_s - 2 * KEEP) * features.RATE)))
        name = f"{done:04}.flac"
        label = {"calls": calls, "text": text, "pattern": pattern, "voice": voice}
        plain.add(name, rng, whole, label)
        paused.add(name, rng, np.concatenate([parts[0], gap, parts[1]]),
                   label | {"pauses": [{"after": " ".join(words[:at]), "s": round(pause_s, 3)}]})
        done += 1
    for i, (pattern, text, calls) in enumerate(sentences.generate(rng, args.n // 3, True, ["talk", "near"])):
        voice, say = speaker(rng, i)
        x = synth.trim(say(text), KEEP)
        if x is not None:
            talk.add(f"{i:04}.flac", rng, x, {"calls": calls, "text": text, "pattern": pattern, "voice": voice})
    for folder in (plain, paused, talk):
        folder.close()
        print(folder.path, len(folder.labels))


if __name__ == "__main__":
    main()
