"""Dense X."""

import functools
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastsoftmax.data.design import Arrangement, Design
from fastsoftmax.data.gate import as_features, contiguous, numbers
from fastsoftmax.engine import memory, threads
from fastsoftmax.engine.simd import LANE_BYTES
from fastsoftmax.kernels import dense, panels

SINGLE, DOUBLE = np.dtype(np.float32), np.dtype(np.float64)
Array = NDArray[Any]


@functools.lru_cache(256, typed=True)
def _arranged(m: int, itemsize: int, c: int) -> Arrangement:
    """Panels where classes fill more than three quarters of two vectors or more."""
    lanes = LANE_BYTES // itemsize
    units = -(-c // lanes)
    return _panels(m, itemsize, c) if units > 1 and 4 * c > 3 * units * lanes else _tiles(m, itemsize, c)


def _tiles(m: int, itemsize: int, c: int) -> Arrangement:
    """A row of weights is m filled up to whole vectors. A block's X, converted, takes 208 KB, its logits 256."""
    lanes = LANE_BYTES // itemsize
    ld = -(-m // lanes) * lanes
    tile, side, classes = dense.tiles(c)
    rows = min(512, (208 << 10) // (ld * itemsize), (256 << 10) // (c * itemsize))
    block = max(16, rows // 16 * 16)
    return Arrangement(tile, side, classes, ld, classes * ld, block, block)


def _panels(m: int, itemsize: int, c: int) -> Arrangement:
    """As `kernels.panels` says. A block's X takes 384 KB, its logits 512, unless that were too few rows."""
    lanes = LANE_BYTES // itemsize
    units = -(-c // lanes)
    rows = min(192, (384 << 10) // (m * itemsize), (512 << 10) // (c * itemsize))
    length = units * lanes * panels.padded(m)
    ld, block = _apart(-(-m // lanes)) * lanes, max(48, rows // 48 * 48)
    return Arrangement((), (), _apart(units) * lanes, ld, length, block, 512)


def _apart(lines: int) -> int:
    """Cache lines from row to row, so that rows do not fall on the same few places of a cache."""
    return lines + (lines % 8 == 0)


class Dense(Design):
    """Dense X, C-contiguous.

    Parameters
    ----------
    X : array-like of shape (n, m)
        Read as it is: float32, float64, float16, bfloat16, uint8, int8. Other integers become float64, another memory
        layout is copied once.
    scale, shift : float or array-like of shape (m,)
        Features are (X - shift) * scale. The kernels read X as it is.
    """

    def __init__(self, X: ArrayLike, scale: float | ArrayLike = 1.0, shift: float | ArrayLike = 0.0) -> None:
        array = as_features(X)
        if array.ndim != 2:
            raise ValueError(f"X must have 2 dimensions, (n, m), got shape {array.shape}")
        self.n, self.m = array.shape
        if self.m == 0:
            raise ValueError(f"X must have at least one feature, got shape {array.shape}")
        self.X, self.pairs = contiguous(array), float(self.m)
        self.dtype = DOUBLE if array.dtype.char == "d" else SINGLE
        self._map(scale, shift)

    def read_in_place(self, layout: Any) -> bool:
        return len(layout.direct) > 0

    def arrays(self) -> tuple[Array, ...]:
        return (self.X,)

    def largest(self, columns: Array) -> Array:
        result = np.zeros(self.X[:0, columns].shape[1])
        for start in range(0, self.n, 4096):
            part = numbers(self.X[start : start + 4096, columns]).astype(np.float64, copy=False)  # -128 has no abs
            np.maximum(result, np.abs(part).max(0, initial=0), out=result)
        return result

    def _with(self, X: Array) -> "Dense":
        other = object.__new__(Dense)
        other.__dict__.update(self.__dict__)
        other.X, other.n = X, len(X)
        return other

    def rows(self, index: Array) -> "Dense":
        return self._with(contiguous(self.X[index]))

    def part(self, start: int, stop: int) -> "Dense":
        return self._with(self.X[start:stop])

    def arrange(self, dtype: np.dtype[Any], c: int) -> Arrangement:
        return _arranged(self.m, dtype.itemsize, c)

    def layout(self, dtype: np.dtype[Any], arrangement: Arrangement) -> Any:
        X, ld, whole = memory.flat(self.X), arrangement.row, len(arrangement.tile) > 0
        direct = X if X.dtype == dtype and (ld == self.m or not whole) else np.zeros(0, dtype)
        if whole:
            return dense.Dense(X, direct, self.m, ld)
        return panels.Panels(X, direct, self.m, ld, panels.padded(self.m))

    def block(self, start: int, stop: int, out: Array) -> None:
        X = numbers(self.X[start:stop])
        if self.shifted:
            np.subtract(X, self.shift.astype(out.dtype), out=out, casting="same_kind")
            out *= self.scale.astype(out.dtype)
        else:
            np.multiply(X, self.scale.astype(out.dtype), out=out, casting="same_kind")

    def pack(self, coef: Array, c: int, arrangement: Arrangement, out: Array, scale: Array | None = None) -> None:
        if len(arrangement.tile):
            out.reshape(arrangement.classes, arrangement.row)[:c, : self.m] = coef if scale is None else coef * scale
            return
        W, features = np.ascontiguousarray(coef, out.dtype).reshape(-1), panels.padded(self.m)
        units = -(-c * out.itemsize // LANE_BYTES)
        workers = min(threads.worker_count(2.0 * W.size), units)
        tail = memory.flat(W), np.zeros(0, out.dtype) if scale is None else scale, c, self.m, features, out
        panels.pack(workers, panels.pack_pointer(0, 0, *tail), units, *tail)

    def unpack(self, packed: Array, c: int, arrangement: Arrangement) -> Array:
        if len(arrangement.tile):
            return packed.reshape(-1, arrangement.row)[:c, : self.m]
        out = np.zeros((c, self.m), packed.dtype)
        self.collect(packed[None], c, arrangement, np.ones(self.m, packed.dtype), out)
        return out

    def collect(self, packed: Array, c: int, arrangement: Arrangement, factors: Array, out: Array) -> bool:
        if len(arrangement.tile) or not (factors.dtype == packed.dtype == out.dtype and out.flags.c_contiguous):
            return False
        lanes = LANE_BYTES // out.itemsize
        units = -(-c // lanes)
        workers = min(threads.worker_count(2.0 * packed.size), units)
        tile = memory.aligned((workers, lanes * lanes), out.dtype)
        head = packed.reshape(-1), len(packed), packed.shape[1], c, self.m, panels.padded(self.m), factors
        pointer = panels.collect_pointer(0, 0, *head, tile[0], out.reshape(-1))
        panels.collect(workers, pointer, units, *head, tile, out.reshape(-1))
        return True
