"""Data layouts: X checked once, and held as the kernels take it, with the map from raw to scaled features."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastsoftmax import _jit
from fastsoftmax._simd import LANE_BYTES
from fastsoftmax.kernels import dense

FLOATS = (np.float32, np.float64)


def as_array(values: ArrayLike, name: str) -> NDArray[Any]:
    """`values` as an array of real numbers: float32, float64 or any integer; float16 becomes float32.

    Raises
    ------
    TypeError
        If `values` are masked, complex, strings, objects or the like.
    """
    if isinstance(values, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array, whose mask would be ignored: fill or drop what is masked")
    if type(values).__module__.startswith("scipy.sparse"):
        raise TypeError(f"{name} is a sparse matrix; this version takes dense arrays: use {name}.toarray()")
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold real numbers, got dtype {array.dtype}")
    if array.dtype.kind != "f":
        return array
    wanted = np.float32 if array.dtype.itemsize <= 4 else np.float64
    return array.astype(wanted, copy=False)


class Dense:
    """Dense X, float32, float64 or uint8, C-contiguous, with its scale.

    Parameters
    ----------
    X : array-like of shape (n, m)
        Of other dtypes, float16 becomes float32 and integers float64; another memory layout is copied once.
    scale : float or array-like of shape (m,), default 1.0
        Features are X * scale. The kernels read X as it is: the scale is folded into the weights.
    """

    def __init__(self, X: ArrayLike, scale: float | ArrayLike = 1.0) -> None:
        array = as_array(X, "X")
        if array.ndim != 2:
            raise ValueError(f"X must have 2 dimensions, (n, m), got shape {array.shape}")
        self.n, self.m = array.shape
        if self.m == 0:
            raise ValueError(f"X must have at least one feature, got shape {array.shape}")
        if array.dtype not in (*FLOATS, np.uint8):
            array = array.astype(np.float64)
        self.X = np.require(array, requirements=("C", "A"))
        self.scale = self._check_scale(scale)
        self.dtype = np.dtype(np.float64 if self.X.dtype == np.float64 else np.float32)

    def _check_scale(self, scale: float | ArrayLike) -> NDArray[np.float64]:
        values = np.asarray(as_array(scale, "scale"), np.float64)
        if values.shape not in ((), (self.m,)):
            raise ValueError(f"scale must be a number or of shape ({self.m},), got shape {values.shape}")
        if not np.isfinite(values).all():
            raise ValueError("scale must be finite")
        return np.broadcast_to(values, (self.m,))

    def layout(self, dtype: np.dtype[Any]) -> dense.Dense:
        """What the kernels take, to compute in `dtype`; ld is m filled up to whole vectors."""
        lanes = LANE_BYTES // dtype.itemsize
        ld = -(-self.m // lanes) * lanes
        X = _jit.flat(self.X)
        return dense.Dense(X, X if X.dtype == dtype and ld == self.m else np.zeros(0, dtype), self.m, ld)

    def rows_per_block(self, dtype: np.dtype[Any], c: int) -> int:
        """Rows whose X, converted, takes 208 KB and whose logits take no more than 256 KB: both stay in L2."""
        ld = self.layout(dtype).ld
        rows = min(512, (208 << 10) // (ld * dtype.itemsize), (256 << 10) // (c * dtype.itemsize))
        return max(16, rows // 16 * 16)


def as_design(X: Any, scale: float | ArrayLike = 1.0) -> Dense:
    """X in the layout that suits it; a design is returned as it is."""
    return X if isinstance(X, Dense) else Dense(X, scale)
