"""Cross-entropy of logits and targets, and its gradient; one_hot."""

import math
import operator
from typing import Any, Literal, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastsoftmax.data.gate import as_array
from fastsoftmax.data.targets import as_labels, as_targets, as_weight
from fastsoftmax.engine import memory, threads
from fastsoftmax.functional.checks import (
    Floats,
    as_logits,
    check_reduction,
    mean_factor,
    rows_per_block,
    rows_together,
    slices,
)
from fastsoftmax.kernels import cross_entropy as ce
from fastsoftmax.kernels import softmax as sm
from fastsoftmax.kernels.logits import ByClass, ByRow
from fastsoftmax.kernels.math import ordered_sum

Reduction = Literal["mean", "sum", "none"]


def one_hot(y: ArrayLike, n_classes: int | None = None, dtype: DTypeLike = np.float32) -> Floats:
    """Labels as rows with a single one.

    Parameters
    ----------
    y : array-like of shape (n,) or (n, 1)
        Integer labels.
    n_classes : int, optional
        Number of columns, by default the largest label plus 1.
    dtype : dtype, default float32
        Of the result.

    Returns
    -------
    ndarray of shape (n, n_classes)

    Raises
    ------
    TypeError
        If labels are no integers.
    ValueError
        If a label is negative or not below `n_classes`, or if there is none and `n_classes` is not given.

    Examples
    --------
    >>> import fastsoftmax as fs
    >>> fs.one_hot([0, 1, 0])
    array([[1., 0.],
           [0., 1.],
           [1., 0.]], dtype=float32)
    """
    labels = as_labels(y, n_classes)
    if n_classes is None:
        if labels.size == 0:
            raise ValueError("y has no labels to count classes by: give n_classes")
        n_classes = int(labels.max()) + 1
        if n_classes > 1 << 31:
            raise ValueError(f"a label of {n_classes - 1} would take as many columns: give n_classes, or other labels")
    encoded = np.zeros((labels.size, n_classes), dtype)
    encoded[np.arange(labels.size), labels] = 1
    return encoded


def _as_rows(y: ArrayLike, sample_weight: ArrayLike | None, leading: tuple[int, ...], c: int) -> tuple[Any, Any]:
    """y and sample_weight as those of rows: what has the leading shape of the logits loses it."""
    if len(leading) == 1:
        return y, sample_weight
    n, target, weight = math.prod(leading), as_array(y, "y"), sample_weight
    if target.shape not in (leading, (*leading, c)):
        expected = f"{leading} for labels or {(*leading, c)} for probabilities"
        raise ValueError(f"y must be of shape {expected}, as Z is of shape {(*leading, c)}, got {target.shape}")
    if weight is not None:
        weight = as_array(weight, "sample_weight")
        if weight.shape not in ((), leading):
            raise ValueError(f"sample_weight must be of shape {leading}, one weight a label, got {weight.shape}")
        weight = weight.reshape(-1) if weight.shape else weight
    return target.reshape((n, c) if target.shape == (*leading, c) and c > 1 else n), weight


def _without_ignored(y: ArrayLike, sample_weight: Any, n: int, ignore_index: Any) -> tuple[Any, Any, bool]:
    """Labels and weights where rows whose label is `ignore_index` are of class 0 and weigh nothing; whether all are."""
    try:
        ignored_label = operator.index(ignore_index)
    except TypeError:
        raise TypeError(f"ignore_index must be an integer or None, got {ignore_index!r}") from None
    labels = as_array(y, "y")
    if labels.ndim == 2 and labels.shape[1] > 1:
        raise ValueError(f"ignore_index is for labels, got probabilities of shape {labels.shape}: use sample_weight")
    ignored = (labels == ignored_label).reshape(-1)
    if labels.dtype.kind == "f" or labels.shape not in ((n,), (n, 1)) or not ignored.any():
        return labels, sample_weight, n == 0  # nothing to do, or to be refused
    weight = np.ones(n) if sample_weight is None else as_weight(sample_weight, n)
    return np.where(ignored, 0, labels.reshape(-1)), np.where(ignored, 0.0, weight), bool(ignored.all())


def _cross_entropy(
    Z: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None, label_smoothing: float, reduction: str,
    ignore_index: int | None, wanted: bool,
) -> tuple[Any, Floats]:  # fmt: skip
    check_reduction(reduction)
    logits = as_logits(Z)
    if logits.ndim == 0 or logits.shape[-1] == 0:
        raise ValueError(f"Z must be of shape (n, c), or (..., c), with at least one class, got {logits.shape}")
    leading, c = logits.shape[:-1], logits.shape[-1]
    n = math.prod(leading)
    flat = memory.flat(np.require(logits, requirements=("C", "A")))
    (y, weight), all_ignored = _as_rows(y, sample_weight, leading, c), False
    if ignore_index is not None:
        y, weight, all_ignored = _without_ignored(y, weight, n, ignore_index)
    targets = as_targets(y, n, c, flat.dtype, sample_weight=weight, label_smoothing=label_smoothing)
    factor = mean_factor(targets, reduction, all_ignored)
    residual, losses = np.empty((n, c) if wanted else (0, c), flat.dtype), np.zeros(n)
    B = rows_per_block(c, flat.itemsize) if c < sm.FEW else rows_together(c, flat.itemsize)
    lies: ByClass | ByRow = ByClass(B) if c < sm.FEW else ByRow(c)
    groups = -(-n // B)
    workers = max(1, min(threads.worker_count(10.0 * flat.size), groups))
    bias, length = np.zeros(c if c < sm.FEW else 0, flat.dtype), -(-B // 16) * 16
    block, index = memory.aligned((workers, c * B), flat.dtype), memory.aligned((workers, length), np.int64)
    stats, logs = (
        memory.aligned((workers, ce.STATS * length), flat.dtype),
        memory.aligned((workers, length), np.float64),
    )
    out, kernel = residual.reshape(-1), targets.kernel
    pointer = ce.cross_entropy(
        lies, flat, c, B, kernel, factor, 0, 0, bias, block[0], index[0], stats[0], logs[0], losses, out
    )
    for first, last in slices(groups, flat.size):
        ce.cross_entropy_all(
            workers, pointer, lies, flat, c, B, kernel, factor, first, last, bias, block, index, stats, logs, losses,
            out,
        )  # fmt: skip
    residual = residual.reshape(logits.shape) if wanted else residual
    if reduction == "none":
        return losses.reshape(leading), residual
    return ordered_sum(losses) * factor, residual


@overload
def cross_entropy(
    Z: ArrayLike, y: ArrayLike, *, sample_weight: ArrayLike | None = None, label_smoothing: float = 0.0,
    reduction: Literal["mean", "sum"] = "mean", ignore_index: int | None = None,
) -> float: ...  # fmt: skip


@overload
def cross_entropy(
    Z: ArrayLike, y: ArrayLike, *, sample_weight: ArrayLike | None = None, label_smoothing: float = 0.0,
    reduction: Literal["none"], ignore_index: int | None = None,
) -> NDArray[np.float64]: ...  # fmt: skip


def cross_entropy(
    Z: ArrayLike,
    y: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
    ignore_index: int | None = None,
) -> Any:
    """Cross-entropy of logits and targets.

    Parameters
    ----------
    Z : array-like of shape (n, c), or (..., c)
        Logits; dtypes as in `softmax`. For sequences: (batch, length, classes).
    y : array-like of shape (n,), (n, 1) or (n, c); or (...) or (..., c)
        Integer labels, or target probabilities, whose rows sum to 1.
    sample_weight : array-like of shape (n,), or (...), optional
        Weights s_i. A row of weight 0 counts for nothing, whatever it holds.
    label_smoothing : float, default 0.0
        epsilon: targets become (1 - epsilon) Y + epsilon / c.
    reduction : {"mean", "sum", "none"}, default "mean"
        "sum": sum of s_i CE_i; "mean": that divided by the sum of s_i; "none": s_i CE_i of each row.
    ignore_index : int, optional
        A label of rows that count for nothing, such as PyTorch's -100 for padding: their loss and gradient are 0, and
        "mean" divides by the weights of the others. Where all rows are padding, the mean is nan, as in PyTorch, and
        its gradient 0.

    Returns
    -------
    float, or ndarray of shape (n,), or (...), and dtype float64
        In float64 whatever Z is. +inf for a label on a class of logit -inf.

    Raises
    ------
    TypeError, ValueError
        If shapes, labels, probabilities or weights are wrong, `ignore_index` is given along with probabilities, or
        there is no row to take a mean of.

    Examples
    --------
    >>> import numpy as np
    >>> import fastsoftmax as fs
    >>> round(fs.cross_entropy(np.zeros((2, 4)), [0, 3]), 6)  # log 4
    1.386294

    Two sequences of three words of a vocabulary of four; the second sequence ends in padding:

    >>> y = np.array([[0, 3, 1], [2, -100, -100]])
    >>> round(fs.cross_entropy(np.zeros((2, 3, 4)), y, ignore_index=-100), 6)
    1.386294
    """
    return _cross_entropy(Z, y, sample_weight, label_smoothing, reduction, ignore_index, False)[0]


@overload
def cross_entropy_gradient(
    Z: ArrayLike, y: ArrayLike, *, sample_weight: ArrayLike | None = None, label_smoothing: float = 0.0,
    reduction: Literal["mean", "sum"] = "mean", ignore_index: int | None = None,
) -> tuple[float, Floats]: ...  # fmt: skip


@overload
def cross_entropy_gradient(
    Z: ArrayLike, y: ArrayLike, *, sample_weight: ArrayLike | None = None, label_smoothing: float = 0.0,
    reduction: Literal["none"], ignore_index: int | None = None,
) -> tuple[NDArray[np.float64], Floats]: ...  # fmt: skip


def cross_entropy_gradient(
    Z: ArrayLike,
    y: ArrayLike,
    *,
    sample_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
    ignore_index: int | None = None,
) -> tuple[Any, Floats]:
    """Cross-entropy and its gradient in the logits, in one pass.

    Parameters
    ----------
    Z, y, sample_weight, label_smoothing, reduction, ignore_index
        As in `cross_entropy`.

    Returns
    -------
    loss : float, or ndarray of shape (n,), or (...)
        As in `cross_entropy`.
    dZ : ndarray of the shape of Z
        softmax(Z) - Y, weighted, and divided by the sum of the weights for "mean"; in the dtype of the logits.

    Raises
    ------
    TypeError, ValueError
        As in `cross_entropy`.

    Examples
    --------
    >>> import numpy as np
    >>> import fastsoftmax as fs
    >>> loss, dZ = fs.cross_entropy_gradient(np.zeros((1, 2)), [0])
    >>> dZ
    array([[-0.5,  0.5]])
    """
    return _cross_entropy(Z, y, sample_weight, label_smoothing, reduction, ignore_index, True)
