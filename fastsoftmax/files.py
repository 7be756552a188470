"""Files of ours: safetensors with JSON beside the arrays, written whole or not at all, and read without trust."""

import json
import os
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

MAX_BYTES = 8 << 30
Array = NDArray[Any]


class FileError(ValueError):
    """A file that is not what it should be; the message names it."""


class CheckpointError(FileError):
    """A file that holds no checkpoint, or one of another run; the message says what differs."""


def check_folder(path: str | os.PathLike[str]) -> None:
    """That a file could be written there, before long work that ends with it.

    Raises
    ------
    OSError
        If there is no such folder, or nothing may be written to it, or the path is a folder.
    """
    target = Path(os.path.realpath(path))
    if target.is_dir():
        raise IsADirectoryError(f"{target} is a folder: give the name of a file")
    if target.exists() and not target.is_file():
        raise FileExistsError(f"{target} is a device or a pipe, which a file would replace: give the name of a file")
    if not target.parent.is_dir():
        raise FileNotFoundError(f"{target.parent}: no such folder to write {target.name} to")
    if not os.access(target.parent, os.W_OK):
        raise PermissionError(f"{target.parent}: no permission to write {target.name} there")


def write(path: str | os.PathLike[str], data: bytes) -> None:
    """Under a temporary name that is renamed: whatever happens, the old file is there, or the new one."""

    def put(file: BinaryIO) -> None:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())

    replace_with(path, put)


def save_array(path: str | os.PathLike[str], array: Array) -> None:
    """As np.save, under a temporary name that is renamed; no copy in memory."""
    replace_with(path, lambda file: np.save(file, array, allow_pickle=False))


def replace_with(path: str | os.PathLike[str], put: Callable[[BinaryIO], object]) -> None:
    """What `put` writes, under a temporary name that is renamed: in place of the file, or nothing."""
    check_folder(path)
    target = Path(os.path.realpath(path))  # what a link points to
    scratch = target.with_name(f"fastsoftmax.{secrets.token_hex(8)}")  # of a length that any name may have
    try:
        with open(scratch, "xb") as file:
            put(file)
        os.replace(scratch, target)
    except BaseException:
        scratch.unlink(missing_ok=True)
        raise


def save(
    path: str | os.PathLike[str], kind: str, version: str, arrays: dict[str, Array], facts: dict[str, Any]
) -> None:
    """Arrays and facts, each fact as JSON."""
    from safetensors.numpy import save as pack

    texts = {name: json.dumps(value, sort_keys=True) for name, value in facts.items()}
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    write(path, pack(arrays, {"format": kind, "version": version, **texts}))


def load(
    path: str | os.PathLike[str], kind: str, version: str, max_bytes: int = MAX_BYTES
) -> tuple[dict[str, Array], dict[str, Any]]:
    """What `save` wrote.

    Raises
    ------
    FileError
        If the file is larger than max_bytes, damaged, or of another kind.
    OSError
        If there is no such file, or it cannot be read.
    """
    from safetensors import SafetensorError, safe_open

    found = Path(path).stat()
    if not stat.S_ISREG(found.st_mode):
        raise FileError(f"{path}: not a file, but a folder, a pipe or a device")
    if not found.st_size <= max_bytes:
        raise FileError(f"{path}: the file has {found.st_size} bytes, more than max_bytes={max_bytes}")
    try:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
            if metadata.pop("format", None) != kind:
                raise FileError(f"{path}: a safetensors file, but not one of a {kind}")
            if (theirs := metadata.pop("version", None)) != version:
                raise FileError(f"{path}: format version {theirs}, expected {version}")
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # no mapping
        return arrays, {name: json.loads(text) for name, text in metadata.items()}
    except FileError:
        raise
    except SafetensorError as error:
        raise FileError(f"{path}: not a safetensors file, or a damaged one: {error}") from error
    except (AttributeError, KeyError, MemoryError, OverflowError, TypeError, ValueError, RecursionError) as error:
        raise FileError(f"{path}: a damaged file: {error}") from error
