"""DATA on the command line: every kind of file, in fit, train, evaluate and predict; what is refused, in one line."""

import gzip
import itertools
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.datasets import dump_svmlight_file

import fastsoftmax as fs
from fastsoftmax import cli
from tests.cli.test_commands import idx_folder, run

N, M = 240, 5
NAMES = [f"f{j}" for j in range(M)]


@pytest.fixture(name="data")
def make_data(rng):
    """Three classes, apart but for some rows."""
    y = np.arange(N) % 3
    return rng.standard_normal((N, M)).round(3) + 4 * np.eye(3, M)[y], y


def frame_of(X, y):
    return pd.DataFrame(X, columns=NAMES).assign(kind=np.array(["ant", "bee", "cat"])[y])


def write_npy(where, X, y):
    for i, at in enumerate((slice(0, 100), slice(100, N))):
        np.save(where / f"X_{i}.npy", X[at])
        np.save(where / f"y_{i}.npy", y[at])
    return where, []


def write_npy_pair(where, X, y):
    np.save(where / "X.npy", X)
    np.save(where / "other.npy", y)
    return where / "X.npy", ["--label", str(where / "other.npy")]


def write_npz(where, X, y):
    for i, at in enumerate((slice(0, 100), slice(100, N))):
        np.savez_compressed(where / f"{i}.npz", X=X[at], y=y[at])
    return where, []


def write_npz_named(where, X, y):
    np.savez(where / "a.npz", embeddings=X, kinds=y, X=0 * X)
    return where / "a.npz", ["--features", "embeddings", "--label", "kinds"]


def write_csv(where, X, y):
    frame_of(X, y).to_csv(where / "a.csv", index=False)
    return where / "a.csv", ["--label", "kind"]


def write_tsv(where, X, y):
    text = frame_of(X, y).to_csv(index=False, sep="\t")
    (where / "a.tsv.gz").write_bytes(gzip.compress(text.encode()))
    return where / "a.tsv.gz", ["--label", "kind"]


def write_parquet(where, X, y):
    for i, at in enumerate((slice(0, 100), slice(100, N))):
        frame_of(X[at], y[at]).to_parquet(where / f"{i}.parquet")
    return where, ["--label", "kind"]


def write_feather(where, X, y):
    frame_of(X, y).to_feather(where / "a.feather")
    return where / "a.feather", ["--label", "kind"]


def write_svmlight(where, X, y):
    dump_svmlight_file(X, y, str(where / "a.svm"), zero_based=False)
    return where / "a.svm", []


WRITERS = [
    write_npy, write_npy_pair, write_npz, write_npz_named, write_csv, write_tsv, write_parquet, write_feather,
    write_svmlight,
]  # fmt: skip
KINDS = pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__.removeprefix("write_"))


@KINDS
def test_every_kind_of_file(capsys, data, tmp_path, write):
    """fit finds the optimum of the rows; evaluate and predict know the same rows by the model alone."""
    X, y = data
    source, options = write(tmp_path, X, y)
    model = tmp_path / "model"
    code, out, err = run(capsys, "fit", source, *options, "--test", source, "--save", model, "--json")
    assert (code, err) == (0, "")
    result = json.loads(out)
    named = np.array(["ant", "bee", "cat"])[y] if "kind" in options else y
    twin = fs.SoftmaxRegression().fit(X, named)
    assert result["objective"] == pytest.approx(twin.objective_, abs=1e-9)
    assert (result["rows"], result["features"], result["classes"]) == (N, M, 3)
    assert result["duality_gap"] <= 1e-4
    assert result["test_accuracy"] == twin.score(X, named)
    loaded = fs.SoftmaxModel.load(model)
    assert result["sha256"] == loaded.sha256()
    options = [] if "kind" in options else options  # the model knows the label's name and the features'
    code, out, _ = run(capsys, "evaluate", model, "--data", source, *options, "--json")
    assert code == 0
    assert json.loads(out)["test_accuracy"] == result["test_accuracy"]
    assert json.loads(out)["test_loss"] == pytest.approx(result["test_loss"])
    code, out, _ = run(capsys, "predict", model, source, *options)
    assert out.split() == [str(label) for label in twin.predict(X)]
    code, out, _ = run(capsys, "predict", model, source, *options, "--proba", "--out", tmp_path / "p", "--json")
    assert json.loads(out) == {"rows": N, "out": str(tmp_path / "p")}
    np.testing.assert_allclose(np.loadtxt(tmp_path / "p"), twin.predict_proba(X), atol=2e-6)


@KINDS
def test_train_takes_them_too(capsys, data, tmp_path, write):
    source, options = write(tmp_path, *data)
    command = ("train", "--data", source, *options, "--epochs", 3, "--lr", 0.05, "--test", source)
    code, out, err = run(capsys, *command)
    assert (code, err) == (0, "")
    assert "epoch 3/3" in out
    assert "test accuracy 0.9" in out
    code, out, err = run(capsys, *command[:-2], "--json")
    assert "test_accuracy" not in json.loads(out)


@pytest.fixture(name="images")
def make_images(tmp_path, rng):
    return idx_folder(tmp_path / "set", rng)


def test_images(capsys, images):
    """C is meant for pixels / 255; the rows to test are those of the folder."""
    X, y, X_test, y_test = fs.datasets.load_idx(images)
    twin = fs.SoftmaxRegression(C=0.5).fit(X / 255.0, y)
    code, out, _ = run(capsys, "fit", images, "--C", 0.5, "--json")
    result = json.loads(out)
    assert code == 0
    assert result["C"] == pytest.approx(0.5)
    assert result["objective"] == pytest.approx(twin.objective_, abs=1e-7)
    assert result["test_accuracy"] == twin.score(X_test / 255.0, y_test)
    code, out, _ = run(capsys, "fit", images, "--C", 0.5, "--l1-ratio", 0.7, "--json")
    twin = fs.SoftmaxRegression(C=0.5, l1_ratio=0.7).fit(X / 255.0, y)
    assert json.loads(out)["objective"] == pytest.approx(twin.objective_, abs=2e-4)


def test_options_of_fit(capsys, data, tmp_path):
    X, y = data
    rows = np.flatnonzero((y > 0) | (np.arange(N) % 4 == 0))
    frame = frame_of(X[rows], y[rows]).assign(w=1 + np.arange(len(rows)) % 3)
    frame.to_csv(tmp_path / "a.csv", index=False)
    code, out, _ = run(
        capsys, "fit", tmp_path / "a.csv", "--label", "kind", "--weight", "w", "--features", "f0", "f2", "f4",
        "--balanced", "--standardize", "--C", 0.1, "--tol", 1e-6, "--max-iter", 99, "--json",
    )  # fmt: skip
    twin = fs.SoftmaxRegression(C=0.1, tol=1e-6, class_weight="balanced", standardize=True)
    twin.fit(frame[["f0", "f2", "f4"]], frame["kind"], frame["w"])
    result = json.loads(out)
    assert code == 0
    assert result["features"] == 3
    assert result["objective"] == pytest.approx(twin.objective_, abs=1e-8)
    code, out, _ = run(capsys, "fit", tmp_path / "a.csv", "--label", "kind", "--weight", "w", "--cv", 3, "--json")
    result = json.loads(out)
    twin = fs.SoftmaxRegressionCV(cv=3).fit(frame[NAMES], frame["kind"], frame["w"])
    assert result["C"] == pytest.approx(twin.C_)
    assert result["duality_gap"] <= 1e-4


def test_a_checkpoint_of_fit(capsys, data, tmp_path):
    source, _ = write_npy(tmp_path, *data)
    command = ("fit", source, "--json", "--checkpoint", tmp_path / "c")
    first, again = (json.loads(run(capsys, *command)[1]) for _ in range(2))
    assert first["sha256"] == again["sha256"]
    assert again["passes"] < first["passes"]


def test_the_summary_and_progress(capsys, data, tmp_path, monkeypatch):
    from fastsoftmax.cli import report

    source, _ = write_npz(tmp_path, *data)
    monkeypatch.setattr(report, "EVERY", 0.0)
    code, out, err = run(capsys, "fit", source, "--test", source)
    assert code == 0
    first, second, *rest = out.splitlines()
    assert first == "240 rows, 5 features, 3 classes, C = 1"
    assert second.startswith("F 0.")
    assert "above the optimum; " in second
    assert rest[0].startswith("test accuracy 1.0000, loss 0.0")
    assert rest[1].startswith("per class 0: ")
    assert rest[-1].startswith("sha256 of the weights ")
    assert "MB of memory" in rest[-2]
    lines = err.splitlines()
    assert lines[0].startswith("iteration 0  F ")
    assert all("gap" in line and line.endswith(" MB/s") for line in lines)
    assert run(capsys, "fit", source, "--quiet")[2] == ""

    class Terminal:
        """As stderr is on one."""

        written = ""

        def isatty(self):
            return True

        def write(self, text):
            self.written += text

        def flush(self):
            pass

    terminal = Terminal()
    monkeypatch.setattr(report.Progress, "emit", _always(report.Progress.emit))
    monkeypatch.setattr(sys, "stderr", terminal)
    run(capsys, "fit", source)
    assert terminal.written.startswith("\riteration 0  F ")
    assert terminal.written.endswith(" \r")
    assert "\n" not in terminal.written


def _always(emit):
    def shown(self, record):
        self.shown = 0.0
        emit(self, record)

    return shown


def test_many_classes(capsys, rng, tmp_path):
    y = np.arange(400) % 40
    np.savez(tmp_path / "a.npz", X=rng.standard_normal((400, 6)) + 3 * rng.standard_normal((40, 6))[y], y=y)
    code, out, _ = run(capsys, "fit", tmp_path / "a.npz", "--test", tmp_path / "a.npz")
    assert code == 0
    line = next(line for line in out.splitlines() if line.startswith("the worst classes "))
    shares = [float(word) for word in line.split()[3:] if not word.endswith(":")]
    assert len(shares) == 10
    assert shares == sorted(shares)


def test_svmlight_counts_features_as_the_model_does(capsys, tmp_path, rng):
    """From 0 where a feature 0 is, else from 1; rows to test may lack the last features, or the first."""
    X = sp.random_array((60, 9), density=0.5, format="csr", rng=rng)
    y = np.arange(60) % 2
    for zero_based in (True, False):
        dump_svmlight_file(X, y, str(tmp_path / "a.svm"), zero_based=zero_based)
        few = X.toarray()
        few[:, [0, 8]] = 0
        dump_svmlight_file(few, y, str(tmp_path / "b.svm"), zero_based=zero_based)
        command = ("fit", tmp_path / "a.svm", "--test", tmp_path / "b.svm", "--save", tmp_path / "m", "--json")
        code, out, _ = run(capsys, *command)
        assert code == 0
        twin = fs.SoftmaxRegression().fit(X, y)
        assert json.loads(out)["test_accuracy"] == twin.score(few, y)
        code, out, _ = run(capsys, "predict", tmp_path / "m", tmp_path / "b.svm")
        assert out.split() == [str(label) for label in twin.predict(few)]
    (tmp_path / "c.svm").write_text("1 0:1\n")
    (tmp_path / "d.svm").write_text("1 10:1\n")
    for name, text in (("c", "it has a feature 0, but features are counted from 1"), ("d", "a feature 10, but there")):
        code, _, err = run(capsys, "predict", tmp_path / "m", tmp_path / f"{name}.svm")
        assert code == 2
        assert text in err


def test_what_is_refused_is_said_in_a_line(capsys, data, tmp_path):
    X, y = data
    mixed, empty, wrong = tmp_path / "mixed", tmp_path / "empty", tmp_path / "wrong"
    for where in (mixed, empty, wrong):
        where.mkdir()
    np.savez(mixed / "a.npz", X=X, y=y)
    (mixed / "a.csv").write_text("a,b\n1,2\n")
    np.save(wrong / "X.npy", X)
    np.savez(wrong / "no.npz", Z=X)
    np.savez(wrong / "objects.npz", X=np.array([None, {}], object), y=y)
    (wrong / "junk.npz").write_bytes(b"junk")
    (wrong / "a.svm").write_text("no:thing 3\n")
    (wrong / "none.svm").write_text("")
    (wrong / "a.txt").write_text("a b\n")
    (wrong / "text.csv").write_text("a,b,y\n1,x,0\n2,z,1\n")
    (wrong / "bad.csv").write_text("a,b,y\n1,2,0\n2,1\n")
    np.save(wrong / "scalar.npy", np.float64(3))
    (wrong / "damaged.svm.gz").write_bytes(gzip.compress(b"1 1:2\n" * 1000)[:-20] + b"x" * 20)
    (wrong / "no.svm.gz").write_bytes(b"1 1:2\n")
    (wrong / "twice.csv").write_text("a,y,y\n1,2,3\n")
    (wrong / "empty.csv").write_text("a,y\n1,b\n2,\n3,c\n")
    np.savez(wrong / "nan.npz", X=np.where(np.arange(N)[:, None] == 7, np.nan, X), y=y)
    source = write_csv(tmp_path, X, y)[0]
    svm = write_svmlight(tmp_path, X, y)[0]
    cases = [
        (("fit", tmp_path / "nowhere"), "nowhere: no such file or folder"),
        (("fit", empty), "empty: nothing here that can be read; expected .npz, .npy, .parquet"),
        (("fit", wrong / "a.txt"), "a.txt: nothing here that can be read"),
        (("fit", mixed), "mixed: files of several kinds, .npz, .csv: name one, or move them apart"),
        (("fit", wrong / "X.npy"), "X.npy: no labels: name them with --label"),
        (("fit", wrong / "X.npy", "--label", "y"), "y: no such file: --label names one where X.npy is X"),
        (("fit", wrong / "X.npy", "--features", "a"), "an array has no names of columns: leave --features out"),
        (("fit", wrong / "X.npy", "--weight", "w"), "w: no such file: --weight names one where X.npy is X"),
        (("fit", wrong / "scalar.npy"), "scalar.npy: expected rows, got a single number"),
        (("fit", svm, "--weight", "w"), "svmlight files have labels in front, and no names: leave --weight out"),
        (("fit", wrong / "damaged.svm.gz"), "damaged.svm.gz: not an svmlight file, or a damaged one"),
        (("fit", wrong / "no.svm.gz"), "no.svm.gz: not an svmlight file, or a damaged one"),
        (("fit", wrong / "twice.csv", "--label", "y"), "twice.csv has columns of the same name: 'y'"),
        (("fit", wrong / "empty.csv", "--label", "y"), "column 'y' has 1 nulls, the first in row 1"),
        (("fit", wrong / "no.npz"), "no array X or x or features or data among Z: name one with --features"),
        (("fit", wrong / "no.npz", "--features", "Z", "--label", "k"), "no array k among Z: name one with --label"),
        (("fit", wrong / "objects.npz"), "objects.npz: "),
        (("fit", wrong / "junk.npz"), "junk.npz: "),
        (("fit", wrong / "nan.npz"), "row 7 of X (row 7 of all) holds NaN"),
        (("fit", wrong / "a.svm"), "a.svm: not an svmlight file, or a damaged one"),
        (("fit", wrong / "none.svm"), "none.svm: no rows"),
        (("fit", wrong / "text.csv", "--label", "y"), "column 'b' holds string, where numbers are expected"),
        (("fit", wrong / "bad.csv", "--label", "y"), "bad.csv: not a text file, or a damaged one"),
        (("fit", source, "--label", "sort"), "a.csv has no column 'sort'; it has 'f0', 'f1'"),
        (("fit", source), "column 'kind' holds string, where numbers are expected"),
        (("fit", source, "--features", *NAMES), "no labels: name them with --label among the columns f0, f1"),
        (("fit", source, "--label", "kind", "--C", 1, "--cv"), "--cv chooses C: give one of the two"),
        (("fit", source, "--label", "kind", "--cv", "--checkpoint", tmp_path / "c"), "--cv has no checkpoints"),
        (("fit", source, "--label", "kind", "--C", -1), "must be a float in the range (0.0, inf]"),
        (("fit", source, "--label", "kind", "--test", wrong / "no.csv"), "no.csv: no such file or folder"),
        (("fit", source, "--label", "kind", "--save", tmp_path / "no" / "m"), "no such folder to write m to"),
        (("fit", source, "--label", "kind", "--cache", tmp_path / "no"), "no: no such folder"),
        (("train", "--data", wrong / "X.npy"), "X.npy: no labels: name them with --label"),
    ]
    for args, message in cases:
        code, out, err = run(capsys, *args)
        assert (code, out) == (2, ""), args
        assert err.startswith("fastsoftmax: error: ")
        assert message in err, (args, err)
        assert err.count("\n") == 1


def test_what_evaluate_and_predict_refuse(capsys, data, tmp_path):
    X, y = data
    source, options = write_csv(tmp_path, X, y)
    model = tmp_path / "m"
    assert run(capsys, "fit", source, *options, "--save", model)[0] == 0
    renamed = tmp_path / "b.csv"
    renamed.write_text(source.read_text().replace("f3", "g3"))
    numbers = tmp_path / "c.csv"
    frame_of(X, y).assign(kind=y).to_csv(numbers, index=False)
    empty, infinite, pipe = tmp_path / "empty.csv", tmp_path / "inf.csv", tmp_path / "pipe"
    empty.write_text(source.read_text().split("\n", 1)[0] + "\n")
    lines = source.read_text().splitlines()
    infinite.write_text("\n".join([*lines[:4], "1,2,inf,3,4,ant", *lines[4:]]))
    os.mkfifo(pipe)
    strangers = tmp_path / "d.csv"
    frame_of(X, y).assign(kind="dog").to_csv(strangers, index=False)
    for args, message in (
        (("predict", model, renamed), "b.csv has no column 'f3'; it has"),
        (("predict", model, source, "--out", tmp_path / "no" / "p"), "no such folder to write p to"),
        (("evaluate", model, "--data", numbers), "the model knows none of the test labels: its classes are ['ant'"),
        (("evaluate", model, "--data", empty, "--label", "kind"), "there are no rows to test"),
        (("predict", model, infinite), "from row 0 on: row 3 of X holds NaN or infinity"),
        (("evaluate", model, "--data", infinite), "from row 0 on: row 3 of X holds NaN or infinity"),
        (("predict", model, source, "--json"), "--json says how many rows went to a file: give --out FILE too"),
        (("predict", model, source, "--out", pipe), "is a device or a pipe, which a file would replace"),
        (("evaluate", model, "--data", strangers), "the model knows none of the test labels: its classes are ['ant'"),
        (("evaluate", model, "--data", source, "--label", "sort"), "a.csv has no column 'sort'"),
    ):
        code, _, err = run(capsys, *args)
        assert code == 2
        assert message in err, (args, err)
    before = sorted(tmp_path.iterdir())
    (tmp_path / "e.csv").write_text(source.read_text() + "1,2,x,4,5,ant\n")
    code, _, err = run(capsys, "predict", model, tmp_path / "e.csv", "--out", tmp_path / "p")
    assert code == 2
    assert sorted(tmp_path.iterdir()) == sorted([*before, tmp_path / "e.csv"])  # no file that is half written


def test_a_model_without_names_and_rows_too_narrow(capsys, data, tmp_path):
    X, y = data
    source, _ = write_npz(tmp_path, X, y)
    run(capsys, "fit", source, "--save", tmp_path / "m")
    np.savez(tmp_path / "narrow", X=X[:, 1:], y=y)
    np.savez(tmp_path / "text", X=X, y=y.astype(str))
    for args, message in (
        (("evaluate", tmp_path / "m", "--data", tmp_path / "text.npz"), "labels of dtype <U21, but the model's"),
        (("evaluate", tmp_path / "m", "--data", tmp_path / "text.npz", "--label", "k"), "no array k among X, y"),
        (("predict", tmp_path / "m", tmp_path / "narrow.npz"), "the model has 5 features, X has 4"),
        (("evaluate", tmp_path / "m", "--data", tmp_path / "narrow.npz"), "narrow.npz has 4"),
    ):
        code, _, err = run(capsys, *args)
        assert code == 2
        assert message in err


def test_rows_in_another_order_of_columns(capsys, data, tmp_path):
    """The model's names choose the columns of tables."""
    X, y = data
    source, options = write_csv(tmp_path, X, y)
    run(capsys, "fit", source, *options, "--save", tmp_path / "m")
    frame = frame_of(X, y)[["kind", *NAMES[::-1]]].assign(more="text")
    frame.to_csv(tmp_path / "b.csv", index=False)
    answers = [run(capsys, "predict", tmp_path / "m", path)[1] for path in (source, tmp_path / "b.csv")]
    assert answers[0] == answers[1]
    assert len(answers[0].split()) == N


def test_labels_are_those_beside_the_rows(capsys, data, tmp_path):
    """A file of labels is of its own rows, and no model keeps it."""
    X, y = data
    for name, rows in (("a", slice(None)), ("b", slice(None, None, -1))):
        (tmp_path / name).mkdir()
        np.save(tmp_path / name / "X.npy", X[rows])
        np.save(tmp_path / name / "y.npy", y[rows])
    own, model = tmp_path / "a" / "y.npy", tmp_path / "m"
    assert run(capsys, "fit", tmp_path / "a" / "X.npy", "--label", own, "--save", model, "--quiet")[0] == 0
    for more in ([], ["--label", tmp_path / "b" / "y.npy"]):
        _, out, _ = run(capsys, "evaluate", model, "--data", tmp_path / "b" / "X.npy", "--json", *more)
        assert json.loads(out)["test_accuracy"] == 1.0
    assert "label" not in fs.SoftmaxModel.load(model).settings


def test_rows_to_test_in_the_folder(capsys, data, tmp_path):
    X, y = data
    for name, rows in (("train", slice(0, 200)), ("test", slice(200, None))):
        np.save(tmp_path / f"X_{name}.npy", X[rows])
        np.save(tmp_path / f"y_{name}.npy", y[rows])
    np.save(tmp_path / "ids.npy", y)
    code, out, _ = run(capsys, "fit", tmp_path, "--json")
    result = json.loads(out)
    assert (code, result["rows"]) == (0, 200)
    assert result["test_accuracy"] == fs.SoftmaxRegression().fit(X[:200], y[:200]).score(X[200:], y[200:])


def test_weights_of_arrays(capsys, data, tmp_path, rng):
    X, y = data
    weight = rng.random(N) + 0.1
    for name, array in (("X", X), ("y", y), ("w", weight)):
        np.save(tmp_path / f"{name}.npy", array)
    np.savez(tmp_path / "a.npz", X=X, y=y, w=weight)
    twin = fs.SoftmaxRegression().fit(X, y, weight)
    for args in ((tmp_path / "X.npy", "--weight", tmp_path / "w.npy"), (tmp_path / "a.npz", "--weight", "w")):
        code, out, _ = run(capsys, "fit", *args, "--json")
        assert code == 0
        assert json.loads(out)["objective"] == pytest.approx(twin.objective_, abs=1e-9)


@pytest.mark.parametrize("command", ["fit", "train --data"])
def test_rows_to_test_are_like_those_of_the_fit(capsys, data, tmp_path, command):
    """In another order of columns, without weights, with fewer features, or labels that look like numbers."""
    X, y = data
    frame = frame_of(X, y).assign(kind=np.array(["1", "2", "x"])[y], w=1.5)
    frame.to_csv(tmp_path / "a.csv", index=False)
    frame[frame.kind != "x"][["kind", *NAMES[::-1]]].to_csv(tmp_path / "b.csv", index=False)
    save = ["--save", tmp_path / "m", "--json"]
    weight = ["--weight", "w"] if command == "fit" else ["--features", *NAMES]
    rows = [tmp_path / "a.csv", "--label", "kind", *weight, "--test", tmp_path / "b.csv"]
    code, out, _ = run(capsys, *command.split(), *rows, *save)
    assert code == 0
    assert set(json.loads(out)["accuracy_per_class"]) == {"1", "2"}
    assert run(capsys, "evaluate", tmp_path / "m", "--data", tmp_path / "b.csv")[0] == 0
    narrow = X.copy()
    narrow[:, -1] = 0
    dump_svmlight_file(X, y, str(tmp_path / "a.svm"), zero_based=False)
    dump_svmlight_file(narrow, y, str(tmp_path / "b.svm"), zero_based=False)
    assert run(capsys, *command.split(), tmp_path / "a.svm", "--test", tmp_path / "b.svm")[0] == 0


def test_a_column_of_lists(capsys, data, tmp_path):
    X, y = data
    pd.DataFrame({"x": list(X), "kind": y}).to_parquet(tmp_path / "a.parquet")
    rows = (tmp_path / "a.parquet", "--features", "x", "--label", "kind", "--save", tmp_path / "m")
    assert run(capsys, "fit", *rows)[0] == 0
    assert run(capsys, "evaluate", tmp_path / "m", "--data", tmp_path / "a.parquet")[0] == 0
    assert len(run(capsys, "predict", tmp_path / "m", tmp_path / "a.parquet")[1].split()) == N


def test_cross_validation_is_said_without_what_is_not_known(capsys, data, tmp_path):
    source, _ = write_npz(tmp_path, *data)
    code, out, _ = run(capsys, "fit", source, "--cv", 3)
    assert code == 0
    assert "\nF at most " in out
    assert json.loads(run(capsys, "fit", source, "--cv", 3, "--json")[1])["objective"] is None


def test_links_stay_links(capsys, data, tmp_path):
    source, options = write_csv(tmp_path, *data)
    (tmp_path / "link").symlink_to(tmp_path / "m")
    assert run(capsys, "fit", source, *options, "--save", tmp_path / "link")[0] == 0
    assert (tmp_path / "link").is_symlink()
    assert fs.SoftmaxModel.load(tmp_path / "m").classes.tolist() == ["ant", "bee", "cat"]


def test_an_interrupt_while_text_is_read(data, tmp_path):
    """No reader is inside a library that Python takes down."""
    X, y = data
    source, options = write_csv(tmp_path, np.tile(X, (2000, 1)), np.tile(y, 2000))
    command = [sys.executable, "-m", "fastsoftmax", "train", "--data", str(source), *options, "--quiet"]
    for seconds in (0.7, 0.9, 1.1, 1.3):
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ) as one:
            time.sleep(seconds)
            one.send_signal(signal.SIGINT)
            err = one.communicate(timeout=60)[1].decode()  # a lock of an import may outlive its interruption
            assert one.wait() in (0, 130, -signal.SIGINT), err
            assert "Fatal" not in err
            assert "terminate" not in err


def test_nobody_reads_on(data, tmp_path):
    X, y = data
    source, options = write_csv(tmp_path, np.tile(X, (300, 1)), np.tile(y, 300))
    assert cli.main(["fit", str(source), *options, "--save", str(tmp_path / "m"), "--quiet", "--tol", "0.1"]) == 0
    command = [sys.executable, "-m", "fastsoftmax", "predict", str(tmp_path / "m"), str(source)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ) as one:
        assert one.stdout.readline().strip() in (b"ant", b"bee", b"cat")
        one.stdout.close()
        assert one.stderr.read() == b""
        assert one.wait() == 1


def test_interrupted(capsys, data, tmp_path, monkeypatch):
    from fastsoftmax.estimators.fitting import Fit

    def interrupt(*args):
        raise KeyboardInterrupt

    source, _ = write_npy(tmp_path, *data)
    monkeypatch.setattr(Fit, "run", interrupt)
    code, out, err = run(capsys, "fit", source, "--save", tmp_path / "m")
    assert (code, out, err) == (130, "", "fastsoftmax: interrupted\n")
    assert not (tmp_path / "m").exists()


def test_without_pyarrow(capsys, data, tmp_path, monkeypatch):
    source, options = write_csv(tmp_path, *data)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    code, _, err = run(capsys, "fit", source, *options)
    assert code == 2
    assert "pip install 'fastsoftmax[arrow]'" in err


def test_a_cache_of_ones_own(capsys, data, tmp_path):
    source, options = write_parquet(tmp_path, *data)
    (tmp_path / "cache").mkdir()
    code, _, _ = run(capsys, "fit", source, *options, "--cache", tmp_path / "cache")
    assert code == 0
    assert list(itertools.islice((tmp_path / "cache").iterdir(), 9)) == []  # it was removed
