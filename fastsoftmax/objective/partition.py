"""How rows are cut: by shapes alone, never by the number of threads, so that sums are added in one order everywhere."""

import functools
import math
import threading
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsoftmax.data.design import Arrangement
from fastsoftmax.engine import jit, memory
from fastsoftmax.kernels.cross_entropy import STATS, Targets

PARTIAL_BYTES, PANEL_BYTES = 16 << 20, 4 << 20  # all partial gradients together, unless two take more
MANY = 64  # classes of each kind of tile
MAX_CHUNKS = 64  # each clears and adds a partial gradient
KEPT_BYTES, KEPT = 1 << 18, 16  # workspaces that each thread keeps for its next small calls
LAST_BYTES = 32 << 20  # at most, of the last large one that is kept
ROUND, GRAIN = 48, 12  # rows: of whole tiles of any kind; of the tallest, to which small chunks of panels are cut
NONE = np.zeros(0, np.int64)
INDEX, DOUBLE = np.dtype(np.int64), np.dtype(np.float64)
Array = NDArray[Any]


def chunk_count(rows: int, plan: Arrangement, coef_bytes: int) -> int:
    """A power of two of partial gradients, by shapes alone, of at least `worth` rows each, unless there are but two.

    Of panels they take 4 MB, or are 8: clearing and adding up 32 of 0.5 MB was 3 % of a pass over 1024 x 100.
    """
    block, worth = plan.block, plan.worth
    fit = PARTIAL_BYTES // coef_bytes
    if not plan.tile:
        fit = max(PANEL_BYTES // coef_bytes, min(8, fit))
    most = min(MAX_CHUNKS, fit, max(1, -(-rows // worth)))
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


@functools.lru_cache(256, typed=True)
def partition(plan: Arrangement, dtype: np.dtype[Any], rows: int, wanted: bool = True) -> Partition:
    """The partition of `rows` rows, by shapes alone; wanted: with gradients."""
    chunks = chunk_count(rows, plan, plan.length * dtype.itemsize if wanted else 1)
    grain = GRAIN if plan.worth > plan.block and rows < 4 * chunks * plan.block else plan.block
    size = -(-rows // (chunks * grain)) * grain if chunks > 1 else max(rows, 1)
    block = min(plan.block, -(-size // ROUND) * ROUND)
    return Partition(block, size, max(1, -(-rows // size)), *plan[:5])


class Kind(NamedTuple):
    """What tells workspaces apart."""

    part: Partition
    workers: int
    dtype: np.dtype[Any]
    wanted: bool  # whether gradients are
    gathers: bool  # whether rows need scratch
    shape: tuple[int, int, int]  # n, m, c


@functools.lru_cache(256)
def _places(kind: Kind) -> tuple[memory.Places, int]:
    part, workers, dtype, wanted, gathers, _ = kind
    B = part.block
    return memory.places([
        ((1, part.length), dtype),
        ((1, part.classes), dtype),
        ((part.chunks, part.length if wanted else 0), dtype),
        ((part.chunks, part.classes if wanted else 0), dtype),
        ((1, 1), INDEX),
        ((1, part.chunks), DOUBLE),
        ((workers, B * part.row if gathers else 0), dtype),
        ((workers, part.classes * B), dtype),
        ((workers, B), INDEX),
        ((workers, STATS * B), dtype),
        ((workers, B), DOUBLE),
        ((workers, B), DOUBLE),
    ])  # fmt: skip


class Workspace:
    """Weights as they are arranged, partial gradients, and scratch of each worker, in one allocation."""

    def __init__(self, kind: Kind) -> None:
        self.kind = kind
        places, self.size = _places(kind)
        W, b, self.G, self.g, counter, losses, *self.scratch = memory.carved(places, self.size)
        self.W, self.b, self.counter, self.losses = W[0], b[0], counter[0], losses[0]

    def pointer(self, chunk: jit.Pointer, layout: Any, order: NDArray[np.int64], targets: Targets) -> Any:
        """The compiled chunk function for these types."""
        (part, _, dtype, *_), c = self.kind, self.kind.shape[2]
        key = (type(layout), layout[0].dtype, dtype, part.tile, part.side)
        found = chunk.known(key)
        if found is None:
            one = [a[0] for a in (self.G, self.g)], [a[0] for a in self.scratch]
            found = chunk.remember(
                key, layout, order, 0, targets, self.W, self.b, c, 0, 0, part.block, True, *one[0], NONE,
                np.zeros(0, dtype), *one[1], TILE=part.tile, SIDE=part.side,
            )  # fmt: skip
        return found

    def loss(self) -> float:
        """The chunks' losses, summed exactly."""
        return math.fsum(self.losses.tolist())


class _Kept(threading.local):
    """Workspaces of each Python thread: none is in two hands, for what is leased is not there."""

    def __init__(self) -> None:
        self.spaces: dict[Kind, Workspace] = {}


_kept, _last = _Kept(), memory.Last()


def leased(kind: Kind) -> Workspace:
    """A workspace, perhaps one that was given back: making one takes 10 us. Its scratch and gradients are as they were:

    the first rows of each chunk begin its gradient, and without rows it stays 0.
    """
    space = _kept.spaces.pop(kind, None) or _last.take(kind)
    if space is None:
        return Workspace(kind)
    space.losses.fill(0)
    return space


def give_back(space: Workspace) -> None:
    """Keep it for the next call of its kind: of the small ones some for each thread, of the large ones the last."""
    if KEPT_BYTES < space.size <= LAST_BYTES:
        _last.keep(space.kind, space)
    elif space.size <= KEPT_BYTES:
        if len(_kept.spaces) >= KEPT:
            _kept.spaces.clear()
        _kept.spaces[space.kind] = space
