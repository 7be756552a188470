"""Lazy steps over wide sparse X: what they give is what dense steps give, and Adam what its own words say."""

import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp

import fastsoftmax as fs
from fastsoftmax.data.layouts import as_design
from fastsoftmax.data.targets import CheckedTargets, as_targets
from fastsoftmax.engine import threads
from fastsoftmax.kernels import updates
from fastsoftmax.training import suited, touching
from fastsoftmax.training.descent import Settings
from fastsoftmax.training.suited import begin
from fastsoftmax.training.touching import TouchingDescent, touches_few
from tests import reference
from tests.conftest import objective_of
from tests.training.test_trainer import orders

N, M, C = 60, 17_000, 5
LINEAR = [
    {},
    {"l2": 0.1},
    {"momentum": 0.9},
    {"momentum": 0.9, "nesterov": True},
    {"momentum": 0.5, "l2": 0.2, "scale": 3.0},
    {"momentum": 0.5, "nesterov": True, "l2": 0.2, "average": 1},
    {"average": True},
    {"optimizer": "gd", "momentum": 0.5, "l2": 0.1},
    {"average": 2, "l2": 0.1, "schedule": "cosine", "accumulate_steps": 3},
    {"l2": 2.0, "schedule": "inverse_scaling", "fit_intercept": False},  # 1 - rate * l2 is 0 at first
]


@pytest.fixture
def data(rng):
    """Rows that share some features, and have others to themselves; one is empty, and most features are in none."""
    X = sp.random_array((N, M), density=6 / M, rng=rng, format="lil", dtype=np.float64)
    X[:, :4] = rng.standard_normal((N, 4)) * (rng.random((N, 4)) < 0.5)
    X[7] = 0
    return sp.csr_array(X), rng.integers(0, C, N)


@pytest.fixture(params=[2048, 3])
def settling(request, monkeypatch):
    """Features catch up at the end of an epoch, or also after every third step."""
    monkeypatch.setattr(touching, "SETTLING", request.param)


@pytest.fixture
def dense(monkeypatch):
    """Calls a function with dense steps in place of lazy ones."""

    def call(function, *args, **options):
        with monkeypatch.context() as patch:
            patch.setattr(suited, "touches_few", lambda *_: False)
            return function(*args, **options)

    return call


def trained(X, y, epochs=4, batch=8, rate=0.5, **options):
    fit = {name: options.pop(name) for name in ("sample_weight", "validation") if name in options}
    trainer = fs.Trainer(epochs, batch, learning_rate=rate, **options)
    return trainer.fit(X, y, **fit), trainer


def assert_same(ours, theirs, rtol=1e-10, atol=1e-13):
    (model, trainer), (other, twin) = ours, theirs
    np.testing.assert_allclose(model.coef, other.coef, rtol, atol)
    np.testing.assert_allclose(model.intercept, other.intercept, rtol, atol)
    for name in ("loss", "validation_loss"):
        losses = [[r[name] for r in t.history if name in r] for t in (trainer, twin)]
        np.testing.assert_allclose(*losses, rtol=rtol)
    for name, part in twin.progressed.weights.items():  # moments, too, are all there
        np.testing.assert_allclose(trainer.progressed.weights[name], part, rtol, atol, err_msg=name)


@pytest.mark.parametrize("options", LINEAR)
def test_equal_to_dense_steps(data, dense, settling, options):
    X, y = data
    options |= {"validation": (X[:20], y[:20])}
    assert_same(trained(X, y, **options), dense(trained, X, y, **options))


def test_of_any_type_and_target(data, dense, rng):
    X, y = data
    Y, s = rng.dirichlet(np.ones(C), N), rng.random(N) * (rng.random(N) < 0.8)
    options = {"l2": 0.1, "momentum": 0.5, "average": True}
    for kind in (np.float32, np.uint8):
        Z = sp.csr_array((X != 0).astype(kind) * (3 if kind == np.uint8 else kind(0.7)))
        assert_same(trained(Z, y, **options), dense(trained, Z, y, **options), 1e-4, 1e-6)
    for target, rest in ((Y, {"sample_weight": s}), (y, {"label_smoothing": 0.1, "sample_weight": s})):
        assert_same(trained(X, target, **options, **rest), dense(trained, X, target, **options, **rest))


@pytest.mark.parametrize("options", [{"l2": 0.1}, {"l2": 0.1, "momentum": 0.9, "nesterov": True}])
def test_descent_in_numpy(data, settling, options):
    X, y = data
    model, _ = trained(X, y, **options)
    W, b = reference.sgd(X.toarray(), y, C, orders(N, 4), 8, 0.5, **options)
    np.testing.assert_allclose(model.coef, W, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(model.intercept, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("l2", [0.0, 0.3])
def test_adam_moves_what_a_batch_touches(data, settling, l2):
    X, y = data
    W, b, mean_W, mean_b = reference.lazy_adam(X.toarray(), y, C, orders(N, 4), 8, 0.1, (0.8, 0.95), l2=l2)
    options = {"rate": 0.1, "optimizer": "adam", "betas": (0.8, 0.95), "l2": l2}
    for average, coef, intercept in ((False, W, b), (True, mean_W, mean_b)):
        model, _ = trained(X, y, average=average, **options)
        np.testing.assert_allclose(model.coef, coef, rtol=1e-9, atol=1e-12)
        np.testing.assert_allclose(model.intercept, intercept, rtol=1e-9, atol=1e-12)
    assert (W[:, np.diff(X.tocsc().indptr) == 0] == 0).all()


EVERYTHING = {"l2": 0.1, "momentum": 0.9, "nesterov": True, "average": True}


def test_slices_and_threads_change_no_bit(data, monkeypatch):
    X, y = data
    seen = set()
    for count, operations in ((1, 2e9), (2, 2e9), (1, 1.0), (2, 1.0)):
        monkeypatch.setattr(touching, "SLICE", operations)
        monkeypatch.setattr(threads, "_chosen_threads", count)
        monkeypatch.setattr(threads, "worker_count", lambda _: fs.get_num_threads() if threads.JIT else 1)
        for optimizer in ("sgd", "adam"):
            rest = EVERYTHING if optimizer == "sgd" else {"average": True, "optimizer": "adam"}
            model, trainer = trained(X, y, batch=32, epochs=2, **rest)
            seen.add((optimizer, model.sha256(), trainer.history[-1]["loss"]))
    assert len(seen) == 2


def test_interrupted_between_slices(data, monkeypatch):
    """The weights are those of the last step, caught up."""
    X, y = data
    steps, calls = touching.touched.touched_steps, []

    def interrupted(*args):
        if len(calls) == 5:
            raise KeyboardInterrupt
        calls.append(1)
        steps(*args)

    monkeypatch.setattr(touching, "SLICE", 1.0)
    monkeypatch.setattr(touching.touched, "touched_steps", interrupted)
    options = {name: value for name, value in EVERYTHING.items() if name != "average"}
    model, trainer = trained(X, y, **options)
    assert trainer.stopped == "interrupted"
    W, b = reference.sgd(X.toarray(), y, C, [orders(N, 1)[0][:40]], 8, 0.5, 0.9, True, 0.1)
    # the mean is over all N rows, of which the reference sees 40: the same factor of a batch's gradient
    np.testing.assert_allclose(model.coef, W, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(model.intercept, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("options", [EVERYTHING, {"optimizer": "adam", "average": True, "l2": 0.1}])
def test_going_on(data, tmp_path, options):
    """From a checkpoint of a run that was stopped, from `progressed`, and over dense X."""
    X, y = data
    whole, _ = trained(X, y, **options)
    stopped = []

    def stop(record):
        stopped.append(record)
        if len(stopped) == 2:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        fs.Trainer(4, 8, learning_rate=0.5, **options).fit(X, y, checkpoint=tmp_path / "c", callbacks=[stop])
    again = fs.Trainer(4, 8, learning_rate=0.5, **options).fit(X, y, checkpoint=tmp_path / "c")
    assert again.sha256() == whole.sha256()
    _, first = trained(X, y, epochs=2, **options)
    second = fs.Trainer(2, 8, learning_rate=0.5, **options).fit(X, y, resume=first.progressed)
    np.testing.assert_allclose(second.coef, whole.coef, rtol=1e-12, atol=1e-15)
    if "optimizer" not in options:
        over_dense = fs.Trainer(2, 8, learning_rate=0.5, **options).fit(X.toarray(), y, resume=first.progressed)
        np.testing.assert_allclose(over_dense.coef, whole.coef, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_partial_fit(data, optimizer):
    X, y = data
    options = {"optimizer": optimizer, "batch_size": 8, "shuffle": False, "tol": None, "random_state": 0, "l2": 0.01}
    whole = fs.SoftmaxSGDClassifier(max_epochs=3, average=True, **options).fit(X, y)
    piece = fs.SoftmaxSGDClassifier(average=True, **options)
    for _ in range(3):
        piece.partial_fit(X, y, classes=np.arange(C))
    np.testing.assert_allclose(piece.coef_, whole.coef_, rtol=1e-10, atol=1e-14)
    assert piece.score(X, y) > 0.5


def test_a_loss_that_overflows_is_named(data):
    X, y = data
    with pytest.raises(FloatingPointError, match="learning_rate"):
        trained(X, y, epochs=50, rate=1e6, l2=10.0)


def descent_over(X, y, batch, **options):
    objective = objective_of(X, as_targets(y, len(y), C, np.float64), np.float64)
    settings = {"micro": batch, "share": 1.0, "l2": 0.1, "fit_intercept": True, "average": True} | options
    return begin(objective, Settings(False, updates.Rule(0.9, False, 0.9, 0.999, 1e-8), batch, **settings))


def test_shapes_alone_decide(data):
    X, y = data
    pairs = X.nnz / N
    for batch in (1, 8, int(M / pairs / 4), int(M / pairs / 4) + 1):
        assert isinstance(descent_over(X, y, batch), TouchingDescent) == (4 * batch * pairs <= M)
    narrow, dense = X[:, :4000], X.toarray()
    assert not isinstance(descent_over(narrow, y, 1), TouchingDescent)  # a dense step is fast as well
    assert not isinstance(descent_over(dense, y, 1), TouchingDescent)
    shifted = objective_of(as_design(X).mapped(1.0, 0.5), CheckedTargets.unknown(N, C, np.dtype(np.float64)))
    assert not touches_few(shifted, 1)


def test_steps_allocate_nothing_of_the_size_of_the_weights(data):
    X, y = data
    descent, order, rates = descent_over(X, y, 8), np.arange(N), np.full(8, 0.1)
    descent.run(order, rates, True)  # whatever is compiled
    tracemalloc.start()
    descent.run(order, rates, True)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < M * C * 8 / 4
    assert descent.steps == 16
