"""What L-BFGS remembers: past steps and changes of the gradient, and the direction that follows from them.

The two-loop recursion (Nocedal & Wright 2006, algorithm 7.4) as products with matrices of the pairs, after Byrd,
Nocedal & Schnabel 1994, theorem 2.2: with R the upper triangle of S'Y, D its diagonal, u = R^-1 S'g and q = g - Y u,
the direction is - (M q + S R^-T (D u - Y'M q)). What preconditions, M, may change from one iteration to the next, and
the pairs stay.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import solve_triangular

from fastsoftmax.engine.vectors import in_blocks, product, total

Array = NDArray[Any]
MEMORY_BYTES = 128 << 20
PAIRS = 30
FRESH, OFTEN = 3, 4  # steps: until the scale is kept, and from one to the next
LARGEST = 1e30  # that float32 can hold with room to spare


class Memory:
    """Pairs of s and y in float32, for they only point the way, each at a length of 1 of s."""

    def __init__(self, size: int) -> None:
        self.pairs = int(np.clip(MEMORY_BYTES // (8 * size), 5, PAIRS))
        self.S, self.Y = (np.empty((self.pairs, size), np.float32) for _ in range(2))
        self.SY, self.Sg = np.zeros((self.pairs, self.pairs)), np.zeros(self.pairs)
        self.slots: list[int] = []  # oldest first
        self._scaled: tuple[Any, float, int] = None, 1.0, 0  # for which preconditioner, how, and how many steps ago

    @property
    def used(self) -> int:
        """Rows that hold something."""
        return max(self.slots, default=-1) + 1

    def clear(self) -> None:
        """Forget all pairs."""
        self.slots, self._scaled = [], (None, 1.0, 0)

    def look(self, gradient: Array) -> None:
        """To be called where the gradient is another one without a step: its products with the steps."""
        self.Sg[: self.used] = self._along(gradient)

    def _along(self, gradient: Array) -> Array:
        """S'g"""
        length, used = float(np.abs(gradient).max()) or 1.0, self.used
        if not used:
            return np.zeros(0)
        parts = in_blocks(
            lambda at: self.S[:used, at] @ (gradient[at] / length).astype(np.float32), len(gradient), used
        )
        return np.asarray(length * total(parts))

    def change(self, curvature: Array) -> None:
        """The Hessian is another one, by this diagonal."""
        used, self._scaled = self.used, (None, 1.0, 0)
        if not used:
            return

        def products(at: slice) -> Array:
            self.Y[:used, at] += np.clip(curvature[at], -LARGEST, LARGEST).astype(np.float32) * self.S[:used, at]
            return self.S[:used, at] @ self.Y[:used, at].T

        self.SY[:used, :used] = total(in_blocks(products, len(curvature), used))
        bends = np.diagonal(self.SY)
        self.slots = [slot for slot in self.slots if bends[slot] > 0]

    def add(self, direction: Array, t: float, before: Array, now: Array) -> None:
        """A step of t times the direction, between two gradients, the first of which it has seen."""
        size = t * np.sqrt(product(direction, direction))
        if len(self.slots) == self.pairs:
            self.slots.pop(0)
        slot = min(set(range(self.pairs)) - set(self.slots))

        def difference(at: slice) -> tuple[float, float]:
            y = now[at] - before[at]
            np.multiply(direction[at], t / size, out=self.S[slot, at], casting="same_kind")
            self.Y[slot, at] = np.clip(y / size, -LARGEST, LARGEST)
            return direction[at] @ y, y @ y

        sy, yy = (float(value) for value in total(in_blocks(difference, len(direction))))
        good = t * sy > 1e-10 * size * np.sqrt(yy)
        if good:
            self.slots.append(slot)
        else:
            self.S[slot], self.Y[slot] = 0, 0  # products read it, times 0
        old = self.Sg.copy()
        self.look(now)
        if good:
            used = self.used
            self.SY[:used, slot] = (self.Sg - old)[:used] / size
            self.SY[slot, slot] = t * sy / size**2

    def direction(self, gradient: Array, precondition: Callable[[Array], Array]) -> Array:
        """- (inverse Hessian) gradient"""
        if not self.slots:
            return -precondition(gradient)
        order, used = np.array(self.slots), self.used
        R = np.triu(self.SY[np.ix_(order, order)])
        u, q = solve_triangular(R, self.Sg[order]), np.empty_like(gradient)
        past, length = self._spread(u, order)

        def subtract(at: slice) -> None:
            np.multiply(past @ self.Y[:used, at], -length, out=q[at], dtype=np.float64)
            q[at] += gradient[at]

        in_blocks(subtract, len(q), used)
        scale = self._scale(precondition)
        result = precondition(q)
        size = scale * float(np.abs(result).max()) or 1.0

        def products(at: slice) -> Array:
            result[at] *= -scale
            return self.Y[:used, at] @ (result[at] / size).astype(np.float32)

        v = size * total(in_blocks(products, len(q), used))[order]
        w = solve_triangular(R, np.diag(R) * u + v, trans=1)
        back, far = self._spread(w, order)

        def combine(at: slice) -> None:
            result[at] -= np.multiply(back @ self.S[:used, at], far, dtype=np.float64)

        in_blocks(combine, len(q), used)
        return result

    def _spread(self, values: Array, order: Array) -> tuple[Array, float]:
        """(float32 values of all rows, near 1; what they are to be multiplied with)"""
        length = float(np.abs(values).max()) or 1.0
        rows = np.zeros(self.used, np.float32)
        rows[order] = values / length
        return rows, length

    def _scale(self, precondition: Callable[[Array], Array]) -> float:
        """How much less curvature the last step saw than the preconditioner has.

        Asked of blocks of the classes too: with a scale of 1 for them MNIST took 47 iterations, and 40 with this. After
        the first steps with a preconditioner it is kept for some.
        """
        scaled, scale, age = self._scaled
        if scaled is not precondition:
            age = 0
        if age < FRESH or age % OFTEN == 0:
            last = self.slots[-1]
            y = self.Y[last].astype(np.float64)
            bend = product(y, precondition(y))
            scale = float(self.SY[last, last] / bend) if bend > 0 else 1.0
        self._scaled = precondition, scale, age + 1
        return scale
