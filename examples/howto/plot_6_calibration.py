"""
Calibrated probabilities
========================

A model that says 90 % should be right nine times of ten. One number, the temperature, mends much: it is chosen on rows
that the model was not trained on (Guo et al. 2017).
"""

# %%
# A model that was trained too long on too few rows is too sure of itself.

import matplotlib.pyplot as plt

import fastsoftmax as fs
from fastsoftmax.report import ReliabilityDisplay

X, y, X_test, y_test = fs.datasets.load_mnist()
X, y, X_val, y_val = X[:2000], y[:2000], X[2000:4000], y[2000:4000]
model = fs.Trainer(epochs=100, learning_rate=0.5, scale=1 / 255, progress=False).fit(X, y)
before = model.predict_proba(X_test)
print(f"accuracy {model.score(X_test, y_test):.4f}")
print(f"calibration error {fs.calibration_error(before, y_test):.4f}, Brier score {fs.brier_score(before, y_test):.4f}")

# %%
# The temperature that is best on other rows, from their logits:

logits = X_val @ model.coef.T + model.intercept
model.temperature = fs.temperature(logits, y_val)
after = model.predict_proba(X_test)
print(f"temperature {model.temperature:.2f}")
print(f"calibration error {fs.calibration_error(after, y_test):.4f}, Brier score {fs.brier_score(after, y_test):.4f}")

# %%
# ``fs.Trainer(calibrate=True)`` does this by itself, on rows that it holds out. What is predicted does not change; the
# temperature is saved with the model, and is in its ONNX graph.

trainer = fs.Trainer(epochs=100, learning_rate=0.5, scale=1 / 255, calibrate=True, progress=False)
print(trainer.fit(X, y))

# %%
# What is said, against what comes true:

figure, axes = plt.subplots(1, 2, figsize=(9, 4.5), layout="constrained")
for ax, P, title in zip(axes, (before, after), ("as trained", "with its temperature"), strict=True):
    ReliabilityDisplay.from_predictions(y_test, P, ax=ax)
    ax.set_title(title)
