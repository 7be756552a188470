"""What F* is at least, by a step of Newton's method: proof where rounding hides the gap, or nothing is penalised.

Where the step d is exact, the residuals p (1 + v) - y, v_k = dz_k - sum_q p_q dz_q with dz the logits of d, are those
of a dual feasible point of theta + d, as long as no v is below -1: X' (q - y) + l2 (W + d) = 0 is Newton's equation. So
F* >= sum_i s_i H(q_i) / S - l2 |W + d|^2 / 2, H the entropy. What F is above that is of third order in dz. No gradient
is divided by a penalty: columns of size 1e150, of which rounding leaves a gradient of 1e134, are no harder than others.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import lapack

from fastsoftmax.objective.hessian import Hessian
from fastsoftmax.objective.problem import Problem
from fastsoftmax.objective.softmax import SoftmaxObjective
from fastsoftmax.solvers.newton import affordable
from fastsoftmax.solvers.sampling import usual_sizes

Array = NDArray[Any]
REFINEMENTS, PATIENCE = 60, 5  # of a step, by what its equation lacks; without progress
SOLVED = 1e-10  # of F, what is left to gain of a step
EPS = float(np.finfo(np.float64).eps)
EMPTY = 1e-290  # curvature of columns of zeros, whose gradient is 0
FARTHEST = 1e6  # weights of features of usual size
MARGIN = 1e-3  # of a probability that the step leaves, below which rounding may hide whether it leaves any
FLAT = 1e-12  # what an equation may lack where columns are collinear as far as can be told: a fall may hide there


class Step(NamedTuple):
    """A step of Newton's method over the entries that are free, and what its equation lacks."""

    d: Array
    lacks: Array
    solved: bool


class Proof(NamedTuple):
    """What F* is at least, and how far F may fall by Newton's method and what rounding hides, inf if nobody knows."""

    bound: float
    decrease: float


class ScaledFactor:
    """Of a Hessian over the entries that are free, scaled to a diagonal of ones; H, free: by class."""

    def __init__(self, problem: Problem, H: Array, free: Array) -> None:
        self.problem, self.on = problem, np.flatnonzero(free.reshape(-1))
        H = H[np.ix_(self.on, self.on)]
        diagonal = np.diagonal(H)
        self.scale = 1 / np.sqrt(np.where(diagonal > EMPTY, diagonal, np.inf))
        H *= self.scale
        H *= self.scale[:, None]
        raised = 8 * len(H) * EPS
        H[np.arange(len(H)), np.arange(len(H))] = 1 + raised
        norm = float(np.abs(H).sum(0).max(initial=0.0))
        self.factor, info = lapack.dpotrf(H, lower=1, overwrite_a=1)
        self.exists = len(H) > 0 and info == 0
        self.flat = self.exists and lapack.dpocon(self.factor, norm, uplo="L")[0] * norm < 100 * raised

    def scaled(self, vector: Array) -> Array:
        return np.asarray(self.problem.by_class(vector).reshape(-1)[self.on] * self.scale)

    def solution(self, part: Array) -> tuple[Array, float]:
        """(the inverse times a scaled vector, as a vector; its product with the inverse's product)"""
        more = lapack.dpotrs(self.factor, part, lower=1)[0]
        full = np.zeros(self.problem.size)
        full[self.on] = self.scale * more
        return self.problem.flat(full.reshape(self.problem.r, -1)), float(part @ more)


def newton_step(hessian: Hessian, factor: ScaledFactor, gradient: Array) -> Step:
    """Solve H d = -gradient over the free entries, by a factor of the whole Hessian and refinement."""
    step = best = Step(np.zeros_like(gradient), gradient, False)
    least, idle = np.inf, 0
    for _ in range(REFINEMENTS * factor.exists):
        part = factor.scaled(step.lacks)
        more, left = factor.solution(part)
        short = max(left / SOLVED, factor.flat * float(np.abs(part).max(initial=0.0)) / FLAT)
        best, idle = (step._replace(solved=short <= 1), 0) if short < 0.9 * least else (best, idle + 1)
        least = min(least, short)
        if least <= 1e-3 or idle > PATIENCE:
            break
        step = Step(step.d - more, gradient + hessian.product(step.d - more), False)
    return best


def prove(problem: Problem, theta: Array) -> Proof:
    """What F* is at least; only the entropy of the targets if theta is too far from the optimum.

    Where steps would make probabilities negative: what F is at least at weights of at most FARTHEST.
    """
    entropy_y = problem.data.entropy()
    if not affordable(problem):
        return Proof(entropy_y, np.inf)
    theta = problem.centered(theta)
    gradient, hessian = problem.loss_gradient(theta)[1], Hessian(problem, theta)
    least, lasso, ridge = problem.subgradient(theta, gradient), np.zeros(problem.size), np.zeros(problem.size)
    problem.split(lasso)[0][...], problem.split(ridge)[0][...] = problem.penalty1, problem.penalty2
    moves = (theta != 0) | (lasso == 0) | (least != 0)  # with l1, what is 0 and does not move stays there
    H = hessian.whole()
    blurs = problem.flat(blurred(problem, np.diagonal(H).reshape(problem.r, -1)))
    free = moves & (blurs == 0)
    with np.errstate(all="ignore"):
        factor = ScaledFactor(problem, H, problem.by_class(free))
        step = newton_step(hessian, factor, least)
        if not step.solved:
            return Proof(entropy_y, np.inf)
        entropy, hidden = after(hessian, step.d)
    end = theta + step.d
    dual = entropy / problem.total + float(end @ (step.lacks * free))
    # G, the gradient of the data term at q, is -(l1 sign + l2 end) where free, which Newton's equation says exactly; of
    # what rounding may hide it is that and at most `off`; else, at 0, what it is
    off = unsettled(problem, problem.by_class(np.abs(step.lacks) * moves * ((blurs > 0) | factor.flat)))
    off += problem.r * unsettled(problem, sizes(problem) * EPS) if factor.flat or blurs.any() else 0.0
    dual -= off + unsettled(problem, hidden)
    G = np.abs(np.where(moves, least - gradient + ridge * end, gradient - least + step.lacks))
    if problem.l1 and not problem.l2:
        share = min(1.0, 1 / max(1e-300, float((G[lasso > 0] / lasso[lasso > 0]).max(initial=0.0))))
        dual = share * dual + (1 - share) * entropy_y
    else:
        excess, curved = np.maximum(G - lasso, 0), ridge > 0
        with np.errstate(over="ignore"):
            dual -= float((0.5 * excess[curved] * (excess[curved] / ridge[curved])).sum())
    bound = max(dual, entropy_y) if np.isfinite(dual) else entropy_y
    return Proof(bound, off - 0.5 * float(least @ step.d))


def after(hessian: Hessian, d: Array) -> tuple[float, Array]:
    """Of the probabilities q that a step leaves to first order: sum_i s_i H(q_i), H the entropy.

    And (r, M) at least the sums over rows of what rounding may hide of them times |features|, over S.
    """
    problem, entropy = hessian.problem, 0.0
    hidden, direction = np.zeros((problem.r, problem.m + problem.fit_intercept)), problem.full(d)

    def add(block: SoftmaxObjective, proba: Array) -> None:
        nonlocal entropy, hidden
        relative = linearised(block, proba, *direction)
        q, cut = proba * np.maximum(relative, 0), (relative < 0).any(1)
        q[cut] /= q[cut].sum(1, keepdims=True)
        each = -(q * np.log(np.where(q > 0, q, 1))).sum(1)
        entropy += float(block.weighed(each).sum())
        missing = proba * np.maximum(MARGIN - relative, 0)  # what one class lacks the others have too much of
        hidden += missed(problem, block, missing + q * missing.sum(1, keepdims=True))

    hessian.point.each_block(add)
    return entropy, hidden


def linearised(block: SoftmaxObjective, proba: Array, coef: Array, intercept: Array | None) -> Array:
    """What probabilities (n, c) are multiplied by, to first order, where logits are moved by those of a direction.

    1 where a row weighs nothing, or a class has nothing of it.
    """
    part = 1.0
    while part > 1e-300:
        shares = block.predict_proba(part * coef, None if intercept is None else part * intercept)
        if shares.all():
            break
        part *= 1 / 16
    dz, matters = np.log(shares) / part, proba > 0
    if len(block.weight):
        matters &= (block.weight > 0)[:, None]
    return np.where(matters, 1 + dz - (proba * dz).sum(1, keepdims=True), 1)


def blurred(problem: Problem, curvature: Array) -> Array:
    """Of which entries (r, M) so little of the gradient as rounding may hide moves logits by MARGIN.

    As where a row far larger than all others is decided: of its residuals nothing is left, and little of its curvature.
    """
    data = problem.objective
    largest = (data.largest(np.arange(problem.m)) + np.abs(data.shift)) * np.abs(data.scale)
    largest = np.append(largest, [1.0] * problem.fit_intercept)
    return np.asarray(EPS * sizes(problem) * largest > MARGIN * curvature)


def sizes(problem: Problem) -> Array:
    """The root of the mean square of each feature (1, M), that of the intercept, if there is one, last."""
    return np.append(np.sqrt(problem.columns.square), [1.0] * problem.fit_intercept)[None]


def missed(problem: Problem, block: SoftmaxObjective, missing: Array) -> Array:
    """At least the sums over rows of probabilities (n, c) that miss times |features|, (r, M), over S."""
    if not missing.any():
        return np.zeros((problem.r, problem.m + problem.fit_intercept))
    weights = block.weighed(np.ascontiguousarray(missing.T[-problem.r :])) / problem.total
    each, squares = weights.sum(1)[:, None], block.weighted(weights)[1]
    rounding = 1e-14 * each * (block.shift * block.scale) ** 2  # of squares of sparse features less their shift
    sums = np.sqrt(each * (np.maximum(squares, 0) + rounding))  # by Cauchy and Schwarz
    return np.concatenate([sums, *[each] * problem.fit_intercept], 1)


def unsettled(problem: Problem, sums: Array) -> float:
    """What F may be lower by at weights of at most FARTHEST, if its gradient is off by so much."""
    with np.errstate(divide="ignore", over="ignore"):
        return FARTHEST * float((sums / np.append(usual_sizes(problem), [1.0] * problem.fit_intercept)).sum())
