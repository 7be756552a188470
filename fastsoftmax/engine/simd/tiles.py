"""Tiles: tuples of registers. A tile of K by V holds element k, v at k * V + v."""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils

from fastsoftmax.engine.simd.emit import (
    I64,
    LANE_BYTES,
    REGISTER_BYTES,
    VOID,
    elements,
    emit_fma,
    emit_load,
    emit_store,
    emit_totals,
    operation,
    pointer,
    register,
    splat,
)
from fastsoftmax.engine.simd.stored import emit_decoded, python_decoded
from fastsoftmax.engine.simd.whole import _python_total


@operation(
    lambda array, tile, side: tuple(
        np.zeros(REGISTER_BYTES // array.itemsize, array.dtype) for _ in range(len(tile) * len(side))
    )
)
def zeros(typingctx, array, tile, side):  # type: ignore[no-untyped-def]
    """A tile of zeros: as many by as many registers of array's dtype as `tile` and `side` are long."""
    result = types.UniTuple(register(array.dtype), len(tile) * len(side))
    return result(array, tile, side), lambda ctx, b, sig, args: ir.Constant(ctx.get_value_type(result), None)


@operation(lambda xs, ys: tuple(x + y for x, y in zip(xs, ys, strict=True)))
def add(typingctx, xs, ys):  # type: ignore[no-untyped-def]
    """The sum of two tiles, register by register."""

    def codegen(ctx, b, sig, args):  # type: ignore[no-untyped-def]
        pairs = zip(elements(b, args[0]), elements(b, args[1]), strict=True)
        return cgutils.pack_array(b, [b.fadd(x, y) for x, y in pairs])

    return xs(xs, xs), codegen


def _spots(ctx: Any, b: Any, sig: Any, args: Any, n: int, side: int) -> list[Any]:
    """Where a tile's registers lie: `side` neighbours, then on by the stride."""
    lanes = register(sig.args[0].dtype).lanes
    rows = [pointer(ctx, b, sig.args[0], *args[:3], k) for k in range(n // side)]
    return [b.gep(p, [I64(v * lanes)]) for p in rows for v in range(side)]


def _python_spots(array: Any, offset: int, stride: int, n: int, side: int) -> list[slice]:
    lanes = REGISTER_BYTES // array.itemsize
    starts = [offset + i // side * stride + i % side * lanes for i in range(n)]
    return [slice(s, s + lanes) for s in starts]


def _python_load_tile(array: Any, offset: int, stride: int, tile: Any, side: Any) -> Any:
    return tuple(array[s].copy() for s in _python_spots(array, offset, stride, len(tile) * len(side), len(side)))


@operation(_python_load_tile)
def load_tile(typingctx, array, offset, stride, tile, side):  # type: ignore[no-untyped-def]
    """A tile: neighbours, as many as `side` is long, from array[offset]; on by `stride`, as often as `tile` is long."""
    result = types.UniTuple(register(array.dtype), len(tile) * len(side))

    def codegen(ctx, b, sig, args):  # type: ignore[no-untyped-def]
        spots = _spots(ctx, b, sig, args, len(result), len(side))
        return cgutils.pack_array(b, [emit_load(b, result.dtype, p) for p in spots])

    return result(array, types.int64, types.int64, tile, side), codegen


def _python_store_tile(array: Any, offset: int, stride: int, xs: Any, side: Any) -> None:
    for x, s in zip(xs, _python_spots(array, offset, stride, len(xs), len(side)), strict=True):
        array[s] = x


@operation(_python_store_tile)
def store_tile(typingctx, array, offset, stride, xs, side):  # type: ignore[no-untyped-def]
    """Put a tile where `load_tile` would find it."""

    def codegen(ctx, b, sig, args):  # type: ignore[no-untyped-def]
        spots = _spots(ctx, b, sig, args, len(xs), len(side))
        for x, p in zip(elements(b, args[3]), spots, strict=True):
            emit_store(b, xs.dtype, x, p)
        return ctx.get_dummy_value()

    return types.void(array, types.int64, types.int64, xs, side), codegen


@operation(lambda start, r, rows, stride, side: tuple(start + min(r + i, rows - 1) * stride for i in range(len(side))))
def row_offsets(typingctx, start, r, rows, stride, side):  # type: ignore[no-untyped-def]
    """Where rows r, r + 1, ... start, as many as `side` is long; beyond the last row it is the last one again."""

    def codegen(ctx, b, sig, args):  # type: ignore[no-untyped-def]
        start, r, rows, stride, _ = args
        last = b.sub(rows, I64(1))
        offsets = []
        for i in range(len(side)):
            row = b.add(r, I64(i))
            row = b.select(b.icmp_signed("<", row, last), row, last)
            offsets.append(b.add(start, b.mul(row, stride)))
        return cgutils.pack_array(b, offsets)

    i64 = types.int64
    return types.UniTuple(i64, len(side))(i64, i64, i64, i64, side), codegen


def _keep_rolled(b: Any) -> None:
    """The loop around this stays rolled: LLVM's unrolling runs out of registers, and halves the speed."""
    b.call(ir.InlineAsm(ir.FunctionType(VOID, []), "", "", True), [], attrs=("convergent",))


def _python_add_dot(X: Any, at: Any, j: int, W: Any, w: int, stride: int, acc: Any) -> Any:
    lanes, rows = len(acc[0]), len(at)
    xs = [X[p + j : p + j + lanes] for p in at]
    ws = [W[w + k * stride : w + k * stride + lanes] for k in range(len(acc) // rows)]
    return tuple(x * ws[k] + acc[k * rows + i] for k in range(len(ws)) for i, x in enumerate(xs))


@operation(_python_add_dot)
def add_dot(typingctx, X, at, j, W, w, stride, acc):  # type: ignore[no-untyped-def]
    """acc[k, i] + X[at[i] + j : + lanes] * W[w + k * stride : + lanes]"""
    vector, rows = acc.dtype, len(at)

    def codegen(ctx, b, sig, args):  # type: ignore[no-untyped-def]
        _keep_rolled(b)
        xs = [emit_load(b, vector, pointer(ctx, b, X, args[0], b.add(p, args[2]))) for p in elements(b, args[1])]
        old, new = elements(b, args[6]), []
        for k in range(len(acc) // rows):  # each operand is loaded when due, not before
            y = emit_load(b, vector, pointer(ctx, b, W, *args[3:6], k))
            new += [emit_fma(b, vector, x, y, old[k * rows + i]) for i, x in enumerate(xs)]
        return cgutils.pack_array(b, new)

    i64 = types.int64
    return acc(X, at, i64, W, i64, i64, acc), codegen


def _python_add_outer(Z: Any, z: int, stride: int, X: Any, x: int, acc: Any, side: Any) -> Any:
    lanes, V = len(acc[0]), len(side)
    xs = [X[x + v * lanes : x + (v + 1) * lanes] for v in range(V)]
    return tuple(xs[i % V] * X.dtype.type(python_decoded(Z[z + i // V * stride])) + a for i, a in enumerate(acc))


@operation(_python_add_outer)
def add_outer(typingctx, Z, z, stride, X, x, acc, side):  # type: ignore[no-untyped-def]
    """acc[k, v] + Z[z + k * stride] * (register v from X[x]), as many v as `side` is long; Z as it is stored"""
    vector, V = acc.dtype, len(side)

    def codegen(ctx, b, sig, args):  # type: ignore[no-untyped-def]
        _keep_rolled(b)
        start = pointer(ctx, b, X, args[3], args[4])
        xs = [emit_load(b, vector, b.gep(start, [I64(v * vector.lanes)])) for v in range(V)]
        old, new = elements(b, args[5]), []
        for k in range(len(acc) // V):
            kind, number = emit_decoded(b, Z.dtype, b.load(pointer(ctx, b, Z, *args[:3], k)))
            s = splat(ctx, b, kind, vector, number)
            new += [emit_fma(b, vector, xs[v], s, old[k * V + v]) for v in range(V)]
        return cgutils.pack_array(b, new)

    i64 = types.int64
    return acc(Z, i64, i64, X, i64, acc, side), codegen


def _unit_spots(ctx: Any, b: Any, array_type: Any, args: Any, n: int, side: int) -> list[list[Any]]:
    """Where the registers of n rows of a tile lie, rows `step` apart, and in them vectors `unit` apart."""
    array, offset, step, unit = args
    lanes, start = register(array_type.dtype).lanes, pointer(ctx, b, array_type, array, offset)
    rows = [b.gep(start, [b.mul(step, I64(k))]) if k else start for k in range(n)]
    return [[_register_spot(b, p, v, lanes, unit) for v in range(side)] for p in rows]


def _register_spot(b: Any, p: Any, v: int, lanes: int, unit: Any) -> Any:
    """Register v of vectors that lie `unit` apart."""
    vector, part = divmod(v * REGISTER_BYTES, LANE_BYTES)
    p = b.gep(p, [b.mul(unit, I64(vector))]) if vector else p
    return b.gep(p, [I64(part * lanes // REGISTER_BYTES)]) if part else p


def _python_unit_spots(array: Any, offset: int, step: int, unit: int, n: int, side: int) -> list[slice]:
    size = array.itemsize
    places = [divmod(v * REGISTER_BYTES, LANE_BYTES) for v in range(side)]
    starts = [offset + k * step + vector * unit + part // size for k in range(n) for vector, part in places]
    return [slice(start, start + REGISTER_BYTES // size) for start in starts]


def _python_load_units(array: Any, offset: int, step: int, unit: int, tile: Any, side: Any) -> Any:
    return tuple(array[s].copy() for s in _python_unit_spots(array, offset, step, unit, len(tile), len(side)))


@operation(_python_load_units)
def load_units(typingctx, array, offset, step, unit, tile, side):  # type: ignore[no-untyped-def]
    """A tile whose rows lie `step` apart, and in them vectors of LANE_BYTES, `unit` apart."""
    result = types.UniTuple(register(array.dtype), len(tile) * len(side))

    def codegen(ctx, b, sig, args):  # type: ignore[no-untyped-def]
        rows = _unit_spots(ctx, b, sig.args[0], args[:4], len(tile), len(side))
        return cgutils.pack_array(b, [emit_load(b, result.dtype, p) for row in rows for p in row])

    i64 = types.int64
    return result(array, i64, i64, i64, tile, side), codegen


def _python_store_units(array: Any, offset: int, step: int, unit: int, xs: Any, side: Any) -> None:
    for x, s in zip(xs, _python_unit_spots(array, offset, step, unit, len(xs) // len(side), len(side)), strict=True):
        array[s] = x


@operation(_python_store_units)
def store_units(typingctx, array, offset, step, unit, xs, side):  # type: ignore[no-untyped-def]
    """Put a tile where `load_units` would find it."""

    def codegen(ctx, b, sig, args):  # type: ignore[no-untyped-def]
        rows = _unit_spots(ctx, b, sig.args[0], args[:4], len(xs) // len(side), len(side))
        for x, p in zip(elements(b, args[4]), [p for row in rows for p in row], strict=True):
            emit_store(b, xs.dtype, x, p)
        return ctx.get_dummy_value()

    i64 = types.int64
    return types.void(array, i64, i64, i64, xs, side), codegen


def _python_add_scaled(A: Any, at: Any, a: int, B: Any, b: int, unit: int, acc: Any, side: Any) -> Any:
    V = len(side)
    xs = [B[s] for s in _python_unit_spots(B, b, 0, unit, 1, V)]
    return tuple(xs[i % V] * B.dtype.type(A[at[i // V] + a]) + old for i, old in enumerate(acc))


@operation(_python_add_scaled)
def add_scaled(typingctx, A, at, a, B, start, unit, acc, side):  # type: ignore[no-untyped-def]
    """acc[k, v] + A[at[k] + a] * (register v from B[start], whose vectors lie `unit` apart)"""
    vector = acc.dtype

    def codegen(ctx, b, sig, args):  # type: ignore[no-untyped-def]
        _keep_rolled(b)
        A_, at_, a_, B_, start_, unit_, acc_, _ = args
        [spots] = _unit_spots(ctx, b, B, (B_, start_, I64(0), unit_), 1, len(side))
        xs, old, new = [emit_load(b, vector, p) for p in spots], iter(elements(b, acc_)), []
        for offset in elements(b, at_):
            s = splat(ctx, b, A.dtype, vector, b.load(b.gep(pointer(ctx, b, A, A_, offset), [a_])))
            new += [emit_fma(b, vector, x, s, next(old)) for x in xs]
        return cgutils.pack_array(b, new)

    i64 = types.int64
    return acc(A, at, i64, B, i64, i64, acc, side), codegen


def _python_store_totals(array: Any, offset: int, stride: int, xs: Any, side: Any) -> None:
    for i, x in enumerate(xs):
        array[offset + i // len(side) * stride + i % len(side)] = _python_total(x)


@operation(_python_store_totals)
def store_totals(typingctx, array, offset, stride, xs, side):  # type: ignore[no-untyped-def]
    """array[offset + k * stride + i] = total(xs[k, i]), as many i as `side` is long"""
    n = len(side)

    def codegen(ctx, b, sig, args):  # type: ignore[no-untyped-def]
        parts = elements(b, args[3])
        for k in range(len(parts) // n):
            sums = emit_totals(b, xs.dtype, parts[k * n : k * n + n])
            emit_store(b, xs.dtype, sums, pointer(ctx, b, sig.args[0], *args[:3], k))
        return ctx.get_dummy_value()

    return types.void(array, types.int64, types.int64, xs, side), codegen
