"""Where the rows of an epoch come from: memory, or parts, of which windows are in memory one after another."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastsoftmax.data.ahead import each
from fastsoftmax.data.design import Design
from fastsoftmax.data.examples import Examples
from fastsoftmax.data.layouts import Gathered
from fastsoftmax.data.parted_rows import PartedRows
from fastsoftmax.data.targets import CheckedTargets
from fastsoftmax.kernels.shuffle import shuffle
from fastsoftmax.objective.base import Objective
from fastsoftmax.objective.fingerprint import fingerprint_of
from fastsoftmax.objective.over import Rows, objective_over
from fastsoftmax.objective.softmax import SoftmaxObjective

SHUFFLE_BYTES = 512 << 20  # of X in memory, where all of it is more
SPAN_BYTES = 128 << 10  # of X that lie together, and are drawn together: what a system reads ahead
Array = NDArray[Any]
Stream = np.random.PCG64
Visit = Callable[[SoftmaxObjective | None, NDArray[np.int64]], object]


class Source(Protocol):
    """Rows to train on."""

    targets: CheckedTargets
    dtype: np.dtype[Any]

    def scaled(self, scale: float | ArrayLike) -> "Source":
        """The same with features X * scale."""

    def moments(self) -> tuple[Array, Array]:
        """Weighted sums of the raw columns, and of their squares."""

    def held_out(self, rows: Array) -> Objective:
        """The objective over some of the rows, by ascending numbers, which are only looked at."""

    def fingerprint(self) -> str:
        """By what the rows are known again."""

    def prepared(self, rows: Array, batch: int) -> SoftmaxObjective:
        """For epochs over these rows in whole batches; an objective like those to come."""

    def epoch(self, stream: Stream | None, visit: Visit) -> None:
        """Calls `visit` with an objective, None for that of `prepared`, and an order of its rows, one after another.

        stream: of the random numbers by which rows are shuffled; None to keep their order.
        """


class InMemory:
    """Examples: an epoch is one order of the rows."""

    def __init__(self, examples: Examples, dtype: np.dtype[Any]) -> None:
        self.examples, self.targets, self.dtype = examples, examples.targets, dtype

    def scaled(self, scale: float | ArrayLike) -> Source:
        return InMemory(self.examples.mapped(scale), self.dtype)

    def moments(self) -> tuple[Array, Array]:
        return self.examples.moments()

    def held_out(self, rows: Array) -> Objective:
        part = self.examples.rows(rows)
        return SoftmaxObjective(Examples(part.design, part.targets.unsmoothed()), self.dtype)

    def fingerprint(self) -> str:
        return fingerprint_of(self.examples.design, self.targets)

    def prepared(self, rows: Array, batch: int) -> SoftmaxObjective:
        self.rows = rows
        return SoftmaxObjective(self.examples, self.dtype)

    def epoch(self, stream: Stream | None, visit: Visit) -> None:
        order = self.rows.copy()
        if stream is not None:
            shuffle(stream.random_raw(len(order)), order)
        visit(None, order)


class Window(NamedTuple):
    """Rows that are in memory together."""

    carried: Array  # numbers of rows that the last window left over
    fresh: Array  # of rows that are read, ascending
    order: Array  # of those that are trained on: all but what the next window gets


class InParts:
    """Rows of parts: spans of them in a shuffled order, and rows shuffled within a window of spans.

    Where rows of a part can be had without reading all of it, a span is of 128 KB, else it is the part (Xu et al. 2022,
    "Stochastic Gradient Descent without Full Data Shuffle", section 4).

    Parameters
    ----------
    rows : PartedRows
    targets : CheckedTargets
        Of all of them.
    dtype : dtype
        Of the computation.
    budget : int
        Bytes that two windows take: one is read while another is trained on.
    scale : float or array-like of shape (m,)
    """

    def __init__(
        self,
        rows: PartedRows,
        targets: CheckedTargets,
        dtype: np.dtype[Any],
        budget: int,
        scale: float | ArrayLike = 1.0,
    ) -> None:
        self.rows, self.targets, self.dtype, self.budget, self.scale = rows, targets, dtype, budget, scale
        self.pieces = rows.parts.listed()

    def scaled(self, scale: float | ArrayLike) -> Source:
        return InParts(self.rows, self.targets, self.dtype, self.budget, scale)

    def moments(self) -> tuple[Array, Array]:
        return objective_over(self.rows, self.targets).moments()

    def held_out(self, rows: Array) -> Objective:
        part, targets = self.rows.rows(rows), self.targets.rows(rows).unsmoothed()
        source: PartedRows | Design = part
        if part.n * part.bytes <= self.budget / 4:
            source = part.copied(np.arange(part.n))
        return objective_over(source, targets, self.dtype).mapped(self.scale)

    def fingerprint(self) -> str:
        return fingerprint_of(self.rows, self.targets)

    def prepared(self, rows: Array, batch: int) -> SoftmaxObjective:
        self.chosen, self.numbers, self.batch = self.rows.rows(rows), rows, batch
        self.most = int(self.budget / 2 / max(1.0, self.rows.bytes)) - (batch - 1)  # which may be carried over
        if batch > self.most:
            raise ValueError(
                f"a batch of {batch} rows takes {batch * self.rows.bytes / 1e6:.3g} MB, which must be at most a "
                f"quarter of shuffle_bytes={self.budget}: increase it, or choose smaller batches (one of "
                "optimizer='gd' is of all rows: SoftmaxRegression takes them from parts)"
            )
        self.spans = self._cut()
        first = self._gathered(np.arange(1), None)
        return self._over(first, np.arange(1))

    def _cut(self) -> NDArray[np.int64]:
        """(spans, 2): where each begins and ends, in numbers of the chosen rows."""
        size, start, spans = max(1, int(SPAN_BYTES / max(1.0, self.rows.bytes))), 0, list[tuple[int, int]]()
        pieces = zip(self.pieces, self.chosen.in_place, self.chosen.counts, strict=True)
        for piece, in_place, count in pieces:
            step = size if piece.at_hand and in_place else max(1, count)
            spans += [(low, min(low + step, start + count)) for low in range(start, start + count, step)]
            start += count
        return np.array(spans, np.int64)

    def epoch(self, stream: Stream | None, visit: Visit) -> None:
        each(self._read(self._windows(stream)), lambda found: visit(*found))

    def _windows(self, stream: Stream | None) -> list[Window]:
        """What an epoch is; all random numbers are drawn now, and not while windows are read."""
        spans = self.spans
        if stream is not None:
            which = np.arange(len(spans))
            shuffle(stream.random_raw(len(which)), which)
            spans = spans[which]
        windows, carried = list[Window](), np.zeros(0, np.int64)
        for together, last in self._together(spans):
            fresh = np.concatenate([np.arange(low, high) for low, high in together])
            mixed = fresh.copy()
            if stream is not None:
                shuffle(stream.random_raw(len(mixed)), mixed)
            order = np.concatenate([carried, mixed])
            whole = len(order) if last else len(order) // self.batch * self.batch
            windows.append(Window(carried, np.sort(fresh), order[:whole]))
            carried = order[whole:]
        return windows

    def _together(self, spans: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], bool]]:
        """Spans of windows, each of one span at least; and whether it is the last."""
        sizes, start = spans[:, 1] - spans[:, 0], 0
        while start < len(spans):
            within = np.cumsum(sizes[start:]) <= self.most
            stop = start + max(1, int(within.sum()))
            yield spans[start:stop], stop == len(spans)
            start = stop

    def _read(self, windows: list[Window]) -> Iterator[tuple[SoftmaxObjective, NDArray[np.int64]]]:
        """Each window when it is wanted."""
        before: tuple[Design, Array] | None = None
        for window in windows:
            index = np.concatenate([window.carried, window.fresh])
            kept = None if before is None or not len(window.carried) else (before[0], _places(*before[1:], window[0]))
            design = self._gathered(window.fresh, kept)
            before = design, index
            yield self._over(design, index), _places(index, window.order)

    def _gathered(self, fresh: Array, kept: tuple[Design, Array] | None) -> Design:
        """Rows that are kept of another window, and fresh ones."""
        found = Gathered(len(fresh) + (0 if kept is None else len(kept[1])))
        if kept is not None:
            found.add(*kept)
        self.chosen.gather(fresh, found)
        return found.design

    def _over(self, design: Design, index: Array) -> SoftmaxObjective:
        design.pairs = self.rows.pairs  # of all rows: one plan for all windows
        targets = self.targets.rows(self.numbers[index])
        return SoftmaxObjective(Examples(design.mapped(self.scale), targets), self.dtype)


def source_of(rows: Rows, targets: CheckedTargets, dtype: np.dtype[Any], budget: int) -> Source:
    """Of rows in memory; parts that fit are copied there."""
    if isinstance(rows, PartedRows):
        if rows.n * rows.bytes > budget:
            return InParts(rows, targets, dtype, budget)
        rows = rows.all()
    return InMemory(Examples(rows, targets), dtype)


def _places(index: Array, wanted: Array) -> NDArray[np.int64]:
    """Where in `index` each of the wanted numbers is."""
    order = np.argsort(index, kind="stable")
    return np.asarray(order[np.searchsorted(index, wanted, sorter=order)])
