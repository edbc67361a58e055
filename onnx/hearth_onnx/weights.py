"""Where the numbers come from: one interface, a checkpoint folder or seeded random.

Names are those of ``Gemma4ForConditionalGeneration``'s checkpoint
(``model.language_model.layers.0.self_attn.q_proj.weight`` ...). Every read gives f32 and
touches one tensor, or some rows of it, at a time.
"""

import hashlib
import json
from pathlib import Path
from typing import Protocol

import numpy as np


class WeightSource(Protocol):
    """What the graph builders read from."""

    description: str

    def stamp(self) -> list:
        """What changes when the numbers do, cheaply: names, sizes and times of files."""

    def has(self, name: str) -> bool:
        """Is there such a tensor?"""

    def dtype(self, name: str) -> str:
        """``F32``, ``F16`` or ``BF16``, as stored."""

    def tensor(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """The tensor as f32; the shape is checked (or decides, for random weights)."""

    def rows(self, name: str, shape: tuple[int, int], start: int, stop: int) -> np.ndarray:
        """Rows ``start..stop`` of a matrix of that shape."""


class HfCheckpoint:
    """A Hugging Face folder: ``model.safetensors`` or shards with an index; memory-mapped."""

    _WIDTH = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16}

    def __init__(self, folder: str | Path):
        self.folder = Path(folder)
        self.description = f"Hugging Face checkpoint {self.folder.name}"
        index = self.folder / "model.safetensors.index.json"
        if index.exists():
            files = sorted(set(json.loads(index.read_text())["weight_map"].values()))
        else:
            files = sorted(path.name for path in self.folder.glob("*.safetensors"))
        if not files:
            raise FileNotFoundError(f"{self.folder}: no .safetensors file")
        self._entries: dict[str, tuple[np.memmap, str, tuple[int, ...], int]] = {}
        for file in files:
            self._open(self.folder / file)

    def _open(self, path: Path) -> None:
        """Reads one file's header: u64 length, JSON, then the data."""
        with open(path, "rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            header = json.loads(stream.read(length))
        data = np.memmap(path, np.uint8, "r")
        for name, entry in header.items():
            if name != "__metadata__":
                start = 8 + length + entry["data_offsets"][0]
                self._entries[name] = (data, entry["dtype"], tuple(entry["shape"]), start)

    def stamp(self):
        stats = [(path.name, path.stat()) for path in sorted(self.folder.glob("*.safetensors"))]
        return [[name, stat.st_size, stat.st_mtime_ns] for name, stat in stats]

    def has(self, name):
        return name in self._entries

    def dtype(self, name):
        return self._entries[name][1]

    def tensor(self, name, shape):
        count = int(np.prod(shape, dtype=np.int64))
        return self._read(name, shape, 0, count).reshape(shape)

    def rows(self, name, shape, start, stop):
        return self._read(name, shape, start * shape[1], stop * shape[1]).reshape(-1, shape[1])

    def _read(self, name, shape, start, stop) -> np.ndarray:
        if name not in self._entries:
            raise KeyError(f"{self.folder}: no tensor {name}")
        data, dtype, stored, offset = self._entries[name]
        if stored != tuple(shape) and not (np.prod(stored) == np.prod(shape) == 1):
            raise ValueError(f"{name}: shape {list(stored)}, the config says {list(shape)}")
        kind = self._WIDTH.get(dtype)
        if kind is None:
            raise ValueError(f"{name}: dtype {dtype} is not read (F32, F16, BF16 are)")
        size = np.dtype(kind).itemsize
        raw = data[offset + start * size : offset + stop * size].view(kind)
        if dtype == "BF16":
            return (raw.astype(np.uint32) << 16).view(np.float32)
        return raw.astype(np.float32)


class RandomWeights:
    """Deterministic numbers from a seed and the tensor's name alone.

    Uniform values from the raw words of numpy's Philox generator (a counter-based generator
    with a fixed definition), scaled by what the tensor is, so that activations keep a unit
    size, logits are far apart and the clip bounds bite.
    """

    def __init__(self, seed: int):
        self.seed = seed
        self.description = f"random, seed {seed}"

    def stamp(self):
        return []

    def has(self, name):
        return name != "lm_head.weight"

    def dtype(self, name):
        return "F32"

    def tensor(self, name, shape):
        count = int(np.prod(shape, dtype=np.int64))
        return self._values(name, shape, 0, count).reshape(shape)

    def rows(self, name, shape, start, stop):
        return self._values(name, shape, start * shape[1], stop * shape[1]).reshape(-1, shape[1])

    def _uniform(self, name: str, start: int, stop: int) -> np.ndarray:
        """Values in [-1, 1), one per 64-bit word of the tensor's own stream."""
        digest = hashlib.sha256(f"{self.seed}:{name}".encode()).digest()
        generator = np.random.Philox(key=int.from_bytes(digest[:16], "little"))
        generator.advance(start // 4)
        words = generator.random_raw(stop - start // 4 * 4)[start % 4 :]
        return (words >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-23) - np.float32(1)

    def _values(self, name, shape, start, stop) -> np.ndarray:
        unit = self._uniform(name, start, stop)
        middle, spread = scale_of(name, shape)
        return (np.float32(middle) + np.float32(spread) * unit).astype(np.float32)


class NormalWeights(RandomWeights):
    """The same but for the matrices, which are normally distributed, of the same size: what a block's
    largest value is depends on its length, as in trained weights."""

    def __init__(self, seed: int):
        super().__init__(seed)
        self.description = f"random, normal, seed {seed}"

    def _uniform(self, name: str, start: int, stop: int) -> np.ndarray:
        first = super()._uniform(name, start, stop)
        if not name.endswith(".weight") or "norm" in name:
            return first
        radius = np.sqrt(-2 * np.log((first + 1) / 2 + np.float32(2.0**-25)))
        angle = np.float32(np.pi) * super()._uniform(f"{name}.angle", start, stop)
        return radius * np.cos(angle) * np.float32(3.0**-0.5)


def scale_of(name: str, shape: tuple[int, ...]) -> tuple[float, float]:
    """Middle and half width of the random values of one tensor."""
    last = name.rsplit(".", 1)[-1]
    bounds = {"input_min": -1.6, "input_max": 1.6, "output_min": -1.4, "output_max": 1.4}
    if last in bounds:
        return bounds[last], 0.3
    if last == "layer_scalar":
        return 0.85, 0.15
    if last == "per_dim_scale":
        return 0.0, 1.0
    if last == "bias":
        return 0.0, 0.2
    if name.endswith("language_model.norm.weight"):
        return 5.0, 2.0
    if name.endswith(("q_norm.weight", "k_norm.weight")):
        return 0.7, 0.21  # the attention's scale is 1.0: larger ones make it an argmax
    if "norm" in name and len(shape) == 1:
        return 1.0, 0.4
    inputs = shape[1] if len(shape) == 2 else int(np.prod(shape[1:]))
    if name.endswith("embed_tokens_per_layer.weight"):
        inputs = 32
    return 0.0, (3.0 / max(inputs, 1)) ** 0.5


def open_weights(text: str) -> WeightSource:
    """``random:SEED``, ``normal:SEED`` or ``hf:FOLDER``."""
    kind, _, rest = text.partition(":")
    if kind == "random":
        return RandomWeights(int(rest))
    if kind == "normal":
        return NormalWeights(int(rest))
    if kind == "hf":
        return HfCheckpoint(rest)
    raise ValueError(f"weights {text!r}: expected random:SEED, normal:SEED or hf:FOLDER")
