"""F and its infimum in float64, by Newton's method with the whole Hessian; nothing of fastsoftmax is imported here.

For hundreds of parameters, not thousands. Columns are centred and scaled first, so scales and offsets do not matter.
|w| is smoothed as in the interior-point method of Koh, Kim & Boyd (2007), of whose barrier the bound on u is
minimised out, ever sharper until the smoothing is worth a fiftieth of the tolerance.
"""

from typing import Any, NamedTuple

import numpy as np
import scipy.linalg
import scipy.sparse
from numpy.typing import NDArray

Array = NDArray[Any]


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
        if len(self.active) == 1:
            return Infimum(0.0, True)
        X = self.X / self.largest
        mean = self.share @ X if self.intercept else np.zeros(X.shape[1])
        spread = column_deviation(X, self.share) if self.intercept else np.sqrt(self.share @ X**2)
        unit = self.unit / self.largest
        scale = np.hypot(0.5 * spread, np.sqrt(self.l2) * unit)
        kept = spread > 0
        A = (X[:, kept] - mean[kept]) / scale[kept]
        l1, l2 = self.l1 * unit[kept] / scale[kept], self.l2 * (unit[kept] / scale[kept]) ** 2
        matters = l1 < self.share @ np.abs(A)  # no gradient is larger: other coefficients are 0
        A, l1, l2 = A[:, matters], l1[matters], l2[matters]
        if self.intercept:
            A, l1, l2 = np.c_[A, np.ones(len(A))], np.r_[l1, 0], np.r_[l2, 0]
        rows = 1 if self.binary else len(self.active)
        theta = np.zeros((rows, A.shape[1]))
        if coef is not None and intercept is not None:
            every = coef.astype(np.float64) * self.largest
            own = [every[:, kept][:, matters] * scale[kept][matters]]
            own += [(intercept + every @ mean)[:, None]] if self.intercept else []
            theta = np.concatenate(own, 1)[0 if self.binary else self.active].reshape(theta.shape)
        return Newton(A, self.Y[:, self.active], self.share, l1, l2, self.tol).run(theta)


class Newton:
    """Minimises sum_i share_i CE_i + sum_j (l1_j |theta_j| + l2_j theta_j^2 / 2) over theta (r, q).

    With r = 1 the logits are (0, A theta).
    """

    def __init__(self, A: Array, Y: Array, share: Array, l1: Array, l2: Array, tol: float) -> None:
        self.A, self.Y, self.share, self.l1, self.l2, self.tol = A, Y, share, l1, l2, tol

    def run(self, theta: Array) -> Infimum:
        """From theta, sharper and sharper."""
        exact = self.value(theta, np.inf)
        penalised = theta.shape[0] * (self.l1 > 0).sum()
        last = 2 * penalised / (0.02 * self.tol)
        sharpness = 2 * penalised / min(exact, 1.0) if penalised and exact > self.tol else last
        sure = False
        while True:
            theta, sure = self.descend(theta, min(sharpness, last) if penalised else np.inf)
            if not penalised or sharpness >= last:
                break
            sharpness *= 10
        return Infimum(min(exact, self.value(theta, np.inf)), sure)

    def logits(self, theta: Array) -> Array:
        Z = self.A @ theta.T
        Z = np.concatenate([np.zeros_like(Z), Z], 1) if len(theta) == 1 else Z
        return Z - Z.max(1, keepdims=True)

    def value(self, theta: Array, sharpness: float) -> float:
        Z = self.logits(theta)
        losses = np.log(np.exp(Z).sum(1)) - (self.Y * Z).sum(1)
        penalties = self.l1 * self.smoothed(theta, sharpness)[0] + 0.5 * self.l2 * theta**2
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
        H[np.diag_indices(r * q)] += (self.l2 + self.l1 * second).ravel()
        return R.T @ self.A + self.l2 * theta + self.l1 * first, H

    def descend(self, theta: Array, sharpness: float, most: int = 200) -> tuple[Array, bool]:
        """Steps damped as in Levenberg and Marquardt, to where they promise a hundredth of the tolerance."""
        damping, value, small = 1e-6, self.value(theta, sharpness), 0.01 * self.tol
        for _ in range(most):
            if value <= small:  # F is positive
                return theta, True
            gradient, H = self.derivatives(theta, sharpness)
            unit = np.sqrt(np.maximum(H.diagonal(), 1e-30))
            H /= unit[:, None] * unit
            while True:
                step = _solved(H, damping, gradient.ravel() / unit)
                step = None if step is None else (step / unit).reshape(theta.shape)
                promised = 0.0 if step is None else 0.5 * float((gradient * step).sum())
                if step is not None and promised <= small and damping <= 1e-9:
                    return theta - step * (self.value(theta - step, sharpness) < value), True
                trial = value if step is None else self.value(theta - step, sharpness)
                if step is not None and trial < value - 1e-3 * promised:
                    break
                damping *= 10
                if damping > 1e12:
                    return theta, False
            damping = max(damping * (0.01 if value - trial > 0.7 * promised else 0.3), 1e-13)
            theta, value = theta - step, trial
        return theta, False


def _solved(H: Array, damping: float, gradient: Array) -> Array | None:
    """The step, or None where rounding leaves the matrix indefinite."""
    try:
        return np.asarray(scipy.linalg.cho_solve(_factor(H, damping), gradient))
    except scipy.linalg.LinAlgError:
        return None


def _factor(H: Array, damping: float) -> tuple[Array, bool]:
    damped = H.copy()
    damped[np.diag_indices(len(H))] += damping
    return scipy.linalg.cho_factor(damped, overwrite_a=True, check_finite=False)  # type: ignore[no-any-return]
