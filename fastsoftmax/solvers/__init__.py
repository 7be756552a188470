"""Solvers of a `Problem`, none of which knows X: a new one is a file and a line of the registry.

A solver takes (problem, theta, stop, max_iter, report) and returns a `Result`. `minimise` calls it, and judges where it
ended by the certificate in float64, at the weights as they are stored.
"""

import hashlib
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsoftmax._blas import single_threaded
from fastsoftmax.problem import Problem
from fastsoftmax.solvers import lbfgs, newton, proximal
from fastsoftmax.solvers.result import Report, Result, Stop

__all__ = ["SOLVERS", "Outcome", "Solver", "choose", "minimise"]
Array = NDArray[Any]
STRICTER = (0.7, 0.1, 1e-2, 1e-3)  # shares of tol that a solver is given, one after another, until tol holds


class Solver(NamedTuple):
    """A method, and the penalties that it takes."""

    solve: Callable[[Problem, Array, Stop, int, Report], Result]
    l1: bool
    l2: bool


SOLVERS = {
    "lbfgs": Solver(lbfgs.solve, l1=False, l2=True),
    "newton": Solver(newton.solve, l1=False, l2=True),
    "proximal": Solver(proximal.solve, l1=True, l2=True),
}


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
    solver: str


def choose(problem: Problem) -> str:
    """The solver that suits: "proximal" with an l1 penalty, "newton" where the whole Hessian is small, else "lbfgs"."""
    if problem.l1:
        return "proximal"
    return "newton" if newton.whole(problem) else "lbfgs"


def minimise(
    problem: Problem, theta: Array, solver: str, tol: float, max_iter: int, store: Any, report: Report
) -> Outcome:
    """Minimise F from theta, until its gradient and its duality gap are at most tol, or for max_iter iterations."""
    spent, exact = 0, problem.like(dtype=np.float64)
    found: dict[bytes, Outcome] = {}

    def look(theta: Array, n_iter: int = 0) -> Outcome:
        key = theta.tobytes() if theta.size < 1000 else hashlib.sha256(theta.data).digest()
        if key not in found:
            found.clear()
            found[key] = _judge(exact, theta, store, tol, solver)
        return found[key]._replace(n_iter=n_iter)

    with single_threaded():
        for share in STRICTER:
            stop = Stop(share * tol, lambda point: look(point).converged)
            result = SOLVERS[solver].solve(problem if spent == 0 else exact, theta, stop, max_iter - spent, report)
            moved = spent == 0 or bool((result.theta != theta).any())
            theta, spent = result.theta, spent + result.n_iter
            outcome = look(theta, spent)
            if spent >= max_iter or outcome.converged or not moved:
                break
    return outcome


def _judge(exact: Problem, theta: Array, store: Any, tol: float, solver: str) -> Outcome:
    """The certificate of theta as it is stored."""
    coef, intercept = exact.stored(theta, store)
    stored = exact.loaded(coef, intercept)
    value, gradient = exact.loss_gradient(stored)
    optimality, gap = exact.optimality(stored, gradient), exact.gap(stored, value, gradient)
    converged = optimality <= tol and (np.isnan(gap) or gap <= tol)
    value += exact.l1_norm(stored)
    return Outcome(stored, coef, intercept, 0, value, optimality, gap, bool(converged), solver)
