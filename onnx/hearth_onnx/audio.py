"""The graphs ``audio_encoder`` and ``audio_stream``: log-mel frames to rows of the text
model's width.

The tower looks back only: 11 rows in attention, 4 in the convolution, 3 frames in the
sub-sampling. ``audio_encoder`` takes all frames at once and attends in chunks of 12 rows over
24 keys, as in the reference, so its cost grows linearly with the length. ``audio_stream`` takes
the next frames and what it has to remember of the earlier ones; whatever the blocks, the rows
are those of the whole. Both are one builder that differs in where a row's past comes from, and
their weights have the same names, so that both can refer to one file.
"""

import math

import numpy as np
import onnx_ir as ir

from .config import Audio, Config
from .graph import BOOL, F32, I64, Graph
from .precision import Precision
from .weights import WeightSource

TOWER = "model.audio_tower"
CLAMP_MATTERS_BELOW = 1e9
"""Clamps at or beyond this are left out: no f32 activation of a sane model gets there."""
MEL_FRAMES = 3
"""Row u needs the frames 4u - 3 to 4u + 3 (two convolutions of 3, stride 2)."""


def audio_encoder(
    config: Config, weights: WeightSource, precision: Precision, mask_type: ir.DataType = BOOL
) -> Graph:
    """``input_features`` f32 [B,T,mel], ``input_features_mask`` [B,T] to ``audio_features``
    f32 [n,H]: the valid tokens of all rows, projected to the text width."""
    return _Whole("audio_encoder", config, weights, precision).build(mask_type)


def audio_stream(config: Config, weights: WeightSource, precision: Precision) -> Graph:
    """The next block of a turn, with E = hidden width and L = layers of the tower, H = text width:

    * ``input_features`` f32 [1,T,mel], ``rows_done`` i64 [1] (how many rows the turn has so far);
    * ``mel_state`` f32 [1,3,mel], ``key_state`` and ``value_state`` f32 [L,1,11,E],
      ``conv_state`` f32 [L,1,E,4], all zero at the start of a turn;
    * to ``audio_features`` f32 [ceil(T/4),H] and ``next_`` followed by the name of each state.

    T is a multiple of 4, but for the last block of a turn: its last row may have 1, 2 or 3
    frames, and the states it gives are of no use.
    """
    return _Stream("audio_stream", config, weights, precision).build()


class _Encoder:
    """What both graphs have in common; the methods that raise are those they differ in."""

    mel_pads: list[int]
    """Zeros around the input of the sub-sampling's convolutions: time, frequency (begin, end)."""

    def __init__(self, name: str, config: Config, weights: WeightSource, precision: Precision):
        self.config = config
        self.audio: Audio = config.audio
        self.weights = weights
        self.precision = precision
        self.g = Graph(name, weights)
        self.eps = self.audio.epsilon

    def _layers(self, x):
        for layer in range(self.audio.layers):
            with self.g.scope(f"layers.{layer}"):
                x = self._layer(x, layer)
        return x

    def _blocks(self, x):
        """``[B,n,hidden]`` to the queries that attend together, ``[B,blocks,rows,heads,dim]``."""
        raise NotImplementedError

    def _window(self, x, kind: str, layer: int):
        """Keys or values ``[B,n,hidden]`` to those each block sees,
        ``[B,blocks,columns,heads,dim]``."""
        raise NotImplementedError

    def _by_column(self, bias):
        """``[B,heads,blocks,rows,13]``, a bias for each of the distances 12..0, to
        ``[B,heads,blocks,rows,columns]``, one for each key."""
        raise NotImplementedError

    def _rows(self, x):
        """``[B,blocks,rows,heads,dim]`` to ``[B,n,hidden]``, the inverse of :meth:`_blocks`."""
        raise NotImplementedError

    def _frames_before(self, x, layer: int):
        """``[B,hidden,n]`` with the frames before it, and how many zeros make them up to
        ``kernel - 1``."""
        raise NotImplementedError

    # -- ends -----------------------------------------------------------------------------

    def _subsample(self, mel, mask=None):
        """Two strided convolutions over time and frequency: four frames to one row; with the
        mask of the rows, if one of the frames ``[B,T]`` is given."""
        g, channels = self.g, self.audio.channels
        prefix = f"{TOWER}.subsample_conv_projection"
        x, before = g.op("Unsqueeze", mel, g.ints(1)), 1
        for index, after in enumerate(channels):
            if mask is not None:
                x = g.op("Mul", x, g.op("Unsqueeze", mask, g.ints(1, 3)))
            kernel = g.parameter(f"{prefix}.layer{index}.conv.weight", (after, before, 3, 3))
            x = g.op("Conv", x, kernel, kernel_shape=[3, 3], strides=[2, 2], pads=self.mel_pads)
            x = g.op("Transpose", x, perm=[0, 2, 3, 1])
            scale = g.parameter(f"{prefix}.layer{index}.norm.weight", (after,))
            x = g.op("LayerNormalization", x, scale, axis=-1, epsilon=self.eps)
            x = g.op("Relu", x)
            if index == 0:
                x = g.op("Transpose", x, perm=[0, 3, 1, 2])
            if mask is not None:
                mask = g.op("Slice", mask, g.ints(0), g.ints(1 << 62), g.ints(1), g.ints(2))
            before = after
        width = channels[0] // 4 * channels[1]
        x = g.reshape(x, 0, 0, width)
        name = f"{prefix}.input_proj_linear.weight"
        return g.linear(x, name, self.audio.hidden, width, self.precision), mask

    def _project(self, x):
        """The two projections of rows ``[n,hidden]`` to the text width, and the output."""
        g, audio = self.g, self.audio
        width, hidden = audio.projected, self.config.text.hidden
        x = g.linear(x, f"{TOWER}.output_proj.weight", width, audio.hidden, self.precision)
        x = g.op("Add", x, g.parameter(f"{TOWER}.output_proj.bias", (width,)))
        x = g.rms_norm(x, g.constant(np.ones(width)), self.eps)
        name = "model.embed_audio.embedding_projection.weight"
        x = g.linear(x, name, hidden, width, self.precision)
        g.output(x, "audio_features", F32, ["audio_tokens", hidden])

    # -- one layer ------------------------------------------------------------------------

    def _layer(self, x, layer: int):
        g, prefix = self.g, f"{TOWER}.layers.{layer}"
        with g.scope("feed_forward1"):
            x = self._feed_forward(x, f"{prefix}.feed_forward1")
        with g.scope("self_attn"):
            y = self._norm(self._clamp(x), f"{prefix}.norm_pre_attn")
            y = self._attention(y, f"{prefix}.self_attn", layer)
            y = self._norm(self._clamp(y), f"{prefix}.norm_post_attn")
            x = g.op("Add", x, y)
        with g.scope("lconv1d"):
            x = self._convolution(x, f"{prefix}.lconv1d", layer)
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

    def _convolution(self, x, prefix: str, layer: int):
        """Gated linear unit, causal depthwise convolution over time, linear."""
        g, hidden, kernel = self.g, self.audio.hidden, self.audio.kernel
        y = self._norm(x, f"{prefix}.pre_layer_norm")
        y = self._clipped(y, f"{prefix}.linear_start", 2 * hidden, hidden)
        value, gate = g.op_n("Split", 2, y, axis=-1, num_outputs=2)
        y = g.op("Transpose", g.op("Mul", value, g.op("Sigmoid", gate)), perm=[0, 2, 1])
        weight = g.parameter(f"{prefix}.depthwise_conv1d.weight", (hidden, 1, kernel))
        y, zeros = self._frames_before(y, layer)
        y = g.op("Conv", y, weight, kernel_shape=[kernel], group=hidden, pads=[zeros, 0])
        y = self._clamp(g.op("Transpose", y, perm=[0, 2, 1]))
        y = g.silu(self._norm(y, f"{prefix}.conv_norm"))
        return g.op("Add", x, self._clipped(y, f"{prefix}.linear_end", hidden, hidden))

    def _attention(self, x, prefix: str, layer: int):
        """Local attention: cap * tanh((q k + q R[distance]) / cap)."""
        g, audio = self.g, self.audio
        hidden = audio.hidden
        q, k, v = (
            self._clipped(x, f"{prefix}.{kind}_proj", hidden, hidden) for kind in ("q", "k", "v")
        )
        scale = g.derived(f"{prefix}.query_scale", lambda: self._query_scale(prefix), (hidden,))
        q = g.op("Transpose", self._blocks(g.op("Mul", q, scale)), perm=[0, 3, 1, 2, 4])
        k = g.op("Transpose", self._window(k, "key", layer), perm=[0, 3, 1, 4, 2])
        v = g.op("Transpose", self._window(v, "value", layer), perm=[0, 3, 1, 2, 4])
        relative = g.derived(
            f"{prefix}.relative_keys",
            lambda: self._relative_keys(prefix),
            (1, audio.heads, 1, audio.head_dim, audio.chunk + 1),
        )
        bias = self._by_column(g.op("MatMul", q, relative))
        logits = g.op("Tanh", g.op("Add", g.op("MatMul", q, k), bias))
        logits = g.op("Mul", logits, g.constant(audio.logit_cap))
        logits = g.op("Where", self.allowed, logits, g.constant(audio.invalid_logit))
        y = g.op("MatMul", g.op("Softmax", logits, axis=-1), v)
        y = self._rows(g.op("Transpose", y, perm=[0, 2, 3, 1, 4]))
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


class _Whole(_Encoder):
    """All frames at once, with a mask; attention in chunks."""

    mel_pads = [1, 1, 1, 1]

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
        x = g.reshape(self._layers(x), -1, self.audio.hidden)
        self._project(g.op("Compress", x, g.reshape(self.valid, -1), axis=0))
        return g

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

    def _blocks(self, x):
        x = self.g.op("Pad", x, self.padding)
        return self.g.reshape(x, 0, -1, self.audio.chunk, self.audio.heads, self.audio.head_dim)

    def _window(self, x, kind, layer):
        return self._with_previous(self._blocks(x), axes=5)

    def _by_column(self, bias):
        """Column c is at distance i + chunk - c. Padding each row by one more than it may be
        long, and cutting it anew one shorter, shifts row i right by i."""
        g, chunk = self.g, self.audio.chunk
        bias = g.op("Pad", bias, g.ints(*[0] * 9, chunk))
        bias = g.reshape(bias, 0, 0, 0, chunk * (2 * chunk + 1))
        bias = g.op("Slice", bias, g.ints(0), g.ints(2 * chunk * chunk), g.ints(3))
        return g.reshape(bias, 0, 0, 0, chunk, 2 * chunk)

    def _rows(self, x):
        x = self.g.reshape(x, 0, -1, self.audio.hidden)
        return self.g.op("Slice", x, self.g.ints(0), self.tokens, self.g.ints(1))

    def _frames_before(self, x, layer):
        return x, self.audio.kernel - 1


class _Stream(_Encoder):
    """One block, with what came before it as state; all rows of the block attend together."""

    mel_pads = [0, 1, 1, 1]
    """The state stands for the zeros before the first frame. Those behind the last are read
    only by a row whose frames are not all there, where the whole encoder has them too."""

    def build(self) -> Graph:
        g, audio, bins = self.g, self.audio, self.config.mel_bins
        self.reach = audio.left - 2
        mel = g.input("input_features", F32, [1, "frames", bins])
        self.done = g.input("rows_done", I64, [1])
        kept = [audio.layers, 1, self.reach, audio.hidden]
        frames = [audio.layers, 1, audio.hidden, audio.kernel - 1]
        self.shapes = {"mel": [1, MEL_FRAMES, bins], "key": kept, "value": kept, "conv": frames}
        self.state = {
            name: g.input(f"{name}_state", F32, shape) for name, shape in self.shapes.items()
        }
        self.next: dict[str, list[ir.Value]] = {name: [] for name in self.shapes}
        with g.scope("subsample"):
            mel = g.op("Concat", self.state["mel"], mel, axis=1)
            following = self._last(mel, MEL_FRAMES, axis=1)
            x, _ = self._subsample(mel)
        with g.scope("mask"):
            self._prepare_block(x)
        x = self._layers(x)
        self._project(g.reshape(x, -1, audio.hidden))
        g.output(following, "next_mel_state", F32, self.shapes["mel"])
        for name in ("key", "value", "conv"):
            layers = g.op("Concat", *self.next[name], axis=0)
            g.output(layers, f"next_{name}_state", F32, self.shapes[name])
        return g

    def _prepare_block(self, x):
        """What all layers share: the counts for :meth:`_by_column`, and the mask
        [rows,columns], without the keys from before the first row."""
        g, reach = self.g, self.reach
        rows = g.op("Shape", x, start=1, end=2)
        columns = g.op("Add", rows, g.ints(reach))
        self.padding = g.op("Concat", g.ints(*[0] * 9), g.op("Sub", rows, g.ints(1)), axis=0)
        skipped = self.audio.chunk - reach
        self.end = g.op("Add", g.op("Mul", rows, columns), g.ints(skipped))
        self.shifted = g.op("Concat", g.ints(0, 0, 0), rows, columns, axis=0)
        row = g.op("Add", g.reshape(self._count(rows), -1, 1), g.ints(reach))
        column = self._count(columns)
        distance = g.op("Sub", row, column)
        near = g.op("LessOrEqual", distance, g.ints(reach))
        near = g.op("And", near, g.op("GreaterOrEqual", distance, g.ints(0)))
        begun = g.op("GreaterOrEqual", column, g.op("Sub", g.ints(reach), self.done))
        self.allowed = g.op("And", near, begun)

    def _count(self, stop):
        """0, 1 ... up to ``stop`` i64 [1]."""
        zero, one = (self.g.constant(number, np.int64) for number in (0, 1))
        return self.g.op("Range", zero, self.g.op("Squeeze", stop), one)

    def _last(self, x, count: int, axis: int):
        return self.g.op("Slice", x, self.g.ints(-count), self.g.ints(1 << 62), self.g.ints(axis))

    def _with_state(self, x, name: str, layer: int, axis: int):
        """``x`` behind the layer's state, which it follows as the next one."""
        g, length = self.g, self.shapes[name][axis + 1]
        before = g.op("Gather", self.state[name], g.constant(layer, np.int64), axis=0)
        x = g.op("Concat", before, x, axis=axis)
        self.next[name].append(g.op("Unsqueeze", self._last(x, length, axis), g.ints(0)))
        return x

    def _blocks(self, x):
        return self.g.reshape(x, 0, 1, -1, self.audio.heads, self.audio.head_dim)

    def _window(self, x, kind, layer):
        return self._blocks(self._with_state(x, kind, layer, axis=1))

    def _by_column(self, bias):
        """As in chunks, but that column c is at distance i + 11 - c, so the first of the
        13 values is skipped."""
        g = self.g
        bias = g.reshape(g.op("Pad", bias, self.padding), 0, 0, 0, -1)
        skipped = self.audio.chunk - self.reach
        bias = g.op("Slice", bias, g.ints(skipped), self.end, g.ints(3))
        return g.op("Reshape", bias, self.shifted)

    def _rows(self, x):
        return self.g.reshape(x, 0, -1, self.audio.hidden)

    def _frames_before(self, x, layer):
        return self._with_state(x, "conv", layer, axis=2), 0
