"""The vector layer: fixed lanes, written-out order of every sum, and the only LLVM in the house.

A vector is LANE_BYTES of float32 or float64 on every CPU, so that sums over its lanes are the same everywhere. LLVM
splits it into the registers that there are. Tiles that must stay in registers count in registers of REGISTER_BYTES,
which depend on the CPU: they cut the same lanes into as many parts as needed, and add them in the same order.
Tuples of vectors stay in registers, and their length, a compile-time number, is the size of a tile.
With the JIT off, each operation's Python definition takes its place: a vector is then an array of lanes.
"""

from fastsoftmax.engine.simd.bundles import (
    each_largest,
    each_total,
    last_lanes,
    load_rows,
    spread,
    store_firsts,
    store_rows,
)
from fastsoftmax.engine.simd.emit import LANE_BYTES, REGISTER_BYTES, WIDE
from fastsoftmax.engine.simd.sharing import await_count, signal, take
from fastsoftmax.engine.simd.stored import decoded
from fastsoftmax.engine.simd.tiles import (
    add,
    add_dot,
    add_outer,
    add_scaled,
    load_tile,
    load_units,
    row_offsets,
    store_tile,
    store_totals,
    store_units,
    zeros,
)
from fastsoftmax.engine.simd.whole import (
    borrow,
    fma,
    load,
    polynomial,
    power_of_two,
    prefetch,
    split,
    store,
    total,
    transpose,
    where_least,
    where_less,
)

__all__ = [
    "LANE_BYTES",
    "REGISTER_BYTES",
    "WIDE",
    "add",
    "add_dot",
    "add_outer",
    "add_scaled",
    "await_count",
    "borrow",
    "decoded",
    "each_largest",
    "each_total",
    "fma",
    "last_lanes",
    "load",
    "load_rows",
    "load_tile",
    "load_units",
    "polynomial",
    "power_of_two",
    "prefetch",
    "row_offsets",
    "signal",
    "split",
    "spread",
    "store",
    "store_firsts",
    "store_rows",
    "store_tile",
    "store_totals",
    "store_units",
    "take",
    "total",
    "transpose",
    "where_least",
    "where_less",
    "zeros",
]
