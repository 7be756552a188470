"""The JIT policy: twins, slices and threads give equal bytes; the cache is never wrong and never raises; forks live."""

import os
import shutil
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse

import fastsoftmax as fs
from fastsoftmax import defaults, warming
from fastsoftmax.engine import cache, jit, threads
from fastsoftmax.kernels import gradient, softmax, touched
from fastsoftmax.objective import softmax as objective
from tests.conftest import ROOT, make_problem

jit_only = pytest.mark.skipif(
    not threads.JIT, reason="there is nothing compiled to cache, and one thread, with the JIT off"
)

# A process that prints a hash of loss and gradient, one line a call.
HASH = """
import hashlib, sys, numpy as np, fastsoftmax as fs
def run(m=37, dtype=np.float32):
    rng = np.random.default_rng(0)
    X, W = rng.standard_normal((3000, m)).astype(dtype), rng.standard_normal((5, m)).astype(dtype)
    loss, G, g = fs.loss_gradient(X, rng.integers(0, 5, 3000), W)
    return hashlib.sha256(np.float64(loss).tobytes() + G.tobytes() + g.tobytes()).hexdigest()[:16]
"""


def digest(result):
    return b"".join(np.asarray(part).tobytes() for part in result)


@pytest.fixture
def restore_threads():
    before = threads._chosen_threads
    yield
    threads._chosen_threads = before


@jit_only
@pytest.mark.parametrize(("n", "m", "c"), [(4000, 50, 7), (500, 1100, 250)])
def test_threads_give_equal_bytes(rng, restore_threads, n, m, c):
    X, y, coef, b = make_problem(rng, n, m, c)
    Z = rng.standard_normal((5000, 100)).astype(np.float32)
    seen = set()
    for k in (1, 2, 1):
        fs.set_num_threads(k)
        seen.add(
            digest(fs.loss_gradient(X, y, coef, b)) + fs.softmax(Z).tobytes() + fs.predict_proba(X, coef).tobytes()
        )
    assert len(seen) == 1


@jit_only
def test_twins_are_both_used(rng, restore_threads, monkeypatch):
    """The serial twin of a small problem and the parallel twin of a large one: what the other tests compare."""
    called, real = [], jit.Driver._entry

    def entry(driver, many, args):
        called.append("parallel" if many else "serial")
        return real(driver, many, args)

    monkeypatch.setattr(jit.Driver, "_entry", entry)
    fs.set_num_threads(2)
    expected = ["serial", "parallel"] if fs.get_num_threads() > 1 else ["serial", "serial"]
    for n in (10, 4000):
        X, y, coef, b = make_problem(rng, n, 50, 7)
        fs.loss_gradient(X, y, coef, b)
    assert called == expected


@pytest.mark.parametrize("operations", [1.0, 1e6, 1e8])
def test_slices_do_not_change_a_bit(rng, monkeypatch, operations):
    X, y, coef, b = make_problem(rng, 5000 if threads.JIT else 300, 50, 7)
    whole = fs.loss_gradient(X, y, coef, b)
    monkeypatch.setattr(objective, "SLICE", operations)
    assert digest(fs.loss_gradient(X, y, coef, b)) == digest(whole)


def test_set_num_threads(restore_threads):
    limit = fs.get_num_threads()
    fs.set_num_threads(1)
    assert fs.get_num_threads() == 1
    fs.set_num_threads(1000)
    assert fs.get_num_threads() == limit
    for bad in (0, -1, 1.5, True, "2", None):
        with pytest.raises(ValueError, match="integer of at least 1"):
            fs.set_num_threads(bad)


@jit_only
def test_numba_is_left_as_it_was(rng, restore_threads):
    import numba

    before = numba.get_num_threads()
    fs.set_num_threads(1)
    fs.softmax(rng.standard_normal((3000, 100)))
    fs.set_num_threads(2)
    fs.softmax(rng.standard_normal((3000, 100)))
    assert numba.get_num_threads() == before


@jit_only
def test_few_signatures(rng):
    """Labels or probabilities, weights, smoothing, options: one compiled chunk for each X, compute dtype and tile."""
    for pointer in (gradient.losses, gradient.probabilities):
        pointer.compiled.clear()
    drivers = len(gradient.sweep.serial.signatures)
    for dtype in (np.float32, np.float64, np.uint8):
        X, y, coef, b = make_problem(rng, 60, 9, 5, dtype)
        for target in (y, np.eye(5)[y]):
            for options in ({}, {"sample_weight": np.ones(60)}, {"label_smoothing": 0.1}, {"l2": 1.0, "scale": 0.5}):
                fs.loss_gradient(X, target, coef, b, **options)
        fs.predict_proba(X, coef)
        fs.Trainer(1, optimizer="adam").fit(X, y)
        fs.Trainer(1, early_stopping=True, momentum=0.5, nesterov=True).fit(X, y)

    def count(pointer):  # each is found under two keys
        return len(set(map(id, pointer.compiled.values())))

    assert count(gradient.losses) == 3
    assert count(gradient.probabilities) == 3
    for c in (2, 3, 7, 10, 12):  # other tiles
        X, y, coef, b = make_problem(rng, 60, 9, c)
        fs.loss_gradient(X, y, coef, b)
    assert count(gradient.losses) == 8
    assert len(gradient.sweep.serial.signatures) <= drivers + 3  # do not know of tiles
    assert count(softmax.normalise) <= 2
    touched.touched.compiled.clear()
    drivers = len(touched.touched_steps.serial.signatures)
    for dtype in (np.float32, np.float64, np.uint8):
        X = scipy.sparse.csr_array((np.ones(60, dtype), (range(60), range(60))), (60, 40_000))
        for options in ({}, {"optimizer": "adam", "average": True}, {"l2": 0.1, "momentum": 0.5, "nesterov": True}):
            fs.Trainer(1, 4, **options).fit(X, np.arange(60) % 3)
    assert count(touched.touched) == 3
    assert len(touched.touched_steps.serial.signatures) <= drivers + 3


# ---- the cache


@pytest.fixture
def folder(tmp_path):
    path = tmp_path / "cache"
    path.mkdir(mode=0o700)
    return path


COUNT = """
import numba.core.event, logging
with numba.core.event.install_recorder("numba:compile") as recorder:
    result = run()
print(result, len(recorder.buffer) // 2)
"""


@jit_only
def test_the_next_process_compiles_nothing(run_python, folder):
    first = run_python(HASH + COUNT, FASTSOFTMAX_CACHE_DIR=folder).split()
    again = run_python(HASH + COUNT, FASTSOFTMAX_CACHE_DIR=folder).split()
    assert again == [first[0], "0"]
    assert int(first[1]) > 0
    assert folder.stat().st_mode & 0o077 == 0


@jit_only
def test_a_damaged_cache_is_repaired(run_python, folder):
    good = run_python(HASH + "print(run())", FASTSOFTMAX_CACHE_DIR=folder)
    files = sorted(folder.iterdir())
    for i, path in enumerate(files):
        blob = path.read_bytes()
        path.write_bytes([blob[:-99], blob[:5000] + bytes(99) + blob[5099:], b"", b"garbage"][i % 4])
    result = run_python(HASH + "print(run())", check=False, FASTSOFTMAX_CACHE_DIR=folder)
    assert result.stdout.strip() == good
    assert "damaged" in result.stderr
    assert run_python(HASH + COUNT, FASTSOFTMAX_CACHE_DIR=folder).split() == [good, "0"]


@jit_only
@pytest.mark.parametrize("kind", ["a file in its place", "open to others", "full disk"])
def test_an_unusable_cache_warns_once_and_works(run_python, folder, kind):
    good = run_python(HASH + "print(run())")
    first = ""
    if kind == "a file in its place":
        folder.rmdir()
        folder.write_text("")
    elif kind == "open to others":
        folder.chmod(0o777)
    else:
        first = "import resource, signal; signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        first += "resource.setrlimit(resource.RLIMIT_FSIZE, (999, 999))\n"
    result = run_python(first + HASH + "print(run())", check=False, FASTSOFTMAX_CACHE_DIR=folder)
    assert result.stdout.strip() == good
    assert 1 <= result.stderr.count("compiled, not cached") <= 2
    assert kind != "open to others" or not list(folder.iterdir())


@jit_only
def test_an_edit_of_any_kernel_compiles_anew(run_python, folder, tmp_path):
    package = tmp_path / "package" / "fastsoftmax"
    shutil.copytree(Path(fs.__file__).parent, package, ignore=shutil.ignore_patterns("mnist", "__pycache__"))
    code = f"import sys; sys.path.insert(0, {str(package.parent)!r})\n" + HASH + COUNT
    first = run_python(code, FASTSOFTMAX_CACHE_DIR=folder).split()
    assert run_python(code, FASTSOFTMAX_CACHE_DIR=folder).split()[1] == "0"
    source = package / "kernels" / "cross_entropy.py"  # a callee, in another file than the pointer's
    text = source.read_text()
    assert "losses[i] = logs[i] - losses[i]" in text
    source.write_text(text.replace("logs[i] - losses[i]", "2 * (logs[i] - losses[i])"))
    edited = run_python(code, FASTSOFTMAX_CACHE_DIR=folder).split()
    assert edited[0] != first[0]
    assert edited[1] != "0"


ROUNDS = [pytest.param(i, marks=[pytest.mark.long] if i else []) for i in range(30)]


@jit_only
@pytest.mark.parametrize("start", ROUNDS)
def test_eight_processes_start_cold_at_once(run_python, folder, start):
    code = HASH + "print(run(int(sys.argv[1]), np.dtype(sys.argv[2]).type))"
    jobs = [(m, dtype) for m in (37, 64) for dtype in ("f4", "f8")] * 2
    with ThreadPoolExecutor(8) as pool:
        work = [pool.submit(run_python, code, args=(str(m), d), FASTSOFTMAX_CACHE_DIR=folder) for m, d in jobs]
        results = [future.result() for future in work]
    for job, result in zip(jobs, results, strict=True):
        assert result == run_python(code, args=tuple(map(str, job)), FASTSOFTMAX_CACHE_DIR=folder)
    assert not [path for path in folder.iterdir() if path.suffix != ".kernel"]  # no scratch is left


def _half(x):
    """Compiled by the test below: half of each entry of x."""
    for i in range(len(x)):
        x[i] /= 2


@jit_only
def test_two_writers_interleaved(folder, monkeypatch):
    """While one process is about to name its file, another writes one of the same function for another signature.

    With Numba's own index both would take the same data file, and a later process would read the wrong one.
    """
    monkeypatch.setenv("FASTSOFTMAX_CACHE_DIR", str(folder))
    singles, doubles, real, depth = np.full(4, 3, np.float32), np.full(4, 5, np.float64), os.replace, []

    def replace(source, target):
        if not depth:
            depth.append(1)
            jit.kernel(_half)(doubles)
        real(source, target)

    monkeypatch.setattr(cache.os, "replace", replace)
    jit.kernel(_half)(singles)
    assert depth
    assert len(list(folder.iterdir())) == 2
    later = jit.kernel(_half)
    later(singles)
    later(doubles)
    assert sum(later.stats.cache_hits.values()) == 2
    assert not later.stats.cache_misses
    np.testing.assert_array_equal(singles, np.full(4, 0.75, np.float32))
    np.testing.assert_array_equal(doubles, np.full(4, 1.25))


@jit_only
def test_no_home_to_write_to(run_python):
    """A read-only container: no folder of ours, no home."""
    good = run_python(HASH + "print(run())")
    environment = {"HOME": "/dev/null", "XDG_CACHE_HOME": "", "FASTSOFTMAX_CACHE_DIR": ""}
    result = run_python(HASH + "print(run())", check=False, **environment)
    assert result.stdout.strip() == good
    assert result.stderr.count("compiled, not cached") == 1


@jit_only
def test_versions_share_a_folder(run_python, folder, tmp_path):
    """Each finds its own, whoever came last."""
    package = tmp_path / "package" / "fastsoftmax"
    shutil.copytree(Path(fs.__file__).parent, package, ignore=shutil.ignore_patterns("mnist", "__pycache__"))
    source = package / "kernels" / "shuffle.py"
    source.write_text(source.read_text() + "# another version\n")
    other = f"import sys; sys.path.insert(0, {str(package.parent)!r})\n" + HASH + COUNT
    first = run_python(HASH + COUNT, FASTSOFTMAX_CACHE_DIR=folder).split()
    second = run_python(other, FASTSOFTMAX_CACHE_DIR=folder).split()
    assert second[1] == first[1] != "0"  # nothing of the other's was taken
    for code in (HASH + COUNT, other):
        assert run_python(code, FASTSOFTMAX_CACHE_DIR=folder).split() == [first[0], "0"]


EVERYTHING = """
import sys, numpy as np, fastsoftmax as fs, scipy.sparse as sp
def run():
    rng = np.random.default_rng(0)
    X, y, W = rng.standard_normal((3000, 20)).astype(np.float32), rng.integers(0, 3, 3000), np.zeros((3, 20))
    Z, Y = X[:, :3].copy(), np.full((3000, 3), 1 / 3)
    for data in (X, sp.csr_array(X)):
        fs.loss_gradient(data, y, W.astype(np.float32), np.zeros(3, np.float32), sample_weight=np.ones(3000))
        fs.loss_gradient(data, Y, W, dtype=np.float64)
        model = fs.Trainer(2, early_stopping=True, momentum=0.5).fit(data, y)
        fs.Trainer(2, optimizer="adam", average=True, batch_size=1500).fit(data, y)
        fs.Trainer(2, optimizer="gd").fit(data, y)
        model.predict(data), model.predict_proba(data), model.score(data, y)
        for solver in ("lbfgs", "newton", "proximal", "newton-cg"):
            fit = fs.SoftmaxRegression(solver=solver, standardize=solver == "lbfgs", tol=1e-3).fit(data, y)
            fit.predict(data), fit.predict_proba(data), fit.predict_log_proba(data)
        fs.SoftmaxRegression(l1_ratio=1.0, C=0.01).fit(data, y, np.ones(3000))
        fs.SoftmaxSGDClassifier(max_epochs=2, tol=None).fit(data, y).partial_fit(data, y)
    fs.SoftmaxRegressionCV(Cs=2, cv=2).fit(X, y)
    for function in (fs.softmax, fs.log_softmax, fs.logsumexp):
        function(Z), function(Z, axis=0), function(np.zeros((9, 99), np.float32)), function(np.zeros((2000, 999), "f4"))
    fs.cross_entropy(Z, y), fs.cross_entropy_gradient(Z, Y, label_smoothing=0.1, reduction="none")
    fs.loss_gradient(np.zeros((5, 5000), np.float32), [0] * 5, np.zeros((100, 5000), np.float32))
    fs.Trainer(1, 4, learning_rate=1e-3).fit(np.zeros((100, 5000), np.float32), np.arange(100))
    wide = sp.csr_array((np.ones(9, np.float32), (range(9), range(9))), (9, 200_000))
    fs.loss_gradient(wide, [0, 1, 2] * 3, np.zeros((3, 200_000), np.float32))
    fs.SoftmaxRegression(tol=0.1).fit(wide, [0, 1, 2] * 3)
    for optimizer in ("sgd", "adam"):
        trainer = fs.Trainer(2, 4, optimizer, l2=0.1, average=True, label_smoothing=0.1)
        trainer.fit(wide, [0, 1, 2] * 3, sample_weight=[2] * 9)
    fs.SoftmaxSGDClassifier(momentum=0.5).partial_fit(wide, [0, 1, 2] * 3, [0, 1, 2])
"""


@jit_only
def test_warmup_compiles_all_that_is_called(run_python, folder):
    printed = run_python(
        "import fastsoftmax as fs\nprint(fs.warmup([3, 100], ['float32']))", FASTSOFTMAX_CACHE_DIR=folder, timeout=600
    )
    assert float(printed) > 1
    names = COUNT.replace("print(result, len(recorder.buffer) // 2)", "print({str(e) for _, e in recorder.buffer})")
    assert run_python(EVERYTHING + names, FASTSOFTMAX_CACHE_DIR=folder) == "set()"
    again = run_python(
        "import fastsoftmax as fs\nprint(fs.warmup([3, 100], ['float32']))", FASTSOFTMAX_CACHE_DIR=folder
    )
    assert float(again) < float(printed) / 2


@pytest.mark.parametrize(("classes", "many"), [([3], False), ([3, 100], True), ([24], False), (range(2, 33), True)])
def test_warmup_of_many_classes_alone_is_of_their_pipeline(classes, many):
    """Which float32 X of any width may need from 25 classes on, and float64 from 13 on."""
    tasks = [*warming._tasks([*classes], ["float32"])]
    asked = {(task[2], task[3]) for task in tasks if task[0] is warming._curvature}
    assert ((np.dtype(np.float32), objective.OWNING) in asked) == many
    assert ((np.dtype(np.float64), objective.OWNING) in asked) == (many or max(classes) > 12)


@pytest.mark.parametrize("kind", defaults.EVERY_DTYPE)
def test_warmup_is_of_x_as_it_is_stored(kind):
    import ml_dtypes

    stored = {"float16": np.int16, "bfloat16": np.uint16}.get(kind, kind)
    dense, sparse, wide = warming._examples([kind])
    for design, shape in ((dense, (12, 5)), (sparse, (12, 5)), (wide, (12, wide.m))):
        assert (design.n, design.m) == shape
        assert design.arrays()[0].dtype == stored
        assert design.dtype == (np.float64 if kind == "float64" else np.float32)
    out = np.zeros((2, 12, 5))
    dense.block(0, 12, out[0])
    sparse.block(0, 12, out[1])
    np.testing.assert_array_equal(*out)
    np.testing.assert_array_equal(out[0].reshape(-1), np.arange(60) % 7)
    names = [kind, ml_dtypes.bfloat16 if kind == "bfloat16" else np.dtype(kind)]
    assert all(warming._same(kind, name) for name in names)


def test_warmup_checks_what_it_is_given():
    for wrong in (1, [3, 0], 2.5, [], "ab", [2.0]):
        with pytest.raises(ValueError, match="integers of at least 2"):
            fs.warmup(wrong)
    for wrong in ([], ["complex64"], ["int64", "float32"], "nope", [None], [3]):
        with pytest.raises(ValueError, match="dtypes must be some of"):
            fs.warmup(3, wrong)


@jit_only
@pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are POSIX's")
def test_a_terminal_is_told_of_the_first_compilation(folder):
    """And nobody else is, nor is it told when all is cached."""
    import pty

    code = HASH + "run(); run(40, np.float64)"
    for expected in (1, 0):
        ours, theirs = pty.openpty()
        environment = os.environ | {"PYTHONPATH": str(ROOT), "FASTSOFTMAX_CACHE_DIR": str(folder)}
        subprocess.run([sys.executable, "-c", code], stderr=theirs, env=environment, check=True, timeout=300)
        os.close(theirs)
        try:
            said = os.read(ours, 10_000).decode()
        except OSError:  # nothing was written
            said = ""
        os.close(ours)
        assert said.count("compiling kernels for this CPU") == expected, said


@jit_only
def test_without_numbas_internals_there_is_no_cache(run_python, folder):
    moved = "import numba.core.compiler as c; del c.CompileResult._rebuild\n"
    good = run_python(HASH + "print(run())", FASTSOFTMAX_CACHE_DIR=folder)
    result = run_python(moved + HASH + "print(run())", check=False, FASTSOFTMAX_CACHE_DIR=folder)
    assert result.stdout.strip() == good
    assert "compiled, not cached" in result.stderr


# ---- ways of calling


@jit_only
@pytest.mark.parametrize("layer", ["omp", "workqueue"])
def test_threads_and_forks(run_python, layer):
    code = (
        HASH
        + """
import os, signal, threading
from concurrent.futures import ThreadPoolExecutor
signal.alarm(120)
good = run()
with ThreadPoolExecutor(4) as pool:
    assert set(pool.map(lambda _: run(), range(24))) == {good}
for _ in range(3):  # parent, child, grandchild
    assert run() == good
    if pid := os.fork():
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))
print("end", end="", flush=True)
os._exit(0)
"""
    )
    try:
        printed = run_python(code, NUMBA_THREADING_LAYER=layer, NUMBA_NUM_THREADS=2)
    except AssertionError as error:
        if "No threading layer could be loaded" in str(error) or "not available" in str(error):
            pytest.skip(f"this machine has no {layer}")
        raise
    assert printed == "end"


def test_a_thread_beside_the_main_one(rng):
    X, y, coef, b = make_problem(rng, 3000 if threads.JIT else 100, 50, 7)
    expected, got = digest(fs.loss_gradient(X, y, coef, b)), []
    thread = threading.Thread(target=lambda: got.append(digest(fs.loss_gradient(X, y, coef, b))))
    thread.start()
    thread.join()
    assert got == [expected]


def test_import_is_instant(run_python):
    """`import fastsoftmax` loads nothing but itself."""
    loaded = run_python(
        "import sys, numpy; before = set(sys.modules)\n"
        "import fastsoftmax\n"
        "print(sorted(name for name in set(sys.modules) - before))"
    )
    assert loaded == "['fastsoftmax']"


def test_names(run_python):
    assert run_python("import fastsoftmax as fs; print([n for n in fs.__all__ if not hasattr(fs, n)])") == "[]"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        fs.nothing  # noqa: B018
    assert "softmax" in dir(fs)


@pytest.mark.skipif(sys.platform == "win32", reason="POSIX cache folders")
def test_cache_folder(monkeypatch):
    monkeypatch.setenv("FASTSOFTMAX_CACHE_DIR", "/somewhere")
    assert cache.cache_folder() == Path("/somewhere")
    monkeypatch.delenv("FASTSOFTMAX_CACHE_DIR")
    monkeypatch.setenv("XDG_CACHE_HOME", os.sep + "xdg")
    assert sys.platform != "linux" or cache.cache_folder() == Path("/xdg/fastsoftmax")


@jit_only
def test_a_driver_is_found_by_its_chunk(rng, checked_drivers):
    """One entry a chunk and twin, and types that do not follow from those of the chunk are found out by the check."""
    X, y = rng.standard_normal((20, 3)), rng.integers(0, 3, 20)
    args = []
    real = gradient.sweep.__class__.__call__

    def record(self, *given):
        args.append((self, given))
        return real(self, *given)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jit.Driver, "__call__", record)
        fs.loss_gradient(X, y, np.zeros((3, 3)))
        fs.loss_gradient(X[:7], y[:7], np.zeros((3, 3)))
    driver, given = args[0]
    assert driver is gradient.sweep
    assert args[1][1][1] is given[1]
    assert (given[1], False) in driver.entries
    wrong = list(given)
    wrong[-1] = wrong[-1].astype(np.float32)
    with pytest.raises(AssertionError, match="do not follow"):
        driver(*wrong)
