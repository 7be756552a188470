"""What only kernels call has no machine code; Numba's own ways are back afterwards, whatever happened."""

import gc
import os
import threading

import numba
import numpy as np
import pytest
from numba.core.codegen import JITCodeLibrary
from numba.core.registry import cpu_target

from fastsoftmax.engine import jit, linking, threads

pytestmark = pytest.mark.skipif(not threads.JIT, reason="with the JIT off nothing is compiled")


@jit.outlined
def doubled(x):
    return 2.0 * x


@jit.inlined
def increased(x):
    return x + 1.0


def _chain(x):
    return increased(doubled(x)) if x > 0 else doubled(increased(x))


@jit.kernel
def called(x):
    return increased(doubled(x))


def ordinary():
    codegen = cpu_target.target_context.codegen()
    return codegen._library_class is JITCodeLibrary and not {"_library_class", "set_env"} & vars(codegen).keys()


@pytest.fixture(autouse=True)
def _alone(tmp_path, monkeypatch):
    monkeypatch.setenv("FASTSOFTMAX_CACHE_DIR", str(tmp_path))
    assert linking.MOVED == []
    yield
    assert ordinary()
    assert gc.isenabled()


def test_only_what_is_asked_for_is_emitted():
    pointer = jit.Pointer(_chain)(1.5)
    assert pointer.ctypes(1.5) == 4.0
    assert pointer.ctypes(-1.0) == 0.0
    (callee,) = doubled.overloads.values()
    assert isinstance(callee.library, linking.LinkedLibrary)
    assert not callee.library._emitted
    assert callee.library.get_pointer_to_function("no such function") == 0
    assert callee.library.serialize_using_object_code()[1] == "bitcode"
    assert pointer._library.serialize_using_object_code()[1] == "object"
    assert called(2.0) == 5.0
    (entry,) = called.overloads.values()
    assert entry.library._emitted
    assert callee.library.get_pointer_to_function(callee.fndesc.llvm_func_name)
    assert callee.library._emitted  # now that somebody asked


def test_callees_that_have_machine_code_are_linked_all_the_same():
    @numba.njit
    def user(x):
        return called(x) + doubled(x)

    assert called(1.0) == 3.0
    assert user(1.0) == 5.0


def test_the_cache_gives_callees_back(run_python, tmp_path):
    code = """
import numpy as np
from fastsoftmax.engine import jit
from tests.engine import test_linking as t
print(jit.Pointer(t._chain)(1.5).ctypes(1.5), t.called(2.0), jit.Pointer(t._chain)(np.float32(1)).ctypes(1.0))
"""
    seen = {run_python(code, FASTSOFTMAX_CACHE_DIR=tmp_path / "kernels") for _ in range(3)}
    assert seen == {"4.0 5.0 3.0"}


def test_errors_leave_nothing_behind():
    @jit.kernel
    def wrong(x):
        return x.no_such_attribute

    with pytest.raises(numba.TypingError):
        wrong(1.0)
    assert ordinary()


def test_others_compile_meanwhile():
    def compile_and_call(k, found):
        @numba.njit(parallel=True)
        def theirs(x):
            total = np.zeros(len(x))
            for i in numba.prange(len(x)):
                total[i] = k * x[i]
            return total

        found.append(theirs(np.arange(3.0)).tolist())

    found = []
    workers = [threading.Thread(target=compile_and_call, args=(k, found)) for k in range(3)]
    for worker in workers:
        worker.start()
    for value in (1.0, np.float32(1.0), np.int64(1)):
        assert jit.Pointer(_chain)(value).ctypes(1) == 3.0
    for worker in workers:
        worker.join()
    assert sorted(found) == [[0.0, 0.0, 0.0], [0.0, 1.0, 2.0], [0.0, 2.0, 4.0]]


def test_where_numba_has_moved(monkeypatch):
    monkeypatch.setattr(linking, "MOVED", ["get_pointer_to_function"])
    pointer = jit.Pointer(_chain)(np.float32(2.5))
    assert pointer.ctypes(2.5) == 6.0
    assert not isinstance(pointer._library, linking.LinkedLibrary)
    monkeypatch.undo()


def test_a_collector_that_is_off_stays_off():
    gc.disable()
    try:
        with linking.linking():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()


FORKED = """
import gc, os, signal, sys, threading, time, warnings
import numpy as np
import fastsoftmax as fs
from fastsoftmax.engine import linking
warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads, since Python 3.12
Z = np.arange(12.0).reshape(4, 3)
thread = threading.Thread(target=fs.softmax, args=(Z,))
thread.start()
while linking._state.codegen is None:
    time.sleep(0.001)
pid = os.fork()  # waits until nobody compiles
if pid == 0:
    signal.alarm(100)
    right = np.allclose(fs.softmax(Z.astype(np.float32)), fs.softmax(Z))
    os._exit(0 if right and gc.isenabled() and linking._state.codegen is None else 3)
thread.join()
print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), gc.isenabled())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks are POSIX's")
def test_a_child_that_is_forked_while_a_thread_compiles_is_whole(run_python, tmp_path):
    assert run_python(FORKED, FASTSOFTMAX_CACHE_DIR=tmp_path / "kernels", timeout=200) == "0 True"


@jit.outlined
def spoken(x):
    print(x)
    return x


def _speaks(x):
    return spoken(x)


def test_functions_that_print_have_what_they_need(capfd):
    """An environment, which Numba sets once there is machine code."""
    assert jit.Pointer(_speaks)(1.0).ctypes(7.0) == 7.0
    assert capfd.readouterr().out == "7.0\n"
