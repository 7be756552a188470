"""Estimators go through skops, which unpickles nothing, by names that a user can trust."""

import numpy as np
import pytest
import skops.io
from sklearn.datasets import load_iris
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import fastsoftmax as fs

HOME = "fastsoftmax.estimators"


@pytest.mark.parametrize(
    ("estimator", "names"),
    [
        (fs.SoftmaxRegression(), [f"{HOME}.regression.SoftmaxRegression"]),
        (make_pipeline(StandardScaler(), fs.SoftmaxRegression()), [f"{HOME}.regression.SoftmaxRegression"]),
        (fs.SoftmaxRegressionCV(Cs=3), [f"{HOME}.selection.SoftmaxRegressionCV"]),
        (
            fs.SoftmaxSGDClassifier(random_state=0, max_epochs=3, tol=None),
            [f"{HOME}.sgd.SoftmaxSGDClassifier", "fastsoftmax.training.epochs.Progress"],
        ),
    ],
)
@pytest.mark.parametrize("labels", ["numbers", "text"])
def test_there_and_back(estimator, names, labels):
    X, y = load_iris(return_X_y=True)
    y = y if labels == "numbers" else np.array(["a", "b", "c"])[y]
    data = skops.io.dumps(estimator.fit(X, y))
    assert skops.io.get_untrusted_types(data=data) == names
    again = skops.io.loads(data, trusted=names)
    np.testing.assert_array_equal(again.predict(X), estimator.predict(X))
    np.testing.assert_array_equal(again.predict_proba(X), estimator.predict_proba(X))
    if hasattr(again, "partial_fit"):  # it goes on where the other does
        np.testing.assert_array_equal(again.partial_fit(X, y).coef_, estimator.partial_fit(X, y).coef_)
