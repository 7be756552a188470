"""A design: X held as the kernels take it, with an affine map of its features.

The map, x -> (x - shift) * scale, is folded into the weights on entry and out of gradients on exit: X is never touched.
"""

import abc
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastsoftmax.data.gate import constant, entry_not_finite, per_feature
from fastsoftmax.engine import threads
from fastsoftmax.kernels import moments as sums

MOMENT_BYTES = 16 << 20  # of partial sums
Array = NDArray[Any]


class Arrangement(NamedTuple):
    """How weights, gradients and blocks are arranged for c classes in a compute type."""

    tile: tuple[int, ...]  # of forward, and; both are empty for panels, whose tiles are all alike
    side: tuple[int, ...]  # of adjoint
    classes: int  # c, padded
    row: int  # entries of scratch that a row of X takes
    length: int  # entries of the weights
    block: int  # rows that stay in L2, with their logits
    worth: int  # rows that are worth a partial gradient


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
        if type(scale) is float and type(shift) is float and scale == 1.0 and shift == 0.0:
            self.scale, self.shift, self.shifted, self.scaled = (
                constant(1.0, self.m),
                constant(0.0, self.m),
                False,
                False,
            )
            return
        self.scale, self.shift = per_feature(scale, "scale", self.m), per_feature(shift, "shift", self.m)
        self.shifted = self.shift is not constant(0.0, self.m) and bool(self.shift.any())
        self.scaled = not (self.scale is constant(1.0, self.m) or bool((self.scale == 1).all()))

    def mapped(self, scale: float | ArrayLike, shift: float | ArrayLike = 0.0) -> "Design":
        """The same X under another map."""
        other = object.__new__(type(self))
        other.__dict__.update(self.__dict__)
        other._map(scale, shift)
        return other

    @property
    def stored_dtype(self) -> np.dtype[Any]:
        """Of weights that are fitted to it: that of X, float32 for less, or float64 for bytes and other integers."""
        return np.dtype(np.float64 if self.arrays()[0].dtype in (np.float64, np.uint8) else np.float32)

    @abc.abstractmethod
    def rows(self, index: Array) -> "Design":
        """Some of the rows, copied."""

    @abc.abstractmethod
    def part(self, start: int, stop: int) -> "Design":
        """Rows start..stop, of the same memory."""

    @abc.abstractmethod
    def arrange(self, dtype: np.dtype[Any], c: int) -> Arrangement:
        """How weights and blocks lie."""

    @abc.abstractmethod
    def layout(self, dtype: np.dtype[Any], arrangement: Arrangement) -> Any:
        """What the kernels take: X as a tuple of arrays and sizes."""

    def read_in_place(self, layout: Any) -> bool:
        """Whether rows in order need no scratch."""
        return False

    @abc.abstractmethod
    def arrays(self) -> tuple[Array, ...]:
        """What holds X."""

    def row_not_finite(self) -> int | None:
        """The first row that holds NaN or infinity, or None."""
        return entry_not_finite(self.arrays()[0])

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
        """Packed weights or gradients, (c, m), perhaps a view."""

    def collect(self, packed: Array, c: int, arrangement: Arrangement, factors: Array, out: Array) -> bool:
        """out (c, m) += the sum of packed parts times factors (m,), at once; False where there is nothing faster."""
        return False

    def unpacked(self, packed: Array, c: int, arrangement: Arrangement) -> Array:
        """A copy of them."""
        return self.unpack(packed, c, arrangement).copy()

    def moments(self, weight: Array, center: Array | None = None) -> tuple[Array, Array]:
        """Weighted sums of the raw columns, and of their squares, less `center`; weight may be empty."""
        center = np.zeros(self.m) if center is None else np.array(center, np.float64)
        chunks = max(1, min(16, MOMENT_BYTES // (16 * self.m), self.n // 64))
        layout = self.layout(self.dtype, self.arrange(self.dtype, 2))
        out = np.zeros((3, chunks, self.m))
        workers = min(threads.worker_count(4.0 * self.n * self.m), chunks)
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
