"""The diagonal of the Hessian, for features by the ten thousand.

Each class's features are centred by its own weights w_ik = s_i p_ik (1 - p_ik), which takes the intercept out exactly:
where all features are positive, as counts are, the diagonal alone knows nothing of what they have in common.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsoftmax.engine.vectors import in_blocks, total
from fastsoftmax.objective.problem import Problem
from fastsoftmax.solvers.sampling import LOOKED_AT, UNSEEN, Curvature, part_of, spreads, trace

Array = NDArray[Any]
RARE = 30  # times the penalty counts from 0, as in `shared`: text then takes half the iterations


def at_priors(problem: Problem, center: bool = True) -> Curvature:
    """Where probabilities are the shares of the classes; the penalty then counts as what curvature may fall to."""
    share = np.maximum(spreads(problem), 1e-3 / problem.c)
    mean = problem.columns.mean * problem.unit * (problem.fit_intercept and center)
    square = np.maximum(problem.columns.square - mean**2, UNSEEN * problem.columns.square)
    square = share[:, None] * square + (RARE - 1) * problem.penalty2
    return Curvature(share, np.broadcast_to(mean, square.shape), square)


def at_point(problem: Problem, theta: Array) -> Curvature:
    """Where they are those at theta."""
    part = part_of(problem, min(problem.data.most, max(LOOKED_AT // problem.c, 1000)))
    share, first, second = part.moments_at(theta)
    share = np.maximum(share, trace(problem, problem.dtype))
    scale = problem.fit_intercept / share

    def center(at: slice) -> None:
        second[:, at] -= scale[:, None] * first[:, at] ** 2
        first[:, at] *= scale[:, None].astype(first.dtype)

    in_blocks(center, problem.m, problem.r)
    return Curvature(share, first, second)


class Diagonal:
    """Its inverse, for the penalty of the problem."""

    def __init__(self, problem: Problem, found: Curvature) -> None:
        self.problem, self.share, self.mean = problem, found.share, found.mean
        self.gauge = problem.gauge and not problem.l1
        self.inverse = np.empty(problem.size, problem.dtype)
        coef, intercept = problem.split(self.inverse)
        least = np.maximum(UNSEEN * found.share, trace(problem, problem.dtype))

        def invert(at: slice) -> None:
            square = np.maximum(found.square[:, at], np.outer(least, problem.columns.square[at]))
            coef[:, at] = 1 / (square + problem.penalty2[at] + 1e-12)

        in_blocks(invert, problem.m, problem.r)
        if len(intercept):
            intercept[...] = 1 / self.share

    def __call__(self, vector: Array) -> Array:
        result, problem = np.empty_like(vector), self.problem
        (coef, intercept), (to, shift) = problem.split(vector), problem.split(result)
        inverse, free = problem.split(self.inverse)[0], intercept
        if self.gauge and len(free):
            free = free - free.mean()

        def move(at: slice) -> Array:
            part = coef[:, at] - coef[:, at].mean(0) if self.gauge else coef[:, at].copy()
            if len(free):
                part -= free[:, None] * self.mean[:, at]
            part *= inverse[:, at]
            to[:, at] = part - part.mean(0) if self.gauge else part
            return np.asarray(np.einsum("ij,ij->i", part, self.mean[:, at]))

        along = total(in_blocks(move, problem.m, problem.r))
        if len(free):
            moves = free / self.share - along
            shift[...] = moves - moves.mean() if self.gauge else moves
        return result
