"""L-BFGS's memory against the two loops of the book, on quadratics; and what happens between fits."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from fastsoftmax.solvers.memory import PAIRS, Memory


def two_loops(pairs, gradient, precondition):
    """Nocedal & Wright 2006, algorithm 7.4."""
    q, alphas = gradient.copy(), []
    for s, y in reversed(pairs):
        alphas.append((s @ q) / (s @ y))
        q = q - alphas[-1] * y
    s, y = pairs[-1] if pairs else (q, q)
    r = precondition(q) * ((s @ y) / (y @ precondition(y)) if pairs else 1.0)
    for (s, y), alpha in zip(pairs, reversed(alphas), strict=True):
        r = r + s * (alpha - (y @ r) / (s @ y))
    return -r


def walked(rng, memory, p, steps, H):
    """Steps on a quadratic, as a descent adds them; (pairs, the last gradient)."""
    theta, pairs = rng.standard_normal(p), []
    gradient = H @ theta
    memory.look(gradient)
    for _ in range(steps):
        direction, t = rng.standard_normal(p), float(rng.uniform(0.1, 2))
        new = gradient + t * (H @ direction)
        memory.add(direction, t, gradient, new)
        pairs.append((t * direction, new - gradient))
        gradient = new
    return pairs[-memory.pairs :], gradient


@pytest.mark.parametrize("steps", [0, 1, 5, PAIRS, PAIRS + 7])
@pytest.mark.parametrize("p", [40, 3000])
def test_the_direction_is_that_of_two_loops(rng, steps, p):
    H, M = np.diag(rng.uniform(0.1, 10, p)), np.diag(rng.uniform(0.1, 10, p))
    memory = Memory(p)
    pairs, gradient = walked(rng, memory, p, steps, H)
    found = memory.direction(gradient, lambda v: M @ v)
    wanted = two_loops(pairs, gradient, lambda v: M @ v)
    assert_allclose(found, wanted, rtol=1e-3, atol=1e-4 * np.abs(wanted).max())


def test_what_preconditions_may_change(rng):
    """The pairs stay, and serve with another one as if it had been there from the start."""
    p = 50
    H, memory = np.diag(rng.uniform(0.1, 10, p)), Memory(p)
    pairs, gradient = walked(rng, memory, p, 8, H)
    for scale in (1.0, 5.0):
        found = memory.direction(gradient, lambda v, scale=scale: scale * v)
        assert_allclose(found, two_loops(pairs, gradient, lambda v: v), rtol=1e-3, atol=1e-4)


def test_with_all_directions_seen_it_is_newtons(rng):
    """Steps along eigenvectors: the inverse Hessian is known."""
    p = 20
    Q, values = np.linalg.qr(rng.standard_normal((p, p)))[0], 10.0 ** rng.uniform(-1, 1, p)
    H, memory, theta = (Q * values) @ Q.T, Memory(p), rng.standard_normal(p)
    gradient = H @ theta
    memory.look(gradient)
    for q in Q.T:
        memory.add(q, 1.0, gradient, gradient + H @ q)
        gradient, theta = gradient + H @ q, theta + q
    assert_allclose(memory.direction(gradient, np.copy), -theta, rtol=1e-3, atol=1e-3)


def test_another_penalty(rng):
    """After `change` the pairs are those of the Hessian with it."""
    p, extra = 60, np.r_[np.full(50, 0.7), np.zeros(10)]
    H, memory = np.diag(rng.uniform(0.5, 5, p)), Memory(p)
    pairs, gradient = walked(rng, memory, p, 10, H)
    memory.change(extra)
    memory.look(gradient)
    wanted = two_loops([(s, y + extra * s) for s, y in pairs], gradient, np.copy)
    assert_allclose(memory.direction(gradient, np.copy), wanted, rtol=1e-3, atol=1e-4)


def test_a_penalty_so_much_weaker_that_no_curvature_is_left(rng):
    """Such pairs are forgotten: with them the inverse would not be positive."""
    p = 30
    H, memory = np.diag(rng.uniform(0.5, 5, p)), Memory(p)
    _, gradient = walked(rng, memory, p, 10, H)
    memory.change(np.full(p, -100.0))
    memory.look(gradient)
    assert memory.slots == []
    assert_allclose(memory.direction(gradient, np.copy), -gradient)


@pytest.mark.parametrize("size", [1e-200, 1e100])
def test_sizes_that_float32_does_not_hold(rng, size):
    p = 40
    H, memory = np.diag(rng.uniform(0.1, 10, p)), Memory(p)
    theta = rng.standard_normal(p)
    gradient = size * (H @ theta)
    memory.look(gradient)
    for _ in range(5):
        step = rng.standard_normal(p)
        memory.add(step, 1.0, gradient, gradient + size * (H @ step))
        gradient = gradient + size * (H @ step)
    direction = memory.direction(gradient, np.copy)
    assert np.isfinite(direction).all()
    assert gradient / size @ direction < 0


@pytest.mark.parametrize("H", [np.zeros((5, 5)), -np.eye(5)])
def test_steps_without_curvature_are_not_remembered(rng, H):
    memory = Memory(5)
    walked(rng, memory, 5, 4, H)
    assert memory.slots == []
    good, _ = walked(rng, memory, 5, 2, np.eye(5))
    assert len(memory.slots) == 2
    assert np.isfinite(memory.direction(good[0][1], np.copy)).all()
