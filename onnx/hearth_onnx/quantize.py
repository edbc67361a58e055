"""Round-to-nearest weights in blocks, in the layouts of ``MatMulNBits`` and
``GatherBlockQuantized``.

Symmetric: a block's value of largest magnitude maps to the end of the range that has
one step more (-8 or -128), so no zero points are stored; the operators' default zero
point (8 or 128) applies. 4-bit values lie two to a byte, the lower index in the low nibble.
"""

import numpy as np


def blocks_of(columns: int, block: int) -> int:
    """How many blocks a row of ``columns`` values has; the last one may be padded."""
    return -(-columns // block)


def quantize_rows(rows: np.ndarray, bits: int, block: int) -> tuple[np.ndarray, np.ndarray]:
    """Quantises f32 ``[n, k]`` row by row.

    Returns the packed values, uint8 ``[n, blocks, block * bits / 8]``, and the scales,
    f32 ``[n, blocks]``.
    """
    count, columns = rows.shape
    blocks = blocks_of(columns, block)
    zero = 1 << (bits - 1)
    if blocks * block != columns:
        rows = np.pad(rows, ((0, 0), (0, blocks * block - columns)))
    values = rows.reshape(count, blocks, block)
    peak = np.take_along_axis(values, np.abs(values).argmax(-1)[..., None], -1)
    scales = (peak / -zero).astype(np.float32)
    inverse = np.divide(1.0, scales, out=np.zeros_like(scales), where=scales != 0)
    codes = np.clip(np.rint(values * inverse) + zero, 0, 2 * zero - 1).astype(np.uint8)
    if bits == 4:
        codes = codes[..., 0::2] | (codes[..., 1::2] << 4)
    return codes, scales[..., 0]


def dequantize_rows(codes: np.ndarray, scales: np.ndarray, bits: int, columns: int) -> np.ndarray:
    """The inverse of :func:`quantize_rows`, f32 ``[n, columns]``."""
    if bits == 4:
        codes = np.stack([codes & 15, codes >> 4], -1).reshape(*codes.shape[:-1], -1)
    values = (codes.astype(np.float32) - (1 << (bits - 1))) * scales[..., None]
    return values.reshape(len(codes), -1)[:, :columns]
