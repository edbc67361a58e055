"""Writes a checkpoint of random numbers in the size and layout of a real one: sharded
safetensors in bf16 with an index. For trying the export where the real weights are not to be had."""

import json
from pathlib import Path

import numpy as np

from .audio import audio_encoder
from .config import Config
from .folder import write_json
from .precision import Precision
from .text import MODEL, Decoder, embed_tokens
from .weights import RandomWeights, scale_of

SHARD_BYTES = 5_000_000_000
PIECE_VALUES = 1 << 24


def write_checkpoint(config: Config, out: Path, seed: int, shard_bytes: int = SHARD_BYTES) -> list[str]:
    """Writes ``out`` and gives a line for each shard."""
    out.mkdir(parents=True, exist_ok=True)
    shapes = tensors(config)
    shards: list[list[str]] = [[]]
    room = shard_bytes
    for name, shape in shapes.items():
        size = 2 * int(np.prod(shape, dtype=np.int64))
        if shards[-1] and size > room:
            shards.append([])
            room = shard_bytes
        shards[-1].append(name)
        room -= size
    lines, where = [], {}
    random = np.random.Generator(np.random.SFC64(seed))
    for number, names in enumerate(shards, 1):
        file = f"model-{number:05}-of-{len(shards):05}.safetensors"
        _write_shard(out / file, {name: shapes[name] for name in names}, random)
        where.update(dict.fromkeys(names, file))
        lines.append(f"{file}: {len(names)} tensors, {(out / file).stat().st_size / 1e9:.2f} GB")
    write_json(out / "model.safetensors.index.json", {"metadata": {}, "weight_map": where})
    write_json(out / "config.json", config.raw)
    return lines


def tensors(config: Config) -> dict[str, tuple[int, ...]]:
    """Names and shapes of all that the graphs read."""
    source = _Names()
    plain = Precision()
    graphs = [audio_encoder(config, source, plain), embed_tokens(config, source, plain, plain)]
    graphs.append(Decoder("decoder", config, source, plain, plain, 8).merged())
    shapes = {}
    for graph in graphs:
        for value in graph.initializers.values():
            name, shape = value.name, tuple(value.const_value.shape)
            if name.startswith("constant_") or name.endswith((".query_scale", ".relative_keys")):
                continue
            # A fp32 matrix is stored transposed in a graph; the table of the tied head is not.
            turned = len(shape) == 2 and "embed_tokens" not in name
            shapes[name] = shape[::-1] if turned else shape
        for name in list(shapes):
            prefix = name.removesuffix(".k_proj.linear.weight")
            if prefix != name and ".audio_tower." in name:
                shapes[f"{prefix}.relative_k_proj.weight"] = (config.audio.hidden, config.audio.hidden)
                shapes[f"{prefix}.per_dim_scale"] = (config.audio.head_dim,)
    shapes[f"{MODEL}.embed_tokens.weight"] = (config.text.vocabulary, config.text.hidden)
    return {**shapes, **source.read}


class _Names(RandomWeights):
    """Remembers the small ones, which are read while a graph is built."""

    def __init__(self):
        super().__init__(1)
        self.read: dict[str, tuple[int, ...]] = {}

    def tensor(self, name, shape):
        self.read[name] = tuple(shape)
        return super().tensor(name, shape)


def _write_shard(path: Path, shapes: dict[str, tuple[int, ...]], random: np.random.Generator) -> None:
    header, end = {}, 0
    for name, shape in shapes.items():
        size = 2 * int(np.prod(shape, dtype=np.int64))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    with open(path, "wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        for name, shape in shapes.items():
            middle, spread = scale_of(name, shape)
            count = int(np.prod(shape, dtype=np.int64))
            for start in range(0, count, PIECE_VALUES):
                unit = random.random(min(PIECE_VALUES, count - start), np.float32) * 2 - 1
                values = np.float32(middle) + np.float32(spread) * unit
                stream.write((values.view(np.uint32) >> 16).astype(np.uint16).data)
