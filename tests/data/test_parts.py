"""Parts: where rows come from, that they are the same in every pass, and what is said of those that are not."""

import contextlib
import gc
import itertools
import os
import pickle
import threading
import time
import weakref

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import fastsoftmax as fs
from fastsoftmax.data import ahead, parted_rows
from fastsoftmax.data.ahead import each
from fastsoftmax.data.gate import BFLOAT16, entry_not_finite
from fastsoftmax.data.parted_rows import PartedRows
from fastsoftmax.data.parts import Parts
from fastsoftmax.data.pieces import NpyFile, PartError

CUTS = [0, 30, 31, 60, 100]


@pytest.fixture(name="X")
def rows_of_x(rng):
    return rng.standard_normal((100, 6))


@pytest.fixture
def y(rng):
    return rng.integers(0, 3, 100)


def pieces(*arrays):
    return [tuple(array[a:b] for array in arrays) for a, b in itertools.pairwise(CUTS)]


def content(rows):
    """All of X, as a pass sees it."""
    found = []
    rows.each(lambda i, start, design: found.append((start, design)))
    assert [start for start, _ in found] == np.cumsum([0, *[design.n for _, design in found]])[:-1].tolist()
    return np.concatenate([np.asarray(block(design)) for _, design in found])


def block(design):
    out = np.empty((design.n, design.m))
    design.block(0, design.n, out)
    return out


# ---- what parts may be


def as_given(X, y, tmp_path):
    return Parts(pieces(X, y))


def as_functions(X, y, tmp_path):
    return Parts([lambda piece=piece: piece for piece in pieces(X, y)])


def as_stream(X, y, tmp_path):
    return Parts(lambda: iter(pieces(X, y)))


def as_files(X, y, tmp_path):
    for i, (part, labels) in enumerate(pieces(X, y)):
        np.save(tmp_path / f"x{i + 8}.npy", part)  # in natural order: x9 before x10
        np.save(tmp_path / f"y{i + 8}.npy", labels)
    names = sorted(tmp_path.glob("x*.npy"), key=lambda path: int(path.stem[1:]))
    return Parts.from_npy(names, [tmp_path / path.name.replace("x", "y") for path in names])


def as_folder(X, y, tmp_path):
    for i, (part,) in enumerate(pieces(X)):
        np.save(tmp_path / f"x{i + 8}.npy", part)
    return Parts.from_npy(tmp_path, y)


def as_slices(X, y, tmp_path):
    return Parts.from_slices(X, y, rows=30)


class Array:
    """As zarr and h5py have them: a shape, a dtype and slices, but no array."""

    def __init__(self, array):
        self._array, self.shape, self.dtype = array, array.shape, array.dtype

    def __len__(self):
        return len(self._array)

    def __getitem__(self, at):
        return self._array[at]


def as_arrays_on_disk(X, y, tmp_path):
    return Parts([tuple(Array(array) for array in piece) for piece in pieces(X, y)])


class Sequence:
    """LightGBM's convention."""

    batch_size = 30

    def __init__(self, array):
        self._array = array

    def __len__(self):
        return len(self._array)

    def __getitem__(self, at):
        return self._array[at]


def as_sequence(X, y, tmp_path):
    return Parts.from_slices(Sequence(X), y)


def as_cached(X, y, tmp_path):
    (tmp_path / "cache").mkdir()
    return as_stream(X, y, tmp_path).cached(tmp_path / "cache")


def as_cached_for_a_while(X, y, tmp_path):
    return as_functions(X, y, tmp_path).cached()


MAKERS = [
    as_cached, as_cached_for_a_while,
    as_given, as_functions, as_stream, as_files, as_folder, as_slices, as_arrays_on_disk, as_sequence
]  # fmt: skip


@pytest.mark.parametrize("make", MAKERS)
def test_each_maker_gives_all_rows_in_order(X, y, tmp_path, make):
    rows = PartedRows(make(X, y, tmp_path))
    assert (rows.n, rows.m, rows.by_feature, rows.pairs) == (100, 6, False, 6.0)
    for _ in range(2):
        np.testing.assert_array_equal(content(rows), X)
    np.testing.assert_array_equal(rows.y, y)
    assert rows.weight is None
    index = np.array([0, 29, 30, 31, 59, 99])
    np.testing.assert_array_equal(content(rows.rows(index)), X[index])
    np.testing.assert_array_equal(rows.rows(index).y, y[index])
    np.testing.assert_array_equal(content(rows.rows(index).rows(np.array([1, 4]))), X[index[[1, 4]]])
    shuffled = np.array([70, 3, 30, 3, 99])
    np.testing.assert_array_equal(block(rows.copied(shuffled)), X[shuffled])
    np.testing.assert_array_equal(block(rows.rows(index).copied(np.array([5, 2]))), X[index[[5, 2]]])


@pytest.mark.parametrize(
    ("kind", "sparse"), [("bfloat16", False), *itertools.product("efdbBi", [False, True])]
)  # scipy.sparse has no dtype for bfloat16: tests/data/test_half.py has matrices by their bits
def test_every_dtype_is_read_as_it_is(rng, y, kind, sparse):
    numbers = rng.integers(0, 100, (100, 6)) * (rng.random((100, 6)) < 0.5)
    if kind == "bfloat16":
        X = (numbers.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).view(BFLOAT16)
    else:
        X = numbers.astype(kind)
    if sparse and kind == "e":
        matrix = sp.csr_array(numbers.astype(np.float32))
        matrix.data = matrix.data.astype(np.float16)
        parts = []
        for a, b in itertools.pairwise(CUTS):
            part = sp.csr_array(numbers[a:b].astype(np.float32))
            part.data = part.data.astype(np.float16)
            parts.append((part, y[a:b]))
    else:
        parts = pieces(sp.csr_array(X) if sparse else X, y)
    rows = PartedRows(Parts(parts))
    assert rows.stored_dtype == (np.float64 if kind in "dBi" else np.float32)
    assert rows.x_dtype.itemsize == {"e": 2, "bfloat16": 2, "f": 4, "d": 8, "b": 1, "B": 1, "i": 8}[kind]
    np.testing.assert_array_equal(content(rows), numbers)
    np.testing.assert_array_equal(block(rows.copied(np.array([99, 0, 50]))), numbers[[99, 0, 50]])


def test_npy_of_bfloat16(tmp_path):
    numbers = np.arange(24, dtype=np.float32).reshape(8, 3)
    bits = (numbers.view(np.uint32) >> 16).astype(np.uint16)
    np.save(tmp_path / "a.npy", bits)
    np.save(tmp_path / "b.npy", bits.view("V2"))  # as NumPy writes what it does not know
    np.testing.assert_array_equal(
        content(PartedRows(Parts.from_npy(tmp_path, dtype="bfloat16"), False)), np.tile(numbers, (2, 1))
    )
    np.save(tmp_path / "b.npy", numbers)
    with pytest.raises(PartError, match=r"b\.npy: bfloat16 is stored as uint16"):
        Parts.from_npy(tmp_path, dtype="bfloat16")
    with pytest.raises(ValueError, match="dtype must be"):
        Parts.from_npy(tmp_path, dtype="float16")


def test_files_are_mapped_once_and_not_copied(X, tmp_path):
    np.save(tmp_path / "x.npy", X)
    file = NpyFile(tmp_path / "x.npy")
    assert isinstance(file.load(), np.memmap)
    assert file.load() is file.load()


def test_weights_come_with_parts(X, y, rng):
    s = rng.random(100)
    np.testing.assert_array_equal(PartedRows(Parts(pieces(X, y, s))).weight, s)
    np.testing.assert_array_equal(PartedRows(Parts.from_slices(X, y, s, rows=7)).weight, s)


def test_parts_add_up(X, y):
    parts = Parts(pieces(X, y)) + Parts(lambda: iter(pieces(X, y)))
    np.testing.assert_array_equal(content(PartedRows(parts)), np.tile(X, (2, 1)))
    both = Parts(pieces(X, y)) + Parts(pieces(X, y))
    assert len(both) == 8
    rows = PartedRows(both).rows(np.arange(0, 200, 3)) + PartedRows(both)
    np.testing.assert_array_equal(content(rows), np.concatenate([np.tile(X, (2, 1))[::3], np.tile(X, (2, 1))]))


def test_frames_have_names(X, y):
    frame = pd.DataFrame(X, columns=list("abcdef"))
    assert PartedRows(Parts([(frame[:50], y[:50]), (frame[50:], y[50:])])).names == list("abcdef")
    with pytest.raises(PartError, match="part 1 has other columns"):
        PartedRows(Parts([(frame[:50], y[:50]), (frame[50:][list("abcdfe")], y[50:])]))


def test_what_a_person_sees(X, y):
    assert repr(Parts(pieces(X, y))) == "Parts(4: part 0 to part 3)"
    assert repr(Parts([(X, y)])) == "Parts(1: part 0)"
    assert repr(Parts(lambda: [])) == "Parts(a stream)"
    with pytest.raises(TypeError, match="not known before it is read"):
        len(Parts(lambda: []))


def test_cached_parts_are_read_once(X, y, tmp_path, rng):
    frame, s, reads = pd.DataFrame(X, columns=list("abcdef")), rng.random(100), []

    def read(piece):
        reads.append(1)
        return piece

    everything = pieces(frame, y, s)
    parts = Parts([lambda piece=piece: read(piece) for piece in everything]).cached(tmp_path)
    assert repr(parts).startswith(f"Parts(cached in {tmp_path}{os.sep}fastsoftmax.")
    for _ in range(2):
        rows = PartedRows(parts)
        for _ in range(2):
            np.testing.assert_array_equal(content(rows), X)
        np.testing.assert_array_equal(rows.y, y)
        np.testing.assert_array_equal(rows.weight, s)
        assert rows.names == list("abcdef")
    assert len(reads) == 4
    assert len([*tmp_path.glob("*/*.npy")]) == 4
    del parts, rows
    gc.collect()
    assert not [*tmp_path.iterdir()]
    half = Parts([X.astype("e")]).cached()
    assert PartedRows(half, False).x_dtype.itemsize == 2
    folder = half._source.folder
    assert folder.exists()
    del half
    gc.collect()
    assert not folder.exists()
    with pytest.raises(FileNotFoundError, match="no such folder"):
        Parts([X]).cached(tmp_path / "nowhere")
    with pytest.raises(TypeError, match="part 0 is sparse"):
        PartedRows(Parts([sp.csr_array(X)]).cached(), False)


def test_caches_do_not_meet(X, y, tmp_path):
    """Neither the files of others, nor another's, nor a copy's, nor those of passes at the same time."""
    for i in range(2):
        np.save(tmp_path / f"part{i}.npy", X[50 * i : 50 * i + 50])
    first = Parts.from_npy(tmp_path, y).cached(tmp_path)
    second = Parts([(X[:50], y[:50])]).cached(tmp_path)
    for parts, rows in ((first, X), (second, X[:50]), (first, X)):
        np.testing.assert_array_equal(content(PartedRows(parts)), rows)
    np.testing.assert_array_equal(np.load(tmp_path / "part1.npy"), X[50:])
    copied = pickle.loads(pickle.dumps(first))
    del first
    gc.collect()
    np.testing.assert_array_equal(content(PartedRows(copied)), X)
    shared, found = Parts([(X, y)] * 3).cached(), []
    threads = [threading.Thread(target=lambda: found.append(content(PartedRows(shared)))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for rows in found:
        np.testing.assert_array_equal(rows, np.tile(X, (3, 1)))
    assert len(found) == 3


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks are POSIX's")
def test_a_forked_child_removes_no_cache(run_python):
    code = """
import os, sys, numpy as np, fastsoftmax as fs
from fastsoftmax.data.parted_rows import PartedRows
parts = fs.Parts([(np.eye(3), np.arange(3))]).cached()
PartedRows(parts)
if os.fork() == 0:
    sys.exit(0)
os.wait()
print(PartedRows(parts).n, parts._source.folder)
"""
    n, folder = run_python(code).split()
    assert n == "3"
    assert not os.path.exists(folder)


# ---- what is refused


def test_a_generator_is_refused_by_what_to_give_instead(X, y):
    with pytest.raises(TypeError, match=r"Parts\(make\) instead of Parts\(make\(\)\)"):
        Parts(piece for piece in pieces(X, y))
    with pytest.raises(ValueError, match="at least one part"):
        Parts([])
    with pytest.raises(TypeError, match="must be a list of parts, got 'abc'"):
        Parts("abc")
    with pytest.raises(TypeError):
        Parts([X]) + X
    assert len(Parts.from_slices(sp.csr_array(X), y)) == 1
    with pytest.raises(TypeError, match="a tuple of 4"):
        Parts([(X, y, y, y)])
    with pytest.raises(ValueError, match="the parts have no rows"):
        PartedRows(Parts(lambda: []))
    with pytest.raises(TypeError, match="must return parts to iterate over, got int"):
        PartedRows(Parts(lambda: 3))


def test_parts_that_are_not_alike(X, y):
    for other, message in (
        ((X[:, :5], y), "part 1 has 5 features, where the first part has 6"),
        ((sp.csr_array(X), y), "part 1 is sparse, where the first part is dense"),
        ((X.astype("f"), y), "part 1 has X of dtype float32, where the first part has float64"),
        ((X, y[:-1]), r"part 1 has 100 rows of X, but y of shape \(99,\)"),
        ((X, None), "part 1 has no y, but others have"),
        ((X, y.astype(str)), "parts have y of different kinds"),
        ((X, y, -np.ones(100)), "part 1: sample_weight must be finite and not negative"),
        ((X, y, np.ones(99)), r"part 1: sample_weight must be of shape \(100,\)"),
        ((X[0], y), "part 1: X must have 2 dimensions"),
    ):
        with pytest.raises(PartError, match=message):
            PartedRows(Parts([(X, y, np.ones(100))[: len(other)], other]))
    with pytest.raises(TypeError, match="part 1: X must hold real numbers"):
        PartedRows(Parts([(X, y), (X.astype(str), y)]))


def test_masks_are_refused_everywhere(X, y, tmp_path):
    np.save(tmp_path / "x.npy", X)
    mx, my, mw = np.ma.masked_array(X), np.ma.masked_array(y), np.ma.masked_array(np.ones(100))
    for make in (
        lambda: Parts([(mx, y)]), lambda: Parts([(X, my)]), lambda: Parts([(X, y, mw)]),
        lambda: Parts([(mx, y)]).cached(), lambda: Parts.from_slices(mx, y), lambda: Parts.from_slices(X, my),
        lambda: Parts.from_slices(X, y, mw), lambda: Parts.from_npy(tmp_path, my),
        lambda: Parts.from_npy(tmp_path, y, mw), lambda: Parts([lambda: (X, my)]),
    ):  # fmt: skip
        with pytest.raises(TypeError, match="masked"):
            PartedRows(make())


def test_labels_that_would_not_stay_apart(X, y):
    a, b = (2**53 + 2 * y).astype(np.uint64), 2**53 + 1 + 2 * y
    with pytest.raises(PartError, match=r"parts have y of different kinds: int64 .*, uint64"):
        PartedRows(Parts([(X, a), (X, b)]))
    assert PartedRows(Parts([(X, y.astype(np.int8)), (X, y)])).y.dtype == np.int64
    assert PartedRows(Parts([(X[:0], []), (X, y), (X[:0], np.zeros((0, 1)))])).y.dtype == y.dtype
    assert PartedRows(Parts([(X, y.astype("U1")), (X, y.astype("U3"))])).y.dtype == "U3"
    with pytest.raises(PartError, match="different kinds"):
        PartedRows(Parts([(X, y.astype("M8[D]")), (X, y)]))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["e", "f", "d"])
def test_what_is_not_finite_is_named_by_part_and_row(X, y, bad, kind):
    Z = X.astype(kind)
    Z[77, 2] = bad
    with pytest.raises(PartError, match=r"part 3: row 17 of X \(row 77 of all\) holds NaN or infinity"):
        PartedRows(Parts(pieces(Z, y)))
    if kind != "e":
        with pytest.raises(PartError, match=r"part 3: row 17 of X \(row 77 of all\)"):
            PartedRows(Parts(pieces(sp.csr_array(Z), y)))


def test_all_bits_of_half_precision_are_looked_at():
    bits = np.arange(65536, dtype=np.uint16)
    for kind, numbers in ((np.int16, bits.view(np.float16)), (np.uint16, (bits.astype(np.uint32) << 16).view("f"))):
        for value in np.flatnonzero(~np.isfinite(numbers)):
            assert entry_not_finite(bits[value : value + 1].view(kind)) == 0
        assert entry_not_finite(bits[np.isfinite(numbers)].view(kind)) is None


def changes(path, X):
    """What may happen to a file between passes, and what is said of it."""

    def gone():
        path.unlink()

    def shorter():
        np.save(path, X[:-1])

    def of_another_type():
        np.save(path, X.astype("f"))

    def truncated():
        data = path.read_bytes()
        path.write_bytes(data[:-100])

    return {"gone": (gone, "No such file"), "shorter": (shorter, "has changed since it was first read"),
            "type": (of_another_type, "has changed"), "truncated": (truncated, "damaged|has changed")}  # fmt: skip


@pytest.mark.parametrize("what", ["gone", "shorter", "type", "truncated"])
def test_files_that_change_between_passes(X, y, tmp_path, what):
    path = tmp_path / "x1.npy"
    for i in range(3):
        np.save(tmp_path / f"x{i}.npy", X)
    rows = PartedRows(Parts.from_npy(tmp_path, np.tile(y, 3)))
    change, message = changes(path, X)[what]
    change()
    os.utime(path, (1, 1)) if path.exists() else None
    with pytest.raises(PartError, match=message) as error:
        content(rows)
    assert "x1.npy" in str(error.value)


def test_functions_that_change_between_passes(X, y):
    now = {"X": X, "y": y}
    rows = PartedRows(Parts([(X, y), lambda: (now["X"], now["y"])]))
    for changed, message in (
        (X[:-1], "part 1 has 99 rows, where it had 100"),
        (X[:, 1:], "part 1 has 5 features"),
        (X.astype("f"), "part 1 has X of dtype float32"),
        (sp.csr_array(X), "part 1 is sparse"),
    ):
        now["X"] = changed
        with pytest.raises(PartError, match=message):
            content(rows)

    def failing():
        raise RuntimeError("the tape broke")

    with pytest.raises(PartError, match="part 1 could not be read: RuntimeError: the tape broke"):
        PartedRows(Parts([(X, y), failing]))


def test_streams_that_change_between_passes(X, y):
    count = [3]
    rows = PartedRows(Parts(lambda: iter([(X, y)] * count[0])))
    for changed, message in ((2, "there are 2 parts, where the first pass had 3"), (4, "more parts than in the first")):
        count[0] = changed
        with pytest.raises(PartError, match=message):
            content(rows)


def test_the_same_reader_each_time_is_named(X, y):
    once = iter([(X, y)])
    rows = PartedRows(Parts(lambda: once))
    with pytest.raises(PartError, match=r"there are 0 parts, .* must return a fresh iterator each time"):
        content(rows)


def test_what_a_function_returns_is_looked_at_each_time(X, y):
    now = [X]
    rows = PartedRows(Parts([lambda: (now[0], y)]))
    now[0] = np.where(np.arange(100)[:, None] == 7, np.nan, X)
    with pytest.raises(PartError, match="part 0: row 7 of X holds NaN or infinity, which it did not before"):
        content(rows)


def test_damaged_files(X, tmp_path):
    path = tmp_path / "x.npy"
    np.save(path, X)
    data = path.read_bytes()
    for wrong in (b"", b"no numpy", data[:5], data[:90], data[:-1], b"\x93NUMPY\xff" + data[7:]):
        path.write_bytes(wrong)
        with pytest.raises(PartError, match=r"x\.npy"):
            Parts.from_npy(path)
    for at, byte in ((10, b"("), (20, b"'"), (11, b"\\"), (60, b"9"), (61, b"-")):  # of the header, a Python literal
        path.write_bytes(data[:at] + byte + data[at + 1 :])
        with contextlib.suppress(PartError):
            content(PartedRows(Parts.from_npy(path), False))
    np.save(path, np.array([{}, 1], object), allow_pickle=True)
    with pytest.raises(PartError, match="damaged one"):
        Parts.from_npy(path)
    with pytest.raises(FileNotFoundError, match="no such file or folder"):
        Parts.from_npy(tmp_path / "nothing")
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match="has no files"):
        Parts.from_npy(tmp_path / "empty")
    with pytest.raises(ValueError, match="the list is empty"):
        Parts.from_npy([])


def test_targets_that_do_not_fit(X, y, tmp_path):
    np.save(tmp_path / "x.npy", X)
    with pytest.raises(ValueError, match="y must have a row for each of X's 100, got 99"):
        Parts.from_npy(tmp_path / "x.npy", y[:-1])
    with pytest.raises(ValueError, match="weight must have a row for each of X's 100, got 99"):
        Parts.from_slices(X, y, np.ones(99))
    np.save(tmp_path / "y.npy", y)
    with pytest.raises(ValueError, match="one file for each of the 1"):
        Parts.from_npy(tmp_path / "x.npy", [tmp_path / "y.npy"] * 2)
    with pytest.raises(ValueError, match="at least 1"):
        Parts.from_slices(X, rows=0)
    with pytest.raises(TypeError, match="slices"):
        Parts.from_slices(3)
    with pytest.raises(ValueError, match="ascending order"):
        PartedRows(Parts(pieces(X, y))).rows(np.array([3, 3]))


# ---- reading ahead


def test_two_parts_at_most_are_in_memory(X):
    alive, most = [], []

    class Watched:
        def __init__(self):
            alive.append(1)
            most.append(len(alive))

        def __del__(self):
            alive.pop()

    each((Watched() for _ in range(20)), lambda item: time.sleep(0.002))
    assert max(most) == 2
    assert not alive


def test_what_is_quick_to_read_is_not_read_ahead(X, y, monkeypatch):
    monkeypatch.setattr(ahead, "QUICK", 60.0)  # on a machine however busy
    rows, threads = PartedRows(Parts(pieces(X, y))), []
    rows.each(lambda i, start, design: None)
    assert not rows.pace.ahead
    rows.each(lambda i, start, design: threads.append(threading.active_count()))
    assert set(threads) == {threading.active_count()}
    monkeypatch.setattr(ahead, "QUICK", 0.0)
    rows = PartedRows(Parts([(X, y)] * 3))
    rows.each(lambda i, start, design: None)
    assert rows.pace.ahead
    np.testing.assert_array_equal(content(rows), np.tile(X, (3, 1)))


def test_two_parts_at_most_are_in_memory_without_a_thread():
    alive, most = [], []

    class Watched:
        def __init__(self):
            alive.append(1)
            most.append(len(alive))

        def __del__(self):
            alive.pop()

    each((Watched() for _ in range(20)), lambda item: None, ahead=False)
    assert max(most) <= 2
    assert not alive


def test_parts_that_are_skipped_are_let_go(y):
    alive, most = [], []

    class Rows(np.ndarray):
        pass

    def stream():
        for _ in range(8):
            X = np.zeros((100, 6)).view(Rows)
            alive.append(weakref.ref(X))
            most.append(sum(ref() is not None for ref in alive))
            yield X, y
            del X

    rows = PartedRows(Parts(stream), False)
    rows.pace.ahead = True
    most.clear()
    rows.each(lambda i, start, design: None, [i % 3 == 0 for i in range(8)])
    assert max(most) <= 2


def test_the_next_part_is_read_meanwhile():
    reading, computing = threading.Event(), threading.Event()

    def items():
        yield 0
        assert computing.wait(10)
        reading.set()
        yield 1

    def visit(item):
        if item == 0:
            computing.set()
            assert reading.wait(10)

    each(items(), visit)


def test_errors_of_reading_and_of_computing_come_through():
    def items():
        yield 1
        raise OSError("read")

    with pytest.raises(OSError, match="read"):
        each(items(), lambda item: None)
    with pytest.raises(ZeroDivisionError):
        each(iter([1, 2]), lambda item: item / 0)


def test_samples_are_kept_up_to_a_limit(X, y, monkeypatch):
    reads = []

    def read(i):
        reads.append(i)
        return X, y

    rows = PartedRows(Parts([lambda i=i: read(i) for i in range(3)]))
    reads.clear()
    for index in (np.arange(0, 300, 3), np.arange(5), np.arange(0, 300, 3)):
        rows.copied(index)
    assert reads == [0, 1, 2, 0]  # the last was kept
    monkeypatch.setattr(parted_rows, "KEPT_BYTES", 5000)
    rows.copied(np.arange(99))
    rows.copied(np.arange(150))  # too large to be kept
    rows.copied(np.arange(150))
    assert reads[4:] == [0, 0, 1, 0, 1]
    assert rows._bytes() <= 5000


def test_the_reader_does_not_stop_ctrl_c(run_python):
    """A read that takes minutes is left behind."""
    code = """
import signal, threading, time, numpy as np, fastsoftmax as fs
X, y = np.random.default_rng(0).standard_normal((60, 3)), np.arange(60) % 2
calls = []
def slow():
    calls.append(1)
    if len(calls) > 1:
        time.sleep(300)
    return X, y
def interrupt():
    while len(calls) < 2:
        time.sleep(0.01)
    time.sleep(0.2)
    signal.raise_signal(signal.SIGINT)
model = fs.SoftmaxRegression()
threading.Thread(target=interrupt, daemon=True).start()
try:
    model.fit(fs.Parts([(X, y), slow]))
except KeyboardInterrupt:
    print("heard", hasattr(model, "coef_"), hasattr(model, "n_features_in_"))
"""
    start = time.perf_counter()
    assert run_python(code).split() == ["heard", "False", "False"]
    assert time.perf_counter() - start < 120


def test_names_at_the_top():
    assert fs.Parts is Parts
    assert fs.PartError is PartError


def test_more_files_than_a_process_may_open(tmp_path, y):
    """Each that is mapped takes a descriptor: the last ones that were used stay so."""
    import resource

    X = np.arange(300.0).reshape(300, 1)
    for i in range(300):
        np.save(tmp_path / f"{i}.npy", X[i : i + 1])
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    now = max(map(int, os.listdir("/proc/self/fd")))
    resource.setrlimit(resource.RLIMIT_NOFILE, (now + 200, hard))
    try:
        rows = PartedRows(Parts.from_npy(tmp_path), False)
        for _ in range(2):
            found = []
            rows.each(lambda i, start, design, found=found: found.append(float(design.arrays()[0][0, 0])))
            np.testing.assert_array_equal(found, X[:, 0])
        np.testing.assert_array_equal(rows.copied(np.arange(0, 300, 7)).arrays()[0], X[::7])
        cached = PartedRows(Parts([lambda i=i: X[i : i + 1] for i in range(300)]).cached(tmp_path), False)
        np.testing.assert_array_equal(cached.copied(np.arange(300)).arrays()[0], X)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_slices_of_labels_are_read_once(X, y):
    asked = []

    class Counted:
        def __init__(self, array, name):
            self.array, self.name, self.shape, self.dtype = array, name, array.shape, array.dtype

        def __len__(self):
            return len(self.array)

        def __getitem__(self, at):
            asked.append(self.name)
            return self.array[at]

    rows = PartedRows(Parts.from_slices(Counted(X, "X"), Counted(y, "y"), rows=10))
    first = asked.count("y")
    content(rows)
    assert asked.count("y") == first
    assert asked.count("X") > first


def test_files_go_to_another_process_without_what_is_in_them(tmp_path, X, y):
    import pickle

    for i in range(4):
        np.save(tmp_path / f"{i}.npy", np.tile(X, (50, 1)))
    everything = np.tile(y, 200)
    parts = Parts.from_npy(tmp_path, everything)
    PartedRows(parts)
    sent = [pickle.dumps(piece) for piece in parts.listed()]
    assert max(map(len, sent)) < 2 * everything.nbytes / 4
    rows = PartedRows(Parts.of([pickle.loads(piece) for piece in sent]))
    np.testing.assert_array_equal(rows.y, everything)
    assert rows.n == len(everything)
