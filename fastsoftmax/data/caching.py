"""Parts that are slow to read: their X goes to files when it is first read, and is mapped from then on."""

import os
import secrets
import shutil
import tempfile
import weakref
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from fastsoftmax.data.feature_names import names_of
from fastsoftmax.data.gate import is_sparse
from fastsoftmax.data.pieces import Named, NpyFile, Piece, Stream, Taken, read
from fastsoftmax.files import save_array


class Cached:
    """A piece that is read once: its X is then a file that is mapped, its y and weights are in memory."""

    def __init__(self, piece: Piece, path: Path) -> None:
        self.piece: Piece | None = piece
        self.name, self.rows, self.file = piece.name, piece.rows, NpyFile(path)
        self.columns: list[str] | None = None

    @property
    def at_hand(self) -> bool:
        return self.piece is None

    def read(self, targets: bool) -> Taken:
        if self.piece is not None:
            taken = read(self.piece, True)
            if is_sparse(taken.X):
                raise TypeError(f"{self.name} is sparse: only parts of dense X are cached")
            names, array = names_of(taken.X), np.asarray(taken.X)
            save_array(self.file.path, array)
            self.columns = None if names is None else names.tolist()
            self.rest, self.piece, self.rows = taken[1:], None, len(array)
        array = self.file.load()
        X = array if self.columns is None else Named(array, self.columns)
        return Taken(X, *self.rest) if targets else Taken(X)


def _remove(folder: Path, process: int) -> None:
    if os.getpid() == process:  # not in a child that was forked
        shutil.rmtree(folder, ignore_errors=True)


class CachedStream(Stream):
    """Pieces of a source, which in the first whole pass are found, and cached in a folder of their own.

    Copies, and what was pickled, begin anew.
    """

    def __init__(self, source: Iterable[Piece], parent: str | None) -> None:
        self.source, self.parent = source, parent
        self.folder = Path(tempfile.mkdtemp(prefix="fastsoftmax.", dir=parent))
        self.found: list[Cached] | None = None
        weakref.finalize(self, _remove, self.folder, os.getpid())

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.source, self.parent)

    def __iter__(self) -> Iterator[Piece]:
        if self.found is not None:
            yield from self.found
            return
        found = []
        for piece in self.source:
            found.append(Cached(piece, self.folder / f"{secrets.token_hex(8)}.npy"))  # perhaps not the only pass
            del piece
            yield found[-1]
        if all(piece.piece is None for piece in found):
            self.found = found


def cached(source: Iterable[Piece], folder: str | os.PathLike[str] | None) -> CachedStream:
    """As `Parts.cached` says."""
    if folder is not None and not Path(folder).is_dir():
        raise FileNotFoundError(f"{folder}: no such folder")
    return CachedStream(source, None if folder is None else str(folder))
