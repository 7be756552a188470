"""The objective over rows, wherever they are."""

from typing import Any

from fastsoftmax.data.design import Design
from fastsoftmax.data.examples import Examples
from fastsoftmax.data.parted_rows import PartedRows
from fastsoftmax.data.targets import CheckedTargets
from fastsoftmax.objective.base import Objective
from fastsoftmax.objective.over_parts import ObjectiveOverParts
from fastsoftmax.objective.softmax import SoftmaxObjective

Rows = Design | PartedRows


def objective_over(rows: Rows, targets: CheckedTargets, dtype: Any = None) -> Objective:
    """Of rows in memory, in parts, or elsewhere, which know theirs."""
    if isinstance(rows, PartedRows):
        return ObjectiveOverParts(rows, targets, dtype)
    if not isinstance(rows, Design):
        return rows.objective(targets, dtype)
    return SoftmaxObjective(Examples(rows, targets), dtype)
