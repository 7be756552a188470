"""The objective over the partitions of a cluster: an implementation of the seam."""

import functools
import itertools
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastsoftmax.dask import tasks
from fastsoftmax.dask.cluster import Tasks
from fastsoftmax.data.examples import Examples
from fastsoftmax.data.gate import per_feature
from fastsoftmax.data.parted_rows import KEPT_BYTES, Facts
from fastsoftmax.data.targets import CheckedTargets
from fastsoftmax.kernels.cross_entropy import Targets
from fastsoftmax.objective.base import spaced
from fastsoftmax.objective.softmax import SoftmaxObjective
from fastsoftmax.objective.summed import SummedCurvature, SummedObjective
from fastsoftmax.objective.tree import by_eights, folded, joined, nodes_of

GATHERED = 128 << 20  # bytes of sums that the client adds: a task takes milliseconds, as a few megabytes do
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
    weighted: bool
    n: int
    pairs: float  # entries of X in a row, on average
    bytes: float  # of X in a row, on average


class ClusterRows:
    """Rows on the workers.

    Parameters
    ----------
    tasks : Tasks
    bundles : list of Future
        Tuples of `Examples`, partitions that lie together, of which none is without rows.
    members : list of list of int
        Their numbers, of each bundle's.
    sizes : list of int
        Rows of each partition, in order.
    kind : Kind
    """

    in_memory = False

    def __init__(
        self, tasks_: Tasks, bundles: list[Any], members: list[list[int]], sizes: list[int], kind: Kind
    ) -> None:
        self.tasks, self.bundles, self.members, self.sizes, self.kind = tasks_, bundles, members, sizes, kind
        self.n, self.m, facts = sum(sizes), kind.facts.m, kind.facts
        self.dtype, self.stored_dtype, self.x_dtype = kind.dtype, kind.stored_dtype, np.dtype(facts.x_dtype)
        self.pairs, self.by_feature, self.names = kind.pairs, facts.sparse, facts.names
        self.nodes = [nodes_of(own, len(sizes)) for own in members]  # what each bundle adds up
        self.places = [
            [[own.index(i) for i in node] for node in nodes] for own, nodes in zip(members, self.nodes, strict=True)
        ]
        self._kept: dict[Any, Examples] = {}

    def objective(self, targets: ClusterTargets, dtype: Any = None) -> "ObjectiveOverCluster":
        """The objective over them."""
        return ObjectiveOverCluster(self, targets, dtype)

    def let_go(self) -> None:
        """They are not wanted any more: workers need not keep them beside copies."""
        self.bundles.clear()

    def fingerprint(self, targets: Any) -> str:
        """By what they are known again."""
        return " ".join(numbered(self.members, self.tasks.gather(self.tasks.each(tasks.digest, self.bundles))).values())

    def summed(self, held: list[Any], size: int, view: Any, name: str, arguments: Any) -> tuple[Any, ...]:
        """Of `SUMS`, one of all that is held, along the tree.

        held: bundles of partitions, or of curvatures, for which there is no view.
        size: bytes of a sum, about. What is small is added here, one task a bundle, or else by workers.
        """
        nodes = list(itertools.chain(*self.nodes))
        if size * len(nodes) <= GATHERED:
            asked = [
                self.tasks.submit(tasks.add_up, own, places, view, name, arguments, name=name)
                for own, places in zip(held, self.places, strict=True)
            ]
            found = itertools.chain(*(packed.rows() for packed in self.tasks.gather(asked)))
            return folded(by_eights(nodes, found), joined)  # type: ignore[no-any-return]
        asked = [
            self.tasks.submit(tasks.add_up_large, own, place, view, name, arguments, name=name)
            for own, places in zip(held, self.places, strict=True)
            for place in places
        ]
        return self.tasks.sum(by_eights(nodes, asked), name)  # type: ignore[no-any-return]

    def local(self, index: Array) -> list[Array]:
        """The rows of each partition that ascending `index` has, by their numbers there."""
        ends = np.cumsum([0, *self.sizes])
        cuts = np.searchsorted(index, ends)
        return [index[a:b] - start for (a, b), start in zip(itertools.pairwise(cuts), ends[:-1], strict=True)]

    def some(self, index: Array, smoothed: bool = True) -> tuple["ClusterRows", ClusterTargets]:
        """Rows by ascending numbers, copied where they are, and their targets, perhaps without label smoothing."""
        wanted = self.local(index)
        bundles, members = list[Any](), list[list[int]]()
        for bundle, own in zip(self.bundles, self.members, strict=True):
            if any(len(wanted[i]) for i in own):
                bundles.append(self.tasks.submit(tasks.choose, bundle, [wanted[i] for i in own], smoothed))
                members.append([i for i in own if len(wanted[i])])
        kind = self.kind if smoothed else self.kind._replace(smoothing=0.0)
        found = measured(self.tasks, bundles, members, kind)
        assert found is not None
        return found

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
        wanted = self.local(index[order])
        asked, places = list[Any](), list[list[int]]()
        for bundle, own in zip(self.bundles, self.members, strict=True):
            there = [i for i in own if len(wanted[i])]
            if there:
                asked.append(self.tasks.submit(tasks.choose, bundle, [wanted[i] for i in own], True))
                places.append(there)
        found = dict[int, Examples]()
        for there, parts in zip(places, self.tasks.gather(asked), strict=True):
            found.update(zip(there, parts, strict=True))
        examples = Examples.joined([found[i] for i in sorted(found)])
        back = np.empty(len(order), np.int64)
        back[order] = np.arange(len(order))
        return examples if (np.diff(index) >= 0).all() else examples.rows(back)


def numbered(members: list[list[int]], found: list[list[Any]]) -> dict[int, Any]:
    """What bundles say of each partition, by the partitions' numbers.

    Raises
    ------
    Exception
        Of the first one that failed.
    """
    pairs = sorted(zip(itertools.chain(*members), itertools.chain(*found), strict=True), key=lambda pair: pair[0])
    for _, item in pairs:
        if isinstance(item, tasks.Failed):
            raise item.error
    return dict(pairs)


def measured(
    jobs: Tasks, bundles: list[Any], members: list[list[int]], kind: Kind
) -> tuple[ClusterRows, ClusterTargets] | None:
    """Bundles of `Examples`, and what all their targets say; None where there are no rows."""
    facts = numbered(members, jobs.gather(jobs.each(tasks.measure, bundles)))
    there = [i for i, own in facts.items() if own.n]
    if not there:
        return None
    if len(there) < len(facts):  # parts of which no row weighs anything
        bundles = jobs.each(tasks.filled, bundles)
        pairs = [(b, [i for i in own if facts[i].n]) for b, own in zip(bundles, members, strict=True)]
        bundles, members = [b for b, own in pairs if own], [own for _, own in pairs if own]
    number = {i: k for k, i in enumerate(there)}
    counts, weights, entropies, totals = zip(*(facts[i] for i in there), strict=True)
    total = float(sum(weights))
    if not np.isfinite(total):
        raise ValueError("weights are so large that their sum overflows")
    rows = ClusterRows(jobs, bundles, [[number[i] for i in own] for own in members], list(counts), kind)
    targets = ClusterTargets(
        rows.n, functools.reduce(np.add, totals), total, sum(entropies) / total, kind.smoothing, kind.labelled
    )
    return rows, targets


def _size(examples: Examples) -> int:
    return sum(array.nbytes for array in examples.design.arrays())


class ObjectiveOverCluster(SummedObjective):
    """Sums over partitions that lie on the workers; a step is a task a worker, or of large sums one a partition.

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
        return list(numbered(rows.members, rows.tasks.gather(asked)).values())

    def summed(self, name: str, *arguments: Any) -> tuple[Any, ...]:
        rows = self.source
        return rows.summed(rows.bundles, self._size(name), self.sent_view, name, self._shared(arguments))

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

    def spread(self, count: int) -> "ObjectiveOverCluster":
        rows, targets = self.source.some(spaced(self.n, count))
        if self.targets.active is not None:
            targets = targets.only(self.targets.active)
        return ObjectiveOverCluster(rows, targets, self.dtype, self.scale, self.shift)

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
        c, M = objective.c, objective.m + 1
        size = 8 * c * M * (M * c if name == "pair_grams" else 1)
        return rows.summed(self._curved, size, None, name, rows.tasks.shared(arguments))

    def each_block(self, visit: Any) -> None:
        """The partitions come here, one after another: for what is asked once, in the end, of small problems."""
        ends = np.cumsum([0, *self.objective.source.sizes])
        for start, stop in itertools.pairwise(ends.tolist()):
            self.objective.rows(np.arange(start, stop)).curvature(*self.point).each_block(visit)
