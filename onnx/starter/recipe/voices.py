"""The speech synthesisers: espeak-ng, flite, festival, RHVoice, Pico, Kokoro, hibari, Piper (evaluation only).

Every function gives 16 kHz mono f32 samples. `ENGINE_settings(rng)` draws a voice and its settings;
held-out voices are in no training clip and in no mixture (af_heart is heard through hibari, which was distilled from it).
"""

import io
import json
import os
import re
import subprocess
import tempfile
import wave
from pathlib import Path

import numpy as np
from scipy.signal import resample_poly

WORK = Path(os.environ.get("STARTER_WORK", Path(__file__).resolve().parents[1] / "work"))
HELD_ESPEAK = ["f2", "m5"]
ESPEAK_VARIANTS = ["f1", "f3", "f4", "f5", "m1", "m2", "m3", "m4", "m6", "m7", "m8", "adam", "Alex",
                   "Alicia", "Andrea", "Andy", "Annie", "antonio", "aunty", "belinda",
                   "benjamin", "boris", "caleb", "david", "Denis", "Diogo", "ed",
                   "edward", "edward2", "Gene", "Gene2", "gustave", "announcer",
                   "Henrique", "Hugo", "iven", "iven2", "iven3", "iven4", "Jacky",
                   "john", "kaukovalta", "Lee", "linda", "marcelo", "Marco", "Mario",
                   "max", "Michael", "michel", "miguel", "Mike", "Mr", "Nguyen",
                   "pablo", "paul", "pedro", "quincy", "RicishayMax", "rob", "robert",
                   "steph", "steph2", "steph3", "Storm", "zac", "anika", "norbert",
                   "sandro", "shelby", "travis", "victor", "grandpa", "grandma"]
ESPEAK_ACCENTS = ["en-us", "en-us", "en-us", "en-us", "en-gb", "en-gb", "en-gb-x-rp",
                  "en-gb-scotland", "en-gb-x-gbclan", "en-gb-x-gbcwmd", "en-029", "en-us-nyc"]
FLITE = ["slt", "awb", "kal16", "slt", "awb", "kal"]
HELD_FLITE = ["rms"]
FESTIVAL = ["kal_diphone", "ked_diphone", "cmu_us_slt_arctic_hts"]
RHVOICE = ["alan", "bdl", "clb"]
PICO = ["en-US", "en-GB"]
HELD_KOKORO = ["af_heart", "bm_george"]
# Voices made for other languages speak English with an accent; they are mixed in rarely.
KOKORO_FOREIGN = ["ef_dora", "em_alex", "ff_siwis", "hf_alpha", "hf_beta", "hm_omega", "hm_psi",
                  "if_sara", "im_nicola", "jf_alpha", "jm_kumo", "pf_dora", "pm_alex", "zf_xiaobei",
                  "zf_xiaoxiao", "zm_yunjian", "zm_yunxi"]


def _to_16k(x, rate):
    if rate == 16000:
        return x.astype(np.float32)
    g = np.gcd(rate, 16000)
    return resample_poly(x, 16000 // g, rate // g).astype(np.float32)


def _read(data):
    """Samples of WAV bytes, also of a stream whose header holds no length."""
    rate = int.from_bytes(data[24:28], "little")
    at = data.find(b"data") + 8
    body = data[at:at + (len(data) - at) // 2 * 2]
    return _to_16k(np.frombuffer(body, "<i2").astype(np.float32) / 32768, rate)


def espeak(text, voice, pitch=50, speed=165):
    """One sentence by espeak-ng; `voice` as `en-us+f3`."""
    out = subprocess.run(["espeak-ng", "-v", voice, "-p", str(pitch), "-s", str(speed),
                          "--stdout", text], capture_output=True, check=False).stdout
    return _read(out)


def _spoken(command, text=""):
    """What a program says that reads `text` and writes a WAV file; `command` makes its arguments of the file's name."""
    with tempfile.NamedTemporaryFile(suffix=".wav", dir="/dev/shm") as f:
        subprocess.run(command(f.name), input=text.encode(), check=False, capture_output=True)
        return _read(Path(f.name).read_bytes())


def flite(text, voice, stretch=1.0, pitch=None):
    """One sentence by flite; `stretch` lengthens, `pitch` is the mean in Hz."""
    mean = ["--setf", f"int_f0_target_mean={pitch}"] if pitch else []
    setting = ["--setf", f"duration_stretch={stretch}", *mean]
    return _spoken(lambda wav: ["flite", "-voice", voice, *setting, "-t", text, "-o", wav])


def rhvoice(text, voice, rate=100, pitch=100):
    """One sentence by RHVoice; `rate` and `pitch` in percent."""
    return _spoken(lambda wav: ["RHVoice-test", "-p", voice, "-r", str(rate), "-t", str(pitch), "-o", wav], text)


def pico(text, voice, rate=100, pitch=100):
    """One sentence by SVOX Pico; `rate` and `pitch` in percent."""
    marked = f'<pitch level="{pitch}"><speed level="{rate}">{text}</speed></pitch>'
    return _spoken(lambda wav: ["pico2wave", "-l", voice, "-w", wav, marked])


def festival_many(texts, voice, stretch=1.0):
    """Sentences by festival in one process (its start is slow)."""
    with tempfile.TemporaryDirectory(dir="/dev/shm") as d:
        script = [f"(voice_{voice})", f"(Parameter.set 'Duration_Stretch {stretch})"]
        for i, t in enumerate(texts):
            script.append(f'(utt.save.wave (utt.synth (Utterance Text "{t}")) "{d}/{i}.wav" \'riff)')
        subprocess.run(["festival", "--pipe"], input="\n".join(script).encode(), check=False,
                       capture_output=True)
        out = []
        for i in range(len(texts)):
            p = Path(d) / f"{i}.wav"
            out.append(_read(p.read_bytes()) if p.exists() and p.stat().st_size > 4000 else None)
        return out


# ---- Kokoro ---------------------------------------------------------------------------------

_SWAP = [("\u0303", ""), ("a^ɪ", "I"), ("a^ʊ", "W"), ("d^ʒ", "ʤ"), ("e^ɪ", "A"), ("t^ʃ", "ʧ"),
         ("ɔ^ɪ", "Y"), ("ə^l", "ᵊl"), ("ɚ", "əɹ"), ("r", "ɹ"), ("x", "k"), ("ç", "k"), ("ɐ", "ə"),
         ("ɬ", "l"), ("ʔ", "t"), ("ʲ", ""), ("\u0329", "")]
_US = [("o^ʊ", "O"), ("ɜːɹ", "ɜɹ"), ("ɜː", "ɜɹ"), ("ɪə", "iə"), ("ɾ", "T"), ("ː", "")]
_GB = [("ə^ʊ", "Q"), ("o^ʊ", "Q"), ("e^ə", "ɛː"), ("iə", "ɪə"), ("ɾ", "t")]


def kokoro_phonemes(text, british=False):
    """IPA of espeak-ng in the letters that Kokoro was trained with."""
    ipa = subprocess.run(["espeak-ng", "-q", "--ipa", "--tie=^", "-v", "en-gb" if british else "en-us",
                          text], capture_output=True, text=True, check=False).stdout
    ipa = " ".join(ipa.split())
    ipa = ipa.replace("\u0361", "^").replace("\u200d", "^")
    for a, b in _SWAP + (_GB if british else _US):
        ipa = ipa.replace(a, b)
    return ipa.replace("^", "").replace("e", "A" if not british else "e")


class Kokoro:
    """Kokoro-82M (Apache-2.0), int8 ONNX, put together from packages by `fetch.sh`."""

    def __init__(self, threads=1):
        import onnxruntime as ort
        so = ort.SessionOptions()
        so.intra_op_num_threads = threads
        d = WORK / "kokoro"
        self.session = ort.InferenceSession(str(d / "model.onnx"), so)
        self.ids = json.loads((d / "vocab.json").read_text())
        self.ids = self.ids.get("vocab", self.ids)
        self.voices = {p.stem: np.fromfile(p, np.float32).reshape(-1, 256)
                       for p in sorted((d / "voices").glob("*.bin"))}

    def english(self):
        return [v for v in self.voices if v[0] in "ab" and v not in HELD_KOKORO]

    def say(self, text, mixture, speed=1.0):
        """`mixture`: list of (voice, share)."""
        ph = kokoro_phonemes(text, british=mixture[0][0].startswith("b"))
        ids = [self.ids[c] for c in ph if c in self.ids]
        style = sum(self.voices[v][min(len(ids), 509)] * s for v, s in mixture)
        out = self.session.run(None, {"tokens": np.array([[0] + ids + [0]], np.int64),
                                      "style": style[None].astype(np.float32),
                                      "speed": np.array([speed], np.float32)})[0]
        return _to_16k(np.asarray(out).reshape(-1), 24000)


def _stretched(spectrum, factor):
    """A log spectrum [bins, frames] with every frequency multiplied by `factor`."""
    at = np.minimum(np.arange(len(spectrum)) / factor, len(spectrum) - 1).astype(np.float32)
    low = at.astype(int)
    high, share = np.minimum(low + 1, len(spectrum) - 1), (at - low)[:, None]
    return spectrum[low] * (1 - share) + spectrum[high] * share


class Hibari:
    """hibari-tts (Apache-2.0): one voice, distilled from Kokoro's af_heart, a hundred times as fast.

    It predicts pitch and spectra apart, so other speakers are made of it before it becomes sound."""

    def __init__(self):
        from hibari import Hibari as Engine, dsp
        self.engine, self.synth = Engine(), dsp.synth

    def say(self, text, british=False, speed=1.0, pitch=1.0, melody=1.0, tract=1.0, seed=0):
        """`pitch` multiplies the mean pitch, `melody` its movement, `tract` all formants."""
        ids = self.engine.ids(kokoro_phonemes(text, british))
        out = self.engine.sess.run(None, {"ids": np.array([ids], np.int64), "speed": np.array([speed], np.float32)})
        *spectra, f0 = (o[0] for o in out)
        voiced = f0 > 40
        if voiced.any():
            mean = np.log(f0[voiced]).mean()
            f0 = np.where(voiced, np.exp(mean + np.log(pitch) + melody * (np.log(np.maximum(f0, 1)) - mean)), 0)
        spectra = [_stretched(x, tract) for x in spectra]
        return _to_16k(self.synth(*spectra, f0.astype(np.float32), np.random.default_rng(seed)), 24000)


class Piper:
    """A Piper voice from its ONNX file; `joe` is kept for evaluation."""

    def __init__(self, model, threads=1):
        import onnxruntime as ort
        so = ort.SessionOptions()
        so.intra_op_num_threads = threads
        self.session = ort.InferenceSession(str(model), so)
        self.config = json.loads(Path(str(model) + ".json").read_text())

    def say(self, text, speed=1.0):
        ipa = subprocess.run(["espeak-ng", "-q", "--ipa", "-v", "en-us", text], capture_output=True,
                             text=True, check=False).stdout
        m = self.config["phoneme_id_map"]
        ids = list(m["^"]) + list(m["_"])
        for c in " ".join(ipa.split()):
            if c in m:
                ids += list(m[c]) + list(m["_"])
        ids += list(m["$"])
        inf = self.config["inference"]
        out = self.session.run(None, {
            "input": np.array([ids], np.int64), "input_lengths": np.array([len(ids)], np.int64),
            "scales": np.array([inf["noise_scale"], inf["length_scale"] / speed, inf["noise_w"]],
                               np.float32)})[0]
        return _to_16k(np.asarray(out).reshape(-1), self.config["audio"]["sample_rate"])


# Held-out voices: `dev` is looked at while training, `test` once at the end.
HELD = {"dev": {"kokoro": ["af_heart"], "espeak": ["f2"], "flite": []},
        "test": {"kokoro": ["bm_george"], "espeak": ["m5"], "flite": ["rms"]},
        "all": {"kokoro": HELD_KOKORO, "espeak": HELD_ESPEAK, "flite": HELD_FLITE}}


def espeak_settings(rng, held=None):
    v = str(rng.choice(HELD[held]["espeak"] if held else ESPEAK_VARIANTS))
    return dict(voice=f"{rng.choice(ESPEAK_ACCENTS)}+{v}", pitch=int(rng.integers(25, 80)),
                speed=int(rng.integers(125, 205)))


def flite_settings(rng, held=None):
    v = str(rng.choice(HELD[held]["flite"] if held else FLITE))
    pitch = int(rng.integers(85, 150)) if v != "slt" else int(rng.integers(150, 230))
    return dict(voice=v, stretch=float(rng.uniform(0.85, 1.25)), pitch=pitch)


def rhvoice_settings(rng):
    return dict(voice=str(rng.choice(RHVOICE)), rate=int(rng.integers(80, 130)), pitch=int(rng.integers(85, 116)))


def pico_settings(rng):
    return dict(voice=str(rng.choice(PICO)), rate=int(rng.integers(80, 135)), pitch=int(rng.integers(65, 130)))


def hibari_settings(rng):
    """Deep voices have long vocal tracts, more or less."""
    pitch = float(np.exp(rng.uniform(np.log(0.48), np.log(1.35))))
    return dict(british=bool(rng.random() < 0.35), speed=float(rng.uniform(0.8, 1.35)), pitch=pitch,
                melody=float(rng.uniform(0.5, 1.5)), tract=float(np.clip(pitch ** 0.3 * rng.uniform(0.9, 1.1), 0.78, 1.2)),
                seed=int(rng.integers(1 << 30)))


def kokoro_settings(rng, kokoro, held=None):
    if held:
        return dict(mixture=[(str(rng.choice(HELD[held]["kokoro"])), 1.0)], speed=float(rng.uniform(0.85, 1.2)))
    en = kokoro.english()
    a = str(rng.choice(en))
    r = rng.random()
    if r < 0.45:
        mix = [(a, 1.0)]
    else:
        pool = en if r < 0.85 else [v for v in KOKORO_FOREIGN if v in kokoro.voices]
        b, s = str(rng.choice(pool)), float(rng.uniform(0.25, 0.6))
        mix = [(a, 1 - s), (b, s)]
    return dict(mixture=mix, speed=float(rng.uniform(0.8, 1.3)))
