"""One block of the Hessian a class, or one for all, factored.

The Hessian of softmax regression is sum_i (diag(p_i) - p_i p_i') kron x_i x_i' / S plus the penalty. Its blocks on
the diagonal, one a class, are weighted Gram matrices. Adding the same vector to all classes changes no probability, so
along these directions blocks are far too large: they are projected out on both sides. In a prototype on MNIST, C = 1, a
gap of 1e-4 took 41 passes over the data with projected blocks, over 90 without the projection, and some 130 with one
block for all classes.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import blas, lapack

from fastsoftmax.engine import memory, threads
from fastsoftmax.engine.blas import on_threads
from fastsoftmax.engine.simd import LANE_BYTES
from fastsoftmax.kernels import whiten
from fastsoftmax.objective.problem import Problem
from fastsoftmax.solvers.sampling import (
    CHEAP,
    LOOKED_AT,
    RAISED,
    UNSEEN,
    floored,
    part_of,
    trace,
    weighty_rows,
)

Array = NDArray[Any]
BLOCK_BYTES = 256 << 20  # of all factors
TOGETHER = 3  # times as many rows, the same for all classes, take no longer than some for each
WEIGHTY = 2  # times as many rows as columns for a class, if they are the ones that weigh most


def cost(problem: Problem, blocks: int, rows: int) -> float:
    """Seconds that building takes, by shapes, never by a clock, so that runs repeat.

    At the speeds of one machine: 2e11 operations a second for Gram matrices, 5e10 for Cholesky factors, and two
    milliseconds for each block's choice of rows.
    """
    M = problem.m + problem.fit_intercept
    if blocks * M * M * problem.dtype.itemsize > BLOCK_BYTES:
        return np.inf
    return float(blocks * M * M * (rows / 2e11 + M / 3 / 5e10) + (blocks - 1) * 2e-3)


def rows_of_each(problem: Problem) -> int:
    """How many rows a block of a class is built from."""
    M = problem.m + problem.fit_intercept
    return min(problem.n, max(WEIGHTY * M, int(CHEAP / (problem.r * M * M))))


def _invert(H: Array, out: Array) -> None:
    """out = the inverse of H's Cholesky factor, each entry of the diagonal raised by what rounding may have taken.

    And by more, for where columns are collinear the gradient has nothing but rounding, which the inverse makes large.
    """
    diagonal, jitter = np.arange(len(H)), RAISED[H.dtype.itemsize]
    raised = H[diagonal, diagonal]
    empty = ~(raised > np.finfo(H.dtype).tiny)  # of a column of zeros: any number will do, its gradient is 0
    H[diagonal[empty], diagonal[empty]] = raised[empty] = 1
    potrf, trtri = (lapack.spotrf, lapack.strtri) if H.dtype == np.float32 else (lapack.dpotrf, lapack.dtrtri)
    for _ in range(20):
        trial = H.T.copy(order="F")  # what was above the diagonal is below it: LAPACK works in place
        trial[diagonal, diagonal] += raised * H.dtype.type(jitter)
        factor, info = potrf(trial, lower=1, clean=1, overwrite_a=1)
        if info == 0:
            inverse, info = trtri(factor, lower=1, overwrite_c=1)
        if info == 0 and np.isfinite(inverse[-1]).all():
            out[: len(H), : len(H)] = inverse  # 0 above the diagonal
            return
        jitter *= 10
    raise np.linalg.LinAlgError("a block of the Hessian is not positive: X has values that are not finite")


def inverted(problem: Problem, H: Array) -> Array:
    """Inverses of the Cholesky factors of blocks (K, M, M), which are changed, filled up with zeros as kernels need.

    With a trace of the usual curvature: where rows are decided, only rounding is left of a gradient.
    """
    M, diagonal, lanes = H.shape[1], np.arange(H.shape[1]), LANE_BYTES // H.dtype.itemsize
    least = np.resize(trace(problem, H.dtype), len(H))
    squares = np.append(problem.columns.square, [1.0] * (M - problem.m))
    H[:, diagonal, diagonal] += np.outer(least, squares).astype(H.dtype)
    inverse = memory.aligned((len(H), *(-(-M // size) * size for size in (whiten.TOGETHER, lanes))), H.dtype)
    on_threads(threads.threads_here(), _invert, H, inverse)
    return inverse


class Blocks:
    """What inverses of Cholesky factors, one a class or one for all of them, do with a vector of the problem."""

    def __init__(self, problem: Problem, inverse: Array) -> None:
        self.problem, self.inverse, self.gauge = problem, inverse, problem.gauge and not problem.l1
        self.M = problem.m + problem.fit_intercept
        self.x, self.z = (memory.aligned((problem.r, inverse.shape[2]), inverse.dtype) for _ in range(2))

    def __call__(self, vector: Array) -> Array:
        problem, result, m = self.problem, np.empty_like(vector), self.problem.m
        coef, intercept = problem.split(vector)
        to, shift = problem.split(result)
        size = max(float(np.abs(vector).max()), 1e-300)  # float32 has no room for what is tiny
        x, z = self.x[:, : self.M], self.z[:, : self.M]
        np.divide(coef, size, out=x[:, :m], casting="same_kind")
        if len(intercept):
            np.divide(intercept, size, out=x[:, m], casting="same_kind")
        if self.gauge:
            x -= x.mean(0)
        if len(self.inverse) == 1:
            self._by_one_for_all()
        else:
            self._by_each()
        if self.gauge:
            z -= z.mean(0)
        np.multiply(z[:, :m], size, out=to, dtype=np.float64)
        if len(intercept):
            np.multiply(z[:, m], size, out=shift, dtype=np.float64)
        return result

    def _by_each(self) -> None:
        _, M, ld = self.inverse.shape
        inverse, x, z = (array.reshape(-1) for array in (self.inverse, self.x, self.z))
        workers = min(threads.worker_count(2.0 * len(self.x) * M * M), len(self.x))
        whiten.whiten(workers, whiten.whiten_pointer(0, 0, inverse, M, ld, x, z), inverse, M, ld, x, z, len(self.x))

    def _by_one_for_all(self) -> None:
        """Of 200 classes and 769 columns BLAS takes a third of the time of rows one by one."""
        multiply = blas.strmm if self.inverse.dtype == np.float32 else blas.dtrmm
        upper, part = self.inverse[0, : self.M].T, np.array(self.x[:, : self.M]).T  # in columns, as BLAS reads them
        part = multiply(1.0, upper, part, trans_a=1, overwrite_b=1)
        self.z[:, : self.M] = multiply(1.0, upper, part, overwrite_b=1).T


def class_blocks(problem: Problem, theta: Array, operations: float | None = None) -> Array:
    """One block a class, at theta, each from the rows that weigh most in it, or from all where that is cheap.

    On and above the diagonals, without the penalty.
    """
    M = problem.m + problem.fit_intercept
    part = part_of(problem, min(problem.data.most, max(LOOKED_AT // problem.c, WEIGHTY * M)))
    p = part.probabilities(theta)[:, -problem.r :]
    count = max(WEIGHTY * M, int((operations or CHEAP) / (problem.r * M * M)))
    if part.n <= TOGETHER * count:
        return part.blocks(np.ascontiguousarray((p * (1 - p)).T))
    H, shares = np.empty((problem.r, M, M), problem.dtype), np.empty(problem.r)
    for k in range(problem.r):
        column = p[:, k].astype(np.float64)
        every = part.sample.weighed(column * (1 - column))
        H[k], shares[k] = part.gram_of(*weighty_rows(every, count)), every.sum() / part.total
    floored(problem, H, shares * UNSEEN)
    return H
