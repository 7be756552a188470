"""L-BFGS (Liu & Nocedal 1989) with a preconditioner in place of a multiple of the identity.

The inverse Hessian is kept in compact form (Byrd, Nocedal & Schnabel 1994, theorem 2.2): products with the matrices of
past steps and of preconditioned changes of the gradient. Then an iteration takes one application of the preconditioner.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from fastsoftmax.problem import Problem
from fastsoftmax.solvers import preconditioners
from fastsoftmax.solvers.line_search import search
from fastsoftmax.solvers.preconditioners import Diagonal, Preconditioner
from fastsoftmax.solvers.result import Report, Result, Stop
from fastsoftmax.vectors import in_blocks, moved, product, total

Array = NDArray[Any]
MEMORY_BYTES = 128 << 20
PAIRS = 30
SUBSAMPLE = 10_000  # rows above which a start on a subsample pays
PATIENCE, DIAGONAL = 25, 6  # iterations without progress; where but a diagonal preconditions, Newton's method is better
EXACT = np.dtype(np.float64)


class Memory:
    """Past steps s, and preconditioned changes M y of the gradient, in float32: they only point the way.

    Each is kept at a length of 1 of s. Products with a gradient serve twice: for the next direction, and, less those
    with the gradient before, for the products with y. Of wide problems an iteration reads them four times, not six.
    """

    def __init__(self, gradient: Array) -> None:
        self.pairs = int(np.clip(MEMORY_BYTES // (8 * gradient.size), 5, PAIRS))
        self.S, self.MY = (np.empty((self.pairs, gradient.size), np.float32) for _ in range(2))
        self.SY, self.YMY = np.zeros((self.pairs, self.pairs)), np.zeros((self.pairs, self.pairs))
        self.Sg, self.MYg = np.zeros(self.pairs), np.zeros(self.pairs)  # with the gradient where we are
        self.slots: list[int] = []  # oldest first
        self.scale = 1.0

    def add(self, direction: Array, t: float, before: "Slope", now: "Slope") -> None:
        """After a step of t times the direction, between two slopes."""
        size = t * np.sqrt(product(direction, direction))
        if len(self.slots) == self.pairs:
            self.slots.pop(0)
        slot = min(set(range(self.pairs)) - set(self.slots))

        def difference(at: slice) -> tuple[float, float, float, float]:
            y, My = now.gradient[at] - before.gradient[at], now.Mg[at] - before.Mg[at]
            np.multiply(direction[at], t / size, out=self.S[slot, at], casting="same_kind")
            np.divide(My, size, out=self.MY[slot, at], casting="same_kind")
            return direction[at] @ y, y @ My, y @ y, np.abs(now.gradient[at]).max()

        parts = np.array(in_blocks(difference, len(direction)))
        sy, ymy, yy = (float(value) for value in total(list(parts[:, :3])))
        sy, length = t * sy, float(parts[:, 3].max()) or 1.0
        if sy > 1e-10 * size * np.sqrt(yy) and ymy > 0:
            self.slots.append(slot)
            self.Sg[slot], self.MYg[slot] = np.nan, np.nan
            self.scale = sy / ymy
        else:
            self.S[slot], self.MY[slot], slot = 0, 0, -1  # products read it, times 0
        before_S, before_M, used = self.Sg.copy(), self.MYg.copy(), max(self.slots, default=-1) + 1

        def products(at: slice) -> Array:
            g = (now.gradient[at] / length).astype(np.float32)
            return np.concatenate([self.S[:used, at] @ g, self.MY[:used, at] @ g])

        both = length * total(in_blocks(products, len(direction), max(1, used)))
        self.Sg[:used], self.MYg[:used] = both[:used], both[used:]
        if slot >= 0:
            self.SY[:used, slot] = (self.Sg - before_S)[:used] / size
            self.YMY[:used, slot] = self.YMY[slot, :used] = (self.MYg - before_M)[:used] / size
            self.SY[slot, slot], self.YMY[slot, slot] = sy / size**2, ymy / size**2

    def direction(self, Mg: Array) -> Array:
        """- (inverse Hessian) gradient"""
        used = max(self.slots, default=-1) + 1
        if not self.slots:
            return -Mg
        order = np.array(self.slots)
        pick = np.ix_(order, order)
        R, a, b = np.triu(self.SY[pick]), self.Sg[order], self.scale * self.MYg[order]
        u = solve_triangular(R, a)
        t = solve_triangular(R, np.diag(R) * u + self.scale * (self.YMY[pick] @ u) - b, trans=1)
        length = float(max(np.abs(t).max(), np.abs(self.scale * u).max())) or 1.0
        left, right = np.zeros(used, np.float32), np.zeros(used, np.float32)
        left[order], right[order] = t / length, self.scale * u / length
        direction = np.empty_like(Mg)

        def combine(at: slice) -> None:
            past = right @ self.MY[:used, at]
            past -= left @ self.S[:used, at]
            np.multiply(past, length, out=direction[at])
            direction[at] -= self.scale * Mg[at]

        in_blocks(combine, len(Mg), used)
        return direction


class Slope(NamedTuple):
    """A gradient, and what preconditions times it."""

    gradient: Array
    Mg: Array


class Descent:
    """One run: a point, its gradient, and the memory."""

    def __init__(self, problem: Problem, theta: Array, precondition: Preconditioner) -> None:
        self.problem, self.theta, self.precondition = problem, theta, precondition
        self.value, self.gradient = problem.loss_gradient(theta)
        self.memory = Memory(self.gradient)
        self._slope()

    def _slope(self) -> None:
        self.Mg = self.precondition(self.gradient)
        self.decrement = product(self.gradient, self.Mg)  # some 2 (F - F*), if that is near the inverse Hessian

    def use(self, problem: Problem, precondition: Preconditioner | None = None) -> None:
        """Go on with another problem, and preconditioner, whose memory then begins anew."""
        if problem is not self.problem:
            self.problem = problem
            self.value, self.gradient = problem.loss_gradient(self.theta)
        if precondition is not None:
            self.precondition, self.memory = precondition, Memory(self.gradient)
        self._slope()

    def step(self) -> bool:
        """One iteration; False if rounding, or nothing left to gain, allowed none."""
        direction = self.memory.direction(self.Mg)
        slope = product(self.gradient, direction)
        if not slope < 0 or not np.isfinite(slope):
            self.memory = Memory(self.gradient)
            direction, slope = -self.Mg, -self.decrement
            if not slope < 0:
                return False
        found = search(self.problem, self.theta, self.value, direction, slope)
        if found is None:
            return False
        before, t = Slope(self.gradient, self.Mg), found[0]
        self.theta, self.value, self.gradient = moved(self.theta, t, direction), found[1], found[2]
        self._slope()
        self.memory.add(direction, t, before, Slope(self.gradient, self.Mg))
        return True


def started(problem: Problem, theta: Array, precondition: Preconditioner) -> Descent:
    """A run from theta; of many rows after a few steps on a sample, each at a fraction of the price of a pass."""
    if problem.design.n > 2 * SUBSAMPLE:
        part = problem.subsample(preconditioners.spaced(problem.design.n, SUBSAMPLE))
        sketch = Descent(part, theta, precondition)
        for _ in range(15):
            if sketch.decrement < 1e-4 or not sketch.step():
                break
        descent = Descent(problem, sketch.theta, precondition)
        if descent.value <= problem.null()[1]:
            return descent
    return Descent(problem, theta, precondition)


def solve(problem: Problem, theta: Array, stop: Stop, max_iter: int, report: Report) -> Result:
    """Minimise the smooth F from theta, in the dtype of the problem and, where that is at its end, in float64."""
    fresh = problem.fresh(theta)
    if "blocks" in problem.cache and not fresh:
        precondition = preconditioners.remembered(problem)
    else:
        precondition = preconditioners.shared(problem)
    descent = Descent(problem, theta, precondition) if not fresh else started(problem, theta, precondition)
    schedule = Schedule(problem, fresh)
    best, since, patience = np.inf, 0, DIAGONAL if isinstance(precondition, Diagonal) else PATIENCE
    for iteration in range(max_iter):
        report(iteration, descent.value, descent.decrement)
        exact = descent.problem.dtype == EXACT
        good = stop(descent.problem, descent.theta, descent.value, descent.gradient)
        if good and (exact or stop.judge(descent.theta)):
            return Result(descent.theta, iteration)
        if not good and schedule.due(iteration):
            descent.use(descent.problem, preconditioners.per_class(descent.problem, descent.theta))
        moved = not good and descent.step()
        best, since = (descent.decrement, 0) if descent.decrement < 0.7 * best else (best, since + 1)
        stalled = since >= patience or (not exact and since >= 8 and descent.decrement < 1e-6)
        if not moved or stalled:
            if exact or (stalled and patience == DIAGONAL):
                return Result(descent.theta, iteration, stalled=True)
            descent.use(descent.problem.like(dtype=EXACT))
            best, since = np.inf, 0
    return Result(descent.theta, max_iter)


class Schedule:
    """When blocks for each class are built: the nearer to the optimum, the longer they stay true.

    At once, or after ten iterations from 0, if they cost little; else when as many iterations were spent without them.
    Again after twice as many iterations.
    """

    def __init__(self, problem: Problem, fresh: bool) -> None:
        self.cost = preconditioners.cost(problem, problem.r)
        self.next = 10 if fresh else 0
        if self.cost > preconditioners.ITERATIONS or "blocks" in problem.cache:
            self.next = int(max(20, min(self.cost, 1e9)))

    def due(self, iteration: int) -> bool:
        if iteration < self.next:
            return False
        self.next = max(2 * iteration, iteration + 20 + int(min(self.cost, 1e9)))
        return True
