"""The objective over examples in memory: each sum by the pass that suits the shapes."""

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastsoftmax.data.csr import CSR
from fastsoftmax.data.examples import Examples
from fastsoftmax.data.gate import from_disk
from fastsoftmax.data.merging import merged
from fastsoftmax.engine import jit, memory, threads
from fastsoftmax.engine.vectors import in_blocks
from fastsoftmax.kernels import gradient
from fastsoftmax.kernels.updates import add_partials
from fastsoftmax.objective import pipeline, wide_sparse
from fastsoftmax.objective.base import Narrower, Objective
from fastsoftmax.objective.curvature import PointCurvature
from fastsoftmax.objective.grams import grams
from fastsoftmax.objective.partition import (
    NONE,
    PARTIAL_BYTES,
    Kind,
    Partition,
    Workspace,
    give_back,
    leased,
    partition,
)
from fastsoftmax.objective.turned import turned_moments

SLICE = 2e9  # floating-point operations of a call of a driver: 10 to 50 ms, so that Ctrl-C works; of panels thrice
PARTIALS, OWNING = 8, 192  # at least so many fit, and fewer classes, or each entry has one owner
SLICE_BYTES = 96 << 20  # of X, where it comes from a disk; of 32 MB a file took 1.3 times as long as the same in memory
Array = NDArray[Any]


class SoftmaxObjective(Objective):
    """Sums over the rows of examples in memory of losses and gradients.

    Parameters
    ----------
    examples : Examples
    dtype : dtype, optional
        Of the computation, float32 or float64; by default float64 for X in float64, else float32.
    """

    in_memory = True

    def __init__(self, examples: Examples, dtype: Any = None) -> None:
        design = examples.design
        self.design, self.n, self.m, self.c, self.total = design, design.n, design.m, examples.c, examples.total
        self.dtype = design.dtype if dtype is None else np.dtype(dtype)
        self.examples = examples  # as given: probabilities keep their digits for another compute type
        self.targets = examples.computed_in(self.dtype).targets.kernel
        self.plan = design.arrange(self.dtype, self.c)
        self.layout = design.layout(self.dtype, self.plan)
        self.pairs, self.shifted, self.by_feature = design.pairs, design.shifted, type(design) is CSR

    @property
    def scale(self) -> NDArray[np.float64]:  # type: ignore[override]
        return self.design.scale

    @property
    def shift(self) -> NDArray[np.float64]:  # type: ignore[override]
        return self.design.shift

    @property
    def smoothing(self) -> float:  # type: ignore[override]
        return self.targets.smoothing

    @property
    def labelled(self) -> bool:  # type: ignore[override]
        return len(self.targets.labels) > 0

    @property
    def x_dtype(self) -> np.dtype[Any]:  # type: ignore[override]
        return self.design.arrays()[0].dtype

    @property
    def stored_dtype(self) -> np.dtype[Any]:  # type: ignore[override]
        return self.design.stored_dtype

    @property
    def most(self) -> int:
        return super().most if from_disk(self.design.arrays()[0]) else self.n

    @property
    def weight(self) -> Array:
        """Those of the rows (n,), or (0,) where all are 1."""
        return np.asarray(self.targets.weight)

    def weighed(self, values: Array) -> Array:
        """Values (..., n) times the weights of the rows."""
        return np.asarray(values * self.weight) if len(self.weight) else values

    # ---- others like it

    def _like(self, examples: Examples) -> "SoftmaxObjective":
        return SoftmaxObjective(examples, self.dtype)

    def mapped(self, scale: float | ArrayLike, shift: float | ArrayLike = 0.0) -> "SoftmaxObjective":
        return self._like(self.examples.mapped(scale, shift))

    def computed_in(self, dtype: Any) -> "SoftmaxObjective":
        return self if np.dtype(dtype) == self.dtype else SoftmaxObjective(self.examples, dtype)

    def rows(self, index: Array) -> "SoftmaxObjective":
        return self._like(self.examples.rows(index))

    def merged(self) -> Narrower | None:
        found = merged(self.design)
        if found is None:
            return None
        return Narrower(self._like(Examples(found.design, self.examples.targets)), found.expand, found.project)

    def part(self, start: int, stop: int) -> "SoftmaxObjective":
        """Over rows start..stop, of the same memory."""
        return self._like(self.examples.part(start, stop))

    def blocks(self, rows: int) -> "Iterator[SoftmaxObjective]":
        """Over so many rows after so many, in order."""
        if rows >= self.n:
            yield self
            return
        for start in range(0, self.n, rows):
            yield self.part(start, min(start + rows, self.n))

    # ---- what the data are like

    def moments(self, center: Array | None = None) -> tuple[Array, Array]:
        return self.examples.moments(center)

    def largest(self, columns: Array) -> Array:
        return self.design.largest(columns)

    def lowest(self, weights: Array) -> float:
        return self.design.lowest(weights)

    def class_totals(self) -> NDArray[np.float64]:
        return self.examples.class_totals()

    def class_sums(self) -> Any:
        return self.examples.class_sums()

    def entropy(self) -> float:
        return self.examples.targets.entropy()

    def weighted(self, weights: Array) -> tuple[Array, Array]:
        """sum_i w_ki x_ij and sum_i w_ki x_ij^2, (K, m) each, of the mapped features; weights (K, n) in their dtype."""
        return self.design.weighted(weights)

    def grams(self, weights: Array, intercept: bool) -> Array:
        """sum_i w_ki x_i x_i' (K, M, M) of the mapped features and, with an intercept, a 1; weights (K, n).

        Right on and above the diagonals.
        """
        return grams(self.design, self.dtype, weights, intercept)

    def turned(self, p: Array, mean: Array, vectors: Array) -> tuple[Array, Array, Array]:
        """Moments of the features less a mean in another basis, see `turned_moments`; p (n, r) of probabilities."""
        return turned_moments(self, p, mean, vectors)

    def features(self, start: int, stop: int, out: Array) -> None:
        """Rows start..stop of the mapped features into out (rows, m)."""
        self.design.block(start, stop, out)

    # ---- weights as the kernels take them

    def packed(self, coef: Array, out: Array) -> None:
        """Weights (c, m) of the mapped features, not folded, as they lie."""
        self.design.pack(coef, self.c, self.plan, out)

    def unpacked(self, packed: Array) -> Array:
        """A copy (c, m) of weights that lie so."""
        return self.design.unpacked(packed, self.c, self.plan)

    # ---- passes

    def fold(self, coef: Array, intercept: Array | None, out: tuple[Array, Array] | None = None) -> tuple[Array, Array]:
        """The weights of the raw features and the intercept, arranged and padded, into `out`, whose padding is 0."""
        W, b = out or (memory.aligned((self.plan.length,), self.dtype), np.zeros(self.plan.classes, self.dtype))
        self.design.pack(coef, self.c, self.plan, W, self.scale.astype(self.dtype) if self.design.scaled else None)
        b[: self.c] = 0 if intercept is None else intercept
        if self.shifted:
            b[: self.c] = b[: self.c] - np.asarray(coef, np.float64) @ (self.scale * self.shift)
        return W, b

    def _add(self, packed: Array, sums: Array, factor: float, G: Array, g: Array) -> None:
        """What was summed over raw features, in parts, as gradients of mapped ones, times a factor, to G and g."""
        if len(sums) > 1:  # small data need not wait for it to be compiled
            add_partials(sums)
        total = sums[0, : self.c]
        kind = np.float64 if G.dtype == np.float64 else self.dtype.type
        g += total.astype(kind, copy=False) * kind(factor)
        exact, shift = self.scale * factor, self.shift
        scale = exact if kind == np.float64 else self.scale.astype(self.dtype) * kind(factor)
        if not self.shifted and self.design.collect(packed, self.c, self.plan, scale, G):
            return
        if len(packed) > 1:
            add_partials(packed)
        part = self.design.unpack(packed[0], self.c, self.plan)
        if not (self.shifted or self.by_feature or self.design.scaled):
            G += part * kind(factor)
            return

        def add(at: slice) -> None:
            if self.shifted:
                moved = part[:, at] - total[:, None].astype(np.float64) * shift[at]
                G[:, at] += (moved * exact[at]).astype(G.dtype, copy=False)
            else:
                G[:, at] += part[:, at] * scale[at]

        if self.by_feature:
            in_blocks(add, self.m, self.c)
        else:
            add(slice(None))

    def loss_gradient(
        self, coef: Array, intercept: Array | None, factor: float = 1.0, out: tuple[Array, Array] | None = None
    ) -> tuple[float, Array, Array]:
        """(sum of s_i CE_i, factor times its gradient in coef, and in intercept), added to `out` if that is given."""
        G, g = out or (np.zeros(coef.shape, self.dtype), np.zeros(self.c, self.dtype))
        return self._accumulate(coef, intercept, factor, G, g), G, g

    def _accumulate(
        self, coef: Array, intercept: Array | None, factor: float, G: Array, g: Array, proba: Array | None = None
    ) -> float:
        """The loss; adds factor times the gradient, or with `proba` the Hessian times (coef, intercept)."""
        if self.owned and self.by_feature:
            packed, sums, loss = self._wide_sweep(coef, intercept, proba)
            self._add(packed[None], sums[None], factor, G, g)
            return loss
        if self.owned:
            return pipeline.sweep(
                self.layout, self.plan, self.dtype, self.targets, self.c, self.n,
                lambda out: self.fold(coef, intercept, out),
                lambda packed, sums: self._add(packed[None], sums[None], factor, G, g), proba,
            )  # fmt: skip
        chunk = gradient.losses if proba is None else gradient.curvature
        space = self._sweep(chunk, coef, intercept, wanted=True, proba=proba)
        self._add(space.G, space.g, factor, G, g)
        loss = space.loss()
        give_back(space)
        return loss

    def _wide_sweep(self, coef: Array, intercept: Array | None, proba: Array | None) -> tuple[Array, Array, float]:
        assert isinstance(self.design, CSR)
        return wide_sparse.sweep(self.design, self.dtype, self.targets, self.c, *self.fold(coef, intercept), proba)

    @property
    def owned(self) -> bool:
        """Whether each entry of the gradient has one owner, class by class or, of sparse X, feature by feature.

        So it is where enough partial gradients would not fit, or classes are so many that it is faster.
        """
        fit = PARTIAL_BYTES // (self.plan.length * self.dtype.itemsize)
        return fit < 16 if self.by_feature else len(self.plan.tile) == 0 and (fit < PARTIALS or self.c >= OWNING)

    def add_hessp(
        self, proba: Array, coef: Array, intercept: Array | None, factor: float, out: tuple[Array, Array]
    ) -> None:
        """Adds factor times the Hessian, where the probabilities are `proba`, times a direction (coef, intercept)."""
        self._accumulate(coef, intercept, factor, *out, proba.reshape(-1))

    def curvature(self, coef: Array, intercept: Array | None) -> PointCurvature:
        return PointCurvature(self, coef, intercept)

    def evaluate(self, coef: Array, intercept: Array | None) -> tuple[float, NDArray[np.int64]]:
        predictions = np.zeros(self.n, np.int64)
        space = self._sweep(gradient.losses, coef, intercept, predictions=predictions)
        loss = space.loss()
        give_back(space)
        return loss, predictions

    def predict(self, coef: Array, intercept: Array | None) -> NDArray[np.int64]:
        predictions = np.zeros(self.n, np.int64)
        give_back(self._sweep(gradient.probabilities, coef, intercept, predictions=predictions))
        return predictions

    def predict_proba(self, coef: Array, intercept: Array | None) -> Array:
        proba = np.empty((self.n, self.c), self.dtype)
        give_back(self._sweep(gradient.probabilities, coef, intercept, proba=proba.reshape(-1)))
        return proba

    def kind(self, part: Partition, workers: int, wanted: bool, in_order: bool = False) -> Kind:
        """Of workspace; wanted: with gradients; in_order: rows come as they lie."""
        gathers = not (in_order and self.design.read_in_place(self.layout))
        return Kind(part, workers, self.dtype, wanted, gathers, (self.n, self.m, self.c))

    def _sweep(
        self,
        chunk: jit.Pointer,
        coef: Array,
        intercept: Array | None,
        *,
        wanted: bool = False,
        predictions: Array = NONE,
        proba: Array | None = None,
    ) -> Workspace:
        """All rows, a slice at a time; the workspace, to be given back, has what they add up to."""
        n, part = self.n, partition(self.plan, self.dtype, self.n, wanted)
        row = 4.0 * part.classes * self.pairs
        workers = min(threads.worker_count(n * row), part.chunks)
        space = leased(self.kind(part, workers, wanted, in_order=True))
        W, b = self.fold(coef, intercept, (space.W, space.b))
        pointer = space.pointer(chunk, self.layout, NONE, self.targets)
        proba = space.scratch[0][0][:0] if proba is None else proba
        most, X = (1 if self.plan.tile else 3) * SLICE / row, self.design.arrays()[0]
        if X.nbytes > SLICE_BYTES and from_disk(X):
            most = min(most, SLICE_BYTES / (self.pairs * X.itemsize))
        step = max(1, int(most / part.chunks / part.block)) * part.block  # rows of each chunk that a call takes
        for start in range(0, part.size if n else 0, step):
            gradient.sweep(
                workers, pointer, self.layout, NONE, self.targets, W, b, self.c, n, part.size, start,
                min(start + step, part.size), part.block, space.G, space.g, predictions, proba, *space.scratch,
                space.counter, space.losses,
            )  # fmt: skip
        return space
