"""Where a part of the rows comes from: each kind of piece knows its name, perhaps its number of rows, and reads."""

import itertools
import os
import re
import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from fastsoftmax.data.gate import BFLOAT16, is_sparse, unmasked

PART_BYTES = 64 << 20  # of X, where parts are not given
Array = NDArray[Any]


class PartError(ValueError):
    """Something is wrong with a part; the message names it, and the row where there is one."""


class Taken(NamedTuple):
    """What a part says: X (n, m), and y (n,) or (n, c) and weights (n,) where there are any."""

    X: Any
    y: Any = None
    weight: Any = None


class Piece(Protocol):
    """A part that can be read again and again."""

    name: str
    rows: int | None  # None where it is not known before it is read

    @property
    def at_hand(self) -> bool:
        """Whether some of its rows are had without reading all of them."""

    def read(self, targets: bool) -> Taken:
        """X, and with `targets` y and weights."""


def as_it_is(values: Any) -> Any:
    """An array, but of frames and sparse matrices, which stay."""
    return (
        values
        if isinstance(values, np.ndarray) or is_sparse(values) or hasattr(values, "dtypes")
        else np.asarray(values)
    )


def whole(values: Any) -> Any:
    """An array of what has slices (zarr, h5py) but is no array; arrays, frames and sparse matrices as they are."""
    if values is None or isinstance(values, (np.ndarray, list, tuple)) or is_sparse(values):
        return values
    if hasattr(values, "dtypes") or hasattr(values, "__array_interface__") or not hasattr(values, "__getitem__"):
        return values
    return np.asarray(values[:])


class Given:
    """Arrays, or what becomes arrays by slices."""

    def __init__(self, name: str, X: Any, y: Any = None, weight: Any = None) -> None:
        self.name, self.taken = name, Taken(X, y, weight)
        shape = getattr(X, "shape", None)
        self.rows: int | None = int(shape[0]) if shape else (len(X) if hasattr(X, "__len__") else None)

    @property
    def at_hand(self) -> bool:
        return isinstance(self.taken.X, np.ndarray) or is_sparse(self.taken.X)

    def read(self, targets: bool) -> Taken:
        X, y, weight = self.taken
        return Taken(whole(X), whole(y), whole(weight)) if targets else Taken(whole(X))


class Made:
    """What a function returns, anew each time: (X, y), (X, y, weight) or X."""

    rows: int | None = None
    at_hand = False

    def __init__(self, name: str, function: Callable[[], Any]) -> None:
        self.name, self.function = name, function

    def read(self, targets: bool) -> Taken:
        return given(self.name, self.function()).read(targets)


class Slice:
    """Rows start..stop of what has slices, which are read when they are wanted."""

    def __init__(self, name: str, X: Any, y: Any, weight: Any, start: int, stop: int) -> None:
        self.name, self.taken, self.at, self.rows = name, Taken(X, y, weight), slice(start, stop), stop - start

    @property
    def at_hand(self) -> bool:
        return isinstance(self.taken.X, np.ndarray)

    def read(self, targets: bool) -> Taken:
        given = self.taken if targets else self.taken[:1]
        return Taken(*(None if part is None else as_it_is(part[self.at]) for part in given))


class Mapped:
    """Which files are mapped: those that were used last, for each takes a descriptor of the process."""

    MOST = 128

    def __init__(self) -> None:
        self.files: dict[int, weakref.ref[NpyFile]] = {}
        self.lock = threading.Lock()

    def use(self, file: "NpyFile") -> None:
        """It was used just now."""
        with self.lock:
            self.files.pop(id(file), None)
            self.files[id(file)] = weakref.ref(file)
            while len(self.files) > self.MOST:
                oldest = self.files.pop(next(iter(self.files)))()
                if oldest is not None:
                    oldest.mapped = None


_mapped = Mapped()


class NpyFile:
    """A .npy file, which is mapped, not copied."""

    def __init__(self, path: str | os.PathLike[str], dtype: Any = None) -> None:
        self.path, self.name, self.dtype = Path(path), str(path), dtype
        self.seen: tuple[int, int, int] | None = None
        self.mapped: Array | None = None

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"seen": None, "mapped": None}  # another process, perhaps another machine, maps it itself

    def load(self) -> Array:
        """The array; the same memory as before, unless the file changed: then there is an error."""
        try:
            found = self.path.stat()
            facts = found.st_ino, found.st_size, found.st_mtime_ns
            mapped = self.mapped
            if mapped is not None and facts == self.seen:
                _mapped.use(self)
                return mapped
            array = np.load(self.path, mmap_mode="r", allow_pickle=False)
        except OSError as error:
            raise PartError(f"{self.path}: {error.strerror or error}") from error
        except Exception as error:  # another format, objects, too short; of headers also SyntaxError
            raise PartError(f"{self.path}: not a .npy file of numbers, or a damaged one: {error}") from error
        if self.seen is not None and facts != self.seen:
            raise PartError(f"{self.path}: the file has changed since it was first read")
        if not isinstance(array, np.ndarray):
            raise PartError(f"{self.path}: expected one array, as np.save writes it, got {type(array).__name__}")
        if not array.ndim:
            raise PartError(f"{self.path}: expected rows, got a single number")
        self.seen, self.mapped = facts, self._viewed(array)
        _mapped.use(self)
        return self.mapped

    def _viewed(self, array: Array) -> Array:
        if self.dtype is None:
            return array
        if str(self.dtype) != "bfloat16":
            raise ValueError(f'dtype must be "bfloat16", or None for what the files say, got {self.dtype!r}')
        if array.dtype.itemsize != 2 or array.dtype.kind not in "Vu":
            raise PartError(f"{self.path}: bfloat16 is stored as uint16, or as 2 bytes, got dtype {array.dtype}")
        return array.view(BFLOAT16)


class NpyPart:
    """X of one file; y and weights are arrays of all rows, of which it has start..stop, or files."""

    at_hand = True

    def __init__(self, X: NpyFile, y: Any, weight: Any, start: int) -> None:
        self.X, self.y, self.weight, self.start, self.name = X, y, weight, start, X.name
        shape = X.load().shape
        self.rows: int | None = shape[0] if shape else None

    def __getstate__(self) -> dict[str, Any]:
        own = {name: self._own(getattr(self, name), self.rows or 0, False) for name in ("y", "weight")}
        return vars(self) | own | {"start": 0}  # not those of all rows with each part

    def read(self, targets: bool) -> Taken:
        X = self.X.load()
        if not targets:
            return Taken(X)
        return Taken(X, *(self._own(part, len(X)) for part in (self.y, self.weight)))

    def _own(self, values: Any, n: int, load: bool = True) -> Any:
        if isinstance(values, NpyFile):
            return values.load() if load else values
        return None if values is None else values[self.start : self.start + n]


def read(piece: Piece, targets: bool) -> Taken:
    """What a piece says; its number of rows, where it is known ahead, is what it is."""
    try:
        taken = piece.read(targets)
    except (PartError, TypeError):
        raise
    except Exception as error:
        raise PartError(f"{piece.name} could not be read: {type(error).__name__}: {error}") from error
    for part, name in zip(taken, Taken._fields, strict=True):
        unmasked(part, f"{name} of {piece.name}")
    shape = np.shape(taken.X)
    if piece.rows is not None and shape and shape[0] != piece.rows:
        raise PartError(f"{piece.name} has {shape[0]} rows, where it had {piece.rows}")
    return taken


def one_of(name: str, given: Any, own: Any) -> Any:
    """y or weights that were given for all rows, or those of the parts."""
    if given is not None and own is not None and given is not own:
        raise ValueError(f"{name} was given, and the parts have their own: give one of the two")
    return own if given is None else given


class Named:
    """An array with names of its columns, as frames have."""

    def __init__(self, array: Array, columns: list[str]) -> None:
        self.array, self.columns, self.shape, self.dtype = array, columns, array.shape, array.dtype

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> Array:
        return self.array if dtype is None else self.array.astype(dtype)


def given(name: str, item: Any) -> Given | Made:
    """A part as users write it: (X, y), (X, y, weight), X alone, or a function that returns one of these."""
    if hasattr(type(item), "__dask_graph__") and hasattr(type(item), "key"):  # delayed: it has any attribute
        return Made(name, item.compute)
    if callable(item) and not hasattr(item, "shape"):
        return Made(name, item)
    if not isinstance(item, tuple):
        return Given(name, item)
    if not 1 <= len(item) <= 3:
        raise TypeError(f"{name} must be (X, y), (X, y, weight) or X, got a tuple of {len(item)}")
    return Given(name, *item)


def natural(path: Path) -> list[Any]:
    """Sorts part2 before part10."""
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", path.name)]


def files(source: Any, ending: str) -> list[Path]:
    """The files of a folder in natural order, or those that are listed, in that order."""
    if isinstance(source, (str, os.PathLike)):
        path = Path(source)
        if not path.is_dir():
            if not path.exists():
                raise FileNotFoundError(f"{path}: no such file or folder")
            return [path]
        found = sorted(path.glob(f"*{ending}"), key=natural)
        if not found:
            raise FileNotFoundError(f"{path}: the folder has no files *{ending}")
        return found
    found = [Path(path) for path in source]
    if not found:
        raise ValueError("no files: the list is empty")
    return found


def npy_pieces(X: Any, y: Any, weight: Any, dtype: Any) -> list[NpyPart]:
    """As `Parts.from_npy` says."""
    paths = files(X, ".npy")
    columns = [_aligned(part, len(paths), name) for part, name in ((y, "y"), (weight, "weight"))]
    pieces, start = [], 0
    for i, path in enumerate(paths):
        own = [part[i] if isinstance(part, list) else part for part in columns]
        pieces.append(NpyPart(NpyFile(path, dtype), own[0], own[1], start))
        start += pieces[-1].rows or 0
    for part, name in zip(columns, ("y", "weight"), strict=True):
        if part is not None and not isinstance(part, list) and len(part) != start:
            raise ValueError(f"{name} must have a row for each of X's {start}, got {len(part)}")
    return pieces


def _is_path(value: Any) -> bool:
    """Whether it is one, and no label."""
    return isinstance(value, os.PathLike) or (isinstance(value, str) and value.endswith(".npy"))


def _aligned(values: Any, count: int, name: str) -> Any:
    """Files, one for each of X, or an array of all rows."""
    if values is None:
        return None
    paths = isinstance(values, (list, tuple)) and all(map(_is_path, values))
    if not (isinstance(values, (str, os.PathLike)) or (paths and len(values))):
        return np.asarray(unmasked(values, name))
    found = files(values, ".npy")
    if len(found) == count:
        return [NpyFile(path) for path in found]
    if len(found) == 1:
        return NpyFile(found[0]).load()
    raise ValueError(f"{name} must have one file for each of the {count} of X, or one for all, got {len(found)}")


def slices(X: Any, y: Any, weight: Any, rows: int | None) -> list[Slice]:
    """As `Parts.from_slices` says."""
    if not (hasattr(X, "shape") or hasattr(X, "__len__")) or not hasattr(X, "__getitem__"):
        raise TypeError(f"X must have a shape, or a length, and slices, got {type(X).__name__}")
    shape = getattr(X, "shape", None)
    n = int(shape[0]) if shape else len(X)
    for part, name in ((y, "y"), (weight, "weight")):
        if part is not None and len(part) != n:
            raise ValueError(f"{name} must have a row for each of X's {n}, got {len(part)}")
    if rows is None:
        bytes_ = (X.data.nbytes / n if is_sparse(X) else float(np.asarray(X[:1]).nbytes)) if n else 0.0
        rows = getattr(X, "batch_size", None) or max(1, int(PART_BYTES / max(bytes_, 1.0)))
    if rows < 1:
        raise ValueError(f"rows must be at least 1, got {rows}")
    return [
        Slice(f"rows {start}..{min(n, start + rows) - 1}", X, y, weight, start, min(n, start + rows))
        for start in range(0, n, rows)
    ]


class Stream:
    """Parts that come one after another from what a function makes anew for each pass."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make

    def __iter__(self) -> Iterator[Piece]:
        made = self.make()
        if not hasattr(made, "__iter__"):
            raise TypeError(f"the function of Parts must return parts to iterate over, got {type(made).__name__}")
        items = iter(made)
        for i in itertools.count():
            try:
                piece = given(f"part {i}", next(items))
            except StopIteration:
                return
            yield piece
            del piece  # before the next one is made


class Chain(Stream):
    """Parts of several sources, one after another."""

    def __init__(self, sources: Iterable[Iterable[Piece]]) -> None:
        self.sources = list(sources)

    def __iter__(self) -> Iterator[Piece]:
        return itertools.chain.from_iterable(self.sources)


def listed(parts: Any) -> Sequence[Piece] | Stream:
    """As users write parts."""
    if callable(parts):
        return Stream(parts)
    if isinstance(parts, (str, bytes, os.PathLike)):
        raise TypeError(f"parts must be a list of parts, got {parts!r}: see Parts.from_npy and Parts.from_parquet")
    if isinstance(parts, Iterator):
        raise TypeError(
            "a generator can be read once, but a fit reads its rows many times: give a list of parts, or the function "
            "that makes the generator, Parts(make) instead of Parts(make())"
        )
    return [given(f"part {i}", item) for i, item in enumerate(parts)]
