"""Equalities inside our own graphs, without torch: a few seconds.

* lower then upper gives what the merged graph gives;
* a prompt in blocks gives what the whole prompt gives, also when only the lower half ran for
  the earlier blocks, and after a rewind;
* in place on one buffer gives bit for bit what a growing past gives;
* a past that lacks what is older than the window changes nothing in sliding layers;
* audio in whole chunks, cut anywhere, gives the same rows (the tower looks back only);
* audio streamed in blocks of any lengths gives the rows of the whole, also with a last row of
  1, 2 or 3 frames, and when an unfinished tail was tried from a state that is used again;
* the per-layer rows at placeholders are those of the pad token;
* a build that was stopped goes on and gives the same folder;
* a checkpoint folder (two shards, three dtypes) gives the graphs that its source gave;
* every look-alike gives what the plain merged graph of its precision gives;
* our graphs over the weights of a look-alike, found by structure, give what it gives, also when
  nothing in it has its name and its norms are written in other operators; one that computes
  something else is refused, and nothing is written;
* every recipe file is read, and wrong ones are refused; of each piece that ``errors`` measures, fp32
  is off by nothing, 8 bit by less than 5 %, and 4 bit by at least twice that and less than half;
* a head in several matrices gives bit for bit what it gives in one, and so in those over a look-alike.
"""

import json
import shutil
import tempfile
from pathlib import Path
from unittest.mock import patch

import numpy as np
import onnx
import onnxruntime as ort

from . import config as configs
from . import errors, recipes as stored, signals, text
from .adopt import adopt
from .disguise import disguise
from .fixtures import MAX_CONTEXT, SEED, recipe, recipes, write_fixtures
from .folder import build, fresh, write_graphs
from .published import Mismatch
from .precision import PARTS, Precision
from .runner import Folder
from .weights import HfCheckpoint, RandomWeights

LOOSE = {"lookalike-kv-fp16": 5e-2}
"""Relative error allowed where the arithmetic itself differs; elsewhere :data:`STRICT`."""
STRICT = 1e-4
STREAMED = 1e-5
"""For blocks of audio against the whole."""
ROUNDED = 5e-2
"""The same at level 4: a difference in the last bit may round an activation the other way, which
costs no more than rounding does anyway."""


def run() -> None:
    """Raises ``ValueError`` with every equality that fails."""
    failures = []
    with tempfile.TemporaryDirectory() as folder:
        names = write_fixtures(Path(folder))
        folders = {name: Folder(Path(folder) / name) for name in names}
        prompt = _prompt(folders["tiny-split-fp32"])
        for label, left, right, limit in _checks(folders, prompt):
            error = float(np.abs(left - right).max() / np.abs(right).max())
            passed = left.shape == right.shape and error <= limit
            print(f"{'ok  ' if passed else 'FAIL'} {label}: {error:.1e}")
            if not passed:
                failures.append(label)
        failures += _adoption(Path(folder), [name for name in names if name.startswith("lookalike-")])
        failures += _recipe_files() + _errors_by_bits()
        if not _goes_on(Path(folder)):
            failures.append("a build that was stopped gives another folder")
        if not _checkpoint_gives_same_graphs(Path(folder)):
            failures.append("a checkpoint folder gives other graphs than its source")
    if failures:
        raise ValueError("self-test: " + "; ".join(failures))


def _features(frames: int = 371) -> np.ndarray:
    """Numbers of the size of log-mel features (the real front end is not needed here)."""
    noise = signals.make(frames * 128, noise=3.0)
    return noise.reshape(frames, 128) - 2


def _prompt(folder: Folder):
    """Token rows around the rows of some audio."""
    mel = _features()
    audio = folder.encode(mel, np.ones(len(mel), bool))
    ids = [2, 15, 300, 280, *[20] * len(audio)]
    return folder.embed(ids, audio)


def _checks(folders: dict[str, Folder], prompt):
    """``(label, ours, expected, limit)`` for each equality."""
    split, merged = folders["tiny-split-fp32"], folders["tiny-merged-fp32"]
    rows, per_layer = prompt
    whole, past = split.step(rows, per_layer, split.empty(), keep=0)
    yield "lower + upper = merged", whole, merged.step(rows, per_layer, merged.empty(), 0)[0], STRICT
    last = merged.step(rows, per_layer, merged.empty(), 3)[0]
    yield "merged keeps the last 3 rows", last, whole[:, -3:], STRICT
    for cuts in ([20], [7, 20, 21], [1, 2, 3, 50], list(range(1, rows.shape[1]))):
        logits, present = _blocks(split, prompt, cuts, run_upper=False)
        label = f"blocks of the lower half, {len(cuts) + 1} of them"
        yield f"{label}: logits", logits, whole[:, -1:], STRICT
        yield f"{label}: KV", _flat(present), _flat(past), STRICT
    logits, _ = _blocks(merged, prompt, [7, 20, 21], run_upper=True)
    yield "blocks of the merged graph", logits, whole[:, -1:], STRICT
    for folder in (split, merged, folders["tiny-split-q4"], folders["tiny-split-q8"]):
        label = f"in place = concat, {folder.path.name}"
        yield label, *_in_place(folder, prompt), 0.0
    for room in (7, 8, 20):
        yield f"sliding layers with {room} rows of past", _windowed(split, prompt, room), whole[:, -1:], STRICT
    q8 = folders["tiny-split-q8"]
    yield "head in parts = in one", _head_in_parts(q8, prompt), q8.step(*prompt, q8.empty())[0], 0.0
    yield "upper half over longer buffers", _upper_over_buffers(split, prompt), whole, STRICT
    yield from _audio_checks(split)
    for name in ("tiny-split-fp32", "tiny-split-q4", "tiny-split-q8"):
        yield from _stream_checks(folders[name])
    yield from _embedding_checks(split)
    yield from _lookalike_checks(folders, prompt)


def _blocks(folder: Folder, prompt, cuts: list[int], run_upper: bool):
    """The prompt in blocks; the last block gives the logits of its last row."""
    rows, per_layer = prompt
    past, logits = folder.empty(), None
    for start, stop in zip([0, *cuts], [*cuts, rows.shape[1]]):
        wanted = run_upper or stop == rows.shape[1]
        block = rows[:, start:stop], per_layer[:, start:stop]
        logits, past = folder.step(*block, past, run_upper=wanted)
    return logits, past


def _windowed(folder: Folder, prompt, room: int) -> np.ndarray:
    """Logits of the last row when no sliding layer's past ever has more than ``room`` rows, of
    which a window of 8 needs 7."""
    rows, per_layer = prompt
    past, logits = folder.empty(), None
    own = {name.removesuffix("key") for name in folder.sliding}
    for start in range(0, rows.shape[1], 9):
        block = rows[:, start : start + 9], per_layer[:, start : start + 9]
        logits, past = folder.step(*block, past)
        for name in past:
            if name.removesuffix("key").removesuffix("value") in own:
                past[name] = past[name][:, :, -room:]
    return logits


def _head_in_parts(folder: Folder, prompt) -> np.ndarray:
    """Logits of the last row from a head that is cut in four."""
    with tempfile.TemporaryDirectory() as name, patch.object(text, "HEAD_ROWS", 112):
        (Path(name) / "onnx").mkdir()
        write_graphs(next(each for each in recipes() if each.name == folder.path.name), Path(name))
        shutil.copy(folder.path / "config.json", name)
        cut = Folder(name)
        return cut.step(*prompt, cut.empty())[0]


def _flat(tensors: dict[str, np.ndarray]) -> np.ndarray:
    return np.concatenate([tensors[name].ravel() for name in sorted(tensors)])


def _upper_over_buffers(folder: Folder, prompt) -> np.ndarray:
    """All logits, with keys and values in buffers whose rest holds numbers of no meaning."""
    rows, per_layer = prompt
    names = [o.name for o in folder.first.get_outputs()]
    feeds = {"inputs_embeds": rows, "per_layer_inputs": per_layer, **folder.empty()}
    folder.add_optional(feeds, rows.shape[1], rows.shape[1], 0)
    lower = dict(zip(names, folder.first.run(None, feeds)))
    wide = {}
    for name, value in lower.items():
        if name.startswith("present."):
            room = ((0, 0), (0, 0), (0, MAX_CONTEXT - value.shape[2]), (0, 0))
            wide[name.replace("present", "past_key_values")] = np.pad(
                value, room, constant_values=1e3
            )
    return folder.upper(lower, wide, feeds, 0)


def _in_place(folder: Folder, prompt):
    """Outputs of the first graph with past and present in one buffer, after a rewind over
    rows that were wrong, against the same blocks with a growing past."""
    rows, per_layer = prompt
    session, name = folder.first, folder.first.get_outputs()[0].name
    past = folder.empty()
    buffers = {
        key: ort.OrtValue.ortvalue_from_numpy(
            np.full((1, value.shape[1], MAX_CONTEXT, value.shape[3]), 7, value.dtype)
        )
        for key, value in past.items()
    }

    def step(start: int, stop: int, count: int):
        feeds = {"inputs_embeds": rows[:, start:stop], "per_layer_inputs": per_layer[:, start:stop]}
        folder.add_optional(feeds, count, stop - start, 0)
        binding = session.io_binding()
        for key, value in feeds.items():
            binding.bind_cpu_input(key, np.ascontiguousarray(value))
        for key, value in buffers.items():
            binding.bind_ortvalue_input(key, value)
            binding.bind_ortvalue_output(key.replace("past_key_values", "present"), value)
        binding.bind_output(name)
        session.run_with_iobinding(binding)
        return binding.get_outputs()[-1].numpy()

    ours = [step(0, 30, 30)]
    step(60, 80, 50)  # rows that turn out to be wrong: the next step overwrites them
    ours.append(step(30, 45, 45))
    expected = []
    for start, stop in ((0, 30), (30, 45)):
        feeds = {"inputs_embeds": rows[:, start:stop], "per_layer_inputs": per_layer[:, start:stop]}
        folder.add_optional(feeds, stop, stop - start, 0)
        names = [o.name for o in session.get_outputs()]
        out = dict(zip(names, session.run(None, {**feeds, **past})))
        past = {key: out[key.replace("past_key_values", "present")] for key in past}
        expected.append(out[name])
    return np.concatenate(ours, 1), np.concatenate(expected, 1)


def _audio_checks(folder: Folder):
    """Causality, masking, and lengths that are no multiple of a token or a chunk."""
    mel = _features()
    whole = folder.encode(mel, np.ones(len(mel), bool))
    for frames in (1, 3, 4, 5, 47, 48, 49, 200, 367):
        part = folder.encode(mel[:frames], np.ones(frames, bool))
        final = frames // 4  # token u needs the frames up to 4 u + 3
        if final:
            yield f"audio of {frames} frames", part[:final], whole[:final], STRICT
        padded, mask = np.zeros((frames + 30, 128), np.float32), np.zeros(frames + 30, bool)
        padded[:frames], mask[:frames] = mel[:frames], True
        yield f"audio of {frames} frames, padded", folder.encode(padded, mask), part, STRICT


def _stream_checks(folder: Folder):
    """Streamed against whole; the worst of many lengths and cuts."""
    limit = ROUNDED if folder.path.name.endswith("q8") else STREAMED
    random = np.random.default_rng(SEED)
    mel = _features()
    for label, make_cuts in {
        "one block": lambda rows: [],
        "blocks of one row": lambda rows: range(1, rows),
        "blocks of 25 rows": lambda rows: range(25, rows, 25),
        "random cuts": lambda rows: sorted(random.choice(range(1, rows), rows // 6, replace=False)),
    }.items():
        ours, expected = [], []
        for frames in (*range(1, 18), *range(44, 54), *range(len(mel) - 4, len(mel) + 1)):
            part = mel[:frames]
            ours.append(folder.hear_blocks(part, list(make_cuts(-(-frames // 4)))))
            expected.append(folder.encode(part, np.ones(frames, bool)))
        label = f"{folder.path.name}: streamed, {label}"
        yield label, np.concatenate(ours), np.concatenate(expected), limit
    even = mel[:368]
    pair = folder.hear_blocks(even, list(range(8, 92, 8))), folder.hear_blocks(even, [])
    yield f"{folder.path.name}: blocks of 8 rows, one of 92", *pair, limit
    yield f"{folder.path.name}: streamed, tails tried", *_tails(folder, mel), limit


def _tails(folder: Folder, mel: np.ndarray):
    """The rows of each tail of a turn that was heard in blocks of 7 rows, and what they are."""
    state, ours, expected = folder.begin(), [], []
    for start in range(0, len(mel) - 28, 28):
        tail, _ = folder.hear(mel[start : start + 6], state)
        ours.append(tail)
        whole = folder.encode(mel[: start + 6], np.ones(start + 6, bool))
        expected.append(whole[-2:])
        _, state = folder.hear(mel[start : start + 28], state)
    return np.concatenate(ours), np.concatenate(expected)


def _embedding_checks(folder: Folder):
    config = folder.config
    rows, per_layer = folder.embed([0, config["audio_token_id"], config["image_token_id"]])
    for index in (1, 2):
        yield "per-layer rows of a placeholder", per_layer[0, index], per_layer[0, 0], 0.0


def _lookalike_checks(folders: dict[str, Folder], prompt):
    """All variants against a folder with the same weights."""
    twins = {"_q4": "tiny-split-q4", "_quantized": "tiny-split-q8", "": "tiny-split-fp32"}
    for name, folder in folders.items():
        if not name.startswith("lookalike-"):
            continue
        file = next((folder.path / "onnx").glob("decoder_model_merged*.onnx")).stem
        suffix = file.removeprefix("decoder_model_merged").replace("f16", "")
        twin = folders[twins[suffix]]
        expected, _ = twin.step(*prompt, twin.empty())
        ours, _ = folder.step(*prompt, folder.empty())
        yield name, ours.astype(np.float32), expected, LOOSE.get(name, STRICT)
        mel = _features(100)
        mask = np.arange(100) < 93
        yield f"{name}: audio", folder.encode(mel, mask), twin.encode(mel, mask), STRICT


def _recipe_files() -> list[str]:
    """Reads every file, and some that are wrong; what did not go as it should."""
    failures = []
    for name in stored.names():
        try:
            stored.load(name)
        except ValueError as error:
            failures.append(str(error))
    good = {"about": "", **dict.fromkeys(PARTS, "q4b32a4")}
    without = {key: value for key, value in good.items() if key != "head"}
    for wrong in (without, good | {"vision": "fp32"}, good | {"head": "q5b32a4"}, good | {"head": 4}, []):
        try:
            stored.parse("wrong", wrong)
            failures.append(f"a recipe was read: {wrong}")
        except ValueError:
            pass
    print(f"{'FAIL' if failures else 'ok  '} {len(stored.names())} recipe files")
    return failures


def _errors_by_bits() -> list[str]:
    """Errors of every piece at three precisions; the labels of those in the wrong order."""
    config, weights, failures = configs.load("tiny"), RandomWeights(SEED), []
    precisions = [Precision(), Precision(8, 32, 4), Precision(4, 32, 4)]
    for piece in errors.pieces(config):
        found = errors.measure(config, weights, piece, precisions)
        none, q8, q4 = (found[precision].rms for precision in precisions)
        passed = none == 0 < q8 < 0.05 and 2 * q8 < q4 < 0.5
        print(f"{'ok  ' if passed else 'FAIL'} rounding of {piece.name}: {none:.1e}, {q8:.1e}, {q4:.1e}")
        if not passed:
            failures.append(f"rounding of {piece.name}")
    return failures


class _Stopped(BaseException):
    """Somebody pulled the plug."""


def _goes_on(folder: Path) -> bool:
    """Stops a build at each of its tensors of a kind, goes on, and compares."""
    expected = {path.name: path.read_bytes() for path in (folder / "tiny-split-q4").rglob("*") if path.is_file()}
    out, same, stopped = folder / "stopped" / "tiny-split-q4", True, 0
    for at in ("embed_tokens_per_layer", "layers.3.mlp.up_proj", "model.language_model.norm", "layers.2.lconv1d.linear_end"):
        made = next(each for each in recipes() if each.name == "tiny-split-q4")
        made.weights = _Unplugged(SEED, at)
        try:
            build(made, out)
        except _Stopped:
            stopped += 1
    build(next(each for each in recipes() if each.name == "tiny-split-q4"), out)
    found = {path.name: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    same = found == expected and stopped >= 3
    print(f"{'ok  ' if same else 'FAIL'} a build that was stopped {stopped} times")
    return same


class _Unplugged(RandomWeights):
    """Random weights that end at one of them."""

    def __init__(self, seed: int, at: str):
        super().__init__(seed)
        self.at = at

    def _values(self, name, shape, start, stop):
        if self.at in name and len(shape) > 0 and stop > start + 1:
            raise _Stopped
        return super()._values(name, shape, start, stop)


def _adoption(folder: Path, names: list[str]) -> list[str]:
    """Adopts each look-alike, plain and disguised, and spoiled ones; what did not go as it should."""
    failures = []
    for name in names:
        for hidden in (False, True):
            copy = folder / f"{name}-adopted-{hidden}"
            shutil.copytree(folder / name, copy)
            if hidden:
                disguise(copy)
            label = f"adopted {name}{', disguised' if hidden else ''}"
            head_rows = 112 if hidden else text.HEAD_ROWS
            try:
                with patch.object(text, "HEAD_ROWS", head_rows):
                    errors = [line.split()[-1] for line in adopt(copy, MAX_CONTEXT, None) if "within" in line]
                print(f"ok   {label}: {' '.join(errors)}")
                tables = json.loads((copy / "manifest.json").read_text()).get("tables")
                if (tables is None) != (name == "lookalike-fp32"):
                    failures.append(f"{label}: tables {tables}")
            except ValueError as error:
                print(f"FAIL {label}: {error}")
                failures.append(label)
    for label, part, spoil in SPOILED:
        copy = folder / "spoiled"
        shutil.copytree(folder / "lookalike-q4", copy)
        path = copy / f"onnx/{part}_q4.onnx"
        model = onnx.load(path, load_external_data=False)
        spoil(model.graph)
        onnx.save(model, path)
        before = sorted(path.name for path in copy.rglob("*"))
        try:
            adopt(copy, MAX_CONTEXT, None)
            print(f"FAIL {label}: was adopted")
            failures.append(f"{label} was adopted")
        except Mismatch as error:
            print(f"ok   {label}: {error}")
        if sorted(path.name for path in copy.rglob("*")) != before:
            failures.append(f"{label}: something was left behind")
        shutil.rmtree(copy)
    return failures


def _nth(graph, kind: str, index: int = 0):
    return [node for node in graph.node if node.op_type == kind][index]


def _set(kind: str, index: int, name: str, value):
    """Sets an attribute of the n-th node of a kind."""

    def spoil(graph):
        node = _nth(graph, kind, index)
        kept = [attribute for attribute in node.attribute if attribute.name != name]
        del node.attribute[:]
        node.attribute.extend([*kept, onnx.helper.make_attribute(name, value)])

    return spoil


def _become(kind: str, index: int, other: str):
    """Makes the n-th node of a kind one of another kind."""

    def spoil(graph):
        node = _nth(graph, kind, index)
        node.op_type, node.domain = other, ""
        del node.attribute[:]

    return spoil


def _same_input(kind: str, index: int):
    """Gives the n-th node of a kind what the one before it has, so that the walk finds nothing wrong
    with the operator, only with what it reads."""

    def spoil(graph):
        _nth(graph, kind, index).input[1] = _nth(graph, kind, index - 1).input[1]

    return spoil


SPOILED = (
    ("another activation", "decoder_model_merged", _become("Gelu", 3, "Relu")),
    ("a window of another width", "decoder_model_merged", _set("GroupQueryAttention", 0, "local_window_size", 9)),
    ("another epsilon", "decoder_model_merged", _set("SimplifiedLayerNormalization", 20, "epsilon", 1e-3)),
    ("a per-layer row of another layer", "decoder_model_merged", _same_input("Gather", 4)),
    ("no soft cap", "decoder_model_merged", _become("Tanh", 0, "Identity")),
    ("another activation in the encoder", "audio_encoder", _become("Relu", 1, "Sigmoid")),
    ("no softmax", "audio_encoder", _become("Softmax", 1, "Identity")),
    ("a convolution that looks ahead", "audio_encoder", _set("Conv", 3, "pads", [2, 2])),
    ("another table", "embed_tokens", _set("GatherBlockQuantized", 1, "bits", 8)),
)
"""Published graphs that are not Gemma 4 in one place. All but the convolution are seen in the
graph; that one in what comes out."""


class _Recorder(RandomWeights):
    """Random weights that remember what was read, and are exact in f16 and bf16."""

    def __init__(self, seed: int):
        super().__init__(seed)
        self.read: dict[str, tuple[int, ...]] = {}

    def _values(self, name, shape, start, stop):
        self.read[name] = tuple(shape)
        bits = super()._values(name, shape, start, stop).view(np.uint32) & 0xFFFF0000
        values = bits.astype(np.uint32).view(np.float32)
        return values.astype(np.float16).astype(np.float32) if self.dtype(name) == "F16" else values

    def dtype(self, name):
        return ("F32", "F16", "BF16")[sum(name.encode()) % 3]

    def stored(self, name) -> bytes:
        """The tensor's bytes in a checkpoint."""
        values = self.tensor(name, self.read[name])
        if self.dtype(name) == "BF16":
            return (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()
        return values.astype({"F32": np.float32, "F16": np.float16}[self.dtype(name)]).tobytes()


def _write_shard(path: Path, source: _Recorder, names: list[str]) -> None:
    """A safetensors file."""
    header, data = {}, b""
    for name in names:
        piece = source.stored(name)
        header[name] = {
            "dtype": source.dtype(name),
            "shape": source.read[name],
            "data_offsets": [len(data), len(data) + len(piece)],
        }
        data += piece
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + data)


def _checkpoint_gives_same_graphs(folder: Path) -> bool:
    """Writes a checkpoint of everything the graphs read, and builds from it."""
    made = recipe("checkpoint", "decoder=q4b32a4,q8b32a4")
    source = made.weights = _Recorder(SEED)
    expected = _graph_bytes(made, fresh(folder / "from-source"))
    checkpoint = folder / "checkpoint"
    checkpoint.mkdir()
    names = sorted(source.read)
    shards = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for file, part in shards.items():
        _write_shard(checkpoint / file, source, part)
    index = {"weight_map": {name: file for file, part in shards.items() for name in part}}
    (checkpoint / "model.safetensors.index.json").write_text(json.dumps(index))
    made.weights = HfCheckpoint(checkpoint)
    same = _graph_bytes(made, fresh(folder / "from-checkpoint")) == expected
    print(f"{'ok  ' if same else 'FAIL'} checkpoint folder, {len(names)} tensors in two shards")
    return same


def _graph_bytes(made, folder: Path) -> dict[str, bytes]:
    write_graphs(made, folder)
    return {path.name: path.read_bytes() for path in (folder / "onnx").iterdir()}
