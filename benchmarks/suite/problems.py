"""The shapes of the design, and memory's high-water mark."""

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

SHAPES = {
    "60000x784x10": (60000, 784, 10),
    "20000x768x1000": (20000, 768, 1000),
    "2000x512x32000": (2000, 512, 32000),
    "200000x20x3": (200000, 20, 3),
}
LOGITS = {"60000x10": (60000, 10), "10000x128": (10000, 128), "4096x1000": (4096, 1000), "256x50000": (256, 50000)}


def problem(shape: str, dtype: str = "float32") -> tuple[Any, Any, Any, Any]:
    """X of the shape and dtype, labels, coef, intercept: random, seeded."""
    (n, m, c), rng = SHAPES[shape], np.random.default_rng(0)
    real = np.float64 if dtype == "float64" else np.float32
    if dtype == "uint8":
        X: Any = rng.integers(0, 256, (n, m), dtype=np.uint8)
        coef = rng.standard_normal((c, m), dtype=real) * real(1e-3)
    else:
        X = rng.standard_normal((n, m), dtype=real)
        coef = rng.standard_normal((c, m), dtype=real) * real(0.1)
    return X, rng.integers(0, c, n), coef, rng.standard_normal(c, dtype=real)


def peak_beyond(call: Callable[[], Any]) -> int:
    """Bytes of resident memory that a warm call takes at its highest, beyond what is there before (Linux)."""
    call()
    ctypes.CDLL(None).malloc_trim(0)  # what the first call freed is not yet the system's
    Path("/proc/self/clear_refs").write_text("5")  # the high-water mark starts anew
    before = _status("VmRSS")
    call()
    return max(0, _status("VmHWM") - before)


def _status(name: str) -> int:
    line = next(text for text in Path("/proc/self/status").read_text().splitlines() if text.startswith(name))
    return int(line.split()[1]) * 1024


def mnist_float() -> tuple[Any, Any]:
    """The 60000 training images, pixels / 255 in float32, and labels."""
    import fastsoftmax as fs

    X, y, _, _ = fs.datasets.load_mnist()
    return X / np.float32(255), y


def probe(spread: float = 0.15) -> tuple[Any, Any]:
    """20000 rows of 768 features in float32, a Gaussian about the centre of each of 200 classes."""
    rng = np.random.default_rng(0)
    centres, y = rng.standard_normal((200, 768), dtype=np.float32) * np.float32(spread), rng.integers(0, 200, 20000)
    return centres[y] + rng.standard_normal((20000, 768), dtype=np.float32), y


def sparse_text() -> tuple[Any, Any]:
    """20000 rows of 100 non-zeros among 100000 features, frequent ones first, and 20 classes that depend on them."""
    import scipy.sparse

    rng, (n, m, k, c) = np.random.default_rng(0), (20000, 100000, 100, 20)
    columns = np.sort((m * rng.random((n, k)) ** 3).astype(np.int32), 1)
    X = scipy.sparse.csr_matrix(
        (rng.random(n * k, dtype=np.float32), columns.reshape(-1), np.arange(0, n * k + 1, k)), (n, m)
    )
    X.sum_duplicates()
    logits = X @ (rng.standard_normal((m, c)).astype(np.float32) * 2)
    return X, (logits + rng.gumbel(size=(n, c))).argmax(1)


def sparse_counts(m: int) -> tuple[Any, Any]:
    """16000 rows of m columns, 0 or 1: 250 ones a row in columns frequent and rare, 20 in those of its class of 20."""
    import scipy.sparse

    rng, (n, c) = np.random.default_rng(0), (16000, 20)
    y = rng.integers(c, size=n)
    common = (m ** rng.random((n, 250)) - 1).astype(np.int64) % m
    columns = np.concatenate([common, (y[:, None] * 997 + rng.integers(0, 300, (n, 20))) % m], 1)
    rows = np.repeat(np.arange(n), columns.shape[1])
    X = scipy.sparse.csr_matrix((np.ones(columns.size), (rows, columns.ravel())), (n, m))
    X.sum_duplicates()
    X.data[:] = 1
    return X, y
