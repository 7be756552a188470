"""Steps over dense X of many classes: each worker owns some classes, whose weights and gradient stay in its cache.

Four stages a batch: its rows are fetched; logits, by classes; residuals, by rows; and, by classes, the gradient, two
vectors of them at a time, along which they move at once. With partial gradients, each written and read from a cache
that all cores share, an epoch of 64 x 768 x 1000 took 1.9 times as long, and of 256 x 512 x 601 1.1 times.
"""

from typing import Any

import numpy as np
from numba import prange

from fastsoftmax.engine.jit import Driver, Pointer, inlined
from fastsoftmax.engine.simd import LANE_BYTES, borrow
from fastsoftmax.kernels.cross_entropy import block_cross_entropy
from fastsoftmax.kernels.layouts import gather
from fastsoftmax.kernels.logits import ByRow, add_sums
from fastsoftmax.kernels.panels import FEATURES, NEAR, TALL, adjoint_units, forward_units, pack_rows
from fastsoftmax.kernels.updates import Step, adam_row, add_to_average, clear, part_of, sgd_row

FETCH, LOGITS, RESIDUALS, MOVE, STAGES = range(5)
ROWS = 16  # of an item of FETCH and of RESIDUALS
SPAN = 2  # vectors of classes that move at a time, and one more of an odd number


@inlined
def owned_range(w: int, workers: int, units: int) -> Any:
    """The vectors of classes of a worker, of `units`: pairs, and one more of an odd number."""
    pairs = units // 2
    start, stop = w * pairs // workers, (w + 1) * pairs // workers
    return np.int64(2 * start), np.int64(units if stop == pairs and start < stop else 2 * stop)


def _owned(
    stage: int, start: int, stop: int, first: int, last: int, design: Any, order: Any, targets: Any, W: Any, b: Any,
    c: int, B: int, adam: bool, rule: Any, now: Any, count: float, state: Any, folded: Any, T: Any, P: Any, Z: Any,
    index: Any, stats: Any, logs: Any, losses: Any, G: Any, g: Any, item_losses: Any,
) -> float:  # fmt: skip
    """Of the rows order[first:last]. FETCH, RESIDUALS: items start..stop of them; what these lose is added to
    item_losses. LOGITS, MOVE: vectors start..stop of classes. Gradients are sums of chains of B rows.

    T, P: the rows, as they lie and in panels. folded: W, to be written, or empty where W is coef itself.
    """
    ldz, ld, m, rows, lies = len(b), design.ld, design.m, last - first, ByRow(len(b))
    lanes, unit = LANE_BYTES // W.itemsize, design.features * (LANE_BYTES // W.itemsize)
    panel = len(P) // design.features * FEATURES
    if stage == LOGITS:
        forward_units(T, 0, ld, rows, m, W, unit, b, Z, ldz, start, stop, NEAR)
    elif stage == MOVE:
        k = start * lanes
        add_sums(lies, borrow(Z, k, len(Z) - k), rows, min(c, stop * lanes) - k, borrow(g, k, len(g) - k))
        u = start
        while u < stop:
            upto = u + SPAN if u + SPAN + 1 < stop else stop
            for at in range(0, rows, B):
                here = at * ldz + u * lanes
                adjoint_units(
                    P, at * FEATURES, FEATURES, panel, min(B, rows - at), m, borrow(Z, here, len(Z) - here), ldz, G,
                    unit, 0, upto - u, at == 0, P, at * FEATURES + panel, len(TALL), True,
                )  # fmt: skip
            for low in range(u * unit, upto * unit, unit):
                high, gradient = low + unit, borrow(G, low - u * unit, unit)
                w, to, scale = part_of(state.coef, low, high), part_of(folded, low, high), borrow(state.scale, 0, unit)
                x, y = part_of(state.coef_first, low, high), part_of(state.coef_second, low, high)
                if adam:
                    adam_row(rule, now, scale, gradient, w, x, y, to)
                else:
                    sgd_row(rule, now, scale, gradient, w, x, to)
                add_to_average(w, count, part_of(state.coef_average, low, high))
            u = upto
    else:
        for s in range(start, stop):
            at, part = s * ROWS, min(ROWS, rows - s * ROWS)
            own = borrow(index, at, part)
            if stage == FETCH:
                for i in range(part):
                    own[i] = order[first + at + i]
                gather(design, own, part, False, borrow(T, at * ld, part * ld))
                pack_rows(T, at * ld, ld, part, m, P, at * FEATURES, panel)
            else:
                logits = borrow(Z, at * ldz, part * ldz)
                item_losses[s] += block_cross_entropy(
                    lies, logits, part, c, b, targets, own, 1.0, True, stats, logs, losses
                )
    return 0.0


owned = Pointer(_owned)


@Driver
def owned_steps(  # type: ignore[no-untyped-def]
    workers, size, start, stop, move, rates, share, averaging, l2, chunk, design, order, targets, W, b, c, B, adam,
    rule, state, folded, T, P, Z, index, stats, logs, losses, G, g, item_losses,
):  # fmt: skip
    """Batches start..stop of `size` rows of `order`, each one step; `move` moves the intercept."""
    n, sums, units = len(order), borrow(g, 0, g.size), len(W) // (design.features * (LANE_BYTES // W.itemsize))
    powers, counts = state.powers, state.counts
    for t in range(start, stop):
        first, last = t * size, min(t * size + size, n)
        items = -(-(last - first) // ROWS)
        powers[0] *= rule.beta1
        powers[1] *= rule.beta2
        counts[0] += 1
        counts[1] += averaging
        count, factor = max(1.0, np.float64(counts[1])), share / (last - first)
        now = Step(rates[t], factor, l2, powers[0], powers[1])
        clear(sums)
        for stage in range(STAGES):
            for w in prange(workers):
                if stage == LOGITS or stage == MOVE:
                    lo, hi = owned_range(w, workers, units)
                else:
                    lo, hi = np.int64(w * items // workers), np.int64((w + 1) * items // workers)
                if lo < hi:
                    chunk(
                        stage, lo, hi, first, last, design, order, targets, W, b, c, B, adam, rule, now, count, state,
                        folded, T, P, Z, index, stats[w], logs[w], losses[w], G[w], sums, item_losses,
                    )  # fmt: skip
        if len(state.intercept):
            now = Step(rates[t], factor, 0.0, powers[0], powers[1])
            move(
                rule, now, count, state.ones, g, state.intercept, state.intercept_first, state.intercept_second,
                state.intercept_average, b, 0, len(state.intercept),
            )  # fmt: skip
