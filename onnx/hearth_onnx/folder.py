"""Writes model folders: the graphs, the files beside them, and ``manifest.json``."""

import hashlib
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from . import FORMAT
from .audio import audio_encoder, audio_stream
from .config import Config
from .graph import DataFiles, Graph
from .precision import Precision
from .text import Decoder, embed_tokens
from .tokenizer import processor_config, tiny_tokenizer
from .weights import WeightSource

FLAGS = ("phrases", "history", "declares_tools", "reads_text")
"""Fields of the manifest that say how the model is to be used."""
SIDE_FILES = (
    "config.json",
    "generation_config.json",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "tools.json",
)
"""What belongs to a model beside its graphs; a folder may hold more (weights, a card, samples)."""


@dataclass
class Recipe:
    """Everything that decides a folder."""

    config: Config
    weights: WeightSource
    name: str
    precision: dict[str, Precision]
    layout: str = "split"
    max_context: int = 1024
    kv: str = "in_place"
    source: str = ""
    flags: dict[str, bool] = field(default_factory=dict)
    copies: dict[str, Path] = field(default_factory=dict)
    """Files to take over: name in the folder to path (``tokenizer.json``, ``tools.json`` ...)."""
    vocabulary: dict | None = None
    quiet_bias: float = 0.0
    notes: dict = field(default_factory=dict)
    """Free facts for the manifest's ``recipe``."""

    def decoder(self, name: str, **options) -> Decoder:
        """A builder for one decoder graph."""
        return Decoder(
            name,
            self.config,
            self.weights,
            self.precision["decoder"],
            self.precision["head"],
            self.max_context,
            **options,
        )

    def graphs(self) -> dict[str, tuple[Graph, Precision]]:
        """The folder's graphs by part name, with the precision of most of their weights."""
        audio, embed = self.precision["audio"], self.precision["embed"]
        table, decoder = self.precision["per_layer"], self.precision["decoder"]
        parts = {
            "audio_encoder": (audio_encoder(self.config, self.weights, audio), audio),
            "embed_tokens": (embed_tokens(self.config, self.weights, embed, table), embed),
        }
        if self.layout == "merged":
            graph = self.decoder("decoder_model_merged").merged()
            parts["decoder_model_merged"] = (graph, decoder)
        else:
            graph = audio_stream(self.config, self.weights, audio)
            parts["audio_stream"] = (graph, audio)
            for half in ("lower", "upper"):
                graph = getattr(self.decoder(f"decoder_{half}"), half)()
                parts[f"decoder_{half}"] = (graph, decoder)
        return parts


def write_json(path: Path, value) -> None:
    """JSON as all files of a folder have it: one space of indent, a final newline."""
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def write_side_files(folder: Path, config: Config, copies: dict[str, Path]) -> None:
    """``config.json``, the copied files, and defaults for what was not copied."""
    write_json(folder / "config.json", config.raw)
    for name, path in copies.items():
        if path.resolve() != (folder / name).resolve():
            shutil.copyfile(path, folder / name)
    if "processor_config.json" not in copies:
        write_json(folder / "processor_config.json", processor_config(config.mel_bins))
    if "tokenizer.json" not in copies:
        if config.text.vocabulary > 4096:
            raise ValueError("no tokenizer.json given, and the built-in one is for tiny models")
        write_json(folder / "tokenizer.json", tiny_tokenizer(config.text.vocabulary))


def fresh(folder: Path) -> Path:
    """Removes what an earlier build left in ``folder`` (its graphs and manifest only); raises
    ``ValueError`` if ``folder/onnx`` holds anything else."""
    graphs = folder / "onnx"
    graphs.mkdir(parents=True, exist_ok=True)
    old = list(graphs.iterdir())
    for path in old:
        if path.is_dir() or not path.suffix.startswith(".onnx"):
            raise ValueError(f"{path} is no part of a model: choose another folder")
    for path in old:
        path.unlink()
    (folder / "manifest.json").unlink(missing_ok=True)
    return folder


def build(recipe: Recipe, folder: Path) -> None:
    """Writes the whole folder, the manifest last."""
    fresh(folder)
    parts = write_graphs(recipe, folder)
    write_side_files(folder, recipe.config, recipe.copies)
    write_json(folder / "manifest.json", manifest(recipe, folder, parts))


def write_graphs(recipe: Recipe, folder: Path) -> dict:
    """Writes ``onnx/``; the manifest's ``parts``. The two audio graphs share their weights in
    ``audio.onnx_data``."""
    parts, graphs = {}, recipe.graphs()
    with DataFiles(folder / "onnx/audio.onnx_data") as audio:
        for part, (graph, precision) in graphs.items():
            file = f"onnx/{part}.onnx"
            shared = "audio_stream" in graphs and part.startswith("audio_")
            graph.save(folder / file, audio if shared else None)
            parts[part] = {"file": file, "precision": str(precision)}
    return parts


def manifest(recipe: Recipe, folder: Path, parts: dict) -> dict:
    """The JSON of ``manifest.json``; sums are over what lies in the folder."""
    value = {
        "format": FORMAT,
        "name": recipe.name,
        "source": recipe.source or recipe.weights.description,
        "layout": recipe.layout,
        "kv": recipe.kv,
        "max_context": recipe.max_context,
        **{flag: bool(recipe.flags.get(flag)) for flag in FLAGS},
        "parts": parts,
        "recipe": {
            "weights": recipe.weights.description,
            "precision": {part: str(each) for part, each in recipe.precision.items()},
            **recipe.notes,
        },
    }
    if recipe.vocabulary is not None:
        value["vocabulary"] = recipe.vocabulary
    if recipe.quiet_bias:
        value["quiet_bias"] = recipe.quiet_bias
    side = [folder / name for name in SIDE_FILES]
    value["files"] = {
        path.relative_to(folder).as_posix(): {"bytes": path.stat().st_size, "sha256": sha256(path)}
        for path in [*filter(Path.exists, side), *sorted((folder / "onnx").iterdir())]
    }
    return value


def sha256(path: Path) -> str:
    """Hex digest of a file, read in pieces."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while piece := stream.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()
