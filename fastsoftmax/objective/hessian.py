"""The Hessian of the smooth part of F at a point: products with it, and all of it where it is small."""

from typing import Any

import numpy as np

from fastsoftmax.objective.base import Array
from fastsoftmax.objective.problem import Problem


class Hessian:
    """That of `problem` at theta.

    Attributes
    ----------
    point : Curvature
        Of the sum of losses, at rows of all classes.
    """

    def __init__(self, problem: Problem, theta: Array) -> None:
        self.problem, self.theta = problem, theta
        self.point = problem.objective.curvature(*problem.full(theta))

    def product(self, direction: Array) -> Array:
        """With a direction."""
        at = np.concatenate([self.theta, direction]) if self.problem.journal else direction
        return self.problem.written("hessp", at, lambda: (0.0, self._product(direction)))[1]

    def _product(self, direction: Array) -> Array:
        problem = self.problem
        vector, out = problem.buffers()
        self.point.hessp(*problem.full(direction), 1 / problem.total, out)
        problem.collect(vector, out)
        if problem.l2:
            part, coef = problem.split(vector)[0], problem.split(direction)[0]

            def add(at: Any) -> None:
                part[at] += problem.penalty2[at[1]] * coef[at]

            problem.over_coef(add)
        return vector

    def whole(self) -> Array:
        """All of it, by class and then by feature, the intercept last; regular also where classes move together."""
        problem = self.problem
        r, M = problem.r, problem.m + problem.fit_intercept
        k, q = np.triu_indices(r)
        grams = self.point.pair_grams(r, problem.fit_intercept)
        grams *= problem.dtype.type(1 / problem.total)
        full = np.where(np.tri(M, k=-1, dtype=bool), grams.swapaxes(1, 2), grams)
        H = np.empty((r, M, r, M))
        by_classes = H.swapaxes(1, 2)
        by_classes[k, q] = by_classes[q, k] = full
        np.einsum("kjkj->kj", H)[:, : problem.m] += problem.penalty2
        if problem.gauge:  # with l1 only the intercepts move together for nothing
            start = problem.m if problem.l1 else 0
            size = np.einsum("kjkj->j", H)[start:] / r
            np.einsum("kjqj->kqj", H)[..., start:] += size / r
        return H.reshape(r * M, r * M)
