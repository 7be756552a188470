"""The model and its file: what is written comes back, and what is damaged is refused."""

import json
import os
import pickle

import numpy as np
import pytest
import scipy.sparse
from safetensors.numpy import save_file

import fastsoftmax as fs
from fastsoftmax import files
from fastsoftmax.model import ModelFileError
from tests import reference


@pytest.fixture
def model(rng):
    return fs.SoftmaxModel(rng.standard_normal((3, 5)).astype(np.float32), np.array([0.1, 0.2, 0.3], np.float32))


def test_predictions(rng, model):
    X = rng.standard_normal((20, 5))
    P = reference.softmax(X @ model.coef.T.astype(np.float64) + model.intercept)
    np.testing.assert_allclose(model.predict_proba(X), P, rtol=1e-12)
    np.testing.assert_array_equal(model.predict(X), P.argmax(1))
    y = P.argmax(1)
    y[:5] = (y[:5] + 1) % 3
    assert model.score(X, y) == 0.75
    assert model.score(X, y, np.r_[np.zeros(5), np.ones(15)]) == 1.0
    assert model.predict(X[:0]).shape == (0,)
    with pytest.raises(ValueError, match="5 features, X has 4"):
        model.predict(X[:, :4])
    with pytest.raises(ValueError, match="y must be of shape"):
        model.score(X, y[:3])


def test_the_first_of_equals_is_predicted():
    assert fs.SoftmaxModel(np.zeros((3, 2)), np.zeros(3)).predict([[1.0, 2.0]]).tolist() == [0]


@pytest.mark.parametrize(
    "classes", [None, ["a", "bé", "c"], [True, False], [1.5, 2.5, -1.0], np.array([7, 8, 9], np.uint8)]
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_round_trip(rng, tmp_path, classes, dtype):
    c = 3 if classes is None else len(classes)
    path = tmp_path / "m.safetensors"
    model = fs.SoftmaxModel(
        rng.standard_normal((c, 5)).astype(dtype), np.ones(c, dtype), classes, {"seed": 3, "schedule": "cosine"}
    )
    model.save(path)
    loaded = fs.SoftmaxModel.load(path)
    for name in ("coef", "intercept", "classes"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(model, name))
        assert getattr(loaded, name).dtype == getattr(model, name).dtype
    assert loaded.settings == {"seed": 3, "schedule": "cosine"}
    assert loaded.sha256() == model.sha256()
    assert pickle.loads(pickle.dumps(model)).sha256() == model.sha256()
    assert os.listdir(tmp_path) == ["m.safetensors"]
    (tmp_path / "other").touch()
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode  # as any new file's


def test_a_trained_model_knows_its_settings(tmp_path, rng):
    X, y = rng.standard_normal((50, 3)), rng.integers(0, 2, 50)
    model = fs.Trainer(2, momentum=0.5, average=1).fit(X, y)
    model.save(tmp_path / "m")
    settings = fs.SoftmaxModel.load(tmp_path / "m").settings
    assert settings["momentum"] == 0.5
    assert settings["epochs"] == 2
    assert settings["average"] == 1


def test_a_failed_save_leaves_the_old_file(model, tmp_path, monkeypatch):
    path = tmp_path / "m.safetensors"
    model.save(path)
    before = path.read_bytes()

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        fs.SoftmaxModel(np.ones((2, 2)), np.ones(2)).save(path)
    assert path.read_bytes() == before
    assert os.listdir(tmp_path) == ["m.safetensors"]
    with pytest.raises(OSError, match="no such folder to write m to"):
        model.save(tmp_path / "nowhere" / "m")


def test_damaged_files(model, tmp_path):
    path = tmp_path / "m.safetensors"
    model.save(path)
    good = path.read_bytes()
    header = int.from_bytes(good[:8], "little")
    for bad in (
        b"", b"garbage", good[:5], good[:-1], good + b"x", b"\xff" * 8 + good[8:], good[:8] + b"\x00" + good[9:],
        good[: 8 + header // 2], (1 << 40).to_bytes(8, "little") + good[8:],
    ):  # fmt: skip
        path.write_bytes(bad)
        with pytest.raises(ModelFileError, match=r"m\.safetensors"):
            fs.SoftmaxModel.load(path)
    with pytest.raises(FileNotFoundError):
        fs.SoftmaxModel.load(tmp_path / "nothing")
    path.write_bytes(good)
    with pytest.raises(ModelFileError, match="more than max_bytes=100"):
        fs.SoftmaxModel.load(path, max_bytes=100)


def test_every_truncation_is_refused(model, tmp_path):
    path = tmp_path / "m"
    model.save(path)
    good = path.read_bytes()
    for n in range(0, len(good), 7):
        path.write_bytes(good[:n])
        with pytest.raises(ModelFileError):
            fs.SoftmaxModel.load(path)


def test_foreign_files(tmp_path):
    path = tmp_path / "m"
    two, three = np.zeros((2, 3), np.float32), np.zeros(3, np.float32)
    ours = {
        "format": "fastsoftmax.SoftmaxModel",
        "version": "1",
        "classes": json.dumps({"dtype": "<i8", "values": [0, 1]}),
        "settings": "{}",
    }
    fine = {"coef": two, "intercept": two[:, 0].copy()}
    for tensors, metadata, message in (
        ({"weight": two}, None, "not one of"),
        (fine, {}, "not one of"),
        ({"coef": two}, ours, "it holds \\['coef'\\] in place of"),
        (fine, ours | {"version": "2"}, "version 2, expected 1"),
        ({"coef": two, "intercept": three}, ours, "damaged model: intercept"),
        ({"coef": three, "intercept": three}, ours, "damaged model: coef"),
        ({"coef": two.astype(np.int32), "intercept": fine["intercept"]}, ours, "damaged model: coef"),
        (fine, ours | {"classes": "["}, "damaged file"),
        (fine, ours | {"classes": "[" * 100000}, "damaged file"),
        (fine, ours | {"classes": json.dumps({"dtype": "O", "values": [0, 1]})}, "damaged model: classes of dtype"),
        (fine, ours | {"classes": json.dumps({"dtype": "<i8", "values": [0, 1, 2]})}, "damaged model: classes"),
        (fine, ours | {"classes": json.dumps({"dtype": "<i8", "values": [0.5, 1.7]})}, "none of dtype int64"),
        (fine, ours | {"classes": json.dumps({"dtype": "<f8", "values": [None, 1]})}, "damaged model"),
        (fine, ours | {"classes": json.dumps({"dtype": "|b1", "values": ["x", ""]})}, "none of dtype bool"),
        (fine, ours | {"classes": json.dumps({"dtype": "(,<i8", "values": [0, 1]})}, "damaged model: classes of dtype"),
        (fine, ours | {"classes": json.dumps({"dtype": "<i8", "values": [1, 1]})}, "none twice"),
        (fine, ours | {"settings": "[]"}, "settings are no object"),
        (fine, {k: v for k, v in ours.items() if k != "settings"}, "damaged model"),
    ):
        save_file(tensors, path, metadata)
        with pytest.raises(ModelFileError, match=message):
            fs.SoftmaxModel.load(path)
    save_file(fine, path, ours)
    assert fs.SoftmaxModel.load(path).classes.tolist() == [0, 1]
    save_file(fine, path, ours | {"classes": json.dumps({"dtype": "<U200000000", "values": ["a", "bc"]})})
    assert fs.SoftmaxModel.load(path).classes.dtype == "<U2"  # not 1.6 GB


def test_parameters_are_checked():
    good, ones = np.zeros((2, 3)), np.zeros(2)
    for coef, intercept, classes in (
        (np.zeros(3), ones, None),
        (good.astype(int), ones, None),
        (good, np.zeros(3), None),
        (good, ones.astype(np.float32), None),
        (good, ones, ["a"]),
        (good, ones, np.array([object(), object()])),
    ):
        with pytest.raises(ValueError, match="must be"):
            fs.SoftmaxModel(coef, intercept, classes)


def test_repr(model):
    assert repr(model) == "SoftmaxModel(3 classes, 5 features, float32)"


def test_labels_of_a_wide_dtype(rng, tmp_path):
    """As a filtered array of strings has them."""
    y = np.array(["cat", "dog"] * 10, "U20")
    fs.Trainer(1).fit(rng.standard_normal((20, 3)), y).save(tmp_path / "m")
    assert fs.SoftmaxModel.load(tmp_path / "m").classes.tolist() == ["cat", "dog"]


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path):
        with pytest.raises(ModelFileError, match="not a file, but a folder, a pipe or a device"):
            fs.SoftmaxModel.load(path)
    for path in (None, 5, b"m"):
        with pytest.raises(TypeError):
            fs.SoftmaxModel.load(path)
    with pytest.raises(TypeError, match="max_bytes a number"):
        fs.SoftmaxModel.load("m", max_bytes="5")


def test_scores_of_what_cannot_be_a_class(model, rng):
    X = rng.standard_normal((4, 5)).astype(np.float32)
    for y in (np.array([b"a"] * 4), np.zeros(4, "M8[s]"), np.zeros(4, complex), np.array(["a"] * 4)):
        with pytest.raises(TypeError, match="y must hold classes"):
            model.score(X, y)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_is_refused_if_asked(rng, dtype, value):
    model = fs.SoftmaxModel(rng.standard_normal((3, 5)), np.array([0.3, 0.2, 0.1]))
    X = rng.standard_normal((40000, 5)).astype(dtype)
    for call in (model.predict, model.predict_proba):
        np.testing.assert_array_equal(call(X, check=True), call(X))
    X[33333, 3] = value
    if np.isnan(value):
        assert model.predict(X)[33333] == 0
        assert np.isnan(model.predict_proba(X)[33333]).all()
    sparse = scipy.sparse.csr_array(np.where(np.arange(5) % 2, X, 0).astype(np.result_type(dtype, np.float32)))
    for call in (model.predict, model.predict_proba):
        for Z in (X, np.asfortranarray(X), X.tolist(), sparse):
            with pytest.raises(ValueError, match=f"X must be finite, .* got {value} in row 33333, feature 3"):
                call(Z, check=True)


def test_what_no_row_of_a_sparse_matrix_has_is_not_looked_at(rng):
    model = fs.SoftmaxModel(rng.standard_normal((3, 5)), np.zeros(3))
    X = scipy.sparse.csr_array(rng.standard_normal((20, 5)))
    expected = model.predict(X)
    X.data, X.indices = np.r_[X.data, np.nan], np.r_[X.indices, X.indices[:1]]
    np.testing.assert_array_equal(model.predict(X, check=True), expected)


def test_integers_are_finite(rng):
    model = fs.SoftmaxModel(rng.standard_normal((3, 5)), np.zeros(3))
    for dtype in (np.uint8, np.int64, bool):
        X = rng.integers(0, 2, (20, 5)).astype(dtype)
        np.testing.assert_array_equal(model.predict(X, check=True), model.predict(X))
    assert model.predict(np.zeros((0, 5)), check=True).shape == (0,)


def test_a_temperature(model, tmp_path):
    """It divides logits, changes no prediction and no hash, and is in the file."""
    X = np.random.default_rng(0).standard_normal((20, model.coef.shape[1]))
    warm = fs.SoftmaxModel(model.coef, model.intercept, model.classes, temperature=2.5)
    logits = X @ model.coef.T.astype(float) + model.intercept
    np.testing.assert_allclose(warm.predict_proba(X), fs.softmax(logits / 2.5), rtol=1e-6)
    np.testing.assert_array_equal(warm.predict(X), model.predict(X))
    assert warm.sha256() == model.sha256()
    assert "temperature 2.5" in repr(warm)
    warm.save(tmp_path / "warm")
    again = fs.SoftmaxModel.load(tmp_path / "warm")
    assert again.temperature == 2.5
    np.testing.assert_array_equal(again.predict_proba(X), warm.predict_proba(X))
    for bad in (0, -1.0, np.inf, np.nan, True, "1", 10**400, 1e-46):
        with pytest.raises(ValueError, match="temperature must be a positive number"):
            fs.SoftmaxModel(model.coef, model.intercept, temperature=bad)
        with pytest.raises(ValueError, match="temperature must be a positive number"):
            warm.temperature = bad
    assert warm.temperature == 2.5
    warm.temperature = np.float32(0.5)
    warm.save(tmp_path / "warm")
    assert fs.SoftmaxModel.load(tmp_path / "warm").temperature == 0.5
    half = fs.SoftmaxModel(model.coef.astype("f"), model.intercept.astype("f"), temperature=1 / 3)
    logits = X @ half.coef.T.astype(float) + half.intercept
    np.testing.assert_allclose(half.predict_proba(X), fs.softmax(logits * 3), rtol=1e-12)  # no precision is lost
    old = pickle.loads(pickle.dumps(model))
    del old.__dict__["_temperature"]
    assert old.temperature == 1.0
    arrays = {"coef": model.coef, "intercept": model.intercept}
    facts = {"classes": {"dtype": "<i8", "values": list(range(len(model.coef)))}, "settings": {}, "temperature": -1}
    files.save(tmp_path / "bad", "fastsoftmax.SoftmaxModel", "1", arrays, facts)
    with pytest.raises(ModelFileError, match="temperature must be a positive number"):
        fs.SoftmaxModel.load(tmp_path / "bad")
