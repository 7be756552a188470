"""Less to compile: what only other kernels call gets no machine code of its own.

Numba makes each function it compiles ready to run: it optimises its module in full, and has LLVM emit machine code,
although a kernel that is called by kernels alone is linked into them, and optimised and emitted there again. Here a
module is optimised and emitted when somebody asks for its address; until then its functions are optimised one by one.
(Less of that, SROA and what is dead taken out, makes passes over 100000 x 20 x 3 take 1.05 to 1.08 times as long.) With
this, with kernels joined by LLVM (`jit.inlined`), with `jit.LEAN`, and without Python's search for cycles meanwhile, a
process that trains on MNIST with an empty cache took 0.73 of the time, to the same bits, and one that fits iris 0.54 to
0.62, also because its steps of Newton's method need a kernel less.
"""

import contextlib
import gc
from collections.abc import Iterator
from typing import Any

from numba.core.codegen import JITCodeLibrary
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target

NEEDED = ("_optimize_final_module", "_finalize_final_module", "_get_module_for_linking", "_finalize_dynamic_globals",
          "_verify_declare_only_symbols", "get_pointer_to_function", "serialize_using_bitcode",
          "serialize_using_object_code")  # fmt: skip
NEEDED_TOO = ("_module_pass_manager", "_engine", "set_env")  # of what generates code
MOVED = [name for name in NEEDED if not hasattr(JITCodeLibrary, name)]


class LinkedLibrary(JITCodeLibrary):  # type: ignore[misc]
    """A module that is emitted when it is asked for."""

    _emitted = False

    def _optimize_final_module(self) -> None:
        """Not yet: its functions were, one by one."""

    def _finalize_final_module(self) -> None:
        if self._object_caching_enabled and self._compiled_object is not None:  # loaded from the cache
            self._emitted = True
            super()._finalize_final_module()
            return
        self._finalize_dynamic_globals()
        self._verify_declare_only_symbols()
        self._finalized = True

    def emit(self) -> None:
        """Optimise in full, and make machine code."""
        if self._emitted:
            return
        self._ensure_finalized()
        self._emitted = True
        if self._get_module_for_linking() is self._final_module:
            self._shared_module = self._final_module.clone()  # as it is: the engine takes the other
        self._dynamic_globals.clear()  # found once more
        passes, builder = self._codegen._module_pass_manager()
        passes.run(self._final_module, builder)
        super()._finalize_final_module()
        _environments.settle(self._codegen)

    def get_pointer_to_function(self, name: str) -> int:
        self._ensure_finalized()
        if not self._emitted:
            try:
                function = self._final_module.get_function(name)
            except NameError:
                return 0
            if function.is_declaration:
                return 0
            self.emit()
        return int(super().get_pointer_to_function(name))

    def serialize_using_object_code(self) -> Any:
        return super().serialize_using_object_code() if self._emitted else self.serialize_using_bitcode()


def emit(library: Any) -> None:
    """Machine code of a module, now."""
    if isinstance(library, LinkedLibrary):
        library.emit()


class _Environments:
    """What Numba writes into a module for functions that print, or raise what they made: once it is emitted."""

    def __init__(self) -> None:
        self.waiting: dict[str, Any] = {}

    def set(self, codegen: Any, name: str, env: Any) -> None:
        self.waiting[name] = env
        self.settle(codegen)

    def settle(self, codegen: Any) -> None:
        for name in [name for name in self.waiting if codegen._engine.is_symbol_defined(name)]:
            type(codegen).set_env(codegen, name, self.waiting.pop(name))


class _State:
    """Whether modules are linked libraries now, and whether Python was looking for cycles before."""

    codegen: Any = None
    collecting = False


_environments, _state = _Environments(), _State()


def _install(codegen: Any) -> None:
    _state.codegen, _state.collecting = codegen, gc.isenabled()
    gc.disable()  # a tenth of the time went into looking for cycles
    codegen._library_class = LinkedLibrary
    codegen.set_env = lambda name, env: _environments.set(codegen, name, env)


def restore() -> None:
    """Numba's own ways."""
    codegen, _state.codegen = _state.codegen, None
    if codegen is None:
        return
    vars(codegen).pop("_library_class", None)
    vars(codegen).pop("set_env", None)
    if _state.collecting:
        gc.enable()


@contextlib.contextmanager
def linking() -> Iterator[None]:
    """Within, modules are emitted when they are asked for; nobody else compiles meanwhile."""
    with global_compiler_lock:
        codegen = cpu_target.target_context.codegen()
        if MOVED or _state.codegen is not None or not all(hasattr(codegen, name) for name in NEEDED_TOO):
            yield
            return
        try:
            _install(codegen)
            yield
        finally:
            restore()
