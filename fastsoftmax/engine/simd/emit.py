"""The type of a vector, its arithmetic, and the LLVM that operations emit."""

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

from fastsoftmax.engine.threads import JIT

LANE_BYTES = 64
WIDE = JIT and "+avx512f" in cpu_target.target_context.codegen().magic_tuple()[2]
REGISTER_BYTES = 64 if WIDE else 32
I8, I32, I64, VOID = ir.IntType(8), ir.IntType(32), ir.IntType(64), ir.VoidType()


class Vector(types.Type):
    """`size` bytes of lanes of `dtype`: LANE_BYTES, or those of several rows, one after another."""

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


def joined(b: Any, xs: list[Any]) -> Any:
    """Vectors of one length, a power of two of them, one after another in one."""
    while len(xs) > 1:
        count = 2 * xs[0].type.count
        xs = [shuffle(b, x, y, [*range(count)]) for x, y in zip(xs[::2], xs[1::2], strict=True)]
    return xs[0]


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
