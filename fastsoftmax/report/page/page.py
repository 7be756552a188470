"""The file of a page: its parts put together, under a policy that lets it ask nothing of anybody."""

import base64
import hashlib
import json
import os
from importlib.resources import files as resources
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastsoftmax import files
from fastsoftmax.data.gate import is_sparse
from fastsoftmax.data.parts import Parts
from fastsoftmax.data.pieces import Taken
from fastsoftmax.model import SoftmaxModel
from fastsoftmax.report.page import sections
from fastsoftmax.report.page.measured import Measured, Tones, tones_told
from fastsoftmax.report.page.sections import LARGEST
from fastsoftmax.report.weights import shape_of

SCRIPTS = ("model.js", "ink.js", "drawing.js")
HEAVIEST = 900_000  # bytes of weights that a page takes, a third more as text
Array = NDArray[Any]


def write_page(
    path: str | os.PathLike[str],
    model: Any,
    X: Any = None,
    y: ArrayLike | None = None,
    *,
    image: tuple[int, int] | bool | None = None,
    pixels: tuple[float, float] | None = None,
    title: str | None = None,
    source: str | None = None,
) -> None:
    """Write a page of HTML about a model: one file, which asks nothing of any other place.

    It has what the model was measured to do on rows with labels (accuracy, confusions, reliability, the rows that it
    is most confidently wrong about), how its loss fell, its weights, and the SHA-256 of these; and, where rows are
    images, a canvas: what one draws there is brought into the form of MNIST's digits, and the model says what it is.

    Parameters
    ----------
    path : path-like
    model : SoftmaxModel, or fitted estimator
    X : {array-like, sparse matrix} of shape (n, m), or Parts; optional
        Rows that it was not trained on; without any, nothing is said of what it can do.
    y : array-like of shape (n,), optional
        Their labels, of the model's classes; not where Parts have their own.
    image : tuple of int, True or False, optional
        The shape (height, width) of the images that rows are; True: square ones; False: they are none. By default
        square images where the number of features is a square, from 25 to 16384, they have no names, and X is not
        sparse.
    pixels : tuple of float, optional
        What pixels without ink hold, and those with most, as (0, 255): what is drawn is brought to that. By default as
        X has it, or else a trainer's `scale` says; without either there is no canvas.
    title : str, optional
    source : str, optional
        What the rows are, as "the test images of MNIST".

    Raises
    ------
    TypeError, ValueError
        If something is wrong: the message says what was given and what was expected.
    ImportError
        Without jinja2 and Pillow: `pip install 'fastsoftmax[pictures]'`.
    OSError
        If the folder cannot be written to.

    Notes
    -----
    Up to 30 classes confusions are a table; of more the pairs that are confused most often are listed, and the weights
    of the 30 classes that are least often recognised are shown. Drawings get MNIST's form as its authors tell it: a box
    of 20 x 20 with the aspect kept, its centre of mass in the middle of 28 x 28 (LeCun, Cortes and Burges); other
    sizes in proportion. Weights of more than 0.9 MB are left out, and the canvas with them; pictures are of 128 x 128
    pixels at most.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import fastsoftmax as fs
    >>> from fastsoftmax.report import write_page
    >>> from sklearn.datasets import load_digits
    >>> X, y = load_digits(return_X_y=True)
    >>> model = fs.SoftmaxRegression(C=0.01).fit(X[:1000], y[:1000])
    >>> path = Path(tempfile.mkdtemp()) / "page.html"
    >>> write_page(path, model, X[1000:], y[1000:], source="digits of 8 x 8 pixels")
    >>> "<canvas" in path.read_text()
    True
    """
    try:
        import jinja2
        import PIL  # noqa: F401
    except ImportError as error:
        raise ImportError("a page needs jinja2 and Pillow: pip install 'fastsoftmax[pictures]'") from error
    files.check_folder(path)
    if not isinstance(model, SoftmaxModel):
        if not hasattr(model, "to_model"):
            raise TypeError(f"model must be a SoftmaxModel, or a fitted estimator, got {type(model).__name__}")
        model = model.to_model()
    if not all(float(np.abs(array).max()) < LARGEST for array in (model.coef, model.intercept)):
        raise ValueError("the model's weights hold NaN or infinity, or are beyond 1e300: there is nothing to show")
    tones = None if pixels is None else _tones(pixels)
    measured = _measured(model, X, y, image)
    shape = _shape(model, image) if measured is None else measured.shape
    environment = jinja2.Environment(
        loader=jinja2.FunctionLoader(_read), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    facts = _facts(model, shape, measured, tones)
    text = environment.get_template("page.html").render(facts | {"title": title or facts["title"], "source": source})
    files.write(path, text.encode("utf-8", "replace"))


def _shape(model: SoftmaxModel, image: Any) -> tuple[int, int] | None:
    return shape_of(image, model.coef.shape[1], model.feature_names is not None)


def _read(name: str) -> str:
    return resources(__package__).joinpath(name).read_text("utf-8")


def _measured(model: SoftmaxModel, X: Any, y: Any, image: Any) -> Measured | None:
    if X is None:
        if y is not None:
            raise TypeError("y was given without X")
        return None
    parts = X if isinstance(X, Parts) else Parts([(X, y)])
    if isinstance(X, Parts) and y is not None:
        raise TypeError("Parts must have their own y: leave y out")
    if not isinstance(X, Parts) and y is None:
        raise TypeError("y is missing: what the rows of X are")
    measured = Measured(model, _shape(model, image))

    def add(name: str, taken: Taken) -> None:
        if image is None and is_sparse(taken.X):
            measured.shape = None
        measured.add(name, taken.X, taken.y)

    parts.each_read(add)
    return measured


def _tones(pixels: Any) -> Tones:
    try:
        paper, full = (float(value) for value in pixels)
    except (TypeError, ValueError):
        paper = full = np.nan
    if not (abs(paper) < LARGEST and abs(full) < LARGEST and paper != full):
        raise ValueError(f"pixels must be two numbers, that of no ink and that of most, as (0, 255), got {pixels!r}")
    return Tones(paper, full)


def _facts(
    model: SoftmaxModel, shape: tuple[int, int] | None, measured: Measured | None, tones: Tones | None
) -> dict[str, Any]:
    """All that the template shows."""
    import fastsoftmax

    c, m = model.coef.shape
    tones = tones or (tones_told(model) if measured is None else measured.tones)
    canvas = _canvas(model, shape, tones)
    style, script = _read("page.css"), "\n".join(map(_read, SCRIPTS)) if canvas else ""
    which = np.arange(c) if c <= sections.MOST else _hardest(measured, c)
    return {
        "title": f"{c} classes, told apart by softmax regression",
        "version": fastsoftmax.__version__,
        "style": style,
        "script": script,
        "policy": _policy(style, script),
        "model": model,
        "c": c,
        "m": m,
        "shape": shape,
        "canvas": canvas,
        "no_canvas": None if shape is None or canvas else _why(model, tones),
        "report": None if measured is None else measured.result(),
        "rows": None if measured is None else measured.rows + measured.unknown,
        "unknown": 0 if measured is None else measured.unknown,
        "curves": sections.curves(model.settings.get("history")),
        "confusions": None if measured is None else sections.confusions(measured),
        "weights": sections.weights(model, shape, which),
        "reliability": None if measured is None else sections.reliability(measured),
        "mistakes": [] if measured is None else sections.mistakes(measured, shape, tones),
        "settings": sections.settings(model),
    }


def _hardest(measured: Measured | None, c: int) -> Array:
    """Of many classes those that are least often recognised; without rows the first ones."""
    if measured is None:
        return np.arange(sections.MOST)
    truth, guess, counts = measured.confusions()
    totals = np.bincount(truth, counts, c)
    right = np.bincount(truth, counts * (truth == guess), c)
    with np.errstate(invalid="ignore"):
        return np.argsort(np.where(totals > 0, right / totals, 2.0), kind="stable")[: sections.MOST]


def _canvas(model: SoftmaxModel, shape: tuple[int, int] | None, tones: Tones | None) -> str | None:
    """The model as JSON in which no end of a script can hide; None where there is nothing to draw, or too much."""
    if shape is None or tones is None or tones.paper == tones.full or model.coef.nbytes > HEAVIEST:
        return None

    def text(array: Array) -> str:
        return base64.b64encode(array.astype(array.dtype.newbyteorder("<")).tobytes()).decode()

    facts = {
        "height": shape[0],
        "width": shape[1],
        "classes": [str(label) for label in model.classes.tolist()],
        "dtype": model.coef.dtype.name,
        "coef": text(model.coef),
        "intercept": text(model.intercept),
        "temperature": model.temperature,
        "paper": tones.paper,
        "full": tones.full,
    }
    return json.dumps(facts, allow_nan=False).replace("<", "\\u003c")


def _why(model: SoftmaxModel, tones: Tones | None) -> str:
    """There is no canvas."""
    if model.coef.nbytes > HEAVIEST:
        return "the weights take more than a page should"
    return "nobody said what pixels hold, as by pixels=(0, 255)" if tones is None else "all pixels are alike"


def _policy(style: str, script: str) -> str:
    """A Content-Security-Policy: this style, this script, pictures that are in the page; and nothing else."""

    def allowed(text: str) -> str:
        return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'" if text else "'none'"

    return (
        f"default-src 'none'; style-src {allowed(style)}; script-src {allowed(script)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
