"""Which solvers there are, what they take, and which takes over where one makes no progress."""

from collections.abc import Callable
from typing import Any, NamedTuple

from numpy.typing import NDArray

from fastsoftmax.objective.problem import Problem
from fastsoftmax.solvers import lbfgs, newton, proximal
from fastsoftmax.solvers.result import Report, Result, Stop

Array = NDArray[Any]


class Solver(NamedTuple):
    """A method, and the penalties that it takes."""

    solve: Callable[[Problem, Array, Stop, int, Report], Result]
    l1: bool
    l2: bool
    successor: str | None  # goes on from where it stalled


SOLVERS = {
    "lbfgs": Solver(lbfgs.solve, l1=False, l2=True, successor="newton"),
    "newton": Solver(newton.solve, l1=False, l2=True, successor=None),
    "proximal": Solver(proximal.solve, l1=True, l2=True, successor=None),
}


def choose(problem: Problem) -> str:
    """The solver that suits: "proximal" with an l1 penalty, "newton" where the whole Hessian is small, else "lbfgs"."""
    if problem.l1:
        return "proximal"
    return "newton" if newton.whole(problem) else "lbfgs"
