"""Finds the weights of a published merged decoder and of the embedding graph."""

from pathlib import Path

import numpy as np
import onnx_ir as ir

from .config import Config, Text
from .graph import F16, F32
from .published import Found, Walk
from .text import MODEL, rotary


def read_decoder(path: Path, config: Config) -> tuple[Found, ir.DataType]:
    """The weights of ``decoder_model_merged*.onnx``, and the type of its keys and values."""
    walk = _Decoder(path, config.text)
    return walk.read(), walk.kv_type


def read_embedding(path: Path, config: Config) -> dict | None:
    """Looks whether the embedding graph is two tables looked up by the same ids, and says where
    they lie, for the manifest; ``None`` when they are not in files of their own, or stored otherwise
    than hearth reads them. Then the graph is used as it is."""
    walk, text = Walk(path), config.text
    wanted = {
        "inputs_embeds": (text.vocabulary, text.hidden),
        "per_layer_inputs": (text.per_layer_vocabulary, text.layers * text.per_layer),
    }
    tables = {}
    for output, (rows, columns) in wanted.items():
        value, factor = walk.scaled(walk.output(output))
        expected = f"a table of {rows} rows and {columns} columns"
        node = walk.node(value, expected, "GatherBlockQuantized", "Gather")
        stored = node.inputs[0].const_value
        if stored is None or stored.shape[0] != rows:
            walk.fail(node, expected)
        per_byte = 8 // node.attributes.get_int("bits", 8) if stored.dtype == ir.DataType.UINT8 else 1
        if int(np.prod(stored.shape[1:])) * per_byte != columns:
            walk.fail(node, expected)
        tables[output] = _table(node, rows, columns, walk.number(factor, node, "one factor"))
    return tables if all(tables.values()) else None


def _table(node: ir.Node, rows: int, columns: int, factor: float) -> dict | None:
    """One table as the manifest has it: codes of 4 or 8 bits, low half first, scales by block."""
    parts = dict(zip(("codes", "scales", "zero_points"), (node.inputs[0], *node.inputs[2:])))
    stored = {name: value.const_value for name, value in parts.items() if value is not None}
    types = {"codes": ir.DataType.UINT8, "scales": F32, "zero_points": ir.DataType.UINT8}
    fits = node.op_type == "GatherBlockQuantized" and all(
        isinstance(each, ir.ExternalTensor) and each.dtype == types[name] for name, each in stored.items()
    )
    bits, block = node.attributes.get_int("bits", 4), node.attributes.get_int("block_size", 128)
    axes = node.attributes.get_int("gather_axis", 0), node.attributes.get_int("quantize_axis", 1)
    if not fits or bits not in (4, 8) or axes != (0, 1):
        return None
    places = {
        name: {"file": f"onnx/{each.location}", "offset": each.offset or 0} for name, each in stored.items()
    }
    return {"rows": rows, "columns": columns, "bits": bits, "block": block, "factor": factor, **places}


def look_up(folder: Path, table: dict, row: int) -> np.ndarray:
    """A row of a table that :func:`read_embedding` found, as the program reads it."""

    def stored(name: str, dtype, size_bytes: int) -> np.ndarray:
        place = table[name]
        return np.fromfile(folder / place["file"], dtype, size_bytes // np.dtype(dtype).itemsize,
                           offset=place["offset"] + row * size_bytes)  # fmt: skip

    def unpacked(packed: np.ndarray, count: int) -> np.ndarray:
        halves = np.stack([packed & 15, packed >> 4], 1).reshape(-1) if bits == 4 else packed
        return halves[:count].astype(np.float32)

    bits, columns, blocks = table["bits"], table["columns"], table["columns"] // table["block"]
    codes = unpacked(stored("codes", np.uint8, columns * bits // 8), columns).reshape(blocks, -1)
    scales = stored("scales", np.float32, blocks * 4)
    zero = np.full(blocks, 1 << (bits - 1), np.float32)
    if "zero_points" in table:
        zero = unpacked(stored("zero_points", np.uint8, (blocks * bits + 7) // 8), blocks)
    return ((codes - zero[:, None]) * scales[:, None]).reshape(-1) * np.float32(table["factor"])


class _Decoder(Walk):
    """Backwards from the logits, the last layer first."""

    def __init__(self, path: Path, text: Text):
        super().__init__(path)
        self.text = text
        self.rows = None
        self.presents: dict[int, tuple[ir.Value, ir.Value]] = {}
        past = self.inputs.get("past_key_values.0.key")
        if past is None or past.dtype not in (F32, F16):
            self.fail("no input 'past_key_values.0.key' of floats", "keys and values as inputs")
        self.kv_type = past.dtype

    def read(self) -> Found:
        text = self.text
        x, factor = self.scaled(self.output("logits"))
        if text.soft_cap is not None:
            tanh = self.node(x, "the soft cap of the logits", "Tanh")
            x, inner = self.scaled(tanh.inputs[0])
            caps = self.number(factor, tanh, "one cap"), 1 / self.number(inner, tanh, "one cap")
            if not np.allclose(caps, text.soft_cap, rtol=1e-4):
                self.fail(tanh, f"a soft cap of {text.soft_cap}")
        # The head has a name of its own here; the checkpoint ties it to the embedding.
        name = f"{MODEL}.embed_tokens.weight" if text.tied else "lm_head.weight"
        x = self.linear(x, name, text.vocabulary, text.hidden)
        key = self.norm(self.kept(x), f"{MODEL}.norm.weight", text.hidden, text.epsilon)
        for layer in reversed(range(text.layers)):
            key = self.layer(key, layer)
        if key is not self.key(self.inputs["inputs_embeds"]):
            self.fail(key, "the input 'inputs_embeds' before the first layer")
        self.combined()
        return self.found

    def kept(self, value):
        """Backwards over the Slice that keeps the last rows, whose start is an input."""
        while (node := self.same(value).producer()) is not None and node.op_type == "Slice":
            if self.constant(node.inputs[1]) is not None:
                break
            value = node.inputs[0]
        return value

    def residual(self, key):
        """A stream, as a key, before its rows were cut."""
        return key if isinstance(key, ir.Node) else self.key(self.kept(key))

    def added(self, key, name: str):
        """``(what was there, what the block made)`` of ``x + norm(block)``."""
        text = self.text
        for x, term in (terms := self.terms(key, "x + norm(...)"), terms[::-1]):
            if self.is_norm(term, text.hidden):
                made = self.norm(term, name, text.hidden, text.epsilon)
                return self.residual(self.key(x)), made
        self.fail(key, f"x + norm(...) ({name})")

    def layer(self, key, layer: int):
        """Backwards over one layer: from what it gives to what it takes."""
        text, prefix = self.text, f"{MODEL}.layers.{layer}"
        key, scalar = self.layer_scalar(self.residual(key), prefix)
        self.found.tensors[f"{prefix}.layer_scalar"] = np.array([scalar], np.float32)
        before, made = self.added(key, f"{prefix}.post_per_layer_input_norm.weight")
        self.per_layer(made, before, prefix, layer)
        key = before
        before, made = self.added(key, f"{prefix}.post_feedforward_layernorm.weight")
        self.mlp(made, before, prefix, layer)
        key = before
        before, made = self.added(key, f"{prefix}.post_attention_layernorm.weight")
        self.attention(made, before, prefix, layer)
        return before

    def layer_scalar(self, key, prefix: str):
        if isinstance(key, ir.Node):
            return key, 1.0
        value, factor = self.scaled(key)
        return self.key(value), self.number(factor, key, f"one scalar ({prefix}.layer_scalar)")

    def stays(self, value, stream, what: str):
        """``value`` must be the stream (a key)."""
        key = value if isinstance(value, ir.Node) else self.key(value)
        if self.residual(key) is not stream:
            self.fail(value, f"{what} taken from the stream")

    def mlp(self, made, stream, prefix: str, layer: int):
        text, width = self.text, self.text.width(layer)
        name = f"{prefix}.mlp"
        x = self.linear(made, f"{name}.down_proj.weight", text.hidden, width)
        product = self.node(x, "gelu(gate) * up", "Mul")
        gate, up = self.activated(product)
        gate = self.linear(self.gelu(gate), f"{name}.gate_proj.weight", width, text.hidden)
        up = self.linear(up, f"{name}.up_proj.weight", width, text.hidden)
        for each in (gate, up):
            key = self.norm(each, f"{prefix}.pre_feedforward_layernorm.weight", text.hidden, text.epsilon)
            self.stays(key, stream, "the MLP")

    def activated(self, product) -> tuple[ir.Value, ir.Value]:
        """A product's factors, the one with the GELU first."""
        left, right = product.inputs
        for gate, other in ((left, right), (right, left)):
            node = self.same(gate).producer()
            if node is not None and node.op_type in ("Gelu", "FastGelu"):
                return gate, other
        self.fail(self.same(left), f"GELU with tanh in one factor of {product.name!r}")

    def per_layer(self, made, stream, prefix: str, layer: int):
        text = self.text
        name = f"{prefix}.per_layer_projection.weight"
        x = self.linear(made, name, text.hidden, text.per_layer)
        gate, row = self.activated(self.node(x, "gelu(gate) * per-layer row", "Mul"))
        name = f"{prefix}.per_layer_input_gate.weight"
        self.stays(self.linear(self.gelu(gate), name, text.per_layer, text.hidden), stream, "the per-layer gate")
        self.row(row, layer)

    def row(self, value, layer: int):
        """The layer's own row of the combined per-layer rows, which are the same for all."""
        node = self.node(value, f"per-layer row {layer}", "Gather", "Slice", "Split")
        if node.op_type == "Split":
            index = self.same(value).index()
        else:
            index = self.constant(node.inputs[1])
        if index is None or int(np.reshape(index, -1)[0]) != layer:
            self.fail(node, f"per-layer row {layer}")
        rows = self.same(self.kept(node.inputs[0]))
        if self.rows is not None and rows is not self.rows:
            self.fail(node, "per-layer rows that are the same for all layers")
        self.rows = rows

    def combined(self):
        """``(norm(projection of inputs_embeds / sqrt H) + per_layer_inputs) / sqrt 2``."""
        text = self.text
        value, factor = self.scaled(self.rows)
        if not np.isclose(self.number(factor, value, "one factor"), 2.0**-0.5, rtol=1e-4):
            self.fail(value, "the mean of two per-layer rows (1/sqrt 2)")
        left, right = self.terms(self.key(value), "per-layer rows of the token and of its embedding")
        own = self.inputs["per_layer_inputs"]
        made = right if self.same(left) is own else left
        if own not in (self.same(left), self.same(right)):
            self.fail(value, "the input 'per_layer_inputs'")
        name = f"{MODEL}.per_layer_projection_norm.weight"
        x = self.norm(made, name, text.per_layer, text.epsilon)
        x, factor = self.scaled(x)
        if not np.isclose(self.number(factor, x, "one factor"), text.hidden**-0.5, rtol=1e-3):
            self.fail(x, f"a factor of 1/sqrt {text.hidden}")
        name = f"{MODEL}.per_layer_model_projection.weight"
        x = self.linear(x, name, text.layers * text.per_layer, text.hidden)
        if self.same(x) is not self.inputs["inputs_embeds"]:
            self.fail(x, "the input 'inputs_embeds'")

    def attention(self, made, stream, prefix: str, layer: int):
        text, name = self.text, f"{prefix}.self_attn"
        dim, kv = text.dim(layer), text.kv(layer)
        own, full = layer < text.own_layers, text.is_full(layer)
        x = self.linear(made, f"{name}.o_proj.weight", text.hidden, text.heads * dim)
        node = self.node(x, "GroupQueryAttention", "GroupQueryAttention")
        given = {key: attr.value for key, attr in node.attributes.items()}
        expected = {"num_heads": text.heads, "kv_num_heads": kv, "scale": 1.0, "softcap": 0.0}
        expected["local_window_size"] = -1 if full else text.window
        for key, wanted in expected.items():
            if given.get(key, {"softcap": 0.0, "local_window_size": -1}.get(key)) != wanted:
                self.fail(node, f"{key} = {wanted} in layer {layer}")
        self.stays(self.heads(node.inputs[0], name, "q", layer, node), stream, "the query")
        if own:
            for index, kind in ((1, "k"), (2, "v")):
                self.stays(self.heads(node.inputs[index], name, kind, layer, node), stream, f"the {kind}")
            for index, part in ((3, "key"), (4, "value")):
                if node.inputs[index] is not self.inputs.get(f"past_key_values.{layer}.{part}"):
                    self.fail(node, f"the past {part}s of layer {layer}")
            self.presents[layer] = (node.outputs[1], node.outputs[2])
        else:
            self.reads(node, text.kv_layer(layer))

    def reads(self, node, layer: int):
        """A layer without keys of its own must read those of ``layer``."""
        wanted = {id(self.outputs.get(f"present.{layer}.{part}")) for part in ("key", "value")}
        sources = {id(self.source(each)) for each in node.inputs[1:5] if each is not None}
        if not wanted <= sources:
            self.fail(node, f"the keys and values of layer {layer}")

    def heads(self, value, name: str, kind: str, layer: int, node):
        """Projection and norm of each head; gives what was normed before it."""
        text, dim = self.text, self.text.dim(layer)
        count = text.heads if kind == "q" else text.kv(layer)
        made = self.same(value).producer()
        turned = made is not None and made.op_type == "RotaryEmbedding"
        if turned:
            value = made.inputs[0]
            tables = made.inputs[2:4]
        else:
            tables = node.inputs[7:9]
        if kind != "v":
            inside = node.attributes.get_int("do_rotary", 0) == 1
            if turned == inside:
                self.fail(node, "positions turned once")
            self.turns(tables, layer, made if turned else node)
        norm = None if kind == "v" else f"{name}.{kind}_norm.weight"
        x = self.norm(value, norm, dim, text.epsilon)
        if isinstance(x, ir.Node):
            self.fail(x, f"a projection ({name}.{kind}_proj.weight)")
        x = self.linear(x, f"{name}.{kind}_proj.weight", count * dim, text.hidden)
        prefix = name.removesuffix(".self_attn")
        return self.norm(x, f"{prefix}.input_layernorm.weight", text.hidden, text.epsilon)

    def turns(self, tables, layer: int, node):
        """cos and sin must be those that the config asks for."""
        kind = self.text.kinds[layer]
        cos, sin = (self.constant(table) if table is not None else None for table in tables)
        if cos is None or sin is None:
            self.fail(node, "stored tables of cos and sin")
        rows = min(len(cos), 64)
        ours = rotary(self.text.rope[kind], self.text.dim(layer), rows)
        for mine, theirs in zip(ours, (cos, sin)):
            if theirs.shape[1] != mine.shape[1] or np.abs(theirs[:rows] - mine).max() > 1e-2:
                self.fail(node, f"the rotary positions of {kind}")
