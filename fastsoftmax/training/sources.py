"""Where the rows of an epoch come from: memory, or parts, of which windows are in memory one after another."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastsoftmax.data.examples import Examples
from fastsoftmax.data.parted_rows import PartedRows
from fastsoftmax.data.targets import CheckedTargets
from fastsoftmax.objective.base import Objective
from fastsoftmax.objective.fingerprint import fingerprint_of
from fastsoftmax.objective.over import Rows
from fastsoftmax.objective.softmax import SoftmaxObjective
from fastsoftmax.training.descent import Settings
from fastsoftmax.training.source import Source, Steps, StepsHere, Stream, Validation, Visit, shuffled, validation_of
from fastsoftmax.training.suited import begin
from fastsoftmax.training.windows import InParts

SHUFFLE_BYTES = 512 << 20  # of X in memory, where all of it is more
Array = NDArray[Any]


class InMemory:
    """Examples: an epoch is one order of the rows."""

    def __init__(self, examples: Examples, dtype: np.dtype[Any]) -> None:
        self.examples, self.targets, self.dtype = examples, examples.targets, dtype

    @property
    def rows(self) -> Array:
        return self.targets.weighing()

    def scaled(self, scale: float | ArrayLike) -> Source:
        return InMemory(self.examples.mapped(scale), self.dtype)

    def objective(self) -> Objective:
        return SoftmaxObjective(self.examples, self.dtype)

    def weight_of(self, rows: Array | range) -> float:
        return self.targets.weight_of(np.asarray(rows))

    def held_out(self, rows: Array) -> Validation:
        part = self.examples.rows(rows)
        targets = part.targets.unsmoothed()
        return validation_of(SoftmaxObjective(Examples(part.design, targets), self.dtype), targets)

    def identity(self) -> dict[str, Any]:
        return {"data": fingerprint_of(self.examples.design, self.targets)}

    def steps(self, rows: Array | range, settings: Settings) -> Steps:
        chosen = np.asarray(rows)

        def each(stream: Stream | None, visit: Visit) -> None:
            visit(None, shuffled(chosen, stream))

        return StepsHere(begin(SoftmaxObjective(self.examples, self.dtype), settings), each)


def source_of(rows: Rows, targets: CheckedTargets, dtype: np.dtype[Any], budget: int) -> Source:
    """Of rows in memory; parts that fit are copied there."""
    if isinstance(rows, PartedRows):
        if rows.n * rows.bytes > budget:
            return InParts(rows, targets, dtype, budget)
        rows = rows.all()
    return InMemory(Examples(rows, targets), dtype)
