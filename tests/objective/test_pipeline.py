"""Passes over many classes whose gradient is shared: right for every kind of data, and the same bits however cut."""

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax.data.targets import as_targets
from fastsoftmax.engine.threads import JIT
from fastsoftmax.objective import pipeline
from fastsoftmax.objective import softmax as objectives
from tests import reference
from tests.conftest import make_problem, objective_of

C = objectives.OWNING
SMALL = 1 if JIT else 8  # of rows, with the JIT off


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
@pytest.mark.parametrize(
    ("n", "m", "c"), [(1, 1, C), (47, 25, C + 1), (500, 30, C + 8), (700, 3, 1000), (30, 2600, 300), (70, 12000, 192)]
)
@pytest.mark.parametrize("kind", ["labels", "weights", "soft"])
def test_against_numpy(rng, dtype, n, m, c, kind, checked_drivers):
    n = -(-n // SMALL)
    X, y, coef, intercept = make_problem(rng, n, m, c, dtype)
    assert objective_of(X, as_targets(y, n, c, coef.dtype)).owned
    weight = rng.random(n) + 0.1 if kind == "weights" else None
    if kind == "soft":
        y = rng.random((n, c))
        y /= y.sum(1, keepdims=True)
    given = {"sample_weight": weight, "label_smoothing": 0.1 if kind == "soft" else 0.0}
    loss, G, g = fs.loss_gradient(X, y, coef, intercept, **given, scale=1 / 7, l2=0.3)
    expected = reference.loss_gradient(X, y, coef, intercept, weight, given["label_smoothing"], 0.3, 1 / 7)
    tolerance = 1e-11 if dtype == np.float64 else 3e-5
    assert loss == pytest.approx(expected[0], rel=tolerance)
    np.testing.assert_allclose(G, expected[1], rtol=0, atol=tolerance * (np.abs(expected[1]).max() + 1e-3))
    np.testing.assert_allclose(g, expected[2], rtol=0, atol=tolerance)
    np.testing.assert_allclose(
        fs.predict_proba(X, coef, intercept, scale=1 / 7),
        reference.softmax(X.astype(float) / 7 @ coef.T.astype(float) + intercept),
        rtol=100 * tolerance, atol=tolerance,
    )  # fmt: skip


@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_threads_and_slices_change_no_bit(rng, monkeypatch, dtype):
    n, m, c = 2000 // SMALL, 40, 256
    X, y, coef, intercept = make_problem(rng, n, m, c, dtype)
    objective = objective_of(X, as_targets(y, n, c, coef.dtype))
    results = []
    try:
        for slices in (pipeline.SLICE, 1e7, 1.0):
            monkeypatch.setattr(pipeline, "SLICE", slices)
            for threads in (1, 2, 3):
                fs.set_num_threads(threads)
                results.append(objective.loss_gradient(coef, intercept))
    finally:
        fs.set_num_threads(1024)
    for loss, G, g in results:
        assert loss == results[0][0]
        np.testing.assert_array_equal(G, results[0][1])
        np.testing.assert_array_equal(g, results[0][2])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("n", [20, 401])
def test_products_with_the_hessian(rng, dtype, n):
    n, m, c = -(-n // SMALL), 12, C
    X, y, coef, intercept = make_problem(rng, n, m, c, dtype)
    weight = rng.random(n)
    objective = objective_of(X, as_targets(y, n, c, dtype, sample_weight=weight))
    D, d = rng.standard_normal((c, m)).astype(dtype), rng.standard_normal(c).astype(dtype)
    out = np.ones((c, m), dtype), np.ones(c, dtype)
    objective.curvature(coef, intercept).hessp(D, d, 0.5, out)
    P = reference.softmax(X.astype(float) @ coef.T.astype(float) + intercept)
    V = X.astype(float) @ D.T.astype(float) + d
    R = weight[:, None] * P * (V - (P * V).sum(1, keepdims=True))
    tolerance = 1e-12 if dtype == np.float64 else 1e-5
    np.testing.assert_allclose(out[0], 1 + 0.5 * R.T @ X, rtol=0, atol=tolerance * 100)
    np.testing.assert_allclose(out[1], 1 + 0.5 * R.sum(0), rtol=0, atol=tolerance * 100)


def test_owned_and_partial_gradients_agree(rng, monkeypatch):
    """The same sums, but for rounding, on either side of where the pass changes."""
    n, m, c = 900 // SMALL, 33, C
    X, y, coef, intercept = make_problem(rng, n, m, c, np.float64)
    owned = fs.loss_gradient(X, y, coef, intercept)
    monkeypatch.setattr(objectives, "OWNING", C + 1)
    partial = fs.loss_gradient(X, y, coef, intercept)
    for a, b in zip(owned, partial, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-12, atol=1e-16)


def test_blocks_depend_on_shapes_alone():
    assert pipeline.rows_per_block(200, 100, 4) == pipeline.BLOCK
    for c, m, size in ((1625, 2048, 4), (32000, 512, 8), (10**6, 10, 4)):
        rows = pipeline.rows_per_block(c, m, size)
        assert rows % pipeline.SHARE == 0 or rows == pipeline.SHARE // 2
        assert 0 < rows < pipeline.BLOCK
