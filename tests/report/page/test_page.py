"""What a page says, without a browser: numbers as the functions have them, whatever labels and features are called."""

import base64
import hashlib
import html
import json
import re

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.datasets import load_digits, load_iris
from sklearn.metrics import confusion_matrix

import fastsoftmax as fs
from fastsoftmax import cli
from fastsoftmax.report import write_page
from fastsoftmax.report.page import charts
from fastsoftmax.report.page.measured import BINS, WORST, Measured, tones_of, tones_told


@pytest.fixture(name="digits", scope="module")
def make_digits():
    X, y = load_digits(return_X_y=True)
    return fs.SoftmaxRegression(C=0.001).fit(X[:900], y[:900]).to_model(), X[900:], y[900:]


def page_of(tmp_path, *args, **options):
    write_page(tmp_path / "page.html", *args, **options)
    return (tmp_path / "page.html").read_text()


def cells(text):
    return np.array([int(v) for v in re.findall(r'<td class="(?:right|wrong)\d+">(\d+)</td>', text)])


def test_numbers_are_those_of_the_functions(digits, tmp_path):
    model, X, y = digits
    text = page_of(tmp_path, model, X, y, title="<Digits> & more", source="rows of nobody")
    P = model.predict_proba(X).astype(np.float64)
    assert f"{100 * model.score(X, y):.2f} %</strong> of 897 rows" in text
    loss = fs.cross_entropy(X @ model.coef.T + model.intercept, y)
    assert f"accuracy {model.score(X, y):.4f}, cross-entropy {loss:.4f}" in text
    np.testing.assert_array_equal(cells(text).reshape(10, 10), confusion_matrix(y, model.predict(X)))
    assert f"error {fs.calibration_error(P, y):.4f} (15 bins)" in text
    assert f"Brier score {fs.brier_score(P, y):.4f}" in text
    assert model.sha256() in text
    assert "&lt;Digits&gt; &amp; more" in text
    assert "Measured on rows of nobody" in text
    for record in model.settings["history"][:1]:
        assert {"objective", "gap", "gradient"} <= set(record)
    assert text.count("<polyline") == 2  # F and the gradient; the gap is known in the end
    assert text.count('<circle class="mark line0"') == len(model.settings["history"]) + 1


def test_bars_of_reliability_are_the_shares_that_came_true_at_the_models_temperature(digits, tmp_path):
    model, X, y = digits
    warm = fs.SoftmaxModel(model.coef, model.intercept, temperature=3.0)
    text = page_of(tmp_path, warm, X, y)
    P = fs.softmax((X @ model.coef.T + model.intercept) / 3.0)
    assert f"error {fs.calibration_error(P, y):.4f} (15 bins)" in text
    assert f"Brier score {fs.brier_score(P, y):.4f}" in text
    assert fs.calibration_error(P, y) > 2 * fs.calibration_error(model.predict_proba(X).astype(float), y)
    which = np.clip((P.max(1) * 15).astype(int), 0, 14)
    shares = [(P.argmax(1) == y)[which == b].mean() for b in range(15) if (which == b).any()]
    heights = [float(h) for h in re.findall(r'class="share"[^>]*height="([0-9.]+)"', text)]
    np.testing.assert_allclose(heights, np.array(shares) * 198, atol=0.02)
    counts = [float(h) for h in re.findall(r'class="count"[^>]*height="([0-9.]+)"', text)]
    rows = np.bincount(which, minlength=15)
    np.testing.assert_allclose(counts, rows[rows > 0] / rows.max() * 56, atol=0.02)


def test_the_worst_rows_are_those_of_the_display(digits, tmp_path):
    model, X, y = digits
    P = model.predict_proba(X)
    wrong = np.flatnonzero(P.argmax(1) != y)
    order = wrong[np.argsort(P[wrong, y[wrong]], kind="stable")][:WORST]
    found = [
        int(k) for k in re.findall(r'<span class="note">[0-9.]+ %<br>row (\d+)</span>', page_of(tmp_path, *digits))
    ]
    assert found == order.tolist()


@pytest.mark.parametrize("pieces", [2, 7])
def test_rows_in_parts_give_the_same_page(digits, tmp_path, pieces):
    model, X, y = digits
    whole = page_of(tmp_path, model, X, y)
    parts = fs.Parts([(X[at], y[at]) for at in np.array_split(np.arange(len(X)), pieces)])
    assert page_of(tmp_path, model, parts) == whole


def test_bins_add_up_over_parts(digits):
    model, X, y = digits
    measured = Measured(model, None)
    for at in np.array_split(np.arange(len(X)), 5):
        measured.add("part", X[at], y[at])
    P = model.predict_proba(X).astype(np.float64)
    assert measured.calibration_error == pytest.approx(fs.calibration_error(P, y, bins=BINS), rel=1e-12)
    assert measured.brier_score == pytest.approx(fs.brier_score(P, y), rel=1e-12)
    assert measured.bins.weight.sum() == len(y)


def test_the_policy_allows_this_script_and_style_alone(digits, tmp_path):
    text = page_of(tmp_path, *digits)
    policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1])
    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    for tag, name in (("style", "style-src"), ("script", "script-src")):
        (body,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.S)
        assert rules[name] == f"'sha256-{base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()}'"
    assert not re.search(r'\b(?:src|href)="(?!data:|#)', text)
    assert " style=" not in text
    assert len(text.encode()) < 1.5e6


def test_labels_and_names_are_escaped(tmp_path, rng):
    evil = np.array(["</script><script>alert(1)</script>", "<!--<script>", '"><img src=x>', "{{ 7 * 7 }}"])
    y = np.arange(80) % 4
    X = rng.random((80, 36)) + np.eye(4, 36)[y]
    model = fs.Trainer(3).fit(X, evil[y])
    text = page_of(tmp_path, model, X, evil[y], title="</title><script>", source="<b>")
    assert "alert(1)</script>" not in text
    assert "<img src=x" not in text
    assert "<figcaption>{{ 7 * 7 }}</figcaption>" in text
    assert canvas_facts(text)["classes"] == model.classes.tolist()
    names = [f"<i>{j}</i>" for j in range(36)]
    named = fs.SoftmaxModel(model.coef, model.intercept, model.classes, feature_names=names)
    assert "<i>" not in page_of(tmp_path, named)


def test_many_classes_are_a_table_of_pairs(tmp_path, rng):
    y = np.arange(600) % 40
    X = rng.standard_normal((600, 12)) + rng.standard_normal((40, 12))[y]
    model = fs.SoftmaxRegression().fit(X, y)
    text = page_of(tmp_path, model, X, y)
    assert len(cells(text)) == 0
    assert "Of 40 classes the pairs that are confused most often." in text
    table = confusion_matrix(y, model.predict(X))
    np.fill_diagonal(table, 0)
    counts = [int(v) for v in re.findall(r'</td><td class="number">(\d+)</td>', text)]
    assert counts == np.sort(table.ravel())[::-1][: len(counts)].tolist()
    assert text.count('<table class="bars-table">') == 30
    assert "the 30 that are least often recognised" in text
    recalls = np.array([np.mean(model.predict(X)[y == k] == k) for k in range(40)])
    shown = [int(k) for k in re.findall(r'<table class="bars-table">\s*<caption>(\d+)</caption>', text)]
    assert shown == np.argsort(recalls, kind="stable")[:30].tolist()


def test_two_classes_and_no_rows(tmp_path):
    X, y = load_iris(return_X_y=True, as_frame=True)
    X, y = X[y < 2], np.array(["no", "yes"])[y[y < 2]]
    model = fs.SoftmaxRegression().fit(X, y)
    text = page_of(tmp_path, model)
    assert "No rows were given" in text
    assert text.count('<table class="bars-table">') == 1
    assert f'<td class="number">{model.coef_[0, 2]:.4g}</td>' in text
    full = page_of(tmp_path, model, X, y)
    assert "Every row is recognised." in full
    assert "petal length (cm)" in full


def test_sparse_rows_and_labels_nobody_knows(tmp_path, rng):
    X = sp.random_array((200, 500), density=0.05, format="csr", rng=rng, dtype=np.float32)
    y = np.arange(200) % 3
    model = fs.SoftmaxRegression().fit(X, y)
    strange = y.copy()
    strange[:20] = 7
    text = page_of(tmp_path, model, X, strange)
    assert "20 rows have labels that the model does not know" in text
    assert f"{100 * np.mean(model.predict(X) == strange):.2f} %</strong> of 200" in text


@pytest.mark.parametrize("parted", [False, True])
def test_sparse_rows_are_no_images_unless_somebody_says_so(tmp_path, rng, parted):
    X = sp.random_array((200, 784), density=0.05, format="csr", rng=rng, dtype=np.float32)
    y = np.arange(200) % 3
    model = fs.SoftmaxRegression(max_iter=20, tol=0.1).fit(X, y)
    rows = (fs.Parts([(X[:90], y[:90]), (X[90:], y[90:])]),) if parted else (X, y)
    assert "<canvas" not in page_of(tmp_path, model, *rows)
    assert "<canvas" in page_of(tmp_path, model, *rows, image=True)


def test_heavy_weights_leave_the_canvas_out(tmp_path):
    model = fs.SoftmaxModel(np.zeros((300, 784), np.float64), np.zeros(300))
    text = page_of(tmp_path, model, pixels=(0, 1))
    assert "<canvas" not in text
    assert "the weights take more than a page should" in text
    assert len(text) < 1.5e6


def test_a_trainers_curve_and_odd_histories(tmp_path, digits):
    model, X, y = digits
    trained = fs.Trainer(3, early_stopping=True).fit(X, y)
    text = page_of(tmp_path, trained)
    assert "training (each row before its step)" in text
    assert "validation" in text
    odd_ones = (
        [{"objective": float("nan"), "gap": float("inf")}],
        [{"loss": 10**400}],
        [{"loss": 1e308}, {"loss": -1e308}],
    )
    for history in (7, [], [3], [{"loss": None}], [{}], *odd_ones):
        odd = fs.SoftmaxModel(model.coef, model.intercept, settings={"history": history})
        assert "<polyline" not in page_of(tmp_path, odd)
    flat = fs.SoftmaxModel(model.coef, model.intercept, settings={"history": [{"loss": 1.0}, {"loss": 1.0}]})
    for shown in (text, page_of(tmp_path, flat)):
        assert "<polyline" in shown
        assert not re.search(r"\bnan\b|\binf\b", shown)


def test_models_keep_how_they_were_trained_and_no_times(digits, tmp_path):
    _, X, y = digits
    trainer = fs.Trainer(2)
    history = trainer.fit(X, y).settings["history"]
    assert history == [{k: r[k] for k in ("epoch", "loss", "learning_rate")} for r in trainer.history]
    again = fs.Trainer(2).fit(X, y)
    again.save(tmp_path / "model")
    assert fs.SoftmaxModel.load(tmp_path / "model").settings == again.settings
    assert again.settings["history"] == history


def test_what_is_wrong_is_said_and_nothing_is_written(digits, tmp_path):
    model, X, y = digits
    path = tmp_path / "page.html"
    for arguments, options, kind, text in (
        ((3,), {}, TypeError, "SoftmaxModel, or a fitted estimator, got int"),
        ((model, X), {}, TypeError, "y is missing"),
        ((model, None, y), {}, TypeError, "y was given without X"),
        ((model, X, y[:5]), {}, ValueError, "rows"),
        ((model, X[:, :5], y), {}, ValueError, "64 features"),
        ((model, np.where(X == 0, np.nan, X), y), {}, ValueError, "NaN"),
        ((model, X, y.astype(str)), {}, ValueError, "dtype"),
        ((model, X, y + 100), {}, ValueError, "knows none"),
        ((model, X, y), {"image": (3, 5)}, ValueError, r"image must be \(height, width\)"),
        (
            (fs.SoftmaxModel(np.full_like(model.coef, np.nan), model.intercept), X, y),
            {},
            ValueError,
            "weights hold NaN or infinity",
        ),
        ((model, fs.Parts([(X, y)]), y), {}, TypeError, "Parts must have their own y"),
    ):
        with pytest.raises(kind, match=text):
            write_page(path, *arguments, **options)
        assert list(tmp_path.iterdir()) == []
    with pytest.raises(FileNotFoundError, match="no such folder"):
        write_page(tmp_path / "none" / "page.html", model)


def test_tones(digits):
    model = digits[0]
    assert tones_told(model) is None
    for settings, expected in (({"scale": 1 / 255}, 255.0), ({"pixels": [0, 255]}, 255.0), ({"scale": 1e-320}, None)):
        told = tones_told(fs.SoftmaxModel(model.coef, model.intercept, settings=settings))
        assert told == (None if expected is None else (0.0, pytest.approx(expected)))
    assert tones_of(np.full((3, 64), 2.0), (8, 8)) == (2.0, 2.0)


def canvas_facts(text):
    return json.loads(re.search(r'<script type="application/json" id="model">(.*?)</script>', text, re.S)[1])


def test_a_canvas_needs_to_know_what_pixels_hold(digits, tmp_path):
    model, X, y = digits
    text = page_of(tmp_path, model)
    assert "nobody said what pixels hold" in text
    assert "<canvas" not in text
    facts = canvas_facts(page_of(tmp_path, model, pixels=(0, 16)))
    assert (facts["paper"], facts["full"]) == (0, 16)
    facts = canvas_facts(page_of(tmp_path, model, X, y, pixels=(20, 3)))
    assert (facts["paper"], facts["full"]) == (20, 3)
    same = fs.SoftmaxModel(model.coef, model.intercept)
    assert "all pixels are alike" in page_of(tmp_path, same, np.ones((10, 64)), np.arange(10))
    for pixels in (3, (1, 1), ("a", 2), (0, np.nan), (0, 1, 2)):
        with pytest.raises(ValueError, match="pixels must be two numbers"):
            page_of(tmp_path, model, pixels=pixels)


@pytest.mark.parametrize("m", [2**14, 2**16, 400])
def test_hashed_text_is_no_image(tmp_path, rng, m):
    X = sp.random_array((90, m), density=0.01, format="csr", rng=rng, dtype=np.float32)
    y = np.arange(90) % 3
    model = fs.SoftmaxModel(rng.standard_normal((3, m)).astype(np.float32), np.zeros(3, np.float32))
    text = page_of(tmp_path, model, X, y)
    assert "<img" not in text
    assert len(text) < 1.5e6
    assert ("<img" in page_of(tmp_path, model)) == (m <= 2**14)
    assert "<img" in page_of(tmp_path, model, X, y, image=True)


def test_large_images_are_made_smaller(tmp_path, rng):
    model = fs.SoftmaxModel(rng.standard_normal((10, 400 * 600)), np.zeros(10))
    assert len(page_of(tmp_path, model, image=(400, 600))) < 1.5e6


@pytest.mark.parametrize(
    ("low", "high", "log"),
    [(0, 1, False), (1e-9, 3e4, True), (3, 3, False), (-2e8, 7e8, False), (2e-5, 8e-5, True), (3e-5, 3e-5, True),
     (1.1e-5, 1.4e-5, True), (1e6, 1e6 + 0.3, False), (1, 2, False)],
)  # fmt: skip
@pytest.mark.parametrize("whole", [False, True])
def test_ticks_are_few_inside_and_differ(low, high, log, whole):
    axis = charts.Axis(low, high, 200.0, 10.0, log, whole)
    ticks = axis.ticks()
    assert 1 <= len(ticks) <= 8
    assert len({text for _, text in ticks}) == len(ticks)
    if whole and not log:
        assert all(float(text) == round(float(text)) for _, text in ticks)
    assert all(10 - 0.01 <= place <= 200.01 for place, _ in ticks)
    for place, text in ticks:
        assert axis.at(float(text)) == pytest.approx(place, abs=0.1)


# ---- the command


def run(capsys, *args):
    code = cli.main([str(a) for a in args])
    return code, *capsys.readouterr()


def test_the_command(digits, tmp_path, capsys):
    model, X, y = digits
    model.save(tmp_path / "model")
    np.save(tmp_path / "X_test.npy", X)
    np.save(tmp_path / "y_test.npy", y)
    out = tmp_path / "page.html"
    code, said, _ = run(capsys, "report", tmp_path / "model", "--data", tmp_path / "X_test.npy", "-o", out)
    assert code == 0
    assert "measured on the rows of X_test.npy" in said
    assert f"{100 * model.score(X, y):.2f} %" in out.read_text()
    assert "<canvas" in out.read_text()
    code, said, _ = run(capsys, "report", tmp_path / "model", "-o", out, "--image", "no", "--title", "Mine", "--json")
    assert code == 0
    assert json.loads(said) == {"out": str(out), "bytes": out.stat().st_size, "measured_on": None,
                                "sha256": model.sha256()}  # fmt: skip
    assert "<h1>Mine</h1>" in out.read_text()
    assert "<canvas" not in out.read_text()
    for wrong, text in ((("--image", "8"), "--image must be"), (("--image", "9x9"), "64 pixels"),
                        (("-o", tmp_path / "no" / "p"), "no such folder")):  # fmt: skip
        code, _, said = run(capsys, "report", tmp_path / "model", "-o", out, *wrong)
        assert code == 2
        assert text in said


def test_digits_are_measured_on_mnist_by_default(mnist, tmp_path, capsys):
    _, model, X, y = mnist
    model.save(tmp_path / "model")
    code, said, _ = run(capsys, "report", tmp_path / "model", "-o", tmp_path / "page.html")
    assert code == 0
    assert "measured on the test rows of MNIST" in said
    assert f"{100 * model.score(X, y):.2f} %</strong> of 10 000 rows" in (tmp_path / "page.html").read_text()
