"""All folders that the Rust tests read, from the tiny config and seed 1."""

from dataclasses import replace
from pathlib import Path

from . import config as configs
from .adopt import adopt
from .folder import Recipe, build
from .lookalike import VARIANTS, build_lookalike
from .precision import parse_parts
from .weights import RandomWeights

SEED = 1
MAX_CONTEXT = 4096
TALKS = {"phrases": True, "history": True, "reads_text": True}
"""A short prompt, so that a second turn fits the context."""
CALLS = {"history": True}
"""It only calls, like the starter, so that even random weights make a valid call."""


def recipe(name: str, precision: str, layout: str = "split", flags: dict = TALKS) -> Recipe:
    """The tiny model at one precision and layout."""
    return Recipe(
        config=configs.load("tiny"),
        weights=RandomWeights(SEED),
        name=name,
        precision=parse_parts(precision),
        layout=layout,
        max_context=MAX_CONTEXT,
        kv="concat" if layout == "merged" else "in_place",
        flags=flags,
    )


def recipes() -> list[Recipe]:
    """The folders with a manifest. ``tiny-merged-in-place`` is the merged graph, told to run
    on one buffer."""
    merged = recipe("tiny-merged-fp32", "fp32", "merged")
    return [
        recipe("tiny-split-fp32", "fp32"),
        recipe("tiny-split-q8", "q8b32a4", flags=CALLS),
        recipe("tiny-split-q4", "q4b32a0", flags=CALLS),
        merged,
        replace(merged, name="tiny-merged-in-place", kv="in_place"),
    ]


def write_fixtures(out: Path) -> list[str]:
    """Writes every folder under ``out`` and returns their names."""
    names = []
    for each in recipes():
        build(each, out / each.name)
        names.append(each.name)
    for variant_name, variant in VARIANTS.items():
        name = f"lookalike-{variant_name}"
        precision = {"": "fp32", "_quantized": "q8b32a4"}.get(variant.suffix, "q4b32a0")
        build_lookalike(recipe(name, precision, "merged"), variant, out / name)
        names.append(name)
    # A published folder with our graphs over its weights.
    name = "adopted-q4"
    build_lookalike(recipe(name, "q4b32a0", "merged"), VARIANTS["q4"], out / name)
    adopt(out / name, MAX_CONTEXT, None, check=False)
    return [*names, name]
