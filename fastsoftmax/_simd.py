"""The vector layer: fixed lanes, written-out order of every sum, and the only LLVM in the house.

A vector is LANE_BYTES of float32 or float64 on every CPU, so that sums over its lanes are the same everywhere. LLVM
splits it into the registers that there are. Tiles that must stay in registers count in registers of REGISTER_BYTES,
which depend on the CPU: they cut the same lanes into as many parts as needed, and add them in the same order.
Tuples of vectors stay in registers, and their length, a compile-time number, is the size of a tile.
With the JIT off, each operation's Python definition takes its place: a vector is then an array of lanes.
"""

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.datamodel import PrimitiveModel
from numba.core.imputils import lower_builtin, lower_cast
from numba.core.registry import cpu_target
from numba.core.typing import signature
from numba.core.typing.templates import AbstractTemplate, infer_global
from numba.extending import intrinsic, register_model

from fastsoftmax._jit import JIT

LANE_BYTES = 64
WIDE = JIT and "+avx512f" in cpu_target.target_context.codegen().magic_tuple()[2]
REGISTER_BYTES = 64 if WIDE else 32
I8, I32, I64, VOID = ir.IntType(8), ir.IntType(32), ir.IntType(64), ir.VoidType()


class Vector(types.Type):
    """`size` bytes of lanes of `dtype`."""

    def __init__(self, dtype: Any, size: int = LANE_BYTES) -> None:
        self.dtype, self.width, self.lanes = dtype, dtype.bitwidth, size * 8 // dtype.bitwidth
        self.llvm = ir.VectorType(ir.FloatType() if self.width == 32 else ir.DoubleType(), self.lanes)
        self.bits = ir.VectorType(ir.IntType(self.width), self.lanes)
        super().__init__(name=f"{dtype}x{self.lanes}")

    def constant(self, value: float) -> Any:
        return ir.Constant(self.llvm, [float(np.float32(value)) if self.width == 32 else value] * self.lanes)

    def integer(self, value: int) -> Any:
        return ir.Constant(self.bits, [value] * self.lanes)


@register_model(Vector)
class VectorModel(PrimitiveModel):
    def __init__(self, dmm: Any, vector: Vector) -> None:
        super().__init__(dmm, vector, vector.llvm)


def operation(meaning: Callable[..., Any]) -> Callable[[Any], Any]:
    """Decorator of an intrinsic's typing: where the JIT is off, `meaning` takes its place."""
    return intrinsic if JIT else (lambda typing: meaning)


# ---- what the operations emit


def shuffle(b: Any, x: Any, y: Any, lanes: list[int]) -> Any:
    return b.shuffle_vector(x, y, ir.Constant(ir.VectorType(I32, len(lanes)), lanes))


@lower_cast(types.Number, Vector)
def splat(ctx: Any, b: Any, scalar: Any, vector: Vector, value: Any) -> Any:
    """Where a vector is due a scalar will do: it is converted, then repeated."""
    value, nothing = ctx.cast(b, value, scalar, vector.dtype), ir.Constant(vector.llvm, ir.Undefined)
    return shuffle(b, b.insert_element(nothing, value, I32(0)), nothing, [0] * vector.lanes)


def call(b: Any, name: str, result: Any, *args: Any) -> Any:
    kind = ir.FunctionType(result, [a.type for a in args])
    return b.call(cgutils.get_or_insert_function(b.module, kind, name), args)


def emit_fma(b: Any, vector: Vector, x: Any, y: Any, z: Any) -> Any:
    return call(b, f"llvm.fma.v{vector.lanes}f{vector.width}", vector.llvm, x, y, z)


def emit_totals(b: Any, vector: Vector, xs: list[Any]) -> Any:
    """Vectors, a power of two of them -> a vector of their lanes' sums: upper halves are added to lower ones."""
    width, lanes = vector.lanes, vector.lanes
    while width > 1:
        half = width // 2
        xs = [*zip(xs[::2], xs[1::2], strict=True)] if len(xs) > 1 else [(xs[0], xs[0])]
        blocks = range(xs[0][0].type.count // width)
        both = range(2 if xs[0][0] is not xs[0][1] else 1)
        low = [s * lanes + q * width + i for s in both for q in blocks for i in range(half)]
        xs = [b.fadd(shuffle(b, x, y, low), shuffle(b, x, y, [i + half for i in low])) for x, y in xs]
        lanes, width = xs[0].type.count, half
    return xs[0]


def pointer(ctx: Any, b: Any, array_type: Any, array: Any, offset: Any, stride: Any = None, i: int = 0) -> Any:
    p = b.gep(ctx.make_array(array_type)(ctx, b, array).data, [offset])
    return b.gep(p, [b.mul(stride, I64(i))]) if stride and i else p


def emit_load(b: Any, vector: Vector, p: Any) -> Any:
    x = b.load(b.bitcast(p, vector.llvm.as_pointer()))
    x.align = vector.width // 8
    return x


def emit_store(b: Any, vector: Vector, x: Any, p: Any) -> None:
    b.store(x, b.bitcast(p, x.type.as_pointer())).align = vector.width // 8


def elements(b: Any, value: Any) -> list[Any]:
    return [b.extract_value(value, i) for i in range(len(value.type))]


def register(dtype: Any) -> Vector:
    return Vector(dtype, REGISTER_BYTES)


def _arithmetic(op: Any, emit: str) -> None:
    @infer_global(op)
    class Arithmetic(AbstractTemplate):
        def generic(self, args: Any, kws: Any) -> Any:
            for vector in args:
                if isinstance(vector, Vector):
                    return signature(vector, vector, vector)
            return None

    lower_builtin(op, Vector, Vector)(lambda ctx, b, sig, args: getattr(b, emit)(*args))


for _op, _emit in ((operator.add, "fadd"), (operator.sub, "fsub"), (operator.mul, "fmul"), (operator.truediv, "fdiv")):
    _arithmetic(_op, _emit)

# ---- whole vectors


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


@operation(lambda x, count: np.asarray(np.where(np.arange(len(x)) < len(x) - count, 0, x), x.dtype))
def last_lanes(typingctx, x, count):  # type: ignore[no-untyped-def]
    """The last `count` lanes of x, with 0 before them."""

    def codegen(ctx, b, sig, args):  # type: ignore[no-untyped-def]
        first = ir.Constant(ir.VectorType(I64, x.lanes), [x.lanes - lane for lane in range(x.lanes)])
        nothing = ir.Constant(first.type, ir.Undefined)
        counts = shuffle(b, b.insert_element(nothing, args[1], I32(0)), nothing, [0] * x.lanes)
        return b.select(b.icmp_signed("<=", first, counts), args[0], x.constant(0.0))

    return x(x, types.int64), codegen


@operation(lambda x: x[0] if np.isnan(x[0]) else np.fmax.reduce(x))
def largest(typingctx, x):  # type: ignore[no-untyped-def]
    """The largest lane; where lanes are NaN, any of the others or NaN."""

    def codegen(ctx, b, sig, args):  # type: ignore[no-untyped-def]
        y, half = args[0], x.lanes // 2
        while half:
            low, high = (shuffle(b, y, y, [*range(start, start + half)]) for start in (0, half))
            y, half = b.select(b.fcmp_ordered("<", low, high), high, low), half // 2
        return b.extract_element(y, I32(0))

    return x.dtype(x), codegen


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


@operation(lambda array, start, length: array[start : start + length])
def borrow(typingctx, array, start, length):  # type: ignore[no-untyped-def]
    """array[start : start + length], borrowed: a slice of Numba's own counts references, atomically, and checks."""

    def codegen(ctx, b, sig, args):  # type: ignore[no-untyped-def]
        made, size = ctx.make_array(array)(ctx, b), I64(array.dtype.bitwidth // 8)
        data = pointer(ctx, b, array, *args[:2])
        ctx.populate_array(made, data=data, shape=[args[2]], strides=[size], itemsize=size, meminfo=None, parent=None)
        return made._getvalue()

    return array(array, types.int64, types.int64), codegen


def _python_take(counter: Any) -> int:
    counter[0] += 1
    return int(counter[0]) - 1


@operation(_python_take)
def take(typingctx, counter):  # type: ignore[no-untyped-def]
    """counter[0]++ at once: workers share out items as they come to them, for cores are never equally fast."""

    def codegen(ctx, b, sig, args):  # type: ignore[no-untyped-def]
        return b.atomic_rmw("add", pointer(ctx, b, counter, args[0], I64(0)), I64(1), "monotonic")

    return types.int64(counter), codegen


@operation(lambda array, offset: None)
def prefetch(typingctx, array, offset):  # type: ignore[no-untyped-def]
    """Ask for the cache line of array[offset]; harmless outside of the array."""

    def codegen(ctx, b, sig, args):  # type: ignore[no-untyped-def]
        p = b.bitcast(pointer(ctx, b, sig.args[0], *args), I8.as_pointer())
        call(b, "llvm.prefetch.p0", VOID, p, I32(0), I32(2), I32(1))
        return ctx.get_dummy_value()

    return types.void(array, types.int64), codegen


# ---- tiles: tuples of registers. A tile of K by V holds element k, v at k * V + v.


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
    return tuple(xs[i % V] * X.dtype.type(Z[z + i // V * stride]) + a for i, a in enumerate(acc))


@operation(_python_add_outer)
def add_outer(typingctx, Z, z, stride, X, x, acc, side):  # type: ignore[no-untyped-def]
    """acc[k, v] + Z[z + k * stride] * (register v from X[x]), as many v as `side` is long; Z may be of any dtype"""
    vector, V = acc.dtype, len(side)

    def codegen(ctx, b, sig, args):  # type: ignore[no-untyped-def]
        _keep_rolled(b)
        start = pointer(ctx, b, X, args[3], args[4])
        xs = [emit_load(b, vector, b.gep(start, [I64(v * vector.lanes)])) for v in range(V)]
        old, new = elements(b, args[5]), []
        for k in range(len(acc) // V):
            s = splat(ctx, b, Z.dtype, vector, b.load(pointer(ctx, b, Z, *args[:3], k)))
            new += [emit_fma(b, vector, xs[v], s, old[k * V + v]) for v in range(V)]
        return cgutils.pack_array(b, new)

    i64 = types.int64
    return acc(Z, i64, i64, X, i64, acc, side), codegen


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
