"""F and its infimum in float64, by Newton's method with the whole Hessian; nothing of fastsoftmax is imported here.

For hundreds of parameters, not thousands. What it returns is F at coefficients that it found, so never below F*.
|w| is smoothed as in the interior-point method of Koh, Kim & Boyd (2007), of whose barrier the bound on u is
minimised out, ever sharper until the smoothing is worth a fiftieth of the tolerance.
"""

from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
import scipy.sparse
from numpy.typing import NDArray

Array = NDArray[Any]
LEAST = 1e-14  # damping, of a matrix with ones on its diagonal
SMALL = 1e-13
CUTS = (1e-12, 1e-9, 1e-6)  # of what is told from 0 in an orthogonal basis


class Infimum(NamedTuple):
    """What was reached, and whether Newton's method says that no more than a tenth of the tolerance is left."""

    value: float
    sure: bool


def targets(y: Array, sample_weight: Array | None, class_weight: str | None, smoothing: float) -> tuple[Array, Array]:
    """Probabilities (n, c), and the weights of the rows (n,), those of the classes in them."""
    soft = y if y.ndim == 2 else (y[:, None] == np.unique(y)).astype(np.float64)
    weight = np.ones(len(y)) if sample_weight is None else sample_weight.astype(np.float64)
    if class_weight == "balanced":
        counts = weight @ soft
        weight = weight * (soft @ (counts.sum() / (len(counts) * counts)))
    return (1 - smoothing) * soft + smoothing / soft.shape[1], weight


def column_deviation(X: Array, share: Array) -> Array:
    """The deviation of columns of which no entry is above 1; 0 where all entries are the same."""
    squares = share @ (X - share @ X) ** 2
    return np.where(np.ptp(X, axis=0) == 0, 0, np.sqrt(squares))


class Reference:
    """F of a SoftmaxRegression with some options on some data, as its docstring has it.

    Parameters
    ----------
    X : ndarray or CSR of shape (n, m)
    y : ndarray of shape (n,) or (n, c)
    sample_weight : ndarray of shape (n,), optional
    options : dict
        Of SoftmaxRegression.
    """

    def __init__(self, X: Any, y: Array, sample_weight: Array | None, options: dict[str, Any]) -> None:
        smoothing = options.get("label_smoothing", 0.0)
        Y, weight = targets(y, sample_weight, options.get("class_weight"), smoothing)
        kept = weight > 0
        dense = (X.toarray() if scipy.sparse.issparse(X) else X)[kept].astype(np.float64)
        self.X, self.Y, self.share = dense, Y[kept], weight[kept] / weight.sum()
        self.intercept, self.tol = options.get("fit_intercept", True), options.get("tol", 1e-4)
        self.binary = Y.shape[1] == 2
        C, l1_ratio = options.get("C", 1.0), options.get("l1_ratio", 0.0)
        self.l1, self.l2 = (ratio / C / weight.sum() for ratio in (l1_ratio, 1 - l1_ratio))
        largest = np.abs(dense).max(0, initial=0)
        self.largest = np.where(largest > 0, largest, 1)
        self.unit = np.ones(dense.shape[1])  # what the penalty multiplies coefficients by
        if options.get("standardize"):
            deviation = column_deviation(dense / self.largest, self.share) * self.largest
            self.unit = np.where(deviation > 0, deviation, 1)
        used = self.share @ self.Y > 0
        self.active = np.flatnonzero(used) if self.intercept else np.arange(Y.shape[1])

    def value(self, coef: Array, intercept: Array) -> float:
        """F at coefficients as an estimator has them, its logits in long double."""
        coef = coef.astype(np.longdouble)
        Z = self.X.astype(np.longdouble) @ coef.T + intercept.astype(np.longdouble)
        if self.binary:
            Z = np.concatenate([np.zeros_like(Z), Z], 1)
        Z = Z - Z.max(1, keepdims=True)
        losses = np.log(np.exp(Z).sum(1)) - (self.Y * Z).sum(1)
        size = np.abs(coef * self.unit)
        return float(self.share @ losses + self.l1 * size.sum() + 0.5 * self.l2 * (size**2).sum())

    def at_zero(self) -> float:
        """F of coef = 0 and the best intercept."""
        if not self.intercept:
            return float(np.log(self.Y.shape[1]))
        mean = (self.share @ self.Y)[self.active]
        return float(-(mean * np.log(mean)).sum())

    def infimum(self, coef: Array | None = None, intercept: Array | None = None) -> Infimum:
        """The infimum of F, sought from 0, or from coefficients as an estimator has them."""
        best = Infimum(self.at_zero(), len(self.active) == 1)
        for cut in CUTS[:1] if self.l1 else CUTS:
            if best.sure:
                break
            space = Space(self, cut)
            if not space.A.shape[1]:
                return Infimum(best.value, True)
            theta = np.zeros((1 if self.binary else len(self.active), space.A.shape[1]))
            if coef is not None and intercept is not None:
                kept = [0] if self.binary else self.active
                theta = space.entered(coef.astype(np.float64)[kept], intercept.astype(np.float64)[kept])
            newton = Newton(space, self.Y[:, self.active], self.share, self.tol)
            try:
                theta, sure = newton.run(theta)
            except scipy.linalg.LinAlgError:
                continue
            value = self.value(*self.spread(*space.left(theta)))
            sure &= value <= newton.value(theta, np.inf) + 0.1 * self.tol  # else coefficients are too large to be had
            best = Infimum(min(best.value, value), bool(sure))
        return best

    def spread(self, coef: Array, intercept: Array) -> tuple[Array, Array]:
        """Coefficients of all classes: those without rows have intercepts near -inf."""
        if self.binary:
            return coef, intercept
        c = self.Y.shape[1]
        every, shift = np.zeros((c, coef.shape[1]), np.longdouble), np.full(c, -1e300, np.longdouble)
        every[self.active], shift[self.active] = coef, intercept
        return every, shift


class Space:
    """Coordinates in which Newton's method knows no scales: theta of columns A (n, q), the last of them ones.

    Columns are centred, if there is an intercept, and scaled by their curvature; constant ones are left out, and so
    are those that l1 is known to keep at 0. Without l1 an orthogonal basis follows, of A above the roots of l2: then a
    row a million times too large hides nothing of the others.
    """

    def __init__(self, of: Reference, cut: float) -> None:
        X, unit = of.X / of.largest, of.unit / of.largest
        self.largest, self.intercept, self.mean = of.largest, of.intercept, of.share @ X * of.intercept
        spread = column_deviation(X, of.share) if of.intercept else np.sqrt(of.share @ X**2)
        scale = np.hypot(0.5 * spread, np.sqrt(of.l2) * unit)
        kept = np.flatnonzero(spread > 0)
        A = (X[:, kept] - self.mean[kept]) / scale[kept]
        kept = kept[of.l1 * unit[kept] / scale[kept] <= of.share @ np.abs(A)]  # no gradient is larger
        A = (X[:, kept] - self.mean[kept]) / scale[kept]
        roots = np.sqrt(of.l2) * unit[kept] / scale[kept]
        self.R = np.eye(len(kept))
        if not of.l1 and len(kept):
            stack = np.concatenate([np.sqrt(of.share)[:, None] * A, np.diag(roots)])
            stack = stack[
                np.argsort(-np.abs(stack).max(1), kind="stable")
            ]  # large rows first: then QR is exact by rows
            R, order = scipy.linalg.qr(stack, mode="r", pivoting=True)
            rank = int((np.abs(np.diag(R)) > cut * abs(R[0, 0])).sum())
            order = order[:rank]
            self.R, kept, A, roots = R[:rank, :rank], kept[order], A[:, order], np.diag(roots)[:, order]
            A, roots = self.divided(A), self.divided(roots)
        else:
            roots = np.diag(roots)
        self.kept, self.scale, q = kept, scale[kept], len(kept) + of.intercept
        self.A = np.c_[A, np.ones(len(A))] if of.intercept else A
        self.l1, self.l2 = np.zeros(q), np.zeros((q, q))
        self.l1[: len(kept)] = of.l1 * unit[kept] / self.scale
        self.l2[: len(kept), : len(kept)] = roots.T @ roots

    def divided(self, rows: Array) -> Array:
        """Rows times the inverse of R."""
        return np.asarray(scipy.linalg.solve_triangular(self.R, rows.T, trans="T")).T

    def entered(self, coef: Array, intercept: Array) -> Array:
        """theta of coefficients of X."""
        every = coef * self.largest
        theta = (every[:, self.kept] * self.scale) @ self.R.T
        return np.c_[theta, intercept + every @ self.mean] if self.intercept else theta

    def left(self, theta: Array) -> tuple[Array, Array]:
        """Coefficients of X and intercepts of theta, in long double: means may be large."""
        inner, shift = theta[:, : len(self.kept)], theta[:, len(self.kept) :].sum(1).astype(np.longdouble)
        coef = np.zeros((len(theta), len(self.largest)), np.longdouble)
        coef[:, self.kept] = scipy.linalg.solve_triangular(self.R, inner.T).T / self.scale
        return coef / self.largest, shift - coef @ self.mean


class Newton:
    """Minimises sum_i share_i CE_i + sum_j l1_j |theta_j| + theta l2 theta' / 2 over theta (r, q).

    With r = 1 the logits are (0, A theta).
    """

    def __init__(self, space: Space, Y: Array, share: Array, tol: float) -> None:
        self.A, self.l1, self.l2, self.Y, self.share, self.tol = space.A, space.l1, space.l2, Y, share, tol

    def run(self, theta: Array) -> tuple[Array, bool]:
        """From theta, sharper and sharper."""
        exact, penalised = self.value(theta, np.inf), theta.shape[0] * int((self.l1 > 0).sum())
        if not penalised:
            return self.descend(theta, np.inf, SMALL)
        last = 2 * penalised / (0.02 * self.tol)
        sharpness = min(last, 2 * penalised / min(exact, 1.0)) if exact > 0 else last
        while sharpness < last:
            theta, _ = self.descend(theta, sharpness, 0.01 * self.tol)
            sharpness *= 10
        return self.descend(theta, last, SMALL)

    def logits(self, theta: Array) -> Array:
        Z = self.A @ theta.T
        Z = np.concatenate([np.zeros_like(Z), Z], 1) if len(theta) == 1 else Z
        return Z - Z.max(1, keepdims=True)

    def value(self, theta: Array, sharpness: float) -> float:
        Z = self.logits(theta)
        losses = np.log(np.exp(Z).sum(1)) - (self.Y * Z).sum(1)
        penalties = self.l1 * self.smoothed(theta, sharpness)[0] + 0.5 * (theta @ self.l2) * theta
        return float(self.share @ losses + penalties.sum())

    def smoothed(self, theta: Array, sharpness: float) -> tuple[Array, Array, Array]:
        """|theta| from below, and two derivatives; 0 where there is no l1."""
        a = np.where(self.l1 > 0, sharpness * np.where(self.l1 > 0, self.l1, 1), 0)
        if np.isinf(sharpness):
            return np.abs(theta), np.zeros_like(theta), np.zeros_like(theta)
        root = np.hypot(1, a * theta)
        value = (root - 1 - np.log(0.5 * (1 + root))) / np.where(a > 0, a, 1)
        return value, a * theta / (1 + root), a / (root * (1 + root))

    def derivatives(self, theta: Array, sharpness: float) -> tuple[Array, Array]:
        """The gradient (r, q) and the Hessian (rq, rq)."""
        P = np.exp(self.logits(theta))
        P /= P.sum(1, keepdims=True)
        r, q = theta.shape
        R = self.share[:, None] * (P - self.Y)
        if r == 1:
            R = R[:, 1:]
            H = self.A.T @ (self.A * (self.share * P[:, 0] * P[:, 1])[:, None])
        else:
            G = ((np.sqrt(self.share)[:, None] * P)[:, :, None] * self.A[:, None, :]).reshape(len(P), r * q)
            H = -(G.T @ G)
            for k in range(r):
                H[k * q : (k + 1) * q, k * q : (k + 1) * q] += self.A.T @ (self.A * (self.share * P[:, k])[:, None])
        _, first, second = self.smoothed(theta, sharpness)
        H[np.diag_indices(r * q)] += (self.l1 * second).ravel()
        for k in range(r):
            H[k * q : (k + 1) * q, k * q : (k + 1) * q] += self.l2
        return R.T @ self.A + theta @ self.l2 + self.l1 * first, H

    def descend(self, theta: Array, sharpness: float, small: float, most: int = 200) -> tuple[Array, bool]:
        """Newton's steps to where they promise `small`, or to the end of rounding; damped where one does not descend.

        `small` is far below the tolerance: where a row is far out, the curvature is large on a short stretch only, and
        a step that promises little may lead out of it. The second of what is returned: whether little was promised.
        """
        damping, value, promised = 1e-6, self.value(theta, sharpness), np.inf
        for _ in range(most):
            if value <= 0.01 * self.tol:  # F is positive
                return theta, True
            gradient, H = self.derivatives(theta, sharpness)
            step = newton_step(gradient, H, LEAST)
            promised = gain = 0.5 * float((gradient * step).sum())
            trial = self.value(theta - step, sharpness)
            if promised <= small:
                return theta - step * (trial < value), True
            length = 1.0
            while not trial < value - 1e-3 * length * gain and length > 1e-3:  # first shorter, then damped
                length, step = 0.5 * length, 0.5 * step
                trial = self.value(theta - step, sharpness)
            if not trial < value - 1e-3 * length * gain:
                step, trial, damping = self.damped(theta, value, sharpness, damping, gradient, H)
            if not trial < value:
                break
            theta, value = theta - step, trial
        return theta, promised <= 1e-3 * self.tol

    def damped(
        self, theta: Array, value: float, sharpness: float, damping: float, gradient: Array, H: Array
    ) -> tuple[Array, float, float]:
        """A step damped until it descends, as in Levenberg and Marquardt; F there; the damping to begin with next."""
        while True:
            step = newton_step(gradient, H, damping)
            trial = self.value(theta - step, sharpness)
            if trial < value - 5e-4 * float((gradient * step).sum()) or damping > 1e12:
                return step, trial, max(0.1 * damping, LEAST)
            damping *= 10


def newton_step(gradient: Array, H: Array, damping: float) -> Array:
    """What solves (H + damping * diag(H)) step = gradient, the damping raised until rounding leaves it definite."""
    unit = np.sqrt(np.maximum(H.diagonal(), 1e-18 * H.diagonal().max() + 1e-300))
    while True:
        damped = H / unit / unit[:, None]
        damped[np.diag_indices(len(H))] += damping
        try:
            factor = scipy.linalg.cho_factor(damped, overwrite_a=True, check_finite=False)
        except scipy.linalg.LinAlgError:
            if not damping < 1e6:
                raise
            damping *= 10
            continue
        return np.asarray(scipy.linalg.cho_solve(factor, gradient.ravel() / unit) / unit).reshape(gradient.shape)
