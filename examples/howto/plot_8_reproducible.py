"""
Reproducible training
=====================

The same settings, data and seed give the same bytes: on any number of threads, and on any CPU.
"""

# %%
# The SHA-256 of a model's weights is what a run repeats.

import contextlib
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

import fastsoftmax as fs

X, y, X_test, y_test = fs.datasets.load_mnist()
settings = {"epochs": 2, "optimizer": "adam", "learning_rate": 0.003, "scale": 1 / 255, "progress": False}
hashes = set()
most = fs.get_num_threads()
for threads in {1, most}:
    fs.set_num_threads(threads)
    model = fs.Trainer(seed=0, **settings).fit(X, y)
    hashes.add(model.sha256())
    print(threads, "threads:", model.sha256())
fs.set_num_threads(most)
assert len(hashes) == 1

# %%
# A run that was killed goes on from its checkpoint, to the same bytes. Here one dies after the second of four epochs.

path = Path(tempfile.mkdtemp()) / "run"
settings["epochs"] = 4
whole = fs.Trainer(**settings).fit(X, y)


def power_cut(record):
    if record["epoch"] == 2:
        raise OSError("the lights went out")


with contextlib.suppress(OSError):
    fs.Trainer(**settings).fit(X, y, checkpoint=path, callbacks=[power_cut])
resumed = fs.Trainer(**settings).fit(X, y, checkpoint=path)
print(resumed.sha256() == whole.sha256())

# %%
# How much of a result is the seed's? Other seeds shuffle otherwise; the spread is what one run cannot tell.

scores = []
for seed in range(12):
    model = fs.Trainer(seed=seed, **settings).fit(X, y)
    scores.append(model.score(X_test, y_test))
print(f"test accuracy {np.mean(scores):.4f}, from seed to seed {np.std(scores):.4f}")

figure, ax = plt.subplots(layout="constrained")
ax.plot(scores, "o")
ax.axhline(np.mean(scores), color="gray")
ax.set(xlabel="seed", ylabel="test accuracy", title="Twelve seeds of the same training")
