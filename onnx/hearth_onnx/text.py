"""The graphs ``embed_tokens`` and the decoder: merged, lower and upper.

Layers that own keys and values run ``GroupQueryAttention`` with past and present, which
works on a growing past as well as in place on one buffer. The last layers read an earlier
layer's keys and values: the same operator with an empty new key and no present.

The operator reads every row of the past, also in a layer whose window is shorter. ``lower`` and
``upper`` therefore have the rows of sliding layers counted apart (``sliding_attention_mask``):
their past may lack its oldest rows, as long as those of the window are there. ``position_ids``
says where the new rows stand in the whole.
"""

import numpy as np
import onnx_ir as ir

from .config import Config, Text
from .graph import F16, F32, I32, I64, MICROSOFT, Graph
from .precision import Precision
from .weights import WeightSource

MODEL = "model.language_model"
KEEP_ALL = (1 << 31) - 1
HEAD_ROWS = 1 << 16
"""Most rows of a matrix of the head. While onnxruntime brings a matrix into the processor's form, both
forms are in memory, and the head is by far the largest: in one piece it was the peak of loading."""


def embed_tokens(
    config: Config, weights: WeightSource, table: Precision, per_layer_table: Precision
) -> Graph:
    """``input_ids`` i64 [B,S] to ``inputs_embeds`` f32 [B,S,H] and ``per_layer_inputs`` f32
    [B,S,L,P]. Placeholders of other media, and ids outside the table, read the pad row."""
    text = config.text
    g = Graph("embed_tokens", weights)
    ids = g.input("input_ids", I64, ["batch", "sequence"])
    pad = g.constant(text.pad_id, np.int64)
    limit = min(text.vocabulary, text.per_layer_vocabulary)
    replaced = g.op("GreaterOrEqual", ids, g.constant(limit, np.int64))
    for placeholder in config.placeholder_ids:
        if placeholder < limit:
            same = g.op("Equal", ids, g.constant(placeholder, np.int64))
            replaced = g.op("Or", replaced, same)
    ids = g.op("Where", replaced, pad, ids)

    name = f"{MODEL}.embed_tokens.weight"
    rows = g.gather_rows(ids, name, text.vocabulary, text.hidden, table)
    rows = g.op("Mul", rows, g.constant(_embed_scale(weights, name, text.hidden)))
    name, width = f"{MODEL}.embed_tokens_per_layer.weight", text.layers * text.per_layer
    per_layer = g.gather_rows(ids, name, text.per_layer_vocabulary, width, per_layer_table)
    per_layer = g.op("Mul", per_layer, g.constant(_embed_scale(weights, name, text.per_layer)))
    per_layer = g.reshape(per_layer, 0, 0, text.layers, text.per_layer)
    g.output(rows, "inputs_embeds", F32, ["batch", "sequence", text.hidden])
    shape = ["batch", "sequence", text.layers, text.per_layer]
    g.output(per_layer, "per_layer_inputs", F32, shape)
    return g


def _embed_scale(weights: WeightSource, name: str, width: int) -> np.float32:
    """sqrt(width), rounded to bfloat16 when the table is stored so (as the reference does)."""
    scale = np.array([width**0.5], np.float32)
    if weights.dtype(name) == "BF16":
        bits = scale.view(np.uint32)
        scale = ((bits + 0x7FFF + ((bits >> 16) & 1)) & 0xFFFF0000).astype(np.uint32).view(np.float32)
    return scale[0]


def rotary(rope: dict, dim: int, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """cos and sin of positions ``0..rows``, [rows, dim/2]. Proportional: the frequencies are
    those of the whole head, but only the first part of them turns."""
    turning = dim // 2
    if rope["rope_type"] == "proportional":
        turning = int(rope.get("partial_rotary_factor", 1.0) * dim // 2)
    elif rope["rope_type"] != "default":
        raise ValueError(f"rope_type {rope['rope_type']!r} is not supported")
    # In f32, as the reference computes the frequencies and the angles.
    exponent = np.arange(0, 2 * turning, 2, dtype=np.float32) / np.float32(dim)
    frequency = np.zeros(dim // 2, np.float32)
    frequency[:turning] = np.float32(1) / np.power(np.float32(rope["rope_theta"]), exponent)
    angle = np.arange(rows, dtype=np.float32)[:, None] * frequency
    return np.cos(angle), np.sin(angle)


class Decoder:
    """Builds one decoder graph; a new instance for each graph."""

    def __init__(
        self,
        name: str,
        config: Config,
        weights: WeightSource,
        decoder: Precision,
        head: Precision,
        max_context: int,
        kv_type: ir.DataType = F32,
    ):
        self.text: Text = config.text
        self.weights = weights
        self.precision = decoder
        self.head_precision = head
        self.max_context = max_context
        self.kv_type = kv_type
        self.g = Graph(name, weights)
        self.eps = self.text.epsilon
        self.positions: ir.Value | None = None
        self.full: tuple[ir.Value, ir.Value] | None = None
        self.sliding: tuple[ir.Value, ir.Value] | None = None
        self.kv: dict[int, tuple[ir.Value, ir.Value]] = {}
        self.past: dict[int, tuple[ir.Value, ir.Value]] = {}

    # -- the three graphs -----------------------------------------------------------------

    def merged(
        self, position_ids: bool = True, logits_to_keep: bool = True, mask_type: ir.DataType = I64
    ) -> Graph:
        """The published interface; the two flags leave the optional inputs out."""
        g, text = self.g, self.text
        x, rows = self._row_inputs()
        self.full = self.sliding = self._lengths(g.input("attention_mask", mask_type, ["batch", "total"]))
        if position_ids:
            self.positions = g.input("position_ids", I64, ["batch", "sequence"])
        keep = g.input("num_logits_to_keep", I64, []) if logits_to_keep else None
        self._past_inputs(range(text.own_layers))
        rows = self._combined_rows(x, rows)
        x = self._own_layers(x, rows)
        if keep is not None:
            start = g.op("Neg", g.reshape(keep, 1))
            x = self._last(x, start)
            rows = self._last(rows, start)
            if self.positions is not None:
                self.positions = self._last(self.positions, start)
        x = self._shared_layers(x, rows, text.own_layers)
        self._logits(x, "kept" if keep is not None else "sequence")
        self._present_outputs()
        return g

    def lower(self) -> Graph:
        """The layers that own keys and values."""
        g, text = self.g, self.text
        x, rows = self._row_inputs()
        self._places("sequence")
        self._past_inputs(range(text.own_layers))
        rows = self._combined_rows(x, rows)
        x = self._own_layers(x, rows)
        shared = g.op("Slice", rows, g.ints(text.own_layers), g.ints(text.layers), g.ints(2))
        g.output(x, "hidden_states", F32, ["batch", "sequence", text.hidden])
        shape = ["batch", "sequence", text.shared_layers, text.per_layer]
        g.output(shared, "shared_per_layer_inputs", F32, shape)
        self._present_outputs()
        return g

    def upper(self) -> Graph:
        """The layers that read others' keys and values, and the head."""
        g, text = self.g, self.text
        x = g.input("hidden_states", F32, ["batch", "kept", text.hidden])
        shape = ["batch", "kept", text.shared_layers, text.per_layer]
        rows = g.input("shared_per_layer_inputs", F32, shape)
        self._places("kept")
        self._past_inputs(text.shared_sources())
        self.kv = dict(self.past)
        x = self._shared_layers(x, rows, 0)
        self._logits(x, "kept", -(-text.vocabulary // HEAD_ROWS))
        return g

    # -- pieces alone, to measure what rounding does to them --------------------------------

    def one_layer(self, layer: int) -> Graph:
        """One layer, with the past that it reads; its own row of the per-layer rows is the only one."""
        g, text = self.g, self.text
        x = g.input("hidden_states", F32, ["batch", "sequence", text.hidden])
        rows = g.input("per_layer_inputs", F32, ["batch", "sequence", 1, text.per_layer])
        self._places("sequence")
        self._past_inputs([text.kv_layer(layer)])
        self.kv = dict(self.past)
        x = self._layer(x, rows, layer, 0)
        g.output(x, "next_hidden_states", F32, ["batch", "sequence", text.hidden])
        return g

    def head(self) -> Graph:
        """The last norm and the head."""
        g = self.g
        self._logits(g.input("hidden_states", F32, ["batch", "kept", self.text.hidden]), "kept")
        return g

    # -- inputs and outputs ---------------------------------------------------------------

    def _row_inputs(self):
        text, g = self.text, self.g
        x = g.input("inputs_embeds", F32, ["batch", "sequence", text.hidden])
        shape = ["batch", "sequence", text.layers, text.per_layer]
        return x, g.input("per_layer_inputs", F32, shape)

    def _places(self, rows: str):
        """Lengths of the past by kind of layer, and the places of the new ``rows``."""
        g = self.g
        self.full = self._lengths(g.input("attention_mask", I64, ["batch", "total"]))
        self.sliding = self._lengths(g.input("sliding_attention_mask", I64, ["batch", "sliding_total"]))
        self.positions = g.input("position_ids", I64, ["batch", rows])

    def _lengths(self, mask) -> tuple[ir.Value, ir.Value]:
        """The operator's idea of lengths: last valid index and total, both int32."""
        g = self.g
        count = g.op("ReduceSum", g.op("Cast", mask, to=I64), g.ints(1), keepdims=0)
        last_index = g.op("Cast", g.op("Sub", count, g.ints(1)), to=I32)
        return last_index, g.op("Cast", g.reshape(g.op("Shape", mask, start=1, end=2)), to=I32)

    def _past_inputs(self, layers):
        for layer in layers:
            shape = ["batch", self.text.kv(layer), self._rows("past", layer), self.text.dim(layer)]
            self.past[layer] = tuple(
                self.g.input(f"past_key_values.{layer}.{part}", self.kv_type, shape)
                for part in ("key", "value")
            )

    def _present_outputs(self):
        for layer in range(self.text.own_layers):
            shape = ["batch", self.text.kv(layer), self._rows("present", layer), self.text.dim(layer)]
            for part, value in zip(("key", "value"), self.kv[layer]):
                self.g.output(value, f"present.{layer}.{part}", self.kv_type, shape)

    def _rows(self, name: str, layer: int) -> str:
        """The dimension of a layer's past or present: its own where layers are counted apart."""
        apart = self.sliding is not self.full and not self.text.is_full(layer)
        return f"sliding_{name}" if apart else name

    def _last(self, x, start):
        """The rows from ``start`` (negative: from the end; 0: all) of axis 1."""
        return self.g.op("Slice", x, start, self.g.ints(KEEP_ALL), self.g.ints(1))

    # -- layers ---------------------------------------------------------------------------

    def _combined_rows(self, x, rows):
        """Per-layer rows: the token's own plus a projection of its embedding."""
        g, text = self.g, self.text
        width = text.layers * text.per_layer
        with g.scope("per_layer"):
            y = g.linear(
                x, f"{MODEL}.per_layer_model_projection.weight", width, text.hidden, self.precision
            )
            y = g.op("Mul", y, g.constant(text.hidden**-0.5))
            y = g.reshape(y, 0, 0, text.layers, text.per_layer)
            weight = g.parameter(f"{MODEL}.per_layer_projection_norm.weight", (text.per_layer,))
            y = g.op("Add", g.rms_norm(y, weight, self.eps), rows)
            return g.op("Mul", y, g.constant(2.0**-0.5))

    def _own_layers(self, x, rows):
        for layer in range(self.text.own_layers):
            x = self._layer(x, rows, layer, layer)
        return x

    def _shared_layers(self, x, rows, first_row: int):
        """``rows`` starts with the row of the first shared layer at index ``first_row``."""
        for layer in range(self.text.own_layers, self.text.layers):
            x = self._layer(x, rows, layer, first_row + layer - self.text.own_layers)
        return x

    def _layer(self, x, rows, layer: int, row: int):
        g, prefix = self.g, f"{MODEL}.layers.{layer}"
        with g.scope(f"layers.{layer}"):
            with g.scope("self_attn"):
                y = self._norm(x, f"{prefix}.input_layernorm")
                y = self._attention(y, f"{prefix}.self_attn", layer)
                x = g.op("Add", x, self._norm(y, f"{prefix}.post_attention_layernorm"))
            with g.scope("mlp"):
                y = self._norm(x, f"{prefix}.pre_feedforward_layernorm")
                y = self._mlp(y, f"{prefix}.mlp", self.text.width(layer))
                x = g.op("Add", x, self._norm(y, f"{prefix}.post_feedforward_layernorm"))
            with g.scope("per_layer"):
                y = self._per_layer(x, rows, prefix, row)
                x = g.op("Add", x, self._norm(y, f"{prefix}.post_per_layer_input_norm"))
            scalar = float(self.weights.tensor(f"{prefix}.layer_scalar", (1,))[0])
            return x if scalar == 1.0 else g.op("Mul", x, g.constant(scalar))

    def _norm(self, x, prefix: str):
        return self.g.rms_norm(x, self.g.parameter(f"{prefix}.weight", (self.text.hidden,)), self.eps)

    def _gelu(self, x):
        return self.g.op("Gelu", x, approximate="tanh")

    def _mlp(self, x, prefix: str, width: int):
        g, hidden = self.g, self.text.hidden
        gate = self._gelu(g.linear(x, f"{prefix}.gate_proj.weight", width, hidden, self.precision))
        up = g.linear(x, f"{prefix}.up_proj.weight", width, hidden, self.precision)
        y = g.op("Mul", gate, up)
        return g.linear(y, f"{prefix}.down_proj.weight", hidden, width, self.precision)

    def _per_layer(self, x, rows, prefix: str, row: int):
        g, text = self.g, self.text
        name = f"{prefix}.per_layer_input_gate.weight"
        gate = self._gelu(g.linear(x, name, text.per_layer, text.hidden, self.precision))
        own = g.op("Gather", rows, g.constant(row, np.int64), axis=2)
        y = g.op("Mul", gate, own)
        name = f"{prefix}.per_layer_projection.weight"
        return g.linear(y, name, text.hidden, text.per_layer, self.precision)

    def _heads(self, x, prefix: str, kind: str, heads: int, dim: int):
        """Projection and norm per head, [B,S,heads*dim]; values have a norm without weight."""
        g = self.g
        name = f"{prefix}.{kind}_proj.weight"
        x = g.linear(x, name, heads * dim, self.text.hidden, self.precision)
        weight = (
            g.constant(np.ones(dim))
            if kind == "v"
            else g.parameter(f"{prefix}.{kind}_norm.weight", (dim,))
        )
        x = g.rms_norm(g.reshape(x, 0, 0, heads, dim), weight, self.eps)
        return g.reshape(x, 0, 0, heads * dim)

    def _attention(self, x, prefix: str, layer: int):
        g, text = self.g, self.text
        dim, kv_heads, full = text.dim(layer), text.kv(layer), text.is_full(layer)
        source, own = text.kv_layer(layer), layer < text.own_layers
        q = self._to_kv_type(self._heads(x, prefix, "q", text.heads, dim))
        if own:
            k = self._to_kv_type(self._heads(x, prefix, "k", kv_heads, dim))
            v = self._to_kv_type(self._heads(x, prefix, "v", kv_heads, dim))
            past = self.past[layer]
        else:
            k = v = g.constant(np.zeros((1, 0, kv_heads * dim)), self.kv_type.numpy())
            past = self.kv[source]
        cos, sin = self._rotary(text.kinds[layer], dim)
        attributes = {"num_heads": text.heads, "kv_num_heads": kv_heads, "scale": 1.0, "do_rotary": 1}
        if not full:
            attributes["local_window_size"] = text.window
        # Declaring present outputs on a layer that only reads would copy the whole cache.
        outputs = g.op_n(
            "GroupQueryAttention",
            3 if own else 1,
            *(q, k, v, *past, *(self.full if full else self.sliding), cos, sin),
            *([self.positions] if self.positions is not None else []),
            domain=MICROSOFT,
            **attributes,
        )
        if own:
            self.kv[layer] = (outputs[1], outputs[2])
        y = outputs[0]
        if self.kv_type != F32:
            y = g.op("Cast", y, to=F32)
        name = f"{prefix}.o_proj.weight"
        return g.linear(y, name, text.hidden, text.heads * dim, self.precision)

    def _to_kv_type(self, x):
        return x if self.kv_type == F32 else self.g.op("Cast", x, to=self.kv_type)

    def _rotary(self, kind: str, dim: int):
        """cos and sin of positions ``0..max_context``."""
        cos, sin = rotary(self.text.rope[kind], dim, self.max_context)
        dtype = self.kv_type.numpy()
        return self.g.constant(cos, dtype), self.g.constant(sin, dtype)

    # -- head -----------------------------------------------------------------------------

    def _logits(self, x, rows: str, parts: int = 1):
        g, text = self.g, self.text
        with g.scope("head"):
            x = self._norm(x, f"{MODEL}.norm")
            name = f"{MODEL}.embed_tokens.weight"
            if not text.tied and self.weights.has("lm_head.weight"):
                name = "lm_head.weight"
            x = g.linear(x, name, text.vocabulary, text.hidden, self.head_precision, parts)
            if text.soft_cap is not None:
                x = g.op("Tanh", g.op("Mul", x, g.constant(1 / text.soft_cap)))
                x = g.op("Mul", x, g.constant(text.soft_cap))
            if self.kv_type == F16:
                x = g.op("Cast", x, to=F16)
        g.output(x, "logits", self.kv_type, ["batch", rows, text.vocabulary])
