"""Trains the wake word heads, measures them on clips that were kept out, and writes `WORD.onnx` beside this file.

    nice -n 19 python onnx/wake/train.py --speech ../shared/speech --work target/wake [--talk FOLDER ...]

`--speech` holds `wake/WORD/*.flac` (one word a clip) and `coffee/*.flac`. A fifth of the clips of each word, chosen by
a hash of the file name, is never trained on; `coffee` and every `--talk` folder only measure false accepts. Talk to
train on is spoken by espeak-ng and flite. The two graphs in front of the heads are used as they are (see README.md).
"""

import argparse, hashlib, json, multiprocessing, pydoc_data.topics, re, subprocess
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import soundfile
from scipy.signal import resample_poly

HERE = Path(__file__).resolve().parent
WORDS = ["computer", "jarvis"]
NEAR = ["alexa", "smart_mirror", "snowboy", "view_glass"]
RATE, CHUNK, CONTEXT = 16000, 1280, 480  # samples; a chunk of 80 ms gives 8 rows of mel with 480 samples before it
WINDOW, ROWS = 16, 76  # embeddings a head sees; rows of mel an embedding sees
NEAR_TEXT = """the commuter train; compute the sum; computing takes time; a computed value; come here to me; the commute
was long; come put her coat here; recruiter; a tutor; community; competitor; compete here; the scooter; more pewter; the
jar is empty; jarring; a jar of ice; java is an island; harvest; drivers; the service; Travis; Davis; Charles; jars of
jam; carvings; job is done; jaw; garden; nervous; a jury; just this; charms; Jeff is here; starving; marvellous; Jarrett;
kitchen; computation; compute or not; compact; comparing; future; pewter; suitor; Jupiter""".replace("\n", " ")


def held_out(name):
    """One name in five, for ever the same ones."""
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % 5 == 0


def read(path):
    """16 kHz mono floats."""
    x, rate = soundfile.read(path, dtype="float32")
    x = x if x.ndim == 1 else x.mean(1)
    return x if rate == RATE else resample_poly(x, RATE, rate).astype(np.float32)


class Front:
    """mel and embedding, chunk by chunk as the daemon runs them."""

    def __init__(self):
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        self.mel = ort.InferenceSession(str(HERE / "melspectrogram.onnx"), options)
        self.embedding = ort.InferenceSession(str(HERE / "embedding_model.onnx"), options)

    def __call__(self, x):
        """[samples] in [-1, 1] -> [chunks - 9, 96]; row i ends with chunk i + 9."""
        x = np.concatenate([np.zeros(CONTEXT, np.float32), x * 32768])
        rows = [self.mel.run(None, {"input": x[None, i : i + CONTEXT + CHUNK]})[0].reshape(-1, 32)
                for i in range(0, len(x) - CONTEXT - CHUNK + 1, CHUNK)]
        mel = np.maximum(np.concatenate(rows) / 10 + 2, 0)
        starts = range(4, len(mel) - ROWS + 1, 8)  # 76 rows end with a chunk: 80 - 76
        windows = np.stack([mel[i : i + ROWS] for i in starts])[..., None] if len(mel) >= 80 else np.zeros((0, ROWS, 32, 1))
        out = [self.embedding.run(None, {"input_1": windows[i : i + 32].astype(np.float32)})[0].reshape(-1, 96)
               for i in range(0, len(windows), 32)]
        return np.concatenate(out).astype(np.float16) if out else np.zeros((0, 96), np.float16)


def spoken(x):
    """Where a clip's word begins and ends: what stands out of its own noise."""
    n = len(x) // 160
    level = 20 * np.log10(np.sqrt((x[: n * 160].reshape(n, 160) ** 2).mean(1)) + 1e-6)
    loud = np.flatnonzero(level > max(level.max() - 25, np.percentile(level, 10) + 0.35 * np.ptp(level)))
    return loud[0] * 160, (loud[-1] + 1) * 160


def pink(rng, n):
    spectrum = np.fft.rfft(rng.standard_normal(n))
    spectrum /= np.sqrt(np.maximum(np.arange(len(spectrum)), 1))
    x = np.fft.irfft(spectrum, n)
    return (x / x.std()).astype(np.float32)


def stretch(pool, rng, n):
    """n samples out of a list of clips, joined."""
    parts, have = [], 0
    while have < n:
        clip = pool[rng.integers(len(pool))]
        clip = clip / (np.abs(clip).max() + 1e-6)
        parts.append(clip)
        have += len(clip)
    x = np.concatenate(parts)
    at = rng.integers(len(x) - n + 1)
    return x[at : at + n]


def babble(pool, rng, n, voices=4):
    x = sum(stretch(pool, rng, n) for _ in range(voices))
    return (x / (x.std() + 1e-6)).astype(np.float32)


def noise(kind, pool, rng, n):
    if kind == "pink":
        return pink(rng, n)
    if kind == "white":
        return rng.standard_normal(n).astype(np.float32)
    return babble(pool, rng, n, {"babble": 4, "voice": 1, "two": 2}[kind])


def mixed(x, active, other, snr_db):
    """x plus noise of unit power, so many dB below the power of x where it is active."""
    power = (x[active[0] : active[1]] ** 2).mean() + 1e-9
    return x + other * np.sqrt(power / 10 ** (snr_db / 10))


def talk(work):
    """Synthesised talk, (name, samples): half with the near words, half prose of Python's manual."""
    folder = work / "talk"
    if not (folder / "done").exists():
        folder.mkdir(parents=True, exist_ok=True)
        rng = np.random.default_rng(7)
        prose = re.sub(r"[^A-Za-z,. ]+", " ", " ".join(pydoc_data.topics.topics.values()))
        prose = [" ".join(s.split()) for s in prose.split(". ")]
        prose = [s for s in prose if 30 < len(s) < 160 and not re.search("comput|jarvis", s, re.I)]
        near = [s.strip() for s in NEAR_TEXT.split(";")]
        espeak = ["en-us", "en-gb", "en-gb-scotland", "en-029", "en-gb-x-rp", "en-gb-x-gbclan", "en-us-nyc"]
        variants = ["", "+f2", "+f4", "+m2", "+m5", "+m7", "+croak", "+klatt2"]
        for i in range(1500):
            text = ". ".join(rng.choice(near, 6)) if i % 2 else str(rng.choice(prose))
            out = folder / f"{i:04}.wav"
            if i % 3:
                voice = str(rng.choice(espeak)) + str(rng.choice(variants))
                speak = ["espeak-ng", "-v", voice, "-s", str(rng.integers(120, 200)), "-p", str(rng.integers(20, 80)), "-w", out, text]
            else:
                speak = ["flite", "-voice", ["awb", "kal", "rms", "slt"][rng.integers(4)], "-t", text, "-o", out]
            subprocess.run([str(a) for a in speak], check=False, capture_output=True)
        (folder / "done").touch()
    return [(p.name, read(p)) for p in sorted(folder.glob("*.wav")) if p.stat().st_size > 8000]


def takes(word, clips, pool, seed, each):
    """Training takes of a word's clips: (samples, word begins, word ends)."""
    rng = np.random.default_rng(seed)
    for _, x in clips:
        for k in range(each):
            y = x
            if k:
                up = int(rng.integers(88, 113))
                y = resample_poly(x, up, 100).astype(np.float32)
            a, b = spoken(y)
            a, b = max(0, a - 800), min(len(y), b + 400)
            y = y[a:b]
            lead = int(rng.uniform(1.3, 1.7) * RATE)
            if rng.random() < 0.15:
                lead = int(rng.uniform(0.0, 0.3) * RATE)
            tail = int(rng.uniform(0.5, 0.7) * RATE)
            whole = np.zeros(lead + len(y) + tail, np.float32)
            whole[lead : lead + len(y)] = y
            peak = np.abs(y).max()
            if rng.random() < 0.5:  # a command follows at once, or talk goes before
                after = stretch(pool, rng, tail)
                whole[-tail:] += after * peak * rng.uniform(0.5, 1.0)
                if rng.random() < 0.4:
                    gap = int(rng.uniform(0.1, 0.4) * RATE)
                    if lead > gap:
                        whole[: lead - gap] += stretch(pool, rng, lead - gap) * peak * rng.uniform(0.3, 1.0)
            # The floor of a room: never digital silence for long.
            whole = mixed(whole, (lead, lead + len(y)), noise("pink", pool, rng, len(whole)), rng.uniform(30, 50))
            if k and rng.random() < 0.75:
                kind = str(rng.choice(["pink", "white", "babble", "babble", "two", "voice"]))
                low = 3 if kind in ("pink", "white", "babble") else 8
                whole = mixed(whole, (lead, lead + len(y)), noise(kind, pool, rng, len(whole)), rng.uniform(low, 25))
            whole *= 10 ** (rng.uniform(-32, -1) / 20) / (np.abs(whole).max() + 1e-6)
            shift = int(rng.integers(CHUNK))
            yield np.concatenate([np.zeros(shift, np.float32), whole]), shift + lead + 800, shift + lead + len(y) - 400


def others(pool, seed, seconds):
    """Noise and babble alone."""
    rng = np.random.default_rng(seed)
    for i in range(int(seconds / 10)):
        kind = ["pink", "white", "babble", "two", "voice"][i % 5]
        x = noise(kind, pool, rng, 10 * RATE)
        yield x * 10 ** (rng.uniform(-40, -3) / 20) / np.abs(x).max()


front = None


def embed(x):
    global front
    front = front or Front()
    return front(x)


def embed_all(pool, items):
    return list(pool.imap(embed, items, chunksize=8))


def quiet_lead(x, rng, seconds=2.1):
    """A clip after enough quiet room for a full window, and half a second after it."""
    n = int(seconds * RATE)
    y = np.concatenate([np.zeros(n, np.float32), x, np.zeros(RATE // 2, np.float32)])
    return y + pink(rng, len(y)) * max(np.abs(x).max() * 10 ** (-55 / 20), 1e-5)


def gather(args):
    """All embeddings, cached: {"train": [(kind, E, begin, end)], "test": {...}}."""
    cache = args.work / "embeddings.npz"
    if cache.exists():
        return np.load(cache, allow_pickle=True)["data"].item()
    clips = {w: [(p.name, read(p)) for p in sorted((args.speech / "wake" / w).glob("*.flac"))] for w in WORDS + NEAR}
    train = {w: [c for c in clips[w] if not held_out(c[0])] for w in clips}
    test = {w: [c for c in clips[w] if held_out(c[0])] for w in clips}
    speech = talk(args.work)
    talk_train = [x for name, x in speech if not held_out(name)]
    talk_test = [x for name, x in speech if held_out(name)]
    near_train = [x for w in NEAR for _, x in train[w]]
    pool_train, pool_test = talk_train[:200] + near_train, talk_test + [x for w in NEAR for _, x in test[w]]
    rng = np.random.default_rng(1)
    data = {"train": [], "test": {}, "hours": {}}
    with multiprocessing.Pool(2) as workers:
        for w in WORDS + NEAR:
            made = list(takes(w, train[w], pool_train, len(data["train"]), 8 if w in WORDS else 4))
            data["train"] += list(zip([w] * len(made), embed_all(workers, [m[0] for m in made]), [m[1] for m in made], [m[2] for m in made]))
            print(w, len(train[w]), "clips,", len(made), "takes", flush=True)
        loud = lambda x: x * 10 ** (rng.uniform(-25, -1) / 20) / (np.abs(x).max() + 1e-6)
        for x in embed_all(workers, [loud(x) for x in talk_train] + list(others(pool_train, 3, 900))):
            data["train"].append(("talk", x, 0, 0))
        print("talk to train on:", round(sum(map(len, talk_train)) / RATE / 3600, 2), "h", flush=True)
        for w in WORDS:
            for condition in ["clean", "pink", "babble"]:
                xs = []
                for _, x in test[w]:
                    y = quiet_lead(x, rng)
                    a, b = spoken(x)
                    if condition != "clean":
                        y = mixed(y, (a + int(2.1 * RATE), b + int(2.1 * RATE)), noise(condition, pool_test, rng, len(y)), 10)
                    xs.append(y / max(1, np.abs(y).max()))
                data["test"][w, condition] = embed_all(workers, xs)
        false = {f"other word {w}": [quiet_lead(x, rng) for _, x in test[w]] for w in WORDS + NEAR}
        false["orders of people"] = [quiet_lead(read(p), rng) for p in sorted((args.speech / "coffee").glob("*.flac"))]
        false["synthesised talk"] = [quiet_lead(x, rng) for x in talk_test]
        false["noise and babble"] = list(others(pool_test, 4, 900))
        for folder in args.talk:
            false[f"talk: {folder.name}"] = [quiet_lead(read(p), rng) for p in sorted(folder.rglob("*.flac"))]
        for name, xs in false.items():
            data["test"]["false", name] = embed_all(workers, xs)
            data["hours"][name] = sum(map(len, xs)) / RATE / 3600
            print(name, round(data["hours"][name], 3), "h", flush=True)
    np.savez(cache, data=np.array(data, dtype=object))
    return data


def windows(word, train):
    """E [n, 96] of all takes, and the first rows of windows: positive, negative."""
    parts, at, positive, negative = [], 0, [], []
    for kind, e, begin, end in train:
        n = len(e) + WINDOW - 1
        # Windows may begin before the take: the room was quiet, which the first row stands for.
        parts.append(np.concatenate([np.repeat(e[:1], WINDOW - 1, 0), e]) if len(e) else np.zeros((0, 96), np.float16))
        for i in range(len(e)):
            last = (i + 10) * CHUNK  # the sample at which window i ends
            if kind != word:
                negative.append(at + i)
            elif end <= last <= end + 0.40 * RATE:
                positive.append(at + i)
            elif last < begin + 0.45 * (end - begin):
                negative.append(at + i)
        at += n if len(e) else 0
    return np.concatenate(parts).astype(np.float32), np.array(positive), np.array(negative)


def fit(word, data, steps, seed=0):
    """The head's weights: two convolutions over time and two dense layers."""
    import torch
    from torch import nn

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    e, positive, negative = windows(word, data["train"])
    mean, scale = e.mean(0), e.std(0) + 1e-3
    e = torch.from_numpy((e - mean) / scale)
    net = nn.Sequential(nn.Conv1d(96, 32, 3), nn.ReLU(), nn.Conv1d(32, 32, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.2),
                        nn.Linear(32 * 12, 32), nn.ReLU(), nn.Linear(32, 1))
    optimizer = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.1)
    span = np.arange(WINDOW)
    view = lambda starts: e[torch.from_numpy(starts[:, None] + span)].transpose(1, 2)
    hard = negative
    for step in range(steps):
        if step and step % 250 == 0:  # the negatives that look most like the word
            net.eval()
            with torch.no_grad():
                some = rng.choice(negative, min(len(negative), 20000), replace=False)
                scores = torch.cat([net(view(part))[:, 0] for part in np.array_split(some, 40)]).numpy()
            hard = some[np.argsort(-scores)[:1000]]
            net.train()
        batch = [rng.choice(positive, 64), rng.choice(negative, 96), rng.choice(hard, 96)]
        x = view(np.concatenate(batch))
        x = x + torch.randn_like(x) * 0.15
        y = torch.zeros(256)
        y[:64] = 1
        loss = nn.functional.binary_cross_entropy_with_logits(net(x)[:, 0], y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 100 == 99:
            print(word, step + 1, f"loss {loss.item():.4f}", flush=True)
    state = {k: v.detach().numpy() for k, v in net.state_dict().items()}
    return {"mean": mean, "scale": scale, **state}


def write(word, weights, path):
    """Writes a head: `embeddings` f32 [1, 16, 96] -> `score` f32 [1, 1] in [0, 1]."""
    from onnx import TensorProto, helper, numpy_helper

    names = ["mean", "scale", "0.weight", "0.bias", "2.weight", "2.bias", "6.weight", "6.bias", "8.weight", "8.bias"]
    node = helper.make_node
    nodes = [node("Sub", ["embeddings", "mean"], ["a"]), node("Div", ["a", "scale"], ["b"]),
             node("Transpose", ["b"], ["c"], perm=[0, 2, 1]),
             node("Conv", ["c", "0.weight", "0.bias"], ["d"]), node("Relu", ["d"], ["e"]),
             node("Conv", ["e", "2.weight", "2.bias"], ["f"]), node("Relu", ["f"], ["g"]), node("Flatten", ["g"], ["h"]),
             node("Gemm", ["h", "6.weight", "6.bias"], ["i"], transB=1), node("Relu", ["i"], ["j"]),
             node("Gemm", ["j", "8.weight", "8.bias"], ["k"], transB=1), node("Sigmoid", ["k"], ["score"])]
    graph = helper.make_graph(nodes, word,
                              [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, [1, WINDOW, 96])],
                              [helper.make_tensor_value_info("score", TensorProto.FLOAT, [1, 1])],
                              [numpy_helper.from_array(weights[n].astype(np.float32), n) for n in names])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="hearth")
    onnx.checker.check_model(model)
    onnx.save(model, path)


def scores(head, e):
    """The daemon's score per chunk: the mean of two."""
    raw = [head.run(None, {"embeddings": e[None, i : i + WINDOW].astype(np.float32)})[0].item() for i in range(len(e) - WINDOW + 1)]
    return np.convolve(raw, [0.5, 0.5], "valid") if len(raw) > 1 else np.array(raw)


def wakes(score, threshold):
    """How often it wakes, two seconds apart."""
    count, free = 0, 0
    for i, s in enumerate(score):
        if s >= threshold and i >= free:
            count, free = count + 1, i + 25
    return count


def measure(word, data):
    head = ort.InferenceSession(str(HERE / f"{word}.onnx"))
    hits = {c: [scores(head, e).max(initial=0) for e in data["test"][word, c]] for c in ["clean", "pink", "babble"]}
    false = {name: [scores(head, e) for e in es] for (kind, name), es in data["test"].items()
             if kind == "false" and name != f"other word {word}"}
    hours = sum(data["hours"][name] for name in false)
    report = {"word": word, "hours": round(hours, 2), "thresholds": {}}
    for threshold in [0.3, 0.5, 0.7, 0.8, 0.9, 0.95, 0.98]:
        row = {c: f"{sum(h < threshold for h in hs)}/{len(hs)}" for c, hs in hits.items()}
        row["false"] = {name: n for name, s in false.items() if (n := sum(wakes(x, threshold) for x in s))}
        report["thresholds"][str(threshold)] = row
    report["false_hours"] = {name: round(data["hours"][name], 3) for name in false}
    return report


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--talk", type=Path, nargs="*", default=[])
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--measure-only", action="store_true")
    args = parser.parse_args()
    data = gather(args)
    for word in WORDS:
        if not args.measure_only:
            write(word, fit(word, data, args.steps), HERE / f"{word}.onnx")
        report = measure(word, data)
        (args.work / f"{word}.json").write_text(json.dumps(report, indent=1))
        print(json.dumps(report, indent=1), flush=True)


if __name__ == "__main__":
    main()
