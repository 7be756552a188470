"""The gate: whatever is malformed is refused and changes nothing; whatever is only unusual gives the right result."""

import copy
import itertools
import tempfile

import numpy as np
import pytest
import scipy.sparse as sp
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastsoftmax as fs
from tests import reference

seeds = st.integers(0, 2**32 - 1)
EXAMPLES = 330
tried: dict[str, int] = {}


def often(examples):
    return settings(max_examples=examples, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))


# ---- malformed values of one argument, made from a good one


def masked(a):
    return np.ma.masked_array(a, np.ones(np.shape(a), bool))


def with_entry(value):
    def change(a):
        b = np.array(a, np.result_type(np.asarray(a).dtype, type(value)))
        b.reshape(-1)[b.size // 2] = value
        return b

    return change


def sparse(**changes):
    """CSR of X whose arrays were tampered with after its own checks."""

    def change(X):
        Z = sp.csr_array(np.asarray(X, np.float64) + 1)
        for name, function in changes.items():
            setattr(Z, name, function(getattr(Z, name).copy()))
        return Z

    return change


def tampered(kind, name, value):
    def change(X):
        Z = getattr(sp, kind + "_array")(np.asarray(X, np.float64) + 1)
        if name in ("row", "col"):
            Z.coords = tuple(
                np.full_like(a, value) if (name == "row") == (i == 0) else a for i, a in enumerate(Z.coords)
            )
        else:
            array = getattr(Z, name)
            array[-1] = value
        return Z

    return change


def lil(change):
    def make(X):
        Z = sp.lil_array(np.asarray(X, np.float64) + 1)
        change(Z)
        return Z

    return make


def shorter_rows(Z):
    Z.rows = Z.rows[:-1]


def another_row(Z):
    Z.rows[0] = [10**6]
    Z.data[0] = [1.0]


def more_indices(Z):
    Z.data[0] = Z.data[0][:-1]


def dia(X):
    Z = sp.dia_array(np.asarray(X, np.float64) + 1)
    Z.offsets = Z.offsets[:1]
    return Z


def jumping(dtype, *values):
    """Row pointers that rise and fall so far that differences wrap."""

    def change(indptr):
        p = indptr.astype(dtype)
        p[1 : 1 + len(values)] = values
        return p

    return change


NO_NUMBERS = [
    masked,
    lambda a: np.asarray(a).astype(complex),
    lambda a: np.asarray(a).astype(str),
    lambda a: np.asarray(a).astype("M8[s]"),
    lambda a: np.full(np.shape(a), None),
    lambda a: np.full(np.shape(a), "x", object),
    lambda a: np.zeros(np.shape(a), [("x", float)]),
    lambda a: {"x": 1},
    lambda a: [[1, 2], [3]],
    lambda a: object(),
]
BAD_X = [
    *NO_NUMBERS,
    lambda X: X[0],
    lambda X: X[None],
    lambda X: 3.0,
    lambda X: None,
    lambda X: X[:, :0],
    lambda X: np.concatenate([X, X], 1),
    lambda X: sp.csr_array(np.asarray(X, np.complex128)),
    sparse(indices=lambda a: a + 99),
    sparse(indices=lambda a: -a - 1),
    sparse(indptr=lambda a: a[::-1]),
    sparse(indptr=lambda a: a + 1),
    sparse(indptr=lambda a: a * 2),
    sparse(indptr=lambda a: a[:-1]),
    sparse(data=lambda a: a[:-1]),
    tampered("csc", "indices", 10**6),
    tampered("csc", "indices", -5),
    tampered("csc", "indptr", 10**6),
    tampered("coo", "row", 10**6),
    tampered("coo", "col", -7),
    tampered("bsr", "indices", 10**6),
    sparse(indptr=jumping(np.uint32, 100_000)),
    sparse(indptr=jumping(np.int64, 2**62, -(2**62) - 10)),
    sparse(indptr=list),
    sparse(data=lambda a: np.stack([a, a], 1)),
    sparse(indices=lambda a: np.stack([a, a], 1)),
    lil(shorter_rows),
    lil(another_row),
    lil(more_indices),
    dia,
]
MORE_ROWS = [lambda X: np.concatenate([X, X]), lambda X: X[:0]]
BAD_LABELS = [
    *NO_NUMBERS,
    lambda y: y[None, None],
    lambda y: y + 0.5,
    with_entry(np.nan),
    lambda y: None,
    lambda y: 0,
]
WRONG_LENGTH = [lambda y: y[:-1], lambda y: np.append(y, 0), lambda y: y[:0]]
OUT_OF_RANGE = [
    with_entry(-1),
    with_entry(10**6),
    with_entry(np.iinfo(np.int64).min),
    with_entry(np.iinfo(np.int64).max),
]
BAD_WEIGHT = [
    *NO_NUMBERS,
    with_entry(-1.0),
    with_entry(-1e-300),
    with_entry(np.nan),
    with_entry(np.inf),
    with_entry(1.7e308),
    lambda w: w[:-1],
    lambda w: np.append(w, 1),
    lambda w: w[:, None],
    lambda w: w[None],
    lambda w: 0 * w,
]
BAD_COEF = [
    *NO_NUMBERS,
    lambda W: W[:1],
    lambda W: W[0],
    lambda W: W[None],
    lambda W: np.concatenate([W, W], 1),
    lambda W: W[:, :-1],
    sp.csr_array,
    lambda W: None,
]
BAD_INTERCEPT = [*NO_NUMBERS, lambda b: b[:-1], lambda b: b[:, None], lambda b: np.append(b, 0), lambda b: 1.0]
BAD_SHARE = [lambda e: -0.1, lambda e: 1.5, lambda e: np.nan, lambda e: "much", lambda e: None, lambda e: 1j]
BAD_PENALTY = [lambda e: -1.0, lambda e: np.nan, lambda e: np.inf, lambda e: "l2", lambda e: None, lambda e: 1j]
BAD_SCALE = [*NO_NUMBERS, lambda s: np.nan, lambda s: np.ones(99), lambda s: np.ones((2, 2)), lambda s: -np.inf]
BAD_REDUCTION = [lambda r: "average", lambda r: None, lambda r: 3, lambda r: "NONE"]
BAD_DTYPE = [lambda d: np.float16, lambda d: int, lambda d: "number", lambda d: np.longdouble, lambda d: [1, 2, 3]]
BAD_AXIS = [lambda a: 2, lambda a: -3, lambda a: 0.5, lambda a: "rows", lambda a: (0, 1)]
BAD_Z = [*NO_NUMBERS, lambda Z: 1.0, lambda Z: None, lambda Z: Z[:, :0], sp.csr_array]


def bad_soft(y, c):
    Y = np.eye(c)[y]
    return [
        Y * 2, Y * 0, Y[:, :-1] if c > 2 else Y[:, [0, 1, 1]], with_entry(-1.0)(Y), with_entry(np.nan)(Y), masked(Y),
        np.concatenate([Y, Y]), Y + 0j, Y[None], Y.astype(str), with_entry(np.inf)(Y),
    ]  # fmt: skip


def bad_outs(X, G, g):
    frozen = G.copy()
    frozen.flags.writeable = False
    memory = np.zeros(G.size + 1, G.dtype)
    return [
        G, (G,), (G, g, g), (g, G), (G.T.copy().T, g), (frozen, g), (G.astype(np.float16), g), (G, g[:-1]),
        ([[0.0]], g), (G.view(np.matrix), g), (np.ma.array(G), g),
        (G.tolist(), g.tolist()), (memory[:-1].reshape(G.shape), memory[: g.size]), (G[:, ::-1], g), 5,
    ]  # fmt: skip


def calls(rng):
    """Good calls of everything that takes data, each with the malformed values of its arguments."""
    n, m, c = (int(k) for k in rng.integers((3, 2, 2), (12, 9, 7)))
    dtype = rng.choice([np.float32, np.float64])
    X, W, b = rng.standard_normal((n, m)).astype(dtype), rng.standard_normal((c, m)), rng.standard_normal(c)
    y, w, Z = rng.permutation(np.arange(n) % c), rng.random(n) + 0.5, rng.standard_normal((n, c))
    y[:2] = 0, c - 1
    soft = [lambda y, bad=bad: bad for bad in bad_soft(y, c)]
    data = {
        "X": BAD_X + MORE_ROWS,
        "y": [*BAD_LABELS, *WRONG_LENGTH, *OUT_OF_RANGE, *soft],
        "sample_weight": BAD_WEIGHT,
    }
    G, g = np.full_like(W, 7), np.full_like(b, 7)
    outs = [lambda o, bad=bad: bad for bad in bad_outs(X, G, g)]
    model = fs.SoftmaxModel(W, b)
    yield fs.loss_gradient, {
        "X": X, "y": y, "coef": W, "intercept": b, "sample_weight": w, "label_smoothing": 0.1, "l2": 1.0, "scale": 0.5,
        "reduction": "mean", "dtype": np.float64, "out": (G, g), "accumulate": True,
    }, data | {
        "coef": BAD_COEF, "intercept": BAD_INTERCEPT, "label_smoothing": BAD_SHARE, "l2": BAD_PENALTY,
        "scale": BAD_SCALE, "reduction": [*BAD_REDUCTION, lambda r: "none"], "dtype": BAD_DTYPE,
        "out": [*outs, lambda o: None, lambda o: (X[:c] if X.shape[0] >= c else X, g)],
    }  # fmt: skip
    yield fs.predict_proba, {"X": X, "coef": W, "intercept": b, "scale": 0.5}, {
        "X": BAD_X, "coef": BAD_COEF, "intercept": BAD_INTERCEPT, "scale": BAD_SCALE,
    }  # fmt: skip
    for function in (fs.cross_entropy, fs.cross_entropy_gradient):
        given = {"Z": Z, "y": y, "sample_weight": w, "label_smoothing": 0.1, "reduction": "mean", "ignore_index": 0}
        yield function, given, {
            "Z": [*BAD_Z, lambda Z: Z[0], lambda Z: Z[None], *MORE_ROWS],
            "y": [*BAD_LABELS, *WRONG_LENGTH, *OUT_OF_RANGE, *soft],
            "sample_weight": BAD_WEIGHT, "label_smoothing": BAD_SHARE, "reduction": BAD_REDUCTION,
            "ignore_index": [lambda i: 0.5, lambda i: "pad", lambda i: [0]],
        }  # fmt: skip
    for function in (fs.softmax, fs.log_softmax):
        yield function, {"Z": Z, "axis": 1, "out": Z.copy()}, {
            "Z": BAD_Z, "axis": BAD_AXIS, "out": [lambda o: o[:-1], lambda o: o.T.copy().T, lambda o: o.tolist(),
                                                  lambda o: o.astype(np.float32), lambda o: o[:, ::-1],
                                                  np.ma.array, lambda o: o.view(np.matrix)],
        }  # fmt: skip
    yield fs.logsumexp, {"Z": Z, "axis": 1}, {"Z": BAD_Z, "axis": BAD_AXIS}
    yield fs.one_hot, {"y": y, "n_classes": c}, {
        "y": BAD_LABELS[:-1] + OUT_OF_RANGE,
    }  # fmt: skip
    features = [lambda X: X[:, :-1], *BAD_X]
    yield model.predict, {"X": X}, {"X": features}
    yield model.predict_proba, {"X": X}, {"X": features}
    yield model.score, {"X": X, "y": y, "sample_weight": w}, {
        "X": features + MORE_ROWS, "sample_weight": BAD_WEIGHT,
        "y": [masked, lambda y: y[:-1], lambda y: y[None, None], lambda y: y.astype(str), lambda y: None,
              lambda y: y.astype("S9"), lambda y: y.astype("M8[s]"), lambda y: y + 0j],
    }  # fmt: skip
    trainer = fs.Trainer(1, learning_rate=1e-3, progress=False)
    given = {"X": X, "y": y, "sample_weight": w, "validation": (X, y, w)}
    labels = [masked, lambda y: y[:-1], lambda y: y + 0.5, lambda y: y + 0j, lambda y: 0 * y, lambda y: None]
    yield trainer.fit, given, {
        "X": BAD_X + MORE_ROWS, "y": labels + soft, "sample_weight": BAD_WEIGHT,
        "validation": [*(lambda v, bad=bad: (bad(v[0]), *v[1:]) for bad in features),
                       *(lambda v, bad=bad: (v[0], bad(v[1]), v[2]) for bad in (*labels[:4], *OUT_OF_RANGE)),
                       *(lambda v, bad=bad: (*v[:2], bad(v[2])) for bad in BAD_WEIGHT), lambda v: v[:1]],
    }  # fmt: skip


def snapshot(value):
    if isinstance(value, np.ndarray):
        return value.tobytes()
    return tuple(map(snapshot, value)) if isinstance(value, tuple) else None


@often(EXAMPLES)
@given(seed=seeds)
def test_what_is_malformed_is_refused(seed):
    """By a TypeError or a ValueError that says something; and no array that was given has changed."""
    for function, good, faults in calls(np.random.default_rng(seed)):
        for name, bads in faults.items():
            for bad in bads:
                try:
                    wrong = bad(good[name])
                except (TypeError, ValueError, AttributeError, IndexError):  # cannot even be made of this value
                    continue
                before = {k: snapshot(v) for k, v in good.items()}
                result = refusal = None
                with np.errstate(all="ignore"):
                    try:
                        result = function(**(good | {name: wrong}))
                    except (TypeError, ValueError) as error:
                        refusal = str(error)
                assert refusal, f"{function} took {name}={wrong!r} and returned {result!r}"
                assert len(refusal) > 10
                assert {k: snapshot(v) for k, v in good.items()} == before, (function, name, wrong)
                tried[function.__name__] = tried.get(function.__name__, 0) + 1


SETTINGS = {
    "epochs": [0, -1, 1.5, "2", None, True],
    "batch_size": [0, -1, 1.5, "2", None, True],
    "optimizer": ["newton", None, 3],
    "learning_rate": [0, -1, np.nan, np.inf, "a", None],
    "schedule": ["step", None, 3],
    "momentum": [-0.1, 1.0, np.nan, "a", None],
    "betas": [0.9, (0.9,), (0.9, 1.0), (0.9, 0.99, 0.999), (-1, 0.5), None, "ab"],
    "eps": [0, -1, np.nan, "a"],
    "l2": [-1, np.nan, np.inf, "a", None],
    "seed": [-1, 1.5, "a", None, True],
    "accumulate_steps": [0, -1, 1.5],
    "average": [-1, 1.5, "a", None],
    "patience": [0, 1.5, None],
    "validation_fraction": [0, 1, -0.5, np.nan, "a", None],
}


@pytest.mark.parametrize("kind", [int, np.int8, np.float32, np.float64, float])
@pytest.mark.parametrize("name", ["l2", "learning_rate", "momentum", "eps", "label_smoothing"])
def test_numbers_of_any_type_are_settings(rng, tmp_path, name, kind):
    X, y = rng.standard_normal((20, 3)), np.arange(20) % 2
    value = kind(0) if name in ("l2", "momentum", "label_smoothing") else kind(1)
    model = fs.Trainer(1, **{name: value}).fit(X, y, checkpoint=tmp_path / "c")
    assert model.sha256() == fs.Trainer(1, **{name: float(value)}).fit(X, y).sha256()
    model.save(tmp_path / "m")


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in SETTINGS.items() for value in values])
def test_settings_of_a_trainer(name, value):
    with pytest.raises((TypeError, ValueError)):
        fs.Trainer(**{name: value})


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@often(40)
@given(seed=seeds)
def test_estimators_refuse_and_stay_as_they_were(seed):
    """A fitted estimator keeps its coefficients, an unfitted one has none."""
    rng = np.random.default_rng(seed)
    n, m, c = (int(k) for k in rng.integers((6, 2, 2), (12, 6, 4)))
    X, y, w = rng.standard_normal((n, m)), np.arange(n) % c, rng.random(n) + 0.5
    not_finite = [
        with_entry(np.nan),
        with_entry(np.inf),
        with_entry(-np.inf),
        lambda X: sp.csr_array(with_entry(np.nan)(X)),
    ]
    # scikit-learn's LogisticRegression takes strings of digits, dates, and records of one number; so do we
    theirs = {NO_NUMBERS[2], NO_NUMBERS[3], NO_NUMBERS[6]}
    other_data = BAD_X[15]  # twice as many columns
    refused = [bad for bad in BAD_X if bad not in {*theirs, other_data}]
    faults = {"X": [*not_finite, *MORE_ROWS, *refused], "sample_weight": [b for b in BAD_WEIGHT if b not in theirs]}
    faults["y"] = [masked, lambda y: y[:-1], lambda y: y + 0j, lambda y: 0 * y, lambda y: None, with_entry(np.nan),
                   lambda y: y + 0.25, lambda y: np.eye(c)[y] * 2, lambda y: y[None]]  # fmt: skip
    good = {"X": X, "y": y, "sample_weight": w}
    models = [fs.SoftmaxRegression(max_iter=0), fs.SoftmaxSGDClassifier(max_epochs=1, tol=None)]
    models.append(fs.SoftmaxRegressionCV(Cs=1, cv=2, max_iter=0))
    for model, fitted in itertools.product(models, (False, True)):
        if fitted:
            model.fit(**good)
        before = copy.deepcopy(vars(model))
        for name, bads in faults.items():
            for bad in bads:
                try:
                    wrong = bad(good[name])
                except (TypeError, ValueError):
                    continue
                with pytest.raises((TypeError, ValueError)), np.errstate(all="ignore"):
                    model.fit(**(good | {name: wrong}))
                assert vars(model).keys() == before.keys(), (name, wrong)
                if fitted:
                    np.testing.assert_array_equal(model.coef_, before["coef_"])
                tried["fit"] = tried.get("fit", 0) + 1
        if fitted:
            for bad in (*not_finite, lambda X: X[:, 1:], other_data, *refused):
                with pytest.raises((TypeError, ValueError)):
                    model.predict(bad(X))
                tried["predict"] = tried.get("predict", 0) + 1


def test_fifty_thousand_were_tried():
    """What the two properties above tried and saw refused; it is printed with -s."""
    if not {"loss_gradient", "fit", "predict"} <= set(tried):
        pytest.skip("the properties were not run in this process")
    print(f"\nmalformed inputs refused: {sum(tried.values())}", tried)
    assert sum(tried.values()) >= 50_000


# ---- unusual, and right


def unaligned(a):
    memory = np.zeros(a.nbytes + 1, np.uint8)
    view = memory[1:].view(a.dtype)[: a.size].reshape(a.shape) if a.size else a
    view[...] = a
    return view


def read_only(a):
    a = a.copy()
    a.flags.writeable = False
    return a


def on_disk(a):
    if a.size == 0:
        return a
    with tempfile.TemporaryFile() as file:
        mapped = np.memmap(file, a.dtype, "w+", shape=a.shape)
    mapped[...] = a
    return mapped


class Subclass(np.ndarray):
    pass


PRESENTATIONS = {
    "as it is": lambda a: a,
    "Fortran": np.asfortranarray,
    "reversed": lambda a: a[::-1].copy()[::-1],
    "every other": lambda a: np.repeat(a, 2, -1)[..., ::2],
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "read-only": read_only,
    "unaligned": unaligned,
    "memmap": on_disk,
    "list": lambda a: a.tolist(),
    "subclass": lambda a: a.view(Subclass),
    "long double": lambda a: a.astype(np.longdouble) if a.dtype.kind == "f" else a,
    "bytes swapped and strided": lambda a: np.repeat(a.astype(a.dtype.newbyteorder(">")), 3, -1)[..., ::3],
}
DTYPES = ("f2", "f4", "f8", "u1", "i1", "i4", "i8", "u8", "?")


@often(400)
@given(seed=seeds, ways=st.lists(st.sampled_from(sorted(PRESENTATIONS)), min_size=5, max_size=5))
def test_what_is_unusual_is_right(seed, ways):
    """Any dtype and layout of each argument, no rows, sparse or dense: as the reference, and nothing changes."""
    rng = np.random.default_rng(seed)
    n, m, c = int(rng.integers(0, 40)), int(rng.integers(1, 30)), int(rng.integers(2, 40))
    dtype = np.dtype(rng.choice(DTYPES))
    X = (rng.integers(-3 if dtype.kind in "fi" else 0, 4, (n, m)) * 0.5).astype(dtype)
    W, b = rng.standard_normal((c, m)) / 4, rng.standard_normal(c)
    W, b = W.astype(rng.choice(["f4", "f8"])), b.astype(rng.choice(["f4", "f8"]))
    y = rng.integers(0, c, n).astype(rng.choice(["i8", "i4", "u1"])) if n else np.zeros(0, int)
    w = rng.integers(0, 3, n) * 1.0
    given_ = [PRESENTATIONS[way](a) for way, a in zip(ways, (X, y, W, b, w), strict=True)]
    given_[0] = given_[0] if n else X  # a list of no rows has no columns
    if rng.random() < 0.3 and X.dtype.kind == "f" and X.dtype.itemsize > 2:
        given_[0] = getattr(sp, rng.choice(["csr", "csc", "coo", "bsr", "lil", "dok"]) + "_array")(X)
    before = [snapshot(a) for a in given_]
    options = {"sample_weight": given_[4], "label_smoothing": float(rng.choice([0.0, 0.2])), "reduction": "sum"}
    loss, G, g = fs.loss_gradient(given_[0], given_[1], given_[2], given_[3], **options)
    smoothing = options["label_smoothing"]
    expected = (
        reference.loss_gradient(X, np.asarray(y, int), W, b, w, smoothing, mean=False) if n else (0, 0 * W, 0 * b)
    )
    exact = X.dtype == np.float64 or (X.dtype.kind in "iub" and X.dtype not in (np.uint8, np.int8))
    tolerance = (1e-5 if not exact or np.float32 in (W.dtype, b.dtype) else 1e-12) * max(1, n * m)
    for got, wanted in zip((loss, G, g), expected, strict=True):
        np.testing.assert_allclose(got, wanted, rtol=0, atol=tolerance)
    assert G.dtype == g.dtype
    P = fs.predict_proba(given_[0], given_[2], given_[3])
    assert P.shape == (n, c)
    if n:
        np.testing.assert_allclose(P, reference.softmax(X.astype(float) @ W.T.astype(float) + b), atol=1e-5)
    assert [snapshot(a) for a in given_] == before


def test_the_gate_does_not_look_for_nan(rng):
    """Prediction scans nothing: NaN in, NaN out."""
    X = rng.standard_normal((5, 3))
    X[1, 2] = np.nan
    P = fs.predict_proba(X, rng.standard_normal((4, 3)))
    assert np.isnan(P[1]).all()
    assert np.isfinite(np.delete(P, 1, 0)).all()
