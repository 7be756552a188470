"""How far a point is from the optimum: the duality gap, by a dual feasible point of the residuals there.

Residuals (1 - alpha) p_i + alpha q, with alpha and q such that they sum to those of the targets in each class, as an
unpenalised intercept demands, give a lower bound of F*.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from fastsoftmax.engine.vectors import total
from fastsoftmax.objective.base import Array
from fastsoftmax.objective.partition import MANY
from fastsoftmax.objective.problem import Problem


def gap(problem: Problem, theta: Array, value: float, gradient: Array) -> float:
    """The duality gap: F - F* is at most this; nan without a penalty. value, gradient: of the smooth part."""
    if not (problem.l1 or problem.l2):
        return float("nan")
    return max(0.0, value + problem.l1_norm(theta) - bound(problem, theta, value, gradient))


def bound(problem: Problem, theta: Array, value: float, gradient: Array) -> float:
    """What F* is at least, with a penalty, by a dual feasible point. value, gradient: of the smooth part at theta.

    Nor is it less than the mean entropy of the targets, which no F is below: what proves separable data.
    """
    coef, intercept = problem.split(theta)
    smooth, rho_rows = problem.split(gradient)
    sums, entropy_y = _class_sums(problem)
    means = problem.columns.mean * problem.unit

    def data_term(at: Any) -> Array:
        return np.asarray(smooth[at] - problem.penalty2[at[1]] * coef[at])

    def sums_of(at: Any) -> tuple[float, float]:
        G, part = data_term(at), coef[at]
        return float(np.einsum("ij,ij->", G, part)), float(np.einsum("ij,ij,j->", part, part, problem.penalty2[at[1]]))

    along, norm = total(problem.over_coef(sums_of))
    dual, alpha, entropy_q, q = value - 0.5 * float(norm) - float(along), 0.0, 0.0, np.zeros(problem.c)
    if problem.fit_intercept:
        dual -= float(rho_rows @ intercept)
        rho = np.concatenate([-rho_rows, rho_rows]) if problem.binary else rho_rows - rho_rows.mean()
        epsilon = problem.data.smoothing
        share = (1 - epsilon) * problem.priors() + epsilon / problem.c + rho
        alpha = float(np.max(rho / np.maximum(share, 1e-300)))
        if alpha > 0:
            q = np.maximum(share - rho / alpha, 0)
            q /= q.sum()
            entropy_q = -float((q[q > 0] * np.log(q[q > 0])).sum())

    def conjugate(at: Any) -> float:
        part = data_term(at)
        if alpha > 0:
            part -= alpha * (part + sums(at) - np.outer(q[-problem.r :][at[0]], means[at[1]]))
        if not problem.l2:
            return float((np.abs(part) / problem.penalty1[at[1]]).max())
        excess = np.maximum(np.abs(part) - problem.penalty1[at[1]], 0) if problem.l1 else part
        with np.errstate(over="ignore"):
            return float(np.einsum("ij,ij,j->", excess, excess, problem.inverse2[at[1]]))

    dual = (1 - alpha) * dual + alpha * entropy_q
    if problem.l2:
        dual -= float(total(problem.over_coef(conjugate)))
    else:
        theta_y = min(1.0, 1 / max(1e-300, float(np.max(problem.over_coef(conjugate)))))
        dual = theta_y * dual + (1 - theta_y) * entropy_y
    return max(dual, entropy_y) if np.isfinite(dual) else entropy_y


def least_gap(problem: Problem, value: float, gradient: Array, tol: float) -> float:
    """About what the gap would be at the best intercept, with l2 alone; 0 where it may be below tol without a look.

    That is |G|^2 / (2 l2), G the gradient in features less their means: far cheaper than the gap.
    """
    if not problem.l2 or problem.l1 or value <= tol + _class_sums(problem)[1]:
        return 0.0
    G, rho = problem.split(gradient)
    means = problem.columns.mean * problem.unit

    def least(at: Any) -> float:
        part = G[at] - np.outer(rho[at[0]], means[at[1]]) if len(rho) else G[at]
        with np.errstate(over="ignore"):
            return float(np.einsum("ij,ij,j->", part, part, problem.inverse2[at[1]]))

    return float(total(problem.over_coef(least)))


def _class_sums(problem: Problem) -> tuple[Callable[[Any], Array], float]:
    """Blocks of (1/S) sum_i s_i Y_i x_i', of the rows of parameters; the mean entropy of Y. Found once."""
    few = problem.c < MANY and not problem.by_feature  # then a pass over the data is faster
    direct = problem.data.labelled and not few
    key = "sums" if direct else f"sums {problem.dtype}"
    if key not in problem.own:
        sums = _sums_by_label(problem) if direct else _sums_by_gradient(problem)
        problem.own[key] = sums, problem.data.entropy()
    return problem.own[key]  # type: ignore[no-any-return]


def _sums_by_label(problem: Problem) -> Callable[[Any], Array]:
    smoothing, r, sums = problem.data.smoothing, problem.r, problem.objective.class_sums()
    sums *= (1 - smoothing) / problem.total
    mean, sparse = smoothing / problem.c * problem.columns.mean * problem.unit, not isinstance(sums, np.ndarray)

    def block(at: Any) -> Array:
        part = sums[:, at[1]].toarray()[-r:][at[0]] if sparse else sums[-r:][at]
        return np.asarray(part + mean[at[1]])

    return block


def _sums_by_gradient(problem: Problem) -> Callable[[Any], Array]:
    vector, out = problem.buffers()
    zero = np.zeros((problem.c, problem.m), order="F" if problem.by_feature else "C")
    problem.objective.loss_gradient(zero, None, 1 / problem.total, out)
    problem.collect(vector, out)
    sums = problem.columns.mean * problem.unit / problem.c - problem.split(vector)[0]
    return lambda at: np.asarray(sums[at])
