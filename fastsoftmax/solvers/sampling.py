"""Which rows curvature is looked at, and Gram matrices of them."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsoftmax.problem import Problem

Array = NDArray[Any]
ROWS = 8  # times as many rows as a Gram matrix has columns are enough for it: 6000 of MNIST's 60000
MISSED = 4  # times more curvature than rows of a sample show
RAISED = {4: 1e-5, 8: 1e-9}  # share of the diagonal that is added to it, for a type of so many bytes
UNSEEN = 1e-2  # of a class's mean curvature: for columns of which the rows that weigh most show far less
LOOKED_AT = 32 << 20  # probabilities from which the rows that weigh most are chosen: n x c of them may not fit memory
MEASURED = 1 << 20  # entries of X that tell how large features usually are
CHEAP = 2e9  # operations that blocks may take in any case: 10 ms


class Curvature(NamedTuple):
    """Of each class at some probabilities, w_ik = s_i p_ik (1 - p_ik)."""

    share: Array  # (r,) sum_i w_ik / S
    mean: Array  # (r, m) of the features under these weights
    square: Array  # (r, m) sum_i w_ik x_ij^2 / S of the features less this mean


def spreads(problem: Problem) -> Array:
    """p (1 - p) of each row of parameters, p the share of its class."""
    p = problem.priors()
    return np.asarray((p * (1 - p))[-problem.r :])


def trace(problem: Problem, dtype: np.dtype[Any]) -> Array:
    """Of the usual curvature (r,): what is left at least where all rows are decided, and a gradient is rounding."""
    return np.asarray(RAISED[dtype.itemsize] * np.maximum(spreads(problem), 1e-3 / problem.c))


def uniform(problem: Problem) -> float:
    """p (1 - p) where all classes are alike; of many, 1 / c, for what moves all of them alike is projected out."""
    return 0.25 if problem.binary else 1 / problem.c


def rows_for(problem: Problem) -> int:
    """How many rows blocks are built from."""
    M = problem.m + problem.fit_intercept
    return min(problem.design.n, max(1000, ROWS * M, int(CHEAP / (M * M))))


def spaced(n: int, count: int) -> NDArray[np.int64]:
    """`count` of n rows, evenly spaced: no random numbers, and of data that are sorted a fair share of each part."""
    return np.arange(count, dtype=np.int64) * n // count


def usual_sizes(problem: Problem) -> Array:
    """How far features (m,) usually are from their median where they differ from it, in some rows; inf where none do.

    Of features as they are in X: a mean may be that of one cell far larger than all others.
    """
    n, m, design = problem.design.n, problem.m, problem.objective.design
    count = min(n, max(1, MEASURED // m))
    X = np.empty((count, m))
    design.rows(spaced(n, count)).mapped(design.scale, np.zeros(m)).block(0, count, X)
    X -= np.median(X, 0)
    np.abs(X, out=X).sort(0)
    zeros = (X == 0).sum(0)
    usual = X[np.minimum((zeros + count) // 2, count - 1), np.arange(m)]
    return np.where(usual > 0, usual, np.inf)


def part_of(problem: Problem, rows: int) -> Problem:
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
        problem.cache[key] = part_of(problem, rows).blocks(ones, penalty=False)[0]
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
