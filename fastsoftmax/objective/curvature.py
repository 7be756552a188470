"""Curvature at a point: products with the Hessian, and its Gram matrices, block by block of rows."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsoftmax.objective.base import Array, Curvature

if TYPE_CHECKING:
    from fastsoftmax.objective.softmax import SoftmaxObjective

HELD = 256 << 20  # bytes of probabilities that are kept; more are computed anew for each product
BLOCK = 32 << 20  # bytes of them at a time


def others(proba: Array) -> Array:
    """1 - p (c, n) of probabilities (n, c), where p is nearly 1 by the sum of the others: nothing of them is lost."""
    p = proba.T
    most = p > 0.5
    return np.where(most, np.where(most, 0, p).sum(0), 1 - p)


class BlockCurvature(Curvature):
    """What is summed over blocks of rows in memory, wherever they come from."""

    def hessp(self, coef: Array, intercept: Array | None, factor: float, out: tuple[Array, Array]) -> None:
        self.each_block(lambda block, proba: block.add_hessp(proba, coef, intercept, factor, out))

    def pair_grams(self, r: int, intercept: bool) -> Array:
        k, q = np.triu_indices(r)
        total: Any = 0.0

        def add(block: "SoftmaxObjective", proba: Array) -> None:
            nonlocal total
            p = proba[:, -r:].T
            weights = -p[q]
            weights[k == q] = others(proba)[-r:]
            weights *= p[k]
            total = total + block.grams(block.weighed(weights), intercept)

        self.each_block(add)
        return np.asarray(total)


class PointCurvature(BlockCurvature):
    """As its base, of rows in memory.

    Parameters
    ----------
    objective : SoftmaxObjective
    coef, intercept
        The point; they must stay as they are where probabilities are not held.
    """

    def __init__(self, objective: "SoftmaxObjective", coef: Array, intercept: Array | None) -> None:
        self.coef, self.intercept = coef, intercept
        row = objective.c * objective.dtype.itemsize
        few = objective.n * row <= HELD or (
            objective.by_feature and objective.owned
        )  # of which each block would take all weights
        self.held = objective.predict_proba(coef, intercept) if few else None
        self.parts = [*objective.blocks(objective.n if few else max(1, BLOCK // row))]

    def each_block(self, visit: "Callable[[SoftmaxObjective, Array], object]") -> None:
        for part in self.parts:
            visit(part, part.predict_proba(self.coef, self.intercept) if self.held is None else self.held)
