"""Approximate inverses of the Hessian, symmetric and positive definite: which there are, and which one pays.

At first one that is the same for all classes; from a point on, by the probabilities there, the blocks of the classes
where these are cheap, else their diagonals in a basis that suits the features, of features by the ten thousand their
own. What was built is kept, for other strengths of the penalty, compute types, and folds of the data.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsoftmax.objective.problem import Problem
from fastsoftmax.solvers import blocks, spectral
from fastsoftmax.solvers.blocks import Blocks, class_blocks, inverted
from fastsoftmax.solvers.diagonal import Diagonal, at_point, at_priors
from fastsoftmax.solvers.sampling import floored, mean_gram, rows_for, uniform
from fastsoftmax.solvers.spectral import SHARPER, Spectral

Array = NDArray[Any]
Preconditioner = Callable[[Array], Array]
ITERATIONS = 25  # what building may cost at once, in iterations of L-BFGS
REFACTORED = 4.0  # times another penalty, from which blocks are factored again


def _iterations(problem: Problem, seconds: float) -> float:
    """How many of L-BFGS take as long: at 2.5e11 operations a second for a pass over the data, and 1 ms besides."""
    return seconds / (problem.data.operations / 2.5e11 + 1e-3)


def shared(problem: Problem) -> Preconditioner:
    """The Gram matrix of X for all classes, scaled as at probabilities that are all alike; too wide, its diagonal.

    As these sharpen, curvature falls, and the penalty's share of it rises: where the penalty is weak it counts up to a
    hundred times. A linear probe with 200 classes then took 16 iterations instead of 24.
    """
    if _iterations(problem, blocks.cost(problem, 1, rows_for(problem))) > 2 * ITERATIONS:
        return Diagonal(problem, at_priors(problem))
    H = mean_gram(problem) * problem.dtype.type(uniform(problem))
    floored(problem, H[None], np.array([uniform(problem)]))
    diagonal = np.arange(problem.m)
    penalty = problem.penalty2.astype(problem.dtype)
    strength = np.median(H[diagonal, diagonal] / np.maximum(penalty, np.finfo(problem.dtype).tiny))
    H[diagonal, diagonal] += penalty * problem.dtype.type(np.clip(strength, 1, SHARPER))
    return Blocks(problem, inverted(problem, H[None]))


def _kind(problem: Problem, patience: float) -> tuple[str, float]:
    """What would be built, and what that costs, in iterations."""
    price = _iterations(problem, blocks.cost(problem, problem.r, blocks.rows_of_each(problem)))
    if price <= max(ITERATIONS, patience) or (price < np.inf and problem.cache.get("kept", ("",))[0] == "blocks"):
        return "blocks", price
    price = _iterations(problem, spectral.cost(problem))
    return ("spectral", price) if price <= 2 * ITERATIONS else ("diagonal", 2.0)


def cost(problem: Problem, patience: float = 0.0) -> float:
    """What `sharper` costs, in iterations of L-BFGS."""
    return _kind(problem, patience)[1]


def coarse(problem: Problem) -> bool:
    """Whether nothing but a diagonal will ever be built: there are too many features."""
    prices = blocks.cost(problem, problem.r, blocks.rows_of_each(problem)), spectral.cost(problem)
    return not min(prices) < np.inf


def pays(problem: Problem, patience: float = 0.0) -> bool:
    """Whether `sharper` is better than what all classes share."""
    return _kind(problem, patience)[0] != "spectral" or not spectral.alike(problem)


def sharper(problem: Problem, theta: Array, patience: float = 0.0, operations: float | None = None) -> Preconditioner:
    """By the probabilities at theta; blocks of the classes where they cost few iterations, or at most `patience`."""
    kind, _ = _kind(problem, patience)
    if kind == "blocks":
        built: Any = class_blocks(problem, theta, operations)
    elif kind == "spectral":
        built = spectral.curvature(problem, spectral.basis(problem), theta)
    else:
        built = at_point(problem, theta)
    problem.cache["kept"] = kind, built
    problem.cache.pop("factored", None)
    found = remembered(problem)
    assert found is not None
    return found


def remembered(problem: Problem) -> Preconditioner | None:
    """What was built last, with the penalty of the problem; None if nothing was."""
    kind, built = problem.cache.get("kept", (None, None))
    if kind == "spectral":
        return Spectral(problem, *built)
    if kind == "diagonal":
        return Diagonal(problem, built)
    return _factored(problem, built) if kind else None


def _factored(problem: Problem, built: Array) -> Preconditioner:
    """The inverses of blocks; those that were found for nearly the same penalty."""
    l2, inverse = problem.cache.get("factored", (None, None))
    if inverse is None or not _alike(l2, problem.l2):
        H = built.copy()
        diagonal = np.arange(problem.m)
        H[:, diagonal, diagonal] += problem.penalty2.astype(H.dtype)
        inverse = inverted(problem, H)
        problem.cache["factored"] = problem.l2, inverse
    return Blocks(problem, inverse)


def _alike(l2: float, other: float) -> bool:
    return max(l2, other) <= REFACTORED * min(l2, other)
