"""The minimum of a quadratic with an l1 penalty by an interior-point method, where columns are nearly collinear.

u = p - q with p, q >= 0 and linear costs; Mehrotra's predictor and corrector (Nocedal & Wright 2006, algorithm 16.4)
from u = 0, where all p z = mu. Its steps need no order in which signs are found: tens of factors, whatever the
Hessian's condition, where coordinates and active sets may need thousands of sweeps.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

Array = NDArray[Any]
MOST, PATIENCE = 60, 5  # iterations; without progress
REGULAR = 1e-13  # added to a diagonal of ones
FAR = 1e4  # times the root of the first mu: how large p and q start at most, where hardly anything is penalised
ENOUGH = 1e-18  # of mu, in units such that the diagonal is one


class Central(NamedTuple):
    """A point, u = p - q where there is a penalty, and the multipliers of p >= 0 and q >= 0; or a step of it."""

    u: Array
    p: Array
    q: Array
    zp: Array
    zq: Array

    def moved(self, t: float, step: "Central") -> "Central":
        return Central(*(now + t * change for now, change in zip(self, step, strict=True)))

    def longest(self, step: "Central") -> float:
        """The longest step, at most 1, that leaves nothing below 0."""
        shares = ((-now / change)[change < 0] for now, change in zip(self[1:], step[1:], strict=True))
        return min(float(share.min(initial=1.0)) for share in shares)

    def products(self) -> float:
        return float(self.p @ self.zp + self.q @ self.zq)


class System:
    """Newton's equations at a point, by one factor: H + REGULAR + 1 / (p / zp + q / zq)."""

    def __init__(self, H: Array, slope: Array, penalty: Array, on: Array, at: Central) -> None:
        self.H, self.on, self.at = H, on, at
        self.gradient = H @ at.u + slope
        self.rp = penalty[on] + self.gradient[on] - at.zp
        self.rq = penalty[on] - self.gradient[on] - at.zq
        self.weight = 1 / (at.p / at.zp + at.q / at.zq)
        K, diagonal = H.copy(), np.arange(len(H))
        K[diagonal, diagonal] += REGULAR
        K[on, on] += self.weight
        self.factor = cho_factor(K, lower=True, overwrite_a=True, check_finite=False)

    def step(self, cp: Array, cq: Array) -> Central:
        """Towards p zp = cp + p zp and q zq = cq + q zq."""
        _, p, q, zp, zq = self.at
        a, b = cp / p - self.rp, cq / q - self.rq
        right = -self.gradient
        right[self.on] = self.weight * (a * p / zp - b * q / zq)
        du = cho_solve(self.factor, right, check_finite=False)
        inner, curved = du[self.on], (self.H @ du + REGULAR * du)[self.on]
        dp, dq = (a - curved) * p / zp, (b + curved) * q / zq
        less = p * zq < q * zp  # the smaller is found without cancellation, the other follows
        dp, dq = np.where(less, dp, dq + inner), np.where(less, dp - inner, dq)
        return Central(du, dp, dq, (cp - zp * dp) / p, (cq - zq * dq) / q)


def central_minimum(H: Array, slope: Array, penalty: Array) -> Array:
    """About the minimum of slope' u + u' H u / 2 + penalty' |u|; entries that it turns off are exactly 0.

    Parameters
    ----------
    H : ndarray of shape (k, k)
        Symmetric and positive semidefinite.
    slope, penalty : ndarray of shape (k,)
        Some of the penalties are above 0.

    Returns
    -------
    ndarray of shape (k,)
    """
    scale = 1 / np.sqrt(np.maximum(np.diag(H), 1e-300))
    H, slope, penalty = H * scale * scale[:, None], slope * scale, penalty * scale
    on, u = np.flatnonzero(penalty > 0), np.zeros(len(H))
    inner = penalty[on]
    mu = float(slope @ slope) / max(len(on), 1)
    if mu == 0:
        return u
    part = np.minimum(mu / np.maximum(inner, 1e-300), FAR * np.sqrt(mu))
    now = Central(u, part, part, mu / part, mu / part)
    best, idle = np.inf, 0
    with np.errstate(all="ignore"):
        for _ in range(MOST):
            mu = now.products() / max(2 * len(on), 1)
            idle = 0 if mu < 0.9 * best else idle + 1
            best = min(best, mu)
            if mu <= ENOUGH or idle > PATIENCE:
                break
            try:
                system = System(H, slope, penalty, on, now)
            except np.linalg.LinAlgError:
                break
            _, p, q, zp, zq = now
            ahead = system.step(-p * zp, -q * zq)
            after = now.moved(now.longest(ahead), ahead).products() / (2 * len(on))
            aim = (after / mu) ** 3 * mu
            step = system.step(aim - p * zp - ahead.p * ahead.zp, aim - q * zq - ahead.q * ahead.zq)
            t = now.longest(step)
            following = now.moved(t if t == 1 else 0.995 * t, step)
            following.u[on] = following.p - following.q
            if not all(np.isfinite(part).all() for part in following):
                break
            now = following
    u = now.u.copy()
    u[on] = np.where(np.maximum(now.p, now.q) < np.minimum(now.zp, now.zq), 0, u[on])
    return np.asarray(u * scale)
