"""What a verbose fit shows: a line of progress, or all that is logged."""

import contextvars
import logging
import sys
import threading
from typing import Any

logger = logging.getLogger("fastsoftmax")
PATIENCE, EVERY = 2.0, 0.1  # seconds, before there is a line, and between its changes
_line: contextvars.ContextVar[Any] = contextvars.ContextVar("line", default=None)  # of the fit that this thread is in


class _Line:
    """Iteration, F and gap on one line, of fits that take longer than `PATIENCE`; in notebooks a widget."""

    def __init__(self) -> None:
        from tqdm.auto import tqdm

        self.bar: Any = tqdm(bar_format="{desc}", leave=False, delay=PATIENCE, mininterval=EVERY, file=sys.stderr)

    def show(self, iteration: int, value: float, gap: float) -> None:
        self.bar.set_description_str(f"iteration {iteration}  F {value:.6f}  gap {gap:.2g}", refresh=False)
        self.bar.update()


def line() -> Any:
    """The line of the fit that is going on in this thread, or None."""
    return _line.get()


class _Logging:
    """All that is logged, on stderr, as long as anybody wants it."""

    def __init__(self) -> None:
        self.lock, self.users, self.level = threading.Lock(), 0, logging.NOTSET

    def begin(self) -> logging.Handler:
        handler = logging.StreamHandler(sys.stderr)
        with self.lock:
            if not self.users:
                self.level = logger.level
                logger.setLevel(logging.INFO)
            self.users += 1
            logger.addHandler(handler)
        return handler

    def end(self, handler: logging.Handler) -> None:
        with self.lock:
            logger.removeHandler(handler)
            self.users -= 1
            if not self.users:
                logger.setLevel(self.level)


_logging = _Logging()


class Verbose:
    """For as long as a fit takes: 1, a line of progress; more, all that is logged."""

    def __init__(self, verbose: int) -> None:
        self.verbose = verbose

    def __enter__(self) -> None:
        if self.verbose == 1:
            self.token = _line.set(_Line())
        elif self.verbose > 1:
            self.handler = _logging.begin()

    def __exit__(self, *error: object) -> None:
        if self.verbose == 1:
            line().bar.close()
            _line.reset(self.token)
        elif self.verbose > 1:
            _logging.end(self.handler)
