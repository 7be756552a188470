"""The gate: arrays and sparse matrices of users, checked once."""

import functools
import math
import operator
import sys
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastsoftmax.engine.simd.stored import python_decoded

FLOATS = (np.float32, np.float64)
PLAIN = "fdBlqbhiHILQ?"  # dtypes of which nothing is to be checked or converted
Array = NDArray[Any]


def is_sparse(values: Any) -> bool:
    """Whether it is a matrix or array of scipy.sparse, which is not imported for that."""
    if type(values) is np.ndarray:
        return False
    issparse = getattr(sys.modules.get("scipy.sparse"), "issparse", None)  # another thread may be importing it
    return issparse is not None and bool(issparse(values))


def undistributed(X: Any) -> Any:
    """X, which is no collection of Dask: those would be pulled together.

    Raises
    ------
    TypeError
    """
    graph = getattr(X, "__dask_graph__", None)
    if callable(graph) and graph() is not None:  # of xarray's arrays in memory it is None
        raise TypeError(
            f"X is a {type(X).__name__} of Dask: fastsoftmax.dask.DaskSoftmaxRegression and DaskSoftmaxSGDClassifier "
            "take it where it lies; X.compute() brings it here"
        )
    return X


def unmasked(values: Any, name: str) -> Any:
    """`values`, if they are no masked array."""
    if isinstance(values, np.ma.MaskedArray):
        raise TypeError(f"{name} is a masked array, whose mask would be ignored: fill or drop what is masked")
    return values


def as_array(values: ArrayLike, name: str) -> Array:
    """`values` as an array of real numbers: float32, float64 or any integer; float16 becomes float32.

    Raises
    ------
    TypeError
        If `values` are masked, sparse, complex, strings, objects or the like.
    """
    if type(values) is np.ndarray and values.dtype.char in PLAIN and values.dtype.isnative:
        return values
    unmasked(values, name)
    if is_sparse(values):
        raise TypeError(f"{name} is a sparse matrix where a dense array is expected: use {name}.toarray()")
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise TypeError(f"{name} must hold real numbers, got dtype {array.dtype}")
    if array.dtype.kind != "f":
        return array
    wanted = np.float32 if array.dtype.itemsize <= 4 else np.float64
    return array if array.dtype == wanted else array.astype(wanted)


BFLOAT16 = np.dtype([("bfloat16", "<u2")])


def bfloat16(bits: ArrayLike) -> Array:
    """uint16 as bfloat16, for X: a view that functions, trainers and estimators take, and read as it is.

    Parameters
    ----------
    bits : array-like of uint16
        The upper halves of float32 numbers. Arrays of ml_dtypes' bfloat16 need no view.

    Returns
    -------
    ndarray
        Of the same shape and memory.

    Raises
    ------
    TypeError
        If `bits` is not of uint16.

    Examples
    --------
    >>> import fastsoftmax as fs, numpy as np
    >>> X = fs.bfloat16(np.array([[0x3F80, 0xC000]], np.uint16))  # 1 and -2
    >>> fs.predict_proba(X, np.eye(2, dtype=np.float32)).round(3)
    array([[0.953, 0.047]], dtype=float32)
    """
    array = np.asarray(bits)
    if array.dtype.newbyteorder("=") != np.uint16:
        raise TypeError(f"bits must be of uint16, got dtype {array.dtype}")
    return array.astype(np.uint16, copy=False).view(BFLOAT16)


def is_half(dtype: np.dtype[Any]) -> bool:
    """Whether it is float16 or bfloat16."""
    return dtype.char == "e" or dtype == BFLOAT16 or (dtype.name == "bfloat16" and dtype.itemsize == 2)


def as_features(values: ArrayLike, name: str = "X") -> Array:
    """As `as_array`, for the kernels: float32, float64, uint8, int8, and float16 and bfloat16 by their bits.

    Bits are int16 and uint16, as in `engine.simd.stored`; other integers become float64.
    """
    array = values if isinstance(values, np.ndarray) else np.asarray(values)
    unmasked(values, name)
    if is_half(array.dtype):
        native = array.astype(np.float16, copy=False) if array.dtype.char == "e" else array
        return native.view(np.int16 if array.dtype.char == "e" else np.uint16)
    array = as_array(values, name)
    return array if array.dtype.char in "fdBb" else array.astype(np.float64)


def numbers(stored: Array) -> Array:
    """What `as_features` holds by its bits, in float32; others as they are."""
    return np.asarray(python_decoded(stored))


def entry_not_finite(stored: Array) -> int | None:
    """Where the first axis of what `as_features` returned has the first NaN or infinity, or None.

    Half precision is looked at by its bits: infinities and NaN have all of the exponent's set.
    """
    if stored.dtype.kind in "iu" and stored.dtype.itemsize == 1:
        return None
    step = max(1, (1 << 20) // math.prod(stored.shape[1:]))
    exponent = {"h": 0x7C00, "H": 0x7F80}.get(stored.dtype.char)
    for start in range(0, len(stored), step):
        part = stored[start : start + step]
        right = np.isfinite(part) if exponent is None else (part & exponent) != exponent
        if not right.all():
            wrong = ~(right.all(1) if right.ndim == 2 else right)
            return start + int(np.flatnonzero(wrong)[0])
    return None


@functools.lru_cache(16)
def constant(value: float, m: int) -> NDArray[np.float64]:
    return np.broadcast_to(value, (m,))


def per_feature(values: ArrayLike, name: str, m: int) -> NDArray[np.float64]:
    if type(values) is float and math.isfinite(values):
        return constant(values, m)
    array = np.asarray(as_array(values, name), np.float64)
    if array.shape not in ((), (m,)):
        raise ValueError(f"{name} must be a number or of shape ({m},), got shape {array.shape}")
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite")
    return np.broadcast_to(array, (m,))


def from_disk(array: Any) -> bool:
    """Whether it is a memory-mapped file, or a view of one."""
    while isinstance(array, np.ndarray) and not isinstance(array, np.memmap):
        array = array.base
    return isinstance(array, np.memmap)


def contiguous(array: Array) -> Array:
    """In C order and aligned, copied if need be; flags are faster to look at than np.require is to call."""
    flags = array.flags
    return array if flags.c_contiguous and flags.aligned else np.require(array, requirements=("C", "A"))


def _check_range(indices: Array, size: int, what: str) -> None:
    """That all are below a size: a conversion, or a kernel, would write where they say."""
    if indices.dtype.kind not in "iu":
        raise TypeError(f"X must have integer {what} indices, got dtype {indices.dtype}")
    low, high = (indices.min(), indices.max()) if len(indices) else (0, -1)
    if low < 0 or high >= size:
        raise ValueError(f"X has a {what} index {low if low < 0 else high}, out of range for {size} {what}s")


def check_sparse(X: Any) -> None:
    """That no index of a sparse matrix leads out of its arrays: scipy checks only some of it, and only once.

    Raises
    ------
    TypeError, ValueError
        If row or column pointers do not rise, or an index is out of range or no integer.
    """
    if X.ndim != 2:
        raise ValueError(f"X must have 2 dimensions, (n, m), got shape {X.shape}")
    if X.format == "coo":
        for axis in (0, 1):
            _check_range(X.coords[axis], X.shape[axis], ("row", "column")[axis])
    if X.format == "lil" and not (
        len(X.rows) == len(X.data) == X.shape[0] and all(map(operator.eq, map(len, X.rows), map(len, X.data)))
    ):
        raise ValueError(f"X must have {X.shape[0]} rows of as many indices as values")
    if X.format == "dia" and not (X.data.ndim == 2 and X.offsets.shape == X.data.shape[:1]):
        raise ValueError(f"X must have an offset for each diagonal, got {X.offsets.shape} for data {X.data.shape}")
    if X.format in ("csr", "csc", "bsr"):
        if not all(isinstance(part, np.ndarray) for part in (X.data, X.indices, X.indptr)):
            raise TypeError("X must hold its data, indices and row pointers in NumPy arrays")
        height, width = X.data.shape[1:] if X.format == "bsr" and X.data.ndim == 3 else (1, 1)
        if 0 in (height, width):
            raise ValueError(f"X must have blocks of at least 1 x 1, got {height} x {width}")
        rows, columns = X.shape[0] // height, X.shape[1] // width
        major, minor, what = (columns, rows, "row") if X.format == "csc" else (rows, columns, "column")
        indptr, stored = X.indptr, min(len(X.data), len(X.indices))
        if X.indices.ndim != 1 or X.data.ndim != (3 if X.format == "bsr" else 1):
            raise ValueError(f"X must have flat indices and data, got shapes {X.indices.shape} and {X.data.shape}")
        rising = indptr.ndim == 1 and len(indptr) == major + 1 and indptr.dtype.kind in "iu"
        if not rising or indptr[0] != 0 or indptr[-1] > stored or (indptr[1:] < indptr[:-1]).any():
            raise ValueError(
                f"X has {'column' if X.format == 'csc' else 'row'} pointers (indptr) that do not rise from 0 to its "
                "number of entries"
            )
        _check_range(X.indices, minor, what)
    if X.shape[1] > np.iinfo(np.int32).max:
        raise ValueError(f"X must have less than 2**31 features, got {X.shape[1]}")
