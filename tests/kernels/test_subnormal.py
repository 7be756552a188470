"""Residuals and curvature have no subnormal numbers, which would make passes ten times slower; softmax keeps them."""

import numpy as np
import pytest
import scipy.sparse as sp

import fastsoftmax as fs
from fastsoftmax.data.targets import as_targets
from tests import reference
from tests.conftest import objective_of

DTYPES = {np.float32: (-95.0, 1e-37), np.float64: (-720.0, 1e-306)}


def decided(dtype, c, depth):
    """Logits of which the last is the largest, and the others lie between 0 and twice a depth below it."""
    Z = np.linspace(2 * depth, 0, c).astype(dtype)
    return np.stack([Z, Z[::-1]])


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("c", [2, 5, 33, 400])
def test_residuals(dtype, c):
    depth, least = DTYPES[dtype]
    Z, y = decided(dtype, c, depth), [c - 1, 0]
    P = reference.softmax(Z.astype(np.longdouble))
    loss, dZ = fs.cross_entropy_gradient(Z, y, reduction="sum")
    wanted = P - np.eye(c)[y]
    assert ((dZ == 0) | (np.abs(dZ) >= np.finfo(dtype).tiny)).all()
    of_label = np.eye(c, dtype=bool)[y]
    np.testing.assert_allclose(dZ[~of_label], wanted[~of_label].astype(dtype), rtol=1e-5, atol=least)
    np.testing.assert_allclose(dZ[of_label], wanted[of_label].astype(dtype), atol=1e-6)
    assert loss == pytest.approx(-np.log(P[[0, 1], y]).sum(), rel=1e-6, abs=1e-6)
    kept = fs.softmax(Z)
    tiny = (kept > 0) & (kept < np.finfo(dtype).tiny)
    assert tiny.any() or c < 33
    np.testing.assert_allclose(kept, P.astype(dtype), rtol=2e-5, atol=np.finfo(dtype).smallest_subnormal)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("layout", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("c", [2, 5, 33, 100])
def test_gradients_and_curvature(rng, dtype, layout, c):
    depth, least = DTYPES[dtype]
    X, y = np.ones((3, 1), dtype), np.full(3, c - 1)
    coef = decided(dtype, c, depth)[:1].T.copy()
    loss, G, g = fs.loss_gradient(layout(X), y, coef, reduction="sum")
    P = reference.softmax((X @ coef.T).astype(np.longdouble))
    wanted = P.sum(0)
    wanted[c - 1] = -wanted[: c - 1].sum()  # P - 1 would have no digit of it
    for found in (G[:, 0], g):
        assert ((found == 0) | (np.abs(found) >= np.finfo(dtype).tiny)).all()
        np.testing.assert_allclose(found, wanted.astype(dtype), rtol=1e-5, atol=3 * least)
    objective = objective_of(layout(X), as_targets(y, 3, c, dtype), dtype)
    direction, out = rng.standard_normal((c, 1)).astype(dtype), (np.zeros((c, 1), dtype), np.zeros(c, dtype))
    objective.curvature(coef, None).hessp(direction, None, 1.0, out)
    p = P[0].astype(float)
    exact = 3 * (p * direction[:, 0] - p * (p @ direction[:, 0]))
    assert ((out[0] == 0) | (np.abs(out[0]) >= 1e-3 * np.finfo(dtype).tiny)).all()
    np.testing.assert_allclose(out[0][:, 0], exact, rtol=1e-4, atol=1e-6 * np.abs(exact).max() + 30 * least)
    assert np.isfinite(loss)
