"""The objective over rows in parts: each sum is that of the parts, added in their order."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastsoftmax.data.design import Design
from fastsoftmax.data.examples import Examples
from fastsoftmax.data.gate import per_feature
from fastsoftmax.data.parted_rows import PartedRows
from fastsoftmax.data.targets import CheckedTargets
from fastsoftmax.objective.base import Objective
from fastsoftmax.objective.curvature import HELD, BlockCurvature
from fastsoftmax.objective.softmax import SoftmaxObjective

Array = NDArray[Any]


class ObjectiveOverParts(Objective):
    """Sums over rows of which one part is computed with, and the next is read.

    Parameters
    ----------
    rows : PartedRows
    targets : CheckedTargets
        Of all of them.
    dtype : dtype, optional
        Of the computation.
    scale, shift : float or array-like of shape (m,)
    """

    in_memory = False

    def __init__(
        self,
        rows: PartedRows,
        targets: CheckedTargets,
        dtype: Any = None,
        scale: float | ArrayLike = 1.0,
        shift: float | ArrayLike = 0.0,
    ) -> None:
        self.source, self.targets = rows, targets
        self.n, self.m, self.c, self.total = rows.n, rows.m, targets.c, targets.total
        self.dtype = rows.dtype if dtype is None else np.dtype(dtype)
        self.x_dtype, self.stored_dtype = rows.x_dtype, rows.stored_dtype
        self.scale, self.shift = per_feature(scale, "scale", self.m), per_feature(shift, "shift", self.m)
        self.shifted, self.by_feature, self.pairs = bool(self.shift.any()), rows.by_feature, rows.pairs
        self.smoothing, self.labelled = targets.kernel.smoothing, len(targets.kernel.labels) > 0

    # ---- parts

    def _over(self, design: Design, targets: CheckedTargets) -> SoftmaxObjective:
        return SoftmaxObjective(Examples(design.mapped(self.scale, self.shift), targets), self.dtype)

    def each_part(self, visit: Callable[[int, SoftmaxObjective], Any]) -> None:
        """Calls `visit` with the first row of each part, and the objective over it."""

        def over(i: int, start: int, design: Design) -> None:
            visit(start, self._over(design, self.targets.rows(slice(start, start + design.n))))

        self.source.each(over)

    def _collected(self, function: Callable[[SoftmaxObjective], Any]) -> list[Any]:
        """What a function says of each part."""
        results: list[Any] = []
        self.each_part(lambda start, part: results.append(function(part)))
        return results

    # ---- passes over all rows

    def loss_gradient(
        self, coef: Array, intercept: Array | None, factor: float = 1.0, out: tuple[Array, Array] | None = None
    ) -> tuple[float, Array, Array]:
        G, g = out or (np.zeros(coef.shape, self.dtype), np.zeros(self.c, self.dtype))
        losses = self._collected(lambda part: part.loss_gradient(coef, intercept, factor, (G, g))[0])
        return math.fsum(losses), G, g

    def evaluate(self, coef: Array, intercept: Array | None) -> tuple[float, NDArray[np.int64]]:
        losses, predictions = zip(*self._collected(lambda part: part.evaluate(coef, intercept)), strict=True)
        return math.fsum(losses), np.concatenate(predictions)

    def predict(self, coef: Array, intercept: Array | None) -> NDArray[np.int64]:
        return np.concatenate(self._collected(lambda part: part.predict(coef, intercept)))

    def predict_proba(self, coef: Array, intercept: Array | None) -> Array:
        proba = np.empty((self.n, self.c), self.dtype)

        def fill(start: int, part: SoftmaxObjective) -> None:
            proba[start : start + part.n] = part.predict_proba(coef, intercept)

        self.each_part(fill)
        return proba

    def curvature(self, coef: Array, intercept: Array | None) -> "CurvatureOverParts":
        return CurvatureOverParts(self, coef, intercept)

    # ---- what the data are like

    def moments(self, center: Array | None = None) -> tuple[Array, Array]:
        sums = self._collected(lambda part: part.moments(center))
        first, second = sums[0]
        for more in sums[1:]:
            first, second = first + more[0], second + more[1]
        return first, second

    def largest(self, columns: Array) -> Array:
        return np.asarray(np.max(self._collected(lambda part: part.largest(columns)), axis=0))

    def lowest(self, weights: Array) -> float:
        return float(min(self._collected(lambda part: part.lowest(weights))))

    def class_totals(self) -> NDArray[np.float64]:
        return self.targets.class_totals()

    def class_sums(self) -> Any:
        total: Any = None

        def add(start: int, part: SoftmaxObjective) -> None:
            nonlocal total
            total = part.class_sums() if total is None else total + part.class_sums()

        self.each_part(add)
        return total

    def entropy(self) -> float:
        return self.targets.entropy()

    # ---- others like it

    def mapped(self, scale: float | ArrayLike, shift: float | ArrayLike = 0.0) -> "ObjectiveOverParts":
        return ObjectiveOverParts(self.source, self.targets, self.dtype, scale, shift)

    def computed_in(self, dtype: Any) -> "ObjectiveOverParts":
        return ObjectiveOverParts(self.source, self.targets, dtype, self.scale, self.shift)

    def rows(self, index: Array) -> SoftmaxObjective:
        index = np.arange(self.n)[index]
        return self._over(self.source.copied(index), self.targets.rows(index))


class CurvatureOverParts(BlockCurvature):
    """As its base. Probabilities are held where they take no more than those of rows in memory may.

    Parameters
    ----------
    objective : ObjectiveOverParts
    coef, intercept
        The point; they must stay as they are.
    """

    def __init__(self, objective: ObjectiveOverParts, coef: Array, intercept: Array | None) -> None:
        self.objective, self.coef, self.intercept = objective, coef, intercept
        self.few = objective.n * objective.c * objective.dtype.itemsize <= HELD
        self.held: Array | None = None

    def each_block(self, visit: Callable[[SoftmaxObjective, Array], object]) -> None:
        if self.few and self.held is None:  # only now: a fit that goes on may ask for none of it
            self.held = self.objective.predict_proba(self.coef, self.intercept)

        def over(start: int, part: SoftmaxObjective) -> None:
            if self.held is None:
                part.curvature(self.coef, self.intercept).each_block(visit)
            else:
                visit(part, self.held[start : start + part.n])

        self.objective.each_part(over)
