"""The Hessian of the cross-entropy in the logits, diag(p) - p p', times a direction: a residual like any other."""

from typing import Any

from fastsoftmax.engine.jit import outlined


@outlined
def block_curvature(Z: Any, B: int, rows: int, c: int, bias: Any, proba: Any, p: int, weight: Any, index: Any) -> None:
    """Logits of a direction, short of its bias -> weight * (diag(p) - p p') times them; proba[p:] by rows."""
    for i in range(rows):
        w, mean, at = weight[index[i]] if len(weight) else 1.0, 0.0, p + i * c
        for k in range(c):
            mean += proba[at + k] * (Z[k * B + i] + bias[k])
        for k in range(c):
            Z[k * B + i] = w * proba[at + k] * (Z[k * B + i] + bias[k] - mean)
