"""F and its least value in float64, for columns of any scale; nothing of the package is imported here.

Penalties l2 and l1 may differ from column to column. Two classes with coef (1, m) have a first row of zeros.
"""

import numpy as np
from scipy.linalg import LinAlgError, cho_factor, cho_solve

from tests import reference


def dense(X):
    return np.asarray(X.toarray() if hasattr(X, "toarray") else X, np.float64)


def logits(X, coef, intercept):
    """(n, c); a single row of coef is that of the second class."""
    coef = np.asarray(coef, np.float64)
    Z = dense(X) @ coef.T + np.broadcast_to(np.asarray(intercept, np.float64), len(coef))
    return np.c_[np.zeros(len(Z)), Z] if len(coef) == 1 else Z


def loss(X, Y, coef, intercept, weight=None):
    """The weighted mean of the cross-entropies; Y are probabilities."""
    Z = logits(X, coef, intercept)
    return float(np.average(reference.logsumexp(Z) - (Y * Z).sum(1), weights=weight))


def objective(X, Y, coef, intercept, l2=0.0, l1=0.0, weight=None):
    """F, with products of penalties and coef taken so that neither of them overflows."""
    coef = np.asarray(coef, np.float64)
    ridge = ((np.sqrt(l2) * coef) ** 2).sum() / 2
    return loss(X, Y, coef, intercept, weight) + float(ridge + np.abs(l1 * coef).sum())


def deviations(X, weight=None):
    """Of the columns, 0 for constant ones; without an overflow."""
    X = dense(X)
    size = np.abs(X).max(0)
    V = X / np.where(size > 0, size, 1)
    mean = np.average(V, axis=0, weights=weight)
    found = np.sqrt(np.average((V - mean) ** 2, axis=0, weights=weight))
    return np.where(found > 1e-14, found, 0) * size


def null(Y, fit_intercept=True, weight=None):
    """F at coef = 0 with the best intercept."""
    share = np.average(Y, axis=0, weights=weight)
    share = share[share > 0]
    return float(-(share * np.log(share)).sum()) if fit_intercept else float(np.log(Y.shape[1]))


def infimum(X, Y, weight=None, fit_intercept=True):
    """The least F without a penalty, or what it falls to: Newton's method over centred columns of size 1."""
    V, c = _columns(X, weight, fit_intercept)[0], Y.shape[1]
    V = np.c_[V, np.ones(len(V))] if fit_intercept else V
    s = np.full(len(V), 1 / len(V)) if weight is None else np.asarray(weight, np.float64) / np.sum(weight)
    r, M = c - 1, V.shape[1]  # the last class has no parameters
    W, best, idle = np.zeros((r, M)), np.inf, 0
    value, G, P = _value(V, Y, s, W)
    while r * M and idle < 3:
        D = _direction(V, s, G, P)
        slope, t = float((G * D).sum()), 1.0
        if -slope < 1e-12 or value < 1e-12:
            break
        while t > 1e-10:
            now = _value(V, Y, s, W + t * D)
            if now[0] <= value + 1e-4 * t * slope:
                break
            t *= 0.3
        else:
            break
        W, (value, G, P) = W + t * D, now
        idle = 0 if value < best - 1e-13 else idle + 1
        best = min(best, value)
    return value


def _columns(X, weight, fit_intercept):
    """(columns that vary, centred with an intercept, at a size of 1; which they are; their units)"""
    X = dense(X)
    size = np.abs(X).max(0)
    V = X / np.where(size > 0, size, 1)
    if fit_intercept:
        V = V - np.average(V, axis=0, weights=weight)
    spread = np.sqrt(np.average(V**2, axis=0, weights=weight))
    used = spread > 1e-14
    return V[:, used] / spread[used], used, (size * spread)[used]


def _value(V, Y, s, W):
    """(F without a penalty, its gradient, probabilities of all classes but the last) for rows of parameters"""
    Z = np.c_[V @ W.T, np.zeros(len(V))]
    P = reference.softmax(Z)
    return float(s @ (reference.logsumexp(Z) - (Y * Z).sum(1))), (s[:, None] * (P - Y))[:, :-1].T @ V, P[:, :-1]


def _direction(V, s, G, P):
    r, M = G.shape
    H = np.zeros((r, M, r, M))
    for k in range(r):
        for q in range(k, r):
            H[k, :, q] = H[q, :, k] = (V * (s * P[:, k] * ((k == q) - P[:, q]))[:, None]).T @ V
    H = H.reshape(r * M, r * M)
    d = np.sqrt(np.maximum(H.diagonal(), 1e-30))
    H = H / d / d[:, None] + 1e-12 * np.eye(r * M)
    ridge = 0.0
    while True:
        try:
            return -(cho_solve(cho_factor(H + ridge * np.eye(r * M)), G.ravel() / d) / d).reshape(r, M)
        except LinAlgError:
            ridge = max(1e-12, 10 * ridge)


def lower_bound(X, Y, coef, intercept, l2=0.0, l1=0.0, weight=None, fit_intercept=True):
    """What F* is at least, with a penalty: the dual's value at the probabilities of coef, with its best intercept.

    With l1 alone at a point between these and Y that is feasible. It is F* where coef is optimal. Less than 1e-11 in
    the gradient of columns of size 1 is rounding: coefficients there are far below 1e6.
    """
    coef = np.asarray(coef, np.float64)
    s = np.full(len(Y), 1 / len(Y)) if weight is None else np.asarray(weight, np.float64) / np.sum(weight)
    V, used, unit = _columns(X, weight, fit_intercept)
    Z = V @ (coef[:, used] * unit).T
    if fit_intercept:  # that of centred columns, to begin with
        Z += np.average(logits(X, coef, intercept), axis=0, weights=weight)[-len(coef) :]
    Z = np.c_[np.zeros(len(Z)), Z] if len(coef) == 1 else Z
    P = reference.softmax(Z)
    for _ in range(100 * fit_intercept):
        g = s @ (P - Y)
        if np.abs(g).max() < 1e-16:
            break
        H = np.diag(s @ P) - (P * s[:, None]).T @ P
        step = np.linalg.lstsq(H, g, rcond=1e-13)[0]
        Z = Z - step / max(1.0, np.abs(step).max())
        P = reference.softmax(Z)
    G = np.abs((s[:, None] * (P - Y)).T @ V)[-len(coef) :]
    G[G < 1e-11] = 0
    with np.errstate(over="ignore", divide="ignore"):
        ridge = np.broadcast_to(np.sqrt(l2), len(used))[used] / unit
        lasso = np.broadcast_to(l1, len(used))[used] / unit
    share, conjugate = 1.0, 0.0
    if np.any(l2):
        conjugate = 0.5 * float(((np.maximum(G - lasso, 0) / ridge) ** 2).sum())
    elif G.size:
        share = min(1.0, float((lasso / np.maximum(G, 1e-300)).min()))
    A = Y + share * (P - Y)
    return float(-(s @ (A * np.log(np.where(A > 0, A, 1)))).sum()) - conjugate
