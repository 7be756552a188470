"""What a page shows of rows that a model is tested on, gathered as they come in parts."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsoftmax.data.design import Design
from fastsoftmax.data.examples import Examples
from fastsoftmax.functional.calibration import Bins, binned, brier_score
from fastsoftmax.model import SoftmaxModel
from fastsoftmax.objective.softmax import SoftmaxObjective
from fastsoftmax.tally import Tally

BINS = 15
WORST = 24  # rows that are shown
SOME = 1 << 20  # pixels tell what paper and ink are
BLOCK = 1 << 22  # probabilities at a time
Array = NDArray[Any]


class Wrong(NamedTuple):
    """A row of which the model is wrong."""

    surprise: float  # -log of what it gave the truth
    number: int  # of the row
    x: Array
    truth: int
    said: int
    confidence: float


class Tones(NamedTuple):
    """What pixels hold where there is nothing, and where there is all the ink."""

    paper: float
    full: float


class Measured(Tally):
    """A tally that also keeps bins of probabilities, the rows most confidently wrong, and the tones of images.

    Parameters
    ----------
    model : SoftmaxModel
    shape : tuple of int or None
        Of the images that rows are.
    """

    def __init__(self, model: SoftmaxModel, shape: tuple[int, int] | None) -> None:
        super().__init__(model)
        self.shape = shape
        self.tones: Tones | None = None
        self.sums = np.zeros((3, BINS))  # rows; what is said of them, and what came true, times rows
        self.squares = 0.0
        self.worst: list[Wrong] = []

    def look(self, design: Design, numbers: Array, codes: Array) -> None:
        if self.shape is not None and self.rows == len(codes):  # the first ones
            self.tones = tones_of(_dense(design.part(0, min(design.n, max(1, SOME // design.m)))), self.shape)
        coef, intercept = self.model.tempered(design.dtype)
        step = max(1, BLOCK // len(coef))
        for start in range(0, design.n, step):
            at = slice(start, start + step)
            part = design.part(start, min(start + step, design.n))
            P = SoftmaxObjective(Examples.unlabelled(part, len(coef))).predict_proba(coef, intercept)
            self._look(part, P.astype(np.float64), numbers[at], codes[at])

    def _look(self, design: Design, P: Array, numbers: Array, codes: Array) -> None:
        rows = np.arange(len(codes))
        best = P.argmax(1)
        confidence = np.minimum(P[rows, best], 1.0)
        bins = binned(confidence, best == codes, np.ones(len(codes)), BINS, "uniform")
        means = np.stack([np.ones(BINS), np.nan_to_num(bins.confidence), np.nan_to_num(bins.accuracy)])
        self.sums += bins.weight * means
        self.squares += brier_score(P, codes) * len(codes)
        with np.errstate(divide="ignore"):
            surprise = -np.log(P[rows, codes])
        wrong = np.flatnonzero(best != codes)
        wrong = wrong[np.argsort(-surprise[wrong], kind="stable")][:WORST]
        X = _dense(design.rows(wrong)) if len(wrong) else np.empty((0, design.m))
        found = [
            Wrong(float(surprise[i]), int(numbers[i]), x, int(codes[i]), int(best[i]), float(confidence[i]))
            for i, x in zip(wrong, X, strict=True)
        ]
        self.worst = sorted([*self.worst, *found], key=lambda row: -row.surprise)[:WORST]

    @property
    def bins(self) -> Bins:
        """Of the most probable class of each row."""
        weight = self.sums[0]
        with np.errstate(invalid="ignore", divide="ignore"):
            return Bins(np.linspace(0, 1, BINS + 1), weight, self.sums[1] / weight, self.sums[2] / weight)

    @property
    def calibration_error(self) -> float:
        """As `fs.calibration_error` of all rows."""
        return float(np.abs(self.sums[1] - self.sums[2]).sum() / self.sums[0].sum())

    @property
    def brier_score(self) -> float:
        """As `fs.brier_score` of all rows."""
        return float(self.squares / self.sums[0].sum())


def _dense(design: Design) -> Array:
    """Its rows, in float64."""
    X = np.empty((design.n, design.m))
    design.block(0, design.n, X)
    return X


def tones_of(X: Array, shape: tuple[int, int]) -> Tones:
    """Paper is what most images have at their edge, and ink what is farthest from it."""
    images = X.reshape(-1, *shape)
    edge = [images[:, 0].ravel(), images[:, -1].ravel(), images[:, :, 0].ravel(), images[:, :, -1].ravel()]
    paper, low, high = float(np.median(np.concatenate(edge))), float(X.min()), float(X.max())
    return Tones(paper, high if high - paper >= paper - low else low)


def tones_told(model: SoftmaxModel) -> Tones | None:
    """As the command line kept them, or by the `scale` of a trainer, whose features it brings to 0 to 1."""
    scale = model.settings.get("scale")
    if model.settings.get("pixels") == [0, 255]:
        return Tones(0.0, 255.0)
    return Tones(0.0, 1 / scale) if isinstance(scale, float) and 1e-9 < scale < 1 else None
