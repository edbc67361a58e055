"""The starter's shape as a Hugging Face Gemma 4 config, and its other config files."""

import json
from pathlib import Path

from tokenizer import ID, SIZE

TEXT = dict(
    model_type="gemma4_text", vocab_size=SIZE, vocab_size_per_layer_input=SIZE, hidden_size=128,
    intermediate_size=256, num_hidden_layers=6, num_attention_heads=4, num_key_value_heads=2,
    head_dim=32, global_head_dim=64, num_kv_shared_layers=3, sliding_window=128,
    layer_types=["sliding_attention", "sliding_attention", "full_attention"] * 2,
    hidden_size_per_layer_input=32, hidden_activation="gelu_pytorch_tanh", rms_norm_eps=1e-6,
    max_position_embeddings=4096, attention_bias=False, attention_dropout=0.0,
    attention_k_eq_v=False, final_logit_softcapping=30.0, use_double_wide_mlp=False,
    enable_moe_block=False, tie_word_embeddings=True, initializer_range=0.02, use_cache=True,
    use_bidirectional_attention=None, num_global_key_value_heads=None,
    pad_token_id=ID["<pad>"], bos_token_id=ID["<bos>"], eos_token_id=ID["<eos>"],
    rope_parameters={
        "sliding_attention": {"rope_type": "default", "rope_theta": 10000.0},
        "full_attention": {"rope_type": "proportional", "partial_rotary_factor": 0.25,
                           "rope_theta": 1000000.0}},
    dtype="float32")
AUDIO = dict(
    model_type="gemma4_audio", hidden_size=160, num_hidden_layers=4, num_attention_heads=5,
    hidden_act="silu", subsampling_conv_channels=[128, 16], conv_kernel_size=5,
    residual_weight=0.5, attention_chunk_size=12, attention_context_left=13,
    attention_context_right=0, attention_logit_cap=50.0, attention_invalid_logits_value=-1e9,
    use_clipped_linears=True, rms_norm_eps=1e-6, gradient_clipping=1e10, output_proj_dims=160,
    initializer_range=0.02, dtype="float32")
CLIP = 512.0
STOP = [ID["<eos>"], ID["<turn|>"], ID["<|tool_response>"]]


def config():
    """config.json as a dict."""
    return {
        "architectures": ["Gemma4ForConditionalGeneration"], "model_type": "gemma4",
        "dtype": "float32", "text_config": TEXT, "audio_config": AUDIO, "vision_config": None,
        "tie_word_embeddings": True, "initializer_range": 0.02, "eos_token_id": STOP,
        "audio_token_id": ID["<|audio|>"], "boa_token_id": ID["<|audio>"],
        "eoa_token_id": ID["<audio|>"], "eoa_token_index": ID["<audio|>"],
        "image_token_id": ID["<|image|>"], "boi_token_id": ID["<|image>"],
        "eoi_token_id": ID["<image|>"], "video_token_id": ID["<|video|>"],
        "transformers_version": "5.23.0"}


def write(folder, mean, std):
    """Writes config.json, processor_config.json and generation_config.json."""
    folder = Path(folder)

    def put(name, value):
        (folder / name).write_text(json.dumps(value, indent=1) + "\n")
    put("config.json", config())
    put("generation_config.json", {
        "bos_token_id": ID["<bos>"], "pad_token_id": ID["<pad>"], "eos_token_id": STOP,
        "do_sample": False, "transformers_version": "5.23.0"})
    put("processor_config.json", {
        "processor_class": "Gemma4Processor", "audio_ms_per_token": 40, "audio_seq_length": 750,
        "feature_extractor": {
            "feature_extractor_type": "Gemma4AudioFeatureExtractor", "feature_size": 128,
            "sampling_rate": 16000, "padding_value": 0.0, "padding_side": "right",
            "return_attention_mask": True, "frame_length": 320, "hop_length": 160, "fft_length": 512,
            "min_frequency": 0.0, "max_frequency": 8000.0, "preemphasis": 0.0,
            "preemphasis_htk_flavor": True, "fft_overdrive": False, "dither": 0.0,
            "input_scale_factor": 1.0, "mel_floor": 0.001,
            "per_bin_mean": [round(float(x), 5) for x in mean],
            "per_bin_stddev": [round(float(x), 5) for x in std]}})
