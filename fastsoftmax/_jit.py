"""The one place that spells Numba's options: flags, serial and parallel twins, pointers, threads and forks.

`kernel` compiles what is called inside kernels, `Pointer` a chunk function that drivers call without compiling it
again, `Driver` the loop that calls it, once for one thread and once for many.
"""

import contextlib
import functools
import gc
import inspect
import logging
import math
import multiprocessing
import os
import signal
import threading
import time
import types
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

_collecting = gc.isenabled()
gc.disable()  # what the import of Numba makes stays: looking for garbage in it takes 0.05 s beside scikit-learn
try:
    import numba
    import numba.experimental.function_type  # tells Numba the type of a Pointer
    import numba.np.ufunc.parallel
    from numba.core.ccallback import CFunc
    from numba.core.compiler_lock import global_compiler_lock
    from numba.extending import typeof_impl

    from fastsoftmax._cache import KernelCache, warn_uncached
finally:
    if _collecting:
        gc.enable()

logger = logging.getLogger("fastsoftmax")
JIT = not numba.config.DISABLE_JIT
OPTIONS = {"error_model": "numpy", "nogil": True, "fastmath": False, "boundscheck": False, "no_cfunc_wrapper": True}
ALONE = 1.5e8  # operations, two milliseconds of one thread

# ---- what is compiled


def _hearing_ctrl_c(compile_: Callable[..., Any]) -> Callable[..., Any]:
    """A compilation after which Ctrl-C has effect: LLVM calls back into Python, where the exception would be lost."""

    @functools.wraps(compile_)
    def compile_and_listen(*args: Any) -> Any:
        usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if not usual or threading.current_thread() is not threading.main_thread():
            return compile_(*args)
        heard: list[int] = []

        def note(number: int, frame: Any) -> None:
            heard.append(number)
            signal.default_int_handler(number, frame)

        signal.signal(signal.SIGINT, note)
        try:
            result = compile_(*args)
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if heard:
            raise KeyboardInterrupt
        return result

    return compile_and_listen


def _compiled(function: Callable[..., Any], flags: dict[str, Any]) -> Any:
    assert not function.__closure__, "bind callees as globals: the cache's key does not see a closure"
    compiled = numba.njit(**OPTIONS, **flags)(function)
    if not JIT and "inline" not in flags:
        return np.errstate(all="ignore")(function)  # compiled code warns of no overflow
    if JIT:
        if hasattr(compiled, "_cache"):
            compiled._cache = KernelCache(function, *sorted(flags.items()))
            compiled.compile = _hearing_ctrl_c(compiled.compile)
        else:
            warn_uncached("Numba's dispatcher has moved")
    return compiled


def kernel(function: Callable[..., Any]) -> Any:
    """Compiled by itself, and called from Python too."""
    return _compiled(function, {})


def outlined(function: Callable[..., Any]) -> Any:
    """Compiled by itself, and called by kernels only: without the wrappers that Python would need."""
    return _compiled(function, {"no_cpython_wrapper": True})


def inlined(function: Callable[..., Any]) -> Any:
    """A part of the kernels that call it, before types are known: it is not optimised by itself and again in each.

    Which of the three a function is changes no bit, only what the compiler does: compiling all that MNIST's training
    needs took 6.6 s with kernels alone, and 4.5 s as they are marked now.
    """
    return _compiled(function, {"inline": "always"})


def by_layout(bodies: dict[type, Callable[..., Any]]) -> Callable[..., Any]:
    """An operation on a design: its class picks the body, in Python at the call, in Numba when a caller is compiled."""

    def operation(design: Any, *rest: Any) -> Any:
        return bodies[type(design)](design, *rest)

    def select(design: Any, *rest: Any) -> Any:
        return bodies.get(getattr(design, "instance_class", object))

    select.__signature__ = inspect.signature(next(iter(bodies.values())))  # type: ignore[attr-defined]
    if JIT:
        from numba.extending import overload

        overload(operation, jit_options={"error_model": "numpy"})(select)
    return operation


def _kinds(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """What tells the types of arguments apart; all arrays are writable and C-contiguous. typeof takes 10 us each."""
    return tuple(
        (value.dtype, value.ndim)
        if isinstance(value, np.ndarray)
        else (type(value), _kinds(value))
        if isinstance(value, tuple)
        else type(value)
        for value in values
    )


_compiling = threading.RLock()


class _Compiled(CFunc):
    """A C function that finds its Numba type once: at each call of a driver that took 20 us of some 90."""

    _sig: Any  # CFunc's own

    @functools.cached_property
    def numba_type(self) -> Any:
        return numba.types.FunctionType(self._sig)


@typeof_impl.register(_Compiled)  # type: ignore[untyped-decorator]
def _type_of_compiled(compiled: _Compiled, context: Any) -> Any:
    return compiled.numba_type


class Pointer:
    """A function compiled once per argument types to a C function pointer, which drivers take as an argument.

    A driver that inlined it would compile it again, and its parallel twin a third time: with a pointer the twins
    take 0.06 and 0.19 s. A call of a driver then costs 7 us more.
    """

    def __init__(self, function: Callable[..., Any], returns: Any = numba.types.float64) -> None:
        self.function, self.returns = function, returns
        self.compiled: dict[Any, Any] = {}

    def __call__(self, *examples: Any, **constants: Any) -> Any:
        """The pointer for arguments of the types of `examples`, with some globals of its module set to constants.

        Drivers do not see the constants: for another one they need not be compiled again.
        """
        key = (*constants.items(), *(_kinds(examples) if JIT else ()))
        return self.known(key) or self._add(key, examples, constants)

    def known(self, key: Any) -> Any:
        """What was compiled under a key of the caller's own, faster to make than the types of all arguments."""
        return self.compiled.get(key)

    def remember(self, key: Any, *examples: Any, **constants: Any) -> Any:
        """As a call, under the caller's key."""
        with _compiling:
            self.compiled[key] = self(*examples, **constants)
        return self.compiled[key]

    def _add(self, key: Any, examples: tuple[Any, ...], constants: dict[str, Any]) -> Any:
        with _compiling:
            if key not in self.compiled:
                function = _bound(self.function, constants)
                self.compiled[key] = self._compile(function, constants, examples) if JIT else function
            return self.compiled[key]

    def _compile(self, function: Callable[..., Any], constants: dict[str, Any], examples: tuple[Any, ...]) -> Any:
        start, signature = time.perf_counter(), (tuple(map(numba.typeof, examples)), self.returns)
        options = {name: OPTIONS[name] for name in ("error_model", "fastmath", "boundscheck")}
        compiled: Any = _Compiled(function, signature, locals={}, options=options)
        compiled._cache = KernelCache(function, "pointer", *constants.items())
        _hearing_ctrl_c(compiled.compile)()
        verb = "loaded" if compiled.cache_hits else "compiled"
        logger.info("%s %s in %.2f s", verb, function.__qualname__, time.perf_counter() - start)
        return compiled


def _bound(function: Callable[..., Any], constants: dict[str, Any]) -> Callable[..., Any]:
    """The function with some of the globals of its module replaced."""
    known = function.__globals__
    assert set(constants) <= set(known), "a constant has a name in the module, where it says what it is"
    bound = types.FunctionType(function.__code__, known | constants, function.__name__, function.__defaults__)
    bound.__qualname__, bound.__module__ = function.__qualname__, function.__module__
    return bound


class Driver:
    """A loop over workers, `prange` in the source, as a serial and a parallel twin that give the same bits."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.serial, self.parallel = _compiled(function, {}), _compiled(function, {"parallel": True})

    def __call__(self, workers: int, *args: Any) -> Any:
        if JIT and getattr(_here, "warming", False):
            signature = tuple(map(numba.typeof, (workers, *args)))
            self.serial.compile(signature)
            self.parallel.compile(signature)
        if workers > 1:
            with _parallel(workers) as allowed:
                if allowed:
                    return self.parallel(workers, *args)
        return self.serial(workers, *args)


# ---- threads and forks


def _parent_started_threads() -> bool:
    started = getattr(numba.np.ufunc.parallel, "_is_initialized", True)
    return multiprocessing.parent_process() is not None and started


# A forked child has none of its parent's threads: omp kills it where Numba had started them, and hangs it where anyone
# else had used libgomp, which no flag tells. So a forked child takes the serial twins: the same bits.
_forked = _parent_started_threads()
_workqueue_busy = threading.Lock()
_chosen_threads: int | None = None
_here = threading.local()  # flags of each Python thread


def _after_fork() -> None:
    global _forked, _workqueue_busy, _compiling
    _forked, _workqueue_busy, _compiling = True, threading.Lock(), threading.RLock()
    lock = getattr(global_compiler_lock, "_lock", None)
    if lock is not None and not lock._is_owned():  # perhaps held by a thread that the child does not have
        global_compiler_lock._lock = threading.RLock()


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
        What `set_num_threads` set, or else Numba's limit, and never more than that.
    """
    limit = int(numba.config.NUMBA_NUM_THREADS)
    return limit if _chosen_threads is None else min(_chosen_threads, limit)


def threads_here() -> int:
    """How many threads work of this Python thread may take."""
    return 1 if getattr(_here, "serial", False) else get_num_threads()


@contextlib.contextmanager
def _as(name: str) -> Iterator[None]:
    """A flag of this Python thread that is up for a while."""
    before = getattr(_here, name, False)
    setattr(_here, name, True)
    try:
        yield
    finally:
        setattr(_here, name, before)


def serially() -> contextlib.AbstractContextManager[None]:
    """Calls of this Python thread use no others: what runs once is done before its parallel twin were compiled."""
    return _as("serial")


def serially_if_small(operations: float) -> contextlib.AbstractContextManager[None]:
    """As `serially`, where each step of a fit has few operations: it need not wait for a core on which others spin.

    OpenBLAS's threads do so for 0.1 s: after a fit of scikit-learn's, 360 rows of 512 features and 45 classes took 107
    ms on two threads, where alone they take 22, and 28 on one.
    """
    return serially() if operations < ALONE else contextlib.nullcontext()


def warming() -> contextlib.AbstractContextManager[None]:
    """Drivers that this Python thread calls compile both of their twins."""
    return _as("warming")


def worker_count(operations: float) -> int:
    """How many workers a call of so many operations is worth. Waking a thread takes 10 us, on workqueue 100."""
    if operations < 4e5 or _forked or not JIT or getattr(_here, "serial", False):
        return 1
    threads = get_num_threads()
    return 1 if threads == 1 or (operations < 2e7 and _layer() == "workqueue") else threads


@functools.cache
def _layer() -> str:
    """Numba's threading layer, which it knows when its threads are started."""
    numba.get_num_threads()
    return str(numba.threading_layer())


@contextlib.contextmanager
def _parallel(workers: int) -> Iterator[bool]:
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


# ---- memory for kernels

LINE = 64  # bytes of a cache line: a vector that straddles two costs two loads


def aligned(shape: tuple[int, ...], dtype: Any, fill: float | None = 0) -> np.ndarray[Any, Any]:
    """An array on a cache line, filled with `fill`, or left as it comes if that is None."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    raw = np.empty(size + LINE, np.uint8) if fill is None else np.zeros(size + LINE, np.uint8)
    start = -address(raw) % LINE
    array: np.ndarray[Any, Any] = raw[start : start + size].view(dtype).reshape(shape)
    if fill:
        array[...] = fill
    return array


Places = list[tuple[tuple[int, int], Any, int]]


def places(parts: Iterable[tuple[tuple[int, int], Any]]) -> tuple[Places, int]:
    """Where arrays of these shapes and dtypes lie in one allocation, each on a cache line; and its size in bytes."""
    found, size = [], 0
    for (rows, columns), dtype in parts:
        found.append(((rows, columns), dtype, size))
        size += -(-rows * columns * dtype.itemsize // LINE) * LINE
    return found, size


def carved(found: Places, size: int) -> list[np.ndarray[Any, Any]]:
    """Arrays of zeros where `places` says: ten of them take 5 us so, and 30 one by one."""
    raw = np.zeros(size + LINE, np.uint8)
    start = -address(raw) % LINE
    return [np.ndarray(shape, dtype, raw, start + at) for shape, dtype, at in found]


def address(array: np.ndarray[Any, Any]) -> int:
    """Where its first entry lies, without the object that `array.ctypes` makes."""
    return int(array.__array_interface__["data"][0])


class _Writable:
    """Gives a read-only array to NumPy as if it were writable."""

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self.array = array
        self.__array_interface__ = array.__array_interface__ | {"data": (address(array), False)}


def flat(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A C-contiguous array in one dimension, of the one type that kernels take.

    To Numba a read-only array is a type of its own; kernels write to outputs alone, so none needs that.
    """
    if not array.flags.writeable:
        array = np.asarray(_Writable(array))
    return array.reshape(-1)


def cpu_name() -> str:
    """The CPU that is compiled for, as LLVM calls it."""
    from numba.core.registry import cpu_target

    return str(cpu_target.target_context.codegen().magic_tuple()[1])
