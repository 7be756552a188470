"""What the rows should be: labels or probabilities, weights and smoothing, checked once."""

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastsoftmax.data.gate import as_array
from fastsoftmax.engine import memory
from fastsoftmax.kernels.cross_entropy import Targets
from fastsoftmax.kernels.math import ordered_sum

SUM_TOLERANCE = 1e-3  # of rows of probabilities: float16 ones of 1000 classes are off by 5e-4

UNSIGNED = {np.dtype(f"i{size}"): np.dtype(f"u{size}") for size in (1, 2, 4, 8)}
INDEX, DOUBLE = np.dtype(np.int64), np.dtype(np.float64)
NOTHING: dict[Any, NDArray[Any]] = {
    np.dtype(kind): np.zeros(0, kind) for kind in (np.int64, np.float32, np.float64)
}  # stands for none

ClassWeight = Mapping[int, float] | str | ArrayLike | None


def as_labels(y: ArrayLike, n_classes: int | None, name: str = "y") -> NDArray[np.int64]:
    """Integer labels (n,) in 0..n_classes - 1; a column (n, 1) is ravelled.

    Raises
    ------
    TypeError
        If they are no integers.
    ValueError
        If a label is out of range, or the shape is another.
    """
    labels = as_array(y, name)
    if not labels.dtype.isnative:
        labels = labels.astype(labels.dtype.newbyteorder("="))
    if labels.size == 0 and labels.ndim == 1:
        labels = labels.astype(np.int64)  # an empty list is of floats
    if labels.dtype.kind not in "iub":
        raise TypeError(f"{name} must be integer labels, or probabilities of shape (n, c), got dtype {labels.dtype}")
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1:
        raise ValueError(f"{name} must be of shape (n,), got {labels.shape}")
    if labels.size and not _in_range(labels, n_classes):
        low, high = int(labels.min()), int(labels.max())
        upto = "non-negative and below 2**63" if n_classes is None else f"in 0..{n_classes - 1} for {n_classes} classes"
        raise ValueError(f"labels must be {upto}, got {low if low < 0 else high}")
    return labels if labels.dtype == INDEX and labels.flags.carray else np.require(labels, np.int64, ("C", "A"))


def _in_range(labels: NDArray[Any], n_classes: int | None) -> bool:
    """Whether labels are from 0 to n_classes - 1, by one look: as unsigned numbers negative ones are the largest."""
    limit = 1 << 63 if n_classes is None else n_classes
    if labels.dtype in UNSIGNED:
        limit = min(limit, 1 << (8 * labels.itemsize - 1))
        labels = labels.view(UNSIGNED[labels.dtype])
    return int(labels.max()) < limit


def _as_soft(y: NDArray[Any], n_classes: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    if y.shape[1] != n_classes:
        raise ValueError(f"target probabilities must have {n_classes} columns, one a class, got shape {y.shape}")
    soft = np.require(y, dtype, ("C", "A"))
    if soft.size and not soft.min() >= 0:
        raise ValueError("target probabilities must not be negative or NaN")
    sums = soft.sum(1, dtype=np.float64)
    wrong = np.flatnonzero(~(np.abs(sums - 1) <= SUM_TOLERANCE))
    if wrong.size:
        row, total = wrong[0], sums[wrong[0]]
        if ((soft == 0) | (soft == 1)).all():
            raise ValueError(
                f"multilabel targets are not supported: row {row} of y marks {total:g} classes where 1 is expected; "
                "give one label a row, or probabilities whose rows sum to 1"
            )
        raise ValueError(f"target probabilities must sum to 1 in each row; row {row} sums to {total:g}")
    return soft if (sums == 1).all() else (soft / sums[:, None]).astype(dtype)


def as_weight(sample_weight: ArrayLike, n: int) -> NDArray[np.float64]:
    """Weights (n,), checked; a number is the weight of all."""
    weight = as_array(sample_weight, "sample_weight").astype(np.float64)
    if weight.ndim == 0:
        weight = np.full(n, weight)
    if weight.shape != (n,):
        raise ValueError(f"sample_weight must be of shape ({n},), one weight a row, got {weight.shape}")
    if not (np.isfinite(weight) & (weight >= 0)).all():
        raise ValueError("sample_weight must be finite and not negative")
    if n and not float(weight.max()) * n < np.inf:
        raise ValueError(f"sample_weight is so large that its sum may overflow: its largest is {weight.max():g}")
    return weight


def _class_weights(class_weight: ClassWeight, counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """One weight a class; counts: what each class weighs in the data."""
    c = len(counts)
    if isinstance(class_weight, str):
        if class_weight != "balanced":
            raise ValueError(f'class_weight must be "balanced", a dict or of shape ({c},), got {class_weight!r}')
        present = counts > 0
        weights = np.zeros(c)
        weights[present] = ordered_sum(counts) / (present.sum() * counts[present])
        return weights
    if isinstance(class_weight, Mapping):
        unknown = [k for k in class_weight if k not in range(c)]
        if unknown:
            raise ValueError(f"class_weight names classes that are not in 0..{c - 1}: {unknown}")
        class_weight = [float(class_weight.get(k, 1.0)) for k in range(c)]
    weights = np.asarray(as_array(class_weight, "class_weight"), np.float64)  # type: ignore[arg-type]
    if weights.shape != (c,):
        raise ValueError(f"class_weight must be {c} finite numbers, one a class, got shape {weights.shape}")
    wrong = weights[~(np.isfinite(weights) & (weights >= 0))]
    if wrong.size:
        raise ValueError(f"class_weight must be {c} finite numbers that are not negative, got {wrong[0]:g}")
    return weights


def _class_totals(labels: NDArray[np.int64], soft: NDArray[Any], c: int, weight: NDArray[Any]) -> NDArray[np.float64]:
    """What each class weighs, summed in order of the rows: the same on any CPU."""
    if labels.size:
        return np.bincount(labels, weight if weight.size else None, c).astype(np.float64)
    ones = weight if weight.size else np.ones(len(soft))
    return np.array([ordered_sum(ones * soft[:, k]) for k in range(c)])


class CheckedTargets:
    """Targets of n rows and c classes as the kernels take them, and what they weigh.

    Attributes
    ----------
    kernel : Targets
        Labels or probabilities, weights, smoothing.
    n, c : int
    total : float
        S, the sum of the weights.
    """

    def __init__(self, kernel: Targets, n: int, c: int) -> None:
        self.kernel, self.n, self.c = kernel, n, c
        self.total = float(ordered_sum(kernel.weight)) if len(kernel.weight) else float(n)

    @classmethod
    def unknown(cls, n: int, c: int, dtype: np.dtype[Any]) -> "CheckedTargets":
        """Those of rows of which only predictions are wanted."""
        return cls(Targets(NOTHING[INDEX], NOTHING[dtype], NOTHING[DOUBLE], 0.0), n, c)

    @classmethod
    def joined(cls, parts: Sequence["CheckedTargets"]) -> "CheckedTargets":
        """Those of several, which have one kind and one smoothing, one after another."""
        kernels, weight = [part.kernel for part in parts], NOTHING[DOUBLE]
        labels, soft = (np.concatenate([kernel[k] for kernel in kernels]) for k in range(2))
        if any(len(kernel.weight) for kernel in kernels):
            weight = np.concatenate(
                [part.kernel.weight if len(part.kernel.weight) else np.ones(part.n) for part in parts]
            )
        kernel = Targets(memory.flat(labels), memory.flat(soft), weight, kernels[0].smoothing)
        return cls(kernel, sum(part.n for part in parts), parts[0].c)

    def rows(self, index: NDArray[Any] | slice) -> "CheckedTargets":
        """Those of some of the rows; of a slice, in the same memory."""
        labels, soft, weight, smoothing = self.kernel
        labels = labels[index] if len(labels) else labels
        soft = soft.reshape(-1, self.c)[index].reshape(-1) if len(soft) else soft
        n = len(range(self.n)[index]) if isinstance(index, slice) else len(index)
        return CheckedTargets(Targets(labels, soft, weight[index] if len(weight) else weight, smoothing), n, self.c)

    def only(self, classes: NDArray[Any]) -> "CheckedTargets":
        """Without the other classes, which nothing with a weight is."""
        labels, soft, weight, smoothing = self.kernel
        if len(labels):
            codes = np.zeros(self.c, np.int64)
            codes[classes] = np.arange(len(classes))
            labels = codes[labels]
        else:
            soft = np.ascontiguousarray(soft.reshape(-1, self.c)[:, classes]).reshape(-1)
        return CheckedTargets(Targets(labels, soft, weight, smoothing), self.n, len(classes))

    def astype(self, dtype: Any) -> "CheckedTargets":
        """The same for kernels that compute in `dtype`."""
        return CheckedTargets(self.kernel._replace(soft=self.kernel.soft.astype(dtype)), self.n, self.c)

    def unsmoothed(self) -> "CheckedTargets":
        """The same without label smoothing."""
        return CheckedTargets(self.kernel._replace(smoothing=0.0), self.n, self.c)

    def weighing(self) -> NDArray[np.int64]:
        """The numbers of the rows whose weight is not 0."""
        return np.flatnonzero(self.kernel.weight > 0) if len(self.kernel.weight) else np.arange(self.n)

    def weight_of(self, rows: NDArray[Any]) -> float:
        """What some of the rows weigh, in order."""
        return float(ordered_sum(self.kernel.weight[rows])) if len(self.kernel.weight) else float(len(rows))

    def likeliest(self) -> NDArray[np.int64]:
        """The label of each row, or its most probable class."""
        labels, soft, *_ = self.kernel
        return labels if len(labels) else np.asarray(soft.reshape(-1, self.c).argmax(1))

    def class_totals(self) -> NDArray[np.float64]:
        """What each class weighs, before smoothing."""
        return _class_totals(self.kernel.labels, self.kernel.soft.reshape(-1, self.c), self.c, self.kernel.weight)

    def entropy(self) -> float:
        """The mean entropy of the smoothed targets."""
        c, epsilon, weight = self.c, self.kernel.smoothing, self.kernel.weight
        if len(self.kernel.labels):
            p = np.array([1 - epsilon + epsilon / c] + [epsilon / c] * (c - 1))
            return float(-(p[p > 0] * np.log(p[p > 0])).sum())
        p = (1 - epsilon) * self.kernel.soft.reshape(-1, c).astype(np.float64) + epsilon / c
        entropies = -np.where(p > 0, p * np.log(np.where(p > 0, p, 1)), 0).sum(1)
        return float(np.average(entropies, weights=weight if len(weight) else None))


def as_targets(
    y: ArrayLike,
    n: int,
    n_classes: int,
    dtype: Any,
    *,
    sample_weight: ArrayLike | None = None,
    class_weight: ClassWeight = None,
    label_smoothing: float = 0.0,
) -> CheckedTargets:
    """Labels (n,) or probabilities (n, c), checked against n rows and c classes.

    With probabilities a row's class weight is the mean of its classes' weights, before smoothing.

    Raises
    ------
    TypeError, ValueError
        If something is wrong: the message says what was given and what was expected.
    """
    if not isinstance(label_smoothing, (float, Real)) or not 0 <= label_smoothing <= 1:
        raise ValueError(f"label_smoothing must be from 0 to 1, got {label_smoothing!r}")
    dtype, array = np.dtype(dtype), as_array(y, "y")
    labels, soft = NOTHING[INDEX], NOTHING[dtype]
    if array.ndim == 2 and array.shape[1] > 1:
        soft = _as_soft(array, n_classes, dtype)
    else:
        labels = as_labels(array, n_classes)
    if max(len(labels), len(soft)) != n:
        raise ValueError(f"X and y must have the same number of rows, got {n} and {max(len(labels), len(soft))}")
    weight = NOTHING[DOUBLE] if sample_weight is None else as_weight(sample_weight, n)
    if class_weight is not None:
        soft = soft.reshape(-1, n_classes)
        per_class = _class_weights(class_weight, _class_totals(labels, soft, n_classes, weight))
        if labels.size:
            per_row = per_class[labels]
        else:
            per_row = np.zeros(n)
            for k in range(n_classes):  # in order: NumPy's own sums depend on the CPU
                per_row += per_class[k] * soft[:, k]
        with np.errstate(over="ignore"):
            weight = per_row * weight if weight.size else per_row
        if n and not float(weight.max()) * n < np.inf:
            raise ValueError(f"class_weight is so large that the sum of weights may overflow: up to {weight.max():g}")
    kernel = Targets(memory.flat(labels), memory.flat(soft), weight, float(label_smoothing))
    return CheckedTargets(kernel, n, n_classes)
