"""The command line: the main job, its options, what it prints and returns; the golden hash."""

import gzip
import json
import struct
import sys

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax import cli
from fastsoftmax.datasets import idx
from fastsoftmax.defaults import OPTIMIZERS
from fastsoftmax.engine.threads import JIT
from fastsoftmax.training import epochs, trainer

# One epoch with the defaults: a change of it, or of the README's hash, belongs in the CHANGELOG of the same commit.
GOLDEN = "6b32849f6c7cc6de47d674b415e84f541f3055d1baf0ea0818e4948dbbfbc2ee"

mnist_only = pytest.mark.skipif(not JIT, reason="60 000 images take far too long with the JIT off")


@pytest.fixture
def folder(tmp_path, rng):
    return idx_folder(tmp_path / "set", rng)


def idx_folder(where, rng):
    """A small data set: three classes of 5 x 4 images, told apart by their brightest column."""
    where.mkdir()
    for name, n in (("train", 200), ("t10k", 60)):
        y = np.arange(n) % 3
        X = rng.integers(0, 100, (n, 5, 4))
        X[np.arange(n), :, y] += 120
        for what, array in (("images-idx3", X), ("labels-idx1", y)):
            head = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
            (where / f"{name}-{what}-ubyte.gz").write_bytes(gzip.compress(head + array.astype(np.uint8).tobytes()))
    return where


def run(capsys, *args):
    code = cli.main([str(a) for a in args])
    out, err = capsys.readouterr()
    return code, out, err


@mnist_only
def test_one_epoch_golden_hash(capsys):
    code, out, _ = run(capsys, "train", "--epochs", 1, "--seed", 0, "--json")
    result = json.loads(out)
    assert code == 0
    assert result["sha256"] == GOLDEN
    assert result["test_accuracy"] > 0.9


@mnist_only
def test_the_main_job(capsys):
    code, out, err = run(capsys, "train")
    assert code == 0
    assert err == ""
    lines = out.splitlines()
    assert [line.split("/")[0] for line in lines[:10]] == [f"epoch {k:>2}" for k in range(1, 11)]
    assert float(lines[10].split()[2].rstrip(",")) >= 0.922
    for text in (
        "per class 0: ",
        "most frequent confusion",
        "M examples/s in training",
        "wall time: import",
        "compile",
    ):
        assert text in out
    assert lines[-1].startswith("sha256 of the weights ")
    assert len(lines[-1].split()[-1]) == 64


@mnist_only
def test_train_calibrates(capsys, tmp_path):
    code, out, err = run(capsys, "train", "--epochs", 1, "--calibrate", "--save", tmp_path / "model", "--json")
    result, model = json.loads(out), fs.SoftmaxModel.load(tmp_path / "model")
    assert (code, err) == (0, "")
    assert result["temperature"] == model.temperature != 1
    _, _, X_test, y_test = fs.datasets.load_mnist()
    loss = -np.log(model.predict_proba(X_test)[np.arange(len(y_test)), y_test].astype(float)).mean()
    assert result["test_loss"] == pytest.approx(loss, rel=1e-5)
    code, out, _ = run(capsys, "train", "--epochs", 1, "--calibrate", "--quiet")
    assert f"temperature {model.temperature:.4g}\n" in out


def test_train_options(capsys, folder, tmp_path):
    path = tmp_path / "model.safetensors"
    code, out, _ = run(
        capsys, "train", "--data", folder, "--epochs", 3, "--batch-size", 20, "--lr", 0.2, "--optimizer", "sgd",
        "--schedule", "cosine", "--momentum", 0.5, "--l2", 1e-4, "--seed", 5, "--save", path, "--json",
    )  # fmt: skip
    result = json.loads(out)
    assert code == 0
    assert result["epochs"] == 3
    assert result["test_accuracy"] == 1.0
    assert set(result["seconds"]) >= {"load", "compile", "train"}
    X, y, X_test, y_test = fs.datasets.load_idx(folder)
    twin = fs.Trainer(3, 20, "sgd", 0.2, "cosine", momentum=0.5, l2=1e-4, seed=5, scale=1 / 255).fit(X, y)
    assert result["sha256"] == twin.sha256() == fs.SoftmaxModel.load(path).sha256()

    code, out, _ = run(capsys, "evaluate", path, "--data", folder, "--json")
    assert code == 0
    assert json.loads(out)["test_accuracy"] == 1.0
    assert json.loads(out)["sha256"] == result["sha256"]
    code, out, _ = run(capsys, "predict", path, folder / "t10k-images-idx3-ubyte.gz")
    assert code == 0
    assert out.split() == [str(k) for k in y_test]
    code, out, _ = run(capsys, "predict", path, folder / "t10k-images-idx3-ubyte.gz", "--proba")
    np.testing.assert_allclose(np.loadtxt(out.splitlines()), twin.predict_proba(X_test), atol=1e-6)
    twin.temperature = 2.5
    twin.save(path)
    code, out, _ = run(capsys, "evaluate", path, "--data", folder, "--json")
    loss = -np.log(twin.predict_proba(X_test)[np.arange(len(y_test)), y_test]).mean()
    assert json.loads(out)["test_loss"] == pytest.approx(loss, rel=1e-5)


def test_quiet(capsys, folder):
    code, out, _ = run(capsys, "train", "--data", folder, "--epochs", 2, "--quiet")
    assert code == 0
    assert "epoch" not in out
    assert "test accuracy" in out


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_every_optimizer(capsys, folder, optimizer):
    code, out, _ = run(capsys, "train", "--data", folder, "--epochs", 3, "--optimizer", optimizer, "--lr", 0.1)
    assert code == 0
    assert "epoch 3/3" in out
    assert trainer.OPTIMIZERS == OPTIMIZERS


def test_errors_are_one_line(capsys, folder, tmp_path):
    (tmp_path / "junk").write_bytes(b"junk")
    for args, message in (
        (("train", "--data", tmp_path / "nowhere"), "no such file or folder"),
        (("train", "--data", folder, "--epochs", 0), "epochs must be an integer of at least 1, got 0"),
        (("train", "--data", folder, "--lr", -1), "learning_rate must be finite and positive"),
        (("train", "--threads", 0), "--threads must be at least 1, got 0"),
        (("train", "--data", folder, "--epochs", 1, "--save", tmp_path / "no" / "m"), "no such folder to write m to"),
        (("evaluate", tmp_path / "junk"), "junk: not a safetensors file"),
        (("predict", tmp_path / "nothing", folder), "No such file"),
    ):
        code, _, err = run(capsys, *args)
        assert code == 2
        assert err.startswith("fastsoftmax: error: ")
        assert message in err
        assert err.count("\n") == 1
    with pytest.raises(SystemExit):
        cli.main(["train", "--schedule", "linear"])
    assert "invalid choice: 'linear'" in capsys.readouterr().err


def test_ctrl_c(capsys, folder, monkeypatch):
    def interrupt(*args):
        raise KeyboardInterrupt

    monkeypatch.setattr(epochs.Run, "epoch", interrupt)
    monkeypatch.setattr(cli.training, "_compile", lambda *args: None)
    code, out, _ = run(capsys, "train", "--data", folder)
    assert code == 130
    assert "test accuracy" in out  # of the weights that there are


def test_info(capsys):
    code, out, _ = run(capsys, "info", "--json")
    facts = json.loads(out)
    assert code == 0
    assert facts["fastsoftmax"] == fs.__version__
    assert set(facts) >= {"numba", "numpy", "cpu", "threads", "threading_layer", "cache_folder"}
    code, out, _ = run(capsys, "info")
    assert f"numba            {facts['numba']}" in out


def test_labels_that_training_never_saw(capsys, folder, tmp_path):
    path = folder / "t10k-labels-idx1-ubyte.gz"
    labels = idx.read_idx(path, 1).copy()
    labels[:6] = 9
    path.write_bytes(gzip.compress(bytes([0, 0, 8, 1]) + struct.pack(">I", 60) + labels.tobytes()))
    code, out, _ = run(capsys, "train", "--data", folder, "--epochs", 20, "--json")
    assert code == 0
    assert json.loads(out)["test_accuracy"] == pytest.approx(0.9)


@pytest.mark.parametrize("threads", [1, 3])
def test_module_and_threads(run_python, folder, threads):
    """`python -m fastsoftmax`, on any number of threads: the same hash."""
    code = "import runpy, sys; sys.argv[1:] = sys.argv[1:]; runpy.run_module('fastsoftmax', run_name='__main__')"
    args = ("train", "--data", str(folder), "--epochs", "2", "--batch-size", "150", "--threads", str(threads), "--json")
    result = run_python(code, check=False, args=args)
    assert result.returncode == 0, result.stderr
    X, y, _, _ = fs.datasets.load_idx(folder)
    defaults = cli.parser().parse_args(["train"])
    twin = fs.Trainer(2, 150, defaults.optimizer, defaults.lr, defaults.schedule, scale=1 / 255).fit(X, y)
    assert json.loads(result.stdout)["sha256"] == twin.sha256()
    assert sys.version_info >= (3, 11)


def test_cache(capsys, tmp_path, monkeypatch):
    """What is ours is counted and deleted, whatever the version; what is not stays."""
    monkeypatch.setenv("FASTSOFTMAX_CACHE_DIR", str(tmp_path))
    ours = [f"fastsoftmax.kernels.x.f-{'0af' * 10}00.kernel", f"fastsoftmax.kernels.x.f-{'0' * 32}.{'1' * 32}"]
    others = ["notes.txt", "mine.kernel", f"other.f-{'0' * 32}.kernel", "fastsoftmax.txt"]
    for name in (*ours, *others):
        (tmp_path / name).write_bytes(b"1234")
    code, out, _ = run(capsys, "cache", "--json")
    assert code == 0
    assert json.loads(out) == {"folder": str(tmp_path), "files": 2, "bytes": 8, "cleared": False}
    code, out, _ = run(capsys, "cache", "--clear")
    assert code == 0
    assert out == f"{tmp_path}: 2 kernels, 0.0 MB, cleared\n"
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(others)
    monkeypatch.setenv("FASTSOFTMAX_CACHE_DIR", str(tmp_path / "nowhere"))
    code, out, _ = run(capsys, "cache", "--clear")
    assert out == f"{tmp_path / 'nowhere'}: 0 kernels, 0.0 MB, cleared\n"


def test_warmup(capsys, monkeypatch):
    """It hands on what it is asked for, and says how long it took."""
    from fastsoftmax import warming

    asked = []
    monkeypatch.setattr(warming, "warmup", lambda *args: asked.append(args) or 1.25)
    code, out, _ = run(capsys, "warmup", "--classes", 3, 10, "--dtype", "uint8")
    assert code == 0
    assert out.startswith("compiled in 1.2 s; ")
    code, out, _ = run(capsys, "warmup", "--json")
    assert json.loads(out)["seconds"] == 1.25
    assert asked == [([3, 10], ["uint8"]), (None, ("uint8", "float32", "float64"))]


def test_a_checkpoint_of_the_command_line(capsys, folder, tmp_path):
    whole = json.loads(run(capsys, "train", "--data", folder, "--epochs", 3, "--json")[1])
    command = ("train", "--data", folder, "--epochs", 3, "--json", "--checkpoint", tmp_path / "c")
    first, again = (json.loads(run(capsys, *command)[1]) for _ in range(2))
    assert whole["sha256"] == first["sha256"] == again["sha256"]
    code, _, err = run(capsys, *command, "--lr", 0.1)
    assert code == 2
    assert "a checkpoint of another run, which had other learning_rate (0.003, now 0.1); delete it" in err


@pytest.mark.filterwarnings("always")
def test_images_for_a_model_with_names(capsys, folder, tmp_path):
    """Images have no names of columns: one line says so, and the answer is that of a model without."""
    X, y, _, y_test = fs.datasets.load_idx(folder)
    plain = fs.Trainer(3, 20, learning_rate=0.2, scale=1 / 255).fit(X, y)
    names = [f"pixel {k}" for k in range(X.shape[1])]
    fs.SoftmaxModel(plain.coef, plain.intercept, plain.classes, feature_names=names).save(tmp_path / "m")
    said = "fastsoftmax: warning: X does not have valid feature names, but SoftmaxModel was fitted with feature names\n"
    code, out, err = run(capsys, "predict", tmp_path / "m", folder / "t10k-images-idx3-ubyte.gz")
    assert (code, err) == (0, said)
    assert out.split() == [str(k) for k in y_test]
    code, out, err = run(capsys, "evaluate", tmp_path / "m", "--data", folder, "--json")
    assert (code, err) == (0, said)
    assert json.loads(out)["sha256"] == plain.sha256()
