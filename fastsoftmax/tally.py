"""A model tested on rows that come in parts: accuracy, loss and confusions; its memory does not grow with the rows."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsoftmax.data.design import Design
from fastsoftmax.data.examples import Examples
from fastsoftmax.data.feature_names import check_names
from fastsoftmax.data.layouts import as_design
from fastsoftmax.data.targets import as_targets
from fastsoftmax.engine import threads
from fastsoftmax.model import SoftmaxModel
from fastsoftmax.objective.softmax import SoftmaxObjective

MANY = 30  # classes, of more of which errors name some
Array = NDArray[Any]


class Tally:
    """Accuracy, also of each class, loss, and the most frequent confusion, of rows that come in parts."""

    def __init__(self, model: SoftmaxModel, hint: str = "") -> None:
        self.hint = hint  # what to do where there are no labels
        self.model, self.order = model, np.argsort(model.classes)
        self.loss, self.rows, self.unknown = 0.0, 0, 0
        self.pairs = np.zeros(0, np.int64)  # true and predicted classes, as one number
        self.counts = np.zeros(0, np.int64)

    def add(self, name: str, X: Any, y: Any) -> None:
        """Rows and their labels; labels that the model does not know are wrong, whatever is predicted."""
        model, classes = self.model, self.model.classes
        check_names(model.feature_names, X, type(model).__name__)
        finite(name, X)
        design, y = as_design(X), self._labels(name, y)
        if design.m != model.coef.shape[1]:
            raise ValueError(f"the model has {model.coef.shape[1]} features, {name} has {design.m}")
        if len(y) != design.n:
            raise ValueError(f"{name} has {design.n} rows, but {len(y)} labels")
        codes = self.order[np.searchsorted(classes, y, sorter=self.order).clip(0, len(self.order) - 1)]
        known, before = classes[codes] == y, self.rows + self.unknown
        numbers = np.flatnonzero(known)
        self.unknown += len(y) - len(numbers)
        if not known.all():
            design, codes = design.rows(numbers), codes[known]
        if not len(codes):
            return
        targets = as_targets(codes, design.n, len(classes), np.float32)
        with threads.serially():  # the parallel twin takes 0.6 s to compile, the whole pass 0.01
            objective = SoftmaxObjective(Examples(design, targets))
            loss, best = objective.evaluate(*model.tempered(objective.dtype))
        self.loss, self.rows = self.loss + loss, self.rows + len(codes)
        both = np.concatenate([self.pairs, codes * len(classes) + best])
        weights = np.concatenate([self.counts, np.ones(len(codes), np.int64)])
        self.pairs, places = np.unique(both, return_inverse=True)
        self.counts = np.bincount(places, weights).astype(np.int64)
        self.look(design, before + numbers, codes)

    def look(self, design: Design, numbers: Array, codes: Array) -> None:
        """For those who want to know more of the rows whose labels are known: their numbers and classes."""

    def _labels(self, name: str, y: Any) -> Array:
        if y is None:
            raise ValueError(f"{name} has no labels{self.hint}")
        y, classes = np.asarray(y), self.model.classes
        y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
        if y.ndim != 1:
            raise ValueError(f"{name} has labels of shape {y.shape}, where one a row is expected")
        text = classes.dtype.kind == "U"
        if y.dtype.kind == "O" and not text:  # perhaps of plain numbers
            y = np.asarray(y.tolist())
        if text != (y.dtype.kind in "OU"):
            raise ValueError(f"{name} has labels of dtype {y.dtype}, but the model's classes are of {classes.dtype}")
        return np.asarray(y.astype(str) if text else y)

    def confusions(self) -> tuple[Array, Array, Array]:
        """True and predicted classes, as places among the model's, of each pair that came, and how often."""
        truth, guess = np.divmod(self.pairs, len(self.model.classes))
        return truth, guess, self.counts

    def result(self) -> dict[str, Any]:
        """What is reported of them; a ValueError where no row has a label that is known."""
        classes = self.model.classes
        if not self.rows and not self.unknown:
            raise ValueError("there are no rows to test")
        if not self.rows:
            known = f"{classes.tolist()}" if len(classes) <= MANY else f"{classes[:5].tolist()} and so on"
            raise ValueError(f"the model knows none of the test labels: its classes are {known}")
        truth, guess, counts = self.confusions()
        hits = truth == guess
        totals = np.bincount(truth, counts, len(classes))
        right = np.bincount(truth[hits], counts[hits], len(classes))
        report: dict[str, Any] = {
            "test_accuracy": int(counts[hits].sum()) / (self.rows + self.unknown),
            "test_loss": self.loss / self.rows,
            "accuracy_per_class": {
                str(classes[k]): float(right[k] / totals[k]) for k in range(len(classes)) if totals[k]
            },
        }
        if not hits.all():
            wrong = np.flatnonzero(~hits)
            worst = wrong[counts[wrong].argmax()]
            report["most_frequent_confusion"] = {
                "truth": str(classes[truth[worst]]),
                "predicted": str(classes[guess[worst]]),
                "count": int(counts[worst]),
            }
        return report


def tested(model: SoftmaxModel, parts: Any, hint: str) -> dict[str, Any]:
    """The report of a model over rows in parts; hint: what to do where there are no labels."""
    tally = Tally(model, hint)
    parts.each_read(lambda name, taken: tally.add(name, taken.X, taken.y))
    return tally.result()


def finite(name: str, X: Any) -> None:
    """That a part holds no NaN and no infinity."""
    row = as_design(X).row_not_finite()
    if row is not None:
        raise ValueError(f"{name}: row {row} of X holds NaN or infinity")
