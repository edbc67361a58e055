"""A GGUF file of Gemma 4's shapes with random Q4_0 weights, for a run of llama.cpp beside hearth (see decoder.py).

    python benches/versus/gguf_random.py --config e4b --vocab LLAMA.CPP/models/ggml-vocab-gemma-4.gguf --out FILE

All matrices are Q4_0, the tied head and the per-layer table too; norms are ones. Keys and tensor names are those of
`conversion/gemma.py` and `src/models/gemma4.cpp` in the same llama.cpp. About 4 GB of memory.
"""

import argparse
import json
from pathlib import Path

import gguf
import numpy as np

CONFIGS = Path(__file__).resolve().parents[2] / "onnx/hearth_onnx/configs"


def matrix(random, rows, width, kind):
    """[rows, bytes of a row]: per block of `kind` a scale in fp16, then equally likely steps."""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    steps = 2 ** (8 * (size - 2) // block)
    blocks = np.empty((rows, width // block, size), np.uint8)
    blocks[..., 2:] = np.frombuffer(random.bytes(blocks[..., 2:].size), np.uint8).reshape(blocks[..., 2:].shape)
    spread = ((steps ** 2 - 1) / 12) ** 0.5
    blocks[..., :2] = np.array([width ** -0.5 / spread], np.float16).view(np.uint8)
    return blocks.reshape(rows, -1)


def write(writer):
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file(progress=False)
    writer.close()


def vocabulary(writer, file):
    """Takes over the tokenizer of llama.cpp's own vocabulary file."""
    for field in gguf.GGUFReader(file).fields.values():
        if field.name.startswith("tokenizer."):
            kinds = field.types
            writer.add_key_value(field.name, field.contents(), kinds[0], sub_type=kinds[-1] if len(kinds) > 1 else None)


def main():
    args = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    args.add_argument("--config", default="e4b", choices=["e4b", "e2b"])
    args.add_argument("--vocab", required=True)
    args.add_argument("--out", required=True)
    args.add_argument("--seed", type=int, default=1)
    args = args.parse_args()
    text = json.loads((CONFIGS / f"{args.config}.json").read_text())["text_config"]
    hidden, layers, per_layer = text["hidden_size"], text["num_hidden_layers"], text["hidden_size_per_layer_input"]
    own = layers - text["num_kv_shared_layers"]
    wide = [text["intermediate_size"] * (2 if text["use_double_wide_mlp"] and i >= own else 1) for i in range(layers)]
    sliding = [kind == "sliding_attention" for kind in text["layer_types"]]
    ropes = text["rope_parameters"]

    writer = gguf.GGUFWriter(args.out, "gemma4")
    writer.add_context_length(text["max_position_embeddings"])
    writer.add_embedding_length(hidden)
    writer.add_block_count(layers)
    writer.add_feed_forward_length(wide)
    writer.add_head_count(text["num_attention_heads"])
    writer.add_head_count_kv(text["num_key_value_heads"])
    writer.add_layer_norm_rms_eps(text["rms_norm_eps"])
    writer.add_key_length(text["global_head_dim"])
    writer.add_value_length(text["global_head_dim"])
    writer.add_key_length_swa(text["head_dim"])
    writer.add_value_length_swa(text["head_dim"])
    writer.add_rope_dimension_count(text["global_head_dim"])
    writer.add_rope_dimension_count_swa(text["head_dim"])
    writer.add_rope_freq_base(ropes["full_attention"]["rope_theta"])
    writer.add_rope_freq_base_swa(ropes["sliding_attention"]["rope_theta"])
    writer.add_sliding_window(text["sliding_window"])
    writer.add_sliding_window_pattern(sliding)
    writer.add_shared_kv_layers(text["num_kv_shared_layers"])
    writer.add_embedding_length_per_layer_input(per_layer)
    writer.add_final_logit_softcapping(text["final_logit_softcapping"])
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_0)
    vocabulary(writer, args.vocab)

    random = np.random.default_rng(args.seed)

    def weights(name, rows, width):
        kind = gguf.GGMLQuantizationType.Q4_0
        writer.add_tensor(f"{name}.weight", matrix(random, rows, width, kind), raw_dtype=kind)

    def ones(name, n):
        writer.add_tensor(f"{name}.weight", np.ones(n, np.float32))

    turned = int(text["global_head_dim"] * ropes["full_attention"]["partial_rotary_factor"] / 2)
    factors = np.full(text["global_head_dim"] // 2, 1e30, np.float32)
    factors[:turned] = 1
    writer.add_tensor("rope_freqs.weight", factors)
    weights("token_embd", text["vocab_size"], hidden)
    weights("per_layer_token_embd", text["vocab_size_per_layer_input"], per_layer * layers)
    weights("per_layer_model_proj", per_layer * layers, hidden)
    ones("per_layer_proj_norm", per_layer)
    ones("output_norm", hidden)
    for i in range(layers):
        head = text["head_dim"] if sliding[i] else text["global_head_dim"]
        queries, keys = head * text["num_attention_heads"], head * text["num_key_value_heads"]
        layer = f"blk.{i}"
        weights(f"{layer}.attn_q", queries, hidden)
        weights(f"{layer}.attn_output", hidden, queries)
        ones(f"{layer}.attn_q_norm", head)
        if i < own:
            weights(f"{layer}.attn_k", keys, hidden)
            weights(f"{layer}.attn_v", keys, hidden)
            ones(f"{layer}.attn_k_norm", head)
        weights(f"{layer}.ffn_gate", wide[i], hidden)
        weights(f"{layer}.ffn_up", wide[i], hidden)
        weights(f"{layer}.ffn_down", hidden, wide[i])
        weights(f"{layer}.inp_gate", per_layer, hidden)
        weights(f"{layer}.proj", hidden, per_layer)
        for norm in ("attn_norm", "post_attention_norm", "ffn_norm", "post_ffw_norm", "post_norm"):
            ones(f"{layer}.{norm}", hidden)
        ones(f"{layer}.layer_output_scale", 1)

    write(writer)


if __name__ == "__main__":
    main()
