"""What estimators share: predictions block by block, of a few rows, of sparse rows and weights; what they refuse."""

import tracemalloc

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from sklearn.exceptions import NotFittedError

from fastsoftmax import SoftmaxRegression


def test_predictions_of_an_estimator_take_memory_for_blocks(rng):
    """Of 4000 rows and 1000 classes probabilities would take 32 MB."""
    n, m, c = 4000, 16, 1000
    X, y = rng.standard_normal((n, m)), np.arange(n) % c
    model = SoftmaxRegression()
    model.classes_, model.n_features_in_ = np.arange(c), m
    model.coef_, model.intercept_ = rng.standard_normal((c, m)), rng.standard_normal(c)
    wanted = (X @ model.coef_.T + model.intercept_).argmax(1)
    model.score(X[:10], y[:10])  # imports what it needs
    peaks = []
    for _ in range(3):  # it counts what other threads take as well, and the first call what compiling takes
        tracemalloc.start()
        try:
            found = model.predict(X)
            score = model.score(X, y)
            peaks.append(tracemalloc.get_traced_memory()[1])
        finally:
            tracemalloc.stop()
    assert min(peaks) < 4e6
    np.testing.assert_array_equal(found, wanted)
    assert score == pytest.approx((wanted == y).mean())


@pytest.mark.parametrize("c", [2, 3])
@pytest.mark.parametrize("sparsified", [False, True])
def test_few_entries_of_sparse_rows_touch_few_weights(rng, c, sparsified):
    """A row of a million features is a product, as are sparse weights: other bits, the same classes."""
    X = sp.random_array((60, 400), density=0.05, format="csr", rng=rng)
    y = np.arange(60) % c
    model = SoftmaxRegression(C=100).fit(X, y)
    classes, proba, dense = model.predict(X), model.predict_proba(X), X.toarray()
    if sparsified:
        model.sparsify()
    np.testing.assert_array_equal(model.predict(dense), classes)
    np.testing.assert_allclose(model.predict_proba(dense), proba, rtol=1e-9)
    for i in range(60):
        assert X[[i]].nnz < 400
        np.testing.assert_array_equal(model.predict(X[[i]]), classes[i : i + 1])
        np.testing.assert_allclose(model.predict_proba(X[[i]]), proba[i : i + 1], rtol=1e-9)
        np.testing.assert_allclose(model.predict_log_proba(X[[i]]), np.log(proba[i : i + 1]), rtol=1e-7)


def test_a_glance_refuses_what_scikit_learn_refuses(rng):
    """A few rows of a plain array are not given to scikit-learn's checks, unless something is unusual."""
    X, y = rng.standard_normal((40, 3)), np.arange(40) % 2
    model = SoftmaxRegression().fit(X, y)
    large = np.concatenate([X] * 500)
    for data in (X, large):
        for value, words in ((np.nan, "NaN"), (np.inf, "infinity")):
            wrong = data.copy()
            wrong[7, 1] = value
            for call in (model.predict, model.predict_proba, model.predict_log_proba, model.decision_function):
                with pytest.raises(ValueError, match=words):
                    call(wrong)
        with pytest.raises(ValueError, match="3 features"):
            model.predict(data[:, :2])
    with pytest.raises(ValueError, match="Expected 2D"):
        model.predict(X[0])
    with pytest.raises(ValueError, match="minimum of 1"):
        model.predict(X[:0])
    with pytest.raises(NotFittedError):
        SoftmaxRegression().predict(X)
    with pytest.raises(TypeError, match="masked"):
        model.predict(np.ma.masked_array(X))
    np.testing.assert_array_equal(model.predict(X.astype(">f8")), model.predict(X))
    np.testing.assert_array_equal(model.predict(X.tolist()), model.predict(X))
    with pytest.warns(UserWarning, match="feature names"):
        model.predict(pd.DataFrame(X, columns=list("abc")))
    named = SoftmaxRegression().fit(pd.DataFrame(X, columns=list("abc")), y)
    with pytest.warns(UserWarning, match="feature names"):
        named.predict(X)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.uint8, np.int64])
@pytest.mark.parametrize("c", [2, 4])
def test_probabilities_in_the_type_of_weights_and_rows(rng, dtype, c):
    X, y = (rng.random((60, 5)) * 5).astype(dtype), np.arange(60) % c
    model = SoftmaxRegression().fit(X, y)
    wanted = np.float32 if dtype in (np.float16, np.float32) else np.float64
    assert model.predict_proba(X).dtype == wanted
    np.testing.assert_allclose(model.predict_proba(X), np.exp(model.predict_log_proba(X)), rtol=1e-5)
    np.testing.assert_array_equal(model.predict_proba(X).argmax(1), model.predict(X))
