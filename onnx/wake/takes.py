"""Sound to takes: clips in rooms, noise and babble, and the embeddings that the heads see of them."""

import json, multiprocessing
from pathlib import Path

import numpy as np
import onnx
import onnx.numpy_helper
import onnxruntime as ort
import soundfile
from scipy.signal import fftconvolve, lfilter, resample_poly

HERE = Path(__file__).resolve().parent
RATE, CHUNK, CONTEXT = 16000, 1280, 480  # samples; a chunk of 80 ms gives 8 rows of mel with 480 samples before it
WINDOW, ROWS = 16, 76  # embeddings a head sees; rows of mel an embedding sees


def read(path):
    """16 kHz mono floats."""
    x, rate = soundfile.read(path, dtype="float32")
    x = x if x.ndim == 1 else x.mean(1)
    return x if rate == RATE else resample_poly(x, RATE, rate).astype(np.float32)


class Spoken:
    """The clips of one run of `speak.py`: samples stay on disk."""

    def __init__(self, index):
        self.name = index.stem
        self.rows = [json.loads(line) for line in index.read_text().splitlines()]
        self.sound = np.memmap(index.with_suffix(".i16"), "<i2", mode="r")

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, i):
        row = self.rows[i]
        return self.sound[row["start"] : row["start"] + row["samples"]].astype(np.float32) / 32768


def whole_embedding():
    """The embedding graph for any number of rows of mel: its convolutions do not pad time, so that one run over all rows
    gives every eighth row's embedding, ten times as fast as a run for each."""
    model = onnx.load(HERE / "embedding_model.onnx")
    graph = model.graph
    first, last = (n for n in graph.node if n.op_type == "Reshape")
    for tensor in graph.initializer:
        if tensor.name == first.input[1]:
            tensor.CopyFrom(onnx.numpy_helper.from_array(np.array([1, 1, -1, 32]), tensor.name))
    graph.node.remove(last)
    del graph.value_info[:], graph.output[:]
    graph.output.append(onnx.helper.make_tensor_value_info(last.input[0], onnx.TensorProto.FLOAT, [1, 96, "t", 1]))
    graph.input[0].type.tensor_type.shape.dim[1].dim_param = "rows"
    return model.SerializeToString()


class Front:
    """mel and embedding: the same numbers as chunk by chunk in the daemon."""

    def __init__(self):
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self.mel = ort.InferenceSession(str(HERE / "melspectrogram.onnx"), options)
        self.embedding = ort.InferenceSession(whole_embedding(), options)

    def __call__(self, x):
        """[samples] in [-1, 1] -> [chunks - 9, 96]; row i ends with chunk i + 9."""
        x = np.concatenate([np.zeros(CONTEXT, np.float32), np.clip(x, -1, 1) * 32768])
        n = (len(x) - CONTEXT) // CHUNK
        if n < 10:
            return np.zeros((0, 96), np.float16)
        # The loudest of a run sets the floor of its mel: chunks stay apart.
        rows = [self.mel.run(None, {"input": x[None, i * CHUNK : i * CHUNK + CONTEXT + CHUNK]})[0].reshape(-1, 32) for i in range(n)]
        mel = np.maximum(np.concatenate(rows) / 10 + 2, 0)[4:]  # 76 rows end with a chunk: 80 - 76
        # A minute at once.
        parts = [self.embedding.run(None, {"input_1": mel[None, i * 8 : i * 8 + 750 * 8 + ROWS - 8, :, None]})[0][0, :, :, 0].T
                 for i in range(0, (len(mel) - ROWS) // 8 + 1, 750)]
        return np.concatenate(parts).astype(np.float16)


def spoken(x):
    """Where a clip's word begins and ends: what stands out of its own noise."""
    n = len(x) // 160
    level = 20 * np.log10(np.sqrt((x[: n * 160].reshape(n, 160) ** 2).mean(1)) + 1e-6)
    # Of a synthesised clip there may be no noise, only speech.
    floor = min(np.percentile(level, 10) + 0.35 * np.ptp(level), level.max() - 15)
    loud = np.flatnonzero(level >= max(level.max() - 25, floor))
    return loud[0] * 160, (loud[-1] + 1) * 160


def pink(rng, n):
    m = 1 << int(np.ceil(np.log2(max(n, 1024))))
    spectrum = rng.standard_normal(m // 2 + 1) + 1j * rng.standard_normal(m // 2 + 1)
    spectrum /= np.sqrt(np.maximum(np.arange(m // 2 + 1), 1))
    x = np.fft.irfft(spectrum)[:n]
    return (x / x.std()).astype(np.float32)


def stretch(pool, rng, n):
    """n samples out of a pool of clips, joined."""
    parts, have = [], 0
    while have < n + RATE // 2:
        clip = pool(rng)
        clip = clip / (np.abs(clip).max() + 1e-6)
        parts.append(clip)
        have += len(clip)
    x = np.concatenate(parts)
    at = rng.integers(len(x) - n + 1)
    return x[at : at + n]


def noise(kind, pool, rng, n):
    """n samples of unit power."""
    if kind == "pink":
        return pink(rng, n)
    if kind == "white":
        return rng.standard_normal(n).astype(np.float32)
    x = sum(stretch(pool, rng, n) for _ in range({"babble": 4, "voice": 1, "two": 2}[kind]))
    return (x / (x.std() + 1e-6)).astype(np.float32)


def mixed(x, active, other, snr_db):
    """x plus noise of unit power, so many dB below the power of x where it is active."""
    power = (x[active[0] : active[1]] ** 2).mean() + 1e-9
    return x + other * np.sqrt(power / 10 ** (snr_db / 10))


def varied(x, rng):
    """The same in another tempo and pitch."""
    return resample_poly(x, int(rng.integers(88, 114)), 100).astype(np.float32)


def coloured(x, rng):
    """Through another room and microphone: a few reflections, a tilt, a band."""
    if rng.random() < 0.5:
        tail = rng.standard_normal(int(rng.uniform(0.05, 0.25) * RATE))
        decay = np.exp(-6.9 * np.arange(len(tail)) / len(tail))
        room = np.concatenate([[1.0], np.zeros(int(rng.uniform(0.002, 0.012) * RATE)), tail * decay * rng.uniform(0.01, 0.06)])
        x = fftconvolve(x, room)[: len(x)]
    if rng.random() < 0.5:
        x = lfilter([1, rng.uniform(-0.6, 0.6)], [1], x)
    if rng.random() < 0.3:
        a = np.exp(-2 * np.pi * rng.uniform(80, 350) / RATE)
        x = lfilter([1, -1], [1, -a], x)
    return x.astype(np.float32)


def positive(x, pool, rng, plain=False, crowd=False):
    """A training take of a clip of the word, as it is, varied, or in babble: (samples, word begins, word ends)."""
    y = x if plain else varied(x, rng)
    a, b = spoken(y)
    a, b = max(0, a - 800), min(len(y), b + 400)
    y = y[a:b]
    lead = int((rng.uniform(0.0, 0.3) if rng.random() < 0.15 else rng.uniform(1.3, 1.7)) * RATE)
    tail = int(rng.uniform(0.5, 0.7) * RATE)
    whole = np.zeros(lead + len(y) + tail, np.float32)
    whole[lead : lead + len(y)] = y
    peak = np.abs(y).max()
    if rng.random() < 0.6:  # a command follows, at once or after a breath, and talk may go before
        gap = int(rng.uniform(0.0, 0.25) * RATE)
        after = pool(rng)[: tail - gap] if rng.random() < 0.6 else stretch(pool, rng, tail - gap)
        at = len(whole) - tail + gap - 400
        whole[at : at + len(after)] += after / (np.abs(after).max() + 1e-6) * peak * rng.uniform(0.5, 1.0)
        if rng.random() < 0.4:
            gap = int(rng.uniform(0.1, 0.4) * RATE)
            if lead > gap:
                whole[: lead - gap] += stretch(pool, rng, lead - gap) * peak * rng.uniform(0.3, 1.0)
    if not plain:
        whole = coloured(whole, rng)
    # The floor of a room: never digital silence for long.
    whole = mixed(whole, (lead, lead + len(y)), pink(rng, len(whole)), rng.uniform(30, 50))
    if crowd:
        whole = mixed(whole, (lead, lead + len(y)), noise("babble", pool, rng, len(whole)), rng.uniform(6, 14))
    elif not plain and rng.random() < 0.75:
        kind = str(rng.choice(["pink", "white", "babble", "babble", "babble", "two", "voice"]))
        low = 5 if kind in ("pink", "white", "babble") else 8
        whole = mixed(whole, (lead, lead + len(y)), noise(kind, pool, rng, len(whole)), rng.uniform(low, 25))
    whole *= 10 ** (rng.uniform(-32, -1) / 20) / (np.abs(whole).max() + 1e-6)
    shift = int(rng.integers(CHUNK))
    return np.concatenate([np.zeros(shift, np.float32), whole]), shift + lead + 800, shift + lead + len(y) - 400


def half(x, pool, rng):
    """Half of the word, with something else for the rest: no word."""
    y = varied(x, rng)
    a, b = spoken(y)
    cut = a + int((b - a) * rng.uniform(0.4, 0.65))
    other = stretch(pool, rng, int(rng.uniform(0.3, 0.8) * RATE)) * np.abs(y).max() * rng.uniform(0.5, 1)
    quiet = rng.random() < 0.25
    if quiet:
        other = other * 0
    parts = [y[max(0, a - 800) : cut], other] if rng.random() < 0.5 else [other, y[cut:b]]
    return talk(np.concatenate(parts), pool, rng)


def talk(x, pool, rng, lead=0.4):
    """A training take of what is no wake word, after a little of the room."""
    n = int(lead * RATE)
    x = coloured(np.concatenate([np.zeros(n, np.float32), x, np.zeros(RATE // 4, np.float32)]), rng)
    active = (n, len(x) - RATE // 4)
    whole = mixed(x, active, pink(rng, len(x)), rng.uniform(25, 50))
    if rng.random() < 0.3:
        kind = str(rng.choice(["pink", "white", "babble", "two"]))
        whole = mixed(whole, active, noise(kind, pool, rng, len(whole)), rng.uniform(5, 25))
    return whole * 10 ** (rng.uniform(-30, -1) / 20) / (np.abs(whole).max() + 1e-6)


def quiet_lead(x, rng, seconds=2.1):
    """A clip after enough quiet room for a full window, and half a second after it."""
    n = int(seconds * RATE)
    y = np.concatenate([np.zeros(n, np.float32), x, np.zeros(RATE // 2, np.float32)])
    return y + pink(rng, len(y)) * max(np.abs(x).max() * 10 ** (-55 / 20), 1e-5)


def streams(clips, rng, seconds=60):
    """Clips one after another with short breaths, in a quiet room, cut into minutes."""
    parts, have = [], 0
    for x in clips:
        parts += [x / (np.abs(x).max() + 1e-6) * rng.uniform(0.1, 0.7), np.zeros(int(rng.uniform(0.15, 0.6) * RATE), np.float32)]
        have += len(parts[-1]) + len(parts[-2])
        if have > seconds * RATE:
            x = np.concatenate(parts).astype(np.float32)
            yield x + pink(rng, len(x)) * 0.0006
            parts, have = [], 0


front = None


def embed(x):
    global front
    front = front or Front()
    return front(x)
