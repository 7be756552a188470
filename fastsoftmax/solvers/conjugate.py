"""Conjugate gradients on products with the Hessian (Nocedal & Wright 2006, algorithm 7.1), preconditioned."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsoftmax.problem import Problem

Array = NDArray[Any]


def newton_direction(
    problem: Problem, proba: Array, residual: Array, precondition: Callable[[Array], Array], most: int
) -> Array:
    """About H^-1 residual, where the probabilities are `proba`; on the entries that `precondition` does not turn to 0.

    The nearer to the optimum, by the size of the residual, the more exactly: then steps converge superlinearly.
    """
    direction, z = np.zeros_like(residual), precondition(residual)
    step, rz = z, float(residual @ z)
    first, accuracy = rz, 0.1 * min(0.1, abs(rz) ** 0.25)
    for _ in range(most):
        if not rz > accuracy**2 * first:
            break
        curved = problem.hessp(proba, step)
        bend = float(step @ curved)
        if not bend > 0:
            break
        t = rz / bend
        direction += t * step
        residual = residual - t * curved
        z = precondition(residual)
        rz, before = float(residual @ z), rz
        step = z + (rz / before) * step
    return direction if direction.any() else z
