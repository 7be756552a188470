"""Steps of the optimisers, in place: SGD with momentum (Polyak 1964; Nesterov as in Sutskever et al. 2013), Adam."""

import math
from typing import Any, NamedTuple

from fastsoftmax._jit import outlined

SGD, ADAM = 0, 1


class Rule(NamedTuple):
    """An optimiser and its settings."""

    kind: int
    momentum: float
    nesterov: bool
    beta1: float
    beta2: float
    epsilon: float


@outlined
def sgd_step(rule: Any, rate: float, coef: Any, gradient: Any, velocity: Any) -> None:
    """velocity = momentum velocity + gradient; coef -= rate velocity; with Nesterov one step ahead."""
    dtype = coef.dtype.type
    rate, momentum = dtype(rate), dtype(rule.momentum)
    if len(velocity) == 0:
        for i in range(len(coef)):
            coef[i] -= rate * gradient[i]
    elif rule.nesterov:
        for i in range(len(coef)):
            velocity[i] = momentum * velocity[i] + gradient[i]
            coef[i] -= rate * (gradient[i] + momentum * velocity[i])
    else:
        for i in range(len(coef)):
            velocity[i] = momentum * velocity[i] + gradient[i]
            coef[i] -= rate * velocity[i]


@outlined
def adam_step(rule: Any, rate: float, powers: Any, coef: Any, gradient: Any, first: Any, second: Any) -> None:
    """Adam (Kingma & Ba 2015, algorithm 1). powers: beta1 and beta2 to the number of steps, by recurrence."""
    dtype = coef.dtype.type
    beta1, beta2, epsilon = dtype(rule.beta1), dtype(rule.beta2), dtype(rule.epsilon)
    new1, new2 = dtype(1 - rule.beta1), dtype(1 - rule.beta2)
    rate, root = dtype(rate / (1 - powers[0])), dtype(1 / math.sqrt(1 - powers[1]))
    for i in range(len(coef)):
        first[i] = beta1 * first[i] + new1 * gradient[i]
        second[i] = beta2 * second[i] + new2 * gradient[i] * gradient[i]
        coef[i] -= rate * first[i] / (math.sqrt(second[i]) * root + epsilon)


@outlined
def descend(
    rule: Any, rate: float, powers: Any, count: float, coef: Any, gradient: Any, first: Any, second: Any, average: Any
) -> None:
    """One step of `coef`, and of its average over the last `count` steps unless `average` is empty."""
    if rule.kind == ADAM:
        adam_step(rule, rate, powers, coef, gradient, first, second)
    else:
        sgd_step(rule, rate, coef, gradient, first)
    if len(average):
        share = coef.dtype.type(1 / count)
        for i in range(len(coef)):
            average[i] += (coef[i] - average[i]) * share


@outlined
def scale_gradient(gradient: Any, factor: float, scale: Any, coef: Any, l2: float) -> None:
    """gradient = factor * gradient * scale + l2 * coef, a scale to each feature: the gradient in scaled features."""
    dtype, m = coef.dtype.type, len(scale)
    factor, l2 = dtype(factor), dtype(l2)
    for start in range(0, len(coef), m):
        for j in range(m):
            gradient[start + j] = factor * gradient[start + j] * scale[j] + l2 * coef[start + j]


@outlined
def scale_coef(coef: Any, scale: Any, W: Any) -> None:
    """W = coef * scale: the coefficients of the raw features."""
    m = len(scale)
    for start in range(0, len(coef), m):
        for j in range(m):
            W[start + j] = coef[start + j] * scale[j]
