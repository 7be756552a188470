"""Our estimators within pipelines that skl2onnx writes as ONNX: the nodes of `onnx.nodes`, in its container."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsoftmax.exchange import onnx

OPTIONS = {  # those that skl2onnx has for LogisticRegression
    "zipmap": [True, False, "columns"],
    "nocl": [True, False],
    "output_class_labels": [False, True],
    "raw_scores": [True, False],
}


def register(estimator: type) -> None:
    """Have skl2onnx convert a class of estimators, which have `to_model` and `classes_`."""
    try:
        from skl2onnx import update_registered_converter
    except ImportError as error:
        raise ImportError("skl2onnx is not installed: pip install 'fastsoftmax[onnx]'") from error
    update_registered_converter(estimator, f"Fastsoftmax{estimator.__name__}", _infer, _convert, options=OPTIONS)


def _infer(operator: Any) -> None:
    """Types and shapes of what a classifier gives: label (n,), probabilities (n, c)."""
    from skl2onnx.common import data_types as types

    given, classes = operator.inputs[0], _classes(operator.scope_inst, operator.raw_operator)
    if len(operator.inputs) > 1 or isinstance(given.type, types.StringTensorType):
        raise ValueError(f"{operator.raw_operator!r} takes one matrix of numbers, got {operator.inputs}")
    label, probabilities = operator.outputs
    kind, n = types.StringTensorType if classes.dtype == object else types.Int64TensorType, given.get_first_dimension()
    label.set_type(kind([n]))
    probabilities.set_type(type(types.guess_tensor_type(given.type))([n, len(classes)]))


def _convert(scope: Any, operator: Any, container: Any) -> None:
    """Add what `predict` and `predict_proba` do; with raw scores, logits instead of probabilities.

    In the dtype of the estimator's product of X and weights; then cast to what skl2onnx declares for its input. The raw
    scores of two classes are -d and d where `decision_function` is d, as those of LogisticRegression; the softmax of
    half of them is what is probable.
    """
    estimator, (label, scores) = operator.raw_operator, operator.outputs
    model, raw = estimator.to_model(), container.get_options(estimator, {"raw_scores": False})["raw_scores"]
    given, declared = _dtype(operator.inputs[0].type), _dtype(scores.type)
    dtype = np.result_type(model.coef, given)
    scale = dtype.type(2 if raw and len(model.classes) == 2 else 1)

    names = {"X": operator.inputs[0].full_name, "label": label.full_name}
    result = "logits" if raw else "probabilities"
    nodes = [node for node in onnx.nodes(given.name, dtype.name) if not (raw and node.output == "probabilities")]
    if dtype == declared:
        names[result] = scores.full_name
    else:
        names["declared"] = scores.full_name
        nodes.append(onnx.Node("Cast", [result], "declared", {"to": onnx.kind(declared)}))

    def named(name: str) -> str:
        if name not in names:
            names[name] = scope.get_unique_variable_name(name)
        return str(names[name])

    weights, intercept = model.coef.T.astype(dtype) * scale, model.intercept.astype(dtype) * scale
    for name, values in {"weights": weights, "intercept": intercept, "classes": _classes(scope, estimator)}.items():
        container.add_initializer(named(name), onnx.kind(values.dtype), values.shape, values.ravel().tolist())
    for node in nodes:
        container.add_node(
            node.operator,
            [named(name) for name in node.inputs],
            named(node.output),
            name=scope.get_unique_operator_name(node.operator),
            **node.attributes,
        )


def _dtype(kind: Any) -> np.dtype[Any]:
    """Of a type of skl2onnx's."""
    from onnx import helper
    from skl2onnx.common.data_types import guess_proto_type

    dtype: np.dtype[Any] = helper.tensor_dtype_to_np_dtype(guess_proto_type(kind))
    return dtype


def _classes(scope: Any, estimator: Any) -> NDArray[Any]:
    """Labels as skl2onnx has them: strings, or integers; its option `nocl` means 0..c - 1."""
    classes = np.asarray(estimator.classes_)
    if scope.get_options(estimator, {"nocl": False})["nocl"]:
        return np.arange(len(classes))
    labels = onnx.as_labels(classes.astype(str) if classes.dtype == object else classes)
    if labels.dtype == object:
        return labels
    return labels.astype(np.int64)  # of floats, which are whole numbers: no fit takes others
