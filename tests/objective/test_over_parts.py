"""The objective over parts is that over the same rows in memory, asked anything that the seam has."""

import inspect
import itertools

import numpy as np
import pytest
import scipy.sparse as sp

from fastsoftmax.data.examples import Examples
from fastsoftmax.data.layouts import as_design
from fastsoftmax.data.parted_rows import PartedRows
from fastsoftmax.data.parts import Parts
from fastsoftmax.data.targets import as_targets
from fastsoftmax.kernels.math import ordered_sum
from fastsoftmax.objective import curvature
from fastsoftmax.objective.base import Objective
from fastsoftmax.objective.over_parts import ObjectiveOverParts
from fastsoftmax.objective.softmax import SoftmaxObjective
from fastsoftmax.objective.summed import SUMS
from fastsoftmax.objective.tree import FAN_IN, Tree, by_eights, folded, joined, nodes_of

CUTS = [0, 40, 41, 90]
N, M, C = 90, 7, 4


@pytest.fixture(params=["dense", "csr"])
def layout(request):
    return request.param


@pytest.fixture(params=[False, True], ids=["labels", "soft"])
def soft(request):
    return request.param


@pytest.fixture
def both(rng, layout, soft):
    """The objectives over the same rows in memory and in parts, mapped."""
    X = rng.standard_normal((N, M)) * (rng.random((N, M)) < 0.6)
    X = sp.csr_array(X) if layout == "csr" else X
    y = rng.dirichlet(np.ones(C), N) if soft else rng.integers(0, C, N)
    targets = as_targets(y, N, C, np.float64, sample_weight=rng.random(N) + 0.1, label_smoothing=0.1)
    rows = PartedRows(Parts([(X[a:b],) for a, b in itertools.pairwise(CUTS)]))
    scale, shift = rng.random(M) + 0.5, rng.standard_normal(M)
    whole = SoftmaxObjective(Examples(as_design(X), targets)).mapped(scale, shift)
    return whole, ObjectiveOverParts(rows, targets).mapped(scale, shift)


def weights(rng, objective):
    coef = rng.standard_normal((C, M))
    return np.asfortranarray(coef) if objective.by_feature else coef, rng.standard_normal(C)


def same(ours, theirs):
    np.testing.assert_allclose(ours, theirs, rtol=1e-12, atol=1e-12)


def test_attributes(both):
    whole, parts = both
    for name in Objective.__annotations__:
        if name == "in_memory":
            assert (whole.in_memory, parts.in_memory) == (True, False)
        elif name == "pairs":
            same(parts.pairs, whole.pairs)
        elif name == "total":  # the sum of those of the parts, in their order
            weight = whole.targets.weight
            own = [ordered_sum(weight[a:b]) for a, b in itertools.pairwise(CUTS)]
            assert parts.total == float(sum(map(float, own)))
            same(parts.total, whole.total)
        else:
            np.testing.assert_array_equal(getattr(parts, name), getattr(whole, name), err_msg=name)


def test_passes(both, rng):
    whole, parts = both
    theta = weights(rng, whole)
    for ours, theirs in zip(parts.loss_gradient(*theta, 0.5), whole.loss_gradient(*theta, 0.5), strict=True):
        same(ours, theirs)
    out = [np.ones_like(theta[0]), np.ones(C)]
    parts.loss_gradient(*theta, 2.0, tuple(out))
    same(out[0] - 1, whole.loss_gradient(*theta, 2.0)[1])
    loss, best = parts.evaluate(*theta)
    same(loss, whole.evaluate(*theta)[0])
    np.testing.assert_array_equal(best, whole.predict(*theta))
    np.testing.assert_array_equal(parts.predict(*theta), best)
    np.testing.assert_array_equal(parts.predict_proba(*theta), whole.predict_proba(*theta))
    assert parts.loss_gradient(theta[0], None)[0] == pytest.approx(whole.loss_gradient(theta[0], None)[0], rel=1e-13)


def test_what_the_data_are_like(both, rng, soft):
    whole, parts = both
    for center in (None, rng.standard_normal(M)):
        for ours, theirs in zip(parts.moments(center), whole.moments(center), strict=True):
            same(ours, theirs)
    np.testing.assert_array_equal(parts.largest(np.array([2, 0])), whole.largest(np.array([2, 0])))
    assert parts.lowest(np.arange(M)) == pytest.approx(whole.lowest(np.arange(M)), rel=1e-13)
    same(parts.class_totals(), whole.class_totals())
    same(parts.entropy(), whole.entropy())
    if not soft:
        sums = [part.toarray() if sp.issparse(part) else part for part in (parts.class_sums(), whole.class_sums())]
        same(*sums)


def test_others_like_it(both, rng):
    whole, parts = both
    index = np.array([89, 3, 40, 41, 3])
    for ours, theirs in (
        (parts.rows(index), whole.rows(index)),
        (parts.sample(11), whole.sample(11)),
        (parts.mapped(2.0).rows(index), whole.mapped(2.0).rows(index)),
    ):
        assert ours.in_memory
        theta = weights(rng, whole)
        assert ours.loss_gradient(*theta)[0] == theirs.loss_gradient(*theta)[0]
    assert parts.computed_in(np.float32).dtype == np.float32
    assert parts.merged() is None


@pytest.mark.parametrize("held", [True, False])
def test_curvature(both, rng, held, monkeypatch):
    if not held:
        for module in (curvature, inspect.getmodule(ObjectiveOverParts)):
            monkeypatch.setattr(module, "HELD", 0)
        monkeypatch.setattr(curvature, "BLOCK", 17 * C * 8)
    whole, parts = both
    theta, direction = weights(rng, whole), weights(rng, whole)
    ours, theirs = parts.curvature(*theta), whole.curvature(*theta)
    outs = [(np.zeros_like(theta[0]), np.zeros(C)) for _ in range(2)]
    for point, out in zip((ours, theirs), outs, strict=True):
        point.hessp(*direction, 0.5, out)
    same(outs[0][0], outs[1][0])
    same(outs[0][1], outs[1][1])
    for r, intercept in ((1, False), (C, True)):
        same(np.triu(ours.pair_grams(r, intercept)), np.triu(theirs.pair_grams(r, intercept)))
    seen = []
    ours.each_block(lambda block, proba: seen.append((block.n, proba)))
    np.testing.assert_array_equal(np.concatenate([proba for _, proba in seen]), whole.predict_proba(*theta))
    assert [n for n, _ in seen] == [len(proba) for _, proba in seen]


@pytest.mark.parametrize("at_hand", [True, False])
def test_samples_that_stay_in_parts(both, rng, at_hand):
    """Sums over them are those over the same rows in memory, and of the same parts."""
    whole, parts = both
    if not at_hand:
        pieces = list(parts.source.parts)
        parts.source.parts = Parts([lambda piece=piece: piece.read(True) for piece in pieces])
    theta = weights(rng, whole)
    spread, sample = parts.spread(33), whole.sample(33)
    assert (spread.n, spread.in_memory) == (33, False)
    for ours, theirs in zip(spread.loss_gradient(*theta), sample.loss_gradient(*theta), strict=True):
        same(ours, theirs)
    same(spread.total, sample.total)
    same(spread.class_totals(), sample.class_totals())
    same(spread.entropy(), sample.entropy())
    same(spread.predict_proba(*theta), sample.predict_proba(*theta))
    same(spread.moments()[1], sample.moments()[1])
    again, rows = spread.rows(np.array([5, 3, 30])), sample.rows(np.array([5, 3, 30]))
    same(again.predict_proba(*theta), rows.predict_proba(*theta))
    assert whole.spread(33).in_memory


def test_nothing_of_the_seam_is_left_out():
    assert not inspect.isabstract(ObjectiveOverParts)


@pytest.mark.parametrize("count", [1, 2, 8, 9, 16, 17, 65, 80])
def test_sums_are_along_a_tree_of_eight(rng, count):
    """As whoever has all parts at once would add them: groups of eight by index, left to right, level by level."""

    def added(items):
        while len(items) > 1:
            items = [joined(items[k : k + FAN_IN]) for k in range(0, len(items), FAN_IN)]
        return items[0]

    items = [
        ([k], rng.standard_normal(5) * 10.0 ** rng.integers(-9, 9), float(rng.standard_normal())) for k in range(count)
    ]
    copies, tree = [([*a], b.copy(), c) for a, b, c in items], Tree()
    expected = added(items)
    for item in copies:
        tree.add(item)
    found = tree.total()
    assert (found[0], found[2]) == (list(range(count)), expected[2])
    np.testing.assert_array_equal(found[1], expected[1])
    assert all(item[0] == [k] for k, item in enumerate(items))  # joined changes nothing that it was given
    for owners in (1, 2, 3, count):  # who add up what they can, and someone the rest
        who = rng.integers(0, owners, count)
        shares = [np.flatnonzero(who == k).tolist() for k in range(owners)]
        nodes = [node for share in shares for node in nodes_of(share, count)]
        assert sorted(itertools.chain(*nodes)) == list(range(count))
        again = folded(by_eights(nodes, [joined([items[i] for i in node]) for node in nodes]), joined)
        assert (again[0], again[2]) == (list(range(count)), expected[2])
        np.testing.assert_array_equal(again[1], expected[1])


@pytest.mark.parametrize("double", [True, False])
@pytest.mark.parametrize(("c", "m", "sparse"), [(3, 20, False), (250, 30, False), (4, 5000, True)])
def test_parts_that_add_in_place_give_the_bits_of_the_tree(rng, double, c, m, sparse):
    n, dtype = 19 * 12, np.float32
    X = (
        sp.random_array((n, m), density=0.01, format="csr", rng=rng).astype(dtype)
        if sparse
        else (rng.standard_normal((n, m)).astype(dtype))
    )
    objective = ObjectiveOverParts(
        PartedRows(Parts([X[k : k + 12] for k in range(0, n, 12)]), False), as_targets(np.arange(n) % c, n, c, dtype),
        None, 0.3,
    )  # fmt: skip
    coef = rng.standard_normal((c, m)).astype(dtype)
    coef = np.asfortranarray(coef) if objective.by_feature else coef
    intercept, tree = rng.standard_normal(c).astype(dtype), Tree()
    objective.each_part(lambda start, part: tree.add(SUMS["loss_gradient"](part, coef, intercept, 1 / n, double)))
    for one, other in zip(objective.summed("loss_gradient", coef, intercept, 1 / n, double), tree.total(), strict=True):
        np.testing.assert_array_equal(one, other)
