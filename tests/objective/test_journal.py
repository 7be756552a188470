"""The journal of a fit: killed at any moment and started again, it ends with the same bytes."""

import os
import random
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax.files import CheckpointError
from fastsoftmax.objective import journal
from fastsoftmax.objective.journal import Journal, key_of

IDENTITY = bytes(range(32))


@pytest.fixture(name="data")
def separable_in_part(rng):
    X = rng.standard_normal((300, 10)) * np.arange(1, 11)
    return X, (X[:, :4] + 5 * rng.standard_normal((300, 4))).argmax(1)


FITS = [{"C": 0.1}, {"C": 0.1, "l1_ratio": 0.5}, {"solver": "newton"}, {"solver": "lbfgs", "tol": 1e-8}, {"C": np.inf},
        {"standardize": True, "class_weight": "balanced"}]  # fmt: skip


def bytes_of(model):
    numbers = (model.coef_, model.intercept_, np.float64([model.duality_gap_, model.optimality_, model.objective_]))
    return b"".join(part.tobytes() for part in numbers)


class KilledError(Exception):
    pass


@pytest.mark.parametrize("options", FITS)
@pytest.mark.parametrize("parted", [False, True])
def test_stopped_at_each_of_its_passes(data, tmp_path, monkeypatch, options, parted):
    X, y = data

    def fit(**checkpoint):
        if parted:
            return fs.SoftmaxRegression(**options).fit(fs.Parts.from_slices(X, y, rows=110), **checkpoint)
        return fs.SoftmaxRegression(**options).fit(X, y, **checkpoint)

    wanted, path, passes, left = bytes_of(fit()), tmp_path / "fit", [], [0]
    recall = Journal.recall

    def counted(self, key, compute):
        def counting():
            if left[0] == 0:
                raise KilledError
            left[0] -= 1
            passes.append(1)
            return compute()

        return recall(self, key, counting)

    monkeypatch.setattr(Journal, "recall", counted)
    for each in (3, 1, 5, 2, 1 << 30):
        left[0] = each
        try:
            model = fit(checkpoint=path)
        except KilledError:
            continue
    assert bytes_of(model) == wanted
    count, left[0] = len(passes), 0
    assert bytes_of(fit(checkpoint=path)) == wanted  # of no passes at all
    assert len(passes) == count
    assert count >= 4


def test_killed_at_random_moments(tmp_path, run_python):
    """By the system, which asks nobody."""
    code = """
import sys, numpy as np, fastsoftmax as fs
rng = np.random.default_rng(0)
X, y = rng.standard_normal((4000, 60)), rng.integers(0, 8, 4000)
path = sys.argv[1] if len(sys.argv) > 1 else None
print("fitting", flush=True)
parts = fs.Parts.from_slices(X, y, rows=1000)
model = fs.SoftmaxRegression(solver="lbfgs", tol=1e-9, C=10.0).fit(parts, checkpoint=path)
print(model.coef_.tobytes().hex()[:4000], model.intercept_.tobytes().hex(), model.duality_gap_.hex())
"""
    wanted, path, moments = run_python(code).splitlines()[-1], tmp_path / "fit", random.Random(3)
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    sizes = []
    for _ in range(10):
        command = [sys.executable, "-W", "error", "-c", code, str(path)]
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
        process.stdout.readline()
        time.sleep(moments.random() * 0.4)
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        sizes.append(path.stat().st_size if path.exists() else 0)
    assert sizes == sorted(sizes)
    assert run_python(code, args=(str(path),)).splitlines()[-1] == wanted


@pytest.mark.parametrize("kind", ["object", "U5", "M8[D]", "int8", "bool"])
def test_labels_of_any_kind_are_known_again(data, tmp_path, kind):
    """Also where they are objects, of which another process has its own."""
    X, y = data
    y = y > 1 if kind == "bool" else y
    labels = np.array([f"class {k}" for k in y], object) if kind == "object" else y.astype(kind)
    fs.SoftmaxRegression().fit(X, labels, checkpoint=tmp_path / "fit")
    again = np.array([("a" + label)[1:] for label in labels], object) if kind == "object" else labels.copy()
    fs.SoftmaxRegression().fit(X, again, checkpoint=tmp_path / "fit")


def test_each_row_of_parts_is_known_again(tmp_path, rng):
    X, y = rng.standard_normal((5000, 3)), rng.integers(0, 3, 5000)
    fs.SoftmaxRegression().fit(fs.Parts.from_slices(X, y, rows=2000), checkpoint=tmp_path / "fit")
    X[1234, 1] += 1e-9
    with pytest.raises(CheckpointError, match="of another fit"):
        fs.SoftmaxRegression().fit(fs.Parts.from_slices(X, y, rows=2000), checkpoint=tmp_path / "fit")


def records(path, count=3):
    """A journal of some records; where each ends."""
    written, ends = Journal(path, IDENTITY), []
    for i in range(count):
        written.recall(key_of("pass", i), lambda i=i: np.full(4, float(i)))
        ends.append(path.stat().st_size)
    written.close()
    return ends


def replayed(path, count=3):
    """Which passes are made again."""
    again, made = Journal(path, IDENTITY), []

    def make(i):
        made.append(i)
        return np.full(4, float(i))

    for i in range(count):
        np.testing.assert_array_equal(again.recall(key_of("pass", i), lambda i=i: make(i)), np.full(4, float(i)))
    again.close()
    return made


def test_what_was_cut_off_is_made_again(tmp_path):
    path = tmp_path / "fit"
    ends = records(path)
    assert replayed(path) == []
    whole = path.read_bytes()
    for length in range(len(journal.MAGIC) + 32, len(whole)):
        path.write_bytes(whole[:length])
        assert replayed(path) == [i for i in range(3) if ends[i] > length]
        assert path.read_bytes() == whole


def test_what_was_damaged_is_made_again_or_refused(tmp_path):
    path = tmp_path / "fit"
    ends = records(path)
    whole = path.read_bytes()
    for at in range(len(whole)):
        changed = bytearray(whole)
        changed[at] ^= 0x40
        path.write_bytes(bytes(changed))
        if at < len(journal.MAGIC) + 32:
            with pytest.raises(CheckpointError, match=r"no checkpoint of a fit|of another fit"):
                replayed(path)
        else:
            first = sum(end <= at for end in ends)
            assert replayed(path) == list(range(first, 3))


def test_another_way_is_written_from_where_it_parts(tmp_path):
    path = tmp_path / "fit"
    records(path)
    again = Journal(path, IDENTITY)
    again.recall(key_of("pass", 0), lambda: pytest.fail("it is there"))
    np.testing.assert_array_equal(again.recall(key_of("other"), lambda: np.ones(7)), np.ones(7))
    again.close()
    assert replayed(path, 1) == []
    assert replayed(path) == [1, 2]


def test_what_is_no_checkpoint(data, tmp_path):
    X, y = data
    for wrong in (b"", b"text", np.random.default_rng(0).bytes(1000)):
        (tmp_path / "fit").write_bytes(wrong)
        with pytest.raises(CheckpointError, match="a file, but no checkpoint"):
            fs.SoftmaxRegression().fit(X, y, checkpoint=tmp_path / "fit")
        assert (tmp_path / "fit").read_bytes() == wrong
    with pytest.raises(IsADirectoryError):
        fs.SoftmaxRegression().fit(X, y, checkpoint=tmp_path)
    with pytest.raises(FileNotFoundError):
        fs.SoftmaxRegression().fit(X, y, checkpoint=tmp_path / "nowhere" / "fit")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileExistsError, match="a pipe"):
        fs.SoftmaxRegression().fit(X, y, checkpoint=tmp_path / "pipe")


def test_other_data_and_parameters_are_refused(data, tmp_path, rng):
    X, y = data
    path = tmp_path / "fit"
    model = fs.SoftmaxRegression(max_iter=3, solver="lbfgs", tol=1e-9)
    with pytest.warns(UserWarning, match="failed to converge"):
        model.fit(X, y, checkpoint=path)
    more = fs.SoftmaxRegression(solver="lbfgs", tol=1e-9).fit(X, y, checkpoint=path)  # more iterations may be asked for
    assert more.converged_
    other = X.copy()
    other[5, 5] += 1e-9
    names = np.array(list("abcd"))[y]
    for arguments, options in (
        ((other, y), {}), ((X, 3 - y), {}), ((X, names), {}), ((X, y, rng.random(300)), {}), ((X.astype("f"), y), {}),
        ((X, y), {"C": 2.0}), ((X, y), {"standardize": True}), ((X, y), {"class_weight": "balanced"}),
        ((fs.Parts([(X, y)]),), {"C": 3.0}),
    ):  # fmt: skip
        with pytest.raises(CheckpointError, match="of another fit, with other data or parameters"):
            fs.SoftmaxRegression(**{"solver": "lbfgs", "tol": 1e-9} | options).fit(*arguments, checkpoint=path)
    model = fs.SoftmaxRegression(warm_start=True, solver="lbfgs", tol=1e-9)
    model.fit(X, y)
    with pytest.raises(CheckpointError, match="of another fit"):
        model.fit(X, y, checkpoint=path)
