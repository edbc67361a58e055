"""Speaks sentences and stores their log-mels: `python synth.py ENGINE N SEED OUT [TAG...]`.

ENGINE is espeak, flite, festival or kokoro; tags restrict the sentences. OUT.mel holds f16
frames [F, 128] one after another (not normalised), OUT.jsonl one line a clip: start, frames, text,
calls, pattern, voice. Both grow as clips are made, so that a run may be cut short.
"""

import json
import sys

import numpy as np

import features
import sentences
import voices


def trim(x, keep=0.04):
    """Cuts silence at both ends, leaves `keep` seconds."""
    if x is None or len(x) < 1600:
        return None
    x = x / max(1e-4, float(np.abs(x).max())) * 0.5
    loud = np.abs(x) > 0.01
    if not loud.any():
        return None
    k = int(keep * features.RATE)
    a, b = int(np.argmax(loud)), len(x) - int(np.argmax(loud[::-1]))
    return x[max(0, a - k):b + k]


def speak(rng, engine, rows, held=None, kokoro=None):
    """Yields (row, samples, voice) for (pattern, words, calls) rows."""
    if engine == "festival":
        voice, stretch = str(rng.choice(voices.FESTIVAL)), float(rng.uniform(0.85, 1.25))
        for row, x in zip(rows, voices.festival_many([r[1] for r in rows], voice, stretch)):
            yield row, x, f"festival/{voice}"
        return
    for row in rows:
        text = row[1]
        if engine == "espeak":
            s = voices.espeak_settings(rng, held)
            yield row, voices.espeak(text, **s), f"espeak/{s['voice']}"
        elif engine == "flite":
            s = voices.flite_settings(rng, held)
            yield row, voices.flite(text, **s), f"flite/{s['voice']}"
        elif engine == "kokoro":
            s = voices.kokoro_settings(rng, kokoro, held)
            name = "+".join(f"{v}:{w:.2f}" for v, w in s["mixture"])
            yield row, kokoro.say(text, **s), f"kokoro/{name}"


def main():
    engine, n, seed, out = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    rng = np.random.default_rng(seed)
    kokoro = voices.Kokoro() if engine == "kokoro" else None
    start = done = 0
    with open(out + ".mel", "wb") as mel, open(out + ".jsonl", "w") as index:
        while done < n:
            rows = sentences.generate(rng, min(40, n - done), tags=sys.argv[5:] or None)
            for (pattern, text, calls), x, voice in speak(rng, engine, rows, kokoro=kokoro):
                x = trim(x)
                if x is None or not 0.35 < len(x) / features.RATE < 9.0:
                    continue
                m = features.log_mel(x).astype(np.float16)
                mel.write(m.tobytes())
                index.write(json.dumps({"start": start, "frames": len(m), "text": text, "calls": calls,
                                        "pattern": pattern, "voice": voice}) + "\n")
                start += len(m)
            done += len(rows)
            mel.flush()
            index.flush()
            print(done, start / 100, flush=True)


if __name__ == "__main__":
    main()
