"""A trained model: coefficients, intercept, classes; and its file."""

import hashlib
import json
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastsoftmax import files
from fastsoftmax.data.design import Design
from fastsoftmax.data.examples import Examples
from fastsoftmax.data.feature_names import Names, as_names, check_names
from fastsoftmax.data.gate import numbers, unmasked
from fastsoftmax.data.layouts import as_design
from fastsoftmax.data.targets import as_weight
from fastsoftmax.objective.softmax import SoftmaxObjective

FORMAT, VERSION = "fastsoftmax.SoftmaxModel", "1"
COLDEST = 1e-30
TIMES = {"seconds", "examples_per_second"}
CHECKED = 1 << 16  # entries of X at a time, while they are in cache


class ModelFileError(files.FileError):
    """A file that holds no model; the message names the file."""


class SoftmaxModel:
    """Softmax regression with given weights.

    Parameters
    ----------
    coef : ndarray of shape (c, m)
        Weights of the raw features, float32 or float64.
    intercept : ndarray of shape (c,)
    classes : array-like of shape (c,), optional
        What `predict` returns: integers, strings, floats or booleans; by default 0..c - 1.
    settings : dict, optional
        How it was trained; written to the file, as JSON.
    feature_names : sequence of str, optional
        The columns of the X that it was trained on, where they had names of strings (pandas, polars). A frame
        that is to be predicted must have the same in the same order. As in scikit-learn, it is a warning if only one
        of the two has names.
    temperature : float, default 1.0
        What logits are divided by before probabilities are made of them: see `fs.temperature`. `predict` and the hash
        of the weights do not depend on it.

    Raises
    ------
    ValueError
        If shapes do not fit.

    Examples
    --------
    >>> import numpy as np
    >>> import fastsoftmax as fs
    >>> model = fs.SoftmaxModel(np.array([[-2.5, -1.0], [1.0, 2.0], [1.0, 0.0]]), np.zeros(3), ["a", "b", "c"])
    >>> model.predict([[-1.0, 1.0]])
    array(['a'], dtype='<U1')
    """

    feature_names: Names | None = None  # also of what was pickled when there were none
    _temperature: float = 1.0

    def __init__(
        self,
        coef: NDArray[Any],
        intercept: NDArray[Any],
        classes: ArrayLike | None = None,
        settings: dict[str, Any] | None = None,
        feature_names: Sequence[str] | Names | None = None,
        temperature: float = 1.0,
    ) -> None:
        for values, name in ((coef, "coef"), (intercept, "intercept"), (classes, "classes")):
            unmasked(values, name)
        self.coef, self.intercept = np.ascontiguousarray(coef), np.ascontiguousarray(intercept)
        self.classes = np.arange(len(self.coef)) if classes is None else np.asarray(classes)
        self.settings = dict(settings or {})
        if self.coef.ndim != 2 or self.coef.dtype not in (np.float32, np.float64):
            raise ValueError(
                f"coef must be float32 or float64 of shape (c, m), got {self.coef.dtype} {self.coef.shape}"
            )
        if self.intercept.shape != self.coef.shape[:1] or self.intercept.dtype != self.coef.dtype:
            raise ValueError(f"intercept must be {self.coef.dtype} of shape ({len(self.coef)},)")
        if (
            self.classes.shape != self.coef.shape[:1]
            or self.classes.dtype.kind not in "biufU"
            or (self.classes.dtype.kind == "f" and self.classes.dtype.itemsize > 8)
        ):
            raise ValueError(f"classes must be {len(self.coef)} numbers or strings, got {self.classes!r}")
        if len(self.coef) < 2 or len(np.unique(self.classes)) < len(self.coef):
            raise ValueError(f"classes must be 2 or more, none twice, got {self.classes!r}")
        if feature_names is not None:
            names = [] if isinstance(feature_names, str) else list(feature_names)
            if len(names) != self.coef.shape[1] or not all(isinstance(name, str) for name in names):
                raise ValueError(f"feature_names must be {self.coef.shape[1]} strings, got {feature_names!r}")
            self.feature_names = as_names(names)
        self.temperature = temperature

    @property
    def temperature(self) -> float:
        """What logits are divided by."""
        return self._temperature

    @temperature.setter
    def temperature(self, value: float) -> None:
        if isinstance(value, bool) or not isinstance(value, Real) or not COLDEST <= value <= 1 / COLDEST:
            raise ValueError(f"temperature must be a positive number, from 1e-30 to 1e30, got {value!r}")
        self._temperature = float(value)

    def __repr__(self) -> str:
        c, m = self.coef.shape
        warmth = "" if self.temperature == 1 else f", temperature {self.temperature:.3g}"
        return f"SoftmaxModel({c} classes, {m} features, {self.coef.dtype}{warmth})"

    def sha256(self) -> str:
        """The SHA-256 of coef, then intercept, little-endian and in C order: what a reproducible run repeats.

        Returns
        -------
        str
            Hexadecimal.
        """
        digest = hashlib.sha256()
        for array in (self.coef, self.intercept):
            digest.update(array.astype(array.dtype.newbyteorder("<")).tobytes())
        return digest.hexdigest()

    def _objective(self, X: Any, check: bool = False) -> SoftmaxObjective:
        check_names(self.feature_names, X, type(self).__name__)
        design = as_design(X)
        c, m = self.coef.shape
        if design.m != m:
            raise ValueError(f"the model has {m} features, X has {design.m}")
        if check:
            _refuse_not_finite(design)
        return SoftmaxObjective(Examples.unlabelled(design, c))

    def predict(self, X: Any, *, check: bool = False) -> NDArray[Any]:
        """The most probable class of each row; of equals the first.

        Parameters
        ----------
        X : array-like of shape (n, m)
            A row with NaN, whose probabilities are all NaN, is of the first class; so may be one with infinities.
        check : bool, default False
            Refuse X with NaN or infinities, which takes another look at all of it.

        Returns
        -------
        ndarray of shape (n,)
            Entries of `classes`.

        Raises
        ------
        ValueError
            If X has another number of features, or other names of them, or `check` finds what is not finite.

        Warns
        -----
        UserWarning
            If only one of X and the model has names of features.
        """
        return self.classes[self._objective(X, check).predict(self.coef, self.intercept)]

    def predict_proba(self, X: Any, *, check: bool = False) -> NDArray[Any]:
        """The probabilities of the classes.

        Parameters
        ----------
        X : array-like of shape (n, m)
            A row with NaN has probabilities of NaN; so may one with infinities.
        check : bool, default False
            Refuse X with NaN or infinities, which takes another look at all of it.

        Returns
        -------
        ndarray of shape (n, c)
            In the order of `classes`; float64 for X in float64, else float32.

        Raises
        ------
        ValueError
            If X has another number of features, or other names of them, or `check` finds what is not finite.

        Warns
        -----
        UserWarning
            If only one of X and the model has names of features.
        """
        objective = self._objective(X, check)
        return objective.predict_proba(*self.tempered(objective.dtype))

    def tempered(self, dtype: Any) -> tuple[NDArray[Any], NDArray[Any]]:
        """Weights whose softmax has the temperature in it.

        Parameters
        ----------
        dtype : dtype
            Of the computation: where they are divided, it is in this or their own, whichever is wider.

        Returns
        -------
        coef : ndarray of shape (c, m)
        intercept : ndarray of shape (c,)

        Raises
        ------
        TypeError
            If there is a temperature, and `dtype` is no dtype.
        """
        if self.temperature == 1:
            return self.coef, self.intercept
        wide = np.result_type(dtype, self.coef.dtype)
        return self.coef.astype(wide) / self.temperature, self.intercept.astype(wide) / self.temperature

    def score(self, X: Any, y: ArrayLike, sample_weight: ArrayLike | None = None) -> float:
        """The accuracy: the share of rows, by weight, whose class is predicted.

        Parameters
        ----------
        X : array-like of shape (n, m)
        y : array-like of shape (n,)
            The true classes.
        sample_weight : array-like of shape (n,), optional

        Returns
        -------
        float

        Raises
        ------
        ValueError
            If the shapes do not fit, or X has other names of features.
        """
        truth, predicted = np.asarray(unmasked(y, "y")), self.predict(X)
        truth = truth[:, 0] if truth.ndim == 2 and truth.shape[1] == 1 else truth
        if truth.shape != predicted.shape:
            raise ValueError(f"y must be of shape {predicted.shape}, got {truth.shape}")
        strings = truth.dtype.kind == "U" or (truth.dtype.kind == "O" and all(isinstance(v, str) for v in truth))
        if strings != (predicted.dtype.kind == "U") or not (strings or truth.dtype.kind in "biuf"):
            raise TypeError(f"y must hold classes of dtype {self.classes.dtype}, got {truth.dtype}")
        weights = None if sample_weight is None else as_weight(sample_weight, len(truth))
        if len(truth) == 0 or (weights is not None and not weights.any()):
            raise ValueError("there is no accuracy of no rows: X has none, or all weights are 0")
        return float(np.average(predicted == truth, weights=weights))

    def to_onnx(self, path: str | os.PathLike[str], *, input_dtype: str | None = None) -> None:
        """Write the model as an ONNX graph: X (n, m) -> label (n,), probabilities (n, c).

        Parameters
        ----------
        path : path-like
        input_dtype : {"float32", "float64", "float16", "uint8", "int8"}, optional
            Of X, which is then cast to that of `coef`; by default that of `coef`.

        Raises
        ------
        ImportError
            Without onnx: `pip install 'fastsoftmax[onnx]'`.
        ValueError
            If the weights take more than 2 GB, which no ONNX file holds, or input_dtype is another.
        OSError
            If the folder cannot be written to.

        Notes
        -----
        Of opset 13 and IR version 7, as of ONNX 1.8 of 2020, which later runtimes read. Labels are 64-bit integers,
        floats, booleans or strings, as `classes` are; probabilities are one tensor, no list of maps. The temperature is
        in the graph. Estimators have `to_model().to_onnx(path)`, pipelines `fs.register_skl2onnx`.

        Examples
        --------
        >>> import numpy as np, tempfile
        >>> import fastsoftmax as fs
        >>> model = fs.SoftmaxModel(np.eye(3), np.zeros(3), ["a", "b", "c"])
        >>> path = f"{tempfile.mkdtemp()}/model.onnx"
        >>> model.to_onnx(path)
        >>> import onnxruntime
        >>> session = onnxruntime.InferenceSession(path)
        >>> session.run(["label"], {"X": np.eye(3)})[0].tolist()
        ['a', 'b', 'c']
        """
        from fastsoftmax.exchange import onnx

        names = {} if self.feature_names is None else {"feature_names": json.dumps(self.feature_names.tolist())}
        facts = {"sha256": self.sha256()} | names
        onnx.write(path, self.coef, self.intercept, self.classes, self.temperature, input_dtype, facts)

    def to_linear(self, path: str | os.PathLike[str], *, prefix: str = "") -> None:
        """Write weights as the state of PyTorch's `nn.Linear`: a safetensors file of weight (c, m) and bias (c,).

        Parameters
        ----------
        path : path-like
        prefix : str, default ""
            Of the two names, as "head.".

        Raises
        ------
        OSError
            If the folder cannot be written to.

        Notes
        -----
        `layer.load_state_dict(safetensors.torch.load_file(path))` takes it. What is not in it: classes, names of
        features, the temperature.

        Examples
        --------
        >>> import numpy as np, tempfile
        >>> import fastsoftmax as fs
        >>> path = f"{tempfile.mkdtemp()}/head.safetensors"
        >>> fs.SoftmaxModel(np.eye(3), np.zeros(3)).to_linear(path, prefix="head.")
        >>> fs.SoftmaxModel.from_linear(path, prefix="head.", classes=["a", "b", "c"]).predict(np.eye(3)).tolist()
        ['a', 'b', 'c']
        """
        from fastsoftmax.exchange import linear

        linear.write(path, self.coef, self.intercept, prefix)

    @classmethod
    def from_linear(
        cls,
        path: str | os.PathLike[str],
        *,
        classes: ArrayLike | None = None,
        prefix: str = "",
        max_bytes: int = files.MAX_BYTES,
    ) -> "SoftmaxModel":
        """Read the state of a `nn.Linear`, or such a layer of a larger state; nothing is unpickled.

        Parameters
        ----------
        path : path-like
            A safetensors file, as `safetensors.torch.save_file(layer.state_dict(), path)` writes it.
        classes : array-like of shape (c,), optional
        prefix : str, default ""
            Of the layer, as "head.".
        max_bytes : int, default 8 GiB
            A larger file is refused.

        Returns
        -------
        SoftmaxModel
            In float64 for weights in float64, else float32; with an intercept of 0 where there is no bias.

        Raises
        ------
        ModelFileError
            If the file is larger, damaged, or has no such layer of floats.
        ValueError
            If `classes` are not as many as the layer has outputs, or these are fewer than 2.
        OSError
            If there is no such file, or it cannot be read.
        """
        from fastsoftmax.exchange import linear

        try:
            weight, bias = linear.read(path, prefix, float(max_bytes))
        except files.FileError as error:
            raise ModelFileError(str(error)) from error
        return cls(weight, bias, classes)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write the model to a safetensors file, under a temporary name that is renamed: the old file or the new one.

        Parameters
        ----------
        path : path-like

        Raises
        ------
        OSError
            If the folder cannot be written to.
        """
        values = self.classes.tolist()
        short = np.array(values) if self.classes.dtype.kind == "U" else self.classes  # no wider than its longest
        classes = {"dtype": short.dtype.str, "values": values}
        arrays = {"coef": self.coef, "intercept": self.intercept}
        facts: dict[str, Any] = {"classes": classes, "settings": self.settings}
        if self.feature_names is not None:
            facts["feature_names"] = self.feature_names.tolist()
        if self.temperature != 1:
            facts["temperature"] = self.temperature
        files.save(path, FORMAT, VERSION, arrays, facts)

    @classmethod
    def load(cls, path: str | os.PathLike[str], max_bytes: int = files.MAX_BYTES) -> "SoftmaxModel":
        """Read a model that `save` wrote; nothing is unpickled.

        Parameters
        ----------
        path : path-like
        max_bytes : int, default 8 GiB
            A larger file is refused.

        Returns
        -------
        SoftmaxModel

        Raises
        ------
        ModelFileError
            If the file is larger, damaged, or not a model of ours.
        OSError
            If there is no such file, or it cannot be read.
        """
        path = os.fspath(path)
        if not isinstance(path, str) or not isinstance(max_bytes, Real):
            raise TypeError(f"path must be a string or a path, max_bytes a number, got {path!r} and {max_bytes!r}")
        try:
            arrays, facts = files.load(path, FORMAT, VERSION, float(max_bytes))
            if sorted(arrays) != ["coef", "intercept"]:
                raise ValueError(f"it holds {sorted(arrays)} in place of coef and intercept")
            if not isinstance(facts["settings"], dict):
                raise TypeError("its settings are no object")
            names = facts.get("feature_names")
            if not isinstance(names, list | None):
                raise TypeError("its names of features are no list")
            classes, temperature = _classes(facts["classes"]), facts.get("temperature", 1.0)
            return cls(arrays["coef"], arrays["intercept"], classes, facts["settings"], names, temperature)
        except files.FileError as error:
            raise ModelFileError(str(error)) from error
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError, RecursionError) as error:
            raise ModelFileError(f"{path}: a damaged model: {error}") from error


def without_times(history: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """What a model keeps of how it was trained: no times, which differ from run to run, and no nan."""

    def plain(value: Any) -> Any:
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return [{name: plain(value) for name, value in record.items() if name not in TIMES} for record in history]


def _refuse_not_finite(design: Design) -> None:
    """NaN and infinities, by a ValueError that says where the first is."""
    values, *sparse = design.arrays()
    if values.dtype.itemsize == 1:
        return
    if sparse:  # the entries of CSR: column indices, row pointers
        values = values[: sparse[1][-1]]
    step = max(1, CHECKED // math.prod(values.shape[1:]))
    for start in range(0, len(values), step):
        wrong = np.argwhere(~np.isfinite(numbers(values[start : start + step])))
        if len(wrong):
            at = (start + int(wrong[0, 0]), *wrong[0, 1:].tolist())
            row, column = at if not sparse else (np.searchsorted(sparse[1], at[0], "right") - 1, sparse[0][at])
            raise ValueError(
                f"X must be finite, as check=True asks for, got {numbers(values[at])} in row {row}, feature {column}"
            )


def _classes(stored: Any) -> NDArray[Any]:
    name, values = str(stored["dtype"]), stored["values"]
    if not re.fullmatch("[<>|=]?[biufU][0-9]{1,9}", name) or not isinstance(values, list):
        raise ValueError(f"classes of dtype {name!r}")  # NumPy would evaluate some of what it does not know
    dtype = np.dtype(name)
    if dtype.kind == "U":  # as wide as they are: a wider dtype would take memory beyond what the file has
        dtype = np.dtype(f"<U{max([1, *(len(value) for value in values if isinstance(value, str))])}")
    made = np.array(values, dtype)
    if repr(made.tolist()) != repr(values):  # where NaN is NaN
        raise ValueError(f"classes {values} that are none of dtype {dtype}")
    return made
