"""What rounding costs at full size: every part of a model under every recipe against fp32.

One piece is in memory at a time: a layer of each kind alone, the head in slices of its rows, the whole
audio encoder, and of the tables the rows that are looked up. All get the same seeded inputs, and run in
onnxruntime. Errors are relative: root mean square over root mean square, and largest over largest.

A layer is judged by what it adds to its rows, since what it passes on as it is would hide its error.
"""

import gc
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnxruntime as ort
from onnxruntime.capi.onnxruntime_pybind11_state import Fail

from .audio import audio_encoder
from .config import Config
from .folder import Recipe
from .graph import Graph
from .precision import PARTS, Precision
from .recipes import Stored
from .text import MODEL, Decoder, embed_tokens
from .weights import WeightSource

FP32 = Precision()
SEED = 1
ROWS = 16
"""New rows of a layer and of the head: enough for the kernels of many rows."""
PAST = 48
"""Rows that a layer finds in its past."""
FRAMES = 400
"""Log-mel frames, 4 s."""
LOOKED_UP = 256
"""Rows of each table."""
SLICES = 16
"""In which the head is computed."""
HEAD, TABLE = f"{MODEL}.embed_tokens.weight", f"{MODEL}.embed_tokens_per_layer.weight"
RANDOM_REMARK = (
    "Random weights have no outliers, and even ones (random:) so few large values that the length of a block hardly "
    "shows (normal: is nearer). Trained ones round otherwise; what an error comes to, only a trained model tells."
)


@dataclass(frozen=True)
class Piece:
    """One thing that is measured: its column, and the part that decides its precision."""

    name: str
    part: str
    layer: int = 0


def pieces(config: Config) -> list[Piece]:
    """A layer of each kind that there is, the head, the encoder, both tables."""
    text, found = config.text, {}
    for layer in range(text.layers):
        kind = "full" if text.is_full(layer) else "sliding"
        found.setdefault(f"{kind} {'own' if layer < text.own_layers else 'shared'}", layer)
    layers = [Piece(name, "decoder", layer) for name, layer in found.items()]
    return [*layers, *(Piece(part, part) for part in ("head", "audio", "embed", "per_layer"))]


class Error:
    """Sums over the pieces of an output."""

    def __init__(self):
        self.sums = np.zeros(2)
        self.peaks = np.zeros(2)

    def add(self, ours: np.ndarray, expected: np.ndarray) -> None:
        pair = np.abs(ours - expected), np.abs(expected)
        self.sums += [np.square(each, dtype=np.float64).sum() for each in pair]
        self.peaks = np.maximum(self.peaks, [each.max() for each in pair])

    @property
    def rms(self) -> float:
        return float((self.sums[0] / self.sums[1]) ** 0.5)

    @property
    def largest(self) -> float:
        return float(self.peaks[0] / self.peaks[1])


class _Picked:
    """Some rows of the tables in place of all; what was read last of them is kept."""

    def __init__(self, weights: WeightSource, whole: dict[str, int], rows: np.ndarray):
        self.weights, self.whole, self.picked = weights, whole, rows
        self.description = weights.description
        self._kept: tuple[str, np.ndarray | None] = ("", None)

    def __getattr__(self, name):
        return getattr(self.weights, name)

    def tensor(self, name, shape):
        return self.rows(name, shape, 0, shape[0]) if name in self.whole else self.weights.tensor(name, shape)

    def rows(self, name, shape, start, stop):
        if name not in self.whole:
            return self.weights.rows(name, shape, start, stop)
        if self._kept[0] != name:
            whole = (self.whole[name], shape[1])
            runs = np.split(self.picked, np.flatnonzero(np.diff(self.picked) != 1) + 1)
            read = [self.weights.rows(name, whole, int(run[0]), int(run[-1]) + 1) for run in runs]
            self._kept = (name, np.concatenate(read))
        return self._kept[1][start:stop]


def measure(config: Config, weights: WeightSource, piece: Piece, precisions: list[Precision]):
    """The :class:`Error` of a piece at each precision; a sentence where it cannot be built or run."""
    results = {precision: Error() for precision in precisions}
    for case in _CASES.get(piece.name, _layer_cases)(config, weights, piece):
        expected = case(FP32)
        for precision, error in results.items():
            if isinstance(error, Error):
                try:
                    error.add(case(precision), expected)
                except (ValueError, Fail) as reason:
                    results[precision] = f"does not fit: {str(reason).splitlines()[0]}"
    return results


def _run(graph: Graph, feeds: dict[str, np.ndarray]) -> list[np.ndarray]:
    """Outputs of a graph, which is written, opened and closed."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "piece.onnx"
        graph.save(path)
        del graph
        gc.collect()
        session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        return session.run(None, {i.name: feeds[i.name] for i in session.get_inputs()})


def _layer_cases(config: Config, weights: WeightSource, piece: Piece):
    """Rows of unit size behind a past of keys as large as the layer's norm makes them."""
    text, layer = config.text, piece.layer
    random, source = np.random.default_rng(SEED), text.kv_layer(layer)
    shape = (1, text.kv(layer), PAST if source == layer else PAST + ROWS, text.dim(layer))
    norm = weights.tensor(f"{MODEL}.layers.{source}.self_attn.k_norm.weight", (text.dim(layer),))
    past = f"past_key_values.{source}"
    x = _normal(random, 1, ROWS, text.hidden)
    feeds = {
        "hidden_states": x,
        "per_layer_inputs": _normal(random, 1, ROWS, 1, text.per_layer),
        f"{past}.key": _normal(random, *shape) * norm,
        f"{past}.value": _normal(random, *shape),
        "attention_mask": np.ones((1, PAST + ROWS), np.int64),
        "sliding_attention_mask": np.ones((1, PAST + ROWS), np.int64),
        "position_ids": np.arange(PAST, PAST + ROWS)[None],
    }
    scalar = weights.tensor(f"{MODEL}.layers.{layer}.layer_scalar", (1,))[0]

    def added(precision: Precision) -> np.ndarray:
        decoder = Decoder("layer", config, weights, precision, precision, PAST + ROWS)
        return _run(decoder.one_layer(layer), feeds)[0] / scalar - x

    yield added


def _head_cases(config: Config, weights: WeightSource, _):
    """The head's logits, a slice of the vocabulary at a time."""
    text = config.text
    x = _normal(np.random.default_rng(SEED), 1, ROWS, text.hidden)
    whole = {HEAD: text.vocabulary, "lm_head.weight": text.vocabulary}
    for rows in np.array_split(np.arange(text.vocabulary), SLICES):
        part = replace(config, text=replace(text, vocabulary=len(rows)))
        picked = _Picked(weights, whole, rows)

        def logits(precision: Precision) -> np.ndarray:
            decoder = Decoder("head", part, picked, precision, precision, 1)
            return _run(decoder.head(), {"hidden_states": x})[0]

        yield logits


def _audio_cases(config: Config, weights: WeightSource, _):
    """Noise as large as log-mel features, through the whole encoder."""
    mel = 2 * _normal(np.random.default_rng(SEED), 1, FRAMES, config.mel_bins) - 2
    feeds = {"input_features": mel, "input_features_mask": np.ones((1, FRAMES), bool)}
    yield lambda precision: _run(audio_encoder(config, weights, precision), feeds)[0]


def _table_cases(config: Config, weights: WeightSource, piece: Piece):
    """Rows of one of the tables; the other has none that is not fp32."""
    text = config.text
    limit = min(text.vocabulary, text.per_layer_vocabulary)
    rows = np.sort(np.random.default_rng(SEED).choice(limit, min(LOOKED_UP, limit), replace=False))
    part = replace(text, vocabulary=len(rows), per_layer_vocabulary=len(rows), pad_id=0)
    part = replace(config, text=part, placeholder_ids=())
    picked = _Picked(weights, {HEAD: text.vocabulary, TABLE: text.per_layer_vocabulary}, rows)
    feeds = {"input_ids": np.arange(len(rows))[None]}

    def looked_up(precision: Precision) -> np.ndarray:
        pair = (precision, FP32) if piece.part == "embed" else (FP32, precision)
        return _run(embed_tokens(part, picked, *pair), feeds)[piece.part == "per_layer"]

    yield looked_up


_CASES = {"head": _head_cases, "audio": _audio_cases, "embed": _table_cases, "per_layer": _table_cases}


def _normal(random: np.random.Generator, *shape: int) -> np.ndarray:
    return random.standard_normal(shape, np.float32)


def part_bytes(config: Config, weights: WeightSource, precision: dict[str, Precision]) -> dict[str, int]:
    """What each part's tensors take in a folder of the split layout; nothing is made."""
    recipe = Recipe(config, weights, "", precision, max_context=1)
    sizes: dict[str, dict[str, int]] = {part: {} for part in PARTS}
    for name, (graph, _) in recipe.graphs().items():
        for value in graph.initializers.values():
            part = "audio" if name.startswith("audio") else "decoder"
            if name == "embed_tokens":
                part = "per_layer" if value.name.startswith(TABLE) else "embed"
            elif value.name.startswith((HEAD, "lm_head.weight")):
                part = "head"
            sizes[part][value.name] = value.const_value.nbytes
    return {part: sum(each.values()) for part, each in sizes.items()}


def run(config: Config, weights: WeightSource, recipes: list[Stored]) -> None:
    """Prints the errors of every recipe, and what its parts take."""
    columns = pieces(config)
    found = {}
    for piece in columns:
        wanted = list(dict.fromkeys(recipe.precision[piece.part] for recipe in recipes))
        for precision, error in measure(config, weights, piece, wanted).items():
            found[piece, precision] = error
            print(f"{piece.name:15} {str(precision):9} {_cell(error)}", flush=True)
    print("\nError against fp32 in %, root mean square / largest\n")
    _table([piece.name for piece in columns], {
        recipe.name: [_cell(found[piece, recipe.precision[piece.part]]) for piece in columns]
        for recipe in recipes
    })
    print("\nMB of each part\n")
    fp32 = Stored("fp32", "", dict.fromkeys(PARTS, FP32))
    sizes = {}
    for recipe in (fp32, *recipes):
        try:
            taken = part_bytes(config, weights, recipe.precision)
            sizes[recipe.name] = [f"{each / 1e6:.1f}" for each in (*taken.values(), sum(taken.values()))]
        except ValueError:
            sizes[recipe.name] = ["does not fit"] * (len(PARTS) + 1)
    _table([*PARTS, "all"], sizes)
    print("\n" + "\n".join(f"{recipe.name}: {recipe.about}" for recipe in recipes))
    if weights.description.startswith("random"):
        print(RANDOM_REMARK)


def _cell(error: "Error | str") -> str:
    return f"{100 * error.rms:.2f} / {100 * error.largest:.2f}" if isinstance(error, Error) else error


def _table(columns: list[str], rows: dict[str, list[str]]) -> None:
    """A Markdown table."""
    print("| recipe | " + " | ".join(columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for name, cells in rows.items():
        print(f"| {name} | " + " | ".join(cells) + " |", flush=True)
