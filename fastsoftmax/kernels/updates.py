"""Steps of the optimisers, in place: SGD with momentum (Polyak 1964; Nesterov as in Sutskever et al. 2013), Adam.

Each takes the sum of a batch's raw gradients, and in one pass makes it the gradient in scaled features, factor * sum *
scale + l2 * coef, moves coef along it, and writes W = coef * scale, the weights of the raw features. `scale` is a
row, of m features or, for an intercept, of one.
"""

import math
from typing import Any, NamedTuple

from fastsoftmax._jit import outlined
from fastsoftmax._simd import borrow

SGD, ADAM = 0, 1


class Rule(NamedTuple):
    """An optimiser and its settings."""

    kind: int
    momentum: float
    nesterov: bool
    beta1: float
    beta2: float
    epsilon: float


class Step(NamedTuple):
    """What changes from step to step."""

    rate: float
    factor: float
    l2: float
    power1: float  # beta1 and beta2 to the number of steps
    power2: float


@outlined
def sgd_step(rule: Any, now: Any, scale: Any, gradient: Any, coef: Any, velocity: Any, W: Any) -> None:
    """velocity = momentum velocity + gradient; coef -= rate velocity; with Nesterov one step ahead."""
    dtype, m = coef.dtype.type, len(scale)
    rate, factor, l2, momentum = dtype(now.rate), dtype(now.factor), dtype(now.l2), dtype(rule.momentum)
    ahead = dtype(rule.momentum if rule.nesterov else 1.0)
    for start in range(0, len(coef), m):
        g, w, to = borrow(gradient, start, m), borrow(coef, start, m), borrow(W, start, m)
        if len(velocity) == 0:
            for j in range(m):
                w[j] -= rate * (factor * g[j] * scale[j] + l2 * w[j])
                to[j] = w[j] * scale[j]
        else:
            v = borrow(velocity, start, m)
            for j in range(m):
                d = factor * g[j] * scale[j] + l2 * w[j]
                v[j] = momentum * v[j] + d
                w[j] -= rate * (ahead * v[j] + d if rule.nesterov else v[j])
                to[j] = w[j] * scale[j]


@outlined
def adam_step(rule: Any, now: Any, scale: Any, gradient: Any, coef: Any, first: Any, second: Any, W: Any) -> None:
    """Adam (Kingma & Ba 2015, algorithm 1)."""
    dtype, m = coef.dtype.type, len(scale)
    factor, l2, epsilon = dtype(now.factor), dtype(now.l2), dtype(rule.epsilon)
    beta1, beta2, new1, new2 = dtype(rule.beta1), dtype(rule.beta2), dtype(1 - rule.beta1), dtype(1 - rule.beta2)
    rate, root = dtype(now.rate / (1 - now.power1)), dtype(1 / math.sqrt(1 - now.power2))
    for start in range(0, len(coef), m):
        g, w, to = borrow(gradient, start, m), borrow(coef, start, m), borrow(W, start, m)
        u, v = borrow(first, start, m), borrow(second, start, m)
        for j in range(m):
            d = factor * g[j] * scale[j] + l2 * w[j]
            u[j] = beta1 * u[j] + new1 * d
            v[j] = beta2 * v[j] + new2 * d * d
            w[j] -= rate * u[j] / (math.sqrt(v[j]) * root + epsilon)
            to[j] = w[j] * scale[j]


@outlined
def descend(
    rule: Any,
    now: Any,
    count: float,
    scale: Any,
    gradient: Any,
    coef: Any,
    first: Any,
    second: Any,
    average: Any,
    W: Any,
) -> None:
    """One step of `coef`, and of its average over the last `count` steps unless `average` is empty."""
    if rule.kind == ADAM:
        adam_step(rule, now, scale, gradient, coef, first, second, W)
    else:
        sgd_step(rule, now, scale, gradient, coef, first, W)
    if len(average):
        share = coef.dtype.type(1 / count)
        for i in range(len(coef)):
            average[i] += (coef[i] - average[i]) * share
