"""Names and defaults that are needed before Numba is imported."""

from typing import Any

OPTIMIZERS = ("sgd", "adam", "gd")
SCHEDULES = ("constant", "inverse_scaling", "cosine", "one_cycle")
MNIST: dict[str, Any] = {
    "epochs": 5, "batch_size": 64, "lr": 0.1, "optimizer": "sgd", "schedule": "constant", "momentum": 0.0, "l2": 0.0,
}  # fmt: skip
