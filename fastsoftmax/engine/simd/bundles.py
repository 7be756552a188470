"""Bundles: one vector of each of several rows, one after another, as one longer vector.

What is done to a vector is done to all of them, so that none waits for its own reduction. Its length follows from that
of `at`, the tuple of where the rows start.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types

from fastsoftmax.engine.simd.emit import (
    I32,
    I64,
    LANE_BYTES,
    Vector,
    elements,
    emit_load,
    emit_store,
    joined,
    operation,
    pointer,
    shuffle,
)


def _lanes(array: Any) -> int:
    return LANE_BYTES // int(array.itemsize)


def _by_row(x: Any) -> Any:
    """A bundle, an array with the JIT off, as a matrix of its rows."""
    return x.reshape(-1, _lanes(x))


def _per_row(vector: Vector) -> int:
    return LANE_BYTES * 8 // vector.width


@operation(lambda array, at, k: np.concatenate([array[p + k : p + k + _lanes(array)] for p in at]))
def load_rows(typingctx, array, at, k):  # type: ignore[no-untyped-def]
    """The vectors at array[at[r] + k]."""
    result, one = Vector(array.dtype, LANE_BYTES * len(at)), Vector(array.dtype)

    def codegen(ctx, b, sig, args):  # type: ignore[no-untyped-def]
        spots = [b.gep(pointer(ctx, b, array, args[0], p), [args[2]]) for p in elements(b, args[1])]
        return joined(b, [emit_load(b, one, p) for p in spots])

    return result(array, at, types.int64), codegen


def _python_store_rows(array: Any, at: Any, k: int, x: Any) -> None:
    for p, row in zip(at, _by_row(x), strict=True):
        array[p + k : p + k + len(row)] = row


@operation(_python_store_rows)
def store_rows(typingctx, array, at, k, x):  # type: ignore[no-untyped-def]
    """Put the vectors of a bundle at array[at[r] + k]."""
    one = Vector(array.dtype)

    def codegen(ctx, b, sig, args):  # type: ignore[no-untyped-def]
        for r, p in enumerate(elements(b, args[1])):
            row = shuffle(b, args[3], args[3], [r * one.lanes + i for i in range(one.lanes)])
            emit_store(b, one, row, b.gep(pointer(ctx, b, array, args[0], p), [args[2]]))
        return ctx.get_dummy_value()

    return types.void(array, at, types.int64, x), codegen


@operation(lambda array, at: np.repeat([array[p] for p in at], _lanes(array)).astype(array.dtype))
def spread(typingctx, array, at):  # type: ignore[no-untyped-def]
    """A bundle whose row r is array[at[r]] in all lanes."""
    result = Vector(array.dtype, LANE_BYTES * len(at))

    def codegen(ctx, b, sig, args):  # type: ignore[no-untyped-def]
        nothing, rows = Vector(array.dtype), []
        for p in elements(b, args[1]):
            number = b.load(pointer(ctx, b, array, args[0], p))
            one = b.insert_element(ir.Constant(nothing.llvm, ir.Undefined), number, I32(0))
            rows.append(shuffle(b, one, one, [0] * nothing.lanes))
        return joined(b, rows)

    return result(array, at), codegen


def _python_store_firsts(array: Any, i: int, x: Any) -> None:
    rows = _by_row(x)
    array[i : i + len(rows)] = rows[:, 0]


@operation(_python_store_firsts)
def store_firsts(typingctx, array, i, x):  # type: ignore[no-untyped-def]
    """array[i + r] = the first lane of row r."""
    per = _per_row(x)

    def codegen(ctx, b, sig, args):  # type: ignore[no-untyped-def]
        start = pointer(ctx, b, array, *args[:2])
        for r in range(x.lanes // per):
            value = b.extract_element(args[2], I32(r * per))
            b.store(ctx.cast(b, value, x.dtype, array.dtype), b.gep(start, [I64(r)]))
        return ctx.get_dummy_value()

    return types.void(array, types.int64, x), codegen


def _halves(per: int) -> list[int]:
    halves = []
    while per > 1:
        per //= 2
        halves.append(per)
    return halves


def _partners(b: Any, x: Any, lanes: int, half: int) -> Any:
    """Each lane's partner, `half` lanes away in its row."""
    return shuffle(b, x, x, [i ^ half for i in range(lanes)])


def _python_each_total(x: Any) -> Any:
    x = _by_row(x)
    for half in _halves(x.shape[1]):
        x = x + x[:, np.arange(x.shape[1]) ^ half]
    return x.reshape(-1)


@operation(_python_each_total)
def each_total(typingctx, x):  # type: ignore[no-untyped-def]
    """The sum of each row's lanes, in all its lanes; in the order of `total`."""

    def codegen(ctx, b, sig, args):  # type: ignore[no-untyped-def]
        y = args[0]
        for half in _halves(_per_row(x)):
            y = b.fadd(y, _partners(b, y, x.lanes, half))
        return y

    return x(x), codegen


def _python_each_largest(x: Any) -> Any:
    x = _by_row(x)
    for half in _halves(x.shape[1]):
        other = x[:, np.arange(x.shape[1]) ^ half]
        x = np.where(x < other, other, x)
    return x.reshape(-1)


@operation(_python_each_largest)
def each_largest(typingctx, x):  # type: ignore[no-untyped-def]
    """The largest lane of each row, in all its lanes; where lanes are NaN, any of the others or NaN, in each lane."""

    def codegen(ctx, b, sig, args):  # type: ignore[no-untyped-def]
        y = args[0]
        for half in _halves(_per_row(x)):
            other = _partners(b, y, x.lanes, half)
            y = b.select(b.fcmp_ordered("<", y, other), other, y)
        return y

    return x(x), codegen


@operation(lambda x, count: np.where(np.arange(len(x)) % _lanes(x) < _lanes(x) - count, x.dtype.type(0), x))
def last_lanes(typingctx, x, count):  # type: ignore[no-untyped-def]
    """The last `count` lanes of each row, with 0 before them."""
    per = _per_row(x)

    def codegen(ctx, b, sig, args):  # type: ignore[no-untyped-def]
        left = ir.Constant(ir.VectorType(I64, x.lanes), [per - i % per for i in range(x.lanes)])
        nothing = ir.Constant(left.type, ir.Undefined)
        counts = shuffle(b, b.insert_element(nothing, args[1], I32(0)), nothing, [0] * x.lanes)
        return b.select(b.icmp_signed("<=", left, counts), args[0], x.constant(0.0))

    return x(x, types.int64), codegen
