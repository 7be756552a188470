"""exp and log over vectors, without libm: the same bits on any CPU."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba.extending import overload

from fastsoftmax.engine.jit import inlined, kernel
from fastsoftmax.engine.simd import LANE_BYTES, fma, load, polynomial, power_of_two, split, store, total, where_less
from fastsoftmax.engine.threads import JIT

# Of each dtype: log2(e); a number that leaves the biased exponent in a sum's lowest bits;
# -log(2) in two parts, the first so short that n * it is exact; 2 ** -(what the bias is too large);
# the coefficients p of exp(r) = 1 + r + r^2 p(r) on |r| <= log(2) / 2: those of Cephes' expf, and Taylor's.
EXP = {
    "float32": (
        1.44269504088896341,
        1.5 * 2.0**23 + 127 + 32,
        -0.693359375,
        2.12194440e-4,
        2.0**-32,
        (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1),
    ),
    "float64": (
        1.44269504088896341,
        1.5 * 2.0**52 + 1023 + 64,
        -6.93147180369123816490e-01,
        -1.90821492927058770002e-10,
        2.0**-64,
        tuple(1 / math.factorial(q) for q in range(13, 1, -1)),
    ),
}


LOWEST = (-104.0, -746.0)  # of float32 and of float64: below it exp is 0, and
NORMAL = (-86.0, -705.0)  # above it exp is no subnormal number


def _exp_of(dtype: Any) -> Callable[..., Any]:
    log2e, shift, minus_high, minus_low, tiny, coefficients = EXP[str(dtype)]

    def body(x: Any, more: Any) -> Any:
        t = fma(x, log2e, shift)
        n = t - shift
        high, low = fma(n, minus_high, x), fma(n, minus_low, more)
        r = high + low
        # high is exact; low is added late, where it costs no second rounding
        p = fma(polynomial(r, coefficients), r * r, low) + high + 1.0
        return p * power_of_two(t) * tiny  # in two steps: a subnormal result is rounded, not lost

    return body


def exp_of_sum(x: Any, more: Any) -> Any:
    """exp(x + more) of a vector x between LOWEST and 0, within 0.9 ulp; more: what is beyond the last digit of x.

    Rounding to the nearest power of two is by the magic constant: no conversion to an integer, no libm.
    """
    return _exp_of(x.dtype)(x, more)


if JIT:

    @overload(exp_of_sum, jit_options={"error_model": "numpy"})
    def _compiled_exp(x: Any, more: Any) -> Any:
        return _exp_of(x.dtype)


@inlined
def exp_above(x: Any, more: Any, low: float) -> Any:
    """exp(x + more), and 0 where x is below `low`, which is not below LOWEST; of +inf and NaN it is NaN."""
    return where_less(x, low, 0.0, exp_of_sum(where_less(x, low, low, x), more))


@inlined
def exp_of_difference(z: Any, m: Any, low: float, exactly: bool) -> Any:
    """exp(z - m), 0 where that is below `low`; exactly: with what rounding takes from z - m.

    Else exp has a relative error of the rounding of z - m, 2e-6 where that is -40 in float32 (Knuth, TAOCP 2, section
    4.2.2, theorem B).
    """
    d = z - m
    if not exactly:
        return exp_above(d, 0.0, low)
    back = d - z
    return exp_above(d, (z - (d - back)) - (m + back), low)


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


@kernel
def exp_in_place(x: Any, low: float) -> None:
    """`exp_above` of each entry of an array whose length fills whole vectors."""
    for i in range(0, len(x), LANE_BYTES // x.itemsize):
        store(x, i, exp_above(load(x, i), 0.0, low))


@kernel
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
