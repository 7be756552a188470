"""Strengths of the penalty: which are tried, from where each fit starts, and how each is scored."""

import inspect
import warnings
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import clone
from sklearn.exceptions import ConvergenceWarning
from sklearn.metrics import get_scorer, make_scorer

from fastsoftmax.estimators.fitting import Fit
from fastsoftmax.estimators.rows import reads_as_it_is
from fastsoftmax.solvers import Outcome

Array = NDArray[Any]
SPANS = {"grid": (-4, 4, 10), "peak": (-6, 6, 7)}  # exponents of 10 of the first and the last strength; how many
RESOLUTION = 1 / 8  # of a decade
CLOSEST = 1e-3  # of logarithms: beyond strengths nearer than that a polynomial leads anywhere
FURTHEST = 2.0  # times the way between the strengths that a polynomial goes beyond them


def strengths(Cs: int | ArrayLike | None, search: str = "grid") -> NDArray[np.float64]:
    """Those to begin with: as given, or so many, evenly spaced in their logarithms.

    A number means from 1e-4 to 1e4, as in scikit-learn, or with "peak" from 1e-6 to 1e6. None is 10, or 7.
    """
    if search not in SPANS:
        raise ValueError(f'search must be "grid" or "peak", got {search!r}')
    low, high, count = SPANS[search]
    Cs = count if Cs is None else Cs
    if isinstance(Cs, (int, np.integer)) and not isinstance(Cs, bool):
        values = np.logspace(low, high, max(int(Cs), 0))
    else:
        values = np.asarray(Cs, np.float64)
    if values.ndim != 1 or len(values) == 0 or not (values > 0).all():
        raise ValueError(f"Cs must be a positive number of strengths, or a list of positive strengths, got {Cs!r}")
    if search == "grid":
        return values
    values = np.unique(values)
    if len(values) < 2 or not np.isfinite(values).all():
        raise ValueError(f"search='peak' goes between strengths: Cs must be two or more finite ones, got {Cs!r}")
    return values


def scorer_of(scoring: Any, classes: Array) -> Any:
    """scikit-learn's scorer, by default of the accuracy, told of all classes: rows to score may lack some."""
    scorer = get_scorer("accuracy" if scoring is None else scoring)
    function = getattr(scorer, "_score_func", None)
    parameters = inspect.signature(function).parameters if function is not None else {}
    if "labels" not in parameters:
        return scorer
    known = {"labels": classes}
    if len(classes) == 2 and "pos_label" in parameters:
        known["pos_label"] = classes[1]
    return make_scorer(
        function, greater_is_better=scorer._sign == 1, response_method=scorer._response_method, **known | scorer._kwargs
    )


class Judge:
    """Scores outcomes on rows that were not fitted: what a scorer says of the estimator that has them."""

    def __init__(self, scoring: Any, estimator: Any, classes: Array, X: Any, y: Array, weight: Array | None) -> None:
        self.scorer, self.model = scorer_of(scoring, classes), clone(estimator)
        self.model.classes_, self.model.n_features_in_ = classes, X.m if reads_as_it_is(X) else X.shape[1]
        self.X, self.y, self.extra = X, y, {} if weight is None else {"sample_weight": weight}

    def __call__(self, C: float, l1_ratio: float, outcome: Outcome) -> float:
        self.model.C, self.model.l1_ratio = C, l1_ratio
        self.model.coef_, self.model.intercept_ = outcome.coef, outcome.intercept
        return float(self.scorer(self.model, self.X, self.y, **self.extra))


class Walk:
    """Fits of the same rows at one l1_ratio, at strengths that may come in rounds, and their scores."""

    def __init__(self, fit: Fit, l1_ratio: float, judge: Judge | None = None) -> None:
        self.fit, self.l1_ratio, self.judge = fit, l1_ratio, judge
        self.outcomes: dict[float, Outcome] = {}
        self.scores: dict[float, float] = {}

    def visit(self, C: float) -> None:
        """Fits there, if it has not yet."""
        if C not in self.outcomes:
            self.outcomes[C] = self.fit.run(C, self.l1_ratio, self._starts(C))

    def judged(self, Cs: Array) -> list[float]:
        """Scores of strengths that were visited; none without a judge."""
        if self.judge is None:
            return []
        for C in map(float, Cs):
            if C not in self.scores:
                self.scores[C] = self.judge(C, self.l1_ratio, self.outcomes[C])
        return [self.scores[C] for C in Cs]

    def _starts(self, C: float) -> list[Array]:
        """Where the fit with the next stronger penalty ended, else the nearest; and where the last two or three lead.

        That is by a polynomial in log C: at 45 strengths of embeddings fits then took a third less iterations.
        """
        if not self.outcomes:
            return []
        stronger = sorted(known for known in self.outcomes if known < C) or [min(self.outcomes)]
        if not len(self.outcomes[stronger[-1]].theta):
            return []
        starts, logs = [self.outcomes[stronger[-1]].theta], np.log(stronger)
        if self.l1_ratio or np.diff(logs).min(initial=1.0) < CLOSEST:  # a polynomial has no weights that are 0
            return starts
        for k in (2, 3):
            if k <= len(logs) and np.log(C) - logs[-1] <= FURTHEST * (logs[-1] - logs[-k]):
                starts.append(self._extrapolated(stronger[-k:], C))
        return starts

    def _extrapolated(self, known: list[float], C: float) -> Array:
        """Lagrange's polynomial in log C through the outcomes of some strengths."""
        logs, x, theta = np.log(known), np.log(C), np.zeros_like(self.outcomes[known[0]].theta)
        for i, strength in enumerate(known):
            others = np.delete(logs, i)
            theta += np.prod((x - others) / (logs[i] - others)) * self.outcomes[strength].theta
        return theta

    def column(self, name: str, Cs: Array) -> Array:
        """One attribute of the outcomes."""
        return np.array([getattr(self.outcomes[C], name) for C in Cs])


def explore(walks: list[list[Walk]], Cs: Array, search: str) -> tuple[Array, Array]:
    """The strengths that were tried, Cs and with "peak" more of them around the best, and scores (folds, ratios, k).

    `walks` holds a list of folds for each l1_ratio; without judges there are no scores, of shape (folds, ratios, 0).
    """
    while True:
        for folds in walks:
            for C in np.unique(Cs):
                for walk in folds:  # they take turns, for they share factors
                    walk.visit(float(C))
        scores = np.array([[walk.judged(Cs) for walk in ratios] for ratios in zip(*walks, strict=True)], np.float64)
        new = np.setdiff1d(between(Cs, best(scores.sum(0), Cs)[1]), Cs) if search == "peak" else Cs[:0]
        if not len(new):
            return Cs, scores
        Cs = np.sort(np.concatenate([Cs, new]))


def best(scores: Array, Cs: Array) -> tuple[int, int]:
    """Where (l1_ratio, C) the score is highest; of equals the strongest penalty, then the first l1_ratio."""
    if np.isnan(scores).all():
        raise ValueError("scoring gave nan for every strength: choose another scoring, or rows for which it is defined")
    order = np.argsort(Cs, kind="stable")
    i, q = np.unravel_index(int(np.nanargmax(scores[:, order].T)), scores.T.shape)
    return int(q), int(order[i])


def between(Cs: Array, i: int) -> Array:
    """Half way, in logarithms, from Cs[i] to its neighbours in ascending Cs; none where it is fine enough already."""
    logs = np.log10(Cs)
    gaps = {j: abs(logs[j] - logs[i]) for j in (i - 1, i + 1) if 0 <= j < len(Cs)}
    return np.array([10 ** ((logs[i] + logs[j]) / 2) for j, gap in gaps.items() if gap > 1.001 * RESOLUTION])


def warn_unless(converged: Array, max_iter: int) -> None:
    """Warns of fits that did not converge."""
    if not np.all(converged):
        count = np.size(converged) - int(np.sum(converged))
        text = f"{count} of {np.size(converged)} fits failed to converge: increase max_iter={max_iter} or tol"
        warnings.warn(text, ConvergenceWarning, stacklevel=3)
