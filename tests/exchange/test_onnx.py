"""Graphs that onnxruntime runs: the labels of the model, and its probabilities."""

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from sklearn.datasets import load_iris

import fastsoftmax as fs


def run(path, X):
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    assert [out.name for out in session.get_outputs()] == ["label", "probabilities"]
    return session.run(None, {"X": X})


def agrees(model, path, X, tolerance=1e-6):
    label, probabilities = run(path, X)
    np.testing.assert_array_equal(label, model.predict(X))
    np.testing.assert_allclose(probabilities, model.predict_proba(X), atol=tolerance, rtol=0)
    assert probabilities.dtype == model.coef.dtype
    return label


def test_mnist(tmp_path):
    """Of bytes, as they are."""
    X, y, X_test, _ = fs.datasets.load_mnist()
    model = fs.Trainer(1, scale=1 / 255).fit(X[:6000], y[:6000])
    model.to_onnx(tmp_path / "bytes", input_dtype="uint8")
    model.to_onnx(tmp_path / "floats")
    label = agrees(model, tmp_path / "bytes", X_test)
    np.testing.assert_array_equal(run(tmp_path / "floats", X_test.astype(np.float32))[0], label)


@pytest.mark.parametrize("classes", [None, ["setosa", "versicolor", "virginica"], [3, 5, 2**40], [0.5, 1.5, 2.5]])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_iris(tmp_path, classes, dtype):
    X, y = load_iris(return_X_y=True)
    X = X.astype(dtype)
    fitted = fs.SoftmaxRegression().fit(X, y).to_model()
    model = fs.SoftmaxModel(fitted.coef, fitted.intercept, classes)
    model.to_onnx(tmp_path / "model")
    label = agrees(model, tmp_path / "model", X)
    assert label.dtype.kind == {"U": "O", "i": "i", "f": "f"}[model.classes.dtype.kind]


@pytest.mark.parametrize("labels", [[False, True], ["no", "yes"], [-1, 1]])
def test_two_classes(tmp_path, labels):
    """Their logits are not doubled."""
    X, y = load_iris(return_X_y=True)
    y = np.array(labels)[(y > 1).astype(int)]
    estimator = fs.SoftmaxRegression().fit(X, y)
    model = estimator.to_model()
    model.to_onnx(tmp_path / "model")
    agrees(model, tmp_path / "model", X)
    np.testing.assert_allclose(run(tmp_path / "model", X)[1], estimator.predict_proba(X), atol=1e-12)


@pytest.mark.parametrize("given", ["float32", "float64", "float16", "uint8", "int8"])
def test_inputs_of_any_type(tmp_path, rng, given):
    X = np.round(rng.standard_normal((60, 5)) * 10)
    X = (np.abs(X) if given == "uint8" else X).astype(given)
    for dtype in (np.float32, np.float64):
        model = fs.SoftmaxModel(rng.standard_normal((4, 5)).astype(dtype) * dtype(0.1), np.zeros(4, dtype))
        model.to_onnx(tmp_path / "model", input_dtype=given)
        label, probabilities = run(tmp_path / "model", X)
        np.testing.assert_array_equal(label, model.predict(X.astype(dtype)))
        np.testing.assert_allclose(probabilities, model.predict_proba(X.astype(dtype)), atol=1e-6)


def test_the_temperature_and_the_facts(tmp_path, rng):
    model = fs.SoftmaxModel(
        rng.standard_normal((3, 4)),
        rng.standard_normal(3),
        ["ä", "b", "c"],
        feature_names=list("wxyz"),
        temperature=2.5,
    )
    model.to_onnx(tmp_path / "model")
    X = rng.standard_normal((30, 4))
    label, probabilities = run(tmp_path / "model", X)
    logits = X @ model.coef.T + model.intercept
    np.testing.assert_allclose(probabilities, fs.softmax(logits / 2.5), atol=1e-12)
    np.testing.assert_array_equal(label, model.classes[logits.argmax(1)])
    graph = onnx.load(str(tmp_path / "model"))
    facts = {entry.key: entry.value for entry in graph.metadata_props}
    assert facts == {"sha256": model.sha256(), "feature_names": json.dumps(list("wxyz"))}
    assert [(entry.domain, entry.version) for entry in graph.opset_import] == [("", 13)]
    assert (graph.ir_version, graph.producer_name) == (7, "fastsoftmax")


def test_of_equals_the_first(tmp_path):
    model = fs.SoftmaxModel(np.zeros((3, 2)), np.zeros(3), ["b", "a", "c"])
    model.to_onnx(tmp_path / "model")
    assert agrees(model, tmp_path / "model", np.ones((5, 2))).tolist() == ["b"] * 5


def test_large_logits(tmp_path, rng):
    model = fs.SoftmaxModel(np.array([[1e4], [-1e4], [0.0]]), np.zeros(3))
    model.to_onnx(tmp_path / "model")
    agrees(model, tmp_path / "model", rng.standard_normal((20, 1)))


def test_what_is_refused(tmp_path, monkeypatch):
    model = fs.SoftmaxModel(np.eye(2), np.zeros(2))
    with pytest.raises(ValueError, match="input_dtype must be one of"):
        model.to_onnx(tmp_path / "model", input_dtype="int32")
    with pytest.raises(FileNotFoundError, match="no such folder"):
        model.to_onnx(tmp_path / "no" / "model")
    with pytest.raises(ValueError, match="ONNX has labels of at most"):
        fs.SoftmaxModel(np.eye(2), np.zeros(2), np.array([1, 2**63], np.uint64)).to_onnx(tmp_path / "model")
    monkeypatch.setattr("fastsoftmax.exchange.onnx.MOST", 8)
    with pytest.raises(ValueError, match="an ONNX file holds no more than 2"):
        model.to_onnx(tmp_path / "model")
    assert not list(tmp_path.iterdir())


def test_without_onnx(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "onnx", None)
    with pytest.raises(ImportError, match=r"pip install 'fastsoftmax\[onnx\]'"):
        fs.SoftmaxModel(np.eye(2), np.zeros(2)).to_onnx(tmp_path / "model")
