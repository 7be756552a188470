"""The trainer: epochs of mini-batch descent, schedules, history, early stopping -> SoftmaxModel."""

import math
import os
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastsoftmax.data.feature_names import Names, check_names, names_of
from fastsoftmax.data.gate import unmasked
from fastsoftmax.data.layouts import as_design, compute_dtype
from fastsoftmax.data.parted_rows import PartedRows
from fastsoftmax.data.parts import Parts
from fastsoftmax.data.pieces import Named, one_of
from fastsoftmax.data.targets import ClassWeight, as_targets
from fastsoftmax.defaults import OPTIMIZERS
from fastsoftmax.model import SoftmaxModel
from fastsoftmax.objective.fingerprint import fingerprint_of
from fastsoftmax.objective.over import Rows, objective_over
from fastsoftmax.training.checkpoint import Checkpoint, digest_of
from fastsoftmax.training.epochs import Callback, Progress, Record, Run
from fastsoftmax.training.schedules import SCHEDULES, Schedule, learning_rates
from fastsoftmax.training.source import Source, Validation, shuffled, validation_of
from fastsoftmax.training.sources import SHUFFLE_BYTES, source_of
from fastsoftmax.training.summary import html_of, text_of

__all__ = ["Progress", "Record", "Trainer"]
Array = NDArray[Any]


class Trainer:
    """Trains softmax regression by mini-batch descent; `seed` decides everything.

    Parameters
    ----------
    epochs : int, default 10
        Passes over the data.
    batch_size : int, default 64
        Rows of a micro-batch.
    optimizer : {"sgd", "adam", "gd"}, default "sgd"
        "gd" is the lecture's gradient descent: one step a pass, over all rows.
    learning_rate : float, default 0.1
    schedule : {"constant", "inverse_scaling", "cosine", "one_cycle"} or callable, default "constant"
        See `schedules.learning_rates`; a callable takes the step and the number of steps and returns a factor.
    momentum : float, default 0.0
        Of "sgd" and "gd".
    nesterov : bool, default False
    betas : tuple of float, default (0.9, 0.999)
        Of "adam".
    eps : float, default 1e-8
        Of "adam".
    l2 : float, default 0.0
        l2 / 2 times the squared norm of the weights of the scaled features is added to the objective.
    label_smoothing : float, default 0.0
    scale : float or array-like of shape (m,), default 1.0
        Features are X * scale; X is not touched.
    seed : int, default 0
        Of the shuffles and of the validation split.
    fit_intercept : bool, default True
    accumulate_steps : int, default 1
        Micro-batches whose gradients are added up before a step; equal, but for rounding, to a batch as much larger.
    shuffle : bool, default True
    average : bool or int, default False
        Train as usual, but evaluate and return the mean of the weights over the steps (Polyak & Juditsky 1992);
        a number says after how many epochs the mean begins.
    early_stopping : bool, default False
        Keep the weights of the epoch with most validation rows right, and stop after `patience` epochs without more.
    patience : int, default 5
    validation_fraction : float, default 0.1
        Of the rows, held out for early stopping or calibration where `fit` is given no validation set.
    calibrate : bool, default False
        Choose the model's temperature on the validation rows, after the last epoch: see `fs.temperature`. Where these
        are all right, or tell of none, it stays 1, with a warning: of few rows that is common.
    dtype : {float32, float64}, optional
        Of the computation; by default float64 for X in float64, else float32.
    progress : bool, optional
        Whether to show a bar; by default only on a terminal.
    shuffle_bytes : int, default 512 MB
        Of X in memory at once, where `fit` is given Parts of more. See the notes.

    Raises
    ------
    TypeError, ValueError
        If the optimizer, the schedule or a number is none that there is. `label_smoothing` and `scale` are checked by
        `fit`.

    Attributes
    ----------
    history : list of dict
        One an epoch: epoch, loss (the mean over the epoch's rows, each before its batch's step), learning_rate (of
        the last step), examples_per_second, seconds; with validation rows also validation_loss, validation_accuracy.
    model : SoftmaxModel
        Of the last epoch, or the best one; it is kept also when `fit` ends early.
    stopped : str
        Why `fit` ended: "epochs", "early_stopping", "callback" or "interrupted".

    Notes
    -----
    A batch of B rows estimates the gradient of the weighted mean without bias: n / (S B) times the weighted sum,
    n counting the rows of positive weight. Ctrl-C is heard between calls of some milliseconds: `fit` then returns the
    weights of the last step.

    Parts that take no more than `shuffle_bytes` are read once, and trained on as in memory, to the same bytes. Of more,
    an epoch takes spans of rows in a new random order (CorgiPile, Xu et al. 2022): as many as fill half of
    `shuffle_bytes` are a window, whose rows are shuffled, while the next window is read. A span is of 128 KB of X where
    rows are had without reading a whole part (.npy files, arrays, what is cached), else it is a part. What that costs
    in randomness: rows of a span come in one window in each epoch. Windows of 45 spans of MNIST, sorted by its digits,
    teach as much as all rows do; windows of one whole part, as of sorted Parquet files, cost 0.02 of accuracy:
    use `Parts.cached`. Batches go on across windows; without `shuffle`, rows come in their order, and weights
    have the bytes that they have in memory; where steps touch only the features of a batch, see below, they have them
    but for rounding.

    Where X is sparse and has so many features that a batch has entries in few of them (a quarter at most of the
    features, and weights of more than 1 MB), a step touches these features alone. The penalty, momentum and averages
    give the same weights as steps over all features, but for rounding: a feature catches up when it is next needed,
    and before weights are read (Langford, Li & Zhang 2009). Adam is then lazy, as PyTorch's SparseAdam is: the moments
    and the weights of a feature change, and its penalty counts, only in steps whose batch has an entry of it, while the
    correction of the bias counts all steps.

    Examples
    --------
    >>> import numpy as np
    >>> import fastsoftmax as fs
    >>> X, y = np.array([[0.0], [1.0], [2.0], [3.0]]), ["low", "low", "high", "high"]
    >>> model = fs.Trainer(epochs=500, batch_size=2, learning_rate=0.5).fit(X, y)
    >>> model.predict([[0.5], [2.5]]).tolist()
    ['low', 'high']
    """

    calibrate: bool = False  # also of what was pickled when there was none

    def __init__(
        self,
        epochs: int = 10,
        batch_size: int = 64,
        optimizer: str = "sgd",
        learning_rate: float = 0.1,
        schedule: Schedule = "constant",
        *,
        momentum: float = 0.0,
        nesterov: bool = False,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        l2: float = 0.0,
        label_smoothing: float = 0.0,
        scale: float | ArrayLike = 1.0,
        seed: int = 0,
        fit_intercept: bool = True,
        accumulate_steps: int = 1,
        shuffle: bool = True,
        average: bool | int = False,
        early_stopping: bool = False,
        patience: int = 5,
        validation_fraction: float = 0.1,
        calibrate: bool = False,
        dtype: Any = None,
        progress: bool | None = None,
        shuffle_bytes: int = SHUFFLE_BYTES,
    ) -> None:
        self.epochs, self.batch_size, self.optimizer = epochs, batch_size, optimizer
        self.learning_rate, self.schedule = learning_rate, schedule
        self.momentum, self.nesterov, self.betas, self.eps = momentum, nesterov, betas, eps
        self.l2, self.label_smoothing, self.scale, self.seed = l2, label_smoothing, scale, seed
        self.fit_intercept, self.accumulate_steps, self.shuffle = fit_intercept, accumulate_steps, shuffle
        self.average, self.early_stopping, self.patience = average, early_stopping, patience
        self.validation_fraction, self.dtype, self.progress = validation_fraction, dtype, progress
        self.shuffle_bytes, self.calibrate = shuffle_bytes, calibrate
        self._check()
        self.history: list[Record] = []
        self.stopped = ""
        self.model: SoftmaxModel | None = None
        self.progressed: Progress | None = None

    def __repr__(self) -> str:
        return text_of(self)

    def _repr_html_(self) -> str:
        """In notebooks: its settings, and how far it came."""
        return html_of(self, self.history, self.stopped)

    def _check(self) -> None:
        for name in ("epochs", "batch_size", "accumulate_steps", "patience", "shuffle_bytes"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
                raise ValueError(f"{name} must be an integer of at least 1, got {value!r}")
        if isinstance(self.seed, bool) or not isinstance(self.seed, (int, np.integer)) or self.seed < 0:
            raise ValueError(f"seed must be a non-negative integer, got {self.seed!r}")
        if not isinstance(self.average, (bool, int, np.integer)) or self.average < 0:
            raise ValueError(f"average must be a boolean or a number of epochs, got {self.average!r}")
        if not isinstance(self.calibrate, (bool, np.bool_)):
            raise ValueError(f"calibrate must be True or False, got {self.calibrate!r}")
        if self.optimizer not in OPTIMIZERS:
            raise ValueError(f"optimizer must be one of {OPTIMIZERS}, got {self.optimizer!r}")
        if not callable(self.schedule) and self.schedule not in SCHEDULES:
            raise ValueError(f"schedule must be one of {tuple(SCHEDULES)} or a function, got {self.schedule!r}")
        for name, low in (("learning_rate", "positive"), ("l2", "not negative"), ("eps", "positive")):
            value = getattr(self, name)
            if not math.isfinite(value) or value < 0 or (value == 0 and low == "positive"):
                raise ValueError(f"{name} must be finite and {low}, got {value!r}")
        if not isinstance(self.betas, Sequence) or len(self.betas) != 2:
            raise ValueError(f"betas must be two numbers, got {self.betas!r}")
        for name, value in (("momentum", self.momentum), ("betas", self.betas[0]), ("betas", self.betas[1])):
            if not 0 <= value < 1:
                raise ValueError(f"{name} must be at least 0 and less than 1, got {value!r}")
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")
        if not 0 < self.validation_fraction < 1:
            raise ValueError(f"validation_fraction must be between 0 and 1, got {self.validation_fraction!r}")

    def fit(
        self,
        X: Any,
        y: ArrayLike | None = None,
        *,
        sample_weight: ArrayLike | None = None,
        class_weight: ClassWeight = None,
        validation: tuple[Any, ...] | Parts | None = None,
        callbacks: Iterable[Callback] = (),
        resume: "Progress | None" = None,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> SoftmaxModel:
        """Train on X and y from weights of 0.

        Parameters
        ----------
        X : array-like of shape (n, m), or Parts
            float32, float64, float16, bfloat16, uint8 and int8 are read as they are. The model keeps the names of a
            frame's columns. Parts may be larger than memory.
        y : array-like of shape (n,), (n, 1) or (n, c)
            Labels, of integers (floats that are whole numbers will do) or strings, or target probabilities. Parts may
            have their own, and their own weights.
        sample_weight : array-like of shape (n,), optional
        class_weight : dict, "balanced" or array-like of shape (c,), optional
            A dict maps labels to weights; classes that it does not name have 1.
        validation : tuple (X, y) or (X, y, sample_weight), or Parts, optional
            Evaluated after each epoch.
        callbacks : iterable of callable
            Each is called after each epoch with its record, an entry of `history`; True stops.
        resume : Progress, optional
            `trainer.progressed` of an earlier fit over the same classes and features, to go on from: weights, moments,
            number of steps, the stream of random numbers, and the names of columns.
        checkpoint : path-like, optional
            Where the fit is, is written there after each epoch; if the file is there, the fit goes on from it. A run
            that was killed, and goes on, ends with the same bytes as one that was not. Callbacks are called after it is
            written, for the epochs that are left. X is known again by all its rows, or of more than 256 MB by some.

        Returns
        -------
        SoftmaxModel
            With weights of the raw features.

        Raises
        ------
        TypeError, ValueError
            If something is wrong with the data, or columns of validation rows or of `resume` have other names.
        FloatingPointError
            If the loss is no longer finite; `model` then holds the weights before that epoch.
        CheckpointError
            If `checkpoint` is another file, or of a run with other settings or data.
        OSError
            If `checkpoint` cannot be written.
        """
        rows, y, sample_weight, titles = _taken(X, y, sample_weight)
        names = self._names(titles, resume)
        classes, targets_y, weight_of = self._encode(y, class_weight)
        dtype = compute_dtype(self.dtype, rows.dtype)
        checked = as_targets(
            targets_y, rows.n, len(classes), dtype, sample_weight=sample_weight, class_weight=weight_of,
            label_smoothing=self.label_smoothing,
        )  # fmt: skip
        held = None if validation is None else self._given_validation(validation, rows.m, classes, dtype, names)
        source = source_of(rows, checked, dtype, self.shuffle_bytes).scaled(self.scale)
        return self.fit_checked(
            source, classes, held=held, callbacks=callbacks, resume=resume, checkpoint=checkpoint, feature_names=names
        )

    def fit_checked(
        self,
        source: Source,
        classes: Array,
        *,
        held: Validation | None = None,
        callbacks: Iterable[Callback] = (),
        resume: Progress | None = None,
        checkpoint: str | os.PathLike[str] | None = None,
        feature_names: Names | None = None,
    ) -> SoftmaxModel:
        """As `fit`, on rows of these classes that were checked before.

        Parameters
        ----------
        source : Source
            Of rows.
        classes : ndarray of shape (c,)
        held : Validation, optional
            Rows to validate on.
        callbacks, resume, checkpoint
            As in `fit`.
        feature_names : ndarray of str, optional
            The model's.

        Returns
        -------
        SoftmaxModel

        Raises
        ------
        ValueError
            If there is no row, or `calibrate` has no rows that training did not see.
        """
        rows, stream = source.rows, np.random.PCG64(self.seed)
        if resume is not None:
            stream.state = resume.stream
        if held is None and self.calibrate and resume is not None:
            raise ValueError(
                "calibrate=True needs validation= where a fit goes on from another: rows that are held out now were "
                "trained on then"
            )
        if held is None and (self.early_stopping or self.calibrate):
            rows, held = self._split(source, rows, stream)
        if len(rows) == 0:
            raise ValueError("there is no row to train on: X has none, or all weights are 0")
        run = Run(self, source, rows, classes, held, stream, list(callbacks), resume, feature_names)
        if checkpoint is not None:
            identity = self._identity(source, classes, held, resume)
            if feature_names is not None:
                identity["feature_names"] = feature_names.tolist()
            run.go_on_from(Checkpoint(checkpoint, identity, self.epochs))
        return run.run()

    def _identity(self, source: Source, classes: Array, held: Validation | None, resume: Progress | None) -> Record:
        """What a run must have in common with one that goes on from its checkpoint."""
        identity = self.settings()
        del identity["scale"]  # it is in the data's
        identity |= source.identity() | {"classes": classes.tolist(), "dtype": source.dtype.str}
        if held is not None and held.fingerprint is not None:
            identity["validation"] = held.fingerprint()
        if resume is not None:
            identity["resume"] = digest_of(resume.weights, resume.stream)
        if callable(self.schedule):  # what it does, not what it is called
            rates = learning_rates(self.schedule, self.learning_rate, 0, 5, 100, 10)
            identity["schedule"] = [*rates.tolist(), *learning_rates(self.schedule, 1.0, 95, 100, 100, 10).tolist()]
        return identity

    def _names(self, X: Any, resume: Progress | None) -> Names | None:
        """The names of the columns of X, or of those that an earlier fit began with."""
        if resume is None:
            return names_of(X)
        check_names(resume.feature_names, X, type(self).__name__)
        return resume.feature_names

    def _encode(self, y: ArrayLike, class_weight: ClassWeight) -> tuple[Array, Array, ClassWeight]:
        """The classes, the targets as integers or probabilities, and the weights by integer."""
        array = _named(y, "y")
        if array.ndim == 2:
            return np.arange(array.shape[1]), array, class_weight
        classes, codes = np.unique(array, return_inverse=True)
        if len(classes) < 2:
            raise ValueError(f"y must have at least 2 classes, got {len(classes)}: {classes.tolist()}")
        if isinstance(class_weight, Mapping):
            known = {label: k for k, label in enumerate(classes.tolist())}
            unknown = [label for label in class_weight if label not in known]
            if unknown:
                raise ValueError(f"class_weight names classes that y does not have: {unknown}")
            class_weight = {known[label]: value for label, value in class_weight.items()}
        return classes, codes.reshape(-1), class_weight

    def _given_validation(
        self, validation: Any, m: int, classes: Array, dtype: np.dtype[Any], names: Names | None
    ) -> Validation:
        parts = (validation,) if isinstance(validation, Parts) else tuple(validation)
        if len(parts) not in (2, 3) and not (len(parts) == 1 and isinstance(parts[0], Parts)):
            raise ValueError(f"validation must be (X, y) or (X, y, sample_weight), got {len(parts)} values")
        other, y, weight, titles = _taken(*parts, *[None] * (3 - len(parts)))
        check_names(names, titles, type(self).__name__)
        if other.m != m:
            raise ValueError(f"X has {m} features, the validation rows have {other.m}")
        row = None if isinstance(other, PartedRows) else other.row_not_finite()
        if row is not None:
            raise ValueError(f"row {row} of the validation rows holds NaN or infinity")
        y = _named(y, "y of the validation rows")
        if y.ndim == 1:
            if (y.dtype.kind == "U") != (classes.dtype.kind == "U"):
                raise TypeError(f"y has classes of dtype {classes.dtype}, the validation rows of dtype {y.dtype}")
            codes = np.minimum(np.searchsorted(classes, y), len(classes) - 1)
            if (classes[codes] != y).any():
                unknown = np.unique(y[classes[codes] != y]).tolist()
                raise ValueError(f"the validation rows have classes that y does not have: {unknown}")
            y = codes
        checked = as_targets(y, other.n, len(classes), dtype, sample_weight=weight)
        rows = other if isinstance(other, PartedRows) else other.mapped(self.scale)
        objective = objective_over(other, checked, dtype).mapped(self.scale)
        return validation_of(objective, checked, lambda: fingerprint_of(rows, checked))

    def _split(self, source: Source, rows: Array | range, stream: np.random.PCG64) -> tuple[Array, Validation]:
        """Rows to train on, and rows held out: the last of a shuffle."""
        mixed = shuffled(np.asarray(rows), stream)
        count = max(1, round(len(mixed) * self.validation_fraction))
        if count >= len(mixed):
            raise ValueError(
                f"validation_fraction={self.validation_fraction} of {len(mixed)} rows leaves none to train on"
            )
        train, held = np.sort(mixed[:-count]), np.sort(mixed[-count:])
        return train, source.held_out(held)

    def settings(self) -> Record:
        """The settings, as JSON can hold them.

        Returns
        -------
        dict
        """
        names = ("epochs", "batch_size", "optimizer", "learning_rate", "momentum", "nesterov", "eps", "l2",
                 "label_smoothing", "seed", "fit_intercept", "accumulate_steps", "shuffle", "average",
                 "early_stopping", "patience", "validation_fraction")  # fmt: skip
        record = {name: np.asarray(getattr(self, name)).item() for name in names}
        record["betas"] = [float(beta) for beta in self.betas]
        record["schedule"] = getattr(self.schedule, "__qualname__", str(self.schedule))
        record["scale"] = np.asarray(self.scale).tolist()
        return record | ({"calibrate": True} if self.calibrate else {})


def _named(y: ArrayLike, name: str) -> Array:
    """Labels of any kind (n,), or probabilities (n, c)."""
    array = np.asarray(unmasked(y, name))
    if array.ndim == 2 and array.shape[1] > 1:
        return array
    if array.ndim == 2:
        array = array[:, 0]
    if array.dtype.kind == "O" and all(isinstance(value, str) for value in array.flat):
        array = array.astype(str)
    wide = array.dtype.kind == "f" and array.dtype.itemsize > 8  # which no file of a model could hold
    if array.ndim != 1 or array.dtype.kind not in "biufU" or wide:
        raise TypeError(
            f"{name} must hold integers, booleans or strings (n,), or probabilities (n, c), "
            f"got {array.dtype} of shape {array.shape}"
        )
    broken = array[~(np.isfinite(array) & (array == np.rint(array)))] if array.dtype.kind == "f" else array[:0]
    if len(broken):
        raise ValueError(f"{name} must hold classes: floats that are whole numbers will do, got {broken[0]:g}")
    return array


def _taken(X: Any, y: Any, sample_weight: Any) -> tuple[Rows, Any, Any, Any]:
    """Rows, y and weights, of parts their own or those that were given; and what has the names of the columns."""
    if not isinstance(X, (Parts, PartedRows)):
        if y is None:
            raise TypeError("y is missing: only Parts may have their own")
        return as_design(X), y, sample_weight, X
    rows = X if isinstance(X, PartedRows) else PartedRows(X)
    y, sample_weight = one_of("y", y, rows.y), one_of("sample_weight", sample_weight, rows.weight)
    if y is None:
        raise ValueError("the parts have no y: make them of (X, y), or name a label, or give y for all rows")
    return rows, y, sample_weight, None if rows.names is None else Named(np.empty((0, rows.m)), rows.names)
