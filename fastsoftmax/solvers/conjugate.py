"""Conjugate gradients on products with the Hessian, preconditioned, within a trust region.

Nocedal & Wright 2006, algorithms 7.1 and 7.2: Steihaug's method, whose region is a ball in the norm of the
preconditioner (Conn, Gould & Toint 2000, section 7.5.1).
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsoftmax.engine.vectors import moved, product
from fastsoftmax.objective.hessian import Hessian

Array = NDArray[Any]


class Direction(NamedTuple):
    """Where to go."""

    step: Array
    products: int  # with the Hessian
    length: float  # in the norm of the preconditioner
    cut: bool  # at the border of the region


def newton_direction(
    hessian: Hessian,
    residual: Array,
    precondition: Callable[[Array], Array],
    most: int,
    radius: float = np.inf,
    accuracy: float = 0.25,
) -> Direction:
    """About H^-1 residual; on the entries that `precondition` does not turn to 0.

    The nearer to the optimum, by the size of the residual, the more exactly: then steps converge superlinearly; and at
    least to an accuracy.
    """
    direction, z = np.zeros_like(residual), precondition(residual)
    step, rz = z, product(residual, z)
    first, accuracy = rz, min(accuracy, abs(rz) ** 0.25)
    size, inner, across = 0.0, rz, 0.0  # squared norms of direction and step, and their product
    for count in range(most):
        if not rz > accuracy**2 * first:
            return Direction(direction if count else z, count, size**0.5, False)
        curved = hessian.product(step)
        bend = product(step, curved)
        t = rz / bend if bend > 0 else 0.0
        longer = size + 2 * t * across + t * t * inner
        if not (bend > 0 and longer <= radius**2):
            if not np.isfinite(radius):  # no curvature, and no region
                return Direction(direction if count else z, count, size**0.5, False)
            t = (-across + (across**2 + inner * (radius**2 - size)) ** 0.5) / inner
            return Direction(moved(direction, t, step), count + 1, radius, True)
        direction, residual = moved(direction, t, step), moved(residual, -t, curved)
        z = precondition(residual)
        rz, before = product(residual, z), rz
        beta = rz / before
        size, across, inner = longer, beta * (across + t * inner), rz + beta * beta * inner
        step = moved(z, beta, step)
    return Direction(direction, most, size**0.5, False)
