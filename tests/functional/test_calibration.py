"""Temperatures against scikit-learn's and a plain search; errors of calibration against loops over bins."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from scipy.special import log_softmax
from sklearn.calibration import CalibratedClassifierCV
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import brier_score_loss

import fastsoftmax as fs

N, C = 700, 5


@pytest.fixture(name="data")
def make_data(rng):
    """Logits that are three times too sure, and labels."""
    Z = rng.standard_normal((N, C))
    return 3 * Z, (Z + rng.gumbel(size=Z.shape)).argmax(1)


# ---- temperature


def loss_at(T, Z, y, weight):
    if np.ndim(y) == 1:
        losses = -log_softmax(Z / T, axis=1)[np.arange(len(y)), y]
    else:
        losses = -(y * log_softmax(Z / T, axis=1)).sum(1)
    return np.average(losses, weights=weight)


@pytest.mark.parametrize("dtype", ["f", "d", "e"])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("soft", [False, True])
def test_it_is_the_optimum(data, rng, dtype, weighted, soft):
    Z, y = data[0].astype(dtype), data[1]
    y = np.eye(C)[y] * 0.8 + 0.04 if soft else y
    weight = rng.random(N) if weighted else None
    T = fs.temperature(Z, y, sample_weight=weight)
    wide = Z.astype(float)
    found = minimize_scalar(
        lambda t: loss_at(math.exp(t), wide, y, weight), bounds=(-3, 3), method="bounded", options={"xatol": 1e-10}
    )
    assert pytest.approx(math.exp(found.x), rel=1e-5) == T
    h = 1e-4  # by central differences, whose error is h^2: the slope is 0
    up, down = (loss_at(1 / (1 / T + step), wide, y, weight) for step in (h, -h))
    assert abs(up - down) / (2 * h) < 1e-6
    assert loss_at(T, wide, y, weight) <= min(up, down)


def test_as_scikit_learn_finds_it(data, rng):
    X = rng.standard_normal((N, 8))
    y = (X[:, :C] * 0.7 + rng.gumbel(size=(N, C))).argmax(1)
    model = LogisticRegression(C=10).fit(X[:100], y[:100])
    theirs = CalibratedClassifierCV(FrozenEstimator(model), method="temperature").fit(X[100:], y[100:])
    beta = theirs.calibrated_classifiers_[0].calibrators[0].beta_
    Z = model.decision_function(X[100:])
    assert fs.temperature(Z, y[100:]) == pytest.approx(1 / beta, rel=1e-6)
    np.testing.assert_allclose(
        fs.softmax(Z / fs.temperature(Z, y[100:])), theirs.predict_proba(X[100:]), atol=1e-6, rtol=0
    )


def test_two_classes_by_one_logit(rng):
    z = 2 * rng.standard_normal(500)
    y = (rng.random(500) < 1 / (1 + np.exp(-z / 2))).astype(int)
    both = np.stack([np.zeros(500), z], 1)
    assert fs.temperature(z, y) == fs.temperature(both, y) == pytest.approx(2, rel=0.3)


@given(st.floats(0.01, 100), st.integers(0, 2**32 - 1))
def test_it_goes_with_the_logits(factor, seed):
    rng = np.random.default_rng(seed)
    Z = rng.standard_normal((60, 3))
    y = (Z + rng.gumbel(size=Z.shape)).argmax(1)
    one, other = fs.temperature(Z, y), fs.temperature(Z * factor, y)
    if 1e-3 < one < 1e3 and 1e-3 < other < 1e3:
        assert other == pytest.approx(factor * one, rel=3e-9)
    shifted = Z + rng.standard_normal((60, 1))
    assert fs.temperature(shifted, y) == pytest.approx(one, rel=1e-6)


def test_where_there_is_no_best(rng):
    y = np.arange(30) % 3
    assert fs.temperature(np.eye(3)[y], y) == pytest.approx(math.exp(-10))  # all right: the surer the better
    assert fs.temperature(-np.eye(3)[y], y) == pytest.approx(math.exp(10))  # all wrong
    assert fs.temperature(np.zeros((30, 3)), y) == 1.0
    assert fs.temperature(rng.standard_normal((30, 1)) * np.ones(3), y) == 1.0  # which say nothing


def test_classes_that_are_ruled_out(data):
    Z, y = data
    wide = np.concatenate([Z, np.full((N, 2), -np.inf)], 1)
    assert fs.temperature(wide, y) == pytest.approx(fs.temperature(Z, y), rel=1e-9)


def test_weights_are_rows(data):
    Z, y = data
    weight = np.arange(N) % 4
    again = np.repeat(np.arange(N), weight)
    assert fs.temperature(Z, y, sample_weight=weight) == pytest.approx(fs.temperature(Z[again], y[again]), rel=1e-9)


def test_block_by_block(data, monkeypatch):
    from fastsoftmax.functional import calibration

    Z, y = data
    whole = fs.temperature(Z, y)
    monkeypatch.setattr(calibration, "BLOCK", 7 * C)
    assert fs.temperature(Z, y) == pytest.approx(whole, rel=1e-9)


@pytest.mark.parametrize(
    ("Z", "y", "weight", "message"),
    [
        (np.zeros((3, 1)), [0, 0, 0], None, r"Z must be of shape \(n, c\) with 2 classes or more"),
        (np.zeros((2, 2, 2)), [0, 0], None, r"got \(2, 2, 2\)"),
        (np.zeros((0, 3)), [], None, "there is nothing to calibrate by"),
        (np.zeros((2, 3)), [0, 1], [0, 0], "there is nothing to calibrate by"),
        ([[np.nan, 0]], [0], None, "Z must be finite, and"),
        ([[np.inf, 0]], [0], None, "Z must be finite, and"),
        ([[-np.inf, -np.inf]], [0], None, "Z must be finite, and at most 1e150, or -inf"),
        ([[1e200, 0.0]], [0], None, "Z must be finite, and at most 1e150"),
        ([[0.0, 1.0, -np.inf], [0.0, -np.inf, 1.0]], [0, 1], None, "it is -inf for the class of row 1"),
        ([[0.0, -np.inf]], [[0.5, 0.5]], None, "it is -inf for the class of row 0"),
        (np.zeros((2, 3)), [0, 3], None, "labels must be in 0..2"),
        (np.zeros((2, 3)), [0], None, "same number of rows"),
    ],
)
def test_what_temperature_refuses(Z, y, weight, message):
    with pytest.raises(ValueError, match=message):
        fs.temperature(Z, y, sample_weight=weight)


# ---- errors of calibration


def naive(P, y, norm, classwise, bins, strategy, weight):
    """Loops over bins: closed below, open above, the last closed."""
    columns = [(P[:, k], y == k) for k in range(P.shape[1])] if classwise else [(P.max(1), P.argmax(1) == y)]
    found = []
    for said, came in columns:
        some = weight > 0
        said_, came_, weight_ = said[some], came[some], weight[some]
        edges = np.linspace(0, 1, bins + 1)
        if strategy == "quantile":
            edges = np.quantile(said_, edges)
        gaps, shares = [], []
        for b in range(bins):
            last = b == bins - 1
            inside = [
                i for i in range(len(said_))
                if (said_[i] >= edges[b] or b == 0) and (said_[i] < edges[b + 1] or last)
            ]  # fmt: skip
            total = math.fsum(weight_[i] for i in inside)
            if not inside:
                continue
            confidence = sum(weight_[i] * said_[i] for i in inside) / total
            accuracy = sum(weight_[i] * came_[i] for i in inside) / total
            gaps.append(abs(accuracy - confidence))
            shares.append(total)
        share = np.array(shares) / math.fsum(shares)
        gaps = np.array(gaps)
        found.append({"l1": (share * gaps).sum(), "l2": math.sqrt((share * gaps**2).sum()), "max": gaps.max()}[norm])
    return float(np.mean(found))


def tied(rng, kind):
    """Probabilities: any, or with ties at the edges of bins, of 0 and of 1."""
    if kind == "any":
        return rng.dirichlet(np.full(4, 0.3), 300)
    P = np.round(rng.dirichlet(np.full(4, 0.3), 300) * 5) / 5
    P[:, 3] = np.maximum(0, 1 - P[:, :3].sum(1))
    P[:20] = np.eye(4)[np.arange(20) % 4]
    return P / P.sum(1, keepdims=True)


@pytest.mark.parametrize("kind", ["any", "ties"])
@pytest.mark.parametrize("norm", ["l1", "l2", "max"])
@pytest.mark.parametrize("classwise", [False, True])
@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
@pytest.mark.parametrize("bins", [1, 5, 15])
@pytest.mark.parametrize("weighted", [False, True])
def test_errors_are_those_of_loops(rng, kind, norm, classwise, strategy, bins, weighted):
    P = tied(rng, kind)
    y, weight = rng.integers(0, 4, 300), rng.integers(0, 3, 300) * 1.0 if weighted else np.ones(300)
    if strategy == "quantile" and kind == "ties":
        weight = np.maximum(weight, 0)
    found = fs.calibration_error(
        P, y, norm=norm, classwise=classwise, bins=bins, strategy=strategy, sample_weight=weight if weighted else None
    )
    assert found == pytest.approx(naive(P, y, norm, classwise, bins, strategy, weight), abs=1e-14)


def test_certainty_is_in_the_last_bin():
    P = np.array([[1.0, 0.0], [0.95, 0.05]])
    assert fs.calibration_error(P, [0, 1], bins=10) == pytest.approx(abs((1 + 0) / 2 - (1 + 0.95) / 2), abs=1e-16)
    assert fs.calibration_error([0.0, 1.0], [0, 1]) == 0.0
    assert fs.calibration_error([1.0, 0.0], [0, 1]) == 1.0


@given(st.integers(0, 2**32 - 1), st.sampled_from(["l1", "l2", "max"]), st.booleans())
def test_errors_are_shares_and_ordered(seed, norm, classwise):
    rng = np.random.default_rng(seed)
    P, y = rng.dirichlet(np.ones(3), 40), rng.integers(0, 3, 40)
    found = fs.calibration_error(P, y, norm=norm, classwise=classwise)
    assert 0 <= found <= 1
    ordered = [fs.calibration_error(P, y, norm=name) for name in ("l1", "l2", "max")]
    assert ordered == sorted(ordered)


def test_brier_is_that_of_scikit_learn(rng):
    P, y = rng.dirichlet(np.ones(4), 200), rng.integers(0, 4, 200)
    weight = rng.random(200)
    for options in ({}, {"sample_weight": weight}):
        theirs = brier_score_loss(y, P, labels=[0, 1, 2, 3], **options)
        assert fs.brier_score(P, y, **options) == pytest.approx(theirs, rel=1e-12)
        assert fs.brier_score(P, y, scale_by_half=True, **options) == pytest.approx(theirs / 2, rel=1e-12)
    p, z = rng.random(200), rng.integers(0, 2, 200)
    assert fs.brier_score(p, z) == pytest.approx(brier_score_loss(z, p), rel=1e-12)
    assert fs.brier_score(p, z, scale_by_half=False) == pytest.approx(2 * brier_score_loss(z, p), rel=1e-12)


@pytest.mark.parametrize("function", [fs.calibration_error, fs.brier_score])
@pytest.mark.parametrize(
    ("P", "y", "weight", "error", "message"),
    [
        ([[0.5, 0.4]], [0], None, ValueError, "P must sum to 1 in each row; row 0 sums to 0.9"),
        ([[3.0, -2.0]], [0], None, ValueError, "P must hold probabilities from 0 to 1"),
        ([[np.nan, 1.0]], [0], None, ValueError, "P must hold probabilities from 0 to 1"),
        ([[1.0]], [0], None, ValueError, r"P must be of shape \(n, c\) with 2 classes or more"),
        ([[0.5, 0.5]], [2], None, ValueError, "labels must be in 0..1"),
        ([[0.5, 0.5]], [0, 1], None, ValueError, "P and y must have the same number of rows, got 1 and 2"),
        ([[0.5, 0.5]], [0], [0.0], ValueError, "there is nothing to compare"),
        (np.zeros((0, 2)), [], None, ValueError, "there is nothing to compare"),
        ([["a", "b"]], [0], None, TypeError, "P must hold"),
        ([[0.5, 0.5]], [[0.5, 0.5]], None, TypeError, "integer labels"),
    ],
)
def test_what_is_refused(function, P, y, weight, error, message):
    with pytest.raises(error, match=message):
        function(P, y, sample_weight=weight)


def test_one_column_may_be_rounded():
    assert fs.brier_score(np.array([1.0000001], "f"), [1]) == pytest.approx(0, abs=1e-12)
    assert fs.brier_score([0.5], [1], scale_by_half=np.True_) == 0.25
    with pytest.raises(ValueError, match="P must hold probabilities from 0 to 1"):
        fs.brier_score([1.1], [1])


def test_settings_that_are_refused():
    P, y = [[0.5, 0.5]], [0]
    for options, message in (
        ({"norm": "l3"}, "norm must be one of"),
        ({"strategy": "equal"}, "strategy must be one of"),
        ({"bins": 0}, "bins must be an integer of at least 1"),
        ({"bins": 2.5}, "bins must be an integer of at least 1"),
        ({"bins": True}, "bins must be an integer of at least 1"),
    ):
        with pytest.raises(ValueError, match=message):
            fs.calibration_error(P, y, **options)
    with pytest.raises(ValueError, match="scale_by_half must be"):
        fs.brier_score(P, y, scale_by_half="no")


# ---- other libraries, by hand: `pip install '.[long]'`, then `pytest -m long tests/functional`


@pytest.fixture(name="overconfident")
def make_overconfident(rng):
    Z = rng.standard_normal((4000, 5)) * 3
    return Z, (Z / 2.5 + rng.gumbel(size=Z.shape)).argmax(1)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_netcal_agrees(overconfident):
    metrics, scaling = pytest.importorskip("netcal.metrics"), pytest.importorskip("netcal.scaling")
    Z, y = overconfident
    P = fs.softmax(Z)
    assert fs.calibration_error(P, y) == pytest.approx(metrics.ECE(15).measure(P, y), abs=1e-12)
    assert fs.calibration_error(P, y, norm="max") == pytest.approx(metrics.MCE(15).measure(P, y), abs=1e-12)
    theirs = scaling.TemperatureScaling()
    theirs.fit(P, y)
    assert fs.temperature(Z, y) == pytest.approx(1 / float(theirs.temperature[0]), rel=1e-4)  # as far as theirs goes
    assert fs.cross_entropy(Z / fs.temperature(Z, y), y) <= fs.cross_entropy(Z * float(theirs.temperature[0]), y)


@pytest.mark.long
@pytest.mark.filterwarnings("ignore")
def test_probmetrics_agrees(overconfident):
    calibrators = pytest.importorskip("probmetrics.calibrators")
    Z, y = overconfident
    theirs = calibrators.TemperatureScalingCalibrator()
    theirs.fit(fs.softmax(Z), y)
    ours = fs.softmax(Z / fs.temperature(Z, y))
    np.testing.assert_allclose(ours, theirs.predict_proba(fs.softmax(Z)), atol=1e-6)
