"""Trains the heads of wake words and stop word, measures them on what was kept out, and writes `WORD.onnx` beside this file.

    nice python onnx/wake/train.py --speech ../shared/speech --work target/wake [--words computer,jarvis,stop]

`--speech` holds recordings of people, if there are any of the word: `wake/WORD/*.flac` (one word a clip). A fifth of them,
chosen by a hash of the file name, is never trained on; `coffee/*.flac` only measures false accepts. `--work` holds what
`speak.py` made (`sound/`); a word without recordings is trained and measured on that alone, with the voices of `--held` runs
kept out. The two graphs in front of the heads are used as they are (see README.md). Embeddings are kept in `--work`.
"""

import argparse, functools, hashlib, json, multiprocessing, sys, time
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort

import speak
import takes
from takes import CHUNK, HERE, RATE, WINDOW, Spoken, read

NEAR = ["alexa", "smart_mirror", "snowboy", "view_glass"]
CONDITIONS = ["clean", "pink", "babble"]
THRESHOLDS = [0.5, 0.7, 0.8, 0.9, 0.95, 0.97, 0.98, 0.99]


def held_out(name):
    """One name in five, for ever the same ones."""
    return int(hashlib.sha256(name.encode()).hexdigest(), 16) % 5 == 0


@functools.cache
def people(speech, word, held):
    """Recordings of a word."""
    return [read(p) for p in sorted((speech / "wake" / word.replace(" ", "_")).glob("*.flac")) if held_out(p.name) == held]


@functools.cache
def runs(work, held):
    """Runs of speak.py by name."""
    found = [Spoken(p) for p in sorted((work / "sound").glob("*.jsonl")) if p.stat().st_size]
    return {run.name: run for run in found if run.name.endswith("-held") == held}


def pool(work, speech, held):
    """A function that draws clips of talk to make babble and what follows a word of."""
    talk = [run for name, run in runs(work, held).items() if name.startswith("talk-")]
    share = np.array([len(run) for run in talk], float)
    human = [x for w in NEAR for x in people(speech, w, held)]

    def draw(rng):
        if human and rng.random() < 0.2:
            return human[rng.integers(len(human))]
        run = talk[rng.choice(len(talk), p=share / share.sum())]
        return run[rng.integers(len(run))]
    return draw


def seed_of(name):
    return int(hashlib.sha256(name.encode()).hexdigest()[:8], 16)


def train_takes(name, args):
    """Takes of one set: (kind, samples, begin, end)."""
    rng, draw = np.random.default_rng(seed_of(name)), pool(args.work, args.speech, False)
    what, _, rest = name.partition(":")
    if what == "people":
        for x in people(args.speech, rest, False):
            for k in range(args.each if rest not in NEAR else 3):
                yield rest.replace("_", " "), *takes.positive(x, draw, rng, k == 0)
    elif what == "in babble":
        for x in people(args.speech, rest, False):
            for _ in range(4):
                yield rest.replace("_", " "), *takes.positive(x, draw, rng, crowd=True)
    elif what == "crowd":
        for i in range(500):
            x = takes.noise(["babble", "two"][i % 2], draw, rng, 10 * RATE)
            yield "talk", x * 10 ** (rng.uniform(-25, -3) / 20) / np.abs(x).max(), 0, 0
    elif what == "halves":
        for x in people(args.speech, rest, False):
            for _ in range(3):
                yield "talk", takes.half(x, draw, rng), 0, 0
    elif what == "noise":
        for i in range(90):
            x = takes.noise(["pink", "white", "babble", "two", "voice"][i % 5], draw, rng, 10 * RATE)
            yield "talk", x * 10 ** (rng.uniform(-40, -3) / 20) / np.abs(x).max(), 0, 0
    else:
        run = runs(args.work, False)[rest]
        word = rest.split("-")[0].replace("_", " ")
        for x in map(run.__getitem__, range(len(run))):
            if word == "talk":
                yield "talk", takes.talk(takes.varied(x, rng) if rng.random() < 0.3 else x, draw, rng), 0, 0
                continue
            for k in range(3 if "kokoro" in rest else 1):
                yield word, *takes.positive(x, draw, rng, False)
            if rng.random() < 0.4:
                yield "talk", takes.half(x, draw, rng), 0, 0


def test_takes(name, args):
    """Takes of one set that measures."""
    rng, draw = np.random.default_rng(seed_of(name)), pool(args.work, args.speech, True)
    what, _, rest = name.partition(":")
    if what in CONDITIONS:
        clips = people(args.speech, rest, True) or [
            run[i] for n, run in runs(args.work, True).items() if n.split("-")[0] == rest.replace(" ", "_") for i in range(len(run))]
        for x in clips:
            y, (a, b) = takes.quiet_lead(x, rng), takes.spoken(x)
            n = int(2.1 * RATE)
            if what != "clean":
                y = takes.mixed(y, (a + n, b + n), takes.noise(what, draw, rng, len(y)), 10)
            yield rest, y / max(1, np.abs(y).max()), a + n, b + n
    elif what == "other word":
        for x in people(args.speech, rest, True):
            yield rest.replace("_", " "), takes.quiet_lead(x, rng), 0, 0
    elif what == "folder":
        said = Path(rest) / "voices.json"  # what each clip says, where that is known
        said = json.loads(said.read_text()) if said.exists() else {}
        for p in sorted(Path(rest).rglob("*.flac")):
            if speak.forbidden(args.words).search(said.get(p.name, {}).get("text", "")):
                continue
            yield "talk", takes.quiet_lead(read(p), rng, 1.0), 0, 0
    elif what == "noise":
        for i in range(60):
            x = takes.noise(["pink", "white"][i % 2], draw, rng, 10 * RATE)
            yield "talk", x * 10 ** (rng.uniform(-40, -3) / 20) / np.abs(x).max(), 0, 0
    elif what == "crowd":
        for i in range(60):
            x = takes.noise(["babble", "two"][i % 2], draw, rng, 60 * RATE)
            yield "talk", x * 10 ** (rng.uniform(-25, -3) / 20) / np.abs(x).max(), 0, 0
    else:
        run = runs(args.work, True)[rest]
        for x in takes.streams(map(run.__getitem__, range(len(run))), rng):
            yield "talk", x, 0, 0


def sets(args):
    """Names of the sets to train on and to measure with."""
    train = [f"people:{w}" for w in args.words + NEAR if people(args.speech, w, False)]
    train += [f"{kind}:{w}" for w in args.words if people(args.speech, w, False) for kind in ("in babble", "halves")]
    train += ["noise:", "crowd:"]
    train += [f"run:{n}" for n in runs(args.work, False)]
    test = [f"{c}:{w}" for w in args.words for c in CONDITIONS]
    test += [f"other word:{w}" for w in args.words + NEAR if people(args.speech, w, True)]
    test += [f"folder:{f}" for f in [args.speech / "coffee", *args.talk]] + ["noise:", "crowd:"]
    return train, test + [f"run:{n}" for n in runs(args.work, True) if n.startswith("talk-")]


def gather(task):
    """Embeddings of a set, kept: a list of (kind, E [chunks - 9, 96], begin, end, samples)."""
    name, part, args = task
    kept = args.work / "embedded" / (f"{part}-{name}".replace("/", "_").replace(":", "-").replace(" ", "_") + ".npz")
    if kept.exists():
        return
    started, out = time.time(), []
    for kind, x, begin, end in (train_takes if part == "train" else test_takes)(name, args):
        out.append((kind, takes.embed(x.astype(np.float32)), begin, end, len(x)))
    lengths = np.array([len(e) for _, e, *_ in out])
    flat = np.concatenate([e for _, e, *_ in out])
    rest = json.dumps([(k, int(b), int(e), int(n)) for k, _, b, e, n in out])
    np.savez(kept.with_suffix(".tmp.npz"), flat=flat, lengths=lengths, rest=rest)
    kept.with_suffix(".tmp.npz").rename(kept)
    print(part, name, len(out), "takes", round(sum(n for *_, n in out) / RATE / 3600, 3), "h", round(time.time() - started), "s", flush=True)


def load(name, part, args):
    kept = args.work / "embedded" / (f"{part}-{name}".replace("/", "_").replace(":", "-").replace(" ", "_") + ".npz")
    data = np.load(kept)
    parts = np.split(data["flat"], np.cumsum(data["lengths"])[:-1])
    return [(k, e, b, end, n) for e, (k, b, end, n) in zip(parts, json.loads(str(data["rest"])))]


def windows(word, train):
    """E [n, 96] of all takes, and the first rows of windows: positive, negative, and of people's positives."""
    parts, at, positive, negative, human = [], 0, [], [], []
    for origin, (kind, e, begin, end, _) in train:
        if not len(e):
            continue
        # Windows may begin before the take: the room was quiet, which the first row stands for.
        parts.append(np.concatenate([np.repeat(e[:1], WINDOW - 1, 0), e]))
        last = (np.arange(len(e)) + 10) * CHUNK  # the sample at which a window ends
        rows = at + np.arange(len(e))
        if kind != word:
            negative.append(rows)
        else:
            hit = rows[(end - 0.02 * RATE <= last) & (last <= end + 0.40 * RATE)]
            (human if origin.startswith(("people", "in babble")) else positive).append(hit)
            negative.append(rows[last < begin + 0.45 * (end - begin)])
        at += len(e) + WINDOW - 1
    join = lambda x: np.concatenate(x) if x else np.zeros(0, int)
    return np.concatenate(parts).astype(np.float32), join(positive), join(negative), join(human)


def fit(word, train, steps, seed=0):
    """One fit's weights: two convolutions over time and two dense layers."""
    import torch
    from torch import nn

    torch.manual_seed(seed)
    torch.set_num_threads(1)
    rng = np.random.default_rng(seed)
    e, positive, negative, human = windows(word, train)
    print(word, len(e), "rows,", len(positive), "positive spoken,", len(human), "by people,", len(negative), "negative", flush=True)
    mean, scale = e.mean(0), e.std(0) + 1e-3
    e = torch.from_numpy((e - mean) / scale)
    net = nn.Sequential(nn.Conv1d(96, 32, 3), nn.ReLU(), nn.Conv1d(32, 32, 3), nn.ReLU(), nn.Flatten(), nn.Dropout(0.3),
                        nn.Linear(32 * 12, 32), nn.ReLU(), nn.Linear(32, 1))
    optimizer = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=3e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps, pct_start=0.1)
    span = np.arange(WINDOW)
    view = lambda starts: e[torch.from_numpy(starts[:, None] + span)].transpose(1, 2)
    hard = negative
    for step in range(steps):
        if step and step % 250 == 0:  # the negatives that look most like the word
            net.eval()
            with torch.no_grad():
                some = rng.choice(negative, min(len(negative), 120000), replace=False)
                scores = torch.cat([net(view(part))[:, 0] for part in np.array_split(some, 120)]).numpy()
            hard = some[np.argsort(-scores)[:3000]]
            net.train()
        n = 48 if len(human) and len(positive) else 80
        batch = [rng.choice(p, n) for p in (human, positive) if len(p)]
        ones = sum(map(len, batch))
        batch += [rng.choice(negative, 96), rng.choice(hard, 160)]
        x = view(np.concatenate(batch))
        x = x + torch.randn_like(x) * 0.25
        y = torch.zeros(len(x))
        y[:ones] = 1
        loss = nn.functional.binary_cross_entropy_with_logits(net(x)[:, 0], y)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        if step % 250 == 249:
            print(word, step + 1, f"loss {loss.item():.4f}", flush=True)
    state = {k: v.detach().numpy() for k, v in net.state_dict().items()}
    return {"mean": mean, "scale": scale, **state}


def write(word, fits, path):
    """Writes a head, the mean of several fits' logits: `embeddings` f32 [1, 16, 96] -> `score` f32 [1, 1] in [0, 1]."""
    from onnx import TensorProto, helper, numpy_helper

    node, nodes, tensors = helper.make_node, [], []
    for i, weights in enumerate(fits):
        p = f"{i}/"
        tensors += [numpy_helper.from_array(w.astype(np.float32), p + n) for n, w in weights.items()]
        nodes += [node("Sub", ["embeddings", p + "mean"], [p + "a"]), node("Div", [p + "a", p + "scale"], [p + "b"]),
                  node("Transpose", [p + "b"], [p + "c"], perm=[0, 2, 1]),
                  node("Conv", [p + "c", p + "0.weight", p + "0.bias"], [p + "d"]), node("Relu", [p + "d"], [p + "e"]),
                  node("Conv", [p + "e", p + "2.weight", p + "2.bias"], [p + "f"]), node("Relu", [p + "f"], [p + "g"]),
                  node("Flatten", [p + "g"], [p + "h"]),
                  node("Gemm", [p + "h", p + "6.weight", p + "6.bias"], [p + "i"], transB=1), node("Relu", [p + "i"], [p + "j"]),
                  node("Gemm", [p + "j", p + "8.weight", p + "8.bias"], [p + "k"], transB=1)]
    nodes += [node("Mean", [f"{i}/k" for i in range(len(fits))], ["logit"]), node("Sigmoid", ["logit"], ["score"])]
    graph = helper.make_graph(nodes, word.replace(" ", "_"),
                              [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, [1, WINDOW, 96])],
                              [helper.make_tensor_value_info("score", TensorProto.FLOAT, [1, 1])], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="hearth")
    onnx.checker.check_model(model)
    onnx.save(model, path)


def logits(w, x):
    """A fit's logits of windows [n, 16, 96]."""
    def conv(x, k, b):  # [n, t, c] with kernel [o, c, 3]
        return sum(x[:, i : x.shape[1] - 2 + i] @ k[:, :, i].T for i in range(3)) + b
    x = (x - w["mean"]) / w["scale"]
    x = np.maximum(conv(x, w["0.weight"], w["0.bias"]), 0)
    x = np.maximum(conv(x, w["2.weight"], w["2.bias"]), 0)
    x = x.transpose(0, 2, 1).reshape(len(x), -1)
    x = np.maximum(x @ w["6.weight"].T + w["6.bias"], 0)
    return (x @ w["8.weight"].T + w["8.bias"])[:, 0]


def head_of(fits):
    """The head as a function of windows [n, 16, 96], as the graph computes it."""
    return lambda x: 1 / (1 + np.exp(-np.clip(np.mean([logits(w, x) for w in fits], 0), -60, 60)))


def fits_of(path):
    """The fits in a head's file."""
    from onnx import numpy_helper
    fits = {}
    for t in onnx.load(path).graph.initializer:
        i, name = t.name.split("/") if "/" in t.name else ("0", t.name)
        fits.setdefault(i, {})[name] = numpy_helper.to_array(t)
    return list(fits.values())


def scores(head, e):
    """The daemon's score per chunk: the mean of two."""
    if len(e) <= WINDOW:
        return np.zeros(0)
    e = e.astype(np.float32)
    view = np.lib.stride_tricks.sliding_window_view(e, WINDOW, 0).transpose(0, 2, 1)
    raw = np.concatenate([head(view[at : at + 2000]) for at in range(0, len(view), 2000)])
    return np.convolve(raw, [0.5, 0.5], "valid")


def wakes(score, threshold):
    """How often it wakes, two seconds apart."""
    count, free = 0, 0
    for i in np.flatnonzero(score >= threshold):
        if i >= free:
            count, free = count + 1, i + 25
    return count


def measure(word, args, head):
    """Misses by condition, false accepts by set, and how long after the word it wakes."""
    report = {"word": word, "thresholds": {}, "hours": {}}
    hits = {c: [(scores(head, e), end) for _, e, _, end, _ in load(f"{c}:{word}", "test", args)] for c in CONDITIONS}
    false = {}
    for name in sets(args)[1]:
        if name.split(":")[0] in CONDITIONS or name == f"other word:{word}":
            continue
        data = load(name, "test", args)
        title = name if not name.startswith("other") else "other words"
        title = title if not name.startswith("folder") else "folder:" + Path(name).name
        false.setdefault(title, []).extend(scores(head, e) for _, e, *_ in data)
        report["hours"][title] = report["hours"].get(title, 0) + sum(n for *_, n in data) / RATE / 3600
    for t in THRESHOLDS:
        row = {c: f"{sum(s.max(initial=0) < t for s, _ in found)}/{len(found)}" for c, found in hits.items()}
        late = [((np.argmax(s >= t) + WINDOW + 10) * CHUNK - end) / RATE * 1000 for s, end in hits["clean"] if (s >= t).any()]
        row["late_ms"] = [int(np.percentile(late, p)) for p in (50, 95)] if late else []
        row["false"] = {n: c for n, s in false.items() if (c := sum(wakes(x, t) for x in s))}
        row["false_all"] = sum(row["false"].values())
        report["thresholds"][str(t)] = row
    report["hours_all"] = round(sum(report["hours"].values()), 2)
    report["hours"] = {n: round(h, 3) for n, h in report["hours"].items()}
    return report


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--speech", type=Path, default=Path("../shared/speech"))
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--words", type=lambda s: s.split(","), default=["computer", "jarvis", "stop"])
    parser.add_argument("--talk", type=Path, nargs="*", default=[], help="folders of other speech to measure with")
    parser.add_argument("--out", type=Path, default=HERE)
    parser.add_argument("--each", type=int, default=6, help="takes of each recording of a word")
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--fits", type=int, default=3, help="fits of a head, of which the mean counts")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--gather-only", action="store_true")
    parser.add_argument("--measure-only", action="store_true")
    args = parser.parse_args()
    (args.work / "embedded").mkdir(parents=True, exist_ok=True)
    train, test = sets(args)
    for part, names in ("train on", train), ("measure with", test):
        if not any(name.startswith("run:talk-") for name in names):
            sys.exit(f"there is no talk to {part}: speak some (speak.py --what talk, and the same with --held)")
    with multiprocessing.Pool(args.workers) as workers:
        tasks = [(n, "train", args) for n in train] + [(n, "test", args) for n in test]
        list(workers.imap_unordered(gather, tasks))
    if args.gather_only:
        return
    data = None if args.measure_only else [(n, take) for n in train for take in load(n, "train", args)]
    for word in args.words:
        path = args.out / f"{word.replace(' ', '_')}.onnx"
        if not args.measure_only:
            write(word, [fit(word, data, args.steps, args.seed + i) for i in range(args.fits)], path)
        report = measure(word, args, head_of(fits_of(path)))
        (args.work / f"{word}.json").write_text(json.dumps(report, indent=1))
        print(json.dumps(report), flush=True)


if __name__ == "__main__":
    main()
