"""Steps over sparse X with very many features, each of which touches only the features that its batch has.

A step moves a feature that its batch lacks as well: by the penalty, the momentum, the average. It is then linear in
(coef, velocity, average), with the same numbers for all such features. So they are left alone, `seen` says since when,
and what they missed is caught up at once, by the product of the steps' matrices, before they are read: lazy updates
(Langford, Li & Zhang 2009; of averages Xu 2011, Bottou 2012), here exact for any schedule of rates. Adam is not
linear: the moments of a feature, and the feature, move in steps that touch it only, as in PyTorch's SparseAdam.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import prange

from fastsoftmax.engine.jit import Driver, Pointer, inlined, outlined
from fastsoftmax.engine.simd import borrow
from fastsoftmax.kernels.cross_entropy import block_cross_entropy
from fastsoftmax.kernels.csr import row_logits, turn
from fastsoftmax.kernels.gradient import block_logits
from fastsoftmax.kernels.logits import ByClass, add_sums
from fastsoftmax.kernels.updates import Step, adam_row, add_to_average, clear, part_of, sgd_row

CATCH_UP, RESIDUALS, MOVE, SETTLE = range(4)
MISSED = 7  # numbers of a product of steps: coef', velocity' of (coef, velocity), average' of all three
TILE: tuple[int, ...] = ()  # a constant of the pointer


class Found(NamedTuple):
    """The features that a batch has."""

    features: Any  # (most,) int32, as they come
    slot: Any  # (m,) int32: where a feature is among them, or -1


class Lag(NamedTuple):
    """What features miss; `seen` is empty where that is nothing."""

    seen: Any  # (m,) int32: how many steps since the last settling are in a feature
    clock: Any  # (1,) int64: steps since then
    past: Any  # (most, 2): rate of each, and over how many steps the average is after it
    missed: Any  # ((most + 1) * MISSED,): what follows after so many of them


@outlined
def turn_batch(design: Any, order: Any, first: int, last: int, found: Any, columns: Any) -> int:
    """The rows order[first:last] by the features found, into `columns`, and how many features these are."""
    slot, features, ends, count = found.slot, found.features, columns.indptr, 0
    for i in range(first, last):
        for p in range(design.indptr[order[i]], design.indptr[order[i] + 1]):
            j = design.indices[p]
            if slot[j] < 0:
                slot[j], features[count] = count, j
                count += 1
                ends[count] = 0
            ends[slot[j] + 1] += 1
    start = 0
    for s in range(1, count + 1):
        start, ends[s] = start + ends[s], start
    for i in range(first, last):
        for p in range(design.indptr[order[i]], design.indptr[order[i] + 1]):
            s = slot[design.indices[p]] + 1
            columns.data[ends[s]], columns.indices[ends[s]] = design.data[p], i - first
            ends[s] += 1
    for s in range(count):
        slot[features[s]] = -1
    return count


@outlined
def multiply_steps(adam: bool, rule: Any, l2: float, lag: Any) -> None:
    """missed[s] = the product of the matrices of the steps after the first s, from the last one backwards."""
    steps, missed, momentum = lag.clock[0], lag.missed, 0.0 if adam else rule.momentum
    cw, cv, vw, vv, aw, av, aa = 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 1.0
    for s in range(steps, -1, -1):
        row = borrow(missed, s * MISSED, MISSED)
        row[0], row[1], row[2], row[3], row[4], row[5], row[6] = cw, cv, vw, vv, aw, av, aa
        if s == 0:
            break
        rate, share = lag.past[s - 1, 0], 1 / lag.past[s - 1, 1]
        decay = 0.0 if adam else l2
        ahead, now = (momentum * momentum, decay + momentum * decay) if rule.nesterov else (momentum, decay)
        ww, wv = 1 - rate * now, -rate * ahead  # of this step: coef' of coef and velocity
        cw, cv = cw * ww + cv * decay, cw * wv + cv * momentum
        vw, vv = vw * ww + vv * decay, vw * wv + vv * momentum
        aw, av = aw * ww + av * decay + aa * share * ww, aw * wv + av * momentum + aa * share * wv
        aa *= 1 - share


@inlined
def catch_up(by: Any, scale: Any, w: Any, v: Any, average: Any, to: Any) -> None:
    """What a feature missed."""
    dtype = w.dtype.type
    cw, cv, vw, vv = dtype(by[0]), dtype(by[1]), dtype(by[2]), dtype(by[3])
    aw, av, aa = dtype(by[4]), dtype(by[5]), dtype(by[6])
    if len(v) == 0:
        for k in range(len(average)):
            average[k] = aa * average[k] + aw * w[k]
        for k in range(len(w)):
            w[k] *= cw
            to[k] = w[k] * scale
        return
    for k in range(len(average)):
        average[k] = aa * average[k] + aw * w[k] + av * v[k]
    for k in range(len(w)):
        w[k], v[k] = cw * w[k] + cv * v[k], vw * w[k] + vv * v[k]
        to[k] = w[k] * scale


def _touched(
    stage: int, start: int, stop: int, first: int, last: int, design: Any, order: Any, targets: Any, W: Any, b: Any,
    c: int, B: int, adam: bool, rule: Any, now: Any, count: float, state: Any, found: Any, columns: Any, lag: Any,
    R: Any, Z: Any, index: Any, stats: Any, logs: Any, losses: Any, row: Any, g: Any, block_losses: Any,
) -> float:  # fmt: skip
    """RESIDUALS: blocks start..stop of B rows of order[first:last], into R; g and block_losses: what they sum to.
    CATCH_UP, MOVE: features start..stop of the batch. SETTLE: features start..stop of all. row: two rows of scratch.
    """
    classes, settles, lies = design.ld, stage == SETTLE, ByClass(B)
    scale, gradient, clock = borrow(row, 0, classes), borrow(row, classes, classes), lag.clock[0]
    if stage == RESIDUALS:
        for s in range(start, stop):
            at = first + s * B
            rows, T = min(B, last - at), borrow(R, s * B * classes, B * classes)
            block_logits(design, order, 0, W, b, at, last, at, B, classes, TILE, TILE, T, Z, index)
            block_losses[s] += block_cross_entropy(lies, Z, rows, c, b, targets, index, 1.0, True, stats, logs, losses)
            add_sums(lies, Z, rows, c, borrow(g, s * classes, classes))
            turn(Z, B, T, classes, classes, rows)
        return 0.0
    for s in range(start, stop):
        j = s if settles else np.int64(found.features[s])
        lo, hi = j * classes, (j + 1) * classes
        w, average, to = part_of(state.coef, lo, hi), part_of(state.coef_average, lo, hi), part_of(W, lo, hi)
        u, v = part_of(state.coef_first, lo, hi), part_of(state.coef_second, lo, hi)
        if stage != MOVE:
            if lag.seen[j] < clock:
                velocity = borrow(u, 0, 0 if adam else len(u))
                by = borrow(lag.missed, np.int64(lag.seen[j]) * MISSED, MISSED)
                catch_up(by, state.scale[j], w, velocity, average, to)
            lag.seen[j] = 0 if settles else clock
            continue
        row_logits(columns, s, R, classes, TILE, gradient, 0)  # the sum over its pairs
        for k in range(classes):
            scale[k] = state.scale[j]
        if adam:
            adam_row(rule, now, scale, gradient, w, u, v, to)
        else:
            sgd_row(rule, now, scale, gradient, w, u, to)
        add_to_average(w, count, average)
        if len(lag.seen):
            lag.seen[j] = clock + 1
    return 0.0


touched = Pointer(_touched)


@Driver
def touched_steps(  # type: ignore[no-untyped-def]
    workers, size, start, stop, move, rates, share, averaging, chunk, design, order, targets, W, b, c, B, adam, rule,
    l2, state, found, columns, lag, R, Z, index, stats, logs, losses, row, g, block_losses,
):  # fmt: skip
    """Batches start..stop of `size` rows of `order`, each one step; `move` moves the intercept."""
    n, lazy, sums = len(order), len(lag.seen) > 0, borrow(g, 0, g.size)
    powers, counts = state.powers, state.counts
    for t in range(start, stop):
        first, last = t * size, min(t * size + size, n)
        features = turn_batch(design, order, first, last, found, columns)
        if lazy:
            multiply_steps(adam, rule, l2, lag)
        powers[0] *= rule.beta1
        powers[1] *= rule.beta2
        counts[0] += 1
        counts[1] += averaging
        count, factor = max(1.0, np.float64(counts[1])), share / (last - first)
        now = Step(rates[t], factor, l2, powers[0], powers[1])
        clear(sums)
        for stage in range(CATCH_UP if lazy else RESIDUALS, SETTLE):
            items = -(-(last - first) // B) if stage == RESIDUALS else features
            for w in prange(workers):
                chunk(
                    stage, np.int64(w * items // workers), np.int64((w + 1) * items // workers), first, last, design,
                    order, targets, W, b, c, B, adam, rule, now, count, state, found, columns, lag, R, Z[w], index[w],
                    stats[w], logs[w], losses[w], row[w], sums, block_losses,
                )  # fmt: skip
        if lazy:
            lag.past[lag.clock[0], 0], lag.past[lag.clock[0], 1] = rates[t], count
            lag.clock[0] += 1
        if len(state.intercept):
            now = Step(rates[t], factor, 0.0, powers[0], powers[1])
            move(
                rule, now, count, state.ones, g, state.intercept, state.intercept_first, state.intercept_second,
                state.intercept_average, b, 0, len(state.intercept),
            )  # fmt: skip


@Driver
def settle(  # type: ignore[no-untyped-def]
    workers, chunk, design, order, targets, W, b, c, B, adam, rule, l2, state, found, columns, lag, R, Z, index, stats,
    logs, losses, row, g, block_losses,
):  # fmt: skip
    """All features catch up."""
    m, now, sums = design.m, Step(0.0, 0.0, l2, 0.0, 0.0), borrow(g, 0, g.size)
    multiply_steps(adam, rule, l2, lag)
    for w in prange(workers):
        chunk(
            SETTLE, np.int64(w * m // workers), np.int64((w + 1) * m // workers), 0, 0, design, order, targets, W, b, c,
            B, adam, rule, now, 1.0, state, found, columns, lag, R, Z[w], index[w], stats[w], logs[w], losses[w],
            row[w], sums, block_losses,
        )  # fmt: skip
    lag.clock[0] = 0
