"""By what data are known again."""

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsoftmax.data.design import Design
from fastsoftmax.data.examples import Examples
from fastsoftmax.data.parted_rows import PartedRows
from fastsoftmax.data.targets import CheckedTargets
from fastsoftmax.objective.base import spaced

WHOLE = 256 << 20  # bytes of X, up to which all of it is what it is known by
Array = NDArray[Any]


def fingerprint(examples: Examples) -> str:
    """Of all targets and weights, and all of X, or of more than 256 MB rows that are evenly spaced."""
    design = examples.design
    size = sum(array.nbytes for array in design.arrays())
    count = design.n if size <= WHOLE else max(1, design.n * WHOLE // size)
    rows = design if count == design.n else design.rows(spaced(design.n, count))
    return _digest(design.n, rows, examples.targets)


def fingerprint_of(rows: Design | PartedRows, targets: CheckedTargets) -> str:
    """Of rows in memory, of all of the rows of parts, or of rows elsewhere, which know theirs."""
    if isinstance(rows, Design):
        return fingerprint(Examples(rows, targets))
    if not isinstance(rows, PartedRows):
        return str(rows.fingerprint(targets))
    digests: list[str] = []

    def look(i: int, start: int, design: Design) -> None:
        digests.append(_digest(design.n, design, targets.rows(slice(start, start + design.n))))

    rows.each(look)
    return " ".join(digests)


def _digest(n: int, rows: Design, targets: CheckedTargets) -> str:
    digest = hashlib.sha256(repr((n, rows.m, targets.c, targets.kernel.smoothing)).encode())
    for array in (*rows.arrays(), rows.scale, rows.shift, *targets.kernel[:3]):
        digest.update(repr((array.dtype, array.shape)).encode())
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
