"""Reads a published graph: finds the weights by what the nodes do, never by what they are called.

The walk goes backwards from the outputs. Each step says what must stand there; the first node
that is something else ends it with :class:`Mismatch`, which names that node. What is found is
keyed by the names of the checkpoint (``model.language_model.layers.0.self_attn.q_proj.weight``),
as the builders ask for it.
"""

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx_ir as ir

MOVES = ("Identity", "Cast", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Expand", "Pad", "Concat")
MOVES += ("Slice", "Gather", "GatherND", "Compress")
"""Operators that move numbers and leave them as they are."""
NORMS = ("SimplifiedLayerNormalization", "RMSNormalization", "SkipSimplifiedLayerNormalization")
SAME = ("Identity", "Cast", "Reshape", "Squeeze", "Unsqueeze")
"""Of these, those that leave the rows in their order."""


class Mismatch(ValueError):
    """A node that is not what the walk expects there."""


@dataclass
class Linear:
    """``x @ W.T``: the operator, its weights, and (for clipped ones) bounds around it."""

    op: str
    weights: list[ir.Value | None]
    attributes: dict
    inputs: int
    outputs: int


@dataclass
class Found:
    """All weights of a graph by their names in the checkpoint."""

    linears: dict[str, Linear] = field(default_factory=dict)
    tensors: dict[str, np.ndarray] = field(default_factory=dict)
    nodes: int = 0


class Walk:
    """One published graph and what was found in it so far."""

    def __init__(self, path: Path):
        self.path = path
        self.graph = ir.load(path).graph
        self.inputs = {value.name: value for value in self.graph.inputs}
        self.outputs = {value.name: value for value in self.graph.outputs}
        self.found = Found(nodes=len(self.graph))

    # -- saying no ------------------------------------------------------------------------

    def fail(self, at, expected: str):
        """Raises; ``at`` is a node, a value, or text."""
        node = at.producer() if isinstance(at, ir.Value) else at
        if isinstance(node, ir.Node):
            what = f"node {node.name!r} ({node.op_type})"
        elif isinstance(at, ir.Value):
            kind = "weight" if at.const_value is not None else "graph input"
            what = f"{kind} {at.name!r}"
        else:
            what = str(at)
        raise Mismatch(f"{self.path.name}: {what} is not what is known of Gemma 4: expected {expected}")

    def output(self, name: str) -> ir.Value:
        if name not in self.outputs:
            self.fail(f"no output {name!r}", f"an output {name!r}")
        return self.outputs[name]

    # -- steps ----------------------------------------------------------------------------

    def same(self, value: ir.Value) -> ir.Value:
        """Backwards over casts and reshapes."""
        while (node := value.producer()) is not None and node.op_type in SAME:
            value = node.inputs[0]
        return value

    def node(self, value: ir.Value, expected: str, *ops: str) -> ir.Node:
        """The node that makes ``value``, casts and reshapes apart; one of ``ops``."""
        node = self.same(value).producer()
        if node is None or node.op_type not in ops:
            self.fail(self.same(value), expected)
        return node

    def source(self, value: ir.Value) -> ir.Value:
        """Where moved numbers come from; all that are joined must come from one place."""
        while (node := value.producer()) is not None and node.op_type in MOVES:
            if node.op_type != "Concat":
                value = node.inputs[0]
                continue
            sources = [self.source(each) for each in node.inputs]
            sources = [each for each in sources if self.constant(each) is None]
            if not sources or any(each is not sources[0] for each in sources):
                self.fail(node, "parts of one tensor joined")
            return sources[0]
        return value

    def constant(self, value: ir.Value) -> np.ndarray | None:
        """The number or tensor that ``value`` always is; ``None`` if it depends on an input."""
        if value.const_value is not None:
            return value.const_value.numpy()
        node = value.producer()
        if node is None or node.op_type not in ("Constant", *SAME):
            return None
        if node.op_type == "Constant":
            return node.attributes["value"].as_tensor().numpy()
        inner = self.constant(node.inputs[0])
        shape = self.constant(node.inputs[1]) if node.op_type == "Reshape" else None
        return inner if inner is None or shape is None else inner.reshape(shape)

    def scaled(self, value: ir.Value, size: int = 1) -> tuple[ir.Value, np.ndarray | float]:
        """``value`` without the constants it is multiplied with or divided by, and their product;
        constants of more than ``size`` numbers are left alone."""
        factor = 1.0
        while True:
            node = self.same(value).producer()
            if node is None or node.op_type not in ("Mul", "Div"):
                return value, factor
            left, right = (self.constant(each) for each in node.inputs)
            left, right = (None if c is None or c.size > size else c for c in (left, right))
            if right is not None:
                number = right.astype(np.float64)
                factor = factor * number if node.op_type == "Mul" else factor / number
                value = node.inputs[0]
            elif left is not None and node.op_type == "Mul":
                factor, value = factor * left.astype(np.float64), node.inputs[1]
            else:
                return value, factor

    def number(self, factor, at, expected: str) -> float:
        """A factor that must be one number."""
        if np.size(factor) != 1:
            self.fail(at, expected)
        return float(np.reshape(factor, ()))

    # -- sums: a plain Add, or the one inside SkipSimplifiedLayerNormalization --------------

    def key(self, value: ir.Value):
        """What tells two streams apart, whichever of the two forms made them."""
        value = self.same(value)
        node = value.producer()
        if node is not None and node.op_type == "SkipSimplifiedLayerNormalization" and value.index() == 3:
            return node
        return value

    def terms(self, key, expected: str) -> tuple[ir.Value, ir.Value]:
        """The two terms of a sum."""
        if isinstance(key, ir.Node):
            return key.inputs[0], key.inputs[1]
        return tuple(self.node(key, expected, "Add").inputs)

    def is_norm(self, value: ir.Value, width: int) -> bool:
        """Does an RMS norm make it? A stream times its scalar is none, nor is the sum beside a norm."""
        value = self.same(value)
        node = value.producer()
        if node is None or node.op_type not in (*NORMS, "Mul"):
            return False
        if node.op_type == "Mul":
            return any(c is not None and c.size == width for c in map(self.constant, node.inputs))
        return value.index() == 0

    # -- composites -----------------------------------------------------------------------

    def norm(self, value: ir.Value, name: str | None, width: int, epsilon: float):
        """What is normed, as a key; the weight is kept under ``name``, or must be ones."""
        node = self.node(
            value,
            f"an RMS norm ({name or 'without weight'})",
            *NORMS,
            "Mul",
        )
        if node.op_type == "Mul":
            x, weight, found = self._written_out(node, name)
        else:
            skip = node.op_type.startswith("Skip")
            x, weight = (node, node.inputs[2]) if skip else (node.inputs[0], node.inputs[1])
            found = node.attributes.get_float("epsilon", 1e-5)
        scale = self.constant(weight)
        if scale is None or scale.size != width or abs(found - epsilon) > epsilon / 10:
            self.fail(node, f"an RMS norm of width {width} and epsilon {epsilon} ({name})")
        if name is None:
            if not np.all(scale == 1):
                self.fail(node, "a norm without weight")
        else:
            self.found.tensors[name] = scale.astype(np.float32).reshape(width)
        return x if isinstance(x, ir.Node) else self.key(x)

    def _written_out(self, node: ir.Node, name):
        """``x / sqrt(mean(x^2) + e) * w`` as single operators."""
        expected = f"an RMS norm ({name or 'without weight'})"
        at = next((i for i in (0, 1) if self.constant(node.inputs[i]) is not None), None)
        if at is None:
            self.fail(node, expected)
        division = self.node(node.inputs[1 - at], expected, "Div", "Mul")
        x, root = division.inputs
        root = self.node(root, expected, "Sqrt" if division.op_type == "Div" else "Reciprocal")
        if root.op_type == "Reciprocal":
            root = self.node(root.inputs[0], expected, "Sqrt")
        total = self.node(root.inputs[0], expected, "Add")
        epsilon = next((c for c in map(self.constant, total.inputs) if c is not None), None)
        mean = next((v for v in total.inputs if self.constant(v) is None), None)
        if epsilon is None or mean is None:
            self.fail(total, expected)
        square = self.node(self.node(mean, expected, "ReduceMean").inputs[0], expected, "Pow", "Mul")
        if self.same(square.inputs[0]) is not self.same(x):
            self.fail(square, expected)
        return x, node.inputs[at], float(np.reshape(epsilon, ()))

    def linear(self, value: ir.Value, name: str, outputs: int, inputs: int) -> ir.Value:
        """What goes into the linear layer; its weights are kept under ``name``."""
        expected = f"a linear layer {inputs} -> {outputs} ({name})"
        node = self.node(value, expected, "MatMulNBits", "MatMul")
        weights = list(node.inputs[1:])
        if any(each is not None and each.const_value is None for each in weights):
            self.fail(node, f"{expected} whose weights are stored")
        if node.op_type == "MatMulNBits":
            attributes = {key: attr.value for key, attr in node.attributes.items()}
            if len(weights) > 3 and any(each is not None for each in weights[3:]):
                self.fail(node, f"{expected} without reordering or bias inside")
            shape = (attributes["N"], attributes["K"])
        else:
            attributes, stored = {}, weights[0].const_value.shape
            shape = (stored[1], stored[0]) if len(stored) == 2 else None
        if shape != (outputs, inputs):
            self.fail(node, expected)
        self.found.linears[name] = Linear(node.op_type, weights, attributes, inputs, outputs)
        return node.inputs[0]

    def gelu(self, value: ir.Value) -> ir.Value:
        """What goes into the GELU with tanh."""
        node = self.node(value, "GELU with tanh", "Gelu", "FastGelu")
        if node.op_type == "Gelu" and node.attributes.get_string("approximate", "none") != "tanh":
            self.fail(node, "GELU with tanh")
        return node.inputs[0]

    def silu(self, value: ir.Value) -> ir.Value:
        """What goes into ``x * sigmoid(x)``."""
        node = self.node(value, "x * sigmoid(x)", "Mul", "QuickGelu")
        if node.op_type == "QuickGelu":
            if abs(node.attributes.get_float("alpha", 1.702) - 1) > 1e-6:
                self.fail(node, "x * sigmoid(x)")
            return node.inputs[0]
        x, gate = self.gated(node, "x * sigmoid(x)")
        if self.same(gate) is not self.same(x):
            self.fail(node, "x * sigmoid(x)")
        return x

    def gated(self, node: ir.Node, expected: str) -> tuple[ir.Value, ir.Value]:
        """``(a, b)`` of ``a * sigmoid(b)``."""
        for x, gate in (node.inputs, node.inputs[::-1]):
            made = self.same(gate).producer()
            if made is not None and made.op_type == "Sigmoid":
                return x, made.inputs[0]
        self.fail(node, expected)

    def clip(self, value: ir.Value) -> tuple[ir.Value, float, float]:
        """``value`` before the clips that follow each other, and their bounds together."""
        low, high = -np.inf, np.inf
        while (node := self.same(value).producer()) is not None and node.op_type == "Clip":
            bounds = [self.constant(each) if each is not None else None for each in node.inputs[1:]]
            bounds += [None] * (2 - len(bounds))
            low = max(low, float(np.reshape(bounds[0], ())) if bounds[0] is not None else -np.inf)
            high = min(high, float(np.reshape(bounds[1], ())) if bounds[1] is not None else np.inf)
            value = node.inputs[0]
        return value, low, high

    def branch(self, key, expected: str, *ops: str) -> tuple[ir.Value, ir.Value]:
        """A sum's ``(other term, term made by one of ops)``."""
        left, right = self.terms(key, expected)
        for other, term in ((left, right), (right, left)):
            node = self.same(term).producer()
            if node is not None and node.op_type in ops:
                return other, term
        self.fail(key, expected)
