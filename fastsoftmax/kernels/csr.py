"""Sparse X, in rows of (feature, value) pairs, in the same two block operations as dense X.

Lanes are classes: W and G lie as (m, classes), classes padded to whole vectors, so that a pair takes one row of them.
A block of logits is made row by row, then turned to class-major in registers, and its residual is turned back. A logit
is one chain over the pairs of its row, an entry of the gradient one over the rows: the same bits on any CPU.
"""

from typing import Any, NamedTuple

from fastsoftmax.engine.jit import pasted
from fastsoftmax.engine.simd import (
    LANE_BYTES,
    REGISTER_BYTES,
    add,
    add_outer,
    borrow,
    load_tile,
    store_tile,
    transpose,
    zeros,
)
from fastsoftmax.kernels.updates import clear

ONE = (0,)


class CSR(NamedTuple):
    """Row r has the pairs indptr[r]..indptr[r + 1]; `ld` is the padded number of classes."""

    data: Any
    indices: Any
    indptr: Any
    m: int
    ld: int


def tile_of(classes: int, itemsize: int) -> tuple[int, ...]:
    """As many registers of classes as a tile takes: at most four, and a divisor of what there is."""
    registers = classes * itemsize // REGISTER_BYTES
    return (0,) * next(v for v in (4, 3, 2, 1) if registers % v == 0)


@pasted
def turn(source: Any, stride: int, out: Any, width: int, rows: int, columns: int) -> None:
    """out[k * width + r] = source[r * stride + k], whole vectors of both."""
    lanes = LANE_BYTES // source.itemsize
    for r in range(0, rows, lanes):
        for k in range(0, columns, lanes):
            transpose(source, r * stride + k, stride, out, k * width + r, width)


@pasted
def row_logits(design: Any, row: int, W: Any, classes: int, tile: Any, out: Any, o: int) -> None:
    """out[o:] = the logits of a row, short of the bias."""
    step = len(tile) * (REGISTER_BYTES // W.itemsize)
    start, count = design.indptr[row], design.indptr[row + 1] - design.indptr[row]
    data, indices, whole = borrow(design.data, start, count), borrow(design.indices, start, count), count // 4 * 4
    for k in range(0, classes, step):
        one = two = three = four = zeros(W, ONE, tile)
        for p in range(0, whole, 4):
            one = add_outer(data, p, 1, W, indices[p] * classes + k, one, tile)
            two = add_outer(data, p + 1, 1, W, indices[p + 1] * classes + k, two, tile)
            three = add_outer(data, p + 2, 1, W, indices[p + 2] * classes + k, three, tile)
            four = add_outer(data, p + 3, 1, W, indices[p + 3] * classes + k, four, tile)
        for p in range(whole, count):
            one = add_outer(data, p, 1, W, indices[p] * classes + k, one, tile)
        store_tile(out, o + k, 0, add(add(one, two), add(three, four)), tile)


@pasted
def add_row(design: Any, start: int, stop: int, R: Any, r: int, G: Any, classes: int, tile: Any) -> None:
    """G += the pairs start..stop times the residual R[r:] of their row."""
    step, count = len(tile) * (REGISTER_BYTES // G.itemsize), stop - start
    data, indices = borrow(design.data, start, count), borrow(design.indices, start, count)
    for k in range(0, classes, step):
        for p in range(count):
            at = indices[p] * classes + k
            store_tile(G, at, 0, add_outer(data, p, 1, R, r + k, load_tile(G, at, 0, ONE, tile), tile), tile)


def csr_gather(design: Any, index: Any, rows: int, in_order: bool, T: Any) -> None:
    """Pairs are read where they are."""


def csr_forward(
    design: Any, T: Any, order: Any, first: int, soon: int, rows: int, W: Any, bias: Any, Z: Any, B: int,
    classes: int, tile: Any, wide: Any,
) -> None:  # fmt: skip
    """Z = X W' of rows from `first` of order, or of X; T is scratch for logits by rows."""
    for i in range(rows):
        row_logits(design, order[first + i] if len(order) else first + i, W, classes, tile, T, i * classes)
    turn(T, classes, Z, B, rows, classes)


def csr_adjoint(
    design: Any, T: Any, order: Any, first: int, rows: int, Z: Any, B: int, classes: int, G: Any, fresh: bool,
    tile: Any, wide: Any,
) -> None:  # fmt: skip
    """G += Z X of the same rows."""
    if fresh:
        clear(G)
    turn(Z, B, T, classes, classes, rows)
    for i in range(rows):
        row = order[first + i] if len(order) else first + i
        add_row(design, design.indptr[row], design.indptr[row + 1], T, i * classes, G, classes, tile)
