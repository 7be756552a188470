"""The pass for many classes: two blocked matrix products around the cross-entropy of rows, for a block of rows.

With hundreds of classes the weights no longer fit a cache and a partial gradient for each chunk would not fit memory,
so each output has one owner: logits by rows, the gradient by classes, straight into the result. Both products are one
register tile, classes or rows by two registers, over panels packed in the order in which it reads them (Goto & van de
Geijn 2008, section 4). An entry is a sum of chains of fused multiply-adds, whatever the tile: the same bits on any CPU.
"""

from typing import Any

import numpy as np
from numba import prange

from fastsoftmax.engine.jit import Driver, Pointer, inlined, outlined
from fastsoftmax.engine.simd import (
    LANE_BYTES,
    REGISTER_BYTES,
    WIDE,
    add,
    add_outer,
    borrow,
    load,
    load_tile,
    store,
    store_tile,
    transpose,
    zeros,
)
from fastsoftmax.kernels.cross_entropy import row_cross_entropy

TILE, PAIR = (0,) * (12 if WIDE else 6), (0, 0)  # 24 of 32 accumulators, or 12 of 16
HEIGHT = len(TILE)
GROUP = 4  # panels of classes that share a panel of features while that is in L2
PACK_ROWS, PACK_WEIGHTS, LOGITS, LOSSES, PACK_FEATURES, ADJOINT = range(6)


@inlined
def pack_columns(source: Any, base: int, stride: int, q: int, count: int, P: int, width: int, out: Any, o: int) -> None:
    """out[o + p * width + i] = source[base + p * stride + q + i], 0 where q + i >= count."""
    inside = min(width, count - q)
    for p in range(P):
        to, row = borrow(out, o + p * width, width), borrow(source, base + p * stride + q, inside)
        for i in range(inside):
            to[i] = row[i]
        for i in range(inside, width):
            to[i] = 0


@inlined
def pack_rows(source: Any, base: int, stride: int, q: int, count: int, P: int, width: int, out: Any, o: int) -> None:
    """out[o + p * width + i] = source[base + (q + i) * stride + p], 0 where q + i >= count.

    128 steps at a time: then what is written, a line apart, stays in L1.
    """
    inside = min(width, count - q)
    for start in range(0, P, 128):
        steps = min(128, P - start)
        to = borrow(out, o + start * width, steps * width)
        for i in range(inside):
            row = borrow(source, base + (q + i) * stride + start, steps)
            for p in range(steps):
                to[p * width + i] = row[p]
        for i in range(inside, width):
            for p in range(steps):
                to[p * width + i] = 0


@inlined
def pack_weights(W: Any, base: int, stride: int, q: int, count: int, P: int, width: int, out: Any, o: int) -> None:
    """As `pack_rows`, whole vectors transposed in registers: 58 ms in place of 78 for 32000 classes."""
    lanes = LANE_BYTES // W.itemsize
    whole = P // lanes * lanes if q + width <= count and width % lanes == 0 else 0
    for p in range(0, whole, lanes):
        for i in range(0, width, lanes):
            transpose(W, base + (q + i) * stride + p, stride, out, o + p * width + i, width)
    pack_rows(W, base + whole, stride, q, count, P - whole, width, out, o + whole * width)


@inlined
def pack_residual(Z: Any, z: int, ldz: int, rows: int, out: Any, o: int) -> None:
    """HEIGHT columns of Z by whole vectors: what is too much is overwritten by the next row."""
    lanes = LANE_BYTES // Z.itemsize
    for r in range(rows):
        for i in range(0, HEIGHT, lanes):
            store(out, o + r * HEIGHT + i, load(Z, z + r * ldz + i))


@inlined
def add_column_sums(packed: Any, o: int, rows: int, sums: Any, count: int, g: Any, k: int) -> None:
    """g[k:] += the sums of the columns of a packed panel, in order of the rows; `sums` is scratch."""
    lanes = LANE_BYTES // packed.itemsize
    for i in range(0, HEIGHT, lanes):
        s = load(packed, o + i)
        for r in range(1, rows):
            s = s + load(packed, o + r * HEIGHT + i)
        store(sums, i, s)
    for i in range(count):
        g[k + i] += sums[i]


@inlined
def add_product(A: Any, a: int, B: Any, b: int, P: int, acc: Any) -> Any:
    """acc + A' B over P steps of packed panels."""
    width = 2 * (REGISTER_BYTES // B.itemsize)
    for p in range(P):
        acc = add_outer(A, a + p * HEIGHT, 1, B, b + p * width, acc, PAIR)
    return acc


def _many(
    stage: int, start: int, stop: int, X: Any, m: int, first: int, rows: int, j: int, features: int, W: Any, bias: Any,
    c: int, k: int, classes: int, targets: Any, factor: float, scale: Any, A: Any, B: Any, Z: Any, ldz: int, own: Any,
    tile: Any, index: Any, logs: Any, losses: Any, G: Any, g: Any,
) -> float:  # fmt: skip
    """Items start..stop of a stage. Rows first.. of X, `rows` of them; features j..; classes k..

    A: packed rows of X, or all its features; B: packed weights; own and tile: a worker's panels and its last tile.
    """
    width = 2 * (REGISTER_BYTES // Z.itemsize)
    if stage == PACK_ROWS:
        for q in range(start, stop):
            pack_rows(X, first * m + j, m, q * HEIGHT, rows, features, HEIGHT, A, q * HEIGHT * features)
    elif stage == PACK_WEIGHTS:
        for q in range(start, stop):
            pack_weights(W, k * m + j, m, q * width, classes, features, width, B, q * width * features)
    elif stage == PACK_FEATURES:
        for q in range(start, stop):
            pack_columns(X, first * m + j, m, q * width, features, rows, width, A, q * width * rows)
    elif stage == LOGITS:
        for panel in range(-(-classes // width)):
            for q in range(start, stop):
                z = q * HEIGHT * ldz + k + panel * width
                if j == 0:
                    so_far = load_tile(bias, k + panel * width, 0, TILE, PAIR)
                else:
                    so_far = load_tile(Z, z, ldz, TILE, PAIR)
                acc = add_product(A, q * HEIGHT * features, B, panel * width * features, features, zeros(Z, TILE, PAIR))
                acc = add(so_far, acc)  # a chain of 1024 features each: one over all would round 4 times as much
                store_tile(Z, z, ldz, acc, PAIR)
    elif stage == LOSSES:
        for r in range(start, stop):
            losses[first + r] = row_cross_entropy(Z, r * ldz, c, targets, first + r, factor, Z, r * ldz, index, logs)
    else:
        adjoint(start, stop, rows, j, features, m, c, scale, A, Z, ldz, own, tile, G, g)
    return 0.0


@outlined
def adjoint(
    start: int, stop: int, rows: int, j: int, features: int, m: int, c: int, scale: Any, A: Any, Z: Any, ldz: int,
    own: Any, tile: Any, G: Any, g: Any,
) -> None:  # fmt: skip
    """G[:, j:] += (residual' X) * scale for panels start..stop of classes; g along with the first features."""
    width = 2 * (REGISTER_BYTES // Z.itemsize)
    for group in range(start, stop, GROUP):
        last = min(stop, group + GROUP)
        for q in range(group, last):
            pack_residual(Z, q * HEIGHT, ldz, rows, own, (q - group) * HEIGHT * rows)
            if j == 0:
                add_column_sums(
                    own, (q - group) * HEIGHT * rows, rows, tile, min(HEIGHT, c - q * HEIGHT), g, q * HEIGHT
                )
        for panel in range(-(-features // width)):
            for q in range(group, last):
                acc = zeros(Z, TILE, PAIR)
                acc = add_product(own, (q - group) * HEIGHT * rows, A, panel * width * rows, rows, acc)
                store_tile(tile, 0, width, acc, PAIR)
                inside = min(width, features - panel * width)
                column = j + panel * width
                factors = borrow(scale, column, inside)
                for k in range(q * HEIGHT, min(c, (q + 1) * HEIGHT)):
                    to, row = borrow(G, k * m + column, inside), borrow(tile, (k - q * HEIGHT) * width, inside)
                    for i in range(inside):
                        to[i] += row[i] * factors[i]


many = Pointer(_many)


@Driver
def many_stage(  # type: ignore[no-untyped-def]
    workers, chunk, stage, items, X, m, first, rows, j, features, W, bias, c, k, classes, targets, factor, scale, A,
    B, Z, ldz, own, tile, index, logs, losses, G, g,
):  # fmt: skip
    """All items of a stage, evenly over the workers."""
    for w in prange(workers):
        start, stop = np.int64(w * items // workers), np.int64((w + 1) * items // workers)
        chunk(
            stage, start, stop, X, m, first, rows, j, features, W, bias, c, k, classes, targets, factor, scale, A, B,
            Z, ldz, own[w], tile[w], index[w], logs[w], losses, G, g,
        )  # fmt: skip
