"""Rows in parts as fits take them: checked in a first pass, read again in each that follows, and chosen among."""

import contextlib
import itertools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsoftmax.data.ahead import Pace, each
from fastsoftmax.data.csr import CSR
from fastsoftmax.data.design import Design
from fastsoftmax.data.feature_names import names_of
from fastsoftmax.data.gate import from_disk, is_sparse
from fastsoftmax.data.layouts import Gathered, as_design
from fastsoftmax.data.parts import Parts
from fastsoftmax.data.pieces import Given, Made, Named, PartError, Piece, Taken, read
from fastsoftmax.data.targets import as_weight

KEPT_BYTES = 64 << 20  # of rows that samples are made of, which solvers ask for again and again
TOUCHED = 64 << 10  # from byte to byte: the system maps 16 pages around a fault, and reads no fewer from a disk
KINDS = str.maketrans("biufUS", "nnnntt")  # of y that go together: numbers, and text
Array = NDArray[Any]


class Facts(NamedTuple):
    """What all parts have in common."""

    m: int
    sparse: bool
    x_dtype: np.dtype[Any]
    names: list[str] | None


@contextlib.contextmanager
def naming(name: str) -> Iterator[None]:
    """Errors begin with the name of the part."""
    try:
        yield
    except PartError:
        raise
    except TypeError as error:
        raise TypeError(f"{name}: {error}") from error
    except ValueError as error:
        raise PartError(f"{name}: {error}") from error


def designed(name: str, X: Any, touch: bool = True) -> tuple[Design, Facts]:
    """X of a part, whose pages are then in memory, and what it has in common with others."""
    with naming(name):
        design = as_design(X)
    for array in design.arrays():
        if touch and from_disk(array) and array.size:
            array.reshape(-1).view(np.uint8)[::TOUCHED].max()
    names = names_of(X)
    sparse, dtype = type(design) is CSR, design.arrays()[0].dtype
    return design, Facts(design.m, sparse, dtype, None if names is None else names.tolist())


def compare(name: str, facts: Facts, known: Facts) -> None:
    """That a part is like the first one."""
    if facts == known:
        return
    if facts.m != known.m:
        raise PartError(f"{name} has {facts.m} features, where the first part has {known.m}")
    if facts.sparse != known.sparse:
        kinds = ["sparse" if kind.sparse else "dense" for kind in (facts, known)]
        raise PartError(f"{name} is {kinds[0]}, where the first part is {kinds[1]}")
    if facts.names != known.names:
        raise PartError(f"{name} has other columns than the first part, or in another order: {facts.names}")
    raise PartError(f"{name} has X of dtype {facts.x_dtype}, where the first part has {known.x_dtype}")


def _in_place(design: Design, X: Any) -> bool:
    """Whether a design is read from the memory of X."""
    given = (X.data, X.indices) if is_sparse(X) else (X.array if isinstance(X, Named) else X,)
    return all(
        isinstance(array, np.ndarray) and np.may_share_memory(array, own)
        for array, own in zip(given, design.arrays(), strict=False)
    )


class PartedRows:
    """Rows of parts, after a first pass that found what they have in common; rows may be chosen among them.

    Attributes
    ----------
    n, m : int
    y, weight : ndarray or None
        Of all rows.
    dtype, stored_dtype, x_dtype : dtype
        Of the computation, of weights that are fitted, and of X as it is stored.
    pairs : float
        Entries of X that a row has, on average.
    by_feature : bool
        Whether X is sparse.
    names : list of str or None
        Of the columns, where X are frames, or columns of tables.
    """

    n: int
    m: int
    y: Array | None
    weight: Array | None
    dtype: np.dtype[Any]
    stored_dtype: np.dtype[Any]

    def __init__(self, parts: Parts, targets: bool = True) -> None:
        self.parts, self.sizes, self.pairs, self.pace = parts, list[int](), 0.0, Pace()
        self.bytes, self.in_place = 0.0, list[bool]()  # of a row of X; whether parts are read where they are
        self.facts: Facts | None = None
        self._kept: dict[Any, Design] = {}
        self._at_hand: dict[int, tuple[Any, Design]] = {}
        columns: tuple[list[Any], list[Any]] = ([], [])
        parts.each_read(lambda name, taken: self._see(name, taken, columns if targets else ([], [])))
        if self.facts is None or not sum(self.sizes):
            raise PartError("the parts have no rows")
        self.y, self.weight = (_all(column, name) for column, name in zip(columns, ("y", "weight"), strict=True))
        self.n, self.m = sum(self.sizes), self.facts.m
        self.pairs, self.bytes = self.pairs / self.n, self.bytes / self.n
        self.chosen: list[Array | None] = [None] * len(self.sizes)

    def _see(self, name: str, taken: Taken, columns: tuple[list[Any], list[Any]]) -> None:
        """One part of the first pass."""
        design, facts = designed(name, taken.X)
        self._compare(name, facts)
        row = design.row_not_finite()
        if row is not None:
            raise PartError(f"{name}: row {row} of X (row {sum(self.sizes) + row} of all) holds NaN or infinity")
        if self.facts is None:
            self.facts, self.dtype, self.stored_dtype = facts, design.dtype, design.stored_dtype
        self.sizes.append(design.n)
        self.pairs += design.pairs * design.n
        self.bytes += sum(array.nbytes for array in design.arrays())
        self.in_place.append(_in_place(design, taken.X))
        for column, values, title in zip(columns, taken[1:], ("y", "weight"), strict=True):
            column.append(_checked(name, values, design.n, title))

    def _compare(self, name: str, facts: Facts) -> None:
        """That a part is like the first one."""
        if self.facts is not None:
            compare(name, facts, self.facts)

    @property
    def x_dtype(self) -> np.dtype[Any]:
        """Of X as it is stored."""
        assert self.facts is not None
        return np.dtype(self.facts.x_dtype)

    @property
    def by_feature(self) -> bool:
        """Whether X is sparse."""
        assert self.facts is not None
        return self.facts.sparse

    @property
    def names(self) -> list[str] | None:
        """Of the columns."""
        assert self.facts is not None
        return self.facts.names

    # ---- some of the rows

    def _local(self, index: Array) -> list[Array]:
        """The rows of each part, counted among the chosen ones, that ascending `index` has."""
        ends = np.cumsum(self.counts)
        cuts = np.searchsorted(index, np.concatenate([[0], ends]))
        return [index[cuts[i] : cuts[i + 1]] - (ends[i - 1] if i else 0) for i in range(len(ends))]

    def rows(self, index: Array) -> "PartedRows":
        """Some of the rows, by ascending numbers, without reading them."""
        index = np.arange(self.n)[index]
        if (np.diff(index) <= 0).any():
            raise ValueError("rows of parts are chosen in ascending order, each once")
        other = object.__new__(PartedRows)
        other.__dict__.update(self.__dict__)
        other._kept, other._at_hand, other.n = {}, {}, len(index)
        other.chosen = [
            local if own is None else own[local] for own, local in zip(self.chosen, self._local(index), strict=True)
        ]
        other.y, other.weight = (None if part is None else part[index] for part in (self.y, self.weight))
        return other

    def __add__(self, other: "PartedRows") -> "PartedRows":
        """These rows, and then those of another, without targets."""
        result = object.__new__(PartedRows)
        result.__dict__.update(self.__dict__)
        assert other.facts is not None
        self._compare("the second of two", other.facts)
        result.parts, result.sizes = self.parts + other.parts, self.sizes + other.sizes
        result.in_place = self.in_place + other.in_place
        result.chosen, result.n = self.chosen + other.chosen, self.n + other.n
        for name in ("pairs", "bytes"):
            setattr(result, name, (getattr(self, name) * self.n + getattr(other, name) * other.n) / result.n)
        result._kept, result._at_hand, result.y, result.weight = {}, {}, None, None
        return result

    def copied(self, index: Array) -> Design:
        """Rows by number, in any order, in memory; those of the last few calls are kept."""
        key = (len(index), hash(index.tobytes()))
        if key not in self._kept:
            order, found = np.argsort(index, kind="stable"), Gathered(len(index))
            self._pick(index[order], found.add)
            design = found.design
            if (np.diff(index) < 0).any():
                back = np.empty(len(order), np.int64)
                back[order] = np.arange(len(order))
                design = design.rows(back)
            if sum(array.nbytes for array in design.arrays()) > KEPT_BYTES:
                return design
            self._kept[key] = design
            while len(self._kept) > 1 and self._bytes() > KEPT_BYTES:
                del self._kept[next(iter(self._kept))]
        return self._kept[key]

    def all(self) -> Design:
        """All of them, in memory."""
        if len(self.chosen) == 1 and self.chosen[0] is None and self.at_hand:
            return self._again(0, next(iter(self.parts)), False)
        return self.copied(np.arange(self.n))

    @property
    def at_hand(self) -> bool:
        """Whether rows of all parts are had without reading what lies around them."""
        return self.parts.ordered_freely and all(self.in_place) and all(piece.at_hand for piece in self.parts)

    @property
    def counts(self) -> list[int]:
        """Of each part, how many rows are chosen."""
        return [size if own is None else len(own) for size, own in zip(self.sizes, self.chosen, strict=True)]

    def spread(self, index: Array) -> "PartedRows":
        """Rows by ascending numbers, in memory, part by part as they are; without targets."""
        found = list[Design]()
        self._pick(index, lambda design, rows: found.append(design.rows(rows)))
        other = object.__new__(PartedRows)
        other.__dict__.update(self.__dict__)
        other.parts = Parts.of([Given("rows of a part", design) for design in found])
        other.sizes = [design.n for design in found]
        assert self.facts is not None
        other.facts, other.in_place, other.pace = self.facts._replace(names=None), [True] * len(found), Pace()
        other.chosen, other.n, other._kept, other._at_hand = [None] * len(found), len(index), {}, {}
        other.y, other.weight = None, None
        return other

    def _pick(self, index: Array, visit: Callable[[Design, Array], object]) -> None:
        """Calls `visit` with each part that has some of these rows, by ascending numbers, and their numbers there."""
        if self.at_hand:
            self.gather(index, visit)
            return
        wanted = self._local(index)
        self.each(lambda i, start, design: visit(design, wanted[i]), [len(part) > 0 for part in wanted])

    def gather(self, index: Array, visit: Callable[[Design, Array], object]) -> None:
        """As `_pick`, of parts that are read in any order, and perhaps not wholly."""
        pieces = self.parts.listed()
        if len(pieces) != len(self.sizes):
            raise PartError(f"there are {len(pieces)} parts, where the first pass had {len(self.sizes)}")
        for i, local in enumerate(self._local(index)):
            if len(local):
                own = self.chosen[i]
                visit(self._again(i, pieces[i], False), local if own is None else own[local])

    def _bytes(self) -> int:
        return sum(array.nbytes for design in self._kept.values() for array in design.arrays())

    # ---- passes

    def each(self, visit: Callable[[int, int, Design], Any], wanted: list[bool] | None = None) -> None:
        """Calls `visit` with the number of each part, its first row, and X, in order, while the next one is read."""

        def all_read() -> Iterator[tuple[int, int, Design]]:
            start, pieces = 0, iter(self.parts)
            for i in itertools.count():
                piece = next(pieces, None)
                if piece is None:
                    break
                if i >= len(self.sizes):
                    raise PartError(f"there are more parts than in the first pass, which had {len(self.sizes)}")
                own = self.chosen[i]
                count = self.sizes[i] if own is None else len(own)
                if count and (wanted is None or wanted[i]):
                    design = self._again(i, piece)
                    self.pace.rows += count
                    yield i, start, design if own is None or count == self.sizes[i] else design.rows(own)
                    del design
                start += count
                del piece  # before the next one is made
            if i < len(self.sizes):
                raise PartError(
                    f"there are {i} parts, where the first pass had {len(self.sizes)}: a function of Parts must return "
                    "a fresh iterator each time"
                )

        each(self.pace.timed(all_read()), lambda found: visit(*found), self.pace.ahead)

    def _again(self, i: int, piece: Piece, touch: bool = True) -> Design:
        """A part, which is what it was."""
        taken = read(piece, False)
        known, design = self._at_hand.get(i, (None, None))
        if known is taken.X and design is not None:
            return design
        design, facts = designed(piece.name, taken.X, touch)
        self._compare(piece.name, facts)
        if design.n != self.sizes[i]:
            raise PartError(f"{piece.name} has {design.n} rows, where it had {self.sizes[i]}")
        row = design.row_not_finite() if isinstance(piece, Made) else None  # which may not be what it was
        if row is not None:
            raise PartError(f"{piece.name}: row {row} of X holds NaN or infinity, which it did not before")
        if facts.sparse and piece.at_hand and self.in_place[i] and not touch:  # whose checks take a look at all of it
            self._at_hand[i] = taken.X, design
        return design


def _checked(name: str, values: Any, n: int, title: str) -> Any:
    """y or weights of a part."""
    if values is None:
        return None
    with naming(name):
        array = as_weight(values, n) if title == "weight" else np.asarray(values)
    if title == "y" and array.ndim == 2 and array.shape[1] == 1:
        array = array[:, 0]
    if array.shape[:1] != (n,):
        raise PartError(f"{name} has {n} rows of X, but {title} of shape {array.shape}")
    return array


def _all(column: list[Any], title: str) -> Array | None:
    """y or weights of all parts."""
    there = [part is not None for part in column]
    if not any(there):
        return None
    if not all(there):
        raise PartError(f"part {there.index(False)} has no {title}, but others have")
    column = [part for part in column if len(part)] or column[:1]
    if title == "y":
        kinds = {part.dtype.kind.translate(KINDS) for part in column}
        whole = {part.dtype for part in column if part.dtype.kind in "iu"}
        alike = len(kinds) == 1 and len({part.shape[1:] for part in column}) == 1
        if not alike or (whole and np.result_type(*whole).kind == "f"):
            found = sorted({f"{part.dtype} of shape (n{''.join(f', {k}' for k in part.shape[1:])})" for part in column})
            raise PartError(f"parts have y of different kinds: {', '.join(found)}")
    return np.concatenate(column)
