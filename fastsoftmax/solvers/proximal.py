"""L1 and elastic net: accelerated proximal gradients find which entries are not 0, Newton's method what they are.

FISTA (Beck & Teboulle 2009) with restarts (O'Donoghue & Candes 2015, section 3.2) steps over columns that are centred,
which takes their common direction out, at one pass an iteration: the length of a step follows the curvature that is
seen. Once few signs change, conjugate gradients on the entries that are not 0 find the minimum there; what crosses 0
becomes exactly 0 (the orthants of Andrew & Gao 2007, section 3). The two take turns: what is 0 and should not be is
FISTA's to find.
"""

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsoftmax.objective import certificate
from fastsoftmax.objective.hessian import Hessian
from fastsoftmax.objective.problem import Problem
from fastsoftmax.solvers import diagonal, proximal_newton
from fastsoftmax.solvers.blocks import BLOCK_BYTES, Blocks, class_blocks, inverted
from fastsoftmax.solvers.conjugate import newton_direction
from fastsoftmax.solvers.preconditioners import Preconditioner
from fastsoftmax.solvers.result import Report, Result, Stop

Array = NDArray[Any]
EXACT = np.dtype(np.float64)
REBUILT = 40  # products with the Hessian after which blocks are built again
GRAM = 4096  # columns up to which a Gram matrix preconditions


class Restricted:
    """The blocks of the classes, each cut down to the entries that are free; the diagonal for very many features."""

    def __init__(self, problem: Problem) -> None:
        self.diagonal = diagonal.Diagonal(problem, diagonal.at_priors(problem, center=False)).inverse
        M = problem.m + problem.fit_intercept
        self.blocks: Preconditioner | None = None
        self.small = problem.r * M * M * problem.dtype.itemsize <= BLOCK_BYTES and M <= GRAM
        self.curvature: Array | None = None
        self.products = 0  # since it was found

    def restrict(self, problem: Problem, theta: Array, free: Array) -> None:
        """From now on precondition on the entries that are free; to others, the blocks are those of the identity."""
        self.free = free
        if not self.small:
            return
        if self.curvature is None or self.products > REBUILT:
            self.curvature, self.products = class_blocks(problem, theta), 0
        on = problem.by_class(free.astype(self.curvature.dtype))
        H = self.curvature * on[:, :, None]
        H *= on[:, None, :]
        diagonal = np.arange(problem.m)
        H[:, diagonal, diagonal] += problem.penalty2.astype(H.dtype) + (1 - on[:, : problem.m])
        self.blocks = Blocks(problem, inverted(problem, H))

    def __call__(self, vector: Array) -> Array:
        return np.where(self.free, self.diagonal * vector if self.blocks is None else self.blocks(vector), 0)


class Run:
    """A point, F there, and its smooth gradient."""

    def __init__(self, problem: Problem, theta: Array) -> None:
        self.bound, self.spent = 1.0, 0
        self.penalty = np.zeros(problem.size)
        problem.split(self.penalty)[0][...] = problem.penalty1
        self.mean, self.metric = problem.columns.mean * problem.unit, np.ones(problem.size)
        self.metric[: problem.r * problem.m] = self._variances(problem)
        self.move(problem, theta)

    def _variances(self, problem: Problem) -> Array:
        """Of the columns, where there is an intercept to centre them, else their squares; by entry of coef."""
        squares, vector = problem.columns.square - problem.fit_intercept * self.mean**2, np.zeros(problem.size)
        problem.split(vector)[0][...] = np.maximum(squares, 1e-12)
        return vector[: problem.r * problem.m]

    def move(self, problem: Problem, theta: Array) -> None:
        """Go to a point, or to another problem."""
        self.problem, self.theta = problem, theta
        self.value, self.gradient = problem.loss_gradient(theta)
        self.total = self.value + problem.l1_norm(theta)

    @property
    def noise(self) -> float:
        return (1e-14 if self.problem.dtype == EXACT else 2e-7) * (1 + abs(self.total))

    def _shift(self, vector: Array, sign: float) -> Array:
        """The intercept moved by the means' part, which makes columns centred, or back."""
        moved = vector.copy()
        coef, intercept = self.problem.split(moved)
        if len(intercept):
            intercept += sign * (coef @ self.mean)
        return moved

    def accelerated(self, most: int) -> None:
        """Up to `most` iterations, fewer once signs settle; F is never higher afterwards."""
        problem = self.problem
        theta = z = self._shift(self.theta, 1.0)
        gradient, momentum, before, settled = self.gradient, 1.0, None, 0
        for _ in range(most):
            self.spent += 1
            if before is not None:
                _, gradient = problem.loss_gradient(self._shift(z, -1.0))
            coef, intercept = problem.split(gradient)
            if len(intercept):
                coef -= np.outer(intercept, self.mean)
            if before is not None:
                change, moved = gradient - before[1], z - before[0]
                along = float(change @ moved)
                seen = float(change @ (change / self.metric)) / along if along > 0 else 0.0
                if seen > self.bound:
                    momentum = 1.0
                self.bound = max(1.05 * seen, 0.98 * self.bound)
            length = self.bound * self.metric
            far = z - gradient / length
            new = np.sign(far) * np.maximum(np.abs(far) - self.penalty / length, 0)
            if float(((z - new) * self.metric) @ (new - theta)) > 0:  # momentum points uphill
                momentum = 1.0
            following = 0.5 * (1 + np.sqrt(1 + 4 * momentum * momentum))
            before = z, gradient
            z, momentum = new + (momentum - 1) / following * (new - theta), following
            changed = int((np.sign(new) != np.sign(theta)).sum())
            settled = settled + 1 if changed * 200 <= np.count_nonzero(new) else 0
            theta = new
            if settled >= 10:
                break
        found = self._shift(theta, -1.0)
        kept = self.theta, self.value, self.gradient, self.total
        self.move(problem, found)
        if not self.total <= kept[3]:
            self.theta, self.value, self.gradient, self.total = kept
            self.bound *= 4

    def newton(self, precondition: Restricted, most: int) -> bool:
        """A step on the entries that are not 0; False if none lowers F."""
        self.spent += 1
        problem, bound = self.problem, self.penalty > 0
        v, free = problem.subgradient(self.theta, self.gradient), (self.theta != 0) | ~bound
        precondition.restrict(problem, self.theta, free)
        found = newton_direction(Hessian(problem, self.theta), np.where(free, -v, 0), precondition, most)
        precondition.products += found.products
        d = found.step
        for t in self._lengths(d):
            trial = self.theta + t * d
            trial[bound & (trial * self.theta <= 1e-14 * self.theta**2)] = 0.0
            moved = trial - self.theta
            value, gradient = problem.loss_gradient(trial)
            total = value + problem.l1_norm(trial)
            if total <= self.total + 1e-4 * min(0.0, float(v @ moved)) + (self.noise if t == 1 else 0.0):
                lower = total < self.total - self.noise
                self.theta, self.value, self.gradient, self.total = trial, value, gradient, total
                return lower
        return False

    def _lengths(self, d: Array) -> list[float]:
        """Steps to try: a whole one, cut off at 0, its half and quarter; to where the first entry meets 0; shorter."""
        crossing = (self.penalty > 0) & (d * self.theta < 0)
        meets = np.abs(self.theta[crossing] / d[crossing])
        first = float(meets.min(initial=np.inf))
        halves = [0.5**k for k in range(10)]
        return [*halves[:3], first, *halves[3:]] if first < 0.25 else halves


def solve(problem: Problem, theta: Array, stop: Stop, max_iter: int, report: Report) -> Result:
    """Minimise F from theta; entries that the l1 penalty turns off are exactly 0."""
    if proximal_newton.suits(problem):
        return proximal_newton.solve(problem, theta, stop, max_iter, report)
    run, precondition, idle = Run(problem, theta), Restricted(problem), 0
    while run.spent < max_iter:
        gap = functools.partial(certificate.gap, run.problem, run.theta, run.value, run.gradient)
        report(run.spent, run.total, run.problem.optimality(run.theta, run.gradient), gap)
        good, before = stop(run.problem, run.theta, run.value, run.gradient), run.total
        if good and (run.problem.dtype == EXACT or stop.judge(run.theta)):
            break
        if not good:
            run.accelerated(min(200 if idle == 0 else 20, max_iter - run.spent))
            for _ in range(5):
                if not run.newton(precondition, 60):
                    break
        idle = idle + 1 if before - run.total <= run.noise else 0
        if (good or idle >= 2) and run.problem.dtype != EXACT:
            run.move(run.problem.like(dtype=EXACT), run.theta)
            idle = 0
        elif idle >= 5:
            break
    return Result(run.theta, min(run.spent, max_iter))
