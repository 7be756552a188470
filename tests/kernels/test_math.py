"""exp and log: within 1 ulp, everywhere that is promised."""

import numpy as np
import pytest

from fastsoftmax.engine.jit import kernel
from fastsoftmax.engine.simd import LANE_BYTES, load, store
from fastsoftmax.engine.threads import JIT
from fastsoftmax.kernels import math as ours
from fastsoftmax.kernels.math import log


@kernel
def log_in_place(x):
    for i in range(0, len(x), LANE_BYTES // 8):
        store(x, i, log(load(x, i)))


@kernel
def exp_in_place(x, maxima, low):
    ours.exp_in_place(x, maxima, low)


@kernel
def log1p_in_place(x):
    ours.log1p_in_place(x)


def ulps(got, exact, dtype):
    """Distance in units in the last place of the exact result, rounded to dtype; subnormals count in the smallest."""
    return np.abs(got.astype(exact.dtype) - exact) / np.spacing(np.abs(exact).astype(dtype)).astype(exact.dtype)


def float32_range(start, stop):
    """All float32 from -0.0 by their bits."""
    bits = np.arange(start, stop, dtype=np.uint32)
    return (bits | np.uint32(0x80000000)).view(np.float32)


LOWEST = int(np.float32(-104).view(np.uint32)) & 0x7FFFFFFF


def exponential(x, maximum=0.0):
    """`exp_from`, LIFT taken off, of numbers in rows with this maximum."""
    low, lift = ours.LOWEST[x.itemsize == 8], ours.LIFT[str(x.dtype)]
    exp_in_place(x, np.full_like(x, maximum), low)
    return x.astype(np.longdouble) / np.longdouble(2) ** lift


def worst_float32(start, stop):
    x = float32_range(start, stop)
    exact, scale = np.exp(x.astype(np.float64)), 2.0 ** ours.LIFT["float32"]
    exp_in_place(x, np.zeros_like(x), ours.LOWEST[0])
    return float(ulps(x, exact * scale, np.float32).max())


def test_exp_float32_exhaustively():
    """Every float32 from -104 to 0: 1.1e9 of them; without the JIT a sample, for that path is not promised to 1 ulp."""
    if not JIT:
        assert worst_float32(LOWEST - (1 << 16), LOWEST) < 2
        return
    block, worst = 1 << 24, 0.0
    for start in range(0, LOWEST, block):
        worst = max(worst, worst_float32(start, min(start + block, LOWEST // 16 * 16)))
    assert 0.5 < worst < 1.2


def test_exp_float64_sampled(rng):
    for low, high in ((-1e-8, 0), (-1, 0), (-40, 0), (-708, 0), (-745, -708)):
        x = rng.uniform(low, high, 1 << 16)
        exact = np.exp(x.astype(np.longdouble))
        assert (np.abs(exponential(x) - exact) / exact).max() < (1.2 if JIT else 2) * 2.0**-52


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "maximum", [0.3, 5.0, -5.0, 90.0, -90.0, 207.9, 208.1, -207.9, -209.0, 1491.0, -1493.0, 3e4, -3e4]
)
def test_exp_from_any_maximum(maximum, dtype, rng):
    """Less the maximum's own, which a row's sum has too: nothing is lost by the rounding of z - m."""
    low, m = ours.LOWEST[dtype == np.float64], dtype(maximum)
    x = np.append(m + rng.uniform(low + 1, 0, (1 << 14) - 1).astype(dtype), m)
    x = np.minimum(x, m)
    exact, got = np.exp(x.astype(np.longdouble) - np.longdouble(m)), exponential(x.copy(), m)
    assert (np.abs(got / got[-1] - exact) / exact).max() < 2.2 * np.finfo(dtype).eps
    assert 0.7 < got[-1] < 1.42
    assert (exponential(np.full(16, m + dtype(2 * low)), m) == 0).all()


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exp_of_hard_values(dtype):
    x = np.resize(np.array([0, -0.0, -np.inf, -1e30, -800, np.nan, np.inf, -np.finfo(dtype).tiny], dtype), 16)
    with np.errstate(all="ignore"):
        x = exponential(x)
    expected = np.resize(np.array([1, 1, 0, 0, 0, np.nan, np.nan, 1], dtype), 16)
    np.testing.assert_array_equal(x, expected)


def test_log_float64_sampled(rng):
    for low, high in ((0, 1e-6), (0, 1), (0, 12), (12, 700)):
        x = np.exp(rng.uniform(low, high, 1 << 16))
        exact, got = np.log(x.astype(np.longdouble)), x.copy()
        log_in_place(got)
        assert ulps(got, exact, np.float64).max() < (1 if JIT else 2)


def test_log1p(rng):
    """Of numbers as small as sums of a confident row's other exponentials, and of hard values."""
    for low, high in ((-700, -30), (-40, -10), (-12, 0), (-1, 12), (12, 700)):
        x = np.exp(rng.uniform(low, high, 1 << 16))
        exact, got = np.log1p(x.astype(np.longdouble)), x.copy()
        log1p_in_place(got)
        assert ulps(got, exact, np.float64).max() < 3
    x = np.array([0, -1, np.inf, np.nan, -0.5, -1e-17, -1e-8, 1e308])
    with np.errstate(all="ignore"):
        expected = np.log1p(x)
        log1p_in_place(x)
    np.testing.assert_allclose(x, expected, rtol=1e-8)


def test_log_of_hard_values():
    x = np.array([0, 1, np.inf, np.nan, 2, 0.5, np.e, 1e308])
    with np.errstate(all="ignore"):
        expected = np.log(x)
        log_in_place(x)
    np.testing.assert_allclose(x, expected, rtol=1e-15)
