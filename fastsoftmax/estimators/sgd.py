"""SoftmaxSGDClassifier: the trainer behind scikit-learn's face."""

import warnings
from numbers import Integral, Real
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.multiclass import _check_partial_fit_first_call

from fastsoftmax.defaults import OPTIMIZERS, SCHEDULES
from fastsoftmax.estimators.base import SoftmaxClassifier, checking_parameters
from fastsoftmax.estimators.labels import Labels
from fastsoftmax.estimators.rows import rows_of
from fastsoftmax.training.epochs import Progress, Record
from fastsoftmax.training.source import Source
from fastsoftmax.training.sources import SHUFFLE_BYTES, source_of
from fastsoftmax.training.trainer import Trainer

Array = NDArray[Any]
ADAM_RATE = 3e-3  # of the command line, chosen on held out rows of MNIST
OPEN_ENDED = ("constant", "inverse_scaling")


def suited(source: Source) -> tuple[float, float]:
    """(a rate, a power of two by which to scale all features so that it suits the intercept as well).

    The rate is 8 / (1 + the mean squared length of the scaled rows), which is about 8: a gradient's Lipschitz constant
    is at most half of that mean, and less where probabilities are not all alike.
    """
    objective = source.objective()
    _, squares = objective.moments()
    length = float(squares.sum() / objective.total)
    unit = float(np.exp2(np.round(0.5 * np.log2(8 / length)))) if 0 < length < np.inf else 1.0
    return 8 / (1 + length * unit * unit), unit


class Given(NamedTuple):
    """Rows to train on, the classes, and the dtype of weights that are fitted."""

    source: Source
    classes: Array
    stored_dtype: np.dtype[Any]


class PlateauWatch:
    """A callback that stops when the loss has not been lower by tol for some epochs."""

    def __init__(self, tol: float | None, patience: int) -> None:
        self.tol, self.patience, self.best, self.waited = tol, patience, np.inf, 0

    def __call__(self, record: Record) -> bool:
        if self.tol is None:
            return False
        self.waited = 0 if record["loss"] < self.best - self.tol else self.waited + 1
        self.best = min(self.best, record["loss"])
        return self.waited >= self.patience


class SoftmaxSGDClassifier(SoftmaxClassifier):
    """Softmax regression by mini-batch descent: for data that come in pieces, or more of them than an optimum needs.

    Parameters
    ----------
    optimizer : {"sgd", "adam", "gd"}, default "sgd"
    learning_rate : float or "auto", default "auto"
        "auto": features are scaled by a power of two to rows of a squared length near 8, for which 0.003 suits "adam"
        and 8 / (1 + that length) the others.
    schedule : {"constant", "inverse_scaling", "cosine", "one_cycle"} or callable, default "inverse_scaling"
    batch_size : int, default 64
    max_epochs : int, default 1000
    tol : float or None, default 1e-3
        Training ends when the loss has not been lower by tol for n_iter_no_change epochs; None: never.
    momentum : float, default 0.0
    nesterov : bool, default False
    l2 : float, default 1e-4
        l2 / 2 times the squared norm of `coef_` is added to the mean loss.
    label_smoothing : float, default 0.0
    fit_intercept, shuffle : bool, default True
    class_weight : dict or "balanced", optional
        Not "balanced" in `partial_fit`.
    early_stopping : bool, default False
        Hold out `validation_fraction` of the rows and keep the epoch that gets most of them right.
    validation_fraction : float, default 0.1
    n_iter_no_change : int, default 5
        Epochs without progress before training ends.
    average : bool or int, default False
        Return the mean of the weights over the steps; a number: from that epoch on.
    warm_start : bool, default False
        `fit` goes on from where the last one ended.
    random_state : int, RandomState or None, default None
    verbose : int, default 0
        Above 0, a progress bar.

    Attributes
    ----------
    coef_ : ndarray of shape (c, m), or (1, m) for two classes
        In the dtype of X; float32 for float16, float64 for integers.
    intercept_ : ndarray of shape (c,) or (1,)
    classes_ : ndarray of shape (c,)
    n_iter_ : int
        Epochs of the last call of `fit`.
    t_ : int
        Steps so far.
    history_ : list of dict
        See `Trainer.history`.
    n_features_in_, feature_names_in_
        As in scikit-learn.

    Notes
    -----
    A row of weight 2 means, in expectation, what that row means twice: a batch of B rows gives n / (S B) times its
    weighted sum of gradients, whose mean is the gradient of the weighted mean loss.

    Steps over sparse X with very many features, such as hashed words, touch those of a batch alone, and what that means
    for "adam" is said under `Trainer`. `partial_fit` of a few rows then takes about as long as copying `coef_` does.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from fastsoftmax import SoftmaxSGDClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> SoftmaxSGDClassifier(random_state=0).fit(X, y).score(X, y) > 0.9
    True
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "optimizer": [StrOptions(set(OPTIMIZERS))],
        "learning_rate": [Interval(Real, 0, None, closed="neither"), StrOptions({"auto"})],
        "schedule": [StrOptions(set(SCHEDULES)), callable],
        "batch_size": [Interval(Integral, 1, None, closed="left")],
        "max_epochs": [Interval(Integral, 1, None, closed="left")],
        "tol": [Interval(Real, 0, None, closed="left"), None],
        "momentum": [Interval(Real, 0, 1, closed="left")],
        "nesterov": ["boolean"],
        "l2": [Interval(Real, 0, None, closed="left")],
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
        "fit_intercept": ["boolean"],
        "shuffle": ["boolean"],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "early_stopping": ["boolean"],
        "validation_fraction": [Interval(Real, 0, 1, closed="neither")],
        "n_iter_no_change": [Interval(Integral, 1, None, closed="left")],
        "average": ["boolean", Interval(Integral, 0, None, closed="left")],
        "warm_start": ["boolean"],
        "random_state": ["random_state"],
        "verbose": ["verbose"],
    }

    n_iter_: int
    t_: int
    history_: list[Record]
    _progress: Progress | None
    _pace: tuple[float, float]

    def __init__(
        self,
        *,
        optimizer: str = "sgd",
        learning_rate: float | str = "auto",
        schedule: Any = "inverse_scaling",
        batch_size: int = 64,
        max_epochs: int = 1000,
        tol: float | None = 1e-3,
        momentum: float = 0.0,
        nesterov: bool = False,
        l2: float = 1e-4,
        label_smoothing: float = 0.0,
        fit_intercept: bool = True,
        shuffle: bool = True,
        class_weight: Any = None,
        early_stopping: bool = False,
        validation_fraction: float = 0.1,
        n_iter_no_change: int = 5,
        average: bool | int = False,
        warm_start: bool = False,
        random_state: Any = None,
        verbose: int = 0,
    ) -> None:
        self.optimizer, self.learning_rate, self.schedule = optimizer, learning_rate, schedule
        self.batch_size, self.max_epochs, self.tol = batch_size, max_epochs, tol
        self.momentum, self.nesterov, self.l2, self.label_smoothing = momentum, nesterov, l2, label_smoothing
        self.fit_intercept, self.shuffle, self.class_weight = fit_intercept, shuffle, class_weight
        self.early_stopping, self.validation_fraction = early_stopping, validation_fraction
        self.n_iter_no_change, self.average, self.warm_start = n_iter_no_change, average, warm_start
        self.random_state, self.verbose = random_state, verbose

    @checking_parameters
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None) -> "SoftmaxSGDClassifier":
        """Train from weights of 0, or with warm_start from where the last call ended.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n, m), or Parts
            Of parts that take more than 512 MB, rows are shuffled within windows: see `Trainer`.
        y : array-like of shape (n,) or (n, c)
            Labels, or target probabilities, whose rows sum to 1. Parts may have their own.
        sample_weight : array-like of shape (n,), optional

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If something is wrong with a parameter or the data.
        FloatingPointError
            If the loss is no longer finite: learning_rate is too large.
        """
        with self._unchanged_if_refused():
            return self._fit(X, y, sample_weight)

    def _fit(self, X: Any, y: Any, sample_weight: Any, classes: Any = None) -> "SoftmaxSGDClassifier":
        going_on = self.warm_start and hasattr(self, "_progress")
        given = self._given(X, y, sample_weight, classes, reset=not going_on)
        watch = PlateauWatch(self.tol, self.n_iter_no_change)
        self._train(given, self._progress if going_on else None, self.max_epochs, [watch])
        self.n_iter_ = len(self.history_)
        if self.tol is not None and self.n_iter_ == self.max_epochs and not self.early_stopping:
            text = f"the loss still fell after max_epochs={self.max_epochs}: increase max_epochs, tol or learning_rate"
            warnings.warn(text, ConvergenceWarning, stacklevel=3)
        return self

    @checking_parameters
    def partial_fit(
        self, X: Any, y: Any = None, classes: Any = None, sample_weight: Any = None
    ) -> "SoftmaxSGDClassifier":
        """One epoch over these rows, from where the last call ended.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n, m), or Parts
        y : array-like of shape (n,)
        classes : array-like of shape (c,), optional
            All classes that will ever come; needed in the first call.
        sample_weight : array-like of shape (n,), optional

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If something is wrong, or the schedule or class_weight needs to know all of the data.
        """
        if self.class_weight == "balanced":
            raise ValueError("class_weight='balanced' is not supported in partial_fit: give a dict of weights")
        if not callable(self.schedule) and self.schedule not in OPEN_ENDED:
            raise ValueError(
                f"partial_fit has no last step: schedule must be one of {OPEN_ENDED}, got {self.schedule!r}"
            )
        with self._unchanged_if_refused():
            first = _check_partial_fit_first_call(self, classes)
            given = self._given(X, y, sample_weight, self.classes_, reset=first)
            self._train(given, getattr(self, "_progress", None), 1, [])
        self.n_iter_ = 1
        return self

    def _given(self, X: Any, y: Any, sample_weight: Any, classes: Any, reset: bool) -> Given:
        """What `fit` is given, checked."""
        X, y, sample_weight = self._checked(X, y, sample_weight, reset=reset)
        labels, rows = Labels(y, classes), rows_of(X)
        targets = labels.targets(rows.n, rows.dtype, sample_weight, self.class_weight, self.label_smoothing)
        return Given(source_of(rows, targets, rows.dtype, SHUFFLE_BYTES), labels.classes, rows.stored_dtype)

    def _train(self, given: Given, start: Progress | None, epochs: int, callbacks: list[Any]) -> None:
        source, classes, store = given
        if start is not None and not np.array_equal(classes, self.classes_):
            raise ValueError(f"with warm_start the classes must stay {self.classes_}, got {classes}")
        rate, unit = self._choose_pace(source, start is not None)
        if start is not None and unit != self._pace[1]:
            start = start.rescaled(self._pace[1] / unit)
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        l2 = float(self.l2) * unit * unit * (2 if len(classes) == 2 else 1)  # two rows share what one is
        trainer = Trainer(
            epochs, self.batch_size, self.optimizer, rate, self.schedule, momentum=self.momentum,
            nesterov=self.nesterov and self.momentum > 0, l2=l2, seed=seed,
            fit_intercept=self.fit_intercept, shuffle=self.shuffle, average=self.average,
            early_stopping=self.early_stopping and epochs > 1, patience=self.n_iter_no_change,
            validation_fraction=self.validation_fraction, progress=self.verbose > 0,
        )  # fmt: skip
        model = trainer.fit_checked(source.scaled(unit), np.arange(len(classes)), callbacks=callbacks, resume=start)
        self._progress, self._pace, self.history_ = trainer.progressed, (rate, unit), trainer.history
        self.classes_ = classes
        coef, intercept = model.coef.astype(store), model.intercept.astype(store)
        if len(classes) == 2:
            coef, intercept = coef[1:] - coef[:1], intercept[1:] - intercept[:1]
        self.coef_, self.intercept_, self.t_ = coef, intercept, self._progress.steps if self._progress else 0

    def _choose_pace(self, source: Source, going_on: bool) -> tuple[float, float]:
        """The learning rate, and the scale of the features that it is meant for."""
        if not isinstance(self.learning_rate, str):
            return float(self.learning_rate), 1.0
        if going_on:
            return self._pace
        rate, unit = suited(source)
        return (ADAM_RATE if self.optimizer == "adam" else rate), unit

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "coef_")
