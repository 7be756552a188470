"""The softmax of logits, twice: lanes over rows where classes are few, lanes over classes where they are many.

Few classes: a block Z in one dimension holds them class-major, (c, B), B a multiple of the lanes; what lies beyond
its rows is computed along, and means nothing. Many classes: each row lies by itself, at Z[o : o + c]; its last
vector overlaps the one before, so c must fill one.

The maximum m that is subtracted is 0 for a row of -inf alone, and +inf where a logit is: then the sum of exp(z - m)
is 0 in the first case, NaN in the second, as softmax and cross-entropy need them.
"""

import math
from typing import Any

import numpy as np
from numba import prange

from fastsoftmax.engine.jit import Driver, Pointer, inlined, outlined
from fastsoftmax.engine.simd import LANE_BYTES, borrow, largest, last_lanes, load, store, total, where_less
from fastsoftmax.kernels.math import LOWEST, exp_above, log_in_place

INFINITY = math.inf
FEW = 32  # classes: below, lanes over rows are faster
SOFTMAX, LOG_SOFTMAX, LOGSUMEXP = 0, 1, 2
CHAIN = 256  # terms a lane adds up before it begins anew: one chain over 1e7 classes in float32 rounds by 2.5e-4


@inlined
def add_exactly(s: Any, lost: Any, part: Any) -> Any:
    """(s + part, what all roundings took from s so far) (Knuth, TAOCP 2, section 4.2.2, theorem B)"""
    t = s + part
    back = t - s
    return t, lost + ((s - (t - back)) + (part - back))


# ---- lanes over rows


@inlined
def block_maximum(Z: Any, B: int, rows: int, c: int, bias: Any, M: Any) -> None:
    """Z += bias; M[i] = the maximum of row i."""
    lanes = LANE_BYTES // Z.itemsize
    for i in range(0, rows, lanes):
        m = load(Z, i) + bias[0]
        store(Z, i, m)
        for k in range(1, c):
            z = load(Z, k * B + i) + bias[k]
            store(Z, k * B + i, z)
            m = where_less(m, z, z, m)
        store(M, i, where_less(-INFINITY, m, m, where_less(m, 0.0, 0.0, m)))


@inlined
def block_exp_chain(Z: Any, B: int, i: int, first: int, last: int, m: Any, keep: bool, low: float) -> Any:
    """The sum of exp(Z - m) over classes first..last, of a vector of rows; Z = exp(Z - m) if `keep`."""
    s = exp_above(load(Z, first * B + i) - m, low)
    if keep:
        store(Z, first * B + i, s)
    for k in range(first + 1, last):
        e = exp_above(load(Z, k * B + i) - m, low)
        if keep:
            store(Z, k * B + i, e)
        s = s + e
    return s


@inlined
def block_exp(Z: Any, B: int, rows: int, c: int, M: Any, S: Any, keep: bool, low: float) -> None:
    """S[i] = sum of exp(Z - M) over row i; Z = exp(Z - M) if `keep`; 0 where Z - M is below `low`."""
    lanes = LANE_BYTES // Z.itemsize
    for i in range(0, rows, lanes):
        m = load(M, i)
        s, lost = block_exp_chain(Z, B, i, 0, min(c, CHAIN), m, keep, low), last_lanes(m, 0)
        for first in range(CHAIN, c, CHAIN):
            s, lost = add_exactly(s, lost, block_exp_chain(Z, B, i, first, min(c, first + CHAIN), m, keep, low))
        store(S, i, s + lost)


@inlined
def block_affine(Z: Any, B: int, rows: int, c: int, scale: Any, base: Any) -> None:
    """Z = Z * scale - base, a scale and a base to each row."""
    lanes = LANE_BYTES // Z.itemsize
    for i in range(0, rows, lanes):
        s, b = load(scale, i), load(base, i)
        for k in range(c):
            store(Z, k * B + i, load(Z, k * B + i) * s - b)


# ---- lanes over classes


@inlined
def row_maximum(Z: Any, o: int, c: int) -> Any:
    """The maximum of a row. Four chains: one would wait for each comparison."""
    lanes = LANE_BYTES // Z.itemsize
    m0 = load(Z, o + c - lanes)
    m1, m2, m3 = m0, m0, m0
    quad = c // (4 * lanes) * 4 * lanes
    for k in range(o, o + quad, 4 * lanes):
        z0, z1 = load(Z, k), load(Z, k + lanes)
        z2, z3 = load(Z, k + 2 * lanes), load(Z, k + 3 * lanes)
        m0, m1 = where_less(m0, z0, z0, m0), where_less(m1, z1, z1, m1)
        m2, m3 = where_less(m2, z2, z2, m2), where_less(m3, z3, z3, m3)
    for k in range(o + quad, o + c - lanes, lanes):
        z0 = load(Z, k)
        m0 = where_less(m0, z0, z0, m0)
    m0, m2 = where_less(m0, m1, m1, m0), where_less(m2, m3, m3, m2)
    m = largest(where_less(m0, m2, m2, m0))
    return m if m > -INFINITY or m != m else np.float32(0)  # a float32 0 is of either dtype


@inlined
def row_exp_chain(
    Z: Any, o: int, first: int, last: int, m: Any, out: Any, q: int, keep: bool, low: float, s: Any
) -> Any:
    """s + the sum of exp(Z[o:] - m) over the whole vectors first..last; out[q:] = exp(Z[o:] - m) if `keep`."""
    lanes = LANE_BYTES // Z.itemsize
    if keep:
        for k in range(first, last, lanes):
            e = exp_above(load(Z, o + k) - m, low)
            store(out, q + k, e)
            s = s + e
    else:
        for k in range(first, last, lanes):
            s = s + exp_above(load(Z, o + k) - m, low)
    return s


@inlined
def row_exp(Z: Any, o: int, c: int, m: Any, out: Any, q: int, keep: bool, low: float) -> Any:
    """The sum of exp(Z[o:] - m) over the row; out[q:] = exp(Z[o:] - m) if `keep`; 0 where Z - m is below `low`."""
    lanes = LANE_BYTES // Z.itemsize
    length, whole = CHAIN * lanes, c - c % lanes
    last = exp_above(load(Z, o + c - lanes) - m, low)
    none = last_lanes(last, 0)
    s, lost = row_exp_chain(Z, o, 0, min(whole, length), m, out, q, keep, low, last_lanes(last, c % lanes)), none
    for first in range(length, whole, length):
        part = row_exp_chain(Z, o, first, min(whole, first + length), m, out, q, keep, low, none)
        s, lost = add_exactly(s, lost, part)
    if keep:
        store(out, q + c - lanes, last)
    return total(s + lost)


@inlined
def row_scale(Z: Any, o: int, c: int, scale: Any) -> None:
    """Z[o:] *= scale, four vectors a turn: a turn of one is bound by its bookkeeping."""
    lanes = LANE_BYTES // Z.itemsize
    last = load(Z, o + c - lanes) * scale
    quad = c // (4 * lanes) * 4 * lanes
    for k in range(o, o + quad, 4 * lanes):
        z0, z1 = load(Z, k) * scale, load(Z, k + lanes) * scale
        z2, z3 = load(Z, k + 2 * lanes) * scale, load(Z, k + 3 * lanes) * scale
        store(Z, k, z0)
        store(Z, k + lanes, z1)
        store(Z, k + 2 * lanes, z2)
        store(Z, k + 3 * lanes, z3)
    for k in range(o + quad, o + c - lanes, lanes):
        store(Z, k, load(Z, k) * scale)
    store(Z, o + c - lanes, last)


@inlined
def row_affine(Z: Any, o: int, c: int, scale: Any, base: Any, less: Any, out: Any, q: int) -> None:
    """out[q:] = Z[o:] * scale - base - less"""
    lanes = LANE_BYTES // Z.itemsize
    last = load(Z, o + c - lanes) * scale - base - less
    for k in range(0, c - lanes + 1, lanes):
        store(out, q + k, load(Z, o + k) * scale - base - less)
    store(out, q + c - lanes, last)


# ---- softmax, log_softmax, logsumexp of whole arrays


@inlined
def sum_with_infinity(Z: Any, o: int, stride: int, c: int) -> float:
    """The sum of exp over a row that holds +inf: inf, or NaN if that is there too."""
    s = INFINITY
    for k in range(c):
        z = Z[o + k * stride]
        s = s if z == z else z
    return s


@inlined
def gather_block(source: Any, base: int, row_stride: int, class_stride: int, rows: int, c: int, Z: Any, B: int) -> None:
    """Rows of any layout -> a class-major block."""
    for k in range(c):
        z, start = borrow(Z, k * B, rows), base + k * class_stride
        for i in range(rows):
            z[i] = source[start + i * row_stride]


@inlined
def scatter_block(Z: Any, B: int, rows: int, c: int, out: Any, base: int, row_stride: int, class_stride: int) -> None:
    """A class-major block -> rows of any layout."""
    for k in range(c):
        z, start = borrow(Z, k * B, rows), base + k * class_stride
        for i in range(rows):
            out[start + i * row_stride] = z[i]


@outlined
def softmax_block(Z: Any, B: int, rows: int, c: int, bias: Any, stats: Any) -> None:
    """Logits -> probabilities, in place. bias: added first; stats: two rows of B."""
    M, S = borrow(stats, 0, B), borrow(stats, B, B)
    block_maximum(Z, B, rows, c, bias, M)
    block_exp(Z, B, rows, c, M, S, True, LOWEST)
    for i in range(rows):
        S[i] = 1 / S[i]
        M[i] = 0
    block_affine(Z, B, rows, c, S, M)


@outlined
def normalise_block(Z: Any, B: int, rows: int, c: int, mode: int, bias: Any, stats: Any, logs: Any) -> None:
    """Logits -> the function of `mode` in place; logsumexp goes to `logs`. bias: zeros; stats: two rows of B."""
    if mode == SOFTMAX:
        softmax_block(Z, B, rows, c, bias, stats)
        return
    M, S = borrow(stats, 0, B), borrow(stats, B, B)
    block_maximum(Z, B, rows, c, bias, M)
    block_exp(Z, B, rows, c, M, S, False, LOWEST)
    for i in range(rows):
        logs[i] = S[i] if M[i] < INFINITY else sum_with_infinity(Z, i, B, c)
    log_in_place(logs)
    for i in range(rows):
        S[i] = logs[i]
        logs[i] += M[i]
    if mode == LOG_SOFTMAX:
        for k in range(c):
            z = borrow(Z, k * B, rows)
            for i in range(rows):
                z[i] = z[i] - M[i] - S[i]


@outlined
def normalise_row(Z: Any, o: int, c: int, mode: int, out: Any, q: int, logs: Any) -> None:
    """One row's logits at Z[o:] -> the function of `mode` at out[q:]."""
    m = row_maximum(Z, o, c)
    s = row_exp(Z, o, c, m, out, q, mode == SOFTMAX, LOWEST)
    if mode == SOFTMAX:
        row_scale(out, q, c, 1 / s)
        return
    logs[0] = s if m < INFINITY else sum_with_infinity(Z, o, 1, c)
    log_in_place(borrow(logs, 0, LANE_BYTES // 8))
    if mode == LOGSUMEXP:
        out[q] = m + logs[0]
    else:
        row_affine(Z, o, c, 1.0, m, logs[0], out, q)


def _normalise(
    Z: Any, out: Any, c: int, inner: int, B: int, mode: int, start: int, stop: int, bias: Any, block: Any, stats: Any,
    logs: Any,
) -> float:  # fmt: skip
    """Groups start..stop. c classes lie `inner` apart; a group is one row, or up to B rows where classes are few."""
    if B == 0:
        for r in range(start, stop):
            normalise_row(Z, r * c, c, mode, out, r if mode == LOGSUMEXP else r * c, logs)
        return 0.0
    # of neighbours along `inner` a row is one element long; where there are none, rows follow each other
    length, row_stride, class_stride = (inner, 1, inner) if inner > 1 else (len(Z) // c, c, 1)
    groups = -(-length // B)
    for g in range(start, stop):
        first = g % groups * B
        rows = min(B, length - first)
        base = g // groups * c * inner + first * row_stride
        gather_block(Z, base, row_stride, class_stride, rows, c, block, B)
        normalise_block(block, B, rows, c, mode, bias, stats, logs)
        if mode == LOGSUMEXP:
            for i in range(rows):
                out[g // groups * inner + first + i] = logs[i]
        else:
            scatter_block(block, B, rows, c, out, base, row_stride, class_stride)
    return 0.0


normalise = Pointer(_normalise)


@Driver
def normalise_all(workers, chunk, Z, out, c, inner, B, mode, first, last, bias, block, stats, logs):  # type: ignore[no-untyped-def]
    """Groups first..last, evenly over the workers."""
    for w in prange(workers):
        start, stop = first + w * (last - first) // workers, first + (w + 1) * (last - first) // workers
        chunk(Z, out, c, inner, B, mode, np.int64(start), np.int64(stop), bias, block[w], stats[w], logs[w])
