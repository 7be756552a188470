"""What checking costs: 64 rows of MNIST's width, beyond the kernel's driver or scikit-learn's validate_data."""

import statistics
import time
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

import fastsoftmax as fs
from fastsoftmax.engine import jit


def median(call: Callable[[], Any], count: int = 3000) -> float:
    """Microseconds."""
    call()
    spent = []
    for _ in range(count):
        start = time.perf_counter()
        call()
        spent.append(time.perf_counter() - start)
    return statistics.median(spent) * 1e6


class Gate:
    """Microseconds of one call."""

    unit = "us"

    def setup(self) -> None:
        rng = np.random.default_rng(0)
        self.X, self.y = rng.random((64, 784)).astype(np.float32), np.arange(64) % 10
        self.coef, self.intercept = rng.standard_normal((10, 784)).astype(np.float32), np.zeros(10, np.float32)
        self.model = fs.SoftmaxModel(self.coef, self.intercept)

    def beyond_the_driver(self, call: Callable[[], Any]) -> float:
        """What a call takes beyond that of the compiled driver within it, whose arguments are recorded."""
        taken: list[Any] = []
        original = jit.Driver.__call__

        def record(driver: Any, *args: Any) -> Any:
            taken[:] = [driver, args]
            return original(driver, *args)

        jit.Driver.__call__ = record  # type: ignore[method-assign]
        try:
            call()
        finally:
            jit.Driver.__call__ = original  # type: ignore[method-assign]
        driver, args = taken
        rounds = [median(call, 1000) - median(lambda: driver(*args), 1000) for _ in range(5)]
        return statistics.median(rounds)

    def track_predict_proba(self) -> float:
        return self.beyond_the_driver(lambda: fs.predict_proba(self.X, self.coef, self.intercept))

    def track_model_predict(self) -> float:
        return self.beyond_the_driver(lambda: self.model.predict(self.X))

    def track_estimator_predict(self) -> float:
        """Beyond scikit-learn's own validate_data, the product included."""
        from sklearn.utils.validation import validate_data

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            fitted = fs.SoftmaxRegression(max_iter=0).fit(self.X, self.y)
        theirs = median(lambda: validate_data(fitted, self.X, accept_sparse="csr", reset=False))
        return median(lambda: fitted.predict(self.X)) - theirs
