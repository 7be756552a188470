"""Operations on whole vectors."""

from typing import Any

import numpy as np
from numba import types
from numba.core import cgutils

from fastsoftmax.engine.simd.emit import (
    I8,
    I32,
    I64,
    LANE_BYTES,
    VOID,
    Vector,
    call,
    elements,
    emit_fma,
    emit_load,
    emit_store,
    emit_totals,
    operation,
    pointer,
    shuffle,
    splat,
)


def _lanes(array: Any) -> int:
    return LANE_BYTES // int(array.itemsize)


@operation(lambda x, y, z: x * y + z)
def fma(typingctx, x, y, z):  # type: ignore[no-untyped-def]
    """x * y + z, rounded once."""
    vector = next(v for v in (z, x, y) if isinstance(v, Vector))
    return vector(vector, vector, vector), lambda ctx, b, sig, args: emit_fma(b, vector, *args)


@operation(lambda a, b, x, y: np.asarray(np.where(a < b, x, y), np.result_type(a, b)))
def where_less(typingctx, a, b, x, y):  # type: ignore[no-untyped-def]
    """x where a < b, else y: also where one of a and b is NaN."""
    vector = next(v for v in (a, b, x, y) if isinstance(v, Vector))

    def codegen(ctx, b, sig, args):  # type: ignore[no-untyped-def]
        return b.select(b.fcmp_ordered("<", args[0], args[1]), args[2], args[3])

    return vector(vector, vector, vector, vector), codegen


@operation(lambda a, b, x, y: np.asarray(np.where(a >= b, x, y), np.result_type(a, b)))
def where_least(typingctx, a, b, x, y):  # type: ignore[no-untyped-def]
    """x where a >= b, else y: also where one of a and b is NaN."""
    vector = next(v for v in (a, b, x, y) if isinstance(v, Vector))

    def codegen(ctx, b, sig, args):  # type: ignore[no-untyped-def]
        return b.select(b.fcmp_ordered(">=", args[0], args[1]), args[2], args[3])

    return vector(vector, vector, vector, vector), codegen


def _python_polynomial(x: Any, coefficients: Any) -> Any:
    p = np.full_like(x, coefficients[0])
    for c in coefficients[1:]:
        p = p * x + x.dtype.type(c)
    return p


@operation(_python_polynomial)
def polynomial(typingctx, x, coefficients):  # type: ignore[no-untyped-def]
    """Horner's rule, the highest power first."""

    def codegen(ctx, b, sig, args):  # type: ignore[no-untyped-def]
        p, *rest = [splat(ctx, b, types.float64, x, c) for c in elements(b, args[1])]
        for c in rest:
            p = emit_fma(b, x, p, args[0], c)
        return p

    return x(x, coefficients), codegen


def _python_power(x: Any) -> Any:
    bits, shift = (np.uint32, 23) if x.dtype == np.float32 else (np.uint64, 52)
    return (x.view(bits) << bits(shift)).view(x.dtype)


@operation(_python_power)
def power_of_two(typingctx, x):  # type: ignore[no-untyped-def]
    """2 ** (lowest bits of x - bias): these bits become the exponent."""

    def codegen(ctx, b, sig, args):  # type: ignore[no-untyped-def]
        return b.bitcast(b.shl(b.bitcast(args[0], x.bits), x.integer(23 if x.width == 32 else 52)), x.llvm)

    return x(x), codegen


MANTISSA, ONE, TWO52 = (1 << 52) - 1, 1023 << 52, 0x433 << 52


def _python_split(x: Any) -> Any:
    bits = x.view(np.int64)
    exponent = ((bits >> 52) | TWO52).view(np.float64) - (2.0**52 + 1023)
    return exponent, ((bits & MANTISSA) | ONE).view(np.float64)


@operation(_python_split)
def split(typingctx, x):  # type: ignore[no-untyped-def]
    """Exponent e and mantissa 1 <= m < 2 of positive normal float64: x = m * 2 ** e."""

    def codegen(ctx, b, sig, args):  # type: ignore[no-untyped-def]
        bits = b.bitcast(args[0], x.bits)
        exponent = b.bitcast(b.or_(b.lshr(bits, x.integer(52)), x.integer(TWO52)), x.llvm)
        mantissa = b.bitcast(b.or_(b.and_(bits, x.integer(MANTISSA)), x.integer(ONE)), x.llvm)
        return cgutils.pack_array(b, [b.fsub(exponent, x.constant(2.0**52 + 1023)), mantissa])

    return types.UniTuple(x, 2)(x), codegen


def _python_total(x: Any) -> Any:
    while len(x) > 1:
        x = x[: len(x) // 2] + x[len(x) // 2 :]
    return x[0]


@operation(_python_total)
def total(typingctx, x):  # type: ignore[no-untyped-def]
    """The sum of the lanes, upper half on lower half until one is left."""
    return x.dtype(x), lambda ctx, b, sig, args: b.extract_element(emit_totals(b, x, [args[0]]), I32(0))


@operation(lambda array, offset: array[offset : offset + _lanes(array)].copy())
def load(typingctx, array, offset):  # type: ignore[no-untyped-def]
    """The vector at array[offset]."""
    vector = Vector(array.dtype)
    return vector(array, types.int64), lambda ctx, b, sig, args: emit_load(
        b, vector, pointer(ctx, b, sig.args[0], *args)
    )


def _python_store(array: Any, offset: int, x: Any) -> None:
    array[offset : offset + _lanes(array)] = x


@operation(_python_store)
def store(typingctx, array, offset, x):  # type: ignore[no-untyped-def]
    """array[offset : offset + lanes] = x"""
    vector = Vector(array.dtype)

    def codegen(ctx, b, sig, args):  # type: ignore[no-untyped-def]
        emit_store(b, vector, args[2], pointer(ctx, b, sig.args[0], *args[:2]))
        return ctx.get_dummy_value()

    return types.void(array, types.int64, vector), codegen


def _python_transpose(source: Any, base: int, stride: int, out: Any, o: int, width: int) -> None:
    n = _lanes(source)
    for i in range(n):
        out[o + i : o + i + n * width : width] = source[base + i * stride : base + i * stride + n]


@operation(_python_transpose)
def transpose(typingctx, source, base, stride, out, o, width):  # type: ignore[no-untyped-def]
    """out[o + p * width + i] = source[base + i * stride + p] for i and p < lanes, in registers."""
    vector = Vector(source.dtype)
    n = vector.lanes

    def codegen(ctx, b, sig, args):  # type: ignore[no-untyped-def]
        rows = [emit_load(b, vector, pointer(ctx, b, source, *args[:3], i)) for i in range(n)]
        halves = [[(i // 2) + (n if i % 2 else 0) + start for i in range(n)] for start in (0, n // 2)]
        for _ in range(n.bit_length() - 1):  # each round interleaves row i with row i + n / 2
            pairs = zip(rows[: n // 2], rows[n // 2 :], strict=True)
            rows = [shuffle(b, x, y, half) for x, y in pairs for half in halves]
        for p, row in enumerate(rows):
            emit_store(b, vector, row, pointer(ctx, b, out, *args[3:], p))
        return ctx.get_dummy_value()

    i64 = types.int64
    return types.void(source, i64, i64, out, i64, i64), codegen


@operation(lambda array, start, length: array.reshape(-1)[start : start + length])
def borrow(typingctx, array, start, length):  # type: ignore[no-untyped-def]
    """Entries start..start + length of a C-contiguous array, borrowed: Numba's own slices count references, and check.

    Of any other layout it has no type: its entries do not lie one after another.
    """
    if array.layout != "C":
        return None
    flat = array.copy(ndim=1)

    def codegen(ctx, b, sig, args):  # type: ignore[no-untyped-def]
        made, size = ctx.make_array(flat)(ctx, b), I64(array.dtype.bitwidth // 8)
        data = pointer(ctx, b, array, *args[:2])
        ctx.populate_array(made, data=data, shape=[args[2]], strides=[size], itemsize=size, meminfo=None, parent=None)
        return made._getvalue()

    return flat(array, types.int64, types.int64), codegen


@operation(lambda array, offset: None)
def prefetch(typingctx, array, offset):  # type: ignore[no-untyped-def]
    """Ask for the cache line of array[offset]; harmless outside of the array."""

    def codegen(ctx, b, sig, args):  # type: ignore[no-untyped-def]
        p = b.bitcast(pointer(ctx, b, sig.args[0], *args), I8.as_pointer())
        call(b, "llvm.prefetch.p0", VOID, p, I32(0), I32(2), I32(1))
        return ctx.get_dummy_value()

    return types.void(array, types.int64), codegen
