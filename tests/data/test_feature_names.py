"""Names of columns: kept where X is a frame, saved, and compared by the rules and in the words of scikit-learn."""

import json
import pickle
import warnings

import numpy as np
import pandas
import polars
import pytest
from safetensors.numpy import save_file

import fastsoftmax as fs
from fastsoftmax import files
from fastsoftmax.data.feature_names import names_of
from fastsoftmax.files import CheckpointError
from fastsoftmax.model import ModelFileError
from fastsoftmax.training.epochs import Progress

NAMES = ["age", "height", "größe", "x 1", ""]
FRAMES = {"pandas": pandas.DataFrame, "polars": polars.DataFrame}
FITTED = "X does not have valid feature names, but {} was fitted with feature names"
UNFITTED = "X has feature names, but {} was fitted without feature names"


@pytest.fixture
def data(rng):
    y = rng.integers(0, 3, 90)
    return rng.standard_normal((90, 5)) + np.eye(3, 5)[y] * 2, y


def frame_of(kind, X, names=NAMES):
    return FRAMES[kind](dict(zip(names, X.T, strict=True)))


FITS = {
    "Trainer": lambda X, y: fs.Trainer(2).fit(X, y),
    "SoftmaxRegression": lambda X, y: fs.SoftmaxRegression().fit(X, y).to_model(),
    "SoftmaxRegressionCV": lambda X, y: fs.SoftmaxRegressionCV(Cs=2, cv=3).fit(X, y).to_model(),
    "SoftmaxSGDClassifier": lambda X, y: fs.SoftmaxSGDClassifier(random_state=0).fit(X, y).to_model(),
    "two classes": lambda X, y: fs.SoftmaxRegression().fit(X, y > 0).to_model(),
}


@pytest.mark.parametrize("fit", FITS)
def test_models_keep_the_names_of_a_frame(data, tmp_path, fit):
    X, y = data
    frame = frame_of("pandas", X)
    model = FITS[fit](frame, y)
    assert model.feature_names.tolist() == NAMES
    assert model.feature_names.dtype == object
    model.save(tmp_path / "m")
    for same in (model, fs.SoftmaxModel.load(tmp_path / "m"), pickle.loads(pickle.dumps(model))):
        assert same.feature_names.tolist() == NAMES
        np.testing.assert_array_equal(same.predict_proba(frame), model.predict_proba(frame))
        for call in (same.predict, same.predict_proba, lambda Z, m=same: m.score(Z, m.predict(frame))):
            with pytest.raises(ValueError, match="Feature names must be in the same order as they were in fit"):
                call(frame[NAMES[::-1]])
    plain = FITS[fit](X, y)
    assert plain.feature_names is None
    np.testing.assert_array_equal(plain.coef, model.coef)


@pytest.mark.parametrize("kind", FRAMES)
def test_every_kind_of_frame(data, kind):
    X, y = data
    model = fs.Trainer(2).fit(frame_of(kind, X), y)
    assert model.feature_names.tolist() == NAMES
    for other in FRAMES:
        np.testing.assert_array_equal(model.predict_proba(frame_of(other, X)), model.predict_proba(frame_of(kind, X)))
        with pytest.raises(ValueError, match="Feature names unseen at fit time:\n- weight\n"):
            model.predict(frame_of(other, X, ["weight", *NAMES[1:]]))


@pytest.mark.parametrize(
    "given",
    [
        ["age", "height", "größe", "x 1", "more"],
        ["age", "height", "größe", "x 1"],
        [*NAMES, "more"],
        list("abcde"),
        list("abcdefgh"),
    ],
)
def test_the_words_are_those_of_scikit_learn(data, given):
    X, y = data
    frame = frame_of("pandas", X)
    other = frame_of("pandas", np.resize(X, (90, len(given))), given)
    with pytest.raises(ValueError, match="feature names should match") as theirs:
        fs.SoftmaxRegression().fit(frame, y).predict(other)
    with pytest.raises(ValueError, match="feature names should match") as ours:
        fs.Trainer(1).fit(frame, y).predict(other)
    assert str(ours.value) == str(theirs.value).rstrip("\n")


def test_names_on_one_side_only(data):
    X, y = data
    frame = frame_of("pandas", X)
    named, plain, theirs = fs.Trainer(1).fit(frame, y), fs.Trainer(1).fit(X, y), fs.SoftmaxRegression()
    for model, Z, message, fitted_to in ((named, X, FITTED, frame), (plain, frame, UNFITTED, X)):
        for call in (model.predict, model.predict_proba, lambda A, m=model: m.score(A, y)):
            with pytest.warns(UserWarning, match=message.format("SoftmaxModel")):
                call(Z)
        with pytest.warns(UserWarning, match=message.format("SoftmaxRegression")):
            theirs.fit(fitted_to, y).predict(Z)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            np.testing.assert_array_equal(model.predict_proba(Z), plain.predict_proba(X))


def test_what_is_no_name(data):
    X, y = data
    for frame in (pandas.DataFrame(X), pandas.DataFrame(X, columns=[1.5, 2, 3, 4, 5]), X, X.tolist()):
        assert names_of(frame) is None
        assert fs.Trainer(1).fit(frame, y).feature_names is None
    mixed = pandas.DataFrame(X, columns=["a", 1, 2, 3, 4])
    for call in (fs.Trainer(1).fit, fs.SoftmaxRegression().fit):
        with pytest.raises(TypeError, match="Feature names are only supported if all input features have string names"):
            call(mixed, y)
    model = fs.Trainer(1).fit(X, y)
    with pytest.raises(TypeError, match="only supported if all"):
        model.predict(mixed)


def test_names_are_checked():
    coef = np.zeros((2, 3))
    assert fs.SoftmaxModel(coef, np.zeros(2), feature_names=("a", "b", "a")).feature_names.tolist() == ["a", "b", "a"]
    for wrong in (["a", "b"], ["a", "b", 3], "abc", []):
        with pytest.raises(ValueError, match="feature_names must be 3 strings, got"):
            fs.SoftmaxModel(coef, np.zeros(2), feature_names=wrong)


def test_files_with_and_without_names(tmp_path):
    path, coef = tmp_path / "m", np.zeros((2, 3), np.float32)
    tensors = {"coef": coef, "intercept": coef[:, 0].copy()}
    facts = {
        "format": "fastsoftmax.SoftmaxModel",
        "version": "1",
        "classes": json.dumps({"dtype": "<i8", "values": [0, 1]}),
        "settings": "{}",
    }
    save_file(tensors, path, facts)  # as files were before there were names
    assert fs.SoftmaxModel.load(path).feature_names is None
    fs.SoftmaxModel(coef, coef[:, 0]).save(path)
    assert "feature_names" not in files.load(path, "fastsoftmax.SoftmaxModel", "1")[1]
    for names, message in (
        ('"abc"', "no list"),
        ('{"a": 1}', "no list"),
        ('["a", "b"]', "must be 3 strings"),
        ('["a", "b", 1]', "must be 3 strings"),
        ("[", "damaged file"),
    ):
        save_file(tensors, path, facts | {"feature_names": names})
        with pytest.raises(ModelFileError, match=message):
            fs.SoftmaxModel.load(path)


def test_a_pickle_from_before_there_were_names(data):
    X, y = data
    model = fs.Trainer(1).fit(X, y)
    state = {name: value for name, value in vars(model).items() if name != "feature_names"}
    old = object.__new__(fs.SoftmaxModel)
    old.__dict__.update(state)
    again = pickle.loads(pickle.dumps(old))
    assert again.feature_names is None
    np.testing.assert_array_equal(again.predict(X), model.predict(X))


def test_validation_rows_have_the_same_columns(data):
    X, y = data
    frame = frame_of("pandas", X)
    trainer = fs.Trainer(1)
    model = trainer.fit(frame, y, validation=(frame[:50], y[:50]))
    assert trainer.history[0]["validation_accuracy"] == model.score(frame[:50], y[:50])
    with pytest.raises(ValueError, match="same order as they were in fit"):
        fs.Trainer(1).fit(frame, y, validation=(frame[NAMES[::-1]], y))
    with pytest.warns(UserWarning, match=FITTED.format("Trainer")):
        fs.Trainer(1).fit(frame, y, validation=(X, y))


def test_a_fit_that_goes_on_has_the_columns_it_began_with(data):
    X, y = data
    frame, first = frame_of("pandas", X), fs.Trainer(2)
    first.fit(frame, y)
    assert first.progressed.feature_names.tolist() == NAMES
    model = fs.Trainer(2).fit(frame, y, resume=first.progressed)
    assert model.feature_names.tolist() == NAMES
    with pytest.raises(ValueError, match="same order as they were in fit"):
        fs.Trainer(2).fit(frame[NAMES[::-1]], y, resume=first.progressed)
    with pytest.warns(UserWarning, match=FITTED.format("Trainer")):
        same = fs.Trainer(2).fit(X, y, resume=first.progressed)
    assert same.feature_names.tolist() == NAMES
    np.testing.assert_array_equal(same.coef, model.coef)
    old = Progress(*first.progressed[:2])  # of an earlier version
    with pytest.warns(UserWarning, match=UNFITTED.format("Trainer")):
        assert fs.Trainer(2).fit(frame, y, resume=old).feature_names is None


def test_a_checkpoint_knows_its_columns(data, tmp_path):
    X, y = data
    frame, path = frame_of("pandas", X), tmp_path / "c"
    expected = fs.Trainer(3).fit(X, y)
    fs.Trainer(3).fit(frame, y, checkpoint=path)
    again = fs.Trainer(3).fit(frame, y, checkpoint=path)
    assert again.sha256() == expected.sha256()
    assert again.feature_names.tolist() == NAMES
    renamed = frame.rename(columns={"age": "years"})  # the same bytes
    for other in (renamed, X):
        with pytest.raises(CheckpointError, match="which had other feature_names"):
            fs.Trainer(3).fit(other, y, checkpoint=path)
    fs.Trainer(3).fit(X, y, checkpoint=tmp_path / "d")
    assert "feature_names" not in files.load(tmp_path / "d", "fastsoftmax.checkpoint", "1")[1]["settings"]
    with pytest.raises(CheckpointError, match="which had other feature_names"):
        fs.Trainer(3).fit(frame, y, checkpoint=tmp_path / "d")


def test_the_best_epoch_of_early_stopping_has_names(data):
    X, y = data
    assert fs.Trainer(5, early_stopping=True, patience=1).fit(frame_of("polars", X), y).feature_names.tolist() == NAMES
