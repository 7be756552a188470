"""The public functions against NumPy, SciPy, scikit-learn and finite differences; hard values; malformed input."""

import itertools

import hypothesis.extra.numpy as hnp
import numpy as np
import pytest
import scipy.special
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastsoftmax as fs
from fastsoftmax.engine.threads import JIT
from tests import reference
from tests.conftest import make_problem

TOLERANCE = {np.dtype(np.float32): 2e-6, np.dtype(np.float64): 1e-14}
FUNCTIONS = {
    fs.softmax: scipy.special.softmax,
    fs.log_softmax: scipy.special.log_softmax,
    fs.logsumexp: scipy.special.logsumexp,
}
few = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)


def assert_near(got, expected, dtype, factor=1.0):
    scale = max(1.0, float(np.max(np.abs(expected), initial=0)))
    np.testing.assert_allclose(got, expected, rtol=0, atol=factor * TOLERANCE[np.dtype(dtype)] * scale)


# ---- softmax, log_softmax, logsumexp

SHAPES = [(1,), (5,), (33,), (3, 1), (4, 2), (70, 10), (5, 31), (5, 32), (3, 1000), (2, 3, 4), (3, 40, 17), (600, 3)]


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", SHAPES)
def test_every_axis_of_every_shape(rng, function, dtype, shape):
    Z = (rng.standard_normal(shape) * 5).astype(dtype)
    for axis in range(-len(shape), len(shape)):
        got = function(Z, axis=axis)
        assert got.dtype == dtype
        assert_near(got, FUNCTIONS[function](Z.astype(np.float64), axis=axis), dtype, 2)


@few
@given(
    Z=hnp.arrays(
        st.sampled_from([np.float16, np.float32, np.float64]),
        hnp.array_shapes(min_dims=1, max_dims=3, max_side=40),
        elements=st.floats(-1e4, 1e4, width=16),
    ),
    data=st.data(),
)
def test_any_layout(Z, data):
    axis = data.draw(st.integers(-Z.ndim, Z.ndim - 1))
    Z = data.draw(st.sampled_from([Z, Z.T, Z[::-1], np.asfortranarray(Z), np.repeat(Z, 2, -1)[..., ::2]]))
    P = fs.softmax(Z, axis=axis)
    assert P.dtype == (np.float64 if Z.dtype == np.float64 else np.float32)
    assert (P >= 0).all()
    assert_near(P.sum(axis), np.ones(P.sum(axis).shape), P.dtype, 4)
    assert_near(P, reference.softmax(Z.astype(np.float64), axis), P.dtype, 4)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("c", [2, 3, 31, 32, 100])
def test_hard_values_as_in_scipy(function, dtype, c):
    hard = [-np.inf, np.inf, np.nan, 0.0, 1e4, -1e4, 1e30]
    rows = [np.resize(np.array(pair, dtype), c) for pair in itertools.product(hard, hard)]
    Z = np.stack([*rows, np.full(c, 1e4, dtype), np.full(c, -np.inf, dtype)])
    with np.errstate(all="ignore"):
        expected = FUNCTIONS[function](Z.astype(np.float64), axis=-1)
    if function is fs.softmax:  # of a row with +inf SciPy makes 0 of the finite entries' share too: NaN throughout
        expected[np.isnan(expected).any(-1)] = np.nan
    got = function(Z)
    np.testing.assert_array_equal(np.isnan(got), np.isnan(expected))
    np.testing.assert_array_equal(np.isinf(got), np.isinf(expected))
    finite = np.isfinite(expected)
    np.testing.assert_allclose(got[finite], expected[finite], rtol=1e-6, atol=1e-6)
    np.testing.assert_array_equal(function(np.moveaxis(Z, -1, 0).copy(), axis=0), got.T if got.ndim == 2 else got)


def test_equal_logits_give_exactly_log_c():
    for value in (1e4, -1e4, 0.0, 1e30):
        assert fs.cross_entropy(np.full((1, 7), value), [3]) == pytest.approx(np.log(7), abs=0, rel=3e-16)


def test_dtypes(rng):
    for dtype, kept in ((np.float16, np.float32), (np.float32, np.float32), (np.float64, np.float64)):
        assert fs.softmax(np.zeros(3, dtype)).dtype == kept
    for dtype in (np.int8, np.uint8, np.int64, bool):
        assert fs.softmax(np.ones(3, dtype)).dtype == np.float64
    assert fs.softmax([1, 2, 3]).dtype == np.float64
    big = rng.standard_normal((4, 5)).astype(">f4")
    np.testing.assert_array_equal(fs.softmax(big), fs.softmax(big.astype("f4")))
    wide = rng.standard_normal((4, 5)).astype(np.longdouble)
    np.testing.assert_array_equal(fs.softmax(wide), fs.softmax(wide.astype(np.float64)))


def test_read_only_and_unaligned_input(rng):
    Z = rng.standard_normal((6, 40)).astype(np.float32)
    expected = fs.softmax(Z)
    Z.setflags(write=False)
    np.testing.assert_array_equal(fs.softmax(Z), expected)
    raw = np.zeros(Z.nbytes + 1, np.uint8)
    shifted = raw[1:].view(np.float32).reshape(Z.shape)
    shifted[...] = Z
    np.testing.assert_array_equal(fs.softmax(shifted), expected)


@pytest.mark.parametrize("function", [fs.softmax, fs.log_softmax])
@pytest.mark.parametrize("shape", [(50, 10), (5, 100)])
def test_out(rng, function, shape):
    Z = rng.standard_normal(shape)
    expected, out = function(Z), np.empty(shape)
    assert function(Z, out=out) is out
    np.testing.assert_array_equal(out, expected)
    copy = Z.copy()
    assert function(copy, out=copy) is copy
    np.testing.assert_array_equal(copy, expected)
    buffer = np.zeros(Z.size + 1)
    buffer[1:] = Z.ravel()
    shifted = buffer[:-1].reshape(shape)  # overlaps its input, but is not the same
    function(buffer[1:].reshape(shape), out=shifted)
    np.testing.assert_array_equal(shifted, expected)


def test_out_that_does_not_fit():
    Z = np.zeros((4, 6))
    for out in (np.zeros((4, 5)), np.zeros((4, 6), np.float32), np.zeros((6, 4)).T, np.zeros((4, 12))[:, ::2]):
        before = out.copy()
        with pytest.raises(ValueError, match="out must be"):
            fs.softmax(Z, out=out)
        np.testing.assert_array_equal(out, before)
    locked = np.zeros((4, 6))
    locked.setflags(write=False)
    with pytest.raises(ValueError, match="writable"):
        fs.softmax(Z, out=locked)
    with pytest.raises(TypeError, match="out must be a plain NumPy array, got list"):
        fs.softmax(Z, out=[0.0])


def test_malformed_logits():
    with pytest.raises(ValueError, match="at least one dimension"):
        fs.softmax(1.0)
    with pytest.raises(ValueError, match="axis must be from -2 to 1"):
        fs.softmax(np.zeros((2, 3)), axis=2)
    with pytest.raises(ValueError, match="no class along axis"):
        fs.softmax(np.zeros((2, 0)))
    for bad in (np.zeros(3, complex), ["a"], np.array([object()])):
        with pytest.raises(TypeError, match="real numbers"):
            fs.softmax(bad)
    with pytest.raises(TypeError, match="masked"):
        fs.softmax(np.ma.masked_array([1.0, 2.0], [True, False]))
    assert fs.softmax(np.zeros((0, 3))).shape == (0, 3)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(5,), (70, 10), (2, 3, 4), (3, 40, 17)])
def test_all_axes_at_once(rng, function, dtype, shape):
    Z = (rng.standard_normal(shape) * 5).astype(dtype)
    for layout in (Z, Z.T, Z[::-1]):
        got = function(layout, axis=None)
        expected = FUNCTIONS[function](layout.astype(np.float64), axis=None)
        assert got.dtype == dtype
        assert np.shape(got) == np.shape(expected)
        assert_near(got, expected, dtype, 2)
    if function is not fs.logsumexp:
        out = np.empty_like(Z)
        assert function(Z, axis=None, out=out) is out
        np.testing.assert_array_equal(out, function(Z, axis=None))
    with pytest.raises(ValueError, match="no class along axis None"):
        function(Z[:0], axis=None)


def test_keepdims(rng):
    Z = rng.standard_normal((3, 40, 17))
    for axis in (0, 1, 2, -1, -2, -3, None):
        got, expected = fs.logsumexp(Z, axis, keepdims=True), scipy.special.logsumexp(Z, axis, keepdims=True)
        assert got.shape == expected.shape
        assert_near(got, expected, np.float64)
        np.testing.assert_array_equal(got.reshape(-1), fs.logsumexp(Z, axis).reshape(-1))


@pytest.mark.parametrize("axis", [0, 1])
def test_long_rows_are_as_accurate_as_short_ones(axis):
    """One float32 chain over 200 000 equal terms is off by 1e-3, over 1e7 by 7e-3."""
    n = 300_000 if JIT else 30_000
    for low in (-0.35, -1.3):
        row = np.full(n, low, np.float32)
        row[::1000] = 0
        exact = scipy.special.logsumexp(row.astype(np.float64))
        Z = np.stack([row, row], 1 - axis)
        for got in (fs.logsumexp(Z, axis), row - fs.log_softmax(Z, axis).take(0, 1 - axis)):
            np.testing.assert_allclose(got, exact, rtol=0, atol=3e-6)
        np.testing.assert_allclose(fs.softmax(Z, axis).sum(axis, dtype=np.float64), 1, atol=2e-6)
        rows = np.ascontiguousarray(Z if axis else Z.T)
        np.testing.assert_allclose(
            fs.cross_entropy(rows, [0, 1], reduction="none"), exact - row[:2].astype(np.float64), rtol=0, atol=3e-6
        )


def test_many_classes_of_one_feature_are_accurate():
    """The fused pass adds up exponentials of a block of rows, class by class."""
    c = 40_000 if JIT else 4000
    coef, intercept = np.zeros((c, 1), np.float32), np.full(c, -0.35, np.float32)
    intercept[::1000] = 0
    loss = fs.loss_gradient(np.ones((20, 1), np.float32), np.zeros(20, int), coef, intercept)[0]
    assert abs(loss - scipy.special.logsumexp(intercept.astype(np.float64))) < 3e-6


# ---- one_hot


def test_one_hot():
    np.testing.assert_array_equal(fs.one_hot([0, 1, 0]), np.array([[1, 0], [0, 1], [1, 0]], np.float32))
    assert fs.one_hot(np.array([[2], [0]]), 4, np.float64).dtype == np.float64
    assert fs.one_hot(np.zeros(0, int), 3).shape == (0, 3)
    with pytest.raises(ValueError, match=r"labels must be in 0\.\.1 for 2 classes, got 2"):
        fs.one_hot([0, 2], 2)
    with pytest.raises(ValueError, match="non-negative and below 2\\*\\*63, got -1"):
        fs.one_hot([0, -1])
    with pytest.raises(TypeError, match="integer labels"):
        fs.one_hot([0.0, 1.0])
    with pytest.raises(ValueError, match="no labels to count"):
        fs.one_hot(np.zeros(0, int))


# ---- cross-entropy


def soft_targets(rng, n, c):
    Y = rng.dirichlet(np.ones(c), n)
    Y[rng.random(n) < 0.3] = np.eye(c)[0]
    return Y


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(("n", "c"), [(1, 2), (37, 3), (700, 10), (20, 31), (20, 32), (9, 1000)])
@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1, 1.0])
def test_cross_entropy(rng, dtype, n, c, soft, weighted, smoothing):
    Z = (rng.standard_normal((n, c)) * 3).astype(dtype)
    y = soft_targets(rng, n, c).astype(dtype) if soft else rng.integers(0, c, n)
    s = rng.random(n) if weighted else None
    losses, R = reference.cross_entropy(Z, y, s, smoothing)
    S = n if s is None else s.sum()
    options = {"sample_weight": s, "label_smoothing": smoothing}
    assert_near(fs.cross_entropy(Z, y, reduction="none", **options), losses, dtype, 4)
    for reduction, divisor in (("sum", 1.0), ("mean", S)):
        loss, dZ = fs.cross_entropy_gradient(Z, y, reduction=reduction, **options)
        assert isinstance(loss, float)
        assert loss == fs.cross_entropy(Z, y, reduction=reduction, **options)
        assert_near(loss, losses.sum() / divisor, dtype, 4)
        assert dZ.dtype == dtype
        assert_near(dZ, R / divisor, dtype)
    each, dZ = fs.cross_entropy_gradient(Z, y, reduction="none", **options)
    assert each.dtype == np.float64
    assert_near(dZ, R, dtype)


@pytest.mark.parametrize("c", [3, 40])
def test_hard_logits(c):
    Z = np.zeros((6, c))
    Z[0, 1] = -np.inf  # a masked class that the label avoids
    Z[1, 0] = -np.inf  # the label is on a masked class
    Z[2] = -np.inf
    Z[3, 2] = np.nan
    Z[4, 0] = np.inf
    Z[5] = -1e4
    losses, dZ = fs.cross_entropy_gradient(Z, np.zeros(6, int), reduction="none")
    np.testing.assert_allclose(losses[[0, 5]], np.log([c - 1, c]), rtol=1e-15)
    assert losses[1] == np.inf
    assert dZ[1, 0] == -1
    assert np.isnan(losses[2:5]).all()
    assert np.isnan(dZ[2:5, 1:]).all()
    soft = np.zeros((6, c))
    soft[:, 0] = 1
    np.testing.assert_array_equal(fs.cross_entropy(Z, soft, reduction="none"), losses)  # 0 times -inf is 0
    assert fs.cross_entropy(Z[:1], [0], label_smoothing=0.1) == np.inf  # smoothing reaches the masked class
    weight = np.array([1.0, 0, 0, 0, 0, 1])
    loss, dZ = fs.cross_entropy_gradient(Z, np.zeros(6, int), sample_weight=weight)
    assert loss == pytest.approx((np.log(c - 1) + np.log(c)) / 2, rel=1e-15)
    assert not dZ[1:5].any()


def test_soft_targets_that_are_one_hot_equal_labels(rng):
    Z, y = rng.standard_normal((50, 7)), rng.integers(0, 7, 50)
    a, b = fs.cross_entropy_gradient(Z, y), fs.cross_entropy_gradient(Z, np.eye(7)[y])
    assert a[0] == b[0]
    np.testing.assert_array_equal(a[1], b[1])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("shape", [(40, 3), (2, 9, 5), (3, 4, 40), (2, 2, 3, 33), (3, 0, 4), (7,)])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
@pytest.mark.parametrize("ignore_index", [-100, 1, None])
def test_padding_and_leading_shapes(rng, dtype, shape, weighted, smoothing, ignore_index):
    Z, leading, c = (rng.standard_normal(shape) * 3).astype(dtype), shape[:-1], shape[-1]
    y = rng.integers(0, c, leading)
    if ignore_index is not None:
        y = np.where(rng.random(leading) < 0.4, ignore_index, y)
        Z[y == ignore_index] = np.nan  # whatever a row of padding holds
    s = rng.random(leading) + 0.1 if weighted else None
    for reduction in ("none", "sum", "mean"):
        if reduction == "mean" and y.size == 0 and ignore_index is None:
            continue
        options = {"sample_weight": s, "label_smoothing": smoothing, "reduction": reduction}
        loss, dZ = fs.cross_entropy_gradient(Z, y, ignore_index=ignore_index, **options)
        np.testing.assert_array_equal(loss, fs.cross_entropy(Z, y, ignore_index=ignore_index, **options))
        expected, R = reference.padded_cross_entropy(Z, y, ignore_index, s, smoothing, reduction)
        assert np.shape(loss) == np.shape(expected)
        assert dZ.shape == Z.shape
        assert dZ.dtype == dtype
        assert np.asarray(loss).dtype == np.float64
        assert_near(loss, expected, dtype, 4)
        assert_near(dZ, R, dtype)
        assert not dZ[y == ignore_index].any()


@pytest.mark.parametrize("c", [5, 40])
def test_padding_changes_no_bit_of_the_other_rows(rng, c):
    Z, y = rng.standard_normal((60, c)).astype(np.float32), rng.integers(0, c, 60)
    kept = rng.random(60) < 0.7
    options = {"label_smoothing": 0.1, "sample_weight": rng.random(60)}
    loss, dZ = fs.cross_entropy_gradient(Z, np.where(kept, y, -100), ignore_index=-100, **options)
    options["sample_weight"] = options["sample_weight"][kept]
    expected, R = fs.cross_entropy_gradient(Z[kept], y[kept], **options)
    assert loss == expected
    np.testing.assert_array_equal(dZ[kept], R)
    same = fs.cross_entropy_gradient(Z, y, ignore_index=-100), fs.cross_entropy_gradient(Z, y)
    assert same[0][0] == same[1][0]
    np.testing.assert_array_equal(same[0][1], same[1][1])
    flat, deep = fs.cross_entropy_gradient(Z, y), fs.cross_entropy_gradient(Z.reshape(3, 4, 5, c), y.reshape(3, 4, 5))
    assert flat[0] == deep[0]
    np.testing.assert_array_equal(flat[1], deep[1].reshape(60, c))


@pytest.mark.parametrize("c", [3, 40])
def test_nothing_but_padding(c):
    """PyTorch: a mean of nan, and a gradient of 0."""
    Z, y = np.ones((2, 4, c)), np.full((2, 4), -1)
    loss, dZ = fs.cross_entropy_gradient(Z, y, ignore_index=-1)
    assert np.isnan(loss)
    np.testing.assert_array_equal(dZ, np.zeros_like(Z))
    assert fs.cross_entropy(Z, y, ignore_index=-1, reduction="sum") == 0
    np.testing.assert_array_equal(fs.cross_entropy(Z, y, ignore_index=-1, reduction="none"), np.zeros((2, 4)))
    np.testing.assert_array_equal(
        fs.cross_entropy(Z, np.full((2, 4), 255, np.uint8), ignore_index=255, reduction="sum"), 0
    )


def test_soft_targets_of_any_leading_shape(rng):
    Z, Y, s = rng.standard_normal((3, 5, 7)), soft_targets(rng, 15, 7).reshape(3, 5, 7), rng.random((3, 5))
    for reduction in ("none", "mean"):
        options = {"reduction": reduction, "label_smoothing": 0.1}
        loss, dZ = fs.cross_entropy_gradient(Z, Y, sample_weight=s, **options)
        flat = fs.cross_entropy_gradient(Z.reshape(15, 7), Y.reshape(15, 7), sample_weight=s.reshape(-1), **options)
        np.testing.assert_array_equal(loss, np.reshape(flat[0], np.shape(loss)))
        np.testing.assert_array_equal(dZ, flat[1].reshape(3, 5, 7))
    assert fs.cross_entropy(Z, Y, sample_weight=2.0) == fs.cross_entropy(Z, Y, sample_weight=np.full((3, 5), 2.0))


def test_malformed_leading_shapes(rng):
    Z, y = np.zeros((2, 3, 4)), np.zeros((2, 3), int)
    for wrong, options, message in (
        (y.reshape(-1), {}, r"y must be of shape \(2, 3\) for labels or \(2, 3, 4\) for probabilities"),
        (np.zeros((2, 3, 1), int), {}, "y must be of shape"),
        (y, {"sample_weight": np.ones(6)}, r"sample_weight must be of shape \(2, 3\), one weight a label, got \(6,\)"),
        (y - 100, {}, "in 0..3 for 4 classes, got -100"),
        (y - 7, {"ignore_index": -100}, "in 0..3 for 4 classes, got -7"),
        (np.full((2, 3, 4), 0.25), {"ignore_index": -100}, "ignore_index is for labels, got probabilities"),
    ):
        with pytest.raises(ValueError, match=message):
            fs.cross_entropy(Z, wrong, **options)
    with pytest.raises(TypeError, match="ignore_index must be an integer or None"):
        fs.cross_entropy(Z, y, ignore_index=0.5)
    with pytest.raises(TypeError, match="integer labels"):
        fs.cross_entropy(Z, y - 100.0, ignore_index=-100)


def test_malformed_targets():
    Z = np.zeros((3, 2))
    cases = [
        ([0, 1], {}, ValueError, "same number of rows, got 3 and 2"),
        ([0, 1, 2], {}, ValueError, "in 0..1 for 2 classes, got 2"),
        ([0, -1, 0], {}, ValueError, "got -1"),
        ([0.0, 1.0, 0.0], {}, TypeError, "integer labels"),
        (["a", "b", "a"], {}, TypeError, "real numbers"),
        (np.ones((3, 3)) / 3, {}, ValueError, "2 columns"),
        (np.full((3, 2), 0.75), {}, ValueError, "sum to 1 in each row; row 0 sums to 1.5"),
        (
            np.array([[0, 1], [1, 1], [1, 0]]),
            {},
            ValueError,
            "multilabel targets are not supported: row 1 of y marks 2",
        ),
        (np.array([[0, 1], [0, 0], [1, 0]], bool), {}, ValueError, "multilabel .* row 1 of y marks 0 classes"),
        (np.ones((3, 2)), {}, ValueError, "multilabel .* row 0 of y marks 2 classes"),
        (np.array([[1.5, -0.5]] * 3), {}, ValueError, "negative"),
        (np.full((3, 2), np.nan), {}, ValueError, "NaN"),
        (np.zeros((3, 2, 2), int), {}, ValueError, r"shape \(n,\)"),
        ([0, 1, 0], {"sample_weight": [1, 2]}, ValueError, r"sample_weight must be of shape \(3,\)"),
        ([0, 1, 0], {"sample_weight": [1, -2, 1]}, ValueError, "not negative"),
        ([0, 1, 0], {"sample_weight": [1, np.nan, 1]}, ValueError, "finite"),
        ([0, 1, 0], {"sample_weight": [0, 0, 0]}, ValueError, "all weights are 0"),
        ([0, 1, 0], {"label_smoothing": 1.5}, ValueError, "from 0 to 1, got 1.5"),
        ([0, 1, 0], {"label_smoothing": np.nan}, ValueError, "label_smoothing"),
        ([0, 1, 0], {"reduction": "max"}, ValueError, "'mean', 'sum', 'none', got 'max'"),
    ]
    for y, options, error, message in cases:
        with pytest.raises(error, match=message):
            fs.cross_entropy(Z, y, **options)
    with pytest.raises(ValueError, match="no mean of no rows"):
        fs.cross_entropy(np.zeros((0, 2)), np.zeros(0, int))
    assert fs.cross_entropy(np.zeros((0, 2)), np.zeros(0, int), reduction="sum") == 0
    column = fs.cross_entropy(Z, np.array([[0], [1], [0]]))
    assert column == fs.cross_entropy(Z, [0, 1, 0])


# ---- loss_gradient

PROBLEMS = [
    (1, 1, 2), (5, 784, 10), (1000, 784, 10), (517, 20, 3), (333, 37, 7), (101, 13, 2), (77, 9, 37), (203, 96, 100),
    (50, 3, 5), (130, 16, 13), (99, 2064, 12), (40, 300, 1000), (300, 1100, 250), (7, 5, 4000),
]  # fmt: skip


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
@pytest.mark.parametrize(("n", "m", "c"), PROBLEMS)
def test_loss_gradient(rng, dtype, n, m, c):
    X, y, coef, b = make_problem(rng, n, m, c, dtype)
    got = fs.loss_gradient(X, y, coef, b)
    expected = reference.loss_gradient(X, y, coef, b)
    assert isinstance(got[0], float)
    for g, e in zip(got, expected, strict=True):
        assert_near(g, e, coef.dtype, 4)
        assert np.asarray(g).dtype == (np.float64 if np.ndim(e) == 0 else coef.dtype)


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("weighted", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize(("n", "m", "c"), [(150, 33, 5), (60, 2000, 200)])
def test_loss_gradient_options(rng, soft, weighted, smoothing, reduction, n, m, c):
    X, y, coef, b = make_problem(rng, n, m, c, np.float64)
    y, s = soft_targets(rng, n, c) if soft else y, rng.random(n) * (rng.random(n) < 0.8) if weighted else None
    scale = rng.random(m) + 0.5
    got = fs.loss_gradient(
        X, y, coef, b, sample_weight=s, label_smoothing=smoothing, l2=0.3, scale=scale, reduction=reduction
    )
    expected = reference.loss_gradient(X, y, coef, b, s, smoothing, 0.3, scale, reduction == "mean")
    for g, e in zip(got, expected, strict=True):
        np.testing.assert_allclose(g, e, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize(("n", "m", "c"), [(40, 6, 4), (30, 1500, 100)])
def test_finite_differences(rng, n, m, c):
    X, y, coef, b = make_problem(rng, n, m, c, np.float64)
    y = soft_targets(rng, n, c)
    options = {"sample_weight": rng.random(n), "label_smoothing": 0.05, "l2": 0.1, "scale": 0.7}
    _, G, g = fs.loss_gradient(X, y, coef, b, **options)
    V, v = rng.standard_normal(coef.shape), rng.standard_normal(c)
    h = 1e-6
    up, down = (fs.loss_gradient(X, y, coef + t * V, b + t * v, **options)[0] for t in (h, -h))
    assert (up - down) / (2 * h) == pytest.approx((G * V).sum() + g @ v, rel=1e-7)


@pytest.mark.parametrize(("n", "m", "c"), [(200, 30, 6), (60, 1500, 200)])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_out_and_accumulate(rng, n, m, c, dtype):
    X, y, coef, b = make_problem(rng, n, m, c, dtype)
    loss, G, g = fs.loss_gradient(X, y, coef, b, reduction="sum")
    out = np.full_like(G, 7), np.full_like(g, 7)
    again = fs.loss_gradient(X, y, coef, b, reduction="sum", out=out)
    assert again[1] is out[0]
    assert again[2] is out[1]
    np.testing.assert_array_equal(out[0], G)
    out[0][...], out[1][...] = 0, 0
    total = 0.0
    for part in np.array_split(np.arange(n), 3):
        total += fs.loss_gradient(X[part], y[part], coef, b, reduction="sum", out=out, accumulate=True)[0]
    assert total == pytest.approx(loss, rel=1e-6)
    assert_near(out[0], G, dtype, 4)
    assert_near(out[1], g, dtype, 4)
    with pytest.raises(ValueError, match="give out"):
        fs.loss_gradient(X, y, coef, accumulate=True)
    with pytest.raises(ValueError, match="out must be"):
        fs.loss_gradient(X, y, coef, out=(G.T.copy(), g))


def test_refused_calls_leave_out_alone(rng):
    X, y, coef, b = make_problem(rng, 20, 5, 3)
    out = np.full((3, 5), 7, np.float32), np.full(3, 7, np.float32)
    for bad_y, bad_coef in ((y + 5, coef), (y[:-1], coef), (y, coef[:, :-1]), (y, coef[:1])):
        with pytest.raises(ValueError, match="must"):
            fs.loss_gradient(X, bad_y, bad_coef, b, out=out)
    assert (out[0] == 7).all()
    assert (out[1] == 7).all()


def test_compute_dtype(rng):
    X, y, coef, b = make_problem(rng, 300, 20, 4)
    loss, G, g = fs.loss_gradient(X, y, coef.astype(np.float64), b)
    assert G.dtype == g.dtype == np.float64  # as coef; the computation follows X
    exact = reference.loss_gradient(X, y, coef, b)
    assert abs(fs.loss_gradient(X, y, coef, b, dtype=np.float64)[0] - exact[0]) < 1e-14
    assert fs.loss_gradient(X, y, coef, b, dtype=np.float64)[1].dtype == np.float32
    assert abs(loss - exact[0]) < 1e-6
    X8 = rng.integers(0, 256, (300, 20), dtype=np.uint8)
    assert fs.loss_gradient(X8, y, coef, dtype=np.float64)[0] == pytest.approx(
        reference.loss_gradient(X8, y, coef)[0], rel=1e-14
    )
    with pytest.raises(ValueError, match="float32 or float64, got float16"):
        fs.loss_gradient(X, y, coef, dtype=np.float16)


@pytest.mark.parametrize(("n", "m", "c"), [(300, 37, 6), (60, 1500, 200)])
def test_layouts_of_x(rng, n, m, c):
    X, y, coef, b = make_problem(rng, n, m, c)
    expected = fs.loss_gradient(X, y, coef, b)
    locked = X.copy()
    locked.setflags(write=False)
    for other in (np.asfortranarray(X), X[::-1][::-1], np.repeat(X, 2, 1)[:, ::2], X.astype(">f4"), locked, X.tolist()):
        got = fs.loss_gradient(other, y, coef, b)
        if isinstance(other, list):  # float64 then
            assert got[0] == pytest.approx(expected[0], rel=1e-6)
            continue
        assert got[0] == expected[0]
        np.testing.assert_array_equal(got[1], expected[1])


def test_read_only_targets(rng):
    X, y, coef, b = make_problem(rng, 60, 8, 4)
    Y = np.eye(4, dtype=np.float32)[y]
    expected = fs.loss_gradient(X, y, coef, b)[0], fs.cross_entropy(X[:, :4], Y)
    y.setflags(write=False)
    Y.setflags(write=False)
    assert (fs.loss_gradient(X, y, coef, b)[0], fs.cross_entropy(X[:, :4], Y)) == expected


@pytest.mark.parametrize(("n", "m", "c"), [(60, 8, 4), (60, 1500, 200)])
def test_out_may_be_the_weights(rng, n, m, c):
    X, y, coef, b = make_problem(rng, n, m, c)
    expected = fs.loss_gradient(X, y, coef, b, l2=0.1)
    got = fs.loss_gradient(X, y, coef, b, l2=0.1, out=(coef, b))
    assert got[0] == expected[0]
    np.testing.assert_array_equal(coef, expected[1])
    np.testing.assert_array_equal(b, expected[2])


def test_no_rows():
    for m, c in ((8, 4), (784, 1000)):
        loss, G, _ = fs.loss_gradient(np.zeros((0, m)), np.zeros(0, int), np.zeros((c, m)), reduction="sum")
        assert loss == 0
        assert not G.any()


def test_nan_in_gives_nan_out(rng):
    for n, m, c in ((300, 37, 6), (60, 1500, 200)):
        X, y, coef, b = make_problem(rng, n, m, c)
        X[17, 3] = np.nan
        loss, G, g = fs.loss_gradient(X, y, coef, b)
        assert np.isnan(loss)
        assert np.isnan(G).all()
        assert np.isnan(g).all()


def test_masked_class(rng):
    X, y, coef, b = make_problem(rng, 60, 8, 4, np.float64)
    b[3] = -np.inf
    y %= 3
    got, expected = fs.loss_gradient(X, y, coef, b), reference.loss_gradient(X, y, coef[:3], b[:3])
    assert got[0] == pytest.approx(expected[0], rel=1e-14)
    np.testing.assert_allclose(got[1][:3], expected[1], atol=1e-14)
    assert not got[1][3].any()


def test_malformed_x():
    y, coef = [0, 1], np.zeros((2, 3))
    for X, error, message in (
        (np.zeros((2, 3, 1)), ValueError, "2 dimensions"),
        (np.zeros(3), ValueError, "2 dimensions"),
        (np.zeros((2, 0)), ValueError, "at least one feature"),
        (np.zeros((2, 3), complex), TypeError, "real numbers"),
        (np.array([["a"] * 3] * 2), TypeError, "real numbers"),
        (np.ma.masked_array(np.zeros((2, 3))), TypeError, "masked"),
    ):
        with pytest.raises(error, match=message):
            fs.loss_gradient(X, y, coef)
    with pytest.raises(ValueError, match="no mean of no rows"):
        fs.loss_gradient(np.zeros((0, 3)), np.zeros(0, int), coef)
    for scale, message in ((np.ones(2), r"shape \(3,\)"), (np.nan, "finite")):
        with pytest.raises(ValueError, match=message):
            fs.loss_gradient(np.zeros((2, 3)), y, coef, scale=scale)
    with pytest.raises(ValueError, match=r"intercept must be of shape \(2,\)"):
        fs.loss_gradient(np.zeros((2, 3)), y, coef, np.zeros(3))
    with pytest.raises(ValueError, match="'mean', 'sum', got 'none'"):
        fs.loss_gradient(np.zeros((2, 3)), y, coef, reduction="none")


@few
@given(
    n=st.integers(1, 70), m=st.integers(1, 70), c=st.integers(2, 40), seed=st.integers(0, 2**32 - 1),
    dtype=st.sampled_from([np.float32, np.float64, np.uint8]), soft=st.booleans(), weighted=st.booleans(),
    smoothing=st.sampled_from([0.0, 0.3]),
)  # fmt: skip
def test_any_problem(n, m, c, seed, dtype, soft, weighted, smoothing):
    rng = np.random.default_rng(seed)
    X, y, coef, b = make_problem(rng, n, m, c, dtype)
    y, s = soft_targets(rng, n, c) if soft else y, rng.random(n) + 0.1 if weighted else None
    got = fs.loss_gradient(X, y, coef, b, sample_weight=s, label_smoothing=smoothing)
    for g, e in zip(got, reference.loss_gradient(X, y, coef, b, s, smoothing), strict=True):
        assert_near(g, e, coef.dtype, 4)


def test_as_scikit_learn(rng):
    """The anchor's fused loss: an oracle that shares no code with the reference."""
    from sklearn._loss.loss import HalfMultinomialLoss
    from sklearn.linear_model._linear_loss import LinearModelLoss

    X, y, coef, b = make_problem(rng, 400, 30, 7, np.float64)
    weight = rng.random(400)
    loss = LinearModelLoss(HalfMultinomialLoss(n_classes=7), fit_intercept=True)
    F, D = loss.loss_gradient(
        np.asfortranarray(np.c_[coef, b]), X, y.astype(np.float64), sample_weight=weight, l2_reg_strength=0.2
    )
    got = fs.loss_gradient(X, y, coef, b, sample_weight=weight, l2=0.2)
    assert got[0] == pytest.approx(F, rel=1e-12)
    np.testing.assert_allclose(np.c_[got[1], got[2]], D, atol=1e-13)


# ---- predict_proba


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint8])
@pytest.mark.parametrize(("n", "m", "c"), [(1, 1, 2), (333, 37, 7), (100, 20, 100), (0, 4, 3)])
def test_predict_proba(rng, dtype, n, m, c):
    X, _, coef, b = make_problem(rng, n, m, c, dtype)
    P = fs.predict_proba(X, coef, b, scale=0.5)
    assert P.shape == (n, c)
    assert P.dtype == (np.float64 if dtype == np.float64 else np.float32)
    if n:
        assert_near(P, reference.softmax(X.astype(np.float64) * 0.5 @ coef.T + b), P.dtype, 2)
