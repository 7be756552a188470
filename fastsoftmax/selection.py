"""Many fits of one data set: a path of strengths, and cross-validation over strengths and folds."""

import warnings
from numbers import Integral, Real
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import _fit_context, clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import get_scorer
from sklearn.model_selection import check_cv
from sklearn.utils import compute_class_weight
from sklearn.utils._param_validation import Interval, StrOptions

from fastsoftmax.design import as_design, unmasked
from fastsoftmax.estimators import SoftmaxClassifier, SoftmaxRegression, Verbose
from fastsoftmax.fitting import NAMES, Fit, Labels, Penalty
from fastsoftmax.solvers import Outcome

Array = NDArray[Any]


def strengths(Cs: int | ArrayLike) -> NDArray[np.float64]:
    """As in scikit-learn: a number means so many from 1e-4 to 1e4, evenly spaced in their logarithms."""
    if isinstance(Cs, (int, np.integer)) and not isinstance(Cs, bool):
        values = np.logspace(-4, 4, int(Cs))
    else:
        values = np.asarray(Cs, np.float64)
    if values.ndim != 1 or len(values) == 0 or not (values > 0).all():
        raise ValueError(f"Cs must be a positive number of strengths, or a list of positive strengths, got {Cs!r}")
    return values


class Path(NamedTuple):
    """Fits over strengths C, in the order in which they were given."""

    Cs: Array  # (k,)
    coefs: Array  # (k, c, m), or (k, 1, m) for two classes
    intercepts: Array  # (k, c) or (k, 1)
    n_iter: Array  # (k,)
    optimality: Array  # (k,)
    duality_gap: Array  # (k,)
    converged: Array  # (k,)
    classes: Array  # (c,)


def _follow(fits: list[Fit], Cs: Array, l1_ratio: float) -> list[Path]:
    """Fits of each fold from the strongest penalty to the weakest, each from where the last one ended.

    Folds take turns, for they share factors.
    """
    found: list[dict[int, Outcome]] = [{} for _ in fits]
    thetas: list[Array | None] = [None] * len(fits)
    for i in np.argsort(Cs, kind="stable"):
        for f, fit in enumerate(fits):
            outcome = fit.run(float(Cs[i]), l1_ratio, thetas[f])
            thetas[f] = outcome.theta if len(outcome.theta) else None
            found[f][int(i)] = outcome
    return [_collect(fit, Cs, [found[f][i] for i in range(len(Cs))]) for f, fit in enumerate(fits)]


def _collect(fit: Fit, Cs: Array, rows: list[Outcome]) -> Path:
    columns: list[Any] = [
        np.array([getattr(row, name) for row in rows]) for name in ("n_iter", "optimality", "gap", "converged")
    ]
    coefs, intercepts = np.stack([row.coef for row in rows]), np.stack([row.intercept for row in rows])
    return Path._make([Cs, coefs, intercepts, *columns, fit.labels.classes])


def path(X: Any, y: Any, *, Cs: int | ArrayLike = 10, sample_weight: Any = None, **options: Any) -> Path:
    """Softmax regression for many strengths of the penalty, each fit started from the one before.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n, m)
    y : array-like of shape (n,) or (n, c)
    Cs : int or array-like, default 10
        Strengths, or how many from 1e-4 to 1e4.
    sample_weight : array-like of shape (n,), optional
    **options
        Parameters of `SoftmaxRegression`, such as l1_ratio, tol, standardize.

    Returns
    -------
    Path
        With Cs, coefs (k, c, m), intercepts (k, c), n_iter, optimality, duality_gap, converged and classes.

    Raises
    ------
    ValueError
        If something is wrong with an option or the data.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> import fastsoftmax as fs
    >>> found = fs.path(*load_iris(return_X_y=True), Cs=[0.1, 1.0])
    >>> found.coefs.shape, bool(found.converged.all())
    ((2, 3, 4), True)
    """
    taken = {"C", "penalty", "warm_start", "n_jobs"} & set(options)
    if taken:
        raise TypeError(f"path takes Cs and starts each fit from the last one: it has no {', '.join(sorted(taken))}")
    values, estimator = strengths(Cs), SoftmaxRegression(**options)
    estimator._validate_params()
    l1_ratio = estimator._check_parameters().l1_ratio
    X, y, sample_weight = estimator._checked(X, y, sample_weight)
    with Verbose(estimator.verbose):
        found = _follow([Fit(estimator, as_design(X), Labels(y), sample_weight)], values, l1_ratio)[0]
    _warn(found.converged, estimator.max_iter)
    return found


def _warn(converged: Array, max_iter: int) -> None:
    if not np.all(converged):
        count = np.size(converged) - int(np.sum(converged))
        text = f"{count} of {np.size(converged)} fits failed to converge: increase max_iter={max_iter} or tol"
        warnings.warn(text, ConvergenceWarning, stacklevel=3)


class SoftmaxRegressionCV(SoftmaxClassifier):
    """Softmax regression whose strength is chosen by cross-validation; as scikit-learn's `LogisticRegressionCV`.

    Parameters
    ----------
    Cs : int or array-like, default 10
        Strengths, or how many from 1e-4 to 1e4.
    l1_ratios : array-like, default (0.0,)
    fit_intercept : bool, default True
    cv : int, splitter or iterable, optional
        By default 5 stratified folds.
    scoring : str or callable, optional
        By default the accuracy.
    solver, tol, max_iter, class_weight, verbose, label_smoothing, standardize
        As in `SoftmaxRegression`.
    refit : bool, default True
        Fit all rows at the best mean score; else coefficients are the means over folds of each fold's best.

    Attributes
    ----------
    C_, l1_ratio_ : float
        The best; with refit=False the means over folds of each fold's best.
    Cs_, l1_ratios_ : ndarray
    scores_ : ndarray of shape (folds, l1_ratios, Cs)
    coefs_paths_ : ndarray of shape (folds, l1_ratios, Cs, c, m + 1)
        The intercept last, if there is one; one row for two classes.
    converged_ : bool
        Whether all fits of folds were.
    n_iter_ : ndarray of shape (folds, l1_ratios, Cs)
    coef_, intercept_, classes_, n_features_in_, feature_names_in_
        As in `SoftmaxRegression`.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from fastsoftmax import SoftmaxRegressionCV
    >>> model = SoftmaxRegressionCV(Cs=5, cv=3).fit(*load_iris(return_X_y=True))
    >>> model.scores_.shape
    (3, 1, 5)
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "Cs": [Interval(Integral, 1, None, closed="left"), "array-like"],
        "l1_ratios": ["array-like"],
        "fit_intercept": ["boolean"],
        "cv": ["cv_object"],
        "scoring": [str, callable, None],
        "solver": [StrOptions(NAMES)],
        "tol": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "verbose": ["verbose"],
        "refit": ["boolean"],
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
        "standardize": ["boolean"],
    }

    def __init__(
        self,
        *,
        Cs: int | ArrayLike = 10,
        l1_ratios: ArrayLike = (0.0,),
        fit_intercept: bool = True,
        cv: Any = None,
        scoring: Any = None,
        solver: str = "auto",
        tol: float = 1e-4,
        max_iter: int = 1000,
        class_weight: Any = None,
        verbose: int = 0,
        refit: bool = True,
        label_smoothing: float = 0.0,
        standardize: bool = False,
    ) -> None:
        self.Cs, self.l1_ratios, self.fit_intercept, self.cv, self.scoring = Cs, l1_ratios, fit_intercept, cv, scoring
        self.solver, self.tol, self.max_iter, self.class_weight = solver, tol, max_iter, class_weight
        self.verbose, self.refit, self.label_smoothing, self.standardize = verbose, refit, label_smoothing, standardize

    def _estimator(self, **changes: Any) -> SoftmaxRegression:
        names = ("fit_intercept", "solver", "tol", "max_iter", "label_smoothing", "standardize")
        options = {name: getattr(self, name) for name in names}
        return SoftmaxRegression(**options, class_weight=self._class_weight, **changes)

    @_fit_context(prefer_skip_nested_validation=True)  # type: ignore[untyped-decorator]
    def fit(self, X: Any, y: Any, sample_weight: Any = None, *, groups: Any = None) -> "SoftmaxRegressionCV":
        """Score all strengths on all folds, and fit at the best.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n, m)
        y : array-like of shape (n,)
        sample_weight : array-like of shape (n,), optional
            For fits and scores.
        groups : array-like of shape (n,), optional
            For the splitter.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If something is wrong with a parameter or the data, or a fold lacks a class.
        """
        with self._unchanged_if_refused(), Verbose(self.verbose):
            return self._fit(*self._checked(X, y, sample_weight), groups)

    def _fit(self, X: Any, y: Array, sample_weight: Array | None, groups: Any) -> "SoftmaxRegressionCV":
        labels, Cs = Labels(y), strengths(self.Cs)
        ratios = np.asarray(self.l1_ratios, np.float64)
        if ratios.ndim != 1 or len(ratios) == 0 or not ((ratios >= 0) & (ratios <= 1)).all():
            raise ValueError(f"l1_ratios must be a list of numbers from 0 to 1, got {self.l1_ratios!r}")
        if labels.soft:
            raise ValueError("cross-validation needs labels, got probabilities of shape " + str(np.shape(y)))
        for ratio in ratios:
            Penalty("deprecated", float(ratio), 1.0, self.solver)
        self._class_weight = self.class_weight
        if self.class_weight == "balanced":  # by all rows, as in scikit-learn, not by those of a fold
            each = compute_class_weight("balanced", classes=labels.classes, y=y, sample_weight=sample_weight)
            self._class_weight = dict(zip(labels.classes, each, strict=True))
        splits = list(check_cv(self.cv, y, classifier=True).split(X, y, groups))
        fits: list[Fit] = []
        for train, _ in splits:
            fits.append(self._fold(X[train], y[train], sample_weight, train, labels, fits))
        paths = [*zip(*(_follow(fits, Cs, float(q)) for q in ratios), strict=True)]
        self.classes_, self.Cs_, self.l1_ratios_ = labels.classes, Cs, ratios
        self.scores_ = self._scores(X, y, sample_weight, splits, paths)
        both = [[np.concatenate([p.coefs, p.intercepts[..., None]], 2) for p in row] for row in paths]
        self.coefs_paths_ = np.array(both)[..., : X.shape[1] + self.fit_intercept]
        self.n_iter_ = np.stack([np.stack([p.n_iter for p in row]) for row in paths])
        converged = np.stack([np.stack([p.converged for p in row]) for row in paths])
        self._settle(X, y, sample_weight, paths)
        self.converged_ = bool(converged.all())
        _warn(converged, self.max_iter)
        return self

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The score by `scoring`.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n, m)
        y : array-like of shape (n,)
        sample_weight : array-like of shape (n,), optional

        Returns
        -------
        float
        """
        unmasked(y, "y")
        unmasked(sample_weight, "sample_weight")
        scorer = get_scorer("accuracy" if self.scoring is None else self.scoring)
        return float(scorer(self, X, y, **({} if sample_weight is None else {"sample_weight": sample_weight})))

    def _fold(self, X: Any, y: Array, weight: Array | None, rows: Array, labels: Labels, others: list[Fit]) -> Fit:
        missing = np.setdiff1d(labels.classes, y).tolist()
        if missing:
            raise ValueError(f"a fold has no row of the classes {missing}: use fewer folds, or stratified ones")
        weight = None if weight is None else weight[rows]
        return Fit(self._estimator(), as_design(X), Labels(y), weight, others[0] if others else None)

    def _scores(self, X: Any, y: Array, weight: Array | None, splits: Any, paths: list[tuple[Path, ...]]) -> Array:
        scorer = get_scorer("accuracy" if self.scoring is None else self.scoring)
        shape = len(splits), len(self.l1_ratios_), len(self.Cs_)
        scores, model = np.zeros(shape), clone(self._estimator())
        model.classes_, model.n_features_in_ = self.classes_, X.shape[1]
        for f, q, i in np.ndindex(shape):
            test = splits[f][1]
            model.coef_, model.intercept_ = paths[f][q].coefs[i], paths[f][q].intercepts[i]
            extra = {} if weight is None else {"sample_weight": weight[test]}
            scores[f, q, i] = scorer(model, X[test], y[test], **extra)
        return scores

    def _settle(self, X: Any, y: Array, weight: Array | None, paths: list[tuple[Path, ...]]) -> None:
        """coef_ and intercept_, of a fit to all rows or as a mean over folds."""
        shape = self.scores_.shape[1:]
        if self.refit:
            q, i = np.unravel_index(int(self.scores_.mean(0).argmax()), shape)
            self.C_, self.l1_ratio_ = float(self.Cs_[i]), float(self.l1_ratios_[q])
            best = self._estimator(C=self.C_, l1_ratio=self.l1_ratio_).fit(X, y, weight)
            self.coef_, self.intercept_ = best.coef_, best.intercept_
            self.optimality_, self.duality_gap_ = best.optimality_, best.duality_gap_
            return
        each = [np.unravel_index(int(scores.argmax()), shape) for scores in self.scores_]
        self.C_ = float(np.mean([self.Cs_[i] for _, i in each]))
        self.l1_ratio_ = float(np.mean([self.l1_ratios_[q] for q, _ in each]))
        self.coef_ = np.mean([paths[f][q].coefs[i] for f, (q, i) in enumerate(each)], axis=0)
        self.intercept_ = np.mean([paths[f][q].intercepts[i] for f, (q, i) in enumerate(each)], axis=0)
        for name in ("optimality_", "duality_gap_"):  # of an earlier fit
            self.__dict__.pop(name, None)
