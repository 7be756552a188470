"""Which layout X is held in, and what is computed with."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastsoftmax.data.csr import CSR
from fastsoftmax.data.dense import Dense
from fastsoftmax.data.design import Design
from fastsoftmax.data.gate import FLOATS, is_sparse


def as_design(X: Any, scale: float | ArrayLike = 1.0) -> Design:
    """X in the layout that suits it; a design is returned as it is."""
    if type(X) is np.ndarray:
        return Dense(X, scale)
    if isinstance(X, Design):
        return X
    return CSR(X, scale) if is_sparse(X) else Dense(X, scale)


def compute_dtype(wanted: Any, design: Design) -> np.dtype[Any]:
    """float32 or float64, as wanted, or as suits the design."""
    if wanted is None:
        return design.dtype
    try:
        dtype: np.dtype[Any] = np.dtype(wanted)
    except TypeError:
        raise TypeError(f"dtype must be float32 or float64, got {wanted!r}") from None
    if dtype not in FLOATS:
        raise ValueError(f"dtype must be float32 or float64, got {dtype}")
    return dtype
