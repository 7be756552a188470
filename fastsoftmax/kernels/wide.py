"""The pass over sparse X with so many features that partial gradients would not fit: each entry has one owner.

First residuals by rows, all of them; then the gradient by features, from X transposed, with the very loop that makes
logits. An entry is a sum in the order of its rows: the same bits on any number of threads.
"""

from typing import Any

import numpy as np
from numba import prange

from fastsoftmax.engine.jit import Driver, Pointer
from fastsoftmax.engine.simd import borrow
from fastsoftmax.kernels.cross_entropy import block_cross_entropy
from fastsoftmax.kernels.csr import row_logits, turn
from fastsoftmax.kernels.layouts import forward
from fastsoftmax.kernels.logits import ByClass, add_sums, curvature

RESIDUALS, GRADIENT = range(2)
TILE: tuple[int, ...] = ()  # a constant of the pointer


def _wide(
    stage: int, start: int, stop: int, design: Any, columns: Any, targets: Any, W: Any, b: Any, c: int, B: int,
    proba: Any, R: Any, Z: Any, index: Any, stats: Any, logs: Any, losses: Any, G: Any, g: Any,
    block_losses: Any,
) -> float:  # fmt: skip
    """RESIDUALS: blocks start..stop of B rows, into R. GRADIENT: features start..stop, from R into G.

    `columns` is the design transposed. As in gradient.py, proba of the weights makes W a direction. g (blocks, classes)
    and block_losses are what blocks sum to.
    """
    classes, n, lies = design.ld, len(design.indptr) - 1, ByClass(B)
    if stage == GRADIENT:
        for j in range(start, stop):
            row_logits(columns, j, R, classes, TILE, G, j * classes)
        return 0.0
    none = borrow(index, 0, 0)
    for s in range(start, stop):
        first, count = s * B, min(B, n - s * B)
        T = borrow(R, first * classes, B * classes)
        forward(design, T, none, first, 0, count, W, b, Z, B, classes, TILE, TILE)
        for i in range(count):
            index[i] = first + i
        if len(proba):
            curvature(lies, Z, count, c, b, proba, first * c, targets.weight, index)
        else:
            block_losses[s] = block_cross_entropy(lies, Z, count, c, b, targets, index, 1.0, True, stats, logs, losses)
        add_sums(lies, Z, count, c, borrow(g, s * classes, classes))
        turn(Z, B, T, classes, classes, count)
    return 0.0


wide_pointer = Pointer(_wide)


@Driver
def wide_stage(  # type: ignore[no-untyped-def]
    workers, chunk, stage, bounds, design, columns, targets, W, b, c, B, proba, R, Z, index, stats, logs, losses,
    G, g, block_losses,
):  # fmt: skip
    """A stage, worker w its share bounds[w]..bounds[w + 1]."""
    for w in prange(workers):
        chunk(
            stage, np.int64(bounds[w]), np.int64(bounds[w + 1]), design, columns, targets, W, b, c, B, proba, R,
            Z[w], index[w], stats[w], logs[w], losses[w], G, g, block_losses,
        )  # fmt: skip
