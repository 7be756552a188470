"""
Deploying by ONNX
=================

A trained model as an ONNX graph, which services load without Python's stack: pixels in, label and probabilities out.
"""

# %%
# ``pip install 'fastsoftmax[onnx]'``. The input may be what X was: here bytes, cast and scaled in the graph.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import onnxruntime
import skl2onnx
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastsoftmax as fs

X, y, X_test, y_test = fs.datasets.load_mnist()
model = fs.Trainer(epochs=3, optimizer="adam", learning_rate=0.003, scale=1 / 255, progress=False).fit(X, y)
path = Path(tempfile.mkdtemp()) / "digits.onnx"
model.to_onnx(path, input_dtype="uint8")
print(f"{path.stat().st_size / 1000:.0f} kB")

# %%
# Any runtime reads it; here onnxruntime.

session = onnxruntime.InferenceSession(path)
label, probabilities = session.run(["label", "probabilities"], {"X": X_test})
print(f"same labels: {(label == model.predict(X_test)).all()}")
print(f"largest difference of probabilities {np.abs(probabilities - model.predict_proba(X_test)).max():.1e}")

# %%
# To and from PyTorch, as the state of an ``nn.Linear``, without PyTorch:

model.to_linear(path.with_suffix(".safetensors"), prefix="head.")
back = fs.SoftmaxModel.from_linear(path.with_suffix(".safetensors"), prefix="head.")
print(back.sha256() == model.sha256())

# %%
# A pipeline of scikit-learn, whose other parts skl2onnx converts:

pipeline = make_pipeline(StandardScaler(), fs.SoftmaxRegression(tol=1e-3)).fit(X[:10000] / 255, y[:10000])
fs.register_skl2onnx()
graph = skl2onnx.to_onnx(pipeline, X_test[:1] / 255, options={"zipmap": False})
label, _ = onnxruntime.InferenceSession(graph.SerializeToString()).run(None, {"X": X_test / 255})
print(f"same labels: {(label == pipeline.predict(X_test / 255)).all()}")

# %%
# Within scikit-learn, skops writes estimators so that nothing is unpickled: ``skops.io.load(path, trusted=names)`` with
# ``fastsoftmax.estimators.regression.SoftmaxRegression``, ``fastsoftmax.estimators.selection.SoftmaxRegressionCV``,
# or for SGD ``fastsoftmax.estimators.sgd.SoftmaxSGDClassifier`` with ``fastsoftmax.training.epochs.Progress``.

# %%
# Estimators have ``estimator.to_model().to_onnx(path)``. The probabilities of one image, from both:

figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.5), layout="constrained")
left.imshow(X_test[8].reshape(28, 28), cmap="gray_r")
left.set(xticks=[], yticks=[], title=f"a {y_test[8]}")
places = np.arange(10)
right.bar(places - 0.2, model.predict_proba(X_test[8:9])[0], 0.4, label="fastsoftmax")
right.bar(places + 0.2, probabilities[8], 0.4, label="onnxruntime")
right.set(xticks=places, xlabel="digit", title="Probabilities")
right.legend()
