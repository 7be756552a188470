"""L1 and elastic net with few parameters: Newton's method, whose quadratics keep the penalty as it is.

Lee, Sun & Saunders 2014, algorithm 1; the quadratics are minimised without the data, by `quadratic`.
"""

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsoftmax.objective import certificate
from fastsoftmax.objective.hessian import Hessian
from fastsoftmax.objective.problem import Problem
from fastsoftmax.solvers.line_search import noise, rounding
from fastsoftmax.solvers.newton import EXACT, Damping, measure
from fastsoftmax.solvers.quadratic import minimise_quadratic, violation
from fastsoftmax.solvers.result import Report, Result, Stop

Array = NDArray[Any]
PARAMETERS, OPERATIONS = 1500, 2e10  # up to which the whole Hessian is built: 0.1 s
HALVINGS, IDLE, STEPS = 40, 5, 5


def suits(problem: Problem) -> bool:
    """Whether the whole Hessian is small."""
    M = problem.m + problem.fit_intercept
    pairs = problem.r * (problem.r + 1) / 2
    return problem.size <= PARAMETERS and pairs * problem.n * (M * M + 100.0) <= OPERATIONS


class Model:
    """The quadratic of F about a point, with the penalty."""

    def __init__(self, problem: Problem, theta: Array, gradient: Array, damping: float) -> None:
        self.problem, self.x = problem, problem.by_class(theta).reshape(-1)
        self.g = problem.by_class(gradient).reshape(-1)
        penalty = np.zeros((problem.r, problem.m + problem.fit_intercept))
        penalty[:, : problem.m] = problem.penalty1
        self.penalty = penalty.reshape(-1)
        self.H = Hessian(problem, theta).whole()
        diagonal = np.arange(len(self.H))
        curvature = self.H[diagonal, diagonal]
        usual = measure(problem, curvature)  # for what no row curves as well: with less to stop it, l1 makes it 0
        self.H[diagonal, diagonal] += np.where(curvature > 1e-290, damping * usual, usual)

    def direction(self) -> tuple[Array, float]:
        """(where its minimum is from here, by how much F should change)"""
        now = violation(self.H, self.g, self.penalty, self.x)
        u = minimise_quadratic(self.H, self.g, self.penalty, self.x, now * min(0.1, now**0.5))
        d = u - self.x
        expected = float(self.g @ d) + float(self.penalty @ (np.abs(u) - np.abs(self.x)))
        return self.problem.flat(d.reshape(self.problem.r, -1)), expected


def solve(problem: Problem, theta: Array, stop: Stop, max_iter: int, report: Report) -> Result:
    """Minimise F from theta, in float64; entries that the l1 penalty turns off are exactly 0."""
    problem, spent = problem.like(dtype=EXACT), 0
    if problem.fresh(theta):
        for l1 in stronger(problem, theta):
            most = min(STEPS, max_iter - spent)
            found = descend_to(problem.like(l1=l1), theta, near, most, report)
            theta, spent = found.theta, spent + found.n_iter
    result = descend_to(problem, theta, stop, max_iter - spent, report)
    return result._replace(n_iter=spent + result.n_iter)


def stronger(problem: Problem, theta: Array) -> list[float]:
    """Penalties on the way down to a weak one, a tenth each: then few entries change their sign at a time."""
    most = problem.optimality(theta, problem.loss_gradient(theta)[1]) + problem.l1
    return [most * 10.0**-k for k in range(1, 300) if most * 10.0**-k > 30 * problem.l1]


def near(problem: Problem, theta: Array, value: float, gradient: Array) -> bool:
    """Whether the next penalty may take over."""
    return problem.optimality(theta, gradient) <= 0.2 * problem.l1


def descend_to(problem: Problem, theta: Array, stop: Callable[..., bool], max_iter: int, report: Report) -> Result:
    """One penalty."""
    value, gradient = problem.loss_gradient(theta)
    total, damping, idle, least = value + problem.l1_norm(theta), Damping(), 0, np.inf
    for iteration in range(max_iter):
        optimality = problem.optimality(theta, gradient)
        report(iteration, total, optimality, functools.partial(certificate.gap, problem, theta, value, gradient))
        if stop(problem, theta, value, gradient):
            return Result(theta, iteration)
        direction, expected = Model(problem, theta, gradient, damping.share).direction()
        blur, t = noise(problem, theta, total), 1.0
        for _ in range(HALVINGS):
            trial = theta + t * direction
            now, slope = problem.loss_gradient(trial)
            sum_now = now + problem.l1_norm(trial)
            if sum_now <= total + 1e-4 * t * expected or (sum_now <= total + blur and -expected * t <= blur):
                break
            t *= 0.5 if np.isfinite(sum_now) else 0.1
        else:
            t = 0.0
        more = damping.learn(t)
        idle = 0 if t and (sum_now < total - rounding(problem, total) or optimality < 0.7 * least) else idle + 1
        least = min(least, optimality)
        if t:
            theta, value, gradient, total = trial, now, slope, sum_now
        if idle >= IDLE or not more:
            return Result(theta, iteration + 1, stalled=True)
    return Result(theta, max_iter)
