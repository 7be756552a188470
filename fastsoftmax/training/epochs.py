"""One call of a trainer's fit: what changes from epoch to epoch, and what is left when it ends, however it ends."""

import logging
import math
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsoftmax.data.feature_names import Names
from fastsoftmax.functional.calibration import BOUNDS, best_temperature
from fastsoftmax.kernels import updates
from fastsoftmax.kernels.math import ordered_sum
from fastsoftmax.model import SoftmaxModel, without_times
from fastsoftmax.objective.base import Objective
from fastsoftmax.training.checkpoint import Checkpoint, State
from fastsoftmax.training.descent import Descent, Settings
from fastsoftmax.training.schedules import learning_rates
from fastsoftmax.training.source import Source, Validation

logger = logging.getLogger("fastsoftmax")
Array = NDArray[Any]
Record = dict[str, Any]
Callback = Callable[[Record], Any]


class Progress(NamedTuple):
    """Where a fit is, for another to go on from."""

    weights: dict[str, Array]
    stream: Any
    feature_names: Names | None = None

    @property
    def steps(self) -> int:
        """Those that were taken."""
        return int(self.weights["counts"][0])

    def rescaled(self, factor: float) -> "Progress":
        """The same for features that are scaled 1 / factor times as much."""
        powers = {"coef": factor, "coef_average": factor, "coef_first": 1 / factor, "coef_second": 1 / factor**2}
        weights = {name: part * part.dtype.type(powers.get(name, 1.0)) for name, part in self.weights.items()}
        return self._replace(weights=weights)


class Run:
    """One call of fit: what changes from epoch to epoch."""

    def __init__(
        self,
        trainer: Any,
        source: Source,
        rows: Array | range,
        classes: Array,
        held: Validation | None,
        stream: np.random.PCG64,
        callbacks: list[Callback],
        resume: Progress | None = None,
        feature_names: Names | None = None,
    ) -> None:
        self.feature_names = feature_names
        self.trainer, self.classes = trainer, classes
        self.held, self.stream, self.callbacks = held, stream, callbacks
        self.total = source.weight_of(rows)
        full = trainer.optimizer == "gd"
        self.micro = len(rows) if full else min(int(trainer.batch_size), len(rows))
        self.batch = len(rows) if full else min(self.micro * int(trainer.accumulate_steps), len(rows))
        self.count, self.per_epoch = len(rows), -(-len(rows) // self.batch)
        adam = trainer.optimizer == "adam"
        momentum = 0.0 if adam else float(trainer.momentum)
        beta1, beta2 = map(float, trainer.betas)
        rule = updates.Rule(momentum, bool(trainer.nesterov), beta1, beta2, float(trainer.eps))
        self.averages = trainer.average is not False
        share, l2 = len(rows) / self.total, float(trainer.l2)
        self.steps = source.steps(
            rows, Settings(adam, rule, self.batch, self.micro, share, l2, bool(trainer.fit_intercept), self.averages)
        )
        self.mixes, self.before = trainer.shuffle and not full, 0
        if resume is not None:
            self.descent.load(resume.weights)
            self.before = resume.steps
        self.checkpoint: Checkpoint | None = None
        self.history: list[Record] = []
        self.stopped, self.best, self.waited = "", -1, 0

    @property
    def descent(self) -> Descent:
        """What has the weights."""
        return self.steps.descent

    def go_on_from(self, checkpoint: Checkpoint) -> None:
        """Write to this checkpoint from now on, and begin with what it holds."""
        self.checkpoint, state = checkpoint, checkpoint.load(self.descent.saved())
        if state is None:
            return
        self.descent.load(state.kept)
        self.stream.state = state.kept_stream
        self.keep()
        self.descent.load(state.weights)
        self.stream.state, self.history = state.stream, state.history
        self.best, self.waited, self.stopped = state.best, state.waited, state.stopped

    def run(self) -> SoftmaxModel:
        trainer = self.trainer
        if not self.history:
            self.keep()
        trainer.history = self.history
        with _Bar(trainer.progress, trainer.epochs, len(self.history)) as show:
            try:
                while not self.stopped:
                    self.advance(show)
            except KeyboardInterrupt:
                self.stopped = "interrupted"
                text = "interrupted after %d epochs: the weights are those of the last %s"
                logger.warning(text, len(self.history), self.steps.unit)
                if not trainer.early_stopping:
                    self.keep()
        trainer.stopped = self.stopped
        model: SoftmaxModel = trainer.model
        model.settings["history"] = without_times(self.history)
        if trainer.calibrate and self.held is not None:
            try:
                model.temperature = _temperature(model, self.held.objective.mapped(1.0))
            except KeyboardInterrupt:
                logger.warning("interrupted while the temperature was chosen: it stays 1")
        return model

    def advance(self, show: Callable[[Record], None]) -> None:
        """One more epoch, and what follows from it: the model, the checkpoint, callbacks, whether it was the last."""
        trainer = self.trainer
        record, right = self.epoch(len(self.history))
        self.history.append(record)
        show(record)
        if right is None or not trainer.early_stopping or right > self.best:
            self.keep()
            self.best, self.waited = self.best if right is None else right, 0
        else:
            self.waited += 1
        if trainer.early_stopping and self.waited >= trainer.patience:
            self.stopped = "early_stopping"
        elif len(self.history) >= trainer.epochs:
            self.stopped = "epochs"
        self.save()
        wishes = [callback(record) for callback in self.callbacks]  # every one is called
        if any(wish is True for wish in wishes):
            self.stopped = "callback"
            self.save()

    def save(self) -> None:
        """Write the checkpoint, if there is to be one."""
        if self.checkpoint is not None:
            kept: Progress = self.trainer.progressed
            now: Any = self.stream.state
            rest = (self.history, self.best, self.waited, self.stopped)
            self.checkpoint.save(State(self.descent.saved(), now, kept.weights, kept.stream, *rest))

    def epoch(self, epoch: int) -> tuple[Record, int | None]:
        """One pass over the rows; its record, and how many validation rows are right."""
        trainer, start = self.trainer, time.perf_counter()
        first, steps = self.before + epoch * self.per_epoch, self.before + trainer.epochs * self.per_epoch
        rates = learning_rates(
            trainer.schedule, trainer.learning_rate, first, first + self.per_epoch, steps, self.per_epoch
        )
        before = self.before // self.per_epoch
        averaging = self.averages and epoch + before >= (0 if trainer.average is True else trainer.average)
        loss = self.steps.epoch(self.stream if self.mixes else None, rates, averaging) / self.total
        seconds = time.perf_counter() - start
        if not (math.isfinite(loss) and self.descent.finite()):
            raise FloatingPointError(
                f"loss {loss} or weights are not finite after epoch {epoch + 1}: X holds NaN or inf, or learning_rate="
                f"{trainer.learning_rate:g} is too large; trainer.model has the weights before that epoch"
            )
        record: Record = {"epoch": epoch + 1, "loss": loss, "learning_rate": float(rates[-1]), "seconds": seconds}
        record["examples_per_second"] = self.count / seconds
        if self.held is None:
            return record, None
        sum_of_losses, predictions = self.held.objective.evaluate(*self.descent.weights(self.averages))
        right = int((predictions == self.held.labels).sum())
        record["validation_loss"] = sum_of_losses / self.held.objective.total
        record["validation_accuracy"] = right / len(predictions)
        return record, right

    def keep(self) -> SoftmaxModel:
        """Make the weights as they are the trainer's model."""
        coef, intercept = self.descent.weights(self.averages)
        coef *= self.descent.objective.scale.astype(coef.dtype)
        model = SoftmaxModel(coef, intercept, self.classes, self.trainer.settings(), self.feature_names)
        self.trainer.model = model
        self.trainer.progressed = Progress(self.descent.saved(), self.stream.state, self.feature_names)
        return model


def _temperature(model: SoftmaxModel, objective: Objective) -> float:
    """The best one on the rows of an objective over raw features, or 1 where they know of none."""
    coef = np.asfortranarray(model.coef) if objective.by_feature else model.coef

    def slope(beta: float) -> float:
        b, out = coef.dtype.type(beta), (np.zeros_like(coef, np.float64), np.zeros(len(coef)))
        _, G, g = objective.loss_gradient(b * coef, b * model.intercept, 1.0, out)
        return float(ordered_sum((G * coef).ravel()) + ordered_sum(g * model.intercept))

    T = best_temperature(slope)
    if T in BOUNDS:
        logger.warning(
            "the validation rows are all right, or too few or wrong to choose a temperature by: it stays 1; more of "
            "them, by validation= or validation_fraction=, would tell"
        )
        return 1.0
    return T


class _Bar:
    """A progress bar, on a terminal or if asked; calling it with a record moves it on."""

    def __init__(self, wanted: bool | None, epochs: int, done: int) -> None:
        self.bar: Any = None
        if wanted or (wanted is None and sys.stderr is not None and sys.stderr.isatty()):
            from tqdm.auto import tqdm  # a widget in notebooks

            self.bar = tqdm(total=epochs, initial=done, unit="epoch", leave=False)

    def __enter__(self) -> Callable[[Record], None]:
        return self.show

    def show(self, record: Record) -> None:
        if self.bar is not None:
            self.bar.set_postfix(loss=f"{record['loss']:.4f}", refresh=False)
            self.bar.update()

    def __exit__(self, *error: object) -> None:
        if self.bar is not None:
            self.bar.close()
