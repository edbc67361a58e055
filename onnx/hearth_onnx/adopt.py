"""Makes hearth's graphs for a published folder, over the weights that lie there.

``decoder_lower``, ``decoder_upper`` and ``audio_stream`` refer to the published data files, so
they cost some megabytes; ``embed_tokens`` and ``audio_encoder`` stay as they are. The published
graphs are read by :mod:`published`, refused at the first node that is not known, and what comes
out is run beside them before it counts.
"""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import onnx_ir as ir

from . import FORMAT
from . import config as configs
from .audio import _Stream
from .folder import FLAGS, SIDE_FILES, sha256, write_json
from .graph import F16, F32, MICROSOFT, DataFiles, Graph, cuts
from .precision import Precision
from .published import Found, Linear, Mismatch
from .published_audio import read_encoder
from .published_text import look_up, read_decoder, read_embedding
from .text import Decoder

OURS = ("decoder_lower", "decoder_upper", "audio_stream")
DECODERS = ("_q4", "", "_quantized", "_q4f16", "_fp16")
ENCODERS = ("_quantized", "_fp16", "", "_q4", "_q4f16")
"""As the program itself chooses (src/model/manifest.rs)."""
LIMIT = 1e-4
"""Largest relative error between the published graphs and ours where the arithmetic is the same."""
ROUNDED = 5e-2
"""The same at level 4, where a difference in the last bit may round the other way."""


class _Weights:
    """What was found, as the builders ask for weights."""

    def __init__(self, found: Found):
        self.found = found
        self.description = "published graphs"

    def has(self, name):
        return name in self.found.linears or name in self.found.tensors

    def dtype(self, name):
        return "F32"

    def tensor(self, name, shape):
        return np.asarray(self.found.tensors[name], np.float32).reshape(shape)

    def rows(self, name, shape, start, stop):
        raise KeyError(f"{name}: weights of a published folder stay where they are")


class _Adopted(Graph):
    """A graph whose matrices are those of a published graph, in place."""

    def __init__(self, name: str, found: Found, level: int | None):
        super().__init__(name, _Weights(found))
        self.found, self.level = found, level

    def linear(self, x, name, outputs, inputs, precision, parts=1):
        linear: Linear = self.found.linears[name]
        if linear.op == "MatMul":
            weight = self._stored(name, linear.weights[0].const_value)
            if weight.dtype != F32:
                weight = self.op("Cast", weight, to=F32)
            return self.op("MatMul", x, weight)
        attributes = dict(linear.attributes)
        if self.level is not None:
            attributes["accuracy_level"] = self.level
        if any(each is not None for each in linear.weights[3:]):
            parts = 1  # what else belongs to it may have no rows
        pieces = []
        for start, stop in cuts(outputs, parts):
            values = [
                None if each is None else self._stored(f"{name}_{i}_{start}", _rows(each, outputs, start, stop, i == 1))
                for i, each in enumerate(linear.weights)
            ]
            attributes["N"] = stop - start
            pieces.append(self.op("MatMulNBits", x, *values, domain=MICROSOFT, **attributes))
        return self.joined(pieces)

    def _stored(self, name, tensor):
        """A tensor of the published graph under a name of ours."""
        if isinstance(tensor, ir.ExternalTensor):
            tensor = _external(tensor, name, tensor.offset, tensor.length, tensor.shape)
        else:
            tensor = ir.tensor(tensor.numpy(), name=name)
        return self._initializer(name, tensor)

    def derived(self, name, make, shape):
        return self.parameter(name, shape)

    def save(self, path, data=None):
        """Published tensors stay in their files; the larger ones of ours go to ``data``."""
        for value in self.initializers.values():
            if not isinstance(value.const_value, ir.ExternalTensor):
                data.take(value)
        super().save(path, _Nothing())


def _rows(value: ir.Value, rows: int, start: int, stop: int, scales: bool):
    """The part of a published initializer that belongs to ``rows[start:stop]``; scales become f32."""
    tensor = value.const_value
    if scales and tensor.dtype == F16:
        tensor = ir.tensor(tensor.numpy().astype(np.float32))
    if stop - start == rows:
        return tensor
    count = int(np.prod(tensor.shape)) // rows
    shape = (stop - start, *tensor.shape[1:]) if tensor.shape[0] == rows else ((stop - start) * count,)
    if not isinstance(tensor, ir.ExternalTensor):
        return ir.tensor(tensor.numpy().reshape(rows, count)[start:stop].reshape(shape))
    row_bytes = tensor.nbytes // rows
    at, length = (tensor.offset or 0) + start * row_bytes, (stop - start) * row_bytes
    return _external(tensor, tensor.name, at, length, ir.Shape(shape))


def _external(tensor: ir.ExternalTensor, name, offset, length, shape) -> ir.ExternalTensor:
    """Bytes in the file of ``tensor``, of its type."""
    return ir.ExternalTensor(
        tensor.location, offset, length, tensor.dtype, shape=shape, name=name, base_dir=tensor.base_dir
    )


class _Nothing:
    """Data files that take nothing."""

    def take(self, value):
        pass


def published_parts(folder: Path) -> dict[str, str]:
    """The graphs of a published folder: part to file name."""
    parts = {}
    for part, suffixes in (("decoder_model_merged", DECODERS), ("embed_tokens", DECODERS), ("audio_encoder", ENCODERS)):
        found = [f"{part}{suffix}.onnx" for suffix in suffixes if (folder / f"onnx/{part}{suffix}.onnx").exists()]
        if not found:
            raise ValueError(f"{folder}: no onnx/{part}*.onnx, so not a published folder")
        parts[part] = found[0]
    return parts


def adopt(folder: Path, max_context: int = 4096, level: int | None = 4, check: bool = True) -> list[str]:
    """Writes our graphs and the manifest into ``folder``; the lines say what was found. Nothing
    is left behind when it fails."""
    parts = published_parts(folder)
    (folder / "manifest.json").unlink(missing_ok=True)
    try:
        lines = _write(folder, parts, max_context, level)
        tables = read_embedding(folder / "onnx" / parts["embed_tokens"], configs.load(str(folder)))
        if check:
            found, tables = compare(folder, parts, level, tables)
            lines += found
    except BaseException:
        for part in OURS:
            (folder / f"onnx/{part}.onnx").unlink(missing_ok=True)
        (folder / "onnx/adopted.onnx_data").unlink(missing_ok=True)
        raise
    write_json(folder / "manifest.json", _manifest(folder, parts, max_context, level, tables))
    return lines


def _write(folder: Path, parts: dict, max_context: int, level: int | None) -> list[str]:
    config, onnx = configs.load(str(folder)), folder / "onnx"
    text, kv_type = read_decoder(onnx / parts["decoder_model_merged"], config)
    audio = read_encoder(onnx / parts["audio_encoder"], config)
    unused = Precision()
    with DataFiles(onnx / "adopted.onnx_data") as data:
        for half in ("lower", "upper"):
            weights = _Weights(text)
            decoder = Decoder(f"decoder_{half}", config, weights, unused, unused, max_context, kv_type)
            decoder.g = _Adopted(f"decoder_{half}", text, level)
            getattr(decoder, half)().save(onnx / f"decoder_{half}.onnx", data)
        stream = _Stream("audio_stream", config, _Weights(audio), unused)
        stream.g = _Adopted("audio_stream", audio, level)
        stream.build().save(onnx / "audio_stream.onnx", data)
    return [
        f"{parts['decoder_model_merged']}: {text.nodes} nodes, {len(text.linears)} matrices ({_kinds(text)})",
        f"{parts['audio_encoder']}: {audio.nodes} nodes, {len(audio.linears)} matrices ({_kinds(audio)}), "
        f"{sum(name.endswith(('_min', '_max')) and np.isfinite(each).all() for name, each in audio.tensors.items())} bounds",
    ]


def _kinds(found: Found) -> str:
    counts = Counter(_precision(linear, None) for linear in found.linears.values())
    return ", ".join(f"{count} {kind}" for kind, count in counts.most_common())


def _precision(linear: Linear, level: int | None) -> str:
    if linear.op != "MatMulNBits":
        return "fp16" if linear.weights[0].const_value.dtype == F16 else "fp32"
    given = linear.attributes
    level = given.get("accuracy_level", 0) if level is None else level
    return f"q{given['bits']}b{given['block_size']}a{level}"


def _manifest(folder: Path, parts: dict, max_context: int, level: int | None, tables: dict | None) -> dict:
    """As a folder of our own has it; sums that ``hearth model fetch`` wrote down are taken over."""
    config, onnx = configs.load(str(folder)), folder / "onnx"
    text, _ = read_decoder(onnx / parts["decoder_model_merged"], config)
    audio = read_encoder(onnx / parts["audio_encoder"], config)
    main = {name: Counter(_precision(each, level) for each in found.linears.values()).most_common(1)[0][0]
            for name, found in (("decoder", text), ("audio", audio))}
    suffix = lambda part: Path(parts[part]).stem.removeprefix(part).lstrip("_") or "fp32"  # noqa: E731
    fetched = folder / "fetched.json"
    known = json.loads(fetched.read_text()).get("files", {}) if fetched.exists() else {}
    own = ["adopted.onnx_data", *(f"{part}.onnx" for part in OURS)]
    used = sorted(path.name for path in onnx.iterdir() if path.name in own or path.name.split(".onnx")[0] in
                  {Path(file).stem for file in parts.values()})
    files = {}
    for name in [*filter(lambda name: (folder / name).exists(), SIDE_FILES), *(f"onnx/{name}" for name in used)]:
        path = folder / name
        right = known.get(name, {}).get("bytes") == path.stat().st_size
        files[name] = known[name] if right else {"bytes": path.stat().st_size, "sha256": sha256(path)}
    return {
        "format": FORMAT,
        "name": folder.resolve().name,
        "source": f"published graphs ({parts['decoder_model_merged']}), adopted",
        "layout": "split",
        "kv": "in_place",
        "max_context": max_context,
        **{flag: True for flag in FLAGS},
        "parts": {
            "audio_encoder": {"file": f"onnx/{parts['audio_encoder']}", "precision": suffix("audio_encoder")},
            "embed_tokens": {"file": f"onnx/{parts['embed_tokens']}", "precision": suffix("embed_tokens")},
            "audio_stream": {"file": "onnx/audio_stream.onnx", "precision": main["audio"]},
            "decoder_lower": {"file": "onnx/decoder_lower.onnx", "precision": main["decoder"]},
            "decoder_upper": {"file": "onnx/decoder_upper.onnx", "precision": main["decoder"]},
        },
        **({} if tables is None else {"tables": tables}),
        "files": files,
    }


def compare(
    folder: Path, parts: dict, level: int | None, tables: dict | None
) -> tuple[list[str], dict | None]:
    """Runs the published graphs and ours on the same numbers, one after the other in memory;
    raises :class:`Mismatch` when they differ. Gives lines, and the tables if they hold what the graph
    gives."""
    from .runner import Folder

    random = np.random.default_rng(7)
    config = configs.load(str(folder))
    files = lambda names: {part: folder / "onnx" / name for part, name in names.items()}  # noqa: E731
    mel = (random.standard_normal((61, config.mel_bins)) * 3 - 2).astype(np.float32)
    published = Folder(folder, files=files({part: parts[part] for part in ("embed_tokens", "audio_encoder")}))
    audio = published.encode(mel, np.ones(len(mel), bool))
    ids = [2, 105 % config.text.vocabulary, *[config.raw["audio_token_id"]] * len(audio), 107 % config.text.vocabulary]
    rows, per_layer = published.embed(ids, audio)
    agree = tables is not None and _tables_agree(folder, tables, published)
    lines = [f"rows of tokens: {'read from the tables, bit for bit as published' if agree else 'from the published graph'}"]
    del published
    first = Folder(folder, files=files({"decoder_model_merged": parts["decoder_model_merged"]}))
    expected, kept = first.step(rows, per_layer, first.empty())
    more, _ = first.step(rows[:, -1:], per_layer[:, -1:], kept)
    expected, more = expected.astype(np.float32), more.astype(np.float32)
    del first
    ours = Folder(folder, files=files({part: f"{part}.onnx" for part in OURS}))
    cut = rows.shape[1] // 2
    _, past = ours.step(rows[:, :cut], per_layer[:, :cut], ours.empty(), run_upper=False)
    logits, past = ours.step(rows[:, cut:], per_layer[:, cut:], past)
    again, _ = ours.step(rows[:, -1:], per_layer[:, -1:], past)
    heard = ours.hear_blocks(mel, [3, 8])
    rounds = level == 4 or kept["past_key_values.0.key"].dtype == np.float16 or _rounds(folder, parts)
    limit = ROUNDED if rounds else LIMIT
    for label, mine, theirs in (
        ("logits of a prompt", logits, expected),
        ("logits of the next token", again, more),
        ("rows of sound in blocks", heard, audio),
    ):
        error = float(np.abs(mine - theirs).max() / np.abs(theirs).max())
        if not error <= limit:
            raise Mismatch(f"the graphs were read, but give other numbers: {label} differ by {error:.1e}")
        lines.append(f"{label}: as published within {error:.1e}")
    return lines, tables


def _tables_agree(folder: Path, tables: dict, published) -> bool:
    """Are rows of tokens, as the program reads them from the tables, bit for bit what the graph gives?"""
    last = min(table["rows"] for table in tables.values()) - 1
    for row in (0, 2, 107 % last, last):
        graph = zip(tables.values(), published.embed([row]))
        if not all(np.array_equal(look_up(folder, table, row), given.reshape(-1)) for table, given in graph):
            return False
    return True


def _rounds(folder: Path, parts: dict) -> bool:
    """Does a published graph round its activations?"""
    nodes = (node for part in ("decoder_model_merged", "audio_encoder") for node in ir.load(folder / "onnx" / parts[part]).graph)
    return any(node.op_type == "MatMulNBits" and node.attributes.get_int("accuracy_level", 0) == 4 for node in nodes)
