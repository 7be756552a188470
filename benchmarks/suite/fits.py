"""Fits to the optimum: the problems of compare.py, timed and counted over commits."""

import itertools
from typing import Any

import numpy as np
from sklearn.datasets import load_digits, load_iris, load_wine

from fastsoftmax import SoftmaxRegression, SoftmaxRegressionCV

from .problems import mnist_float, probe, sparse_text

SMALL = {"iris": load_iris, "wine": load_wine, "digits": load_digits}


class Mnist:
    """60000 images, pixels / 255, float32: seconds, iterations and the gap by C and tol."""

    params = ([1.0, 0.01], [1e-3, 1e-4, 1e-6])
    param_names = ("C", "tol")
    timeout = 600

    def setup_cache(self) -> Any:
        """The data, and all fits of it, whose iterations and gaps are tracked: kernels are compiled then, too."""
        data = mnist_float()
        return data, {at: SoftmaxRegression(C=at[0], tol=at[1]).fit(*data) for at in itertools.product(*self.params)}

    def time_fit(self, known: Any, C: float, tol: float) -> None:
        SoftmaxRegression(C=C, tol=tol).fit(*known[0])

    def track_iterations(self, known: Any, C: float, tol: float) -> int:
        return int(known[1][C, tol].n_iter_[0])

    def track_duality_gap(self, known: Any, C: float, tol: float) -> float:
        return float(known[1][C, tol].duality_gap_)


class Others:
    """A linear probe, sparse text, L1 on images."""

    def setup_cache(self) -> Any:
        X, y = mnist_float()
        return {"probe": probe(), "text": sparse_text(), "l1": (X[:10000], y[:10000])}

    def setup(self, data: Any) -> None:
        self.models = {"probe": SoftmaxRegression(), "text": SoftmaxRegression()}
        self.models["l1"] = SoftmaxRegression(C=0.1, l1_ratio=1.0)
        for name, model in self.models.items():
            model.fit(*data[name])

    def time_probe(self, data: Any) -> None:
        self.models["probe"].fit(*data["probe"])

    def time_sparse_text(self, data: Any) -> None:
        self.models["text"].fit(*data["text"])

    def time_l1(self, data: Any) -> None:
        self.models["l1"].fit(*data["l1"])


class Small:
    """Data sets of scikit-learn, as they come."""

    params = tuple(SMALL)
    param_names = ("data",)

    def setup(self, name: str) -> None:
        self.X, self.y = SMALL[name](return_X_y=True)
        self.model = SoftmaxRegression().fit(self.X, self.y)

    def time_fit(self, name: str) -> None:
        self.model.fit(self.X, self.y)


class CrossValidation:
    """10 strengths by 3 folds over 2000 images."""

    timeout = 600

    def setup(self) -> None:
        X, y = mnist_float()
        self.X, self.y = np.ascontiguousarray(X[:2000]), y[:2000]
        self.time_fit()

    def time_fit(self) -> None:
        SoftmaxRegressionCV(Cs=10, cv=3).fit(self.X, self.y)
