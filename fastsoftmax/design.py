"""Data layouts: X checked once, and held as the kernels take it, with an affine map of its features.

The map, x -> (x - shift) * scale, is folded into the weights on entry and out of gradients on exit: X is never touched.
"""

import abc
import functools
import math
import operator
import sys
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastsoftmax import _jit
from fastsoftmax._simd import LANE_BYTES
from fastsoftmax.kernels import csr, dense
from fastsoftmax.kernels import moments as sums
from fastsoftmax.kernels.math import ordered_sum
from fastsoftmax.vectors import in_blocks

FLOATS = (np.float32, np.float64)
MOMENT_BYTES = 16 << 20  # of partial sums
Array = NDArray[Any]


def is_sparse(values: Any) -> bool:
    """Whether it is a matrix or array of scipy.sparse, which is not imported for that."""
    issparse = getattr(sys.modules.get("scipy.sparse"), "issparse", None)  # another thread may be importing it
    return issparse is not None and bool(issparse(values))


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


@functools.lru_cache(16)
def _constant(value: float, m: int) -> NDArray[np.float64]:
    return np.broadcast_to(value, (m,))


def _per_feature(values: ArrayLike, name: str, m: int) -> NDArray[np.float64]:
    if type(values) is float and math.isfinite(values):
        return _constant(values, m)
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


class Arrangement(NamedTuple):
    """How a layout arranges weights, gradients and blocks for c classes in a compute type."""

    layout: Any  # what the kernels take
    tile: tuple[int, ...]  # of forward, and
    side: tuple[int, ...]  # of adjoint
    classes: int  # c, padded
    row: int  # entries of scratch that a row of X takes
    length: int  # entries of the weights
    block: int  # rows that stay in L2, with their logits


class Design(abc.ABC):
    """X of shape (n, m), and its affine map.

    Attributes
    ----------
    n, m : int
    scale, shift : ndarray of shape (m,)
        Features are (X - shift) * scale.
    dtype : dtype
        Of the computation, unless asked otherwise: float64 for X in float64, else float32.
    """

    n: int
    m: int
    pairs: float  # entries of X that a row has, on average
    dtype: np.dtype[Any]
    scale: NDArray[np.float64]
    shift: NDArray[np.float64]
    shifted: bool  # whether the map does anything
    scaled: bool

    def _map(self, scale: float | ArrayLike, shift: float | ArrayLike) -> None:
        self.scale, self.shift = _per_feature(scale, "scale", self.m), _per_feature(shift, "shift", self.m)
        self.shifted = self.shift is not _constant(0.0, self.m) and bool(self.shift.any())
        self.scaled = not (self.scale is _constant(1.0, self.m) or bool((self.scale == 1).all()))

    def mapped(self, scale: float | ArrayLike, shift: float | ArrayLike = 0.0) -> "Design":
        """The same X under another map."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._map(scale, shift)
        return other

    @property
    def stored_dtype(self) -> np.dtype[Any]:
        """Of weights that are fitted to it: that of X, or float64 for integers."""
        return np.dtype(np.float32 if self.arrays()[0].dtype == np.float32 else np.float64)

    def in_double(self) -> "Design":
        """The same X, to be computed with in float64."""
        other = self.mapped(self.scale, self.shift)
        other.dtype = np.dtype(np.float64)
        return other

    @abc.abstractmethod
    def rows(self, index: Array) -> "Design":
        """Some of the rows, copied."""

    @abc.abstractmethod
    def arrange(self, dtype: np.dtype[Any], c: int) -> Arrangement:
        """How kernels see it."""

    def read_in_place(self, plan: Arrangement) -> bool:
        """Whether rows in order need no scratch."""
        return False

    @abc.abstractmethod
    def arrays(self) -> tuple[Array, ...]:
        """What holds X."""

    def lowest(self, weights: Array) -> float:
        """The least product of a raw row with these weights."""
        low, raw = np.inf, self.mapped(1.0, 0.0)
        for start in range(0, self.n, 1024):
            rows = np.empty((min(1024, self.n - start), self.m))
            raw.block(start, start + len(rows), rows)
            low = min(low, float((rows @ weights).min()))
        return low

    @abc.abstractmethod
    def block(self, start: int, stop: int, out: Array) -> None:
        """Rows start..stop of the features, mapped, into out (rows, m)."""

    @abc.abstractmethod
    def pack(self, coef: Array, c: int, arrangement: Arrangement, out: Array, scale: Array | None = None) -> None:
        """Weights (c, m), times a scale (m,), as the kernels take them."""

    @abc.abstractmethod
    def unpack(self, packed: Array, c: int, arrangement: Arrangement) -> Array:
        """A view of packed weights or gradients, (c, m)."""

    def unpacked(self, packed: Array, c: int, arrangement: Arrangement) -> Array:
        """A copy of them."""
        return self.unpack(packed, c, arrangement).copy()

    def moments(self, weight: Array, center: Array | None = None) -> tuple[Array, Array]:
        """Weighted sums of the raw columns, and of their squares, less `center`; weight may be empty."""
        center = np.zeros(self.m) if center is None else np.array(center, np.float64)
        chunks = max(1, min(16, MOMENT_BYTES // (16 * self.m), self.n // 64))
        layout = self.arrange(self.dtype, 2).layout
        out = np.zeros((3, chunks, self.m))
        workers = min(_jit.worker_count(4.0 * self.n * self.m), chunks)
        pointer = sums.moments_pointer(layout, 0, 0, weight, center, *out[:, 0])
        sums.all_moments(workers, pointer, chunks, layout, self.n, weight, center, *out)
        for q in range(1, chunks):  # in order: NumPy's own sums depend on the CPU
            out[:, 0] += out[:, q]
        absent = self._absent(out[2, 0], weight)
        return out[0, 0] - absent * center, out[1, 0] + absent * center * center

    def _absent(self, stored: Array, weight: Array) -> Array:
        """For each column, what the rows weigh whose entry, 0, is not stored."""
        return np.zeros(self.m)

    def class_sums(self, codes: Array, weights: Array, c: int) -> Any:
        """sum_i w_i x_i (c, m) over the rows of each class, of the mapped features, in float64; weights may be ()."""
        from scipy.sparse import csc_array

        result, step = np.zeros((c, self.m)), max(1, (1 << 20) // self.m, min(c, (1 << 23) // self.m))
        for start in range(0, self.n, step):
            rows = slice(start, min(start + step, self.n))
            X, count = np.empty((rows.stop - start, self.m)), rows.stop - start
            self.block(start, rows.stop, X)
            own = weights[rows] if len(weights) else np.ones(count)
            result += csc_array((own, codes[rows], np.arange(count + 1)), shape=(c, count)) @ X
        return result

    def weighted(self, weights: Array) -> tuple[Array, Array]:
        """sum_i w_ki x_ij and sum_i w_ki x_ij^2, (K, m) each, of the mapped features; weights (K, n) in their dtype."""
        first, second = np.zeros((2, len(weights), self.m), weights.dtype)
        step = max(1, (1 << 22) // self.m)
        for start in range(0, self.n, step):
            X = np.empty((min(step, self.n - start), self.m), weights.dtype)
            self.block(start, start + len(X), X)
            part = weights[:, start : start + len(X)]
            first += part @ X
            second += part @ np.square(X, out=X)
        return first, second

    @abc.abstractmethod
    def largest(self, columns: Array) -> Array:
        """The largest absolute entry of some of the columns."""


class Dense(Design):
    """Dense X, float32, float64 or uint8, C-contiguous.

    Parameters
    ----------
    X : array-like of shape (n, m)
        Of other dtypes, float16 becomes float32 and integers float64; another memory layout is copied once.
    scale, shift : float or array-like of shape (m,)
        Features are (X - shift) * scale. The kernels read X as it is.
    """

    def __init__(self, X: ArrayLike, scale: float | ArrayLike = 1.0, shift: float | ArrayLike = 0.0) -> None:
        array = as_array(X, "X")
        if array.ndim != 2:
            raise ValueError(f"X must have 2 dimensions, (n, m), got shape {array.shape}")
        self.n, self.m = array.shape
        if self.m == 0:
            raise ValueError(f"X must have at least one feature, got shape {array.shape}")
        if array.dtype.kind != "f" and array.dtype != np.uint8:
            array = array.astype(np.float64)
        self.X, self.pairs = contiguous(array), float(self.m)
        self.dtype = np.dtype(np.float64 if self.X.dtype == np.float64 else np.float32)
        self._map(scale, shift)

    def read_in_place(self, plan: Arrangement) -> bool:
        return len(plan.layout.direct) > 0

    def arrays(self) -> tuple[Array, ...]:
        return (self.X,)

    def largest(self, columns: Array) -> Array:
        return np.asarray(np.abs(self.X[:, columns]).max(0, initial=0), np.float64)

    def rows(self, index: Array) -> "Dense":
        return Dense(self.X[index], self.scale, self.shift)

    def arrange(self, dtype: np.dtype[Any], c: int) -> Arrangement:
        """ld is m filled up to whole vectors. A block's X, converted, takes 208 KB and its logits at most 256 KB."""
        lanes = LANE_BYTES // dtype.itemsize
        ld, X = -(-self.m // lanes) * lanes, _jit.flat(self.X)
        layout = dense.Dense(X, X if X.dtype == dtype and ld == self.m else np.zeros(0, dtype), self.m, ld)
        tile, side, classes = dense.tiles(c)
        rows = min(512, (208 << 10) // (ld * dtype.itemsize), (256 << 10) // (c * dtype.itemsize))
        return Arrangement(layout, tile, side, classes, ld, classes * ld, max(16, rows // 16 * 16))

    def block(self, start: int, stop: int, out: Array) -> None:
        if self.shifted:
            np.subtract(self.X[start:stop], self.shift.astype(out.dtype), out=out, casting="same_kind")
            out *= self.scale.astype(out.dtype)
        else:
            np.multiply(self.X[start:stop], self.scale.astype(out.dtype), out=out, casting="same_kind")

    def pack(self, coef: Array, c: int, arrangement: Arrangement, out: Array, scale: Array | None = None) -> None:
        out.reshape(arrangement.classes, arrangement.row)[:c, : self.m] = coef if scale is None else coef * scale

    def unpack(self, packed: Array, c: int, arrangement: Arrangement) -> Array:
        return packed.reshape(-1, arrangement.row)[:c, : self.m]


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


class CSR(Design):
    """Sparse X, as scipy.sparse CSR: int32 indices, sorted, none twice; values float32, float64 or uint8.

    Parameters
    ----------
    X : sparse matrix or array of shape (n, m)
        Of another format, it is converted once; one that is not canonical is copied, and its duplicates are summed.
    scale, shift : float or array-like of shape (m,)
        Features are (X - shift) * scale: X is not densified.

    Raises
    ------
    TypeError, ValueError
        If values are no real numbers, or row pointers or indices are out of range.
    """

    _shared: "dict[str, CSR]"  # by all maps of the same X

    def __init__(self, X: Any, scale: float | ArrayLike = 1.0, shift: float | ArrayLike = 0.0) -> None:
        check_sparse(X)
        self.n, self.m = X.shape
        if self.m == 0:
            raise ValueError(f"X must have at least one feature, got shape {X.shape}")
        if X.dtype.kind not in "fiub":
            raise TypeError(f"X must hold real numbers, got dtype {X.dtype}")
        matrix = X.tocsr()
        check_sparse(matrix)
        if not matrix.has_canonical_format:
            matrix = matrix.astype(np.float64) if matrix.dtype.kind != "f" else matrix.copy()  # bytes would overflow
            matrix.sum_duplicates()
        data = as_array(matrix.data, "X")
        if data.dtype not in (*FLOATS, np.uint8):
            data = data.astype(np.float64)
        self.data = np.require(data, requirements=("C", "A"))
        self.indices = np.require(matrix.indices, np.int32, ("C", "A"))
        self.indptr = np.require(matrix.indptr, np.int64, ("C", "A"))
        self.pairs, self._shared = max(1.0, len(self.data) / max(1, self.n)), {}
        self.dtype = np.dtype(np.float64 if self.data.dtype == np.float64 else np.float32)
        self._map(scale, shift)

    @classmethod
    def of(cls, n: int, m: int, data: Array, indices: Array, indptr: Array) -> "CSR":
        """From arrays that are known to be right."""
        design = object.__new__(cls)
        design.n, design.m, design.data, design.indices, design.indptr = n, m, data, indices, indptr
        design.dtype = np.dtype(np.float64 if data.dtype == np.float64 else np.float32)
        design.pairs, design._shared = max(1.0, len(data) / max(1, n)), {}
        return design

    def arrays(self) -> tuple[Array, ...]:
        return self.data, self.indices, self.indptr

    def rows(self, index: Array) -> "CSR":
        index = np.arange(self.n)[index]
        counts = np.diff(self.indptr)[index]
        indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        pairs = np.arange(indptr[-1]) + np.repeat(self.indptr[:-1][index] - indptr[:-1], counts)
        part = CSR.of(len(index), self.m, self.data[pairs], self.indices[pairs], indptr)
        part._map(self.scale, self.shift)
        return part

    def arrange(self, dtype: np.dtype[Any], c: int) -> Arrangement:
        """Classes are filled up to whole vectors. A block's pairs take some 208 KB, its logits at most 128 KB."""
        lanes = LANE_BYTES // dtype.itemsize
        classes = -(-c // lanes) * lanes
        arrays = _jit.flat(self.data), _jit.flat(self.indices), _jit.flat(self.indptr)
        tile = csr.tile_of(classes, dtype.itemsize)
        rows = min(512, int((208 << 10) / (8 * self.pairs)), (128 << 10) // (classes * dtype.itemsize))
        layout = csr.CSR(*arrays, self.m, classes)
        return Arrangement(layout, tile, tile, classes, classes, self.m * classes, max(16, rows // 16 * 16))

    def block(self, start: int, stop: int, out: Array) -> None:
        pairs = slice(self.indptr[start], self.indptr[stop])
        rows = np.repeat(np.arange(stop - start), np.diff(self.indptr[start : stop + 1]))
        columns = self.indices[pairs]
        out[...] = (-self.shift * self.scale).astype(out.dtype)
        out[rows, columns] = ((self.data[pairs] - self.shift[columns]) * self.scale[columns]).astype(out.dtype)

    def pack(self, coef: Array, c: int, arrangement: Arrangement, out: Array, scale: Array | None = None) -> None:
        to = out.reshape(self.m, arrangement.classes)

        def place(at: slice) -> None:
            to[at, :c] = (coef[:, at] if scale is None else coef[:, at] * scale[at]).T

        in_blocks(place, self.m, arrangement.classes)

    def unpack(self, packed: Array, c: int, arrangement: Arrangement) -> Array:
        return packed.reshape(self.m, arrangement.classes)[:, :c].T

    def unpacked(self, packed: Array, c: int, arrangement: Arrangement) -> Array:
        view, copy = self.unpack(packed, c, arrangement), np.empty((c, self.m), packed.dtype)
        for start in range(0, self.m, 1024):  # in cache: 36 ms for 20 classes by 2^20 features, and 135 at once
            copy[:, start : start + 1024] = view[:, start : start + 1024]
        return copy

    def transposed(self) -> "CSR":
        """X transposed, without a map; made once."""
        if "transposed" not in self._shared:
            from scipy.sparse import csr_array

            turned = csr_array((self.data, self.indices, self.indptr), shape=(self.n, self.m)).tocsc()
            indices, indptr = turned.indices.astype(np.int32, copy=False), turned.indptr.astype(np.int64, copy=False)
            self._shared["transposed"] = CSR.of(self.m, self.n, turned.data, indices, indptr)
            self._shared["transposed"]._map(1.0, 0.0)
        return self._shared["transposed"]

    def _values(self) -> Array:
        """The entries times the scales of their columns, in float64."""
        return np.asarray(self.data * self.scale[self.indices], np.float64)

    def class_sums(self, codes: Array, weights: Array, c: int) -> Any:
        """A sparse array, unless the features are shifted: of text a class has few of all words."""
        from scipy.sparse import csr_array

        own = weights if len(weights) else np.ones(self.n)
        members = csr_array((own, codes, np.arange(self.n + 1)), shape=(self.n, c))
        sums = members.T @ csr_array((self._values(), self.indices, self.indptr), shape=(self.n, self.m))
        return sums.toarray() - np.outer(members.sum(0), self.shift * self.scale) if self.shifted else sums.tocsc()

    def weighted(self, weights: Array) -> tuple[Array, Array]:
        from scipy.sparse import csr_array

        turned, dtype = self.transposed(), np.dtype(np.float64) if self.shifted else weights.dtype
        values = (turned.data * np.repeat(self.scale, np.diff(turned.indptr))).astype(dtype)
        across = np.ascontiguousarray(weights.T, dtype)

        def total(entries: Array) -> Array:
            return np.asarray(csr_array((entries, turned.indices, turned.indptr), shape=(self.m, self.n)) @ across).T

        first, second = total(values), total(np.square(values))
        if self.shifted:
            shift, each = self.shift * self.scale, across.sum(0)[:, None]
            second += shift * (each * shift - 2 * first)
            first -= each * shift
        return first, second

    def _absent(self, stored: Array, weight: Array) -> Array:
        """Of columns that most rows have it is summed: a difference would leave rounding, and constant columns vary."""
        if not len(weight):
            return np.asarray(self.n - stored)
        absent = np.maximum(float(ordered_sum(weight)) - stored, 0.0)
        most = np.flatnonzero(2 * np.bincount(self.indices, minlength=self.m) >= self.n)
        if len(most):
            place = np.full(self.m, -1)
            place[most] = np.arange(len(most))
            at, rows = place[self.indices], np.repeat(np.arange(self.n), np.diff(self.indptr))
            missing = np.ones((self.n, len(most)), bool)
            missing[rows[at >= 0], at[at >= 0]] = False
            rows, columns = np.nonzero(missing)
            absent[most] = np.bincount(columns, weight[rows], len(most))
        return absent

    def largest(self, columns: Array) -> Array:
        result = np.zeros(self.m)
        np.maximum.at(result, self.indices, np.abs(self.data))
        return result[columns]


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
