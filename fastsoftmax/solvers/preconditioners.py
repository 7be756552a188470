"""Approximate inverses of the Hessian, symmetric and positive definite, made of sums over rows of x x'.

The Hessian of softmax regression is sum_i (diag(p_i) - p_i p_i') kron x_i x_i' / S plus the penalty. Its blocks on
the diagonal, one a class, are weighted Gram matrices. Adding the same vector to all classes changes no probability, so
along these directions blocks are far too large: they are projected out on both sides. In a prototype on MNIST, C = 1, a
gap of 1e-4 took 41 passes over the data with projected blocks, over 90 without the projection, and some 130 with one
block for all classes.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from fastsoftmax import _jit
from fastsoftmax._blas import on_threads
from fastsoftmax._simd import LANE_BYTES
from fastsoftmax.kernels import whiten
from fastsoftmax.problem import Problem
from fastsoftmax.vectors import in_blocks

Array = NDArray[Any]
Preconditioner = Callable[[Array], Array]
BLOCK_BYTES = 256 << 20  # of all factors
SHARPER = 100  # times less curvature there may be at the optimum than where probabilities are all alike
ROWS = 8  # times as many rows as a Gram matrix has columns are enough for it: 6000 of MNIST's 60000
MISSED = 4  # times more curvature than rows of a sample show
RAISED = {4: 1e-5, 8: 1e-9}  # share of the diagonal that is added to it, for a type of so many bytes
UNSEEN = 1e-2  # of a class's mean curvature: for columns of which the rows that weigh most show far less
LOOKED_AT = 32 << 20  # probabilities from which the rows that weigh most are chosen: n x c of them may not fit memory
TOGETHER = 3  # times as many rows, the same for all classes, take no longer than some for each
CHEAP = 2e9  # operations that blocks may take in any case: 10 ms
WEIGHTY = 2  # and so many for a class, if they are the ones that weigh most
RARE = 30  # times the penalty counts in a diagonal: as in `shared`, and text then takes half the iterations
ITERATIONS = 25  # what building may cost at once, in iterations of L-BFGS


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
            out[:, : len(H)] = inverse  # 0 above the diagonal
            return
        jitter *= 10
    raise np.linalg.LinAlgError("a block of the Hessian is not positive: X has values that are not finite")


class Blocks:
    """The inverse of one Cholesky factor a class, or of one for all of them."""

    def __init__(self, problem: Problem, H: Array) -> None:
        self.problem, self.dtype, (count, self.M, _) = problem, H.dtype, H.shape
        self.gauge = problem.gauge and not problem.l1
        lanes = LANE_BYTES // H.dtype.itemsize
        self.ld = -(-self.M // lanes) * lanes
        self.inverse = _jit.aligned((count, self.M, self.ld), H.dtype)
        on_threads(_jit.get_num_threads(), _invert, self._raised(H), self.inverse)
        self.x, self.z = (_jit.aligned((problem.r, self.ld), H.dtype) for _ in range(2))

    def _raised(self, H: Array) -> Array:
        """With a trace of the usual curvature: where rows are decided, only rounding is left of a gradient."""
        problem, diagonal = self.problem, np.arange(self.M)
        spread = np.resize(np.maximum(spreads(problem), 1e-3 / problem.c), len(H))
        squares = np.append(problem.columns.square, [1.0] * (self.M - problem.m))
        H[:, diagonal, diagonal] += (RAISED[H.dtype.itemsize] * np.outer(spread, squares)).astype(H.dtype)
        return H

    def __call__(self, vector: Array) -> Array:
        problem, result, m = self.problem, np.empty_like(vector), self.problem.m
        coef, intercept = problem.split(vector)
        to, shift = problem.split(result)
        size = max(float(np.abs(vector).max()), 1e-300)  # float32 has no room for what is tiny
        x = self.x[:, : self.M]
        np.divide(coef, size, out=x[:, :m], casting="same_kind")
        if len(intercept):
            np.divide(intercept, size, out=x[:, m], casting="same_kind")
        if self.gauge:
            x -= x.mean(0)
        inverse, flat_x, flat_z = self.inverse.reshape(-1), self.x.reshape(-1), self.z.reshape(-1)
        workers = min(_jit.worker_count(2.0 * problem.r * self.M * self.M), problem.r)
        pointer = whiten.whiten_pointer(0, 0, inverse, 1, self.M, self.ld, flat_x, flat_z)
        whiten.whiten(workers, pointer, inverse, len(self.inverse), self.M, self.ld, flat_x, flat_z, problem.r)
        z = self.z[:, : self.M]
        if self.gauge:
            z -= z.mean(0)
        np.multiply(z[:, :m], size, out=to)
        if len(intercept):
            np.multiply(z[:, m], size, out=shift)
        return result


class Diagonal:
    """For features by the ten thousand: the diagonal, where probabilities are the shares of the classes."""

    def __init__(self, problem: Problem) -> None:
        squares, spread = problem.columns.square, np.maximum(spreads(problem), 1e-3 / problem.c)
        self.inverse = np.empty(problem.size)
        coef, intercept = problem.split(self.inverse)
        coef[...] = 1 / (spread[:, None] * squares + RARE * problem.penalty2 + 1e-12)
        if len(intercept):
            intercept[...] = 1 / spread

    def __call__(self, vector: Array) -> Array:
        result = np.empty_like(vector)
        in_blocks(lambda at: np.multiply(self.inverse[at], vector[at], out=result[at]), len(vector))
        return result


def spreads(problem: Problem) -> Array:
    """p (1 - p) of each row of parameters, p the share of its class."""
    p = problem.priors()
    return np.asarray((p * (1 - p))[-problem.r :])


def cost(problem: Problem, blocks: int) -> float:
    """What building blocks costs, in iterations of L-BFGS: by shapes, never by a clock, so that runs repeat.

    At the speeds of one machine: 2e11 operations a second for Gram matrices, 5e10 for Cholesky factors, 2.5e11 for a
    pass over the data, a millisecond an iteration besides, and two for each block's choice of rows.
    """
    M = problem.m + problem.fit_intercept
    if blocks * M * M * problem.dtype.itemsize > BLOCK_BYTES:
        return np.inf
    rows = min(problem.design.n, max(WEIGHTY * M, int(CHEAP / (blocks * M * M)))) if blocks > 1 else rows_for(problem)
    build = blocks * M * M * (rows / 2e11 + M / 3 / 5e10) + (blocks - 1) * 2e-3
    return float(build / (4.0 * problem.design.n * problem.objective.design.pairs * problem.c / 2.5e11 + 1e-3))


def rows_for(problem: Problem) -> int:
    """How many rows blocks are built from."""
    M = problem.m + problem.fit_intercept
    return min(problem.design.n, max(1000, ROWS * M, int(CHEAP / (M * M))))


def spaced(n: int, count: int) -> NDArray[np.int64]:
    """`count` of n rows, evenly spaced: no random numbers, and of data that are sorted a fair share of each part."""
    return np.arange(count, dtype=np.int64) * n // count


def _part(problem: Problem, rows: int) -> Problem:
    """The problem over so many of its rows, with the same penalties."""
    if rows == problem.design.n:
        return problem
    return problem.subsample(spaced(problem.design.n, rows)).like(l1=problem.l1, l2=problem.l2)


def mean_gram(problem: Problem) -> Array:
    """sum_i s_i x_i x_i' / S over some rows, on and above the diagonal; without a penalty. Found once."""
    key = f"gram {problem.dtype}"
    if key not in problem.cache:
        rows = rows_for(problem)
        ones = np.ones((1, rows), problem.dtype)
        problem.cache[key] = _part(problem, rows).blocks(ones, penalty=False)[0]
    return np.asarray(problem.cache[key])


def floored(problem: Problem, H: Array, shares: Array) -> None:
    """Raises the diagonals of H to their shares of the columns' mean squares where the rows they are from miss much.

    A column that only rows outside of the sample touch, or where one of them holds nearly all of the sum, would seem to
    have no curvature.
    """
    diagonal = np.arange(problem.m)
    for block, share in zip(H, shares, strict=True):
        wanted, seen = share * problem.columns.square, block[diagonal, diagonal]
        block[diagonal, diagonal] = np.where(seen * MISSED < wanted, wanted, seen)


def shared(problem: Problem) -> Preconditioner:
    """The Gram matrix of X for all classes, scaled as at probabilities that are all alike.

    As these sharpen, curvature falls, and the penalty's share of it rises: where the penalty is weak it counts up to a
    hundred times. A linear probe with 200 classes then took 16 iterations instead of 24.
    """
    if cost(problem, 1) > 2 * ITERATIONS:
        return Diagonal(problem)
    H = mean_gram(problem) * problem.dtype.type(0.25 if problem.binary else 1 / problem.c)
    floored(problem, H[None], np.array([0.25 if problem.binary else 1 / problem.c]))
    diagonal = np.arange(problem.m)
    penalty = problem.penalty2.astype(problem.dtype)
    strength = np.median(H[diagonal, diagonal] / np.maximum(penalty, np.finfo(problem.dtype).tiny))
    H[diagonal, diagonal] += penalty * problem.dtype.type(np.clip(strength, 1, SHARPER))
    return Blocks(problem, H[None])


def weighty_rows(weights: Array, count: int) -> tuple[Array, Array]:
    """About `count` rows that carry most of the weight, and weights under which they stand for all.

    Systematic sampling with probabilities in proportion to the weights (Madow 1949), from the middle of each interval:
    nothing is random. Rows that weigh more than an interval are always there.
    """
    if count >= len(weights):
        return np.arange(len(weights)), weights
    share = np.minimum(1.0, count * weights / max(float(weights.sum()), 1e-300))
    for _ in range(3):  # what is certain leaves its share to the others
        certain = share >= 1
        rest = float(weights[~certain].sum())
        left = max(count - int(certain.sum()), 1)
        share = np.where(certain, 1.0, np.minimum(1.0, left * weights / max(rest, 1e-300)))
    rank = np.floor(np.cumsum(share) + 0.5)
    rows = np.flatnonzero(np.diff(rank, prepend=0.0) > 0)
    return rows, weights[rows] / share[rows]


def class_blocks(problem: Problem, theta: Array, operations: float = CHEAP) -> Array:
    """One block a class, at theta, each from the rows that weigh most in it, or from all where that is cheap.

    On and above the diagonals, without the penalty.
    """
    M, n = problem.m + problem.fit_intercept, problem.design.n
    looked_at = spaced(n, min(n, max(LOOKED_AT // problem.c, WEIGHTY * M)))
    part = _part(problem, len(looked_at))
    p, share = part.probabilities(theta)[:, -problem.r :], problem.targets.total / part.targets.total
    count = max(WEIGHTY * M, int(operations / (problem.r * M * M)))
    if len(looked_at) <= TOGETHER * count:
        return part.blocks(np.ascontiguousarray((p * (1 - p)).T), penalty=False)
    H, shares = np.empty((problem.r, M, M), problem.dtype), np.empty(problem.r)
    for k in range(problem.r):
        column = p[:, k].astype(np.float64)
        every = part.row_weights(column * (1 - column)) * share
        rows, weights = weighty_rows(every, count)
        H[k], shares[k] = problem.gram_of(looked_at[rows], weights), every.sum() / problem.targets.total
    floored(problem, H, shares * UNSEEN)
    return H


def per_class(problem: Problem, theta: Array, operations: float = CHEAP) -> Preconditioner:
    """The inverses of `class_blocks`, which are remembered."""
    problem.cache["blocks"] = class_blocks(problem, theta, operations)
    problem.cache.pop("factored", None)
    return remembered(problem)


def remembered(problem: Problem) -> Preconditioner:
    """The blocks that were built last, perhaps for another strength of the penalty, or another fold of the data."""
    l2, factored = problem.cache.get("factored", (None, None))
    if factored is None or abs(problem.l2 - l2) > 0.1 * problem.l2:
        H = problem.cache["blocks"].copy()
        diagonal = np.arange(problem.m)
        H[:, diagonal, diagonal] += problem.penalty2.astype(H.dtype)
        factored = Blocks(problem, H)
        problem.cache["factored"] = problem.l2, factored
    return factored  # type: ignore[no-any-return]
