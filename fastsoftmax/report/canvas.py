"""What all pictures share: axes to draw on, and what they are made of."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def axes(ax: Any = None, size: tuple[float, float] = (5.0, 4.0)) -> Any:
    """`ax`, or that of a new figure.

    Raises
    ------
    ImportError
        Without matplotlib.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError("pictures need matplotlib: pip install 'fastsoftmax[pictures]'") from error
    return plt.figure(figsize=size, layout="constrained").add_subplot() if ax is None else ax


def frame_of(columns: dict[str, Any]) -> Any:
    """A pandas DataFrame.

    Raises
    ------
    ImportError
        Without pandas.
    """
    try:
        import pandas as pd
    except ImportError as error:
        raise ImportError("frame() needs pandas, which is not installed: pip install pandas") from error
    return pd.DataFrame(columns)


def classes_of(model: Any) -> NDArray[Any]:
    """Of an estimator or a `SoftmaxModel`.

    Raises
    ------
    TypeError
        If it is neither, or was not fitted.
    """
    for name in ("classes_", "classes"):
        found = getattr(model, name, None)
        if found is not None:
            return np.asarray(found)
    raise TypeError(f"a fitted estimator, or a SoftmaxModel, is expected, got {type(model).__name__} without classes")


def codes_of(y: ArrayLike, classes: NDArray[Any]) -> NDArray[np.int64]:
    """The place of each label among the classes.

    Raises
    ------
    ValueError
        If a label is none of them.
    """
    labels = np.asarray(y)
    order = np.argsort(classes)
    codes = order[np.minimum(np.searchsorted(classes, labels, sorter=order), len(classes) - 1)]
    strange = labels[classes[codes] != labels]
    if len(strange):
        raise ValueError(f"y has labels that are not among the classes: {np.unique(strange)[:5].tolist()}")
    return np.asarray(codes, np.int64)
