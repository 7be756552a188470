"""Naive NumPy twins of what the package computes, in float64; nothing of the package is imported here."""

import numpy as np


def softmax(Z, axis=-1):
    E = np.exp(Z - np.max(Z, axis, keepdims=True))
    return E / E.sum(axis, keepdims=True)


def logsumexp(Z, axis=-1):
    M = np.max(Z, axis, keepdims=True)
    return np.squeeze(M, axis) + np.log(np.exp(Z - M).sum(axis))


def log_softmax(Z, axis=-1):
    return Z - np.expand_dims(logsumexp(Z, axis), axis)


def targets(y, c, smoothing=0.0):
    """Labels or probabilities -> smoothed probabilities (n, c)."""
    y = np.asarray(y)
    Y = (y.reshape(-1, 1) == np.arange(c)) * 1.0 if y.ndim == 1 or y.shape[1] == 1 else y.astype(np.float64)
    return (1 - smoothing) * Y + smoothing / c


def cross_entropy(Z, y, sample_weight=None, smoothing=0.0):
    """(s_i CE_i, s_i (P - Y))"""
    Z = np.asarray(Z, np.float64)
    Y, s = targets(y, Z.shape[1], smoothing), np.ones(len(Z)) if sample_weight is None else np.asarray(sample_weight)
    return -s * (Y * log_softmax(Z)).sum(1), s[:, None] * (softmax(Z) - Y)


def padded_cross_entropy(Z, y, ignore_index, sample_weight=None, smoothing=0.0, reduction="mean"):
    """(loss, dZ) of logits (..., c) and labels (...), row by row as the words of PyTorch's CrossEntropyLoss say."""
    losses, dZ, divisor = np.zeros(y.shape), np.zeros(Z.shape), 0.0
    for at in np.ndindex(y.shape):
        if y[at] == ignore_index:
            continue
        z, s = np.asarray(Z[at], np.float64), 1.0 if sample_weight is None else float(sample_weight[at])
        target = (1 - smoothing) * (np.arange(len(z)) == y[at]) + smoothing / len(z)
        losses[at], dZ[at] = -s * target @ log_softmax(z), s * (softmax(z) - target)
        divisor += s
    if reduction == "none":
        return losses, dZ
    if reduction == "sum":
        return losses.sum(), dZ
    return (losses.sum() / divisor, dZ / divisor) if divisor else (np.nan, dZ)


def loss_gradient(X, y, coef, intercept=None, sample_weight=None, smoothing=0.0, l2=0.0, scale=1.0, mean=True):
    X, coef = np.asarray(X, np.float64) * scale, np.asarray(coef, np.float64)
    b = np.zeros(len(coef)) if intercept is None else np.asarray(intercept, np.float64)
    losses, R = cross_entropy(X @ coef.T + b, y, sample_weight, smoothing)
    S = 1.0 if not mean else len(X) if sample_weight is None else np.sum(sample_weight)
    loss = losses.sum() / S + 0.5 * l2 * (coef**2).sum()
    return loss, R.T @ X / S + l2 * coef, R.sum(0) / S


def sgd(X, y, c, order, batch, rate, momentum=0.0, nesterov=False, l2=0.0, sample_weight=None):
    """Weights after plain mini-batch descent over `order`, a list of epochs' row orders."""
    W, b = np.zeros((c, X.shape[1])), np.zeros(c)
    V, v = W.copy(), b.copy()
    s = np.ones(len(X)) if sample_weight is None else np.asarray(sample_weight, np.float64)
    n, S = (s > 0).sum(), s.sum()
    for rows in order:
        for start in range(0, len(rows), batch):
            part = rows[start : start + batch]
            _, G, g = loss_gradient(X[part], y[part], W, b, s[part], mean=False)
            G, g = G * n / (S * len(part)) + l2 * W, g * n / (S * len(part))
            V, v = momentum * V + G, momentum * v + g
            W, b = W - rate * (G + momentum * V if nesterov else V), b - rate * (g + momentum * v if nesterov else v)
    return W, b


def adam(X, y, c, order, batch, rate, betas=(0.9, 0.999), eps=1e-8):
    W, b = np.zeros((c, X.shape[1])), np.zeros(c)
    moments = [[np.zeros_like(p), np.zeros_like(p)] for p in (W, b)]
    t = 0
    for rows in order:
        for start in range(0, len(rows), batch):
            part = rows[start : start + batch]
            gradients = loss_gradient(X[part], y[part], W, b)[1:]
            t += 1
            for p, g, m in zip((W, b), gradients, moments, strict=True):
                m[0] = betas[0] * m[0] + (1 - betas[0]) * g
                m[1] = betas[1] * m[1] + (1 - betas[1]) * g * g
                p[...] = p - rate * (m[0] / (1 - betas[0] ** t)) / (np.sqrt(m[1] / (1 - betas[1] ** t)) + eps)
    return W, b


def objective(X, Y, coef, intercept, l2, l1, weight=None):
    """F in float64; Y are probabilities."""
    Z = np.asarray(X, np.float64) @ np.asarray(coef, np.float64).T + np.asarray(intercept, np.float64)
    s = np.ones(len(Z)) if weight is None else np.asarray(weight, np.float64)
    losses = np.where(s > 0, logsumexp(Z) - (Y * Z).sum(1), 0)
    return s @ losses / s.sum() + 0.5 * l2 * (coef.astype(np.float64) ** 2).sum() + l1 * np.abs(coef).sum()


def gradient(X, Y, coef, intercept, l2, weight=None):
    """Of the smooth part of F, in coef and in the intercept."""
    X, coef = np.asarray(X, np.float64), np.asarray(coef, np.float64)
    s = np.ones(len(X)) if weight is None else np.asarray(weight, np.float64)
    R = (s / s.sum())[:, None] * (softmax(X @ coef.T + np.asarray(intercept, np.float64)) - Y)
    return R.T @ X + l2 * coef, R.sum(0)


def optimum(X, Y, l2, l1=0.0, weight=None, fit_intercept=True):
    """The least F, by L-BFGS-B in float64 over positive and negative parts: slow, and sure."""
    from scipy.optimize import minimize

    m, c = np.shape(X)[1], Y.shape[1]
    k = c * m

    def value(theta):
        coef, b = (theta[:k] - theta[k : 2 * k]).reshape(c, m), theta[2 * k :] * fit_intercept
        G, g = gradient(X, Y, coef, b, l2, weight)
        total = objective(X, Y, coef, b, l2, 0.0, weight) + l1 * theta[: 2 * k].sum()
        return total, np.concatenate([(G + l1).ravel(), (l1 - G).ravel(), g * fit_intercept])

    bounds = [(0, None)] * (2 * k) + [(None, None)] * c
    options = {"maxiter": 20000, "maxfun": 40000, "ftol": 0, "gtol": 1e-11, "maxcor": 50}
    result = minimize(value, np.zeros(2 * k + c), jac=True, method="L-BFGS-B", bounds=bounds, options=options)
    theta = result.x
    return result.fun, (theta[:k] - theta[k : 2 * k]).reshape(c, m), theta[2 * k :]


def peak(score, low=-6.0, high=6.0, points=7):
    """Exponents that CLIP's search for a strength tries: evenly spaced, then with halved steps around the best."""
    step = (high - low) / (points - 1)
    tried = {low + k * step: score(low + k * step) for k in range(points)}
    while step > 1 / 8:
        best, step = max(sorted(tried), key=lambda e: tried[e]), step / 2
        tried |= {e: score(e) for e in (best - step, best + step) if low <= e <= high}
    return sorted(tried)


def lazy_adam(X, y, c, order, batch, rate, betas=(0.9, 0.999), eps=1e-8, l2=0.0):
    """Adam whose moments and weights move, penalty included, where a batch has entries; powers count all steps."""
    W, b = np.zeros((c, X.shape[1])), np.zeros(c)
    moments = [[np.zeros_like(p), np.zeros_like(p)] for p in (W, b)]
    means, t = [np.zeros_like(W), np.zeros_like(b)], 0
    for rows in order:
        for start in range(0, len(rows), batch):
            part = rows[start : start + batch]
            _, G, g = loss_gradient(X[part], y[part], W, b)
            here, t = (X[part] != 0).any(0), t + 1
            for p, d, m, now in zip((W, b), (G + l2 * W, g), moments, (here, np.ones(c, bool)), strict=True):
                m[0][..., now] = betas[0] * m[0][..., now] + (1 - betas[0]) * d[..., now]
                m[1][..., now] = betas[1] * m[1][..., now] + (1 - betas[1]) * d[..., now] ** 2
                up, down = m[0] / (1 - betas[0] ** t), np.sqrt(m[1] / (1 - betas[1] ** t)) + eps
                p[..., now] -= rate * up[..., now] / down[..., now]
            means = [mean + (p - mean) / t for mean, p in zip(means, (W, b), strict=True)]
    return W, b, *means
