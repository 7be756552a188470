"""The block operations of each data layout: a new layout is a file of them and a line in each of these tables."""

from typing import Any

from fastsoftmax.engine.jit import by_layout
from fastsoftmax.kernels.csr import CSR, csr_adjoint, csr_forward, csr_gather
from fastsoftmax.kernels.dense import Dense, dense_adjoint, dense_forward, dense_gather
from fastsoftmax.kernels.logits import ByClass, ByRow
from fastsoftmax.kernels.panels import Panels, panels_adjoint, panels_forward


def by_class(design: Any, B: int, classes: int) -> Any:
    return ByClass(B)


def by_row(design: Any, B: int, classes: int) -> Any:
    return ByRow(classes)


logits = by_layout({Dense: by_class, CSR: by_class, Panels: by_row})  # how those of a block lie
gather = by_layout({Dense: dense_gather, CSR: csr_gather, Panels: dense_gather})
forward = by_layout({Dense: dense_forward, CSR: csr_forward, Panels: panels_forward})
adjoint = by_layout({Dense: dense_adjoint, CSR: csr_adjoint, Panels: panels_adjoint})
