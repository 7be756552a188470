"""The block operations of each data layout: a new layout is a file of them and a line in each of these tables."""

from fastsoftmax.engine.jit import by_layout
from fastsoftmax.kernels.csr import CSR, csr_adjoint, csr_forward, csr_gather
from fastsoftmax.kernels.dense import Dense, dense_adjoint, dense_forward, dense_gather

gather = by_layout({Dense: dense_gather, CSR: csr_gather})
forward = by_layout({Dense: dense_forward, CSR: csr_forward})
adjoint = by_layout({Dense: dense_adjoint, CSR: csr_adjoint})
