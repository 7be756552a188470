"""The lecture on softmax regression, line by line; docs/explanation/lecture.md says which test holds what."""

import numpy as np
import pytest

import fastsoftmax as fs
from fastsoftmax.engine.threads import JIT

LABELS = [0, 1, 0]
PREDICTIONS = np.array([[0.93, 0.07], [0.4, 0.6], [0.99, 0.01]])
W = np.array([[-2.5, -1.0], [1.0, 2.0], [1.0, 0.0]]).T  # columns w1, w2, w3
x = np.array([-1.0, 1.0])


@pytest.fixture
def problem(rng):
    """n = 60 examples of m = 4 features and c = 3 classes, in the package's rows."""
    return rng.standard_normal((60, 4)), rng.integers(0, 3, 60), rng.standard_normal((3, 4))


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def test_more_than_two_classes_without_distances(problem):
    """No class is nearer to another: the loss is invariant under a permutation of the classes."""
    X, y, coef = problem
    loss = fs.loss_gradient(X, y, coef)[0]
    for order in ([1, 2, 0], [2, 1, 0], [0, 2, 1]):
        renamed = np.argsort(order)[y]
        assert fs.loss_gradient(X, renamed, coef[order])[0] == pytest.approx(loss, rel=1e-14)


def test_one_hot_encoding():
    np.testing.assert_array_equal(fs.one_hot(LABELS), [[1, 0], [0, 1], [1, 0]])


def test_probabilistic_predictions():
    """Rows sum to 1; the cross-entropy of these is 0.59345 = -log 0.93 - log 0.6 - log 0.99."""
    np.testing.assert_allclose(PREDICTIONS.sum(1), 1)
    loss = fs.cross_entropy(np.log(PREDICTIONS), LABELS, reduction="sum")
    assert round(loss, 5) == 0.59345
    assert loss == pytest.approx(-np.log(0.93) - np.log(0.6) - np.log(0.99), rel=1e-14)


def test_cross_entropy_is_a_sum_over_examples_and_classes(problem):
    X, y, coef = problem
    Z = X @ coef.T
    Y, P = fs.one_hot(y, 3, np.float64), fs.softmax(Z)
    total = 0.0
    for i in range(60):
        for k in range(3):
            total -= Y[i, k] * np.log(P[i, k])
    assert fs.cross_entropy(Z, y, reduction="sum") == pytest.approx(total, rel=1e-13)
    assert fs.cross_entropy(Z, Y, reduction="sum") == pytest.approx(total, rel=1e-13)


def test_two_classes_are_logistic_regression(rng):
    """f_CE = f_log for c = 2, and sigma(x'w) is the second entry of softmax((0, x'w))."""
    X, y, w = rng.standard_normal((50, 4)), rng.integers(0, 2, 50), rng.standard_normal(4)
    z = X @ w
    Z = np.stack([np.zeros(50), z], 1)
    np.testing.assert_allclose(fs.softmax(Z)[:, 1], sigmoid(z), rtol=1e-14)
    f_log = (-y * np.log(sigmoid(z)) - (1 - y) * np.log(1 - sigmoid(z))).sum()
    assert fs.cross_entropy(Z, y, reduction="sum") == pytest.approx(f_log, rel=1e-13)
    assert fs.loss_gradient(X, y, np.stack([0 * w, w]), reduction="sum")[0] == pytest.approx(f_log, rel=1e-13)


def test_softmax_exponentiates_and_divides_by_the_sum(rng):
    Z = rng.standard_normal((5, 7)) * 10
    P = fs.softmax(Z)
    assert (P >= 0).all()
    np.testing.assert_allclose(P.sum(1), 1, rtol=1e-15)
    naive = np.exp(Z) / np.sum(np.exp(Z), axis=1, keepdims=True)
    np.testing.assert_allclose(P, naive, rtol=1e-13)
    with np.errstate(over="ignore", invalid="ignore"):  # where the naive form overflows, ours does not
        assert np.isnan(np.exp(Z * 100) / np.sum(np.exp(Z * 100), axis=1, keepdims=True)).any()
    assert np.isfinite(fs.softmax(Z * 100)).all()


def test_the_example():
    """m = 2, c = 3: z = (1.5, 1, -1), and the first class wins with .592."""
    np.testing.assert_array_equal(W.T @ x, [1.5, 1.0, -1.0])
    np.testing.assert_array_equal(fs.softmax(W.T @ x).round(3), [0.592, 0.359, 0.049])
    np.testing.assert_array_equal(fs.predict_proba(x[None], W.T).round(3), [[0.592, 0.359, 0.049]])
    assert fs.SoftmaxModel(W.T, np.zeros(3)).predict(x[None])[0] == 0


def test_the_quiz_on_vectorisation():
    """z' = x'W and z = W'x hold; z = Wx and z' = W'x' do not even have fitting shapes."""
    z, column = W.T @ x, x[:, None]
    np.testing.assert_array_equal(column.T @ W, z[None])
    np.testing.assert_array_equal(W.T @ column, z[:, None])
    for left, right in ((W, column), (W.T, column.T)):
        with pytest.raises(ValueError, match="matmul"):
            left @ right


def test_all_examples_at_once(problem):
    """Z = W'X with examples in columns is c by n: softmax along axis 0 gives what rows give along the last."""
    X, _, coef = problem
    columns, weights = X.T, coef.T
    Z = weights.T @ columns
    assert Z.shape == (3, 60)
    Y_hat = fs.softmax(Z, axis=0)
    np.testing.assert_allclose(Y_hat.sum(0), 1, rtol=1e-15)
    np.testing.assert_allclose(Y_hat.T, fs.predict_proba(X, coef), rtol=1e-13)


def test_the_gradient_for_one_weight_vector(problem):
    """x (y_hat_k - y_k): as in logistic regression, and in linear regression with half the squared error."""
    X, y, coef = problem
    _, G, _ = fs.loss_gradient(X[:1], y[:1], coef)
    y_hat, one_hot = fs.predict_proba(X[:1], coef)[0], fs.one_hot(y[:1], 3)[0]
    for k in range(3):
        np.testing.assert_allclose(G[k], X[0] * (y_hat[k] - one_hot[k]), rtol=1e-12, atol=1e-15)
    w, t = coef[0], float(y[0] == 1)
    _, binary, _ = fs.loss_gradient(X[:1], [int(t)], np.stack([0 * w, w]))
    np.testing.assert_allclose(binary[1], X[0] * (sigmoid(X[0] @ w) - t), rtol=1e-12, atol=1e-15)
    h = 1e-6  # half the squared error of linear regression, by finite differences
    for j in range(4):
        up, down = ((0.5 * (X[0] @ (w + s * h * np.eye(4)[j]) - t) ** 2) for s in (1, -1))
        assert (up - down) / (2 * h) == pytest.approx(X[0, j] * (X[0] @ w - t), abs=1e-8)


def test_the_gradient_for_all(problem):
    """(1/n) X (Y_hat - Y), examples in columns of X: the gradient of the mean, against its finite differences."""
    X, y, coef = problem
    _, G, _ = fs.loss_gradient(X, y, coef)
    Y_hat, Y = fs.predict_proba(X, coef), fs.one_hot(y, 3, np.float64)
    np.testing.assert_allclose(G.T, X.T @ (Y_hat - Y) / 60, rtol=1e-11, atol=1e-15)
    h = 1e-6
    for k in range(3):
        for j in range(4):
            step = np.zeros_like(coef)
            step[k, j] = h
            up, down = (fs.loss_gradient(X, y, coef + s * step)[0] for s in (1, -1))
            assert (up - down) / (2 * h) == pytest.approx(G[k, j], abs=1e-9)


def test_gradient_descent_lowers_the_loss(problem):
    """On all c weight vectors at once; the Trainer's "gd" takes the same steps."""
    X, y, _ = problem
    coef, losses = np.zeros((3, 4)), []
    for _ in range(30):
        loss, G, _ = fs.loss_gradient(X, y, coef)
        losses.append(loss)
        coef -= 0.5 * G
    assert all(np.diff(losses) < 0)
    trainer = fs.Trainer(30, optimizer="gd", learning_rate=0.5, fit_intercept=False)
    model = trainer.fit(X, y)
    np.testing.assert_allclose(model.coef, coef, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose([record["loss"] for record in trainer.history], losses, rtol=1e-13)


def test_the_lectures_model_has_no_bias(problem):
    X, y, _ = problem
    model = fs.Trainer(5, fit_intercept=False).fit(X, y)
    assert not model.intercept.any()
    np.testing.assert_allclose(model.predict_proba(X), fs.softmax(X @ model.coef.T), rtol=1e-12)


@pytest.mark.skipif(not JIT, reason="60 000 images take far too long with the JIT off")
def test_the_demo():
    """A recogniser of handwritten digits, trained on 60 000 images and tested on 10 000; the lecture's has no bias."""
    X, y, X_test, y_test = fs.datasets.load_mnist()
    for fit_intercept in (False, True):
        model = fs.Trainer(2, learning_rate=0.3, scale=1 / 255, fit_intercept=fit_intercept).fit(X, y)
        assert model.score(X_test, y_test) > 0.91
