"""Partitions on a cluster, and the tasks over them: each stays with the worker that has it."""

import itertools
import secrets
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from dask.delayed import Delayed, delayed
from distributed import Client, Future, get_client

from fastsoftmax.dask import tasks
from fastsoftmax.data.parts import Parts
from fastsoftmax.data.pieces import Made, read
from fastsoftmax.objective.tree import FAN_IN

INLINE = 64 << 10  # bytes of arguments that go with each task
GATHERED = 16 << 20  # bytes of sums that the client adds
SMALL = 4 << 20  # bytes of a partition, up to which eight neighbours share a worker and a task
Array = np.ndarray[Any, Any]


def client_of(client: Client | None) -> Client:
    """A client that is connected.

    Raises
    ------
    ValueError
        If there is none, or it was closed.
    """
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
    return hasattr(X, "__dask_graph__") and (hasattr(X, "to_delayed") or hasattr(X, "chunks"))


def pieces_of(X: Any, y: Any, weight: Any) -> list[Delayed]:
    """A task a partition, which makes a `Raw` of rows, labels and weights.

    Raises
    ------
    TypeError, ValueError
        If X is no collection, or the others do not go with it.
    """
    if isinstance(X, Parts):
        return [_piece(f"part {i}", piece) for i, piece in enumerate(X.listed())]
    if not is_collection(X):
        raise TypeError(
            f"X must be a dask array or frame, or Parts, got {type(X).__name__}: fastsoftmax.SoftmaxRegression takes "
            "what is in memory"
        )
    blocks = _blocks(X, "X")
    columns = [blocks]
    for part, name in ((y, "y"), (weight, "sample_weight")):
        columns.append([None] * len(blocks) if part is None else _aligned(part, X, name))
    if len(counts := {len(column) for column in columns}) > 1:
        raise ValueError(f"X, y and sample_weight have other numbers of partitions: {sorted(counts)}")
    make = delayed(tasks.partition, pure=False)
    return [make(f"partition {i}", *parts) for i, parts in enumerate(zip(*columns, strict=True))]


def _piece(name: str, piece: Any) -> Delayed:
    lazy = getattr(piece.function, "__self__", None) if isinstance(piece, Made) else None
    taken = lazy if isinstance(lazy, Delayed) else delayed(read, pure=False)(piece, True)
    return delayed(_of_taken, pure=False)(name, taken)


def _of_taken(name: str, taken: Any) -> tasks.Raw:
    parts = taken if isinstance(taken, tuple) else (taken,)
    return tasks.partition(name, *parts, *[None] * (3 - len(parts)))


def _blocks(X: Any, name: str) -> list[Any]:
    """Its partitions, of all columns each."""
    if not hasattr(X, "chunks"):
        _numbers_only(X, name)
        return list(X.to_delayed())
    if X.ndim == 2 and len(X.chunks[1]) > 1:
        X = X.rechunk({1: -1})
    return list(np.ravel(X.to_delayed()))


def _numbers_only(frame: Any, name: str) -> None:
    kinds = getattr(frame, "dtypes", None)
    if kinds is None or not hasattr(kinds, "items"):
        return
    for column, kind in kinds.items():
        if getattr(kind, "kind", "O") not in "biuf":
            raise TypeError(f"{name} has a column {column!r} of {kind}: encode it as numbers first, or leave it out")


def _aligned(part: Any, X: Any, name: str) -> list[Any]:
    """Partitions of y or weights with the borders of X."""
    if not is_collection(part):
        raise TypeError(f"{name} must be a dask array or series, as X is, got {type(part).__name__}")
    theirs, ours = getattr(part, "chunks", None), getattr(X, "chunks", None)
    if theirs is None or ours is None:
        return _blocks(part, name) if theirs is not None else list(part.to_delayed())
    known = not any(np.isnan(size) for size in itertools.chain(theirs[0], ours[0]))
    if known and sum(theirs[0]) != sum(ours[0]):
        raise ValueError(f"X has {sum(ours[0])} rows, {name} has {sum(theirs[0])}")
    if known and theirs[0] != ours[0]:
        part = part.rechunk({0: ours[0]})
    return _blocks(part, name)


def tree_of(items: list[Any]) -> Any:
    """The sum of all along the tree."""
    while len(items) > 1:
        items = [tasks.join(*items[k : k + FAN_IN]) for k in range(0, len(items), FAN_IN)]
    return items[0]


class Tasks:
    """Tasks over futures, with names that the dashboard shows, and keys that are never used twice."""

    def __init__(self, client: Client) -> None:
        self.client, self.token, self.count = client, secrets.token_hex(4), itertools.count()

    def submit(self, function: Callable[..., Any], *arguments: Any, name: str | None = None) -> Future:
        """A task of its own."""
        key = f"{name or function.__name__}-{self.token}-{next(self.count)}"
        return self.client.submit(function, *arguments, key=key)

    def each(
        self, function: Callable[..., Any], futures: Sequence[Any], *more: Any, name: str | None = None
    ) -> list[Future]:
        """One a future."""
        return [self.submit(function, future, *more, name=name) for future in futures]

    def shared(self, value: tuple[Any, ...]) -> Any:
        """Arguments of many tasks: as they are where they are small, for a task takes some milliseconds.

        Else a task of its own, which is run again if the worker that has it dies, as scattered data are not.
        """
        size = sum(part.nbytes for part in value if isinstance(part, np.ndarray))
        return value if size <= INLINE else self.submit(tasks.same, value)

    def sum(self, items: list[Future], name: str, size: int) -> Any:
        """Along the tree, and here; sums of `size` bytes each come here at once where they are small."""
        if size * len(items) <= GATHERED:
            return tree_of(self.client.gather(items, direct=True))
        while len(items) > 1:
            items = [
                self.submit(tasks.join, *items[k : k + FAN_IN], name=f"sum_{name}")
                if len(items[k : k + FAN_IN]) > 1
                else items[k]
                for k in range(0, len(items), FAN_IN)
            ]
        return items[0].result()
