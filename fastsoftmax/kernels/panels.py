"""Dense X of many classes in two block operations: lanes over classes, X read as it lies.

W and G lie as (vectors of classes, features, lanes), features padded to whole tiles: forward, a tile is rows by vectors
of classes, and a step a feature; adjoint, it is features by vectors of classes, and a step a row. Either way what a
step takes of X are a few numbers, each repeated over the lanes, and of W or Z neighbours (Goto & van de Geijn 2008,
section 4, whose packing of X would cost more than it gains: 45 classes spend 3 cycles on an entry of X). An entry is a
sum of chains of fused multiply-adds, cut by shapes alone: the same bits whatever the tile.
"""

from typing import Any, NamedTuple

import numpy as np
from numba import prange

from fastsoftmax.engine.jit import Driver, Pointer, inlined, outlined
from fastsoftmax.engine.simd import (
    LANE_BYTES,
    REGISTER_BYTES,
    WIDE,
    add,
    add_scaled,
    borrow,
    load_units,
    prefetch,
    row_offsets,
    store_units,
    transpose,
    zeros,
)

DEPTH = 256  # features of a chain: a panel of two vectors of W, 32 KB, stays in L1
# Tiles of 24 accumulators, or 12 of the 16 narrow registers: rows by registers.
TALL, PAIR = (0,) * (12 if WIDE else 6), (0, 0)
LOW, THREE = (0,) * 8, (0, 0, 0)
NEAR, FAR = (), (0,)  # whether weights are in the cache of a core already, or beyond it
FEATURES = 24  # of which all tiles' heights are divisors
STRIP = 8  # rows that are packed together
TOGETHER = 2 if WIDE else 1  # vectors of LANE_BYTES in a PAIR of registers


def padded(m: int) -> int:
    """Features, filled up to whole tiles."""
    return -(-m // FEATURES) * FEATURES


class Panels(NamedTuple):
    """X row by row in one dimension; `direct` is X where the kernels can read it in place, else empty."""

    X: Any
    direct: Any
    m: int
    ld: int  # of a row in scratch
    features: int  # m, padded


@outlined
def forward_panel(
    X: Any, x: int, ld: int, rows: int, m: int, W: Any, w: int, unit: int, bias: Any, k: int, Z: Any, ldz: int,
    tile: Any, side: Any, away: Any,
) -> None:  # fmt: skip
    """Z[:, k:] = X W' + bias for as many vectors of classes as a tile has, W from w on.

    away: NEAR or FAR. The next chain's weights are fetched while this one's are used, vector by vector of classes.
    """
    lanes = LANE_BYTES // W.itemsize
    units = len(side) * REGISTER_BYTES // LANE_BYTES
    for j in range(0, m, DEPTH):
        steps = min(DEPTH, m - j)
        for r in range(0, rows, len(tile)):
            at, acc = row_offsets(x + j, r, rows, ld, tile), zeros(W, tile, side)
            soon = w + r // len(tile) % units * unit + (j + DEPTH) * lanes
            for p in range(steps):
                if len(away):
                    prefetch(W, soon + p * lanes)
                acc = add_scaled(X, at, p, W, w + (j + p) * lanes, unit, acc, side)
            z = r * ldz + k
            if j == 0:
                so_far = load_units(bias, k, 0, lanes, tile, side)
            else:
                so_far = load_units(Z, z, ldz, lanes, tile, side)
            store_units(Z, z, ldz, lanes, add(so_far, acc), side)


@outlined
def adjoint_panel(
    X: Any, x: int, ld: int, panel: int, rows: int, m: int, Z: Any, k: int, ldz: int, G: Any, w: int, unit: int,
    fresh: bool, F: Any, f: int, step: int, tile: Any, side: Any,
) -> int:  # fmt: skip
    """G from w on += Z[:, k:]' X for as many vectors of classes as a tile has; features beyond m mean nothing.

    fresh: G begins here, whatever is in it.

    panel: from FEATURES features of X to the next; X as it lies has just these between them.
    What is read next, F from f on, is fetched meanwhile, in order, `step` entries each time; returns what is to be
    fetched then. Fetched in forward too, or by the columns of a tile, 60000 x 256 x 45 took 13 and 11.7 ms, not 10.7.
    """
    lanes = LANE_BYTES // Z.itemsize
    for j in range(0, m, len(tile)):
        whole = j // FEATURES
        at = row_offsets(x + whole * panel, j - whole * FEATURES, m - whole * FEATURES, 1, tile)
        acc = zeros(Z, tile, side)
        for r in range(rows):
            prefetch(F, f)
            f += step
            acc = add_scaled(X, at, r * ld, Z, r * ldz + k, lanes, acc, side)
        if not fresh:
            acc = add(load_units(G, w + j * lanes, lanes, unit, tile, side), acc)
        store_units(G, w + j * lanes, lanes, unit, acc, side)
    return f


@inlined
def forward_units(
    X: Any, x: int, ld: int, rows: int, m: int, W: Any, unit: int, bias: Any, Z: Any, ldz: int, first: int, last: int,
    away: Any,
) -> None:  # fmt: skip
    """Z = X W' + bias for vectors first..last of classes, at least two of them on wide registers."""
    lanes, u = LANE_BYTES // W.itemsize, first
    if WIDE and (last - first) % 2:
        forward_panel(X, x, ld, rows, m, W, u * unit, unit, bias, u * lanes, Z, ldz, LOW, THREE, away)
        u += 3
    while u < last:
        forward_panel(X, x, ld, rows, m, W, u * unit, unit, bias, u * lanes, Z, ldz, TALL, PAIR, away)
        u += TOGETHER


@inlined
def adjoint_units(
    X: Any, x: int, ld: int, panel: int, rows: int, m: int, Z: Any, ldz: int, G: Any, unit: int, first: int,
    last: int, fresh: bool, F: Any, f: int, step: int, anew: bool,
) -> None:  # fmt: skip
    """G += Z' X for vectors first..last of classes; anew: with each tile of them F is fetched from f on again."""
    lanes, u, start = LANE_BYTES // G.itemsize, first, f
    if WIDE and (last - first) % 2:
        f = adjoint_panel(X, x, ld, panel, rows, m, Z, u * lanes, ldz, G, u * unit, unit, fresh, F, f, step, LOW, THREE)
        u += 3
    while u < last:
        f = start if anew else f
        f = adjoint_panel(X, x, ld, panel, rows, m, Z, u * lanes, ldz, G, u * unit, unit, fresh, F, f, step, TALL, PAIR)
        u += TOGETHER


@inlined
def fetch_step(m: int, units: int) -> int:
    """How many entries of X to move on with each step of adjoint, of `units` vectors of classes, to fetch all."""
    registers = units * (LANE_BYTES // REGISTER_BYTES)
    return -(-len(TALL) * len(PAIR) // registers)


@inlined
def pack_rows(X: Any, x: int, ld: int, rows: int, m: int, P: Any, p: int, panel: int) -> None:
    """Rows of X -> panels of FEATURES features, `panel` from one to the next: then tiles of adjoint read neighbours.

    Rows that lie 8 KB apart fall on one place of L1 and on many pages: 2048 features and 1625 classes took 1.4 times
    as long. STRIP rows are packed together, so that whole lines are written: panels lie as badly, and one row after
    another took 1.03 times as long.
    """
    for first in range(0, rows, STRIP):
        for j in range(0, m, FEATURES):
            inside = min(FEATURES, m - j)
            for r in range(first, min(rows, first + STRIP)):
                to = borrow(P, p + j // FEATURES * panel + r * FEATURES, inside)
                row = borrow(X, x + r * ld + j, inside)
                if inside == FEATURES:
                    for i in range(FEATURES):
                        to[i] = row[i]
                else:
                    for i in range(inside):
                        to[i] = row[i]


@inlined
def place(design: Any, T: Any, order: Any, first: int) -> Any:
    """Where the rows of a block lie: an array, the first entry, and what is from row to row."""
    return (design.direct, first * design.m, design.m) if len(order) == 0 and len(design.direct) else (T, 0, design.ld)


def panels_forward(
    design: Any, T: Any, order: Any, first: int, soon: int, rows: int, W: Any, bias: Any, Z: Any, B: int, classes: int,
    tile: Any, wide: Any,
) -> None:  # fmt: skip
    """Logits (rows, classes) of the rows that `gather` fetched, from `first` of order or X."""
    X, x, ld = place(design, T, order, first)
    unit = design.features * (LANE_BYTES // W.itemsize)
    forward_units(X, x, ld, rows, design.m, W, unit, bias, Z, classes, 0, len(W) // unit, NEAR)


def panels_adjoint(
    design: Any, T: Any, order: Any, first: int, rows: int, Z: Any, B: int, classes: int, G: Any, fresh: bool,
    tile: Any, wide: Any,
) -> None:  # fmt: skip
    """G += Z' X of the same rows."""
    X, x, ld = place(design, T, order, first)
    unit = design.features * (LANE_BYTES // G.itemsize)
    units = len(G) // unit
    f, step = ((first + rows) * design.m, fetch_step(design.m, units)) if len(order) == 0 else (0, 0)
    adjoint_units(X, x, ld, FEATURES, rows, design.m, Z, classes, G, unit, 0, units, fresh, design.X, f, step, False)


def _pack(start: int, stop: int, W: Any, scale: Any, c: int, m: int, features: int, out: Any) -> float:
    """Vectors start..stop of classes of weights (c, m), times a scale (m,) unless that is empty, as panels."""
    lanes = LANE_BYTES // W.itemsize
    for k in range(start * lanes, min(c, stop * lanes), lanes):
        whole = m // lanes * lanes if k + lanes <= c else 0
        for j in range(0, whole, lanes):
            transpose(W, k * m + j, m, out, k * features + j * lanes, lanes)
        for i in range(min(lanes, c - k)):
            for j in range(whole, m):
                out[k * features + j * lanes + i] = W[(k + i) * m + j]
        for j in range(len(scale)):
            row = borrow(out, k * features + j * lanes, lanes)
            for i in range(lanes):
                row[i] *= scale[j]
    return 0.0


def _collect(
    start: int, stop: int, partials: Any, count: int, length: int, c: int, m: int, features: int, factors: Any,
    tile: Any, out: Any,
) -> float:  # fmt: skip
    """out (c, m) += the sum of `count` partial panels, in order, times a factor for each feature."""
    lanes = LANE_BYTES // partials.itemsize
    for k in range(start * lanes, min(c, stop * lanes), lanes):
        for j in range(0, m, lanes):
            at, inside = k * features + j * lanes, min(lanes, m - j)
            total = borrow(partials, at, inside * lanes)
            for q in range(1, count):
                part = borrow(partials, q * length + at, inside * lanes)
                for i in range(inside * lanes):
                    total[i] += part[i]
            if inside == lanes:
                transpose(partials, at, lanes, tile, 0, lanes)
            else:
                for i in range(lanes):
                    for p in range(inside):
                        tile[i * lanes + p] = total[p * lanes + i]
            factor = borrow(factors, j, inside)
            for i in range(min(lanes, c - k)):
                to, row = borrow(out, (k + i) * m + j, inside), borrow(tile, i * lanes, inside)
                for p in range(inside):
                    to[p] += row[p] * factor[p]
    return 0.0


pack_pointer, collect_pointer = Pointer(_pack), Pointer(_collect)


@Driver
def pack(workers, chunk, units, W, scale, c, m, features, out):  # type: ignore[no-untyped-def]
    """All vectors of classes, evenly over the workers; the padding of `out` stays as it is."""
    for w in prange(workers):
        start, stop = np.int64(w * units // workers), np.int64((w + 1) * units // workers)
        chunk(start, stop, W, scale, c, m, features, out)


@Driver
def collect(workers, chunk, units, partials, count, length, c, m, features, factors, tile, out):  # type: ignore[no-untyped-def]
    """All vectors of classes, evenly over the workers."""
    for w in prange(workers):
        start, stop = np.int64(w * units // workers), np.int64((w + 1) * units // workers)
        chunk(start, stop, partials, count, length, c, m, features, factors, tile[w], out)
