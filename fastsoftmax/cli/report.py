"""What commands print: how good a model is, how far a fit is, and what it took."""

import json
import logging
import math
import sys
import time
from typing import Any

START = time.perf_counter()  # of the process, nearly
NO_LABELS = ": name their column with --label"
MANY = 30  # classes, of more of which only the worst are printed
EVERY = 1.0  # seconds from line to line, where there is no terminal


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
