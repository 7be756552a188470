"""DaskSoftmaxSGDClassifier: mini-batch descent over the partitions of a cluster."""

from typing import Any

from numpy.typing import NDArray

from fastsoftmax.dask.cluster import Tasks, client_of
from fastsoftmax.dask.estimator import OnCluster
from fastsoftmax.dask.partitions import checked
from fastsoftmax.dask.steps import OnWorkers
from fastsoftmax.estimators.base import checking_parameters
from fastsoftmax.estimators.sgd import Given, SoftmaxSGDClassifier
from fastsoftmax.training.sources import SHUFFLE_BYTES

Array = NDArray[Any]


class DaskSoftmaxSGDClassifier(OnCluster, SoftmaxSGDClassifier):
    """`SoftmaxSGDClassifier` over data that lie on a Dask cluster: more rows than one machine holds.

    Parameters, attributes and meaning are those of `SoftmaxSGDClassifier`; `to_local` returns one.

    Parameters
    ----------
    client : distributed.Client, optional
        By default the current one.
    **parameters
        Of `SoftmaxSGDClassifier`.

    Notes
    -----
    Steps of mini-batches follow one another, so at any time one worker trains, with all of its threads: a cluster gives
    room, not speed. `DaskSoftmaxRegression` uses all workers at once, and is often done sooner.

    Data stay where they are. An epoch is a chain of tasks over the partitions in a new random order; weights, moments,
    and rows that do not fill a batch go from worker to worker. Small partitions come together, up to 256 MB at a time,
    and what takes no more than 512 MB altogether is brought to one worker once. Rows are shuffled within what is
    together: where partitions are sorted, as by class, shuffle them first. The same partitions give the same bytes on
    any number of workers, and those of a local fit of `Parts` of the same pieces that are read wholly, such as
    functions and Parquet files (but for rounding, of balanced classes and weights that are no integers, and of a
    learning rate of "auto" where rows weigh nothing). If a worker dies, Dask makes its partitions again elsewhere, and
    the epoch repeats from its start. Ctrl-C leaves the weights of the last epoch. With `early_stopping` rows are copied
    once, where they are.

    Examples
    --------
    >>> import dask.array as da
    >>> from distributed import Client
    >>> from fastsoftmax.dask import DaskSoftmaxSGDClassifier
    >>> client = Client(processes=False, dashboard_address=None)
    >>> X = da.random.default_rng(0).standard_normal((1000, 4), chunks=(250, 4))
    >>> y = (X[:, 0] > 0).astype(int)
    >>> model = DaskSoftmaxSGDClassifier(random_state=0).fit(X, y)
    >>> model.score(X, y) > 0.95
    True
    >>> client.shutdown()
    """

    _local = SoftmaxSGDClassifier

    @checking_parameters
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None, classes: Any = None) -> "DaskSoftmaxSGDClassifier":
        """Train from weights of 0, or with warm_start from where the last call ended.

        Parameters
        ----------
        X : dask array of shape (n, m), dask frame, or Parts
            As for `DaskSoftmaxRegression.fit`.
        y : dask array or series of shape (n,), or array of probabilities (n, c)
            Parts have their own.
        sample_weight : dask array or series of shape (n,), optional
        classes : array-like of shape (c,), optional
            All labels that there are; else they are found in the first pass.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If there is no client, or something is wrong with a parameter or the data; the message names the partition.
        TypeError
            If X is no dask collection.
        FloatingPointError
            If the loss is no longer finite: learning_rate is too large.
        """
        with self._unchanged_if_refused():
            self._fit(X, y, sample_weight, classes)
        return self

    def _given(self, X: Any, y: Any, sample_weight: Any, classes: Any, reset: bool) -> Given:
        with Tasks(client_of(self.client)) as jobs:
            rows, targets, known = checked(
                jobs, X, y, sample_weight, classes, class_weight=self.class_weight, smoothing=self.label_smoothing,
                double=False, bundled=False,
            )  # fmt: skip
            self._features(rows, reset)
            return Given(OnWorkers.of(rows, targets, SHUFFLE_BYTES), known, rows.stored_dtype)

    def _train(self, given: Given, *arguments: Any) -> None:
        source = given.source
        assert isinstance(source, OnWorkers)
        with source.held.tasks:
            super()._train(given, *arguments)
