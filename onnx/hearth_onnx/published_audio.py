"""Finds the weights and the clip bounds of a published audio encoder."""

from pathlib import Path

import numpy as np
import onnx_ir as ir

from .audio import CLAMP_MATTERS_BELOW, TOWER
from .config import Config
from .published import Found, Walk

PROJECTION = f"{TOWER}.subsample_conv_projection"


def read_encoder(path: Path, config: Config) -> Found:
    """The weights of ``audio_encoder*.onnx``. Beside the names of the checkpoint there are
    ``PREFIX.query_scale`` and ``PREFIX.relative_keys`` of each attention, as the builders fold
    them."""
    return _Encoder(path, config).read()


class _Encoder(Walk):
    """Backwards from the rows, the last layer first."""

    def __init__(self, path: Path, config: Config):
        super().__init__(path)
        self.config, self.audio = config, config.audio

    def read(self) -> Found:
        audio, hidden = self.audio, self.config.text.hidden
        name = "model.embed_audio.embedding_projection.weight"
        x = self.linear(self.output("audio_features"), name, hidden, audio.projected)
        key = self.norm(x, None, audio.projected, audio.epsilon)
        left, right = self.terms(key, "a projection with bias")
        bias, x = (left, right) if self.constant(left) is not None else (right, left)
        stored = self.constant(bias)
        if stored is None or stored.size != audio.projected:
            self.fail(key, f"a bias of {audio.projected}")
        self.found.tensors[f"{TOWER}.output_proj.bias"] = stored.astype(np.float32).reshape(-1)
        x = self.linear(x, f"{TOWER}.output_proj.weight", audio.projected, audio.hidden)
        for layer in reversed(range(audio.layers)):
            x = self.layer(x, f"{TOWER}.layers.{layer}")
        self.subsampling(x)
        return self.found

    # -- pieces ---------------------------------------------------------------------------

    def keep_norm(self, value, name: str):
        """A norm, and the clamp in front of it; gives the stream's value."""
        key = self.norm(value, f"{name}.weight", self.audio.hidden, self.audio.epsilon)
        return self.clamped(key, name)

    def clamped(self, key, name: str):
        if isinstance(key, ir.Node):
            return key
        value, low, high = self.clip(key)
        bound = self.audio.gradient_clipping
        if bound < CLAMP_MATTERS_BELOW and (low, high) != (-bound, bound):
            self.fail(key, f"a clamp to {bound} before {name}")
        if bound >= CLAMP_MATTERS_BELOW and high < CLAMP_MATTERS_BELOW:
            self.fail(key, f"no clamp before {name}")
        return self.key(value)

    def clipped(self, value, prefix: str, outputs: int, inputs: int):
        """A linear layer between two clips; gives what goes in."""
        value, low, high = self.clip(self.unmoved(value))
        bounds = {"output_min": low, "output_max": high}
        x = self.linear(value, f"{prefix}.linear.weight", outputs, inputs)
        x, bounds["input_min"], bounds["input_max"] = self.clip(x)
        for kind, bound in bounds.items():
            self.found.tensors[f"{prefix}.{kind}"] = np.float32(bound)
        return x

    def unmoved(self, value):
        """Backwards over all that only moves numbers."""
        return self.source(value)

    def stays(self, key, stream, what: str):
        if key is not stream:
            self.fail(key, f"{what} taken from the stream")

    # -- one layer ------------------------------------------------------------------------

    def layer(self, value, prefix: str):
        key = self.keep_norm(self.unmoved(value), f"{prefix}.norm_out")
        key = self.feed_forward(key, f"{prefix}.feed_forward2")
        key = self.convolution(key, f"{prefix}.lconv1d")
        key = self.attention(key, prefix)
        key = self.feed_forward(key, f"{prefix}.feed_forward1")
        return key

    def feed_forward(self, key, prefix: str):
        """``x + weight * norm(clip(linear(silu(linear(norm(x))))))``: gives x."""
        audio, hidden = self.audio, self.audio.hidden
        terms = self.terms(key, f"x + {prefix}")
        for x, term in (terms, terms[::-1]):
            made, factor = self.scaled(term)
            if np.size(factor) == 1 and np.isclose(float(np.reshape(factor, ())), audio.residual_weight):
                break
        else:
            self.fail(key, f"x + {audio.residual_weight} * {prefix}")
        stream = self.key(x)
        y = self.norm(made, f"{prefix}.post_layer_norm.weight", hidden, audio.epsilon)
        y = self.clipped(y, f"{prefix}.ffw_layer_2", hidden, 4 * hidden)
        y = self.clipped(self.silu(y), f"{prefix}.ffw_layer_1", 4 * hidden, hidden)
        self.stays(self.keep_norm(y, f"{prefix}.pre_layer_norm"), stream, prefix)
        return stream

    def convolution(self, key, prefix: str):
        """Gated linear unit, causal convolution over time, linear; gives x."""
        audio, hidden = self.audio, self.audio.hidden
        terms = self.terms(key, f"x + {prefix}")
        for x, term in (terms, terms[::-1]):
            value, _, _ = self.clip(self.unmoved(term))
            node = self.same(value).producer()
            if node is not None and node.op_type in ("MatMulNBits", "MatMul"):
                break
        else:
            self.fail(key, f"x + {prefix}")
        stream = self.key(x)
        y = self.silu(self.clipped(term, f"{prefix}.linear_end", hidden, hidden))
        y = self.norm(y, f"{prefix}.conv_norm.weight", hidden, audio.epsilon)
        y, _, _ = self.clip(self.unmoved(y))
        node = self.node(self.unmoved(y), f"{prefix}.depthwise_conv1d", "Conv")
        self.kernel(node, f"{prefix}.depthwise_conv1d.weight", (hidden, 1, audio.kernel), hidden)
        gate = self.node(self.unmoved(node.inputs[0]), "a gated linear unit", "Mul")
        value, gate = self.gated(gate, "a gated linear unit")
        for half, (part, place) in enumerate(((value, "first"), (gate, "second"))):
            self.half(part, half, hidden, f"the {place} half of {prefix}.linear_start")
        value, gate = self.halves(value), self.halves(gate)
        if value is not gate:
            self.fail(node, "both halves of one linear layer")
        y = self.clipped(value, f"{prefix}.linear_start", 2 * hidden, hidden)
        key = self.norm(y, f"{prefix}.pre_layer_norm.weight", hidden, audio.epsilon)
        self.stays(key, stream, prefix)
        return stream

    def half(self, value, half: int, hidden: int, expected: str):
        """Is it that half of what it is cut from?"""
        value = self.same(value)
        node = value.producer()
        if node is not None and node.op_type == "Split":
            if value.index() == half:
                return
        elif node is not None and node.op_type == "Slice":
            start = self.constant(node.inputs[1])
            if start is not None and int(np.reshape(start, -1)[0]) == half * hidden:
                return
        self.fail(node or value, expected)

    def halves(self, value):
        node = self.same(value).producer()
        return self.same(node.inputs[0])

    def kernel(self, node: ir.Node, name: str, shape: tuple, group: int):
        """A convolution's kernel. Strides and padding follow from the config and are proved by
        the comparison at the end."""
        stored = self.constant(node.inputs[1])
        if stored is None or stored.size != int(np.prod(shape)) or node.attributes.get_int("group", 1) != group:
            self.fail(node, f"a convolution with {name} {list(shape)}")
        if len(node.inputs) > 2 and node.inputs[2] is not None:
            self.fail(node, f"a convolution without bias ({name})")
        self.found.tensors[name] = stored.astype(np.float32).reshape(shape)

    def attention(self, key, prefix: str):
        audio, hidden, name = self.audio, self.audio.hidden, f"{prefix}.self_attn"
        terms = self.terms(key, f"x + {name}")
        for x, term in (terms, terms[::-1]):
            if self.is_norm(term, hidden):
                break
        stream = self.key(x)
        y = self.norm(term, f"{prefix}.norm_post_attn.weight", hidden, audio.epsilon)
        if isinstance(y, ir.Node):
            self.fail(y, f"a norm of {name} alone")
        y = self.clipped(y, f"{name}.post", hidden, hidden)
        product = self.node(self.unmoved(y), "attention weights times values", "MatMul")
        values = self.clipped(product.inputs[1], f"{name}.v_proj", hidden, hidden)
        logits = self.node(self.unmoved(product.inputs[0]), "softmax", "Softmax").inputs[0]
        logits = self.node(logits, "masked attention logits", "Where", "Add")
        capped = logits.inputs[1 if logits.op_type == "Where" else 0]
        value, cap = self.scaled(capped)
        tanh = self.node(value, "the cap of the attention's logits", "Tanh")
        if not np.isclose(self.number(cap, tanh, "one cap"), audio.logit_cap, rtol=1e-4):
            self.fail(tanh, f"a cap of {audio.logit_cap}")
        inner, outside = self.scaled(tanh.inputs[0])
        queries, keys = self.scores(inner, outside, name)
        for kind, each in (("v", values), ("q", queries), ("k", keys)):
            self.stays(self.keep_norm(each, f"{prefix}.norm_pre_attn"), stream, f"{name}.{kind}_proj")
        return stream

    def scores(self, value, outside, name: str):
        """``q k + q R``: gives what the projections of q and k take."""
        audio, hidden = self.audio, self.audio.hidden
        left, right = self.terms(self.key(value), "scores by content and by distance")
        parts = [self.node(self.unmoved(each), "queries times keys", "MatMul") for each in (left, right)]
        by_distance = next((p for p in parts if self.constant(self.source(p.inputs[1])) is not None), None)
        if by_distance is None:
            self.fail(value, "stored keys of the distances")
        content = parts[0] if by_distance is parts[1] else parts[1]
        q, q_scale = self.scaled(self.unmoved(content.inputs[0]), hidden)
        again, again_scale = self.scaled(self.unmoved(by_distance.inputs[0]), hidden)
        if self.unmoved(again) is not self.unmoved(q):
            self.fail(by_distance, "the same queries for content and distance")
        k, k_scale = self.scaled(self.unmoved(content.inputs[1]))
        k_scale = self.number(k_scale, content, "one scale of the keys")
        scale = self.per_head(q_scale, content) * outside * k_scale
        self.found.tensors[f"{name}.query_scale"] = scale.astype(np.float32)
        ratio = self.per_head(again_scale, by_distance) * outside / scale
        relative = self.relative(by_distance) * ratio.reshape(audio.heads, audio.head_dim, 1)
        shape = (1, audio.heads, 1, audio.head_dim, audio.chunk + 1)
        self.found.tensors[f"{name}.relative_keys"] = relative.astype(np.float32).reshape(shape)
        queries = self.clipped(q, f"{name}.q_proj", hidden, hidden)
        return queries, self.clipped(k, f"{name}.k_proj", hidden, hidden)

    def per_head(self, scale, at) -> np.ndarray:
        """A scale of all queries, of each dimension of a head, or of all dimensions: [hidden]."""
        audio = self.audio
        flat = np.reshape(np.asarray(scale, np.float64), -1)
        if flat.size == audio.head_dim:
            return np.tile(flat, audio.heads)
        if flat.size not in (1, audio.hidden):
            self.fail(at, "a scale of the queries")
        return np.broadcast_to(flat, (audio.hidden,)).copy()

    def relative(self, node: ir.Node) -> np.ndarray:
        """[heads, dim, 13]: keys of the distances 12 to 0."""
        audio = self.audio
        stored = self.constant(node.inputs[1])
        wanted = (audio.heads, audio.head_dim, audio.chunk + 1)
        if stored is None or tuple(d for d in stored.shape if d != 1) != tuple(d for d in wanted if d != 1):
            self.fail(node, f"stored keys of {audio.chunk + 1} distances {list(wanted)}")
        return stored.astype(np.float64).reshape(wanted)

    # -- the front ------------------------------------------------------------------------

    def subsampling(self, value):
        """Two convolutions with norm and ReLU, and a linear layer."""
        audio, channels = self.audio, self.audio.channels
        width = channels[0] // 4 * channels[1]
        if isinstance(value, ir.Node):
            self.fail(value, "the sub-sampling")
        x = self.linear(self.unmoved(value), f"{PROJECTION}.input_proj_linear.weight", audio.hidden, width)
        for index in (1, 0):
            x = self.masked(x)
            relu = self.node(self.unmoved(x), "ReLU", "Relu")
            norm = self.node(relu.inputs[0], "LayerNormalization", "LayerNormalization")
            scale = self.constant(norm.inputs[1])
            if scale is None or scale.size != channels[index] or self.has_bias(norm):
                self.fail(norm, f"a norm over {channels[index]} channels without bias")
            if abs(norm.attributes.get_float("epsilon", 1e-5) - audio.epsilon) > audio.epsilon / 10:
                self.fail(norm, f"epsilon {audio.epsilon}")
            self.found.tensors[f"{PROJECTION}.layer{index}.norm.weight"] = scale.astype(np.float32)
            node = self.node(self.unmoved(norm.inputs[0]), "a convolution", "Conv")
            before = 1 if index == 0 else channels[0]
            self.kernel(node, f"{PROJECTION}.layer{index}.conv.weight", (channels[index], before, 3, 3), 1)
            x = node.inputs[0]
        if self.unmoved(self.masked(x)) is not self.inputs.get("input_features"):
            self.fail(x, "the input 'input_features'")

    def has_bias(self, norm: ir.Node) -> bool:
        if len(norm.inputs) < 3 or norm.inputs[2] is None:
            return False
        bias = self.constant(norm.inputs[2])
        return bias is None or bool(np.any(bias != 0))

    def masked(self, value):
        """Backwards over the multiplication with the mask of the rows."""
        node = self.unmoved(value).producer()
        if node is None or node.op_type not in ("Mul", "Where"):
            return value
        mask = self.inputs.get("input_features_mask")
        for x, other in (node.inputs[-2:], node.inputs[-2:][::-1]):
            if self.unmoved(other) is mask or node.op_type == "Where" and self.unmoved(node.inputs[0]) is mask:
                return x if node.op_type == "Mul" else node.inputs[1]
        return value
