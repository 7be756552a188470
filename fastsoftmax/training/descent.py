"""Mini-batch descent over an objective: the state that an optimiser moves, and slices of steps that drivers take."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsoftmax.engine import memory, threads
from fastsoftmax.kernels import gradient, updates
from fastsoftmax.objective.partition import NONE, Workspace, partition
from fastsoftmax.objective.softmax import SLICE, SoftmaxObjective

Array = NDArray[Any]


class Settings(NamedTuple):
    """Of steps."""

    adam: bool  # whether the optimiser is Adam, else it is SGD
    rule: updates.Rule
    batch: int  # rows of a step
    micro: int  # rows of the pieces in which its gradient is accumulated
    share: float  # what a batch's gradient is multiplied by, times its rows: n / S
    l2: float  # penalty on the weights
    fit_intercept: bool  # whether the intercept moves, or stays 0
    average: bool  # whether to keep the mean of the weights over the steps


class Descent:
    """Weights of the scaled features, moved by one step a batch.

    Parameters
    ----------
    objective : SoftmaxObjective
        Over the training rows.
    settings : Settings
    """

    def __init__(self, objective: SoftmaxObjective, settings: Settings) -> None:
        self.objective, self.settings = objective, settings
        self.adam, self.rule, self.batch, self.micro, self.share, self.l2, fit_intercept, average = settings
        c, dtype = objective.c, objective.dtype
        self.part = partition(objective.plan, dtype, self.micro)
        row = 4.0 * self.part.classes * objective.pairs
        self.step_operations = row * self.batch
        self.W, self.b = memory.aligned((objective.plan.length,), dtype), np.zeros(self.part.classes, dtype)
        size, shift = len(self.W), c if fit_intercept else 0
        moments = (self.rule.momentum > 0 or self.adam, self.adam, average)

        def arrays(length: int) -> list[Array]:
            return [memory.aligned((length if used else 0,), dtype) for used in (True, *moments)]

        ones, powers, counts = np.ones(c, dtype), np.ones(2), np.zeros(2, np.int64)
        self.state = gradient.State._make([self._scale(), *arrays(size), ones, *arrays(shift), powers, counts])
        self._prepare()

    def _scale(self) -> Array:
        """The features' scale as `run` takes it: like the weights."""
        objective, scale = self.objective, np.zeros(len(self.W), self.objective.dtype)
        objective.packed(np.broadcast_to(objective.scale, (objective.c, objective.m)), scale)
        return scale

    def _prepare(self) -> None:
        """What `run` needs."""
        workers = min(threads.worker_count(self.step_operations / self.batch * self.micro), self.part.chunks)
        self.space = Workspace(self.objective.kind(self.part, workers, wanted=True))

    @property
    def steps(self) -> int:
        """Those that were taken."""
        return int(self.state.counts[0])

    def load(self, weights: dict[str, Array]) -> None:
        """Go on from what `saved` returned, perhaps over other data, of another layout."""
        objective, state = self.objective, self.state
        for name in ("coef", "coef_first", "coef_second", "coef_average"):
            if len(to := getattr(state, name)) and name in weights:
                objective.packed(weights[name], to)
        for name in ("intercept", "intercept_first", "intercept_second", "intercept_average", "powers"):
            if len(to := getattr(state, name)) and name in weights:
                to[...] = weights[name]
        state.counts[...] = weights["counts"]
        state.counts[1] *= "coef_average" in weights
        current = np.zeros(objective.c, objective.dtype)
        current[: len(state.intercept)] = state.intercept
        self.W, self.b = objective.fold(self.weights(False)[0], current)

    def over(self, objective: SoftmaxObjective) -> "Descent":
        """The same, where it is, over other rows."""
        other = type(self)(objective, self.settings)
        other.load(self.saved())
        return other

    def saved(self) -> dict[str, Array]:
        """Copies of weights and moments, by class and feature."""
        objective, state = self.objective, self.state
        result: dict[str, Array] = {}
        for name in ("coef", "coef_first", "coef_second", "coef_average"):
            if len(part := getattr(state, name)):
                result[name] = objective.unpacked(part)
        for name in ("intercept", "intercept_first", "intercept_second", "intercept_average", "powers", "counts"):
            if len(part := getattr(state, name)) and (self.adam or name != "powers"):
                result[name] = part.copy()
        return result

    def run(self, order: NDArray[np.int64], rates: NDArray[np.float64], averaging: bool) -> None:
        """All batches of `order`, whose steps have these rates, in calls so short that Ctrl-C is heard between them."""
        part, space, state = self.part, self.space, self.state
        objective = self.objective
        head = (objective.layout, order, objective.targets, self.W, self.b, objective.c)
        pointer = space.pointer(gradient.losses, objective.layout, order, objective.targets)
        now, moments = updates.Step(0.0, 0.0, 0.0, 0.0, 0.0), state[1:5]
        move = (updates.adam if self.adam else updates.sgd)(
            self.rule, now, 0.0, state.scale, space.G, *moments, self.W, 0, 0
        )
        for bounds in self._slices(len(rates)):
            gradient.steps(
                space.kind.workers, pointer, *head, self.batch, self.micro, part.size, *bounds, part.block, space.G,
                space.g, NONE, np.zeros(0, self.objective.dtype), *space.scratch, space.losses, move, self.rule, rates,
                self.l2, self.share, averaging, state,
            )  # fmt: skip

    def _slices(self, batches: int) -> Iterator[tuple[int, ...]]:
        """Batches start..stop; of each, micro-batches begin..end; and of their chunks rows low..high."""
        part, parts, most = self.part, -(-self.batch // self.micro), SLICE / 4 / self.step_operations
        if most >= 1:
            for start in range(0, batches, int(most)):
                yield start, min(start + int(most), batches), 0, parts, 0, part.size
            return
        each, rows = max(1, int(most * parts)), part.size
        if most * parts < 1:  # one micro-batch is too long
            rows = max(1, int(most * parts * part.size / part.block)) * part.block
        for t in range(batches):
            for p in range(0, parts, each):
                for low in range(0, part.size, rows):
                    yield t, t + 1, p, p + each, low, low + rows

    def take_loss(self) -> float:
        """The sum of the losses of all rows since the last call, each before its batch's step."""
        loss = self.space.loss()
        self.space.losses[:] = 0
        return loss

    def finite(self) -> bool:
        """Whether all weights are."""
        return bool(np.isfinite(self.state.coef).all() and np.isfinite(self.state.intercept).all())

    def weights(self, averaged: bool) -> tuple[Array, Array]:
        """Copies of coef (c, m) and intercept (c,), of the scaled features."""
        c = self.objective.c
        state = self.state
        coef = state.coef_average if averaged else state.coef
        intercept = state.intercept_average if averaged else state.intercept
        full = np.zeros(c, self.objective.dtype)
        full[: len(intercept)] = intercept
        return self.objective.unpacked(coef), full
