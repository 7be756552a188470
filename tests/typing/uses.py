"""What users write, for a type checker: each type is known where it can be, and wrong uses are errors. Never run."""

from typing import Any, assert_type

import numpy as np
from numpy.typing import NDArray

import fastsoftmax as fs
from fastsoftmax.datasets import load_mnist

X, y, X_test, y_test = load_mnist()
assert_type(X, NDArray[np.uint8])
assert_type(y, NDArray[np.int64])

Z = np.zeros((4, 3))
assert_type(fs.softmax(Z), NDArray[Any])
assert_type(fs.log_softmax(Z, axis=0), NDArray[Any])
assert_type(fs.cross_entropy(Z, [0, 1, 2, 0]), float)
assert_type(fs.cross_entropy(Z, [0, 1, 2, 0], reduction="none"), NDArray[np.float64])
loss, _ = fs.cross_entropy_gradient(Z, [0, 1, 2, 0])
assert_type(loss, float)
losses, _ = fs.cross_entropy_gradient(Z, [0, 1, 2, 0], reduction="none")
assert_type(losses, NDArray[np.float64])
total, G, g = fs.loss_gradient(X, y, np.zeros((10, 784)), scale=1 / 255)
assert_type(total, float)
assert_type(G, NDArray[Any])

trainer = fs.Trainer(epochs=2, optimizer="adam", scale=1 / 255)
model = trainer.fit(X, y, validation=(X_test, y_test))
assert_type(model, fs.SoftmaxModel)
assert_type(model.score(X_test, y_test), float)
assert_type(model.predict_proba(X_test), NDArray[Any])
assert_type(trainer.history, list[dict[str, Any]])
assert_type(fs.SoftmaxModel.load("model.safetensors"), fs.SoftmaxModel)
model.save("model.safetensors")

regression = fs.SoftmaxRegression(C=0.1, tol=1e-3).fit(X, y)
assert_type(regression, fs.SoftmaxRegression)
assert_type(regression.duality_gap_, float)
assert_type(regression.coef_, NDArray[Any])
assert_type(regression.classes_, NDArray[Any])
assert_type(regression.predict(X_test), NDArray[Any])
assert_type(regression.score(X_test, y_test), float)
assert_type(regression.to_model(), fs.SoftmaxModel)
assert_type(fs.SoftmaxRegressionCV(Cs=3).fit(X, y), fs.SoftmaxRegressionCV)
assert_type(fs.SoftmaxSGDClassifier().fit(X, y).partial_fit(X, y), fs.SoftmaxSGDClassifier)
path = fs.path(X, y, Cs=[0.1, 1.0])
assert_type(path.coefs, NDArray[Any])
assert_type(path.model, fs.SoftmaxRegression | None)

assert_type(fs.temperature(Z, [0, 1, 2, 0]), float)
assert_type(fs.calibration_error(Z, [0, 1, 2, 0]), float)
assert_type(fs.brier_score(Z, [0, 1, 2, 0]), float)

fs.set_num_threads(2)
assert_type(fs.get_num_threads(), int)
assert_type(fs.warmup(10), float)
assert_type(fs.__version__, str)

fs.softmaxx(Z)  # type: ignore[attr-defined]
fs.set_num_threads("2")  # type: ignore[arg-type]
fs.cross_entropy(Z, [0, 1, 2, 0], reduction="average")  # type: ignore[call-overload]
fs.SoftmaxRegression(c=1.0)  # type: ignore[call-arg]
