"""Cyclic coordinate descent on a quadratic with an l1 penalty (Friedman, Hastie & Tibshirani 2010, section 2.1)."""

from typing import Any

from fastsoftmax._jit import kernel


@kernel
def descend(H: Any, b: Any, penalty: Any, sweeps: int, u: Any, Hu: Any) -> int:
    """Lowers u' H u / 2 - b' u + penalty' |u| over each entry of u in turn, `sweeps` times; the number that moved last.

    H (p, p) is symmetric and positive semidefinite; Hu is H u, and stays so. Ends early if nothing moves.
    """
    moved = 0
    for _ in range(sweeps):
        moved = 0
        for j in range(len(u)):
            curvature = H[j, j]
            if curvature > 0:
                far = u[j] * curvature - Hu[j] + b[j]
                new = 0.0
                if far > penalty[j]:
                    new = (far - penalty[j]) / curvature
                elif far < -penalty[j]:
                    new = (far + penalty[j]) / curvature
                step = new - u[j]
                if step != 0:
                    moved += 1
                    u[j] = new
                    for i in range(len(u)):
                        Hu[i] += step * H[j, i]
        if moved == 0:
            break
    return moved
