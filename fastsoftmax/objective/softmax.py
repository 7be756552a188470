"""The objective of softmax regression over a design and targets: what solvers, trainers and functions call.

Shapes, fixed once: coef (c, m) and intercept (c,) act on the mapped features (X - shift) * scale; gradients have the
same shapes; everything is C-contiguous. Losses are sums over rows, s_i CE_i, in float64: who wants a mean divides.
"""

import functools
import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsoftmax.data.csr import CSR
from fastsoftmax.data.design import Arrangement, Design
from fastsoftmax.data.gate import from_disk
from fastsoftmax.data.targets import CheckedTargets
from fastsoftmax.engine import jit, memory, threads
from fastsoftmax.engine.vectors import in_blocks
from fastsoftmax.kernels import gradient
from fastsoftmax.kernels.cross_entropy import Targets
from fastsoftmax.kernels.updates import add_partials
from fastsoftmax.objective import many_classes, wide_sparse

PARTIAL_BYTES = 16 << 20  # all partial gradients together, unless two take more
MAX_CHUNKS = 64  # each clears and adds a partial gradient
SLICE = 2e9  # floating-point operations of a call of a driver: 10 to 50 ms, so that Ctrl-C works
SLICE_BYTES = 32 << 20  # of X, where it comes from a disk
MANY = 64  # classes
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
        self, objective: "SoftmaxObjective", part: Partition, workers: int, wanted: bool, in_order: bool = False
    ) -> None:
        self.part, self.workers, self.objective = part, workers, objective
        gathers = not (in_order and objective.design.read_in_place(objective.plan))
        arrays = memory.carved(*_workspace(part, workers, objective.dtype, wanted, gathers))
        self.G, self.g, counter, losses, *self.scratch = arrays
        self.counter, self.losses = counter[0], losses[0]

    def arguments(self, chunk: jit.Pointer, order: NDArray[np.int64], W: Array, b: Array) -> tuple[Any, ...]:
        """What every driver takes first, the pointer of a chunk function in front."""
        objective, part = self.objective, self.part
        head = (objective.layout, order, objective.targets, W, b, objective.c)
        key = (type(objective.layout), objective.layout[0].dtype, objective.dtype, part.tile, part.side)
        pointer = chunk.known(key)
        if pointer is None:
            rest = [a[0] for a in (self.G, self.g)]
            empty, scratch = (NONE, np.zeros(0, objective.dtype)), [a[0] for a in self.scratch]
            pointer = chunk.remember(
                key, *head[:2], 0, *head[2:], 0, 0, part.block, *rest, *empty, *scratch, TILE=part.tile, SIDE=part.side
            )
        return pointer, *head

    def loss(self) -> float:
        """The chunks' losses, summed exactly."""
        return math.fsum(self.losses.tolist())


class SoftmaxObjective:
    """Sums over the rows of a design of losses and gradients.

    Parameters
    ----------
    design : Design
        X and its map.
    c : int
        Number of classes.
    targets : CheckedTargets or None
        None where only predictions are wanted.
    dtype : dtype, optional
        Of the computation, float32 or float64; by default float64 for X in float64, else float32.
    """

    def __init__(self, design: Design, c: int, targets: CheckedTargets | None = None, dtype: Any = None) -> None:
        self.design, self.c = design, c
        self.dtype = design.dtype if dtype is None else np.dtype(dtype)
        self.plan = design.arrange(self.dtype, c)
        self.layout = self.plan.layout
        self.targets = targets.kernel if targets else Targets(NONE, np.zeros(0, self.dtype), np.zeros(0), 0.0)

    @property
    def scale(self) -> Array:
        """That of the features, in the compute type."""
        return self.design.scale.astype(self.dtype)

    def fold(self, coef: Array, intercept: Array | None) -> tuple[Array, Array]:
        """The weights of the raw features and the intercept, arranged and padded."""
        W, b = memory.aligned((self.plan.length,), self.dtype), np.zeros(self.plan.classes, self.dtype)
        self.design.pack(coef, self.c, self.plan, W, self.scale if self.design.scaled else None)
        if intercept is not None:
            b[: self.c] = intercept
        if self.design.shifted:
            b[: self.c] = b[: self.c] - np.asarray(coef, np.float64) @ (self.design.scale * self.design.shift)
        return W, b

    def _add(self, packed: Array, sums: Array, factor: float, G: Array, g: Array) -> None:
        """What was summed over raw features, as gradients of mapped ones, times a factor, to G and g."""
        part, kind = self.design.unpack(packed, self.c, self.plan), G.dtype.type
        total = sums[: self.c]
        exact, shift = self.design.scale * factor, self.design.shift
        scale = exact if kind == np.float64 else self.scale * self.dtype.type(factor)

        def add(at: slice) -> None:
            if self.design.shifted:
                moved = part[:, at] - total[:, None].astype(np.float64) * shift[at]
                G[:, at] += (moved * exact[at]).astype(G.dtype, copy=False)
            else:
                G[:, at] += part[:, at] * scale[at]

        if isinstance(self.design, CSR):
            in_blocks(add, self.design.m, self.c)
        else:
            add(slice(None))
        g += total * self.dtype.type(factor) if kind != np.float64 else total.astype(kind) * factor

    def loss_gradient(
        self, coef: Array, intercept: Array | None, factor: float = 1.0, out: tuple[Array, Array] | None = None
    ) -> tuple[float, Array, Array]:
        """(sum of s_i CE_i, factor times its gradient in coef, and in intercept), added to `out` if that is given."""
        G, g = out or (np.zeros(coef.shape, self.dtype), np.zeros(self.c, self.dtype))
        if self.many_classes:
            return self._loss_gradient_of_many(coef, intercept, factor, G, g), G, g
        if self.wide_sparse:
            packed, sums, loss = self._wide_sweep(coef, intercept)
        else:
            packed, sums, loss = self._partials(coef, intercept)
        self._add(packed, sums, factor, G, g)
        return loss, G, g

    def _partials(self, coef: Array, intercept: Array | None, proba: Array | None = None) -> tuple[Array, Array, float]:
        chunk = gradient.losses if proba is None else gradient.curvature
        space, loss = self._sweep(chunk, coef, intercept, wanted=True, proba=proba)
        if len(space.G) > 1:  # small data need not wait for it to be compiled
            add_partials(space.G)
            add_partials(space.g)
        return space.G[0], space.g[0], loss

    def _wide_sweep(
        self, coef: Array, intercept: Array | None, proba: Array | None = None
    ) -> tuple[Array, Array, float]:
        assert isinstance(self.design, CSR)
        return wide_sparse.sweep(self.design, self.dtype, self.targets, self.c, *self.fold(coef, intercept), proba)

    @property
    def many_classes(self) -> bool:
        """Whether the gradient is better owned class by class: 16 partials would not fit, and classes fill tiles."""
        size = self.plan.length * self.dtype.itemsize
        dense = not isinstance(self.design, CSR) and not self.design.shifted
        return dense and self.c >= MANY and PARTIAL_BYTES // size < 16

    @property
    def wide_sparse(self) -> bool:
        """Whether the gradient is better owned feature by feature: X is sparse, and 16 partials would not fit."""
        return isinstance(self.design, CSR) and PARTIAL_BYTES // (self.plan.length * self.dtype.itemsize) < 16

    def _loss_gradient_of_many(self, coef: Array, intercept: Array | None, factor: float, G: Array, g: Array) -> float:
        raw = np.require(coef * self.scale if self.design.scaled else coef, self.dtype, ("C", "A"))
        direct = G.dtype == self.dtype
        to, to_g = (G, g) if direct else (np.zeros(G.shape, self.dtype), np.zeros(self.c, self.dtype))
        loss = many_classes.loss_gradient(
            self.layout.X, self.design.m, raw, intercept, self.targets, factor, self.scale, to, to_g
        )
        if not direct:
            G += to
            g += to_g
        return loss

    def hessp(
        self, proba: Array, coef: Array, intercept: Array | None, factor: float, out: tuple[Array, Array]
    ) -> None:
        """Adds factor times the Hessian, where the probabilities are `proba`, times a direction (coef, intercept)."""
        if self.wide_sparse:
            packed, sums, _ = self._wide_sweep(coef, intercept, proba.reshape(-1))
        else:
            packed, sums, _ = self._partials(coef, intercept, proba.reshape(-1))
        self._add(packed, sums, factor, *out)

    def evaluate(self, coef: Array, intercept: Array | None) -> tuple[float, NDArray[np.int64]]:
        """(sum of s_i CE_i, the most probable class of each row)"""
        predictions = np.zeros(self.design.n, np.int64)
        _, loss = self._sweep(gradient.losses, coef, intercept, predictions=predictions)
        return loss, predictions

    def predict(self, coef: Array, intercept: Array | None) -> NDArray[np.int64]:
        """The most probable class of each row, of equals the first, whatever the targets."""
        predictions = np.zeros(self.design.n, np.int64)
        self._sweep(gradient.probabilities, coef, intercept, predictions=predictions)
        return predictions

    def predict_proba(self, coef: Array, intercept: Array | None) -> Array:
        """Probabilities (n, c), whatever the targets."""
        proba = np.empty((self.design.n, self.c), self.dtype)
        self._sweep(gradient.probabilities, coef, intercept, proba=proba.reshape(-1))
        return proba

    def _sweep(
        self,
        chunk: jit.Pointer,
        coef: Array,
        intercept: Array | None,
        *,
        wanted: bool = False,
        predictions: Array = NONE,
        proba: Array | None = None,
    ) -> tuple[Workspace, float]:
        """All rows, a slice at a time."""
        n, W_b = self.design.n, self.fold(coef, intercept)
        part = partition(self.plan, self.dtype, n)
        row = 4.0 * part.classes * self.design.pairs
        workers = min(threads.worker_count(n * row), part.chunks)
        space = Workspace(self, part, workers, wanted, in_order=True)
        arguments = space.arguments(chunk, NONE, *W_b)
        proba = np.zeros(0, self.dtype) if proba is None else proba
        most, X = SLICE / row, self.design.arrays()[0]
        if X.nbytes > SLICE_BYTES and from_disk(X):
            most = min(most, SLICE_BYTES / (self.design.pairs * X.itemsize))
        step = max(1, int(most / part.chunks / part.block)) * part.block  # rows of each chunk that a call takes
        for start in range(0, part.size if n else 0, step):
            gradient.sweep(
                workers, *arguments, n, part.size, start, min(start + step, part.size), part.block,
                space.G, space.g, predictions, proba, *space.scratch, space.counter, space.losses,
            )  # fmt: skip
        return space, space.loss()
