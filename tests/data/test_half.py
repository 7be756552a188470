"""float16, bfloat16 and int8 are read as they are: every bit pattern, and the same bytes as in float32."""

import ml_dtypes
import numpy as np
import pytest
import scipy.sparse

import fastsoftmax as fs
from fastsoftmax.data.dense import Dense
from fastsoftmax.data.gate import as_features, numbers
from fastsoftmax.engine.jit import kernel
from fastsoftmax.engine.simd import decoded, stored
from fastsoftmax.engine.threads import JIT
from tests.conftest import objective_of

BITS = np.arange(1 << 16, dtype=np.uint16)
HALVES = {
    "float16": lambda X: X.astype(np.float16),
    "bfloat16": lambda X: X.astype(ml_dtypes.bfloat16),
    "bfloat16 by its bits": lambda X: fs.bfloat16(X.astype(ml_dtypes.bfloat16).view(np.uint16)),
    "int8": lambda X: np.clip(X * 40, -128, 127).astype(np.int8),
}


def single(X):
    """In float32."""
    return X.view(ml_dtypes.bfloat16).astype(np.float32) if X.dtype.kind == "V" else X.astype(np.float32)


def same(a, b):
    for x, y in zip(a, b, strict=True):
        np.testing.assert_array_equal(x, y)
        assert np.asarray(x).tobytes() == np.asarray(y).tobytes()


def data(rng, n=500, m=37, c=5):
    X, coef = rng.standard_normal((n, m)).astype(np.float32), rng.standard_normal((c, m)).astype(np.float32)
    return X, rng.integers(0, c, n), coef, rng.standard_normal(c).astype(np.float32)


@kernel
def decode(x, out):
    for i in range(len(x)):
        out[i] = decoded(x[i])


@pytest.mark.parametrize("hardware", [True, False])
def test_all_values_of_float16(hardware, monkeypatch):
    """By the CPU's instruction, where it has one, and by integers: one result, NaN's bits too."""
    monkeypatch.setattr(stored, "F16C", hardware and stored.F16C)
    out, run = np.zeros(len(BITS), np.float32), decode
    if JIT:
        import numba

        run = numba.njit(decode.py_func)
    run(BITS.view(np.int16), out)
    expected = BITS.view(np.float16).astype(np.float32).view(np.uint32)
    nan = np.isnan(BITS.view(np.float16))
    expected[nan] = (
        (BITS[nan].astype(np.uint32) & 0x8000) << 16 | 0x7FC00000 | (BITS[nan].astype(np.uint32) & 0x3FF) << 13
    )
    if JIT:
        np.testing.assert_array_equal(out.view(np.uint32), expected)
    np.testing.assert_array_equal(out, expected.view(np.float32))


def test_all_values_of_bfloat16():
    out = np.zeros(len(BITS), np.float32)
    decode(BITS, out)
    np.testing.assert_array_equal(out.view(np.uint32), BITS.astype(np.uint32) << 16)
    np.testing.assert_array_equal(numbers(BITS).view(np.uint32), BITS.astype(np.uint32) << 16)


@pytest.mark.parametrize("kind", HALVES)
@pytest.mark.parametrize(("m", "c"), [(37, 5), (64, 30), (300, 200), (1, 2)])
def test_functions_give_the_bytes_of_float32(rng, kind, m, c):
    X, y, coef, intercept = data(rng, m=m, c=c)
    half = HALVES[kind](X)
    weight, soft = rng.random(len(y)), rng.dirichlet(np.ones(c), len(y))
    for dtype in (None, np.float64):
        for target, options in ((y, {}), (soft, {"sample_weight": weight, "scale": 0.5, "l2": 0.1})):
            same(
                fs.loss_gradient(half, target, coef, intercept, dtype=dtype, **options),
                fs.loss_gradient(single(half), target, coef, intercept, dtype=dtype, **options),
            )
    got = fs.predict_proba(half, coef, intercept)
    assert got.dtype == np.float32
    same([got], [fs.predict_proba(single(half), coef, intercept)])


@pytest.mark.parametrize("kind", HALVES)
def test_any_memory_layout(rng, kind, tmp_path):
    X, y, coef, intercept = data(rng, m=38)
    half = HALVES[kind](X)
    expected = fs.loss_gradient(single(half), y, coef, intercept)
    wide = np.zeros((len(X), 3 * 38), half.dtype)
    wide[:, ::3] = half
    raw = np.zeros(half.nbytes + 1, np.uint8)
    raw[1:] = half.view(np.uint8).reshape(-1)
    half.tofile(tmp_path / "X")
    layouts = [
        np.asfortranarray(half),
        wide[:, ::3],
        raw[1:].view(half.dtype).reshape(half.shape),
        half[::-1].copy()[::-1],
    ]
    layouts.append(np.memmap(tmp_path / "X", np.uint8, "r").view(half.dtype).reshape(half.shape))
    if kind == "float16":
        layouts.append(half.astype(">f2"))
    for layout in layouts:
        same(fs.loss_gradient(layout, y, coef, intercept), expected)


@pytest.mark.parametrize("kind", HALVES)
@pytest.mark.parametrize("options", [{"momentum": 0.9}, {"optimizer": "adam", "batch_size": 7}, {"optimizer": "gd"}])
def test_trainers_and_models_give_the_bytes_of_float32(rng, kind, options):
    X, y, *_ = data(rng)
    half = HALVES[kind](X)
    a, b = (fs.Trainer(2, scale=0.1, early_stopping=True, **options).fit(Z, y) for Z in (half, single(half)))
    same((a.coef, a.intercept), (b.coef, b.intercept))
    same((a.predict(half), a.predict_proba(half, check=True)), (b.predict(single(half)), b.predict_proba(single(half))))
    assert a.score(half, y) == b.score(single(half), y)


@pytest.mark.parametrize("kind", HALVES)
def test_what_solvers_ask_of_a_design(rng, kind):
    X, y, coef, intercept = data(rng)
    half = HALVES[kind](X)
    a, b = objective_of(half, fs_targets(y, 5)), objective_of(single(half), fs_targets(y, 5))
    for mapped in ((a, b), (a.mapped(0.5, 0.25), b.mapped(0.5, 0.25))):
        one, two = mapped
        same(one.moments(), two.moments())
        same([one.class_sums()], [two.class_sums()])
        same([one.largest(np.arange(3))], [two.largest(np.arange(3))])
        same(one.weighted(np.ones((2, one.n))), two.weighted(np.ones((2, one.n))))
        same([one.grams(np.ones((1, one.n), np.float32), True)], [two.grams(np.ones((1, one.n), np.float32), True)])
        same(
            one.rows(np.arange(9)).loss_gradient(coef, intercept), two.rows(np.arange(9)).loss_gradient(coef, intercept)
        )
        same(one.part(5, 90).loss_gradient(coef, intercept), two.part(5, 90).loss_gradient(coef, intercept))
    assert a.stored_dtype == np.float32


def fs_targets(y, c):
    from fastsoftmax.data.targets import as_targets

    return as_targets(y, len(y), c, np.float32)


@pytest.mark.parametrize("kind", HALVES)
@pytest.mark.parametrize("canonical", [True, False])
def test_sparse(rng, kind, canonical):
    X, y, coef, intercept = data(rng)
    X[rng.random(X.shape) < 0.8] = 0
    S = scipy.sparse.csr_array(X)
    values = HALVES[kind](S.data)
    if not canonical:
        S.indices[: S.indptr[1]] = S.indices[: S.indptr[1]][::-1].copy()
    half = scipy.sparse.csr_array((values, S.indices, S.indptr), S.shape)
    whole = scipy.sparse.csr_array((single(values), S.indices, S.indptr), S.shape)
    if kind == "int8" and not canonical:  # its duplicates are summed in float64
        whole = whole.astype(np.float64)
    same(fs.loss_gradient(half, y, coef, intercept), fs.loss_gradient(whole, y, coef, intercept))
    a, b = (fs.Trainer(2).fit(Z, y) for Z in (half, whole))
    same((a.coef, a.intercept), (b.coef, b.intercept))
    one, two = objective_of(half, fs_targets(y, 5)), objective_of(whole, fs_targets(y, 5))
    same(one.moments(), two.moments())
    same([one.largest(np.arange(3))], [two.largest(np.arange(3))])
    block = np.zeros((2, 9, 37), np.float32)
    one.features(3, 12, block[0])
    two.features(3, 12, block[1])
    same(block[:1], block[1:])


@pytest.mark.parametrize("kind", ["float16", "bfloat16", "bfloat16 by its bits"])
@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_check_finds_what_is_not_finite(rng, kind, wrong):
    X, y, *_ = data(rng)
    model = fs.Trainer(1).fit(HALVES[kind](X), y)
    X[3, 2] = wrong
    with pytest.raises(ValueError, match="in row 3, feature 2"):
        model.predict(HALVES[kind](X), check=True)


def test_other_integers_are_what_they_were(rng):
    """16 bits of a user's are numbers, in float64."""
    X, y, coef, intercept = data(rng)
    for dtype in (np.int16, np.uint16):
        whole = (np.abs(X) * 1000).astype(dtype)
        assert Dense(whole).X.dtype == np.float64
        same(
            fs.loss_gradient(whole, y, coef * 1e-3, intercept),
            fs.loss_gradient(whole.astype(np.float64), y, coef * 1e-3, intercept),
        )


def test_bfloat16_is_of_uint16():
    assert as_features(fs.bfloat16(BITS.reshape(-1, 2))).dtype == np.uint16
    assert fs.bfloat16(BITS.astype(">u2")).tobytes() == fs.bfloat16(BITS).tobytes()
    for wrong in (BITS.astype(np.int32), BITS.view(np.int16), [1.0], BITS.view(np.float16)):
        with pytest.raises(TypeError, match="bits must be of uint16, got dtype"):
            fs.bfloat16(wrong)
