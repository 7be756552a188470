"""What workers run: each function is a task, and its name is what the dashboard shows."""

from typing import Any, NamedTuple

import numpy as np
from sklearn.utils.multiclass import check_classification_targets

from fastsoftmax.data.design import Design
from fastsoftmax.data.examples import Examples
from fastsoftmax.data.gate import unmasked
from fastsoftmax.data.layouts import as_design
from fastsoftmax.data.parted_rows import Facts, designed, naming
from fastsoftmax.data.pieces import PartError
from fastsoftmax.data.targets import CheckedTargets, as_targets, as_weight
from fastsoftmax.engine import threads
from fastsoftmax.objective import tree
from fastsoftmax.objective.base import Curvature
from fastsoftmax.objective.fingerprint import fingerprint
from fastsoftmax.objective.softmax import SoftmaxObjective
from fastsoftmax.objective.summed import SUMS

Array = np.ndarray[Any, Any]


class Raw(NamedTuple):
    """A partition as it came."""

    name: str
    X: Any
    y: Any
    weight: Any


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
    if y is not None and y.ndim == 2 and y.shape[1] == 1:
        y = y[:, 0]
    if y is not None and y.dtype.kind == "O":
        y = y.astype(str) if all(isinstance(label, str) for label in y) else y
    if y is not None and y.shape[:1] != X.shape[:1]:
        raise PartError(f"{name} has {X.shape[0]} rows of X, but y of shape {y.shape}")
    with naming(name):
        return Raw(name, X, y, None if weight is None else as_weight(weight, X.shape[0]))


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
    return Seen(*head, classes, np.bincount(codes, weight, len(classes)))


def prepare(raw: Raw, classes: Array, class_weight: Array | None, smoothing: float) -> Examples:
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
            y, n, c, np.float64, sample_weight=raw.weight, class_weight=class_weight, label_smoothing=smoothing
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


def take(parts: Any, wanted: list[Array]) -> list[tuple[Design, CheckedTargets]]:
    """Rows of these partitions by number, copied."""
    return [(found.design, found.targets) for found in (part.rows(i) for part, i in zip(parts, wanted, strict=True))]


def digest(parts: Any) -> list[str]:
    """By what partitions are known again."""
    return [fingerprint(part) for part in parts]


def same(value: Any) -> Any:
    """A value, which workers can then have from each other."""
    return value
