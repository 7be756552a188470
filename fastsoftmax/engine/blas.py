"""BLAS on one thread while solvers run: its sums depend on how many threads it takes, ours must not."""

import contextlib
import functools
import os
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

_lock = threading.Lock()
_inside = 0
_limit: Any = None


def _after_fork() -> None:
    """In a child the threads that were inside, and one that held the lock, are gone."""
    global _lock, _inside
    _lock, _inside = threading.Lock(), 0


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


@functools.cache
def _controller() -> Any:
    import scipy.linalg  # noqa: F401  # loads its BLAS, which is not NumPy's
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


def _take_control() -> None:
    """Let this thread set the number: from threadpoolctl 3.8 on only the first that ever did so may, silently."""
    for library in _controller().lib_controllers:
        clear = getattr(library, "clear_controlling_thread", None)
        if clear is not None:
            clear(force=True)


def _enter() -> None:
    global _inside, _limit
    with _lock:
        if _inside == 0:
            _take_control()
            _limit = _controller().limit(limits=1)
        _inside += 1


def _leave() -> None:
    global _inside
    with _lock:
        _inside -= 1
        if _inside == 0:
            _take_control()
            _limit.restore_original_limits()
            _take_control()  # and the next who wants to


@contextlib.contextmanager
def single_threaded() -> Iterator[None]:
    """Every BLAS of the process on one thread: set by the first that enters, restored by the last that leaves.

    The setting is the process's own: other threads that call BLAS meanwhile are slower, never wrong.
    """
    _enter()
    try:
        yield
    finally:
        _leave()


class _Stay:
    """Keeps BLAS as it is, if it is on one thread, until the last of some futures is done.

    After Ctrl-C threads may still be inside of BLAS: its number of threads then does not change under them.
    """

    def __init__(self) -> None:
        with _lock:
            self.held = _inside > 0
        if self.held:
            _enter()
        self.left, self.lock = 1, threading.Lock()

    def until(self, future: Future[Any]) -> None:
        with self.lock:
            self.left += 1
        future.add_done_callback(self.done)

    def done(self, future: object = None) -> None:
        with self.lock:
            self.left -= 1
            last = self.left == 0
        if last and self.held:
            _leave()


def on_threads(count: int, function: Callable[..., object], *columns: Iterable[Any]) -> None:
    """function of each row of the columns, `count` at a time; one after another where no thread can be started."""
    if count == 1:
        for row in zip(*columns, strict=True):
            function(*row)
        return
    rows = list(zip(*columns, strict=True))
    pool, stay, futures, whole = ThreadPoolExecutor(count), _Stay(), [], False
    try:
        for row in rows:
            futures.append(pool.submit(function, *row))
            stay.until(futures[-1])
        for future in futures:
            future.result()
        whole = True
    except RuntimeError:  # the interpreter is on its way out
        pool.shutdown(cancel_futures=True)
        for row in rows:
            function(*row)
    finally:
        pool.shutdown(wait=whole, cancel_futures=True)  # Ctrl-C does not wait for a factor of thousands of columns
        stay.done()
