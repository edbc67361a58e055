"""A GGUF file of Gemma 4's audio encoder with random weights, for a run of llama.cpp beside hearth (see audio.py).

    python benches/versus/mmproj_random.py --config e4b --type q8_0 --out FILE

Keys, tensor names and types are those of llama.cpp's own converter (`conversion/gemma.py`) with that `--outtype`:
matrices are Q8_0 or f16, convolutions and the projection behind the first two stay in f32. Norms are ones. There are no
bounds of the clipped layers: without them llama.cpp clamps all the same, to the largest float.
"""

import argparse
import json

import gguf
import numpy as np

from gguf_random import CONFIGS, matrix, write

MEL_BINS = 128


def main():
    args = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    args.add_argument("--config", default="e4b", choices=["e4b", "e2b"])
    args.add_argument("--type", default="q8_0", choices=["q8_0", "f16"])
    args.add_argument("--out", required=True)
    args.add_argument("--seed", type=int, default=1)
    args = args.parse_args()
    config = json.loads((CONFIGS / f"{args.config}.json").read_text())
    audio, text_hidden = config["audio_config"], config["text_config"]["hidden_size"]
    hidden, wide, projected = audio["hidden_size"], 4 * audio["hidden_size"], audio["output_proj_dims"]

    writer = gguf.GGUFWriter(args.out, "clip")
    writer.add_clip_has_audio_encoder(True)
    writer.add_clip_audio_projector_type(gguf.VisionProjectorType.GEMMA4A)
    writer.add_audio_projection_dim(text_hidden)
    writer.add_audio_embedding_length(hidden)
    writer.add_audio_feed_forward_length(wide)
    writer.add_audio_block_count(audio["num_hidden_layers"])
    writer.add_audio_head_count(audio["num_attention_heads"])
    writer.add_audio_attention_layernorm_eps(audio["rms_norm_eps"])
    writer.add_audio_num_mel_bins(MEL_BINS)
    writer.add_file_type(gguf.LlamaFileType[f"MOSTLY_{args.type.upper()}"])

    random = np.random.default_rng(args.seed)

    def floats(name, *shape, kind=np.float32):
        values = random.standard_normal(shape, np.float32) * np.prod(shape[1:]) ** -0.5
        writer.add_tensor(f"{name}.weight", values.astype(kind))

    def weights(name, rows, width):
        if args.type == "f16":
            return floats(name, rows, width, kind=np.float16)
        kind = gguf.GGMLQuantizationType.Q8_0
        writer.add_tensor(f"{name}.weight", matrix(random, rows, width, kind), raw_dtype=kind)

    def ones(name, n):
        writer.add_tensor(f"{name}.weight", np.ones(n, np.float32))

    before = 1
    for i, after in enumerate(audio["subsampling_conv_channels"]):
        floats(f"a.conv1d.{i}", after, before, 3, 3)
        ones(f"a.conv1d.{i}.norm", after)
        before = after
    # Two convolutions of stride 2 leave a quarter of the bins.
    floats("a.input_projection", hidden, MEL_BINS // 4 * before)
    weights("a.pre_encode.out", projected, hidden)
    writer.add_tensor("a.pre_encode.out.bias", np.zeros(projected, np.float32))
    weights("mm.a.input_projection", text_hidden, projected)
    for i in range(audio["num_hidden_layers"]):
        layer = f"a.blk.{i}"
        for name in ("attn_q", "attn_k", "attn_v", "attn_out", "attn_k_rel", "conv_pw2"):
            weights(f"{layer}.{name}", hidden, hidden)
        weights(f"{layer}.conv_pw1", 2 * hidden, hidden)
        for name in ("", "_1"):
            weights(f"{layer}.ffn_up{name}", wide, hidden)
            weights(f"{layer}.ffn_down{name}", hidden, wide)
        floats(f"{layer}.conv_dw", hidden, audio["conv_kernel_size"])
        ones(f"{layer}.per_dim_scale", hidden // audio["num_attention_heads"])
        for norm in ("attn_pre_norm", "attn_post_norm", "ffn_norm", "ffn_post_norm", "ffn_norm_1", "ffn_post_norm_1",
                     "conv_norm", "norm_conv", "ln2"):
            ones(f"{layer}.{norm}", hidden)

    write(writer)


if __name__ == "__main__":
    main()
