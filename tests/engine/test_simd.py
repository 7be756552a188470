"""One test an operation: compiled, against NumPy; with the JIT off the Python definitions are under test."""

import numba
import numpy as np
import pytest
from numba import prange

import fastsoftmax as fs
from fastsoftmax.engine import simd
from fastsoftmax.engine.jit import Driver, Pointer, kernel
from fastsoftmax.engine.memory import aligned
from fastsoftmax.engine.threads import JIT

DTYPES = [np.float32, np.float64]
LANES = {np.float32: 16, np.float64: 8}


@kernel
def arithmetic(x, y, z, out):
    a, b, c = simd.load(x, 0), simd.load(y, 0), simd.load(z, 0)
    n = simd.LANE_BYTES // x.itemsize
    simd.store(out, 0, a + b)
    simd.store(out, n, a - b)
    simd.store(out, 2 * n, a * b)
    simd.store(out, 3 * n, a / b)
    simd.store(out, 4 * n, a + 2.0)
    simd.store(out, 5 * n, simd.fma(a, b, c))
    simd.store(out, 6 * n, simd.where_less(a, b, c, a))
    simd.store(out, 7 * n, simd.where_least(a, b, c, a))


@pytest.mark.parametrize("dtype", DTYPES)
def test_arithmetic(rng, dtype):
    n = LANES[dtype]
    x, y, z = (rng.standard_normal(n).astype(dtype) for _ in range(3))
    out = np.zeros(8 * n, dtype)
    arithmetic(x, y, z, out)
    plain = [x + y, x - y, x * y, x / y, x + dtype(2)]
    np.testing.assert_array_equal(out[: 5 * n], np.concatenate(plain))
    exact = (x.astype(np.longdouble) * y + z).astype(dtype)
    np.testing.assert_allclose(out[5 * n : 6 * n], exact, rtol=2 * np.finfo(dtype).eps)
    np.testing.assert_array_equal(out[6 * n :], np.concatenate([np.where(x < y, z, x), np.where(x >= y, z, x)]))


@kernel
def fused(x, out):
    a = simd.load(x, 0)
    simd.store(out, 0, simd.fma(a, a, -1.0))


def test_fma_rounds_once():
    if not JIT:
        return  # NumPy has no fma: its two roundings are the stated tolerance of the path without the JIT
    x, out = np.full(8, 1 + 2.0**-30), np.zeros(8)
    fused(x, out)
    assert (out == 2.0**-29 + 2.0**-60).all()


def test_comparisons_take_the_second_where_nan():
    x, y = np.full(8, np.nan), np.zeros(8)
    out = np.zeros(8 * 8)
    arithmetic(x, y, np.ones(8), out)
    assert np.isnan(out[6 * 8 :]).all()
    arithmetic(y, y, np.ones(8), out)
    assert (out[6 * 8 :] == np.repeat([0.0, 1.0], 8)).all()  # of equals, none is less


@kernel
def reductions(x, count, out):
    a = simd.load(x, 0)
    out[0] = simd.total(a)
    simd.store(out, 1, simd.last_lanes(a, count))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [0, 1, 5, 8])
def test_reductions(rng, dtype, count):
    n = LANES[dtype]
    x, out = rng.standard_normal(n).astype(dtype), np.zeros(n + 1, dtype)
    reductions(x, count, out)
    s = x
    while len(s) > 1:  # the order that is promised
        s = s[: len(s) // 2] + s[len(s) // 2 :]
    assert out[0] == s[0]
    np.testing.assert_array_equal(out[1:], np.where(np.arange(n) < n - count, 0, x))


@kernel
def bits(x, out):
    n = simd.LANE_BYTES // x.itemsize
    e, m = simd.split(simd.load(x, 0))
    simd.store(out, 0, e)
    simd.store(out, n, m)
    simd.store(out, 2 * n, simd.polynomial(simd.load(x, 0), (2.0, 3.0, 4.0)))


def test_split_and_polynomial():
    x = np.array([1.0, 2.0, 3.0, 0.75, 1e150, 1e-150, 1.9999, 1024.0])
    out = np.zeros(24)
    bits(x, out)
    mantissa, exponent = np.frexp(x)
    np.testing.assert_array_equal(out[:8], exponent - 1)
    np.testing.assert_array_equal(out[8:16], mantissa * 2)
    np.testing.assert_allclose(out[16:], (2 * x + 3) * x + 4, rtol=1e-15)


@kernel
def powers(x, shift, out):
    simd.store(out, 0, simd.power_of_two(simd.load(x, 0) + shift))


@pytest.mark.parametrize(("dtype", "shift"), [(np.float32, 1.5 * 2.0**23 + 127), (np.float64, 1.5 * 2.0**52 + 1023)])
def test_power_of_two(dtype, shift):
    x = np.arange(LANES[dtype]).astype(dtype) - 4
    out = np.zeros_like(x)
    powers(x, shift, out)
    np.testing.assert_array_equal(out, 2.0**x)


@kernel
def move(x, out, width):
    simd.transpose(x, 1, 20, out, 2, width)
    v = simd.borrow(out, 0, 2)
    v[0] = 7
    simd.prefetch(x, 0)


@pytest.mark.parametrize("dtype", DTYPES)
def test_transpose_and_borrow(rng, dtype):
    n, width = LANES[dtype], 19
    x, out = rng.standard_normal(20 * n).astype(dtype), np.zeros(2 + n * width, dtype)
    move(x, out, width)
    for p in range(n):
        for i in range(n):
            assert out[2 + p * width + i] == x[1 + i * 20 + p]
    assert out[0] == 7
    assert np.count_nonzero(out) == 1 + n * n  # nothing else is written


@kernel
def first(x, start):
    return simd.borrow(x, start, 1)[0]


@pytest.mark.skipif(not JIT, reason="with the JIT off a slice is NumPy's")
def test_what_is_borrowed_from_lies_in_order(rng):
    x = rng.standard_normal((3, 4))
    assert first(x, 6) == x[1, 2]
    assert first(x.reshape(-1), 6) == x[1, 2]
    for other in (np.asfortranarray(x), x[:, ::2], x[::2].T):
        with pytest.raises(numba.TypingError):
            first(other, 1)


TILE, SIDE = (0, 0, 0), (0, 0)


@kernel
def tiles(X, W, start, rows, ld, dots, outers, loaded):
    at = simd.row_offsets(start, 1, rows, ld, SIDE)
    acc = simd.zeros(W, TILE, SIDE)
    width = simd.REGISTER_BYTES // X.itemsize
    for part in range(0, simd.LANE_BYTES // X.itemsize, width):
        dot = simd.zeros(W, TILE, SIDE)
        for j in range(part, ld, simd.LANE_BYTES // X.itemsize):
            dot = simd.add_dot(X, at, j, W, j, ld, dot)
        acc = simd.add(acc, dot)
    simd.store_totals(dots, 0, 2, acc, SIDE)
    acc = simd.load_tile(outers, 0, 2 * width, TILE, SIDE)
    acc = simd.add_outer(W, 5, ld, X, start, acc, SIDE)
    simd.store_tile(outers, 0, 2 * width, acc, SIDE)
    simd.store_tile(loaded, 0, 2 * width, simd.load_tile(X, 3, ld, TILE, SIDE), SIDE)


@pytest.mark.parametrize("dtype", DTYPES)
def test_tiles(rng, dtype):
    width = simd.REGISTER_BYTES // np.dtype(dtype).itemsize
    ld, rows = 64, 2
    X, W = rng.standard_normal(10 * ld).astype(dtype), rng.standard_normal(3 * ld).astype(dtype)
    dots, outers, loaded = np.zeros(6, dtype), np.ones(6 * width, dtype), np.zeros(6 * width, dtype)
    tiles(X, W, 2 * ld, rows, ld, dots, outers, loaded)
    row = X[3 * ld : 4 * ld]  # row 1 of two; row 2, beyond the last, is row 1 again
    expected = W.reshape(3, ld).astype(np.float64) @ row
    np.testing.assert_allclose(dots.reshape(3, 2), np.stack([expected, expected], 1), rtol=1e-4, atol=1e-5)
    vectors = X[2 * ld : 2 * ld + 2 * width]
    np.testing.assert_allclose(outers.reshape(3, 2 * width), 1 + np.outer(W[5::ld], vectors), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(
        loaded.reshape(3, 2 * width), np.stack([X[3 + k * ld : 3 + k * ld + 2 * width] for k in range(3)])
    )


def test_aligned_arrays_start_on_a_line():
    for shape in ((3,), (5, 7), (1000,)):
        array = aligned(shape, np.float64)
        assert array.ctypes.data % 64 == 0
        assert array.shape == shape
        assert not array.any()


GROUP = (0, 0, 0, 0)


@kernel
def bundled(x, starts, count, out, firsts):
    at = simd.row_offsets(starts, 0, 4, 70, GROUP)
    to = simd.row_offsets(0, 0, 4, 64, GROUP)
    n = simd.LANE_BYTES // x.itemsize
    a = simd.load_rows(x, at, 3)
    simd.store_rows(out, to, 0, simd.each_total(a))
    simd.store_rows(out, to, n, simd.each_largest(a))
    simd.store_rows(out, to, 2 * n, simd.last_lanes(a, count))
    simd.store_rows(out, to, 3 * n, simd.spread(x, simd.row_offsets(5, 0, 4, 1, GROUP)) + a)
    simd.store_firsts(firsts, 1, a)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("count", [0, 1, 5, 8])
def test_bundles_of_rows(rng, dtype, count):
    """What is done to a vector is done to each row; sums in the order of `total`."""
    n = LANES[dtype]
    x, out, firsts = rng.standard_normal(300).astype(dtype), np.zeros(256, dtype), np.zeros(6)
    bundled(x, 7, count, out, firsts)
    for r in range(4):
        row, found = x[10 + 70 * r : 10 + 70 * r + n], out[64 * r : 64 * r + 4 * n].reshape(4, n)
        one = np.zeros(n + 1, dtype)
        reductions(row.copy(), count, one)
        assert (found[0] == one[0]).all()
        assert (found[1] == row.max()).all()
        np.testing.assert_array_equal(found[2], one[1:])
        np.testing.assert_array_equal(found[3], row + x[5 + r])
        assert firsts[1 + r] == row[0]
    assert firsts[0] == firsts[5] == 0


@kernel
def unit_tiles(A, start, rows, ld, B, step, unit, product, copy):
    at = simd.row_offsets(start, 0, rows, ld, TILE)
    acc = simd.zeros(B, TILE, SIDE)
    for p in range(5):
        acc = simd.add_scaled(A, at, p, B, 1 + p * step, unit, acc, SIDE)
    simd.store_units(product, 0, 2 * unit, unit, acc, SIDE)
    simd.store_units(copy, 3, 2 * unit, unit, simd.load_units(product, 0, 2 * unit, unit, TILE, SIDE), SIDE)


@pytest.mark.parametrize("dtype", DTYPES)
def test_tiles_of_vectors_that_lie_apart(rng, dtype):
    n, width = LANES[dtype], simd.REGISTER_BYTES // np.dtype(dtype).itemsize
    unit, step, ld = 3 * n, 7, 11
    A, B = rng.standard_normal(100).astype(dtype), rng.standard_normal(300).astype(dtype)
    product, copy = np.zeros(8 * unit, dtype), np.zeros(8 * unit, dtype)
    unit_tiles(A, 4, 2, ld, B, step, unit, product, copy)
    for k in range(3):
        row = 4 + min(k, 1) * ld  # the last of two rows again
        for v in range(2):
            vector, part = divmod(v * width, n)
            at = 1 + vector * unit + part
            expected = sum(A[row + p] * B[at + p * step : at + p * step + width].astype(float) for p in range(5))
            place = k * 2 * unit + vector * unit + part
            np.testing.assert_allclose(product[place : place + width], expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(copy[3:], product[:-3])
    written = 3 * 2 * width
    assert np.count_nonzero(product) == written  # nothing else is


@Driver
def relay(workers, chunk, items, counter, done, order):
    for _ in prange(workers):
        item = simd.take(counter)
        while item < items:
            if item > 0:
                simd.await_count(done, item - 1, 1)
            order[item] = order[item - 1] + 1 if item > 0 else 0
            simd.signal(done, item)
            item = simd.take(counter)


def _nothing(x):
    return 0.0


@pytest.mark.parametrize("workers", range(1, min(3, fs.get_num_threads()) + 1))
def test_workers_wait_for_each_other(workers):
    """An item sees what the one before wrote, whoever did it."""
    items = 5000 if JIT else 50
    counter, done, order = np.zeros(1, np.int64), np.zeros(items, np.int64), np.full(items, -1)
    with np.errstate(all="ignore"):
        relay(workers, Pointer(_nothing)(0.0), items, counter, done, order)
    np.testing.assert_array_equal(order, np.arange(items))
    assert (done == 1).all()
