"""Predictions of collections: lazy, of the same chunks; each chunk by the local estimator."""

from typing import Any

import numpy as np
from dask.delayed import delayed

from fastsoftmax.dask.cluster import pieces_of
from fastsoftmax.engine import threads


def _predicted(X: Any, local: Any, name: str) -> Any:
    """What a method of the local estimator returns for a chunk."""
    if X.shape[0] == 0:
        return getattr(local, name)(np.zeros((1, X.shape[1])))[:0]
    with threads.serially():
        return getattr(local, name)(X)


def lazily(estimator: Any, X: Any, name: str, dtype: Any, columns: int | None) -> Any:
    """A dask array of what a method of the estimator returns."""
    local = delayed(estimator.to_local(), pure=True)
    if not hasattr(X, "chunks"):
        meta = np.zeros((0,) if columns is None else (0, columns), dtype)
        return X.map_partitions(_predicted, local, name, meta=meta)
    X = X.rechunk({1: -1}) if len(X.chunks[1]) > 1 else X
    options: dict[str, Any] = {"drop_axis": 1} if columns is None else {"chunks": (X.chunks[0], (columns,))}
    meta = np.zeros((0,) if columns is None else (0, 0), dtype)
    return X.map_blocks(_predicted, local, name, dtype=dtype, meta=meta, **options)


def share_right(estimator: Any, client: Any, X: Any, y: Any, sample_weight: Any) -> float:
    """The accuracy, partition by partition."""
    local = estimator.to_local()
    count = delayed(_right, pure=False)
    shared = delayed(local, pure=True)
    pairs = client.gather(client.compute([count(raw, shared) for raw in pieces_of(X, y, sample_weight)]))
    right, total = (float(sum(column)) for column in zip(*pairs, strict=True))
    if not total > 0:
        raise ValueError("there is nothing to score: there are no rows, or all weights are 0")
    return right / total


def _right(raw: Any, local: Any) -> tuple[float, float]:
    """(the weight of rows that are predicted right, of all)"""
    if raw.X.shape[0] == 0:
        return 0.0, 0.0
    with threads.serially():
        hits = local.predict(raw.X) == raw.y
    weight = np.ones(len(hits)) if raw.weight is None else raw.weight
    return float(weight[hits].sum()), float(weight.sum())
