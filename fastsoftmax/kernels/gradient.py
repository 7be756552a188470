"""Gradient accumulation, the one driver: forward -> losses and residual -> adjoint while a block of rows is in cache.

Rows are cut into chunks, by the shape of the problem alone. Each chunk adds its blocks to a partial gradient of its
own, in order, and the partials are added in order: the same bits on any number of threads. Drivers only share out
chunks to workers, each with scratch of its own, and go on from where they are called again with a later slice.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import prange

from fastsoftmax.engine.jit import Driver, Pointer, inlined
from fastsoftmax.engine.simd import take
from fastsoftmax.kernels.cross_entropy import block_cross_entropy
from fastsoftmax.kernels.layouts import adjoint, forward, gather, logits
from fastsoftmax.kernels.logits import add_sums, argmax
from fastsoftmax.kernels.logits import curvature as curvature_of
from fastsoftmax.kernels.logits import probabilities as probabilities_of
from fastsoftmax.kernels.updates import Step, clear


@inlined
def block_logits(
    design: Any, order: Any, ahead: int, W: Any, b: Any, first: int, stop: int, rest: int, B: int, classes: int,
    tile: Any, wide: Any, T: Any, Z: Any, index: Any,
) -> None:  # fmt: skip
    """Rows order[first:first + B], or first..first + B if order is empty, of those up to stop -> their logits in Z."""
    rows, in_order = min(B, stop - first), len(order) == 0
    for i in range(rows):
        index[i] = first + i if in_order else order[first + i]
    gather(design, index, rows, in_order, T)
    soon = first + B if first + B < stop else rest + ahead
    forward(design, T, order, first, soon, rows, W, b, Z, B, classes, tile, wide)


# The chunk functions take rows order[start:stop], or start..stop if order is empty, in blocks of B, and return their
# loss. All have one signature, without tiles, so that drivers are compiled once; what has length 0 is not computed.
# fresh: gradients begin here, whatever is in G and g.
# Rows order[start + ahead:] are what the same worker probably takes next.
ALONE = 1 << 16  # weights, below which they move on one thread
TILE: tuple[int, ...] = ()
SIDE: tuple[int, ...] = ()  # constants of a pointer: the tiles of forward and adjoint


def _losses(
    design: Any, order: Any, ahead: int, targets: Any, W: Any, b: Any, c: int, start: int, stop: int, B: int,
    fresh: bool, G: Any, g: Any, predictions: Any, proba: Any, T: Any, Z: Any, index: Any, stats: Any,
    logs: Any, losses: Any,
) -> float:  # fmt: skip
    """Losses, predictions, and the gradient, which is added to G and g."""
    classes, loss, wanted = Z.size // B, 0.0, len(G) > 0
    if fresh:
        clear(g)
    lies = logits(design, B, classes)
    for first in range(start, stop, B):
        rows = min(B, stop - first)
        block_logits(design, order, ahead, W, b, first, stop, start, B, classes, TILE, SIDE, T, Z, index)
        if len(predictions):
            argmax(lies, Z, rows, c, b, stats, index, predictions)
        loss += block_cross_entropy(lies, Z, rows, c, b, targets, index, 1.0, wanted, stats, logs, losses)
        if wanted:
            add_sums(lies, Z, rows, c, g)
            adjoint(design, T, order, first, rows, Z, B, classes, G, fresh and first == start, TILE, SIDE)
    return loss


def _probabilities(
    design: Any, order: Any, ahead: int, targets: Any, W: Any, b: Any, c: int, start: int, stop: int, B: int,
    fresh: bool, G: Any, g: Any, predictions: Any, proba: Any, T: Any, Z: Any, index: Any, stats: Any,
    logs: Any, losses: Any,
) -> float:  # fmt: skip
    """Predictions, and probabilities by rows in `proba`, whatever the targets."""
    classes = Z.size // B
    lies = logits(design, B, classes)
    for first in range(start, stop, B):
        rows = min(B, stop - first)
        block_logits(design, order, ahead, W, b, first, stop, start, B, classes, TILE, SIDE, T, Z, index)
        if len(predictions):
            argmax(lies, Z, rows, c, b, stats, index, predictions)
        if len(proba):
            probabilities_of(lies, Z, rows, c, b, stats, proba, first * c)
    return 0.0


def _curvature(
    design: Any, order: Any, ahead: int, targets: Any, W: Any, b: Any, c: int, start: int, stop: int, B: int,
    fresh: bool, G: Any, g: Any, predictions: Any, proba: Any, T: Any, Z: Any, index: Any, stats: Any,
    logs: Any, losses: Any,
) -> float:  # fmt: skip
    """The Hessian, where the probabilities are `proba`, times the direction W, b, which is added to G and g."""
    classes = Z.size // B
    if fresh:
        clear(g)
    lies = logits(design, B, classes)
    for first in range(start, stop, B):
        rows = min(B, stop - first)
        block_logits(design, order, ahead, W, b, first, stop, start, B, classes, TILE, SIDE, T, Z, index)
        curvature_of(lies, Z, rows, c, b, proba, first * c, targets.weight, index)
        add_sums(lies, Z, rows, c, g)
        adjoint(design, T, order, first, rows, Z, B, classes, G, fresh and first == start, TILE, SIDE)
    return 0.0


losses, probabilities, curvature = Pointer(_losses), Pointer(_probabilities), Pointer(_curvature)


@Driver
def sweep(  # type: ignore[no-untyped-def]
    workers, chunk, design, order, targets, W, b, c, n, size, start, stop, B, G, g, predictions, proba,
    T, Z, index, stats, logs, losses, counter, chunk_losses,
):  # fmt: skip
    """Rows start..stop of each chunk of `size` rows: chunk q adds to G[q], g[q] and chunk_losses[q].

    The first rows of a chunk, from 0, begin its gradient.
    """
    chunks = len(chunk_losses)
    counter[0] = 0
    for w in prange(workers):
        q = take(counter)
        while q < chunks:
            lo, hi = q * size + start, min(n, q * size + stop)
            if lo < hi:
                chunk_losses[q] += chunk(
                    design, order, 0, targets, W, b, c, lo, hi, B, start == 0, G[q], g[q], predictions, proba, T[w],
                    Z[w], index[w], stats[w], logs[w], losses[w],
                )  # fmt: skip
            q = take(counter)


class State(NamedTuple):
    """What an optimiser moves, in scaled features, and its moments; an empty array is not in use."""

    scale: Any  # as long as coef, or (m,) where steps touch the features of a batch
    coef: Any  # as weights are arranged
    coef_first: Any
    coef_second: Any
    coef_average: Any
    ones: Any  # (c,), the scale of an intercept
    intercept: Any  # (c,), or empty: then it stays 0
    intercept_first: Any
    intercept_second: Any
    intercept_average: Any
    powers: Any  # (2,) float64: beta1 and beta2 to the number of steps
    counts: Any  # (2,) int64: steps, and those that the averages are over


@Driver
def steps(  # type: ignore[no-untyped-def]
    workers, chunk, design, order, targets, W, b, c, batch, micro, size, start, stop, begin, end, low, high, B, G, g,
    predictions, proba, T, Z, index, stats, logs, losses, chunk_losses, move, rule, rates, l2, share, averaging, state,
):  # fmt: skip
    """Batches start..stop of `batch` rows of `order`, each one step by `move`; chunk_losses: added to, as in `sweep`.

    A batch is walked in micro-batches, these in chunks of `size` rows. Of each batch only micro-batches begin..end are
    taken, and of their chunks rows low..high, by calls in order: the first one clears the gradient, the last one moves.
    rates: of each batch; share: the factor of a batch's gradient times its rows.
    """
    chunks, n = len(chunk_losses), len(order)
    for t in range(start, stop):
        first, last = t * batch, min(t * batch + batch, n)
        parts = -(-(last - first) // micro)
        for p in range(begin, min(end, parts)):
            part = first + p * micro
            for w in prange(workers):
                for q in range(w * chunks // workers, (w + 1) * chunks // workers):
                    at, upto, fresh = part + q * size, min(last, part + micro), p == 0 and low == 0
                    lo, hi = np.int64(at + low), np.int64(min(upto, at + min(size, high)))
                    if lo < hi:
                        chunk_losses[q] += chunk(
                            design, order, micro, targets, W, b, c, lo, hi, B, fresh, G[q], g[q], predictions, proba,
                            T[w], Z[w], index[w], stats[w], logs[w], losses[w],
                        )  # fmt: skip
                    elif fresh:
                        clear(G[q])
                        clear(g[q])
        if not begin < parts <= end or high < size:
            continue
        powers, counts = state.powers, state.counts
        powers[0] *= rule.beta1
        powers[1] *= rule.beta2
        counts[0] += 1
        counts[1] += averaging
        count, factor = max(1.0, np.float64(counts[1])), share / (last - first)
        now = Step(rates[t], factor, l2, powers[0], powers[1])
        if len(W) < ALONE:
            move(
                rule, now, count, state.scale, G, state.coef, state.coef_first, state.coef_second, state.coef_average,
                W, 0, len(state.coef),
            )  # fmt: skip
        else:
            for w in prange(workers):
                move(
                    rule, now, count, state.scale, G, state.coef, state.coef_first, state.coef_second,
                    state.coef_average, W, np.int64(w * len(W) // workers), np.int64((w + 1) * len(W) // workers),
                )  # fmt: skip
        if len(state.intercept):
            now = Step(rates[t], factor, 0.0, powers[0], powers[1])
            move(
                rule, now, count, state.ones, g, state.intercept, state.intercept_first, state.intercept_second,
                state.intercept_average, b, 0, len(state.intercept),
            )  # fmt: skip
