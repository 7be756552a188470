"""A model as an ONNX graph, which a service can run without Python."""

import os
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsoftmax import files

OPSET, IR = 13, 7  # of ONNX 1.8, November 2020, the first whose Softmax is over one axis; later ones read both
INPUTS = ("float32", "float64", "float16", "uint8", "int8")
MOST = (2 << 30) - (1 << 20)  # bytes of a protocol buffer, less room for what is around the weights
Array = NDArray[Any]


def write(
    path: str | os.PathLike[str],
    coef: Array,
    intercept: Array,
    classes: Array,
    temperature: float,
    input_dtype: str | None,
    facts: dict[str, str],
) -> None:
    """See `SoftmaxModel.to_onnx`.

    facts: go into the file's metadata.
    """
    try:
        from onnx import checker
    except ImportError as error:
        raise ImportError("to_onnx needs onnx, which is not installed: pip install 'fastsoftmax[onnx]'") from error
    given = coef.dtype.name if input_dtype is None else str(np.dtype(input_dtype))
    if given not in INPUTS:
        raise ValueError(f"input_dtype must be one of {INPUTS}, got {input_dtype!r}")
    if coef.nbytes > MOST:
        raise ValueError(f"coef takes {coef.nbytes / 1e9:.1f} GB, and an ONNX file holds no more than 2")
    model = _model(coef, intercept, classes, temperature, given, facts)
    checker.check_model(model, full_check=True)
    files.write(path, model.SerializeToString())


class Node(NamedTuple):
    """An operator of a graph."""

    operator: str
    inputs: list[str]
    output: str
    attributes: dict[str, Any] = {}  # noqa: RUF012 - a tuple's default, which nobody writes to


def nodes(given: str, dtype: str, tempered: bool = False) -> list[Node]:
    """From X to its logits, probabilities and label; of any opset, for rows of two dimensions.

    given, dtype: of X and of the weights.
    tempered: there is a temperature, by which logits are divided for probabilities.
    """
    features, scores = "X" if given == dtype else "features", "tempered" if tempered else "logits"
    return [
        *([] if given == dtype else [Node("Cast", ["X"], features, {"to": kind(np.dtype(dtype))})]),
        Node("MatMul", [features, "weights"], "products"),
        Node("Add", ["products", "intercept"], "logits"),
        *([Node("Div", ["logits", "temperature"], scores)] if tempered else []),
        Node("Softmax", [scores], "probabilities", {"axis": 1}),
        Node("ArgMax", ["logits"], "index", {"axis": 1, "keepdims": 0}),  # of equals the first
        Node("Gather", ["classes", "index"], "label", {"axis": 0}),
    ]


def _model(coef: Array, intercept: Array, classes: Array, T: float, given: str, facts: dict[str, str]) -> Any:
    from onnx import helper, numpy_helper

    (c, m), dtype, labels = coef.shape, coef.dtype, as_labels(classes)
    constants = {"weights": np.ascontiguousarray(coef.T), "intercept": intercept, "classes": labels}
    if T != 1:
        constants["temperature"] = np.array(T, dtype)
    graph = helper.make_graph(
        [
            helper.make_node(node.operator, node.inputs, [node.output], **node.attributes)
            for node in nodes(given, dtype.name, T != 1)
        ],
        "fastsoftmax",
        [helper.make_tensor_value_info("X", kind(np.dtype(given)), ["n", m])],
        [
            helper.make_tensor_value_info("label", kind(labels.dtype), ["n"]),
            helper.make_tensor_value_info("probabilities", kind(dtype), ["n", c]),
        ],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(
        graph, producer_name="fastsoftmax", opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR
    )
    helper.set_model_props(model, facts)
    return model


def as_labels(classes: Array) -> Array:
    """As ONNX holds them: 64-bit integers, floats, booleans or strings."""
    if classes.dtype.kind == "U":
        return classes.astype(object)
    if classes.dtype.kind == "u" and len(classes) and int(classes.max()) >= 1 << 63:
        raise ValueError(f"ONNX has labels of at most 2**63 - 1, got {classes.max()}")
    return classes.astype({"f": np.float64, "b": np.bool_}.get(classes.dtype.kind, np.int64))


def kind(dtype: np.dtype[Any]) -> int:
    from onnx import TensorProto, helper

    return int(TensorProto.STRING if dtype.kind == "O" else helper.np_dtype_to_tensor_dtype(dtype))
