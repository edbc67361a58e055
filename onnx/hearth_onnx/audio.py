"""The graph ``audio_encoder``: log-mel frames to rows of the text model's width.

The tower looks back only; attention runs in chunks of 12 tokens over 24 keys, as in the
reference, so its cost grows linearly with the length.
"""

import math

import numpy as np
import onnx_ir as ir

from .config import Audio, Config
from .graph import BOOL, F32, Graph
from .precision import Precision
from .weights import WeightSource

TOWER = "model.audio_tower"
CLAMP_MATTERS_BELOW = 1e9
"""Clamps at or beyond this are left out: no f32 activation of a sane model gets there."""


def audio_encoder(
    config: Config, weights: WeightSource, precision: Precision, mask_type: ir.DataType = BOOL
) -> Graph:
    """``input_features`` f32 [B,T,mel], ``input_features_mask`` [B,T] to ``audio_features``
    f32 [n,H]: the valid tokens of all rows, projected to the text width."""
    return _Encoder(config, weights, precision).build(mask_type)


class _Encoder:
    """State shared by the pieces of one encoder graph."""

    def __init__(self, config: Config, weights: WeightSource, precision: Precision):
        self.config = config
        self.audio: Audio = config.audio
        self.weights = weights
        self.precision = precision
        self.g = Graph("audio_encoder", weights)
        self.eps = self.audio.epsilon

    def build(self, mask_type: ir.DataType) -> Graph:
        g, bins = self.g, self.config.mel_bins
        mel = g.input("input_features", F32, ["batch", "frames", bins])
        given = g.input("input_features_mask", mask_type, ["batch", "frames"])
        mask = g.op("Cast", given, to=F32)
        with g.scope("subsample"):
            x, mask = self._subsample(mel, mask)
        with g.scope("mask"):
            self.valid = g.op("Cast", mask, to=BOOL)
            self._prepare_chunks(x)
        for layer in range(self.audio.layers):
            with g.scope(f"layers.{layer}"):
                x = self._layer(x, f"{TOWER}.layers.{layer}")
        self._project(x)
        return g

    # -- ends -----------------------------------------------------------------------------

    def _subsample(self, mel, mask):
        """Two strided convolutions over time and frequency: four frames to one token."""
        g, channels = self.g, self.audio.channels
        prefix = f"{TOWER}.subsample_conv_projection"
        x, before = g.op("Unsqueeze", mel, g.ints(1)), 1
        for index, after in enumerate(channels):
            x = g.op("Mul", x, g.op("Unsqueeze", mask, g.ints(1, 3)))
            kernel = g.parameter(f"{prefix}.layer{index}.conv.weight", (after, before, 3, 3))
            x = g.op("Conv", x, kernel, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
            x = g.op("Transpose", x, perm=[0, 2, 3, 1])
            scale = g.parameter(f"{prefix}.layer{index}.norm.weight", (after,))
            x = g.op("LayerNormalization", x, scale, axis=-1, epsilon=self.eps)
            x = g.op("Relu", x)
            if index == 0:
                x = g.op("Transpose", x, perm=[0, 3, 1, 2])
            mask = g.op("Slice", mask, g.ints(0), g.ints(1 << 62), g.ints(1), g.ints(2))
            before = after
        width = channels[0] // 4 * channels[1]
        x = g.reshape(x, 0, 0, width)
        name = f"{prefix}.input_proj_linear.weight"
        return g.linear(x, name, self.audio.hidden, width, self.precision), mask

    def _project(self, x):
        """Drops padding, then the two projections to the text width."""
        g, audio = self.g, self.audio
        x = g.op("Compress", g.reshape(x, -1, audio.hidden), g.reshape(self.valid, -1), axis=0)
        width, hidden = audio.projected, self.config.text.hidden
        x = g.linear(x, f"{TOWER}.output_proj.weight", width, audio.hidden, self.precision)
        x = g.op("Add", x, g.parameter(f"{TOWER}.output_proj.bias", (width,)))
        x = g.rms_norm(x, g.constant(np.ones(width)), self.eps)
        name = "model.embed_audio.embedding_projection.weight"
        x = g.linear(x, name, hidden, width, self.precision)
        g.output(x, "audio_features", F32, ["audio_tokens", hidden])

    # -- chunks ---------------------------------------------------------------------------

    def _prepare_chunks(self, x):
        """What all layers share: padding to whole chunks and the mask
        [B,1,chunks,chunk,2*chunk]."""
        g, chunk = self.g, self.audio.chunk
        self.tokens = g.op("Shape", x, start=1, end=2)
        rest = g.op("Mod", self.tokens, g.ints(chunk))
        missing = g.op("Mod", g.op("Sub", g.ints(chunk), rest), g.ints(chunk))
        zero = g.ints(0)
        self.padding = g.op("Concat", zero, zero, zero, zero, missing, zero, axis=0)
        flat = g.op("Concat", zero, zero, zero, missing, axis=0)
        keys = g.op("Pad", g.op("Cast", self.valid, to=F32), flat)
        keys = self._with_previous(g.reshape(keys, 0, -1, chunk), axes=3)
        keys = g.op("Cast", g.op("Unsqueeze", keys, g.ints(1, 3)), to=BOOL)
        row, column = np.ogrid[:chunk, : 2 * chunk]
        distance = row + chunk - column
        near = (distance >= 0) & (distance < self.audio.left - 1)
        self.allowed = g.op("And", keys, g.constant(near, np.bool_))

    def _with_previous(self, blocks, axes: int):
        """``[B,chunks,chunk,...]`` to ``[B,chunks,2*chunk,...]``: each chunk behind its
        predecessor, zeros before the first."""
        g = self.g
        pads = g.ints(*([0, 1] + [0] * (axes - 2) + [0, -1] + [0] * (axes - 2)))
        return g.op("Concat", g.op("Pad", blocks, pads), blocks, axis=2)

    def _chunked(self, x):
        """``[B,n,hidden]`` to ``[B,chunks,chunk,heads,dim]``."""
        x = self.g.op("Pad", x, self.padding)
        return self.g.reshape(x, 0, -1, self.audio.chunk, self.audio.heads, self.audio.head_dim)

    # -- one layer ------------------------------------------------------------------------

    def _layer(self, x, prefix: str):
        g = self.g
        with g.scope("feed_forward1"):
            x = self._feed_forward(x, f"{prefix}.feed_forward1")
        with g.scope("self_attn"):
            y = self._norm(self._clamp(x), f"{prefix}.norm_pre_attn")
            y = self._attention(y, f"{prefix}.self_attn")
            y = self._norm(self._clamp(y), f"{prefix}.norm_post_attn")
            x = g.op("Add", x, y)
        with g.scope("lconv1d"):
            x = self._convolution(x, f"{prefix}.lconv1d")
        with g.scope("feed_forward2"):
            x = self._feed_forward(x, f"{prefix}.feed_forward2")
        return self._norm(self._clamp(x), f"{prefix}.norm_out")

    def _norm(self, x, prefix: str):
        return self.g.rms_norm(x, self.g.parameter(f"{prefix}.weight", (self.audio.hidden,)), self.eps)

    def _clamp(self, x):
        bound = self.audio.gradient_clipping
        return self.g.clip(x, -bound, bound) if bound < CLAMP_MATTERS_BELOW else x

    def _clipped(self, x, prefix: str, outputs: int, inputs: int):
        """A linear layer that clamps its input and its output to bounds of the checkpoint."""
        def bound(kind: str) -> float:
            return float(self.weights.tensor(f"{prefix}.{kind}", ()))

        weight = f"{prefix}.linear.weight"
        if not self.audio.clipped:
            return self.g.linear(x, weight, outputs, inputs, self.precision)
        x = self.g.clip(x, bound("input_min"), bound("input_max"))
        x = self.g.linear(x, weight, outputs, inputs, self.precision)
        return self.g.clip(x, bound("output_min"), bound("output_max"))

    def _feed_forward(self, x, prefix: str):
        g, hidden = self.g, self.audio.hidden
        y = self._norm(self._clamp(x), f"{prefix}.pre_layer_norm")
        y = g.silu(self._clipped(y, f"{prefix}.ffw_layer_1", 4 * hidden, hidden))
        y = self._clamp(self._clipped(y, f"{prefix}.ffw_layer_2", hidden, 4 * hidden))
        y = self._norm(y, f"{prefix}.post_layer_norm")
        return g.op("Add", x, g.op("Mul", y, g.constant(self.audio.residual_weight)))

    def _convolution(self, x, prefix: str):
        """Gated linear unit, causal depthwise convolution over time, linear."""
        g, hidden, kernel = self.g, self.audio.hidden, self.audio.kernel
        y = self._norm(x, f"{prefix}.pre_layer_norm")
        y = self._clipped(y, f"{prefix}.linear_start", 2 * hidden, hidden)
        value, gate = g.op_n("Split", 2, y, axis=-1, num_outputs=2)
        y = g.op("Transpose", g.op("Mul", value, g.op("Sigmoid", gate)), perm=[0, 2, 1])
        weight = g.parameter(f"{prefix}.depthwise_conv1d.weight", (hidden, 1, kernel))
        y = g.op("Conv", y, weight, kernel_shape=[kernel], group=hidden, pads=[kernel - 1, 0])
        y = self._clamp(g.op("Transpose", y, perm=[0, 2, 1]))
        y = g.silu(self._norm(y, f"{prefix}.conv_norm"))
        return g.op("Add", x, self._clipped(y, f"{prefix}.linear_end", hidden, hidden))

    def _attention(self, x, prefix: str):
        """Chunked local attention: cap * tanh((q k + q R[distance]) / cap)."""
        g, audio = self.g, self.audio
        heads, dim, chunk, hidden = audio.heads, audio.head_dim, audio.chunk, audio.hidden
        q, k, v = (
            self._clipped(x, f"{prefix}.{kind}_proj", hidden, hidden) for kind in ("q", "k", "v")
        )
        q = g.op("Mul", q, g.constant(self._query_scale(prefix)))
        q = g.op("Transpose", self._chunked(q), perm=[0, 3, 1, 2, 4])
        k = self._with_previous(self._chunked(k), axes=5)
        k = g.op("Transpose", k, perm=[0, 3, 1, 4, 2])
        v = self._with_previous(self._chunked(v), axes=5)
        v = g.op("Transpose", v, perm=[0, 3, 1, 2, 4])

        # The bias of column c is that of distance i + chunk - c. Padding each row by one more
        # than it may be long, and cutting it anew one shorter, shifts row i right by i.
        bias = g.op("MatMul", q, g.constant(self._relative_keys(prefix)))
        bias = g.op("Pad", bias, g.ints(*[0] * 9, chunk))
        bias = g.reshape(bias, 0, 0, 0, chunk * (2 * chunk + 1))
        bias = g.op("Slice", bias, g.ints(0), g.ints(2 * chunk * chunk), g.ints(3))
        bias = g.reshape(bias, 0, 0, 0, chunk, 2 * chunk)

        logits = g.op("Tanh", g.op("Add", g.op("MatMul", q, k), bias))
        logits = g.op("Mul", logits, g.constant(audio.logit_cap))
        logits = g.op("Where", self.allowed, logits, g.constant(audio.invalid_logit))
        y = g.op("MatMul", g.op("Softmax", logits, axis=-1), v)
        y = g.reshape(g.op("Transpose", y, perm=[0, 2, 3, 1, 4]), 0, -1, hidden)
        y = g.op("Slice", y, g.ints(0), self.tokens, g.ints(1))
        return self._clipped(y, f"{prefix}.post", hidden, hidden)

    def _query_scale(self, prefix: str) -> np.ndarray:
        """All factors of the logits at once, [hidden]: the query's and the key's scale, the
        learned scale per dimension, and the division by the cap."""
        audio = self.audio
        learned = self.weights.tensor(f"{prefix}.per_dim_scale", (audio.head_dim,)).astype(np.float64)
        query = audio.head_dim**-0.5 / math.log(2) * np.log1p(np.exp(learned))
        return np.tile(query * self._key_scale() / audio.logit_cap, audio.heads)

    @staticmethod
    def _key_scale() -> float:
        return math.log(1 + math.e) / math.log(2)

    def _relative_keys(self, prefix: str) -> np.ndarray:
        """Projected sinusoids of distances 12..0, [1,heads,1,dim,13]; divided by the key scale
        because the query carries it."""
        audio, hidden = self.audio, self.audio.hidden
        steps = hidden // 2
        rates = np.exp(np.arange(steps) * -(math.log(1e4) / max(steps - 1, 1)))
        angle = np.arange(audio.chunk, -1, -1)[:, None] * rates
        table = np.concatenate([np.sin(angle), np.cos(angle)], -1)
        weight = self.weights.tensor(f"{prefix}.relative_k_proj.weight", (hidden, hidden))
        keys = (table @ weight.T.astype(np.float64)).reshape(-1, audio.heads, audio.head_dim)
        return keys.transpose(1, 2, 0)[None, :, None] / self._key_scale()
