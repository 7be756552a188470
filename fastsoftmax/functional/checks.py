"""What the functions check alike, and how they share out rows."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastsoftmax.data.gate import as_array
from fastsoftmax.data.targets import CheckedTargets

SLICE = 1 << 23  # elements of a call of a driver: some milliseconds
Floats = NDArray[Any]


def as_logits(Z: ArrayLike, name: str = "Z") -> Floats:
    array = as_array(Z, name)
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def check_out(out: Floats, shape: tuple[int, ...], dtype: np.dtype[Any]) -> Floats:
    if not isinstance(out, np.ndarray) or isinstance(out, (np.ma.MaskedArray, np.matrix)):
        raise TypeError(f"out must be a plain NumPy array, got {type(out).__name__}")
    if out.shape != shape or out.dtype != dtype:
        raise ValueError(f"out must be {dtype} of shape {shape}, got {out.dtype} of shape {out.shape}")
    if not (out.flags.c_contiguous and out.flags.aligned and out.flags.writeable):
        raise ValueError("out must be C-contiguous, aligned and writable")
    return out


def check_reduction(reduction: str, allowed: tuple[str, ...] = ("mean", "sum", "none")) -> None:
    if reduction not in allowed:
        raise ValueError(f"reduction must be one of {', '.join(map(repr, allowed))}, got {reduction!r}")


def mean_factor(targets: CheckedTargets, reduction: str, all_ignored: bool = False) -> float:
    """1, or for a mean 1 / S; nan where all rows are ignored."""
    if reduction != "mean":
        return 1.0
    if targets.total == 0:
        if all_ignored:
            return math.nan
        raise ValueError("there is no mean of no rows: X has none, or all weights are 0")
    return 1.0 / targets.total


def rows_per_block(c: int, itemsize: int) -> int:
    """Rows of a class-major block: its logits fit 32 KB of L1."""
    return max(16, min(512, (32 << 10) // (c * itemsize) // 16 * 16))


def rows_together(c: int, itemsize: int) -> int:
    """Rows that lie by themselves, of which 64 KB stay in cache: a multiple of 4, which are walked together."""
    return max(4, min(64, (64 << 10) // (c * itemsize) // 4 * 4))


def slices(groups: int, size: int) -> Iterator[tuple[int, int]]:
    """Ranges of groups, each of so few elements that Ctrl-C is heard between them."""
    count = max(1, min(groups, size // SLICE))
    return ((i * groups // count, (i + 1) * groups // count) for i in range(count))
