"""The trainer against plain NumPy descent; its options, its ends, and what it leaves behind."""

import _thread
import itertools
import logging
from fractions import Fraction

import numpy as np
import pytest
import scipy.sparse as sp

import fastsoftmax as fs
from fastsoftmax.engine.threads import JIT
from fastsoftmax.files import CheckpointError
from fastsoftmax.kernels import gradient
from fastsoftmax.kernels.shuffle import shuffle
from fastsoftmax.training import descent, schedules
from tests import reference
from tests.conftest import make_problem


@pytest.fixture
def data(rng):
    """Three overlapping clouds of 300 rows."""
    y = rng.integers(0, 3, 300)
    return rng.standard_normal((300, 6)) + np.eye(3, 6)[y] * 1.5, y


def orders(n, epochs, seed=0):
    """The orders of rows that a seed promises: Fisher-Yates by PCG64's raw integers."""
    stream, result = np.random.PCG64(seed), []
    for _ in range(epochs):
        raw, order = stream.random_raw(n), np.arange(n)
        for i in range(n - 1, 0, -1):
            j = int(raw[i]) % (i + 1)
            order[i], order[j] = order[j], order[i]
        result.append(order)
    return result


@pytest.mark.parametrize("batch", [1, 7, 64, 300, 1000])
@pytest.mark.parametrize("options", [{}, {"momentum": 0.9}, {"momentum": 0.9, "nesterov": True}, {"l2": 0.1}])
def test_sgd(data, batch, options):
    X, y = data
    model = fs.Trainer(2, batch, learning_rate=0.05, seed=3, **options).fit(X, y)
    W, b = reference.sgd(X, y, 3, orders(300, 2, 3), batch, 0.05, **options)
    np.testing.assert_allclose(model.coef, W, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(model.intercept, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_adam(data, dtype):
    X, y = data
    model = fs.Trainer(3, 50, optimizer="adam", learning_rate=0.01, betas=(0.8, 0.95)).fit(X.astype(dtype), y)
    W, b = reference.adam(X, y, 3, orders(300, 3), 50, 0.01, (0.8, 0.95))
    assert model.coef.dtype == dtype
    np.testing.assert_allclose(model.coef, W, atol=1e-12 if dtype == np.float64 else 1e-5)
    np.testing.assert_allclose(model.intercept, b, atol=1e-12 if dtype == np.float64 else 1e-5)


def test_gradient_descent_of_the_lecture(data):
    X, y = data
    trainer = fs.Trainer(20, optimizer="gd", learning_rate=0.5)
    model = trainer.fit(X, y)
    W, b = reference.sgd(X, y, 3, [np.arange(300)] * 20, 300, 0.5)
    np.testing.assert_allclose(model.coef, W, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(model.intercept, b, rtol=1e-9, atol=1e-12)
    losses = [record["loss"] for record in trainer.history]
    assert losses[0] == pytest.approx(np.log(3), rel=1e-12)
    assert all(a > b for a, b in itertools.pairwise(losses))


@pytest.mark.parametrize("k", [2, 3, 100])
def test_accumulate_steps(data, k):
    """One step per k micro-batches, equal within rounding to one batch k times as large."""
    X, y = data
    a = fs.Trainer(2, 16, accumulate_steps=k).fit(X, y)
    b = fs.Trainer(2, min(300, 16 * k)).fit(X, y)
    np.testing.assert_allclose(a.coef, b.coef, rtol=1e-9, atol=1e-13)


def test_batches_of_many_chunks(rng):
    """A large batch is cut into chunks whose partial gradients are added."""
    n = 3000 if JIT else 700
    X, y = rng.standard_normal((n, 5)).astype(np.float32), rng.integers(0, 4, n)
    model = fs.Trainer(1, n // 2).fit(X, y)
    W, _ = reference.sgd(X.astype(np.float64), y, 4, orders(n, 1), n // 2, 0.1)
    np.testing.assert_allclose(model.coef, W, atol=1e-6)


def test_weights(data, rng):
    """Rows of weight 0 are dropped before the shuffle; the others' batches are unbiased."""
    X, y = data
    s = rng.random(300) * (rng.random(300) < 0.7)
    model = fs.Trainer(2, 32).fit(X, y, sample_weight=s)
    rows = np.flatnonzero(s)
    W, b = reference.sgd(X, y, 3, [rows[order] for order in orders(len(rows), 2)], 32, 0.1, sample_weight=s)
    np.testing.assert_allclose(model.coef, W, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(model.intercept, b, rtol=1e-9, atol=1e-12)
    with pytest.raises(ValueError, match="no row to train on"):
        fs.Trainer(1).fit(X, y, sample_weight=np.zeros(300))


def test_class_weight(data):
    X, y = data
    by_hand = fs.Trainer(1).fit(X, y, sample_weight=np.array([1.0, 2.0, 0.5])[y])
    for weights in ({0: 1.0, 1: 2.0, 2: 0.5}, {1: 2.0, 2: 0.5}, [1.0, 2.0, 0.5]):
        np.testing.assert_array_equal(fs.Trainer(1).fit(X, y, class_weight=weights).coef, by_hand.coef)
    names = np.array(["a", "b", "c"])[y]
    model = fs.Trainer(1).fit(X, names, class_weight={"b": 2.0, "c": 0.5})
    np.testing.assert_array_equal(model.coef, by_hand.coef)
    counts = np.bincount(y)
    balanced = fs.Trainer(1).fit(X, y, class_weight="balanced")
    expected = fs.Trainer(1).fit(X, y, sample_weight=(300 / (3 * counts))[y])
    np.testing.assert_allclose(balanced.coef, expected.coef, rtol=1e-12)
    soft = fs.Trainer(1).fit(X, np.eye(3)[y], class_weight=[1.0, 2.0, 0.5])
    np.testing.assert_allclose(soft.coef, by_hand.coef, rtol=1e-12)
    for wrong, message in (
        ({"x": 1.0}, "does not have"),
        ({"a": -1.0}, "class_weight must be 3 finite numbers that are not negative, got -1"),
        ({"a": np.nan}, "class_weight must be 3 finite numbers that are not negative, got nan"),
        ({"a": np.inf}, "class_weight must be 3 finite numbers that are not negative, got inf"),
        ({"a": 1e307}, "class_weight is so large"),
        ("even", "balanced"),
        ([1.0], r"class_weight must be 3 finite numbers, one a class, got shape \(1,\)"),
    ):
        with pytest.raises(ValueError, match=message):
            fs.Trainer(1).fit(X, names, class_weight=wrong)


def test_kinds_of_labels(data):
    X, y = data
    plain = fs.Trainer(1).fit(X, y)
    names = np.array(["ant", "bee", "cat"])
    for labels, classes in (
        (names[y], names),
        (names[y].astype(object), names),
        (names[y].tolist(), names),
        (y * 10 - 5, [-5, 5, 15]),
        (y[:, None], [0, 1, 2]),
        (np.eye(3)[y], [0, 1, 2]),
        (y.astype(float), [0.0, 1.0, 2.0]),
        ((y - 1).astype(np.float32), np.array([-1, 0, 1], np.float32)),
    ):
        model = fs.Trainer(1).fit(X, labels)
        np.testing.assert_array_equal(model.classes, classes)
        if not isinstance(classes, np.ndarray):
            assert model.classes.dtype == np.array(classes).dtype
        elif classes.dtype.kind == "f":
            assert model.classes.dtype == classes.dtype == model.predict(X).dtype
        np.testing.assert_array_equal(model.coef, plain.coef)
    two = fs.Trainer(1).fit(X, y == 1)
    np.testing.assert_array_equal(two.classes, [False, True])
    for wrong in (y + 0.5, np.where(y == 1, np.nan, y), np.where(y == 1, np.inf, y)):
        with pytest.raises(ValueError, match="y must hold classes: floats that are whole numbers will do, got"):
            fs.Trainer(1).fit(X, wrong)
    with pytest.raises(TypeError, match="y must hold integers, booleans or strings"):
        fs.Trainer(1).fit(X, y.astype(np.longdouble))
    with pytest.raises(ValueError, match="at least 2 classes, got 1"):
        fs.Trainer(1).fit(X, np.zeros(300, int))


def test_labels_that_are_floats(data, tmp_path):
    """Of whole numbers, as in scikit-learn: in class weights, validation rows, scores, files and checkpoints."""
    X, y = data
    floats = y.astype(float) * 2
    weights = {0: 1.0, 2: 3.0, 4: 0.5}
    trainer = fs.Trainer(2)
    model = trainer.fit(X, floats, class_weight=weights, validation=(X[:50], floats[:50]), checkpoint=tmp_path / "c")
    expected = fs.Trainer(2).fit(X, y, class_weight=list(weights.values()))
    np.testing.assert_array_equal(model.coef, expected.coef)
    assert trainer.history[-1]["validation_accuracy"] == expected.score(X[:50], y[:50])
    assert model.score(X, floats) == expected.score(X, y)
    model.save(tmp_path / "m")
    assert fs.SoftmaxModel.load(tmp_path / "m").predict(X).tolist() == model.predict(X).tolist()
    assert fs.Trainer(2).fit(X, floats, class_weight=weights, validation=(X[:50], floats[:50]),
                             checkpoint=tmp_path / "c").sha256() == model.sha256()  # fmt: skip


def test_scale_gives_weights_of_raw_features(data):
    X, y = data
    scale = np.array([0.5, 2.0, 1.0, 4.0, 0.25, 1.0])  # powers of two: exact
    a, b = fs.Trainer(2, scale=scale, l2=0.01).fit(X, y), fs.Trainer(2, l2=0.01).fit(X * scale, y)
    np.testing.assert_array_equal(a.coef, b.coef * scale)
    np.testing.assert_array_equal(a.predict_proba(X).argmax(1), b.predict_proba(X * scale).argmax(1))


def test_no_intercept(data):
    X, y = data
    model = fs.Trainer(2, fit_intercept=False).fit(X, y)
    assert not model.intercept.any()
    assert model.coef.any()


def test_averaging(data):
    """The mean of the weights after each step from the given epoch on."""
    X, y = data
    for average, first in ((True, 0), (0, 0), (1, 1), (2, 2)):
        model = fs.Trainer(3, 100, average=average).fit(X, y)
        steps = [reference.sgd(X, y, 3, [np.concatenate(orders(300, 3))[: 100 * t]], 100, 0.1)[0] for t in range(1, 10)]
        np.testing.assert_allclose(model.coef, np.mean(steps[3 * first :], 0), rtol=1e-9, atol=1e-12)


def test_label_smoothing_and_soft_targets(data):
    X, y = data
    a = fs.Trainer(2, label_smoothing=0.3).fit(X, y)
    b = fs.Trainer(2).fit(X, 0.7 * np.eye(3)[y] + 0.1)
    np.testing.assert_allclose(a.coef, b.coef, rtol=1e-9, atol=1e-13)


def test_the_seed_decides_everything(data):
    X, y = data
    options = {"early_stopping": True, "average": 1}
    a, b, c = (fs.Trainer(3, seed=seed, **options).fit(X, y).sha256() for seed in (1, 1, 2))
    assert a == b != c


def test_no_shuffle(data):
    X, y = data
    model = fs.Trainer(2, 32, shuffle=False).fit(X, y)
    W, _ = reference.sgd(X, y, 3, [np.arange(300)] * 2, 32, 0.1)
    np.testing.assert_allclose(model.coef, W, rtol=1e-9, atol=1e-12)


def test_every_position_is_as_likely():
    """Chi-squared of 20 000 shuffles of 5 rows: 16 degrees of freedom, the 99.9 % quantile is 39.3."""
    counts, stream = np.zeros((5, 5)), np.random.PCG64(0)
    for _ in range(20000):
        order = np.arange(5)
        shuffle(stream.random_raw(5), order)
        counts[np.arange(5), order] += 1
    assert ((counts - 4000) ** 2 / 4000).sum() < 39.3


def test_history(data):
    X, y = data
    trainer = fs.Trainer(3, 50, schedule="cosine")
    model = trainer.fit(X, y, validation=(X[:100], y[:100]))
    assert [record["epoch"] for record in trainer.history] == [1, 2, 3]
    last = trainer.history[-1]
    assert last["validation_loss"] == pytest.approx(
        reference.loss_gradient(X[:100], y[:100], model.coef, model.intercept)[0], rel=1e-12
    )
    assert last["validation_accuracy"] == model.score(X[:100], y[:100])
    assert last["learning_rate"] < trainer.history[0]["learning_rate"] < 0.1
    assert last["examples_per_second"] == pytest.approx(300 / last["seconds"])
    assert trainer.stopped == "epochs"
    W = reference.sgd(X, y, 3, [order[:50] for order in orders(300, 1)], 50, 0.0)[0]
    assert not W.any()
    losses = []
    weights = np.zeros((3, 6)), np.zeros(3)
    for t in range(6):
        part = orders(300, 1)[0][50 * t : 50 * t + 50]
        losses.append(reference.loss_gradient(X[part], y[part], *weights, mean=False)[0])
        done = np.concatenate(orders(300, 1))[: 50 * t + 50]
        rates = schedules.learning_rates("cosine", 0.1, 0, 18, 18, 6)
        weights = descend_with_rates(X, y, done, rates)
    assert trainer.history[0]["loss"] == pytest.approx(sum(losses) / 300, rel=1e-12)


def descend_with_rates(X, y, rows, rates):
    W, b = np.zeros((3, X.shape[1])), np.zeros(3)
    for t, start in enumerate(range(0, len(rows), 50)):
        part = rows[start : start + 50]
        _, G, g = reference.loss_gradient(X[part], y[part], W, b)
        W, b = W - rates[t] * G, b - rates[t] * g
    return W, b


def test_validation_with_weights_and_errors(data):
    X, y = data
    trainer = fs.Trainer(1)
    s = np.arange(100.0)
    model = trainer.fit(X, y, validation=(X[:100], y[:100], s))
    expected = reference.loss_gradient(X[:100], y[:100], model.coef, model.intercept, s)[0]
    assert trainer.history[0]["validation_loss"] == pytest.approx(expected, rel=1e-12)
    for validation, message in (
        ((X,), "got 1 values"),
        ((X[:, :3], y), "6 features, the validation rows have 3"),
        ((X, y + 1), r"does not have: \[3\]"),
        ((X[:0], y[:0]), "no validation row"),
    ):
        with pytest.raises(ValueError, match=message):
            fs.Trainer(1).fit(X, y, validation=validation)


def test_early_stopping_keeps_the_best(data):
    X, y = data
    trainer = fs.Trainer(50, 10, learning_rate=5.0, early_stopping=True, patience=3, validation_fraction=0.3)
    model = trainer.fit(X, y)
    assert trainer.stopped == "early_stopping"
    accuracies = [record["validation_accuracy"] for record in trainer.history]
    best = int(np.argmax(accuracies))
    assert len(accuracies) == best + 1 + 3
    again = fs.Trainer(best + 1, 10, learning_rate=5.0, early_stopping=True, validation_fraction=0.3)
    np.testing.assert_array_equal(again.fit(X, y).coef, model.coef)


def test_validation_rows_are_held_out(rng):
    """Rows that are held out do not train: here those of class 1 alone carry feature 1."""
    X, y = rng.standard_normal((200, 2)), rng.integers(0, 2, 200)
    trainer = fs.Trainer(1, 10, early_stopping=True, validation_fraction=0.25, seed=4)
    trainer.fit(X, y)
    order, raw = np.arange(200), np.random.PCG64(4).random_raw(200)
    shuffle(raw, order)
    train = np.sort(order[:-50])
    stream = np.random.PCG64(4)
    stream.random_raw(200)
    mixed = train.copy()
    shuffle(stream.random_raw(150), mixed)
    W, _ = reference.sgd(X, y, 2, [mixed], 10, 0.1)
    np.testing.assert_allclose(trainer.model.coef, W, rtol=1e-9, atol=1e-12)


def test_callbacks(data):
    X, y = data
    seen, also = [], []
    trainer = fs.Trainer(10)
    trainer.fit(X, y, callbacks=[lambda r: seen.append(r["epoch"]) or r["epoch"] == 3, lambda r: also.append(1)])
    assert seen == [1, 2, 3]
    assert len(also) == 3
    assert trainer.stopped == "callback"

    def fail(record):
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        trainer.fit(X, y, callbacks=[fail])
    np.testing.assert_array_equal(trainer.model.coef, fs.Trainer(1).fit(X, y).coef)  # of the finished epoch


def test_ctrl_c_leaves_a_usable_model(data, caplog):
    X, y = data
    trainer = fs.Trainer(1000)
    with caplog.at_level(logging.WARNING, "fastsoftmax"):
        model = trainer.fit(X, y, callbacks=[lambda record: record["epoch"] == 4 and _thread.interrupt_main()])
    assert trainer.stopped == "interrupted"
    assert len(trainer.history) in (4, 5)
    assert model is trainer.model
    assert model.score(X, y) > 0.5
    assert "interrupted" in caplog.text


def test_divergence_names_the_learning_rate(data):
    X, y = data
    trainer = fs.Trainer(20, learning_rate=1e200, momentum=0.9)
    with pytest.raises(FloatingPointError, match=r"learning_rate=1e\+200 is too large"):
        trainer.fit(X * 1e150, y)
    assert np.isfinite(trainer.model.coef).all()
    X = X.copy()
    X[5, 2] = np.nan
    with pytest.raises(FloatingPointError, match="X holds NaN"):
        fs.Trainer(2).fit(X, y)


def test_weights_that_overflow_in_the_last_step(data):
    X, y = data
    trainer = fs.Trainer(1, optimizer="gd", learning_rate=1e308)
    with pytest.raises(FloatingPointError, match="not finite"):
        trainer.fit(X * 1e10, y)
    assert np.isfinite(trainer.model.coef).all()


def test_numpy_settings_can_be_saved(data, tmp_path):
    X, y = data
    fs.Trainer(np.int64(1), learning_rate=np.float32(0.1)).fit(X, y).save(tmp_path / "m")
    assert fs.SoftmaxModel.load(tmp_path / "m").settings["epochs"] == 1


def test_masked_labels_are_refused(data):
    X, y = data
    with pytest.raises(TypeError, match="masked"):
        fs.Trainer(1).fit(X, np.ma.masked_array(y, y == 1))


def test_settings_are_checked():
    for options, message in (
        ({"epochs": 0}, "epochs must be an integer of at least 1, got 0"),
        ({"batch_size": 2.5}, "batch_size"),
        ({"seed": -1}, "seed"),
        ({"optimizer": "lbfgs"}, "optimizer must be one of"),
        ({"schedule": "linear"}, "schedule must be one of"),
        ({"learning_rate": 0.0}, "learning_rate must be finite and positive"),
        ({"learning_rate": np.inf}, "learning_rate"),
        ({"l2": -1.0}, "l2 must be finite and not negative"),
        ({"momentum": 1.0}, "momentum"),
        ({"betas": (0.9, 1.0)}, "betas"),
        ({"nesterov": True}, "nesterov needs a momentum"),
        ({"validation_fraction": 1.0}, "validation_fraction"),
        ({"accumulate_steps": 0}, "accumulate_steps"),
        ({"patience": 0}, "patience"),
        ({"average": -1}, "average must be a boolean or a number of epochs"),
    ):
        with pytest.raises(ValueError, match=message):
            fs.Trainer(**options)
    with pytest.raises(ValueError, match="float32 or float64"):
        fs.Trainer(1, dtype=np.float16).fit(np.zeros((2, 1)), [0, 1])
    with pytest.raises(ValueError, match="no row to train on"):
        fs.Trainer(1).fit(np.zeros((0, 2)), np.zeros((0, 3)))


def test_uint8_and_compute_dtype(rng):
    X, y = rng.integers(0, 256, (200, 7), dtype=np.uint8), rng.integers(0, 3, 200)
    a = fs.Trainer(2, scale=1 / 255, dtype=np.float64).fit(X, y)
    W, _ = reference.sgd(X / 255, y, 3, orders(200, 2), 64, 0.1)
    assert a.coef.dtype == np.float64
    np.testing.assert_allclose(a.coef * 255, W, rtol=1e-9, atol=1e-12)
    assert fs.Trainer(1, scale=1 / 255).fit(X, y).coef.dtype == np.float32


def test_progress(data, capsys):
    X, y = data
    fs.Trainer(2, progress=True).fit(X, y)
    assert "epoch" in capsys.readouterr().err
    fs.Trainer(2).fit(X, y)  # pytest's stderr is no terminal
    assert capsys.readouterr().err == ""


def test_matches_scikit_learn_at_the_optimum(data):
    """Long gradient descent reaches LogisticRegression's optimum: an oracle that shares nothing with ours."""
    from sklearn.linear_model import LogisticRegression

    X, y = data
    rival = LogisticRegression(C=1.0, tol=1e-12, max_iter=10000).fit(X, y)
    ours = fs.Trainer(6000, optimizer="gd", learning_rate=1.0, l2=1 / 300).fit(X, y)
    np.testing.assert_allclose(ours.coef, rival.coef_, atol=1e-6)
    np.testing.assert_allclose(ours.predict_proba(X), rival.predict_proba(X), atol=1e-6)


@pytest.mark.parametrize("operations", [1.0, 3e4, 2e5, 1e6])
@pytest.mark.parametrize(
    "options",
    [{}, {"optimizer": "gd"}, {"batch_size": 70, "accumulate_steps": 3, "average": True}, {"optimizer": "adam"}],
)
def test_slices_of_steps_do_not_change_a_bit(rng, monkeypatch, options, operations):
    """However few operations a call of the driver may take: whole batches, micro-batches, or rows of their chunks."""
    X, y, _, _ = make_problem(rng, 300, 12, 4)
    settings = {"epochs": 2, "batch_size": 37, "l2": 0.01} | options
    expected = fs.Trainer(**settings).fit(X, y)
    monkeypatch.setattr(descent, "SLICE", operations)
    assert fs.Trainer(**settings).fit(X, y).sha256() == expected.sha256()


def test_large_gradient_descent_is_sliced(rng, monkeypatch):
    """One step over all rows is many calls: Ctrl-C is heard between them."""
    X, y, _, _ = make_problem(rng, 3000, 40, 4)
    calls, real = [], gradient.steps.__class__.__call__
    monkeypatch.setattr(gradient.steps.__class__, "__call__", lambda self, *a: calls.append(self) or real(self, *a))
    for operations, expected in ((1e9, 1), (1e5, 2)):  # two blocks a chunk
        monkeypatch.setattr(descent, "SLICE", operations)
        calls.clear()
        fs.Trainer(1, optimizer="gd").fit(X, y)
        assert calls.count(gradient.steps) == expected


def test_sizes_of_any_integer_and_rates_of_any_number(rng):
    """Numbers of other kinds change no bit, of this fit and of those that follow."""
    X, y = rng.standard_normal((500, 1040)).astype(np.float32), np.arange(500) % 3
    wanted = fs.Trainer(1, 64, accumulate_steps=2, learning_rate=0.125).fit(X, y).sha256()
    for kind in (np.int16, np.uint8, np.int64):
        trainer = fs.Trainer(1, kind(64), accumulate_steps=kind(2), learning_rate=np.float32(0.125))
        assert trainer.fit(X, y).sha256() == wanted
    assert fs.Trainer(1, 64, accumulate_steps=2, learning_rate=Fraction(1, 8)).fit(X, y).sha256() == wanted
    assert fs.Trainer(1, 64, accumulate_steps=2, learning_rate=0.125).fit(X, y).sha256() == wanted


@pytest.mark.parametrize("kind", ["given", "held out", "parts", "sparse", "many classes"])
def test_calibrated_on_validation_rows(rng, kind):
    """To the temperature of the model's own logits there."""
    c = 200 if kind == "many classes" else 4
    X = rng.standard_normal((900, 6))
    y = (X @ rng.standard_normal((6, c)) + 2 * rng.gumbel(size=(900, c))).argmax(1)
    y[:c] = np.arange(c)
    X = sp.csr_array(X) if kind == "sparse" else X
    options = {"epochs": 30, "learning_rate": 0.5, "calibrate": True, "scale": 0.5}
    if kind == "held out":
        trainer = fs.Trainer(**options, validation_fraction=0.3)
        model = trainer.fit(X, y)
        plain = fs.Trainer(**options | {"calibrate": False}, early_stopping=True, patience=99, validation_fraction=0.3)
        plain.fit(X, y)
        assert [r["validation_loss"] for r in trainer.history] == [r["validation_loss"] for r in plain.history]
        assert model.temperature != 1
        return
    held = X[600:], y[600:]
    model = fs.Trainer(**options).fit(X[:600], y[:600], validation=fs.Parts([held]) if kind == "parts" else held)
    dense = (X.toarray() if kind == "sparse" else X)[600:]
    codes = np.searchsorted(model.classes, held[1])
    T = fs.temperature(dense @ model.coef.T + model.intercept, codes)
    assert model.temperature == pytest.approx(T, rel=1e-6)
    assert abs(model.temperature - 1) > 0.01
    assert fs.cross_entropy(np.log(model.predict_proba(dense)), codes) < fs.cross_entropy(
        dense @ model.coef.T + model.intercept, codes
    )


def test_calibration_changes_no_weight_and_is_a_setting(rng, tmp_path):
    X, y = rng.standard_normal((200, 5)), rng.integers(0, 3, 200)
    plain = fs.Trainer(3).fit(X, y, validation=(X, y), checkpoint=tmp_path / "plain")
    warm = fs.Trainer(3, calibrate=True).fit(X, y, validation=(X, y), checkpoint=tmp_path / "warm")
    assert plain.sha256() == warm.sha256()
    assert (plain.temperature, warm.settings["calibrate"], "calibrate" in plain.settings) == (1.0, True, False)
    again = fs.Trainer(3, calibrate=True).fit(X, y, validation=(X, y), checkpoint=tmp_path / "warm")
    assert again.temperature == warm.temperature
    with pytest.raises(CheckpointError, match="calibrate"):
        fs.Trainer(3).fit(X, y, validation=(X, y), checkpoint=tmp_path / "warm")
    with pytest.raises(ValueError, match="calibrate must be True or False"):
        fs.Trainer(calibrate=0.1)


def test_calibration_that_knows_of_no_temperature(rng, caplog, monkeypatch):
    X, y = np.eye(4).repeat(20, 0), np.arange(4).repeat(20)
    with caplog.at_level("WARNING"):
        model = fs.Trainer(30, learning_rate=1.0, calibrate=True).fit(X, y)
    assert model.temperature == 1
    assert "it stays 1" in caplog.text
    trainer = fs.Trainer(2, calibrate=True)
    trainer.fit(X, y)
    with pytest.raises(ValueError, match="calibrate=True needs validation="):
        fs.Trainer(1, calibrate=True).fit(X, y, resume=trainer.progressed)
    fs.Trainer(1, calibrate=True).fit(X, y, resume=trainer.progressed, validation=(X, y))

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr("fastsoftmax.training.epochs._temperature", interrupted)
    with caplog.at_level("WARNING"):
        assert fs.Trainer(2, calibrate=True).fit(X, y).temperature == 1
    assert "interrupted while the temperature was chosen" in caplog.text
    old = fs.Trainer(1)
    del old.__dict__["calibrate"]
    old.fit(X, y)
