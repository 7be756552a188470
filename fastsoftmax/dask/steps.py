"""Training over partitions on workers: weights go from one to the next, and rows stay where they are."""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastsoftmax.dask import tasks
from fastsoftmax.dask.cluster import grouped
from fastsoftmax.dask.objective import ClusterRows, ClusterTargets, ObjectiveOverCluster, measured
from fastsoftmax.data.examples import Examples
from fastsoftmax.data.layouts import as_design
from fastsoftmax.data.targets import as_targets
from fastsoftmax.objective.base import Objective
from fastsoftmax.training.descent import Settings
from fastsoftmax.training.source import Source, Steps, Stream, Validation, shuffled
from fastsoftmax.training.windows import rows_at_once, windows_of

TOGETHER = 64  # partitions whose weights are summed by one task
Array = NDArray[Any]


class OnWorkers:
    """Rows on the workers, as trainers take them: the bytes of a local fit of `Parts` that are read wholly.

    What fits the budget is brought together on one worker. Of more, an epoch takes partitions in a new random order,
    as many as fit half of the budget at once.

    Parameters
    ----------
    rows : ClusterRows
        Whose partitions are not bundled.
    targets : ClusterTargets
    budget : int
        Bytes of X that are brought together; see `Trainer`.
    joined : bool
        Whether they were brought together.
    scale : float or array-like of shape (m,)
    """

    def __init__(
        self, rows: ClusterRows, targets: ClusterTargets, budget: int, joined: bool, scale: float | ArrayLike = 1.0
    ) -> None:
        self.held, self.targets, self.budget, self.joined, self.scale = rows, targets, budget, joined, scale
        self.dtype, self.pairs = rows.dtype, None if joined else rows.pairs
        self._some: tuple[Any, tuple[ClusterRows, ClusterTargets]] | None = None

    @classmethod
    def of(cls, rows: ClusterRows, targets: ClusterTargets, budget: int) -> "OnWorkers":
        """Brought together where they fit."""
        if rows.kind.n * rows.kind.bytes > budget:
            return cls(rows, targets, budget, False)
        return cls(*_together(rows), budget, True)

    @property
    def rows(self) -> range:
        return range(self.held.n)

    def scaled(self, scale: float | ArrayLike) -> Source:
        return OnWorkers(self.held, self.targets, self.budget, self.joined, scale)

    def _objective(self) -> ObjectiveOverCluster:
        return self.held.objective(self.targets).mapped(self.scale)

    def objective(self) -> Objective:
        return self._objective()

    def weight_of(self, rows: Array | range) -> float:
        held, targets = (self.held, self.targets) if len(rows) == self.held.n else self._chosen(rows)
        if not held.kind.weighted:
            return targets.total
        jobs, total = held.tasks, held.tasks.submit(float, 0.0)  # in the rows' order, as in memory
        for some in grouped(jobs.each(tasks.weights, held.bundles), TOGETHER):
            total = jobs.submit(tasks.weigh_on, total, *some)
        return float(jobs.gather([total])[0])

    def _chosen(self, rows: Array | range) -> tuple[ClusterRows, ClusterTargets]:
        """Those that are trained on, copied where they are; found once."""
        if self._some is None or self._some[0] is not rows:
            self._some = rows, self.held.some(np.asarray(rows))
        return self._some[1]

    def held_out(self, rows: Array) -> Validation:
        held, targets = self.held.some(rows, False)
        if held.n * held.kind.bytes <= self.budget / 4:
            held, targets = _together(held)
        labels = np.concatenate(held.tasks.gather(held.tasks.each(tasks.likeliest, held.bundles)))
        return Validation(held.objective(targets).mapped(self.scale), labels)

    def identity(self) -> dict[str, Any]:
        data, scale = self.held.fingerprint(self.targets), np.asarray(self.scale).tolist()
        return {"data": data, "shuffle_bytes": int(self.budget), "scale": scale}

    def steps(self, rows: Array | range, settings: Settings) -> Steps:
        over = self
        if len(rows) < self.held.n:
            over = OnWorkers(*self._chosen(rows), self.budget, self.joined, self.scale)
            self.held.let_go()
        most = over.held.n if over.joined else rows_at_once(self.budget, self.held.kind.bytes, settings.batch)
        return _StepsOnWorkers(over, settings, most)


def _together(rows: ClusterRows) -> tuple[ClusterRows, ClusterTargets]:
    """On one worker, as one partition."""
    found = measured(rows.tasks, [rows.tasks.submit(tasks.gather, *rows.bundles)], [[0]], rows.kind)
    assert found is not None
    return found


class _StepsOnWorkers:
    """Steps by tasks, one a window, each with what the last one passed on."""

    unit = "epoch"

    def __init__(self, source: OnWorkers, settings: Settings, most: int) -> None:
        self.source, self.settings, self.most = source, settings, most
        self.view = source._objective().view
        rows, c = source.held, source.targets.c
        row = as_design(_nothing(rows))
        targets = as_targets(np.zeros(1, np.int64), 1, c, rows.dtype)
        self.descent = tasks.descent_over(Examples(row, targets), self.view, settings, source.pairs)

    def epoch(self, stream: Stream | None, rates: NDArray[np.float64], averaging: bool) -> float:
        if stream is None:
            return self._epoch(stream, rates, averaging)
        before = stream.state
        try:
            return self._epoch(stream, rates, averaging)
        except BaseException:  # also Ctrl-C: of this epoch nothing is left
            stream.state = before
            raise

    def _epoch(self, stream: Stream | None, rates: NDArray[np.float64], averaging: bool) -> float:
        rows, jobs, batch = self.source.held, self.source.held.tasks, self.settings.batch
        how = jobs.sent(tasks.Pass(self.view, self.settings, self.source.pairs, averaging))
        moved = jobs.sent(tasks.Moved(self.descent.saved(), None, []))
        which, done = np.arange(len(rows.sizes)), 0
        if not self.source.joined:  # as in memory, whose rows are shuffled once
            which = shuffled(which, stream)
        ends = np.cumsum([0, *rows.sizes])
        spans = np.stack([ends[:-1], ends[1:]], 1)[which]
        for window in windows_of(spans, self.most, batch):
            bundles = [rows.bundles[i] for i in np.searchsorted(ends, window.spans[:, 0])]
            steps, state = -(-window.whole // batch), None if stream is None else stream.state
            moved = jobs.submit(tasks.train, moved, how, state, window.whole, rates[done : done + steps], *bundles)
            done += steps
            if stream is not None:
                stream.advance(int((window.spans[:, 1] - window.spans[:, 0]).sum()))  # what its rows draw there
        found: tasks.Moved = jobs.gather([moved])[0]
        self.descent.load(found.weights)
        return math.fsum(found.losses)


def _nothing(rows: ClusterRows) -> Any:
    """A row of X like theirs, without an entry."""
    if not rows.by_feature:
        return np.zeros((1, rows.m), rows.x_dtype)
    from scipy.sparse import csr_array

    return csr_array((1, rows.m), dtype=rows.x_dtype)
