"""L-BFGS (Liu & Nocedal 1989) with a preconditioner in place of a multiple of the identity.

What preconditions is built again as the point moves, more and more rarely; the memory stays. A fit of many rows begins
on some of them. What was built, and the memory, are there for the next strength of the penalty.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsoftmax.engine.vectors import moved, product
from fastsoftmax.objective import certificate
from fastsoftmax.objective.problem import Problem
from fastsoftmax.solvers import preconditioners
from fastsoftmax.solvers.diagonal import Diagonal
from fastsoftmax.solvers.intercept import Curvature
from fastsoftmax.solvers.line_search import noise, search
from fastsoftmax.solvers.memory import Memory
from fastsoftmax.solvers.preconditioners import Preconditioner
from fastsoftmax.solvers.result import Report, Result, Stop

Array = NDArray[Any]
SAMPLE, PART, FINER = 5_000, 4, 5  # rows of the smallest sample; shares of the rows that samples have
EACH = 8  # rows at least for each feature: of fewer, weights fit what is theirs alone
WIDER = 8  # times as many rows as are copied for a look: of parts 512 MB
STEPS, ENOUGH = 40, 0.05  # on a sample at most; until F - F* there is about half that share of F: no more can be told
MISLED = 0.2  # of the fall of F on a sample that all rows do not see
PATIENCE, DIAGONAL = 25, 6  # iterations without progress; where but a diagonal preconditions, Newton's method is better
SOON, OFTEN = 8, 8  # iterations until what preconditions is built, and built again
BALANCED = 3  # steps in the intercept, one after another
KEPT = 32 << 20  # bytes of steps that are kept for the next fit of the same rows, and as many of changes
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

    def gap(self) -> float:
        """How far from the optimum this may be."""
        return certificate.gap(self.problem, self.theta, self.value, self.gradient)

    def step(self) -> bool:
        """One iteration; False if rounding, or nothing left to gain, allowed none."""
        direction, slope = self.aim()
        found = search(self.problem, self.theta, self.value, direction, slope) if slope < 0 else None
        if found is None:
            return False
        self._go(direction, *found)
        return True

    def balance(self, curvature: Curvature) -> bool:
        """A step of Newton's method in the intercept alone; False if F would rise."""
        direction = curvature.direction(self.problem, self.gradient)
        if not product(direction, self.gradient) < 0:
            return False
        value, gradient = self.problem.loss_gradient(moved(self.theta, 1.0, direction))
        lower = value <= self.value + noise(self.problem, self.theta, self.value)
        if lower:
            self._go(direction, 1.0, value, gradient)
        return lower

    def _go(self, direction: Array, t: float, value: float, gradient: Array) -> None:
        before, self._aimed = self.gradient, None
        self.theta, self.value, self.gradient = moved(self.theta, t, direction), value, gradient
        self.memory.add(direction, t, before, gradient)


def samples(n: int, m: int) -> list[int]:
    """How many rows of n to begin on, fewest first; none where these would be few for m features."""
    sizes: list[int] = []
    while (rows := n // (PART * FINER ** len(sizes))) >= max(SAMPLE, EACH * m):
        sizes.append(rows)
    return sizes[::-1]


class Sketch:
    """A few steps on samples of the rows, each larger than the last, at a fraction of the price of a pass."""

    def __init__(self, problem: Problem, theta: Array, precondition: Preconditioner) -> None:
        self.problem, self.theta, self.precondition = problem, theta, precondition
        self.begin, self.before = theta, np.inf  # where it began, and F of the last sample at theta
        n = problem.n
        for i, count in enumerate(size for size in samples(n, problem.m) if size <= WIDER * problem.data.most):
            part = problem.subsample(count)
            descent = self.on(part)
            due = 0 if i and descent.theta is self.theta else OFTEN
            for step in range(STEPS):
                if step == due:
                    due = max(OFTEN, 3 * due)
                    if preconditioners.pays(part):
                        descent.sharpen(preconditioners.sharper(part, descent.theta))
                if descent.decrement < max(1e-4, ENOUGH * descent.value) or not descent.step():
                    break
            self.theta, self.before = descent.theta, descent.value

    def on(self, problem: Problem) -> Descent:
        """A run on more rows, from where the sample led, or from the beginning if they see little of what it gained."""
        descent = Descent(problem, self.theta, self.precondition)
        if self.theta is self.begin:
            return descent
        lost, gained = descent.value - self.before, self.problem.null()[1] - self.before
        return descent if lost <= MISLED * gained else Descent(problem, self.begin, self.precondition)


class Schedule:
    """When the preconditioner is built again: the nearer to the optimum, the longer the probabilities stay true.

    After `wait` iterations, those of earlier fits included; then after twice as many each time, and no fewer than it
    costs.
    """

    def __init__(self, problem: Problem, wait: float) -> None:
        self.cache, self.wait = problem.cache, wait
        self.before, self.cache["fit"] = self.cache.get("fit", 0), 0  # iterations of the last fit, and of this one

    def tick(self, descent: Descent) -> None:
        """Counts an iteration, and builds what is due; dear blocks where as many iterations were spent."""
        self.cache["fit"] += 1
        self.cache["spent"] = self.cache.get("spent", -1) + 1
        if self.cache["spent"] >= self.wait:
            patience = self.cache["fit"] + self.before
            if preconditioners.pays(descent.problem, patience):
                descent.sharpen(preconditioners.sharper(descent.problem, descent.theta, patience))
            self.cache["spent"] = 0
            self.wait = max(2 * self.wait, OFTEN, 3 * preconditioners.cost(descent.problem, patience))


class Balance:
    """Steps in the intercept where nothing else keeps the gap up: three at most, then not again for some iterations."""

    def __init__(self) -> None:
        self.wait, self.pause = 0, 1

    def __call__(self, descent: Descent, stop: Stop) -> bool:
        """Whether the point is good enough now."""
        self.wait -= 1
        if self.wait > 0 or not stop.unbalanced:
            return False
        self.wait, self.pause = self.pause, 2 * self.pause
        curvature = Curvature(descent.problem, descent.theta)
        for _ in range(BALANCED):
            if not (stop.unbalanced and descent.balance(curvature)):
                return False
            if stop(descent.problem, descent.theta, descent.value, descent.gradient):
                return True
        return False


def _begun(problem: Problem, theta: Array) -> tuple[Descent, Schedule]:
    """A run from theta, with what an earlier one has left, or from where a sample of the rows led."""
    kept = preconditioners.remembered(problem)
    if kept is not None:
        wait = max(OFTEN, 2 * preconditioners.cost(problem))
        return Descent(problem, theta, kept, _recalled(problem)), Schedule(problem, wait)
    precondition = preconditioners.shared(problem)
    if not problem.fresh(theta):
        return Descent(problem, theta, precondition, _recalled(problem)), Schedule(problem, 0)
    descent, cost = Sketch(problem, theta, precondition).on(problem), preconditioners.cost(problem)
    led = descent.theta is not theta and cost <= SOON
    return descent, Schedule(problem, 0 if led else int(np.clip(cost, 3, SOON)))


def _recalled(problem: Problem) -> Memory | None:
    """The memory of the last fit of the same rows, as the penalty of this problem has it."""
    memory, l2 = problem.own.get("memory", (None, 0.0))
    if memory is not None and l2 != problem.l2:
        curvature = np.zeros(problem.size)
        with np.errstate(over="ignore"):
            problem.split(curvature)[0][...] = np.clip((problem.l2 - l2) * problem.unit**2, -1e300, 1e300)
        memory.change(curvature)
    return memory  # type: ignore[no-any-return]


def solve(problem: Problem, theta: Array, stop: Stop, max_iter: int, report: Report) -> Result:
    """Minimise the smooth F from theta, in the dtype of the problem and, where that is at its end, in float64."""
    if max_iter == 0:
        return Result(theta, 0)
    descent, schedule = _begun(problem, theta)
    if descent.memory.S.nbytes <= KEPT:
        problem.own["memory"] = descent.memory, problem.l2
    best, lowest, since, balance = np.inf, np.inf, 0, Balance()
    coarse = preconditioners.coarse(problem)
    for iteration in range(max_iter):
        report(iteration, descent.value, descent.decrement, descent.gap)
        exact = descent.problem.dtype == EXACT
        good = stop(descent.problem, descent.theta, descent.value, descent.gradient) or balance(descent, stop)
        if good and (exact or stop.judge(descent.theta)):
            return Result(descent.theta, iteration)
        if not good:
            schedule.tick(descent)
        stepped = not good and descent.step()
        if descent.decrement < 0.7 * best or descent.value < lowest - max(stop.tol, 0.01 * abs(lowest)):
            best, lowest, since = min(best, descent.decrement), descent.value, 0
        else:
            since += 1
        patience = DIAGONAL if coarse and isinstance(descent.precondition, Diagonal) else PATIENCE
        stalled = since >= patience or (not exact and since >= 8 and descent.decrement < 1e-6)
        if not stepped or stalled:
            if exact or (stalled and patience == DIAGONAL):
                return Result(descent.theta, iteration, stalled=True)
            descent.use(descent.problem.like(dtype=EXACT))
            best, lowest, since = np.inf, np.inf, 0
    return Result(descent.theta, max_iter)
