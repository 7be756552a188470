"""Names of features, where X is a frame: kept by models, and compared with those of later X, as scikit-learn does."""

import warnings
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Names = NDArray[np.object_]
MOST = 5  # names that a message lists


def names_of(X: Any) -> Names | None:
    """The names of the columns of a frame (pandas, polars), or None where they are not strings.

    Raises
    ------
    TypeError
        If some are strings, and some are not.
    """
    columns = getattr(X, "columns", None)
    if not isinstance(columns, Iterable):
        return None
    names = list(columns)
    strings = [isinstance(name, str) for name in names]
    if any(strings) and not all(strings):
        kinds = sorted({type(name).__name__ for name in names})
        raise TypeError(
            f"Feature names are only supported if all input features have string names, but your input has {kinds} as "
            "feature name / column name types: rename the columns (X.columns = X.columns.astype(str)), or give X as "
            "an array"
        )
    return as_names(names) if names and all(strings) else None


def as_names(names: Iterable[str]) -> Names:
    """An array of them, as scikit-learn's `feature_names_in_`."""
    listed = [str(name) for name in names]
    array = np.empty(len(listed), object)
    array[:] = listed
    return array


def check_names(known: Names | None, X: Any, who: str) -> None:
    """That the columns of X are those that `who` was fitted with; with scikit-learn's words where it cannot be known.

    Raises
    ------
    ValueError
        If X has other names, or the same in another order.

    Warns
    -----
    UserWarning
        If only one of the two has names.
    """
    given = names_of(X)
    if known is None or given is None:
        if given is not None:
            text = f"X has feature names, but {who} was fitted without feature names"
            warnings.warn(text, UserWarning, stacklevel=4)
        elif known is not None:
            text = f"X does not have valid feature names, but {who} was fitted with feature names"
            warnings.warn(text, UserWarning, stacklevel=4)
        return
    if known.tolist() != given.tolist():
        raise ValueError(_difference(known.tolist(), given.tolist()))


def _difference(known: list[str], given: list[str]) -> str:
    lines = ["The feature names should match those that were passed during fit."]
    unseen, missing = sorted({*given} - {*known}), sorted({*known} - {*given})
    for title, names in (
        ("Feature names unseen at fit time:", unseen),
        ("Feature names seen at fit time, yet now missing:", missing),
    ):
        if names:
            lines += [title, *(f"- {name}" for name in names[:MOST]), *["- ..."] * (len(names) > MOST)]
    if not unseen and not missing:
        lines.append(
            f"Feature names must be in the same order as they were in fit: {_some(known)}, got {_some(given)}."
        )
    return "\n".join(lines)


def _some(names: list[str]) -> str:
    return "[" + ", ".join(names[:MOST]) + (", ..." if len(names) > MOST else "") + "]"
