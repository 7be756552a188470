"""Predictions of collections: lazy, of the same chunks; each chunk by the local estimator."""

from typing import Any

import numpy as np
from dask.delayed import delayed

from fastsoftmax.dask.cluster import Tasks, pieces_of
from fastsoftmax.engine import threads
from fastsoftmax.estimators.rows import check_features


def _predicted(X: Any, local: Any, name: str, empty: Any) -> Any:
    """What a method of the local estimator returns for a chunk."""
    if X.shape[0] == 0:
        return empty
    with threads.serially():
        return np.asarray(getattr(local, name)(X), empty.dtype)


def lazily(estimator: Any, X: Any, name: str) -> Any:
    """A dask array of what a method of the estimator returns; a row like those of X says now whether it can."""
    local = estimator.to_local()
    frame = not hasattr(X, "chunks")
    row = X._meta_nonempty if frame else np.zeros((1, X.shape[1]), X.dtype)
    empty = getattr(local, name)(row)[:0]
    shared = delayed(local, pure=True)
    if frame:
        return X.map_partitions(_predicted, shared, name, empty, meta=empty)
    X = X.rechunk({1: -1}) if len(X.chunks[1]) > 1 else X
    shape: dict[str, Any] = {"drop_axis": 1} if empty.ndim == 1 else {"chunks": (X.chunks[0], empty.shape[1:])}
    return X.map_blocks(_predicted, shared, name, empty, dtype=empty.dtype, meta=empty, **shape)


def share_right(estimator: Any, client: Any, X: Any, y: Any, sample_weight: Any) -> float:
    """The accuracy, partition by partition."""
    count, shared = delayed(_right, pure=False), delayed(estimator.to_local(), pure=True)
    with Tasks(client) as jobs:
        pairs = jobs.gather(jobs.compute([count(raw, shared) for raw in pieces_of(client, X, y, sample_weight)]))
    right, total = (float(sum(column)) for column in zip(*pairs, strict=True))
    if not total > 0:
        raise ValueError("there is nothing to score: there are no rows, or all weights are 0")
    return right / total


def _right(raw: Any, local: Any) -> tuple[float, float]:
    """(the weight of rows that are predicted right, of all)"""
    if raw.design is None:
        return 0.0, 0.0
    if raw.y.ndim != 1 or (raw.y.dtype.kind in "OUS") != (local.classes_.dtype.kind in "OUS"):
        raise ValueError(
            f"{raw.name} has y of dtype {raw.y.dtype} and shape {raw.y.shape}, where labels like classes_, of dtype "
            f"{local.classes_.dtype}, are expected"
        )
    known = getattr(local, "feature_names_in_", None)
    own = None if known is None else raw.facts.names or known.tolist()  # where one has no names it would warn, here
    check_features(local, raw.design.m, own)
    with threads.serially():
        hits = local.predict(raw.design) == raw.y
    weight = np.ones(len(hits)) if raw.weight is None else raw.weight
    return float(weight[hits].sum()), float(weight.sum())
