"""Steps of the optimisers, in place: SGD with momentum (Polyak 1964; Nesterov as in Sutskever et al. 2013), Adam.

Each adds up a batch's partial gradients, and in one pass makes their sum the gradient in scaled features, factor *
sum * scale + l2 * coef, moves coef along it, and writes W = coef * scale, the weights of the raw features. `scale` has
an entry for each of coef, in that order. All take the same arguments; drivers take one of them as a pointer.
"""

import math
from typing import Any, NamedTuple

from fastsoftmax.engine.jit import Pointer, inlined, kernel, pasted
from fastsoftmax.engine.simd import borrow


class Rule(NamedTuple):
    """An optimiser's settings."""

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


@inlined
def clear(x: Any) -> None:
    """x = 0"""
    for i in range(len(x)):
        x[i] = 0


@kernel
def add_range(partials: Any, first: int, last: int) -> None:
    """partials[0, first:last] = the sum of all, in order; a panel at a time, which stays in cache."""
    count, length = partials.shape
    for start in range(first, last, 1024):
        panel = min(1024, last - start)
        total = borrow(partials, start, panel)
        for q in range(1, count):
            part = borrow(partials, q * length + start, panel)
            for i in range(panel):
                total[i] += part[i]


@kernel
def add_partials(partials: Any) -> None:
    """partials[0] = the sum of all."""
    add_range(partials, 0, partials.shape[1])


@inlined
def add_to_average(coef: Any, count: float, average: Any) -> None:
    """average = the mean of coef over the last `count` steps, unless it is empty."""
    share = coef.dtype.type(1 / count)
    for i in range(len(average)):
        average[i] += (coef[i] - average[i]) * share


@inlined
def sgd_row(rule: Any, now: Any, scale: Any, g: Any, w: Any, v: Any, to: Any) -> None:
    """velocity = momentum velocity + gradient; coef -= rate velocity; with Nesterov one step ahead."""
    dtype = w.dtype.type
    rate, factor, l2, momentum = dtype(now.rate), dtype(now.factor), dtype(now.l2), dtype(rule.momentum)
    ahead = dtype(rule.momentum if rule.nesterov else 1.0)
    if len(v) == 0:
        for j in range(len(w)):
            w[j] -= rate * (factor * g[j] * scale[j] + l2 * w[j])
    else:
        for j in range(len(w)):
            d = factor * g[j] * scale[j] + l2 * w[j]
            v[j] = momentum * v[j] + d
            w[j] -= rate * (ahead * v[j] + d if rule.nesterov else v[j])
    for j in range(len(to)):
        to[j] = w[j] * scale[j]


@inlined
def adam_row(rule: Any, now: Any, scale: Any, g: Any, w: Any, u: Any, v: Any, to: Any) -> None:
    """Adam (Kingma & Ba 2015, algorithm 1)."""
    dtype = w.dtype.type
    factor, l2, epsilon = dtype(now.factor), dtype(now.l2), dtype(rule.epsilon)
    beta1, beta2, new1, new2 = dtype(rule.beta1), dtype(rule.beta2), dtype(1 - rule.beta1), dtype(1 - rule.beta2)
    rate, root = dtype(now.rate / (1 - now.power1)), dtype(1 / math.sqrt(1 - now.power2))
    for j in range(len(w)):
        d = factor * g[j] * scale[j] + l2 * w[j]
        u[j] = beta1 * u[j] + new1 * d
        v[j] = beta2 * v[j] + new2 * d * d
        w[j] -= rate * u[j] / (math.sqrt(v[j]) * root + epsilon)
    for j in range(len(to)):
        to[j] = w[j] * scale[j]


@pasted
def part_of(x: Any, start: int, stop: int) -> Any:
    """Entries start..stop, or none of an empty array."""
    return borrow(x, start if len(x) else 0, stop - start if len(x) else 0)


def _sgd(
    rule: Any, now: Any, count: float, scale: Any, partials: Any, coef: Any, velocity: Any, second: Any, average: Any,
    W: Any, start: int, stop: int,
) -> float:  # fmt: skip
    """SGD, of entries start..stop."""
    add_range(partials, start, stop)
    g = borrow(partials, start, stop - start)
    w, to = part_of(coef, start, stop), part_of(W, start, stop)
    sgd_row(rule, now, part_of(scale, start, stop), g, w, part_of(velocity, start, stop), to)
    add_to_average(w, count, part_of(average, start, stop))
    return 0.0


def _adam(
    rule: Any, now: Any, count: float, scale: Any, partials: Any, coef: Any, first: Any, second: Any, average: Any,
    W: Any, start: int, stop: int,
) -> float:  # fmt: skip
    """Adam, of entries start..stop."""
    add_range(partials, start, stop)
    g = borrow(partials, start, stop - start)
    w, to = part_of(coef, start, stop), part_of(W, start, stop)
    u, v = part_of(first, start, stop), part_of(second, start, stop)
    adam_row(rule, now, part_of(scale, start, stop), g, w, u, v, to)
    add_to_average(w, count, part_of(average, start, stop))
    return 0.0


sgd, adam = Pointer(_sgd), Pointer(_adam)
