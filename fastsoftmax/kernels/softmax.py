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

from fastsoftmax.engine.jit import Driver, Pointer, outlined, pasted
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
    where_least,
    where_less,
)
from fastsoftmax.kernels.math import exp_from, log1p_in_place, lowest, origin_of

INFINITY = math.inf
FEW = 32  # classes: below, lanes over rows are faster
SOFTMAX, LOG_SOFTMAX, LOGSUMEXP = 0, 1, 2
CHAIN = 32  # terms a lane adds up before it begins anew: one chain over 1e7 classes in float32 rounds by 2.5e-4
GROUP, ONE = (0,) * (4 if WIDE else 2), (0,)  # rows of a bundle
LONG = 4096  # classes from which on a row's own vectors leave no time to wait: bundles of one


@pasted
def add_exactly(s: Any, lost: Any, part: Any) -> Any:
    """(s + part, what all roundings took from s so far) (Knuth, TAOCP 2, section 4.2.2, theorem B)"""
    t = s + part
    back = t - s
    return t, lost + ((s - (t - back)) + (part - back))


# ---- lanes over rows


@pasted
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


@pasted
def block_exp(Z: Any, B: int, rows: int, c: int, M: Any, S: Any, keep: bool, low: float) -> None:
    """S[i] = sum of `exp_from` over row i with maximum M[i]; Z = `exp_from` of it if `keep`."""
    lanes = LANE_BYTES // Z.itemsize
    for i in range(0, rows, lanes):
        m = load(M, i)
        none, origin = last_lanes(m, 0), origin_of(m, low)
        s, lost = none, none
        for first in range(0, c, CHAIN):
            part = none
            for k in range(first, min(c, first + CHAIN)):
                e = exp_from(load(Z, k * B + i), origin)
                if keep:
                    store(Z, k * B + i, e)
                part = part + e
            s, lost = add_exactly(s, lost, part)
        store(S, i, s + lost)


@pasted
def block_others(Z: Any, B: int, rows: int, c: int, M: Any, S: Any, low: float) -> None:
    """S[i] = the sum of exp(Z - M[i]) over row i, short of 1 for the maximum.

    A sum with that 1 loses the digits of all others where they are small.
    """
    lanes = LANE_BYTES // Z.itemsize
    for i in range(0, rows, lanes):
        m = load(M, i)
        none, origin = last_lanes(m, 0), origin_of(m, low)
        s, lost, equal = none, none, none
        for first in range(0, c, CHAIN):
            part = none
            for k in range(first, min(c, first + CHAIN)):
                z = load(Z, k * B + i)
                part = part + where_least(z, m, 0.0, exp_from(z, origin))
                equal = equal + where_least(z, m, 1.0, none)
            s, lost = add_exactly(s, lost, part)
        store(S, i, (s + lost) / exp_from(m, origin) + (equal - 1.0))


@pasted
def block_affine(Z: Any, B: int, rows: int, c: int, scale: Any, base: Any) -> None:
    """Z = Z * scale - base, a scale and a base to each row."""
    lanes = LANE_BYTES // Z.itemsize
    for i in range(0, rows, lanes):
        s, b = load(scale, i), load(base, i)
        for k in range(c):
            store(Z, k * B + i, load(Z, k * B + i) * s - b)


# ---- lanes over classes


@pasted
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


@pasted
def rows_exp(Z: Any, at: Any, c: int, m: Any, out: Any, to: Any, keep: bool, low: float, ahead: int) -> Any:
    """The sum of `exp_from` of each row of a bundle, m its maximum; out = `exp_from` if `keep`.

    What lies `ahead` entries is fetched meanwhile: 10000 x 128 then take 0.9 of the time.
    """
    lanes = LANE_BYTES // Z.itemsize
    length, whole, origin = CHAIN * lanes, c - c % lanes, origin_of(m, low)
    none = last_lanes(m, 0)
    last, part, s, lost = none, none, none, none
    if whole < c:
        last = exp_from(load_rows(Z, at, c - lanes), origin)
        part = last_lanes(last, c - whole)
    for first in range(0, whole, length):
        for k in range(first, min(whole, first + length), lanes):
            for i in range(len(at)):
                prefetch(Z, at[i] + ahead + k)
            e = exp_from(load_rows(Z, at, k), origin)
            if keep:
                store_rows(out, to, k, e)
            part = part + e
        if first == 0:
            s = part
        else:
            s, lost = add_exactly(s, lost, part)
        part = none
    if keep and whole < c:
        store_rows(out, to, c - lanes, last)
    return each_total(s + lost)


@pasted
def rows_others(Z: Any, at: Any, c: int, m: Any, low: float, ahead: int) -> Any:
    """The sum of exp(Z - m) of each row of a bundle, short of 1 for the maximum, as in `block_others`."""
    lanes = LANE_BYTES // Z.itemsize
    length, whole, origin = CHAIN * lanes, c - c % lanes, origin_of(m, low)
    none = last_lanes(m, 0)
    part, s, lost, equal = none, none, none, none
    if whole < c:
        z = load_rows(Z, at, c - lanes)
        part = last_lanes(where_least(z, m, 0.0, exp_from(z, origin)), c - whole)
        equal = last_lanes(where_least(z, m, 1.0, none), c - whole)
    for first in range(0, whole, length):
        for k in range(first, min(whole, first + length), lanes):
            for i in range(len(at)):
                prefetch(Z, at[i] + ahead + k)
            z = load_rows(Z, at, k)
            part = part + where_least(z, m, 0.0, exp_from(z, origin))
            equal = equal + where_least(z, m, 1.0, none)
        if first == 0:
            s = part
        else:
            s, lost = add_exactly(s, lost, part)
        part = none
    return each_total(s + lost) / exp_from(m, origin) + (each_total(equal) - 1.0)


@pasted
def rows_affine(Z: Any, at: Any, c: int, scale: Any, base: Any, less: Any, out: Any, to: Any) -> None:
    """out = Z * scale - base - less, of each row of a bundle."""
    lanes = LANE_BYTES // Z.itemsize
    last = load_rows(Z, at, c - lanes) * scale - base - less
    for k in range(0, c - lanes + 1, lanes):
        store_rows(out, to, k, load_rows(Z, at, k) * scale - base - less)
    store_rows(out, to, c - lanes, last)


# ---- the same of a few rows, Z[o : o + rows * ld], bundle by bundle: one waits for its sums while others are worked
# on. A bundle that the rows do not fill has the last one several times.


@pasted
def each_maximum(Z: Any, o: int, ld: int, rows: int, c: int, M: Any, group: Any) -> None:
    """M = the maxima of rows."""
    for r in range(0, rows, len(group)):
        store_firsts(M, r, rows_maximum(Z, row_offsets(o, r, rows, ld, group), c))


@pasted
def each_exp(
    Z: Any, o: int, ld: int, rows: int, c: int, M: Any, S: Any, out: Any, to: int, step: int, keep: bool, low: float,
    ahead: int, group: Any,
) -> None:  # fmt: skip
    """S = the sums of `exp_from` of rows; out[to : to + rows * step] = `exp_from` of them if `keep`."""
    for r in range(0, rows, len(group)):
        at, into = row_offsets(o, r, rows, ld, group), row_offsets(to, r, rows, step, group)
        m = spread(M, row_offsets(0, r, rows, 1, group))
        store_firsts(S, r, rows_exp(Z, at, c, m, out, into, keep, low, ahead))


@pasted
def each_affine(Z: Any, ld: int, rows: int, c: int, scale: Any, base: Any, group: Any) -> None:
    """Z = Z * scale - base of rows."""
    for r in range(0, rows, len(group)):
        at, row = row_offsets(0, r, rows, ld, group), row_offsets(0, r, rows, 1, group)
        rows_affine(Z, at, c, spread(scale, row), spread(base, row), 0.0, Z, at)


# ---- softmax, log_softmax, logsumexp of whole arrays


@pasted
def sum_with_infinity(Z: Any, o: int, stride: int, c: int) -> float:
    """The sum of exp over a row that holds +inf: inf, or NaN if that is there too."""
    s = INFINITY
    for k in range(c):
        z = Z[o + k * stride]
        s = s if z == z else z
    return s


@pasted
def gather_block(source: Any, base: int, row_stride: int, class_stride: int, rows: int, c: int, Z: Any, B: int) -> None:
    """Rows of any layout -> a class-major block."""
    for k in range(c):
        z, start = borrow(Z, k * B, rows), base + k * class_stride
        for i in range(rows):
            z[i] = source[start + i * row_stride]


@pasted
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
    block_exp(Z, B, rows, c, M, S, True, lowest(Z, False))
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
    block_others(Z, B, rows, c, M, S, lowest(Z, False))
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
def softmax_rows(
    Z: Any, o: int, ld: int, rows: int, c: int, out: Any, to: int, step: int, stats: Any, ahead: int, group: Any
) -> None:
    """The softmax of rows, as in `each_exp`; out may be Z. stats: two rows of as many."""
    size = len(stats) // 2
    M, S = borrow(stats, 0, size), borrow(stats, size, size)
    each_maximum(Z, o, ld, rows, c, M, group)
    each_exp(Z, o, ld, rows, c, M, S, out, to, step, True, lowest(Z, False), ahead, group)
    for i in range(size):
        S[i] = 1 / S[i]
    for r in range(0, rows, len(group)):
        at = row_offsets(to, r, rows, step, group)
        rows_affine(out, at, c, spread(S, row_offsets(0, r, rows, 1, group)), 0.0, 0.0, out, at)


@outlined
def log_rows(
    Z: Any, o: int, rows: int, c: int, mode: int, out: Any, to: int, stats: Any, logs: Any, ahead: int, group: Any
) -> None:
    """The other functions of rows that follow each other."""
    size = len(stats) // 2
    M, S = borrow(stats, 0, size), borrow(stats, size, size)
    each_maximum(Z, o, c, rows, c, M, group)
    for r in range(0, rows, len(group)):
        at, row = row_offsets(o, r, rows, c, group), row_offsets(0, r, rows, 1, group)
        store_firsts(logs, r, rows_others(Z, at, c, spread(M, row), lowest(Z, False), ahead))
    log1p_in_place(logs)
    for r in range(rows):
        if M[r] == INFINITY:
            logs[r] = sum_with_infinity(Z, o + r * c, 1, c)
        S[r] = logs[r]
        if mode == LOGSUMEXP:
            out[to + r] = M[r] + logs[r]
    if mode == LOG_SOFTMAX:
        for r in range(0, rows, len(group)):
            at, row = row_offsets(o, r, rows, c, group), row_offsets(0, r, rows, 1, group)
            rows_affine(Z, at, c, 1.0, spread(M, row), spread(S, row), out, at)


@pasted
def normalise_rows(
    Z: Any, start: int, stop: int, c: int, mode: int, out: Any, stats: Any, logs: Any, group: Any
) -> None:
    """Rows start..stop, as many together as `stats` has room for."""
    size = len(stats) // 2
    for first in range(start, stop, size):
        rows, o = min(size, stop - first), first * c
        if mode == SOFTMAX:
            softmax_rows(Z, o, c, rows, c, out, o, c, stats, size * c, group)
        else:
            log_rows(Z, o, rows, c, mode, out, first if mode == LOGSUMEXP else o, stats, logs, size * c, group)


def _normalise(
    Z: Any, out: Any, c: int, inner: int, B: int, mode: int, start: int, stop: int, bias: Any, block: Any, stats: Any,
    logs: Any,
) -> float:  # fmt: skip
    """Groups start..stop. c classes lie `inner` apart; a group is one row, or up to B rows where classes are few."""
    if B == 0:
        if c < LONG:
            normalise_rows(Z, start, stop, c, mode, out, stats, logs, GROUP)
        else:
            normalise_rows(Z, start, stop, c, mode, out, stats, logs, ONE)
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
