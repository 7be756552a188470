"""The softmax of logits, twice: lanes over rows where classes are few, lanes over classes where they are many.

Few classes: a block Z in one dimension holds them class-major, (c, B), B a multiple of the lanes; what lies beyond
its rows is computed along, and means nothing. Many classes: each row lies by itself, at Z[o : o + c]; its last
vector overlaps the one before, so c must fill one. Several rows are walked together, as a bundle, so that none waits
for its own sums.

The maximum m that is subtracted is 0 for a row of -inf alone, and +inf where a logit is: then the sum of exp(z - m)
is 0 in the first case, NaN in the second, as softmax and cross-entropy need them.
"""

import math
from typing import Any

import numpy as np
from numba import prange

from fastsoftmax.engine.jit import Driver, Pointer, inlined, outlined
from fastsoftmax.engine.simd import (
    LANE_BYTES,
    WIDE,
    borrow,
    each_largest,
    each_total,
    last_lanes,
    load,
    load_rows,
    prefetch,
    row_offsets,
    spread,
    store,
    store_firsts,
    store_rows,
    where_less,
)
from fastsoftmax.kernels.math import exp_of_difference, log1p_in_place, lowest

INFINITY = math.inf
FEW = 32  # classes: below, lanes over rows are faster
SOFTMAX, LOG_SOFTMAX, LOGSUMEXP = 0, 1, 2
CHAIN = 32  # terms a lane adds up before it begins anew: one chain over 1e7 classes in float32 rounds by 2.5e-4
GROUP, ONE = (0,) * (4 if WIDE else 2), (0,)  # rows of a bundle


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
def block_exp(Z: Any, B: int, rows: int, c: int, M: Any, S: Any, keep: bool, low: float, exactly: bool) -> None:
    """S[i] = sum of exp(Z - M) over row i; Z = exp(Z - M) if `keep`; 0 where Z - M is below `low`."""
    lanes = LANE_BYTES // Z.itemsize
    for i in range(0, rows, lanes):
        m = load(M, i)
        none = last_lanes(m, 0)
        s, lost = none, none
        for first in range(0, c, CHAIN):
            part = none
            for k in range(first, min(c, first + CHAIN)):
                e = exp_of_difference(load(Z, k * B + i), m, low, exactly)
                if keep:
                    store(Z, k * B + i, e)
                part = part + e
            s, lost = add_exactly(s, lost, part)
        store(S, i, s + lost)


@inlined
def block_exp_of_others(Z: Any, B: int, rows: int, c: int, M: Any, S: Any, low: float) -> None:
    """As `block_exp`, short of 1 for the maximum: a sum with it loses the digits of all others where they are small."""
    lanes = LANE_BYTES // Z.itemsize
    for i in range(0, rows, lanes):
        m = load(M, i)
        none = last_lanes(m, 0)
        one, s, lost, equal = none + 1.0, none, none, none
        for first in range(0, c, CHAIN):
            part = none
            for k in range(first, min(c, first + CHAIN)):
                z = load(Z, k * B + i)
                part = part + where_less(
                    z, m, exp_of_difference(z, m, low, True), z - m
                )  # NaN stays, the maximum becomes 0
                equal = equal + where_less(z, m, none, one)
            s, lost = add_exactly(s, lost, part)
        store(S, i, s + lost + (equal - 1.0))


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
def rows_maximum(Z: Any, at: Any, c: int) -> Any:
    """The maximum of each row of a bundle, Z[at[r] :]."""
    lanes = LANE_BYTES // Z.itemsize
    m = load_rows(Z, at, c - lanes)
    n, pairs = m, c // (2 * lanes) * 2 * lanes
    for k in range(0, pairs, 2 * lanes):  # two chains: one would wait for each comparison
        y, z = load_rows(Z, at, k), load_rows(Z, at, k + lanes)
        m, n = where_less(m, y, y, m), where_less(n, z, z, n)
    if pairs + lanes <= c:
        y = load_rows(Z, at, pairs)
        m = where_less(m, y, y, m)
    m = each_largest(where_less(m, n, n, m))
    return where_less(-INFINITY, m, m, where_less(m, 0.0, 0.0, m))


@inlined
def rows_exp(Z: Any, at: Any, c: int, m: Any, out: Any, to: Any, keep: bool, low: float, exactly: bool) -> Any:
    """The sum of exp(Z - m) of each row of a bundle; out = exp(Z - m) if `keep`; 0 where Z - m is below `low`.

    The rows after them are fetched meanwhile: 4096 x 1000 then take 0.9 of the time.
    """
    lanes = LANE_BYTES // Z.itemsize
    length, whole, ahead = CHAIN * lanes, c - c % lanes, len(at) * c
    last = exp_of_difference(load_rows(Z, at, c - lanes), m, low, exactly)
    none = last_lanes(last, 0)
    s, lost = last_lanes(last, c % lanes), none
    for first in range(0, whole, length):
        part = none
        for k in range(first, min(whole, first + length), lanes):
            for i in range(len(at)):
                prefetch(Z, at[i] + ahead + k)
            e = exp_of_difference(load_rows(Z, at, k), m, low, exactly)
            if keep:
                store_rows(out, to, k, e)
            part = part + e
        s, lost = add_exactly(s, lost, part)
    if keep:
        store_rows(out, to, c - lanes, last)
    return each_total(s + lost)


@inlined
def rows_exp_of_others(Z: Any, at: Any, c: int, m: Any, low: float) -> Any:
    """As `rows_exp`, short of 1 for the maximum: a sum with it loses the digits of all others where they are small."""
    lanes = LANE_BYTES // Z.itemsize
    length, whole = CHAIN * lanes, c - c % lanes
    z = load_rows(Z, at, c - lanes)
    none = last_lanes(z, 0)
    one = none + 1.0
    s = last_lanes(
        where_less(z, m, exp_of_difference(z, m, low, True), z - m), c % lanes
    )  # NaN stays, the maximum becomes 0
    lost, equal = none, last_lanes(where_less(z, m, none, one), c % lanes)
    for first in range(0, whole, length):
        part = none
        for k in range(first, min(whole, first + length), lanes):
            z = load_rows(Z, at, k)
            part = part + where_less(z, m, exp_of_difference(z, m, low, True), z - m)
            equal = equal + where_less(z, m, none, one)
        s, lost = add_exactly(s, lost, part)
    return each_total(s + lost) + (each_total(equal) - 1.0)


@inlined
def rows_affine(Z: Any, at: Any, c: int, scale: Any, base: Any, less: Any, out: Any, to: Any) -> None:
    """out = Z * scale - base - less, of each row of a bundle."""
    lanes = LANE_BYTES // Z.itemsize
    last = load_rows(Z, at, c - lanes) * scale - base - less
    for k in range(0, c - lanes + 1, lanes):
        store_rows(out, to, k, load_rows(Z, at, k) * scale - base - less)
    store_rows(out, to, c - lanes, last)


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
def softmax_block(Z: Any, B: int, rows: int, c: int, bias: Any, stats: Any, exactly: bool) -> None:
    """Logits -> probabilities, in place. bias: added first; stats: two rows of B."""
    M, S = borrow(stats, 0, B), borrow(stats, B, B)
    block_maximum(Z, B, rows, c, bias, M)
    block_exp(Z, B, rows, c, M, S, True, lowest(Z, False), exactly)
    for i in range(rows):
        S[i] = 1 / S[i]
        M[i] = 0
    block_affine(Z, B, rows, c, S, M)


@outlined
def normalise_block(Z: Any, B: int, rows: int, c: int, mode: int, bias: Any, stats: Any, logs: Any) -> None:
    """Logits -> the function of `mode` in place; logsumexp goes to `logs`. bias: zeros; stats: two rows of B."""
    if mode == SOFTMAX:
        softmax_block(Z, B, rows, c, bias, stats, True)
        return
    M, S = borrow(stats, 0, B), borrow(stats, B, B)
    block_maximum(Z, B, rows, c, bias, M)
    block_exp_of_others(Z, B, rows, c, M, S, lowest(Z, False))
    for i in range(rows):
        logs[i] = S[i]
    log1p_in_place(logs)
    for i in range(rows):
        if M[i] == INFINITY:
            logs[i] = sum_with_infinity(Z, i, B, c)
        S[i] = logs[i]
        logs[i] += M[i]
    if mode == LOG_SOFTMAX:
        for k in range(c):
            z = borrow(Z, k * B, rows)
            for i in range(rows):
                z[i] = z[i] - M[i] - S[i]


@outlined
def softmax_rows(Z: Any, at: Any, c: int, out: Any, to: Any, exactly: bool) -> None:
    """The softmax of a bundle of rows; out may be Z."""
    s = rows_exp(Z, at, c, rows_maximum(Z, at, c), out, to, True, lowest(Z, False), exactly)
    rows_affine(out, to, c, 1.0 / s, 0.0, 0.0, out, to)


@outlined
def log_rows(Z: Any, at: Any, c: int, mode: int, out: Any, to: Any, stats: Any, logs: Any) -> None:
    """The other functions of a bundle of rows."""
    m = rows_maximum(Z, at, c)
    store_firsts(stats, 0, m)
    store_firsts(logs, 0, rows_exp_of_others(Z, at, c, m, lowest(Z, False)))
    log1p_in_place(borrow(logs, 0, LANE_BYTES // 8))
    rest = borrow(stats, len(at), len(at))
    for r in range(len(at)):
        if stats[r] == INFINITY:
            logs[r] = sum_with_infinity(Z, at[r], 1, c)
        rest[r] = logs[r]
        if mode == LOGSUMEXP:
            out[to[r]] = stats[r] + logs[r]
    if mode == LOG_SOFTMAX:
        rows_affine(Z, at, c, 1.0, m, spread(rest, 0, at), out, to)


@inlined
def normalise_rows(Z: Any, r: int, c: int, mode: int, out: Any, stats: Any, logs: Any, group: Any) -> None:
    """Rows r, r + 1, ..., as many as `group` is long."""
    at = row_offsets(0, r, r + len(group), c, group)
    if mode == SOFTMAX:
        softmax_rows(Z, at, c, out, at, True)
    else:
        step = 1 if mode == LOGSUMEXP else c
        log_rows(Z, at, c, mode, out, row_offsets(0, r, r + len(group), step, group), stats, logs)


def _normalise(
    Z: Any, out: Any, c: int, inner: int, B: int, mode: int, start: int, stop: int, bias: Any, block: Any, stats: Any,
    logs: Any,
) -> float:  # fmt: skip
    """Groups start..stop. c classes lie `inner` apart; a group is one row, or up to B rows where classes are few."""
    if B == 0:
        together = start + (stop - start) // len(GROUP) * len(GROUP)
        for r in range(start, together, len(GROUP)):
            normalise_rows(Z, r, c, mode, out, stats, logs, GROUP)
        for r in range(together, stop):
            normalise_rows(Z, r, c, mode, out, stats, logs, ONE)
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
