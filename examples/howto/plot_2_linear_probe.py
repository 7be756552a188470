"""
A linear probe on embeddings
============================

How good are the features of a frozen network? Train a linear classifier on them. Two protocols are in use: CLIP's fits
logistic regression to its optimum and searches the strength of the penalty; DINO's trains by SGD for many learning
rates and keeps the best. Both are a few lines.
"""

# %%
# Embeddings come from your network; here from one that was never trained: random patches, rectified and pooled, of
# 3000 images of MNIST. 900 features, in float16 as embeddings are often stored, which is read as it is.

import matplotlib.pyplot as plt
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

import fastsoftmax as fs
from fastsoftmax.report import PathDisplay

rng = np.random.default_rng(0)
images, labels, test_images, test_labels = fs.datasets.load_mnist()
filters = rng.standard_normal((36, 36)).astype(np.float32) / 6


def embed(images):
    """Responses of 36 filters of 6 x 6 pixels, rectified, the mean over a grid of 5 x 5."""
    patches = sliding_window_view(images.reshape(-1, 28, 28) / np.float32(255), (6, 6), axis=(1, 2))[:, ::2, ::2]
    responses = np.maximum(patches[:, :10, :10].reshape(-1, 10, 10, 36) @ filters, 0)
    return responses.reshape(-1, 5, 2, 5, 2, 36).mean((2, 4)).reshape(len(images), -1).astype(np.float16)


X, y = embed(images[:2000]), labels[:2000]
X_val, y_val = embed(images[2000:3000]), labels[2000:3000]
X_test, y_test = embed(test_images[:2000]), test_labels[:2000]
print(X.shape, X.dtype)

# %%
# CLIP's protocol (Radford et al. 2021, appendix A.3): L2-penalised logistic regression to its optimum. Seven strengths,
# then half way between the best and its neighbours, on validation data; the best one is fitted to all rows.

found = fs.path(X, y, X_val=X_val, y_val=y_val, search="peak", refit=True)
print(f"{len(found.Cs)} strengths, best C = {found.best_C:.3g}")
print(f"CLIP's protocol: test accuracy {found.model.score(X_test, y_test):.4f}")

# %%
# DINO's protocol (Caron et al. 2021, appendix): SGD with momentum and a cosine schedule, no penalty, over a grid of
# learning rates; the one that is best on validation data is kept. Epochs cost little: use as many as the paper does.

models = {}
for rate in (0.03, 0.1, 0.3, 1.0):
    trainer = fs.Trainer(epochs=50, batch_size=128, learning_rate=rate, momentum=0.9, schedule="cosine", progress=False)
    models[rate] = trainer.fit(X, y)
scores = {rate: model.score(X_val, y_val) for rate, model in models.items()}
best = max(scores, key=scores.get)
print(f"DINO's protocol: rate {best}, test accuracy {models[best].score(X_test, y_test):.4f}")

# %%
# Both curves. Few-shot probes of 1, 2, 4 ... rows a class are the same call on fewer rows.

figure, (left, right) = plt.subplots(1, 2, figsize=(9, 4), layout="constrained")
left.semilogx(found.Cs, found.scores, "o-")
left.set(xlabel="C", ylabel="accuracy on validation data", title="CLIP's search")
right.semilogx(list(scores), list(scores.values()), "o-")
right.set(xlabel="learning rate", title="DINO's grid")

# %%
# All strengths, with their coefficients:

display = PathDisplay.from_path(found)
