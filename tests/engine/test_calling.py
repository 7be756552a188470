"""Any way of calling: threads, pools, forks, forks of forks, spawns, beside other kernels, on any layer and number.

Each case is a process with a time limit: it must end well, and print the one hash that all share.
"""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from fastsoftmax.engine.threads import JIT
from tests.conftest import ROOT

pytestmark = [
    pytest.mark.skipif(not JIT, reason="with the JIT off there is one thread, and NumPy's own bits"),
    pytest.mark.skipif(sys.platform == "win32", reason="forks are POSIX's"),
]
SECONDS = 120

# What every process computes: small and large calls, so that serial and parallel twins are among them on any layer.
COMMON = r"""
import hashlib, multiprocessing, os, sys, threading
import numpy as np
import fastsoftmax as fs

def work(_=None):
    rng = np.random.default_rng(0)
    h = hashlib.sha256()
    def add(*arrays):
        for a in arrays:
            h.update(np.asarray(a).tobytes())
    for n, m, c in SHAPES:
        X, W, y = rng.standard_normal((n, m)).astype(np.float32), rng.standard_normal((c, m)), rng.integers(0, c, n)
        add(*fs.loss_gradient(X, y, W.astype(np.float32)))
    add(fs.softmax(rng.standard_normal((n, 40)), axis=0), fs.predict_proba(X, W))
    model = fs.Trainer(1, optimizer="adam", learning_rate=0.01).fit(X[:500], y[:500])
    add(model.coef, model.intercept)
    if FITS:
        fit = fs.SoftmaxRegression(solver="lbfgs").fit(X[:400], y[:400])
        add(fit.coef_, fit.intercept_)
    return h.hexdigest()

def in_child(function=work):
    "What a forked child returns, or how it ended."
    r, w = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(w, str(function()).encode())
        os._exit(0)
    os.close(w)
    result = os.read(r, 100).decode()
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return result if status == 0 else f"ended with {status}"

def in_thread(function=work):
    found = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]

def report(results):
    results = set(results)
    print(results.pop() if len(results) == 1 else f"differ: {results}", flush=True)
"""
OTHER = r"""
import numba
@numba.njit(parallel=True)
def other(x):
    total = 0.0
    for i in numba.prange(len(x)):
        total += x[i]
    return total
ones = np.ones(100_000)
"""
WAYS = {
    "main thread": "report([work(), work()])",
    "another thread": "report([in_thread(), work(), in_thread()])",
    "eight threads": """
barrier, found = threading.Barrier(8), []
def run():
    barrier.wait()
    found.append(work())
threads = [threading.Thread(target=run) for _ in range(8)]
[t.start() for t in threads]
[t.join() for t in threads]
report(found)
""",
    "thread pool": """
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(4) as pool:
    report(pool.map(work, range(8)))
""",
    "fork before": "report([in_child(), work()])",
    "fork after": "report([work(), in_child(), work()])",
    "fork of a fork": "report([work(), in_child(lambda: in_child(work)), work()])",
    "fork of a fork before": "report([in_child(lambda: in_child(work)), work()])",
    "fork from a thread": "report([work(), in_thread(in_child)])",
    "threads in a fork": "report([work(), in_child(in_thread)])",
    "fork during a kernel": """
stop, found = threading.Event(), []
def busy():
    while not stop.is_set():
        found.append(work())
work()
thread = threading.Thread(target=busy)
thread.start()
found += [in_child() for _ in range(4)]
stop.set()
thread.join()
report(found)
""",
    "fork while locks are held": """
from fastsoftmax.engine import blas
from fastsoftmax.engine import jit
from numba.core.compiler_lock import global_compiler_lock
first, held, done = work(), threading.Event(), threading.Event()
def hold():
    with blas._lock, jit._compiling, global_compiler_lock:
        held.set()
        done.wait()
thread = threading.Thread(target=hold)
thread.start()
held.wait()
found = [in_child() for _ in range(2)]
done.set()
thread.join()
report([first, *found, work()])
""",
    "multiprocessing fork before": """
with multiprocessing.get_context("fork").Pool(2) as pool:
    found = pool.map(work, range(4))
report([*found, work()])
""",
    "multiprocessing fork after": """
first = work()
with multiprocessing.get_context("fork").Pool(2) as pool:
    report([first, *pool.map(work, range(4))])
""",
    "multiprocessing spawn": """
if __name__ == "__main__":
    first = work()
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        report([first, *pool.map(work, range(2))])
""",
    "multiprocessing forkserver": """
if __name__ == "__main__":
    first = work()
    with multiprocessing.get_context("forkserver").Pool(2) as pool:
        report([first, *pool.map(work, range(2))])
""",
    "joblib loky": """
import joblib
report([work(), *joblib.Parallel(2, backend="loky")(joblib.delayed(work)() for _ in range(3))])
""",
    "joblib threading": """
import joblib
report([work(), *joblib.Parallel(4, backend="threading")(joblib.delayed(work)() for _ in range(6))])
""",
    "grid search": """
from sklearn.model_selection import GridSearchCV
rng = np.random.default_rng(1)
X, y = rng.standard_normal((300, 20)), rng.integers(0, 3, 300)
found = []
for jobs in (1, 2):
    search = GridSearchCV(fs.SoftmaxRegression(), {"C": [0.1, 1.0]}, cv=2, n_jobs=jobs).fit(X, y)
    found.append(str((search.best_params_, search.cv_results_["mean_test_score"].tobytes())))
assert len(set(found)) == 1
report([work()])
""",
    "dask": """
import dask
report(dask.compute(*[dask.delayed(work)(i) for i in range(6)], scheduler="threads", num_workers=4))
""",
    "asyncio": """
import asyncio
async def all():
    return await asyncio.gather(*[asyncio.to_thread(work) for _ in range(6)])
report([*asyncio.run(all()), work()])
""",
    "beside other kernels, in turn": OTHER
    + """
found = [work()]
for _ in range(3):
    assert abs(other(ones) - 100_000) < 1e-6
    found.append(work())
report(found)
""",
    "beside other kernels, which came first": OTHER + "assert other(ones) > 0\nreport([work(), in_child(), work()])",
    "beside other kernels, at once": OTHER
    + """
stop, found = threading.Event(), []
def busy():
    while not stop.is_set():
        assert abs(other(ones) - 100_000) < 1e-6
thread = threading.Thread(target=busy)
thread.start()
found = [work() for _ in range(4)]
stop.set()
thread.join()
report(found)
""",
    "on the way out": "import atexit\nfirst = work()\natexit.register(lambda: report([first, work()]))",
}
LAYERS = "omp", "workqueue", "tbb"
ALONE = {"beside other kernels, at once": "workqueue"}  # Numba ends a process that enters it from two threads
WORK = {  # a fit imports scikit-learn, which takes a second: it is part of all ways on omp with two threads
    "fit": "SHAPES, FITS = ((3000, 37, 5), (15000, 64, 10)), True\n",
    "big": "SHAPES, FITS = ((3000, 37, 5), (15000, 64, 10)), False\n",
    "small": "SHAPES, FITS = ((60, 9, 3),), False\n",
}


def _cases():
    """Ways, settings, and whether .ci/run has time for it: each way is tried there on omp, and on one other layer."""
    for i, layer in enumerate(LAYERS):
        for threads in (1, 2, 5):
            few = "main thread", "eight threads", "fork after"
            ways = WAYS if threads == 2 else few
            turns = list(WAYS)[i :: len(LAYERS)] if threads == 5 else []  # five threads: each way on one layer
            for k, way in enumerate(dict.fromkeys([*ways, *turns])):
                here = layer == "omp" or way in few or k % 2 == i - 1
                if ALONE.get(way) != layer:
                    yield way, {"NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": threads}, threads < 5 and here
    for threads in (3, 4, 6, 7, 8):
        yield "thread pool", {"NUMBA_NUM_THREADS": threads}, threads in (3, 8)
    for level in (1, 2):
        yield "main thread", {"PYTHONOPTIMIZE": level}, level == 2
        yield "fork after", {"PYTHONOPTIMIZE": level}, level == 2
    for target in ("haswell", "generic"):
        for way in ("main thread", "eight threads", "fork after", "multiprocessing spawn"):
            features = {} if target == "generic" else {"NUMBA_CPU_FEATURES": ""}
            yield way, {"NUMBA_CPU_NAME": target, "NUMBA_NUM_THREADS": 2, "SMALL": 1} | features, target == "haswell"


CASES, SOON = {}, []
for _way, _set, _here in _cases():
    _name = f"{_way}, {', '.join(f'{k}={v}' for k, v in _set.items())}"
    CASES[_name] = _way, _set
    SOON += [_name] * _here


def _work(set_):
    """Which work is done."""
    fits = set_.get("NUMBA_THREADING_LAYER", "omp") == "omp" and set_.get("NUMBA_NUM_THREADS", 2) == 2
    return "small" if "SMALL" in set_ else "fit" if fits else "big"


def _run(folder, way, set_):
    work = _work(set_)
    path = folder / f"{work} {way}.py"  # spawned children import it
    path.write_text(WORK[work] + COMMON + WAYS[way])
    environment = os.environ | {"PYTHONPATH": str(ROOT)} | {k: str(v) for k, v in set_.items()}
    if set_.get("NUMBA_THREADING_LAYER") == "tbb":  # where its wheel lays it, and Numba does not look
        environment["LD_LIBRARY_PATH"] = os.pathsep.join([sys.prefix + "/lib", environment.get("LD_LIBRARY_PATH", "")])
    try:
        return subprocess.run(
            [sys.executable, str(path)], env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return None


@pytest.fixture(scope="module")
def runs(request, tmp_path_factory):
    """All cases that were asked for, two at a time; first the ways in one process, which fill the cache."""
    folder = tmp_path_factory.mktemp("calling")
    wanted = [i.callspec.params["case"] for i in request.session.items if i.name.startswith("test_calling[")]
    first = [case for case in wanted if CASES[case][0] == "main thread"]
    found = {case: _run(folder, *CASES[case]) for case in first}
    with ThreadPoolExecutor(2) as pool:
        rest = [case for case in wanted if case not in found]
        found |= dict(zip(rest, pool.map(lambda case: _run(folder, *CASES[case]), rest), strict=True))
    return found


@pytest.fixture(scope="module")
def hashes(tmp_path_factory):
    """What each work gives in a plain process."""
    folder, plain = tmp_path_factory.mktemp("plain"), ({}, {"NUMBA_NUM_THREADS": 1}, {"SMALL": 1})
    return {_work(set_): _run(folder, "main thread", set_).stdout.strip() for set_ in plain}


@pytest.mark.parametrize(
    "case", [pytest.param(case, marks=() if case in SOON else pytest.mark.long, id=case) for case in CASES]
)
def test_calling(case, runs, hashes):
    result = runs[case]
    assert result is not None, f"no end within {SECONDS} s"
    if result.returncode and "No threading layer could be loaded" in result.stderr:
        pytest.skip("this machine has no such threading layer")
    assert result.returncode == 0, result.stderr[-2000:]
    last = result.stdout.splitlines()[-1]  # tbb says that it could not join its threads before a fork
    assert last == hashes[_work(CASES[case][1])], result.stderr[-2000:]
    assert len(last) == 64
