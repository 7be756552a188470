"""Index arithmetic beyond 2^31: offsets into X are 64-bit, whether it is dense on a disk or sparse."""

import tempfile

import numpy as np
import pytest
import scipy.sparse as sp

import fastsoftmax as fs
from fastsoftmax.engine.threads import JIT
from tests import reference

pytestmark = pytest.mark.skipif(not JIT, reason="billions of entries take hours with the JIT off")


def on_disk(array):
    with tempfile.TemporaryFile() as file:
        mapped = np.memmap(file, array.dtype, "w+", shape=array.shape)
    mapped[...] = array
    return mapped


def test_a_dense_file_of_more_than_two_to_the_31(rng):
    """2.2e9 bytes, nearly all a hole; what is not 0 lies on both sides of 2^31."""
    n, m, c = 2_200_000, 1000, 3
    assert n * m > 2**31
    with tempfile.TemporaryFile() as file:
        file.truncate(n * m)
        X = np.memmap(file, np.uint8, "r+", shape=(n, m))
    rows = np.array([0, 5, 1_000_000, 2**31 // m - 1, 2**31 // m, 2**31 // m + 1, n - 1])
    X[rows] = rng.integers(0, 256, (len(rows), m))
    coef, b, y = rng.standard_normal((c, m)) / 1000, rng.standard_normal(c), np.zeros(n, np.int64)
    y[rows] = rng.integers(0, c, len(rows))
    loss, G, g = fs.loss_gradient(X, y, coef, b, reduction="sum", dtype=np.float64)
    few = reference.loss_gradient(X[rows], y[rows], coef, b, mean=False)
    rest = reference.loss_gradient(np.zeros((1, m)), [0], coef, b, mean=False)
    np.testing.assert_allclose(loss, few[0] + (n - len(rows)) * rest[0], rtol=1e-12)
    np.testing.assert_allclose(G, few[1], atol=1e-9)
    np.testing.assert_allclose(g, few[2] + (n - len(rows)) * rest[2], rtol=1e-12)
    P = fs.predict_proba(X[-1000:], coef, b)
    np.testing.assert_allclose(P[-1], reference.softmax(X[-1].astype(float) @ coef.T + b), atol=1e-6)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_sparse_file_of_more_than_two_to_the_31(rng, dtype):
    """60 columns of 80 000 hold all there is: the fit is that of a dense matrix of these columns."""
    n, m, used = 40_000, 80_000, 60
    assert n * m > 2**31
    columns = np.sort(rng.choice(m, used, replace=False)).astype(np.int32)
    columns[-1] = m - 1
    D = rng.integers(1, 9, (n, used)).astype(dtype) * (rng.random((n, used)) < 0.1)
    y = (D @ rng.standard_normal((used, 3)) + rng.gumbel(size=(n, 3))).argmax(1)
    small = sp.csr_array(D)
    X = sp.csr_array((on_disk(small.data), on_disk(columns[small.indices]), small.indptr), (n, m))
    expected, model = (fs.SoftmaxRegression(tol=1e-5).fit(Z, y) for Z in (D, X))
    rest = np.delete(model.coef_, columns, 1)
    np.testing.assert_array_equal(rest, 0)
    np.testing.assert_allclose(model.coef_[:, columns], expected.coef_, atol=3e-3)
    assert abs(model.objective_ - expected.objective_) <= 2e-5
    trained = fs.Trainer(1, batch_size=4000, optimizer="gd").fit(X, y)
    same = fs.Trainer(1, batch_size=4000, optimizer="gd").fit(D, y)
    np.testing.assert_allclose(trained.coef[:, columns], same.coef, atol=1e-6)
