"""What solvers minimise: F = mean cross-entropy + (l2 / 2) |coef|^2 + l1 |coef|_1.

Parameters theta are one flat float64 vector: coef (r, m), row by row where X is dense and feature by feature where it
is sparse, then the intercept (r,) if there is one. r = c; or 1 for two classes, whose first row is then 0.
"""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from fastsoftmax.engine.vectors import in_blocks, total
from fastsoftmax.objective.base import Array, Objective
from fastsoftmax.objective.columns import Columns, columns_of
from fastsoftmax.objective.journal import Journal, key_of

if TYPE_CHECKING:
    from fastsoftmax.objective.softmax import SoftmaxObjective


def operations(objective: Objective) -> float:
    """Of an iteration, about: a pass over the data, and what preconditions."""
    return objective.operations + 2.0 * objective.c * min(objective.m, 4096) ** 2


class Problem:
    """F over an objective.

    Parameters
    ----------
    objective : Objective
        Sums over the data.
    l1, l2 : float
        Of coef of the mapped features, before `unit`.
    fit_intercept, binary : bool
        Binary: two classes, one row of parameters.
    columns : Columns, optional
        Moments of the mapped features, and powers of two: theta's features are the mapped ones times these.
    origin : ndarray of shape (m,), optional
        What was taken from the features for the sake of digits alone: `optimality` is that of the features with it.
    journal : Journal, optional
        Where results of passes over all rows are written, and read by a fit that goes on.

    Attributes
    ----------
    data : Objective
        As given; `objective` is the same in theta's features.
    n, m, c, r : int
        Rows, features, classes, rows of parameters.
    total : float
        S, the sum of the weights.
    """

    def __init__(
        self,
        objective: Objective,
        *,
        l1: float,
        l2: float,
        fit_intercept: bool,
        binary: bool = False,
        columns: Columns | None = None,
        origin: Array | None = None,
        journal: Journal | None = None,
    ) -> None:
        self.journal = journal
        self.data, self.l1, self.l2 = objective, l1, l2
        self.fit_intercept, self.binary, self.origin = fit_intercept, binary, origin
        self.columns = columns_of(objective) if columns is None else columns
        self.unit = unit = self.columns.unit
        self.n, self.m, self.c, self.total = objective.n, objective.m, objective.c, objective.total
        self.r, self.dtype, self.by_feature = 1 if binary else self.c, objective.dtype, objective.by_feature
        self.objective = objective.mapped(objective.scale * unit, objective.shift)
        self.size = self.r * (self.m + fit_intercept)
        with np.errstate(over="ignore"):
            self.penalty2, self.penalty1 = np.minimum(l2 * unit * unit, 1e300), l1 * unit
        with np.errstate(over="ignore", divide="ignore"):  # of columns of size 1e150
            self.inverse2 = np.minimum(1 / (2 * self.penalty2), 1e300)
        self.gauge = not binary  # adding the same to all classes changes no probability
        self.cache: dict[str, Any] = {}  # what strengths of the penalty and compute types share, and folds
        self.own: dict[str, Any] = {}  # what they share of these rows alone

    @property
    def operations(self) -> float:
        """Of an iteration, about: a pass over the data, and what preconditions."""
        return operations(self.data)

    def like(self, objective: Objective | None = None, dtype: Any = None, **changes: Any) -> "Problem":
        """The same with another objective, or in another compute type, and with some of the arguments changed."""
        names = ("l1", "l2", "fit_intercept", "binary", "columns", "origin")
        data = self.data if objective is None else objective
        data = data if dtype is None else data.computed_in(dtype)
        same: dict[str, Any] = {name: getattr(self, name) for name in names}
        journal = self.journal if objective is None else None  # samples are computed again
        other = Problem(data, **same | {"journal": journal} | changes)
        if objective is None and "columns" not in changes:
            other.cache, other.own = self.cache, self.own
        return other

    def subsample(self, count: int) -> "Problem":
        """F over so many of the rows, evenly spaced, at the same C; in memory where they are to be looked at."""
        part = self.data.sample(count) if count <= self.data.most else self.data.spread(count)
        share = self.total / part.total
        return self.like(part, l1=self.l1 * share, l2=self.l2 * share)

    # ---- parameters

    def split(self, theta: Array) -> tuple[Array, Array]:
        """Views: coef (r, m), and the intercept (r,), or (0,)."""
        size = self.r * self.m
        coef = theta[:size].reshape(self.m, self.r).T if self.by_feature else theta[:size].reshape(self.r, self.m)
        return coef, theta[size:]

    def by_class(self, vector: Array) -> Array:
        """(r, M): a row of parameters with its intercept, if there is one, last."""
        coef, intercept = self.split(vector)
        return np.concatenate([coef, intercept[:, None]], 1) if len(intercept) else np.ascontiguousarray(coef)

    def flat(self, rows: Array) -> Array:
        """The vector whose `by_class` this is."""
        vector = np.empty(self.size)
        coef, intercept = self.split(vector)
        coef[...] = rows[:, : self.m]
        if len(intercept):
            intercept[...] = rows[:, self.m]
        return vector

    def logit_size(self, theta: Array) -> float:
        """The size of the terms of a logit: of features, of what is taken from them, and the intercept."""
        coef, intercept = self.split(theta)
        sizes = np.sqrt(self.columns.square) + np.abs(self.data.shift * self.data.scale) * self.unit
        return float((np.abs(coef) @ sizes).max()) + float(np.abs(intercept).max(initial=0.0))

    def deciding(self, theta: Array, logit: float) -> Array:
        """Those weights of features, as they are in X, that alone add at least so much to a logit; the others are 0."""
        kept, scale = np.zeros_like(theta), self.data.scale * self.unit
        coef, intercept = self.split(kept)
        largest = self.data.largest(np.arange(self.m)) * np.abs(scale)
        coef[...] = np.where(np.abs(self.split(theta)[0]) * largest > logit, self.split(theta)[0], 0)
        if len(intercept):
            intercept[...] = coef @ (self.data.shift * scale)
        return kept

    def fresh(self, theta: Array) -> bool:
        """Whether coef is 0, so that nothing is known yet."""
        return not self.split(theta)[0].any()

    def centered(self, theta: Array) -> Array:
        """The same probabilities, and intercepts that sum to 0 over the classes; so do weights without a penalty."""
        if not self.gauge:
            return theta
        theta = theta.copy()
        coef, intercept = self.split(theta)
        if len(intercept):
            intercept -= intercept.mean()
        if not self.l1:  # with l2 alone the sum is 0 at the optimum, and shrinks on the way there
            coef -= coef.mean(0)
        return theta

    def stored(self, theta: Array, dtype: Any) -> tuple[Array, Array]:
        """coef (r, m) of the features as they are in X and the intercept (r,), rounded to dtype.

        The intercept makes up for what rounding changed of the shift.
        """
        theta = self.centered(theta)
        coef, intercept = self.split(theta)
        raw = (coef * (self.unit * self.data.scale)).astype(dtype)
        free = intercept if self.fit_intercept else np.zeros(self.r)
        if self.data.shifted:
            free = free - raw.astype(np.float64) @ self.data.shift
        return np.ascontiguousarray(raw), free.astype(dtype)

    def loaded(self, coef: Array, intercept: Array) -> Array:
        """The parameters that were stored."""
        theta, scale = np.zeros(self.size), self.unit * self.data.scale
        to, shift = self.split(theta)
        to[...] = np.asarray(coef, np.float64) / np.where(scale == 0, np.inf, scale)  # a scale of 0 leaves a column out
        if self.fit_intercept:
            shift[...] = np.asarray(intercept, np.float64)
            if self.data.shifted:
                shift += np.asarray(coef, np.float64) @ self.data.shift
        return theta

    def full(self, theta: Array) -> tuple[Array, Array | None]:
        """Rows of all classes."""
        coef, intercept = self.split(theta)
        if self.binary:
            coef = np.concatenate([np.zeros_like(coef), coef])
            intercept = np.concatenate([np.zeros_like(intercept), intercept])
        return coef, intercept if self.fit_intercept else None

    def buffers(self) -> tuple[Array, tuple[Array, Array]]:
        """A zero vector, and views (or, for two classes, arrays) for gradients in all classes."""
        vector = np.zeros(self.size)
        coef, intercept = self.split(vector)
        if self.binary:
            return vector, (np.zeros((2, self.m)), np.zeros(2))
        return vector, (coef, intercept if self.fit_intercept else np.zeros(self.c))

    def collect(self, vector: Array, out: tuple[Array, Array]) -> None:
        """What was added to the second of `buffers`, into the first."""
        if self.binary:
            coef, intercept = self.split(vector)
            coef[...] = out[0][1:]
            intercept[...] = out[1][1 : 1 + len(intercept)]

    def null(self) -> tuple[Array, float]:
        """(coef = 0 with the best intercept, F there): what no fit should be worse than."""
        theta = np.zeros(self.size)
        if not self.fit_intercept:
            return theta, float(np.log(self.c))
        epsilon = self.data.smoothing
        share = (1 - epsilon) * self.priors() + epsilon / self.c
        with np.errstate(divide="ignore"):
            logs = np.maximum(np.log(share), -700.0)
        self.split(theta)[1][...] = logs[1:] - logs[:1] if self.binary else logs - logs.mean()
        return theta, -float(share @ logs)

    # ---- the smooth part of F

    def written(self, name: str, at: Array, compute: Callable[[], tuple[float, Array]]) -> tuple[float, Array]:
        """A number and a vector that a pass gives, or gave a fit that goes on."""
        if self.journal is None:
            return compute()

        def joined() -> Array:
            value, vector = compute()
            return np.append(vector, value)

        found = self.journal.recall(key_of(name, self.dtype.str, self.l1, self.l2, at), joined)
        return float(found[-1]), found[:-1]

    def loss_gradient(self, theta: Array) -> tuple[float, Array]:
        """Mean cross-entropy and the l2 penalty; its gradient."""
        return self.written("loss_gradient", theta, lambda: self._loss_gradient(theta))

    def _loss_gradient(self, theta: Array) -> tuple[float, Array]:
        vector, out = self.buffers()
        loss, _, _ = self.objective.loss_gradient(*self.full(theta), 1 / self.total, out)
        self.collect(vector, out)
        coef, gradient = self.split(theta)[0], self.split(vector)[0]
        value = loss / self.total
        if self.l2:

            def shrink(at: Any) -> float:
                shrunk = self.penalty2[at[1]] * coef[at]
                gradient[at] += shrunk
                return float(np.einsum("ij,ij->", shrunk, coef[at]))

            value += 0.5 * float(total(self.over_coef(shrink)))
        return value, vector

    def l1_norm(self, theta: Array) -> float:
        """The l1 penalty."""
        return float((np.abs(self.split(theta)[0]) @ self.penalty1).sum()) if self.l1 else 0.0

    def probabilities(self, theta: Array) -> Array:
        """(n, c): where the problem is over a sample."""
        return self.objective.predict_proba(*self.full(theta))

    # ---- over a sample: rows in memory

    @property
    def sample(self) -> "SoftmaxObjective":
        """The objective, whose rows are in memory."""
        assert self.objective.in_memory, "what is not in memory is looked at in a sample"
        return self.objective  # type: ignore[return-value]

    def blocks(self, weights: Array) -> Array:
        """sum_i w_ki s_i x_i x_i' / S (K, M, M), on and above the diagonals; weights (K, n)."""
        H = self.sample.grams(self.sample.weighed(weights), self.fit_intercept)
        H *= self.dtype.type(1 / self.total)
        return H

    def moments_at(self, theta: Array) -> tuple[Array, Array, Array]:
        """sum_i w_ik (r,), and times x_ij and x_ij^2 (r, m), over S; w_ik = s_i p_ik (1 - p_ik) at theta."""
        p = self.probabilities(theta)[:, -self.r :]
        weights = self.sample.weighed((p * (1 - p)).T).astype(p.dtype, copy=False)
        sums = weights.sum(1, dtype=np.float64), *self.sample.weighted(weights)
        share, first, second = (part / self.total for part in sums)
        return share, first, second

    def gram_of(self, rows: Array, weights: Array) -> Array:
        """sum_i w_i x_i x_i' / S over some of the rows, on and above the diagonal."""
        H: Array = self.objective.rows(rows).grams((weights / self.total)[None], self.fit_intercept)[0]
        return H

    def priors(self) -> Array:
        """The share of each class."""
        return np.asarray(self.data.class_totals() / self.total)

    # ---- how far from a minimum

    def over_coef(self, function: Callable[[Any], Any]) -> list[Any]:
        """function of indexes into coef, (r, m), that cut it into blocks in the order of theta."""
        if self.by_feature:
            return in_blocks(lambda at: function((slice(None), at)), self.m, self.r)
        return in_blocks(lambda at: function((at, slice(None))), self.r, self.m)

    def _least(self, part: Array, coef: Array, penalty: Array) -> Array:
        """Of all subgradients that a gradient and l1 allow the one of least norm."""
        still = np.sign(part) * np.maximum(np.abs(part) - penalty, 0)
        return np.asarray(np.where(coef != 0, part + penalty * np.sign(coef), still))

    def subgradient(self, theta: Array, gradient: Array) -> Array:
        """Of all subgradients of F the one of least norm."""
        if not self.l1:
            return gradient
        least = gradient.copy()
        part, coef = self.split(least)[0], self.split(theta)[0]
        part[...] = self._least(part, coef, self.penalty1)
        return least

    def optimality(self, theta: Array, gradient: Array) -> float:
        """The largest entry of the subgradient of least norm, in the units of the mapped features."""
        coef, (G, rho) = self.split(theta)[0], self.split(gradient)
        origin = None if self.origin is None else self.origin * self.unit

        def largest(at: Any) -> float:
            part = G[at] if origin is None else G[at] + np.outer(rho[at[0]], origin[at[1]])
            part = self._least(part, coef[at], self.penalty1[at[1]]) if self.l1 else part
            return float(np.abs(part / self.unit[at[1]]).max())

        return float(np.max([*self.over_coef(largest), np.abs(rho).max(initial=0.0)]))
