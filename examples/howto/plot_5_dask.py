"""
Data on a cluster
=================

:class:`fastsoftmax.dask.DaskSoftmaxRegression` fits the partitions of a Dask cluster where they lie: the same optimum,
with the same proof, and the same bytes on any number of workers.
"""

# %%
# A cluster within this process; ``Client("tcp://...")`` for a real one.

import dask.array as da
import matplotlib.pyplot as plt
from dask.distributed import Client

from fastsoftmax.dask import DaskSoftmaxRegression

client = Client(n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None)

# %%
# Rows that exist on the workers alone, in ten partitions.

X = da.random.default_rng(0).standard_normal((100_000, 20), chunks=(10_000, 20))
y = (X[:, 0] + 0.5 * X[:, 1] > 0).astype(int) + (X[:, 2] > 1)
model = DaskSoftmaxRegression(C=0.001).fit(X, y)
print(f"gap {model.duality_gap_:.1e}, {model.n_iter_[0]} iterations")
print(f"accuracy {model.score(X, y):.4f}")

# %%
# Predictions are lazy:

said = model.predict_proba(X)
print(said)

# %%
# What each class looks for, among the twenty features:

figure, ax = plt.subplots(figsize=(7, 3), layout="constrained")
picture = ax.imshow(model.coef_, cmap="RdBu_r", vmin=-abs(model.coef_).max(), vmax=abs(model.coef_).max())
ax.set(xlabel="feature", ylabel="class", yticks=range(len(model.classes_)), title="Coefficients")
figure.colorbar(picture)
client.close()
