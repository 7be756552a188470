"""Cross-validation: the strength that scores best on folds that were not fitted."""

import warnings
from collections.abc import Iterator
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.model_selection import check_cv
from sklearn.utils._param_validation import Hidden, Interval, StrOptions

from fastsoftmax.data.layouts import as_design
from fastsoftmax.estimators.base import SoftmaxClassifier, checking_parameters
from fastsoftmax.estimators.fitting import Fit
from fastsoftmax.estimators.labels import Labels
from fastsoftmax.estimators.penalty import NAMES
from fastsoftmax.estimators.progress import Verbose
from fastsoftmax.estimators.regression import SoftmaxRegression
from fastsoftmax.estimators.rows import is_parted, reads_as_it_is
from fastsoftmax.estimators.strengths import SPANS, Judge, Walk, best, explore, scorer_of, strengths, warn_unless

Array = NDArray[Any]


class SoftmaxRegressionCV(SoftmaxClassifier):
    """Softmax regression whose strength is chosen by cross-validation; as scikit-learn's `LogisticRegressionCV`.

    Parameters
    ----------
    Cs : int or array-like, optional
        Strengths, or how many from 1e-4 to 1e4, evenly spaced in their logarithms; by default 10. With search="peak"
        the coarse ones, two or more, or how many from 1e-6 to 1e6; by default 7.
    l1_ratios : array-like, default (0.0,)
    fit_intercept : bool, default True
    cv : int, splitter or iterable, optional
        By default 5 stratified folds.
    dual : bool, default False
        Only False.
    penalty : {"l1", "l2", "elasticnet"}, optional
        Deprecated as in scikit-learn 1.8: use Cs and l1_ratios.
    scoring : str or callable, optional
        By default the accuracy. As in scikit-learn 1.9, a scorer that takes `labels` is told of all classes.
    solver, tol, max_iter, class_weight, verbose, label_smoothing, standardize
        As in `SoftmaxRegression`.
    n_jobs : int, optional
        Accepted, without effect: each fit uses all threads, see `fastsoftmax.set_num_threads`.
    refit : bool, default True
        Fit all rows at the best mean score; else coefficients are the means over folds of each fold's best.
    intercept_scaling : float, default 1
        Only 1.
    random_state : optional
        Accepted, and not needed: nothing is random but the splitter, which has its own.
    use_legacy_attributes : bool, default False
        Attributes in the shapes that scikit-learn 1.8 had: `coefs_paths_` and `scores_` are dicts by class, `C_` and
        `l1_ratio_` arrays, and strengths come before l1_ratios, which have no axis if they are None.
    search : {"grid", "peak"}, default "grid"
        "peak" fits the coarse strengths, then, half way in logarithms, between the best and its neighbours, until
        these are no more than 1/8 of a decade apart; see `path`. All folds and l1_ratios have the same strengths.

    Attributes
    ----------
    `C_`, `l1_ratio_` : float
        The best, and of equal scores the strongest penalty; with refit=False the means over folds of each fold's best.
    Cs_, l1_ratios_ : ndarray
        With search="peak" all strengths that were tried, ascending.
    scores_ : ndarray of shape (folds, l1_ratios, Cs)
    coefs_paths_ : ndarray of shape (folds, l1_ratios, Cs, c, m + 1)
        The intercept last, if there is one; one row for two classes.
    converged_ : bool
        Whether all fits of folds were.
    n_iter_ : ndarray of shape (folds, l1_ratios, Cs)
    coef_, intercept_, classes_, n_features_in_, feature_names_in_
        As in `SoftmaxRegression`.

    Notes
    -----
    A fold may lack classes. Their optimal intercept is -inf: fits have coefficients 0 there, and a finite intercept so
    low that it changes F by less than a tenth of tol. Where a fold has one class alone, all coefficients are 0 and it
    is always predicted. Rows of classes that were not fitted cost what this intercept and tol say under
    "neg_log_loss", as in scikit-learn, where it depends on the solver and its iterations.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from fastsoftmax import SoftmaxRegressionCV
    >>> model = SoftmaxRegressionCV(Cs=5, cv=3).fit(*load_iris(return_X_y=True))
    >>> model.scores_.shape
    (3, 1, 5)

    CLIP's search of a strength, by the mean score of the folds.

    >>> model = SoftmaxRegressionCV(search="peak", cv=3).fit(*load_iris(return_X_y=True))
    >>> len(model.Cs_) <= 15, model.C_ in model.Cs_
    (True, True)
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "Cs": [Interval(Integral, 1, None, closed="left"), "array-like", None],
        "l1_ratios": ["array-like", None],
        "fit_intercept": ["boolean"],
        "cv": ["cv_object"],
        "dual": ["boolean"],
        "penalty": [StrOptions({"l1", "l2", "elasticnet"}), Hidden(StrOptions({"deprecated"}))],
        "scoring": [str, callable, None],
        "solver": [StrOptions(NAMES)],
        "tol": [Interval(Real, 0, None, closed="left")],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "n_jobs": [None, Integral],
        "verbose": ["verbose"],
        "refit": ["boolean"],
        "intercept_scaling": [Interval(Real, 0, None, closed="neither")],
        "random_state": ["random_state"],
        "use_legacy_attributes": ["boolean"],
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
        "standardize": ["boolean"],
        "search": [StrOptions(set(SPANS))],
    }

    def __init__(
        self,
        *,
        Cs: int | ArrayLike | None = None,
        l1_ratios: ArrayLike | None = (0.0,),
        fit_intercept: bool = True,
        cv: Any = None,
        dual: bool = False,
        penalty: str = "deprecated",
        scoring: Any = None,
        solver: str = "auto",
        tol: float = 1e-4,
        max_iter: int = 1000,
        class_weight: Any = None,
        n_jobs: int | None = None,
        verbose: int = 0,
        refit: bool = True,
        intercept_scaling: float = 1,
        random_state: Any = None,
        use_legacy_attributes: bool = False,
        label_smoothing: float = 0.0,
        standardize: bool = False,
        search: str = "grid",
    ) -> None:
        self.Cs, self.l1_ratios, self.fit_intercept, self.cv, self.scoring = Cs, l1_ratios, fit_intercept, cv, scoring
        self.dual, self.penalty, self.solver, self.tol, self.max_iter = dual, penalty, solver, tol, max_iter
        self.class_weight, self.n_jobs, self.verbose, self.refit = class_weight, n_jobs, verbose, refit
        self.intercept_scaling, self.random_state = intercept_scaling, random_state
        self.use_legacy_attributes, self.search = use_legacy_attributes, search
        self.label_smoothing, self.standardize = label_smoothing, standardize

    def _estimator(self, class_weight: Any = None, **changes: Any) -> SoftmaxRegression:
        names = ["fit_intercept", "solver", "tol", "max_iter", "label_smoothing", "standardize"]
        names += ["dual", "intercept_scaling"]  # one value each, which it checks
        options = {name: getattr(self, name) for name in names}
        return SoftmaxRegression(**options, class_weight=class_weight, **changes)

    @checking_parameters
    def fit(self, X: Any, y: Any = None, sample_weight: Any = None, *, groups: Any = None) -> "SoftmaxRegressionCV":
        """Score all strengths on all folds, and fit at the best.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n, m), or Parts
            Folds are of rows, wherever these are.
        y : array-like of shape (n,)
            Parts may have their own.
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
            If something is wrong with a parameter or the data, or all scores are nan.
        """
        ratios = self._ratios()
        for ratio in ratios:
            self._estimator(l1_ratio=float(ratio))._check_parameters()
        with self._unchanged_if_refused(), Verbose(self.verbose):
            return self._fit(*self._checked(X, y, sample_weight), groups, ratios)

    def _ratios(self) -> Array:
        """What l1_ratios and penalty ask for, with scikit-learn's warnings."""
        given, own = self.l1_ratios, {"l1": (1.0,), "l2": (0.0,)}.get(self.penalty)
        if self.penalty != "deprecated":
            warnings.warn(
                "'penalty' was deprecated in version 1.8 and will be removed in 1.10. Use l1_ratios=(0,) instead of "
                "penalty='l2', l1_ratios=(1,) instead of penalty='l1', l1_ratios between 0 and 1 instead of "
                "penalty='elasticnet', and Cs=(np.inf,) instead of penalty=None.",
                FutureWarning,
                stacklevel=4,
            )
            if own is not None and given is not None and tuple(np.ravel(given)) not in ((0.0,), own):
                text = f"l1_ratios parameter is only used when penalty is 'elasticnet'. Got (penalty={self.penalty})"
                warnings.warn(text, UserWarning, stacklevel=4)
        elif given is None:
            text = "'l1_ratios=None' was deprecated in version 1.8 and will trigger an error in 1.10. "
            warnings.warn(text + "Use an array-like with values in [0, 1] instead.", FutureWarning, stacklevel=4)
            own = (0.0,)
        ratios = np.asarray(given if own is None else own, np.float64)
        if ratios.ndim != 1 or len(ratios) == 0 or not ((ratios >= 0) & (ratios <= 1)).all():
            raise ValueError(f"l1_ratios must be a list of numbers from 0 to 1, got {self.l1_ratios!r}")
        return ratios

    def _fit(self, X: Any, y: Array, sample_weight: Array | None, groups: Any, ratios: Array) -> "SoftmaxRegressionCV":
        labels, Cs = Labels(y), strengths(self.Cs, self.search)
        if labels.soft:
            raise ValueError("cross-validation needs labels, got probabilities of shape " + str(np.shape(y)))
        class_weight = self.class_weight
        if class_weight == "balanced":  # by all rows, as in scikit-learn, not by those of a fold
            each = labels.class_weights(class_weight, sample_weight)
            class_weight = dict(zip(labels.classes, each, strict=True))
        folds = self._folds(X, y, sample_weight, groups, labels, self._estimator(class_weight))
        walks = [[Walk(fit, float(ratio), judge) for fit, judge in folds] for ratio in ratios]
        self.classes_, self.l1_ratios_ = labels.classes, ratios
        self.scores_: Any
        self.Cs_, self.scores_ = explore(walks, Cs, self.search)
        self._collect(walks, self.n_features_in_)
        if self.refit:
            self._fit_all(X, y, sample_weight, class_weight)
        else:
            self._average()
        if self.use_legacy_attributes:
            self._reshape()
        return self

    def _folds(
        self, X: Any, y: Array, weight: Array | None, groups: Any, labels: Labels, estimator: SoftmaxRegression
    ) -> list[tuple[Fit, Judge]]:
        """What fits the rows of each fold, and scores the others."""
        folds: list[tuple[Fit, Judge]] = []
        for train, test in self._splits(X, y, groups):
            weights = [None if weight is None else weight[rows] for rows in (train, test)]
            rows = X.rows(train) if reads_as_it_is(X) else as_design(X[train])
            fit = Fit(estimator, rows, Labels(y[train], labels.classes), weights[0])
            alike = (other for other, _ in folds if np.array_equal(other.active, fit.active))
            fit.sibling = next(alike, None)  # another set of classes would need another preconditioner
            held_out = X.rows(test) if reads_as_it_is(X) else X[test]
            folds.append((fit, Judge(self.scoring, estimator, labels.classes, held_out, y[test], weights[1])))
        return folds

    def _splits(self, X: Any, y: Array, groups: Any) -> Iterator[tuple[Array, Array]]:
        """Rows to fit and to score; of parts in ascending order."""
        placeholder = np.zeros(len(y)) if reads_as_it_is(X) else X  # splitters ask how many rows there are
        for pair in check_cv(self.cv, y, classifier=True).split(placeholder, y, groups):
            if not is_parted(X):
                yield pair
                continue
            train, test = (np.flatnonzero(part) if np.asarray(part).dtype == bool else np.sort(part) for part in pair)
            yield train, test

    def _collect(self, walks: list[list[Walk]], m: int) -> None:
        """What all fits found, by folds, l1_ratios and strengths."""

        def table(name: str) -> Array:
            return np.array([[walk.column(name, self.Cs_) for walk in folds] for folds in walks]).swapaxes(0, 1)

        both = np.concatenate([table("coef"), table("intercept")[..., None]], axis=-1)
        self.coefs_paths_: Any = both[..., : m + self.fit_intercept]
        self.n_iter_, converged = table("n_iter"), table("converged")
        self.converged_ = bool(converged.all())
        warn_unless(converged, self.max_iter)

    def _fit_all(self, X: Any, y: Array, weight: Array | None, class_weight: Any) -> None:
        """coef_ and intercept_ of all rows, at what is best by the mean over folds."""
        q, i = best(self.scores_.sum(0), self.Cs_)
        self.C_: Any = float(self.Cs_[i])
        self.l1_ratio_: Any = float(self.l1_ratios_[q])
        model = self._estimator(class_weight, C=self.C_, l1_ratio=self.l1_ratio_).fit(X, y, weight)
        self.coef_, self.intercept_ = model.coef_, model.intercept_
        self.optimality_, self.duality_gap_ = model.optimality_, model.duality_gap_

    def _average(self) -> None:
        """coef_ and intercept_ as means over folds, of what is best for each."""
        q, i = np.transpose([best(scores, self.Cs_) for scores in self.scores_])
        self.C_, self.l1_ratio_ = float(self.Cs_[i].mean()), float(self.l1_ratios_[q].mean())
        mean = self.coefs_paths_[np.arange(len(q)), q, i].mean(0)
        m = self.n_features_in_
        self.coef_, self.intercept_ = mean[:, :m], mean[:, m] if self.fit_intercept else np.zeros_like(mean[:, 0])
        for name in ("optimality_", "duality_gap_"):  # of an earlier fit
            self.__dict__.pop(name, None)

    def _reshape(self) -> None:
        """Attributes in the shapes of scikit-learn 1.8: by class, of two the second, and strengths before l1_ratios."""
        keys = self.classes_[1:] if len(self.classes_) == 2 else self.classes_
        paths = np.moveaxis(self.coefs_paths_, 3, 0).swapaxes(2, 3)
        scores, n_iter = self.scores_.swapaxes(1, 2), self.n_iter_.swapaxes(1, 2)
        if self.l1_ratios is None:
            paths, scores, n_iter = paths[..., 0, :], scores[..., 0], n_iter[..., 0]
        self.coefs_paths_ = dict(zip(keys, paths, strict=True))
        self.scores_, self.n_iter_ = {key: scores.copy() for key in keys}, n_iter[None]
        self.C_, self.l1_ratio_ = np.full(len(keys), self.C_), np.full(len(keys), self.l1_ratio_)

    def _score(self, X: Any, y: Any, weight: dict[str, Any]) -> float:
        return float(scorer_of(self.scoring, self.classes_)(self, X, y, **weight))

    def _score_parts(self, X: Any, y: Any, sample_weight: Any) -> float:
        if self.scoring is None:
            return super()._score_parts(X, y, sample_weight)
        rows, y, sample_weight = self._checked(X, y, sample_weight, reset=False)
        return self._score(rows, y, {} if sample_weight is None else {"sample_weight": sample_weight})
