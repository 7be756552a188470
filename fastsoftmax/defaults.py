"""Names and defaults that are needed before Numba is imported."""

from typing import Any

OPTIMIZERS = ("sgd", "adam", "gd")
DTYPES = ("uint8", "float32", "float64")  # that are usual
EVERY_DTYPE = (*DTYPES, "float16", "bfloat16", "int8")  # that are read as they are
SCHEDULES = ("constant", "inverse_scaling", "cosine", "one_cycle")
# Chosen on 10 000 rows held out of MNIST's training set, never on the test set: benchmarks/choose_defaults.py.
MNIST: dict[str, Any] = {
    "epochs": 10,
    "batch_size": 64,
    "lr": 0.003,
    "optimizer": "adam",
    "schedule": "one_cycle",
    "momentum": 0.0,
    "l2": 0.0,
}
