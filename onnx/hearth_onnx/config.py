"""The parts of a Hugging Face ``Gemma4Config`` that decide the graphs.

Reads the nested ``config.json`` (text_config, audio_config, token ids) and refuses what the
graphs do not express (mixture of experts, bidirectional attention, shared K and V weights).
"""

import json
from dataclasses import dataclass
from pathlib import Path

PRESETS = Path(__file__).parent / "configs"


@dataclass(frozen=True)
class Text:
    """The decoder's geometry."""

    hidden: int
    layers: int
    shared_layers: int
    heads: int
    kv_heads: int
    kv_heads_full: int
    head_dim: int
    head_dim_full: int
    intermediate: int
    double_wide: bool
    per_layer: int
    vocabulary: int
    per_layer_vocabulary: int
    kinds: tuple[str, ...]
    window: int
    rope: dict
    epsilon: float
    soft_cap: float | None
    tied: bool
    pad_id: int

    @property
    def own_layers(self) -> int:
        """Layers that compute keys and values; the rest read an earlier layer's."""
        return self.layers - self.shared_layers

    def is_full(self, layer: int) -> bool:
        return self.kinds[layer] == "full_attention"

    def dim(self, layer: int) -> int:
        """Head dimension of a layer."""
        return self.head_dim_full if self.is_full(layer) else self.head_dim

    def kv(self, layer: int) -> int:
        """Key/value heads of a layer."""
        return self.kv_heads_full if self.is_full(layer) else self.kv_heads

    def kv_layer(self, layer: int) -> int:
        """The layer whose keys and values ``layer`` attends to (itself, if it has some)."""
        if layer < self.own_layers:
            return layer
        same = [i for i in range(self.own_layers) if self.kinds[i] == self.kinds[layer]]
        return same[-1]

    def shared_sources(self) -> list[int]:
        """The layers whose keys and values the shared layers read, ascending."""
        return sorted({self.kv_layer(i) for i in range(self.own_layers, self.layers)})

    def width(self, layer: int) -> int:
        """Width of the layer's MLP."""
        return self.intermediate * (2 if self.double_wide and layer >= self.own_layers else 1)


@dataclass(frozen=True)
class Audio:
    """The audio tower's geometry."""

    hidden: int
    layers: int
    heads: int
    channels: tuple[int, int]
    kernel: int
    chunk: int
    left: int
    logit_cap: float
    invalid_logit: float
    residual_weight: float
    gradient_clipping: float
    clipped: bool
    projected: int
    epsilon: float

    @property
    def head_dim(self) -> int:
        return self.hidden // self.heads


@dataclass(frozen=True)
class Config:
    """A model's geometry and the JSON it came from."""

    raw: dict
    text: Text
    audio: Audio
    placeholder_ids: tuple[int, ...]

    @property
    def mel_bins(self) -> int:
        """transformers derives the projection's width from the first channel count, so the
        number of mel bins must equal it."""
        return self.audio.channels[0]


def load(text: str) -> Config:
    """A preset's name (``e4b``, ``e2b``, ``tiny``, ``tiny-e2b``), a ``config.json`` or a folder
    that has one."""
    path = Path(text)
    if (PRESETS / f"{text}.json").exists():
        path = PRESETS / f"{text}.json"
    elif path.is_dir():
        path = path / "config.json"
    return parse(json.loads(path.read_text()))


def parse(raw: dict) -> Config:
    """Checks the JSON and picks what is needed; defaults are those of transformers."""
    return Config(raw, _text(raw), _audio(raw), _placeholders(raw))


def _placeholders(raw: dict) -> tuple[int, ...]:
    ids = [raw.get(f"{kind}_token_id") for kind in ("image", "audio", "video")]
    return tuple(i for i in ids if i is not None)


def _text(raw: dict) -> Text:
    text = raw["text_config"]
    for key in ("enable_moe_block", "attention_k_eq_v", "attention_bias", "use_bidirectional_attention"):
        if text.get(key):
            raise ValueError(f"text_config.{key} = {text[key]!r} is not supported")
    if text.get("hidden_activation", "gelu_pytorch_tanh") != "gelu_pytorch_tanh":
        raise ValueError(f"text_config.hidden_activation {text['hidden_activation']!r} is not supported")
    layers = text["num_hidden_layers"]
    kinds = text.get("layer_types") or [
        "sliding_attention" if (i + 1) % 6 else "full_attention" for i in range(layers)
    ]
    rope = text.get("rope_parameters") or {
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        "full_attention": {
            "rope_type": "proportional",
            "partial_rotary_factor": 0.25,
            "rope_theta": 1e6,
        },
    }
    return Text(
        hidden=text["hidden_size"],
        layers=layers,
        shared_layers=text.get("num_kv_shared_layers", 0),
        heads=text["num_attention_heads"],
        kv_heads=text["num_key_value_heads"],
        # transformers uses the other count only together with attention_k_eq_v.
        kv_heads_full=text["num_key_value_heads"],
        head_dim=text["head_dim"],
        head_dim_full=text.get("global_head_dim") or 512,
        intermediate=text["intermediate_size"],
        double_wide=bool(text.get("use_double_wide_mlp")),
        per_layer=text["hidden_size_per_layer_input"],
        vocabulary=text["vocab_size"],
        per_layer_vocabulary=text["vocab_size_per_layer_input"],
        kinds=tuple(kinds),
        window=text["sliding_window"],
        rope=rope,
        epsilon=text.get("rms_norm_eps", 1e-6),
        soft_cap=text.get("final_logit_softcapping"),
        tied=raw.get("tie_word_embeddings", text.get("tie_word_embeddings", True)),
        pad_id=text.get("pad_token_id") or 0,
    )


def _audio(raw: dict) -> Audio:
    audio = raw["audio_config"]
    parsed = Audio(
        hidden=audio["hidden_size"],
        layers=audio["num_hidden_layers"],
        heads=audio["num_attention_heads"],
        channels=tuple(audio.get("subsampling_conv_channels", (128, 32))),
        kernel=audio.get("conv_kernel_size", 5),
        chunk=audio.get("attention_chunk_size", 12),
        left=audio.get("attention_context_left", 13),
        logit_cap=audio.get("attention_logit_cap", 50.0),
        invalid_logit=audio.get("attention_invalid_logits_value", -1e9),
        residual_weight=audio.get("residual_weight", 0.5),
        gradient_clipping=audio.get("gradient_clipping", 1e10),
        clipped=audio.get("use_clipped_linears", True),
        projected=audio.get("output_proj_dims", 1536),
        epsilon=audio.get("rms_norm_eps", 1e-6),
    )
    if audio.get("hidden_act", "silu") != "silu":
        raise ValueError(f"audio_config.hidden_act {audio['hidden_act']!r} is not supported")
    if audio.get("attention_context_right", 0) != 0 or parsed.left - 1 != parsed.chunk:
        raise ValueError("the audio attention must look back exactly one chunk and never ahead")
    return parsed
