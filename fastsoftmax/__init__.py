"""Softmax regression (multinomial logistic regression) on a CPU: fast, exact to the last bit, in one pass over X.

Names load when they are used, so that `import fastsoftmax` costs no more than a look-up.
"""

from typing import TYPE_CHECKING

__version__ = "0.1.0"

_HOMES = {
    "softmax": "functional.softmax",
    "log_softmax": "functional.softmax",
    "logsumexp": "functional.softmax",
    "one_hot": "functional.cross_entropy",
    "cross_entropy": "functional.cross_entropy",
    "cross_entropy_gradient": "functional.cross_entropy",
    "temperature": "functional.calibration",
    "calibration_error": "functional.calibration",
    "brier_score": "functional.calibration",
    "loss_gradient": "functional.regression",
    "predict_proba": "functional.regression",
    "SoftmaxModel": "model",
    "bfloat16": "data.gate",
    "Parts": "data.parts",
    "PartError": "data.pieces",
    "SoftmaxRegression": "estimators.regression",
    "SoftmaxRegressionCV": "estimators.selection",
    "SoftmaxSGDClassifier": "estimators.sgd",
    "path": "estimators.paths",
    "register_skl2onnx": "estimators.converters",
    "Trainer": "training.trainer",
    "set_num_threads": "engine.threads",
    "get_num_threads": "engine.threads",
    "warmup": "warming",
}
__all__ = [
    "PartError",
    "Parts",
    "SoftmaxModel",
    "SoftmaxRegression",
    "SoftmaxRegressionCV",
    "SoftmaxSGDClassifier",
    "Trainer",
    "__version__",
    "bfloat16",
    "brier_score",
    "calibration_error",
    "cross_entropy",
    "cross_entropy_gradient",
    "datasets",
    "get_num_threads",
    "log_softmax",
    "logsumexp",
    "loss_gradient",
    "one_hot",
    "path",
    "predict_proba",
    "register_skl2onnx",
    "set_num_threads",
    "softmax",
    "temperature",
    "warmup",
]


if not TYPE_CHECKING:  # for whom a name that is not there is an error

    def __getattr__(name):
        from importlib import import_module

        if name == "datasets":
            return import_module("fastsoftmax.datasets")
        if name not in _HOMES:
            raise AttributeError(f"module 'fastsoftmax' has no attribute {name!r}")
        value = getattr(import_module(f"fastsoftmax.{_HOMES[name]}"), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])


if TYPE_CHECKING:
    from fastsoftmax import datasets
    from fastsoftmax.data.gate import bfloat16
    from fastsoftmax.data.parts import Parts
    from fastsoftmax.data.pieces import PartError
    from fastsoftmax.engine.threads import get_num_threads, set_num_threads
    from fastsoftmax.estimators.converters import register_skl2onnx
    from fastsoftmax.estimators.paths import path
    from fastsoftmax.estimators.regression import SoftmaxRegression
    from fastsoftmax.estimators.selection import SoftmaxRegressionCV
    from fastsoftmax.estimators.sgd import SoftmaxSGDClassifier
    from fastsoftmax.functional.calibration import brier_score, calibration_error, temperature
    from fastsoftmax.functional.cross_entropy import cross_entropy, cross_entropy_gradient, one_hot
    from fastsoftmax.functional.regression import loss_gradient, predict_proba
    from fastsoftmax.functional.softmax import log_softmax, logsumexp, softmax
    from fastsoftmax.model import SoftmaxModel
    from fastsoftmax.training.trainer import Trainer
    from fastsoftmax.warming import warmup
