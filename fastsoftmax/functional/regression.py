"""The loss of softmax regression and its gradient in one fused pass; its probabilities."""

import sys
from numbers import Real
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, DTypeLike

from fastsoftmax.data.examples import Examples
from fastsoftmax.data.layouts import as_design, compute_dtype
from fastsoftmax.data.targets import as_targets
from fastsoftmax.engine import memory
from fastsoftmax.functional.checks import Floats, as_logits, check_out, check_reduction, mean_factor
from fastsoftmax.kernels.math import sum_of_squares
from fastsoftmax.objective.softmax import SoftmaxObjective

LARGEST = sys.float_info.max


def _check_parameters(coef: ArrayLike, intercept: ArrayLike | None, m: int) -> tuple[Floats, Floats | None]:
    weights = as_logits(coef, "coef")
    if weights.ndim != 2 or weights.shape[1] != m or weights.shape[0] < 2:
        raise ValueError(f"coef must be of shape (c, {m}) with c >= 2, got {weights.shape}")
    if intercept is None:
        return weights, None
    bias = as_logits(intercept, "intercept")
    if bias.shape != weights.shape[:1]:
        raise ValueError(f"intercept must be of shape ({len(weights)},), got {bias.shape}")
    return weights, bias


def _check_gradients(
    out: Any, shape: tuple[int, int], dtype: np.dtype[Any], read: tuple[Floats, ...]
) -> tuple[Floats, Floats]:
    """Arrays for the gradients, that share no memory with what is read."""
    if not isinstance(out, (tuple, list)) or len(out) != 2:
        raise TypeError(f"out must be two arrays, (grad_coef, grad_intercept), got {type(out).__name__}")
    G, g = check_out(out[0], shape, dtype), check_out(out[1], shape[:1], dtype)
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
        float32, float64, float16, bfloat16, uint8 and int8 are read as they are; others are converted once.
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
    check_reduction(reduction, ("mean", "sum"))
    design = as_design(X, scale)
    weights, bias = _check_parameters(coef, intercept, design.m)
    compute = compute_dtype(dtype, design.dtype)
    if not isinstance(l2, (float, Real)) or not 0 <= l2 <= LARGEST:
        raise ValueError(f"l2 must be finite and not negative, got {l2!r}")
    c = len(weights)
    targets = as_targets(y, design.n, c, compute, sample_weight=sample_weight, label_smoothing=label_smoothing)
    factor = mean_factor(targets, reduction)
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
