"""
Softmax regression, slide by slide
==================================

A classifier for more than two classes, from labels to a machine that reads handwritten digits. Each statement of the
lecture is computed here. Run this file, or read it with its pictures.
"""

# %%
# One-hot labels
# --------------
#
# Three examples of two classes have the labels 0, 1, 0. Classes have no order and no distance, so a label becomes a row
# of zeros with a single 1.

import matplotlib.pyplot as plt
import numpy as np

import fastsoftmax as fs
from fastsoftmax.report import TopLossesDisplay, WeightsDisplay

labels = [0, 1, 0]
print(fs.one_hot(labels))

# %%
# Probabilities, and how wrong they are
# -------------------------------------
#
# A classifier says how probable each class is; these rows sum to 1. The cross-entropy of a prediction is -log of the
# probability that the true class got: nothing for certainty, more and more as it was thought impossible.

predictions = np.array([[0.93, 0.07], [0.4, 0.6], [0.99, 0.01]])
loss = fs.cross_entropy(np.log(predictions), labels, reduction="sum")
print(f"rows sum to {predictions.sum(1)}; f_CE = {loss:.5f}")

p = np.linspace(0.005, 1, 200)
figure, ax = plt.subplots(layout="constrained")
ax.plot(p, -np.log(p))
for given in (0.93, 0.6, 0.99):
    ax.plot(given, -np.log(given), "o", color="tab:orange")
ax.set(xlabel="probability of the true class", ylabel="cross-entropy", title="The three predictions")

# %%
# Two classes: logistic regression
# --------------------------------
#
# For two classes this is the loss of logistic regression, and its sigmoid is the second entry of softmax((0, z)).

z, y = np.array([0.3, -1.2, 2.0]), np.array([1, 0, 1])
sigma = 1 / (1 + np.exp(-z))
f_log = float((-y * np.log(sigma) - (1 - y) * np.log(1 - sigma)).sum())
two = np.stack([np.zeros(3), z], 1)
print(f"f_log = {f_log:.6f}, f_CE = {fs.cross_entropy(two, y, reduction='sum'):.6f}")
print(f"sigma(z) = {sigma.round(6)}, of softmax {fs.softmax(two)[:, 1].round(6)}")

# %%
# The model
# ---------
#
# Each class has a weight vector. An example's logits are its products with them; the softmax exponentiates the logits
# and divides by their sum. With m = 2 features and c = 3 classes:

W, x = np.array([[-2.5, 1.0, 1.0], [-1.0, 2.0, 0.0]]), np.array([-1.0, 1.0])
z = W.T @ x
print(f"z = W'x = {z}, y_hat = softmax(z) = {fs.softmax(z).round(3)}: class {fs.softmax(z).argmax() + 1} wins")

grid = np.stack(np.meshgrid(np.linspace(-3, 3, 200), np.linspace(-3, 3, 200)), -1)
P = fs.softmax(grid @ W)
figure, ax = plt.subplots(layout="constrained")
ax.contourf(grid[..., 0], grid[..., 1], P.argmax(-1), levels=[-0.5, 0.5, 1.5, 2.5], alpha=0.3)
ax.contour(grid[..., 0], grid[..., 1], P.max(-1), levels=[0.5, 0.7, 0.9, 0.99], colors="gray")
ax.plot(*x, "k*", markersize=12)
ax.set(xlabel="x1", ylabel="x2", title="The three classes, and lines of probability 0.5, 0.7, 0.9, 0.99")

# %%
# All examples at once: with examples in columns, Z = W'X.

X = np.array([[-1.0, 0.5, 2.0], [1.0, 0.0, -1.0]])
print(fs.softmax(W.T @ X, axis=0).round(3))

# %%
# The gradient
# ------------
#
# Of the mean cross-entropy it is (1/n) X (Y_hat - Y), examples in columns: what is said less what is true, times the
# features. The fused pass gives loss and gradient at once, here with examples in rows.

rng = np.random.default_rng(0)
X, y, coef = rng.standard_normal((60, 4)), rng.integers(0, 3, 60), rng.standard_normal((3, 4))
loss, G, _ = fs.loss_gradient(X, y, coef)
formula = X.T @ (fs.predict_proba(X, coef) - fs.one_hot(y, 3)) / 60
step = np.zeros((3, 4))
step[1, 2] = 1e-6
slope = (fs.loss_gradient(X, y, coef + step)[0] - fs.loss_gradient(X, y, coef - step)[0]) / 2e-6
print(f"loss {loss:.4f}; largest difference from the formula {np.abs(G.T - formula).max():.1e}")
print(f"one entry {G[1, 2]:.8f}, by finite differences {slope:.8f}")

# %%
# Gradient descent
# ----------------
#
# A step against the gradient, on all c weight vectors, lowers the loss.

losses = []
for _ in range(30):
    loss, G, _ = fs.loss_gradient(X, y, coef)
    losses.append(loss)
    coef = coef - 0.5 * G
figure, ax = plt.subplots(layout="constrained")
ax.plot(losses, "o-")
ax.set(xlabel="step", ylabel="f_CE", title="Gradient descent")

# %%
# The demo: handwritten digits
# ----------------------------
#
# 60 000 images of 28 x 28 pixels to learn from, and 10 000 to be tested on. They come with the package.

X, y, X_test, y_test = fs.datasets.load_mnist()
figure, axes = plt.subplots(2, 8, figsize=(8, 2.4), layout="constrained")
for ax, image, digit in zip(axes.flat, X, y, strict=False):
    ax.imshow(image.reshape(28, 28), cmap="gray_r")
    ax.set(title=str(digit), xticks=[], yticks=[])

# %%
# Mini-batch descent takes a step after each 64 images. Five passes over the data are enough.

trainer = fs.Trainer(epochs=5, learning_rate=0.3, scale=1 / 255, fit_intercept=False)
model = trainer.fit(X, y)
for record in trainer.history:
    print(f"epoch {record['epoch']}: f_CE = {record['loss']:.4f}")
print(f"test accuracy {model.score(X_test, y_test):.4f}")

# %%
# What each weight vector looks for: red pixels speak for a digit, blue ones against it.

WeightsDisplay.from_estimator(model)

# %%
# And where it fails:

display = TopLossesDisplay.from_estimator(model, X_test, y_test, rows=12)

# %%
# How to go on
# ------------
#
# ``fastsoftmax train --save digits`` trains from the command line, ``fastsoftmax report digits`` writes a page on which
# one can draw a digit and watch the softmax move. The how-to scripts do more with the same few functions.
