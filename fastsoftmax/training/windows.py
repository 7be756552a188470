"""Rows of more parts than memory has room for: windows of them, one read while another is trained on."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastsoftmax.data.ahead import each
from fastsoftmax.data.design import Design
from fastsoftmax.data.examples import Examples
from fastsoftmax.data.layouts import Gathered
from fastsoftmax.data.parted_rows import PartedRows
from fastsoftmax.data.targets import CheckedTargets
from fastsoftmax.objective.base import Objective
from fastsoftmax.objective.fingerprint import fingerprint_of
from fastsoftmax.objective.over import objective_over
from fastsoftmax.objective.softmax import SoftmaxObjective
from fastsoftmax.training.descent import Settings
from fastsoftmax.training.source import Source, Steps, StepsHere, Stream, Validation, Visit, shuffled, validation_of
from fastsoftmax.training.suited import begin

SPAN_BYTES = 128 << 10  # of X that lie together, and are drawn together: what a system reads ahead
Array = NDArray[Any]
Spans = NDArray[np.int64]


class Window(NamedTuple):
    """Spans of rows that are in memory together, and rows that the last window left over."""

    spans: Spans  # (k, 2): where each begins and ends, in the order in which they were drawn
    carried: int
    whole: int  # of all these rows, the carried ones first, how many are trained on: the next window gets the rest


def windows_of(spans: Spans, most: int, batch: int) -> Iterator[Window]:
    """Windows of at most so many fresh rows, or of one span, that are trained on in whole batches but for the last."""
    sizes, start, carried = spans[:, 1] - spans[:, 0], 0, 0
    while start < len(spans):
        stop = start + max(1, int((np.cumsum(sizes[start:]) <= most).sum()))
        count = carried + int(sizes[start:stop].sum())
        whole = count if stop == len(spans) else count // batch * batch
        yield Window(spans[start:stop], carried, whole)
        start, carried = stop, count - whole


def rows_at_once(budget: int, row: float, batch: int) -> int:
    """Fresh rows of a window, of `row` bytes each: two windows are in memory, and a batch may be carried over.

    Raises
    ------
    ValueError
        If a batch does not fit.
    """
    most = int(budget / 2 / max(1.0, row)) - (batch - 1)
    if batch > most:
        raise ValueError(
            f"a batch of {batch} rows takes {batch * row / 1e6:.3g} MB, which must be at most a quarter of "
            f"shuffle_bytes={budget}: increase it, or choose smaller batches (one of optimizer='gd' is of all rows: "
            "SoftmaxRegression takes them from parts)"
        )
    return most


class _Read(NamedTuple):
    """A window, row by row."""

    carried: Array  # numbers of rows that the last window left over
    fresh: Array  # of rows that are read, ascending
    order: Array  # of those that are trained on


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
        self.parted, self.targets, self.dtype, self.budget, self.scale = rows, targets, dtype, budget, scale

    @property
    def rows(self) -> Array:
        return self.targets.weighing()

    def scaled(self, scale: float | ArrayLike) -> Source:
        return InParts(self.parted, self.targets, self.dtype, self.budget, scale)

    def objective(self) -> Objective:
        return objective_over(self.parted, self.targets, self.dtype).mapped(self.scale)

    def weight_of(self, rows: Array | range) -> float:
        return self.targets.weight_of(np.asarray(rows))

    def held_out(self, rows: Array) -> Validation:
        part, targets = self.parted.rows(rows), self.targets.rows(rows).unsmoothed()
        source: PartedRows | Design = part
        if part.n * part.bytes <= self.budget / 4:
            source = part.copied(np.arange(part.n))
        return validation_of(objective_over(source, targets, self.dtype).mapped(self.scale), targets)

    def identity(self) -> dict[str, Any]:
        data, scale = fingerprint_of(self.parted, self.targets), np.asarray(self.scale).tolist()
        return {"data": data, "shuffle_bytes": int(self.budget), "scale": scale}

    def steps(self, rows: Array | range, settings: Settings) -> Steps:
        most = rows_at_once(self.budget, self.parted.bytes, settings.batch)
        return _InWindows(self, np.asarray(rows), settings, most).steps()


class _InWindows:
    """Epochs over some of the rows."""

    def __init__(self, source: InParts, numbers: Array, settings: Settings, most: int) -> None:
        self.source, self.numbers, self.settings, self.most = source, numbers, settings, most
        self.chosen = source.parted.rows(numbers)
        self.spans = self._cut()

    def steps(self) -> StepsHere:
        """From weights of 0, over one row for now, which is planned for as all are."""
        first = self._over(self._gathered(np.arange(1), None), np.arange(1))
        return StepsHere(begin(first, self.settings), self.epoch)

    def _cut(self) -> Spans:
        """In numbers of the chosen rows."""
        parted, start, spans = self.source.parted, 0, list[tuple[int, int]]()
        size = max(1, int(SPAN_BYTES / max(1.0, parted.bytes)))
        pieces = zip(parted.parts.listed(), self.chosen.in_place, self.chosen.counts, strict=True)
        for piece, in_place, count in pieces:
            step = size if piece.at_hand and in_place else max(1, count)
            spans += [(low, min(low + step, start + count)) for low in range(start, start + count, step)]
            start += count
        return np.array(spans, np.int64)

    def epoch(self, stream: Stream | None, visit: Visit) -> None:
        """See `StepsHere`. All random numbers are drawn now, and not while windows are read."""
        windows = list(self._windows(stream))
        each(self._read(windows), lambda found: visit(*found))

    def _windows(self, stream: Stream | None) -> Iterator[_Read]:
        spans, carried = self.spans[shuffled(np.arange(len(self.spans)), stream)], np.zeros(0, np.int64)
        for window in windows_of(spans, self.most, self.settings.batch):
            fresh = np.concatenate([np.arange(low, high) for low, high in window.spans])
            order = np.concatenate([carried, shuffled(fresh, stream)])
            yield _Read(carried, np.sort(fresh), order[: window.whole])
            carried = order[window.whole :]

    def _read(self, windows: list[_Read]) -> Iterator[tuple[SoftmaxObjective, NDArray[np.int64]]]:
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
        self.chosen.gather(fresh, found.add)
        return found.design

    def _over(self, design: Design, index: Array) -> SoftmaxObjective:
        design.pairs = self.source.parted.pairs  # of all rows: one plan for all windows
        targets = self.source.targets.rows(self.numbers[index])
        return SoftmaxObjective(Examples(design.mapped(self.source.scale), targets), self.source.dtype)


def _places(index: Array, wanted: Array) -> NDArray[np.int64]:
    """Where in `index` each of the wanted numbers is."""
    order = np.argsort(index, kind="stable")
    return np.asarray(order[np.searchsorted(index, wanted, sorter=order)])
