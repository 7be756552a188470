"""The Hessian of the cross-entropy in the logits, diag(p) - p p', times a direction: a residual like any other."""

from typing import Any

from fastsoftmax.engine.jit import outlined

TINY = (2.0**-126, 2.0**-1022)  # the least normal numbers of float32 and float64


@outlined
def block_curvature(Z: Any, B: int, rows: int, c: int, bias: Any, proba: Any, p: int, weight: Any, index: Any) -> None:
    """Logits of a direction, short of its bias -> weight * (diag(p) - p p') times them; proba[p:] by rows.

    0 where p is subnormal, as in residuals.
    """
    tiny = TINY[0] if Z.itemsize == 4 else TINY[1]
    for i in range(rows):
        w, mean, at = weight[index[i]] if len(weight) else 1.0, 0.0, p + i * c
        for k in range(c):
            mean += proba[at + k] * (Z[k * B + i] + bias[k])
        for k in range(c):
            q = proba[at + k]
            Z[k * B + i] = 0 if q < tiny else w * q * (Z[k * B + i] + bias[k] - mean)
