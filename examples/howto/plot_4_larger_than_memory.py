"""
Data larger than memory
=======================

:class:`fastsoftmax.Parts` are rows in pieces: files, tables, or functions that return arrays. A fit reads them once a
pass, the next one while it computes with the last, and ends with the same proof as in memory.
"""

# %%
# Six files of 10 000 images each; think of hundreds, of gigabytes.

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import fastsoftmax as fs

X, y, X_test, y_test = fs.datasets.load_mnist()
folder = Path(tempfile.mkdtemp())
for i in range(6):
    rows = slice(10_000 * i, 10_000 * (i + 1))
    np.save(folder / f"X{i}.npy", X[rows])
parts = fs.Parts.from_npy(folder, y=y)  # also from_parquet, from_csv, from_arrow, from_slices, or a list of functions

# %%
# A fit to the optimum. With ``checkpoint=`` it can be killed, and goes on from there, to the same bytes. C is for the
# raw pixels: 0.01 for pixels from 0 to 1 is 0.01 / 255**2 for these.

model = fs.SoftmaxRegression(C=0.01 / 255**2).fit(parts, checkpoint=folder / "fit.checkpoint")
print(f"gap {model.duality_gap_:.1e}, test accuracy {model.score(X_test, y_test):.4f}")

# %%
# Mini-batch descent shuffles within windows of ``shuffle_bytes``, made of spans from all over the files. Here a quarter
# of the data is in memory at once, beside all of it.

settings = {"epochs": 8, "optimizer": "adam", "learning_rate": 0.003, "schedule": "one_cycle", "progress": False}
curves = {}
for name, budget in (("in memory", 512 << 20), ("a quarter at once", X.nbytes // 4)):
    trainer = fs.Trainer(scale=1 / 255, shuffle_bytes=budget, **settings)
    trained = trainer.fit(parts, validation=(X_test, y_test))
    curves[name] = [record["validation_loss"] for record in trainer.history]
    print(f"{name}: test accuracy {trained.score(X_test, y_test):.4f}")

# %%
# The optimum of the penalised fit, and the two ways there:

figure, ax = plt.subplots(layout="constrained")
for name, losses in curves.items():
    ax.plot(range(1, 9), losses, "o-", label=f"Trainer, {name}")
ax.set(xlabel="epoch", ylabel="loss on rows held out", title="MNIST from six files")
ax.legend()
