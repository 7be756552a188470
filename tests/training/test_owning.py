"""Steps in which each class has one owner: what partial gradients give, on any number of threads."""

import tracemalloc

import numpy as np
import pytest
import scipy.sparse as sp

import fastsoftmax as fs
from fastsoftmax.data.targets import as_targets
from fastsoftmax.engine import threads
from fastsoftmax.kernels import updates
from fastsoftmax.training import descent, owning, suited
from fastsoftmax.training.descent import Settings
from fastsoftmax.training.owning import OwningDescent
from fastsoftmax.training.suited import begin
from tests import reference
from tests.conftest import objective_of
from tests.training.test_touching import assert_same, trained
from tests.training.test_trainer import orders

N, M, C = 250, 37, 200
OPTIONS = [
    {},
    {"l2": 0.1, "scale": np.linspace(0.5, 2, M)},
    {"momentum": 0.9, "average": True},
    {"momentum": 0.5, "nesterov": True, "l2": 0.2, "scale": 1 / 3, "average": 1},
    {"fit_intercept": False, "schedule": "one_cycle"},
    {"optimizer": "adam", "average": True, "l2": 0.1},
    {"optimizer": "adam", "scale": 0.5},
]


def every_class(rng, n, c):
    """Labels in any order, of which each occurs."""
    return rng.permutation(np.arange(n) % c)


@pytest.fixture
def data(rng):
    return rng.standard_normal((N, M)), every_class(rng, N, C)


@pytest.fixture
def partial(monkeypatch):
    """Calls a function with partial gradients in place of owners."""

    def call(function, *args, **options):
        with monkeypatch.context() as patch:
            patch.setattr(suited, "owns", lambda *_: False)
            return function(*args, **options)

    return call


@pytest.mark.parametrize("options", OPTIONS)
def test_equal_to_partial_gradients(data, partial, options):
    X, y = data
    options = options | {"validation": (X[:20], y[:20]), "rate": 0.05}
    for batch in (64, 7, 1, 33):  # the last batch of an epoch has fewer rows
        assert_same(trained(X, y, 2, batch, **options), partial(trained, X, y, 2, batch, **options), 1e-9, 1e-12)


@pytest.mark.parametrize("c", [192, 193, 208, 209, 224, 225])  # even and odd numbers of vectors
@pytest.mark.parametrize("kind", [np.float32, np.float64, np.uint8, np.int8, np.float16])
def test_of_any_type_and_number_of_classes(partial, rng, kind, c):
    X, y = (rng.standard_normal((c + 9, 30)) * 3).astype(np.int8).astype(kind), every_class(rng, c + 9, c)
    exact = kind == np.float64
    ours, theirs = trained(X, y, 1, 24, 0.01), partial(trained, X, y, 1, 24, 0.01)
    assert_same(ours, theirs, 1e-10 if exact else 2e-5, 1e-13 if exact else 1e-7)


def test_few_classes_of_very_long_rows(partial, rng):
    """Two or three vectors of classes, which are but one pair: what a second worker has is nothing."""
    for c, m in ((30, 20_000), (45, 13_000)):
        X, y = rng.standard_normal((50, m)).astype(np.float32), every_class(rng, 50, c)
        assert_same(trained(X, y, 1, 16, 1e-3), partial(trained, X, y, 1, 16, 1e-3), 2e-5, 1e-7)


def test_targets_and_weights(data, partial, rng):
    X, y = data
    Y, s = rng.dirichlet(np.ones(C), N), rng.random(N) * (rng.random(N) < 0.8)
    for target, rest in ((Y, {"sample_weight": s}), (y, {"label_smoothing": 0.1, "sample_weight": s})):
        options = {"momentum": 0.5, "batch": 32, **rest}
        assert_same(trained(X, target, **options), partial(trained, X, target, **options), 1e-9, 1e-12)


@pytest.mark.parametrize("options", [{"l2": 0.1}, {"l2": 0.1, "momentum": 0.9, "nesterov": True}])
def test_descent_in_numpy(data, options):
    X, y = data
    model, _ = trained(X, y, **options)
    W, b = reference.sgd(X, y, C, orders(N, 4), 8, 0.5, **options)
    np.testing.assert_allclose(model.coef, W, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(model.intercept, b, rtol=1e-9, atol=1e-12)


EVERYTHING = {"l2": 0.1, "momentum": 0.9, "nesterov": True, "average": True}


def test_slices_and_threads_change_no_bit(data, monkeypatch):
    X, y = data
    seen = set()
    for count, operations in ((1, 2e9), (2, 2e9), (1, 4e6), (2, 4e6)):
        monkeypatch.setattr(owning, "SLICE", operations)
        monkeypatch.setattr(threads, "_chosen_threads", count)
        monkeypatch.setattr(threads, "worker_count", lambda _: fs.get_num_threads() if threads.JIT else 1)
        for optimizer in ("sgd", "adam"):
            rest = EVERYTHING if optimizer == "sgd" else {"average": True, "optimizer": "adam"}
            model, trainer = trained(X, y, batch=32, epochs=2, rate=0.05, **rest)
            seen.add((optimizer, model.sha256(), trainer.history[-1]["loss"]))
    assert len(seen) == 2


def test_interrupted_between_slices(data, monkeypatch):
    """The weights are those of the last step."""
    X, y = data
    steps, calls = owning.owned.owned_steps, []

    def interrupted(*args):
        if len(calls) == 5:
            raise KeyboardInterrupt
        calls.append(1)
        steps(*args)

    monkeypatch.setattr(owning, "SLICE", 8.0 * M * C)  # a step a call
    monkeypatch.setattr(owning, "owns", lambda *_: True)
    monkeypatch.setattr(suited, "owns", lambda *_: True)
    monkeypatch.setattr(owning.owned, "owned_steps", interrupted)
    options = {name: value for name, value in EVERYTHING.items() if name != "average"}
    model, trainer = trained(X, y, **options)
    assert trainer.stopped == "interrupted"
    W, b = reference.sgd(X, y, C, [orders(N, 1)[0][:40]], 8, 0.5, 0.9, True, 0.1)
    np.testing.assert_allclose(model.coef, W, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(model.intercept, b, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("scale", [1.0, 0.5])  # where weights are folded, and where they are coef itself
@pytest.mark.parametrize("options", [EVERYTHING, {"optimizer": "adam", "average": True, "l2": 0.1}])
def test_going_on(data, tmp_path, options, scale):
    """From a checkpoint of a run that was stopped, and from `progressed`, with other batches too."""
    X, y = data
    options = options | {"scale": scale, "learning_rate": 0.05}
    whole = fs.Trainer(4, 8, **options).fit(X, y)
    stopped = []

    def stop(record):
        stopped.append(record)
        if len(stopped) == 2:
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        fs.Trainer(4, 8, **options).fit(X, y, checkpoint=tmp_path / "c", callbacks=[stop])
    again = fs.Trainer(4, 8, **options).fit(X, y, checkpoint=tmp_path / "c")
    assert again.sha256() == whole.sha256()
    first = fs.Trainer(2, 8, **options)
    first.fit(X, y)
    second = fs.Trainer(2, 8, **options).fit(X, y, resume=first.progressed)
    assert second.sha256() == whole.sha256()
    full = fs.Trainer(1, N, accumulate_steps=1, **options).fit(X, y, resume=first.progressed)
    half = fs.Trainer(1, N // 2, accumulate_steps=2, **options).fit(X, y, resume=first.progressed)  # in parts
    np.testing.assert_allclose(full.coef, half.coef, rtol=1e-9, atol=1e-12)


def test_a_loss_that_overflows_is_named(data):
    X, y = data
    with pytest.raises(FloatingPointError, match="learning_rate"):
        trained(X, y, epochs=50, rate=1e6, l2=10.0)


def descent_over(X, y, batch, c=C, **options):
    objective = objective_of(X, as_targets(y, len(y), c, np.float64), np.float64)
    settings = {"micro": batch, "share": 1.0, "l2": 0.1, "fit_intercept": True, "average": True} | options
    return begin(objective, Settings(False, updates.Rule(0.9, False, 0.9, 0.999, 1e-8), batch, **settings))


def test_shapes_alone_decide(data):
    X, y = data
    assert isinstance(descent_over(X, y, 8), OwningDescent)
    assert isinstance(descent_over(X, y, owning.MOST), OwningDescent)
    assert type(descent_over(X, y, owning.MOST + 1)) is descent.Descent
    assert type(descent_over(X, y, 16, micro=8)) is descent.Descent  # parts of a batch are added up
    assert type(descent_over(X, y % 100, 8, 100)) is descent.Descent
    assert not isinstance(descent_over(sp.csr_array(X), y, 8), OwningDescent)
    wide = np.broadcast_to(np.float32(1.0), (owning.MOST, 25_000))  # a step of 7.7e9 operations could not be cut
    assert type(descent_over(wide, np.zeros(owning.MOST, int), owning.MOST)) is descent.Descent


def test_steps_allocate_nothing_of_the_size_of_the_weights(data):
    X, y = data
    descent, order, rates = descent_over(X, y, 8), np.arange(N), np.full(32, 0.1)
    descent.run(order, rates, True)  # whatever is compiled
    tracemalloc.start()
    descent.run(order, rates, True)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < M * C * 8 / 4
    assert descent.steps == 64
