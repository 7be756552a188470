"""Tables as parts: Parquet files, datasets, readers; lists without Python objects; nulls and columns by name."""

import contextlib

import numpy as np
import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastsoftmax.data import tables
from fastsoftmax.data.parted_rows import PartedRows
from fastsoftmax.data.parts import Parts
from fastsoftmax.data.pieces import PartError
from tests.data.test_parts import content

N, M = 50, 4
NAMES = list("abcd")


@pytest.fixture(name="X")
def rows_of_x(rng):
    return rng.standard_normal((N, M)).astype("f")


@pytest.fixture
def y(rng):
    return rng.integers(0, 3, N)


def table_of(X, y, **more):
    return pa.table({**{name: X[:, j] for j, name in enumerate(NAMES)}, "y": y, **more})


def written(table, path, **options):
    pq.write_table(table, path, **options)
    return path


def listed(X, kind):
    """Rows of X as one column of lists, in two chunks, each the slice of a longer array."""
    flat, chunks = np.concatenate([X[:1], X, X[:1]]), []
    whole = pa.array(flat.reshape(-1))
    offsets = np.arange(len(flat) + 1) * X.shape[1]
    if kind == "list":
        column = pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), whole)
    elif kind == "large":
        column = pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), whole)
    elif kind == "fixed":
        column = pa.FixedSizeListArray.from_arrays(whole, X.shape[1])
    else:
        column = pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(flat.reshape(len(flat), 2, -1)))
    for a, b in ((1, 11), (11, len(X) + 1)):
        chunks.append(column[a:b])
    return pa.chunked_array(chunks)


# ---- what is read


def test_columns_of_numbers(X, y, rng, tmp_path):
    s = rng.random(N)
    for i, at in enumerate((slice(0, 20), slice(20, N))):
        written(table_of(X, y, s=s).slice(at.start, at.stop - at.start), tmp_path / f"t{i + 9}.parquet")
    parts = Parts.from_parquet(tmp_path, label="y", weight="s")
    assert len(parts) == 2
    rows = PartedRows(parts)
    assert rows.names == NAMES
    assert rows.x_dtype == np.float32
    for _ in range(2):
        np.testing.assert_array_equal(content(rows), X)
    np.testing.assert_array_equal(rows.y, y)
    np.testing.assert_array_equal(rows.weight, s)
    some = PartedRows(Parts.from_parquet(tmp_path, features=["d", "a"], label="y"))
    np.testing.assert_array_equal(content(some), X[:, [3, 0]])
    assert (some.names, some.weight) == (["d", "a"], None)


@pytest.mark.parametrize("kind", ["list", "large", "fixed", "tensor"])
@pytest.mark.parametrize("dtype", ["f", "d", "e", "u1", "i1"])
def test_one_column_of_lists(X, y, tmp_path, kind, dtype):
    X = (X * 3).astype(np.int8).astype(dtype)
    table = pa.table({"x": listed(X, kind), "y": y})
    sources = [Parts.from_arrow(table, features="x", label="y"), Parts.from_arrow(table, label="y")]
    if not (kind == "tensor" and dtype == "e"):  # Parquet has the storage alone where the type has no writer
        sources.append(Parts.from_parquet(written(table, tmp_path / "t.parquet"), features="x", label="y"))
    for parts in sources:
        rows = PartedRows(parts)
        np.testing.assert_array_equal(content(rows), X)
        assert rows.x_dtype.itemsize == X.itemsize
        np.testing.assert_array_equal(rows.y, y)
        assert rows.names is None


def test_lists_are_not_made_python_objects(X, y):
    table = pa.table({"x": pa.FixedSizeListArray.from_arrays(pa.array(X.reshape(-1)), M), "y": y})
    taken = tables.Columns("x", "y", None).taken("t", table, True)
    assert np.shares_memory(taken.X, table.column("x").chunk(0).flatten().to_numpy())


def test_labels_of_any_kind(X, tmp_path):
    labels = np.array(["cat", "dog", "newt"], object)[np.arange(N) % 3]
    for column in (pa.array(labels), pa.array(labels).dictionary_encode(), pa.array(np.arange(N) % 3 == 0)):
        rows = PartedRows(Parts.from_parquet(written(table_of(X, column), tmp_path / "t.parquet"), label="y"))
        assert rows.y.tolist() == column.to_pylist()


def test_numbers_of_different_types_become_one(X, y):
    table = pa.table({"a": X[:, 0], "b": X[:, 1].astype(np.float64), "c": y.astype(np.int8), "d": y > 1})
    rows = PartedRows(Parts.from_arrow(table))
    assert rows.x_dtype == np.float64
    np.testing.assert_array_equal(content(rows), np.c_[X[:, 0], X[:, 1], y, y > 1])
    flags = pa.table({"a": y > 0, "b": y > 1})
    assert PartedRows(Parts.from_arrow(flags)).x_dtype == np.uint8


def test_large_files_are_cut_by_row_groups(X, y, tmp_path, monkeypatch):
    path = written(table_of(X, y), tmp_path / "t.parquet", row_group_size=10)
    assert len(Parts.from_parquet(path, label="y")) == 1
    monkeypatch.setattr(tables, "LARGE", 1000)
    parts = Parts.from_parquet(path, label="y")
    assert 1 < len(parts) <= 5
    assert "row groups 0 to" in repr(parts)
    rows = PartedRows(parts)
    np.testing.assert_array_equal(content(rows), X)
    np.testing.assert_array_equal(rows.y, y)


def test_datasets_and_readers(X, y, tmp_path):
    table = table_of(X, y)
    for i in range(2):
        written(table, tmp_path / f"t{i}.parquet")
    dataset = ds.dataset([str(tmp_path / f"t{i}.parquet") for i in (1, 0)])
    rows = PartedRows(Parts.from_arrow(dataset, label="y"))
    assert len(rows.sizes) == 2
    np.testing.assert_array_equal(content(rows), np.tile(X, (2, 1)))

    def reader():
        return pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=7))

    rows = PartedRows(Parts.from_arrow(reader, label="y"))
    for _ in range(2):
        np.testing.assert_array_equal(content(rows), X)
    assert len(rows.sizes) == 8
    with pytest.raises(TypeError, match="a function that returns a fresh reader"):
        Parts.from_arrow(reader(), label="y")


# ---- what is refused


def nulls(values, at):
    mask = np.zeros(len(values), bool)
    mask[at] = True
    return pa.array(values, mask=mask)


def test_nulls_are_named(X, y, tmp_path):
    table = table_of(X, y)
    for name, column, message in (
        ("b", nulls(X[:, 1], [7, 9]), r"t\.parquet: column 'b' has 2 nulls, the first in row 7: fill them, or drop"),
        ("y", nulls(y, [49]), r"column 'y' has 1 nulls, the first in row 49"),
    ):
        changed = table.set_column(table.schema.get_field_index(name), name, column)
        parts = Parts.from_parquet(written(changed, tmp_path / "t.parquet"), label="y")
        with pytest.raises(PartError, match=message):
            PartedRows(parts)
    lists = [row.tolist() for row in X]
    lists[3] = None
    with pytest.raises(PartError, match="column 'x' has 1 nulls, the first in row 3"):
        PartedRows(Parts.from_arrow(pa.table({"x": lists}), features="x"))
    lists[3] = [1.0, None, 2.0, 3.0]
    with pytest.raises(PartError, match="column 'x' has lists with nulls"):
        PartedRows(Parts.from_arrow(pa.table({"x": lists}), features="x"))


def test_strange_columns_are_named(X, y, tmp_path):
    for column, message in (
        (pa.array(["text"] * N), "column 'z' holds string, where numbers are expected: leave it out"),
        (pa.array([[1.0]] * N), "column 'z' holds list<.*>, where numbers are expected: lists come alone"),
        (pa.array(["text"] * N).dictionary_encode(), "column 'z' holds dictionary"),
        (pa.array(np.arange(N), pa.timestamp("s")), "column 'z' holds timestamp"),
    ):
        with pytest.raises(PartError, match=message):
            PartedRows(Parts.from_arrow(table_of(X, y, z=column), label="y"))
    ragged = pa.table({"x": [[1.0, 2.0], [1.0]]})
    with pytest.raises(PartError, match=r"column 'x' has lists of different lengths: \[1, 2\]"):
        PartedRows(Parts.from_arrow(ragged, features="x"))
    with pytest.raises(PartError, match="holds lists of string"):
        PartedRows(Parts.from_arrow(pa.table({"x": [["a"]]}), features="x"))
    path = written(table_of(X, y), tmp_path / "t.parquet")
    with pytest.raises(PartError, match=r"t\.parquet has no column 'label'; it has 'a', 'b'"):
        Parts.from_parquet(path, label="label")
    with pytest.raises(ValueError, match=r"named twice: \['y'\]"):
        Parts.from_parquet(path, features=["a", "y"], label="y")
    with pytest.raises(ValueError, match="at least one column"):
        Parts.from_parquet(path, features=[])
    with pytest.raises(PartError, match="no columns but the label"):
        Parts.from_arrow(pa.table({"y": y}), label="y")


def test_damaged_and_changed_files(X, y, tmp_path):
    path = written(table_of(X, y), tmp_path / "t.parquet")
    data = path.read_bytes()
    rows = PartedRows(Parts.from_parquet(path, label="y"))
    written(table_of(X[:-1], y[:-1]), path)
    with pytest.raises(PartError, match=r"t\.parquet: the file has changed"):
        content(rows)
    path.unlink()
    with pytest.raises(PartError, match="No such file"):
        content(rows)
    for wrong in (b"", b"PAR1", data[:-9], data[:100] + data[-100:], data.replace(b"PAR1", b"RAP1")):
        path.write_bytes(wrong)
        with pytest.raises(PartError, match=r"t\.parquet"):
            PartedRows(Parts.from_parquet(path, label="y"))
    with pytest.raises(FileNotFoundError, match="no such file"):
        Parts.from_parquet(tmp_path / "nothing.parquet")


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_parquet_with_some_bytes_changed_is_read_or_refused(tmp_path_factory, data):
    """Never anything else than the numbers, a PartError, or numbers that pages without checksums cannot tell."""
    path = tmp_path_factory.mktemp("damaged") / "t.parquet"
    X = np.arange(40.0).reshape(10, 4)
    written(table_of(X, np.arange(10)), path)
    content_ = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        content_[data.draw(st.integers(0, len(content_) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(bytes(content_))
    try:
        rows = PartedRows(Parts.from_parquet(path, features=NAMES, label="y"))
    except PartError:
        return
    assert content(rows).shape == (rows.n, 4)


# ---- text, and Feather


def csv_of(X, y, **more):
    rows = [",".join([*NAMES, "y", *more])]
    rows += [",".join(map(repr, [*map(float, x), int(k), *(float(v[i]) for v in more.values())])) for i, (x, k) in
             enumerate(zip(X, y, strict=True))]  # fmt: skip
    return "\n".join(rows) + "\n"


def test_text_in_pieces(X, y, rng, tmp_path, monkeypatch):
    """Whatever its size, in several files, with names of the features; numbers are float64 everywhere."""
    s = rng.random(N)
    monkeypatch.setattr(tables, "TEXT", 1000)
    X = X.astype("d")
    X[:20, 2] = np.arange(20)  # looks like integers at first
    halves = [slice(0, 30), slice(30, N)]
    for i, at in enumerate(halves):
        (tmp_path / f"{i}.csv").write_text(csv_of(X[at], y[at], w=s[at]).replace("e-", "E-"))
    parts = Parts.from_csv(tmp_path, label="y", weight="w")
    pieces = [piece.name for piece in parts]
    assert len(pieces) > 4
    assert pieces[0] == f"{tmp_path / '0.csv'}, from row 0 on"
    rows = PartedRows(parts)
    np.testing.assert_array_equal(content(rows), X)
    assert (rows.x_dtype, rows.y.tolist(), rows.names) == ("d", y.tolist(), NAMES)
    np.testing.assert_array_equal(rows.weight, s)
    (tmp_path / "a.tsv").write_text(csv_of(X, y).replace(",", "\t"))
    other = PartedRows(Parts.from_csv(tmp_path / "a.tsv", features=["d", "a"], label="y", delimiter="\t"))
    np.testing.assert_array_equal(content(other), X[:, [3, 0]])
    with pytest.raises(TypeError, match="come one after another"):
        parts.listed()
    np.testing.assert_array_equal(content(PartedRows(parts.cached(tmp_path))), X)


def test_text_that_is_refused(X, y, tmp_path):
    path, right = tmp_path / "a.csv", csv_of(X, y)
    for text, message in (
        ("", "a.csv: not a text file, or a damaged one: Empty CSV file"),
        ("a,b,c,d\n" + right.split("\n", 1)[1], "a.csv: not a text file, or a damaged one: .*Expected 4 columns"),
        (right.replace("a,b", "a,a"), "a.csv has columns of the same name: 'a'"),
        (right.replace("y", "z"), "a.csv has no column 'y'; it has 'a', 'b', 'c', 'd', 'z'"),
        (right + "1,,2,3,0\n", "a.csv, from row 0 on: column 'b' has 1 nulls, the first in row 50"),
        (right + "1,2,inf,3,0\n", r"a.csv, from row 0 on: row 50 of X \(row 50 of all\) holds NaN"),
        (right + "1,x,2,3,0\n", "column 'b' holds string, where numbers are expected"),
        (right + "1,2,3,4\n", "a.csv: not a text file, or a damaged one: .*Expected 5 columns, got 4"),
    ):
        path.write_text(text)
        with pytest.raises(PartError, match=message):
            PartedRows(Parts.from_csv(path, label="y"))
    path.write_text(right)
    parts = Parts.from_csv(path, label="y")
    rows = PartedRows(parts)
    path.write_text(right + right.split("\n", 1)[1])
    with pytest.raises(PartError, match=r"has 100 rows, where it had 50|more parts than in the first pass"):
        content(rows)
    path.unlink()
    with pytest.raises(PartError, match=r"a.csv: .*No such file"):
        content(rows)
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        Parts.from_csv(tmp_path / "b.csv")


def test_feather(X, y, tmp_path):
    from pyarrow import feather

    for i, at in enumerate((slice(0, 30), slice(30, N))):
        feather.write_feather(table_of(X[at], y[at]), tmp_path / f"{i}.feather")
    rows = PartedRows(Parts.from_feather(tmp_path, label="y"))
    np.testing.assert_array_equal(content(rows), X)
    assert (rows.x_dtype, rows.y.tolist(), rows.names) == ("f", y.tolist(), NAMES)
    feather.write_feather(pa.table({"x": listed(X, "fixed"), "y": y}), tmp_path / "lists.feather")
    lists = Parts.from_feather(tmp_path / "lists.feather", features="x", label="y")
    np.testing.assert_array_equal(content(PartedRows(lists)), X)
    (tmp_path / "1.feather").write_bytes(b"junk")
    with pytest.raises(PartError, match=r"1.feather: not a Feather file, or a damaged one"):
        content(rows)


@settings(max_examples=200, deadline=None, derandomize=True, database=None)
@given(st.data())
def test_text_and_feather_with_some_bytes_changed_are_read_or_refused(tmp_path_factory, data):
    from pyarrow import feather

    folder = tmp_path_factory.mktemp("damaged")
    X, y = np.arange(40.0).reshape(10, 4), np.arange(10) % 2
    name, make = data.draw(st.sampled_from([("a.csv", Parts.from_csv), ("a.feather", Parts.from_feather)]))
    if name == "a.csv":
        (folder / name).write_text(csv_of(X, y))
    else:
        feather.write_feather(table_of(X, y), folder / name)
    content_ = bytearray((folder / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content_[data.draw(st.integers(0, len(content_) - 1))] = data.draw(st.integers(0, 255))
    (folder / name).write_bytes(content_[: data.draw(st.integers(0, len(content_)))])
    with contextlib.suppress(PartError):
        assert np.isfinite(content(PartedRows(make(folder / name, label="y")))).all()


def test_without_pyarrow_there_is_a_hint(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pip install 'fastsoftmax\[arrow\]'"):
        Parts.from_parquet("t.parquet")
