"""The objective over rows in parts: each sum is that of the parts, added in their order."""

import functools
import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastsoftmax.data.design import Design
from fastsoftmax.data.examples import Examples
from fastsoftmax.data.gate import per_feature
from fastsoftmax.data.parted_rows import PartedRows
from fastsoftmax.data.targets import CheckedTargets
from fastsoftmax.objective.base import Curvature, spaced
from fastsoftmax.objective.curvature import HELD, BlockCurvature
from fastsoftmax.objective.softmax import SoftmaxObjective
from fastsoftmax.objective.summed import SUMS, SummedCurvature, SummedObjective, buffers
from fastsoftmax.objective.tree import FAN_IN, Tree

Array = NDArray[Any]


class ObjectiveOverParts(SummedObjective):
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

    def __init__(
        self,
        rows: PartedRows,
        targets: CheckedTargets,
        dtype: Any = None,
        scale: float | ArrayLike = 1.0,
        shift: float | ArrayLike = 0.0,
    ) -> None:
        self.source, self.targets = rows, targets
        self.n, self.m, self.c = rows.n, rows.m, targets.c
        ends = np.cumsum(
            [0, *rows.counts]
        )  # sums of weights too are of parts, as machines that have one each know them
        self.own = [targets.rows(slice(a, b)) for a, b in itertools.pairwise(ends.tolist()) if b > a]
        self.total = float(sum(part.total for part in self.own))
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

    def collected(self, name: str, *arguments: Any) -> list[Any]:
        results: list[Any] = []
        self.each_part(lambda start, part: results.append(getattr(part, name)(*arguments)))
        return results

    def summed(self, name: str, *arguments: Any) -> tuple[Any, ...]:
        if name == "loss_gradient":
            return self._loss_gradient(*arguments)
        tree = Tree()
        self.each_part(lambda start, part: tree.add(SUMS[name](part, *arguments)))
        return tree.total()

    def _loss_gradient(
        self, coef: Array, intercept: Array | None, factor: float, double: bool
    ) -> tuple[list[float], Array, Array]:
        """As of `SUMS`; the parts of a sum add to the same arrays, which gives the same bits."""
        tree, losses, out = Tree(), list[float](), list[tuple[Array, Array]]()

        def add(start: int, part: SoftmaxObjective) -> None:
            if not out:
                out.append(buffers(part, coef, double))
            losses.append(part.loss_gradient(coef, intercept, factor, out[0])[0])
            if len(losses) % FAN_IN == 0:
                tree.add(out.pop(), 1)

        self.each_part(add)
        if out:
            tree.add(out.pop(), 1)
        return losses, *tree.total()

    def predict_proba(self, coef: Array, intercept: Array | None) -> Array:
        proba = np.empty((self.n, self.c), self.dtype)

        def fill(start: int, part: SoftmaxObjective) -> None:
            proba[start : start + part.n] = part.predict_proba(coef, intercept)

        self.each_part(fill)
        return proba

    def curvature(self, coef: Array, intercept: Array | None) -> "CurvatureOverParts":
        return CurvatureOverParts(self, coef, intercept)

    def class_totals(self) -> NDArray[np.float64]:
        return functools.reduce(np.add, [part.class_totals() for part in self.own])

    def entropy(self) -> float:
        if self.labelled:
            return self.targets.entropy()
        return float(sum(part.entropy() * part.total for part in self.own)) / self.total

    # ---- others like it

    def mapped(self, scale: float | ArrayLike, shift: float | ArrayLike = 0.0) -> "ObjectiveOverParts":
        return ObjectiveOverParts(self.source, self.targets, self.dtype, scale, shift)

    def computed_in(self, dtype: Any) -> "ObjectiveOverParts":
        return ObjectiveOverParts(self.source, self.targets, dtype, self.scale, self.shift)

    def rows(self, index: Array) -> SoftmaxObjective:
        index = np.arange(self.n)[index]
        return self._over(self.source.copied(index), self.targets.rows(index))

    def spread(self, count: int) -> "ObjectiveOverParts":
        index = spaced(self.n, count)
        rows = self.source.spread(index)
        return ObjectiveOverParts(rows, self.targets.rows(index), self.dtype, self.scale, self.shift)


class CurvatureOverParts(SummedCurvature):
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

    def _each_part(self, visit: Callable[[Curvature], object]) -> None:
        """Calls `visit` with the curvature of each part."""
        if self.few and self.held is None:  # only now: a fit that goes on may ask for none of it
            self.held = self.objective.predict_proba(self.coef, self.intercept)

        def over(start: int, part: SoftmaxObjective) -> None:
            if self.held is None:
                visit(part.curvature(self.coef, self.intercept))
            else:
                visit(HeldCurvature(part, self.held[start : start + part.n]))

        self.objective.each_part(over)

    def summed(self, name: str, *arguments: Any) -> tuple[Any, ...]:
        tree = Tree()
        self._each_part(lambda part: tree.add(SUMS[name](part, *arguments)))
        return tree.total()

    def each_block(self, visit: Callable[[SoftmaxObjective, Array], object]) -> None:
        self._each_part(lambda part: part.each_block(visit))


class HeldCurvature(BlockCurvature):
    """Of rows in memory whose probabilities are known."""

    def __init__(self, part: SoftmaxObjective, proba: Array) -> None:
        self.part, self.proba = part, proba

    def each_block(self, visit: Callable[[SoftmaxObjective, Array], object]) -> None:
        visit(self.part, self.proba)
