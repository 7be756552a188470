"""softmax, log_softmax and logsumexp, along any axis of any array."""

import functools
import math
import operator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from fastsoftmax.data.gate import contiguous
from fastsoftmax.engine import memory, threads
from fastsoftmax.functional.checks import Floats, as_logits, check_out, rows_per_block, rows_together, slices
from fastsoftmax.kernels import softmax as sm


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


@functools.lru_cache(256, typed=True)
def _plan(shape: tuple[int, ...], axis: int | None, dtype: np.dtype[Any], workers: int) -> Plan:
    axis = _check_axis(axis, shape)
    size = math.prod(shape)
    c, inner = (size, 1) if axis is None else (shape[axis], math.prod(shape[axis + 1 :]))
    if c == 0:
        raise ValueError(f"Z has no class along axis {axis}: shape {shape}")
    kept = tuple(1 if axis in (None, k) else length for k, length in enumerate(shape))
    reduced = () if axis is None else shape[:axis] + shape[axis + 1 :]
    B = 0 if inner == 1 and c >= sm.FEW else rows_per_block(c, dtype.itemsize)
    rows = size // c
    groups = rows if B == 0 else -(-rows // B) if inner == 1 else rows // max(inner, 1) * -(-inner // B)
    workers = min(workers, max(groups, 1))
    length = B or (1 if c >= sm.LONG else rows_together(c, 4 * dtype.itemsize))
    double = np.dtype(np.float64)
    parts = [((1, c if B else 0), dtype), ((workers, c * B), dtype), ((workers, 2 * length), dtype),
             ((workers, -(-length // 8) * 8), double)]  # fmt: skip
    return Plan(c, inner, B, groups, reduced, kept, memory.places(parts))


def _normalise(Z: ArrayLike, axis: int | None, out: Floats | None, mode: int, keepdims: bool = False) -> Floats:
    """One of the three functions of `kernels.softmax` over any axis of any array, or over all of them."""
    logits = as_logits(Z)
    shape, dtype, size = logits.shape, logits.dtype, logits.size
    if axis is not None and type(axis) is not int:
        axis = _check_axis(axis, shape)
    plan = _plan(shape, axis, dtype, threads.worker_count(10.0 * size))
    shape_out = (plan.kept if keepdims else plan.reduced) if mode == sm.LOGSUMEXP else shape
    result = np.empty(shape_out, dtype) if out is None else check_out(out, shape, dtype)
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
    for first, last in slices(plan.groups, size):
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
