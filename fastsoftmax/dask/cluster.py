"""Partitions on a cluster, and the tasks over them: each stays with the worker that has it."""

import contextlib
import itertools
import secrets
import weakref
from collections.abc import Callable, Sequence
from typing import Any

import dask
import numpy as np
from dask.delayed import Delayed, delayed
from distributed import Client, Future, get_client, get_worker, wait

from fastsoftmax.dask import tasks
from fastsoftmax.data.parts import Parts
from fastsoftmax.data.pieces import Given, Made, Slice, read
from fastsoftmax.objective.tree import folded

LARGE = "distributed.admin.large-graph-warning-threshold"
INLINE = 64 << 10  # bytes of arguments that go with each task
Array = np.ndarray[Any, Any]


def client_of(client: Client | None) -> Client:
    """A client that is connected.

    Raises
    ------
    ValueError
        If there is none, or it was closed.
    """
    with contextlib.suppress(ValueError):
        get_worker()
        raise RuntimeError(
            "a fit over a cluster was begun inside a task, whose worker it would wait for: call it where the client is"
        )
    if client is None:
        try:
            client = get_client()
        except ValueError as error:
            raise ValueError(
                "there is no Dask client: make one, as by client = distributed.Client(), or give one"
            ) from error
    if client.status != "running":
        raise ValueError(f"the Dask client is {client.status}: make another")
    return client


def is_collection(X: Any) -> bool:
    """Whether X is an array or a frame of Dask."""
    return hasattr(type(X), "__dask_graph__") and hasattr(type(X), "to_delayed")


def pieces_of(client: Client, X: Any, y: Any, weight: Any) -> list[Delayed]:
    """A task a partition, which makes a `Raw` of rows, labels and weights.

    Raises
    ------
    TypeError, ValueError
        If X is no collection, or the others do not go with it.
    """
    if isinstance(X, Parts):
        if y is not None or weight is not None:
            raise ValueError("Parts on a cluster have their own y and weights: make them of (X, y) or (X, y, weight)")
        return [_piece(f"part {i}", piece) for i, piece in enumerate(X.listed())]
    if not is_collection(X):
        raise TypeError(
            f"X must be a dask array or frame, or Parts, got {type(X).__name__}: the estimators of fastsoftmax itself "
            "take what is in memory"
        )
    if y is None:
        raise ValueError("y is missing: only Parts have their own")
    X = _whole_rows(X)
    given = {"y": y, "sample_weight": weight}
    others = {name: _aligned(part, X, name) for name, part in given.items() if part is not None}
    together = client.persist([X, *others.values()])  # at once: what both are made of is made, and drawn, once
    columns = [_blocks(part) for part in together]
    if len(counts := {len(column) for column in columns}) > 1:
        raise ValueError(f"X, y and sample_weight have other numbers of partitions: {sorted(counts)}")
    make = delayed(tasks.partition, pure=False)
    return [make(f"partition {i}", *parts) for i, parts in enumerate(zip(*columns, strict=True))]


def _piece(name: str, piece: Any) -> Delayed:
    if isinstance(piece, Slice) and piece.at_hand:
        piece = Given(piece.name, *piece.read(True))  # these rows alone go to a worker
    lazy = getattr(piece.function, "__self__", None) if isinstance(piece, Made) else None
    taken = lazy if isinstance(lazy, Delayed) else delayed(read, pure=False)(piece, True)
    return delayed(_of_taken, pure=False)(name, taken)


def _of_taken(name: str, taken: Any) -> tasks.Raw:
    return tasks.partition(name, *(taken if isinstance(taken, tuple) else (taken,)))


def _whole_rows(X: Any) -> Any:
    """With all columns of a row in one partition."""
    if not hasattr(X, "chunks"):
        _numbers_only(X, "X")
        return X
    if X.ndim != 2:
        raise ValueError(f"X must have 2 dimensions, (n, m), got shape {X.shape}")
    return X.rechunk({1: -1}) if len(X.chunks[1]) > 1 else X


def _blocks(part: Any) -> list[Any]:
    """Its partitions."""
    return list(np.ravel(part.to_delayed(optimize_graph=False)))


def _numbers_only(frame: Any, name: str) -> None:
    kinds = getattr(frame, "dtypes", None)
    if kinds is None or not hasattr(kinds, "items"):
        return
    for column, kind in kinds.items():
        if getattr(kind, "kind", "O") not in "biuf":
            raise TypeError(f"{name} has a column {column!r} of {kind}: encode it as numbers first, or leave it out")


def _aligned(part: Any, X: Any, name: str) -> Any:
    """y or weights with the borders of X, where these are known."""
    if not is_collection(part):
        raise TypeError(f"{name} must be a dask array or series, as X is, got {type(part).__name__}")
    theirs, ours = getattr(part, "chunks", None), getattr(X, "chunks", None)
    if theirs is None:
        return part
    if len(theirs) == 2 and len(theirs[1]) > 1:
        part = part.rechunk({1: -1})
    if ours is None or any(np.isnan(size) for size in itertools.chain(theirs[0], ours[0])):
        return part
    if sum(theirs[0]) != sum(ours[0]):
        raise ValueError(f"X has {sum(ours[0])} rows, {name} has {sum(theirs[0])}")
    return part if theirs[0] == ours[0] else part.rechunk({0: ours[0]})


def grouped(items: list[Any], each: int) -> list[list[Any]]:
    """By so many."""
    return [items[k : k + each] for k in range(0, len(items), each)]


class Tasks:
    """Tasks over futures, with names that the dashboard shows, and keys that are never used twice.

    As a context, it leaves none of them on the workers after an error.
    """

    def __init__(self, client: Client) -> None:
        self.client, self.token, self.count = client, secrets.token_hex(4), itertools.count()
        self.futures: weakref.WeakSet[Future] = weakref.WeakSet()
        self.last: list[Future] = []

    def __enter__(self) -> "Tasks":
        return self

    def __exit__(self, kind: Any, *error: object) -> None:
        if kind is not None:
            self.cancel()

    def submit(
        self, function: Callable[..., Any], *arguments: Any, name: str | None = None, worker: str | None = None
    ) -> Future:
        """A task of its own; worker: where it is run, if that is there."""
        key, where = f"{name or function.__name__}-{self.token}-{next(self.count)}", {}
        if worker is not None:
            where = {"workers": [worker], "allow_other_workers": True}
        future = self.client.submit(function, *arguments, key=key, **where)
        self.futures.add(future)
        return future

    def compute(self, lazy: list[Delayed]) -> list[Future]:
        """Of tasks that are made already."""
        futures: list[Future] = self.client.compute(lazy)
        self.futures.update(futures)
        return futures

    def gather(self, futures: list[Future]) -> list[Any]:
        """What they are; of errors the first by order, whichever came first."""
        self.last = futures  # of the last call, until now: a client sends once in 10 ms, and a release would be first
        try:
            return list(self.client.gather(futures, direct=True))
        except Exception:
            self.settle(futures)
            raise

    def settle(self, futures: list[Future]) -> None:
        """Wait for all of them; of errors raise the first by order."""
        with self.client.as_current():  # which may be none by default
            wait(futures)
        for future in futures:
            if future.status == "error":
                future.result()

    def cancel(self) -> None:
        """Nothing of it is wanted any more: an error would keep what is on the workers for as long as it is kept."""
        with contextlib.suppress(Exception):  # the client may be gone, which is what the error says
            self.client.cancel(list(self.futures), force=True)

    def each(
        self, function: Callable[..., Any], futures: Sequence[Any], *more: Any, name: str | None = None
    ) -> list[Future]:
        """One a future."""
        return [self.submit(function, future, *more, name=name) for future in futures]

    def shared(self, value: tuple[Any, ...]) -> Any:
        """Arguments of many tasks: as they are where they are small, for a task takes some milliseconds."""
        size = sum(part.nbytes for part in value if isinstance(part, np.ndarray))
        return value if size <= INLINE else self.sent(value)

    def sent(self, value: Any) -> Future:
        """A value as a task, which is run again if the worker that has it dies, as scattered data are not."""
        with dask.config.set({LARGE: 1 << 60}):  # or it warns of weights of more than 10 MB
            return self.submit(tasks.same, value)

    def sum(self, eights: list[list[Future]], name: str) -> Any:
        """Along the tree, by workers."""

        def join(eight: Sequence[Future]) -> Future:
            return self.submit(tasks.join, *eight, name=f"sum_{name}") if len(eight) > 1 else eight[0]

        return self.gather([folded(eights, join)])[0]
