"""Features as a fit sees them: standardised, or centred for the sake of digits."""

import numpy as np

from fastsoftmax.objective.base import Array, Objective

# Columns are centred whose mean is so many times their deviation, for a type of so many bytes.
FAR = {4: 100.0, 8: 30.0}
SPARSE = 30.0  # times as far where X is sparse: there a shift takes time
EXACT = np.dtype(np.float64)


def spread(objective: Objective) -> tuple[Array, Array]:
    """(means, variances) of the raw columns, in two passes; those of constant columns are exactly 0."""
    mean = objective.moments()[0] / objective.total
    off, squares = objective.moments(mean)
    off, squares = off / objective.total, squares / objective.total
    variance = np.maximum(squares - off**2, 0)
    mean = mean + off
    variance[np.sqrt(variance) <= 10 * np.finfo(np.float64).eps * np.abs(mean)] = 0
    return mean, variance


def standardized(objective: Objective, center: bool) -> Objective:
    """The objective over columns of deviation 1 and, if asked, mean 0.

    Constant columns become 0 where they are centred, for rounding would be all that is left of them, else keep their
    scale.
    """
    mean, variance = spread(objective)
    constant = variance == 0
    scale = np.where(constant, 0.0 if center else 1.0, 1 / np.sqrt(np.where(constant, 1, variance)))
    if objective.dtype == np.float32 and (np.abs(mean) * scale).max() > FAR[4]:
        objective = objective.computed_in(EXACT)
    return objective.mapped(scale, mean if center else 0.0)


def limit(objective: Objective) -> float:
    """How many times their deviation the means of columns may be from 0."""
    return FAR[objective.dtype.itemsize] * (SPARSE if objective.by_feature else 1.0)


def centered(objective: Objective) -> Objective:
    """The same features, less their means where these are far larger than the deviations; constant ones are left out.

    With an intercept the optimum stays where it is, and what is computed of it has more digits.
    """
    mean, variance = spread(objective)
    varies = variance > 0
    far = varies & (np.abs(mean) > limit(objective) * np.sqrt(variance))
    part = objective.mapped(np.where(varies, objective.scale, 0.0), np.where(far, mean, objective.shift))
    return part.computed_in(EXACT) if far.any() else part
