"""Fisher-Yates: every row has the same chance of every position."""

from typing import Any

import numpy as np

from fastsoftmax.engine.jit import kernel


@kernel
def shuffle(raw: Any, order: Any) -> None:
    """Shuffle `order` in place by random 64-bit integers, one a row: the bias is below n / 2^64."""
    for i in range(len(order) - 1, 0, -1):
        j = np.int64(raw[i] % np.uint64(i + 1))
        order[i], order[j] = order[j], order[i]
