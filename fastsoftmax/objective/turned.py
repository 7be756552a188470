"""Moments of features in another basis, weighted by the curvature of each class: products that BLAS does on threads."""

from typing import TYPE_CHECKING, Any

import numpy as np

from fastsoftmax.engine import threads
from fastsoftmax.engine.blas import on_threads
from fastsoftmax.objective.base import Array

if TYPE_CHECKING:
    from fastsoftmax.objective.softmax import SoftmaxObjective

CHUNKS = 8  # of rows, which threads share


def turned_moments(objective: "SoftmaxObjective", p: Array, mean: Array, vectors: Array) -> tuple[Array, Array, Array]:
    """(sum_i w_ik (r,), sum_i w_ik z_i (r, m), sum_i w_ik z_i^2) of z_i = (x_i - mean) vectors.

    w_ik = s_i p_ik (1 - p_ik); p is (n, r), of the compute type, as mean (m,) and vectors (m, m) are.
    """
    own, n = objective.weight, objective.n
    bounds = [n * i // CHUNKS for i in range(CHUNKS + 1)]
    results: list[Any] = [None] * CHUNKS

    def sums(i: int) -> None:
        first, last = bounds[i : i + 2]
        w = p[first:last] * (1 - p[first:last])
        w = (w * own[first:last, None]).astype(p.dtype) if len(own) else w
        X = np.empty((last - first, objective.m), objective.dtype)
        objective.design.block(first, last, X)
        X -= mean
        z = X @ vectors
        results[i] = w.sum(0, dtype=np.float64), w.T @ z, w.T @ np.square(z, out=z)

    on_threads(threads.threads_here(), sums, range(CHUNKS))
    share, first, second = (sum(column[1:], column[0]) for column in zip(*results, strict=True))
    return share, first, second
