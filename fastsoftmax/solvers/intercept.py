"""Newton's method on the intercept alone: what is left of its gradient costs the certificate most.

A dual feasible point has residuals that sum to 0 in every class. Where they do not, they are mended, and the gap rises
by the share of the rarest class that is missing times F: of 601 classes of embeddings the gap was 7e-2 where the
gradient of the weights accounts for 1e-3, and MNIST took 43 iterations instead of 33.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from fastsoftmax.objective.problem import Problem
from fastsoftmax.solvers.sampling import part_of

Array = NDArray[Any]
LOOKED_AT = 4 << 20  # probabilities from which the curvature is summed, at a time
EACH = 64  # rows for each class, unless all of them, or a pass over the data, are less: see `_rows`
WHOLE = 2000  # classes, of which it is factored in a tenth of a second; of more the diagonal has to do
RAISED = 1e-6  # share of the diagonal that is added to it


def _rows(problem: Problem) -> int:
    """How many rows are looked at.

    Where most rows are decided, few of a class have any curvature: by 4 rows a class steps of 1000 classes went
    too far in some, and the gradient of the intercept, 1.5e-5 at first, stayed at 1e-5.
    """
    n, m, c = problem.n, problem.m, problem.c
    pass_over = int(2.0 * n * m / (m + c)) if c <= WHOLE else 0
    return min(problem.data.most, max(LOOKED_AT // c, min(EACH * c, pass_over), 1))


class Curvature:
    """The Hessian in the intercept, diag(sum_i s_i p_i) - sum_i s_i p_i p_i', over S, by some of the rows.

    Regular also where all classes move together.
    """

    def __init__(self, problem: Problem, theta: Array) -> None:
        part, r, total = part_of(problem, _rows(problem)), problem.r, 0.0
        self.diagonal, H = np.zeros(r), np.zeros((r, r) if r <= WHOLE else (0, 0))
        for block in part.sample.blocks(max(1, LOOKED_AT // problem.c)):
            p = block.predict_proba(*part.full(theta))[:, -r:]
            weighted = (p * block.weight[:, None]).astype(p.dtype) if len(block.weight) else p
            self.diagonal += (weighted * (1 - p)).sum(0, dtype=np.float64)
            total += block.total
            if len(H):
                H -= p.T @ weighted
        self.diagonal = np.maximum(self.diagonal / total, 1e-12 / problem.c) * (1 + RAISED)
        self.factor: Any = None
        if len(H):
            H /= total
            H[np.arange(r), np.arange(r)] = self.diagonal
            factor, info = lapack.dpotrf(H + np.trace(H) / r**2 if problem.gauge else H, clean=0)
            self.factor = factor if info == 0 else None

    def direction(self, problem: Problem, gradient: Array) -> Array:
        """A step of Newton's method in the intercept, 0 in coef."""
        step, rho = np.zeros_like(gradient), problem.split(gradient)[1]
        moves = rho / self.diagonal if self.factor is None else lapack.dpotrs(self.factor, rho)[0]
        problem.split(step)[1][...] = -(moves - moves.mean() if problem.gauge else moves)
        return step
