"""The seam: what may be asked about data, whoever sums over their rows, and in which shape the answer comes."""

import abc
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from fastsoftmax.objective.softmax import SoftmaxObjective

SAMPLE_BYTES = 64 << 20  # of rows that are copied for a look, where all of them may be more than memory
Array = NDArray[Any]


def spaced(n: int, count: int) -> NDArray[np.int64]:
    """`count` of n rows, evenly spaced: no random numbers, and of data that are sorted a fair share of each part."""
    return np.arange(count, dtype=np.int64) * n // count


class Curvature(abc.ABC):
    """The Hessian of an objective's sum of losses, at weights that do not change. It owns their probabilities."""

    @abc.abstractmethod
    def hessp(self, coef: Array, intercept: Array | None, factor: float, out: tuple[Array, Array]) -> None:
        """Adds factor times the Hessian times a direction (coef, intercept) to `out`."""

    @abc.abstractmethod
    def each_block(self, visit: "Callable[[SoftmaxObjective, Array], object]") -> None:
        """Calls `visit` with pieces of the rows, in order, in memory, and their probabilities (rows, c)."""

    @abc.abstractmethod
    def pair_grams(self, r: int, intercept: bool) -> Array:
        """sum_i s_i (p_ik [k = q] - p_ik p_iq) x_i x_i' for each pair k <= q of the last r classes.

        (r (r + 1) / 2, M, M), of the mapped features and, with an intercept, a 1; right on and above the diagonals.
        """


class Objective(abc.ABC):
    """Sums over n rows with m features and targets of c classes, wherever the rows are.

    Who asks sees rows in samples and in blocks alone, both in memory; a trainer's steps have kernels of their own.

    Shapes, fixed once: coef (c, m) and intercept (c,) act on the mapped features (x - shift) * scale; gradients have
    the same shapes; all are C-contiguous, or coef and its gradient F-contiguous where `by_feature`. A row weighs s_i.
    Losses are sums s_i CE_i in float64: who wants a mean divides by `total`. Sums are taken in an order that depends on
    shapes alone. Predictions come in the order of the rows. What is (n, c) is made only where a caller asked for it.

    Attributes
    ----------
    n, m, c : int
    total : float
        S, the sum of the weights s_i.
    dtype : dtype
        Of the computation, float32 or float64, and of `predict_proba` and Gram matrices.
    x_dtype, stored_dtype : dtype
        Of X as it is stored, and of weights that are fitted: that of X, or float64 for integers.
    scale, shift : ndarray of shape (m,), float64
    shifted : bool
        Whether any shift is not 0.
    in_memory : bool
        Whether all rows are: then it is a SoftmaxObjective.
    by_feature : bool
        Whether vectors of parameters are better laid out feature by feature, as where X is sparse.
    pairs : float
        Entries of X that a row has, on average.
    smoothing : float
        epsilon of the targets.
    labelled : bool
        Whether the targets are labels, not probabilities.
    """

    n: int
    m: int
    c: int
    total: float
    dtype: np.dtype[Any]
    x_dtype: np.dtype[Any]
    stored_dtype: np.dtype[Any]
    scale: NDArray[np.float64]
    shift: NDArray[np.float64]
    shifted: bool
    in_memory: bool
    by_feature: bool
    pairs: float
    smoothing: float
    labelled: bool

    @property
    def operations(self) -> float:
        """Of a pass over the data."""
        return 4.0 * self.n * self.pairs * self.c

    @property
    def most(self) -> int:
        """How many rows are copied for a look: all, or of what may be larger than memory as many as 64 MB hold."""
        return min(self.n, max(1, int(SAMPLE_BYTES / (self.pairs * self.x_dtype.itemsize))))

    # ---- passes over all rows

    @abc.abstractmethod
    def loss_gradient(
        self, coef: Array, intercept: Array | None, factor: float = 1.0, out: tuple[Array, Array] | None = None
    ) -> tuple[float, Array, Array]:
        """(sum of s_i CE_i, factor times its gradient in coef, and in intercept), added to `out` if that is given."""

    @abc.abstractmethod
    def evaluate(self, coef: Array, intercept: Array | None) -> tuple[float, NDArray[np.int64]]:
        """(sum of s_i CE_i, the most probable class of each row (n,))"""

    @abc.abstractmethod
    def predict(self, coef: Array, intercept: Array | None) -> NDArray[np.int64]:
        """The most probable class of each row (n,), of equals the first, whatever the targets."""

    @abc.abstractmethod
    def predict_proba(self, coef: Array, intercept: Array | None) -> Array:
        """Probabilities (n, c), whatever the targets."""

    @abc.abstractmethod
    def curvature(self, coef: Array, intercept: Array | None) -> Curvature:
        """The Hessian at these weights."""

    # ---- what the data are like

    @abc.abstractmethod
    def moments(self, center: Array | None = None) -> tuple[Array, Array]:
        """Weighted sums (m,) of the raw columns, and of their squares, less `center` (m,); in float64."""

    @abc.abstractmethod
    def largest(self, columns: Array) -> Array:
        """The largest absolute entry of some of the raw columns."""

    @abc.abstractmethod
    def lowest(self, weights: Array) -> float:
        """The least product of a raw row with weights (m,)."""

    @abc.abstractmethod
    def class_totals(self) -> NDArray[np.float64]:
        """What each class weighs (c,), before smoothing."""

    @abc.abstractmethod
    def class_sums(self) -> Any:
        """sum_i s_i x_i (c, m), mapped, over the rows of each label, in float64, perhaps sparse; for labels alone."""

    @abc.abstractmethod
    def entropy(self) -> float:
        """The mean entropy of the smoothed targets, which no mean loss is below."""

    # ---- others like it

    @abc.abstractmethod
    def mapped(self, scale: float | ArrayLike, shift: float | ArrayLike = 0.0) -> "Objective":
        """The same under another map of the features."""

    @abc.abstractmethod
    def computed_in(self, dtype: Any) -> "Objective":
        """The same in another compute type."""

    @abc.abstractmethod
    def rows(self, index: Array) -> "SoftmaxObjective":
        """Some of the rows, copied, in memory."""

    def sample(self, count: int) -> "SoftmaxObjective":
        """So many of the rows, evenly spaced, in memory."""
        return self.rows(spaced(self.n, count))

    def spread(self, count: int) -> "Objective":
        """As `sample`, of more rows than `most`: where they are, and summed as they are."""
        return self.sample(count)

    def merged(self) -> "Narrower | None":
        """With columns merged into fewer, whose optimum under l2 gives that of all; None where it is not worth it."""
        return None


class Narrower(NamedTuple):
    """An objective over fewer columns, and how its weights become those of all columns."""

    objective: Objective
    expand: Callable[[Array], Array]  # (r, m) from weights (r, narrower)
    project: Callable[[Array], Array]  # (r, narrower), whose expansion is nearest to weights (r, m)
