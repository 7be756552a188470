"""X that scikit-learn's checks would copy, or cannot take: half precision, and parts. Checked here, read as it is."""

import functools
import operator
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import scipy.sparse
from numpy.typing import NDArray
from sklearn.utils.validation import _check_sample_weight, check_is_fitted

from fastsoftmax.data.design import Design
from fastsoftmax.data.feature_names import as_names
from fastsoftmax.data.gate import is_half, is_sparse, unmasked
from fastsoftmax.data.layouts import as_array, as_design
from fastsoftmax.data.parted_rows import PartedRows, designed, naming
from fastsoftmax.data.parts import Parts
from fastsoftmax.data.pieces import Named, PartError, Taken, one_of
from fastsoftmax.data.targets import CheckedTargets, as_weight

Rows = Design | PartedRows
Array = NDArray[Any]


def reads_as_it_is(X: Any) -> bool:
    """Whether X is in parts, checked already, or an array or matrix of float16, bfloat16 or int8."""
    if isinstance(X, (Parts, PartedRows, Design)):
        return True
    if not (isinstance(X, np.ndarray) or is_sparse(X)) or isinstance(X, np.matrix) or X.ndim != 2:
        return False
    return X.dtype == np.int8 or (is_half(X.dtype) and (not is_sparse(X) or X.format == "csr"))


def is_parted(X: Any) -> bool:
    """Whether X is in parts, checked or not."""
    return isinstance(X, (Parts, PartedRows))


def rows_of(X: Any) -> Rows:
    """X, which was checked, as fits take it."""
    return X if isinstance(X, PartedRows) else as_design(X)


def weighing(rows: Rows, targets: CheckedTargets) -> tuple[Rows, CheckedTargets]:
    """Without the rows that weigh nothing, which would be in samples, and unless all are such."""
    weight = targets.kernel.weight
    if not len(weight) or weight.all() or not weight.any():
        return rows, targets
    some = np.flatnonzero(weight)
    return rows.rows(some), targets.rows(some)


def together(parts: list[Any]) -> Any:
    """Rows of several X, which were checked, one after another; arrays are copied, unless one X is in parts."""
    parted = [X for X in parts if is_parted(X)]
    if parted:
        return functools.reduce(operator.add, [X if is_parted(X) else _alike(X, parted[0]) for X in parts])
    parts = [as_array(X) if isinstance(X, Design) else X for X in parts]
    if any(map(is_sparse, parts)):
        return scipy.sparse.vstack(parts, format="csr")
    return np.concatenate(parts)


def _alike(X: Any, rows: PartedRows) -> PartedRows:
    """An array, which was checked, as one more part."""
    X = as_array(X) if isinstance(X, Design) and rows.x_dtype.kind == "f" else X
    if rows.x_dtype.kind == "f" and getattr(X, "dtype", None) in (np.float32, np.float64):
        X = X.astype(rows.x_dtype, copy=False)
    return PartedRows(Parts([X if rows.names is None or is_sparse(X) else Named(X, rows.names)]), False)


def checked_rows(estimator: Any, X: Any, y: Any, sample_weight: Any, reset: bool) -> tuple[Rows, Any, Any]:
    """Rows, y and weights, of parts their own or those that were given for all; as scikit-learn's `validate_data`."""
    rows: Rows
    if is_parted(X):
        rows = X if isinstance(X, PartedRows) else PartedRows(X)
        y, sample_weight = one_of("y", y, rows.y), one_of("sample_weight", sample_weight, rows.weight)
        names = rows.names
    else:
        rows, names = checked_design(X), None
    if y is None:
        raise ValueError(
            "the parts have no y: make them of (X, y), or name a label, or give y for all rows"
            if is_parted(X)
            else f"{type(estimator).__name__} requires y to be passed, but the target y is None"
        )
    if is_sparse(y):
        raise TypeError("y is a sparse matrix where a dense array is expected: use y.toarray()")
    y = np.asarray(unmasked(y, "y"))
    unmasked(sample_weight, "sample_weight")
    if y.ndim == 0:
        raise ValueError(f"y should be a 1d array, got an array of shape () instead: {y}")
    if len(y) != rows.n:
        raise ValueError(f"Found input variables with inconsistent numbers of samples: {[rows.n, len(y)]}")
    if sample_weight is not None:
        shaped = np.broadcast_to(np.zeros(1), (rows.n, 1))
        sample_weight = _check_sample_weight(sample_weight, shaped, dtype=np.float64, ensure_non_negative=True)
    if reset:
        estimator.n_features_in_ = rows.m
        estimator.__dict__.pop("feature_names_in_", None)
        if names is not None:
            estimator.feature_names_in_ = as_names(names)
    else:
        check_features(estimator, rows.m, names)
    return rows, y, sample_weight


def checked_design(X: Any) -> Design:
    """X in memory, finite, with a row at least."""
    if isinstance(X, Design):
        return X
    design = as_design(unmasked(X, "X"))
    if design.n == 0:
        shape = (design.n, design.m)
        raise ValueError(f"Found array with 0 sample(s) (shape={shape}) while a minimum of 1 is required.")
    return _finite(design)


def _finite(design: Design) -> Design:
    bad = design.row_not_finite()
    if bad is not None:
        raise ValueError(f"Input X contains NaN or infinity, first in row {bad}")
    return design


def check_features(estimator: Any, m: int, names: list[str] | None) -> None:
    """That X has the features that an estimator was fitted with."""
    who, known = type(estimator).__name__, getattr(estimator, "feature_names_in_", None)
    if m != estimator.n_features_in_:
        raise ValueError(f"X has {m} features, but {who} is expecting {estimator.n_features_in_} features as input")
    if known is None or names is None:
        if known is not None:
            text = f"X does not have valid feature names, but {who} was fitted with feature names"
            warnings.warn(text, UserWarning, stacklevel=5)
    elif known.tolist() != names:
        raise ValueError(f"the columns of X are not those that {who} was fitted with, or in another order")


# ---- predictions


def _each(estimator: Any, X: Parts | PartedRows, visit: Callable[[str, Design, Taken], Any]) -> None:
    """Calls `visit` with the name of each part, its X, checked, and its targets."""
    check_is_fitted(estimator)
    if isinstance(X, PartedRows):
        X.each(lambda i, start, design: visit(f"part {i}", design, Taken(None)))
        return

    def check(name: str, taken: Taken) -> None:
        design, facts = designed(name, taken.X)
        with naming(name):
            check_features(estimator, design.m, facts.names)
            if design.n:
                visit(name, _finite(design), taken)

    X.each_read(check)


def each_part(estimator: Any, X: Any, function: Callable[[Design], Array], out: Array | None = None) -> Array:
    """What a function returns for all parts, one after another, or in `out`."""
    found: list[Array] = []
    start = 0

    def visit(name: str, design: Design, taken: Taken) -> None:
        nonlocal start
        part = function(design)
        if out is None:
            found.append(part)
            return
        if out.shape[1:] != part.shape[1:] or start + len(part) > len(out):
            raise ValueError(f"out must have a row for each row of X, and {part.shape[1:]} columns, got {out.shape}")
        out[start : start + len(part)] = part
        start += len(part)

    _each(estimator, X, visit)
    if out is None and not found:
        raise ValueError("Found parts with 0 sample(s) while a minimum of 1 is required.")
    if out is None:
        return np.concatenate(found)
    if start != len(out):
        raise ValueError(f"out has {len(out)} rows, but the parts have {start}")
    return out


def score(estimator: Any, X: Any, y: Any, sample_weight: Any) -> float:
    """The share of rows, by weight, whose class is predicted; y may be given for all rows."""
    right, total, start = 0.0, 0.0, 0
    y, sample_weight = (None if given is None else np.asarray(given) for given in (y, sample_weight))
    text = estimator.classes_.dtype.kind in "OUS"

    def visit(name: str, design: Design, taken: Taken) -> None:
        nonlocal right, total, start
        predicted = estimator.predict(design)
        own = slice(start, start + len(predicted))
        labels = one_of("y", None if y is None else y[own], taken.y)
        weight = one_of("sample_weight", None if sample_weight is None else sample_weight[own], taken.weight)
        if labels is None:
            raise ValueError("the parts have no y: give y for all rows")
        labels = np.asarray(labels)
        labels = labels[:, 0] if labels.ndim == 2 and labels.shape[1] == 1 else labels
        if labels.shape != predicted.shape:
            raise PartError(f"{name} has {len(predicted)} rows of X, but y of shape {labels.shape}")
        if text != (labels.dtype.kind in "OUS"):
            raise PartError(f"{name} has labels of {labels.dtype}, where classes_ are of {estimator.classes_.dtype}")
        hits, weights = predicted == labels, np.ones(len(labels)) if weight is None else as_weight(weight, len(labels))
        right, total, start = right + float(weights[hits].sum()), total + float(weights.sum()), start + len(hits)

    _each(estimator, X, visit)
    for name, given in (("y", y), ("sample_weight", sample_weight)):
        if given is not None and len(given) != start:
            raise ValueError(f"{name} has {len(given)} rows, but the parts have {start}")
    if not total > 0:
        raise ValueError("there is nothing to score: the parts have no rows, or all weights are 0")
    return right / total
