"""Approximate inverses of the Hessian, symmetric and positive definite, made of sums over rows of x x'.

The Hessian of softmax regression is sum_i (diag(p_i) - p_i p_i') kron x_i x_i' / S plus the penalty. Its blocks on the
diagonal, one a class, are weighted Gram matrices. Adding the same vector to all classes changes no probability, so along
these directions blocks are far too large: they are projected out on both sides. On MNIST at C = 1 a gap of 1e-4 takes
36 passes over the data with projected blocks, 90 without the projection, and 130 with one block for all classes.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from fastsoftmax._jit import get_num_threads
from fastsoftmax.problem import Problem

Array = NDArray[Any]
Preconditioner = Callable[[Array], Array]
BLOCK_BYTES = 256 << 20  # of all factors
ROWS = 8  # times as many rows as a block has columns are enough to build it: 6000 of MNIST's 60000
PASSES = 25  # what building may cost, in passes over the data


def _factor(H: Array) -> Array:
    """Cholesky factor of a block, each entry of its diagonal raised by as much as rounding may have taken from it."""
    diagonal, jitter = np.arange(len(H)), 8 * float(np.finfo(H.dtype).eps)
    raised = np.maximum(H[diagonal, diagonal], np.finfo(H.dtype).tiny)
    potrf = lapack.spotrf if H.dtype == np.float32 else lapack.dpotrf
    H = H.T  # Fortran order: LAPACK then works in place, and what was above the diagonal is below it
    for _ in range(20):
        trial = H.copy(order="F")
        trial[diagonal, diagonal] += raised * H.dtype.type(jitter)
        factor, info = potrf(trial, lower=1, clean=0, overwrite_a=1)
        if info == 0:
            return np.asarray(factor)
        jitter *= 10
    raise np.linalg.LinAlgError("a block of the Hessian is not positive: X has values that are not finite")


class Blocks:
    """One Cholesky factor a class, or one for all of them."""

    def __init__(self, problem: Problem, H: Array) -> None:
        self.problem = problem
        with ThreadPoolExecutor(max(1, get_num_threads())) as pool:
            self.factors = list(pool.map(_factor, H))
        self.solve = lapack.spotrs if H.dtype == np.float32 else lapack.dpotrs
        self.dtype = H.dtype

    def __call__(self, vector: Array) -> Array:
        problem, result = self.problem, np.empty_like(vector)
        coef, intercept = problem.split(vector)
        both = np.concatenate([coef, intercept[:, None]], 1) if len(intercept) else coef.copy()
        size = float(np.abs(both).max()) or 1.0  # float32 has no room for what is tiny
        both /= size
        if problem.gauge:
            both -= both.mean(0)
        both = both.astype(self.dtype, copy=False)
        if len(self.factors) == 1:
            solved = self.solve(self.factors[0], both.T, lower=1)[0].T
        else:
            solved = np.stack([self.solve(f, b, lower=1)[0] for f, b in zip(self.factors, both, strict=True)])
        solved = solved.astype(np.float64)
        if problem.gauge:
            solved -= solved.mean(0)
        solved *= size
        to, shift = problem.split(result)
        to[...] = solved[:, : problem.m]
        if len(intercept):
            shift[...] = solved[:, problem.m]
        return result


class Diagonal:
    """For features by the ten thousand: the diagonal, where probabilities are the shares of the classes."""

    def __init__(self, problem: Problem) -> None:
        weight = problem.targets.kernel.weight
        _, squares = problem.objective.design.moments(weight, problem.objective.design.shift)
        squares = squares * problem.objective.design.scale**2 / problem.targets.total
        spread = np.maximum(spreads(problem), 1e-3 / problem.c)
        self.inverse = np.empty(problem.size)
        coef, intercept = problem.split(self.inverse)
        coef[...] = 1 / (spread[:, None] * squares + problem.penalty2 + 1e-12)
        if len(intercept):
            intercept[...] = 1 / spread

    def __call__(self, vector: Array) -> Array:
        return self.inverse * vector


def spreads(problem: Problem) -> Array:
    """p (1 - p) of each row of parameters, p the share of its class."""
    p = problem.priors()
    return np.asarray((p * (1 - p))[-problem.r :])


def affordable_rows(problem: Problem, blocks: int) -> int:
    """How many rows to build blocks from, 0 if that takes too much memory or time."""
    n, M = problem.design.n, problem.m + problem.fit_intercept
    if blocks * M * M * problem.dtype.itemsize > BLOCK_BYTES:
        return 0
    rows = min(n, max(1000, ROWS * M))
    cost = 1.0 * blocks * rows * M * M
    return rows if cost <= PASSES * 4.0 * n * problem.objective.design.pairs * problem.c or cost < 1e9 else 0


def spaced(n: int, count: int) -> NDArray[np.int64]:
    """`count` of n rows, evenly spaced: no random numbers, and of data that are sorted a fair share of each part."""
    return np.arange(count, dtype=np.int64) * n // count


def _part(problem: Problem, rows: int) -> Problem:
    """The problem over so many of its rows, with the same penalties."""
    if rows == problem.design.n:
        return problem
    return problem.subsample(spaced(problem.design.n, rows)).like(l1=problem.l1, l2=problem.l2)


def mean_gram(problem: Problem) -> Array:
    """sum_i s_i x_i x_i' / S over some rows, on and above the diagonal; without a penalty."""
    rows = affordable_rows(problem, 1)
    return _part(problem, rows).blocks(np.ones((1, rows), problem.dtype), penalty=False)[0]


def shared(problem: Problem) -> Preconditioner:
    """The Gram matrix of X for all classes, scaled as at probabilities that are all alike; exact at theta = 0."""
    rows = affordable_rows(problem, 1)
    if rows == 0:
        return Diagonal(problem)
    spread = 0.25 if problem.binary else 1 / problem.c
    return Blocks(problem, _part(problem, rows).blocks(np.full((1, rows), spread, problem.dtype)))


def per_class(problem: Problem, theta: Array) -> Preconditioner | None:
    """One block a class, at theta; None where that takes too much memory or time."""
    rows = affordable_rows(problem, problem.r)
    if rows == 0:
        return None
    part = _part(problem, rows)
    p = part.probabilities(theta)[:, -problem.r :].T
    return Blocks(problem, part.blocks(np.ascontiguousarray(p * (1 - p))))
