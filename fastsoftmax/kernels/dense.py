"""Dense X in two block operations: forward, X W' into class-major logits, and adjoint, R' X into the gradient.

W and G lie as (classes, ld), ld the features padded to whole vectors, classes padded to whole tiles, so nothing is
left over. Forward: lanes over features, each logit the sum of its lanes. Adjoint: lanes over features too, each
entry summed over the rows in order. Neither depends on how many rows, classes and registers a tile takes.
"""

import functools
from typing import Any, NamedTuple

from fastsoftmax.engine.jit import inlined
from fastsoftmax.engine.simd import (
    LANE_BYTES,
    REGISTER_BYTES,
    WIDE,
    add,
    add_dot,
    add_outer,
    borrow,
    decoded,
    load_tile,
    prefetch,
    row_offsets,
    store_tile,
    store_totals,
    zeros,
)
from fastsoftmax.kernels.updates import clear

ROWS = (0,) * (4 if WIDE else 2)  # a forward tile is as many rows by up to 6 classes: 24 of 32 registers, or 12 of 16
PAIR, ONE = (0, 0), (0,)  # registers of features in an adjoint tile


class Dense(NamedTuple):
    """X row by row in one dimension; `direct` is X where the kernels can read it in place, else empty."""

    X: Any
    direct: Any
    m: int
    ld: int


@functools.cache
def tiles(c: int) -> tuple[tuple[int, ...], tuple[int, ...], int]:
    """The classes of a forward and of an adjoint tile that pad c classes least, and the padded number of classes.

    Tuples of zeros: their length is a compile-time number, and all that counts. More than 6 classes take 4 to 6 a tile,
    padded if need be: 7 classes of MNIST's size took 13.0 ms in tiles of one, and take 6.3 in two of four.
    """
    k = c if c <= 6 else min((6, 5, 4), key=lambda k: -(-c // k) * k)
    padded = -(-c // k) * k
    return (0,) * k, (0,) * (2 * k if WIDE and padded // k % 2 == 0 else k), padded


@inlined
def fetch_rows(X: Any, m: int, order: Any, soon: int, start: int, stop: int) -> None:
    """Fetch features start..stop of as many rows as a tile has: where they come in any order the cache cannot guess."""
    for i in range(soon, min(soon + len(ROWS), len(order))):
        for j in range(order[i] * m + start, order[i] * m + stop, LANE_BYTES // X.itemsize):
            prefetch(X, j)


@inlined
def forward_tiles(
    X: Any, x: int, ld: int, rows: int, W: Any, Z: Any, B: int, classes: int, tile: Any, F: Any, f: int, step: int,
    order: Any, soon: int, m: int,
) -> None:  # fmt: skip
    """Z = X W' tile by tile, while the next block is fetched evenly, from F[f:] or its rows order[soon:]."""
    lanes, width, K = LANE_BYTES // W.itemsize, REGISTER_BYTES // W.itemsize, len(tile)
    for k in range(0, classes, K):
        for r in range(0, rows, len(ROWS)):
            fetch_rows(F, m, order, soon + r, k * m // classes, (k + K) * m // classes)
            at, sums = row_offsets(x, r, rows, ld, ROWS), zeros(W, tile, ROWS)
            for part in range(0, lanes, width):
                acc = zeros(W, tile, ROWS)
                for j in range(part, ld, lanes):
                    prefetch(F, f)
                    f += step
                    acc = add_dot(X, at, j, W, k * ld + j, ld, acc)
                sums = add(sums, acc)
            store_totals(Z, k * B + r, B, sums, ROWS)


@inlined
def adjoint_tile(
    Z: Any, z: int, B: int, rows: int, X: Any, x: int, ld: int, G: Any, g: int, tile: Any, side: Any, F: Any, f: int,
    step: int,
) -> int:  # fmt: skip
    """One tile of G += Z X; returns what is to be fetched next."""
    acc = load_tile(G, g, ld, tile, side)
    for r in range(rows):
        prefetch(F, f)
        f += step
        acc = add_outer(Z, z + r, B, X, x + r * ld, acc, side)
    store_tile(G, g, ld, acc, side)
    return f


@inlined
def adjoint_tiles(
    Z: Any, B: int, rows: int, X: Any, x: int, ld: int, G: Any, classes: int, tile: Any, F: Any, f: int, step: int
) -> None:
    """G += Z X tile by tile, while the rest of the next block is fetched."""
    width, K = REGISTER_BYTES // G.itemsize, len(tile)
    for k in range(0, classes, K):
        for j in range(0, ld - width, 2 * width):
            f = adjoint_tile(Z, k * B, B, rows, X, x + j, ld, G, k * ld + j, tile, PAIR, F, f, step)
        if ld % (2 * width):
            j = ld - width
            f = adjoint_tile(Z, k * B, B, rows, X, x + j, ld, G, k * ld + j, tile, ONE, F, f, step)


def dense_gather(design: Any, index: Any, rows: int, in_order: bool, T: Any) -> None:
    """Rows index[:rows], converted, into T, unless they can be read in place."""
    m, ld, X = design.m, design.ld, design.X
    if in_order and len(design.direct):
        return
    for i in range(rows):
        to, row = borrow(T, i * ld, m), borrow(X, index[i] * m, m)
        for j in range(m):
            to[j] = decoded(row[j])


@inlined
def fetch_plan(design: Any, B: int, classes: int, tile: Any, wide: Any, itemsize: int) -> tuple[int, int]:
    """How many elements of X to move on with each prefetch, and how many the forward tiles will have fetched.

    Prefetches of the next block, spread evenly over both loops, took MNIST from 40 to 30 ms on one thread of a Zen 3.
    """
    steps = design.ld * itemsize // REGISTER_BYTES
    before = classes // len(tile) * -(-B // len(ROWS)) * steps
    after = classes // len(wide) * -(-steps // 2) * B
    step = -(-B * design.m // (before + after))
    return step, step * before


def dense_forward(
    design: Any, T: Any, order: Any, first: int, soon: int, rows: int, W: Any, bias: Any, Z: Any, B: int,
    classes: int, tile: Any, wide: Any,
) -> None:  # fmt: skip
    """Z = X W' of the rows that `gather` fetched, from `first` of order or X; order[soon:] are fetched next."""
    in_order = len(order) == 0
    X, x = (design.direct, first * design.m) if in_order and len(design.direct) else (T, 0)
    step, _ = fetch_plan(design, B, classes, tile, wide, W.itemsize)
    f, step = ((first + B) * design.m, step) if in_order else (0, 0)
    forward_tiles(X, x, design.ld, rows, W, Z, B, classes, tile, design.X, f, step, order, soon, design.m)


def dense_adjoint(
    design: Any, T: Any, order: Any, first: int, rows: int, Z: Any, B: int, classes: int, G: Any, fresh: bool,
    tile: Any, wide: Any,
) -> None:  # fmt: skip
    """G += Z X of the same rows; fresh: G = Z X, whatever was in it."""
    if fresh:
        clear(G)
    in_order = len(order) == 0
    X, x = (design.direct, first * design.m) if in_order and len(design.direct) else (T, 0)
    step, fetched = fetch_plan(design, B, classes, tile, wide, G.itemsize)
    f, step = ((first + B) * design.m + fetched, step) if in_order else (0, 0)
    adjoint_tiles(Z, B, rows, X, x, design.ld, G, classes, wide, design.X, f, step)
