"""One fit: what penalty, labels and weights ask for, as a problem; and the outcome for all classes."""

import logging
import math
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import DataConversionWarning
from sklearn.utils import compute_class_weight
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_array

from fastsoftmax.data.csr import CSR
from fastsoftmax.data.design import Design
from fastsoftmax.data.merging import Merged, merged
from fastsoftmax.data.targets import CheckedTargets, as_targets
from fastsoftmax.engine import threads
from fastsoftmax.objective.problem import Problem, operations
from fastsoftmax.solvers import SOLVERS, Judge, Outcome, choose, minimise

logger = logging.getLogger("fastsoftmax")
Array = NDArray[Any]
THEIRS = {"lbfgs": "lbfgs", "newton-cg": "newton", "newton-cholesky": "newton", "sag": "lbfgs", "saga": "proximal"}
# Columns are centred whose mean is so many times their deviation, for a type of so many bytes.
FAR = {4: 100.0, 8: 30.0}
SPARSE = 30.0  # times as far where X is sparse: there a shift takes time
NAMES = {"auto", "liblinear", *THEIRS, *SOLVERS}


class Penalty:
    """What penalty, l1_ratio and C ask for, with scikit-learn's warnings and errors."""

    def __init__(self, penalty: Any, l1_ratio: float | None, C: float, solver: str) -> None:
        self.name = penalty
        if penalty == "deprecated":
            if l1_ratio is None:
                text = "'l1_ratio=None' was deprecated in version 1.8 and will trigger an error in 1.10. "
                warnings.warn(text + "Use 0<=l1_ratio<=1 instead.", FutureWarning, stacklevel=4)
            self.name = "l2" if not l1_ratio else "l1" if l1_ratio == 1 else "elasticnet"
            self.name = self.name if math.isfinite(C) else None
        else:
            warnings.warn(
                "'penalty' was deprecated in version 1.8 and will be removed in 1.10. Use l1_ratio=0 instead of "
                "penalty='l2', l1_ratio=1 instead of penalty='l1', l1_ratio between 0 and 1 instead of "
                "penalty='elasticnet', and C=np.inf instead of penalty=None.",
                FutureWarning,
                stacklevel=4,
            )
            self._check_consistency(l1_ratio, C)
        self._check_solver(solver)
        self.C = np.inf if self.name is None else C
        if self.name == "elasticnet" and l1_ratio is None:
            raise ValueError("l1_ratio must be specified when penalty is elasticnet.")
        self.l1_ratio = float(l1_ratio or 0.0) if self.name == "elasticnet" else float(self.name == "l1")

    def _check_consistency(self, l1_ratio: float | None, C: float) -> None:
        if self.name != "elasticnet" and l1_ratio is not None and 0 < l1_ratio < 1:
            text = f"l1_ratio parameter is only used when penalty is 'elasticnet'. Got (penalty={self.name})"
            warnings.warn(text, UserWarning, stacklevel=5)
        if (self.name == "l2" and l1_ratio != 0) or (self.name == "l1" and l1_ratio != 1):
            text = f"Inconsistent values: penalty={self.name} with l1_ratio={l1_ratio}. penalty is deprecated. "
            warnings.warn(text + "Please use l1_ratio only.", UserWarning, stacklevel=5)
        if self.name is None and C != 1.0:
            text = "Setting penalty=None will ignore the C and l1_ratio parameters"
            warnings.warn(text, UserWarning, stacklevel=5)

    def _check_solver(self, solver: str) -> None:
        if solver == "liblinear":
            raise ValueError(
                "solver='liblinear' minimises another objective, which penalises the intercept; fastsoftmax does not. "
                "Use solver='auto'."
            )
        takes_l1 = solver in ("auto", "saga") or (solver in SOLVERS and SOLVERS[solver].l1)
        if self.name in ("l1", "elasticnet") and not takes_l1:
            raise ValueError(f"Solver {solver} supports only 'l2' or None penalties, got {self.name} penalty.")


class Labels:
    """What y says: classes, and the code of each row or its probabilities."""

    def __init__(self, y: Any, known: Array | None = None) -> None:
        array = np.asarray(y)
        self.soft = array.ndim == 2 and array.shape[1] > 1
        if self.soft:
            self.classes = np.arange(array.shape[1])
            self.codes: Array = check_array(array, dtype=[np.float64, np.float32], input_name="y")
            if known is not None and not np.array_equal(known, self.classes):
                raise ValueError(f"y has probabilities of {len(self.classes)} classes, the first call named {known}")
        else:
            if array.ndim == 2:
                text = "A column-vector y was passed when a 1d array was expected. Please change the shape of y to "
                warnings.warn(text + "(n_samples,), for example using ravel().", DataConversionWarning, stacklevel=4)
                array = array[:, 0]
            if array.dtype.kind not in "biu":
                check_classification_targets(array)
            self.classes, self.codes = np.unique(array, return_inverse=True)
            if array.dtype.kind in "biu" and len(self.classes) > max(20, len(array) // 2):
                check_classification_targets(array)  # warns; of 150 labels it takes 0.13 ms, as much as a pass
            if known is not None:
                strange = np.setdiff1d(self.classes, known).tolist()
                if strange:
                    raise ValueError(f"y has classes that the first call did not name: {strange}")
                self.classes, self.codes = known, np.searchsorted(known, array)
        if len(self.classes) < 2:
            raise ValueError(
                "This solver needs samples of at least 2 classes in the data, but the data contains only one class: "
                f"{self.classes[0]!r}"
            )

    def targets(self, n: int, dtype: Any, sample_weight: Any, class_weight: Any, smoothing: float) -> CheckedTargets:
        """Checked, with both kinds of weights."""
        c = len(self.classes)
        if class_weight is not None and not self.soft:
            class_weight = self.class_weights(class_weight, sample_weight)
        return as_targets(
            self.codes, n, c, dtype, sample_weight=sample_weight, class_weight=class_weight, label_smoothing=smoothing
        )

    def class_weights(self, class_weight: Any, sample_weight: Any) -> Array:
        """One for each class (c,); "balanced" ones of classes whose rows weigh nothing are 0."""
        y = self.classes[self.codes]
        with np.errstate(divide="ignore"):
            each = compute_class_weight(class_weight, classes=self.classes, y=y, sample_weight=sample_weight)
        return np.where(np.isinf(each), 0.0, each) if isinstance(class_weight, str) else each


def strength(C: float, total: float) -> float:
    """1 / (C S); of a C near 0 no more than float64 can count with: coef is 0 long before."""
    return 1 / max(C * total, 1e-100) if math.isfinite(C) else 0.0


def spread(design: Design, targets: CheckedTargets) -> tuple[Array, Array]:
    """(means, variances) of the raw columns, in two passes; those of constant columns are exactly 0."""
    weight = targets.kernel.weight
    mean = design.moments(weight)[0] / targets.total
    off, squares = design.moments(weight, mean)
    off, squares = off / targets.total, squares / targets.total
    variance = np.maximum(squares - off**2, 0)
    mean = mean + off
    variance[np.sqrt(variance) <= 10 * np.finfo(np.float64).eps * np.abs(mean)] = 0
    return mean, variance


def standardized(design: Design, targets: CheckedTargets, center: bool) -> Design:
    """The design mapped to columns of deviation 1 and, if asked, mean 0.

    Constant columns become 0 where they are centred, for rounding would be all that is left of them, else keep their
    scale.
    """
    mean, variance = spread(design, targets)
    constant = variance == 0
    scale = np.where(constant, 0.0 if center else 1.0, 1 / np.sqrt(np.where(constant, 1, variance)))
    if design.dtype == np.float32 and (np.abs(mean) * scale).max() > FAR[4]:
        design = design.in_double()
    return design.mapped(scale, mean if center else 0.0)


def limit(design: Design) -> float:
    """How many times their deviation the means of columns may be from 0."""
    return FAR[design.dtype.itemsize] * (SPARSE if isinstance(design, CSR) else 1.0)


def centered(design: Design, targets: CheckedTargets) -> Design:
    """The same features, less their means where these are far larger than the deviations; constant ones are left out.

    With an intercept the optimum stays where it is, and what is computed of it has more digits.
    """
    mean, variance = spread(design, targets)
    varies = variance > 0
    far = varies & (np.abs(mean) > limit(design) * np.sqrt(variance))
    part = design.mapped(np.where(varies, design.scale, 0.0), np.where(far, mean, design.shift))
    return part.in_double() if far.any() else part


class Fit:
    """One fit: a problem over the classes that weigh something, and the estimator's attributes from its outcome."""

    def __init__(
        self, estimator: Any, design: Design, labels: Labels, sample_weight: Array | None, sibling: "Fit | None" = None
    ) -> None:
        self.estimator, self.labels, self.store = estimator, labels, design.stored_dtype
        self.c, self.sibling = len(labels.classes), sibling
        self._base: Problem | None = None
        self._narrow: tuple[Merged | None, Problem | None] | None = None
        targets = labels.targets(design.n, np.float64, sample_weight, estimator.class_weight, estimator.label_smoothing)
        totals = targets.class_totals(self.c)
        if not totals.sum() > 0:
            raise ValueError("there is nothing to fit: all weights are 0")
        weight = targets.kernel.weight
        if len(weight) and not weight.all():  # rows that weigh nothing would be in samples
            kept = np.flatnonzero(weight)
            design, targets = design.rows(kept), targets.rows(kept, self.c)
        everywhere = targets.kernel.smoothing > 0 or not estimator.fit_intercept
        self.active = np.flatnonzero((totals > 0) | everywhere)  # the others' intercepts would go to -inf
        self.whole = targets
        if len(self.active) < self.c:
            targets = targets.only(self.active, self.c)
        self.targets = targets
        self.design = standardized(design, targets, estimator.fit_intercept) if estimator.standardize else design
        self.binary = self.c == 2 and len(self.active) == 2

    @property
    def base(self) -> Problem:
        """Without a penalty; made once. With a sibling, in its units, and sharing what preconditions.

        Not a functools.cached_property: that of Python 3.11 holds a lock, which a child that is forked meanwhile
        would wait for without end.
        """
        if self._base is None:
            with threads.serially_if_small(operations(self.design, len(self.active))):
                self._base = self._make_base()
        return self._base

    def _make_base(self) -> Problem:
        own = Problem(
            self.design, self.targets, len(self.active), l1=0.0, l2=0.0, fit_intercept=self.estimator.fit_intercept,
            binary=self.binary,
        )  # fmt: skip
        if own.fit_intercept and own.columns.far(limit(self.design)).any():
            before, self.design = self.design, centered(self.design, self.targets)
            left_out = self.design.scale == 0  # constant columns, whose means are their values
            origin = np.where(left_out, own.columns.mean, (self.design.shift - before.shift) * before.scale)
            own = own.like(
                design=self.design, dtype=self.design.dtype, columns=None, origin=origin if origin.any() else None
            )
        if self.sibling is None or self.sibling.base.size != own.size:
            return own
        other = own.like(columns=own.columns.in_units(self.sibling.base.unit))
        other.cache = self.sibling.base.cache
        return other

    @property
    def narrow(self) -> tuple[Merged | None, Problem | None]:
        """Where many columns can be merged: how, and the base of the narrower problem; found once."""
        if self._narrow is None:
            merge = merged(self.base.design)
            self._narrow = merge, None
            if merge is not None:
                base = self.base.like(design=merge.design, columns=None, origin=None)
                logger.info("%d columns merged into %d", self.base.m, base.m)
                self._narrow = merge, base
        return self._narrow

    def problem(self, C: float, l1_ratio: float) -> Problem:
        """With the penalty; what was factored for one is there for the next."""
        share = strength(C, self.targets.total)
        return self.base.like(l1=l1_ratio * share, l2=(1 - l1_ratio) * share)

    def starts(self) -> list[Array]:
        """With warm_start the weights that the estimator has."""
        coef = getattr(self.estimator, "coef_", None) if getattr(self.estimator, "warm_start", False) else None
        if coef is None or len(self.active) < self.c:
            return []
        coef, problem = coef.toarray() if hasattr(coef, "toarray") else coef, self.base
        if coef.shape != (problem.r, problem.m):
            text = f"coef_ of shape {coef.shape} cannot be the start of a fit that has {(problem.r, problem.m)}"
            raise ValueError(text + ": set warm_start=False")
        return [problem.loaded(coef, np.broadcast_to(self.estimator.intercept_, problem.r))]

    def run(self, C: float, l1_ratio: float, starts: Sequence[Array] = ()) -> Outcome:
        """Minimise F from the best of `starts`, or from coef = 0."""
        estimator, solver = self.estimator, self.estimator.solver
        self.penalty = C, l1_ratio
        if len(self.active) == 1:
            zero = np.zeros((1, self.design.m), self.store)
            return self.settle(Outcome(np.zeros(0), zero, np.zeros(1, self.store), 1, 0.0, 0.0, 0.0, True, "none"))
        problem = self.problem(C, l1_ratio)
        name = choose(problem) if solver == "auto" else THEIRS.get(solver, solver)
        name = "lbfgs" if name == "proximal" and not problem.l1 else name
        logger.info(
            "%s features, %s classes, l1 %g, l2 %g: solver %s", problem.m, problem.c, problem.l1, problem.l2, name
        )

        def report(iteration: int, value: float, size: float) -> None:
            logger.info("iteration %d: F %.9g, largest gradient entry or decrement %.3g", iteration, value, size)

        def solve(problem: Problem, starts: Sequence[Array], most: int, store: Any) -> Outcome:
            return minimise(problem, starts, name, estimator.tol, most, store, report)

        merge, narrow = (None, None) if problem.l1 else self.narrow
        if merge is None or narrow is None:
            return self.settle(solve(problem, starts, estimator.max_iter, self.store))
        small = narrow.like(l2=problem.l2)
        smaller = []
        for coef, intercept in (problem.stored(start, np.float64) for start in starts):
            smaller.append(small.loaded(merge.project(coef), intercept))
        found = solve(small, smaller, estimator.max_iter, np.float64)
        theta = problem.loaded(merge.expand(found.coef), found.intercept)
        outcome = Judge(problem, self.store, estimator.tol)(theta)._replace(n_iter=found.n_iter, solver=found.solver)
        if found.converged and not outcome.converged:  # as its tolerance is lower than rounding of the merged columns
            more = solve(problem, [theta], estimator.max_iter - found.n_iter, self.store)
            return self.settle(more._replace(n_iter=found.n_iter + more.n_iter))
        converged = found.converged and outcome.converged
        return self.settle(outcome._replace(converged=converged, separable=found.separable, why=found.why))

    def settle(self, outcome: Outcome) -> Outcome:
        """With the rows of all classes, judged again where some weigh nothing.

        Their intercepts are finite, and so low that F rises by less than a tenth of tol, and no entry of the gradient
        changes by more, or by what is left of tol. Without them F* is the same.
        """
        if len(self.active) == self.c:
            return outcome
        coef, intercept = outcome.coef, outcome.intercept
        every, shift = np.zeros((self.c, coef.shape[1]), coef.dtype), np.zeros(self.c)
        every[self.active], shift[self.active] = coef, intercept
        others = np.delete(np.arange(self.c), self.active)
        lowest = self.design.lowest(coef.mean(0, dtype=np.float64)) + float(intercept.mean())
        shift[others] = lowest + math.log(self._rise(outcome) / len(others))
        shift -= shift.mean()
        if self.c == 2:
            every, shift = every[1:] - every[:1], shift[1:] - shift[:1]
        shift = shift.astype(coef.dtype)
        C, l1_ratio = self.penalty
        share = strength(C, self.targets.total)
        problem = self.base.like(
            targets=self.whole, c=self.c, l1=l1_ratio * share, l2=(1 - l1_ratio) * share, fit_intercept=True,
            binary=self.c == 2, dtype=np.float64, columns=self.base.columns,
        )  # fmt: skip
        theta = problem.loaded(every, shift)
        value, gradient = problem.loss_gradient(theta)
        optimality, value = problem.optimality(theta, gradient), value + problem.l1_norm(theta)
        gap, tol = outcome.gap + value - outcome.value, self.estimator.tol
        rise = value - outcome.value if np.isnan(gap) else gap
        converged = rise <= tol and (outcome.converged or optimality <= tol)
        return outcome._replace(
            coef=every, intercept=shift, value=value, optimality=optimality, gap=gap, converged=bool(converged)
        )

    def _rise(self, outcome: Outcome) -> float:
        """The most that classes without weight may have of the probability of a row."""
        design, tol = self.design, max(self.estimator.tol, 1e-10)
        left = tol - float(np.fmax(outcome.optimality, outcome.gap))
        origin = 0.0 if self.base.origin is None else self.base.origin / np.where(design.scale == 0, 1, design.scale)
        squares = design.moments(self.targets.kernel.weight, design.shift - origin)[1]
        reach = np.abs(design.scale) * np.sqrt(squares / self.targets.total)  # at least the mean of a feature's size
        return float(min(0.1 * tol, max(left, 1e-3 * tol))) / max(1.0, float(reach.max(initial=0.0)))
