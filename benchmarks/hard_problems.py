"""Random hard problems of softmax regression, each of its seed alone; nothing of fastsoftmax is imported here."""

from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
from numpy.typing import NDArray

Array = NDArray[Any]
Generator = np.random.Generator
MOST_PARAMETERS = 1600  # the reference factors a matrix of that size


class Hard(NamedTuple):
    """Arguments of a fit, and what is hard about it."""

    X: Any
    y: Array
    sample_weight: Array | None
    options: dict[str, Any]
    kinds: list[str]


def log_uniform(rng: Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def some(rng: Generator, m: int) -> Array:
    """A few of m columns, at least one."""
    return rng.permutation(m)[: max(1, int(m * rng.random() ** 2))]


# ---- features: what they are


def dummies(rng: Generator, n: int, m: int) -> Array:
    """Categories of a Zipf law, a column each, none left out."""
    columns, left = [], m
    while left > 0:
        levels = min(left, int(rng.integers(2, 26)))
        law = np.arange(1.0, levels + 1) ** -rng.uniform(1, 2.5)
        columns.append(rng.choice(levels, n, p=law / law.sum())[:, None] == np.arange(levels))
        left -= levels
    return np.concatenate(columns, 1).astype(np.float64)


BASES = {
    "normal": lambda rng, n, m: rng.standard_normal((n, m)),
    "heavy tails": lambda rng, n, m: rng.standard_t(1, (n, m)),
    "counts": lambda rng, n, m: rng.poisson(np.exp(rng.normal(-1, 2, m)), (n, m)).clip(0, 10**6).astype(float),
    "pixels": lambda rng, n, m: rng.integers(0, 256, (n, m)).astype(float) * (rng.random((n, m)) < rng.random()),
    "dummies": dummies,
}


# ---- features: what befalls them, in this order


def rare(rng: Generator, X: Array) -> None:
    for j in some(rng, X.shape[1]):
        rows = rng.permutation(len(X))[: rng.choice([1, 5])]
        X[:, j] = 0
        X[rows, j] = 1


def constant(rng: Generator, X: Array) -> None:
    X[:, some(rng, X.shape[1])] = rng.choice([0, 1, 255, 1e6])


def duplicated(rng: Generator, X: Array) -> None:
    for j in some(rng, X.shape[1]):
        X[:, j] = X[:, rng.integers(X.shape[1])] * rng.choice([1, -1, 3])


def collinear(rng: Generator, X: Array) -> None:
    for j in some(rng, X.shape[1]):
        X[:, j] = X @ (rng.standard_normal(X.shape[1]) * (np.arange(X.shape[1]) != j))


def corrupt_cell(rng: Generator, X: Array) -> None:
    X[rng.integers(len(X)), rng.integers(X.shape[1])] *= 1e6


def corrupt_row(rng: Generator, X: Array) -> None:
    X[rng.integers(len(X))] *= 1e6


def offsets(rng: Generator, X: Array) -> None:
    columns = some(rng, X.shape[1])
    X[:, columns] += log_uniform(rng, 1, 1e6) * np.abs(X[:, columns]).mean(0)


def scales(rng: Generator, X: Array) -> None:
    X *= 10.0 ** rng.uniform(-6, 6, X.shape[1])


def extreme_scales(rng: Generator, X: Array) -> None:
    for j in some(rng, X.shape[1]):
        X[:, j] *= rng.choice([1e-150, 1e150]) / max(np.abs(X[:, j]).max(), 1e-6)


BEFALL = {
    "rare columns": (rare, 0.15),
    "constant columns": (constant, 0.2),
    "duplicated columns": (duplicated, 0.15),
    "collinear columns": (collinear, 0.1),
    "corrupt cell": (corrupt_cell, 0.1),
    "corrupt row": (corrupt_row, 0.05),
    "offsets": (offsets, 0.2),
    "scales": (scales, 0.25),
    "extreme scales": (extreme_scales, 0.05),
}


def features(rng: Generator, n: int, m: int) -> tuple[Array, list[str]]:
    """X (n, m) in float64, before its dtype is chosen, and what it is."""
    base = str(rng.choice(list(BASES), p=[0.45, 0.1, 0.15, 0.1, 0.2]))
    X, kinds = BASES[base](rng, n, m), [base]
    for kind, (change, share) in BEFALL.items():
        if rng.random() < share:
            change(rng, X)
            kinds.append(kind)
    return X, kinds


def stored(rng: Generator, X: Array, kinds: list[str]) -> Any:
    """X in a dtype and layout."""
    if kinds == ["pixels"] and rng.random() < 0.7:
        kinds.append("uint8")
        return X.astype(np.uint8)
    if "extreme scales" not in kinds and rng.random() < 0.3:
        kinds.append("float32")
        X = X.astype(np.float32)
    if rng.random() < 0.3:
        kinds.append("csr")
        X = scipy.sparse.csr_matrix(X)
    return X


# ---- labels and weights


def scores(rng: Generator, X: Array, c: int) -> Array:
    """Logits that depend on columns of any scale alike."""
    deviation = X.std(0) if np.abs(X).max() < 1e100 else np.ones(X.shape[1])
    scaled = (X - X.mean(0)) / np.where(deviation > 0, deviation, 1)
    scaled = np.where(np.abs(scaled) < 1e100, scaled, 0)
    return scaled @ (rng.standard_normal((c, X.shape[1])) * log_uniform(rng, 0.1, 3)).T + rng.standard_normal(c)


def labels(rng: Generator, X: Array, c: int) -> tuple[Array, str]:
    """Labels (n,), two of them at least, or probabilities (n, c)."""
    n, Z = len(X), scores(rng, X, c)
    kind = str(rng.choice(["noisy", "random labels", "separable", "unbalanced", "one member", "soft"],
                          p=[0.35, 0.1, 0.2, 0.1, 0.1, 0.15]))  # fmt: skip
    if kind == "soft":
        Z = Z / max(1.0, Z.std()) + rng.gumbel(size=Z.shape) * rng.choice([1, 10])
        Y = np.exp(Z - Z.max(1, keepdims=True))
        return Y / Y.sum(1, keepdims=True), kind
    y = (Z + (kind != "separable") * rng.gumbel(size=Z.shape)).argmax(1)
    if kind == "random labels":
        y = rng.integers(0, c, n)
    elif kind == "unbalanced":
        y = (Z.argsort(0).argsort(0)[:, 0] >= n * 0.97) * rng.integers(1, c, n)
    elif kind == "one member":
        y[y == c - 1] = 0
        y[rng.integers(n)] = c - 1
    if (y == y[0]).all():
        y[0] = (y[0] + 1) % c
    return y, kind


def weights(rng: Generator, n: int) -> tuple[Array | None, list[str]]:
    kind = str(rng.choice(["", "weights", "weights with zeros", "weights of a huge range"], p=[0.7, 0.1, 0.1, 0.1]))
    if not kind:
        return None, []
    w = 10.0 ** rng.uniform(-8, 8, n) if kind == "weights of a huge range" else rng.exponential(size=n)
    if kind == "weights with zeros":
        w *= rng.random(n) < 0.6
    w[0] += w.sum() == 0
    return w, [kind]


# ---- options


def options(rng: Generator, balanced: bool) -> tuple[dict[str, Any], list[str]]:
    """Options of SoftmaxRegression, and those that may be hard; `balanced`: whether class_weight may be so."""
    C = rng.choice([np.inf, 1.0, log_uniform(rng, 1e-6, 1e8)], p=[0.2, 0.2, 0.6])
    l1_ratio = rng.choice([0.0, 1.0, rng.uniform(0.05, 0.95)], p=[0.7, 0.15, 0.15]) if np.isfinite(C) else 0.0
    chosen = {
        "C": float(C),
        "l1_ratio": float(l1_ratio),
        "tol": float(rng.choice([1e-4, 1e-6], p=[0.85, 0.15])),
        "fit_intercept": bool(rng.random() >= 0.15),
        "standardize": bool(rng.random() < 0.25),
        "label_smoothing": float(rng.uniform(0, 0.3) if rng.random() < 0.1 else 0),
        "class_weight": "balanced" if rng.random() < 0.15 and balanced else None,
        "warm_start": bool(rng.random() < 0.05),
    }
    size = "C = inf" if np.isinf(C) else "C > 1e4" if C > 1e4 else "C < 1e-2" if C < 1e-2 else "C moderate"
    kinds = [size, "l1" if l1_ratio == 1 else "elastic net" if l1_ratio else "l2" if np.isfinite(C) else "no penalty"]
    kinds += ["no intercept"] * (not chosen["fit_intercept"]) + ["tol 1e-6"] * (chosen["tol"] < 1e-5)
    kinds += [name.replace("_", " ") for name in ("standardize", "label_smoothing", "class_weight", "warm_start")
              if chosen[name]]  # fmt: skip
    return chosen, kinds


def make(seed: int) -> Hard:
    """The problem of a seed."""
    rng = np.random.default_rng(seed)
    c = 2 if rng.random() < 0.3 else int(log_uniform(rng, 3, 13 if rng.random() < 0.97 else 61))
    n = max(c, int(log_uniform(rng, 4, 3001)))
    m = min(int(log_uniform(rng, 1, 121)), MOST_PARAMETERS // c - 1)
    if rng.random() < 0.03:  # 1, 2, 3, ...
        X, kinds = np.arange(1.0, n + 1)[:, None], ["x = 1..n"]
        y, kind = np.arange(n) * c // n, "separable"
    else:
        X, kinds = features(rng, n, m)
        y, kind = labels(rng, X, c)
    kinds += [kind] + ["n < m"] * (n < X.shape[1]) + ["c > 12"] * (c > 12)
    X = stored(rng, X, kinds)
    w, more = weights(rng, n)
    totals = (np.ones(n) if w is None else w) @ (y if y.ndim == 2 else y[:, None] == np.unique(y))
    chosen, hard = options(rng, bool((totals > 0).all()))
    if chosen["warm_start"] and X.dtype == np.uint8:
        chosen["warm_start"] = False
        hard.remove("warm start")
    return Hard(X, y, w, chosen, kinds + more + hard)
