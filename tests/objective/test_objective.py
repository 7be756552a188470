"""The seam, over rows in memory: what it answers is what NumPy says, in pieces and whole."""

import numpy as np
import pytest
import scipy.sparse as sp

from fastsoftmax.data.targets import as_targets
from fastsoftmax.objective import curvature
from fastsoftmax.objective.base import Objective, spaced
from fastsoftmax.objective.curvature import PointCurvature
from tests import reference
from tests.conftest import objective_of

LAYOUTS = {"dense": np.asarray, "csr": sp.csr_array}


def made(rng, layout, n=70, m=6, c=4, weighted=True, dtype=np.float64, compute=None):
    X = (rng.standard_normal((n, m)) * (rng.random((n, m)) < 0.7)).astype(dtype)
    weight = rng.random(n) + 0.1 if weighted else None
    targets = as_targets(rng.integers(0, c, n), n, c, np.float64, sample_weight=weight)
    return X, weight, objective_of(LAYOUTS[layout](X), targets, compute)


def whole_hessian(X, weight, coef, intercept):
    """(c, M, c, M) of the sum of losses, by its definition."""
    P = reference.softmax(X @ coef.T + intercept)
    A = np.c_[X, np.ones(len(X))]
    own = np.ones(len(X)) if weight is None else weight
    curved = np.einsum("ik,kq->ikq", P, np.eye(P.shape[1])) - P[:, :, None] * P[:, None]
    return np.einsum("i,ikq,ij,il->kjql", own, curved, A, A)


def test_spaced_rows():
    np.testing.assert_array_equal(spaced(10, 5), [0, 2, 4, 6, 8])
    np.testing.assert_array_equal(spaced(3, 3), [0, 1, 2])


def test_it_is_all_abstract():
    with pytest.raises(TypeError, match="abstract"):
        Objective()


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("held", [True, False])
def test_curvature_held_or_computed_anew(rng, layout, weighted, held, monkeypatch):
    X, weight, objective = made(rng, layout, weighted=weighted)
    coef, intercept = rng.standard_normal((4, 6)), rng.standard_normal(4)
    if not held:
        monkeypatch.setattr(curvature, "HELD", 0)
        monkeypatch.setattr(curvature, "BLOCK", 11 * 4 * 8)
    point = objective.curvature(coef, intercept)
    assert isinstance(point, PointCurvature)
    lengths: list[int] = []
    point.each_block(lambda block, p: lengths.append(len(p)))
    assert lengths == ([70] if held else [11] * 6 + [4])
    H = whole_hessian(X, weight, coef, intercept)
    direction, shift = rng.standard_normal((4, 6)), rng.standard_normal(4)
    out = np.ones((4, 6)), np.ones(4)
    point.hessp(direction, shift, 0.5, out)
    wanted = 0.5 * np.einsum("kjql,ql->kj", H, np.c_[direction, shift]) + 1
    np.testing.assert_allclose(np.c_[out], wanted, rtol=1e-10, atol=1e-10)
    grams = point.pair_grams(4, True)
    for gram, k, q in zip(grams, *np.triu_indices(4), strict=True):
        np.testing.assert_allclose(np.triu(gram), np.triu(H[k, :, q]), rtol=1e-10, atol=1e-10)
    assert point.pair_grams(1, False).shape == (1, 6, 6)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_blocks_add_up(rng, layout, dtype):
    """Of losses, gradients and predictions, in any compute type."""
    X, _, objective = made(rng, layout, dtype=dtype, compute=np.float64)
    coef, intercept = rng.standard_normal((4, 6)), rng.standard_normal(4)
    loss, G, g = objective.loss_gradient(coef, intercept)
    out, total, classes, proba = (np.zeros_like(G), np.zeros_like(g)), 0.0, [], []
    for block in objective.blocks(13):
        total += block.loss_gradient(coef, intercept, 1.0, out)[0]
        classes.append(block.predict(coef, intercept))
        proba.append(block.predict_proba(coef, intercept))
    np.testing.assert_allclose(total, loss, rtol=1e-12)
    np.testing.assert_allclose(out[0], G, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(out[1], g, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(np.concatenate(classes), objective.predict(coef, intercept))
    np.testing.assert_allclose(np.concatenate(proba), objective.predict_proba(coef, intercept), rtol=1e-12)
    np.testing.assert_allclose(np.concatenate(proba), reference.softmax(X @ coef.T + intercept), rtol=1e-9)


def test_other_compute_types_keep_the_digits_of_probabilities(rng):
    Y = rng.dirichlet(np.ones(3), 20)
    objective = objective_of(rng.standard_normal((20, 2)).astype(np.float32), as_targets(Y, 20, 3, np.float64))
    assert objective.targets.soft.dtype == np.float32
    again = objective.computed_in(np.float64)
    np.testing.assert_array_equal(again.targets.soft, as_targets(Y, 20, 3, np.float64).kernel.soft)
    assert again.computed_in(np.float64) is again
