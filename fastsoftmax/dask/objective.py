"""The objective over the partitions of a cluster: an implementation of the seam."""

import functools
import itertools
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastsoftmax.dask import tasks
from fastsoftmax.dask.cluster import SMALL, Tasks
from fastsoftmax.data.examples import Examples
from fastsoftmax.data.gate import per_feature
from fastsoftmax.data.layouts import Gathered
from fastsoftmax.data.parted_rows import KEPT_BYTES, Facts
from fastsoftmax.data.targets import CheckedTargets
from fastsoftmax.kernels.cross_entropy import Targets
from fastsoftmax.objective.softmax import SoftmaxObjective
from fastsoftmax.objective.summed import SummedCurvature, SummedObjective
from fastsoftmax.objective.tree import FAN_IN

UNEVEN = 1.2  # times as long as threads would need that have equally much to do
Array = NDArray[Any]


class ClusterTargets:
    """What all targets say, without those of each row, which lie on the workers."""

    def __init__(
        self, n: int, totals: Array, total: float, entropy: float, smoothing: float, labelled: bool,
        active: Array | None = None,
    ) -> None:  # fmt: skip
        self.n, self.c, self.totals, self.total, self._entropy = n, len(totals), totals, total, entropy
        nothing, one = np.zeros(0), np.zeros(int(labelled), np.int64)
        self.kernel = Targets(one, nothing, nothing, smoothing)  # rows that weigh nothing are gone
        self.active = active

    def class_totals(self) -> NDArray[np.float64]:
        return self.totals

    def entropy(self) -> float:
        if not len(self.kernel.labels):
            return self._entropy
        return CheckedTargets(self.kernel, 1, self.c).entropy()

    def only(self, classes: Array) -> "ClusterTargets":
        """Without the other classes, which nothing with a weight is."""
        active = classes if self.active is None else self.active[classes]
        rest = (self._entropy, self.kernel.smoothing, len(self.kernel.labels) > 0, active)
        return ClusterTargets(self.n, self.totals[classes], self.total, *rest)


class Kind(NamedTuple):
    """What partitions have in common, and what their rows are, those included that weigh nothing."""

    facts: Facts
    dtype: np.dtype[Any]
    stored_dtype: np.dtype[Any]
    labelled: bool
    smoothing: float
    pairs: float  # entries of X in a row, on average
    bytes: float  # of X in a row, on average


class ClusterRows:
    """Rows on the workers.

    Parameters
    ----------
    tasks : Tasks
    parts : list of Future
        `Examples`, none without rows.
    sizes : list of int
        Rows of each.
    kind : Kind
    bundled : bool
        Whether a task may take eight partitions, which are then brought together.
    """

    in_memory = False

    def __init__(self, tasks_: Tasks, parts: list[Any], sizes: list[int], kind: Kind, bundled: bool) -> None:
        self.tasks, self.sizes, self.kind, self.n, self.m = tasks_, sizes, kind, sum(sizes), kind.facts.m
        self.dtype, self.stored_dtype, self.x_dtype = kind.dtype, kind.stored_dtype, np.dtype(kind.facts.x_dtype)
        self.pairs, self.by_feature, self.names = kind.pairs, kind.facts.sparse, kind.facts.names
        small = kind.bytes * self.n / len(parts) <= SMALL
        self.each = FAN_IN if bundled and (small or self._lie_together(parts)) else 1  # partitions of a task
        self.bundles = [
            self.tasks.submit(tasks.bundle, *parts[k : k + self.each]) for k in range(0, len(parts), self.each)
        ]
        self._kept: dict[Any, Examples] = {}

    def _lie_together(self, parts: list[Any]) -> bool:
        """Whether each eight neighbours are with one worker, and groups of eight keep all threads busy."""
        threads = sum(self.tasks.client.nthreads().values())
        if not even(-(-len(parts) // FAN_IN), threads):
            return False
        holders = self.tasks.client.who_has(parts)
        found = [set(holders.get(part.key, ())) for part in parts]
        return all(set.intersection(*found[k : k + FAN_IN]) for k in range(0, len(found), FAN_IN))

    def objective(self, targets: ClusterTargets, dtype: Any = None) -> "ObjectiveOverCluster":
        """The objective over them."""
        return ObjectiveOverCluster(self, targets, dtype)

    def fingerprint(self, targets: Any) -> str:
        """By what they are known again."""
        found = self.tasks.client.gather(self.tasks.each(tasks.digest, self.bundles))
        return " ".join(digest for digests in found for digest in digests)

    def copied(self, index: Array) -> Examples:
        """Rows by number, in any order, here; those of the last few calls are kept."""
        key = (len(index), hash(index.tobytes()))
        if key not in self._kept:
            found = self._taken(index)
            if _size(found) > KEPT_BYTES:
                return found
            self._kept[key] = found
            while len(self._kept) > 1 and sum(map(_size, self._kept.values())) > KEPT_BYTES:
                del self._kept[next(iter(self._kept))]
        return self._kept[key]

    def _taken(self, index: Array) -> Examples:
        order = np.argsort(index, kind="stable")
        groups = grouped(self.local(index[order]), self.each)
        pairs = [(bundle, group) for bundle, group in zip(self.bundles, groups, strict=True) if any(map(len, group))]
        futures = [self.tasks.submit(tasks.take, bundle, group) for bundle, group in pairs]
        found, targets = Gathered(len(index)), list[CheckedTargets]()
        while futures:  # a few at a time: what came is copied, and gone
            now, futures = futures[: FAN_IN // self.each], futures[FAN_IN // self.each :]
            for part in itertools.chain.from_iterable(self.tasks.client.gather(now, direct=True)):
                if part.n:
                    found.add(part.design, np.arange(part.n))
                    targets.append(part.targets)
        examples = Examples(found.design, CheckedTargets.joined(targets))
        back = np.empty(len(order), np.int64)
        back[order] = np.arange(len(order))
        return examples if (np.diff(index) >= 0).all() else examples.rows(back)

    def local(self, index: Array) -> list[Array]:
        """The rows of each partition that ascending `index` has, by their numbers there."""
        ends = np.cumsum([0, *self.sizes])
        cuts = np.searchsorted(index, ends)
        return [index[a:b] - start for (a, b), start in zip(itertools.pairwise(cuts), ends[:-1], strict=True)]


def grouped(items: list[Any], each: int) -> list[list[Any]]:
    """By so many."""
    return [items[k : k + each] for k in range(0, len(items), each)]


def measured(
    jobs: Tasks, parts: list[Any], kind: Kind, *, bundled: bool = True
) -> tuple[ClusterRows, ClusterTargets] | None:
    """Partitions of `Examples`, and what all their targets say; None where they have no rows."""
    found = list(zip(parts, jobs.gather(jobs.each(tasks.measure, parts)), strict=True))
    there = [(part, facts) for part, facts in found if facts[0]]
    if not there:
        return None
    counts, weights, entropies, totals = zip(*(facts for _, facts in there), strict=True)
    total = float(sum(weights))
    rows = ClusterRows(jobs, [part for part, _ in there], list(counts), kind, bundled)
    targets = ClusterTargets(
        rows.n, functools.reduce(np.add, totals), total, sum(entropies) / total, kind.smoothing, kind.labelled
    )
    return rows, targets


def even(groups: int, threads: int) -> bool:
    """Whether groups of partitions keep all threads busy: then a task a group costs less than one a partition."""
    return -(-groups // max(1, threads)) * threads <= UNEVEN * groups


def _size(examples: Examples) -> int:
    return sum(array.nbytes for array in examples.design.arrays())


class ObjectiveOverCluster(SummedObjective):
    """Sums over partitions that lie on the workers; a step is a task a partition, or eight small ones.

    Parameters
    ----------
    rows : ClusterRows
    targets : ClusterTargets
    dtype : dtype, optional
        Of the computation.
    scale, shift : float or array-like of shape (m,)
    """

    def __init__(
        self, rows: ClusterRows, targets: ClusterTargets, dtype: Any = None, scale: float | ArrayLike = 1.0,
        shift: float | ArrayLike = 0.0,
    ) -> None:  # fmt: skip
        self.source, self.targets = rows, targets
        self.n, self.m, self.c, self.total = rows.n, rows.m, targets.c, targets.total
        self.dtype = rows.dtype if dtype is None else np.dtype(dtype)
        self.x_dtype, self.stored_dtype = rows.x_dtype, rows.stored_dtype
        self.scale, self.shift = per_feature(scale, "scale", self.m), per_feature(shift, "shift", self.m)
        self.shifted, self.by_feature, self.pairs = bool(self.shift.any()), rows.by_feature, rows.pairs
        self.smoothing, self.labelled = targets.kernel.smoothing, len(targets.kernel.labels) > 0
        self.view = tasks.View(self.scale, self.shift, self.dtype, self.targets.active)

    @functools.cached_property
    def sent_view(self) -> Any:
        """How workers look at partitions, once for all steps."""
        return self.source.tasks.sent(self.view)

    def _shared(self, arguments: tuple[Any, ...]) -> Any:
        return self.source.tasks.shared(arguments)

    def collected(self, name: str, *arguments: Any) -> list[Any]:
        rows, given = self.source, self._shared(arguments)
        asked = rows.tasks.each(tasks.ask_each, rows.bundles, self.sent_view, name, given, name=name)
        return [answer for answers in rows.tasks.client.gather(asked) for answer in answers]

    def summed(self, name: str, *arguments: Any) -> tuple[Any, ...]:
        rows, given = self.source, self._shared(arguments)
        items = rows.tasks.each(tasks.add_up, rows.bundles, self.sent_view, name, given, name=name)
        return rows.tasks.sum(items, name, self._size(name))  # type: ignore[no-any-return]

    def _size(self, name: str) -> int:
        """Bytes of a sum, about."""
        return 16 * self.m if name == "moments" else 8 * self.c * (self.m + 1)

    def predict_proba(self, coef: Array, intercept: Array | None) -> Array:
        return np.concatenate(self.collected("predict_proba", coef, intercept))

    def curvature(self, coef: Array, intercept: Array | None) -> "CurvatureOverCluster":
        return CurvatureOverCluster(self, coef, intercept)

    def class_totals(self) -> NDArray[np.float64]:
        return self.targets.class_totals()

    def entropy(self) -> float:
        return self.targets.entropy()

    def mapped(self, scale: float | ArrayLike, shift: float | ArrayLike = 0.0) -> "ObjectiveOverCluster":
        return ObjectiveOverCluster(self.source, self.targets, self.dtype, scale, shift)

    def computed_in(self, dtype: Any) -> "ObjectiveOverCluster":
        return ObjectiveOverCluster(self.source, self.targets, dtype, self.scale, self.shift)

    def rows(self, index: Array) -> SoftmaxObjective:
        examples = self.source.copied(np.arange(self.n)[index])
        if self.targets.active is not None:
            examples = examples.only(self.targets.active)
        return SoftmaxObjective(examples.mapped(self.scale, self.shift), self.dtype)


class CurvatureOverCluster(SummedCurvature):
    """As its base. Workers keep the probabilities of their partitions for as long as it is there."""

    def __init__(self, objective: ObjectiveOverCluster, coef: Array, intercept: Array | None) -> None:
        self.objective, self.point = objective, (coef, intercept)
        self._curved: list[Any] | None = None

    def summed(self, name: str, *arguments: Any) -> tuple[Any, ...]:
        objective, rows = self.objective, self.objective.source
        if self._curved is None:
            point = rows.tasks.shared(self.point)
            self._curved = rows.tasks.each(tasks.curve, rows.bundles, objective.sent_view, point, name="curvature")
        given = rows.tasks.shared(arguments)
        items = rows.tasks.each(tasks.add_up_curvature, self._curved, name, given, name=name)
        c, M = objective.c, objective.m + 1
        return rows.tasks.sum(items, name, 8 * c * M * (M * c if name == "pair_grams" else 1))  # type: ignore[no-any-return]

    def each_block(self, visit: Any) -> None:
        """The partitions come here, one after another: for what is asked once, in the end, of small problems."""
        ends = np.cumsum([0, *self.objective.source.sizes])
        for start, stop in itertools.pairwise(ends.tolist()):
            self.objective.rows(np.arange(start, stop)).curvature(*self.point).each_block(visit)
