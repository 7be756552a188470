"""An objective that is a sum of others, one a part of the rows, wherever these are."""

import abc
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsoftmax.objective.base import Array, Curvature, Objective
from fastsoftmax.objective.curvature import BlockCurvature
from fastsoftmax.objective.softmax import SoftmaxObjective


class SummedObjective(Objective):
    """What follows from sums over parts along a fixed tree, and from what each part says.

    Which methods a part is asked, and how their answers are tuples that can be added, `SUMS` says.
    """

    in_memory = False

    @abc.abstractmethod
    def collected(self, name: str, *arguments: Any) -> list[Any]:
        """What a method of the objective over each part returns, in order."""

    @abc.abstractmethod
    def summed(self, name: str, *arguments: Any) -> tuple[Any, ...]:
        """Of `SUMS`, what one returns for the objective over each part, added by a `Tree`."""

    def loss_gradient(
        self, coef: Array, intercept: Array | None, factor: float = 1.0, out: tuple[Array, Array] | None = None
    ) -> tuple[float, Array, Array]:
        double = out is None or out[0].dtype == np.float64
        losses, *sums = self.summed("loss_gradient", coef, intercept, factor, double)
        if out is None:
            out = np.zeros(coef.shape, self.dtype), np.zeros(self.c, self.dtype)
        for own, more in zip(out, sums, strict=True):
            np.add(own, more, out=own, casting="same_kind")
        return math.fsum(losses), *out

    def evaluate(self, coef: Array, intercept: Array | None) -> tuple[float, NDArray[np.int64]]:
        losses, predictions = zip(*self.collected("evaluate", coef, intercept), strict=True)
        return math.fsum(losses), np.concatenate(predictions)

    def predict(self, coef: Array, intercept: Array | None) -> NDArray[np.int64]:
        return np.concatenate(self.collected("predict", coef, intercept))

    def moments(self, center: Array | None = None) -> tuple[Array, Array]:
        first, second = self.summed("moments", center)
        return first, second

    def largest(self, columns: Array) -> Array:
        return np.asarray(np.max(self.collected("largest", columns), axis=0))

    def lowest(self, weights: Array) -> float:
        return float(min(self.collected("lowest", weights)))

    def class_sums(self) -> Any:
        return self.summed("class_sums")[0]


class SummedCurvature(BlockCurvature):
    """Products with the Hessian, and its Gram matrices, part by part, at a point that does not change."""

    @abc.abstractmethod
    def summed(self, name: str, *arguments: Any) -> tuple[Any, ...]:
        """Of `SUMS`, what one returns for the curvature of each part at this point, added by a `Tree`."""

    def hessp(self, coef: Array, intercept: Array | None, factor: float, out: tuple[Array, Array]) -> None:
        for own, more in zip(out, self.summed("hessp", coef, intercept, factor), strict=True):
            np.add(own, more, out=own)

    def pair_grams(self, r: int, intercept: bool) -> Array:
        return np.asarray(self.summed("pair_grams", r, intercept)[0])


def buffers(part: SoftmaxObjective, coef: Array, double: bool) -> tuple[Array, Array]:
    """Zeros for a gradient."""
    dtype = np.float64 if double else part.dtype
    return np.zeros(coef.shape, dtype, "F" if part.by_feature else "C"), np.zeros(part.c, dtype)


def _loss_gradient(
    part: SoftmaxObjective, coef: Array, intercept: Array | None, factor: float, double: bool
) -> tuple[Any, ...]:
    out = buffers(part, coef, double)
    return [part.loss_gradient(coef, intercept, factor, out)[0]], *out


def _hessp(curvature: Curvature, coef: Array, intercept: Array | None, factor: float) -> tuple[Any, ...]:
    out = np.zeros(coef.shape, order="F" if np.isfortran(coef) else "C"), np.zeros(len(coef))
    curvature.hessp(coef, intercept, factor, out)
    return out


SUMS: dict[str, Callable[..., tuple[Any, ...]]] = {
    "loss_gradient": _loss_gradient,
    "moments": lambda part, center: part.moments(center),
    "class_sums": lambda part: (part.class_sums(),),
    "hessp": _hessp,
    "pair_grams": lambda curvature, r, intercept: (curvature.pair_grams(r, intercept),),
}
