"""Examples: rows of X and of y are taken together, copied or in place."""

import numpy as np
import pytest
import scipy.sparse as sp

from fastsoftmax.data.examples import Examples
from fastsoftmax.data.layouts import as_design
from fastsoftmax.data.targets import as_targets

LAYOUTS = {"dense": np.asarray, "csr": sp.csr_array}


def made(rng, layout, soft=False, weighted=True, dtype=np.float32):
    X = (rng.random((40, 5)) * (rng.random((40, 5)) < 0.6) * 9).astype(dtype)
    y = rng.dirichlet(np.ones(3), 40) if soft else rng.integers(0, 3, 40)
    weight = rng.random(40) if weighted else None
    design = as_design(LAYOUTS[layout](X)).mapped(rng.random(5) + 0.5, rng.random(5))
    return X, y, weight, Examples(design, as_targets(y, 40, 3, np.float64, sample_weight=weight))


def features(examples):
    out = np.empty((examples.n, examples.m))
    examples.design.block(0, examples.n, out)
    return out


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_rows_and_parts_are_those_of_both(rng, layout, soft, weighted, dtype):
    _, y, weight, whole = made(rng, layout, soft, weighted, dtype)
    assert (whole.n, whole.m, whole.c) == (40, 5, 3)
    np.testing.assert_allclose(whole.total, 40 if weight is None else weight.sum())
    for part, index in ((whole.rows(np.array([7, 0, 33])), [7, 0, 33]), (whole.part(11, 29), slice(11, 29))):
        np.testing.assert_array_equal(features(part), features(whole)[index])
        kernel = part.targets.kernel
        found = kernel.soft.reshape(-1, 3) if soft else kernel.labels
        np.testing.assert_allclose(found, y[index])
        assert part.n == len(y[index])
        np.testing.assert_allclose(part.total, part.n if weight is None else weight[index].sum())
        np.testing.assert_array_equal(part.design.scale, whole.design.scale)


@pytest.mark.parametrize("layout", LAYOUTS)
def test_parts_share_memory(rng, layout):
    whole = made(rng, layout)[3]
    part = whole.part(3, 9)
    assert np.shares_memory(part.design.arrays()[0], whole.design.arrays()[0])
    assert np.shares_memory(part.targets.kernel.labels, whole.targets.kernel.labels)
    assert not np.shares_memory(whole.rows(np.arange(3, 9)).design.arrays()[0], whole.design.arrays()[0])
    empty = whole.part(5, 5)
    assert (empty.n, empty.total) == (0, 0.0)


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("weighted", [False, True])
def test_moments_and_sums(rng, layout, weighted):
    X, y, weight, whole = made(rng, layout, weighted=weighted)
    own, center = np.ones(40) if weight is None else weight, rng.random(5)
    first, second = whole.moments(center)
    np.testing.assert_allclose(first, own @ (X - center), rtol=1e-12)
    np.testing.assert_allclose(second, own @ (X - center) ** 2, rtol=1e-12)
    np.testing.assert_allclose(whole.class_totals(), [own[y == k].sum() for k in range(3)])
    sums, mapped = whole.class_sums(), features(whole)
    wanted = np.stack([own[y == k] @ mapped[y == k] for k in range(3)])
    np.testing.assert_allclose(sums.toarray() if sp.issparse(sums) else sums, wanted, rtol=1e-5)


def test_only_some_classes(rng):
    for soft in (False, True):
        design = as_design(rng.random((4, 2)))
        y = np.array([[0, 1.0, 0], [0, 0, 1], [0, 0.5, 0.5], [0, 0, 1]]) if soft else np.array([1, 2, 1, 2])
        part = Examples(design, as_targets(y, 4, 3, np.float64)).only(np.array([1, 2]))
        assert part.c == 2
        np.testing.assert_allclose(part.class_totals(), [1.5, 2.5] if soft else [2, 2])
