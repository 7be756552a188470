"""DaskSoftmaxRegression: the optimum over the partitions of a cluster."""

import copy
import functools
import inspect
import os
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsoftmax.dask import tasks
from fastsoftmax.dask.cluster import Tasks, client_of, is_collection, pieces_of
from fastsoftmax.dask.objective import ClusterRows, ClusterTargets
from fastsoftmax.dask.predictions import lazily, share_right
from fastsoftmax.data.feature_names import as_names
from fastsoftmax.data.parted_rows import compare
from fastsoftmax.data.pieces import PartError
from fastsoftmax.estimators.base import checking_parameters
from fastsoftmax.estimators.regression import SoftmaxRegression

Array = NDArray[Any]
OWN = ("client",)


class ClusterLabels:
    """The classes, and what all targets say, as `Fit` asks for them."""

    soft = False

    def __init__(self, classes: Array, targets: ClusterTargets) -> None:
        self.classes, self._targets = classes, targets

    def targets(self, *arguments: Any) -> ClusterTargets:
        """Made already: class weights and smoothing are in them."""
        return self._targets


class DaskSoftmaxRegression(SoftmaxRegression):
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
    Data stay where they are: partitions are persisted, X and y of one together, and each step is a task a partition,
    on the worker that has it. Eight neighbours share a task where they are smaller than 4 MB, and are then brought
    together once, or where they lie together and such groups keep all threads busy. Weights go out once a step,
    gradients come back summed along a tree over partitions by their numbers, so that the same partitions give the same
    bytes on any number of workers, and those of a local fit of `Parts` with the same pieces (with balanced classes and
    weights that are no integers, but for rounding). A task takes one thread: have at least as many partitions as
    threads. If a worker dies, Dask makes its partitions again elsewhere, and the step repeats. Samples of the rows, of
    at most 512 MB, come to the client.

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

    def __init__(self, *, client: Any = None, **parameters: Any) -> None:
        super().__init__(**parameters)
        self.client = client

    @classmethod
    def _get_param_names(cls) -> list[str]:
        return sorted(name for name in inspect.signature(SoftmaxRegression.__init__).parameters if name != "self")

    def __sklearn_clone__(self) -> "DaskSoftmaxRegression":
        return type(self)(client=self.client, **copy.deepcopy(self.get_params(deep=False)))

    def __getstate__(self) -> Any:
        return super().__getstate__() | {"client": None}

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
        jobs = Tasks(client_of(self.client))
        with self._unchanged_if_refused():
            try:
                rows, labels = self._on_workers(jobs, X, y, sample_weight, classes)
                self.n_features_in_ = rows.m
                self.__dict__.pop("feature_names_in_", None)
                if rows.names is not None:
                    self.feature_names_in_ = as_names(rows.names)
                outcome = self._solve(rows, labels, None, penalty, checkpoint)
            except BaseException:
                jobs.cancel()
                raise
        if not outcome.converged:
            self._warn(outcome)
        return self

    def _on_workers(self, jobs: Tasks, X: Any, y: Any, weight: Any, classes: Any) -> tuple[ClusterRows, ClusterLabels]:
        """Partitions, checked in a first pass, as objectives take them."""
        raw = jobs.compute(pieces_of(jobs.client, X, y, weight))
        seen: list[tasks.Seen] = jobs.gather(jobs.each(tasks.look, raw))
        raw = [part for part, look in zip(raw, seen, strict=True) if look.n]
        looks = [look for look in seen if look.n]
        if not looks:
            raise ValueError("there are no rows: all partitions are empty")
        first = looks[0].facts
        assert first is not None
        for look in looks:
            assert look.facts is not None
            compare(look.name, look.facts, first)
        known, totals, found = _classes(looks, classes)
        shares = _class_weights(self.class_weight, known, totals, found)
        parts = jobs.each(tasks.prepare, raw, known, shares, self.label_smoothing)
        raw.clear()
        rows_there = [
            (part, size)
            for part, size in zip(parts, jobs.gather(jobs.each(tasks.measure, parts)), strict=True)
            if size[0]
        ]
        if not rows_there:
            raise ValueError("there is nothing to fit: all weights are 0")
        counts, weights, entropies, each = zip(*(size for _, size in rows_there), strict=True)
        n, total, all_rows = sum(counts), float(sum(weights)), sum(look.n for look in looks)
        rows = ClusterRows(
            jobs, [part for part, _ in rows_there], list(counts), first, looks[0].dtype, looks[0].stored_dtype,
            sum(look.pairs * look.n for look in looks) / all_rows, sum(look.bytes for look in looks) / all_rows,
        )  # fmt: skip
        targets = ClusterTargets(
            n, functools.reduce(np.add, each), total, sum(entropies) / total, self.label_smoothing,
            looks[0].classes is not None,
        )  # fmt: skip
        return rows, ClusterLabels(known, targets)

    def to_local(self) -> SoftmaxRegression:
        """The same model as a `SoftmaxRegression`, for arrays in memory.

        Returns
        -------
        SoftmaxRegression
        """
        local = SoftmaxRegression(**self.get_params(deep=False))
        local.__dict__.update({name: value for name, value in vars(self).items() if name not in OWN})
        return local

    def predict(self, X: Any) -> Any:
        """The most probable class of each row, lazily.

        Parameters
        ----------
        X : dask array or frame of shape (n, m)
            What is in memory is predicted at once; Parts are read here.

        Returns
        -------
        dask array of shape (n,)
        """
        return lazily(self, X, "predict") if is_collection(X) else super().predict(X)

    def predict_proba(self, X: Any, *, out: Any = None) -> Any:
        """The probabilities of the classes, lazily.

        Parameters
        ----------
        X : dask array or frame of shape (n, m)
        out : ndarray, optional
            For what is in memory.

        Returns
        -------
        dask array of shape (n, c)
        """
        return lazily(self, X, "predict_proba") if is_collection(X) else super().predict_proba(X, out=out)

    def predict_log_proba(self, X: Any) -> Any:
        """The logarithms of the probabilities of the classes, lazily.

        Parameters
        ----------
        X : dask array or frame of shape (n, m)

        Returns
        -------
        dask array of shape (n, c)
        """
        return lazily(self, X, "predict_log_proba") if is_collection(X) else super().predict_log_proba(X)

    def decision_function(self, X: Any) -> Any:
        """The logits of the classes, lazily.

        Parameters
        ----------
        X : dask array or frame of shape (n, m)

        Returns
        -------
        dask array of shape (n, c), or (n,) for two classes
        """
        return lazily(self, X, "decision_function") if is_collection(X) else super().decision_function(X)

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """The accuracy, computed.

        Parameters
        ----------
        X : dask array or frame of shape (n, m)
        y, sample_weight : dask array or series of shape (n,)

        Returns
        -------
        float
        """
        if not is_collection(X):
            return super().score(X, y, sample_weight)
        return share_right(self, client_of(self.client), X, y, sample_weight)


def _classes(looks: list[tasks.Seen], given: Any) -> tuple[Array, Array, int]:
    """All of them, what each weighs, and how many there are in y."""
    first = looks[0]
    for look in looks:
        if _kind(look) != _kind(first):
            raise PartError(f"{look.name} has y of {_kind(look)}, where {first.name} has {_kind(first)}")
    if first.classes is None:
        c = len(first.totals)
        return np.arange(c), functools.reduce(np.add, [look.totals for look in looks]), c
    found = np.unique(np.concatenate([look.classes for look in looks if look.classes is not None]))
    known = found if given is None else np.unique(np.asarray(given))
    strange = np.setdiff1d(found, known)
    if len(strange):
        raise ValueError(f"y has classes that `classes` lacks: {strange[:5].tolist()}")
    if len(known) < 2:
        raise ValueError(f"at least 2 classes are needed, but the data contain only one: {known.tolist()}")
    totals = np.zeros(len(known))
    for look in looks:
        if look.classes is not None:
            totals[np.searchsorted(known, look.classes)] += look.totals
    return known, totals, len(found)


def _kind(look: tasks.Seen) -> str:
    """Of y."""
    if look.classes is None:
        return f"probabilities of {len(look.totals)} classes"
    return "text" if look.classes.dtype.kind in "US" else "numbers"


def _class_weights(given: Any, classes: Array, totals: Array, found: int) -> Array | None:
    """One for each class, by what all rows weigh."""
    if given is None:
        return None
    if isinstance(given, str):  # "balanced"
        return np.where(totals > 0, totals.sum() / (found * np.where(totals > 0, totals, 1)), 0.0)
    weights = np.array([float(given.get(label, 1.0)) for label in classes.tolist()])
    if not (np.isfinite(weights) & (weights >= 0)).all():
        raise ValueError(f"class_weight must be finite numbers that are not negative, got {given!r}")
    return weights
