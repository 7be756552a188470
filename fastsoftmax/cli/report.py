"""What commands print: how good a model is, how far a fit is, and what it took."""

import json
import logging
import math
import sys
import time
from typing import Any

START = time.perf_counter()  # of the process, nearly
MANY = 30  # classes, of more of which only the worst are printed
EVERY = 1.0  # seconds from line to line, where there is no terminal


class Tally:
    """Accuracy, also of each class, loss, and the most frequent confusion, of rows that come in parts."""

    def __init__(self, model: Any) -> None:
        import numpy as np

        self.model, self.order = model, np.argsort(model.classes)
        self.loss, self.rows, self.unknown = 0.0, 0, 0
        self.pairs = np.zeros(0, np.int64)  # true and predicted classes, as one number
        self.counts = np.zeros(0, np.int64)

    def add(self, name: str, X: Any, y: Any) -> None:
        """Rows and their labels; labels that the model does not know are wrong, whatever is predicted."""
        import numpy as np

        from fastsoftmax.data.examples import Examples
        from fastsoftmax.data.feature_names import check_names
        from fastsoftmax.data.layouts import as_design
        from fastsoftmax.data.targets import as_targets
        from fastsoftmax.engine import threads
        from fastsoftmax.objective.softmax import SoftmaxObjective

        model, classes = self.model, self.model.classes
        check_names(model.feature_names, X, type(model).__name__)
        finite(name, X)
        design, y = as_design(X), self._labels(name, y)
        if design.m != model.coef.shape[1]:
            raise ValueError(f"the model has {model.coef.shape[1]} features, {name} has {design.m}")
        if len(y) != design.n:
            raise ValueError(f"{name} has {design.n} rows, but {len(y)} labels")
        codes = self.order[np.searchsorted(classes, y, sorter=self.order).clip(0, len(self.order) - 1)]
        known = classes[codes] == y
        self.unknown += int((~known).sum())
        if not known.all():
            design, codes = design.rows(np.flatnonzero(known)), codes[known]
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

    def _labels(self, name: str, y: Any) -> Any:
        import numpy as np

        if y is None:
            raise ValueError(f"{name} has no labels: name their column with --label")
        y, classes = np.asarray(y), self.model.classes
        y = y[:, 0] if y.ndim == 2 and y.shape[1] == 1 else y
        if y.ndim != 1:
            raise ValueError(f"{name} has labels of shape {y.shape}, where one a row is expected")
        text = classes.dtype.kind == "U"
        if text != (y.dtype.kind in "OU"):
            raise ValueError(f"{name} has labels of dtype {y.dtype}, but the model's classes are of {classes.dtype}")
        return y.astype(str) if text else y

    def result(self) -> dict[str, Any]:
        import numpy as np

        classes = self.model.classes
        if not self.rows and not self.unknown:
            raise ValueError("there are no rows to test")
        if not self.rows:
            known = f"{classes.tolist()}" if len(classes) <= MANY else f"{classes[:5].tolist()} and so on"
            raise ValueError(f"the model knows none of the test labels: its classes are {known}")
        truth, guess = np.divmod(self.pairs, len(classes))
        hits = truth == guess
        totals = np.bincount(truth, self.counts, len(classes))
        right = np.bincount(truth[hits], self.counts[hits], len(classes))
        report: dict[str, Any] = {
            "test_accuracy": int(self.counts[hits].sum()) / (self.rows + self.unknown),
            "test_loss": self.loss / self.rows,
            "accuracy_per_class": {
                str(classes[k]): float(right[k] / totals[k]) for k in range(len(classes)) if totals[k]
            },
        }
        if not hits.all():
            wrong = np.flatnonzero(~hits)
            worst = wrong[self.counts[wrong].argmax()]
            report["most_frequent_confusion"] = {
                "truth": str(classes[truth[worst]]),
                "predicted": str(classes[guess[worst]]),
                "count": int(self.counts[worst]),
            }
        return report


def tested(model: Any, parts: Any) -> dict[str, Any]:
    """The report of a model over rows in parts."""
    tally = Tally(model)
    parts.each_read(lambda name, taken: tally.add(name, taken.X, taken.y))
    return tally.result()


def finite(name: str, X: Any) -> None:
    """That a part holds no NaN and no infinity."""
    from fastsoftmax.data.layouts import as_design

    row = as_design(X).row_not_finite()
    if row is not None:
        raise ValueError(f"{name}: row {row} of X holds NaN or infinity")


def rows_of(data: Any, args: Any) -> Any:
    """The rows of DATA, checked in a first pass, which also copies what is slow to read."""
    from fastsoftmax.data.parted_rows import PartedRows

    rows = PartedRows(data.parts.cached(args.cache) if data.slow else data.parts)
    if rows.y is None:
        names = "" if rows.names is None else f" among the columns {', '.join(rows.names[:20])}"
        raise ValueError(f"{args.data}: no labels: name them with --label{names}")
    return rows


def print_json(result: dict[str, Any]) -> None:
    """One object; what is no number is null."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(part) for key, part in value.items()}
        return None if isinstance(value, float) and not math.isfinite(value) else value

    print(json.dumps(plain(result), indent=2, allow_nan=False))


def print_report(report: dict[str, Any]) -> None:
    print(f"test accuracy {report['test_accuracy']:.4f}, loss {report['test_loss']:.4f}")
    each, title = report["accuracy_per_class"], "per class"
    if len(each) > MANY:
        each, title = dict(sorted(each.items(), key=lambda item: item[1])[:10]), "the worst classes"
    print(f"{title} " + "  ".join(f"{k}: {v:.3f}" for k, v in each.items()))
    if confusion := report.get("most_frequent_confusion"):
        print("most frequent confusion: {truth} taken for {predicted}, {count} times".format(**confusion))


def peak_memory() -> float | None:
    """The most memory that the process had, in MB, pages of mapped files included; None where that is not known."""
    try:
        import resource
    except ImportError:
        return None
    most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return most / (1e6 if sys.platform == "darwin" else 1e3)


class Progress(logging.Handler):
    """A line on stderr while a fit lasts, of what its logger says: iteration, F, gap, and MB read a second."""

    def __init__(self, rows: Any, quiet: bool) -> None:
        super().__init__(logging.INFO)
        self.rows, self.quiet, self.logger = rows, quiet, logging.getLogger("fastsoftmax")
        self.start = self.shown = time.perf_counter()
        self.terminal, self.width = sys.stderr.isatty(), 0

    def __enter__(self) -> "Progress":
        if not self.quiet:
            self.before = self.logger.level
            self.logger.addHandler(self)
            self.logger.setLevel(logging.INFO)
        return self

    def __exit__(self, *error: object) -> None:
        if not self.quiet:
            self.logger.removeHandler(self)
            self.logger.setLevel(self.before)
            if self.width:
                print("\r" + " " * self.width + "\r", end="", file=sys.stderr, flush=True)

    def emit(self, record: logging.LogRecord) -> None:
        now = time.perf_counter()
        if not str(record.msg).startswith("iteration") or not isinstance(record.args, tuple):
            return
        if now - self.shown < (0.1 if self.terminal else EVERY):
            return
        self.shown, (iteration, value, gap, *_) = now, record.args
        speed = self.rows.pace.rows * self.rows.bytes / (now - self.start) / 1e6
        line = f"iteration {iteration}  F {value:.6f}  gap {gap:.2g}  {speed:.0f} MB/s"
        if self.terminal:
            print("\r" + line.ljust(self.width), end="", file=sys.stderr, flush=True)
            self.width = len(line)
        else:
            print(line, file=sys.stderr, flush=True)
