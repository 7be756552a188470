"""exp and log over vectors, without libm: the same bits on any CPU."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numba.extending import overload

from fastsoftmax.engine.jit import inlined, kernel
from fastsoftmax.engine.simd import LANE_BYTES, fma, load, polynomial, power_of_two, split, store, where_less
from fastsoftmax.engine.threads import JIT

# Of each dtype: below this exp is 0; log2(e); a number that leaves the biased exponent in a sum's lowest bits;
# -log(2) in two parts, the first so short that n * it is exact; 2 ** -(what the bias is too large);
# the coefficients p of exp(r) = 1 + r + r^2 p(r) on |r| <= log(2) / 2: those of Cephes' expf, and Taylor's.
EXP = {
    "float32": (
        -104.0,
        1.44269504088896341,
        1.5 * 2.0**23 + 127 + 32,
        -0.693359375,
        2.12194440e-4,
        2.0**-32,
        (1.9875691500e-4, 1.3981999507e-3, 8.3334519073e-3, 4.1665795894e-2, 1.6666665459e-1, 5.0000001201e-1),
    ),
    "float64": (
        -746.0,
        1.44269504088896341,
        1.5 * 2.0**52 + 1023 + 64,
        -6.93147180369123816490e-01,
        -1.90821492927058770002e-10,
        2.0**-64,
        tuple(1 / math.factorial(q) for q in range(13, 1, -1)),
    ),
}


def _exp_of(dtype: Any) -> Callable[[Any], Any]:
    lowest, log2e, shift, minus_high, minus_low, tiny, coefficients = EXP[str(dtype)]

    def body(x: Any) -> Any:
        above = where_less(x, lowest, lowest, x)
        t = fma(above, log2e, shift)
        n = t - shift
        high, low = fma(n, minus_high, above), n * minus_low
        r = high + low
        # high is exact; low is added late, where it costs no second rounding
        p = fma(polynomial(r, coefficients), r * r, low) + high + 1.0
        return p * power_of_two(t) * tiny  # in two steps: a subnormal result is rounded, not lost

    return body


def exp(x: Any) -> Any:
    """exp of a vector of numbers that are not positive, within 0.9 ulp; of +inf and NaN it is NaN.

    Rounding to the nearest power of two is by the magic constant: no conversion to an integer, no libm.
    """
    return _exp_of(x.dtype)(x)


if JIT:

    @overload(exp, jit_options={"error_model": "numpy"})
    def _compiled_exp(x: Any) -> Any:
        return _exp_of(x.dtype)


LOWEST = -1000.0  # of any type: below it all that exp can tell is 0
NORMAL = (-86.0, -705.0)  # of float32 and of float64: above it exp is no subnormal number


@inlined
def exp_above(x: Any, low: float) -> Any:
    """As exp, and 0 where x is below `low`.

    Residuals are cut at NORMAL: where 5 to 15 % of the probabilities were subnormal, a pass of 8 ms took 36 to 81 on an
    Intel core. What is cut is less than 1e-37 of a row, or 1e-306 in float64.
    """
    return where_less(x, low, 0.0, exp(where_less(x, low, low, x)))


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


@kernel
def log_in_place(x: Any) -> None:
    """The log of each entry of an array of float64 whose length fills whole vectors."""
    for i in range(0, len(x), LANE_BYTES // 8):
        store(x, i, log(load(x, i)))


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
