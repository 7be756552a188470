"""DaskSoftmaxRegression: the optimum over the partitions of a cluster."""

import os
from typing import Any

from numpy.typing import NDArray

from fastsoftmax.dask.cluster import Tasks, client_of
from fastsoftmax.dask.estimator import OnCluster
from fastsoftmax.dask.objective import ClusterTargets
from fastsoftmax.dask.partitions import checked
from fastsoftmax.estimators.base import checking_parameters
from fastsoftmax.estimators.regression import SoftmaxRegression

Array = NDArray[Any]


class ClusterLabels:
    """The classes, and what all targets say, as `Fit` asks for them."""

    soft = False

    def __init__(self, classes: Array, targets: ClusterTargets) -> None:
        self.classes, self._targets = classes, targets

    def targets(self, *arguments: Any) -> ClusterTargets:
        """Made already: class weights and smoothing are in them."""
        return self._targets


class DaskSoftmaxRegression(OnCluster, SoftmaxRegression):
    """`SoftmaxRegression` over data that lie on a Dask cluster: the same optimum, with the same proof.

    Parameters, attributes and meaning are those of `SoftmaxRegression`; `to_local` returns one.

    Parameters
    ----------
    client : distributed.Client, optional
        By default the current one.
    **parameters
        Of `SoftmaxRegression`.

    Notes
    -----
    Data stay where they are: partitions are persisted, X and y of one together, and a step is a task a worker, over the
    partitions that it has, as many at once as it has threads; a worker that has far more than its share gives some away
    at the start. Weights go out once a step, gradients come back summed along a tree over partitions by their numbers,
    so that the same partitions give the same bytes on any number of workers, and those of a local fit of `Parts` with
    the same pieces (with balanced classes and weights that are no integers, but for rounding). Have at least as many
    partitions as threads. If a worker dies, Dask makes its partitions again elsewhere, and the step repeats. Samples of
    at most 64 MB come to the client.

    Examples
    --------
    >>> import dask.array as da
    >>> from distributed import Client
    >>> from fastsoftmax.dask import DaskSoftmaxRegression
    >>> client = Client(processes=False, dashboard_address=None)
    >>> X = da.random.default_rng(0).standard_normal((1000, 4), chunks=(250, 4))
    >>> y = (X[:, 0] > 0).astype(int)
    >>> model = DaskSoftmaxRegression().fit(X, y)
    >>> model.score(X, y) > 0.95
    True
    >>> client.shutdown()
    """

    _local = SoftmaxRegression

    @checking_parameters
    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        classes: Any = None,
        *,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> "DaskSoftmaxRegression":
        """Fit to the optimum.

        Parameters
        ----------
        X : dask array of shape (n, m), dask frame, or Parts
            Chunks are dense or scipy CSR, of any dtype that `SoftmaxRegression` takes; of columns of numbers. Chunk
            sizes may be unknown. Parts are read on the workers, which must see their files.
        y : dask array or series of shape (n,), or array of probabilities (n, c)
            With the borders of X where sizes are unknown. Parts have their own.
        sample_weight : dask array or series of shape (n,), optional
        classes : array-like of shape (c,), optional
            All labels that there are; else they are found in the first pass.
        checkpoint : path-like, optional
            As for `SoftmaxRegression.fit`: of the client, which may die and go on.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If there is no client, or something is wrong with the data; the message names the partition.
        TypeError
            If X is no dask collection.
        """
        penalty = self._check_parameters()
        with self._unchanged_if_refused(), Tasks(client_of(self.client)) as jobs:
            rows, targets, known = checked(
                jobs, X, y, sample_weight, classes, class_weight=self.class_weight, smoothing=self.label_smoothing,
                double=True, bundled=True,
            )  # fmt: skip
            self._features(rows, reset=True)
            outcome = self._solve(rows, ClusterLabels(known, targets), None, penalty, checkpoint)
        if not outcome.converged:
            self._warn(outcome)
        return self
