"""Which rows curvature is looked at, and Gram matrices of them."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from fastsoftmax.objective import columns
from fastsoftmax.objective.problem import Problem

Array = NDArray[Any]
ROWS = 8  # times as many rows as a Gram matrix has columns are enough for it: 6000 of MNIST's 60000
MISSED = 4  # times more curvature than rows of a sample show
RAISED = {4: 1e-5, 8: 1e-9}  # share of the diagonal that is added to it, for a type of so many bytes
UNSEEN = 1e-2  # of a class's mean curvature: for columns of which the rows that weigh most show far less
LOOKED_AT = 32 << 20  # probabilities from which the rows that weigh most are chosen: n x c of them may not fit memory
EVEN = 10.0  # times tol
USUAL = 1e-3  # of the root of the mean square
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
    return min(problem.data.most, max(1000, ROWS * M, int(CHEAP / (M * M))))


def usual_sizes(problem: Problem) -> Array:
    """Of theta's features (m,), found once."""
    if "usual" not in problem.own:
        problem.own["usual"] = columns.usual_sizes(problem.objective, problem.columns, problem.fit_intercept)
    return np.asarray(problem.own["usual"])


def well_behaved(problem: Problem) -> bool:
    """Whether products with the Hessian can be trusted to miss no direction: no column hides another, nor its own rows.

    Some rows tell: columns are not nearly collinear, and in none of them few cells are far larger than the others.
    """
    if (usual_sizes(problem) < USUAL * np.sqrt(problem.columns.square)).any():
        return False
    G = mean_gram(problem.like(dtype=np.float64))
    diagonal = np.diagonal(G)
    scale = 1 / np.sqrt(np.where(diagonal > 0, diagonal, np.inf))
    G = G * scale * scale[:, None]
    np.fill_diagonal(G, 1)
    norm = float(np.abs(np.triu(G) + np.triu(G, 1).T).sum(0).max())
    factor, info = lapack.dpotrf(G)
    least = 800 * len(G) * float(np.finfo(np.float64).eps)
    return bool(info == 0 and lapack.dpocon(factor, norm)[0] * norm >= least)


def even(problem: Problem, gradient: Array, tol: float) -> bool:
    """Whether the gradient is small in features as large as they usually are.

    One row far larger than all others, and decided, makes it small by the size of its column alone.
    """
    with np.errstate(over="ignore"):
        return not (np.abs(problem.split(gradient)[0]) > EVEN * tol * usual_sizes(problem)).any()


def part_of(problem: Problem, rows: int) -> Problem:
    """The problem over so many of its rows, with the same penalties."""
    if rows == problem.n and problem.objective.in_memory:
        return problem
    return problem.subsample(rows).like(l1=problem.l1, l2=problem.l2)


def mean_gram(problem: Problem) -> Array:
    """sum_i s_i x_i x_i' / S over some rows, on and above the diagonal; without a penalty. Found once."""
    key = f"gram {problem.dtype}"
    if key not in problem.cache:
        rows = rows_for(problem)
        ones = np.ones((1, rows), problem.dtype)
        problem.cache[key] = part_of(problem, rows).blocks(ones)[0]
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
