"""IDX files, the format of MNIST, read strictly: every byte is accounted for, and memory is bounded by the header.

An IDX file is a magic number (two zero bytes, a type, the number of dimensions), the dimensions as big-endian
32-bit integers, and the data, row by row (http://yann.lecun.com/exdb/mnist/).
"""

import hashlib
import os
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

UNSIGNED_BYTE = 8
MAX_BYTES = 1 << 30  # of one file, unpacked; EMNIST's largest has 0.64e9
FOLDER = Path(__file__).parent / "mnist"
SHA256 = {
    "train-images-idx3-ubyte.gz": "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609",
    "train-labels-idx1-ubyte.gz": "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c",
    "t10k-images-idx3-ubyte.gz": "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6",
    "t10k-labels-idx1-ubyte.gz": "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6",
}

Split = tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.uint8], NDArray[np.int64]]


class IDXError(ValueError):
    """A file that is not what an IDX file must be; the message names the file."""


def _read_file(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_BYTES:
            raise IDXError(f"{path}: the file is larger than {MAX_BYTES} bytes")
        return path.read_bytes()
    except OSError as error:
        raise IDXError(f"{path}: cannot be read: {error.strerror}") from error


def _unpack(path: Path, packed: bytes, dimensions: int) -> tuple[tuple[int, ...], bytes]:
    """The shape and the bytes behind the header, never more than one byte beyond what the header says."""
    header = 4 + 4 * dimensions
    if packed[:2] != b"\x1f\x8b":
        shape = _shape(path, packed[:header], dimensions)
        return shape, packed[header:]
    unzip = zlib.decompressobj(wbits=31)
    try:
        head = unzip.decompress(packed, header)
        shape = _shape(path, head, dimensions)
        data = unzip.decompress(unzip.unconsumed_tail, int(np.prod(shape, dtype=object)) + 1)
        # a stream whose last byte has been handed out may still hold its checksum
        rest = unzip.decompress(unzip.unconsumed_tail, 1) if unzip.unconsumed_tail else b""
    except zlib.error as error:
        raise IDXError(f"{path}: damaged gzip data: {error}") from error
    if len(data + rest) <= int(np.prod(shape, dtype=object)) and not unzip.eof:
        raise IDXError(f"{path}: the gzip data is truncated")
    if unzip.unused_data:
        raise IDXError(f"{path}: {len(unzip.unused_data)} or more bytes behind the end of the gzip data")
    return shape, data + rest


def _shape(path: Path, head: bytes, dimensions: int) -> tuple[int, ...]:
    header = 4 + 4 * dimensions
    if len(head) < header:
        raise IDXError(f"{path}: truncated: a header of {header} bytes was expected, got {len(head)} bytes")
    expected = bytes([0, 0, UNSIGNED_BYTE, dimensions])
    if head[:4] != expected:
        raise IDXError(f"{path}: wrong magic number: expected {expected.hex()}, got {head[:4].hex()}")
    shape = struct.unpack(f">{dimensions}I", head[4:])
    if int(np.prod(shape, dtype=object)) > MAX_BYTES:
        raise IDXError(f"{path}: the header says {shape}, more than {MAX_BYTES} bytes")
    if 0 in shape:
        raise IDXError(f"{path}: the header says {shape}: there is nothing in it")
    return shape


def read_idx(path: str | os.PathLike[str], dimensions: int, sha256: str | None = None) -> NDArray[np.uint8]:
    """One IDX file of unsigned bytes, raw or gzipped.

    Parameters
    ----------
    path : path-like
        The file.
    dimensions : int
        How many it must have: 3 for images, 1 for labels.
    sha256 : str, optional
        What the file's SHA-256 must be.

    Returns
    -------
    ndarray of uint8

    Raises
    ------
    IDXError
        If the file cannot be read, has another checksum, a wrong magic number or number of dimensions, too few or
        too many bytes, or is larger than 1 GiB.
    """
    path = Path(path)
    packed = _read_file(path)
    if sha256 is not None and (found := hashlib.sha256(packed).hexdigest()) != sha256:
        raise IDXError(f"{path}: the file has changed: SHA-256 {found}, expected {sha256}")
    shape, data = _unpack(path, packed, dimensions)
    size = int(np.prod(shape))
    if len(data) != size:
        what = "truncated" if len(data) < size else "trailing bytes"
        raise IDXError(
            f"{path}: {what}: the header says {shape}, {size} bytes, got {len(data)}{'+' * (len(data) > size)}"
        )
    return np.frombuffer(data, np.uint8).reshape(shape).copy()


def _split(paths: list[Path], checksums: list[str | None]) -> Split:
    arrays = [
        read_idx(path, 3 if i % 2 == 0 else 1, checksum)
        for i, (path, checksum) in enumerate(zip(paths, checksums, strict=True))
    ]
    for i in (0, 2):
        if len(arrays[i]) != len(arrays[i + 1]):
            raise IDXError(f"{paths[i]} has {len(arrays[i])} images, {paths[i + 1]} has {len(arrays[i + 1])} labels")
    if arrays[0].shape[1:] != arrays[2].shape[1:]:
        raise IDXError(f"{paths[0]} has images of {arrays[0].shape[1:]}, {paths[2]} of {arrays[2].shape[1:]}")
    X, y, X_test, y_test = arrays
    return X.reshape(len(X), -1), y.astype(np.int64), X_test.reshape(len(X_test), -1), y_test.astype(np.int64)


def load_mnist() -> Split:
    """MNIST: 60 000 + 10 000 images of handwritten digits, which come with the package.

    Returns
    -------
    X_train : ndarray of shape (60000, 784), uint8
        Pixels row by row, 0 to 255.
    y_train : ndarray of shape (60000,), int64
        Digits.
    X_test, y_test : ndarray of shapes (10000, 784) and (10000,)

    Raises
    ------
    IDXError
        If the files are not those that were published: their SHA-256 is checked.

    Notes
    -----
    By Yann LeCun, Corinna Cortes and Christopher J. C. Burges, CC BY-SA 3.0 (LeCun et al. 1998).

    Examples
    --------
    >>> import fastsoftmax as fs
    >>> X_train, y_train, X_test, y_test = fs.datasets.load_mnist()
    >>> X_train.shape, X_train.dtype, y_train[:5].tolist()
    ((60000, 784), dtype('uint8'), [5, 0, 4, 1, 9])
    """
    return _split([FOLDER / name for name in SHA256], list(SHA256.values()))


def _find(folder: Path, names: tuple[str, ...], kind: str) -> Path:
    """The one file of a name, with any prefix, `-` or `.` before the kind, raw or else gzipped."""
    found = [
        path
        for name in names
        for mark in "-."
        for end in ("", ".gz")
        for path in sorted(folder.glob(f"*{name}{mark}{kind}-ubyte{end}"))
    ]
    raw = [path for path in found if path.suffix != ".gz"] or found
    if len(raw) != 1:
        what = "none" if not raw else ", ".join(path.name for path in raw)
        raise IDXError(f"{folder}: expected one file *{'|'.join(names)}-{kind}-ubyte[.gz], found {what}")
    return raw[0]


def load_idx(folder: str | os.PathLike[str]) -> Split:
    """Any data set in four files as MNIST's: Fashion-MNIST, KMNIST, EMNIST, or one of your own.

    Parameters
    ----------
    folder : path-like
        Holds train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-images-idx3-ubyte and t10k-labels-idx1-ubyte,
        each raw or with .gz; a prefix, `test` for `t10k` and a dot before `idx` are taken too.

    Returns
    -------
    X_train, y_train, X_test, y_test
        As of `load_mnist`: pixels (n, height * width) uint8, labels (n,) int64.

    Raises
    ------
    IDXError
        If a file is missing, ambiguous or malformed, or two do not fit each other.

    Examples
    --------
    >>> import fastsoftmax as fs
    >>> X, y, X_test, y_test = fs.datasets.load_idx("fashion-mnist")  # doctest: +SKIP
    """
    where = Path(folder)
    if not where.is_dir():
        raise IDXError(f"{where}: no such folder")
    train, test = ("train-{}",), ("t10k-{}", "test-{}")
    paths = [
        _find(where, tuple(name.format(what) for name in names), kind)
        for names in (train, test)
        for what, kind in (("images", "idx3"), ("labels", "idx1"))
    ]
    return _split(paths, [None] * 4)
