"""Estimators in the pipelines of others."""

from fastsoftmax.estimators.regression import SoftmaxRegression
from fastsoftmax.estimators.selection import SoftmaxRegressionCV
from fastsoftmax.estimators.sgd import SoftmaxSGDClassifier
from fastsoftmax.exchange import pipelines


def register_skl2onnx() -> None:
    """Let skl2onnx convert pipelines that end in an estimator of ours, or have one within.

    Raises
    ------
    ImportError
        Without skl2onnx: `pip install 'fastsoftmax[onnx]'`.

    Notes
    -----
    Once in a process. The options are those of LogisticRegression: `zipmap`, `nocl`, `output_class_labels`,
    `raw_scores`. For two classes, too, probabilities are those of `predict_proba`: what skl2onnx does for classifiers
    that it does not know doubles their logits. A model alone needs none of it: `estimator.to_model().to_onnx(path)`.

    Examples
    --------
    >>> import numpy as np, skl2onnx
    >>> import fastsoftmax as fs
    >>> from sklearn.pipeline import make_pipeline
    >>> from sklearn.preprocessing import StandardScaler
    >>> X, y = np.array([[-2.0], [-1.0], [1.0], [2.0]]), ["no", "no", "yes", "yes"]
    >>> pipeline = make_pipeline(StandardScaler(), fs.SoftmaxRegression()).fit(X, y)
    >>> fs.register_skl2onnx()
    >>> graph = skl2onnx.to_onnx(pipeline, X, options={"zipmap": False})
    >>> [output.name for output in graph.graph.output]
    ['label', 'probabilities']
    """
    for estimator in (SoftmaxRegression, SoftmaxRegressionCV, SoftmaxSGDClassifier):
        pipelines.register(estimator)
