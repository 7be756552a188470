"""DATA on the command line: which rows a file or folder holds, by its ending, as arrays or parts."""

import functools
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

ENDINGS = (".npz", ".npy", ".parquet", ".feather", ".arrow", ".csv", ".tsv", ".svm", ".svmlight", ".libsvm")
X_NAMES, Y_NAMES = ("X", "x", "features", "data"), ("y", "labels", "label", "target")
MNIST = "MNIST"
ONE_BASED = "svmlight_one_based"  # in the settings of a model


class Wanted(NamedTuple):
    """Which columns were asked for, and what is known of them from a model, or from the rows of a fit."""

    label: str | None = None
    features: list[str] | None = None
    weight: str | None = None
    known_label: str | None = None
    known_features: list[str] | None = None
    m: int | None = None  # features
    one_based: bool | None = None  # numbers of features in svmlight files
    text: bool = False  # whether labels are
    labelled: bool = True  # whether labels are wanted

    @classmethod
    def by(cls, model: Any, args: Any, labelled: bool) -> "Wanted":
        """What was said, and what the model was trained on."""
        settings, m = model.settings, model.coef.shape[1]
        names = settings.get("features") if model.feature_names is None else model.feature_names.tolist()
        text = model.classes.dtype.kind == "U"
        label = settings.get("label") if labelled else None
        return cls(args.label, args.features, None, label, names, m, settings.get(ONE_BASED), text, labelled)

    def of_test(self, rows: Any, data: "Data") -> "Wanted":
        """The same for rows to test, like those of a fit, whose weights do not matter."""
        names = data.settings.get("features") if rows.names is None else rows.names
        text = rows.y.dtype.kind in "OU"
        return self._replace(
            weight=None, known_label=self.label, known_features=names, m=rows.m, one_based=data.settings.get(ONE_BASED),
            text=text,
        )  # fmt: skip

    @property
    def names(self) -> dict[str, Any]:
        """Of the columns of a table."""
        return {
            "features": self.features or self.known_features,
            "label": self.label or self.known_label,
            "weight": self.weight,
        }

    @property
    def settings(self) -> dict[str, Any]:
        """What a model keeps of these names."""
        kept = {"label": self.label, "features": self.features}
        return {name: value for name, value in kept.items() if value is not None}

    def refuse(self, file: Path, why: str, *names: str) -> None:
        """Options that these files have no use for."""
        for name in names:
            if getattr(self, name) is not None:
                raise ValueError(f"{file}: {why}: leave --{name} out")


class Data(NamedTuple):
    """Rows to fit or to test."""

    parts: Any  # fs.Parts
    settings: dict[str, Any]  # for a model to keep
    slow: bool = False  # to read: a fit is better off with a copy in .npy files
    images: bool = False  # pixels from 0 to 255
    test: Any = None  # fs.Parts, where the folder has rows to test


def is_idx(path: Path) -> bool:
    """Whether a folder, or a file, is of the IDX format."""
    if path.is_dir():
        return any(path.glob("*-ubyte")) or any(path.glob("*-ubyte.gz"))
    if _ending(path) in READERS:
        return False
    with open(path, "rb") as file:
        return file.read(3) in (b"\0\0\x08", b"\x1f\x8b\x08")  # unsigned bytes, or gzip


def read(source: str | Path | None, wanted: Wanted) -> Data:
    """What `source` holds; MNIST by default.

    Raises
    ------
    ValueError, OSError
        If that cannot be told, or read; the message names the file and what was expected.
    """
    from fastsoftmax import datasets

    if source is None:
        return _images(MNIST, *datasets.load_mnist())
    path = Path(source)
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file or folder")
    if is_idx(path):
        wanted.refuse(path, "IDX files are images and their labels", "label", "features", "weight")
        return _images(path.resolve().name, *datasets.load_idx(path)) if path.is_dir() else _unlabelled_images(path)
    ending, files = _files(path)
    return READERS[ending](files, wanted)


def _images(name: str, X: Any, y: Any, X_test: Any, y_test: Any) -> Data:
    from fastsoftmax.data.parts import Parts

    settings = {"data": name, "pixels": [0, 255]}
    return Data(Parts([(X, y)]), settings, images=True, test=Parts([(X_test, y_test)]))


def _unlabelled_images(path: Path) -> Data:
    from fastsoftmax.data.parts import Parts
    from fastsoftmax.datasets.idx import read_idx

    images = read_idx(path, 3)
    return Data(Parts([images.reshape(len(images), -1)]), {}, images=True)


def _ending(path: Path) -> str:
    return Path(path.name.removesuffix(".gz")).suffix.lower()


def _files(path: Path) -> tuple[str, list[Path]]:
    """Of a folder, in natural order, or one; all of one kind."""
    from fastsoftmax.data.pieces import natural

    found = sorted(path.iterdir(), key=natural) if path.is_dir() else [path]
    kinds = {ending: [file for file in found if _ending(file) == ending] for ending in READERS}
    kinds = {ending: files for ending, files in kinds.items() if files}
    expected = f"{', '.join(READERS)} (text also .gz), or the four IDX files of an MNIST-like folder"
    if not kinds:
        raise ValueError(f"{path}: nothing here that can be read; expected {expected}")
    if len(kinds) > 1:
        raise ValueError(f"{path}: files of several kinds, {', '.join(kinds)}: name one, or move them apart")
    return next(iter(kinds.items()))


# ---- NumPy's files


def _npy(files: list[Path], wanted: Wanted) -> Data:
    """X*.npy, with the labels in y*.npy beside them, or in the file that --label names; so for weights."""
    wanted.refuse(files[0], "an array has no names of columns", "features")
    rows = files if len(files) == 1 else [file for file in files if file.name[0] in "xX"]
    if not rows:
        raise ValueError(f"{files[0].parent}: files of X are expected to begin with X, got {files[0].name} and others")
    test = [file for file in rows if "test" in file.stem.lower()]
    if len(test) == len(rows) or not wanted.labelled or wanted.label is not None or wanted.weight is not None:
        return Data(_arrays(rows, wanted), {})
    train = [file for file in rows if file not in test]
    return Data(_arrays(train, wanted), {}, test=_arrays(test, wanted) if test else None)


def _arrays(rows: list[Path], wanted: Wanted) -> Any:
    from fastsoftmax.data.parts import Parts

    for name in ("label", "weight"):
        given = getattr(wanted, name)
        if given is not None and not Path(given).exists():
            raise FileNotFoundError(f"{given}: no such file: --{name} names one where {rows[0].name} is X")
    labels: Any = wanted.label
    if labels is None and wanted.labelled:
        partners = [_partner(file) for file in rows]
        labels = partners if all(partner.exists() for partner in partners) else None
    return Parts.from_npy(rows, labels, wanted.weight)


def _partner(file: Path) -> Path:
    """y_train.npy of X_train.npy."""
    return file.with_name({"X": "y", "x": "y"}.get(file.name[0], "y_" + file.name[0]) + file.name[1:])


def _npz(files: list[Path], wanted: Wanted) -> Data:
    """Arrays by name in each file: X and y, or what --features and --label name."""
    from fastsoftmax.data.parts import Parts
    from fastsoftmax.data.pieces import Made

    if wanted.features is not None and len(wanted.features) > 1:
        raise ValueError(f"{files[0]}: --features names the array that is X, one, got {wanted.features}")
    pieces = [Made(str(file), functools.partial(_archive, file, wanted)) for file in files]
    return Data(Parts.of(pieces), wanted.settings, slow=True)


def _archive(file: Path, wanted: Wanted) -> tuple[Any, ...]:
    import zipfile

    import numpy as np

    from fastsoftmax.data.pieces import PartError

    usual = X_NAMES if wanted.known_features is None or len(wanted.known_features) > 1 else wanted.known_features
    known = Y_NAMES if wanted.known_label is None else (wanted.known_label, *Y_NAMES)
    label = None if wanted.label is None else [wanted.label]
    try:
        with np.load(file, allow_pickle=False) as arrays:
            X = arrays[_chosen(arrays, wanted.features, (*usual, *X_NAMES), "--features")]
            if not wanted.labelled or (label is None and not {*known} & {*arrays.files}):
                return (X,)
            y = arrays[_chosen(arrays, label, known, "--label")]
            return X, y, *([arrays[wanted.weight]] if wanted.weight else [])
    except (zipfile.BadZipFile, zlib.error, KeyError, ValueError, EOFError) as error:
        raise PartError(f"{file}: {str(error).strip(chr(39) + chr(34))}") from error


def _chosen(arrays: Any, named: Iterable[str] | None, usual: Iterable[str], option: str) -> str:
    names = list(dict.fromkeys(usual if named is None else named))
    for name in names:
        if name in arrays.files:
            return name
    raise ValueError(f"no array {' or '.join(names)} among {', '.join(arrays.files)}: name one with {option}")


# ---- tables


def _parquet(files: list[Path], wanted: Wanted) -> Data:
    from fastsoftmax.data.parts import Parts

    return Data(Parts.from_parquet(files, **wanted.names), wanted.settings, slow=True)


def _feather(files: list[Path], wanted: Wanted) -> Data:
    from fastsoftmax.data.parts import Parts

    return Data(Parts.from_feather(files, **wanted.names), wanted.settings, slow=True)


def _text(files: list[Path], wanted: Wanted) -> Data:
    from fastsoftmax.data.parts import Parts

    mark, label = "\t" if _ending(files[0]) == ".tsv" else ",", wanted.names["label"]
    text = [label] if wanted.text and label is not None else []
    return Data(Parts.from_csv(files, delimiter=mark, text=text, **wanted.names), wanted.settings, slow=True)


# ---- svmlight


def _svmlight(files: list[Path], wanted: Wanted) -> Data:
    """Sparse rows, all in memory; labels are in the files."""
    from fastsoftmax.data.parts import Parts

    wanted.refuse(files[0], "svmlight files have labels in front, and no names", "label", "features", "weight")
    read = [_sparse(file) for file in files]
    one_based = wanted.one_based
    if one_based is None:  # as all are, but for a feature 0
        one_based = not any((X.indices == 0).any() for X, _ in read)
    m = max(X.shape[1] for X, _ in read) - one_based if wanted.m is None else wanted.m
    parts = [(_shaped(file, X, m, one_based), y) for file, (X, y) in zip(files, read, strict=True)]
    return Data(Parts(parts), {ONE_BASED: bool(one_based)})


def _sparse(file: Path) -> tuple[Any, Any]:
    import numpy as np
    from sklearn.datasets import load_svmlight_file

    try:
        X, y = load_svmlight_file(str(file), zero_based=True)
    except (ValueError, OverflowError, EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{file}: not an svmlight file, or a damaged one: {error}") from error
    if not len(y):
        raise ValueError(f"{file}: no rows")
    return X, y.astype(np.int64) if (y == np.rint(y)).all() and (np.abs(y) < 2**53).all() else y


def _shaped(file: Path, X: Any, m: int, one_based: bool) -> Any:
    """With m features, the first of which is number 1 or 0."""
    if one_based:
        if (X.indices == 0).any():
            raise ValueError(f"{file}: it has a feature 0, but features are counted from 1 in what was trained on")
        X = X[:, 1:]
    if X.shape[1] > m:
        raise ValueError(f"{file}: it has a feature {X.shape[1] - 1 + one_based}, but there are {m} features")
    X.resize(X.shape[0], m)
    return X


READERS: dict[str, Callable[[list[Path], Wanted], Data]] = dict(
    zip(ENDINGS, [_npz, _npy, _parquet, _feather, _feather, _text, _text, _svmlight, _svmlight, _svmlight], strict=True)
)
