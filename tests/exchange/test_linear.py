"""The state of nn.Linear: what is written comes back, and what is no such state is refused."""

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import fastsoftmax as fs
from fastsoftmax.model import ModelFileError


@pytest.mark.parametrize("dtype", ["f", "d"])
@pytest.mark.parametrize("prefix", ["", "head."])
def test_there_and_back(tmp_path, rng, dtype, prefix):
    model = fs.SoftmaxModel(rng.standard_normal((3, 5)).astype(dtype), rng.standard_normal(3).astype(dtype))
    model.to_linear(tmp_path / "state", prefix=prefix)
    state = load_file(tmp_path / "state")
    assert {name: array.shape for name, array in state.items()} == {f"{prefix}weight": (3, 5), f"{prefix}bias": (3,)}
    again = fs.SoftmaxModel.from_linear(tmp_path / "state", prefix=prefix, classes=["a", "b", "c"])
    assert again.sha256() == model.sha256()
    assert again.classes.tolist() == ["a", "b", "c"]


@pytest.mark.parametrize("dtype", ["e", ml_dtypes.bfloat16, "f", "d"])
def test_of_a_larger_state(tmp_path, rng, dtype):
    weight = rng.standard_normal((4, 6)).astype(dtype)
    save_file({"head.weight": weight, "body.weight": np.zeros((2, 2))}, tmp_path / "state")
    model = fs.SoftmaxModel.from_linear(tmp_path / "state", prefix="head.")
    wide = np.float64 if dtype == "d" else np.float32
    np.testing.assert_array_equal(model.coef, weight.astype(wide))
    assert model.coef.dtype == wide
    assert not model.intercept.any()


def test_as_torch_computes_it(tmp_path, rng):
    torch = pytest.importorskip("torch", reason="of the peers, which the gate does not install")
    from safetensors.torch import load_file as load
    from safetensors.torch import save_file as save

    layer = torch.nn.Linear(6, 4)
    save(layer.state_dict(), tmp_path / "state")
    model = fs.SoftmaxModel.from_linear(tmp_path / "state")
    X = rng.standard_normal((9, 6)).astype("f")
    with torch.no_grad():
        theirs = torch.softmax(layer(torch.from_numpy(X)), 1).numpy()
    np.testing.assert_allclose(model.predict_proba(X), theirs, atol=1e-6)
    model.to_linear(tmp_path / "again")
    layer.load_state_dict(load(tmp_path / "again"))


@pytest.mark.parametrize("dtype", ["int8", "bool", "uint8", ml_dtypes.float8_e4m3fn])
def test_tensors_that_are_no_weights(tmp_path, dtype):
    """Quantised ones have scales of their own."""
    save_file({"weight": np.ones((3, 2)).astype(dtype)}, tmp_path / "state")
    with pytest.raises(ModelFileError, match=r"weight is of [A-Z0-9_]+, where one of F64, F32, F16, BF16 is expected"):
        fs.SoftmaxModel.from_linear(tmp_path / "state")
    save_file({"weight": np.array(1.0)}, tmp_path / "state")
    with pytest.raises(ModelFileError, match=r"weight must be of shape \(c, m\)"):
        fs.SoftmaxModel.from_linear(tmp_path / "state")


def test_what_is_refused(tmp_path):
    save_file({"weight": np.zeros((3, 2)), "bias": np.zeros(2)}, tmp_path / "wrong")
    with pytest.raises(
        ModelFileError, match=r"weight must be of shape \(c, m\) and bias of \(c,\), got \(3, 2\) and \(2,\)"
    ):
        fs.SoftmaxModel.from_linear(tmp_path / "wrong")
    with pytest.raises(ModelFileError, match=r"there is no head\.weight, but bias, weight: name the prefix"):
        fs.SoftmaxModel.from_linear(tmp_path / "wrong", prefix="head.")
    (tmp_path / "text").write_text("weight")
    with pytest.raises(ModelFileError, match="not a safetensors file"):
        fs.SoftmaxModel.from_linear(tmp_path / "text")
    with pytest.raises(ModelFileError, match="more than max_bytes=10"):
        fs.SoftmaxModel.from_linear(tmp_path / "wrong", max_bytes=10)
    with pytest.raises(ModelFileError, match="not a file, but a folder"):
        fs.SoftmaxModel.from_linear(tmp_path)
    with pytest.raises(FileNotFoundError):
        fs.SoftmaxModel.from_linear(tmp_path / "none")
