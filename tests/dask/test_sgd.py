"""Training over a cluster: the bytes of a local fit of parts, whoever has them, and whoever dies."""

import itertools
import threading

import dask.array as da
import numpy as np
import pytest
import scipy.sparse as sp
from distributed import Client
from sklearn.base import clone

import fastsoftmax as fs
from fastsoftmax.dask import DaskSoftmaxSGDClassifier, sgd, steps
from fastsoftmax.estimators import sgd as local_sgd
from tests.dask.clusters import CUTS, MARKS, M, N, cluster, collection, kill, parts, pieces

pytestmark = MARKS
TIGHT = 4 * 100 * M * 8  # bytes: windows of 200 rows of float64, less what a batch may carry over
FEW = {"max_epochs": 4, "tol": None, "random_state": 0}


def read_wholly(*columns, cuts=CUTS):
    """As partitions are: no rows of one are had without the others."""
    return fs.Parts([lambda piece=piece: piece for piece in pieces(*columns, cuts=cuts) if piece[0].shape[0]])


@pytest.fixture(name="tight", params=[False, True], ids=["together", "windows"])
def make_tight(request, monkeypatch):
    """Budgets for all rows, and for a few partitions at once."""
    if request.param:
        for module in (sgd, local_sgd):
            monkeypatch.setattr(module, "SHUFFLE_BYTES", TIGHT)
    return request.param


def without_times(history):
    return [{k: v for k, v in record.items() if k not in ("seconds", "examples_per_second")} for record in history]


def same(one, other):
    for name in ("coef_", "intercept_", "classes_"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert getattr(one, name).dtype == getattr(other, name).dtype
    assert (one.t_, one.n_iter_) == (other.t_, other.n_iter_)
    assert without_times(one.history_) == without_times(other.history_)


@pytest.mark.parametrize(
    ("dtype", "kind", "weighted", "options"),
    [
        ("d", "labels", False, {}),
        ("f", "text", True, {"class_weight": {"a": 2.0, "c": 0.5}}),
        ("e", "labels", False, {"early_stopping": True, "max_epochs": 9}),
        ("B", "labels", True, {"optimizer": "adam", "label_smoothing": 0.1, "average": 2}),
        ("f", "soft", True, {"momentum": 0.9, "nesterov": True}),
        ("csr", "labels", True, {"early_stopping": True, "fit_intercept": False, "batch_size": 20}),
        ("d", "binary", True, {"batch_size": 7, "schedule": "cosine", "learning_rate": 0.5}),
        ("d", "objects", False, {"shuffle": False, "batch_size": 13}),
        ("f", "labels", "fractions", {"early_stopping": True, "l2": 0.1}),
    ],
)
def test_the_bytes_of_a_local_fit_of_parts(client, data, rng, tight, dtype, kind, weighted, options):
    X, y = data
    X = {
        "B": lambda: np.round(np.abs(X) * 9).astype("B"),
        "csr": lambda: sp.csr_matrix(np.concatenate([X * (X > 0.2)] * 3, 1)),
    }.get(dtype, lambda: X.astype(dtype))()
    text = np.array(["a", "b", "c"])[y]
    y = {
        "labels": y, "text": text, "soft": np.eye(3)[y] * 0.7 + 0.1, "binary": y // 2, "objects": text.astype(object),
    }[kind]  # fmt: skip
    weight = rng.random(N) if weighted == "fractions" else rng.integers(1, 4, N).astype(float)
    columns = (X, y, weight) if weighted else (X, y)
    options = FEW | options
    local = fs.SoftmaxSGDClassifier(**options).fit(read_wholly(*columns))
    found = DaskSoftmaxSGDClassifier(**options, client=client).fit(*map(collection, columns))
    same(found, local)
    assert type(found.to_local()) is fs.SoftmaxSGDClassifier
    rows = X.toarray() if sp.issparse(X) else X
    np.testing.assert_array_equal(found.to_local().predict_proba(rows), local.predict_proba(rows))
    lazy = found.predict_proba(collection(X))
    assert isinstance(lazy, da.Array)
    np.testing.assert_allclose(lazy.compute(), local.predict_proba(X), rtol=1e-5, atol=1e-6)


def test_many_classes_and_wide_sparse_rows(client, rng, tight):
    """Where drivers of their own take the steps: classes with owners, and features that a batch touches."""
    X, y = rng.standard_normal((N, M)).astype("f"), np.arange(N) % 200
    options = FEW | {"batch_size": 30, "learning_rate": 0.1}
    same(
        DaskSoftmaxSGDClassifier(**options, client=client).fit(collection(X), collection(y)),
        fs.SoftmaxSGDClassifier(**options).fit(read_wholly(X, y)),
    )
    X = sp.random_array((N, 90_000), density=5e-5, format="csr", dtype="f", rng=rng)
    y, options = y % 3, options | {"momentum": 0.5, "l2": 1e-3, "max_epochs": 2}
    same(
        DaskSoftmaxSGDClassifier(**options, client=client).fit(collection(sp.csr_matrix(X)), collection(y)),
        fs.SoftmaxSGDClassifier(**options).fit(read_wholly(X, y)),
    )


@pytest.mark.parametrize(("workers", "threads", "processes"), [(1, 1, True), (3, 1, True), (2, 2, False)])
def test_one_set_of_bytes(data, tight, workers, threads, processes):
    X, y = data
    with cluster(workers, threads, processes) as made, Client(made) as client:
        found = DaskSoftmaxSGDClassifier(client=client, **FEW).fit(collection(X), collection(y))
    same(found, fs.SoftmaxSGDClassifier(**FEW).fit(read_wholly(X, y)))


def test_a_worker_that_dies(data, monkeypatch):
    """The epoch repeats elsewhere."""
    monkeypatch.setattr(sgd, "SHUFFLE_BYTES", TIGHT)
    monkeypatch.setattr(local_sgd, "SHUFFLE_BYTES", TIGHT)
    X, y = data
    options = FEW | {"max_epochs": 40}
    local = fs.SoftmaxSGDClassifier(**options).fit(read_wholly(X, y))
    epochs, epoch = itertools.count(), steps._StepsOnWorkers.epoch
    with cluster(2) as made, Client(made) as client:

        def stumbling(self, *arguments):
            if next(epochs) in (3, 20):
                victim = next(iter(made.workers.values())).process.pid
                threading.Timer(0.01, lambda: kill(victim)).start()
            return epoch(self, *arguments)

        monkeypatch.setattr(steps._StepsOnWorkers, "epoch", stumbling)
        found = DaskSoftmaxSGDClassifier(client=client, **options).fit(collection(X), collection(y))
    assert next(epochs) == 40
    same(found, local)


def test_partial_fit_goes_on(client, data, tight):
    X, y = data
    options = {"random_state": 0, "client": client}
    found, local = DaskSoftmaxSGDClassifier(**options), fs.SoftmaxSGDClassifier(random_state=0)
    for half in (slice(0, 300), slice(300, N)):
        cuts = (0, 110, 300)
        labels = y[half] % 2 if half.start else y[half]
        found.partial_fit(collection(X[half], cuts), collection(labels, cuts), classes=[0, 1, 2])
        local.partial_fit(read_wholly(X[half], labels, cuts=cuts), classes=[0, 1, 2])
        same(found, local)
    with pytest.raises(ValueError, match=r"y has classes that `classes` lacks: \[5\]"):
        found.partial_fit(collection(X), collection(y + 3 * (y == 2)))
    with pytest.raises(ValueError, match="6 features"):
        found.partial_fit(collection(X[:, 1:]), collection(y))
    same(found, local)
    with pytest.raises(ValueError, match="classes must be passed on the first call"):
        DaskSoftmaxSGDClassifier(**options).partial_fit(collection(X), collection(y))


def test_as_an_estimator(client, data):
    X, y = data
    model = DaskSoftmaxSGDClassifier(client=client, l2=0.5)
    assert model.get_params() == fs.SoftmaxSGDClassifier(l2=0.5).get_params()
    assert model.set_params(client=None, l2=0.25).client is None
    twin = clone(model.set_params(client=client))
    assert (twin.client, twin.l2) == (client, 0.25)
    with pytest.raises(ValueError, match="Invalid parameter 'c'"):
        model.set_params(c=1)
    warm = DaskSoftmaxSGDClassifier(client=client, warm_start=True, **FEW)
    first = warm.fit(collection(X), collection(y)).history_[0]["loss"]
    assert warm.fit(collection(X), collection(y)).history_[0]["loss"] < first
    with pytest.raises(ValueError, match="with warm_start the classes must stay"):
        warm.fit(collection(X), collection(y + 1))
    assert warm.score(collection(X), collection(y)) > 0.5


def test_what_is_refused(client, data, monkeypatch):
    X, y = data
    model = DaskSoftmaxSGDClassifier(client=client, **FEW).fit(collection(X), collection(y))
    before = dict(vars(model))
    nan = X.copy()
    nan[120, 3] = np.nan
    for arguments, message in (
        ((collection(nan), collection(y)), "partition 2: row 19 of X holds NaN or infinity"),
        ((collection(X), collection(y * 0)), "at least 2 classes are needed"),
        ((collection(X), collection(y), collection(0.0 * y)), "there is nothing to fit: all weights are 0"),
        ((collection(X), None), "y is missing"),
    ):
        with pytest.raises(ValueError, match=message):
            model.fit(*arguments)
    with pytest.raises(TypeError, match="X must be a dask array or frame, or Parts, got ndarray"):
        model.fit(X, y)
    wild = DaskSoftmaxSGDClassifier(client=client, learning_rate=1e30, **FEW)
    with pytest.raises(FloatingPointError, match="learning_rate"):
        wild.fit(collection(X), collection(y))
    monkeypatch.setattr(sgd, "SHUFFLE_BYTES", TIGHT)
    with pytest.raises(ValueError, match="a batch of 300 rows takes"):
        DaskSoftmaxSGDClassifier(client=client, batch_size=300, **FEW).fit(collection(X), collection(y))
    assert vars(model).keys() == before.keys()
    assert all(vars(model)[name] is before[name] for name in before)


def test_ctrl_c_leaves_the_weights_of_the_last_epoch(client, data, monkeypatch):
    X, y = data
    epochs, epoch = itertools.count(), steps._StepsOnWorkers.epoch

    def stopping(self, *arguments):
        if next(epochs) == 2:
            raise KeyboardInterrupt
        return epoch(self, *arguments)

    monkeypatch.setattr(steps._StepsOnWorkers, "epoch", stopping)
    found = DaskSoftmaxSGDClassifier(client=client, **FEW).fit(collection(X), collection(y))
    assert found.n_iter_ == 2
    assert found.score(collection(X), collection(y)) > 0.5


def test_a_stream_that_is_moved_on():
    """A worker draws what the client leaves out."""
    one, other = (np.random.PCG64(3) for _ in range(2))
    for stream in (one, other):
        stream.random_raw(5)
    other.advance(1234)
    one.random_raw(1234)
    assert one.state == other.state


def test_a_task_takes_the_threads_of_its_worker(client, data):
    """And the other tasks one."""
    X, y = data
    seen = []

    def threads_of(self, *arguments):
        from fastsoftmax.engine.threads import threads_here

        seen.append(threads_here())
        return run(self, *arguments)

    from fastsoftmax.training.descent import Descent

    run = Descent.run
    with cluster(1, 3, False) as made, Client(made) as own, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Descent, "run", threads_of)
        DaskSoftmaxSGDClassifier(client=own, **FEW).fit(collection(X), collection(y))
    assert set(seen) == {min(3, fs.get_num_threads())}


def test_the_example_of_the_docstring():
    """Here, for it leaves sockets to the collector."""
    import doctest

    found = doctest.testmod(sgd)
    assert found.failed == 0
    assert found.attempted > 5


def test_parts_of_any_kind(client, data):
    X, y = data
    local = fs.SoftmaxSGDClassifier(**FEW).fit(parts(X, y))  # all in memory: however they are read
    same(DaskSoftmaxSGDClassifier(client=client, **FEW).fit(read_wholly(X, y)), local)
    same(DaskSoftmaxSGDClassifier(client=client, **FEW).fit(fs.Parts.from_slices(X, y, rows=100)), local)


def test_rows_that_weigh_nothing(client, data, rng, tight):
    """They are gone, so that moments, by which a rate is chosen, are summed in another order."""
    X, y = data
    weight = rng.integers(0, 3, N) * 1.0
    weight[350:] = 0  # all of the last partition
    columns = list(map(collection, (X, y, weight)))
    found = DaskSoftmaxSGDClassifier(client=client, **FEW).fit(*columns)
    local = fs.SoftmaxSGDClassifier(**FEW).fit(read_wholly(X, y, weight))
    np.testing.assert_allclose(found.coef_, local.coef_, rtol=1e-10, atol=1e-12)
    options = FEW | {"learning_rate": 0.1, "early_stopping": True}
    same(
        DaskSoftmaxSGDClassifier(client=client, **options).fit(*columns),
        fs.SoftmaxSGDClassifier(**options).fit(read_wholly(X, y, weight)),
    )


def test_classes_that_are_named(client, data):
    X, y = data
    soft, text = np.eye(3)[y] * 0.7 + 0.1, np.array(["a", "b", "c"])[y]
    model = DaskSoftmaxSGDClassifier(client=client, **FEW)
    with pytest.raises(ValueError, match="y has probabilities of 3 classes, where `classes` names"):
        model.fit(collection(X), collection(soft), classes=["a", "b", "c"])
    model.partial_fit(collection(X), collection(text), classes=["a", "b", "c"])
    with pytest.raises(ValueError, match="y has probabilities of 3 classes, where `classes` names"):
        model.partial_fit(collection(X), collection(soft))
    model.partial_fit(collection(X), collection(text.astype(object)))
    assert model.classes_.dtype == text.dtype  # as it was
    numbers = DaskSoftmaxSGDClassifier(client=client, **FEW)
    numbers.fit(collection(X), collection(y), classes=np.array([0, 1, 2], object))
    assert numbers.classes_.dtype == np.int64
    assert numbers.score(collection(X), collection(y)) > 0.5
    with pytest.raises(TypeError, match="classes must be all numbers or all strings"):
        numbers.fit(collection(X), collection(y), classes=[0, "1", 2])
    with pytest.raises(ValueError, match=r"classes must be of shape \(c,\)"):
        numbers.fit(collection(X), collection(y), classes=[[0, 1, 2]])
    named = np.array(["a", "b", "c", "d"], object)
    found = DaskSoftmaxSGDClassifier(client=client, **FEW).fit(collection(X), collection(text), classes=named)
    assert found.classes_.dtype == object
    assert found.classes_.tolist() == ["a", "b", "c", "d"]


def test_a_client_that_is_not_the_default(data):
    X, y = data
    with cluster(1, 1, False) as made:
        own = Client(made, set_as_default=False)
        found = DaskSoftmaxSGDClassifier(client=own, **FEW).fit(collection(X), collection(y))
        same(found, fs.SoftmaxSGDClassifier(**FEW).fit(read_wholly(X, y)))
        own.close()


def test_an_interrupted_epoch_leaves_the_stream_where_it_was(client, data, monkeypatch, caplog):
    """A fit that goes on is the one that was not interrupted."""
    X, y = data
    options = {"client": client, "warm_start": True, "schedule": "constant", "tol": None, "random_state": 0}
    whole = DaskSoftmaxSGDClassifier(max_epochs=3, **options).fit(collection(X), collection(y))
    model = DaskSoftmaxSGDClassifier(max_epochs=3, **options)
    epochs, epoch = itertools.count(), steps._StepsOnWorkers._epoch

    def stopping(self, stream, *arguments):
        found = epoch(self, stream, *arguments)
        if next(epochs) == 2:
            raise KeyboardInterrupt
        return found

    with monkeypatch.context() as patch, caplog.at_level("WARNING"):
        patch.setattr(
            steps._StepsOnWorkers, "_epoch", lambda self, *arguments, _f=stopping: _keeping(self, _f, *arguments)
        )
        model.fit(collection(X), collection(y))
    assert "the weights are those of the last epoch" in caplog.text
    assert model.n_iter_ == 2
    model.set_params(max_epochs=1).fit(collection(X), collection(y))
    np.testing.assert_array_equal(model.coef_, whole.coef_)


def _keeping(self, function, *arguments):
    """With the weights of before, where an epoch is interrupted."""
    before = self.descent.saved()
    try:
        return function(self, *arguments)
    except KeyboardInterrupt:
        self.descent.load(before)
        raise
