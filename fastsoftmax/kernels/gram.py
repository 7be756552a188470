"""Weighted Gram matrices, sum_i w_ki x_i x_i', for several weightings k at once: the blocks of a Hessian.

One register tile over packed panels (Goto & van de Geijn 2008, section 4), and each entry has one owner. Only tiles on
and above the diagonal are computed; each entry is a chain over the rows of a block, and blocks are added in order.
"""

from typing import Any

from numba import prange

from fastsoftmax.engine.jit import Driver, Pointer, inlined, kernel
from fastsoftmax.engine.simd import LANE_BYTES, REGISTER_BYTES, add_scaled, borrow, row_offsets, store_tile, take, zeros
from fastsoftmax.kernels.panels import PAIR, TALL

HEIGHT = len(TALL)
GROUP = 4  # panels of weighed rows that share a panel of others while that is in L2


@kernel
def pack(rows: Any, count: int, width: int, ld: int, out: Any) -> None:
    """Rows of ld features -> panels of `width` features: out[j // width][r][j % width]."""
    for r in range(count):
        for j in range(0, ld, width):
            to, row = (
                borrow(out, j * count + r * width, min(width, ld - j)),
                borrow(rows, r * ld + j, min(width, ld - j)),
            )
            for i in range(len(row)):
                to[i] = row[i]


@inlined
def weigh_panel(tall: Any, o: int, weight: Any, count: int, out: Any, to: int) -> None:
    """A panel of HEIGHT features, each row times its weight."""
    for r in range(count):
        w, target, source = weight[r], borrow(out, to + r * HEIGHT, HEIGHT), borrow(tall, o + r * HEIGHT, HEIGHT)
        for i in range(HEIGHT):
            target[i] = w * source[i]


def _gram(
    start: int, stop: int, wide: Any, tall: Any, weight: Any, stride: int, count: int, ld: int, own: Any, tile: Any,
    H: Any,
) -> float:  # fmt: skip
    """Items start..stop: an item is GROUP panels of HEIGHT rows of one of the matrices.

    wide, tall: `count` rows in panels of two registers, and of HEIGHT; weight[k * stride:]: theirs; H: (k, ld, ld).
    """
    width, lanes = 2 * (REGISTER_BYTES // H.itemsize), LANE_BYTES // H.itemsize
    panels = -(-ld // HEIGHT)
    groups = -(-panels // GROUP)
    for item in range(start, stop):
        k, first = item // groups, item % groups * GROUP
        last = min(panels, first + GROUP)
        for q in range(first, last):
            part = borrow(weight, k * stride, count)
            weigh_panel(tall, q * HEIGHT * count, part, count, own, (q - first) * HEIGHT * count)
        for j in range(first * HEIGHT // width * width, ld, width):
            for q in range(first, min(last, -(-(j + width) // HEIGHT))):
                at, acc = row_offsets((q - first) * HEIGHT * count, 0, HEIGHT, 1, TALL), zeros(H, TALL, PAIR)
                for r in range(count):
                    acc = add_scaled(own, at, r * HEIGHT, wide, j * count + r * width, lanes, acc, PAIR)
                store_tile(tile, 0, width, acc, PAIR)
                inside = min(width, ld - j)
                for i in range(min(HEIGHT, ld - q * HEIGHT)):
                    to, row = borrow(H, (k * ld + q * HEIGHT + i) * ld + j, inside), borrow(tile, i * width, inside)
                    for a in range(inside):
                        to[a] += row[a]
    return 0.0


gram_pointer = Pointer(_gram)


@Driver
def gram(  # type: ignore[no-untyped-def]
    workers, chunk, first, items, wide, tall, weight, stride, count, ld, own, tile, H, counter
):
    """Items first..items, shared out as workers come to them."""
    counter[0] = first
    for w in prange(workers):
        item = take(counter)
        while item < items:
            chunk(item, item + 1, wide, tall, weight, stride, count, ld, own[w], tile[w], H)
            item = take(counter)
