"""Newton's method: with the whole Hessian where it is small, else with conjugate gradients on products with it.

Where products lead nowhere, as with heavy tails and hardly a penalty, the whole Hessian is the last resort.

Nocedal & Wright 2006, algorithm 7.1 (line search Newton-CG), preconditioned as L-BFGS is.
"""

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from fastsoftmax.objective import certificate
from fastsoftmax.objective.hessian import Hessian
from fastsoftmax.objective.problem import Problem
from fastsoftmax.solvers import preconditioners
from fastsoftmax.solvers.conjugate import Direction, newton_direction
from fastsoftmax.solvers.line_search import noise, rounding, search
from fastsoftmax.solvers.result import Report, Result, Stop
from fastsoftmax.solvers.sampling import even, spreads

Array = NDArray[Any]
WHOLE = 400  # parameters up to which the whole Hessian is built
AT_LAST, DEAREST = 2500, 1e11  # parameters, and operations, up to which it is where products lead nowhere
LARGEST = 1 << 23  # weights of rows for it, 64 MB
SLOW = 30  # iterations after which products lead nowhere
GENEROUS = 1e11  # operations that blocks may take: half a second
MOST = 200  # products with the Hessian for a direction
UNSURE = 1e-6  # of tol, for decrements of a Hessian of which rounding may hide a part
CERTAIN = 12.0, 6.0  # logits that decide
LEFT = 0.25  # of the slope, from which a longer step is tried where a gap proves it: wine takes 7 iterations, not 9
FAR_TOO_SHORT = 8.0  # a step so many times longer than a direction: that is not Newton's; iris has steps of 2.7
IDLE = 6  # iterations without progress that end it
EXACT = np.dtype(np.float64)


def whole(problem: Problem) -> bool:
    """Whether building the whole Hessian is cheap: few parameters, and no more work than 20 passes over the data."""
    work = building(problem)
    return problem.size <= WHOLE and (work <= 20 * 4.0 * problem.n * problem.m * problem.c or work < 2e7)


def building(problem: Problem) -> float:
    """Operations that the whole Hessian takes."""
    return problem.r * (problem.r + 1) / 2 * problem.n * float(problem.m + problem.fit_intercept) ** 2


def affordable(problem: Problem) -> bool:
    """Whether the whole Hessian can be built where nothing else helps."""
    weights = problem.r * (problem.r + 1) / 2 * problem.n
    return problem.size <= AT_LAST and building(problem) <= DEAREST and weights <= LARGEST


def measure(problem: Problem, curvature: Array) -> Array:
    """What damping is measured by: the Hessian's diagonal, or a trace of what it is at the shares of the classes."""
    squares = np.append(problem.columns.square, [1.0] * problem.fit_intercept)
    usual = np.outer(np.maximum(spreads(problem), 1e-3 / problem.c), squares).reshape(-1)
    return np.maximum(curvature, 1e-10 * usual)


class Damping:
    """What is added to the Hessian, in shares of `measure` (Levenberg 1944): more where there is hardly a step."""

    def __init__(self) -> None:
        self.share = 0.0

    def learn(self, t: float) -> bool:
        """After a step of t times the direction, 0 if there was none; False if more would make no difference."""
        if t >= 0.3:
            self.share = 0.1 * self.share if self.share > 1e-8 else 0.0
        elif t < 1e-6:
            self.share = max(1000 * self.share, 1e-6)
        return self.share < 1e13  # where all rows are decided, and some wrongly, `measure` is 1e-10 of the usual


class Factor:
    """A Cholesky factor of the whole Hessian, raised by what rounding may have taken, or until there is one."""

    def __init__(self, problem: Problem, H: Array, damping: float) -> None:
        self.problem = problem
        diagonal, jitter = np.arange(len(H)), 8 * len(H) * float(np.finfo(EXACT).eps)
        raised = H[diagonal, diagonal]
        empty = ~(raised > 1e-290)  # of a column of zeros, whose gradient is 0
        H[diagonal[empty], diagonal[empty]] = raised[empty] = 1
        if damping:
            H[diagonal, diagonal] += damping * measure(problem, raised)
        self.exact = damping == 0  # as far as rounding shows
        for _ in range(14):
            H[diagonal, diagonal] += raised * jitter
            self.factor, info = lapack.dpotrf(H, clean=0)
            if info == 0:
                return
            jitter, self.exact = 10 * jitter, False
        self.factor = np.diag(np.sqrt(raised))

    def __call__(self, vector: Array) -> Array:
        rows = self.problem.by_class(vector)
        solution, _ = lapack.dpotrs(self.factor, rows.reshape(-1))
        return self.problem.flat(solution.reshape(rows.shape))


class Whole:
    """Directions by a factor of the whole Hessian, damped where they lead nowhere.

    Where rounding spoils the factor, as where one row is a million times larger than others, it preconditions.
    """

    def __init__(self) -> None:
        self.damping, self.trusted, self.sure = Damping(), True, 1.0

    def direction(self, problem: Problem, theta: Array, gradient: Array) -> Array:
        hessian = Hessian(problem, theta)
        factor = Factor(problem, hessian.whole(), self.damping.share)
        self.sure = 1.0 if factor.exact else UNSURE
        if self.damping.share > 0:  # products know nothing of it, and the slope not what is left
            self.sure = 0.0
            return -factor(gradient)
        if factor.exact and self.trusted:
            return -factor(gradient)
        return newton_direction(hessian, -gradient, factor, MOST).step

    def learn(self, t: float) -> bool:
        """After a step of t times the direction, 0 if there was none; False if another would be the same."""
        self.trusted = self.trusted and t <= FAR_TOO_SHORT
        return self.damping.learn(t)


class Products:
    """Directions by conjugate gradients, preconditioned, within a region that is learnt."""

    def __init__(self, problem: Problem) -> None:
        kept = preconditioners.remembered(problem)
        self.precondition = preconditioners.shared(problem) if kept is None else kept
        self.radius, self.last = np.inf, Direction(np.zeros(0), 0, 0.0, False)
        self.sure = 1.0
        self.spent = 0.0  # products with the Hessian since blocks were built

    def direction(self, problem: Problem, theta: Array, gradient: Array) -> Array:
        patience = 2 * self.spent
        if self.last.products > 8 and patience > preconditioners.cost(problem, patience):
            self.precondition, self.spent = preconditioners.sharper(problem, theta, patience, GENEROUS), 0.0
            self.radius = np.inf
        self.last = newton_direction(Hessian(problem, theta), -gradient, self.precondition, MOST, self.radius)
        self.spent += self.last.products
        return self.last.step

    def exactly(self, problem: Problem, theta: Array, gradient: Array) -> Array:
        """The direction as exactly as products can tell, for what it says of the decrease that is left."""
        return newton_direction(Hessian(problem, theta), -gradient, self.precondition, 5 * MOST, accuracy=1e-3).step

    def learn(self, t: float) -> bool:
        """After a step of t times the direction, 0 if there was none; False if another would be the same."""
        if t < 0.3:
            self.radius = max(2 * t, 0.05) * self.last.length
        elif self.last.cut:
            self.radius *= 4
        return (t > 0 or self.last.length > 0) and self.radius > 1e-12


def remaining(decrement: float, before: float) -> float:
    """What F may still fall by: the sum of what steps bring, each less than the last by the same factor.

    Near a minimum it is half the decrement; on separable data steps bring a third less each; and where one row is far
    larger than all others many steps bring about the same, however little.
    """
    if not before < np.inf:
        return 100 * decrement
    return decrement / (1 - decrement / before) if decrement < before else np.inf


FAR = (1e3, 1e6, 1e9)  # times a step of Newton's method: towards a minimum F would rise by half a million decrements


def falls_beyond(problem: Problem, theta: Array, value: float, direction: Array) -> list[float]:
    """By how much F is lower far along a direction."""
    with np.errstate(over="ignore", invalid="ignore"):
        falls = [value - problem.loss_gradient(theta + far * direction)[0] for far in FAR]
    return [fall if np.isfinite(fall) else -np.inf for fall in falls]


def may_grow(problem: Problem, theta: Array, value: float) -> bool:
    """Whether weights, or those that decide rows for certain, may grow for ever: F is no higher, and with less it is.

    As after a solver that has gone so far that nothing is left of the fall.
    """
    blur = noise(problem, theta, value)
    for growth in (theta, *(problem.deciding(theta, logit) for logit in CERTAIN)):
        more, less = theta + FAR[0] * growth, theta - growth
        if growth.any() and problem.loss_gradient(more)[0] <= value + blur < problem.loss_gradient(less)[0] - blur:
            return True
    return False


def solve(problem: Problem, theta: Array, stop: Stop, max_iter: int, report: Report) -> Result:
    """Minimise the smooth F from theta.

    Without a penalty there is no duality gap, and a small gradient says little where columns differ much in size: then
    the decrease that is expected of a step must be small as well.
    """
    small = whole(problem)
    if small:
        problem = problem.like(dtype=EXACT)
    model = Whole() if small else Products(problem)
    exchangeable = not small and affordable(problem)
    value, gradient = problem.loss_gradient(theta)
    best, least, idle, hoped, done, t = np.inf, np.inf, 0, np.inf, False, 0.0
    for iteration in range(max_iter):
        exact, optimality = problem.dtype == EXACT, problem.optimality(theta, gradient)
        report(iteration, value, optimality, functools.partial(certificate.gap, problem, theta, value, gradient))
        good = stop(problem, theta, value, gradient)
        if good and problem.l2 and (exact or stop.judge(theta)):
            return Result(theta, iteration)
        gained = value < best - rounding(problem, value) or optimality < 0.7 * least
        idle = 0 if gained else idle + (t > 0)  # without a step the model learns, as long as it can
        best, least, ended = min(best, value), min(least, optimality), good and not exact
        if not ended:
            direction = model.direction(problem, theta, gradient)
            slope = float(gradient @ direction) if np.isfinite(direction).all() else np.nan
            found = search(problem, theta, value, direction, slope, LEFT if problem.l2 else 0.9) if slope < 0 else None
            done, hoped = remaining(-slope, hoped) <= model.sure * stop.tol, -slope
            done = done and (bool(problem.l2) or not good or even(problem, gradient, stop.tol))
            if good and done and isinstance(model, Products):
                done = -0.5 * float(gradient @ model.exactly(problem, theta, gradient)) <= stop.tol
            falls = falls_beyond(problem, theta, value, direction) if good and done and slope < 0 else [0.0]
            if max(falls) > stop.tol - 4 * slope:  # what is left was hidden behind one row far larger than the others
                theta, hoped = theta + FAR[int(np.argmax(falls))] * direction, np.inf
                value, gradient = problem.loss_gradient(theta)
                continue
            t, value, gradient = found or (0.0, value, gradient)
            theta = theta + t * direction if t else theta
            if good and done:
                clear = max(-0.25 * slope, noise(problem, theta, value))
                separable = falls[0] > clear or may_grow(problem, theta, value)
                return Result(theta, iteration + 1, confirmed=True, separable=separable)
            ended = not model.learn(t) or idle >= IDLE
        exchange = exchangeable and (iteration >= SLOW or (ended and exact))
        if exchange:
            model, exchangeable, hoped, done = Whole(), False, np.inf, False
        elif ended and exact:
            return Result(theta, iteration + 1, stalled=True, confirmed=done)
        if exchange or ended:
            problem, idle = problem.like(dtype=EXACT), 0
            value, gradient = problem.loss_gradient(theta)
            best, least = np.inf, np.inf
    return Result(theta, max_iter)
