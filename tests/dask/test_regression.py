"""Fits over a cluster of processes: the bytes of a local fit of parts, whoever has them, and whoever dies."""

import itertools
import pickle
import threading
import time

import dask
import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from distributed import Client, wait
from sklearn.base import clone
from sklearn.datasets import make_classification
from sklearn.exceptions import NotFittedError

import fastsoftmax as fs
from fastsoftmax.dask import DaskSoftmaxRegression
from fastsoftmax.dask.objective import ObjectiveOverCluster
from tests.dask.clusters import CUTS, MARKS, M, N, cluster, collection, kill, parts, pieces

pytestmark = MARKS


def same(one, other):
    for name in ("coef_", "intercept_", "classes_"):
        np.testing.assert_array_equal(getattr(one, name), getattr(other, name))
        assert getattr(one, name).dtype == getattr(other, name).dtype
    names = ("objective_", "duality_gap_", "optimality_")
    np.testing.assert_array_equal([getattr(one, name) for name in names], [getattr(other, name) for name in names])
    assert one.n_iter_ == other.n_iter_


@pytest.mark.parametrize(
    ("dtype", "kind", "weighted", "options"),
    [
        ("d", "labels", False, {}),
        ("f", "text", True, {"class_weight": "balanced"}),
        ("e", "labels", False, {"standardize": True}),
        ("B", "labels", True, {"solver": "lbfgs", "label_smoothing": 0.1}),
        ("d", "soft", True, {"C": 0.1}),
        ("csr", "labels", False, {"l1_ratio": 1.0, "C": 0.1}),
        ("csr", "text", True, {"solver": "lbfgs"}),
        ("d", "binary", True, {"class_weight": {0: 2.0}, "solver": "newton"}),
        ("d", "labels", False, {"C": np.inf}),
    ],
)
def test_the_bytes_of_a_local_fit_of_parts(client, data, rng, dtype, kind, weighted, options):
    X, y = data
    X = {"B": lambda: np.round(np.abs(X) * 9).astype("B"), "csr": lambda: sp.csr_matrix(X * (X > 0.5))}.get(
        dtype, lambda: X.astype(dtype)
    )()
    y = {"labels": y, "text": np.array(["a", "b", "c"])[y], "soft": np.eye(3)[y] * 0.7 + 0.1, "binary": y // 2}[kind]
    columns = (X, y, rng.integers(0, 3, N).astype(float)) if weighted else (X, y)
    local = fs.SoftmaxRegression(**options).fit(parts(*columns))
    found = DaskSoftmaxRegression(**options, client=client).fit(*map(collection, columns))
    same(found, local)
    assert type(found.to_local()) is fs.SoftmaxRegression
    np.testing.assert_array_equal(found.to_local().predict_proba(X), local.predict_proba(X))


@pytest.mark.parametrize("gathered", [0, 128 << 20], ids=["workers add", "the client adds"])
@pytest.mark.parametrize("each", [60, 7], ids=["10 parts", "86 parts"])
@pytest.mark.parametrize("solver", ["lbfgs", "newton"])
def test_sums_along_the_tree(client, data, monkeypatch, gathered, each, solver):
    """Whoever adds, and however weights are sent."""
    X, y = data
    cuts = (*range(0, N, each), N)
    local = fs.SoftmaxRegression(solver=solver).fit(parts(X, y, cuts=cuts))
    monkeypatch.setattr("fastsoftmax.dask.cluster.INLINE", gathered)
    monkeypatch.setattr("fastsoftmax.dask.objective.GATHERED", gathered)
    same(DaskSoftmaxRegression(client=client, solver=solver).fit(collection(X, cuts), collection(y, cuts)), local)


def test_samples_that_stay_on_the_workers(client, rng, monkeypatch):
    """Of more rows than are looked at here; sums over them are of parts as well."""
    n = 24_000
    y = rng.integers(0, 3, n)
    X = rng.standard_normal((n, M)) + np.eye(3, M)[y]
    monkeypatch.setattr("fastsoftmax.objective.base.SAMPLE_BYTES", M * 8 * 1000)
    cuts, options = (0, 10, 9_000, 9_001, 20_000, n), {"solver": "lbfgs", "C": 0.1}
    spread, chosen = [], ObjectiveOverCluster.spread
    monkeypatch.setattr(ObjectiveOverCluster, "spread", lambda self, k: spread.append(k) or chosen(self, k))
    found = DaskSoftmaxRegression(client=client, **options).fit(collection(X, cuts), collection(y, cuts))
    assert spread == [6000]
    same(found, fs.SoftmaxRegression(**options).fit(parts(X, y, cuts=cuts)))
    everything = fs.SoftmaxRegression(**options).fit(X, y)
    assert abs(found.objective_ - everything.objective_) <= 1e-4


@pytest.mark.parametrize(("workers", "threads", "processes"), [(1, 1, True), (3, 1, True), (2, 2, False)])
def test_one_set_of_bytes(data, workers, threads, processes):
    X, y = data
    with cluster(workers, threads, processes) as made, Client(made) as client:
        found = DaskSoftmaxRegression(client=client, solver="lbfgs").fit(collection(X), collection(y))
    same(found, fs.SoftmaxRegression(solver="lbfgs").fit(parts(X, y)))


def test_a_worker_that_dies(data, monkeypatch):
    """Its partitions are made again elsewhere."""
    X, y = data
    local = fs.SoftmaxRegression(solver="lbfgs", tol=1e-8).fit(parts(X, y))
    steps, summed = itertools.count(), ObjectiveOverCluster.summed
    with cluster(2) as made, Client(made) as client:

        def stumbling(self, *arguments):
            if next(steps) in (3, 9):
                victim = next(iter(made.workers.values())).process.pid
                threading.Timer(0.01, lambda: kill(victim)).start()
            return summed(self, *arguments)

        monkeypatch.setattr(ObjectiveOverCluster, "summed", stumbling)
        found = DaskSoftmaxRegression(client=client, solver="lbfgs", tol=1e-8).fit(collection(X), collection(y))
    assert next(steps) > 10
    same(found, local)


def test_sizes_that_nobody_knows_and_borders_that_differ(client, data):
    X, y = data
    local = fs.SoftmaxRegression().fit(parts(X, y))
    unknown = [collection(column) for column in (X, y)]
    for column in unknown:
        column._chunks = (tuple([np.nan] * (len(CUTS) - 1)), *column.chunks[1:])
    same(DaskSoftmaxRegression(client=client).fit(*unknown), local)
    other = da.from_array(y, chunks=77)
    same(DaskSoftmaxRegression(client=client).fit(collection(X).rechunk({1: 3}), other), local)


def test_frames(client, data):
    X, y = data
    frame = pd.DataFrame(X, columns=list("abcdefg"))
    both = dd.from_pandas(frame.assign(y=y), npartitions=4)
    found = DaskSoftmaxRegression(client=client).fit(both[list("abcdefg")], both["y"])
    assert found.feature_names_in_.tolist() == list("abcdefg")
    borders = (0, *np.cumsum([len(part) for part in both.partitions]).tolist())
    same(found, fs.SoftmaxRegression().fit(parts(X, y, cuts=borders)))
    predicted = found.predict(both[list("abcdefg")])
    np.testing.assert_array_equal(predicted.compute(), found.to_local().predict(frame))
    text = both.assign(t=both["a"].astype(str))
    with pytest.raises(TypeError, match=r"X has a column 't' of .*: encode it as numbers first"):
        DaskSoftmaxRegression(client=client).fit(text[["a", "t"]], both["y"])


def test_parts_that_workers_read(client, data, tmp_path):
    X, y = data
    for i, (part, labels) in enumerate(pieces(X, y, cuts=(0, 200, 600))):
        np.save(tmp_path / f"{i}.npy", part)
        np.save(tmp_path / f"y{i}.npy", labels)
    local = fs.SoftmaxRegression().fit(parts(X, y, cuts=(0, 200, 600)))
    files = fs.Parts.from_npy([tmp_path / f"{i}.npy" for i in range(2)], [tmp_path / f"y{i}.npy" for i in range(2)])
    same(DaskSoftmaxRegression(client=client).fit(files), local)
    lazy = fs.Parts([dask.delayed(piece) for piece in pieces(X, y, cuts=(0, 200, 600))])
    same(DaskSoftmaxRegression(client=client).fit(lazy), local)


def test_predictions_are_lazy_and_of_the_same_chunks(client, data):
    X, y = data
    model = DaskSoftmaxRegression(client=client).fit(collection(X), collection(np.array(["a", "b", "c"])[y]))
    local, chunks = model.to_local(), collection(X).chunks[0]
    for name, columns in (("predict", ()), ("predict_proba", ((3,),)), ("decision_function", ((3,),))):
        lazy = getattr(model, name)(collection(X))
        assert isinstance(lazy, da.Array)
        assert lazy.chunks == (chunks, *columns)
        found = lazy.compute()
        (np.testing.assert_array_equal if name == "predict" else np.testing.assert_allclose)(
            found, getattr(local, name)(X)
        )
        np.testing.assert_array_equal(getattr(model, name)(X), getattr(local, name)(X))
        assert lazy.dtype == found.dtype
    weight = np.arange(N) % 5 + 0.0
    labels = np.array(["a", "b", "c"])[y]
    assert model.score(collection(X), collection(labels)) == local.score(X, labels)
    found = model.score(collection(X), collection(labels), collection(weight))
    assert found == pytest.approx(local.score(X, labels, weight))
    binary = DaskSoftmaxRegression(client=client).fit(collection(X), collection(y > 0))
    assert binary.decision_function(collection(X)).chunks == (chunks,)
    assert binary.predict_proba(collection(X)).compute().shape == (N, 2)


def test_what_fails_elsewhere(client):
    """Three classes, and probabilities of three columns: dask-ml's issues 859 and 386."""
    X, y = make_classification(300, 6, n_informative=4, n_classes=3, random_state=0)
    model = DaskSoftmaxRegression(client=client).fit(da.from_array(X, chunks=(100, 6)), da.from_array(y, chunks=100))
    local = fs.SoftmaxRegression().fit(X, y)
    assert model.classes_.tolist() == [0, 1, 2]
    assert abs(model.objective_ - local.objective_) <= 1e-9
    proba = model.predict_proba(da.from_array(X, chunks=(100, 6))).compute()
    assert proba.shape == (300, 3)
    np.testing.assert_allclose(proba, local.predict_proba(X), atol=1e-6)


def test_as_an_estimator(client, data):
    X, y = data
    model = DaskSoftmaxRegression(client=client, C=0.5)
    assert model.get_params() == fs.SoftmaxRegression(C=0.5).get_params()
    twin = clone(model.set_params(tol=1e-5))
    assert (twin.client, twin.C, twin.tol) == (client, 0.5, 1e-5)
    model.fit(collection(X), collection(y))
    again = pickle.loads(pickle.dumps(model))
    assert again.client is None
    np.testing.assert_array_equal(again.coef_, model.coef_)
    assert "C=0.5" in repr(model)
    warm = DaskSoftmaxRegression(client=client, C=0.5, tol=1e-5, warm_start=True)
    warm.fit(collection(X), collection(y))
    assert warm.fit(collection(X), collection(y)).n_iter_ <= 1


def test_a_checkpoint_of_the_client(client, data, tmp_path, monkeypatch):
    X, y = data
    options = {"client": client, "solver": "lbfgs", "tol": 1e-8}
    local = fs.SoftmaxRegression(solver="lbfgs", tol=1e-8).fit(parts(X, y))
    steps, summed = itertools.count(), ObjectiveOverCluster.summed

    def stopping(self, *arguments):
        if next(steps) == 12:
            raise KeyboardInterrupt
        return summed(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(ObjectiveOverCluster, "summed", stopping)
        with pytest.raises(KeyboardInterrupt):
            DaskSoftmaxRegression(**options).fit(collection(X), collection(y), checkpoint=tmp_path / "fit")
    found = DaskSoftmaxRegression(**options).fit(collection(X), collection(y), checkpoint=tmp_path / "fit")
    same(found, local)
    with pytest.raises(ValueError, match="checkpoint"):
        DaskSoftmaxRegression(**options).fit(collection(X + 1), collection(y), checkpoint=tmp_path / "fit")


def test_what_is_refused(client, data):
    X, y = data
    model = DaskSoftmaxRegression(client=client).fit(collection(X), collection(y))
    before = dict(vars(model))
    nan = X.copy()
    nan[120, 3] = np.nan
    for arguments, options, message in (
        ((collection(nan), collection(y)), {}, "partition 2: row 19 of X holds NaN or infinity"),
        ((collection(X), collection(y * 0)), {}, "at least 2 classes are needed"),
        ((collection(X), collection(y)), {"classes": [0, 1]}, r"y has classes that `classes` lacks: \[2\]"),
        ((collection(X)[:0], collection(y)[:0]), {}, "there are no rows: all partitions are empty"),
        ((collection(X), collection(y), collection(0.0 * y)), {}, "there is nothing to fit: all weights are 0"),
        ((collection(X), collection(y), collection(-1.0 * y)), {}, "sample_weight must be finite and not negative"),
        ((collection(X), collection(y)[1:]), {}, "X has 600 rows, y has 599"),
        ((collection(X), None), {}, "y is missing"),
        ((parts(X, y), collection(y)), {}, "Parts on a cluster have their own y and weights"),
        ((fs.Parts([X]),), {}, "part 0 has no y"),
        ((collection(X), collection(X[:, 0])), {}, "partition 0: Unknown label type: continuous"),
        ((fs.Parts([(X, y), (X, np.eye(3)[y])]),), {}, "part 1 has y of probabilities of 3 classes, where part 0 has"),
        ((fs.Parts([(X[:0], y[:0]), (X, y), (X[:, 1:], y)]),), {}, "part 2 has 6 features, where the first part has 7"),
        ((collection(X[:, 0]), collection(y)), {}, "X must have 2 dimensions"),
    ):
        with pytest.raises(ValueError, match=message):
            model.fit(*arguments, **options)
    for columns, message in (
        ([(X[:300], y[:300], np.ones(300)), (X[300:], y[300:])], "part 1 has no weights, but part 0 has"),
        ([(X[:300], y[:300]), (X[300:], y[300:].astype("u8"))], "partitions have y of different kinds: int64, uint64"),
        ([(X[:300], y[:300], np.full(300, 5e305)), (X[300:], y[300:], np.full(300, 5e305))], "their sum overflows"),
    ):
        with pytest.raises(ValueError, match=message):
            model.fit(fs.Parts(columns))
    with pytest.raises(ValueError, match="are not in class_weight"):
        DaskSoftmaxRegression(client=client, class_weight={7: 2.0}).fit(collection(X), collection(y))
    with pytest.raises(ValueError, match="class_weight must be finite numbers that are not negative"):
        DaskSoftmaxRegression(client=client, class_weight={0: -1.0}).fit(collection(X), collection(y))
    with pytest.raises(TypeError, match="X must be a dask array or frame, or Parts, got Delayed"):
        model.fit(dask.delayed(X), collection(y))
    with pytest.raises(ValueError, match="X has 3 features"):
        model.predict(collection(X)[:, :3])
    with pytest.raises(NotFittedError):
        DaskSoftmaxRegression().predict(collection(X))
    for labels in (np.array(["a", "b", "c"])[y], np.eye(3)[y]):
        with pytest.raises(ValueError, match="where labels like classes_, of dtype int64, are expected"):
            model.score(collection(X), collection(labels))
    with pytest.raises(TypeError, match="y of partition 0 is a masked array"):
        model.fit(collection(X), da.ma.masked_array(collection(y), collection(y == 0)))
    with pytest.raises(TypeError, match="y must be a dask array or series, as X is, got ndarray"):
        model.fit(collection(X), y)
    with pytest.raises(TypeError, match="X must be a dask array or frame, or Parts, got ndarray"):
        model.fit(X, y)
    assert vars(model).keys() == before.keys()
    assert all(vars(model)[name] is before[name] for name in before)


def test_classes_that_are_not_among_the_rows(client, data):
    X, y = data
    found = DaskSoftmaxRegression(client=client).fit(collection(X), collection(y), classes=[0, 1, 2, 9])
    assert found.classes_.tolist() == [0, 1, 2, 9]
    assert found.coef_.shape == (4, M)
    assert not (found.predict(X) == 9).any()


def test_a_source_that_both_are_made_of_is_read_once(client):
    """So rows and labels that are drawn together stay together."""

    def load(seed):
        rng = np.random.default_rng()  # without a seed: each call gives other rows
        X = rng.standard_normal((200, 4))
        return np.concatenate([X, (X[:, :1] > 0)], 1)

    Z = da.concatenate([da.from_delayed(dask.delayed(load)(seed), (200, 5), float) for seed in range(3)])
    X, y = Z[:, :4], Z[:, 4].astype(int)
    model = DaskSoftmaxRegression(client=client, C=1e4).fit(X, y)
    assert model.objective_ < 0.1
    assert model.score(X, y) > 0.95


def test_frames_whose_rows_do_not_match(client, data):
    X, y = data
    frame = dd.from_pandas(pd.DataFrame(X, columns=list("abcdefg")), npartitions=2)
    other = dd.from_pandas(pd.Series(y, index=np.arange(N) + 7), npartitions=2)
    with pytest.raises(ValueError, match="partition 0: the index of y is another than that of X"):
        DaskSoftmaxRegression(client=client).fit(frame, other)


def test_class_weights_where_a_class_weighs_nothing(client, data):
    X, y = data
    weight = np.where(y == 2, 0.0, 1.0)
    options = {"class_weight": "balanced"}
    found = DaskSoftmaxRegression(client=client, **options).fit(*map(collection, (X, y, weight)))
    same(found, fs.SoftmaxRegression(**options).fit(parts(X, y, weight)))
    weight = np.random.default_rng(0).random(N)
    found = DaskSoftmaxRegression(client=client, **options).fit(*map(collection, (X, y, weight)))
    local = fs.SoftmaxRegression(**options).fit(parts(X, y, weight))
    np.testing.assert_allclose(found.coef_, local.coef_, rtol=1e-9)


def test_predictions_have_the_dtype_that_they_say(client, data):
    X, y = data
    model = DaskSoftmaxRegression(client=client).fit(collection(X.astype("f")), collection(y))
    for dtype in "fdeB":
        rows = collection(np.abs(X).astype(dtype))
        for name in ("predict", "predict_proba", "predict_log_proba", "decision_function"):
            lazy = getattr(model, name)(rows)
            assert lazy.dtype == lazy.compute().dtype
            np.testing.assert_allclose(
                lazy.compute(), getattr(model, name)(np.abs(X).astype(dtype)), rtol=1e-5, atol=1e-5
            )


def test_the_example_of_the_docstring():
    """Here, for it leaves sockets to the collector."""
    import doctest

    from fastsoftmax.dask import regression

    found = doctest.testmod(regression)
    assert found.failed == 0
    assert found.attempted > 5


def test_inside_a_task_it_is_refused(client, data):
    X, y = data

    def inside():
        return DaskSoftmaxRegression().fit(collection(X), collection(y))

    with pytest.raises(RuntimeError, match="begun inside a task"):
        client.submit(inside, pure=False).result()


def test_slices_go_to_workers_one_by_one(client, data):
    X, y = data
    parts_ = fs.Parts.from_slices(X, y, rows=100)
    same(DaskSoftmaxRegression(client=client).fit(parts_), fs.SoftmaxRegression().fit(parts_))


def test_without_a_client(data, monkeypatch):
    from fastsoftmax.dask import cluster as module

    X, y = data

    def nobody():
        raise ValueError("No global client found")

    monkeypatch.setattr(module, "get_client", nobody)
    with pytest.raises(ValueError, match="there is no Dask client: make one"):
        DaskSoftmaxRegression().fit(collection(X), collection(y))
    with cluster(1, 1, False) as made:
        closed = Client(made)
        closed.close()
    with pytest.raises(ValueError, match="the Dask client is closed: make another"):
        DaskSoftmaxRegression(client=closed).fit(collection(X), collection(y))


def test_estimators_in_memory_name_the_one_of_clusters(data):
    X, y = map(collection, data)
    for call in (fs.SoftmaxRegression().fit, fs.SoftmaxSGDClassifier().fit, fs.Trainer().fit):
        with pytest.raises(TypeError, match=r"fastsoftmax\.dask\.DaskSoftmaxRegression"):
            call(X, y)


def interrupt(*arguments):
    raise KeyboardInterrupt


def test_nothing_is_left_on_the_workers(client, data, monkeypatch):
    def keys():
        return {key for held in client.has_what().values() for key in held}

    def gone():
        for _ in range(100):
            if keys() <= before:
                return True
            time.sleep(0.05)
        return False

    X, y = data
    own = client.persist(collection(X))
    wait(own)
    before = keys()
    model = DaskSoftmaxRegression(client=client)
    assert model.fit(own, collection(y)).converged_
    assert gone()
    nan = X.copy()
    nan[5, 5] = np.nan
    with pytest.raises(ValueError, match="NaN") as error:
        model.fit(collection(nan), collection(y))
    assert gone(), error
    with pytest.raises(ValueError, match="partition 0 has y of dtype") as error:
        model.score(collection(X), collection(np.array(["a", "b", "c"])[y]))
    assert gone(), error
    monkeypatch.setattr(DaskSoftmaxRegression, "_solve", interrupt)
    with pytest.raises(KeyboardInterrupt) as interruption:
        model.fit(own, collection(y))
    assert gone(), interruption
    np.testing.assert_array_equal(own.compute(), X)  # what was the user's is there


def test_balanced_probabilities_where_a_column_is_nothing(client, data):
    X, y = data
    soft = np.concatenate([np.eye(3)[y] * 0.7 + 0.1, np.zeros((N, 1))], 1)
    options = {"class_weight": "balanced", "label_smoothing": 0.1}
    found = DaskSoftmaxRegression(client=client, **options).fit(collection(X), collection(soft))
    np.testing.assert_allclose(found.coef_, fs.SoftmaxRegression(**options).fit(parts(X, soft)).coef_, rtol=1e-9)
