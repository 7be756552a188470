"""From a start to the optimum: solvers in turn, judged in float64 by the certificate of what will be stored."""

import hashlib
import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsoftmax.engine import threads
from fastsoftmax.engine.blas import single_threaded
from fastsoftmax.objective import certificate
from fastsoftmax.objective.problem import Problem
from fastsoftmax.solvers import proof
from fastsoftmax.solvers.newton import affordable
from fastsoftmax.solvers.registry import SOLVERS
from fastsoftmax.solvers.result import Report, Result, Stop
from fastsoftmax.solvers.sampling import even, well_behaved

logger = logging.getLogger("fastsoftmax")
Array = NDArray[Any]
STRICTER = (0.7, 0.1, 1e-2, 1e-3)  # shares of tol that a solver is given, one after another, until tol holds


class Outcome(NamedTuple):
    """Where a fit ended, and how good that is: all in float64, at the stored weights."""

    theta: Array
    coef: Array  # (r, m) of the features as they are in X
    intercept: Array  # (r,)
    n_iter: int
    value: float  # F
    optimality: float
    gap: float
    converged: bool
    solver: str  # those that took part, in order
    separable: bool = False  # no penalty, and F falls without end: there is no optimum
    why: str = ""  # it did not converge: "iterations", "rounding", or "storage" where coef is of less than float64


class Judge:
    """The certificate of points as they are stored, in float64."""

    def __init__(self, problem: Problem, store: Any, tol: float) -> None:
        self.problem, self.store, self.tol = problem.like(dtype=np.float64), np.dtype(store), tol
        self.penalised = bool(problem.l1 or problem.l2)
        self.bound = problem.data.entropy()  # what F* is at least
        self._last: tuple[bytes, Outcome] | None = None

    def __call__(self, theta: Array) -> Outcome:
        """The outcome if a fit ended here; that of the last point is remembered."""
        key = theta.tobytes() if theta.size < 1000 else hashlib.sha256(theta.data).digest()
        if self._last is None or self._last[0] != key:
            self._last = key, self._look(theta)
        return self._last[1]

    def proved(self, outcome: Outcome, confirmed: bool) -> Outcome:
        """The same by a step of Newton's method: F may be right, and rounding alone keep gradient or gap up.

        confirmed: a solver expects no more of further steps; where F has no minimum that is all there is to say.
        """
        found = proof.prove(self.problem, outcome.theta)
        self.bound = max(self.bound, found.bound)
        gap = max(0.0, outcome.value - self.bound)
        beyond_noise = self.tol > 1e-14 * (1 + abs(outcome.value))
        right = gap <= self.tol or (confirmed and found.decrease <= self.tol)
        return outcome._replace(gap=gap if self.penalised else np.nan, converged=beyond_noise and right)

    def holds(self, outcome: Outcome, theta: Array) -> bool:
        """Whether rounding theta to what is stored lost no more than tol."""
        if self.store == np.float64:
            return True
        value = self.problem.loss_gradient(theta)[0] + self.problem.l1_norm(theta)
        return bool(outcome.value - value <= self.tol)

    def _look(self, theta: Array) -> Outcome:
        problem = self.problem
        coef, intercept = problem.stored(theta, self.store)
        stored = problem.loaded(coef, intercept)
        value, optimality = self._measure(stored)
        gap = self._gap(value)
        good = optimality <= self.tol and not gap > self.tol
        if not good and self.store != np.float64:  # a bound from where it was before rounding is as true
            near, ideal = self._measure(theta)
            gap = self._gap(value)
            lost = value - near if np.isnan(gap) else gap
            good = ideal <= self.tol and lost <= self.tol
        return Outcome(stored, coef, intercept, 0, value, optimality, gap, bool(good), "")

    def _measure(self, theta: Array) -> tuple[float, float]:
        """F and the largest entry of its subgradient; what F* is at least is remembered."""
        value, gradient = self.problem.loss_gradient(theta)
        if self.penalised:
            self.bound = max(self.bound, certificate.bound(self.problem, theta, value, gradient))
        return value + self.problem.l1_norm(theta), self.problem.optimality(theta, gradient)

    def _gap(self, value: float) -> float:
        gap = value - self.bound
        return (0.0 if gap < 0 else gap) if self.penalised else float("nan")  # nan where F is


def _start(problem: Problem, starts: Sequence[Array]) -> Array:
    """Where to begin: at the best of some points, unless coef = 0 with the best intercept is better."""
    best = problem.null()
    for theta in starts:
        point = _shrunk(problem, theta) if np.isfinite(theta).all() else best
        best = point if point[1] <= best[1] else best
    return best[0]


def _shrunk(problem: Problem, theta: Array) -> tuple[Array, float]:
    """(theta, or a fraction of it where F is much lower; F there): from weights far too large no curvature is seen."""
    smooth, gradient = problem.loss_gradient(theta)
    norm = problem.l1_norm(theta)
    with np.errstate(over="ignore", invalid="ignore"):
        value, along = smooth + norm, float(gradient @ theta) + norm
    while along > 0.25 * value:
        less = 0.25 * theta
        lower = problem.loss_gradient(less)[0] + problem.l1_norm(less)
        if not lower < value:
            break
        theta, value = less, lower
    return theta, value


def minimise(
    problem: Problem, starts: Sequence[Array], solver: str, tol: float, max_iter: int, store: Any, report: Report
) -> Outcome:
    """Minimise F from the best of `starts`, until gradient and duality gap are at most tol, or for max_iter iterations.

    Where a solver makes no progress, the next one goes on from there, in float64. F is never higher than at
    any of them, or at coef = 0 with the best intercept, but for the rounding to `store`; for max_iter=0 without a
    start, all weights are 0.
    """
    judge = Judge(problem, store, tol)
    with single_threaded(), threads.serially_if_small(problem.operations):
        nothing = not starts and max_iter == 0  # as scikit-learn's
        start = theta = np.zeros(problem.size) if nothing else _start(problem, starts)
        spent, names = 0, [solver]
        while True:
            at = problem if spent == 0 else judge.problem
            result = _run(at, theta, names[-1], judge, max_iter - spent, report)
            theta, spent = result.theta, spent + result.n_iter
            outcome, successor = judge(theta), SOLVERS[names[-1]].successor
            confirmed = not judge.penalised and _confirmed(judge, outcome, result, theta)
            if not judge.penalised:
                at_least = outcome.value <= judge.bound + tol
                sure = confirmed and (at_least or not affordable(judge.problem) or well_behaved(judge.problem))
                outcome = outcome._replace(separable=result.separable, converged=sure)
            if outcome.converged or spent >= max_iter or successor is None:
                break
            logger.info("%s ends after %d iterations: %s goes on", names[-1], spent, successor)
            names.append(successor)
        if not outcome.converged:
            first = judge(start)
            if not outcome.value <= first.value:
                outcome = first._replace(converged=first.converged and judge.penalised)
        if not outcome.converged and (spent < max_iter or confirmed):
            outcome = judge.proved(outcome, confirmed)
        stored = outcome.converged or spent >= max_iter or judge.holds(outcome, theta)
    why = "" if outcome.converged else "iterations" if spent >= max_iter else "rounding" if stored else "storage"
    return outcome._replace(n_iter=spent, solver=", ".join(names), why=why)


def _confirmed(judge: Judge, outcome: Outcome, result: Result, theta: Array) -> bool:
    """Whether a fit without a penalty may end where Newton's method does, as it is stored."""
    if not result.confirmed:
        return False
    gradient = judge.problem.loss_gradient(theta)[1]
    good = outcome.converged or (result.stalled and judge.holds(outcome, theta))  # and rounding keeps the gradient up
    return bool(good and even(judge.problem, gradient, judge.tol))


def _run(problem: Problem, theta: Array, name: str, judge: Judge, max_iter: int, report: Report) -> Result:
    """Where one solver gets, aiming lower until the point, as stored, will do."""
    spent = 0
    for share in STRICTER:
        stop = Stop(share * judge.tol, lambda point: judge(point).converged)
        result = SOLVERS[name].solve(problem if spent == 0 else judge.problem, theta, stop, max_iter - spent, report)
        moved = spent == 0 or bool((result.theta != theta).any())
        theta, spent = result.theta, spent + result.n_iter
        if spent >= max_iter or result.stalled or not moved or judge(theta).converged:
            break
    return result._replace(n_iter=spent)
