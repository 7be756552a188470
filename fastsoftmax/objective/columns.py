"""What all rows say of the columns: their size, and how far features usually are from their median."""

from typing import NamedTuple

import numpy as np

from fastsoftmax.objective.base import Array, Objective

MEASURED = 1 << 20  # entries of X that tell how large features usually are


class Columns(NamedTuple):
    """What all rows say of the mapped columns."""

    unit: Array  # (m,) powers of two that bring the columns near a size of 1
    mean: Array  # (m,)
    square: Array  # (m,) mean squares, of the columns times their unit

    def far(self, times: float) -> Array:
        """Which columns have a mean more than so many times their deviation."""
        mean = (self.mean * self.unit) ** 2
        return np.asarray(np.maximum(self.square - mean, 0) * times**2 < mean)

    def in_units(self, unit: Array) -> "Columns":
        """The same in other units."""
        return Columns(unit, self.mean, self.square * (unit / self.unit) ** 2)


def columns_of(objective: Objective) -> Columns:
    """Weighted moments of the mapped columns, and the units that follow from them."""
    scale = objective.scale
    with np.errstate(over="ignore", invalid="ignore"):
        total, squares = objective.moments(objective.shift)
        mean = total / objective.total * scale
        size = np.sqrt(squares / objective.total) * np.abs(scale)
    strange = np.flatnonzero(~(np.isfinite(size) & (size > 0)))
    if len(strange) and objective.x_dtype == np.float64:  # squares that overflow, or vanish
        size[strange] = objective.largest(strange) * np.abs(scale[strange])
    usable = np.isfinite(size) & (size > 0)
    size = np.where(usable, size, 1)
    unit = np.exp2(-np.round(np.log2(size)))
    return Columns(unit, mean, np.where(usable, (size * unit) ** 2, 0.0))


def usual_sizes(objective: Objective, columns: Columns, center: bool) -> Array:
    """How far features (m,) usually are from their median, or from 0 without `center`; inf for columns of zeros.

    A quarter of those that differ from it are nearer, in some rows: of features as they are in X, for a mean, as their
    size, may be that of one cell far larger than all others.
    """
    n, m = objective.n, objective.m
    count = min(n, max(1, MEASURED // m))
    X = np.empty((count, m))
    objective.sample(count).mapped(objective.scale, np.zeros(m)).features(0, count, X)
    if center:
        X -= np.median(X, 0)
    np.abs(X, out=X).sort(0)
    zeros = (X == 0).sum(0)
    usual = X[np.minimum(zeros + (count - zeros - 1) // 4, count - 1), np.arange(m)]
    unseen = np.sqrt(columns.square) if count < n else 0
    usual = np.where(usual > 0, usual, unseen)
    return np.where(usual > 0, usual, np.inf)
