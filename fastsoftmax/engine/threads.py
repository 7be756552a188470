"""How many threads a call takes: our own number, what work is worth, and what forks and threading layers allow."""

import contextlib
import functools
import multiprocessing
import os
import threading
from collections.abc import Iterator

import numba
import numba.np.ufunc.parallel
import numpy as np

JIT = not numba.config.DISABLE_JIT
QUOTAS = ("/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us")
ALONE = 1.5e8  # operations, two milliseconds of one thread


def _parent_started_threads() -> bool:
    started = getattr(numba.np.ufunc.parallel, "_is_initialized", True)
    return multiprocessing.parent_process() is not None and started


# A forked child has none of its parent's threads: omp kills it where Numba had started them, and hangs it where anyone
# else had used libgomp, which no flag tells. So a forked child takes the serial twins: the same bits.
_forked = _parent_started_threads()
_workqueue_busy = threading.Lock()
_chosen_threads: int | None = None
_here = threading.local()  # what holds for one Python thread


def _after_fork() -> None:
    global _forked, _workqueue_busy
    _forked, _workqueue_busy = True, threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


def set_num_threads(k: int) -> None:
    """Use `k` threads from now on, in this library alone, and never more than Numba's limit (NUMBA_NUM_THREADS).

    Results do not depend on it: the same bytes come back on any number of threads.

    Parameters
    ----------
    k : int
        At least 1.

    Raises
    ------
    ValueError
        If `k` is not a positive integer.

    Examples
    --------
    >>> import fastsoftmax as fs
    >>> fs.set_num_threads(1)
    >>> fs.get_num_threads()
    1
    >>> fs.set_num_threads(1024)  # as many as there are
    """
    global _chosen_threads
    if isinstance(k, bool) or not isinstance(k, (int, np.integer)) or k < 1:
        raise ValueError(f"the number of threads must be an integer of at least 1, got {k!r}")
    _chosen_threads = int(k)


def get_num_threads() -> int:
    """The number of threads that calls of this library use.

    Returns
    -------
    int
        What `set_num_threads` set; or else NUMBA_NUM_THREADS, where that is set; or else as many as the process was
        granted, by its affinity and by the quota of its container. Never more than Numba's limit.

    Examples
    --------
    >>> import fastsoftmax as fs
    >>> fs.get_num_threads() >= 1
    True
    """
    return granted() if _chosen_threads is None else min(_chosen_threads, int(numba.config.NUMBA_NUM_THREADS))


@functools.cache
def granted() -> int:
    """Threads by default: 64 of them that share the time of 2 cores wait for each other."""
    limit = int(numba.config.NUMBA_NUM_THREADS)
    if limit == 1 or "NUMBA_NUM_THREADS" in os.environ or not _has_quota():
        return limit  # Numba knows the affinity
    from joblib import cpu_count

    return min(limit, int(cpu_count()))


def _has_quota() -> bool:
    """Whether a container has one: a look, for what reads it takes 60 ms to import."""
    for path in QUOTAS:
        with contextlib.suppress(OSError), open(path) as file:
            if not file.read(4).startswith(("max", "-1")):
                return True
    return False


def threads_here() -> int:
    """How many threads work of this Python thread may take."""
    k = get_num_threads()
    return min(k, getattr(_here, "most", k))


@contextlib.contextmanager
def _as(name: str, value: int) -> Iterator[None]:
    """What this Python thread has under a name for a while."""
    before = vars(_here).get(name)
    setattr(_here, name, value)
    try:
        yield
    finally:
        if before is None:
            delattr(_here, name)
        else:
            setattr(_here, name, before)


def at_most(k: int) -> contextlib.AbstractContextManager[None]:
    """Calls of this Python thread use so many threads, and no more."""
    return _as("most", min(k, getattr(_here, "most", k)))


def serially() -> contextlib.AbstractContextManager[None]:
    """Calls of this Python thread use no others: what runs once is done before its parallel twin were compiled."""
    return at_most(1)


def serially_if_small(operations: float) -> contextlib.AbstractContextManager[None]:
    """As `serially`, where each step of a fit has few operations: it need not wait for a core on which others spin.

    OpenBLAS's threads do so for 0.1 s: after a fit of scikit-learn's, 360 rows of 512 features and 45 classes took 107
    ms on two threads, where alone they take 22, and 28 on one.
    """
    return serially() if operations < ALONE else contextlib.nullcontext()


def warming() -> contextlib.AbstractContextManager[None]:
    """Drivers that this Python thread calls compile both of their twins."""
    return _as("warming", True)


def is_warming() -> bool:
    """Whether this Python thread compiles ahead of time."""
    return getattr(_here, "warming", False)


def worker_count(operations: float) -> int:
    """How many workers a call of so many operations is worth. Waking a thread takes 10 us, on workqueue 100."""
    if operations < 4e5 or _forked or not JIT:
        return 1
    threads = threads_here()
    return 1 if threads == 1 or (operations < 2e7 and _layer() == "workqueue") else threads


@functools.cache
def _layer() -> str:
    """Numba's threading layer, which it knows when its threads are started."""
    numba.get_num_threads()
    return str(numba.threading_layer())


@contextlib.contextmanager
def parallel(workers: int) -> Iterator[bool]:
    """Whether the parallel twin may run, with so many of Numba's threads while it does."""
    before, single = numba.get_num_threads(), _layer() == "workqueue"  # where two parallel calls at once abort
    if single and (
        threading.current_thread() is not threading.main_thread() or not _workqueue_busy.acquire(blocking=False)
    ):
        yield False
        return
    numba.set_num_threads(workers)
    try:
        yield True
    finally:
        numba.set_num_threads(before)
        if single:
            _workqueue_busy.release()
