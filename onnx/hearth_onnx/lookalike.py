"""Folders in the shape of the published ones (no manifest, suffixed names, merged decoder),
in variants for what is uncertain about the published graphs."""

from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir

from .audio import audio_encoder
from .folder import Recipe, fresh, write_json, write_side_files
from .graph import BOOL, F16, F32, I32, I64, DataFiles
from .text import embed_tokens


@dataclass(frozen=True)
class Variant:
    """One way the published graphs might be."""

    suffix: str = "_q4"
    kv_type: ir.DataType = F32
    position_ids: bool = True
    logits_to_keep: bool = True
    attention_mask: ir.DataType = I64
    features_mask: ir.DataType = BOOL
    shard_bytes: int = 1 << 62


VARIANTS = {
    "q4": Variant(),
    "kv-fp16": Variant(suffix="_q4f16", kv_type=F16),
    "no-position-ids": Variant(position_ids=False),
    "no-keep": Variant(logits_to_keep=False),
    "masks": Variant(attention_mask=I32, features_mask=F32),
    "sharded": Variant(suffix="_quantized", shard_bytes=64 << 10),
    "fp32": Variant(suffix=""),
}
"""``masks``: attention_mask int32 and input_features_mask f32. ``sharded``: the weights lie in
several data files beside each graph. The others say it in their name."""


def build_lookalike(recipe: Recipe, variant: Variant, folder: Path) -> None:
    """Writes a folder without manifest; weights always go to external data."""
    fresh(folder)
    table, per_layer = recipe.precision["embed"], recipe.precision["per_layer"]
    decoder = recipe.decoder("decoder_model_merged", kv_type=variant.kv_type)
    graphs = [
        audio_encoder(
            recipe.config, recipe.weights, recipe.precision["audio"], variant.features_mask
        ),
        embed_tokens(recipe.config, recipe.weights, table, per_layer),
        decoder.merged(variant.position_ids, variant.logits_to_keep, variant.attention_mask),
    ]
    for graph in graphs:
        file = folder / "onnx" / f"{graph.name}{variant.suffix}.onnx"
        with DataFiles(file.with_name(f"{file.name}_data"), variant.shard_bytes) as data:
            graph.save(file, data)
    write_side_files(folder, recipe.config, recipe.copies)
    raw = recipe.config.raw
    generation = {
        "bos_token_id": 2,
        "do_sample": True,
        "eos_token_id": raw.get("eos_token_id"),
        "pad_token_id": 0,
        "temperature": 1.0,
        "top_k": 64,
        "top_p": 0.95,
    }
    write_json(folder / "generation_config.json", generation)
