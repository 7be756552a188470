"""Rows whose label leads far: losses, log-probabilities and the label's residual keep their digits, as do long rows."""

import numpy as np
import pytest
import scipy.sparse as sp

import fastsoftmax as fs

TOLERANCES = {np.float32: 2e-6, np.float64: 4e-15}
LEADS = [0.0, 0.5, 1.0, 5.0, 10.0, 16.0, 17.0, 20.0, 36.0, 37.0, 50.0, 80.0]


def confident(rng, dtype, c):
    """Rows whose label leads by each of LEADS, and the exponentials of logits less the largest."""
    Z = -rng.random((len(LEADS), c)).astype(dtype)
    y = rng.integers(0, c, len(LEADS))
    Z[np.arange(len(y)), y] = np.array(LEADS, dtype)
    exact = Z.astype(np.longdouble) - Z.max(1, keepdims=True)
    return Z, y, np.exp(exact)


def of_others(e, at):
    """The sum of the exponentials but one, which would have all the digits."""
    left = e.copy()
    left[at] = 0
    return left.sum(1)


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("c", [2, 10, 31, 33, 45, 100, 1000])
@pytest.mark.parametrize("kind", ["labels", "one-hot"])
def test_losses_and_residuals(rng, dtype, c, kind):
    Z, y, e = confident(rng, dtype, c)
    at = np.arange(len(y)), y
    others = of_others(e, at)
    losses = np.log1p(others / e[at])
    residuals = -others / (others + e[at])
    given = y if kind == "labels" else np.eye(c, dtype=dtype)[y]
    found, dZ = fs.cross_entropy_gradient(Z, given, reduction="none")
    np.testing.assert_allclose(found, losses.astype(float), rtol=TOLERANCES[dtype])
    np.testing.assert_allclose(dZ[at], residuals.astype(float), rtol=TOLERANCES[dtype])
    np.testing.assert_allclose(fs.cross_entropy(Z, given, reduction="none"), found, rtol=TOLERANCES[dtype])


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("c", [2, 10, 31, 33, 100, 1000])
@pytest.mark.parametrize("axis", [0, 1])
def test_log_softmax_of_the_top_class(rng, dtype, c, axis):
    Z, _, e = confident(rng, dtype, c)
    top = np.argmax(Z, axis=1)
    at = np.arange(len(top)), top
    exact = -np.log1p(of_others(e, at))
    found = fs.log_softmax(Z if axis else Z.T.copy(), axis=axis)
    np.testing.assert_allclose((found if axis else found.T)[at], exact.astype(float), rtol=TOLERANCES[dtype])


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("c", [2, 40])
@pytest.mark.parametrize("lead", [17.0, 30.0, 1e9, np.inf])
def test_probabilities_that_are_nearly_one(dtype, c, lead):
    """What little the others have counts, also where 1 less it is 1."""
    small = 2e-8 if dtype == np.float32 else 2e-17
    Z, Y = np.zeros((1, c), dtype), np.zeros((1, c), dtype)
    Z[0, 1:], Y[0, :2] = -lead, [1, small]
    loss, dZ = fs.cross_entropy_gradient(Z, Y)
    others = (c - 1) * np.exp(-np.longdouble(lead))
    assert loss == pytest.approx(
        float(np.log1p(others) + np.longdouble(small) * lead), rel=1e-2, abs=float(np.finfo(dtype).eps)
    )
    assert float(dZ[0, 1]) == pytest.approx(float(others / (c - 1) / (1 + others)) - small, rel=1e-5)


@pytest.mark.parametrize("dtype", TOLERANCES)
def test_equal_logits_at_the_top(rng, dtype):
    """Each of three leads counts, whether one is the label or not."""
    for c in (5, 40):
        Z = np.full((2, c), -30, dtype)
        Z[:, [0, 2, 3]] = 7
        losses, dZ = fs.cross_entropy_gradient(Z, [2, 1], reduction="none")
        np.testing.assert_allclose(losses, [np.log(3), np.log(3) + 37], rtol=TOLERANCES[dtype])
        np.testing.assert_allclose(dZ[0, [0, 2, 3]], [1 / 3, -2 / 3, 1 / 3], rtol=TOLERANCES[dtype])
        np.testing.assert_allclose(fs.log_softmax(Z)[:, [0, 2, 3]], -np.log(3), rtol=TOLERANCES[dtype])


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("layout", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("c", [3, 45, 200])
def test_gradients(rng, dtype, layout, c):
    """One row of a single feature: its gradient is the residual, its loss the lead's."""
    for lead in (20.0, 40.0, 60.0):
        coef = np.zeros((c, 1), dtype)
        coef[1] = lead
        loss, G, g = fs.loss_gradient(layout(np.ones((1, 1), dtype)), [1], coef)
        others = np.longdouble(c - 1) * np.exp(np.longdouble(-lead))
        assert loss == pytest.approx(float(np.log1p(others)), rel=TOLERANCES[dtype])
        assert G[1, 0] == pytest.approx(float(-others / (1 + others)), rel=TOLERANCES[dtype])
        assert g[1] == G[1, 0]


@pytest.mark.parametrize("c", [100, 5_000, 100_000])
@pytest.mark.parametrize("deviation", [0.0, 1.0, 5.0])
def test_long_rows_in_float32(rng, c, deviation):
    """Sums of many terms round hardly more than one term."""
    Z = (rng.standard_normal((5, c)) * deviation).astype(np.float32)
    exact = Z.astype(np.longdouble) - Z.max(1, keepdims=True)
    e = np.exp(exact)
    S = e.sum(1, keepdims=True)
    likely = exact > -80
    np.testing.assert_allclose(fs.softmax(Z)[likely], (e / S).astype(float)[likely], rtol=5e-7)
    y = rng.integers(0, c, 5)
    losses = (np.log(S)[:, 0] - exact[np.arange(5), y]).astype(float)
    np.testing.assert_allclose(fs.cross_entropy(Z, y, reduction="none"), losses, rtol=5e-7)


FAR = {
    np.float32: [86.0, 90.0, 104.0, 110.0, 500.0],
    np.float64: [700.0, 705.0, 709.0, 710.0, 720.0, 745.0, 747.0, 2e3],
}


@pytest.mark.parametrize("dtype", TOLERANCES)
@pytest.mark.parametrize("c", [2, 3, 40, 200, 1000])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_labels_far_below_the_maximum(dtype, c, smoothing):
    """The ratio of others to the label is no number of float64 there, its logarithm is."""
    leads = np.array(FAR[dtype], dtype)
    Z, y = np.zeros((len(leads), c), dtype), np.arange(len(leads)) % c
    Z[np.arange(len(y)), y] = -leads
    exact = np.log(c - 1 + np.exp(-leads.astype(np.longdouble)))
    sharp = exact + leads
    smooth = exact + leads / np.longdouble(c)
    expected = ((1 - smoothing) * sharp + smoothing * smooth).astype(float)
    for given in (y, np.eye(c, dtype=dtype)[y]):
        losses, dZ = fs.cross_entropy_gradient(Z, given, reduction="none", label_smoothing=smoothing)
        np.testing.assert_allclose(losses, expected, rtol=TOLERANCES[dtype])
        np.testing.assert_allclose(dZ[np.arange(len(y)), y], smoothing - 1 - smoothing / c, rtol=1e-5)
        one = fs.cross_entropy(Z, given, reduction="none", label_smoothing=smoothing)
        np.testing.assert_allclose(one, expected, rtol=TOLERANCES[dtype])


@pytest.mark.parametrize("c", [3, 40])
@pytest.mark.parametrize("weight", [1e-28, 1e-31, 1e-35, 1e30])
def test_weights_of_any_size_keep_the_digits_of_residuals(c, weight):
    Z = np.zeros((1, c), np.float32)
    Z[0, :3] = 0, -1, 2
    e = np.exp(Z.astype(np.float64))
    exact = e / e.sum()
    exact[0, 1] -= 1
    _, dZ = fs.cross_entropy_gradient(Z, [1], sample_weight=[weight], reduction="sum")
    np.testing.assert_allclose(dZ, weight * exact, rtol=1e-6)
