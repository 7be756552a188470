"""Softmax, cross-entropy and the fused pass, over shapes, dtypes and threads."""

import time
from typing import Any

import numpy as np

import fastsoftmax as fs

from .problems import LOGITS, SHAPES, peak_beyond, problem


class Softmax:
    """Into an existing output."""

    params = (list(LOGITS), ["float32", "float64"])
    param_names = ("shape", "dtype")

    def setup(self, shape: str, dtype: str) -> None:
        self.Z = np.random.default_rng(0).standard_normal(LOGITS[shape]).astype(dtype)
        self.out, self.y = np.empty_like(self.Z), np.zeros(len(self.Z), np.int64)
        self.time_softmax()
        self.time_log_softmax()
        self.time_cross_entropy_gradient()

    def time_softmax(self, *args: str) -> None:
        fs.softmax(self.Z, out=self.out)

    def time_log_softmax(self, *args: str) -> None:
        fs.log_softmax(self.Z, out=self.out)

    def time_cross_entropy_gradient(self, *args: str) -> None:
        fs.cross_entropy_gradient(self.Z, self.y)


class LossGradient:
    """The fused pass, mean over all rows."""

    params = (list(SHAPES), ["float32", "float64", "uint8"])
    param_names = ("shape", "dtype")

    def setup(self, shape: str, dtype: str) -> None:
        self.data = problem(shape, dtype)
        self.time_loss_gradient()

    def time_loss_gradient(self, *args: str) -> None:
        fs.loss_gradient(*self.data)


class Map:
    """Six points of the map over features and classes, of which `compare_map.py` draws all."""

    params = ("30000x256x45", "15000x512x100", "10000x512x601", "10000x1024x200", "5000x768x1000", "2000x2048x1625")
    param_names = ("shape",)
    unit = "GFLOP/s"

    def track_loss_gradient(self, shape: str) -> float:
        n, m, c = map(int, shape.split("x"))
        rng = np.random.default_rng(0)
        X, coef = rng.standard_normal((n, m), dtype=np.float32), rng.standard_normal((c, m), dtype=np.float32)
        data = X, rng.integers(0, c, n), coef * np.float32(0.02), np.zeros(c, np.float32)
        fs.loss_gradient(*data)
        times = []
        for _ in range(7):
            start = time.perf_counter()
            fs.loss_gradient(*data)
            times.append(time.perf_counter() - start)
        return 4e-9 * n * m * c / float(np.median(times))


class Threads:
    """What a second thread brings."""

    params = (1, 2)
    param_names = ("threads",)

    def setup(self, threads: int) -> None:
        fs.set_num_threads(threads)
        self.data = problem("60000x784x10")
        self.time_loss_gradient()

    def time_loss_gradient(self, *args: int) -> None:
        fs.loss_gradient(*self.data)


class Memory:
    """Resident memory beyond inputs and outputs."""

    params = tuple(SHAPES)
    param_names = ("shape",)
    unit = "bytes"

    def setup(self, shape: str) -> None:
        self.data = problem(shape)
        coef, intercept = self.data[2:]
        self.out: Any = np.zeros_like(coef), np.zeros_like(intercept)

    def track_loss_gradient(self, *args: str) -> int:
        return peak_beyond(lambda: fs.loss_gradient(*self.data, out=self.out))


class Predictions:
    """Resident memory that an estimator takes to predict, and to score, a million rows of a thousand classes."""

    unit = "bytes"

    def setup(self) -> None:
        rng = np.random.default_rng(0)
        self.X, self.y = rng.standard_normal((1_000_000, 16), dtype=np.float32), np.arange(1_000_000) % 1000
        self.model = fs.SoftmaxRegression()
        self.model.classes_, self.model.n_features_in_ = np.arange(1000), 16
        self.model.coef_ = rng.standard_normal((1000, 16), dtype=np.float32)
        self.model.intercept_ = np.zeros(1000, np.float32)
        self.model.predict(self.X[:1000])

    def track_predict(self) -> int:
        return peak_beyond(lambda: self.model.predict(self.X))

    def track_score(self) -> int:
        return peak_beyond(lambda: self.model.score(self.X, self.y))
