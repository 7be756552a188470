"""Partitions of a collection, checked in a first pass, as fits take them."""

import functools
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import compute_class_weight

from fastsoftmax.dask import tasks
from fastsoftmax.dask.cluster import Tasks, pieces_of
from fastsoftmax.dask.groups import Group, groups_of
from fastsoftmax.dask.objective import ClusterRows, ClusterTargets, Kind, measured, numbered
from fastsoftmax.data.parted_rows import compare
from fastsoftmax.data.pieces import PartError

Array = NDArray[Any]


class Checked(NamedTuple):
    """Rows, what they should be, and which classes there are."""

    rows: ClusterRows
    targets: ClusterTargets
    classes: Array


def checked(
    jobs: Tasks,
    X: Any,
    y: Any,
    sample_weight: Any,
    classes: Any,
    *,
    class_weight: Any,
    smoothing: float,
    double: bool,
    bundled: bool,
) -> Checked:
    """Partitions on the workers, without rows that weigh nothing.

    Parameters
    ----------
    jobs : Tasks
    X, y, sample_weight : as `DaskSoftmaxRegression.fit` takes them
    classes : array-like of shape (c,), optional
        All labels that there are; else they are found.
    class_weight, smoothing
        Parameters of the estimator.
    double : bool
        Whether probabilities become float64, whatever X is computed in.
    bundled : bool
        Whether a task takes all partitions of a worker, or one.
    """
    bundles, members = _bundled(jobs, jobs.compute(pieces_of(jobs.client, X, y, sample_weight)), bundled)
    seen = numbered(members, jobs.gather(jobs.each(tasks.look, bundles)))
    looks: list[tasks.Seen] = [look for look in seen.values() if look.n]
    if not looks:
        raise ValueError("there are no rows: all partitions are empty")
    first = looks[0]
    assert first.facts is not None
    for look in looks:
        assert look.facts is not None
        compare(look.name, look.facts, first.facts)
        if look.weighted != first.weighted:
            without, other = (look, first) if first.weighted else (first, look)
            raise PartError(f"{without.name} has no weights, but {other.name} has")
    if classes is None:
        as_objects = any(look.objects for look in looks)
    else:
        classes, as_objects = _named(classes)
    known, totals, found = _classes(looks, classes)
    shares, dtype = _class_weights(class_weight, known, totals, found), np.float64 if double else first.dtype
    bundles = jobs.each(tasks.prepare, bundles, tasks.How(known, shares, smoothing, dtype))
    n, pairs, size = (sum(column) for column in zip(*((k.n, k.pairs * k.n, k.bytes) for k in looks), strict=True))
    labelled, weighted = first.classes is not None, first.weighted or class_weight is not None
    kind = Kind(first.facts, first.dtype, first.stored_dtype, labelled, smoothing, weighted, n, pairs / n, size / n)
    together = measured(jobs, bundles, members, kind)
    if together is None:
        raise ValueError("there is nothing to fit: all weights are 0")
    return Checked(*together, known.astype(object) if as_objects else known)


def _named(classes: Any) -> tuple[Array, bool]:
    """Classes that were given, sorted, and whether they are strings that came as objects."""
    found = np.asarray(classes)
    if found.ndim != 1:
        raise ValueError(f"classes must be of shape (c,), got {found.shape}")
    texts = [isinstance(label, str) for label in classes]
    if any(texts) != all(texts):
        raise TypeError(f"classes must be all numbers or all strings, got {found.tolist()[:5]}")
    if found.dtype.kind != "O":
        return np.unique(found), False
    return np.unique(np.array(found.tolist())), all(texts)


def _bundled(jobs: Tasks, raw: list[Any], together: bool) -> tuple[list[Any], list[list[int]]]:
    """Tuples of partitions, one a worker, or one a partition; and the numbers of those of each."""
    jobs.settle(raw)
    groups = [Group(None, [i]) for i in range(len(raw))]
    if together:
        having, sizes = jobs.client.who_has(raw), jobs.client.nbytes([part.key for part in raw], summary=False)
        groups = groups_of(
            [sizes.get(part.key, 0) for part in raw], [having.get(part.key, ()) for part in raw], jobs.client.nthreads()
        )
    bundles = [jobs.submit(tasks.bundle, *(raw[i] for i in own), worker=worker) for worker, own in groups]
    return bundles, [own for _, own in groups]


def _classes(looks: list[tasks.Seen], given: Any) -> tuple[Array, Array, int]:
    """All of them, what each weighs, and how many there are in y."""
    first = looks[0]
    for look in looks:
        if _kind(look) != _kind(first):
            raise PartError(f"{look.name} has y of {_kind(look)}, where {first.name} has {_kind(first)}")
    if first.classes is None:
        c = len(first.totals)
        known, totals = np.arange(c), functools.reduce(np.add, [look.totals for look in looks])
        if given is not None and not np.array_equal(given, known):
            raise ValueError(f"y has probabilities of {c} classes, where `classes` names {given.tolist()}")
        return known, totals, int((totals > 0).sum())
    whole = {look.classes.dtype for look in looks if look.classes is not None and look.classes.dtype.kind in "iu"}
    if whole and np.result_type(*whole).kind == "f":
        raise PartError(f"partitions have y of different kinds: {', '.join(sorted(map(str, whole)))}")
    found = np.unique(np.concatenate([look.classes for look in looks if look.classes is not None]))
    known = found if given is None else given
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
    weights = np.asarray(compute_class_weight(dict(given), classes=classes, y=classes), np.float64)
    if not (np.isfinite(weights) & (weights >= 0)).all():
        raise ValueError(f"class_weight must be finite numbers that are not negative, got {given!r}")
    return weights
