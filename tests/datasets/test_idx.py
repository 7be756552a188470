"""The IDX reader: MNIST as published, any folder like it, and nothing else."""

import gzip
import hashlib
import struct
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fastsoftmax as fs
from fastsoftmax.datasets import IDXError, idx


def pack(array, magic=None):
    head = bytes([0, 0, 8, array.ndim]) if magic is None else magic
    return head + struct.pack(f">{array.ndim}I", *array.shape) + array.astype(np.uint8).tobytes()


@pytest.fixture
def sets(rng):
    """(file stem, array) of a small data set of 4 x 3 images."""
    return {
        "train-images-idx3": rng.integers(0, 256, (30, 4, 3)),
        "train-labels-idx1": rng.integers(0, 10, 30),
        "t10k-images-idx3": rng.integers(0, 256, (7, 4, 3)),
        "t10k-labels-idx1": rng.integers(0, 10, 7),
    }


def write(folder, sets, rename=lambda name: f"{name}-ubyte", packed=False):
    for name, array in sets.items():
        data = pack(array)
        path = folder / (rename(name) + (".gz" if packed else ""))
        path.write_bytes(gzip.compress(data) if packed else data)


def test_mnist():
    X, y, X_test, y_test = fs.datasets.load_mnist()
    assert (X.shape, X_test.shape, y.shape, y_test.shape) == ((60000, 784), (10000, 784), (60000,), (10000,))
    assert (X.dtype, y.dtype) == (np.uint8, np.int64)
    np.testing.assert_array_equal(np.bincount(y), [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949])
    np.testing.assert_array_equal(np.bincount(y_test), [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009])
    assert X.flags.writeable
    assert round(X.mean() / 255, 4) == 0.1307  # as everyone's normalisation has it


def test_embedded_files_are_those_published():
    for name, checksum in idx.SHA256.items():
        assert hashlib.sha256((idx.FOLDER / name).read_bytes()).hexdigest() == checksum


def test_a_changed_file_is_noticed(tmp_path, monkeypatch):
    for name in idx.SHA256:
        (tmp_path / name).write_bytes((idx.FOLDER / name).read_bytes())
    path = tmp_path / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-1] + b"\x01")
    monkeypatch.setattr(idx, "FOLDER", tmp_path)
    with pytest.raises(IDXError, match=r"t10k-labels-idx1-ubyte\.gz: the file has changed"):
        fs.datasets.load_mnist()


@pytest.mark.parametrize(
    "rename",
    [
        lambda name: f"{name}-ubyte",
        lambda name: f"{name.replace('-idx', '.idx')}-ubyte",
        lambda name: f"emnist-digits-{name.replace('t10k', 'test')}-ubyte",
    ],
)
@pytest.mark.parametrize("packed", [False, True])
def test_load_idx(tmp_path, sets, rename, packed):
    write(tmp_path, sets, rename, packed)
    got = fs.datasets.load_idx(tmp_path)
    for array, expected in zip(got, sets.values(), strict=True):
        np.testing.assert_array_equal(array, expected.reshape(len(expected), -1) if expected.ndim == 3 else expected)
    assert [a.dtype for a in got] == [np.uint8, np.int64, np.uint8, np.int64]


def test_raw_is_preferred(tmp_path, sets):
    write(tmp_path, sets)
    (tmp_path / "train-images-idx3-ubyte.gz").write_bytes(b"not looked at")
    assert fs.datasets.load_idx(tmp_path)[0].shape == (30, 12)


def test_folders_that_do_not_fit(tmp_path, sets):
    with pytest.raises(IDXError, match="no such folder"):
        fs.datasets.load_idx(tmp_path / "nowhere")
    with pytest.raises(IDXError, match=r"expected one file .*train-images.*found none"):
        fs.datasets.load_idx(tmp_path)
    write(tmp_path, sets)
    (tmp_path / "other-train-images-idx3-ubyte").write_bytes(b"")
    with pytest.raises(IDXError, match="found other-train-images-idx3-ubyte, train-images-idx3-ubyte"):
        fs.datasets.load_idx(tmp_path)
    (tmp_path / "other-train-images-idx3-ubyte").unlink()
    (tmp_path / "train-labels-idx1-ubyte").write_bytes(pack(np.zeros(29)))
    with pytest.raises(IDXError, match=r"30 images, .* has 29 labels"):
        fs.datasets.load_idx(tmp_path)
    write(tmp_path, sets | {"t10k-images-idx3": np.zeros((7, 3, 4))})
    with pytest.raises(IDXError, match=r"images of \(4, 3\), .* of \(3, 4\)"):
        fs.datasets.load_idx(tmp_path)


IMAGES = np.arange(24).reshape(2, 4, 3)
GOOD = pack(IMAGES)
MALFORMED = [
    (b"", "truncated: a header of 16 bytes"),
    (GOOD[:10], "truncated: a header"),
    (b"\x00\x00\x08\x01" + GOOD[4:], "wrong magic number: expected 00000803, got 00000801"),
    (b"\x00\x00\x0d\x03" + GOOD[4:], "wrong magic number"),
    (GOOD[:-1], "truncated: the header says"),
    (GOOD + b"x", "trailing bytes"),
    (GOOD[:4] + struct.pack(">3I", 2, 4, 0), "nothing in it"),
    (GOOD[:4] + struct.pack(">3I", 2**31, 2**31, 2**31) + b"x" * 100, "more than 1073741824 bytes"),
]


@pytest.mark.parametrize(("data", "message"), MALFORMED)
@pytest.mark.parametrize("packed", [False, True])
def test_malformed(tmp_path, data, message, packed):
    path = tmp_path / "images"
    path.write_bytes(gzip.compress(data) if packed else data)
    with pytest.raises(IDXError, match=message) as error:
        idx.read_idx(path, 3)
    assert str(path) in str(error.value)


def test_malformed_gzip(tmp_path):
    path, good = tmp_path / "images.gz", gzip.compress(GOOD)
    for data, message in (
        (good[:-1], "truncated"),
        (good[:-8], "truncated"),
        (good[:12], "truncated"),
        (good + b"x", "bytes behind the end of the gzip data"),
        (good + good, "bytes behind the end of the gzip data"),
        (good[:20] + b"\xff\xff\xff" + good[23:], "damaged gzip data"),
        (good[:-8] + b"\x00" * 8, "damaged gzip data"),  # a wrong checksum
        (gzip.compress(GOOD + bytes(1 << 20)), "trailing bytes"),
    ):
        path.write_bytes(data)
        with pytest.raises(IDXError, match=message) as error:
            idx.read_idx(path, 3)
        assert str(path) in str(error.value)
    path.write_bytes(good)
    np.testing.assert_array_equal(idx.read_idx(path, 3), IMAGES)
    with pytest.raises(IDXError, match="cannot be read: No such file"):
        idx.read_idx(tmp_path / "nothing", 3)


def test_a_bomb_takes_no_memory(tmp_path):
    """1 GB of zeros in 1 MB of gzip, behind a header that promises 24 bytes."""
    path = tmp_path / "bomb.gz"
    with gzip.open(path, "wb", compresslevel=1) as file:
        file.write(GOOD)
        for _ in range(200):
            file.write(bytes(1 << 20))
    tracemalloc.start()
    with pytest.raises(IDXError, match="trailing bytes"):
        idx.read_idx(path, 3)
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


@settings(max_examples=300, deadline=None, derandomize=True)
@given(data=st.data(), packed=st.booleans())
def test_any_damage_is_refused_or_harmless(tmp_path_factory, data, packed):
    """Bytes cut, inserted or changed: an IDXError, or an array of the shape that the header says."""
    good = gzip.compress(GOOD, mtime=0) if packed else GOOD
    at = data.draw(st.integers(0, len(good)))
    cut = data.draw(st.integers(0, 5))
    bad = good[:at] + data.draw(st.binary(max_size=5)) + good[at + cut :]
    path = tmp_path_factory.mktemp("idx") / "file"
    path.write_bytes(bad)
    try:
        array = idx.read_idx(path, 3)
    except IDXError:
        return
    if packed:  # what gzip's header says of time and name may change, what its checksum covers may not
        np.testing.assert_array_equal(array, IMAGES)
    else:
        assert array.size == len(bad) - 16
