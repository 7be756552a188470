"""Workspaces that are kept for the next small call: none is in two hands, and nothing of the last call is left."""

import threading

import numpy as np
import pytest
import scipy.sparse as sp

import fastsoftmax as fs
from fastsoftmax.objective import partition
from fastsoftmax.objective.partition import give_back, leased
from tests import reference


def test_what_is_leased_is_in_one_hand(rng):
    fs.predict_proba(rng.standard_normal((3, 2)), np.ones((4, 2)))
    kind = next(reversed(partition._kept.spaces))
    first, second = leased(kind), leased(kind)
    assert first is not second
    give_back(first)
    assert leased(kind) is first
    seen = []
    give_back(first)
    thread = threading.Thread(target=lambda: seen.append(leased(kind)))
    thread.start()
    thread.join()
    assert seen[0] is not first
    assert leased(kind) is first


def test_few_and_small_ones_are_kept(rng):
    for n in range(1, 3 * partition.KEPT):
        fs.predict_proba(rng.standard_normal((n, 2)), np.ones((4, 2)))
        assert len(partition._kept.spaces) <= partition.KEPT
    before = len(partition._kept.spaces)
    fs.predict_proba(rng.standard_normal((3, 2)), np.ones((4000, 2)))
    fs.loss_gradient(rng.standard_normal((2000, 300)), np.zeros(2000, int), np.zeros((3, 300)))
    assert len(partition._kept.spaces) <= before + 1


@pytest.mark.parametrize("layout", [np.asarray, sp.csr_array])
@pytest.mark.parametrize("dtype", [np.uint8, np.float32, np.float64])
def test_nothing_of_the_last_call_is_left(rng, layout, dtype, checked_drivers):
    """NaN, inf and large weights in one call, and right results in the next of the same shape, with and without."""
    real = np.float64 if dtype == np.float64 else np.float32
    for n, m, c in ((1, 5, 3), (1, 7, 4), (17, 5, 3), (40, 9, 11)):
        X = (rng.random((n, m)) * 3).astype(dtype)
        coef, intercept, y = rng.standard_normal((c, m)).astype(real), rng.random(c).astype(real), rng.integers(0, c, n)
        wanted = fs.loss_gradient(layout(X), y, coef, intercept)
        proba = fs.predict_proba(layout(X), coef)
        np.testing.assert_allclose(proba, reference.softmax(X.astype(float) @ coef.T.astype(float)), rtol=2e-5)
        for strange in (np.nan, np.inf, 1e30):
            with np.errstate(all="ignore"):
                fs.loss_gradient(layout(X), y, coef * real(strange), np.full(c, strange, real))
                fs.predict_proba(layout(X), np.full_like(coef, strange), np.full(c, strange, real))
        for found, before in zip(fs.loss_gradient(layout(X), y, coef, intercept), wanted, strict=True):
            np.testing.assert_array_equal(found, before)
        np.testing.assert_array_equal(fs.predict_proba(layout(X), coef), proba)


def test_two_threads_at_once(rng):
    """Many small calls of one kind in four threads give what one thread gives."""
    X, W = rng.standard_normal((4, 50, 8)), rng.standard_normal((4, 3, 8))
    wanted = [[fs.predict_proba(X[k, i : i + 1], W[k]) for i in range(50)] for k in range(4)]
    found = [[] for _ in range(4)]

    def work(k):
        for _ in range(20):
            found[k] = [fs.predict_proba(X[k, i : i + 1], W[k]) for i in range(50)]

    threads = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    [thread.start() for thread in threads]
    [thread.join() for thread in threads]
    np.testing.assert_array_equal(found, wanted)
