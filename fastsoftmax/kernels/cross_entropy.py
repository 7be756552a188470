"""Logits -> losses and residual, in place: fused.

As in softmax.py, a block of few classes is class-major with lanes over rows, a row of many classes lies by itself.
Row i of a block is row index[i] of the targets. A row of weight 0 counts for nothing, whatever its logits.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import prange

from fastsoftmax.engine.jit import Driver, Pointer, inlined, outlined
from fastsoftmax.engine.simd import LANE_BYTES, borrow, load, total
from fastsoftmax.kernels.math import LOWEST, NORMAL, log_in_place
from fastsoftmax.kernels.softmax import (
    block_affine,
    block_exp,
    block_maximum,
    gather_block,
    row_affine,
    row_exp,
    row_maximum,
    scatter_block,
)


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
def block_expected(Z: Any, B: int, rows: int, c: int, M: Any, targets: Any, index: Any, expected: Any) -> None:
    """expected[i] = sum_k Y_k (Z_k - M) of row i. Plain labels, nearly always, have a loop of their own: 1 ns a row."""
    labels, soft, smoothing = targets.labels, targets.soft, targets.smoothing
    if len(labels) and smoothing == 0:
        for i in range(rows):
            expected[i] = np.float64(Z[labels[index[i]] * B + i]) - M[i]
        return
    for i in range(rows):
        label = labels[index[i]] if len(labels) else -1
        expected[i] = expected_logit(Z, i, B, c, M[i], soft, index[i] * c, label, smoothing)


@inlined
def block_subtract(Z: Any, B: int, rows: int, c: int, factor: float, targets: Any, index: Any) -> None:
    """Z -= factor * weight * (1 - smoothing) * Y; a row of weight 0 becomes 0."""
    labels, soft, weight = targets.labels, targets.soft, targets.weight
    sharp = factor * (1 - targets.smoothing)
    if len(labels) and len(weight) == 0:
        for i in range(rows):
            Z[labels[index[i]] * B + i] -= sharp
        return
    for i in range(rows):
        w = weight[index[i]] if len(weight) else 1.0
        if w == 0:
            for k in range(c):
                Z[k * B + i] = 0
        elif len(labels):
            Z[labels[index[i]] * B + i] -= sharp * w
        else:
            for k in range(c):
                Z[k * B + i] -= sharp * w * soft[index[i] * c + k]


@inlined
def lowest(Z: Any, residual: bool) -> float:
    """Below which logits less their maximum count for nothing: sums of exp, at least 1, do not see it."""
    if not residual:
        return LOWEST
    return NORMAL[0] if Z.itemsize == 4 else NORMAL[1]


@outlined
def block_cross_entropy(
    Z: Any, B: int, rows: int, c: int, bias: Any, targets: Any, index: Any, factor: float, residual: bool, stats: Any,
    logs: Any, losses: Any,
) -> float:  # fmt: skip
    """Logits short of their bias -> losses of the rows, weighted, and their sum; Z -> factor * residual if asked."""
    M, S, weight = borrow(stats, 0, B), borrow(stats, B, B), targets.weight
    block_maximum(Z, B, rows, c, bias, M)
    block_expected(Z, B, rows, c, M, targets, index, losses)
    block_exp(Z, B, rows, c, M, S, residual, lowest(Z, residual))
    for i in range(rows):
        logs[i] = S[i]
    log_in_place(logs)
    loss = 0.0
    for i in range(rows):
        w = weight[index[i]] if len(weight) else 1.0
        losses[i] = w * (logs[i] - losses[i]) if w != 0 else 0.0
        loss += losses[i]
    if residual:
        for i in range(rows):
            w = factor * (weight[index[i]] if len(weight) else 1.0)
            S[i], M[i] = w / S[i], w * targets.smoothing / c
        block_affine(Z, B, rows, c, S, M)
        block_subtract(Z, B, rows, c, factor, targets, index)
    return loss


@outlined
def row_cross_entropy(
    Z: Any, o: int, c: int, targets: Any, row: int, factor: float, residual: Any, q: int, index: Any, logs: Any
) -> float:
    """Logits at Z[o:] -> the row's weighted loss; factor * residual goes to residual[q:] unless that is empty."""
    smoothing, wanted = targets.smoothing, len(residual) > 0
    weight = targets.weight[row] if len(targets.weight) else 1.0
    label = targets.labels[row] if len(targets.labels) else -1
    m = row_maximum(Z, o, c)
    expected = expected_logit(Z, o, 1, c, m, targets.soft, row * c, label, smoothing)
    logs[0] = row_exp(Z, o, c, m, residual, q, wanted, lowest(Z, wanted))
    scale = factor * weight / logs[0]
    log_in_place(borrow(logs, 0, LANE_BYTES // 8))
    if wanted:
        row_affine(residual, q, c, scale, factor * weight * smoothing / c, 0.0, residual, q)
        index[0] = row
        block_subtract(borrow(residual, q, c), 1, 1, c, factor, targets, index)
    return weight * (logs[0] - expected) if weight != 0 else 0.0


def _cross_entropy(
    Z: Any, c: int, B: int, targets: Any, factor: float, start: int, stop: int, bias: Any, block: Any, index: Any,
    stats: Any, logs: Any, losses: Any, residual: Any,
) -> float:  # fmt: skip
    """Groups start..stop of rows: a group is one row, or up to B rows where classes are few."""
    if B == 0:
        for r in range(start, stop):
            losses[r] = row_cross_entropy(Z, r * c, c, targets, r, factor, residual, r * c, index, logs)
        return 0.0
    for first in range(start * B, min(stop * B, len(losses)), B):
        rows = min(B, len(losses) - first)
        for i in range(rows):
            index[i] = first + i
        gather_block(Z, first * c, c, 1, rows, c, block, B)
        block_cross_entropy(
            block, B, rows, c, bias, targets, index, factor, len(residual) > 0, stats, logs, borrow(losses, first, rows)
        )
        if len(residual):
            scatter_block(block, B, rows, c, residual, first * c, c, 1)
    return 0.0


cross_entropy = Pointer(_cross_entropy)


@Driver
def cross_entropy_all(  # type: ignore[no-untyped-def]
    workers, chunk, Z, c, B, targets, factor, first, last, bias, block, index, stats, logs, losses, residual
):
    """Losses of groups first..last, and factor * residual unless that is empty, evenly over the workers."""
    for w in prange(workers):
        start, stop = first + w * (last - first) // workers, first + (w + 1) * (last - first) // workers
        chunk(
            Z, c, B, targets, factor, np.int64(start), np.int64(stop), bias, block[w], index[w], stats[w], logs[w],
            losses, residual,
        )  # fmt: skip


@inlined
def add_row_sums(Z: Any, B: int, rows: int, c: int, sums: Any) -> None:
    """sums += the sum over the rows of a class-major block, lane by lane, then over the lanes."""
    lanes = LANE_BYTES // Z.itemsize
    for k in range(c):
        for i in range(rows, -(-rows // lanes) * lanes):
            Z[k * B + i] = 0
        s = load(Z, k * B)
        for i in range(lanes, rows, lanes):
            s = s + load(Z, k * B + i)
        sums[k] += total(s)
