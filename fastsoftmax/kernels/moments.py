"""Weighted sums and sums of squares of the columns of X, in float64: means, deviations, and their size."""

from typing import Any

import numpy as np
from numba import prange

from fastsoftmax.engine.jit import Driver, Pointer, by_layout
from fastsoftmax.engine.simd import borrow, decoded
from fastsoftmax.kernels.csr import CSR
from fastsoftmax.kernels.dense import Dense


def dense_moments(
    design: Any, start: int, stop: int, weight: Any, center: Any, sums: Any, squares: Any, stored: Any
) -> None:
    """Of rows start..stop, each less `center`."""
    m = design.m
    for r in range(start, stop):
        w, row = weight[r] if len(weight) else 1.0, borrow(design.X, r * m, m)
        for j in range(m):
            d = np.float64(decoded(row[j])) - center[j]
            sums[j] += w * d
            squares[j] += w * d * d


def csr_moments(
    design: Any, start: int, stop: int, weight: Any, center: Any, sums: Any, squares: Any, stored: Any
) -> None:
    """As `dense_moments`, of the pairs alone; stored: what the rows that have one weigh."""
    for r in range(start, stop):
        w = weight[r] if len(weight) else 1.0
        for p in range(design.indptr[r], design.indptr[r + 1]):
            j = design.indices[p]
            d = np.float64(decoded(design.data[p])) - center[j]
            sums[j] += w * d
            squares[j] += w * d * d
            stored[j] += w


moments = by_layout({Dense: dense_moments, CSR: csr_moments})


def _moments(
    design: Any, start: int, stop: int, weight: Any, center: Any, sums: Any, squares: Any, stored: Any
) -> float:
    moments(design, start, stop, weight, center, sums, squares, stored)
    return 0.0


moments_pointer = Pointer(_moments)


@Driver
def all_moments(  # type: ignore[no-untyped-def]
    workers, chunk, chunks, design, n, weight, center, sums, squares, stored
):
    """Chunk q of the rows into sums[q], squares[q] and stored[q]; chunks go evenly over the workers."""
    for w in prange(workers):
        for q in range(w * chunks // workers, (w + 1) * chunks // workers):
            start, stop = np.int64(q * n // chunks), np.int64((q + 1) * n // chunks)
            chunk(design, start, stop, weight, center, sums[q], squares[q], stored[q])
