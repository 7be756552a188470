"""From a start to the optimum: solvers in turn, judged in float64 by the certificate of what will be stored."""

import hashlib
import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsoftmax import _jit
from fastsoftmax._blas import single_threaded
from fastsoftmax.problem import Problem
from fastsoftmax.solvers.registry import SOLVERS
from fastsoftmax.solvers.result import Report, Result, Stop
from fastsoftmax.solvers.sampling import spaced

logger = logging.getLogger("fastsoftmax")
Array = NDArray[Any]
LOOKED_AT = 1 << 20  # entries of X that tell how large features usually are
EVEN = 10.0  # times tol
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
    why: str = ""  # it did not converge: "iterations" or "rounding"


class Judge:
    """The certificate of points as they are stored, in float64."""

    def __init__(self, problem: Problem, store: Any, tol: float) -> None:
        self.problem, self.store, self.tol = problem.like(dtype=np.float64), np.dtype(store), tol
        self.penalised, self.bound = bool(problem.l1 or problem.l2), -np.inf  # what F* is at least
        self._last: tuple[bytes, Outcome] | None = None

    def __call__(self, theta: Array) -> Outcome:
        """The outcome if a fit ended here; that of the last point is remembered."""
        key = theta.tobytes() if theta.size < 1000 else hashlib.sha256(theta.data).digest()
        if self._last is None or self._last[0] != key:
            self._last = key, self._look(theta)
        return self._last[1]

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
            self.bound = max(self.bound, self.problem.bound(theta, value, gradient))
        return value + self.problem.l1_norm(theta), self.problem.optimality(theta, gradient)

    def _gap(self, value: float) -> float:
        return max(0.0, value - self.bound) if self.penalised else float("nan")


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
    with single_threaded(), _jit.serially_if_small(problem.operations):
        nothing = not starts and max_iter == 0  # as scikit-learn's
        start = theta = np.zeros(problem.size) if nothing else _start(problem, starts)
        spent, names = 0, [solver]
        while True:
            at = problem if spent == 0 else judge.problem
            result = _run(at, theta, names[-1], judge, max_iter - spent, report)
            theta, spent = result.theta, spent + result.n_iter
            outcome, successor = judge(theta), SOLVERS[names[-1]].successor
            if not judge.penalised:
                value, gradient = judge.problem.loss_gradient(theta)
                held = outcome.value - value <= tol  # by coefficients as stored
                good = outcome.converged or (result.stalled and held)  # rounding keeps the gradient up, and F is right
                sure = result.confirmed and good and _even(judge.problem, gradient, tol)
                outcome = outcome._replace(converged=sure, separable=result.separable)
            if outcome.converged or spent >= max_iter or successor is None:
                break
            logger.info("%s ends after %d iterations: %s goes on", names[-1], spent, successor)
            names.append(successor)
        if not outcome.converged:
            first = judge(start)
            if not outcome.value <= first.value:
                outcome = first._replace(converged=first.converged and judge.penalised)
        outcome = outcome._replace(n_iter=spent, solver=", ".join(names))
        if not outcome.converged and spent < max_iter and judge.penalised and _weightless(judge.problem, outcome):
            logger.info("the penalty is lost in the rounding of F: it is left out, and there is no gap")
            free, left = problem.like(l1=0.0, l2=0.0), max_iter - spent
            found = minimise(free, [outcome.theta], "newton", tol, left, store, report)
            if _weightless(judge.problem, found) and found.optimality <= tol:  # else a huge row may hide all others
                names += ["newton"] * (found.n_iter > 0 and names[-1] != "newton")
                return found._replace(n_iter=spent + found.n_iter, solver=", ".join(names))
    if outcome.converged or spent >= max_iter:
        return outcome._replace(why="" if outcome.converged else "iterations")
    beyond_noise = tol > 1e-14 * (1 + abs(outcome.value))
    proved = beyond_noise and outcome.gap <= tol  # F is right, and rounding alone keeps the gradient up
    return outcome._replace(converged=proved, why="" if proved else "rounding")


def _even(problem: Problem, gradient: Array, tol: float) -> bool:
    """Whether the gradient is small in features as large as they usually are, the median of some rows.

    One row far larger than all others, and decided, makes it small by the size of its column alone.
    """
    n, m = problem.design.n, problem.m
    count = min(n, max(1, LOOKED_AT // m))
    X = np.empty((count, m))
    problem.objective.design.rows(spaced(n, count)).block(0, count, X)
    np.abs(X, out=X).sort(0)
    zeros = (X == 0).sum(0)
    usual = X[np.minimum((zeros + count) // 2, count - 1), np.arange(m)]
    with np.errstate(over="ignore"):
        return not (np.abs(problem.split(gradient)[0]) > EVEN * tol * np.where(usual > 0, usual, np.inf)).any()


def _weightless(problem: Problem, outcome: Outcome) -> bool:
    """Whether what is penalised is so little that F would be the same without: then no gap can be computed."""
    coef = problem.split(outcome.theta)[0]
    penalty = problem.l1_norm(outcome.theta) + 0.5 * float(np.einsum("ij,ij,j->", coef, coef, problem.penalty2))
    return bool(coef.any()) and penalty <= 1e-14 * outcome.value


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
