"""Files of models, damaged in any way: what is read is a model, or the error is one of ours, in little memory."""

import json
import re
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import fastsoftmax as fs
from fastsoftmax import files
from fastsoftmax.model import ModelFileError

many = settings(max_examples=1500, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=9), inner, max_size=4),
    max_leaves=8,
)
WORDS = ["coef", "intercept", "F32", "F64", "BF16", "F16", "F8_E4M3", "I64", "BOOL", "U8", "dtype", "values", "<U9",
         "<i8", "data_offsets", "shape", "__metadata__", "format", "version", "1"]  # fmt: skip


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    path = tmp_path_factory.mktemp("files") / "m"
    rng = np.random.default_rng(0)
    fs.SoftmaxModel(
        rng.standard_normal((3, 4)).astype(np.float32), np.ones(3, np.float32), ["a", "bé", "c"], {"seed": 1}
    ).save(path)
    return path, path.read_bytes()


def load(path):
    """The model, or None if the file was refused; it never takes more memory than some megabytes."""
    tracemalloc.start()
    model = refusal = None
    try:
        model = fs.SoftmaxModel.load(path)
    except ModelFileError as error:
        refusal = str(error)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 32 << 20
    assert refusal is None or str(path) in refusal
    if model is not None:
        model.predict(np.zeros((1, model.coef.shape[1])))
    return model


@many
@given(data=st.data())
def test_any_damage(good, data):
    """Bytes changed, taken out, put in, or cut off."""
    path, content = good
    content = bytearray(content)
    for _ in range(data.draw(st.integers(1, 6))):
        at = data.draw(st.integers(0, len(content)))
        kind = data.draw(st.sampled_from(["set", "cut", "insert", "drop", "length"]))
        if kind == "set" and at < len(content):
            content[at] = data.draw(st.integers(0, 255))
        elif kind == "cut":
            del content[at:]
        elif kind == "insert":
            content[at:at] = data.draw(st.binary(min_size=1, max_size=20))
        elif kind == "drop":
            del content[at : at + data.draw(st.integers(1, 20))]
        else:
            content[:8] = data.draw(st.integers(0, 2**64 - 1)).to_bytes(8, "little")
    path.write_bytes(bytes(content))
    load(path)


def resolved(value, draw):
    """A JSON value with some parts replaced."""
    if draw(st.integers(0, 9)) == 0:
        return draw(json_values | st.sampled_from(WORDS) | st.integers(-(2**70), 2**70))
    if isinstance(value, dict):
        return {
            (draw(st.sampled_from(WORDS)) if draw(st.integers(0, 19)) == 0 else k): resolved(v, draw)
            for k, v in value.items()
        }
    if isinstance(value, list):
        return [resolved(v, draw) for v in value]
    return value


@many
@given(data=st.data())
def test_any_header(good, data):
    """A header that is JSON, with anything in the place of something, around the right bytes."""
    path, content = good
    size = int.from_bytes(content[:8], "little")
    header = json.loads(content[8 : 8 + size])
    metadata = header["__metadata__"]
    for name in ("classes", "settings"):
        metadata[name] = json.dumps(resolved(json.loads(metadata[name]), data.draw))
    header = resolved(header, data.draw) if data.draw(st.booleans()) else header
    text = json.dumps(header).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + content[8 + size :])
    model = load(path)
    assert model is None or model.coef.shape[0] == len(model.classes)


def test_a_file_that_is_too_large(good):
    path, content = good
    path.write_bytes(content)
    with pytest.raises(ModelFileError, match="more than max_bytes=100"):
        fs.SoftmaxModel.load(path, max_bytes=100)


def test_nothing_is_pickled(rng):
    """No room but the cache of compiled kernels knows of pickle, and that one reads a private folder alone."""
    from pathlib import Path

    import fastsoftmax

    safe = re.compile(r"np\.(load|save)\([^\n]*allow_pickle=False\)|from joblib import cpu_count\n")
    found = {
        path.name
        for path in Path(fastsoftmax.__file__).parent.rglob("*.py")
        if any(
            word in safe.sub("", path.read_text())
            for word in (
                "pickle.",
                "import pickle",
                "joblib",
                "np.load(",
                "allow_pickle",
            )
        )
    }
    assert found == {"cache.py"}


def test_folders(tmp_path):
    (tmp_path / "file").write_text("")
    for path, error in (
        (tmp_path, IsADirectoryError),
        (tmp_path / "no" / "m", FileNotFoundError),
        (tmp_path / "file" / "m", FileNotFoundError),
    ):
        with pytest.raises(error):
            files.check_folder(path)
    files.check_folder(tmp_path / "m")
