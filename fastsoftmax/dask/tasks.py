"""What workers run: each function is a task, and its name is what the dashboard shows."""

from typing import Any, NamedTuple

import numpy as np
from distributed import get_worker
from numpy.random import PCG64
from sklearn.utils.multiclass import check_classification_targets

from fastsoftmax.data.examples import Examples
from fastsoftmax.data.gate import unmasked
from fastsoftmax.data.layouts import as_design
from fastsoftmax.data.parted_rows import Facts, designed, naming
from fastsoftmax.data.pieces import PartError
from fastsoftmax.data.targets import as_targets, as_weight
from fastsoftmax.engine import threads
from fastsoftmax.objective import tree
from fastsoftmax.objective.base import Curvature
from fastsoftmax.objective.fingerprint import fingerprint
from fastsoftmax.objective.softmax import SoftmaxObjective
from fastsoftmax.objective.summed import SUMS
from fastsoftmax.training.descent import Descent, Settings
from fastsoftmax.training.source import shuffled
from fastsoftmax.training.suited import begin

Array = np.ndarray[Any, Any]


class Raw(NamedTuple):
    """A partition as it came."""

    name: str
    X: Any
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
        return Raw(name, X, y, None if weight is None else as_weight(weight, X.shape[0]), objects)


def look(raw: Raw) -> Seen:
    """The first pass."""
    n = raw.X.shape[0]
    if n == 0:
        return Seen(raw.name, 0, None, None, None, 0.0, 0, None, np.zeros(0))
    design, facts = designed(raw.name, raw.X)
    row = design.row_not_finite()
    if row is not None:
        raise PartError(f"{raw.name}: row {row} of X holds NaN or infinity")
    weight = np.ones(n) if raw.weight is None else raw.weight
    size = sum(array.nbytes for array in design.arrays())
    head = (raw.name, n, facts, design.dtype, design.stored_dtype, design.pairs, size)
    if raw.y.ndim == 2:
        return Seen(*head, None, (weight[:, None] * raw.y).sum(0))
    with naming(raw.name):
        if raw.y.dtype.kind not in "biuU":
            check_classification_targets(raw.y)
        classes, codes = np.unique(raw.y, return_inverse=True)
    return Seen(*head, classes, np.bincount(codes, weight, len(classes)), raw.objects)


def prepare(raw: Raw, classes: Array, class_weight: Array | None, smoothing: float, dtype: Any) -> Examples:
    """Examples as objectives take them, without rows that weigh nothing."""
    n, c, y = raw.X.shape[0], len(classes), raw.y
    with naming(raw.name):
        if y.ndim == 1:
            codes = np.minimum(np.searchsorted(classes, y), c - 1)
            strange = classes[codes] != y
            if strange.any():
                unknown = np.unique(y[strange])[:5].tolist()
                raise PartError(f"{raw.name} has labels that are not among the classes: {unknown}")
            y = codes
        targets = as_targets(
            y, n, c, dtype, sample_weight=raw.weight, class_weight=class_weight, label_smoothing=smoothing
        )
    examples, weight = Examples(as_design(raw.X), targets), targets.kernel.weight
    return examples if not len(weight) or weight.all() else examples.rows(np.flatnonzero(weight))


def measure(examples: Examples) -> tuple[int, float, float, Array]:
    """(rows, their weight, the entropy of their targets times that, what each class weighs)"""
    if not examples.n:
        return 0, 0.0, 0.0, np.zeros(examples.c)
    return examples.n, examples.total, examples.targets.entropy() * examples.total, examples.class_totals()


def objective(examples: Examples, view: View) -> SoftmaxObjective:
    """The objective over a partition."""
    design = examples.design.mapped(view.scale, view.shift)
    targets = examples.targets if view.active is None else examples.targets.only(view.active)
    return SoftmaxObjective(Examples(design, targets), view.dtype)


def ask_each(parts: Any, view: View, name: str, arguments: tuple[Any, ...]) -> list[Any]:
    """A method of the objective over each of these partitions."""
    with threads.serially():
        return [getattr(objective(part, view), name)(*arguments) for part in parts]


def add_up(parts: Any, view: View, name: str, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Of `SUMS`, one of the objective over each of these partitions, added in their order."""
    with threads.serially():
        return tree.joined([SUMS[name](objective(part, view), *arguments) for part in parts])


def join(*items: tuple[Any, ...]) -> tuple[Any, ...]:
    """A sum of the tree."""
    return tree.joined(items)


def bundle(*parts: Any) -> tuple[Any, ...]:
    """Partitions that lie together from now on."""
    return parts


def curve(parts: Any, view: View, point: tuple[Any, ...]) -> list[Curvature]:
    """The curvature of each of these partitions at a point."""
    with threads.serially():
        return [objective(part, view).curvature(*point) for part in parts]


def add_up_curvature(curvatures: list[Curvature], name: str, arguments: tuple[Any, ...]) -> tuple[Any, ...]:
    """Of `SUMS`, one of each of these curvatures, added in their order."""
    with threads.serially():
        return tree.joined([SUMS[name](curvature, *arguments) for curvature in curvatures])


def take(parts: Any, wanted: list[Array]) -> list[Examples]:
    """Rows of these partitions by number, copied."""
    return [part.rows(i) for part, i in zip(parts, wanted, strict=True)]


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
    examples = gather(carried, *bundles)
    old = sum(part.n for part in carried)
    stream = None if state is None else PCG64()
    if stream is not None:
        stream.state = state
    order = np.concatenate([np.arange(old), shuffled(np.arange(old, examples.n), stream)])
    with threads.at_most(get_worker().state.nthreads):
        descent = descent_over(examples, how.view, how.settings, how.pairs)
        descent.load(moved.weights)
        descent.run(order[:whole], rates, how.averaging)
        loss, left = descent.take_loss(), order[whole:]
        return Moved(descent.saved(), examples.rows(left) if len(left) else None, [*moved.losses, loss])


def choose(parts: Any, wanted: list[Array], smoothed: bool) -> Examples:
    """Rows of these partitions by number, copied, one after another."""
    found = Examples.joined([part.rows(i) for part, i in zip(parts, wanted, strict=True)])
    return found if smoothed else Examples(found.design, found.targets.unsmoothed())


def gather(*bundles: Any) -> Examples:
    """Partitions as one."""
    return Examples.joined([part for parts in bundles for part in parts])


def likeliest(parts: Any) -> Array:
    """The label of each row, or its most probable class."""
    return np.concatenate([part.targets.likeliest() for part in parts])


def weigh(parts: Any, wanted: list[Array]) -> list[float]:
    """What rows of each of these partitions weigh."""
    return [part.targets.weight_of(i) for part, i in zip(parts, wanted, strict=True)]
