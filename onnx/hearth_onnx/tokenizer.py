"""A small tokenizer and the processor's settings for the tiny models.

The tokenizer has Gemma's special-token names under small ids, every byte, printable ASCII
and some words, so any text encodes. Like Gemma's it writes a space as U+2581 and puts none
at the start of a text, so nothing appears between special tokens and words.
"""

SPECIALS = (
    "<pad> <eos> <bos> <unk> <mask> <|tool> <tool|> <|tool_call> <tool_call|> <|tool_response> "
    '<tool_response|> <|"|> <|think|> <|channel> <channel|> <|turn> <turn|> <|image> <|audio> '
    "<|image|> <|audio|> <image|> <audio|> <|video|>"
).split()
WORDS = (
    "user model system call response value turn_on room kind light kitchen set_timer minutes name the"
).split()
SPACE = "\u2581"


def tiny_tokenizer(vocab_size: int) -> dict:
    """The JSON of ``tokenizer.json``, filled up with unused tokens to ``vocab_size``."""
    tokens = [*SPECIALS, *(f"<0x{byte:02X}>" for byte in range(256)), "\n", SPACE]
    tokens += [chr(code) for code in range(33, 127)]
    merges = []
    for word in WORDS:
        for end in range(2, len(word) + 1):
            left, right = word[: end - 1], word[end - 1]
            if left + right not in tokens:
                tokens.append(left + right)
                merges.append([left, right])
    if len(tokens) > vocab_size:
        raise ValueError(f"the tiny tokenizer has {len(tokens)} tokens, over {vocab_size}")
    tokens += [f"<unused{index}>" for index in range(vocab_size - len(tokens))]
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [
            {
                "id": index,
                "content": content,
                "single_word": False,
                "lstrip": False,
                "rstrip": False,
                "normalized": False,
                "special": True,
            }
            for index, content in enumerate(SPECIALS)
        ],
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": SPACE},
        "pre_tokenizer": {
            "type": "Split",
            "pattern": {"String": " "},
            "behavior": "MergedWithPrevious",
            "invert": False,
        },
        "post_processor": None,
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": "<unk>",
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": {token: index for index, token in enumerate(tokens)},
            "merges": merges,
        },
    }


def processor_config(mel_bins: int) -> dict:
    """The JSON of ``processor_config.json``: the released models' front end."""
    return {
        "processor_class": "Gemma4Processor",
        "audio_ms_per_token": 40,
        "audio_seq_length": 750,
        "image_seq_length": 280,
        "feature_extractor": {
            "feature_extractor_type": "Gemma4AudioFeatureExtractor",
            "feature_size": mel_bins,
            "sampling_rate": 16000,
            "frame_length": 320,
            "hop_length": 160,
            "fft_length": 512,
            "fft_overdrive": False,
            "min_frequency": 0.0,
            "max_frequency": 8000.0,
            "mel_floor": 0.001,
            "preemphasis": 0.0,
            "preemphasis_htk_flavor": True,
            "dither": 0.0,
            "input_scale_factor": 1.0,
            "padding_side": "right",
            "padding_value": 0.0,
            "per_bin_mean": None,
            "per_bin_stddev": None,
        },
    }
