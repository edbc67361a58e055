"""A thin writer over ``onnx_ir``: operators, constants, lazily made weights, saving.

Big tensors are made one at a time while saving, so building a large model needs the
memory of its largest tensor, not of the model.
"""

import hashlib
from pathlib import Path
from typing import Callable, Sequence

import numpy as np
import onnx_ir as ir

from .precision import Precision
from .quantize import blocks_of, quantize_rows
from .weights import WeightSource

OPSET = 23
IR_VERSION = 10
MICROSOFT = "com.microsoft"
EMBED_LIMIT_BYTES = 64 << 20
"""A graph whose weights stay under this is written as one file."""
VALUES_AT_ONCE = 1 << 24
"""How much of a matrix is rounded at a time."""
F32, F16, I64, I32, U8, BOOL = (
    ir.DataType.FLOAT,
    ir.DataType.FLOAT16,
    ir.DataType.INT64,
    ir.DataType.INT32,
    ir.DataType.UINT8,
    ir.DataType.BOOL,
)


class Graph:
    """One graph under construction; ``weights`` is where its matrices come from."""

    def __init__(self, name: str, weights: WeightSource):
        self.name = name
        self.weights = weights
        self.inputs: list[ir.Value] = []
        self.outputs: list[ir.Value] = []
        self.nodes: list[ir.Node] = []
        self.initializers: dict[str, ir.Value] = {}
        self._constants: dict[tuple, ir.Value] = {}
        self._scope: list[str] = []
        self._last: tuple[str, tuple] = ("", ())

    # -- values ---------------------------------------------------------------------------

    def input(self, name: str, dtype: ir.DataType, shape: Sequence[int | str]) -> ir.Value:
        """Declares a graph input; strings are dynamic dimensions."""
        value = ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(shape))
        self.inputs.append(value)
        return value

    def output(self, value: ir.Value, name: str, dtype: ir.DataType, shape: Sequence[int | str]):
        """Declares ``value`` as graph output ``name``."""
        value.name = name
        value.dtype = dtype
        value.shape = ir.Shape(shape)
        self.outputs.append(value)

    def scope(self, name: str) -> "Graph":
        """``with graph.scope("layers.0"):`` prefixes the names of nodes and constants."""
        self._scope.append(name)
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._scope.pop()

    def _named(self, name: str) -> str:
        return ".".join([*self._scope, name])

    def op(self, kind: str, *inputs: ir.Value | None, domain: str = "", **attributes) -> ir.Value:
        """Appends a node with one output."""
        return self.op_n(kind, 1, *inputs, domain=domain, **attributes)[0]

    def op_n(self, kind: str, count: int, *inputs, domain: str = "", **attributes) -> list[ir.Value]:
        """Appends a node with ``count`` outputs."""
        name = self._named(f"{kind}_{len(self.nodes)}")
        node = ir.node(
            kind, list(inputs), attributes, domain=domain, num_outputs=count, name=name
        )
        for index, value in enumerate(node.outputs):
            value.name = f"{name}.{index}"
        self.nodes.append(node)
        return list(node.outputs)

    # -- constants and weights ------------------------------------------------------------

    def constant(self, array, dtype=np.float32) -> ir.Value:
        """A small constant; equal ones are stored once, named by what they hold."""
        array = np.asarray(array, dtype=dtype, order="C")  # ascontiguousarray would lose rank 0
        key = (array.dtype.str, array.shape, array.tobytes())
        if key not in self._constants:
            name = f"constant_{hashlib.sha256(repr(key).encode()).hexdigest()[:16]}"
            self._constants[key] = self._initializer(name, ir.tensor(array, name=name))
        return self._constants[key]

    def ints(self, *numbers: int) -> ir.Value:
        """A 1-D int64 constant."""
        return self.constant(list(numbers), np.int64)

    def parameter(self, name: str, shape: tuple[int, ...]) -> ir.Value:
        """A weight stored as it is, in f32 (norms, convolutions, biases)."""
        return self._lazy(name, lambda: self.weights.tensor(name, shape), F32, shape)

    def derived(self, name: str, make: Callable[[], np.ndarray], shape: tuple[int, ...]) -> ir.Value:
        """A tensor computed from weights, in f32; made while saving, as they are."""
        return self._lazy(name, lambda: make().astype(np.float32), F32, shape)

    def _initializer(self, name: str, tensor: ir.TensorProtocol) -> ir.Value:
        if name not in self.initializers:
            self.initializers[name] = ir.Value(
                name=name, type=ir.TensorType(tensor.dtype), shape=tensor.shape, const_value=tensor
            )
        return self.initializers[name]

    def _lazy(self, name, make: Callable[[], np.ndarray], dtype, shape) -> ir.Value:
        make_tensor = lambda: ir.tensor(np.ascontiguousarray(make()), name=name)  # noqa: E731
        return self._initializer(
            name, ir.LazyTensor(make_tensor, dtype=dtype, shape=ir.Shape(shape), name=name)
        )

    def _quantized(self, name: str, shape: tuple[int, int], precision: Precision) -> tuple:
        """Codes and scales of a matrix, a slice of rows at a time; the last one is kept,
        because both halves of a pair are asked for one after the other."""
        if self._last[0] != name:
            self._last = ("", ())  # before the next pair needs memory
            blocks = blocks_of(shape[1], precision.block)
            codes = np.empty((shape[0], blocks, precision.block * precision.bits // 8), np.uint8)
            scales = np.empty((shape[0], blocks), np.float32)
            step = max(1, VALUES_AT_ONCE // shape[1])
            for start in range(0, shape[0], step):
                stop = min(start + step, shape[0])
                rows = self.weights.rows(name, shape, start, stop)
                codes[start:stop], scales[start:stop] = quantize_rows(rows, precision.bits, precision.block)
            self._last = (name, (codes, scales))
        return self._last[1]

    # -- composite operators --------------------------------------------------------------

    def linear(
        self, x: ir.Value, name: str, outputs: int, inputs: int, precision: Precision, parts: int = 1
    ):
        """``x @ W.T`` with the weight ``name`` of shape ``[outputs, inputs]``; a quantised one may be
        stored in several matrices, whose outputs are joined."""
        if not precision.quantized:
            shape = (outputs, inputs)
            weight = self._lazy(name, lambda: self.weights.tensor(name, shape).T, F32, (inputs, outputs))
            return self.op("MatMul", x, weight)
        return self.joined(
            [self._part(x, name, (outputs, inputs), precision, *cut) for cut in cuts(outputs, parts)]
        )

    def joined(self, parts: list[ir.Value]) -> ir.Value:
        """The parts one after the other in the last dimension."""
        return parts[0] if len(parts) == 1 else self.op("Concat", *parts, axis=-1)

    def _part(self, x, name, shape: tuple[int, int], precision: Precision, start: int, stop: int):
        """The rows ``start`` to ``stop`` of a quantised weight."""
        outputs, inputs = shape
        blocks = blocks_of(inputs, precision.block)
        bytes_ = precision.block * precision.bits // 8
        suffix = "" if stop - start == outputs else f"_{start}"
        codes = self._lazy(
            f"{name}_codes{suffix}",
            lambda: self._quantized(name, shape, precision)[0][start:stop],
            U8,
            (stop - start, blocks, bytes_),
        )
        scales = self._lazy(
            f"{name}_scales{suffix}",
            lambda: self._quantized(name, shape, precision)[1][start:stop],
            F32,
            (stop - start, blocks),
        )
        return self.op(
            "MatMulNBits",
            x,
            codes,
            scales,
            domain=MICROSOFT,
            K=inputs,
            N=stop - start,
            bits=precision.bits,
            block_size=precision.block,
            accuracy_level=precision.level,
        )

    def gather_rows(self, ids: ir.Value, name: str, rows: int, columns: int, precision: Precision):
        """Rows of a table ``[rows, columns]``: f32 ``[..., columns]``."""
        shape = (rows, columns)
        if not precision.quantized:
            return self.op("Gather", self.parameter(name, shape), ids, axis=0)
        if columns % precision.block:
            raise ValueError(f"{name}: {columns} columns are no multiple of block {precision.block}")
        codes = self._lazy(
            f"{name}_codes",
            lambda: self._quantized(name, shape, precision)[0].reshape(rows, -1),
            U8,
            (rows, columns * precision.bits // 8),
        )
        scales = self._lazy(
            f"{name}_scales",
            lambda: self._quantized(name, shape, precision)[1],
            F32,
            (rows, columns // precision.block),
        )
        return self.op(
            "GatherBlockQuantized",
            codes,
            ids,
            scales,
            domain=MICROSOFT,
            bits=precision.bits,
            block_size=precision.block,
            gather_axis=0,
            quantize_axis=1,
        )

    def rms_norm(self, x: ir.Value, weight: ir.Value, epsilon: float) -> ir.Value:
        """RMS norm over the last axis."""
        return self.op("SimplifiedLayerNormalization", x, weight, axis=-1, epsilon=epsilon)

    def silu(self, x: ir.Value) -> ir.Value:
        """``x * sigmoid(x)``; onnxruntime fuses the pair."""
        return self.op("Mul", x, self.op("Sigmoid", x))

    def clip(self, x: ir.Value, low: float, high: float) -> ir.Value:
        """Clamp; nothing is emitted for infinite bounds."""
        if np.isinf(low) and np.isinf(high):
            return x
        return self.op("Clip", x, self.constant(low), self.constant(high))

    def reshape(self, x: ir.Value, *dims: int) -> ir.Value:
        """Reshape with ONNX's 0 (keep) and -1 (infer)."""
        return self.op("Reshape", x, self.ints(*dims))

    def forget(self) -> None:
        """Lets go of the matrix that was rounded last."""
        self._last = ("", ())

    # -- saving ---------------------------------------------------------------------------

    def save(self, path: Path, data: "DataFiles | None" = None) -> None:
        """Writes ``path``, and its weights to ``data``; without, they stay in the file if they
        are below :data:`EMBED_LIMIT_BYTES`, and go to ``NAME.onnx_data`` beside it otherwise."""
        values = self.initializers.values()
        if data is None and sum(value.const_value.nbytes for value in values) > EMBED_LIMIT_BYTES:
            with DataFiles(path.parent / f"{path.name}_data") as data:
                return self.save(path, data)
        if data is not None:
            for value in values:
                data.take(value)
        graph = ir.Graph(
            self.inputs,
            self.outputs,
            nodes=self.nodes,
            initializers=list(values),
            opset_imports={"": OPSET, MICROSOFT: 1},
            name=self.name,
        )
        model = ir.Model(graph, ir_version=IR_VERSION, producer_name="hearth_onnx")
        ir.save(model, path)


def cuts(rows: int, parts: int) -> list[tuple[int, int]]:
    """Where ``rows`` are cut into ``parts`` of about the same length."""
    edges = [rows * part // parts for part in range(parts + 1)]
    return list(zip(edges, edges[1:]))


class DataFiles:
    """Weights outside the graphs: in ``path``, and, where that would pass ``limit_bytes``, in
    ``path_1``, ``path_2`` and so on. Several graphs may refer to them: tensors of one name are
    one tensor, and whoever comes first writes it. ``with DataFiles(...) as data`` ends them."""

    def __init__(self, path: Path, limit_bytes: int = 1 << 62):
        self.path = path
        self.limit_bytes = limit_bytes
        self._shards = 0
        self._stream = None
        self._taken: dict[str, ir.ExternalTensor] = {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self._stream is not None:
            self._stream.close()

    def take(self, value: ir.Value) -> None:
        """Moves the tensor of an initializer here, if it has 1 KiB or more."""
        tensor = value.const_value
        if tensor.nbytes < 1024:
            return
        known = self._taken.get(value.name)
        if known is None:
            known = self._taken[value.name] = self._write(tensor, value.name)
        elif (known.dtype, list(known.shape)) != (tensor.dtype, list(tensor.shape)):
            raise ValueError(f"{self.path}: two different tensors are named {value.name}")
        value.const_value = known

    def _write(self, tensor: ir.TensorProtocol, name: str) -> ir.ExternalTensor:
        if self._stream is None or self._stream.tell() + tensor.nbytes > self.limit_bytes:
            self._next_file()
        stream = self._stream
        stream.write(b"\0" * (-stream.tell() % _alignment_bytes(tensor.nbytes)))
        offset = stream.tell()
        # Not tobytes, which would copy a table of gigabytes.
        stream.write(np.ascontiguousarray(tensor.numpy()).reshape(-1).view(np.uint8).data)
        return ir.ExternalTensor(
            Path(stream.name).name,
            offset,
            tensor.nbytes,
            tensor.dtype,
            shape=tensor.shape,
            name=name,
            base_dir=self.path.parent,
        )

    def _next_file(self) -> None:
        if self._stream is not None:
            self._stream.close()
        suffix = f"_{self._shards}" if self._shards else ""
        self._shards += 1
        self._stream = open(self.path.with_name(self.path.name + suffix), "wb")


def _alignment_bytes(size_bytes: int) -> int:
    """Whole pages for what is worth mapping by itself, cache lines for the rest."""
    return 4096 if size_bytes >= 1 << 20 else 64
