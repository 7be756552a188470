"""The vector layer: fixed lanes, written-out order of every sum, and the only LLVM in the house.

A vector is LANE_BYTES of float32 or float64 on every CPU, so that sums over its lanes are the same everywhere. LLVM
splits it into the registers that there are. Tiles that must stay in registers count in registers of REGISTER_BYTES,
which depend on the CPU: they cut the same lanes into as many parts as needed, and add them in the same order.
Tuples of vectors stay in registers, and their length, a compile-time number, is the size of a tile.
With the JIT off, each operation's Python definition takes its place: a vector is then an array of lanes.
"""

from fastsoftmax.engine.simd.emit import LANE_BYTES, REGISTER_BYTES, WIDE
from fastsoftmax.engine.simd.tiles import (
    add,
    add_dot,
    add_outer,
    load_tile,
    row_offsets,
    store_tile,
    store_totals,
    zeros,
)
from fastsoftmax.engine.simd.whole import (
    borrow,
    fma,
    largest,
    last_lanes,
    load,
    polynomial,
    power_of_two,
    prefetch,
    split,
    store,
    take,
    total,
    transpose,
    where_less,
)

__all__ = [
    "LANE_BYTES",
    "REGISTER_BYTES",
    "WIDE",
    "add",
    "add_dot",
    "add_outer",
    "borrow",
    "fma",
    "largest",
    "last_lanes",
    "load",
    "load_tile",
    "polynomial",
    "power_of_two",
    "prefetch",
    "row_offsets",
    "split",
    "store",
    "store_tile",
    "store_totals",
    "take",
    "total",
    "transpose",
    "where_less",
    "zeros",
]
