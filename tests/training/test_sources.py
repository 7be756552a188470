"""Training on parts: as in memory where they fit, and by windows of shuffled spans where they do not."""

import itertools
import time

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import fastsoftmax as fs
from fastsoftmax.data.parted_rows import PartedRows
from fastsoftmax.data.pieces import PartError
from fastsoftmax.data.targets import as_targets
from fastsoftmax.engine.threads import JIT
from fastsoftmax.kernels import updates
from fastsoftmax.training import windows
from fastsoftmax.training.descent import Settings
from fastsoftmax.training.windows import InParts

N, M = 400, 6
TIGHT = 128 * M * 8  # bytes of 128 rows of float64: windows of 64, with what is carried over
CUTS = [0, 90, 91, 91, 250, N]


@pytest.fixture(name="data")
def make_data(rng):
    y = rng.integers(0, 3, N)
    return rng.standard_normal((N, M)) + np.eye(3, M)[y] * 1.5, y


def cut(columns):
    return [tuple(column[a:b] for column in columns) for a, b in itertools.pairwise(CUTS)]


def arrays(*columns):
    return fs.Parts(cut(columns))


def functions(*columns):
    """Each is read wholly."""
    return fs.Parts([lambda piece=piece: piece for piece in cut(columns)])


def stream(*columns):
    return fs.Parts(lambda: iter(cut(columns)))


def same(one, other):
    np.testing.assert_array_equal(one.coef, other.coef)
    np.testing.assert_array_equal(one.intercept, other.intercept)
    np.testing.assert_array_equal(one.classes, other.classes)


def columns_of(X, y, rng, dtype="d", kind="labels", weights=False):
    X = np.round(np.abs(X) * 9).astype("B") if dtype == "B" else X.astype(dtype)
    y = {"labels": y, "text": np.array(["a", "b", "c"])[y], "soft": np.eye(3)[y] * 0.7 + 0.1}[kind]
    weight = rng.random(len(y)) if weights == "fractions" else rng.integers(0, 3, len(y)).astype(float)
    return (X, y, weight) if weights else (X, y)


def in_memory(X, y, weight=None):
    return {"X": X, "y": y, "sample_weight": weight}


@pytest.mark.parametrize("make", [arrays, functions, stream])
@pytest.mark.parametrize("options", [{}, {"optimizer": "gd"}, {"early_stopping": True, "patience": 1}])
def test_parts_that_fit_are_trained_on_as_in_memory(data, make, options):
    one, other = (fs.Trainer(3, 30, **options) for _ in range(2))
    same(one.fit(make(*data)), other.fit(*data))
    for record, twin in zip(one.history, other.history, strict=True):
        assert {**record, "seconds": 0, "examples_per_second": 0} == {**twin, "seconds": 0, "examples_per_second": 0}


@pytest.mark.parametrize("make", [arrays, functions])
@pytest.mark.parametrize("dtype", ["d", "f", "e", "B"])
@pytest.mark.parametrize("kind", ["labels", "text", "soft"])
@pytest.mark.parametrize("weights", [False, True, "fractions"])
def test_windows_in_order_give_the_bytes_of_memory(data, rng, make, dtype, kind, weights):
    columns = columns_of(*data, rng, dtype, kind, weights)
    options = {"shuffle": False, "scale": 0.5, "l2": 0.01}
    memory = fs.Trainer(2, 7, **options).fit(**in_memory(*columns))
    same(fs.Trainer(2, 7, **options, shuffle_bytes=TIGHT // 4).fit(make(*columns)), memory)


@pytest.mark.parametrize(
    "options",
    [
        {"optimizer": "adam", "learning_rate": 0.01},
        {"momentum": 0.9, "nesterov": True},
        {"accumulate_steps": 3, "average": 1},
        {"schedule": "one_cycle", "label_smoothing": 0.1, "fit_intercept": False},
        {"dtype": np.float64, "batch_size": 32},
    ],
)
def test_every_optimiser_goes_on_from_window_to_window(data, options):
    options = {"epochs": 3, "batch_size": 5, "shuffle": False} | options
    X, y = data[0].astype("f"), data[1]
    same(fs.Trainer(**options, shuffle_bytes=TIGHT).fit(arrays(X, y)), fs.Trainer(**options).fit(X, y))


def test_many_classes_and_wide_sparse_rows(rng):
    """Where drivers of their own take the steps: classes with owners, and features that a batch touches."""
    X, y = rng.standard_normal((N, M)).astype("f"), np.arange(N) % 200
    options = {"shuffle": False, "epochs": 2, "batch_size": 30}
    same(fs.Trainer(**options, shuffle_bytes=TIGHT).fit(arrays(X, y)), fs.Trainer(**options).fit(X, y))
    X = sp.random_array((N, 90_000), density=5e-5, format="csr", dtype="f", rng=rng)
    y = np.arange(N) % 3
    options |= {"optimizer": "sgd", "momentum": 0.5, "l2": 1e-3}
    for make in (arrays, functions):
        found = fs.Trainer(**options, shuffle_bytes=8000).fit(make(X, y))
        np.testing.assert_allclose(found.coef, fs.Trainer(**options).fit(X, y).coef, atol=1e-5)


@pytest.mark.parametrize("make", [arrays, functions])
@pytest.mark.parametrize("batch", [1, 8, 32])
def test_an_epoch_has_each_row_once_in_whole_batches(rng, make, batch, monkeypatch):
    monkeypatch.setattr(windows, "SPAN_BYTES", 5 * 8 * 2)
    X = np.stack([np.arange(N), np.zeros(N)], 1).astype(float)
    rows, chosen = PartedRows(make(X, np.arange(N) % 3)), np.flatnonzero(rng.random(N) < 0.9)
    source = InParts(rows, as_targets(rows.y, N, 3, "d"), np.dtype("d"), 2 * 64 * 16)
    rule = updates.Rule(0.0, False, 0.9, 0.999, 1e-8)
    steps = source.steps(chosen, Settings(False, rule, batch, batch, 1.0, 0.0, True, False))
    stream, orders = np.random.PCG64(0), []
    for _ in range(2):
        seen = []

        def visit(objective, order, seen=seen):
            numbers = objective.design.arrays()[0][order, 0].astype(int)
            np.testing.assert_array_equal(objective.targets.labels[order], numbers % 3)
            assert objective.n <= 64 or make is functions
            seen.append(numbers)

        steps.each(stream, visit)
        assert all(len(part) % batch == 0 for part in seen[:-1])
        np.testing.assert_array_equal(np.sort(np.concatenate(seen)), chosen)
        orders.append(np.concatenate(seen))
    assert (orders[0] != orders[1]).any()
    near = np.abs(np.diff(orders[0])) < 5
    assert near.mean() < (0.3 if make is arrays else 0.1)  # neighbours do not come one after another
    seen = []
    steps.each(None, lambda objective, order: seen.append(objective.design.arrays()[0][order, 0]))
    np.testing.assert_array_equal(np.concatenate(seen), chosen)


def test_sorted_rows_are_learned_as_well_as_in_memory(rng, monkeypatch):
    monkeypatch.setattr(windows, "SPAN_BYTES", 10 * M * 8)
    y = np.sort(rng.integers(0, 5, 4000))
    X = rng.standard_normal((4000, M)) + np.eye(5, M)[y] * 2
    slices = fs.Parts.from_slices(X, y, rows=500)
    scores = [
        fs.Trainer(3, 20, learning_rate=0.05, seed=seed, shuffle_bytes=X.nbytes // 4).fit(slices).score(X, y)
        for seed in range(3)
    ]
    memory = fs.Trainer(3, 20, learning_rate=0.05).fit(X, y).score(X, y)
    assert min(scores) > memory - 0.01


@pytest.mark.parametrize("make", [arrays, functions])
def test_one_set_of_bytes(data, make, monkeypatch):
    """Whatever the number of threads, and however slowly windows are read."""

    def fit():
        return fs.Trainer(2, 9, optimizer="adam", shuffle_bytes=TIGHT, early_stopping=True).fit(make(*data))

    first, gather = fit(), PartedRows.gather

    def slowly(self, *args):
        time.sleep(0.002)
        gather(self, *args)

    monkeypatch.setattr(PartedRows, "gather", slowly)
    same(first, fit())
    if JIT:
        fs.set_num_threads(1)
        try:
            same(first, fit())
        finally:
            fs.set_num_threads(1024)


@pytest.mark.parametrize("budget", [TIGHT, 1 << 30])
def test_validation(data, budget):
    """Rows held out of parts, and given, in memory or as parts."""
    X, y = data
    options = {"epochs": 4, "batch_size": 20, "shuffle": False}
    keys = ("validation_accuracy", "loss", "validation_loss")

    def history(trainer):
        return [[record[key] for key in keys] for record in trainer.history]

    memory = fs.Trainer(**options, early_stopping=True, patience=2)
    parts = fs.Trainer(**options, early_stopping=True, patience=2, shuffle_bytes=budget)
    same(parts.fit(arrays(X, y)), memory.fit(X, y))
    np.testing.assert_allclose(history(parts), history(memory), rtol=1e-12)
    memory, V, v = fs.Trainer(**options), X[:50] + 0.1, y[:50]
    memory.fit(X, y, validation=(V, v))
    for given in (fs.Parts([(V[:20], v[:20]), (V[20:], v[20:])]), (fs.Parts([V[:20], V[20:]]), v), (V, v)):
        parts = fs.Trainer(**options, shuffle_bytes=budget)
        parts.fit(arrays(X, y), validation=given)
        np.testing.assert_allclose(history(parts), history(memory), rtol=1e-12)
    with pytest.raises(ValueError, match="X has 6 features, the validation rows have 5"):
        fs.Trainer().fit(arrays(X, y), validation=fs.Parts([(V[:, 1:], v)]))


class KilledError(Exception):
    """Not an exception that anything catches."""


def test_a_checkpoint_goes_on_to_the_same_bytes(data, tmp_path):
    X, y = data

    def trainer(**more):
        return fs.Trainer(4, 20, optimizer="adam", average=True, shuffle_bytes=TIGHT, **more)

    def kill(record):
        if record["epoch"] == 2:
            raise KilledError

    whole = trainer().fit(arrays(X, y))
    with pytest.raises(KilledError):
        trainer().fit(arrays(X, y), callbacks=[kill], checkpoint=tmp_path / "c")
    same(trainer().fit(arrays(X, y), checkpoint=tmp_path / "c"), whole)
    for other, what in ((trainer(scale=2.0), "scale"), (fs.Trainer(4, 20, optimizer="adam", average=True), "data")):
        with pytest.raises(ValueError, match=f"a checkpoint of another run, which had other .*{what}"):
            other.fit(arrays(X, y), checkpoint=tmp_path / "c")
    with pytest.raises(ValueError, match="other data"):
        trainer().fit(arrays(X + 1, y), checkpoint=tmp_path / "c")


def test_going_on_with_names(data):
    X, y = data
    frame = pd.DataFrame(X, columns=list("abcdef"))
    one, parts = fs.Trainer(2, 20, shuffle_bytes=TIGHT), fs.Parts([(frame[:150], y[:150]), (frame[150:], y[150:])])
    assert one.fit(parts).feature_names.tolist() == list("abcdef")
    model = fs.Trainer(2, 20, shuffle_bytes=TIGHT).fit(parts, resume=one.progressed)
    assert model.score(frame, y) > 0.7
    renamed = frame.rename(columns={"a": "z"})
    with pytest.raises(ValueError, match="unseen at fit time:\n- z"):
        fs.Trainer().fit(fs.Parts([(renamed, y)]), resume=one.progressed)


def test_what_is_refused(data):
    X, y = data
    tight = fs.Trainer(batch_size=4, shuffle_bytes=TIGHT)
    for parts, message in (
        (fs.Parts([X]), "the parts have no y"),
        (arrays(X, np.zeros(N, int)), "at least 2 classes"),
        (
            arrays(np.where(np.arange(N)[:, None] == 99, np.nan, X), y),
            r"part 3: row 8 of X \(row 99 of all\) holds NaN",
        ),
    ):
        with pytest.raises(ValueError, match=message):
            tight.fit(parts)
    with pytest.raises(ValueError, match="y was given, and the parts have their own"):
        tight.fit(arrays(X, y), y)
    with pytest.raises(TypeError, match="y is missing"):
        tight.fit(X)
    with pytest.raises(TypeError, match=r"parts\.cached\(\)"):
        tight.fit(stream(X, y))
    for options in ({"optimizer": "gd"}, {"batch_size": 33}):
        with pytest.raises(ValueError, match="must be at most a quarter of shuffle_bytes=6144"):
            fs.Trainer(**options, shuffle_bytes=TIGHT).fit(arrays(X, y))
    with pytest.raises(ValueError, match="shuffle_bytes must be an integer of at least 1"):
        fs.Trainer(shuffle_bytes=0)
    assert tight.model is None


def test_a_stream_that_is_cached(data, tmp_path):
    options = {"shuffle": False, "shuffle_bytes": TIGHT}
    same(fs.Trainer(2, 20, **options).fit(stream(*data).cached(tmp_path)), fs.Trainer(2, 20, shuffle=False).fit(*data))


def test_what_happens_between_windows(data, tmp_path):
    """A part that changes, or is interrupted, leaves the weights of the last step or epoch."""
    X, y = data
    calls = itertools.count()

    def part(what):
        if next(calls) == 8:
            if isinstance(what, BaseException):
                raise what
            return what, y[: len(what)]
        return X, y

    def trained(what):
        nonlocal calls
        calls = itertools.count()
        trainer = fs.Trainer(9, 20, shuffle_bytes=TIGHT)
        trainer.fit(fs.Parts([lambda: part(what), (X, y)]))
        return trainer

    broken = X.copy()
    broken[7, 0] = np.inf
    for what, message in (
        (broken, "part 0: row 7 of X holds NaN or infinity"),
        (X[:-1], "part 0 has 399 rows, where it had 400"),
        (OSError("gone"), "part 0 could not be read: OSError: gone"),
    ):
        with pytest.raises(PartError, match=message):
            trained(what)
    interrupted = trained(KeyboardInterrupt())
    assert interrupted.stopped == "interrupted"
    assert np.isfinite(interrupted.model.coef).all()
    assert len(interrupted.history) < 9


def test_the_estimator_takes_parts(data, rng):
    X, y = data
    X, y, s = X.astype("e"), np.array(["a", "b", "c"])[y], rng.random(N)
    for make in (arrays, functions, stream):
        one, other = (fs.SoftmaxSGDClassifier(random_state=0, max_epochs=3, tol=None) for _ in range(2))
        one.fit(make(X, y, s))
        other.fit(X, y, s)
        np.testing.assert_array_equal(one.coef_, other.coef_)
        assert one.score(make(X, y)) == other.score(X, y)
    one = fs.SoftmaxSGDClassifier(random_state=0, schedule="constant")
    other = fs.SoftmaxSGDClassifier(random_state=0, schedule="constant")
    for _ in range(2):
        one.partial_fit(arrays(X, y), classes=["a", "b", "c"])
        other.partial_fit(X, y, classes=["a", "b", "c"])
    np.testing.assert_array_equal(one.coef_, other.coef_)


def test_the_estimator_by_windows(data, monkeypatch):
    from fastsoftmax.estimators import sgd

    monkeypatch.setattr(sgd, "SHUFFLE_BYTES", 2 * TIGHT + 500)
    X, y = data
    one, other = (fs.SoftmaxSGDClassifier(random_state=0, max_epochs=3, tol=None, shuffle=False) for _ in range(2))
    one.fit(arrays(X, y))
    other.fit(X, y)
    np.testing.assert_allclose(one.coef_, other.coef_, rtol=1e-9)
    assert one.history_[0]["examples_per_second"] > 0
