"""The one place that spells Numba's options: flags, serial and parallel twins, pointers.

`kernel` compiles what is called inside kernels, `Pointer` a chunk function that drivers call without compiling it
again, `Driver` the loop that calls it, once for one thread and once for many.
"""

import functools
import hashlib
import inspect
import logging
import os
import signal
import threading
import time
import types
from collections.abc import Callable
from typing import Any

import numba
import numpy as np
from numba.core.ccallback import CFunc
from numba.core.compiler_lock import global_compiler_lock
from numba.core.datamodel.models import ExternalFuncPointerModel
from numba.extending import NativeValue, register_model, typeof_impl, unbox

from fastsoftmax.engine import linking
from fastsoftmax.engine.cache import KernelCache, warn_uncached
from fastsoftmax.engine.threads import JIT, is_warming, parallel

logger = logging.getLogger("fastsoftmax")
PATIENCE = 10.0  # seconds that a fork waits for threads that compile
# Kernels own no memory, so they count no references, and NumPy's expressions over whole arrays, which Numba would
# rewrite, have no place in them: without both, a fit of iris compiled in 0.87 of the time. A kernel that returned part
# of an array to Python would return all of it; one that makes an array does not compile.
LEAN = {"_nrt": False, "no_rewrites": True}
OPTIONS = {"error_model": "numpy", "nogil": True, "fastmath": False, "boundscheck": False, "no_cfunc_wrapper": True}
CHOSEN = {"error_model": "numpy", "no_cfunc_wrapper": True} | LEAN  # of bodies that types choose


def _called_back(frame: Any) -> bool:
    """Whether LLVM called: Python would print an exception there, and go on."""
    while frame is not None:
        if frame.f_code.co_name.startswith("_raw_object_cache"):
            return True
        frame = frame.f_back
    return False


def _hearing_ctrl_c(compile_: Callable[..., Any]) -> Callable[..., Any]:
    """A compilation after which Ctrl-C has effect: LLVM calls back into Python, where the exception would be lost."""

    @functools.wraps(compile_)
    def compile_and_listen(*args: Any) -> Any:
        usual = signal.getsignal(signal.SIGINT) is signal.default_int_handler
        if not usual or threading.current_thread() is not threading.main_thread():
            with linking.linking():
                return compile_(*args)
        heard: list[int] = []

        def note(number: int, frame: Any) -> None:
            heard.append(number)
            if not _called_back(frame):
                signal.default_int_handler(number, frame)

        signal.signal(signal.SIGINT, note)
        try:
            with linking.linking():
                result = compile_(*args)
        finally:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        if heard:
            raise KeyboardInterrupt
        return result

    return compile_and_listen


def _compiled(function: Callable[..., Any], flags: dict[str, Any]) -> Any:
    assert not function.__closure__, "bind callees as globals: the cache's key does not see a closure"
    lean = {} if flags.get("parallel") else LEAN  # of loops that threads share Numba makes functions of its own
    compiled = numba.njit(**OPTIONS, **lean, **flags)(function)
    if not JIT and not {"inline", "forceinline"} & flags.keys():
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
    """A part of the kernels that call it, for LLVM.

    Which of the four a function is changes no bit, only what the compiler does.
    """
    return _compiled(function, {"no_cpython_wrapper": True, "forceinline": True})


def pasted(function: Callable[..., Any]) -> Any:
    """A part of the kernels that call it, before types are known.

    Numba then looks at it again in each of them, which takes longer, but arrays need not be handed over: softmax of ten
    classes and gradients over sparse X of 500 features took 1.1 and 1.2 times as long where theirs were `inlined`.
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

        overload(operation, jit_options=CHOSEN)(select)
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


_forking = threading.local()


def _before_fork() -> None:
    """Wait for threads that compile, for a while: a child would find LLVM in the middle, and wait for ever."""
    deadline, _forking.held = time.perf_counter() + PATIENCE, []
    for lock in (_compiling, getattr(global_compiler_lock, "_lock", None)):
        if lock is not None and lock.acquire(timeout=max(0.0, deadline - time.perf_counter())):
            _forking.held.append(lock)


def _after_fork() -> None:
    for lock in reversed(_forking.held):
        lock.release()


def _in_child() -> None:
    """Locks that a thread holds that the child does not have are new ones."""
    global _compiling
    if _compiling not in _forking.held:
        _compiling = threading.RLock()
    theirs = getattr(global_compiler_lock, "_lock", None)
    if theirs is not None and theirs not in _forking.held:
        global_compiler_lock._lock = threading.RLock()
        linking.restore()
    _after_fork()


if JIT and hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_in_child)


class ChunkType(numba.types.ExternalFunctionPointer):  # type: ignore[misc]
    """Numba's type of a compiled chunk function: its address, which is read at each call of a driver.

    Numba's own type of functions unpickles the signature each time, twice: 9 of the 12 us that compiled code took.
    """

    def __init__(self, signature: Any) -> None:
        super().__init__(signature, _address_of)
        self.name = f"Chunk({hashlib.sha256(str(signature).encode()).hexdigest()[:16]})"  # in the cache's keys


def _address_of(chunk: Any) -> int:
    return int(chunk.where)


register_model(ChunkType)(ExternalFuncPointerModel)


@unbox(ChunkType)  # type: ignore[untyped-decorator]
def _unbox_chunk(chunk_type: Any, value: Any, c: Any) -> Any:
    number = c.pyapi.object_getattr_string(value, "where")
    address = c.pyapi.long_as_voidptr(number)
    c.pyapi.decref(number)
    return NativeValue(c.builder.bitcast(address, c.context.get_value_type(chunk_type)))


class _Compiled(CFunc):
    """A C function that has its Numba type and its address at hand."""

    _sig: Any  # CFunc's own
    address: int

    def _compile_uncached(self) -> Any:
        result: Any = super()._compile_uncached()  # type: ignore[misc]
        linking.emit(result.library)
        return result

    def settle(self) -> None:
        """Once it is compiled."""
        self.numba_type, self.where = ChunkType(self._sig), self.address


@typeof_impl.register(_Compiled)  # type: ignore[untyped-decorator]
def _type_of_compiled(compiled: _Compiled, context: Any) -> Any:
    return compiled.numba_type


class Pointer:
    """A function compiled once per argument types to a C function pointer, which drivers take as an argument.

    A driver that inlined it would compile it again, and its parallel twin a third time: with a pointer the twins
    take 0.06 and 0.19 s.
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
        options = {name: OPTIONS[name] for name in ("error_model", "fastmath", "boundscheck")} | LEAN
        compiled: Any = _Compiled(function, signature, locals={}, options=options)
        compiled._cache = KernelCache(function, "pointer", *constants.items())
        _hearing_ctrl_c(compiled.compile)()
        compiled.settle()
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
    """A loop over workers, `prange` in the source, as a serial and a parallel twin that give the same bits.

    One of its arguments is called `chunk`, a pointer, from whose types those of all others follow. So what Numba
    compiled is found by it, and called: finding the types of 25 arguments takes 18 us, and the call itself 3.
    """

    checks = False  # that types follow: in tests

    def __init__(self, function: Callable[..., Any]) -> None:
        self.serial, self.parallel = _compiled(function, {}), _compiled(function, {"parallel": True})
        self.at = list(inspect.signature(function).parameters).index("chunk") - 1
        self.entries: dict[tuple[Any, bool], tuple[Any, Any]] = {}

    def __call__(self, workers: int, *args: Any) -> Any:
        if JIT and is_warming():
            signature = tuple(map(numba.typeof, (workers, *args)))
            self.serial.compile(signature)
            self.parallel.compile(signature)
        if workers > 1:
            with parallel(workers) as allowed:
                if allowed:
                    return self._entry(True, args)(workers, *args)
        return self._entry(False, args)(workers, *args)

    def _entry(self, many: bool, args: tuple[Any, ...]) -> Any:
        """The compiled code for this chunk."""
        dispatcher = self.parallel if many else self.serial
        if not JIT:
            return dispatcher
        key = args[self.at], many
        found = self.entries.get(key)
        if found is None or self.checks:
            signature = tuple(map(numba.typeof, (0, *args)))
            if found is None:
                found = self.entries[key] = dispatcher.compile(signature), signature
            assert found[1] == signature, f"types that do not follow from those of a chunk: {found[1]}, {signature}"
        return found[0]


def cpu_name() -> str:
    """The CPU that is compiled for, as LLVM calls it."""
    from numba.core.registry import cpu_target

    return str(cpu_target.target_context.codegen().magic_tuple()[1])
