"""Examples: X and y are one thing, whose rows are taken together."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastsoftmax.data.design import Design
from fastsoftmax.data.layouts import Gathered
from fastsoftmax.data.targets import CheckedTargets

Array = NDArray[Any]


class Examples:
    """A design, and what its rows should be.

    Attributes
    ----------
    design : Design
        X and its map.
    targets : CheckedTargets
        Labels or probabilities, and weights.
    n, m, c : int
        Rows, features, classes.
    total : float
        S, the sum of the weights.
    """

    def __init__(self, design: Design, targets: CheckedTargets) -> None:
        self.design, self.targets = design, targets
        self.n, self.m, self.c, self.total = design.n, design.m, targets.c, targets.total

    @classmethod
    def unlabelled(cls, design: Design, c: int) -> "Examples":
        """Rows of which only predictions are wanted."""
        return cls(design, CheckedTargets.unknown(design.n, c, design.dtype))

    @classmethod
    def joined(cls, parts: Sequence["Examples"]) -> "Examples":
        """Rows of several, of one layout, dtype and map, one after another; copied, unless it is one."""
        if len(parts) == 1:
            return parts[0]
        found = Gathered(sum(part.n for part in parts))
        for part in parts:
            found.add(part.design, np.arange(part.n))
        return cls(found.design, CheckedTargets.joined([part.targets for part in parts]))

    def rows(self, index: Array) -> "Examples":
        """Some of the rows, copied."""
        return Examples(self.design.rows(index), self.targets.rows(index))

    def part(self, start: int, stop: int) -> "Examples":
        """Rows start..stop, of the same memory."""
        return Examples(self.design.part(start, stop), self.targets.rows(slice(start, stop)))

    def mapped(self, scale: float | ArrayLike, shift: float | ArrayLike = 0.0) -> "Examples":
        """The same under another map of the features."""
        return Examples(self.design.mapped(scale, shift), self.targets)

    def computed_in(self, dtype: np.dtype[Any]) -> "Examples":
        """The same for kernels that compute in `dtype`."""
        return self if self.targets.kernel.soft.dtype == dtype else Examples(self.design, self.targets.astype(dtype))

    def only(self, classes: Array) -> "Examples":
        """Without the other classes, which nothing with a weight is."""
        return Examples(self.design, self.targets.only(classes))

    def moments(self, center: Array | None = None) -> tuple[Array, Array]:
        """Weighted sums (m,) of the raw columns, and of their squares, less `center`."""
        return self.design.moments(self.targets.kernel.weight, center)

    def class_totals(self) -> NDArray[np.float64]:
        """What each class weighs (c,), before smoothing."""
        return self.targets.class_totals()

    def class_sums(self) -> Any:
        """sum_i s_i x_i (c, m) over the rows of each class, of the mapped features, in float64, perhaps sparse."""
        kernel = self.targets.kernel
        return self.design.class_sums(kernel.labels, np.asarray(kernel.weight, np.float64), self.c)
