"""Rows to train on, and steps over them, wherever they are: what a trainer asks for."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastsoftmax.data.targets import CheckedTargets
from fastsoftmax.kernels.shuffle import shuffle
from fastsoftmax.objective.base import Objective
from fastsoftmax.objective.softmax import SoftmaxObjective
from fastsoftmax.training.descent import Descent, Settings

Array = NDArray[Any]
Stream = np.random.PCG64
Visit = Callable[[SoftmaxObjective | None, NDArray[np.int64]], object]


class Validation(NamedTuple):
    """Rows that are only looked at."""

    objective: Objective
    labels: Array  # what a prediction is compared with
    fingerprint: Callable[[], str] | None = None  # of rows that were given


class Steps(Protocol):
    """Weights that move."""

    descent: Descent  # which has them between epochs
    unit: str  # of what is left of an epoch that is interrupted: "step", or "epoch"

    def epoch(self, stream: Stream | None, rates: NDArray[np.float64], averaging: bool) -> float:
        """One pass over the rows; the sum of their losses, each before its batch's step.

        stream: of the random numbers by which rows are shuffled; None to keep their order.
        rates: of each step.
        averaging: whether weights go into their mean.
        """


class Source(Protocol):
    """Rows to train on."""

    dtype: np.dtype[Any]

    @property
    def rows(self) -> Array | range:
        """The numbers of those that weigh something."""

    def scaled(self, scale: float | ArrayLike) -> "Source":
        """The same with features X * scale."""

    def objective(self) -> Objective:
        """Over all of the rows."""

    def weight_of(self, rows: Array | range) -> float:
        """What some of them weigh."""

    def held_out(self, rows: Array) -> Validation:
        """Some of the rows, by ascending numbers."""

    def identity(self) -> dict[str, Any]:
        """By what a run over these rows is known again, as JSON can hold it."""

    def steps(self, rows: Array | range, settings: Settings) -> Steps:
        """Steps over these rows, by ascending numbers, from weights of 0."""


class StepsHere:
    """Steps in this process.

    Parameters
    ----------
    descent : Descent
    each : callable
        An epoch: with a stream, it calls its second argument with an objective, None for that of `descent`, and an
        order of its rows, one after another.
    """

    unit = "step"

    def __init__(self, descent: Descent, each: Callable[[Stream | None, Visit], None]) -> None:
        self.descent, self.each = descent, each

    def epoch(self, stream: Stream | None, rates: NDArray[np.float64], averaging: bool) -> float:
        losses, done = list[float](), 0

        def train(objective: SoftmaxObjective | None, order: NDArray[np.int64]) -> None:
            nonlocal done
            if objective is not None:
                self.descent = self.descent.over(objective)
            steps = -(-len(order) // self.descent.batch)
            self.descent.run(order, rates[done : done + steps], averaging)
            losses.append(self.descent.take_loss())
            done += steps

        self.each(stream, train)
        return math.fsum(losses)


def validation_of(
    objective: Objective, targets: CheckedTargets, fingerprint: Callable[[], str] | None = None
) -> Validation:
    """Of an objective with these targets."""
    if targets.total == 0:
        raise ValueError("there is no validation row, or all have weight 0")
    return Validation(objective, targets.likeliest(), fingerprint)


def shuffled(rows: Array, stream: Stream | None) -> Array:
    """A copy in a random order, if there is a stream."""
    rows = rows.copy()
    if stream is not None:
        shuffle(stream.random_raw(len(rows)), rows)
    return rows
