"""The state of PyTorch's `nn.Linear`, weight (c, m) and bias (c,), in safetensors."""

import os
import stat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsoftmax import files

KINDS = ("F64", "F32", "F16", "BF16")
Array = NDArray[Any]


def write(path: str | os.PathLike[str], coef: Array, intercept: Array, prefix: str) -> None:
    """See `SoftmaxModel.to_linear`."""
    from safetensors.numpy import save

    files.write(path, save({f"{prefix}weight": coef, f"{prefix}bias": intercept}, {"format": "pt"}))


def read(path: str | os.PathLike[str], prefix: str, max_bytes: float) -> tuple[Array, Array]:
    """See `SoftmaxModel.from_linear`: weights (c, m) and biases (c,), float32 or float64."""
    from safetensors import SafetensorError, safe_open

    found = Path(path).stat()
    if not stat.S_ISREG(found.st_mode):
        raise files.FileError(f"{path}: not a file, but a folder, a pipe or a device")
    if not found.st_size <= max_bytes:
        raise files.FileError(f"{path}: the file has {found.st_size} bytes, more than max_bytes={max_bytes}")
    try:
        with safe_open(path, "numpy") as file:
            names = set(file.keys())
            if f"{prefix}weight" not in names:
                raise files.FileError(
                    f"{path}: there is no {prefix}weight, but {', '.join(sorted(names)[:8]) or 'nothing'}: name the "
                    "prefix of the layer, as prefix='head.'"
                )
            weight = _floats(path, file, f"{prefix}weight")
            bias = np.zeros(weight.shape[:1], weight.dtype)
            if f"{prefix}bias" in names:
                bias = _floats(path, file, f"{prefix}bias")
    except SafetensorError as error:
        raise files.FileError(f"{path}: not a safetensors file, or a damaged one: {error}") from error
    if weight.ndim != 2 or bias.shape != weight.shape[:1]:
        raise files.FileError(
            f"{path}: weight must be of shape (c, m) and bias of (c,), got {weight.shape} and {bias.shape}"
        )
    return weight, bias.astype(weight.dtype)


def _floats(path: Any, file: Any, name: str) -> Array:
    """A tensor; of half precision in float32, which bfloat16 is the upper half of."""
    kind = str(file.get_slice(name).get_dtype())
    if kind not in KINDS:
        raise files.FileError(f"{path}: {name} is of {kind}, where one of {', '.join(KINDS)} is expected")
    if kind == "BF16":
        try:
            import ml_dtypes  # noqa: F401  # by which safetensors hands it over
        except ImportError as error:
            raise ImportError(f"{name} is of bfloat16, which needs ml_dtypes: pip install ml_dtypes") from error
    array = np.asarray(file.get_tensor(name))
    return array if array.dtype in (np.float32, np.float64) else array.astype(np.float32)
