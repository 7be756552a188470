"""How far to go along a direction."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsoftmax.engine.vectors import moved, product
from fastsoftmax.objective.problem import Problem

Array = NDArray[Any]
TRIALS = 40
HIDDEN = 1e-12  # of the noise of F: a slope of which no more is left is noise of the gradient itself, and tells nothing
LARGE = 1e4  # logits: with larger ones, which collinear columns may have, F would be free to rise


def rounding(problem: Problem, value: float) -> float:
    """Differences of F that rounding of sums will cause."""
    return (1e-14 if problem.dtype == np.float64 else 2e-7) * (1 + abs(value))


def noise(problem: Problem, theta: Array, value: float) -> float:
    """Differences of F that rounding may cause: of sums, and in float64, after which nothing comes, of logits too."""
    if problem.dtype != np.float64:
        return rounding(problem, value)
    return 1e-14 * (1 + abs(value) + min(problem.logit_size(theta), LARGE))


def search(
    problem: Problem, theta: Array, start: float, direction: Array, slope: float, left: float = 0.9
) -> tuple[float, float, Array] | None:
    """(step, F, gradient) where F is lower by enough: by value or, where rounding hides that, by slope.

    The second test is that of Hager & Zhang 2005, (4.1). None if there is no such step. start, slope: F at theta, and
    its derivative along the direction, which is negative. left: the share of the slope from which to go on further.
    """
    blur = noise(problem, theta, start)
    low, high, t, best = 0.0, np.inf, 1.0, None
    for _ in range(TRIALS):
        value, gradient = problem.loss_gradient(moved(theta, t, direction))
        now = product(gradient, direction)
        level = now <= -0.9998 * slope or (-slope <= HIDDEN * blur and np.isfinite(now))
        enough = value <= start + 1e-4 * t * slope or (value <= start + blur and level)
        if not (np.isfinite(value) and enough):
            if best is not None:
                return best
            high = t
            ratio = slope / (slope - now) if np.isfinite(now) and now > 0 else 0.3
            t = low + (t - low) * float(np.clip(ratio, 0.1, 0.7))
        elif best is not None and value > best[1]:
            return best
        elif now < left * slope and high == np.inf and t < 1e3 and -t * slope > blur:
            best, low = (t, value, gradient), t
            t *= min(4.0, slope / (slope - now)) if now > slope else 4.0
        else:
            return t, value, gradient
    return best
