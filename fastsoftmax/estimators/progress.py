"""What a verbose fit shows: a line of progress, or all that is logged."""

import logging
import sys
from typing import Any

logger = logging.getLogger("fastsoftmax")
PATIENCE, EVERY = 2.0, 0.1  # seconds, before there is a line, and between its changes


class _Line(logging.Handler):
    """Iteration, F and gap on one line, of fits that take longer than `PATIENCE`; in notebooks a widget."""

    def __init__(self) -> None:
        from tqdm.auto import tqdm

        super().__init__(logging.INFO)
        self.bar: Any = tqdm(bar_format="{desc}", leave=False, delay=PATIENCE, mininterval=EVERY, file=sys.stderr)

    def emit(self, record: logging.LogRecord) -> None:
        if str(record.msg).startswith("iteration") and isinstance(record.args, tuple):
            iteration, value, gap, *_ = record.args
            self.bar.set_description_str(f"iteration {iteration}  F {value:.6f}  gap {gap:.2g}", refresh=False)
            self.bar.update()

    def close(self) -> None:
        self.bar.close()
        super().close()


class Verbose:
    """For as long as a fit takes: 1, a line of progress; more, all that is logged, on stderr."""

    def __init__(self, verbose: int) -> None:
        self.verbose, self.handler = verbose, logging.Handler()

    def __enter__(self) -> None:
        if self.verbose > 0:
            self.handler = _Line() if self.verbose == 1 else logging.StreamHandler(sys.stderr)
            self.level = logger.level
            logger.addHandler(self.handler)
            logger.setLevel(logging.INFO)

    def __exit__(self, *error: object) -> None:
        if self.verbose > 0:
            logger.removeHandler(self.handler)
            logger.setLevel(self.level)
            self.handler.close()
