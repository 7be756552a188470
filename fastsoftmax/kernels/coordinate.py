"""Cyclic coordinate descent on a quadratic with an l1 penalty (Friedman, Hastie & Tibshirani 2010, section 2.1)."""

from typing import Any

from fastsoftmax.engine.jit import kernel


@kernel
def descend(H: Any, penalty: Any, sweeps: int, u: Any, slope: Any) -> int:
    """Lowers a quadratic plus penalty' |u| over each entry of u in turn, `sweeps` times; the number that moved last.

    H (p, p) is its Hessian, positive semidefinite; slope its gradient at u, and stays so. Ends early if nothing moves.
    """
    moved = 0
    for _ in range(sweeps):
        moved = 0
        for j in range(len(u)):
            curvature = H[j, j]
            if curvature > 0:
                far = u[j] * curvature - slope[j]
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
                        slope[i] += step * H[j, i]
        if moved == 0:
            break
    return moved
