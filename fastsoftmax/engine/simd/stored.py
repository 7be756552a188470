"""Entries of X as they are stored: numbers, or the bits of float16, in int16, and of bfloat16, in uint16.

Integers of 16 bits are nothing else to the kernels: those of users become float64 before.
"""

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core.registry import cpu_target

from fastsoftmax.engine.simd.emit import I32, operation
from fastsoftmax.engine.threads import JIT

F16C = JIT and "+f16c" in cpu_target.target_context.codegen().magic_tuple()[2]
FLOAT16, BFLOAT16, SINGLE = types.int16, types.uint16, ir.FloatType()


def emit_decoded(b: Any, stored: Any, value: Any) -> tuple[Any, Any]:
    """(the type of the number, the number)"""
    if stored == BFLOAT16:
        return types.float32, b.bitcast(b.shl(b.zext(value, I32), I32(16)), SINGLE)
    if stored != FLOAT16:
        return stored, value
    if F16C:
        return types.float32, b.fpext(b.bitcast(value, ir.HalfType()), SINGLE)
    return types.float32, _emit_half(b, value)


def _emit_half(b: Any, value: Any) -> Any:
    """By integers: a normal number's exponent is moved on; subnormal numbers count in steps of 2^-24; NaN is quiet."""
    bits = b.zext(value, I32)
    exponent, mantissa = b.and_(bits, I32(0x7C00)), b.and_(bits, I32(0x3FF))
    moved = b.shl(b.and_(bits, I32(0x7FFF)), I32(13))
    normal = b.add(moved, I32(112 << 23))
    nan = b.select(b.icmp_unsigned("!=", mantissa, I32(0)), I32(0x7FC00000), I32(0x7F800000))
    special = b.or_(nan, moved)
    small = b.bitcast(b.fmul(b.uitofp(mantissa, SINGLE), ir.Constant(SINGLE, 2.0**-24)), I32)
    found = b.select(b.icmp_unsigned("==", exponent, I32(0x7C00)), special, normal)
    found = b.select(b.icmp_unsigned("==", exponent, I32(0)), small, found)
    return b.bitcast(b.or_(found, b.shl(b.and_(bits, I32(0x8000)), I32(16))), SINGLE)


def python_decoded(x: Any) -> Any:
    """The number, or numbers, that are stored as x."""
    if x.dtype == np.int16:
        return x.view(np.float16).astype(np.float32)
    if x.dtype == np.uint16:
        return (x.astype(np.uint32) << np.uint32(16)).view(np.float32)
    return x


@operation(python_decoded)
def decoded(typingctx, x):  # type: ignore[no-untyped-def]
    """The number that is stored as x."""
    result = types.float32 if x in (FLOAT16, BFLOAT16) else x
    return result(x), lambda ctx, b, sig, args: emit_decoded(b, x, args[0])[1]
