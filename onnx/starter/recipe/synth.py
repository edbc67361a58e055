"""Speaks sentences and stores their log-mels: `python synth.py ENGINE N SEED OUT [TAG...]`.

ENGINE is espeak, flite, festival, rhvoice, pico, kokoro, hibari or noise (no words at all); tags restrict the sentences.
OUT.mel holds f16 frames [F, 128] one after another (not normalised), OUT.jsonl one line a clip: start, frames, text,
calls, pattern, voice. Both grow as clips are made, so that a run may be cut short.
"""

import json
import sys

import numpy as np

import features
import sentences
import voices
from talk import SALAD


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


FOREIGN = ["de", "fr", "es", "it", "ru", "nl", "pl", "pt", "sv", "tr", "fi", "hu", "cs", "el", "ro", "da"]


def nothing(rng):
    """(samples, what): a sound in which nobody gives a command; 0.5 to 4 s."""
    n = int(rng.uniform(0.5, 4.0) * features.RATE)
    t = np.arange(n) / features.RATE
    what = str(rng.choice(["silence", "hiss", "hum", "clicks", "melody", "foreign", "backwards"],
                          p=[0.08, 0.16, 0.1, 0.12, 0.14, 0.22, 0.18]))
    if what in ("foreign", "backwards"):
        words = " ".join(str(w) for w in rng.choice(SALAD, int(rng.integers(3, 9))))
        s = voices.espeak_settings(rng)
        if what == "foreign":
            s["voice"] = f"{rng.choice(FOREIGN)}+{s['voice'].split('+')[1]}"
        x = trim(voices.espeak(words, **s))
        return (None if x is None else x[::-1] if what == "backwards" else x), what
    x = rng.normal(0, 1, n)
    if what == "hiss":
        k = int(rng.integers(1, 30))
        x = np.convolve(x, np.ones(k) / np.sqrt(k), "same") * (1 + 0.5 * np.sin(2 * np.pi * rng.uniform(0.2, 4) * t))
    elif what == "hum":
        f = rng.choice([50, 60, 100, 120, 220])
        x = 0.1 * x + sum(np.sin(2 * np.pi * f * h * t + h) / h for h in range(1, 6))
    elif what == "clicks":
        x = x * (rng.random(n) < 0.0004)
        x = np.convolve(x, np.exp(-np.arange(400) / rng.uniform(10, 120)), "same")
    elif what == "melody":
        step = int(rng.uniform(0.12, 0.5) * features.RATE)
        f = 220 * 2 ** (rng.integers(0, 25, n // step + 1) / 12)
        x = 0.02 * x + sum(np.sin(2 * np.pi * h * np.cumsum(np.repeat(f, step)[:n]) / features.RATE) / h for h in (1, 2, 3))
    level = 1e-4 if what == "silence" else 10 ** rng.uniform(-2.5, -0.7)
    return (x / max(1e-6, np.abs(x).max()) * level).astype(np.float32), what


def speak(rng, engine, rows, held=None, kokoro=None, hibari=None):
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
        elif engine in ("rhvoice", "pico"):
            s = getattr(voices, f"{engine}_settings")(rng)
            yield row, getattr(voices, engine)(text, **s), f"{engine}/{s['voice']}"
        elif engine == "kokoro":
            s = voices.kokoro_settings(rng, kokoro, held)
            name = "+".join(f"{v}:{w:.2f}" for v, w in s["mixture"])
            yield row, kokoro.say(text, **s), f"kokoro/{name}"
        elif engine == "hibari":
            s = voices.hibari_settings(rng)
            yield row, hibari.say(text, **s), f"hibari/{s['pitch']:.2f}"
        elif engine == "noise":
            x, what = nothing(rng)
            yield ("noise", "", []), x, f"noise/{what}"


def main():
    engine, n, seed, out = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
    rng = np.random.default_rng(seed)
    kokoro = voices.Kokoro() if engine == "kokoro" else None
    hibari = voices.Hibari() if engine == "hibari" else None
    start = done = 0
    with open(out + ".mel", "wb") as mel, open(out + ".jsonl", "w") as index:
        while done < n:
            rows = sentences.generate(rng, min(40, n - done), tags=sys.argv[5:] or None)
            for (pattern, text, calls), x, voice in speak(rng, engine, rows, kokoro=kokoro, hibari=hibari):
                x = x if engine == "noise" else trim(x)
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
