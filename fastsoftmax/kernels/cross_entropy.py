"""Logits -> losses and residual, in place: fused.

A block of few classes has lanes over rows, one of many lanes over classes, as `kernels.logits` says. Row i of a block
is row index[i] of the targets. A row of weight 0 counts for nothing, whatever its logits.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import prange

from fastsoftmax.engine.jit import Driver, Pointer, inlined, outlined
from fastsoftmax.engine.simd import borrow
from fastsoftmax.kernels.logits import affine, exponentials, gather, maximum, scatter, steps
from fastsoftmax.kernels.math import exp_in_place, log1p_in_place, lowest, sum_in_lanes

MINUS = -np.inf
# Times exp of the label, is less than the others' sum: the label is nothing beside them, and their ratio may overflow.
LARGE = np.float64(1e290)
STATS = 3  # numbers of a row that a block keeps, in the dtype of the logits


class Targets(NamedTuple):
    """What the rows should be: an empty array stands for none."""

    labels: Any  # (n,) int64
    soft: Any  # (n * c,), in the dtype of the logits
    weight: Any  # (n,) float64
    smoothing: float


@inlined
def expected_logit(
    Z: Any, o: int, stride: int, c: int, m: float, soft: Any, y: int, label: int, smoothing: float
) -> float:
    """sum_k Y_k (Z_k - m) of smoothed targets Y, soft[y:] or the label, where 0 times -inf is 0."""
    linear, sharp = 0.0, 0.0
    if smoothing > 0:
        for k in range(c):
            linear += np.float64(Z[o + k * stride]) - m
        linear *= smoothing / c
    if smoothing == 1:
        return linear
    if label >= 0:
        sharp = np.float64(Z[o + label * stride]) - m
    else:
        for k in range(c):
            p = np.float64(soft[y + k])
            if p != 0:
                sharp += p * (np.float64(Z[o + k * stride]) - m)
    return linear + (1 - smoothing) * sharp


@inlined
def label_of(targets: Any, row: int, c: int) -> int:
    """The label of a row, also where its probabilities are 1 and nothing else; else -1."""
    if len(targets.labels):
        return targets.labels[row]
    label = -1
    for k in range(c):
        p = targets.soft[row * c + k]
        if p == 1 and label < 0:
            label = k
        elif p != 0:
            return -1
    return label


@inlined
def take_labels(
    lies: Any, Z: Any, rows: int, c: int, M: Any, L: Any, targets: Any, index: Any, expected: Any, leads: Any
) -> None:
    """expected[i] = sum_k Y_k (Z_k - M) of row i; L[i] = the label's logit, leads[i] = that less M; -inf without one.

    In Z the label's logit becomes -inf: the sum leaves it out, and where the others are small it has all their digits.
    """
    labels, soft, smoothing = targets.labels, targets.soft, targets.smoothing
    row, step = steps(lies)
    if len(labels) and smoothing == 0:  # nearly always: with a loop of its own 200000 x 20 x 3 take half of the time
        for i in range(rows):
            at = i * row + labels[index[i]] * step
            L[i] = Z[at]
            expected[i] = leads[i] = L[i] - M[i]
            Z[at] = MINUS
        return
    for i in range(rows):
        label = label_of(targets, index[i], c)
        at = i * row + label * step
        L[i] = Z[at] if label >= 0 else MINUS
        expected[i] = leads[i] = L[i] - M[i]
        if label < 0 or smoothing > 0:
            expected[i] = expected_logit(Z, i * row, step, c, M[i], soft, index[i] * c, label, smoothing)
        if label >= 0:
            Z[at] = MINUS


@inlined
def log_of_sums(S: Any, L: Any, M: Any, rows: int, low: float, logs: Any, losses: Any) -> None:
    """Losses, so far what is expected, and leads, in `logs` -> losses, of sums S of the others and exp of labels, L.

    log(S + L) is log(1 + S / L) and the label's lead, which what is expected has too: a confident row keeps all digits
    of S. Where L is nothing beside S, exp of the maximum takes its place; M comes to hold that.
    """
    missing = False
    for i in range(rows):
        missing |= not LARGE * L[i] > S[i]
    if missing:
        exp_in_place(M, M, low)
    for i in range(rows):
        there = LARGE * L[i] > S[i]
        losses[i] -= logs[i] if there else 0.0
        logs[i] = np.float64(S[i]) / (L[i] if there else M[i]) - (0.0 if there else 1.0)
    log1p_in_place(logs)
    for i in range(rows):
        losses[i] = logs[i] - losses[i]


@inlined
def put_labels(lies: Any, Z: Any, rows: int, c: int, factor: float, targets: Any, index: Any, residuals: Any) -> None:
    """The labels' residuals into Z, or Z less other targets. A row of weight 0 becomes 0."""
    labels, soft, weight = targets.labels, targets.soft, targets.weight
    sharp = factor * (1 - targets.smoothing)
    row, step = steps(lies)
    if len(labels) and len(weight) == 0:
        for i in range(rows):
            Z[i * row + labels[index[i]] * step] = residuals[i]
        return
    for i in range(rows):
        w = weight[index[i]] if len(weight) else 1.0
        if w == 0:
            for k in range(c):
                Z[i * row + k * step] = 0
            continue
        label = label_of(targets, index[i], c)
        if label >= 0:
            Z[i * row + label * step] = residuals[i]
        else:
            for k in range(c):
                Z[i * row + k * step] -= sharp * w * soft[index[i] * c + k]


@inlined
def scale_rows(
    S: Any, L: Any, rows: int, c: int, factor: float, targets: Any, index: Any, base: Any, residuals: Any
) -> None:
    """Sums of the others, S, and exp of the labels, L -> scales S and bases of the rows, and labels' residuals."""
    weight, even, kind = targets.weight, targets.smoothing / c, S.dtype.type
    sharp = targets.smoothing - even
    if len(weight) == 0:  # by whole vectors
        f, low, high = kind(factor), kind(factor * even), kind(factor * sharp)
        for i in range(rows):
            scale = f / (S[i] + L[i])
            residuals[i] = high - scale * S[i]
            S[i], base[i] = scale, low
        return
    for i in range(rows):
        w = kind(factor * weight[index[i]])
        scale = w / (S[i] + L[i])
        residuals[i] = w * kind(sharp) - scale * S[i]
        S[i], base[i] = scale, w * kind(even)


@outlined
def block_cross_entropy(
    lies: Any, Z: Any, rows: int, c: int, bias: Any, targets: Any, index: Any, factor: float, residual: bool,
    stats: Any, logs: Any, losses: Any,
) -> float:  # fmt: skip
    """Logits -> losses of the rows, weighted, and their sum; Z -> factor * residual if asked. stats: STATS rows.

    With the label apart, S = the sum of the others, a confident row's loss is log1p(S / exp of the label), its
    label's residual -S over the whole sum, and neither is a difference of numbers near 1.
    """
    size, weight, low = len(logs), targets.weight, lowest(Z, residual)
    M, S, L = borrow(stats, 0, size), borrow(stats, size, size), borrow(stats, 2 * size, size)
    maximum(lies, Z, rows, c, bias, M)
    take_labels(lies, Z, rows, c, M, L, targets, index, losses, logs)
    exponentials(lies, Z, rows, c, M, S, residual, low)
    exp_in_place(L, M, low)
    log_of_sums(S, L, M, rows, low, logs, losses)
    if len(weight):
        for i in range(rows):
            w = weight[index[i]]
            losses[i] = w * losses[i] if w != 0 else 0.0
    if residual:
        scale_rows(S, L, rows, c, factor, targets, index, M, logs)
        affine(lies, Z, rows, c, S, M)
        put_labels(lies, Z, rows, c, factor, targets, index, logs)
    return sum_in_lanes(losses, rows)


def _cross_entropy(
    lies: Any, Z: Any, c: int, B: int, targets: Any, factor: float, start: int, stop: int, bias: Any, block: Any,
    index: Any, stats: Any, logs: Any, losses: Any, residual: Any,
) -> float:  # fmt: skip
    """Groups start..stop of up to B rows."""
    for first in range(start * B, min(stop * B, len(losses)), B):
        rows = min(B, len(losses) - first)
        for i in range(rows):
            index[i] = first + i
        gather(lies, Z, first * c, rows, c, block)
        own = borrow(losses, first, rows)
        block_cross_entropy(lies, block, rows, c, bias, targets, index, factor, len(residual) > 0, stats, logs, own)
        if len(residual):
            scatter(lies, block, rows, c, residual, first * c)
    return 0.0


cross_entropy = Pointer(_cross_entropy)


@Driver
def cross_entropy_all(  # type: ignore[no-untyped-def]
    workers, chunk, lies, Z, c, B, targets, factor, first, last, bias, block, index, stats, logs, losses, residual
):
    """Losses of groups first..last, and factor * residual unless that is empty, evenly over the workers."""
    for w in prange(workers):
        start, stop = first + w * (last - first) // workers, first + (w + 1) * (last - first) // workers
        chunk(
            lies, Z, c, B, targets, factor, np.int64(start), np.int64(stop), bias, block[w], index[w], stats[w],
            logs[w], losses, residual,
        )  # fmt: skip
