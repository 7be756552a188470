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
    if isinstance(X, Design):
        return X
    return CSR(X, scale) if is_sparse(X) else Dense(X, scale)


def compute_dtype(wanted: Any, design: Design) -> np.dtype[Any]:
    """float32 or float64, as wanted, or as suits the design."""
    try:
        dtype = np.dtype(design.dtype if wanted is None else wanted)
    except TypeError:
        raise TypeError(f"dtype must be float32 or float64, got {wanted!r}") from None
    if dtype not in FLOATS:
        raise ValueError(f"dtype must be float32 or float64, got {dtype}")
    return dtype
