"""The sections of a page, as plain values that a template shows."""

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsoftmax.model import SoftmaxModel
from fastsoftmax.report.page import charts, images
from fastsoftmax.report.page.measured import Measured, Tones

MOST = 30  # classes whose confusions are a table of cells, and whose weights are shown
STRONGEST = 10  # features of a class
FULL = 0.99  # of the pixels of all classes are paler than full colour: a few strong ones would leave the rest white
PAIRS = 20  # of classes that are confused
LARGEST = 1e300  # of what is drawn in proportion
LEVELS = 10  # of colour
Array = NDArray[Any]


class Cell(NamedTuple):
    """How often a class was taken for another, or for itself."""

    rows: int
    level: int  # of colour, up to LEVELS
    right: bool


class Confusions(NamedTuple):
    """A table of cells, or of the pairs that are confused most often."""

    labels: list[str]
    cells: list[list[Cell]]
    recalls: list[str]
    pairs: list[dict[str, Any]]


def confusions(measured: Measured) -> Confusions:
    """Of the rows whose labels the model knows."""
    labels = [str(label) for label in measured.model.classes.tolist()]
    truth, guess, counts = measured.confusions()
    c = len(labels)
    totals, hits = np.bincount(truth, counts, c), truth == guess
    right = np.bincount(truth[hits], counts[hits], c)
    recalls = [f"{100 * r / t:.1f} %" if t else "-" for r, t in zip(right, totals, strict=True)]
    wrong = np.flatnonzero(~hits)
    worst = wrong[np.argsort(-counts[wrong], kind="stable")][:PAIRS]
    pairs = [
        {"truth": labels[truth[i]], "said": labels[guess[i]], "count": int(counts[i]),
         "share": f"{100 * counts[i] / totals[truth[i]]:.1f} %"}
        for i in worst
    ]  # fmt: skip
    if c > MOST:
        return Confusions(labels, [], recalls, pairs)
    table = np.zeros((c, c), np.int64)
    table[truth, guess] = counts
    others = table - np.diag(np.diag(table))
    most = max(1, int(others.max()))

    def cell(i: int, j: int) -> Cell:
        count = int(table[i, j])
        if i == j:
            return Cell(count, math.ceil(LEVELS * count / totals[i]) if totals[i] else 0, True)
        return Cell(count, math.ceil(LEVELS * math.sqrt(count / most)), False)

    return Confusions(labels, [[cell(i, j) for j in range(c)] for i in range(c)], recalls, pairs)


class Bar(NamedTuple):
    """A feature's weight."""

    name: str
    weight: str
    start: float  # of a bar, in hundredths of its place
    width: float
    positive: bool


class Weights(NamedTuple):
    """Of a class: a picture, or bars."""

    label: str
    image: str | None
    bars: list[Bar]


def weights(model: SoftmaxModel, shape: tuple[int, int] | None, which: Array) -> list[Weights]:
    """Of some classes, on one scale; of two classes what speaks for the second against the first."""
    coef, labels = model.coef.astype(np.float64), model.classes.tolist()
    if len(labels) == 2:
        coef, labels, which = coef[1:] - coef[:1], labels[1:], np.arange(1)
    sizes = np.abs(coef[which])
    most = float(sizes.max(initial=0) if shape is None else np.quantile(sizes, FULL)) or float(sizes.max()) or 1.0
    names = [f"feature {j}" for j in range(coef.shape[1])] if model.feature_names is None else model.feature_names

    def bars(w: Array) -> list[Bar]:
        order = np.argsort(-np.abs(w), kind="stable")[:STRONGEST]
        return [
            Bar(str(names[j]), f"{w[j]:.4g}", round(50 + min(0.0, 50 * w[j] / most), 2),
                round(50 * abs(w[j]) / most, 2), bool(w[j] > 0))
            for j in order
        ]  # fmt: skip

    return [
        Weights(str(labels[k]), None if shape is None else images.signed(coef[k].reshape(shape), most),
                [] if shape is not None else bars(coef[k]))
        for k in which
    ]  # fmt: skip


def curves(history: Any) -> list[charts.Chart]:
    """Of an epoch's losses and rates, or of an iteration's F, gap and gradient; as far as a file holds them."""
    if not isinstance(history, list) or not all(isinstance(record, dict) for record in history) or not history:
        return []

    def column(name: str) -> list[float | None]:
        found = [record.get(name) for record in history]
        plain = [isinstance(v, (int, float)) and not isinstance(v, bool) and abs(v) < LARGEST for v in found]
        return [float(v) if good else None for v, good in zip(found, plain, strict=True)]

    fit = "objective" in history[0]
    x = [float(k + 1) for k in range(len(history))]
    if fit:
        wanted = [
            charts.curves(x, {"F": column("objective")}, "iteration", "F"),
            charts.curves(x, {"duality gap": column("gap"), "largest gradient entry": column("gradient")}, "iteration",
                          "distance from the optimum", True),
        ]  # fmt: skip
    else:
        losses = {"training (each row before its step)": column("loss"), "validation": column("validation_loss")}
        wanted = [
            charts.curves(x, losses, "epoch", "loss"),
            charts.curves(x, {"learning rate at its end": column("learning_rate")}, "epoch", "learning rate"),
        ]
    return [chart for chart in wanted if chart is not None]


class Bin(NamedTuple):
    """Of probabilities: places of its bars, and what it says."""

    x: float
    width: float
    y: float
    height: float
    count_y: float
    count_height: float
    text: str


class Reliability(NamedTuple):
    """Shares that come true over what is said, and counts beneath."""

    bins: list[Bin]
    x: charts.Axis
    y: charts.Axis
    error: str
    brier: str


def reliability(measured: Measured) -> Reliability:
    """Of the most probable class of each row."""
    x, y = charts.across(0, 1), charts.upright(0, 1)
    counts = charts.Axis(0, 1, charts.HEIGHT + 64, charts.HEIGHT + 8)
    found, most = measured.bins, measured.bins.weight.max()

    def one(b: int) -> Bin:
        low, high, weight = x.at(found.edges[b]), x.at(found.edges[b + 1]), found.weight[b]
        top, count = y.at(found.accuracy[b]), counts.at(weight / most)
        text = f"said {100 * found.confidence[b]:.1f} %, came true {100 * found.accuracy[b]:.1f} %, {int(weight)} rows"
        return Bin(low, round(high - low, 2), top, round(y.start - top, 2), count, round(counts.start - count, 2), text)

    bins = [one(b) for b in np.flatnonzero(found.filled).tolist()]
    return Reliability(bins, x, y, f"{measured.calibration_error:.4f}", f"{measured.brier_score:.4f}")


class Mistake(NamedTuple):
    """A row of which the model is confidently wrong."""

    number: int
    truth: str
    said: str
    confidence: str
    image: str | None
    features: list[tuple[str, str]]


def mistakes(measured: Measured, shape: tuple[int, int] | None, tones: Tones | None) -> list[Mistake]:
    """The worst first."""
    model = measured.model
    labels, named = model.classes.tolist(), model.feature_names

    def features(x: Array) -> list[tuple[str, str]]:
        order = [j for j in np.argsort(-np.abs(x), kind="stable")[:6] if x[j]]
        return [(f"feature {j}" if named is None else str(named[j]), f"{x[j]:.4g}") for j in order]

    return [
        Mistake(
            row.number, str(labels[row.truth]), str(labels[row.said]), f"{100 * row.confidence:.1f} %",
            None if shape is None or tones is None else images.gray(row.x.reshape(shape), *tones),
            features(row.x) if shape is None else [],
        )
        for row in measured.worst
    ]  # fmt: skip


def settings(model: SoftmaxModel) -> list[tuple[str, str]]:
    """How it was trained, as far as it is short."""
    return [(name, str(value)) for name, value in sorted(model.settings.items()) if name != "history"]
