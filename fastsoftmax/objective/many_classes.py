"""The pass over the data where classes are many: stages of `kernels.many`, block of rows by block of rows."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsoftmax.engine import memory, threads
from fastsoftmax.engine.simd import LANE_BYTES, REGISTER_BYTES
from fastsoftmax.kernels import many
from fastsoftmax.kernels.cross_entropy import Targets
from fastsoftmax.kernels.math import ordered_sum

LOGIT_BYTES = 4 << 20  # of a block of rows
PANEL_BYTES = 4 << 20  # of packed weights
FEATURES = 1024  # that are packed at a time
SLACK = 16  # entries: panels of residuals are packed by whole vectors, up to so many beyond the last row
Array = NDArray[Any]


def rows_per_block(c: int, m: int, itemsize: int) -> int:
    """By shapes alone. Where the weights are larger than a block's logits, more rows make up for packing them."""
    budget = max(LOGIT_BYTES, min(32 << 20, c * m * itemsize // 2))
    return max(96, min(1152, budget // (c * itemsize)) // 96 * 96)


def loss_gradient(
    X: Array, m: int, W: Array, intercept: Array | None, targets: Targets, factor: float, scale: Array, G: Array,
    g: Array,
) -> float:  # fmt: skip
    """Sum of s_i CE_i; adds factor times its gradient to G (c, m) and g (c,), all in the dtype of W.

    X is flat and of any dtype; W (c, m) are the weights of the raw features.
    """
    c, n, dtype = len(W), len(X) // m, W.dtype
    if n == 0:
        return 0.0
    lanes, width = LANE_BYTES // dtype.itemsize, 2 * (REGISTER_BYTES // dtype.itemsize)
    block, ldz = min(rows_per_block(c, m, dtype.itemsize), -(-n // 96) * 96), -(-c // (2 * lanes)) * 2 * lanes
    features = min(m, FEATURES)
    classes = min(ldz, max(1, PANEL_BYTES // (features * dtype.itemsize) // (2 * lanes)) * 2 * lanes)
    workers = threads.worker_count(4.0 * n * c * m)
    A = memory.aligned((block * -(-features // (2 * lanes)) * 2 * lanes,), dtype, None)
    B, Z = memory.aligned((classes * features,), dtype, None), memory.aligned((block * ldz + SLACK,), dtype, None)
    own = memory.aligned((workers, many.GROUP * many.HEIGHT * block + SLACK), dtype, None)
    tile = memory.aligned((workers, many.HEIGHT * width), dtype, None)
    index, logs = np.zeros((workers, 1), np.int64), memory.aligned((workers, 8), np.float64)
    bias, losses = np.zeros(ldz, dtype), np.zeros(n)
    if intercept is not None:
        bias[:c] = intercept
    flat_W, flat_G = memory.flat(W), G.reshape(-1)
    tail = (targets, factor, scale, A, B, Z, ldz)
    pointer = many.many(
        0, 0, 0, X, m, 0, 0, 0, 0, flat_W, bias, c, 0, 0, *tail, own[0], tile[0], index[0], logs[0], losses, flat_G, g
    )

    def stage(kind: int, items: int, first: int, rows: int, j: int, count: int, k: int = 0, upto: int = 0) -> None:
        many.many_stage(
            workers, pointer, kind, items, X, m, first, rows, j, count, flat_W, bias, c, k, upto, *tail, own, tile,
            index, logs, losses, flat_G, g,
        )  # fmt: skip

    packed = False
    for first in range(0, n, block):
        rows = min(block, n - first)
        panels = -(-rows // many.HEIGHT)
        for j in range(0, m, features):
            count = min(features, m - j)
            stage(many.PACK_ROWS, panels, first, rows, j, count)
            for k in range(0, c, classes):
                upto = min(classes, c - k)
                if not packed:
                    stage(many.PACK_WEIGHTS, -(-upto // width), first, rows, j, count, k, upto)
                packed = classes >= c and features == m  # then they stay
                stage(many.LOGITS, panels, first, rows, j, count, k, upto)
        stage(many.LOSSES, rows, first, rows, 0, 0)
        for j in range(0, m, features):
            count = min(features, m - j)
            stage(many.PACK_FEATURES, -(-count // width), first, rows, j, count)
            stage(many.ADJOINT, -(-c // many.HEIGHT), first, rows, j, count)
    return float(ordered_sum(losses))
