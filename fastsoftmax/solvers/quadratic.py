"""The minimum of a quadratic with an l1 penalty, to rounding: coordinates find the signs, a factor what they hide.

Coordinate descent alone is slow where columns are nearly collinear. So it takes turns with exact minima over the
entries that are not 0, on the way to which signs may change (feature-sign search, Lee et al. 2007, algorithm 1).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from fastsoftmax.kernels.coordinate import descend
from fastsoftmax.solvers.interior import central_minimum

Array = NDArray[Any]
ROUNDS, SWEEPS, TURNS = 5, 20, 20
OPERATIONS = 3e9  # of factors, after which a rough minimum must do: a tenth of a second or two


def violation(H: Array, slope: Array, penalty: Array, u: Array) -> float:
    """The largest entry of the subgradient of least norm at u, each in the units of its curvature."""
    still = np.maximum(np.abs(slope) - penalty, 0)
    entry = np.where(u != 0, np.abs(slope + penalty * np.sign(u)), still)
    return float((entry / np.sqrt(np.maximum(np.diag(H), 1e-300))).max())


def _to_signed_minimum(H: Array, penalty: Array, u: Array, slope: Array) -> Array:
    """Towards the minimum with the signs of u, entry after entry that would change its sign set to 0 on the way."""
    start, first = u, slope
    for _ in range(TURNS):
        free = np.flatnonzero((u != 0) | (penalty == 0))
        if len(free) == 0:
            return u
        part = H[np.ix_(free, free)]
        diagonal = np.arange(len(free))
        part[diagonal, diagonal] *= 1 + 1e-13 * len(free)
        part[diagonal, diagonal] += 1e-300
        try:
            factor = cho_factor(part, check_finite=False)
        except np.linalg.LinAlgError:
            return u
        step = -cho_solve(factor, slope[free] + penalty[free] * np.sign(u[free]), check_finite=False)
        crossing = (penalty[free] > 0) & ((u[free] + step) * u[free] < 0)
        meets = np.abs(u[free][crossing] / step[crossing])
        t = min(1.0, float(meets.min(initial=1.0)))
        u = u.copy()
        u[free] += t * step
        if t == 1.0:
            return u
        u[free[np.flatnonzero(crossing)[meets <= t]]] = 0.0
        slope = first + H @ (u - start)
    return u


def minimise_quadratic(H: Array, slope: Array, penalty: Array, start: Array, accuracy: float) -> Array:
    """The minimum of slope' (u - start) + (u - start)' H (u - start) / 2 + penalty' |u|.

    Parameters
    ----------
    H : ndarray of shape (p, p)
        Symmetric and positive semidefinite.
    slope, penalty, start : ndarray of shape (p,)
        slope is the gradient at `start`, without the penalty.
    accuracy : float
        Of `violation`.

    Returns
    -------
    ndarray of shape (p,)
        Or, where rounding is all that is left, the best that was found.
    """
    u, best, least = start, start, violation(H, slope, penalty, start)
    most = max(40, int(3 * OPERATIONS / len(H) ** 3))  # factors
    for _ in range(min(ROUNDS, most // TURNS)):
        u, now = u.copy(), slope + H @ (u - start)
        moved = descend(H, penalty, SWEEPS, u, now)
        u = _to_signed_minimum(H, penalty, u, slope + H @ (u - start))
        found = violation(H, slope + H @ (u - start), penalty, u)
        best, least = (u, found) if found < least else (best, least)
        if least <= accuracy or moved == 0 or not np.isfinite(found):
            break
    if least <= accuracy:
        return best
    u = central_minimum(H, slope - H @ start, penalty)
    u = _to_signed_minimum(H, penalty, u, slope + H @ (u - start))
    return min(best, u, key=lambda u: _change(H, slope, penalty, start, u))


def _change(H: Array, slope: Array, penalty: Array, start: Array, u: Array) -> float:
    """Of the quadratic from start to u; inf where it is not finite."""
    step = u - start
    change = float(slope @ step + 0.5 * step @ (H @ step) + penalty @ (np.abs(u) - np.abs(start)))
    return change if np.isfinite(change) else np.inf
