"""What a call costs beside its work: drivers, the functions on a few rows, a model and an estimator on one row.

Run: python -m pip install '.[peers]' && python benchmarks/compare_calls.py

One process, the calls taking turns, warm; medians in microseconds. PyTorch is left out where it is not installed.
"""

import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numba
import numpy as np
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from suite.gate import recorded

import fastsoftmax as fs

ROUNDS, CALLS = 15, 300


def medians(calls: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Microseconds of a call, the median over rounds in which they take turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for k in range(ROUNDS + 3):
        for name, call in calls.items():
            start = time.perf_counter()
            for _ in range(CALLS):
                call()
            if k >= 3:
                times[name].append((time.perf_counter() - start) / CALLS * 1e6)
    return {name: float(np.median(t)) for name, t in times.items()}


def arrays(args: Any) -> list[Any]:
    """Those among arguments, and within tuples."""
    return [a for arg in args for a in (arg if isinstance(arg, tuple) else (arg,)) if isinstance(a, np.ndarray)]


def driver_call() -> dict[str, Callable[[], Any]]:
    """A sweep over one row of one feature, and an empty dispatcher with as many array arguments."""
    X, y, coef = np.zeros((1, 1)), [0], np.zeros((2, 1))
    driver, args = recorded(lambda: fs.loss_gradient(X, y, coef))
    given = arrays(args)
    names = ", ".join(f"a{i}" for i in range(len(given)))
    made: dict[str, Any] = {}
    exec(f"def empty({names}): pass", made)
    empty = numba.njit(made["empty"])
    title = f"an empty dispatcher, {len(given)} arrays"
    return {"a driver, 1 row": lambda: driver(*args), title: lambda: empty(*given)}


def main() -> None:
    """Print a table."""
    rng = np.random.default_rng(0)
    Z, X, y, coef = rng.standard_normal((8, 5)), rng.standard_normal((8, 5)), rng.integers(0, 3, 8), np.zeros((3, 5))
    bias, wide = np.zeros(3), rng.standard_normal((64, 784)).astype(np.float32)
    weights, intercept = rng.standard_normal((10, 784)).astype(np.float32), np.zeros(10, np.float32)
    model, one = fs.SoftmaxModel(weights, intercept), wide[:1].copy()
    ours, theirs = fs.SoftmaxRegression(tol=1), LogisticRegression(max_iter=1)
    labels = np.arange(64) % 10
    ours.fit(wide, labels)
    theirs.fit(wide, labels)
    sweep, args = recorded(lambda: model.predict(wide))
    calls: dict[str, Callable[[], Any]] = driver_call() | {
        "fs.softmax (8, 5)": lambda: fs.softmax(Z),
        "scipy.special.softmax (8, 5)": lambda: softmax(Z, axis=-1),
        "fs.loss_gradient (8, 5, 3)": lambda: fs.loss_gradient(X, y, coef, bias),
        "SoftmaxModel.predict_proba (1, 784)": lambda: model.predict_proba(one),
        "SoftmaxModel.predict (64, 784)": lambda: model.predict(wide),
        "fs.predict_proba (64, 784)": lambda: fs.predict_proba(wide, weights, intercept),
        "the driver's call in these two": lambda: sweep(*args),
        "SoftmaxRegression.predict_proba (1, 784)": lambda: ours.predict_proba(one),
        "LogisticRegression.predict_proba (1, 784)": lambda: theirs.predict_proba(one),
    }
    if find_spec("torch"):
        import torch

        x, W, b = torch.from_numpy(one), torch.from_numpy(weights), torch.from_numpy(intercept)
        calls["torch.softmax(linear(x)) (1, 784)"] = lambda: torch.softmax(torch.nn.functional.linear(x, W, b), 1)
    print("| call | us |\n|---|---|")
    for name, microseconds in medians(calls).items():
        print(f"| {name} | {microseconds:.1f} |")


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # fits that end after one iteration
    main()
