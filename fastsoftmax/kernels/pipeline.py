"""The pass for weights so large that few partial gradients would fit: workers share one, and seldom wait.

Blocks of rows go through two stages: logits and residuals, by rows, and the gradient, by classes, each of which has
one owner at a time. While the gradient of a block is made, the next block's residuals are: items are taken in an order
in which what an item needs was taken a whole stage before. Each entry adds up blocks in order, whoever does it: the
same bits on any number of threads.
"""

from typing import Any

import numpy as np
from numba import prange

from fastsoftmax.engine.jit import Driver, Pointer
from fastsoftmax.engine.simd import LANE_BYTES, await_count, borrow, signal, take
from fastsoftmax.kernels.cross_entropy import block_cross_entropy
from fastsoftmax.kernels.layouts import gather
from fastsoftmax.kernels.logits import ByRow, add_sums, curvature
from fastsoftmax.kernels.panels import FAR, FEATURES, TALL, adjoint_units, forward_units, pack_rows, place

RESIDUALS, GRADIENT = 0, 1
SLOTS = 3  # blocks that are under way: with two, residuals would wait for the last part of the gradient before


def _work(
    stage: int, design: Any, none: Any, targets: Any, W: Any, b: Any, c: int, first: int, rows: int, start: int,
    stop: int, proba: Any, P: Any, Z: Any, T: Any, index: Any, stats: Any, logs: Any, losses: Any, G: Any, g: Any,
) -> float:  # fmt: skip
    """RESIDUALS: rows start..stop of a block, and their loss. GRADIENT: vectors start..stop of classes, of all rows.

    first, rows: where the block lies; P, Z: its rows and logits, in panels and by rows; `none`: no order. proba of
    weights makes W a direction, as in gradient.py. The first block of all begins the gradient, whatever is in G.
    """
    lanes, unit, ld = LANE_BYTES // W.itemsize, design.features * (LANE_BYTES // W.itemsize), len(b)
    lies = ByRow(ld)
    panel = len(P) // design.features * FEATURES
    if stage == GRADIENT:
        # The next panel is fetched while one is used: without it a pass over 2000 x 2048 x 601 took 1.05 times as long.
        adjoint_units(
            P, 0, FEATURES, panel, rows, design.m, Z, ld, G, unit, start, stop, first == 0, P, panel, len(TALL), True
        )
        k = start * lanes
        add_sums(lies, borrow(Z, k, len(Z) - k), rows, min(c, stop * lanes) - k, borrow(g, k, len(g) - k))
        return 0.0
    stop = min(stop, rows)
    if start >= stop:
        return 0.0
    count, own = stop - start, borrow(Z, start * ld, len(Z) - start * ld)
    for i in range(count):
        index[i] = first + start + i
    gather(design, index, count, True, T)
    X, x, step = place(design, T, none, first + start)
    pack_rows(X, x, step, count, design.m, P, start * FEATURES, panel)
    forward_units(X, x, step, count, design.m, W, unit, b, own, ld, 0, len(W) // unit, FAR)
    if len(proba):
        curvature(lies, own, count, c, b, proba, (first + start) * c, targets.weight, index)
        return 0.0
    return block_cross_entropy(lies, own, count, c, b, targets, index, 1.0, True, stats, logs, losses)


work = Pointer(_work)


@Driver
def flow(  # type: ignore[no-untyped-def]
    workers, chunk, design, none, targets, W, b, c, start, stop, B, share, span, proba, P, Z, T, index, stats,
    logs, losses, G, g, item_losses, counter, residuals, gradients, turns,
):  # fmt: skip
    """Rows start..stop, in blocks of B: of each, items of `share` rows, then of `span` vectors of classes.

    P, Z: scratch of SLOTS blocks. residuals, gradients: how many items of each block are done; turns: how many blocks
    of each item of classes; zeros.
    """
    units = len(W) // (design.features * (LANE_BYTES // W.itemsize))
    blocks, by_rows, by_classes = -(-(stop - start) // B), -(-B // share), max(1, units // span)
    round_ = by_rows + by_classes
    items = blocks * round_
    for w in prange(workers):
        item = take(counter)
        while item < items:
            s, part, stage = np.int64(0), item, RESIDUALS
            if item >= by_rows:
                s, part = (item - by_rows) // round_, (item - by_rows) % round_
                if s < blocks - 1 and part < by_rows:
                    s += 1
                else:
                    stage = GRADIENT
                    part -= by_rows if s < blocks - 1 else 0
            slot, first = s % SLOTS, start + s * B
            rows = min(B, stop - first)
            if stage == RESIDUALS:
                if s >= SLOTS:
                    await_count(gradients, s - SLOTS, by_classes)
                item_losses[s * by_rows + part] += chunk(
                    RESIDUALS, design, none, targets, W, b, c, first, rows, np.int64(part * share),
                    np.int64((part + 1) * share), proba, P[slot], Z[slot], T[w], index[w], stats[w], logs[w], losses[w],
                    G, g,
                )  # fmt: skip
                signal(residuals, s)
            else:
                await_count(residuals, s, by_rows)
                await_count(turns, part, s)
                last = units if part == by_classes - 1 else (part + 1) * span
                chunk(
                    GRADIENT, design, none, targets, W, b, c, first, rows, np.int64(part * span), np.int64(last),
                    proba, P[slot], Z[slot], T[w], index[w], stats[w], logs[w], losses[w], G, g,
                )  # fmt: skip
                signal(turns, part)
                signal(gradients, s)
            item = take(counter)
