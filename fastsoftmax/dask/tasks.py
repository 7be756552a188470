"""What workers run: each function is a task, and its name is what the dashboard shows."""

import itertools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
from dask.sizeof import sizeof
from distributed import get_worker
from numpy.random import PCG64
from sklearn.utils.multiclass import check_classification_targets

from fastsoftmax.data.design import Design
from fastsoftmax.data.examples import Examples
from fastsoftmax.data.gate import unmasked
from fastsoftmax.data.layouts import as_design
from fastsoftmax.data.parted_rows import Facts, designed, naming
from fastsoftmax.data.pieces import PartError
from fastsoftmax.data.targets import as_targets, as_weight
from fastsoftmax.engine import threads
from fastsoftmax.engine.blas import on_threads
from fastsoftmax.kernels.math import ordered_sum
from fastsoftmax.objective import tree
from fastsoftmax.objective.base import Curvature
from fastsoftmax.objective.curvature import PointCurvature
from fastsoftmax.objective.fingerprint import fingerprint
from fastsoftmax.objective.softmax import SoftmaxObjective
from fastsoftmax.objective.summed import SUMS
from fastsoftmax.training.descent import Descent, Settings
from fastsoftmax.training.source import shuffled
from fastsoftmax.training.suited import begin

Array = np.ndarray[Any, Any]
Part = TypeVar("Part")
Found = TypeVar("Found")


@sizeof.register(Design)  # type: ignore[untyped-decorator]
def _(design: Design) -> int:
    """Or Dask would take it for a few bytes, and move it to any worker."""
    return sum(array.nbytes for array in design.arrays())


@sizeof.register(Examples)  # type: ignore[untyped-decorator]
def _(examples: Examples) -> int:
    return sum(array.nbytes for array in (*examples.design.arrays(), *examples.targets.kernel[:3]))


@sizeof.register(PointCurvature)  # type: ignore[untyped-decorator]
def _(curvature: PointCurvature) -> int:
    """With the rows, which go where it goes."""
    rows = sum(array.nbytes for part in curvature.parts for array in part.design.arrays())
    return rows + (0 if curvature.held is None else curvature.held.nbytes)


class Raw(NamedTuple):
    """A partition as it came, but for X, which is read as it is, or was converted once."""

    name: str
    design: Design | None  # None where there are no rows
    facts: Facts | None
    y: Any
    weight: Any
    objects: bool  # whether labels came as objects, which are strings


class Seen(NamedTuple):
    """What the first pass says of a partition."""

    name: str
    n: int
    facts: Facts | None  # None where there are no rows
    dtype: Any
    stored_dtype: Any
    pairs: float
    bytes: int
    classes: Array | None  # sorted; None for probabilities
    totals: Array  # what each of them weighs, or of probabilities each column
    objects: bool = False  # whether labels came as objects
    weighted: bool = False  # whether rows came with weights


class How(NamedTuple):
    """What targets are made with."""

    classes: Array
    class_weight: Array | None
    smoothing: float
    dtype: Any  # of probabilities


class Measured(NamedTuple):
    """What the targets of a partition say."""

    n: int
    weight: float
    entropy: float  # times the weight
    totals: Array  # what each class weighs


class Failed(NamedTuple):
    """Why a partition cannot be taken."""

    error: Exception


class View(NamedTuple):
    """How an objective looks at examples: a map of the features, a compute type, and which classes there are."""

    scale: Array
    shift: Array
    dtype: Any
    active: Array | None


def partition(name: str, X: Any, y: Any = None, weight: Any = None) -> Raw:
    """Rows, labels and weights that lie together."""
    for part, title in ((y, "y"), (weight, "sample_weight")):
        index, other = getattr(X, "index", None), getattr(part, "index", None)
        if index is not None and hasattr(index, "equals") and hasattr(other, "equals") and not index.equals(other):
            raise PartError(f"{name}: the index of {title} is another than that of X")
        unmasked(part, f"{title} of {name}")
    y, weight = (None if part is None else np.asarray(part) for part in (y, weight))
    if y is None:
        raise PartError(f"{name} has no y")
    if y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    objects = y.dtype.kind == "O" and all(isinstance(label, str) for label in y)
    if objects:
        y = y.astype(str)
    if y.shape[:1] != X.shape[:1]:
        raise PartError(f"{name} has {X.shape[0]} rows of X, but y of shape {y.shape}")
    with naming(name):
        weight = None if weight is None else as_weight(weight, X.shape[0])
    design, facts = designed(name, X) if X.shape[0] else (None, None)
    return Raw(name, design, facts, y, weight, objects)


def attempt(function: Callable[..., Found], name: str, *arguments: Any) -> Found | Failed:
    """What a function returns, or why it cannot: so that of errors the first by the partitions' order is said."""
    try:
        with naming(name):
            return function(*arguments)
    except Exception as error:
        return Failed(error)


def look(raws: Sequence[Raw]) -> list[Seen | Failed]:
    """The first pass."""
    return over_each(raws, lambda raw: attempt(_seen, raw.name, raw))


def _seen(raw: Raw) -> Seen:
    design = raw.design
    if design is None:
        return Seen(raw.name, 0, None, None, None, 0.0, 0, None, np.zeros(0))
    n, row = design.n, design.row_not_finite()
    if row is not None:
        raise PartError(f"{raw.name}: row {row} of X holds NaN or infinity")
    weight = np.ones(n) if raw.weight is None else raw.weight
    size = sum(array.nbytes for array in design.arrays())
    head = (raw.name, n, raw.facts, design.dtype, design.stored_dtype, design.pairs, size)
    if raw.y.ndim == 2:
        return Seen(*head, None, (weight[:, None] * raw.y).sum(0), False, raw.weight is not None)
    if raw.y.dtype.kind not in "biuU":
        check_classification_targets(raw.y)
    classes, codes = np.unique(raw.y, return_inverse=True)
    return Seen(*head, classes, np.bincount(codes, weight, len(classes)), raw.objects, raw.weight is not None)


def prepare(raws: Sequence[Raw], how: How) -> list[Examples | Failed]:
    """Examples as objectives take them, without rows that weigh nothing."""
    return over_each(raws, lambda raw: attempt(_prepared, raw.name, raw, how))


def _prepared(raw: Raw, how: How) -> Examples:
    c, y = len(how.classes), raw.y
    if raw.design is None:
        return Examples.unlabelled(as_design(np.zeros((0, 1))), c)
    if y.ndim == 1:
        y = np.searchsorted(how.classes, y)  # which has no others: they were compared
    targets = as_targets(
        y, raw.design.n, c, how.dtype, sample_weight=raw.weight, class_weight=how.class_weight,
        label_smoothing=how.smoothing,
    )  # fmt: skip
    examples, weight = Examples(raw.design, targets), targets.kernel.weight
    return examples if not len(weight) or weight.all() else examples.rows(np.flatnonzero(weight))


def measure(parts: Any) -> list[Measured | Failed]:
    """What the targets of each partition say."""
    return over_each(parts, lambda part: part if isinstance(part, Failed) else _measured(part))


def _measured(examples: Examples) -> Measured:
    if not examples.n:
        return Measured(0, 0.0, 0.0, np.zeros(examples.c))
    entropy = examples.targets.entropy() * examples.total
    return Measured(examples.n, examples.total, entropy, examples.class_totals())


def objective(examples: Examples, view: View) -> SoftmaxObjective:
    """The objective over a partition."""
    design = examples.design.mapped(view.scale, view.shift)
    targets = examples.targets if view.active is None else examples.targets.only(view.active)
    return SoftmaxObjective(Examples(design, targets), view.dtype)


def over_each(parts: Sequence[Part], function: Callable[[Part], Found]) -> list[Found]:
    """function of each of these, in order: as many at a time as this worker has threads, of which each takes one."""
    found, count = dict[int, Found](), min(len(parts), _threads())

    def take(i: int) -> None:
        with threads.serially():
            found[i] = function(parts[i])

    on_threads(count, take, range(len(parts)))
    return [found[i] for i in range(len(parts))]


def ask_each(parts: Any, view: View, name: str, arguments: tuple[Any, ...]) -> list[Any]:
    """A method of the objective over each of these partitions."""
    return over_each(parts, lambda part: getattr(objective(part, view), name)(*arguments))


class Packed(NamedTuple):
    """Tuples of numbers, lists and arrays of one shape, by columns: a message of a thousand arrays takes 0.1 s."""

    columns: list[Any]

    @classmethod
    def of(cls, rows: list[tuple[Any, ...]]) -> "Packed":
        """Of some tuples."""
        return cls([np.stack(col) if type(col[0]) is np.ndarray else list(col) for col in zip(*rows, strict=True)])

    def rows(self) -> list[tuple[Any, ...]]:
        """The tuples, whose arrays can be added to."""
        return list(zip(*self.columns, strict=True))


def _term(held: Any, view: View | None, name: str, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Of `SUMS`, one of the objective over a partition, or of a curvature, which has no view."""
    return SUMS[name](held if view is None else objective(held, view), *arguments)


def add_up(held: Any, places: Sequence[Sequence[int]], view: View | None, *what: Any) -> Packed:
    """Terms of partitions, or of curvatures, those at each of these places added in their order."""

    def function(place: int) -> tuple[Any, ...]:
        return _term(held[place], view, *what)

    sums, now = list[tuple[Any, ...]](), list[Sequence[int]]()
    for k, node in enumerate(places):
        now.append(node)
        if sum(map(len, now)) >= tree.FAN_IN * _threads() or k == len(places) - 1:  # no more sums at once
            found = iter(over_each([place for some in now for place in some], function))
            sums += [tree.joined(list(itertools.islice(found, len(some)))) for some in now]
            now = []
    return Packed.of(sums)


def _threads() -> int:
    """Of this worker."""
    return int(get_worker().state.nthreads)


def add_up_large(held: Any, places: Sequence[int], view: View | None, *what: Any) -> tuple[Any, ...]:
    """As one sum of `add_up`, whose terms are so large that there are but two at once."""
    with threads.serially():
        total = _term(held[places[0]], view, *what)
        for place in places[1:]:
            total = tree.joined([total, _term(held[place], view, *what)])
    return total


def join(*items: tuple[Any, ...]) -> tuple[Any, ...]:
    """A sum of the tree."""
    return tree.joined(items)


def bundle(*parts: Any) -> tuple[Any, ...]:
    """Partitions that lie together from now on."""
    return parts


def curve(parts: Any, view: View, point: tuple[Any, ...]) -> list[Curvature]:
    """The curvature of each of these partitions at a point."""
    return over_each(parts, lambda part: objective(part, view).curvature(*point))


def choose(parts: Any, wanted: list[Array], smoothed: bool) -> tuple[Examples, ...]:
    """Rows of these partitions by number, copied; of which there are none, are left out."""
    found = [part.rows(i) for part, i in zip(parts, wanted, strict=True) if len(i)]
    return tuple(part if smoothed else Examples(part.design, part.targets.unsmoothed()) for part in found)


def filled(parts: Any) -> tuple[Examples, ...]:
    """Those that have rows."""
    return tuple(part for part in parts if part.n)


def digest(parts: Any) -> list[str]:
    """By what partitions are known again."""
    return [fingerprint(part) for part in parts]


def same(value: Any) -> Any:
    """A value, which workers can then have from each other."""
    return value


class Moved(NamedTuple):
    """What a window of rows passes on to the next one."""

    weights: dict[str, Array]  # of `Descent.saved`
    carried: Examples | None  # rows that are not yet trained on, in their order
    losses: list[float]


class Pass(NamedTuple):
    """How steps are taken over any window."""

    view: View
    settings: Settings
    pairs: float | None  # entries of X in a row, on average over all windows: one plan for them
    averaging: bool


def descent_over(examples: Examples, view: View, settings: Settings, pairs: float | None) -> Descent:
    """A descent over rows of one of many windows, with weights of 0."""
    design = examples.design.mapped(view.scale, view.shift)
    design.pairs = design.pairs if pairs is None else pairs
    return begin(SoftmaxObjective(Examples(design, examples.targets), view.dtype), settings)


def train(moved: Moved, how: Pass, state: Any, whole: int, rates: Array, *bundles: Any) -> Moved:
    """Steps over so many rows of a window, by all threads of this worker: no other window can be trained on.

    state: of a stream of random numbers, by which fresh rows are shuffled, or None.
    """
    carried = [] if moved.carried is None else [moved.carried]
    (examples,) = gather(carried, *bundles)
    old = sum(part.n for part in carried)
    stream = None if state is None else PCG64()
    if stream is not None:
        stream.state = state
    order = np.concatenate([np.arange(old), shuffled(np.arange(old, examples.n), stream)])
    with threads.at_most(_threads()):
        descent = descent_over(examples, how.view, how.settings, how.pairs)
        descent.load(moved.weights)
        descent.run(order[:whole], rates, how.averaging)
        loss, left = descent.take_loss(), order[whole:]
        return Moved(descent.saved(), examples.rows(left) if len(left) else None, [*moved.losses, loss])


def gather(*bundles: Any) -> tuple[Examples]:
    """Partitions as one."""
    return (Examples.joined([part for parts in bundles for part in parts]),)


def likeliest(parts: Any) -> Array:
    """The label of each row, or its most probable class."""
    return np.concatenate([part.targets.likeliest() for part in parts])


def weights(parts: Any) -> Array:
    """Of all rows of these partitions."""
    return np.concatenate([part.targets.kernel.weight for part in parts])


def weigh_on(total: float, *weight: Array) -> float:
    """A sum that goes on over more rows, in their order."""
    return float(ordered_sum(np.concatenate([[total], *weight])))
