"""exp and log over vectors, without libm: the same bits on any CPU."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba.extending import overload

from fastsoftmax.engine.jit import CHOSEN, inlined, kernel, outlined
from fastsoftmax.engine.simd import LANE_BYTES, fma, load, polynomial, power_of_two, split, store, total, where_less
from fastsoftmax.engine.threads import JIT

# Of each dtype: log2(e); a number that leaves a biased exponent in a sum's lowest bits; -log(2) in two parts, the first
# so short that n times it is exact; beyond which |m| the maximum itself is subtracted, twice what counts below it; the
# coefficients p of exp(r) = 1 + r + r^2 p(r) on |r| <= log(2) / 2, of the least largest relative error (3e-9, 4e-18).
EXP = {
    "float32": (
        1.44269504088896341,
        1.5 * 2.0**23 + 127,
        -0.693359375,
        2.12194440e-4,
        208.0,
        (
            1.3814449162251143e-3,
            8.36878208128188e-3,
            4.1668394584245795e-2,
            1.6666520089826994e-1,
            4.9999993410647203e-1,
        ),
    ),
    "float64": (
        1.44269504088896341,
        1.5 * 2.0**52 + 1023,
        -6.93147180369123816490e-01,
        -1.90821492927058770002e-10,
        1492.0,
        (
            2.4999973143950394e-08,
            2.763037981121198e-07,
            2.7557587323885172e-06,
            2.480149275923579e-05,
            1.9841269504775923e-04,
            1.3888888943926318e-03,
            8.333333333495625e-03,
            4.166666666652917e-02,
            1.666666666666641e-01,
            5.000000000000011e-01,
        ),
    ),
}
LOWEST = (-104.0, -746.0)  # of float32 and of float64: below it exp is 0, and
NORMAL = (-86.0, -705.0)  # above it exp is no subnormal number
# The power of 2 that exponentials below NORMAL are multiplied by, and those of their rows, so that none is subnormal:
# sums of 1e7 of them fit.
LIFT = {"float32": 32.0, "float64": 64.0}


def _origin_of(dtype: Any) -> Callable[..., Any]:
    log2e, shift, _, _, far, _ = EXP[str(dtype)]
    lift, normal = LIFT[str(dtype)], NORMAL[str(dtype) == "float64"]

    def body(m: Any, low: float) -> Any:
        start = shift + lift if low < normal else shift
        base = where_less(m, far, where_less(-far, m, 0.0, m), m)
        top = m - base
        return base, start - (fma(top, log2e, shift) - shift), top + low

    return body


def origin_of(m: Any, low: float) -> Any:
    """(base, shift, cut) of rows whose maximum is the vector m: from where `exp_from` counts.

    Logits count if they are not below m + low, `low` not below LOWEST. Not the maximum is subtracted from them, which
    would round (by 2e-6 of the exponential where z - m is -40 in float32), but what is exact: nothing, or, where the
    maximum is so large that all that counts is within a factor of 2 of it, the maximum (Sterbenz 1974, theorem 4.3.1).
    The rest of it is a power of 2, LIFT's too if `low` is below NORMAL, and a factor of the row, which its sum has too.
    """
    return _origin_of(m.dtype)(m, low)


def _exp_from_of(dtype: Any) -> Callable[..., Any]:
    log2e, _, minus_high, minus_low, _, coefficients = EXP[str(dtype)]

    def body(z: Any, origin: Any) -> Any:
        base, shift, cut = origin
        x = z - base
        t = fma(x, log2e, shift)
        n = t - shift
        r = fma(n, minus_low, fma(n, minus_high, x))  # the inner one is exact
        p = fma(polynomial(r, coefficients), r * r, r) + 1.0
        return where_less(x, cut, 0.0, p * power_of_two(t))

    return body


def exp_from(z: Any, origin: Any) -> Any:
    """exp of a vector z as `origin_of` says, times the row's factor, within 1.2 ulp; of NaN it is NaN.

    Rounding to the nearest power of two is by the magic constant: no conversion to an integer, no libm.
    """
    return _exp_from_of(z.dtype)(z, origin)


if JIT:

    @overload(origin_of, jit_options=CHOSEN)
    def _compiled_origin(m: Any, low: float) -> Any:
        return _origin_of(m.dtype)

    @overload(exp_from, jit_options=CHOSEN)
    def _compiled_exp(z: Any, origin: Any) -> Any:
        return _exp_from_of(z.dtype)


@inlined
def lowest(Z: Any, residual: bool) -> float:
    """Below which logits less their maximum count for nothing, in an array of their dtype.

    Residuals are cut at NORMAL: where 5 to 15 % of the probabilities were subnormal, a pass of 8 ms took 36 to 81 on an
    Intel core. What is cut is less than 1e-37 of a row, or 1e-306 in float64; sums, at least 1, do not see it.
    """
    if residual:
        return NORMAL[0] if Z.itemsize == 4 else NORMAL[1]
    return LOWEST[0] if Z.itemsize == 4 else LOWEST[1]


LOG = (
    1.479819860510658591e-01,
    1.531383769920937332e-01,
    1.818357216161805012e-01,
    2.222219843214978396e-01,
    2.857142874366239149e-01,
    3.999999999940941908e-01,
    6.666666666666735130e-01,
)
SQRT2, LOG2_HIGH, LOG2_LOW, INFINITY = math.sqrt(2), 6.93147180369123816490e-01, 1.90821492927058770002e-10, math.inf


@inlined
def log(x: Any) -> Any:
    """log of a vector of float64 that are 0, normal, +inf or NaN, within 1 ulp.

    x = 2^e m with m in [sqrt(1/2), sqrt(2)), and log m from the series in s = (m - 1) / (m + 1), as in FreeBSD's
    e_log.c, whose coefficients these are.
    """
    e, m = split(x)
    e, m = where_less(m, SQRT2, e, e + 1.0), where_less(m, SQRT2, m, m * 0.5)
    f = m - 1.0
    s = f / (f + 2.0)
    z = s * s
    half = f * f * 0.5
    series = polynomial(z, LOG) * z
    y = fma(e, LOG2_HIGH, f - (half - fma(s, half + series, e * LOG2_LOW)))
    y = where_less(x, INFINITY, y, x)  # +inf and NaN stay
    return where_less(0.0, x, y, where_less(x, 1.0, -INFINITY, x))


@inlined
def log1p(x: Any) -> Any:
    """log(1 + x) of a vector of float64 from -1 on, within 3 ulp: what 1 + x loses, x / ((1 + x) - 1) gives back.

    (Goldberg 1991, theorem 4)
    """
    u = x + 1.0
    d = u - 1.0
    y = where_less(0.0, d * d, log(u) * (x / d), x)
    return where_less(u, INFINITY, y, u)


@outlined
def exp_in_place(z: Any, M: Any, low: float) -> None:
    """`exp_from` of each entry, M the maximum of its row, of arrays whose length fills whole vectors."""
    for i in range(0, len(z), LANE_BYTES // z.itemsize):
        store(z, i, exp_from(load(z, i), origin_of(load(M, i), low)))


@outlined
def log1p_in_place(x: Any) -> None:
    """log(1 + x) of each entry, of an array of float64 whose length fills whole vectors."""
    for i in range(0, len(x), LANE_BYTES // 8):
        store(x, i, log1p(load(x, i)))


@inlined
def sum_in_lanes(x: Any, count: int) -> float:
    """The sum of x[:count], of float64, lane by lane, then over the lanes, then what fills no vector."""
    lanes = LANE_BYTES // 8
    whole = count // lanes * lanes
    s = 0.0
    if whole:
        sums = load(x, 0)
        for i in range(lanes, whole, lanes):
            sums = sums + load(x, i)
        s = total(sums)
    for i in range(whole, count):
        s += x[i]
    return s


@kernel
def ordered_sum(x: Any) -> float:
    """In float64 and in order: NumPy's own sums depend on the CPU."""
    s = 0.0
    for i in range(len(x)):
        s += x[i]
    return s


@kernel
def sum_of_squares(x: Any) -> float:
    """In float64 and in order."""
    s = 0.0
    for i in range(len(x)):
        s += np.float64(x[i]) * np.float64(x[i])
    return s
