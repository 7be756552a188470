"""Sparse X."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastsoftmax.data.design import Arrangement, Design
from fastsoftmax.data.gate import as_features, check_sparse, is_half, numbers
from fastsoftmax.engine import memory
from fastsoftmax.engine.simd import LANE_BYTES
from fastsoftmax.engine.vectors import in_blocks
from fastsoftmax.kernels import csr
from fastsoftmax.kernels.math import ordered_sum

Array = NDArray[Any]


def _of_bits(X: Any) -> Any:
    """float16 or bfloat16, of which scipy knows nothing, by their bits."""
    from scipy.sparse import csr_array

    return csr_array((as_features(X.data), X.indices, X.indptr), shape=X.shape)


class CSR(Design):
    """Sparse X, as scipy.sparse CSR: int32 indices, sorted, none twice; values as `as_features` has them.

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
        if bits := X.format == "csr" and is_half(X.data.dtype):
            X = _of_bits(X)
        self.n, self.m = X.shape
        if self.m == 0:
            raise ValueError(f"X must have at least one feature, got shape {X.shape}")
        if X.dtype.kind not in "fiub":
            raise TypeError(f"X must hold real numbers, got dtype {X.dtype}")
        matrix = X.tocsr()
        check_sparse(matrix)
        if not matrix.has_canonical_format:
            if bits:
                matrix.data, bits = numbers(matrix.data), False
            matrix = matrix.astype(np.float64) if matrix.dtype.kind != "f" else matrix.copy()  # bytes would overflow
            matrix.sum_duplicates()
        data = matrix.data if bits else as_features(matrix.data)
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

    def row_not_finite(self) -> int | None:
        entry = super().row_not_finite()
        return None if entry is None else int(np.searchsorted(self.indptr, entry, "right")) - 1

    def rows(self, index: Array) -> "CSR":
        index = np.arange(self.n)[index]
        counts = np.diff(self.indptr)[index]
        indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
        pairs = np.arange(indptr[-1]) + np.repeat(self.indptr[:-1][index] - indptr[:-1], counts)
        part = CSR.of(len(index), self.m, self.data[pairs], self.indices[pairs], indptr)
        part._map(self.scale, self.shift)
        return part

    def part(self, start: int, stop: int) -> "CSR":
        first, last = self.indptr[start], self.indptr[stop]
        indptr = self.indptr[start : stop + 1] - first
        part = CSR.of(stop - start, self.m, self.data[first:last], self.indices[first:last], indptr)
        part.dtype = self.dtype
        part._map(self.scale, self.shift)
        return part

    def arrange(self, dtype: np.dtype[Any], c: int) -> Arrangement:
        """Classes are filled up to whole vectors. A block's pairs take some 208 KB, its logits at most 128 KB."""
        lanes = LANE_BYTES // dtype.itemsize
        classes = -(-c // lanes) * lanes
        tile = csr.tile_of(classes, dtype.itemsize)
        rows = min(512, int((208 << 10) / (8 * self.pairs)), (128 << 10) // (classes * dtype.itemsize))
        block = max(16, rows // 16 * 16)
        return Arrangement(tile, tile, classes, classes, self.m * classes, block, block)

    def layout(self, dtype: np.dtype[Any], arrangement: Arrangement) -> csr.CSR:
        arrays = memory.flat(self.data), memory.flat(self.indices), memory.flat(self.indptr)
        return csr.CSR(*arrays, self.m, arrangement.classes)

    def block(self, start: int, stop: int, out: Array) -> None:
        pairs = slice(self.indptr[start], self.indptr[stop])
        rows = np.repeat(np.arange(stop - start), np.diff(self.indptr[start : stop + 1]))
        columns = self.indices[pairs]
        out[...] = (-self.shift * self.scale).astype(out.dtype)
        out[rows, columns] = ((numbers(self.data[pairs]) - self.shift[columns]) * self.scale[columns]).astype(out.dtype)

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
        return np.asarray(numbers(self.data) * self.scale[self.indices], np.float64)

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
        values = (numbers(turned.data) * np.repeat(self.scale, np.diff(turned.indptr))).astype(dtype)
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
        np.maximum.at(result, self.indices, np.abs(numbers(self.data).astype(np.float64, copy=False)))
        return result[columns]
