"""What solvers minimise: F = mean cross-entropy + (l2 / 2) |coef|^2 + l1 |coef|_1, and how far a point is from it.

Parameters theta are one flat float64 vector: coef (r, m), row by row where X is dense and feature by feature where it
is sparse, then the intercept (r,) if there is one. r = c; or 1 for two classes, whose first row is then 0.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsoftmax.data.csr import CSR
from fastsoftmax.data.design import Design
from fastsoftmax.data.targets import CheckedTargets
from fastsoftmax.engine.vectors import in_blocks, total
from fastsoftmax.objective.grams import grams
from fastsoftmax.objective.softmax import MANY, SoftmaxObjective

Array = NDArray[Any]


class Columns(NamedTuple):
    """What all rows say of the mapped columns."""

    unit: Array  # (m,) powers of two that bring the columns near a size of 1
    mean: Array  # (m,)
    square: Array  # (m,) mean squares, of the columns times their unit

    def far(self, times: float) -> Array:
        """Which columns have a mean more than so many times their deviation."""
        mean = (self.mean * self.unit) ** 2
        return np.asarray(np.maximum(self.square - mean, 0) * times**2 < mean)

    def in_units(self, unit: Array) -> "Columns":
        """The same in other units."""
        return Columns(unit, self.mean, self.square * (unit / self.unit) ** 2)


def columns_of(design: Design, targets: CheckedTargets) -> Columns:
    """Weighted moments of the mapped columns, and the units that follow from them."""
    with np.errstate(over="ignore", invalid="ignore"):
        total, squares = design.moments(targets.kernel.weight, design.shift)
        mean = total / targets.total * design.scale
        size = np.sqrt(squares / targets.total) * np.abs(design.scale)
    strange = np.flatnonzero(~(np.isfinite(size) & (size > 0)))
    if len(strange) and design.arrays()[0].dtype == np.float64:  # squares that overflow, or vanish
        size[strange] = design.largest(strange) * np.abs(design.scale[strange])
    usable = np.isfinite(size) & (size > 0)
    size = np.where(usable, size, 1)
    unit = np.exp2(-np.round(np.log2(size)))
    return Columns(unit, mean, np.where(usable, (size * unit) ** 2, 0.0))


def operations(design: Design, c: int) -> float:
    """Of an iteration, about: a pass over the data, and what preconditions."""
    return 4.0 * design.n * design.pairs * c + 2.0 * c * min(design.m, 4096) ** 2


class Problem:
    """F over a design and targets.

    Parameters
    ----------
    design : Design
    targets : CheckedTargets
    c : int
    l1, l2 : float
        Of coef of the mapped features, before `unit`.
    fit_intercept, binary : bool
        Binary: two classes, one row of parameters.
    dtype : dtype
        Of the computation.
    columns : Columns, optional
        Moments of the mapped features, and powers of two: theta's features are the mapped ones times these.
    origin : ndarray of shape (m,), optional
        What was taken from the features for the sake of digits alone: `optimality` is that of the features with it.
    """

    def __init__(
        self,
        design: Design,
        targets: CheckedTargets,
        c: int,
        *,
        l1: float,
        l2: float,
        fit_intercept: bool,
        binary: bool = False,
        dtype: Any = None,
        columns: Columns | None = None,
        origin: Array | None = None,
    ) -> None:
        self.design, self.targets, self.c, self.l1, self.l2 = design, targets, c, l1, l2
        self.fit_intercept, self.binary, self.origin = fit_intercept, binary, origin
        self.columns = columns_of(design, targets) if columns is None else columns
        self.unit = unit = self.columns.unit
        self.r, self.m = 1 if binary else c, design.m
        self.dtype = np.dtype(design.dtype if dtype is None else dtype)
        scaled = design.mapped(design.scale * unit, design.shift)
        self.objective = SoftmaxObjective(scaled, c, targets.astype(self.dtype), self.dtype)
        self.by_feature = isinstance(design, CSR)
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
        return operations(self.design, self.c)

    def like(self, **changes: Any) -> "Problem":
        """The same with some of the arguments changed."""
        names = ("l1", "l2", "fit_intercept", "binary", "dtype", "columns", "origin")
        now = {name: getattr(self, name) for name in names}
        positional = [changes.pop(name, getattr(self, name)) for name in ("design", "targets", "c")]
        other = Problem(*positional, **(now | changes))
        if "columns" not in changes and positional == [self.design, self.targets, self.c]:
            other.cache, other.own = self.cache, self.own
        return other

    def subsample(self, rows: Array) -> "Problem":
        """F over some of the rows, at the same C."""
        part = self.targets.rows(rows, self.c)
        share = self.targets.total / part.total
        return self.like(design=self.design.rows(rows), targets=part, l1=self.l1 * share, l2=self.l2 * share)

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
        sizes = np.sqrt(self.columns.square) + np.abs(self.design.shift * self.design.scale) * self.unit
        return float((np.abs(coef) @ sizes).max()) + float(np.abs(intercept).max(initial=0.0))

    def deciding(self, theta: Array, logit: float) -> Array:
        """Those weights of features, as they are in X, that alone add at least so much to a logit; the others are 0."""
        kept, scale = np.zeros_like(theta), self.design.scale * self.unit
        coef, intercept = self.split(kept)
        largest = self.design.largest(np.arange(self.m)) * np.abs(scale)
        coef[...] = np.where(np.abs(self.split(theta)[0]) * largest > logit, self.split(theta)[0], 0)
        if len(intercept):
            intercept[...] = coef @ (self.design.shift * scale)
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
        raw = (coef * (self.unit * self.design.scale)).astype(dtype)
        free = intercept if self.fit_intercept else np.zeros(self.r)
        if self.design.shifted:
            free = free - raw.astype(np.float64) @ self.design.shift
        return np.ascontiguousarray(raw), free.astype(dtype)

    def loaded(self, coef: Array, intercept: Array) -> Array:
        """The parameters that were stored."""
        theta, scale = np.zeros(self.size), self.unit * self.design.scale
        to, shift = self.split(theta)
        to[...] = np.asarray(coef, np.float64) / np.where(scale == 0, np.inf, scale)  # a scale of 0 leaves a column out
        if self.fit_intercept:
            shift[...] = np.asarray(intercept, np.float64)
            if self.design.shifted:
                shift += np.asarray(coef, np.float64) @ self.design.shift
        return theta

    def _full(self, theta: Array) -> tuple[Array, Array | None]:
        """Rows of all classes."""
        coef, intercept = self.split(theta)
        if self.binary:
            coef = np.concatenate([np.zeros_like(coef), coef])
            intercept = np.concatenate([np.zeros_like(intercept), intercept])
        return coef, intercept if self.fit_intercept else None

    def _buffers(self) -> tuple[Array, tuple[Array, Array]]:
        """A zero vector, and views (or, for two classes, arrays) for gradients in all classes."""
        vector = np.zeros(self.size)
        coef, intercept = self.split(vector)
        if self.binary:
            return vector, (np.zeros((2, self.m)), np.zeros(2))
        return vector, (coef, intercept if self.fit_intercept else np.zeros(self.c))

    def _collect(self, vector: Array, out: tuple[Array, Array]) -> None:
        if self.binary:
            coef, intercept = self.split(vector)
            coef[...] = out[0][1:]
            intercept[...] = out[1][1 : 1 + len(intercept)]

    def null(self) -> tuple[Array, float]:
        """(coef = 0 with the best intercept, F there): what no fit should be worse than."""
        theta = np.zeros(self.size)
        if not self.fit_intercept:
            return theta, float(np.log(self.c))
        epsilon = self.targets.kernel.smoothing
        share = (1 - epsilon) * self.priors() + epsilon / self.c
        with np.errstate(divide="ignore"):
            logs = np.maximum(np.log(share), -700.0)
        self.split(theta)[1][...] = logs[1:] - logs[:1] if self.binary else logs - logs.mean()
        return theta, -float(share @ logs)

    # ---- the smooth part of F

    def loss_gradient(self, theta: Array) -> tuple[float, Array]:
        """Mean cross-entropy and the l2 penalty; its gradient."""
        vector, out = self._buffers()
        loss, _, _ = self.objective.loss_gradient(*self._full(theta), 1 / self.targets.total, out)
        self._collect(vector, out)
        coef, gradient = self.split(theta)[0], self.split(vector)[0]
        value = loss / self.targets.total
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
        """(n, c), as `hessp` and `blocks` take them."""
        return self.objective.predict_proba(*self._full(theta))

    def hessp(self, proba: Array, direction: Array) -> Array:
        """The Hessian of the smooth part, where the probabilities are `proba`, times a direction."""
        vector, out = self._buffers()
        self.objective.hessp(proba, *self._full(direction), 1 / self.targets.total, out)
        self._collect(vector, out)
        if self.l2:
            part, coef = self.split(vector)[0], self.split(direction)[0]

            def add(at: Any) -> None:
                part[at] += self.penalty2[at[1]] * coef[at]

            self.over_coef(add)
        return vector

    # ---- curvature

    def blocks(self, weights: Array, penalty: bool = True) -> Array:
        """sum_i w_ki x_i x_i' / S (K, M, M), on and above the diagonals, plus the l2 penalty."""
        weights = self.row_weights(weights)
        H = grams(self.objective.design, self.dtype, weights, self.fit_intercept)
        H *= self.dtype.type(1 / self.targets.total)
        if penalty:
            diagonal = np.arange(self.m)
            H[:, diagonal, diagonal] += self.penalty2.astype(self.dtype)
        return H

    def moments_at(self, theta: Array) -> tuple[Array, Array, Array]:
        """sum_i w_ik (r,), and times x_ij and x_ij^2 (r, m), over S; w_ik = s_i p_ik (1 - p_ik) at theta."""
        p = self.probabilities(theta)[:, -self.r :]
        weights = self.row_weights((p * (1 - p)).T).astype(p.dtype, copy=False)
        sums = weights.sum(1, dtype=np.float64), *self.objective.design.weighted(weights)
        share, first, second = (part / self.targets.total for part in sums)
        return share, first, second

    def row_weights(self, weights: Array) -> Array:
        """Weights of rows, times those that the data have."""
        own = self.targets.kernel.weight
        return np.asarray(weights * own) if len(own) else weights

    def gram_of(self, rows: Array, weights: Array) -> Array:
        """sum_i w_i x_i x_i' / S over some of the rows, on and above the diagonal."""
        part = self.objective.design.rows(rows)
        H: Array = grams(part, self.dtype, (weights / self.targets.total)[None], self.fit_intercept)[0]
        return H

    def priors(self) -> Array:
        """The share of each class."""
        return np.asarray(self.targets.class_totals(self.c) / self.targets.total)

    # ---- the certificate

    def _class_sums(self) -> tuple[Callable[[Any], Array], float]:
        """Blocks of (1/S) sum_i s_i Y_i x_i', of the rows of parameters; the mean entropy of Y. Found once."""
        labels = self.targets.kernel.labels
        few = self.c < MANY and not self.by_feature  # then a pass over the data is faster
        direct = len(labels) > 0 and not few
        key = "sums" if direct else f"sums {self.dtype}"
        if key not in self.own:
            sums = self._sums_by_label(labels) if direct else self._sums_by_gradient()
            self.own[key] = sums, self.targets.entropy(self.c)
        return self.own[key]  # type: ignore[no-any-return]

    def _sums_by_label(self, labels: Array) -> Callable[[Any], Array]:
        smoothing, weight = self.targets.kernel.smoothing, np.asarray(self.targets.kernel.weight, np.float64)
        sums = self.objective.design.class_sums(labels, weight, self.c)
        sums *= (1 - smoothing) / self.targets.total
        mean, r, sparse = smoothing / self.c * self.columns.mean * self.unit, self.r, not isinstance(sums, np.ndarray)

        def block(at: Any) -> Array:
            part = sums[:, at[1]].toarray()[-r:][at[0]] if sparse else sums[-r:][at]
            return np.asarray(part + mean[at[1]])

        return block

    def _sums_by_gradient(self) -> Callable[[Any], Array]:
        vector, out = self._buffers()
        zero = np.zeros((self.c, self.m), order="F" if self.by_feature else "C")
        self.objective.loss_gradient(zero, None, 1 / self.targets.total, out)
        self._collect(vector, out)
        sums = self.columns.mean * self.unit / self.c - self.split(vector)[0]
        return lambda at: np.asarray(sums[at])

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

    def gap(self, theta: Array, value: float, gradient: Array) -> float:
        """The duality gap: F - F* is at most this; nan without a penalty. value, gradient: of the smooth part."""
        if not (self.l1 or self.l2):
            return float("nan")
        return max(0.0, value + self.l1_norm(theta) - self.bound(theta, value, gradient))

    def bound(self, theta: Array, value: float, gradient: Array) -> float:
        """What F* is at least, with a penalty, by a dual feasible point. value, gradient: of the smooth part at theta.

        Nor is it less than the mean entropy of the targets, which no F is below: what proves separable data.
        """
        coef, intercept = self.split(theta)
        smooth, rho_rows = self.split(gradient)
        sums, entropy_y = self._class_sums()
        means = self.columns.mean * self.unit

        def data_term(at: Any) -> Array:
            return np.asarray(smooth[at] - self.penalty2[at[1]] * coef[at])

        def sums_of(at: Any) -> tuple[float, float]:
            G, part = data_term(at), coef[at]
            return float(np.einsum("ij,ij->", G, part)), float(np.einsum("ij,ij,j->", part, part, self.penalty2[at[1]]))

        along, norm = total(self.over_coef(sums_of))
        dual, alpha, entropy_q, q = value - 0.5 * float(norm) - float(along), 0.0, 0.0, np.zeros(self.c)
        if self.fit_intercept:
            dual -= float(rho_rows @ intercept)
            rho = np.concatenate([-rho_rows, rho_rows]) if self.binary else rho_rows - rho_rows.mean()
            epsilon = self.targets.kernel.smoothing
            share = (1 - epsilon) * self.priors() + epsilon / self.c + rho
            alpha = float(np.max(rho / np.maximum(share, 1e-300)))
            if alpha > 0:
                q = np.maximum(share - rho / alpha, 0)
                q /= q.sum()
                entropy_q = -float((q[q > 0] * np.log(q[q > 0])).sum())

        def conjugate(at: Any) -> float:
            part = data_term(at)
            if alpha > 0:
                part -= alpha * (part + sums(at) - np.outer(q[-self.r :][at[0]], means[at[1]]))
            if not self.l2:
                return float((np.abs(part) / self.penalty1[at[1]]).max())
            excess = np.maximum(np.abs(part) - self.penalty1[at[1]], 0) if self.l1 else part
            with np.errstate(over="ignore"):
                return float(np.einsum("ij,ij,j->", excess, excess, self.inverse2[at[1]]))

        dual = (1 - alpha) * dual + alpha * entropy_q
        if self.l2:
            dual -= float(total(self.over_coef(conjugate)))
        else:
            theta_y = min(1.0, 1 / max(1e-300, float(np.max(self.over_coef(conjugate)))))
            dual = theta_y * dual + (1 - theta_y) * entropy_y
        return max(dual, entropy_y) if np.isfinite(dual) else entropy_y

    def least_gap(self, value: float, gradient: Array, tol: float) -> float:
        """About what the gap would be at the best intercept, with l2 alone; 0 where it may be below tol without a look.

        That is |G|^2 / (2 l2), G the gradient in features less their means: far cheaper than the gap.
        """
        if not self.l2 or self.l1 or value <= tol + self._class_sums()[1]:
            return 0.0
        G, rho = self.split(gradient)
        means = self.columns.mean * self.unit

        def least(at: Any) -> float:
            part = G[at] - np.outer(rho[at[0]], means[at[1]]) if len(rho) else G[at]
            with np.errstate(over="ignore"):
                return float(np.einsum("ij,ij,j->", part, part, self.inverse2[at[1]]))

        return float(total(self.over_coef(least)))
