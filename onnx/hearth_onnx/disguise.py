"""Rewrites a look-alike's graphs into others that compute the same: nothing keeps its name, sums
and products change sides, norms are written out in single operators or joined with the sum
before them, some matrices get zero points. Whoever reads such a folder cannot have gone by names."""

import random
from pathlib import Path

import onnx
from onnx import TensorProto, helper

SWAPPED = ("Add", "Mul")
NORM = "SimplifiedLayerNormalization"


def disguise(folder: Path, seed: int = 1) -> None:
    """Rewrites every graph of ``folder`` in place; weights stay in their files."""
    for path in sorted((folder / "onnx").glob("*.onnx")):
        model = onnx.load(path, load_external_data=False)
        _Disguise(model.graph, random.Random(f"{seed}{path.name}")).run()
        onnx.save(model, path)


class _Disguise:
    def __init__(self, graph, chance: random.Random):
        self.graph = graph
        self.chance = chance
        self.nodes: list = []
        self.extra = 0

    def run(self):
        uses: dict[str, int] = {}
        for node in self.graph.node:
            for name in node.input:
                uses[name] = uses.get(name, 0) + 1
        self.makers = {name: node for node in self.graph.node for name in node.output}
        self.joined: dict[str, str] = {}
        for node in self.graph.node:
            if node.op_type in SWAPPED and self.chance.random() < 0.5:
                left, right = node.input
                node.input[:] = [right, left]
            if node.op_type == "MatMulNBits" and self.chance.random() < 0.3:
                self.zero_points(node)
            if node.op_type == NORM:
                self.norm(node)
            else:
                self.nodes.append(node)
        self.drop_joined()
        del self.graph.node[:]
        self.graph.node.extend(self.nodes)
        self.rename()

    def fresh(self) -> str:
        self.extra += 1
        return f"made {self.extra}"

    def add(self, kind: str, *inputs: str, output: str | None = None, **attributes) -> str:
        output = output or self.fresh()
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def constant(self, kind: int, dims: list[int], values: list) -> str:
        name = self.fresh()
        self.graph.initializer.append(helper.make_tensor(name, kind, dims, values))
        return name

    def zero_points(self, node):
        """Stores the zero points that hold anyway when there are none."""
        given = {a.name: a.i for a in node.attribute}
        rows, bits, blocks = given["N"], given["bits"], -(-given["K"] // given["block_size"])
        size = rows * -(-blocks * bits // 8)
        value = 0x88 if bits == 4 else 0x80
        node.input.append(self.constant(TensorProto.UINT8, [size], [value] * size))

    def norm(self, node):
        """A norm stays, is written out, or takes in the sum before it."""
        x, weight = node.input[:2]
        epsilon = next(a.f for a in node.attribute if a.name == "epsilon")
        maker, choice = self.makers.get(x), self.chance.random()
        # The joined operator takes no bias as a term.
        joins = maker is not None and maker.op_type == "Add" and all(name in self.makers for name in maker.input)
        if joins and choice < 0.5 and x not in self.joined:
            total = self.fresh()
            outputs = [node.output[0], "", "", total]
            self.nodes.append(
                helper.make_node(f"Skip{NORM}", [*maker.input, weight], outputs, domain="com.microsoft", epsilon=epsilon)
            )
            self.joined[x] = total
        elif choice > 0.75 or maker is not None and maker.op_type == "Reshape" and choice > 0.6:
            mean = self.constant(TensorProto.INT64, [1], [-1])
            square = self.add("Pow", x, self.constant(TensorProto.FLOAT, [], [2.0]))
            square = self.add("ReduceMean", square, mean, keepdims=1)
            root = self.add("Sqrt", self.add("Add", square, self.constant(TensorProto.FLOAT, [], [epsilon])))
            scaled = self.add("Div", self.add("Identity", x), root)
            self.add("Mul", weight, scaled, output=node.output[0])
        else:
            self.nodes.append(node)

    def drop_joined(self):
        """Sums that norms took in come from those now; they must be made before they are used."""
        kept = [node for node in self.nodes if not (node.op_type == "Add" and node.output[0] in self.joined)]
        for node in kept:
            node.input[:] = [self.joined.get(name, name) for name in node.input]
        self.nodes, waiting, made = [], kept, set()
        makers = {name for node in kept for name in node.output}
        while waiting:
            ready = [node for node in waiting if all(n in made or n not in makers for n in node.input)]
            made.update(name for node in ready for name in node.output)
            self.nodes += ready
            waiting = [node for node in waiting if not any(node is other for other in ready)]

    def rename(self):
        """Names of nodes, values and weights become numbers; inputs and outputs keep theirs."""
        fixed = {value.name for value in [*self.graph.input, *self.graph.output]} | {""}
        names: dict[str, str] = {}
        new = lambda name: name if name in fixed else names.setdefault(name, f"t{len(names)}")  # noqa: E731
        for index, node in enumerate(self.graph.node):
            node.name = f"n{index}"
            node.input[:] = [new(name) for name in node.input]
            node.output[:] = [new(name) for name in node.output]
        for tensor in self.graph.initializer:
            tensor.name = new(tensor.name)
        del self.graph.value_info[:]
