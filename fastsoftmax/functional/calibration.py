"""Calibration: whether probabilities are what they say, how far they are from it, and one number that mends much."""

import math
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastsoftmax.data.gate import as_array
from fastsoftmax.data.targets import as_labels, as_targets, as_weight
from fastsoftmax.functional.checks import as_logits
from fastsoftmax.functional.cross_entropy import cross_entropy_gradient
from fastsoftmax.kernels.math import ordered_sum

WIDEST = 10.0  # of log T, up and down, as in scikit-learn
BOUNDS = (math.exp(-WIDEST), math.exp(WIDEST))
LARGEST = 1e150  # of a logit, whose products stay finite
BLOCK = 1 << 22  # logits at a time
SUM_TOLERANCE = 1e-3  # of rows of probabilities, as of targets
NORMS, STRATEGIES = ("l1", "l2", "max"), ("uniform", "quantile")
Floats = NDArray[np.float64]


def temperature(Z: ArrayLike, y: ArrayLike, *, sample_weight: ArrayLike | None = None) -> float:
    """The temperature T for which softmax(Z / T) has the least cross-entropy: one number that calibrates logits.

    Parameters
    ----------
    Z : array-like of shape (n, c) or (n,)
        Logits of rows that the model was not trained on; -inf for classes that are ruled out. (n,): logits of class 1
        of two, that of class 0 is 0.
    y : array-like of shape (n,) or (n, c)
        Integer labels in 0..c - 1, or target probabilities.
    sample_weight : array-like of shape (n,), optional

    Returns
    -------
    float
        From e^-10, where all rows are right, to e^10, where the logits tell nothing or the wrong. T > 1 makes
        probabilities less extreme.

    Raises
    ------
    TypeError, ValueError
        If something is wrong: the message says what was given and what was expected.

    Notes
    -----
    The cross-entropy is convex in 1 / T, and its derivative there, sum_i s_i (p_i - y_i)' z_i in float64, changes its
    sign at what is returned, to ten digits: it is the optimum (Guo et al. 2017, "On Calibration of Modern Neural
    Networks", section 4.2).

    Examples
    --------
    >>> import numpy as np
    >>> import fastsoftmax as fs
    >>> rng = np.random.default_rng(0)
    >>> Z = rng.standard_normal((5000, 4))
    >>> y = (Z + rng.gumbel(size=Z.shape)).argmax(1)  # as softmax(Z) says
    >>> round(fs.temperature(3 * Z, y))
    3
    """
    logits = as_logits(Z)
    if logits.ndim == 1:
        logits = np.stack([np.zeros_like(logits), logits], 1)
    if logits.ndim != 2 or logits.shape[1] < 2:
        raise ValueError(f"Z must be of shape (n, c) with 2 classes or more, or (n,), got {logits.shape}")
    n, c = logits.shape
    targets = as_targets(y, n, c, np.float64, sample_weight=sample_weight)
    if not targets.total > 0:
        raise ValueError("there is nothing to calibrate by: Z has no rows, or all weights are 0")
    out = np.isneginf(logits)
    if not float(np.abs(np.where(out, 0, logits)).max()) <= LARGEST or out.all(1).any():
        raise ValueError("Z must be finite, and at most 1e150, or -inf for some classes of a row")
    labels, soft, weight, _ = targets.kernel
    lost = out[np.arange(n), labels] if len(labels) else (out & (soft.reshape(-1, c) > 0)).any(1)
    if lost.any():
        raise ValueError(f"Z rules out what is true: it is -inf for the class of row {int(np.argmax(lost))}")

    def blocks() -> Iterator[tuple[Floats, Any, Any]]:
        step = max(1, BLOCK // c)
        for start in range(0, n, step):
            at = slice(start, start + step)
            own = labels[at] if len(labels) else soft.reshape(-1, c)[at]
            block = logits[at].astype(np.float64)
            block -= block.max(1, keepdims=True)  # changes no probability: rows that are all alike say nothing
            yield block, own, weight[at] if len(weight) else None

    def slope(beta: float) -> float:
        sums = []
        for block, own, weights in blocks():
            _, residual = cross_entropy_gradient(beta * block, own, sample_weight=weights, reduction="sum")
            residual *= np.where(np.isneginf(block), 0.0, block)
            sums.append(ordered_sum(residual.reshape(-1)))
        return math.fsum(sums)

    return best_temperature(slope)


def best_temperature(slope: Callable[[float], float]) -> float:
    """T to ten digits, 1 / T where a slope that rises is 0; one of `BOUNDS` where it is not, 1 where it always is."""
    from scipy.optimize import brentq

    lowest, highest = BOUNDS
    low, high = slope(lowest), slope(highest)
    if low == high == 0:
        return 1.0
    if low >= 0 or high <= 0:
        return highest if low >= 0 else lowest
    log_beta = brentq(lambda log_beta: slope(math.exp(log_beta)), -WIDEST, WIDEST, xtol=1e-13, rtol=1e-15)
    return float(f"{math.exp(-log_beta):.9e}")


class Bins(NamedTuple):
    """Rows by what a model says of them."""

    edges: Floats  # (bins + 1,)
    weight: Floats  # (bins,) of the rows of each
    confidence: Floats  # (bins,) the mean of what is said there; nan where there are no rows
    accuracy: Floats  # (bins,) the share of what came true there

    @property
    def filled(self) -> NDArray[np.bool_]:
        """Which have rows."""
        return self.weight > 0


def binned(said: Floats, came: NDArray[np.bool_], weight: Floats, bins: int, strategy: str) -> Bins:
    """Rows in bins that are closed below and open above, but for the last, which is closed."""
    if strategy == "quantile":
        edges = np.quantile(said, np.linspace(0, 1, bins + 1)) if len(said) else np.linspace(0, 1, bins + 1)
    else:
        edges = np.linspace(0, 1, bins + 1)
    which = np.searchsorted(edges[1:-1], said, side="right")
    sums = [np.asarray(np.bincount(which, x, bins), np.float64) for x in (weight, weight * said, weight * came)]
    with np.errstate(invalid="ignore", divide="ignore"):
        return Bins(edges, sums[0], sums[1] / sums[0], sums[2] / sums[0])


class Said(NamedTuple):
    """Probabilities, what came true, and weights, checked."""

    P: Floats  # (n, c)
    labels: NDArray[np.int64]
    weight: Floats

    @classmethod
    def of(cls, P: ArrayLike, y: ArrayLike, sample_weight: ArrayLike | None) -> "Said":
        """Raises TypeError or ValueError if something is wrong."""
        array = as_array(P, "P")
        if array.dtype.kind not in "fiub":
            raise TypeError(f"P must hold probabilities, got dtype {array.dtype}")
        array = array.astype(np.float64)
        if array.ndim == 1 and (not len(array) or (array.min() >= 0 and array.max() <= 1 + SUM_TOLERANCE)):
            array = np.stack([np.maximum(1 - array, 0), array], 1)
        elif array.ndim == 1:
            raise ValueError("P must hold probabilities from 0 to 1: fs.softmax makes them of logits")
        if array.ndim != 2 or array.shape[1] < 2:
            raise ValueError(f"P must be of shape (n, c) with 2 classes or more, or (n,), got {array.shape}")
        n, c = array.shape
        if n and not (array.min() >= 0 and array.max() <= 1 + SUM_TOLERANCE):
            raise ValueError("P must hold probabilities from 0 to 1: fs.softmax makes them of logits")
        wrong = np.flatnonzero(~(np.abs(array.sum(1) - 1) <= SUM_TOLERANCE))
        if len(wrong):
            raise ValueError(f"P must sum to 1 in each row; row {wrong[0]} sums to {array[wrong[0]].sum():g}")
        labels = as_labels(y, c)
        if len(labels) != n:
            raise ValueError(f"P and y must have the same number of rows, got {n} and {len(labels)}")
        weight = np.ones(n) if sample_weight is None else as_weight(sample_weight, n)
        if not weight.sum() > 0:
            raise ValueError("there is nothing to compare: P has no rows, or all weights are 0")
        some = weight > 0
        return cls(np.minimum(array, 1.0)[some], labels[some], weight[some])

    def top(self) -> tuple[Floats, NDArray[np.bool_]]:
        """What is said of the most probable class of each row, and whether it came true."""
        best = self.P.argmax(1)
        return self.P[np.arange(len(best)), best], best == self.labels


def check_bins(bins: int, strategy: str) -> None:
    """Raises ValueError if something is wrong."""
    if isinstance(bins, bool) or not isinstance(bins, (int, np.integer)) or bins < 1:
        raise ValueError(f"bins must be an integer of at least 1, got {bins!r}")
    if strategy not in STRATEGIES:
        raise ValueError(f"strategy must be one of {STRATEGIES}, got {strategy!r}")


def calibration_error(
    P: ArrayLike,
    y: ArrayLike,
    *,
    norm: str = "l1",
    classwise: bool = False,
    bins: int = 15,
    strategy: str = "uniform",
    sample_weight: ArrayLike | None = None,
) -> float:
    """How far probabilities are from the shares that come true, in bins.

    Parameters
    ----------
    P : array-like of shape (n, c) or (n,)
        Probabilities; (n,): of class 1 of two.
    y : array-like of shape (n,)
        Integer labels in 0..c - 1.
    norm : {"l1", "l2", "max"}, default "l1"
        "l1": the mean over rows of the gap of their bin, the expected calibration error. "l2": the root of the mean
        squared gap. "max": the largest gap.
    classwise : bool, default False
        Of the probabilities of each class, in the mean over the classes; else of the most probable class of each row.
    bins : int, default 15
    strategy : {"uniform", "quantile"}, default "uniform"
        Bins of equal width in [0, 1], or of about equally many rows. They are closed below and open above, but for
        the last, which is closed.
    sample_weight : array-like of shape (n,), optional

    Returns
    -------
    float

    Raises
    ------
    TypeError, ValueError
        If something is wrong: the message says what was given and what was expected.

    Notes
    -----
    As of Guo et al. 2017, section 2; classwise as of Kull et al. 2019, "Beyond temperature scaling", section 2. Bins of
    few rows have gaps by chance alone: of two figures compare those of equally many rows and bins.

    Examples
    --------
    >>> import fastsoftmax as fs
    >>> fs.calibration_error([[0.75, 0.25], [0.75, 0.25], [0.75, 0.25], [0.75, 0.25]], [0, 0, 0, 1])
    0.0
    >>> fs.calibration_error([[1.0, 0.0], [1.0, 0.0]], [0, 1])
    0.5
    """
    check_bins(bins, strategy)
    if norm not in NORMS:
        raise ValueError(f"norm must be one of {NORMS}, got {norm!r}")
    said = Said.of(P, y, sample_weight)
    columns = [(said.P[:, k], said.labels == k) for k in range(said.P.shape[1])] if classwise else [said.top()]
    found = [_gap(binned(p, came, said.weight, int(bins), strategy), norm) for p, came in columns]
    return math.fsum(found) / len(found)


def _gap(found: Bins, norm: str) -> float:
    """One number of the gaps of all bins."""
    weight = found.weight[found.filled]
    gaps = np.abs(found.accuracy - found.confidence)[found.filled]
    if norm == "max":
        return float(gaps.max())
    share = weight / math.fsum(weight.tolist())
    powers = gaps if norm == "l1" else gaps * gaps
    mean = math.fsum((share * powers).tolist())
    return mean if norm == "l1" else math.sqrt(mean)


def brier_score(
    P: ArrayLike, y: ArrayLike, *, sample_weight: ArrayLike | None = None, scale_by_half: bool | str = "auto"
) -> float:
    """The mean squared distance of probabilities from what came true.

    Parameters
    ----------
    P : array-like of shape (n, c) or (n,)
        Probabilities; (n,): of class 1 of two.
    y : array-like of shape (n,)
        Integer labels in 0..c - 1.
    sample_weight : array-like of shape (n,), optional
    scale_by_half : bool or "auto", default "auto"
        Whether to halve it, to 0..1 from 0..2; "auto": of two classes, as in scikit-learn.

    Returns
    -------
    float

    Raises
    ------
    TypeError, ValueError
        If something is wrong: the message says what was given and what was expected.

    Notes
    -----
    As of Brier 1950, "Verification of forecasts expressed in terms of probability".

    Examples
    --------
    >>> import fastsoftmax as fs
    >>> fs.brier_score([[0.5, 0.5, 0.0], [0.0, 0.0, 1.0]], [0, 2])
    0.25
    """
    if not isinstance(scale_by_half, (bool, np.bool_)) and scale_by_half != "auto":
        raise ValueError(f'scale_by_half must be True, False or "auto", got {scale_by_half!r}')
    said = Said.of(P, y, sample_weight)
    n, c = said.P.shape
    off = said.P.copy()
    off[np.arange(n), said.labels] -= 1
    mean = float(np.average((off * off).sum(1), weights=said.weight))
    return mean / 2 if (c == 2 if scale_by_half == "auto" else scale_by_half) else mean
