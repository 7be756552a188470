"""One fit: what penalty, labels and weights ask for, as a problem; and the outcome for all classes."""

import contextlib
import logging
import math
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsoftmax.engine import threads
from fastsoftmax.estimators import progress
from fastsoftmax.estimators.labels import Labels
from fastsoftmax.estimators.penalty import THEIRS, strength
from fastsoftmax.estimators.rows import weighing
from fastsoftmax.objective.base import Narrower
from fastsoftmax.objective.centering import centered, limit, standardized
from fastsoftmax.objective.fingerprint import fingerprint_of
from fastsoftmax.objective.journal import Journal, key_of
from fastsoftmax.objective.over import Rows, objective_over
from fastsoftmax.objective.problem import Problem, operations
from fastsoftmax.solvers import Judge, Outcome, choose, minimise

logger = logging.getLogger("fastsoftmax")
FREE = ("max_iter", "n_jobs", "random_state", "verbose")  # parameters that may change while a fit goes on
Array = NDArray[Any]


class Fit:
    """One fit: a problem over the classes that weigh something, and the estimator's attributes from its outcome."""

    def __init__(
        self, estimator: Any, rows: Rows, labels: Labels, sample_weight: Array | None, sibling: "Fit | None" = None
    ) -> None:
        self.estimator, self.labels, self.c, self.sibling = estimator, labels, len(labels.classes), sibling
        self.journal: Journal | None = None
        self.history: list[dict[str, float]] = []
        self._base: Problem | None = None
        self._narrow: tuple[Narrower | None, Problem | None] | None = None
        targets = labels.targets(rows.n, np.float64, sample_weight, estimator.class_weight, estimator.label_smoothing)
        totals = targets.class_totals()
        if not totals.sum() > 0:
            raise ValueError("there is nothing to fit: all weights are 0")
        rows, targets = weighing(rows, targets)
        everywhere = targets.kernel.smoothing > 0 or not estimator.fit_intercept
        self.active = np.flatnonzero((totals > 0) | everywhere)  # the others' intercepts would go to -inf
        self.rows, self.targets = rows, targets
        every = len(self.active) == self.c
        objective = objective_over(rows, targets if every else targets.only(self.active))
        self.store = objective.stored_dtype
        self.objective = standardized(objective, estimator.fit_intercept) if estimator.standardize else objective
        self.binary = self.c == 2 and len(self.active) == 2

    @contextlib.contextmanager
    def written_to(self, path: str | os.PathLike[str] | None) -> Iterator[None]:
        """What passes give is written there, and read where the file is there; before anything is fitted."""
        if path is None:
            yield
            return
        params = {name: value for name, value in self.estimator.get_params().items() if name not in FREE}
        start = None if not self.starts_warm else (self.estimator.coef_, self.estimator.intercept_)
        known = (fingerprint_of(self.rows, self.targets), self.labels.classes, repr(sorted(params.items())))
        self.journal = Journal(path, key_of(type(self.estimator).__name__, *known, *(start or ())))
        try:
            yield
        finally:
            self.journal.close()

    @property
    def starts_warm(self) -> bool:
        """Whether weights of an earlier fit are a start."""
        return bool(getattr(self.estimator, "warm_start", False)) and hasattr(self.estimator, "coef_")

    @property
    def base(self) -> Problem:
        """Without a penalty; made once. With a sibling, in its units, and sharing what preconditions.

        Not a functools.cached_property: that of Python 3.11 holds a lock, which a child that is forked meanwhile
        would wait for without end.
        """
        if self._base is None:
            with threads.serially_if_small(operations(self.objective)):
                self._base = self._make_base()
        return self._base

    def _make_base(self) -> Problem:
        own = Problem(
            self.objective, l1=0.0, l2=0.0, fit_intercept=self.estimator.fit_intercept, binary=self.binary,
            journal=self.journal,
        )  # fmt: skip
        if own.fit_intercept and own.columns.far(limit(self.objective)).any():
            before, self.objective = self.objective, centered(self.objective)
            left_out = self.objective.scale == 0  # constant columns, whose means are their values
            origin = np.where(left_out, own.columns.mean, (self.objective.shift - before.shift) * before.scale)
            moved = origin if origin.any() else None
            own = own.like(self.objective, columns=None, origin=moved, journal=self.journal)
        if self.sibling is None or self.sibling.base.size != own.size:
            return own
        other = own.like(columns=own.columns.in_units(self.sibling.base.unit))
        other.cache = self.sibling.base.cache
        return other

    @property
    def narrow(self) -> tuple[Narrower | None, Problem | None]:
        """Where many columns can be merged: how, and the base of the narrower problem; found once."""
        if self._narrow is None:
            merge = self.base.data.merged()
            self._narrow = merge, None
            if merge is not None:
                base = self.base.like(merge.objective, columns=None, origin=None)
                logger.info("%d columns merged into %d", self.base.m, base.m)
                self._narrow = merge, base
        return self._narrow

    def problem(self, C: float, l1_ratio: float) -> Problem:
        """With the penalty; what was factored for one is there for the next."""
        share = strength(C, self.objective.total)
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
            zero = np.zeros((1, self.objective.m), self.store)
            return self.settle(Outcome(np.zeros(0), zero, np.zeros(1, self.store), 1, 0.0, 0.0, 0.0, True, "none"))
        problem = self.problem(C, l1_ratio)
        name = choose(problem) if solver == "auto" else THEIRS.get(solver, solver)
        name = "lbfgs" if name == "proximal" and not problem.l1 else name
        logger.info(
            "%s features, %s classes, l1 %g, l2 %g: solver %s", problem.m, problem.c, problem.l1, problem.l2, name
        )

        def report(iteration: int, value: float, size: float, gap: Callable[[], float]) -> None:
            now = {"iteration": len(self.history), "objective": value, "gap": math.nan, "gradient": size}
            line, logged = progress.line(), logger.isEnabledFor(logging.INFO)
            if line or logged:  # it takes time, and is not needed to go on
                now["gap"] = gap()
            if line:
                line.show(iteration, value, now["gap"])
            if logged:
                text = "iteration %d: F %.9g, gap %.3g, largest gradient entry or decrement %.3g"
                logger.info(text, iteration, value, now["gap"], size)
            self.history.append(now)

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
        lowest = self.objective.lowest(coef.mean(0, dtype=np.float64)) + float(intercept.mean())
        shift[others] = lowest + math.log(self._rise(outcome) / len(others))
        shift -= shift.mean()
        if self.c == 2:
            every, shift = every[1:] - every[:1], shift[1:] - shift[:1]
        shift = shift.astype(coef.dtype)
        C, l1_ratio = self.penalty
        share = strength(C, self.objective.total)
        data = self.base.data
        problem = self.base.like(
            objective_over(self.rows, self.targets, np.float64).mapped(data.scale, data.shift),
            l1=l1_ratio * share, l2=(1 - l1_ratio) * share, fit_intercept=True, binary=self.c == 2,
            columns=self.base.columns,
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
        data, tol = self.objective, max(self.estimator.tol, 1e-10)
        left = tol - float(np.fmax(outcome.optimality, outcome.gap))
        origin = 0.0 if self.base.origin is None else self.base.origin / np.where(data.scale == 0, 1, data.scale)
        squares = data.moments(data.shift - origin)[1]
        reach = np.abs(data.scale) * np.sqrt(squares / self.objective.total)  # at least the mean of a feature's size
        return float(min(0.1 * tol, max(left, 1e-3 * tol))) / max(1.0, float(reach.max(initial=0.0)))
