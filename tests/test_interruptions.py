"""Any moment: Ctrl-C, kill -9, callbacks that raise, and runs that diverge leave a consistent state behind."""

import builtins
import contextlib
import itertools
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax import files
from fastsoftmax.engine import jit
from fastsoftmax.engine.threads import JIT
from fastsoftmax.files import CheckpointError
from tests.conftest import ROOT, make_problem

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
jit_only = pytest.mark.skipif(not JIT, reason="NumPy's calls, with the JIT off, are as long as they are")

# ---- Ctrl-C: a thread sends it while the main one works; what must hold then is asserted in that process

CTRL_C = """
import os, signal, sys, threading, time
import numpy as np, fastsoftmax as fs
rng, sent = np.random.default_rng(0), []
def interrupt_after(seconds):
    def send():
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)
    threading.Timer(seconds, send).start()
"""
FIT = """
X, y = rng.standard_normal((60_000, 300)).astype(np.float32), rng.integers(0, 10, 60_000)
model = fs.SoftmaxRegression(solver=SOLVER, tol=1e-12, max_iter=10**6, l1_ratio=L1).set_params(tol=10.0)
model.fit(X[:2000], y[:2000])
before = {k: np.copy(v) for k, v in vars(model).items()}
model.set_params(tol=1e-13)
before["tol"] = 1e-13
interrupt_after(0.2)
try:
    model.fit(X, y)
except KeyboardInterrupt:
    print(time.perf_counter() - sent[0])
assert vars(model).keys() == before.keys()
assert all(np.array_equal(v, before[k]) for k, v in vars(model).items())
assert model.predict(X[:10]).shape == (10,)
"""
EPOCHS = """
X, y = rng.standard_normal((200_000, 100)).astype(np.float32), rng.integers(0, 10, 200_000)
options = dict(optimizer="gd", learning_rate=0.01, average=True)
fs.Trainer(1, **options).fit(X, y)
interrupt_after(0.5)
trainer = fs.Trainer(10**6, **options)
model = trainer.fit(X, y)
print(time.perf_counter() - sent[0])
steps = trainer.progressed.steps
assert trainer.stopped == "interrupted" and steps in (len(trainer.history), len(trainer.history) + 1)
assert fs.Trainer(steps, **options).fit(X, y).sha256() == model.sha256()
"""
PREDICTION = """
import tempfile
with tempfile.TemporaryFile() as file:  # a hole of 10 GB
    file.truncate(10**10)
    X = np.memmap(file, np.uint8, "r", shape=(10**7, 1000))
model = fs.SoftmaxModel(np.ones((10, 1000), np.float32), np.ones(10, np.float32))
model.predict(X[:1000])
interrupt_after(0.3)
try:
    model.predict(X)
except KeyboardInterrupt:
    print(time.perf_counter() - sent[0])
"""
SOFTMAX = """
Z = np.zeros((4_000_000, 100), np.float32)
fs.softmax(Z[:1000])
interrupt_after(0.05)
try:
    while True:
        fs.softmax(Z, out=Z)
except KeyboardInterrupt:
    print(time.perf_counter() - sent[0])
"""
WORK = {
    solver: f"SOLVER, L1 = {solver!r}, {float(solver == 'proximal')}" + FIT for solver in ("lbfgs", "newton-cg", "saga")
}
WORK |= {"epochs": EPOCHS, "prediction": PREDICTION, "softmax": SOFTMAX}


@jit_only
@pytest.mark.parametrize("work", WORK)
def test_ctrl_c(run_python, work):
    """It ends the work soon (how soon is benchmarked: suite/interruptions.py), and all is as after a finished step."""
    assert float(run_python(CTRL_C + WORK[work], timeout=120)) < 20


CALLED_BACK = """
import os, signal, sys
import numpy as np
import fastsoftmax as fs
from fastsoftmax.engine.cache import cached_files
from numba.core.registry import cpu_target
lost = []
sys.unraisablehook = lost.append
engine = cpu_target.target_context.codegen()._engine._ee
notify = engine._object_cache_notify
def interrupted(module, code):
    os.kill(os.getpid(), signal.SIGINT)
    notify(module, code)
engine._object_cache_notify = interrupted
try:
    fs.softmax(np.zeros((3, 4)))
    print("went on")
except KeyboardInterrupt:
    engine._object_cache_notify = notify
    emitted = [path for path in cached_files() if "._normalise-" in path.name]
    print("heard", len(lost), len(emitted), fs.softmax(np.zeros((1, 4))).tolist())
"""


@jit_only
def test_ctrl_c_while_llvm_calls_back(run_python, tmp_path):
    """Nothing is lost: neither the interruption, nor what was compiled."""
    assert run_python(CALLED_BACK, FASTSOFTMAX_CACHE_DIR=tmp_path) == "heard 0 1 [[0.25, 0.25, 0.25, 0.25]]"


def swallow(times):
    """What LLVM's callbacks into Python do to an exception: they print it, and go on."""
    with contextlib.suppress(KeyboardInterrupt):
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(5)
    times.append(1)


def test_ctrl_c_within_a_compilation_is_not_lost():
    """Seen with Numba 0.68.1: a fit of a million epochs went on after the first Ctrl-C."""
    times = []
    with pytest.raises(KeyboardInterrupt):
        jit._hearing_ctrl_c(jit._hearing_ctrl_c(swallow))(times)  # one compilation within another
    assert times == [1]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert jit._hearing_ctrl_c(len)(times) == 1
    if JIT:
        assert jit.kernel(lambda: 1).compile.__wrapped__


def test_a_callback_that_raises(rng):
    """The model is that of the epoch, and the trainer can be used again."""
    X, y, _, _ = make_problem(rng, 60, 4, 3)
    expected = fs.Trainer(2).fit(X, y).sha256()

    def fail(record):
        if record["epoch"] == 2:
            raise OSError("no network")

    trainer = fs.Trainer(5)
    with pytest.raises(OSError, match="no network"):
        trainer.fit(X, y, callbacks=[fail])
    assert trainer.model.sha256() == expected
    assert len(trainer.history) == 2
    assert trainer.fit(X, y).sha256() == fs.Trainer(5).fit(X, y).sha256()


def test_a_run_that_diverges(rng):
    """An error that names the learning rate; the weights before that epoch are kept."""
    X = rng.standard_normal((300, 4)) * 1e30
    y = rng.integers(0, 3, 300)
    trainer = fs.Trainer(5, learning_rate=1e300)
    with pytest.raises(FloatingPointError, match=r"learning_rate=1e\+300 is too large; trainer.model has the weights"):
        trainer.fit(X, y)
    assert np.isfinite(trainer.model.coef).all()


# ---- checkpoints

RUNS = [
    {},
    {"optimizer": "adam", "schedule": "one_cycle", "average": 2},
    {"momentum": 0.9, "nesterov": True, "schedule": "cosine", "average": True, "accumulate_steps": 2},
    {"optimizer": "gd", "fit_intercept": False, "l2": 0.1},
    {"early_stopping": True, "patience": 2, "learning_rate": 1.0},
]


class Killed(BaseException):
    pass


@pytest.mark.parametrize(("options", "end"), list(itertools.product(RUNS, (1, 3, 5))))
def test_a_run_that_goes_on_ends_with_the_same_bytes(rng, tmp_path, options, end):
    X, y, _, _ = make_problem(rng, 150, 6, 3)
    path, weight = tmp_path / "c", rng.random(150) * (rng.random(150) > 0.2)
    settings = {"epochs": 6, "batch_size": 16} | options
    whole = fs.Trainer(**settings)
    expected = whole.fit(X, y, sample_weight=weight)

    def kill(record):
        if record["epoch"] == end:
            raise Killed

    first = fs.Trainer(**settings)
    if len(whole.history) >= end:
        with pytest.raises(Killed):
            first.fit(X, y, sample_weight=weight, checkpoint=path, callbacks=[kill])
    seen = []
    second = fs.Trainer(**settings)
    model = second.fit(X, y, sample_weight=weight, checkpoint=path, callbacks=[seen.append])
    assert model.sha256() == expected.sha256()
    assert [r["loss"] for r in second.history] == [r["loss"] for r in whole.history]
    assert second.stopped == whole.stopped
    assert second.progressed.stream == whole.progressed.stream
    for name, part in whole.progressed.weights.items():
        np.testing.assert_array_equal(second.progressed.weights[name], part)
    assert len(seen) == len(whole.history) - min(end, len(whole.history)) or len(whole.history) < end
    third = fs.Trainer(**settings)  # there is nothing left to do
    assert third.fit(X, y, sample_weight=weight, checkpoint=path).sha256() == expected.sha256()
    assert os.listdir(tmp_path) == ["c"]


def test_a_run_that_a_callback_stopped_stays_stopped(rng, tmp_path):
    X, y, _, _ = make_problem(rng, 60, 4, 3)
    model = fs.Trainer(4).fit(X, y, checkpoint=tmp_path / "c", callbacks=[lambda record: record["epoch"] == 2])
    again = fs.Trainer(4)
    assert again.fit(X, y, checkpoint=tmp_path / "c").sha256() == model.sha256()
    assert again.stopped == "callback"


def refused(path, what, trainer, *data, **options):
    with pytest.raises(CheckpointError, match=what):
        trainer.fit(*data, checkpoint=path, **options)
    assert trainer.model is None


def test_a_checkpoint_of_another_run_is_refused(rng, tmp_path):
    X, y, _, _ = make_problem(rng, 300, 4, 3)
    path = tmp_path / "c"
    fs.Trainer(2).fit(X, y, checkpoint=path)
    before, changed, other = path.read_bytes(), X.copy(), y.copy()
    changed[7, 1] += 1
    other[11] = (other[11] + 1) % 3
    refused(path, r"other epochs \(2, now 3\)", fs.Trainer(3), X, y)
    refused(path, r"other learning_rate \(0.1, now 0.2\)", fs.Trainer(2, learning_rate=0.2), X, y)
    for data in ((changed, y), (X, other), (X.astype(np.float64), y)):
        refused(path, "other data", fs.Trainer(2), *data)
    refused(path, "other classes", fs.Trainer(2), X, y + 1)
    refused(path, "other validation", fs.Trainer(2), X, y, validation=(X, y))
    finished = fs.Trainer(1)
    finished.fit(X, y)
    refused(path, "other resume", fs.Trainer(2), X, y, resume=finished.progressed)
    refused(path, "other schedule", fs.Trainer(2, schedule=lambda t, steps: 1.0), X, y)
    fs.Trainer(2, scale=[1.0] * 4).fit(X, y, checkpoint=path)  # the same run
    assert path.read_bytes() == before
    fs.SoftmaxModel(np.zeros((3, 4)), np.zeros(3)).save(path)
    for content in (path.read_bytes(), b"", before[:-1], before[:100], b"x" * 1000):
        path.write_bytes(content)
        refused(path, "c: ", fs.Trainer(2), X, y)
    with pytest.raises(FileNotFoundError, match="no such folder to write c to"):
        fs.Trainer(2).fit(X, y, checkpoint=tmp_path / "no" / "c")
    with pytest.raises(IsADirectoryError, match="is a folder"):
        fs.Trainer(2).fit(X, y, checkpoint=tmp_path)


def test_settings_that_nearly_are_the_same(rng, tmp_path):
    X, y, _, _ = make_problem(rng, 60, 4, 3)
    fs.Trainer(2, average=1).fit(X, y, checkpoint=tmp_path / "a")
    refused(tmp_path / "a", "other average", fs.Trainer(2, average=True), X, y)
    fs.Trainer(2, schedule=lambda t, steps: 1.0).fit(X, y, checkpoint=tmp_path / "b")
    refused(tmp_path / "b", "other schedule", fs.Trainer(2, schedule=lambda t, steps: 0.5), X, y)
    fs.Trainer(2, schedule=lambda t, steps: 2.0 / 2).fit(X, y, checkpoint=tmp_path / "b")
    fs.Trainer(2, betas=(np.float32(0.9), 0.999)).fit(X, y, checkpoint=tmp_path / ("c" * 250))


def test_a_checkpoint_with_other_arrays_is_refused(rng, tmp_path):
    """Facts that fit, and arrays that do not."""
    X, y, _, _ = make_problem(rng, 60, 4, 3)
    path = tmp_path / "c"
    fs.Trainer(2).fit(X, y, checkpoint=path)
    arrays, facts = files.load(path, "fastsoftmax.checkpoint", "1")
    for change in ({"weights.coef": np.zeros((3, 5), np.float32)}, {"weights.counts": np.zeros(2, np.int32)},
                   {"weights.more": np.zeros(1)}):  # fmt: skip
        files.save(path, "fastsoftmax.checkpoint", "1", arrays | change, facts)
        with pytest.raises(CheckpointError, match="its arrays are others"):
            fs.Trainer(2).fit(X, y, checkpoint=path)
    state, history = facts["state"], facts["state"]["history"]
    strange = [{"best": "1"}, {"history": history * 10}, {"history": [1, 2]}, {"stopped": "junk"}, {"stopped": [1]},
               {"stream": "x"}, {"stream": {"bit_generator": "MT19937"}}, {"waited": 0.5},
               {"kept_stream": state["stream"] | {"state": {"state": -1, "inc": 1}}}]  # fmt: skip
    for change in ({"state": []}, {"state": {}}, {"settings": 3}, *({"state": state | part} for part in strange)):
        files.save(path, "fastsoftmax.checkpoint", "1", arrays, facts | change)
        with pytest.raises(CheckpointError, match="damaged checkpoint"):
            fs.Trainer(2).fit(X, y, checkpoint=path)
    for name, value in (("weights.coef", np.nan), ("weights.counts", -7), ("kept.intercept", np.inf)):
        files.save(path, "fastsoftmax.checkpoint", "1", arrays | {name: np.full_like(arrays[name], value)}, facts)
        with pytest.raises(CheckpointError, match="damaged checkpoint"):
            fs.Trainer(2).fit(X, y, checkpoint=path)


@jit_only
def test_a_killed_command_goes_on(tmp_path):
    """kill -9 at any moment of the main job, again and again, until it gets through."""
    command = [sys.executable, "-m", "fastsoftmax", "train", "--epochs", "3", "--json"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    expected = subprocess.run(command, env=environment, capture_output=True, text=True, check=True, timeout=300).stdout
    command += ["--checkpoint", str(tmp_path / "c")]
    patience = 0.5
    while True:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        try:
            printed = process.communicate(timeout=patience)[0]
            break
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        patience += 0.02 if (tmp_path / "c").exists() else 0.05
        assert patience < 60
    assert printed.split('"sha256": ')[1] == expected.split('"sha256": ')[1]


# ---- files


@pytest.mark.parametrize("rounds", [60, pytest.param(3000, marks=pytest.mark.long)])
def test_a_save_that_is_killed_leaves_the_old_file_or_the_new_one(run_python, tmp_path, rounds):
    code = f"""
import os, signal, sys, time, numpy as np, fastsoftmax as fs
path = {str(tmp_path / "m")!r}
models = [fs.SoftmaxModel(np.full((50, 4000), v, np.float32), np.full(50, v, np.float32)) for v in (1, 2)]
models[0].save(path)
rng, seen = np.random.default_rng(0), set()
for _ in range({rounds}):
    pid = os.fork()
    if pid == 0:
        while True:
            for model in models:
                model.save(path)
    time.sleep(rng.random() * 0.02)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    found = fs.SoftmaxModel.load(path)
    assert (found.coef == found.coef[0, 0]).all() and (found.intercept == found.coef[0, 0]).all()
    seen.add(float(found.coef[0, 0]))
print(seen)
"""
    assert run_python(code, timeout=600) == "{1.0, 2.0}"


def test_interrupting_the_writer(tmp_path, monkeypatch):
    """At each of its calls of the system: the old file stays, and nothing is left beside it."""
    path = tmp_path / "m"
    files.write(path, b"old")
    for module, name in ((builtins, "open"), (os, "fsync"), (os, "replace")):

        def stop(*args, **kwargs):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr(module, name, stop)
            with pytest.raises(KeyboardInterrupt):
                files.write(path, b"new")
        assert path.read_bytes() == b"old"
        assert os.listdir(tmp_path) == ["m"]
    files.write(path, b"new")
    assert path.read_bytes() == b"new"
