"""Which layout X is held in, and what is computed with."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastsoftmax.data.csr import CSR
from fastsoftmax.data.dense import Dense
from fastsoftmax.data.design import Design
from fastsoftmax.data.gate import FLOATS, is_sparse, numbers


def as_design(X: Any, scale: float | ArrayLike = 1.0) -> Design:
    """X in the layout that suits it; a design is returned as it is."""
    if type(X) is np.ndarray:
        return Dense(X, scale)
    if isinstance(X, Design):
        return X
    return CSR(X, scale) if is_sparse(X) else Dense(X, scale)


def as_array(design: Design) -> Any:
    """X, without its map, as an array or a sparse matrix; of half precision in float32."""
    if isinstance(design, CSR):
        from scipy.sparse import csr_array

        data, indices, indptr = design.arrays()
        return csr_array((numbers(data), indices, indptr), shape=(design.n, design.m))
    return numbers(design.arrays()[0])


def joined(designs: list[Design]) -> Design:
    """Rows of designs of one layout and dtype, one after another, copied."""
    if len(designs) == 1:
        return designs[0]
    first = designs[0]
    if isinstance(first, CSR):
        counts = np.concatenate([np.diff(part.arrays()[2]) for part in designs])
        indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        data, indices = (np.concatenate([part.arrays()[i] for part in designs]) for i in (0, 1))
        result = CSR.of(len(counts), first.m, data, indices, indptr)
        result._map(first.scale, first.shift)
        return result
    assert isinstance(first, Dense)
    return first._with(np.concatenate([part.arrays()[0] for part in designs]))


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
