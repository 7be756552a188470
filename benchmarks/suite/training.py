"""Throughput of training on MNIST, and the time to a good model."""

import time
from typing import Any

import numpy as np
import scipy.sparse

import fastsoftmax as fs
from fastsoftmax.defaults import MNIST


class Epoch:
    """Examples per second of an epoch on MNIST as uint8."""

    params = ([64, 256, 1024], ["sgd", "adam"], [1, 2])
    param_names = ("batch_size", "optimizer", "threads")
    unit = "examples/s"

    def setup_cache(self) -> Any:
        return fs.datasets.load_mnist()

    def setup(self, mnist: Any, batch_size: int, optimizer: str, threads: int) -> None:
        fs.set_num_threads(threads)
        fs.Trainer(1, batch_size, optimizer, scale=1 / 255).fit(mnist[0][:2048], mnist[1][:2048])

    def track_examples_per_second(self, mnist: Any, batch_size: int, optimizer: str, threads: int) -> float:
        trainer = fs.Trainer(5, batch_size, optimizer, 1e-3, scale=1 / 255)
        trainer.fit(*mnist[:2])
        return max(float(record["examples_per_second"]) for record in trainer.history)


class TimeToAccuracy:
    """Seconds of training until 92 % of the test images are recognised; and how many are at the end."""

    def setup_cache(self) -> Any:
        X, y, X_test, y_test = fs.datasets.load_mnist()
        self.trainer(1).fit(X[:2048], y[:2048], validation=(X_test, y_test))
        return X, y, X_test, y_test

    def trainer(self, epochs: int) -> fs.Trainer:
        return fs.Trainer(
            epochs, MNIST["batch_size"], MNIST["optimizer"], MNIST["lr"], MNIST["schedule"], scale=1 / 255
        )

    def track_seconds_to_92_percent(self, mnist: Any) -> float:
        X, y, X_test, y_test = mnist
        start = time.perf_counter()
        trainer = self.trainer(MNIST["epochs"])
        trainer.fit(X, y, validation=(X_test, y_test), callbacks=[lambda r: r["validation_accuracy"] >= 0.92])
        return time.perf_counter() - start if trainer.stopped == "callback" else float("nan")

    track_seconds_to_92_percent.unit = "s"  # type: ignore[attr-defined]

    def track_test_accuracy(self, mnist: Any) -> float:
        X, y, X_test, y_test = mnist
        return self.trainer(MNIST["epochs"]).fit(X, y).score(X_test, y_test)


class HashedFeatures:
    """Seconds of `partial_fit` on 20 000 rows of 100 words each, hashed to 2^20 features, 20 classes."""

    params = (["sgd", "adam"], [False, True], [1, 2])
    param_names = ("optimizer", "average", "threads")
    rows, features, words, classes = 20_000, 2**20, 100, 20

    def setup(self, optimizer: str, average: bool, threads: int) -> None:
        fs.set_num_threads(threads)
        rng = np.random.default_rng(0)
        # common words, and rare ones: few are in most rows, most in few
        ranks = np.exp(rng.random(self.rows * self.words) * np.log(self.features)).astype(np.int64) - 1
        columns = rng.permutation(self.features)[ranks]
        values = np.full(len(columns), 0.1, np.float32)
        self.X = scipy.sparse.csr_array((values, columns, np.arange(0, len(columns) + 1, self.words)))
        self.X.resize(self.rows, self.features)
        self.X.sum_duplicates()
        self.y = rng.integers(0, self.classes, self.rows)
        self.model = fs.SoftmaxSGDClassifier(optimizer=optimizer, average=average, random_state=0)
        self.time_partial_fit(optimizer, average, threads)

    def time_partial_fit(self, optimizer: str, average: bool, threads: int) -> None:
        self.model.partial_fit(self.X, self.y, np.arange(self.classes))
