"""Ctrl-C in a process of ours: it ends at once where nothing is to be tidied up.

Python may drop an interruption that comes while it imports, and keep a lock of the import system (seen in 3.11: its
callback for weak references to such locks was interrupted): a thread that imports then waits for ever.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator

CODE = 130
_ours = False  # whether the process is a command of ours


def own() -> None:
    """The process is ours to end."""
    global _ours
    _ours = True


def leave() -> None:
    """End the process: else Python takes down libraries in which threads may still be reading.

    One such process was seen to end by SIGSEGV.
    """
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    sys.stderr.flush()
    os._exit(CODE)


def _interrupted(number: int, frame: object) -> None:
    os.write(2, b"fastsoftmax: interrupted\n")
    leave()


@contextlib.contextmanager
def at_once() -> Iterator[None]:
    """Within, an interruption ends the process, if it is ours: for imports, and for what only reads."""
    if not _ours or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    signal.signal(signal.SIGINT, _interrupted)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
