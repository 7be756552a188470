"""L-BFGS (Liu & Nocedal 1989) with a preconditioner in place of a multiple of the identity.

What preconditions is built again as the point moves, more and more rarely; the memory stays. A fit of many rows begins
on some of them. What was built, and the memory, are there for the next strength of the penalty.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsoftmax.problem import Problem
from fastsoftmax.solvers import preconditioners
from fastsoftmax.solvers.diagonal import Diagonal
from fastsoftmax.solvers.line_search import search
from fastsoftmax.solvers.memory import PAIRS, Memory
from fastsoftmax.solvers.preconditioners import Preconditioner
from fastsoftmax.solvers.result import Report, Result, Stop
from fastsoftmax.solvers.sampling import spaced
from fastsoftmax.vectors import moved, product

Array = NDArray[Any]
SAMPLE, PART, FINER = 5_000, 4, 5  # rows of the smallest sample; shares of the rows that samples have
EACH = 8  # rows at least for each feature: of fewer, weights fit what is theirs alone
STEPS, MORE = 6, 4  # on the first sample, and on each that follows
MISLED = 0.2  # of the fall of F on a sample that all rows do not see
PATIENCE, DIAGONAL = 25, 6  # iterations without progress; where but a diagonal preconditions, Newton's method is better
SOON, OFTEN = 8, 8  # iterations until what preconditions is built, and built again
EXACT = np.dtype(np.float64)


class Descent:
    """One run: a point, its gradient, and the memory."""

    def __init__(
        self, problem: Problem, theta: Array, precondition: Preconditioner, memory: Memory | None = None
    ) -> None:
        self.theta, self.precondition = theta, precondition
        self.memory = Memory(len(theta)) if memory is None else memory
        self.use(problem)

    def use(self, problem: Problem) -> None:
        """Go on with another problem."""
        self.problem = problem
        self.value, self.gradient = problem.loss_gradient(self.theta)
        self.memory.look(self.gradient)
        self._aimed: tuple[Array, float] | None = None

    def sharpen(self, precondition: Preconditioner) -> None:
        """Go on with another preconditioner."""
        self.precondition, self._aimed = precondition, None

    def aim(self) -> tuple[Array, float]:
        """The direction from here, and the slope of F along it."""
        if self._aimed is None:
            direction = self.memory.direction(self.gradient, self.precondition)
            slope = product(self.gradient, direction)
            if self.memory.slots and not (slope < 0 and np.isfinite(slope)):
                self.memory.clear()
                return self.aim()
            self._aimed = direction, slope
        return self._aimed

    @property
    def decrement(self) -> float:
        """Some 2 (F - F*), as far as the memory knows the Hessian."""
        return -self.aim()[1]

    def step(self) -> bool:
        """One iteration; False if rounding, or nothing left to gain, allowed none."""
        direction, slope = self.aim()
        found = search(self.problem, self.theta, self.value, direction, slope) if slope < 0 else None
        if found is None:
            return False
        t, before = found[0], self.gradient
        self.theta, self.value, self.gradient = moved(self.theta, t, direction), found[1], found[2]
        self.memory.add(direction, t, before, self.gradient)
        self._aimed = None
        return True


def sketched(problem: Problem, theta: Array, precondition: Preconditioner) -> Array:
    """A point to start from: a few steps on samples of the rows, each larger than the last, at a fraction of the price.

    Unless all rows see little of what a sample gained.
    """
    n = problem.design.n
    rows: list[int] = []
    while n // (PART * FINER ** len(rows)) >= max(SAMPLE, EACH * problem.m):
        rows.append(n // (PART * FINER ** len(rows)))
    before, null = None, problem.null()[1]
    for i, count in enumerate(rows[::-1]):
        part = problem.subsample(spaced(n, count))
        descent = Descent(part, theta, precondition if i == 0 else preconditioners.sharper(part, theta))
        if before is not None and descent.value - before > MISLED * (null - before):
            return problem.null()[0]
        for _ in range(STEPS if i == 0 else MORE):
            if descent.decrement < 1e-4 or not descent.step():
                break
        theta, before = descent.theta, descent.value
    return theta


class Schedule:
    """When the preconditioner is built again: the nearer to the optimum, the longer the probabilities stay true.

    After `wait` iterations, those of earlier fits included; then after twice as many each time, and no fewer than it
    costs.
    """

    def __init__(self, problem: Problem, wait: float) -> None:
        self.cache, self.wait = problem.cache, wait
        self.before, self.cache["fit"] = self.cache.get("fit", 0), 0  # iterations of the last fit, and of this one

    def built(self, descent: Descent) -> None:
        """Counts an iteration, and builds what is due: of blocks no more than as many iterations were spent."""
        self.cache["fit"] += 1
        self.cache["spent"] = self.cache.get("spent", -1) + 1
        if self.cache["spent"] >= self.wait:
            patience = self.cache["fit"] + self.before
            descent.sharpen(preconditioners.sharper(descent.problem, descent.theta, patience))
            self.cache["spent"] = 0
            self.wait = max(2 * self.wait, OFTEN, 3 * preconditioners.cost(descent.problem, patience))


def _begun(problem: Problem, theta: Array) -> tuple[Descent, Schedule]:
    """A run from theta, with what an earlier one has left, or from where a sample of the rows led."""
    kept = preconditioners.remembered(problem)
    if kept is not None:
        wait = max(OFTEN, 2 * preconditioners.cost(problem))
        return Descent(problem, theta, kept, _recalled(problem)), Schedule(problem, wait)
    precondition, wait = preconditioners.shared(problem), 0
    if problem.fresh(theta):
        start = sketched(problem, theta, precondition)
        cost = preconditioners.cost(problem)
        wait = 0 if start is not theta and cost <= SOON else int(np.clip(cost, 3, SOON))
        theta = start
    return Descent(problem, theta, precondition), Schedule(problem, wait)


def _recalled(problem: Problem) -> Memory | None:
    """The memory of the last fit of the same rows, as the penalty of this problem has it."""
    memory, l2 = problem.own.get("memory", (None, 0.0))
    if memory is not None and l2 != problem.l2:
        curvature = np.zeros(problem.size)
        problem.split(curvature)[0][...] = (problem.l2 - l2) * problem.unit**2
        memory.change(curvature)
    return memory  # type: ignore[no-any-return]


def solve(problem: Problem, theta: Array, stop: Stop, max_iter: int, report: Report) -> Result:
    """Minimise the smooth F from theta, in the dtype of the problem and, where that is at its end, in float64."""
    descent, schedule = _begun(problem, theta)
    if descent.memory.pairs == PAIRS:
        problem.own["memory"] = descent.memory, problem.l2
    best, lowest, since = np.inf, np.inf, 0
    for iteration in range(max_iter):
        report(iteration, descent.value, descent.decrement)
        exact = descent.problem.dtype == EXACT
        good = stop(descent.problem, descent.theta, descent.value, descent.gradient)
        if good and (exact or stop.judge(descent.theta)):
            return Result(descent.theta, iteration)
        if not good:
            schedule.built(descent)
        moved = not good and descent.step()
        if descent.decrement < 0.7 * best or descent.value < lowest - max(stop.tol, 0.01 * abs(lowest)):
            best, lowest, since = min(best, descent.decrement), descent.value, 0
        else:
            since += 1
        patience = DIAGONAL if isinstance(descent.precondition, Diagonal) else PATIENCE
        stalled = since >= patience or (not exact and since >= 8 and descent.decrement < 1e-6)
        if not moved or stalled:
            if exact or (stalled and patience == DIAGONAL):
                return Result(descent.theta, iteration, stalled=True)
            descent.use(descent.problem.like(dtype=EXACT))
            best, lowest, since = np.inf, np.inf, 0
    return Result(descent.theta, max_iter)
