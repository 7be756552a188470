"""What a call costs beside its work: 64 rows of MNIST's width, beyond the kernel's driver."""

import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import fastsoftmax as fs
from fastsoftmax.engine.jit import Driver


def median(call: Callable[[], Any], count: int = 3000) -> float:
    """Microseconds."""
    call()
    spent = []
    for _ in range(count):
        start = time.perf_counter()
        call()
        spent.append(time.perf_counter() - start)
    return statistics.median(spent) * 1e6


def recorded(call: Callable[[], Any]) -> tuple[Driver, tuple[Any, ...]]:
    """The last driver that a call calls, and its arguments."""
    seen: list[tuple[Driver, tuple[Any, ...]]] = []
    original = Driver.__call__

    def record(driver: Driver, *args: Any) -> Any:
        seen.append((driver, args))
        return original(driver, *args)

    Driver.__call__ = record  # type: ignore[method-assign]
    try:
        call()
    finally:
        Driver.__call__ = original  # type: ignore[method-assign]
    return seen[-1]


class Gate:
    """Microseconds of one call."""

    unit = "us"

    def setup(self) -> None:
        rng = np.random.default_rng(0)
        self.X, self.y = rng.random((64, 784)).astype(np.float32), np.arange(64) % 10
        self.coef, self.intercept = rng.standard_normal((10, 784)).astype(np.float32), np.zeros(10, np.float32)
        self.model = fs.SoftmaxModel(self.coef, self.intercept)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            self.estimator = fs.SoftmaxRegression(max_iter=0).fit(self.X, self.y)

    def beyond_the_driver(self, call: Callable[[], Any]) -> float:
        """What a call takes beyond that of the compiled driver within it."""
        driver, args = recorded(call)
        rounds = [median(call, 1000) - median(lambda: driver(*args), 1000) for _ in range(5)]
        return statistics.median(rounds)

    def track_predict_proba(self) -> float:
        return self.beyond_the_driver(lambda: fs.predict_proba(self.X, self.coef, self.intercept))

    def track_model_predict(self) -> float:
        return self.beyond_the_driver(lambda: self.model.predict(self.X))

    def track_estimator_predict(self) -> float:
        return self.beyond_the_driver(lambda: self.estimator.predict(self.X))
