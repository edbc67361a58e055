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
from .published_text import read_embedding
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
    min_margin: float | None = None
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
    for path in _old(folder):
        path.unlink()
    (folder / "manifest.json").unlink(missing_ok=True)
    return folder


def _old(folder: Path) -> list[Path]:
    """The graphs of an earlier build; makes ``folder/onnx`` if need be."""
    graphs = folder / "onnx"
    graphs.mkdir(parents=True, exist_ok=True)
    old = list(graphs.iterdir())
    for path in old:
        if path.is_dir() or not path.suffix.startswith(".onnx"):
            raise ValueError(f"{path} is no part of a model: choose another folder")
    return old


def build(recipe: Recipe, folder: Path) -> None:
    """Writes the whole folder, the manifest last. What is finished lies in ``folder/.building``
    until all is; a build of the same recipe that was stopped goes on there."""
    _old(folder)  # better refused now than after hours
    work = folder / ".building"
    state = _resumed(work, _fingerprint(recipe))
    parts = write_graphs(recipe, work, state)
    fresh(folder)
    for path in (work / "onnx").iterdir():
        path.rename(folder / "onnx" / path.name)
    shutil.rmtree(work)
    write_side_files(folder, recipe.config, recipe.copies)
    write_json(folder / "manifest.json", manifest(recipe, folder, parts))


def _fingerprint(recipe: Recipe) -> str:
    """What decides the graphs, and when the weights were written."""
    facts = [recipe.config.raw, {k: str(v) for k, v in recipe.precision.items()}, recipe.layout]
    facts += [recipe.max_context, recipe.weights.description, recipe.weights.stamp()]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def _resumed(work: Path, fingerprint: str) -> "_State":
    """The state of a build of this recipe; of any other, nothing is kept."""
    state = _State(work / "state.json", {"fingerprint": fingerprint, "groups": {}})
    if state.path.exists():
        before = json.loads(state.path.read_text())
        if before.get("fingerprint") == fingerprint:
            state.value = before
            return state
    shutil.rmtree(work, ignore_errors=True)
    (work / "onnx").mkdir(parents=True)
    state.save()
    return state


@dataclass
class _State:
    """Which files are finished: names and bytes by group."""

    path: Path
    value: dict

    def save(self) -> None:
        new = self.path.with_suffix(".new")
        write_json(new, self.value)
        new.replace(self.path)

    def has(self, group: str) -> bool:
        onnx = self.path.parent / "onnx"
        files = self.value["groups"].get(group)
        right = lambda name, size: (onnx / name).exists() and (onnx / name).stat().st_size == size  # noqa: E731
        return files is not None and all(right(name, size) for name, size in files.items())

    def finish(self, group: str, before: set[str]) -> None:
        onnx = self.path.parent / "onnx"
        new = {path.name: path.stat().st_size for path in onnx.iterdir() if path.name not in before}
        self.value["groups"][group] = new
        self.save()


def write_graphs(recipe: Recipe, folder: Path, state: _State | None = None) -> dict:
    """Writes ``onnx/``, but for what ``state`` knows as finished; the manifest's ``parts``. The two
    audio graphs share their weights in ``audio.onnx_data``."""
    parts, graphs = {}, recipe.graphs()
    shared = [part for part in graphs if part.startswith("audio_")] if "audio_stream" in graphs else []
    groups = {part: [part] for part in graphs if part not in shared}
    if shared:
        groups["audio"] = shared
    for group, members in groups.items():
        done = state is not None and state.has(group)
        listed = {} if state is None else state.value["groups"]
        before = {name for files in listed.values() for name in files} if listed else set()
        if done:
            print(f"{group}: finished before")
        elif shared is members:
            with DataFiles(folder / "onnx/audio.onnx_data") as audio:
                for part in members:
                    graphs[part][0].save(folder / f"onnx/{part}.onnx", audio)
        else:
            graphs[group][0].save(folder / f"onnx/{group}.onnx", None)
        if state is not None and not done:
            state.finish(group, before)
        for part in members:
            parts[part] = {"file": f"onnx/{part}.onnx", "precision": str(graphs[part][1])}
            graphs[part][0].forget()
    return {part: parts[part] for part in graphs}


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
    if recipe.min_margin is not None:
        value["min_margin"] = recipe.min_margin
    tables = read_embedding(folder / parts["embed_tokens"]["file"], recipe.config)
    if tables is not None:
        value["tables"] = tables
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
