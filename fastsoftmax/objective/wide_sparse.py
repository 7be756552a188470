"""The pass over sparse X with very many features: the two stages of `kernels.wide`."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsoftmax.data.csr import CSR
from fastsoftmax.engine import memory, threads
from fastsoftmax.kernels import wide
from fastsoftmax.kernels.cross_entropy import STATS, Targets
from fastsoftmax.kernels.updates import add_partials

SLICE = 2e9  # floating-point operations of a call of the driver, so that Ctrl-C works
Array = NDArray[Any]


def _shares(indptr: Array, start: int, stop: int, workers: int) -> NDArray[np.int64]:
    """Bounds of ranges of start..stop that have about as many pairs each; bits do not depend on it."""
    wanted = indptr[start] + (indptr[stop] - indptr[start]) * np.arange(1, workers) // workers
    return np.concatenate([[start], np.searchsorted(indptr[start:stop], wanted) + start, [stop]]).astype(np.int64)


def sweep(
    design: CSR, dtype: np.dtype[Any], targets: Targets, c: int, W: Array, b: Array, proba: Array | None = None
) -> tuple[Array, Array, float]:
    """(gradient as the weights lie, residual's sums, loss); with proba, the Hessian times the direction W, b.

    The gradient takes the place of W.
    """
    plan, across = design.arrange(dtype, c), design.transposed()
    layout, turned = design.layout(dtype, plan), across.layout(dtype, across.arrange(dtype, c))
    n, m, classes, B = design.n, design.m, plan.classes, plan.block
    blocks = -(-n // B)
    workers = threads.worker_count(4.0 * n * design.pairs * classes)
    R = memory.aligned((blocks * B * classes,), dtype, None)
    G = W  # of which only residuals are made: its memory is the gradient's, which for text is half of what a pass takes
    g, losses = memory.aligned((max(1, blocks), classes), dtype), np.zeros(blocks)
    scratch = (
        memory.aligned((workers, classes * B), dtype),
        memory.aligned((workers, B), np.int64),
        memory.aligned((workers, STATS * B), dtype),
        memory.aligned((workers, B), np.float64),
        memory.aligned((workers, B), np.float64),
    )
    middle = (targets, W, b, c, B, np.zeros(0, dtype) if proba is None else proba, R)
    tail = (G, g.reshape(-1), losses)
    pointer = wide.wide_pointer(0, 0, 0, layout, turned, *middle, *[part[0] for part in scratch], *tail, TILE=plan.tile)
    slices = max(1, int(4.0 * n * design.pairs * classes / SLICE))
    for stage, size, indptr in ((wide.RESIDUALS, blocks, None), (wide.GRADIENT, m, turned.indptr)):
        for s in range(slices):
            start, stop = s * size // slices, (s + 1) * size // slices
            if indptr is None:
                bounds = start + (stop - start) * np.arange(workers + 1) // workers
            else:
                bounds = _shares(indptr, start, stop, workers)
            wide.wide_stage(workers, pointer, stage, bounds, layout, turned, *middle, *scratch, *tail)
    add_partials(g)
    return G, g[0], math.fsum(losses.tolist())
