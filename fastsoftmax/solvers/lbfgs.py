"""L-BFGS (Liu & Nocedal 1989) with a preconditioner in place of a multiple of the identity.

The inverse Hessian is kept in compact form (Byrd, Nocedal & Schnabel 1994, theorem 2.2): products with the matrices of
past steps and of preconditioned changes of the gradient. Then an iteration takes one application of the preconditioner.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from fastsoftmax.problem import Problem
from fastsoftmax.solvers import preconditioners
from fastsoftmax.solvers.line_search import search
from fastsoftmax.solvers.preconditioners import Preconditioner
from fastsoftmax.solvers.result import Report, Result, Stop

Array = NDArray[Any]
MEMORY_BYTES = 256 << 20
PAIRS = 30
SUBSAMPLE = 10_000  # rows above which a start on a subsample pays
EXACT = np.dtype(np.float64)


class Memory:
    """Past steps s, and preconditioned changes M y of the gradient."""

    def __init__(self, size: int) -> None:
        self.pairs = int(np.clip(MEMORY_BYTES // (16 * size), 5, PAIRS))
        self.S, self.MY = np.empty((self.pairs, size)), np.empty((self.pairs, size))
        self.SY, self.YMY = np.zeros((self.pairs, self.pairs)), np.zeros((self.pairs, self.pairs))
        self.slots: list[int] = []  # oldest first
        self.scale = 1.0

    def add(self, s: Array, y: Array, My: Array) -> None:
        sy, ymy = float(s @ y), float(y @ My)
        if not sy > 1e-10 * np.sqrt(max(float(s @ s) * float(y @ y), 0.0)) or not ymy > 0:
            return
        slot = self.slots.pop(0) if len(self.slots) == self.pairs else len(self.slots)
        self.slots.append(slot)
        self.S[slot], self.MY[slot] = s, My
        used = len(self.slots)
        self.SY[:used, slot] = self.S[:used] @ y
        self.YMY[:used, slot] = self.YMY[slot, :used] = self.MY[:used] @ y
        self.scale = sy / ymy

    def direction(self, gradient: Array, Mg: Array) -> Array:
        """- (inverse Hessian) gradient"""
        used = len(self.slots)
        if used == 0:
            return -Mg
        order = np.array(self.slots)
        pick = np.ix_(order, order)
        S, MY, R = self.S[:used], self.MY[:used], np.triu(self.SY[pick])
        a, b = (S @ gradient)[order], self.scale * (MY @ gradient)[order]
        u = solve_triangular(R, a)
        middle = np.diag(R) * u + self.scale * (self.YMY[pick] @ u) - b
        t = solve_triangular(R, middle, trans=1)
        left, right = np.empty(used), np.empty(used)
        left[order], right[order] = t, self.scale * u
        return -(self.scale * Mg + left @ S - right @ MY)


class Descent:
    """One run: a point, its gradient, and the memory."""

    def __init__(self, problem: Problem, theta: Array, precondition: Preconditioner) -> None:
        self.problem, self.theta, self.precondition = problem, theta, precondition
        self.memory = Memory(problem.size)
        self.value, self.gradient = problem.loss_gradient(theta)
        self.Mg = precondition(self.gradient)

    def use(self, problem: Problem, precondition: Preconditioner | None = None) -> None:
        """Go on with another problem, and preconditioner, whose memory then begins anew."""
        self.problem = problem
        self.value, self.gradient = problem.loss_gradient(self.theta)
        if precondition is not None:
            self.precondition, self.memory = precondition, Memory(problem.size)
        self.Mg = self.precondition(self.gradient)

    @property
    def decrement(self) -> float:
        """About twice F - F*, if the preconditioner is near the inverse Hessian."""
        return float(self.gradient @ self.Mg)

    def step(self) -> bool:
        """One iteration; False if rounding, or nothing left to gain, allowed none."""
        direction = self.memory.direction(self.gradient, self.Mg)
        slope = float(self.gradient @ direction)
        if not slope < 0 or not np.isfinite(slope):
            self.memory = Memory(self.problem.size)
            direction, slope = -self.Mg, -self.decrement
            if not slope < 0:
                return False
        found = search(self.problem, self.theta, self.value, direction, slope)
        if found is None:
            return False
        t, value, gradient = found
        Mg = self.precondition(gradient)
        self.memory.add(t * direction, gradient - self.gradient, Mg - self.Mg)
        self.theta, self.value, self.gradient, self.Mg = self.theta + t * direction, value, gradient, Mg
        return True


def warm_start(problem: Problem, precondition: Preconditioner) -> Array:
    """A few steps on a subsample of many rows: they cost a pass or two, and save 20."""
    part = problem.subsample(preconditioners.spaced(problem.design.n, SUBSAMPLE))
    descent = Descent(part, np.zeros(problem.size), precondition)
    for _ in range(15):
        if descent.decrement < 1e-4 or not descent.step():
            break
    return descent.theta


def solve(problem: Problem, theta: Array, stop: Stop, max_iter: int, report: Report) -> Result:
    """Minimise the smooth F from theta, in the dtype of the problem and, where that is at its end, in float64."""
    if "blocks" in problem.cache and theta.any():
        precondition = preconditioners.remembered(problem)
    else:
        precondition = preconditioners.shared(problem)
    if problem.design.n > 2 * SUBSAMPLE and not theta.any():
        theta = warm_start(problem, precondition)
    descent, schedule = Descent(problem, theta, precondition), Schedule(problem, theta)
    best, since = np.inf, 0
    for iteration in range(max_iter):
        report(iteration, descent.value, descent.decrement)
        exact = descent.problem.dtype == EXACT
        good = stop(descent.problem, descent.theta, descent.value, descent.gradient)
        if good and exact:
            return Result(descent.theta, iteration)
        if not good and schedule.due(iteration):
            descent.use(descent.problem, preconditioners.per_class(descent.problem, descent.theta))
        moved = not good and descent.step()
        best, since = (descent.decrement, 0) if descent.decrement < 0.7 * best else (best, since + 1)
        stalled = since >= 8 and not exact and descent.decrement < 1e-6
        if not moved or stalled:
            if exact:
                return Result(descent.theta, iteration)
            descent.use(descent.problem.like(dtype=EXACT))
            best, since = np.inf, 0
    return Result(descent.theta, max_iter)


class Schedule:
    """When blocks for each class are built: the nearer to the optimum, the longer they stay true.

    At once, or after ten iterations from 0, if they cost little; else when as many iterations were spent without them.
    Again after twice as many iterations.
    """

    def __init__(self, problem: Problem, theta: Array) -> None:
        self.cost = preconditioners.cost(problem, problem.r)
        self.next = 0 if theta.any() else 10
        if self.cost > preconditioners.ITERATIONS or "blocks" in problem.cache:
            self.next = int(max(20, min(self.cost, 1e9)))

    def due(self, iteration: int) -> bool:
        if iteration < self.next:
            return False
        self.next = max(2 * iteration, iteration + 20 + int(min(self.cost, 1e9)))
        return True
