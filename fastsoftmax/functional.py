"""The public functions: softmax and its kin, cross-entropy, and the fused pass of softmax regression."""

import functools
import math
import operator
from collections.abc import Iterator
from numbers import Real
from typing import Any, Literal, NamedTuple, overload

import numpy as np
from numpy.typing import ArrayLike, DTypeLike, NDArray

from fastsoftmax.data.examples import Examples
from fastsoftmax.data.gate import as_array, contiguous
from fastsoftmax.data.layouts import as_design, compute_dtype
from fastsoftmax.data.targets import CheckedTargets, as_labels, as_targets, as_weight
from fastsoftmax.engine import memory, threads
from fastsoftmax.kernels import cross_entropy as ce
from fastsoftmax.kernels import softmax as sm
from fastsoftmax.kernels.math import ordered_sum, sum_of_squares
from fastsoftmax.objective.softmax import SoftmaxObjective

SLICE = 1 << 23  # elements of a call of a driver: some milliseconds
Reduction = Literal["mean", "sum", "none"]
Floats = NDArray[Any]

# ---- softmax, log_softmax, logsumexp


def _as_logits(Z: ArrayLike, name: str = "Z") -> Floats:
    array = as_array(Z, name)
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def _rows_per_block(c: int, itemsize: int) -> int:
    """Rows of a class-major block: its logits fit 32 KB of L1."""
    return max(16, min(512, (32 << 10) // (c * itemsize) // 16 * 16))


def _slices(groups: int, size: int) -> Iterator[tuple[int, int]]:
    """Ranges of groups, each of so few elements that Ctrl-C is heard between them."""
    count = max(1, min(groups, size // SLICE))
    return ((i * groups // count, (i + 1) * groups // count) for i in range(count))


def _check_out(out: Floats, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Floats:
    if not isinstance(out, np.ndarray) or isinstance(out, (np.ma.MaskedArray, np.matrix)):
        raise TypeError(f"out must be a plain NumPy array, got {type(out).__name__}")
    if out.shape != shape or out.dtype != dtype:
        raise ValueError(f"out must be {dtype} of shape {shape}, got {out.dtype} of shape {out.shape}")
    if not (out.flags.c_contiguous and out.flags.aligned and out.flags.writeable):
        raise ValueError("out must be C-contiguous, aligned and writable")
    return out


def _check_axis(axis: int | None, shape: tuple[int, ...]) -> int | None:
    """The axis, counted from the front; None stands for all."""
    if axis is None:
        return None
    if not shape:
        raise ValueError("Z must have at least one dimension, got a scalar")
    try:
        number = operator.index(axis)
    except TypeError:
        raise TypeError(f"axis must be an integer or None, got {axis!r}") from None
    if not -len(shape) <= number < len(shape):
        raise ValueError(f"axis must be from {-len(shape)} to {len(shape) - 1} for shape {shape}, got {number}")
    return number % len(shape)


class Plan(NamedTuple):
    """How softmax and its kin walk an array, by its shape, axis and dtype."""

    c: int  # classes
    inner: int  # entries from one class to the next
    B: int  # rows of a class-major block, or 0: each row by itself
    groups: int  # what workers share out
    reduced: tuple[int, ...]  # the shape of a number a row, and
    kept: tuple[int, ...]  # with the axis
    scratch: tuple[memory.Places, int]


@functools.lru_cache(256, typed=True)  # an axis of 1.0 is none
def _plan(shape: tuple[int, ...], axis: int | None, dtype: np.dtype[Any], workers: int) -> Plan:
    axis = _check_axis(axis, shape)
    size = math.prod(shape)
    c, inner = (size, 1) if axis is None else (shape[axis], math.prod(shape[axis + 1 :]))
    if c == 0:
        raise ValueError(f"Z has no class along axis {axis}: shape {shape}")
    kept = tuple(1 if axis in (None, k) else length for k, length in enumerate(shape))
    reduced = () if axis is None else shape[:axis] + shape[axis + 1 :]
    B = 0 if inner == 1 and c >= sm.FEW else _rows_per_block(c, dtype.itemsize)
    rows = size // c
    groups = rows if B == 0 else -(-rows // B) if inner == 1 else rows // max(inner, 1) * -(-inner // B)
    workers, length = min(workers, max(groups, 1)), max(B, 8)
    double = np.dtype(np.float64)
    parts = [((1, c if B else 0), dtype), ((workers, c * B), dtype), ((workers, 2 * length), dtype),
             ((workers, length), double)]  # fmt: skip
    return Plan(c, inner, B, groups, reduced, kept, memory.places(parts))


def _normalise(Z: ArrayLike, axis: int | None, out: Floats | None, mode: int, keepdims: bool = False) -> Floats:
    """One of the three functions of `kernels.softmax` over any axis of any array, or over all of them."""
    logits = _as_logits(Z)
    shape, dtype, size = logits.shape, logits.dtype, logits.size
    try:
        plan = _plan(shape, axis, dtype, threads.worker_count(10.0 * size))
    except TypeError:  # of an axis that has no hash
        plan = _plan(shape, _check_axis(axis, shape), dtype, 1)
    shape_out = (plan.kept if keepdims else plan.reduced) if mode == sm.LOGSUMEXP else shape
    result = np.empty(shape_out, dtype) if out is None else _check_out(out, shape, dtype)
    if result.size == 0:
        return result
    if out is not None and out is not logits and np.may_share_memory(out, logits):
        same = out.ctypes.data == logits.ctypes.data and logits.flags.c_contiguous
        logits = logits if same else logits.copy()
    flat, target = memory.flat(contiguous(logits)), result.reshape(-1)
    bias, block, stats, logs = memory.carved(*plan.scratch)
    head = flat, target, plan.c, plan.inner, plan.B, mode
    pointer = sm.normalise.known(dtype) or sm.normalise.remember(
        dtype, *head, 0, 0, bias[0], block[0], stats[0], logs[0]
    )
    for first, last in _slices(plan.groups, size):
        sm.normalise_all(len(block), pointer, *head, first, last, bias[0], block, stats, logs)
    return result


def softmax(Z: ArrayLike, axis: int | None = -1, out: Floats | None = None) -> Floats:
    """exp(Z) divided by its sum along an axis, the maximum subtracted first.

    Parameters
    ----------
    Z : array-like of any shape
        Logits. float32 and float64 are kept, float16 becomes float32, integers become float64.
    axis : int or None, default -1
        The axis of the classes; None: all entries of Z are classes of one row.
    out : ndarray, optional
        Written to and returned: C-contiguous, of the shape and dtype of the result. It may be Z itself.

    Returns
    -------
    ndarray
        Of the shape of Z: not negative, and 1 in sum along `axis`. NaN where a row is all -inf or has +inf or NaN.

    Raises
    ------
    TypeError
        If Z does not hold real numbers.
    ValueError
        If there is no such axis, or no class along it, or `out` does not fit.

    Notes
    -----
    The same bytes on any CPU and number of threads. Few classes take three passes with lanes over rows, many take
    lanes over classes (Dukhan & Ablavatski 2020, section 2, the three-pass algorithm with reloading).

    Examples
    --------
    >>> import numpy as np
    >>> import fastsoftmax as fs
    >>> fs.softmax(np.array([1.5, 1.0, -1.0])).round(3)
    array([0.592, 0.359, 0.049])
    """
    return _normalise(Z, axis, out, sm.SOFTMAX)


def log_softmax(Z: ArrayLike, axis: int | None = -1, out: Floats | None = None) -> Floats:
    """The logarithm of the softmax, without ever taking that of a probability.

    Parameters
    ----------
    Z : array-like of any shape
        Logits; dtypes as in `softmax`.
    axis : int or None, default -1
        The axis of the classes; None: all entries of Z are classes of one row.
    out : ndarray, optional
        Written to and returned, as in `softmax`.

    Returns
    -------
    ndarray
        Of the shape of Z, not positive. Hard values as in `scipy.special.log_softmax`.

    Raises
    ------
    TypeError, ValueError
        As in `softmax`.

    Examples
    --------
    >>> import numpy as np
    >>> import fastsoftmax as fs
    >>> fs.log_softmax(np.array([1e4, 1e4])).round(4)
    array([-0.6931, -0.6931])
    """
    return _normalise(Z, axis, out, sm.LOG_SOFTMAX)


def logsumexp(Z: ArrayLike, axis: int | None = -1, *, keepdims: bool = False) -> Floats:
    """log(sum(exp(Z))) along an axis, the maximum subtracted first.

    Parameters
    ----------
    Z : array-like of any shape
        Logits; dtypes as in `softmax`.
    axis : int or None, default -1
        The axis of the classes; None: all of Z.
    keepdims : bool, default False
        Keep what is summed over as axes of length 1, as in `scipy.special.logsumexp`.

    Returns
    -------
    ndarray
        Of the shape of Z without `axis`, unless `keepdims`; -inf for a row of -inf alone, +inf for one with +inf, NaN
        for one with NaN.

    Raises
    ------
    TypeError, ValueError
        As in `softmax`.

    Notes
    -----
    No chain of additions is long, whatever the dtype: 1e7 float32 logits are as accurate as ten.

    Examples
    --------
    >>> import numpy as np
    >>> import fastsoftmax as fs
    >>> fs.logsumexp(np.array([[0.0, 0.0], [1e4, 1e4]])).round(4)
    array([6.93100000e-01, 1.00006931e+04])
    """
    return _normalise(Z, axis, None, sm.LOGSUMEXP, bool(keepdims))


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


# ---- cross-entropy


def _check_reduction(reduction: str, allowed: tuple[str, ...] = ("mean", "sum", "none")) -> None:
    if reduction not in allowed:
        raise ValueError(f"reduction must be one of {', '.join(map(repr, allowed))}, got {reduction!r}")


def _mean_factor(targets: CheckedTargets, reduction: str, all_ignored: bool = False) -> float:
    """1, or for a mean 1 / S; nan where all rows are ignored."""
    if reduction != "mean":
        return 1.0
    if targets.total == 0:
        if all_ignored:
            return math.nan
        raise ValueError("there is no mean of no rows: X has none, or all weights are 0")
    return 1.0 / targets.total


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
    _check_reduction(reduction)
    logits = _as_logits(Z)
    if logits.ndim == 0 or logits.shape[-1] == 0:
        raise ValueError(f"Z must be of shape (n, c), or (..., c), with at least one class, got {logits.shape}")
    leading, c = logits.shape[:-1], logits.shape[-1]
    n = math.prod(leading)
    flat = memory.flat(np.require(logits, requirements=("C", "A")))
    (y, weight), all_ignored = _as_rows(y, sample_weight, leading, c), False
    if ignore_index is not None:
        y, weight, all_ignored = _without_ignored(y, weight, n, ignore_index)
    targets = as_targets(y, n, c, flat.dtype, sample_weight=weight, label_smoothing=label_smoothing)
    factor = _mean_factor(targets, reduction, all_ignored)
    residual, losses = np.empty((n, c) if wanted else (0, c), flat.dtype), np.zeros(n)
    B = 0 if c >= sm.FEW else _rows_per_block(c, flat.itemsize)
    groups = n if B == 0 else -(-n // B)
    workers = max(1, min(threads.worker_count(10.0 * flat.size), groups))
    bias, length = np.zeros(c if B else 0, flat.dtype), max(B, 8)
    block, index = memory.aligned((workers, c * B), flat.dtype, None), memory.aligned((workers, length), np.int64)
    stats, logs = memory.aligned((workers, 2 * length), flat.dtype), memory.aligned((workers, length), np.float64)
    out, kernel = residual.reshape(-1), targets.kernel
    pointer = ce.cross_entropy(
        flat, c, B, kernel, factor, 0, 0, bias, block[0], index[0], stats[0], logs[0], losses, out
    )
    for first, last in _slices(groups, flat.size):
        ce.cross_entropy_all(
            workers, pointer, flat, c, B, kernel, factor, first, last, bias, block, index, stats, logs, losses, out
        )
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


# ---- softmax regression


def _check_parameters(coef: ArrayLike, intercept: ArrayLike | None, m: int) -> tuple[Floats, Floats | None]:
    weights = _as_logits(coef, "coef")
    if weights.ndim != 2 or weights.shape[1] != m or weights.shape[0] < 2:
        raise ValueError(f"coef must be of shape (c, {m}) with c >= 2, got {weights.shape}")
    if intercept is None:
        return weights, None
    bias = _as_logits(intercept, "intercept")
    if bias.shape != weights.shape[:1]:
        raise ValueError(f"intercept must be of shape ({len(weights)},), got {bias.shape}")
    return weights, bias


def _check_gradients(
    out: Any, shape: tuple[int, int], dtype: np.dtype[Any], read: tuple[Floats, ...]
) -> tuple[Floats, Floats]:
    """Arrays for the gradients, that share no memory with what is read."""
    if not isinstance(out, (tuple, list)) or len(out) != 2:
        raise TypeError(f"out must be two arrays, (grad_coef, grad_intercept), got {type(out).__name__}")
    G, g = _check_out(out[0], shape, dtype), _check_out(out[1], shape[:1], dtype)
    if np.may_share_memory(G, g) or any(np.may_share_memory(a, b) for a in (G, g) for b in read):
        raise ValueError("out must not share memory with X, y or sample_weight, nor its two arrays with each other")
    return G, g


def loss_gradient(
    X: Any,
    y: ArrayLike,
    coef: ArrayLike,
    intercept: ArrayLike | None = None,
    *,
    sample_weight: ArrayLike | None = None,
    label_smoothing: float = 0.0,
    l2: float = 0.0,
    scale: float | ArrayLike = 1.0,
    reduction: Literal["mean", "sum"] = "mean",
    dtype: DTypeLike | None = None,
    out: tuple[Floats, Floats] | None = None,
    accumulate: bool = False,
) -> tuple[float, Floats, Floats]:
    """The loss of softmax regression and its gradient, in one fused pass over X; no n-by-c matrix is built.

    Parameters
    ----------
    X : array-like of shape (n, m)
        float32, float64 or uint8 are read as they are; others are converted once.
    y, sample_weight, label_smoothing
        As in `cross_entropy`; but NaN in X makes the gradient NaN even in a row of weight 0.
    coef : array-like of shape (c, m)
        Weights of the scaled features X * scale.
    intercept : array-like of shape (c,), optional
        None means 0.
    l2 : float, default 0.0
        l2 / 2 times the squared norm of coef is added to the loss, after the reduction.
    scale : float or array-like of shape (m,), default 1.0
        Folded into the weights; X is not touched.
    reduction : {"mean", "sum"}, default "mean"
        "sum": sum of s_i CE_i; "mean": that divided by the sum of the weights.
    dtype : {float32, float64}, optional
        Of the computation; by default float64 for X in float64, else float32.
    out : tuple of ndarray, optional
        Arrays (c, m) and (c,) for the gradients, of coef's dtype: written to, and returned.
    accumulate : bool, default False
        Add the gradients to `out`: for micro-batches, and data that come in pieces.

    Returns
    -------
    loss : float
    grad_coef : ndarray of shape (c, m)
        (1/S) sum_i s_i (p_i - y_i) x_i + l2 coef, in coef's dtype.
    grad_intercept : ndarray of shape (c,)

    Raises
    ------
    TypeError, ValueError
        If something is wrong; then `out` is as it was.

    Notes
    -----
    The same bytes on any number of threads and any CPU.

    Examples
    --------
    >>> import numpy as np
    >>> import fastsoftmax as fs
    >>> X, y = np.array([[0, 255], [255, 0]], np.uint8), [0, 1]
    >>> loss, G, g = fs.loss_gradient(X, y, np.zeros((2, 2)), scale=1 / 255)
    >>> G
    array([[ 0.25, -0.25],
           [-0.25,  0.25]])
    """
    _check_reduction(reduction, ("mean", "sum"))
    design = as_design(X, scale)
    weights, bias = _check_parameters(coef, intercept, design.m)
    compute = compute_dtype(dtype, design)
    if not isinstance(l2, Real) or not 0 <= l2 <= np.finfo(np.float64).max:
        raise ValueError(f"l2 must be finite and not negative, got {l2!r}")
    c = len(weights)
    targets = as_targets(y, design.n, c, compute, sample_weight=sample_weight, label_smoothing=label_smoothing)
    factor = _mean_factor(targets, reduction)
    if out is not None:
        G, g = _check_gradients(out, (c, design.m), weights.dtype, (*design.arrays(), *targets.kernel[:3]))
        if np.may_share_memory(G, weights) or np.may_share_memory(g, weights):
            weights = weights.copy()  # a step in place: the weights are read to the end
        if bias is not None and (np.may_share_memory(G, bias) or np.may_share_memory(g, bias)):
            bias = bias.copy()
        if not accumulate:
            G[...], g[...] = 0, 0
    elif accumulate:
        raise ValueError("accumulate=True adds to out: give out=(grad_coef, grad_intercept)")
    else:
        G, g = np.zeros((c, design.m), weights.dtype), np.zeros(c, weights.dtype)
    loss, _, _ = SoftmaxObjective(Examples(design, targets), compute).loss_gradient(weights, bias, factor, (G, g))
    loss *= factor
    if l2:
        loss += 0.5 * l2 * sum_of_squares(memory.flat(np.require(weights, requirements=("C", "A"))))
        G += (l2 * weights).astype(G.dtype, copy=False)
    return loss, G, g


def predict_proba(
    X: Any, coef: ArrayLike, intercept: ArrayLike | None = None, *, scale: float | ArrayLike = 1.0
) -> Floats:
    """The probabilities of the classes, softmax(X * scale @ coef.T + intercept), in one pass.

    Parameters
    ----------
    X, coef, intercept, scale
        As in `loss_gradient`.

    Returns
    -------
    ndarray of shape (n, c)
        float64 for X in float64, else float32.

    Raises
    ------
    TypeError, ValueError
        If shapes or dtypes are wrong.

    Examples
    --------
    The lecture's example: the first class wins.

    >>> import fastsoftmax as fs
    >>> fs.predict_proba([[-1.0, 1.0]], [[-2.5, -1.0], [1.0, 2.0], [1.0, 0.0]]).round(3)
    array([[0.592, 0.359, 0.049]])
    """
    design = as_design(X, scale)
    weights, bias = _check_parameters(coef, intercept, design.m)
    return SoftmaxObjective(Examples.unlabelled(design, len(weights))).predict_proba(weights, bias)
