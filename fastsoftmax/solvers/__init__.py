"""Solvers of a `Problem`, none of which knows X: a new one is a file and a line of the registry.

A solver takes (problem, theta, stop, max_iter, report) and returns a `Result`. `minimise` calls it, lets its successor
go on where it stalls, and judges where that ended.
"""

from fastsoftmax.solvers.minimise import Judge, Outcome, minimise
from fastsoftmax.solvers.registry import SOLVERS, Solver, choose

__all__ = ["SOLVERS", "Judge", "Outcome", "Solver", "choose", "minimise"]
