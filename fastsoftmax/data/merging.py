"""Columns of sparse X that one row alone has, merged into one for each row: under l2 the optimum of fewer weights.

Of text most columns are so, above all of its pairs of words. In row i these columns are v_j, and add sum_j v_j W_j to a
logit. Of all W that give the same sum, W_j = v_j w / |v| has the least norm, |w|. So one column of |v| and its weight w
stand for them, exactly. Columns without any entry have weight 0.
"""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsoftmax.data.csr import CSR
from fastsoftmax.data.design import Design
from fastsoftmax.data.gate import numbers

WORTH = 0.75  # of the columns, and no more, may be left
LEAST = 10_000  # columns, below which nothing is worth it
Array = NDArray[Any]


class Merged(NamedTuple):
    """A narrower design, and how its weights become those of all columns."""

    design: Design
    column: Array  # (m,) of the narrower design, in which each column is
    share: Array  # (m,) W_j = share_j w_column

    def expand(self, coef: Array) -> Array:
        """(r, m) from weights (r, narrower)."""
        return np.asarray(coef[:, self.column] * self.share)

    def project(self, coef: Array) -> Array:
        """(r, narrower), whose expansion is nearest to weights (r, m)."""
        return np.stack([np.bincount(self.column, self.share * weights, self.design.m) for weights in coef])


def merged(design: Design) -> Merged | None:
    """The narrower design, or None where that is not worth it, X is dense, or its features are mapped."""
    if not isinstance(design, CSR) or design.m < LEAST or design.shifted:
        return None
    turned = design.transposed()
    counts = np.diff(turned.indptr)
    single = np.flatnonzero((counts == 1) & (design.scale == 1))
    at = turned.indptr[single]
    rows, values = turned.indices[at].astype(np.int64), numbers(turned.data[at]).astype(np.float64)
    squares = np.bincount(rows, values**2, design.n)
    merges = counts == 0
    merges[single] = True
    with_one, kept = np.flatnonzero(squares > 0), np.flatnonzero(~merges)
    width = len(kept) + len(with_one)
    if width > WORTH * design.m:
        return None
    column, share, place = np.zeros(design.m, np.int64), np.zeros(design.m), np.zeros(design.n, np.int64)
    column[kept], share[kept] = np.arange(len(kept)), 1.0
    place[with_one] = len(kept) + np.arange(len(with_one))
    norms = np.sqrt(squares).astype(design.dtype)  # as stored: then logits are the same, if norms by a rounding are not
    column[single] = place[rows]
    share[single] = values * norms[rows] / np.where(squares[rows] > 0, squares[rows], 1)
    narrow = _narrow(design, ~merges[design.indices], column, with_one, norms, width)
    scale = np.concatenate([design.scale[kept], np.ones(len(with_one))])
    return Merged(narrow if (scale == 1).all() else narrow.mapped(scale), column, share)


def _narrow(design: CSR, stays: Array, column: Array, with_one: Array, norms: Array, width: int) -> CSR:
    """The entries of columns that stay, and of each row with others their norm, in the last columns."""
    owner = np.repeat(np.arange(design.n), np.diff(design.indptr))[stays]
    counts = np.bincount(owner, minlength=design.n)
    counts[with_one] += 1
    indptr = np.concatenate([np.zeros(1, np.int64), np.cumsum(counts)])
    data, indices = np.empty(indptr[-1], design.dtype), np.empty(indptr[-1], np.int32)
    last = np.zeros(len(data), bool)
    last[indptr[1:][with_one] - 1] = True
    data[~last], indices[~last] = numbers(design.data[stays]), column[design.indices[stays]]
    data[last], indices[last] = norms[with_one], width - len(with_one) + np.arange(len(with_one))
    part = CSR.of(design.n, width, data, indices, indptr)
    part._map(1.0, 0.0)
    return part
