"""The lecture on softmax regression, slide by slide, each statement computed and printed.

Run: python examples/lecture.py
"""

import numpy as np

import fastsoftmax as fs


def slide(title: str) -> None:
    print(f"\n{title}\n{'-' * len(title)}")


def labels_and_predictions() -> None:
    slide("One-hot labels")
    labels = [0, 1, 0]
    print(f"labels {labels} ->\n{fs.one_hot(labels)}")

    slide("Probabilistic predictions and the cross-entropy")
    predictions = np.array([[0.93, 0.07], [0.4, 0.6], [0.99, 0.01]])
    loss = fs.cross_entropy(np.log(predictions), labels, reduction="sum")
    print(f"rows sum to {predictions.sum(1)}; f_CE = {loss:.5f}")

    slide("Two classes: f_CE is the loss of logistic regression")
    z, y = np.array([0.3, -1.2, 2.0]), np.array([1, 0, 1])
    s = 1 / (1 + np.exp(-z))
    f_log = float((-y * np.log(s) - (1 - y) * np.log(1 - s)).sum())
    two = np.stack([np.zeros(3), z], 1)
    print(f"f_log = {f_log:.6f}, f_CE = {fs.cross_entropy(two, y, reduction='sum'):.6f}")
    print(f"sigma(z) = {s.round(6)}, second entries of softmax((0, z)) = {fs.softmax(two)[:, 1].round(6)}")


def the_model() -> None:
    slide("The example: m = 2 features, c = 3 classes")
    W, x = np.array([[-2.5, 1.0, 1.0], [-1.0, 2.0, 0.0]]), np.array([-1.0, 1.0])
    z = W.T @ x
    print(f"z = W'x = {z}, y_hat = softmax(z) = {fs.softmax(z).round(3)}: class {fs.softmax(z).argmax() + 1} wins")

    slide("Vectorised: Z = W'X, examples in columns")
    X = np.array([[-1.0, 0.5, 2.0], [1.0, 0.0, -1.0]])
    print(f"Y_hat = softmax(Z, axis=0) =\n{fs.softmax(W.T @ X, axis=0).round(3)}")


def the_gradient() -> None:
    slide("The gradient of the mean: (1/n) X (Y_hat - Y)")
    rng = np.random.default_rng(0)
    X, y, coef = rng.standard_normal((60, 4)), rng.integers(0, 3, 60), rng.standard_normal((3, 4))
    loss, G, _ = fs.loss_gradient(X, y, coef)
    formula = X.T @ (fs.predict_proba(X, coef) - fs.one_hot(y, 3)) / 60
    step = np.zeros((3, 4))
    step[1, 2] = 1e-6
    slope = (fs.loss_gradient(X, y, coef + step)[0] - fs.loss_gradient(X, y, coef - step)[0]) / 2e-6
    print(f"loss {loss:.4f}; largest difference from the formula {np.abs(G.T - formula).max():.1e}")
    print(f"one entry {G[1, 2]:.8f}, by finite differences {slope:.8f}")

    slide("Gradient descent on all c weight vectors")
    for t in range(5):
        print(f"step {t}: f_CE = {fs.loss_gradient(X, y, coef)[0]:.6f}")
        coef = coef - 0.5 * fs.loss_gradient(X, y, coef)[1]


def the_demo() -> None:
    slide("The demo: handwritten digits, 60 000 to train on and 10 000 to test")
    X, y, X_test, y_test = fs.datasets.load_mnist()
    trainer = fs.Trainer(epochs=5, learning_rate=0.3, scale=1 / 255, fit_intercept=False)
    model = trainer.fit(X, y)
    for record in trainer.history:
        print(f"epoch {record['epoch']}: f_CE = {record['loss']:.4f}")
    print(f"test accuracy {model.score(X_test, y_test):.4f}")
    image, digit = X_test[0].reshape(28, 28), model.predict(X_test[:1])[0]
    for row in image[6:26:2]:
        print("".join(" .:-=+*#%@"[v // 26] for v in row))
    print(f"this is recognised as {digit}; it is a {y_test[0]}")


if __name__ == "__main__":
    labels_and_predictions()
    the_model()
    the_gradient()
    the_demo()
