"""The pass over dense X where weights are so large that few partial gradients would fit."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsoftmax.data.design import Arrangement
from fastsoftmax.engine import memory, threads
from fastsoftmax.engine.simd import LANE_BYTES
from fastsoftmax.kernels import pipeline
from fastsoftmax.kernels.cross_entropy import STATS, Targets

BLOCK, SHARE = 144, 48  # rows, and those of an item: 3 items, each whole tiles of 8 and of 12
BLOCK_BYTES = 5000000  # of those that are under way
LAST_BYTES = 40 << 20  # at most, of the last workspace, which is kept for the next call like it
SPAN = 4  # vectors of classes of an item of the gradient
SLICE = 6e9  # floating-point operations of a call of the driver, some 20 ms on two cores, so that Ctrl-C works
NONE = np.zeros(0, np.int64)
Array = NDArray[Any]


def rows_per_block(c: int, m: int, itemsize: int) -> int:
    """By shapes alone: a multiple of SHARE, or, of very long rows, half of it."""
    fit = BLOCK_BYTES // (pipeline.SLOTS * itemsize * (m + c))
    return min(BLOCK, fit // SHARE * SHARE) or SHARE // 2


class Workspace:
    """Weights as they are arranged, the gradient, and scratch of blocks and workers."""

    def __init__(self, layout: Any, length: int, classes: int, block: int, workers: int, dtype: np.dtype[Any]) -> None:
        index, double = np.dtype(np.int64), np.dtype(np.float64)
        places, size = memory.places([
            ((1, length), dtype),
            ((1, classes), dtype),
            ((1, length), dtype),
            ((1, classes), dtype),
            ((pipeline.SLOTS, block * layout.features), dtype),
            ((pipeline.SLOTS, block * classes), dtype),
            ((workers, 0 if len(layout.direct) else SHARE * layout.ld), dtype),
            ((workers, SHARE), index),
            ((workers, STATS * SHARE), dtype),
            ((workers, SHARE), double),
            ((workers, SHARE), double),
        ])  # fmt: skip
        W, b, G, g, self.P, self.Z, *self.scratch = memory.carved(places, size)
        self.W, self.b, self.G, self.g, self.size = W[0], b[0], G[0], g[0], size


_last = memory.Last()


def sweep(
    layout: Any, plan: Arrangement, dtype: np.dtype[Any], targets: Targets, c: int, n: int,
    fold: Callable[[tuple[Array, Array]], object], collect: Callable[[Array, Array], None], proba: Array | None,
) -> float:  # fmt: skip
    """The loss. `fold` arranges weights in two arrays, `collect` takes the gradient, arranged like them.

    With `proba` it is the Hessian times the direction that `fold` arranges.
    """
    row = 4.0 * c * layout.m
    workers = threads.worker_count(n * row)
    block = rows_per_block(c, layout.m, dtype.itemsize)
    share = min(SHARE, block)
    parts, units = block // share, plan.length * dtype.itemsize // (layout.features * LANE_BYTES)
    kind = (
        c,
        layout.m,
        plan.length,
        plan.classes,
        block,
        workers,
        dtype,
        layout.features,
        layout.ld,
        len(layout.direct) > 0,
    )
    space = _last.take(kind) or Workspace(layout, plan.length, plan.classes, block, workers, dtype)
    W, b, G, g, P, Z, scratch = space.W, space.b, space.G, space.g, space.P, space.Z, space.scratch
    fold((W, b))
    g.fill(0)
    if n == 0:
        G.fill(0)
    step = max(1, int(SLICE / row / block)) * block
    losses, spans = np.zeros(-(-n // block) * parts), max(1, units // SPAN)
    proba = np.zeros(0, dtype) if proba is None else proba
    head = (layout, NONE, targets, W, b)
    pointer = pipeline.work(0, *head, c, 0, 0, 0, 0, proba, P[0], Z[0], *[part[0] for part in scratch], G, g)
    for start in range(0, n, step):
        done = np.zeros((3, max(step // block, spans)), np.int64)
        pipeline.flow(
            workers, pointer, *head, c, start, min(n, start + step), block, share, SPAN, proba, P, Z, *scratch, G, g,
            losses[start // block * parts :], np.zeros(1, np.int64), *done,
        )  # fmt: skip
    collect(G, g)
    if space.size <= LAST_BYTES:
        _last.keep(kind, space)
    return math.fsum(losses.tolist())
