"""Arrays for kernels: aligned, many in one allocation, and flat views that Numba gives one type."""

import math
from collections.abc import Iterable
from typing import Any

import numpy as np

LINE = 64  # bytes of a cache line: a vector that straddles two costs two loads


def aligned(shape: tuple[int, ...], dtype: Any, fill: float | None = 0) -> np.ndarray[Any, Any]:
    """An array on a cache line, filled with `fill`, or left as it comes if that is None."""
    dtype = np.dtype(dtype)
    size = math.prod(shape) * dtype.itemsize
    raw = np.empty(size + LINE, np.uint8) if fill is None else np.zeros(size + LINE, np.uint8)
    start = -address(raw) % LINE
    array: np.ndarray[Any, Any] = raw[start : start + size].view(dtype).reshape(shape)
    if fill:
        array[...] = fill
    return array


Places = list[tuple[tuple[int, int], Any, int]]


def places(parts: Iterable[tuple[tuple[int, int], Any]]) -> tuple[Places, int]:
    """Where arrays of these shapes and dtypes lie in one allocation, each on a cache line; and its size in bytes."""
    found, size = [], 0
    for (rows, columns), dtype in parts:
        found.append(((rows, columns), dtype, size))
        size += -(-rows * columns * dtype.itemsize // LINE) * LINE
    return found, size


def carved(found: Places, size: int) -> list[np.ndarray[Any, Any]]:
    """Arrays of zeros where `places` says: ten of them take 5 us so, and 30 one by one."""
    raw = np.zeros(size + LINE, np.uint8)
    start = -address(raw) % LINE
    return [np.ndarray(shape, dtype, raw, start + at) for shape, dtype, at in found]


class Last:
    """The last of what large calls work with, for the next one like it.

    Fresh pages are zeroed by the system, each time: a pass over 2441 x 2048 x 400 took 38.6 ms, and with the last ones
    37.0.
    """

    def __init__(self) -> None:
        self.kept: dict[Any, Any] = {}

    def take(self, key: Any) -> Any:
        """What was kept under this key, which is then in one hand alone; or None."""
        return self.kept.pop(key, None)

    def keep(self, key: Any, value: Any) -> None:
        """Instead of what was kept before."""
        self.kept = {key: value}


def address(array: np.ndarray[Any, Any]) -> int:
    """Where its first entry lies, without the object that `array.ctypes` makes."""
    return int(array.__array_interface__["data"][0])


class _Writable:
    """Gives a read-only array to NumPy as if it were writable."""

    def __init__(self, array: np.ndarray[Any, Any]) -> None:
        self.array = array
        self.__array_interface__ = array.__array_interface__ | {"data": (address(array), False)}


def flat(array: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """A C-contiguous array in one dimension, of the one type that kernels take.

    To Numba a read-only array is a type of its own; kernels write to outputs alone, so none needs that.
    """
    if not array.flags.writeable:
        array = np.asarray(_Writable(array))
    return array.reshape(-1)
