"""What a solver takes and returns."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsoftmax.objective import certificate
from fastsoftmax.objective.problem import Problem

Array = NDArray[Any]
Report = Callable[[int, float, float, Callable[[], float]], None]  # iteration, F, optimality, and the gap if asked


class Result(NamedTuple):
    """Where a solver ended."""

    theta: Array
    n_iter: int
    stalled: bool = False  # it ended because it made no progress
    confirmed: bool = False  # Newton's method expects no more than tol of further steps
    separable: bool = False  # F falls without end in some direction: there is no optimum


class Stop:
    """Whether a point is good enough: its largest gradient entry and its duality gap are at most tol.

    tol: what a solver aims at. judge: whether a point, rounded as it will be stored, is good enough in float64; it is
    asked where the compute type is less than that.
    """

    def __init__(self, tol: float, judge: Callable[[Array], bool] = lambda theta: False) -> None:
        self.tol, self.judge = tol, judge
        self.unbalanced = False  # of the point that was asked about last, the intercept alone may be to blame

    def __call__(self, problem: Problem, theta: Array, value: float, gradient: Array) -> bool:
        self.unbalanced = False
        if not problem.optimality(theta, gradient) <= self.tol:
            return False
        least = certificate.least_gap(problem, value, gradient, self.tol)
        if not least <= 2 * self.tol:  # then the gap is more than tol, or nearly so
            return False
        gap = certificate.gap(problem, theta, value, gradient)
        good = bool(np.isnan(gap) or gap <= self.tol)
        self.unbalanced = not good and problem.fit_intercept and least <= self.tol
        return good
