"""Newton's method: with the whole Hessian where it is small, else with conjugate gradients on products with it.

Nocedal & Wright 2006, algorithm 7.1 (line search Newton-CG), preconditioned by the class blocks.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from fastsoftmax.problem import Problem
from fastsoftmax.solvers import preconditioners
from fastsoftmax.solvers.conjugate import newton_direction
from fastsoftmax.solvers.line_search import search
from fastsoftmax.solvers.result import Report, Result, Stop

Array = NDArray[Any]
WHOLE = 400  # parameters up to which the whole Hessian is built
EXACT = np.dtype(np.float64)


def whole(problem: Problem) -> bool:
    """Whether building the whole Hessian is cheap: few parameters, and no more work than 20 passes over the data."""
    M = problem.m + problem.fit_intercept
    pairs = problem.r * (problem.r + 1) / 2
    work = pairs * problem.design.n * M * M
    return problem.size <= WHOLE and (work <= 20 * 4.0 * problem.design.n * problem.m * problem.c or work < 2e7)


def hessian(problem: Problem, proba: Array) -> Array:
    """The whole Hessian, by class and then by feature, the intercept last; regular also where classes move together."""
    r, M = problem.r, problem.m + problem.fit_intercept
    p = proba[:, -r:].T
    pairs = [(k, q) for k in range(r) for q in range(k, r)]
    weights = np.stack([p[k] * ((k == q) - p[q]) for k, q in pairs])
    grams = problem.blocks(weights, penalty=False)
    H, upper = np.zeros((r, M, r, M)), np.triu(np.ones((M, M), bool))
    diagonal = np.arange(problem.m)
    for (k, q), gram in zip(pairs, grams, strict=True):
        full = np.where(upper, gram, gram.T)
        H[k, :, q], H[q, :, k] = full, full
        if k == q:
            H[k, diagonal, k, diagonal] += problem.penalty2
    if problem.gauge:
        each = np.arange(M)
        size = np.einsum("kjkj->j", H) / r
        for k in range(r):
            for q in range(r):
                H[k, each, q, each] += size / r
    return H.reshape(r * M, r * M)


def _solve_whole(problem: Problem, theta: Array, gradient: Array) -> Array:
    H = hessian(problem, problem.probabilities(theta))
    coef, intercept = problem.split(gradient)
    right = np.concatenate([coef, intercept[:, None]], 1) if len(intercept) else coef
    diagonal = np.arange(len(H))
    raised, jitter = np.maximum(H[diagonal, diagonal], 1e-300), 8 * len(H) * float(np.finfo(EXACT).eps)
    for _ in range(12):
        try:
            H[diagonal, diagonal] += raised * jitter
            solved = cho_solve(cho_factor(H, check_finite=False), right.reshape(-1), check_finite=False)
            break
        except np.linalg.LinAlgError:
            jitter *= 10
    else:
        return -gradient
    direction = np.empty_like(theta)
    to, shift = problem.split(direction)
    both = -solved.reshape(right.shape)
    to[...] = both[:, : problem.m]
    if len(intercept):
        shift[...] = both[:, problem.m]
    return direction


def solve(problem: Problem, theta: Array, stop: Stop, max_iter: int, report: Report) -> Result:
    """Minimise the smooth F from theta."""
    small = whole(problem)
    if small:
        problem = problem.like(dtype=EXACT)
    precondition = None if small else preconditioners.shared(problem)
    value, gradient = problem.loss_gradient(theta)
    idle = 0
    for iteration in range(max_iter):
        report(iteration, value, problem.optimality(theta, gradient))
        if stop(problem, theta, value, gradient):
            if problem.dtype == EXACT or stop.judge(theta):
                return Result(theta, iteration)
            problem = problem.like(dtype=EXACT)
            value, gradient = problem.loss_gradient(theta)
            continue
        if precondition is None:
            direction = _solve_whole(problem, theta, gradient)
        else:
            if iteration in (2, 5, 9) and preconditioners.cost(problem, problem.r) <= 3 * preconditioners.ITERATIONS:
                precondition = preconditioners.per_class(problem, theta)
            direction = newton_direction(problem, problem.probabilities(theta), -gradient, precondition, 100)
        slope = float(gradient @ direction)
        found = search(problem, theta, value, direction, slope) if slope < 0 else None
        if found is None:
            if problem.dtype == EXACT:
                return Result(theta, iteration)
            problem = problem.like(dtype=EXACT)
            value, gradient = problem.loss_gradient(theta)
            continue
        before, (t, value, gradient) = value, found
        theta = theta + t * direction
        idle = idle + 1 if before - value <= 1e-14 * (1 + abs(value)) else 0
        if idle >= 3:  # rounding is all that is left
            return Result(theta, iteration + 1)
    return Result(theta, max_iter)
