"""Parts of tables: Parquet files, Arrow's datasets and streams of record batches, read with pyarrow."""

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsoftmax.data.pieces import Given, Named, PartError, Stream, Taken, files

TEXT = 16 << 20  # bytes of a piece of text
LARGE = 256 << 20  # bytes of a Parquet file, uncompressed, above which its row groups are parts
Array = NDArray[Any]


def _pyarrow() -> Any:
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise ImportError(
            "tables are read with pyarrow, which is not installed: pip install 'fastsoftmax[arrow]'"
        ) from error
    return pyarrow


class Columns:
    """Which columns are X, y and weights."""

    def __init__(self, features: Any, label: str | None, weight: str | None) -> None:
        self.features = [features] if isinstance(features, str) else None if features is None else list(features)
        self.label, self.weight = label, weight
        if self.features is not None and not self.features:
            raise ValueError("features must name at least one column, got an empty list")
        twice = sorted({name for name in self.names if self.names.count(name) > 1})
        if twice:
            raise ValueError(f"a column is a feature, the label or the weight, but these are named twice: {twice}")

    @property
    def names(self) -> list[str]:
        """Those that are named."""
        return [*(self.features or []), *[name for name in (self.label, self.weight) if name is not None]]

    def of(self, name: str, known: list[str]) -> list[str]:
        """The features among the columns of a table."""
        missing = [column for column in self.names if column not in known]
        if missing:
            raise PartError(
                f"{name} has no column {', '.join(map(repr, missing))}; it has {', '.join(map(repr, known))}"
            )
        features = self.features or [column for column in known if column not in (self.label, self.weight)]
        twice = sorted({column for column in [*features, *self.names] if known.count(column) > 1})
        if twice:
            raise PartError(f"{name} has columns of the same name: {', '.join(map(repr, twice))}")
        if not features:
            raise PartError(f"{name} has no columns but the label and the weight")
        return features

    def taken(self, name: str, table: Any, targets: bool) -> Taken:
        """What a table, which may have these columns alone, says."""
        features = self.of(name, table.column_names)
        X = _matrix(name, features, table)
        if not targets:
            return Taken(X)
        y = None if self.label is None else _values(name, self.label, table)
        return Taken(X, y, None if self.weight is None else _values(name, self.weight, table))


def _matrix(name: str, features: list[str], table: Any) -> Any:
    """X, of columns of numbers, or of one of lists."""
    pa = _pyarrow()
    kinds = [table.schema.field(column).type for column in features]
    if len(features) == 1 and _is_list(kinds[0]):
        return _lists(name, features[0], table.column(features[0]))
    for column, kind in zip(features, kinds, strict=True):
        number = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind)
        if not number:
            hint = ": leave it out of features, or encode it" if not _is_list(kind) else ": lists come alone"
            raise PartError(f"{name}: column {column!r} holds {kind}, where numbers are expected{hint}")
    arrays = [_values(name, column, table) for column in features]
    dtype = np.result_type(*{array.dtype for array in arrays})
    dtype = np.dtype(np.uint8) if dtype == np.bool_ else dtype
    X = np.empty((table.num_rows, len(arrays)), dtype)
    for j, array in enumerate(arrays):
        X[:, j] = array
    return Named(X, features)


def _is_list(kind: Any) -> bool:
    pa = _pyarrow()
    storage = getattr(kind, "storage_type", kind)
    return bool(pa.types.is_list(storage) or pa.types.is_large_list(storage) or pa.types.is_fixed_size_list(storage))


def _lists(name: str, column: str, chunked: Any) -> Array:
    """One column of lists of numbers, all as long; without Python objects."""
    parts: list[Array] = []
    width: int | None = None
    row = 0
    for chunk in chunked.chunks:
        array = getattr(chunk, "storage", chunk)  # of an extension type, such as tensors
        _no_nulls(name, column, array, row)
        pa = _pyarrow()
        if pa.types.is_fixed_size_list(array.type):
            lengths = {array.type.list_size} if len(array) else set()
        else:
            found = array.value_lengths().to_numpy(zero_copy_only=False)
            lengths = set(np.unique(found).tolist())
        lengths |= {width} - {None}
        if len(lengths) > 1:
            raise PartError(f"{name}: column {column!r} has lists of different lengths: {sorted(lengths)}")
        width = lengths.pop() if lengths else width
        values = array.flatten()  # of a slice, its own
        if values.null_count:
            raise PartError(f"{name}: column {column!r} has lists with nulls")
        if not (pa.types.is_integer(values.type) or pa.types.is_floating(values.type)):
            raise PartError(f"{name}: column {column!r} holds lists of {values.type}, where numbers are expected")
        parts.append(values.to_numpy(zero_copy_only=False))
        row += len(array)
    flat = parts[0] if len(parts) == 1 else np.concatenate(parts) if parts else np.zeros(0, np.float32)
    return flat.reshape(row, width or 0)


def _no_nulls(name: str, column: str, array: Any, row: int) -> None:
    if array.null_count:
        first = int(np.flatnonzero(array.is_null().to_numpy(zero_copy_only=False))[0])
        raise PartError(
            f"{name}: column {column!r} has {array.null_count} nulls, the first in row {row + first}: fill them, or "
            "drop these rows"
        )


def _values(name: str, column: str, table: Any) -> Array:
    """A column as an array: numbers, booleans, or text."""
    pa, row, parts = _pyarrow(), 0, []
    for chunk in table.column(column).chunks:
        array = chunk.dictionary_decode() if pa.types.is_dictionary(chunk.type) else chunk
        _no_nulls(name, column, array, row)
        parts.append(array.to_numpy(zero_copy_only=False))
        row += len(chunk)
    if not parts:
        return np.zeros(0)
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


@contextlib.contextmanager
def _opened(path: Path, kind: str = "a Parquet") -> Iterator[None]:
    """Whatever pyarrow says of a damaged file is said with the file's name."""
    try:
        yield
    except PartError:
        raise
    except OSError as error:
        raise PartError(f"{path}: {error.strerror or error}") from error
    except (_pyarrow().ArrowException, LookupError, ValueError) as error:
        raise PartError(f"{path}: not {kind} file, or a damaged one: {error}") from error


class ParquetPart:
    """A Parquet file, or some of its row groups."""

    at_hand = False

    def __init__(self, path: Path, columns: Columns, groups: list[int], rows: int, whole: bool) -> None:
        self.path, self.columns, self.groups = path, columns, groups
        self.rows: int | None = rows
        self.name = str(path) if whole else f"{path}, row groups {groups[0]} to {groups[-1]}"
        self.seen = path.stat().st_mtime_ns, path.stat().st_size

    def read(self, targets: bool) -> Taken:
        pq = _pyarrow().parquet
        with _opened(self.path):
            found = self.path.stat()
            if (found.st_mtime_ns, found.st_size) != self.seen:
                raise PartError(f"{self.path}: the file has changed since it was first read")
            with pq.ParquetFile(self.path) as file:
                features = self.columns.of(self.name, file.schema_arrow.names)
                names = [*features, *self.columns.names[len(self.columns.features or []) :]] if targets else features
                table = file.read_row_groups(self.groups, columns=names)
        return _unlabelled(self.columns, targets).taken(self.name, table, targets)


def _unlabelled(columns: Columns, targets: bool) -> Columns:
    return columns if targets else Columns(columns.features, None, None)


def parquet_pieces(paths: Any, features: Any, label: str | None, weight: str | None) -> list[ParquetPart]:
    """As `Parts.from_parquet` says."""
    pa, columns, pieces = _pyarrow(), Columns(features, label, weight), list[ParquetPart]()
    first: list[str] = []
    for path in files(paths, ".parquet"):
        with _opened(path), pa.parquet.ParquetFile(path) as file:
            found = columns.of(str(path), file.schema_arrow.names)
            first = first or found
            if sorted(found) != sorted(first):
                raise PartError(f"{path} has other columns than the first file: {sorted({*found} ^ {*first})}")
            metadata = file.metadata
            groups = [metadata.row_group(i) for i in range(metadata.num_row_groups)]
        cuts, size = [0], 0
        for i, group in enumerate(groups):
            if size and size + group.total_byte_size > LARGE:
                cuts, size = [*cuts, i], 0
            size += group.total_byte_size
        cuts.append(len(groups))
        own = Columns(first, label, weight)  # in the order that the first file has
        for start, stop in itertools.pairwise(cuts):
            rows = sum(group.num_rows for group in groups[start:stop])
            pieces.append(ParquetPart(path, own, list(range(start, stop)), rows, len(cuts) == 2))
    return pieces


class TablePart(Given):
    """A table that is made when it is wanted."""

    at_hand = False

    def __init__(self, name: str, make: Callable[[], Any], columns: Columns) -> None:
        self.name, self.make, self.columns, self.rows = name, make, columns, None

    def read(self, targets: bool) -> Taken:
        table = self.make()
        return self.columns.taken(self.name, table, targets)


def _made(name: str, table: Any, columns: Columns) -> TablePart:
    """Of a table that is there."""
    return TablePart(name, lambda: table, columns)


class Batches(Stream):
    """The record batches of a reader that a function makes anew for each pass."""

    def __init__(self, make: Callable[[], Any], columns: Columns) -> None:
        super().__init__(make)
        self.columns = columns

    def __iter__(self) -> Iterator[TablePart]:
        pa = _pyarrow()
        for i, batch in enumerate(self.make()):
            table = pa.Table.from_batches([batch]) if isinstance(batch, pa.RecordBatch) else batch
            yield _made(f"batch {i}", table, self.columns)


def arrow_pieces(source: Any, features: Any, label: str | None, weight: str | None) -> list[TablePart] | Batches:
    """As `Parts.from_arrow` says."""
    pa, columns = _pyarrow(), Columns(features, label, weight)
    if isinstance(source, pa.Table):
        columns.of("the table", source.column_names)
        return [_made("the table", source, columns)]
    if hasattr(source, "get_fragments"):
        columns.of("the dataset", source.schema.names)
        fragments = list(source.get_fragments())
        return [
            TablePart(
                str(getattr(fragment, "path", f"fragment {i}")),
                functools.partial(fragment.to_table, schema=source.schema),
                columns,
            )
            for i, fragment in enumerate(fragments)
        ]
    if callable(source):
        return Batches(source, columns)
    raise TypeError(
        f"source must be a pyarrow dataset, a table, or a function that returns a fresh reader, got "
        f"{type(source).__name__}, which can be read but once"
    )


# ---- Feather, and text


def _feather(path: Path) -> Any:
    from pyarrow import feather

    with _opened(path, "a Feather"):
        return feather.read_table(path, memory_map=False)


def feather_pieces(paths: Any, features: Any, label: str | None, weight: str | None) -> list[TablePart]:
    """As `Parts.from_feather` says."""
    pa, columns, paths = _pyarrow(), Columns(features, label, weight), files(paths, ".feather")
    with _opened(paths[0], "a Feather"), pa.ipc.open_file(paths[0]) as file:
        columns.of(str(paths[0]), file.schema.names)
    return [TablePart(str(path), functools.partial(_feather, path), columns) for path in paths]


class TextFiles(Stream):
    """Text with a line of names, a part of which is a piece of a file."""

    def __init__(self, paths: list[Path], columns: Columns, delimiter: str, text: Sequence[str]) -> None:
        self.paths, self.columns, self.delimiter, self.text = paths, columns, delimiter, text
        self.types: dict[str, Any] | None = None
        self._look(paths[0])

    def _reader(self, path: Path) -> Any:
        from pyarrow import csv

        return csv.open_csv(
            path,
            read_options=csv.ReadOptions(block_size=TEXT),
            parse_options=csv.ParseOptions(delimiter=self.delimiter),
            convert_options=csv.ConvertOptions(
                column_types=self.types,
                include_columns=None if self.types is None else list(self.types),
                null_values=[""],
                strings_can_be_null=True,
            ),
        )

    def _look(self, path: Path) -> None:
        """Which columns there are: numbers become float64, whatever the first of them are."""
        pa = _pyarrow()
        with _opened(path, "a text"), self._reader(path) as reader:
            schema = reader.schema
        features = self.columns.of(str(path), schema.names)
        types = {name: schema.field(name).type for name in [*features, *self.columns.names]}
        for name in [*features, *([] if self.columns.weight is None else [self.columns.weight])]:
            kind = types[name]
            if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_null(kind):
                types[name] = pa.float64()
        self.types = types | {name: pa.string() for name in self.text if name in types}

    def __iter__(self) -> Iterator[TablePart]:
        pa = _pyarrow()
        for path in self.paths:
            row = 0
            with _opened(path, "a text"), self._reader(path) as reader:
                while True:
                    with _opened(path, "a text"):
                        try:
                            batch = reader.read_next_batch()
                        except StopIteration:
                            break
                    yield _made(f"{path}, from row {row} on", pa.Table.from_batches([batch]), self.columns)
                    row += batch.num_rows


def csv_pieces(
    paths: Any, features: Any, label: str | None, weight: str | None, delimiter: str, text: Sequence[str]
) -> TextFiles:
    """As `Parts.from_csv` says."""
    _pyarrow()
    return TextFiles(files(paths, ".csv"), Columns(features, label, weight), delimiter, text)
