"""How rows are cut: by shapes alone, never by the number of threads, so that sums are added in one order everywhere."""

import functools
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsoftmax.data.design import Arrangement
from fastsoftmax.engine import jit, memory
from fastsoftmax.kernels.cross_entropy import Targets

PARTIAL_BYTES = 16 << 20  # all partial gradients together, unless two take more
MAX_CHUNKS = 64  # each clears and adds a partial gradient
NONE = np.zeros(0, np.int64)
INDEX, DOUBLE = np.dtype(np.int64), np.dtype(np.float64)
Array = NDArray[Any]


def chunk_count(rows: int, block: int, coef_bytes: int) -> int:
    """A power of two of partial gradients, by shapes alone, each of at least one block of rows."""
    most = min(MAX_CHUNKS, PARTIAL_BYTES // coef_bytes, max(1, -(-rows // block)))
    return 1 << (max(2, most).bit_length() - 1) if rows > block else 1


class Partition(NamedTuple):
    """How rows are cut and classes padded."""

    block: int  # rows of a block, whose logits are residuals while it is in cache
    size: int  # rows of a chunk
    chunks: int
    tile: tuple[int, ...]
    side: tuple[int, ...]
    classes: int  # c, padded
    row: int  # entries of scratch that a row of X takes
    length: int  # entries of the weights


def partition(plan: Arrangement, dtype: np.dtype[Any], rows: int) -> Partition:
    """The partition of `rows` rows, by shapes alone."""
    chunks = chunk_count(rows, plan.block, plan.length * dtype.itemsize)
    size = -(-rows // (chunks * plan.block)) * plan.block if chunks > 1 else max(rows, 1)
    block = min(plan.block, -(-size // 16) * 16)
    return Partition(block, size, max(1, -(-rows // size)), *plan[1:6])


@functools.lru_cache(64)
def _workspace(
    part: Partition, workers: int, dtype: np.dtype[Any], wanted: bool, gathers: bool
) -> tuple[memory.Places, int]:
    B = part.block
    return memory.places([
        ((part.chunks, part.length if wanted else 0), dtype),
        ((part.chunks, part.classes if wanted else 0), dtype),
        ((1, 1), INDEX),
        ((1, part.chunks), DOUBLE),
        ((workers, B * part.row if gathers else 0), dtype),
        ((workers, part.classes * B), dtype),
        ((workers, B), INDEX),
        ((workers, 2 * B), dtype),
        ((workers, B), DOUBLE),
        ((workers, B), DOUBLE),
    ])  # fmt: skip


class Workspace:
    """Partial gradients, scratch of each worker, and the pointer that drivers call."""

    def __init__(
        self, layout: Any, targets: Targets, c: int, dtype: np.dtype[Any], part: Partition, workers: int, wanted: bool,
        gathers: bool,
    ) -> None:  # fmt: skip
        self.layout, self.targets, self.c, self.dtype = layout, targets, c, dtype
        self.part, self.workers = part, workers
        arrays = memory.carved(*_workspace(part, workers, dtype, wanted, gathers))
        self.G, self.g, counter, losses, *self.scratch = arrays
        self.counter, self.losses = counter[0], losses[0]

    def arguments(self, chunk: jit.Pointer, order: NDArray[np.int64], W: Array, b: Array) -> tuple[Any, ...]:
        """What every driver takes first, the pointer of a chunk function in front."""
        part, head = self.part, (self.layout, order, self.targets, W, b, self.c)
        key = (type(self.layout), self.layout[0].dtype, self.dtype, part.tile, part.side)
        pointer = chunk.known(key)
        if pointer is None:
            rest = [a[0] for a in (self.G, self.g)]
            empty, scratch = (NONE, np.zeros(0, self.dtype)), [a[0] for a in self.scratch]
            pointer = chunk.remember(
                key, *head[:2], 0, *head[2:], 0, 0, part.block, *rest, *empty, *scratch, TILE=part.tile, SIDE=part.side
            )
        return pointer, *head

    def loss(self) -> float:
        """The chunks' losses, summed exactly."""
        return math.fsum(self.losses.tolist())
