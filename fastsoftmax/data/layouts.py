"""Which layout X is held in, and what is computed with."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastsoftmax.data.csr import CSR
from fastsoftmax.data.dense import Dense
from fastsoftmax.data.design import Design
from fastsoftmax.data.gate import FLOATS, is_sparse, numbers, undistributed


def as_design(X: Any, scale: float | ArrayLike = 1.0) -> Design:
    """X in the layout that suits it; a design is returned as it is."""
    if type(X) is np.ndarray:
        return Dense(X, scale)
    if isinstance(X, Design):
        return X
    return CSR(X, scale) if is_sparse(X) else Dense(undistributed(X), scale)


def as_array(design: Design) -> Any:
    """X, without its map, as an array or a sparse matrix; of half precision in float32."""
    if isinstance(design, CSR):
        from scipy.sparse import csr_array

        data, indices, indptr = design.arrays()
        return csr_array((numbers(data), indices, indptr), shape=(design.n, design.m))
    return numbers(design.arrays()[0])


class Gathered:
    """Rows of several designs of one layout, dtype and map, copied one after another.

    Parameters
    ----------
    n : int
        How many there will be.
    """

    def __init__(self, n: int) -> None:
        self.n, self.count, self.found = n, 0, list[Design]()
        self.X: np.ndarray[Any, Any] | None = None

    def add(self, design: Design, index: np.ndarray[Any, Any]) -> None:
        """Some of the rows of one more."""
        if not isinstance(design, Dense):
            self.found.append(design.rows(index))
            return
        if self.X is None:
            self.X, self.found = np.empty((self.n, design.m), design.X.dtype), [design]
        to = self.X[self.count : self.count + len(index)]
        np.take(design.X, index, 0, to, "clip")  # indices are right: "raise" would copy once more
        self.count += len(index)

    @property
    def design(self) -> Design:
        """All of them."""
        first = self.found[0]
        if isinstance(first, Dense):
            assert self.X is not None
            return first._with(self.X)
        counts = np.concatenate([np.diff(part.arrays()[2]) for part in self.found])
        indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        data, indices = (np.concatenate([part.arrays()[i] for part in self.found]) for i in (0, 1))
        result = CSR.of(len(counts), first.m, data, indices, indptr)
        result._map(first.scale, first.shift)
        return result


def compute_dtype(wanted: Any, own: np.dtype[Any]) -> np.dtype[Any]:
    """float32 or float64, as wanted, or what suits X."""
    if wanted is None:
        return own
    try:
        dtype: np.dtype[Any] = np.dtype(wanted)
    except TypeError:
        raise TypeError(f"dtype must be float32 or float64, got {wanted!r}") from None
    if dtype not in FLOATS:
        raise ValueError(f"dtype must be float32 or float64, got {dtype}")
    return dtype
