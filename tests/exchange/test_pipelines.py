"""Pipelines of scikit-learn that skl2onnx writes: onnxruntime gives our labels and probabilities."""

import sys

import numpy as np
import onnxruntime
import pytest
import skl2onnx
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import make_column_transformer
from sklearn.datasets import load_iris
from sklearn.ensemble import BaggingClassifier, StackingClassifier, VotingClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import MinMaxScaler, StandardScaler

import fastsoftmax as fs

LABELS = {
    "integers": np.array([-3, 4, 2**40]),
    "bytes": np.array([1, 2, 250], np.uint8),
    "strings": np.array(["a", "bö", "c"]),
    "objects": np.array(["a", "bö", "c"], object),
    "floats": np.array([1.0, 2.0, 4.0]),
}
ESTIMATORS = {
    "alone": fs.SoftmaxRegression(),
    "cross-validated": fs.SoftmaxRegressionCV(Cs=[0.1, 1], cv=2),
    "by SGD": fs.SoftmaxSGDClassifier(random_state=0, max_epochs=3, tol=None),
    "no intercept": fs.SoftmaxRegression(fit_intercept=False),
    "pipeline": make_pipeline(StandardScaler(), fs.SoftmaxRegression()),
    "columns": make_pipeline(
        make_column_transformer((StandardScaler(), [0, 2]), (MinMaxScaler(), [1, 3])), fs.SoftmaxRegression()
    ),
    "search": GridSearchCV(fs.SoftmaxRegression(), {"C": [0.1, 1]}, cv=2),
    "search of a pipeline": GridSearchCV(
        make_pipeline(StandardScaler(), fs.SoftmaxRegression()), {"softmaxregression__C": [0.1, 1]}, cv=2
    ),
    "voting": VotingClassifier(
        [("a", fs.SoftmaxRegression()), ("b", fs.SoftmaxRegression(C=0.01))], voting="soft", flatten_transform=False
    ),
    "calibrated": CalibratedClassifierCV(fs.SoftmaxRegression(), cv=2),
    "bagging": BaggingClassifier(fs.SoftmaxRegression(), 2, random_state=0),
    "stacking": StackingClassifier([("a", fs.SoftmaxRegression())], fs.SoftmaxRegression(), cv=2),
}


@pytest.fixture(autouse=True)
def _registered():
    fs.register_skl2onnx()


def run(estimator, X, **options):
    graph = skl2onnx.to_onnx(estimator, X[:1], **options)
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    session = onnxruntime.InferenceSession(graph.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    return session.run(None, {"X": X})


def iris(labels="integers", dtype=np.float64, classes=3):
    X, y = load_iris(return_X_y=True)
    return X.astype(dtype), LABELS[labels][y if classes == 3 else (y > 1).astype(int)]


def agrees(estimator, X, **options):
    label, probabilities = run(estimator, X, options={"zipmap": False}, **options)
    np.testing.assert_array_equal(label, estimator.predict(X))
    np.testing.assert_allclose(probabilities, estimator.predict_proba(X), atol=1e-6, rtol=0)
    return label, probabilities


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("name", ESTIMATORS)
def test_estimators(name, dtype, classes):
    X, y = iris("strings", dtype, classes)
    agrees(ESTIMATORS[name].fit(X, y), X)


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("labels", LABELS)
def test_labels(labels, classes):
    X, y = iris(labels, classes=classes)
    label, _ = agrees(fs.SoftmaxRegression().fit(X, y), X)
    assert label.dtype == (object if labels in ("strings", "objects") else np.int64)


def test_labels_of_truth():
    X, y = load_iris(return_X_y=True)
    label, _ = agrees(fs.SoftmaxRegression().fit(X, y > 1), X)
    assert label.dtype == np.int64  # as skl2onnx has them


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int32, np.int64, bool])
def test_inputs_of_integers(dtype):
    X, y = iris()
    X = X.mean(0) < X if dtype is bool else (X * 10).astype(dtype)
    for fitted in (X, X.astype(np.float32)):
        _, probabilities = agrees(fs.SoftmaxRegression().fit(fitted, y), X)
        assert probabilities.dtype == np.float32


def test_integers_that_float32_cannot_hold():
    """Times weights of float32 they are float64, in the graph too."""
    X, y = iris(dtype=np.float32)
    estimator = fs.SoftmaxRegression().fit(X, y)
    estimator.coef_ = np.array([[0, 0, 0, 0], [1, -1, 0, 0], [-1, 1, 0, 0]], np.float32)
    estimator.intercept_ = np.zeros(3, np.float32)
    label, _ = agrees(estimator, np.array([[2**25 + 1, 2**25, 0, 0], [2**25, 2**25 + 1, 0, 0]], np.int64))
    assert label.tolist() == LABELS["integers"][[1, 2]].tolist()


@pytest.mark.parametrize(("fitted", "given"), [("float32", "float64"), ("float64", "float32"), ("float64", "float64")])
def test_weights_of_another_precision(fitted, given):
    """In float64 if one of the two is: a row on the border between classes shows it."""
    X, y = iris(dtype=fitted)
    estimator = fs.SoftmaxRegression().fit(X, y)
    near = np.repeat(X[50:51], 200, 0)
    near[:, 0] += np.linspace(-1e-6, 1e-6, 200)
    estimator.intercept_ = estimator.intercept_ - estimator.decision_function(near[100:101])[0]
    _, probabilities = agrees(estimator, near.astype(given))
    assert probabilities.dtype == given


@pytest.mark.parametrize("opset", [9, 11, 13, 18])
def test_opsets(opset):
    X, y = iris("strings")
    agrees(fs.SoftmaxRegression().fit(X, y), X, target_opset=opset)


def test_options():
    """Those of LogisticRegression, with its meaning."""
    X, y = iris("strings", np.float32)
    estimator = fs.SoftmaxRegression().fit(X, y)
    _, maps = run(estimator, X)
    P = estimator.predict_proba(X)
    assert list(maps[0]) == ["a", "bö", "c"]
    np.testing.assert_allclose([[row[label] for label in LABELS["strings"]] for row in maps], P, atol=1e-6)
    _, *columns = run(estimator, X, options={id(estimator): {"zipmap": "columns"}})
    np.testing.assert_allclose(np.transpose(columns), P, atol=1e-6)
    label, _ = run(estimator, X, options={id(estimator): {"zipmap": False, "nocl": True}})
    np.testing.assert_array_equal(label, P.argmax(1))
    *_, names = run(estimator, X, options={id(estimator): {"zipmap": False, "output_class_labels": True}})
    assert names.tolist() == ["a", "bö", "c"]
    _, scores = run(estimator, X, options={id(estimator): {"zipmap": False, "raw_scores": True}})
    np.testing.assert_allclose(scores, estimator.decision_function(X), rtol=1e-5)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_raw_scores_of_two_classes(dtype):
    X, y = iris("strings", dtype, classes=2)
    ours, theirs = fs.SoftmaxRegression(tol=1e-10).fit(X, y), LogisticRegression(tol=1e-10, max_iter=10000).fit(X, y)
    options = {"options": {"zipmap": False, "raw_scores": True}}
    (label, scores), (_, expected) = run(ours, X, **options), run(theirs, X, **options)
    np.testing.assert_allclose(scores, expected, atol=1e-5 if dtype == np.float64 else 1e-4)
    np.testing.assert_allclose(scores[:, 1], ours.decision_function(X), rtol=1e-5)
    np.testing.assert_array_equal(label, ours.predict(X))


def test_weights_that_were_made_sparse():
    X, y = iris()
    agrees(fs.SoftmaxRegression(l1_ratio=1.0, C=0.1).fit(X, y).sparsify(), X)


def test_what_is_refused():
    X, y = iris()
    estimator = fs.SoftmaxRegression().fit(X, y)
    with pytest.raises(ValueError, match="one matrix of numbers"):
        skl2onnx.to_onnx(estimator, initial_types=[("X", skl2onnx.common.data_types.StringTensorType([None, 4]))])


def test_without_skl2onnx(monkeypatch):
    monkeypatch.setitem(sys.modules, "skl2onnx", None)
    with pytest.raises(ImportError, match=r"pip install 'fastsoftmax\[onnx\]'"):
        fs.register_skl2onnx()
