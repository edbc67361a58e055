"""How a part's weights are stored: ``fp32``, ``q8b32a4``, ``q4b128a0``.

``qB`` are the bits, ``bN`` the block size along the input dimension, ``aL`` the
accuracy level of ``MatMulNBits`` (0: weights are expanded to fp32; 4: activations
are rounded to 8 bit, per row and block). Tables (embeddings) ignore the level.
"""

import re
from dataclasses import dataclass

PARTS = ("audio", "embed", "per_layer", "decoder", "head")
"""Parts that can have a precision of their own (``per_layer`` is the second table)."""


@dataclass(frozen=True)
class Precision:
    """Storage of one part's matrices; ``bits`` is 32, 8 or 4."""

    bits: int = 32
    block: int = 32
    level: int = 4

    @property
    def quantized(self) -> bool:
        return self.bits < 32

    def __str__(self) -> str:
        return f"q{self.bits}b{self.block}a{self.level}" if self.quantized else "fp32"

    @staticmethod
    def parse(text: str) -> "Precision":
        """Reads a name as above; raises ``ValueError`` with a sentence otherwise."""
        if text == "fp32":
            return Precision()
        match = re.fullmatch(r"q(4|8)b(\d+)(?:a([0-4]))?", text)
        if not match:
            raise ValueError(f"precision {text!r}: expected fp32 or a name like q8b32a4")
        bits, block, level = int(match[1]), int(match[2]), int(match[3] or 4)
        if block < 16 or block & (block - 1):
            raise ValueError(f"precision {text!r}: the block size must be a power of two, 16 or more")
        if bits == 8 and level == 0:
            raise ValueError(f"precision {text!r}: 8 bit at level 0 runs 100 times slower, use a4")
        return Precision(bits, block, level)


def parse_parts(text: str) -> dict[str, Precision]:
    """``q8b32a4`` for all parts, or ``decoder=q4b32a4,head=q8b32a4,fp32`` (the bare name is
    the default of the parts not named; without one it is fp32)."""
    default, named = Precision(), {}
    for item in filter(None, text.split(",")):
        part, equals, name = item.partition("=")
        if not equals:
            default = Precision.parse(part)
        elif part not in PARTS:
            raise ValueError(f"precision of {part!r}: the parts are {', '.join(PARTS)}")
        else:
            named[part] = Precision.parse(name)
    return {part: named.get(part, default) for part in PARTS}
