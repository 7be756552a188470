"""Mini-batch descent over sparse X with very many features: a step touches only those that its batch has."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsoftmax.engine import memory, threads
from fastsoftmax.kernels import touched, updates
from fastsoftmax.kernels.cross_entropy import STATS
from fastsoftmax.kernels.csr import CSR
from fastsoftmax.objective.softmax import SLICE, SoftmaxObjective
from fastsoftmax.training.descent import Descent

SETTLING = 2048  # steps: all features catch up so often, and a step multiplies half as many 3 x 3 matrices
FEW = 4  # times the pairs of a batch are at most the features
NOW = updates.Step(0.0, 0.0, 0.0, 0.0, 0.0)
Array = NDArray[Any]


def touches_few(objective: SoftmaxObjective, batch: int) -> bool:
    """Whether steps are lazy, by shapes alone: a dense one would mostly move features that the batch lacks."""
    return (
        objective.by_feature
        and objective.owned
        and not objective.shifted
        and FEW * batch * objective.pairs <= objective.m
    )


class TouchingDescent(Descent):
    """As its base, whose results it gives but for rounding, save that Adam moves only what a batch touches.

    Between calls of `run` features may lag behind; whatever reads or writes weights lets them catch up.
    """

    def _scale(self) -> Array:
        return self.objective.scale.astype(self.objective.dtype)  # one a feature

    def _prepare(self) -> None:
        objective, dtype, classes, m = self.objective, self.objective.dtype, self.part.classes, self.objective.m
        self.workers = workers = threads.worker_count(self.step_operations)
        self.block = B = max(16, min(objective.plan.block, self.batch // 128 * 16))
        blocks = -(-self.batch // B)
        self.losses = np.zeros(blocks)
        self.scratch = (
            memory.aligned((blocks * B * classes,), dtype),  # residuals
            memory.aligned((workers, classes * B), dtype),
            memory.aligned((workers, B), np.int64),
            memory.aligned((workers, STATS * B), dtype),
            memory.aligned((workers, B), np.float64),
            memory.aligned((workers, B), np.float64),
            memory.aligned((workers, 2 * classes), dtype),
            memory.aligned((blocks, classes), dtype),
            self.losses,
        )
        lags = len(self.state.coef_average) > 0 or (not self.adam and (self.l2 > 0 or self.rule.momentum > 0))
        past, missed = np.ones((SETTLING, 2)), np.zeros((SETTLING + 1) * touched.MISSED)
        self.lag = touched.Lag(np.zeros(m if lags else 0, np.int32), np.zeros(1, np.int64), past, missed)
        self.slot = np.full(m, -1, np.int32)

    def run(self, order: NDArray[np.int64], rates: NDArray[np.float64], averaging: bool) -> None:
        self._settle()
        state, arguments = self.state, self._arguments(order)
        move = (updates.adam if self.adam else updates.sgd)(
            self.rule, NOW, 0.0, state.ones, self.scratch[-2], state.intercept, state.intercept_first,
            state.intercept_second, state.intercept_average, self.b, 0, 0,
        )  # fmt: skip
        each = int(max(1, min(SLICE / 4 / self.step_operations, SETTLING)))
        for start in range(0, len(rates), each):
            stop = min(start + each, len(rates))
            if self.lag.clock[0] + stop - start > SETTLING:
                self._settle()
            step = (self.batch, start, stop, move, rates, self.share, averaging)
            touched.touched_steps(self.workers, *step, *arguments)

    def _settle(self) -> None:
        """Let all features catch up."""
        if self.lag.clock[0] > 0:
            touched.settle(self.workers, *self._arguments(np.zeros(0, np.int64)))

    def _arguments(self, order: NDArray[np.int64]) -> tuple[Any, ...]:
        """What both drivers take, the pointer in front."""
        objective, (R, *own, g, losses) = self.objective, self.scratch
        head = (objective.layout, order, objective.targets, self.W, self.b, objective.c, self.block, self.adam)
        middle = (self.state, *self._room(order), self.lag, R)
        pointer = touched.touched(
            0, 0, 0, 0, 0, *head, self.rule, NOW, 0.0, *middle, *[part[0] for part in own], g.reshape(-1), losses,
            TILE=self.part.tile,
        )  # fmt: skip
        return pointer, *head, self.rule, self.l2, *middle, *own, g, losses

    def _room(self, order: NDArray[np.int64]) -> tuple[touched.Found, CSR]:
        """Space for the features of any batch of `order`, and for the batch by features."""
        layout, most = self.objective.layout, 0
        if len(order):
            pairs = np.add.reduceat(np.diff(layout.indptr)[order], np.arange(0, len(order), self.batch))
            most = int(pairs.max())
        indices, indptr = np.zeros(most, np.int32), np.zeros(most + 1, np.int64)
        columns = CSR(np.zeros(most, layout.data.dtype), indices, indptr, self.batch, layout.ld)
        return touched.Found(np.zeros(most, np.int32), self.slot), columns

    def load(self, weights: dict[str, Array]) -> None:
        self._settle()
        super().load(weights)

    def saved(self) -> dict[str, Array]:
        self._settle()
        return super().saved()

    def finite(self) -> bool:
        self._settle()
        return super().finite()

    def weights(self, averaged: bool) -> tuple[Array, Array]:
        self._settle()
        return super().weights(averaged)

    def take_loss(self) -> float:
        loss = math.fsum(self.losses.tolist())
        self.losses[:] = 0
        return loss
