"""Mini-batch descent over dense X of many classes: each class has one owner, no gradient is in parts."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsoftmax.engine import memory, threads
from fastsoftmax.engine.simd import LANE_BYTES
from fastsoftmax.kernels import owned, updates
from fastsoftmax.kernels.cross_entropy import STATS
from fastsoftmax.objective.partition import ROUND
from fastsoftmax.objective.softmax import SLICE, SoftmaxObjective
from fastsoftmax.training.descent import Descent

MOST = 384  # rows of a batch: of 512 and more, partial gradients are as fast, for a batch's rows fill the cache
NOW = updates.Step(0.0, 0.0, 0.0, 0.0, 0.0)
Array = NDArray[Any]


def owns(objective: SoftmaxObjective, batch: int, micro: int) -> bool:
    """Whether each class has one owner, by shapes alone; steps are so short that Ctrl-C is heard between them."""
    short = 4.0 * batch * objective.c * objective.m <= 3 * SLICE
    return objective.owned and not objective.by_feature and batch == micro <= MOST and short


class OwningDescent(Descent):
    """As its base, whose results it gives but for rounding."""

    def _prepare(self) -> None:
        objective, dtype, classes, batch = self.objective, self.objective.dtype, self.part.classes, self.batch
        self.workers = workers = threads.worker_count(self.step_operations)
        items, unit = -(-batch // owned.ROWS), objective.layout.features * (LANE_BYTES // dtype.itemsize)
        self.losses = np.zeros(items)
        self.scratch = (
            memory.aligned((batch * objective.plan.row,), dtype),
            memory.aligned((batch * objective.layout.features,), dtype),
            memory.aligned((-(-batch // ROUND) * ROUND * classes,), dtype),  # whole tiles are written
            memory.aligned((batch,), np.int64),
            memory.aligned((workers, STATS * owned.ROWS), dtype),
            memory.aligned((workers, owned.ROWS), np.float64),
            memory.aligned((workers, owned.ROWS), np.float64),
            memory.aligned((workers, (owned.SPAN + 1) * unit), dtype),
            memory.aligned((1, classes), dtype),
            self.losses,
        )

    def run(self, order: NDArray[np.int64], rates: NDArray[np.float64], averaging: bool) -> None:
        objective, state, (T, P, Z, index, *own, g, losses) = self.objective, self.state, self.scratch
        W, folded = (self.W, self.W) if objective.design.scaled else (state.coef, self.W[:0])
        head = (objective.layout, order, objective.targets, W, self.b, objective.c, objective.plan.block, self.adam)
        middle = (state, folded, T, P, Z, index)
        pointer = owned.owned(
            0, 0, 0, 0, 0, *head, self.rule, NOW, 0.0, *middle, *[part[0] for part in own], g.reshape(-1), losses
        )
        move = (updates.adam if self.adam else updates.sgd)(
            self.rule, NOW, 0.0, state.ones, g, state.intercept, state.intercept_first, state.intercept_second,
            state.intercept_average, self.b, 0, 0,
        )  # fmt: skip
        each = int(max(1, 3 * SLICE / 4 / self.step_operations))
        for start in range(0, len(rates), each):
            owned.owned_steps(
                self.workers, self.batch, start, min(start + each, len(rates)), move, rates, self.share, averaging,
                self.l2, pointer, *head, self.rule, *middle, *own, g, losses,
            )  # fmt: skip

    def take_loss(self) -> float:
        loss = math.fsum(self.losses.tolist())
        self.losses[:] = 0
        return loss
