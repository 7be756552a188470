"""Pictures show what they say: their artists hold the numbers, which are those of independent sums."""

import sys

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.datasets import load_iris

import fastsoftmax as fs
from fastsoftmax.report import (
    HistoryDisplay,
    PathDisplay,
    ReliabilityDisplay,
    TopLossesDisplay,
    WeightsDisplay,
)


@pytest.fixture(name="fitted", scope="module")
def make_fitted():
    X, y = load_iris(return_X_y=True)
    return fs.SoftmaxRegression(C=0.1).fit(X, y), X, y


# ---- reliability


@pytest.mark.parametrize("label", [None, 1])
@pytest.mark.parametrize("strategy", ["uniform", "quantile"])
def test_the_line_is_the_share_of_each_bin(fitted, rng, label, strategy):
    model, X, y = fitted
    P, weight = model.predict_proba(X), rng.random(len(y))
    display = ReliabilityDisplay.from_predictions(y, P, label=label, bins=6, strategy=strategy, sample_weight=weight)
    said = P.max(1) if label is None else P[:, label]
    came = (P.argmax(1) == y) if label is None else (y == label)
    edges = np.linspace(0, 1, 7) if strategy == "uniform" else np.quantile(said, np.linspace(0, 1, 7))
    which = np.digitize(said, edges[1:-1])
    there = [b for b in range(6) if (which == b).any()]
    x, share = display.line_.get_data()
    np.testing.assert_allclose(x, [np.average(said[which == b], weights=weight[which == b]) for b in there])
    np.testing.assert_allclose(share, [np.average(came[which == b], weights=weight[which == b]) for b in there])
    heights = [bar.get_height() for bar in display.bars_]
    np.testing.assert_allclose(heights, [weight[which == b].sum() for b in range(6)])
    assert sum(heights) == pytest.approx(weight.sum())
    frame = display.frame()
    assert frame.columns.tolist() == ["low", "high", "weight", "confidence", "accuracy"]
    np.testing.assert_allclose(frame["low"].to_numpy()[1:], frame["high"].to_numpy()[:-1])
    gap = np.nansum(frame["weight"] * (frame["accuracy"] - frame["confidence"]).abs()) / weight.sum()
    if label is None:
        error = fs.calibration_error(P, y, bins=6, strategy=strategy, sample_weight=weight)
        assert gap == pytest.approx(error)


def test_of_estimators_and_models_with_labels_of_any_kind(fitted):
    _, X, y = fitted
    text = np.array(["c", "a", "b"])[y]
    model = fs.SoftmaxRegression(C=0.1).fit(X, text)
    one = ReliabilityDisplay.from_estimator(model, X, text, label="a")
    other = ReliabilityDisplay.from_predictions(np.searchsorted(["a", "b", "c"], text), model.predict_proba(X), label=0)
    np.testing.assert_array_equal(one.line_.get_data(), other.line_.get_data())
    assert one.line_.get_label() == "class a"
    shuffled = fs.SoftmaxModel(np.eye(3, 4), np.zeros(3), ["c", "a", "b"])
    ReliabilityDisplay.from_estimator(shuffled, X, text)
    with pytest.raises(ValueError, match=r"y has labels that are not among the classes: \['d'\]"):
        ReliabilityDisplay.from_estimator(model, X, np.where(text == "a", "d", text))
    with pytest.raises(TypeError, match="a fitted estimator, or a SoftmaxModel, is expected"):
        ReliabilityDisplay.from_estimator(fs.SoftmaxRegression(), X, y)
    with pytest.raises(ValueError, match=r"label must be in 0\.\.2"):
        ReliabilityDisplay.from_predictions(y, np.full((150, 3), 1 / 3), label=3)


def test_axes_that_are_given(fitted):
    model, X, y = fitted
    figure, (left, right) = plt.subplots(1, 2)
    assert ReliabilityDisplay.from_estimator(model, X, y, ax=left).figure_ is figure
    assert WeightsDisplay.from_estimator(model, ax=right).figure_ is figure
    figure.canvas.draw()
    again = ReliabilityDisplay.from_estimator(model, X, y)
    assert again.figure_ is not figure
    assert again.plot(left).figure_ is figure


# ---- weights


def test_images_of_digits(rng):
    model = fs.SoftmaxModel(rng.standard_normal((10, 784)), np.zeros(10))
    display = WeightsDisplay.from_estimator(model)
    assert len(display.axes_) == 10
    for k, image in enumerate(display.artists_):
        np.testing.assert_array_equal(np.asarray(image.get_array()), model.coef[k].reshape(28, 28))
        assert image.get_clim() == (-np.abs(model.coef).max(), np.abs(model.coef).max())  # one scale for all
    assert [ax.get_title() for ax in display.axes_] == [str(k) for k in range(10)]
    some = WeightsDisplay.from_estimator(model, classes=[7, 2], image=(14, 56))
    assert [np.asarray(image.get_array()).shape for image in some.artists_] == [(14, 56)] * 2
    np.testing.assert_array_equal(np.asarray(some.artists_[0].get_array()).ravel(), model.coef[7])
    display.figure_.canvas.draw()


def test_bars_of_the_strongest_features(fitted):
    X, y = load_iris(return_X_y=True, as_frame=True)
    model = fs.SoftmaxRegression().fit(X, y)
    display = WeightsDisplay.from_estimator(model, strongest=2)
    for k, bars in enumerate(display.artists_):
        order = np.argsort(-np.abs(model.coef_[k]))[:2]
        np.testing.assert_array_equal([bar.get_width() for bar in bars], model.coef_[k, order[::-1]])
        names = [tick.get_text() for tick in display.axes_[k].get_yticklabels()]
        assert names == X.columns[order[::-1]].tolist()
    frame = display.frame()
    assert frame["feature"].tolist()[:2] == X.columns[np.argsort(-np.abs(model.coef_[0]))[:2]].tolist()
    assert (frame.groupby("class")["weight"].apply(lambda w: np.abs(w).is_monotonic_decreasing)).all()


def test_two_classes_are_one_picture(fitted):
    _, X, y = fitted
    model = fs.SoftmaxRegression().fit(X, np.where(y > 0, "yes", "no"))
    for one in (model, model.to_model()):
        display = WeightsDisplay.from_estimator(one)
        assert [ax.get_title() for ax in display.axes_] == ["yes"]
        widths = sorted(bar.get_width() for bar in display.artists_[0])
        np.testing.assert_allclose(widths, np.sort(model.coef_[0]))


def test_sparse_weights(fitted):
    model, X, y = fitted
    sparse = fs.SoftmaxRegression(C=0.1).fit(X, y).sparsify()
    np.testing.assert_array_equal(WeightsDisplay.from_estimator(sparse).coef, model.coef_)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"image": True}, "20 features make no square image"),
        ({"image": (4, 6)}, r"image must be \(height, width\) of 20 pixels"),
        ({"classes": [1, 99]}, r"classes must be among .*, got \[99\]"),
        ({"strongest": 0}, "strongest must be an integer of at least 1"),
        ({}, "40 classes make no readable picture: choose up to 30"),
    ],
)
def test_pictures_of_weights_that_are_refused(rng, options, message):
    model = fs.SoftmaxModel(rng.standard_normal((40, 20)), np.zeros(40))
    if options and "classes" not in options:
        options = {"classes": [0, 1]} | options
    with pytest.raises(ValueError, match=message):
        WeightsDisplay.from_estimator(model, **options)


# ---- history


@pytest.mark.parametrize("validated", [False, True])
def test_history(fitted, validated):
    _, X, y = fitted
    trainer = fs.Trainer(6, schedule="cosine")
    trainer.fit(X, y, validation=(X, y) if validated else None)
    display = HistoryDisplay.from_estimator(trainer)
    names = ["loss", "validation_loss", "learning_rate"] if validated else ["loss", "learning_rate"]
    assert list(display.lines_) == names
    for name, line in display.lines_.items():
        x, values = line.get_data()
        np.testing.assert_array_equal(x, np.arange(1, 7))
        np.testing.assert_array_equal(values, [record[name] for record in trainer.history])
    assert isinstance(display.frame(), pd.DataFrame)
    assert display.frame()["loss"].tolist() == [record["loss"] for record in trainer.history]
    model = fs.SoftmaxSGDClassifier(max_epochs=1, tol=None, random_state=0).fit(X, y)
    assert len(HistoryDisplay.from_estimator(model).frame()) == 1  # of one epoch, whose point is marked
    display.figure_.canvas.draw()


def test_histories_that_are_none():
    with pytest.raises(ValueError, match="no epoch was trained"):
        HistoryDisplay.from_estimator(fs.Trainer())
    with pytest.raises(TypeError, match="got SoftmaxRegression without a history"):
        HistoryDisplay.from_estimator(fs.SoftmaxRegression())


@pytest.mark.parametrize("solver", ["lbfgs", "newton", "proximal"])
@pytest.mark.parametrize("verbose", [0, 1, 2])
def test_history_of_a_fit(fitted, solver, verbose, capsys):
    _, X, y = fitted
    model = fs.SoftmaxRegression(solver=solver, verbose=verbose).fit(X, y)
    history = model.history_
    assert [record["iteration"] for record in history] == list(range(len(history)))
    assert history[-1] == {
        "iteration": len(history) - 1, "objective": model.objective_, "gap": model.duality_gap_,
        "gradient": model.optimality_,
    }  # fmt: skip
    assert history[0]["objective"] > model.objective_
    known = [record["gap"] for record in history if record["gap"] == record["gap"]]
    assert (len(known) == len(history)) if verbose else (len(known) == 1)
    logged = f"F {history[0]['objective']:.9g}, gap {history[0]['gap']:.3g}" in capsys.readouterr().err
    assert logged == (verbose == 2)
    display = HistoryDisplay.from_estimator(model)
    assert list(display.lines_) == ["objective", "gap", "gradient"]
    np.testing.assert_array_equal(display.lines_["objective"].get_ydata(), [r["objective"] for r in history])
    assert display.right_ax_.get_yscale() == "log"
    display.figure_.canvas.draw()


# ---- paths


def test_paths_of_strengths(fitted):
    _, X, y = fitted
    Cs = [1.0, 0.01, 100.0]
    found = fs.path(X[::2], y[::2], Cs=Cs, X_val=X[1::2], y_val=y[1::2])
    display = PathDisplay.from_path(found)
    order = np.argsort(Cs)
    np.testing.assert_array_equal(display.score_line_.get_data(), [np.sort(Cs), found.scores[order]])
    assert display.best_line_.get_xdata()[0] == found.best_C
    assert len(display.coef_lines_) == 12
    drawn = {tuple(line.get_ydata()) for line in display.coef_lines_}
    assert drawn == {tuple(values) for values in found.coefs[order].reshape(3, -1).T}
    frame = display.frame()
    np.testing.assert_allclose(frame["norm"], [np.linalg.norm(found.coefs[i]) for i in order])
    assert frame["nonzero"].tolist() == [12, 12, 12]
    alone = PathDisplay.from_path(fs.path(X, y, Cs=[1.0]))
    assert alone.ax_ is None
    assert alone.frame().columns.tolist() == ["C", "norm", "nonzero"]
    display.figure_.canvas.draw()


@pytest.mark.parametrize("l1_ratios", [(0.0,), (0.0, 0.5)])
def test_paths_of_folds(fitted, l1_ratios):
    _, X, y = fitted
    options = {"Cs": [0.1, 1.0, 10.0], "cv": 3, "l1_ratios": l1_ratios, "use_legacy_attributes": False}
    model = fs.SoftmaxRegressionCV(**options, solver="proximal" if len(l1_ratios) > 1 else "auto").fit(X, y)
    display = PathDisplay.from_estimator(model)
    q = l1_ratios.index(model.l1_ratio_)
    np.testing.assert_allclose(display.score_line_.get_ydata(), model.scores_[:, q].mean(0))
    np.testing.assert_allclose(display.frame()["deviation"], model.scores_[:, q].std(0))
    assert display.best_line_.get_xdata()[0] == model.C_
    assert display.coefs.shape == (3, 3, 4)
    for wrong in (fs.SoftmaxRegression(), fs.SoftmaxRegressionCV()):
        with pytest.raises(TypeError, match="a fitted SoftmaxRegressionCV with use_legacy_attributes=False"):
            PathDisplay.from_estimator(wrong)


# ---- losses


@pytest.mark.parametrize("kind", ["array", "frame", "sparse"])
def test_the_largest_losses(fitted, kind):
    model, X, y = fitted
    P = model.predict_proba(X)
    given = {
        "array": lambda: X,
        "frame": lambda: pd.DataFrame(X, columns=list("abcd")),
        "sparse": lambda: sp.csr_array(X),
    }
    X_ = given[kind]()
    display = TopLossesDisplay.from_predictions(X_, y, P, rows=5)
    losses = -np.log(P[np.arange(len(y)), y])
    order = np.argsort(-losses)[:5]
    frame = display.frame()
    assert frame["row"].tolist() == order.tolist()
    np.testing.assert_allclose(frame["loss"], losses[order])
    assert frame["said"].tolist() == P[order].argmax(1).tolist()
    np.testing.assert_allclose(frame["confidence"], P[order].max(1))
    np.testing.assert_array_equal(display.X, X[order])
    names = list("abcd") if kind == "frame" else list("0123")
    text = display.artists_[0].get_text()
    assert sorted(line.split(":")[0] for line in text.splitlines()) == sorted(names)
    display.figure_.canvas.draw()


def test_images_that_are_wrong(rng):
    X = rng.integers(0, 256, (30, 49), dtype=np.uint8)
    model = fs.SoftmaxModel(rng.standard_normal((3, 49)) * 0.01, np.zeros(3), ["a", "b", "c"])
    y = np.array(["a", "b", "c"])[rng.integers(0, 3, 30)]
    display = TopLossesDisplay.from_estimator(model, X, y, rows=4)
    assert [image.get_array().shape for image in display.artists_] == [(7, 7)] * 4
    np.testing.assert_array_equal(np.asarray(display.artists_[0].get_array()).ravel(), X[display.rows[0]])
    assert display.axes_[0].get_title().startswith(f"{y[display.rows[0]]}, said ")
    assert len(TopLossesDisplay.from_estimator(model, X, y, rows=99).rows) == 30
    certain = TopLossesDisplay.from_predictions(X[:2], [0, 1], [[0.0, 1.0], [0.0, 1.0]], rows=1)
    assert certain.frame()["loss"].tolist() == [np.inf]
    with pytest.raises(ValueError, match="rows must be an integer of at least 1"):
        TopLossesDisplay.from_estimator(model, X, y, rows=0)
    with pytest.raises(ValueError, match="X has 29 rows, y 30"):
        TopLossesDisplay.from_predictions(X[1:], np.zeros(30, int), np.full((30, 2), 0.5))


def test_without_matplotlib_or_pandas(fitted, monkeypatch):
    model, X, y = fitted
    display = ReliabilityDisplay.from_estimator(model, X, y)
    monkeypatch.setitem(sys.modules, "matplotlib.pyplot", None)
    with pytest.raises(ImportError, match=r"pip install 'fastsoftmax\[pictures\]'"):
        WeightsDisplay.from_estimator(model)
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ImportError, match="needs pandas"):
        display.frame()


def test_nothing_is_imported_before_it_is_drawn(run_python):
    code = "import sys, fastsoftmax.report; print([name for name in ('matplotlib', 'pandas') if name in sys.modules])"
    assert run_python(code) == "[]"
