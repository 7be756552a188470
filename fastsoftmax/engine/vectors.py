"""Work on vectors of millions, block by block: what comes between two operations stays in cache, and threads share it.

A vector of 5 million takes 40 MB; one NumPy operation after another reads it from memory each time, and writes what is
between them to fresh pages. Blocks depend on sizes alone and their sums are added in order: the same bits on any number
of threads.
"""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsoftmax.engine.blas import on_threads
from fastsoftmax.engine.threads import threads_here

BLOCK = 1 << 17  # entries: with a few operands they fit L2
ALONE = 1 << 21  # entries, a millisecond of work, below which waking another thread takes longer
PARTS = 8  # of many rows, each a product with the same matrix
WORTH = 1e8  # operations, a millisecond, that are worth another thread
Array = NDArray[Any]


def in_blocks(function: Callable[[slice], Any], size: int, entries: int = 1) -> list[Any]:
    """function of each of the slices that 0..size is cut into, in order; entries: of a vector, for each of `size`."""
    step = max(1, BLOCK // entries)
    if size <= step:
        return [function(slice(0, size))] if size else []
    blocks = [slice(start, min(size, start + step)) for start in range(0, size, step)]
    threads = threads_here()
    if threads == 1 or len(blocks) < 8 or size * entries < ALONE:
        return [function(block) for block in blocks]
    results: list[Any] = [None] * len(blocks)

    def share(first: int) -> None:
        for i in range(first, len(blocks), threads):
            results[i] = function(blocks[i])

    on_threads(threads, share, range(threads))
    return results


def in_parts(function: Callable[[slice], Any], size: int, operations: float) -> None:
    """function of each of the slices that 0..size is cut into: of products with matrices, which threads share."""
    if operations <= WORTH:
        function(slice(0, size))
        return
    parts = min(size, PARTS)
    cuts = [size * i // parts for i in range(parts + 1)]
    slices = [slice(*cut) for cut in pairwise(cuts)]
    on_threads(threads_here(), function, slices)


def moved(start: Array, t: float, direction: Array) -> Array:
    """start + t direction"""
    result = np.empty_like(start)

    def move(at: slice) -> None:
        np.multiply(direction[at], t, out=result[at])
        result[at] += start[at]

    in_blocks(move, len(start))
    return result


def product(x: Array, y: Array) -> float:
    """x'y"""
    return float(total(in_blocks(lambda at: x[at] @ y[at], len(x))))


def total(parts: list[Any]) -> Any:
    """Their sum, in order."""
    return np.add.reduce(np.array(parts, np.float64), 0)
