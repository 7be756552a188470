"""Panels of classes: packing, both products, and what is done to rows of logits, against NumPy."""

import numpy as np
import pytest

from fastsoftmax.data.dense import Dense
from fastsoftmax.engine.jit import kernel
from fastsoftmax.engine.memory import aligned
from fastsoftmax.engine.simd import WIDE
from fastsoftmax.kernels import logits, panels

DTYPES = [np.float32, np.float64]
LANES = {np.float32: 16, np.float64: 8}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("m", "c"), [(1, 40), (24, 43), (25, 64), (100, 45), (7, 100)])
@pytest.mark.parametrize("scaled", [False, True])
def test_packed_weights_come_back(rng, dtype, m, c, scaled):
    """And partial gradients are added in order, times a factor for each feature, onto what is there."""
    design = Dense(np.zeros((2, m), dtype))
    plan = design.arrange(np.dtype(dtype), c)
    assert not plan.tile
    coef, scale = rng.standard_normal((c, m)).astype(dtype), rng.random(m).astype(dtype)
    packed = aligned((plan.length,), dtype)
    design.pack(coef, c, plan, packed, scale if scaled else None)
    np.testing.assert_array_equal(design.unpack(packed, c, plan), coef * scale if scaled else coef)
    assert np.count_nonzero(packed) == c * m
    parts, out = rng.standard_normal((3, plan.length)).astype(dtype), rng.standard_normal((c, m)).astype(dtype)
    one_by_one = [design.unpack(part, c, plan) for part in parts]
    expected = out + ((one_by_one[0] + one_by_one[1]) + one_by_one[2]) * scale
    assert design.collect(parts, c, plan, scale, out)
    np.testing.assert_array_equal(out, expected)


@kernel
def products(X, x, ld, panel, rows, m, W, unit, bias, Z, ldz, units, G, P):
    panels.forward_units(X, x, ld, rows, m, W, unit, bias, Z, ldz, 0, units, panels.FAR)
    if panel == panels.FEATURES:
        panels.adjoint_units(X, x, ld, panel, rows, m, Z, ldz, G, unit, 0, units, False, X, x, 1, False)
    else:
        panels.pack_rows(X, x, ld, rows, m, P, 0, panel)
        panels.adjoint_units(
            P, 0, panels.FEATURES, panel, rows, m, Z, ldz, G, unit, 0, units, False, P, panel, 12, True
        )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("units", [2, 3, 4, 5])
@pytest.mark.parametrize(("rows", "m"), [(1, 1), (7, 24), (12, 25), (25, 47), (48, 300), (30, 600)])
@pytest.mark.parametrize("packs", [False, True])
def test_both_products(rng, dtype, units, rows, m, packs):
    """Rows and features of no whole tiles, rows that lie apart, and what is beyond them untouched."""
    lanes, ld, features, x = LANES[dtype], m + 3, panels.padded(m), 5
    c, ldz, unit = units * lanes, units * lanes + lanes, features * lanes
    X = np.full(x + rows * ld, np.nan, dtype)
    body = X[x:].reshape(rows, ld)
    body[:, :m] = rng.standard_normal((rows, m))
    W = aligned((units * unit,), dtype)
    coef, bias = rng.standard_normal((c, m)).astype(dtype), rng.standard_normal(ldz).astype(dtype)
    W.reshape(units, features, lanes)[:, :m] = coef.reshape(units, lanes, m).swapaxes(1, 2)
    Z, G = aligned(((rows + 24) * ldz,), dtype), aligned((units * unit,), dtype, 1.0)
    panel = 64 * panels.FEATURES if packs else panels.FEATURES
    P = aligned((64 * features,), dtype)
    products(X, x, ld, panel, rows, m, W, unit, bias, Z, ldz, units, G, P)
    found = Z.reshape(-1, ldz)[:rows, :c]
    tolerance = 1e-5 if dtype == np.float32 else 1e-13
    exact = body[:, :m].astype(float) @ coef.T.astype(float) + bias[:c]
    np.testing.assert_allclose(found, exact, rtol=tolerance, atol=30 * tolerance)
    gradient = G.reshape(units, features, lanes)[:, :m].swapaxes(1, 2).reshape(c, m)
    wanted = 1 + found.T.astype(float) @ body[:, :m].astype(float)
    np.testing.assert_allclose(gradient, wanted, rtol=tolerance, atol=tolerance * (1 + np.abs(wanted).max()))


def test_a_sum_is_cut_by_features_alone(rng):
    """Chains of DEPTH features, each rounded on its own: so are sums whose terms cancel."""
    m, units = 4 * panels.DEPTH, 2 if WIDE else 1
    X, W = np.ones(m, np.float32), aligned((2 * 16 * panels.padded(m),), np.float32)
    W.reshape(2, -1, 16)[:, :m] = np.repeat([2.0**25, 1.0, 1.0, -(2.0**25)], panels.DEPTH)[:, None] / panels.DEPTH
    Z = aligned((24 * 48,), np.float32)
    products(X, 0, m, panels.FEATURES, 1, m, W, panels.padded(m) * 16, np.zeros(48, np.float32), Z, 48, units, W, Z)
    assert (Z[:16] == 0).all()  # (2^25 + 1 + 1) - 2^25, each 1 lost: one chain over all would have kept some of it


@kernel
def on_rows(lies, Z, rows, c, bias, stats, index, best, direction, proba, weight, sums):
    logits.argmax(lies, Z, rows, c, bias, stats, index, best)
    logits.curvature(lies, direction, rows, c, bias, proba, 0, weight, index)
    logits.add_sums(lies, direction, rows, c, sums)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("rows", "c"), [(1, 17), (3, 32), (9, 45), (8, 100)])
@pytest.mark.parametrize("kind", ["plain", "ties", "masked", "huge", "nan"])
def test_rows_and_blocks_alike(rng, dtype, rows, c, kind):
    """The best class, curvature, and sums over rows, of either way in which logits lie."""
    Z = rng.standard_normal((rows, c)).astype(dtype)
    if kind == "ties":
        Z = np.round(Z)
    elif kind == "masked":
        Z[:, rng.random(c) < 0.9] = -np.inf
    elif kind == "huge":
        Z *= dtype(1e30)
    elif kind == "nan":
        Z[:, 1 + rng.integers(0, c - 1, c // 4)] = np.nan
    P = rng.random((rows, c)).astype(dtype)
    P[:, :3] = np.finfo(dtype).tiny / 4
    D, weight, index = rng.standard_normal((rows, c)).astype(dtype), rng.random(rows), np.arange(rows)
    expected = weight[:, None] * P * (D - (P.astype(float) * D).sum(1, keepdims=True))
    expected[:, :3] = 0
    clean = np.where(np.isnan(Z), -np.inf, Z)
    for lies in (logits.ByRow(c + 5), logits.ByClass(48)):
        ld = lies[0]

        def laid(values, lies=lies, ld=ld):
            out = aligned((48 * ld if isinstance(lies, logits.ByRow) else c * ld,), dtype)
            if isinstance(lies, logits.ByRow):
                out.reshape(-1, ld)[:rows, :c] = values
            else:
                out.reshape(-1, ld)[:, :rows] = values.T
            return out

        direction, best, sums = laid(D), np.zeros(rows, np.int64), aligned((c + 16,), dtype, 2.0)
        stats = aligned((96,), dtype)
        on_rows(
            lies, laid(Z), rows, c, np.zeros(c, dtype), stats, index, best, direction, P.reshape(-1), weight, sums
        )  # fmt: skip
        np.testing.assert_array_equal(best, clean.argmax(1))
        body = direction.reshape(-1, ld)
        found = body[:rows, :c] if isinstance(lies, logits.ByRow) else body[:, :rows].T
        np.testing.assert_allclose(found, expected, rtol=1e-4 if dtype == np.float32 else 1e-12, atol=1e-6)
        np.testing.assert_allclose(sums[:c], 2 + expected.sum(0), rtol=1e-4, atol=1e-5)
