"""Weighted Gram matrices of a design: the blocks of which Hessians, and factors that precondition, are made."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsoftmax.data.design import Design
from fastsoftmax.engine import memory, threads
from fastsoftmax.engine.simd import REGISTER_BYTES
from fastsoftmax.kernels import gram

BLOCK = 384  # rows
SLICE = 4e9  # floating-point operations of a call of the driver, so that Ctrl-C works
Array = NDArray[Any]


def grams(design: Design, dtype: np.dtype[Any], weights: Array, intercept: bool) -> Array:
    """sum_i w_ki x_i x_i' for each row k of weights (K, n), of the mapped features and, with an intercept, a 1.

    Returns
    -------
    ndarray of shape (K, M, M)
        Right on and above the diagonals; below, entries may be missing.
    """
    K, n = weights.shape
    m, M = design.m, design.m + intercept
    width, height = 2 * (REGISTER_BYTES // dtype.itemsize), gram.HEIGHT
    H, counter = np.zeros((K, M, M), dtype), np.zeros(1, np.int64)
    panels = -(-M // height)
    groups = -(-panels // gram.GROUP)
    items = K * groups
    workers = min(threads.worker_count(1.0 * min(n, BLOCK) * M * M * K), items)
    X = np.ones((BLOCK, M), dtype)
    wide = memory.aligned((BLOCK * -(-M // width) * width,), dtype)
    tall = memory.aligned((BLOCK * -(-M // height) * height,), dtype)
    own = memory.aligned((workers, gram.GROUP * height * BLOCK), dtype)
    tile, flat = memory.aligned((workers, height * width), dtype), H.reshape(-1)
    for start in range(0, n, BLOCK):
        stop = min(n, start + BLOCK)
        count = stop - start
        design.block(start, stop, X[:count, :m])
        gram.pack(X.reshape(-1), count, width, M, wide)
        gram.pack(X.reshape(-1), count, height, M, tall)
        weight = np.ascontiguousarray(weights[:, start:stop], dtype).reshape(-1)
        pointer = gram.gram_pointer(0, 0, wide, tall, weight, count, count, M, own[0], tile[0], flat)
        share = max(1, int(SLICE / (1.0 * count * M * M) * groups))
        for first in range(0, items, share):
            upto = min(items, first + share)
            gram.gram(workers, pointer, first, upto, wide, tall, weight, count, count, M, own, tile, flat, counter)
    return H
