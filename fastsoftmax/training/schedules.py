"""Learning rates by step. Only + - * / and square roots, which are rounded alike on any CPU: no libm."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Schedule = str | Callable[[int, int], float]

HALF_PI = 1.5707963267948966
WARM_UP, START, END = 0.3, 1 / 25, 1e-4 / 25  # of one-cycle: share of the steps, and factors, as in PyTorch


def cos_pi(u: Floats) -> Floats:
    """cos(pi u) for 0 <= u <= 1, as sin(pi (1/2 - u)) by its series: to 1e-15."""
    x = HALF_PI * (1 - 2 * u)
    square, term, total = x * x, x, x.copy()
    for k in range(1, 12):
        term = term * square / (-2.0 * k * (2 * k + 1))
        total = total + term
    return total


def _anneal(start: float, end: float, u: Floats) -> Floats:
    """From start to end along half a cosine, as u goes from 0 to 1."""
    return end + (start - end) * 0.5 * (1 + cos_pi(u))


def _constant(t: Floats, steps: int, per_epoch: int) -> Floats:
    return np.ones_like(t)


def _inverse_scaling(t: Floats, steps: int, per_epoch: int) -> Floats:
    return 1 / np.sqrt(1 + t / per_epoch)


def _cosine(t: Floats, steps: int, per_epoch: int) -> Floats:
    return _anneal(1.0, 0.0, t / steps)


def _one_cycle(t: Floats, steps: int, per_epoch: int) -> Floats:
    top = max(1.0, WARM_UP * steps - 1)
    up = _anneal(START, 1.0, np.minimum(t / top, 1))
    down = _anneal(1.0, END, np.clip((t - top) / max(1.0, steps - 1 - top), 0, 1))
    return np.where(t <= top, up, down)


SCHEDULES = {
    "constant": _constant,
    "inverse_scaling": _inverse_scaling,
    "cosine": _cosine,
    "one_cycle": _one_cycle,
}


def learning_rates(schedule: Schedule, rate: float, start: int, stop: int, steps: int, per_epoch: int) -> Floats:
    """The learning rates of steps start..stop of `steps`, of which an epoch has `per_epoch`.

    Parameters
    ----------
    schedule : str or callable
        "constant"; "inverse_scaling", rate / sqrt(1 + epochs); "cosine", from the rate to 0 (Loshchilov & Hutter
        2017, equation 5, without restarts); "one_cycle" (Smith & Topin 2018, with PyTorch's defaults); or a function
        of the step and the number of steps that returns a factor.
    rate : float
        What the factors multiply.

    Returns
    -------
    ndarray of shape (stop - start,)

    Examples
    --------
    >>> learning_rates("cosine", 0.1, 0, 4, 4, 1).round(4).tolist()
    [0.1, 0.0854, 0.05, 0.0146]
    """
    if callable(schedule):
        return float(rate) * np.array([float(schedule(t, steps)) for t in range(start, stop)], np.float64)
    return float(rate) * SCHEDULES[schedule](np.arange(start, stop, dtype=np.float64), steps, per_epoch)
