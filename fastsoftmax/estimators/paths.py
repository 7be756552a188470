"""A path: fits of one data set over strengths of the penalty, and which of them rows held out like best."""

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastsoftmax.estimators.fitting import Fit
from fastsoftmax.estimators.labels import Labels
from fastsoftmax.estimators.progress import Verbose
from fastsoftmax.estimators.regression import SoftmaxRegression
from fastsoftmax.estimators.rows import is_parted, rows_of, together
from fastsoftmax.estimators.strengths import Judge, Walk, best, explore, strengths, warn_unless

Array = NDArray[Any]
Rows = tuple[Any, Array, Array | None]  # X, y, sample_weight


class Path(NamedTuple):
    """Fits over strengths C, in the order in which they were given, or with search="peak" ascending."""

    Cs: Array  # (k,)
    coefs: Array  # (k, c, m), or (k, 1, m) for two classes
    intercepts: Array  # (k, c) or (k, 1)
    n_iter: Array  # (k,)
    optimality: Array  # (k,)
    duality_gap: Array  # (k,)
    converged: Array  # (k,)
    classes: Array  # (c,)
    scores: Array  # (k,), or (0,) without rows to score
    best_index: int | None  # into Cs: the highest score, and of equals the strongest penalty
    best_C: float | None  # noqa: N815 - C as everywhere
    model: SoftmaxRegression | None  # with refit=True: fitted to all rows at best_C


def path(
    X: Any,
    y: Any = None,
    *,
    Cs: int | ArrayLike | None = None,
    sample_weight: Any = None,
    X_val: Any = None,
    y_val: Any = None,
    sample_weight_val: Any = None,
    scoring: Any = None,
    search: str = "grid",
    refit: bool = False,
    **options: Any,
) -> Path:
    """Softmax regression for many strengths of the penalty, and which is best on rows held out.

    Fits go from the strongest penalty to the weakest, each from where the one with the next stronger penalty ended.

    Parameters
    ----------
    X : {array-like, sparse matrix} of shape (n, m), or Parts
    y : array-like of shape (n,) or (n, c)
        Parts may have their own.
    Cs : int or array-like, optional
        Strengths, or how many from 1e-4 to 1e4, evenly spaced in their logarithms; by default 10. With search="peak"
        the coarse ones, two or more, or how many from 1e-6 to 1e6; by default 7.
    sample_weight : array-like of shape (n,), optional
    X_val : {array-like, sparse matrix} of shape (n_val, m), or Parts, optional
        Rows to score, which are not fitted.
    y_val : array-like of shape (n_val,), optional
        Their labels, of classes that y has.
    sample_weight_val : array-like of shape (n_val,), optional
        For the scores.
    scoring : str or callable, optional
        A scorer of scikit-learn; by default the accuracy. As in scikit-learn 1.9, one that takes `labels` is told of
        all classes.
    search : {"grid", "peak"}, default "grid"
        "peak" fits the coarse strengths, then, half way in logarithms, between the best and its neighbours, until
        these are no more than 1/8 of a decade apart. It never leaves the range of the coarse ones.
    refit : bool, default False
        Fit the rows of X and X_val together, as a copy, at the best strength.
    **options
        Parameters of `SoftmaxRegression`, such as l1_ratio, tol, standardize.

    Returns
    -------
    Path
        With Cs, coefs (k, c, m), intercepts (k, c), n_iter, optimality, duality_gap, converged and classes. With X_val
        also scores (k,), best_index and best_C, of equal scores the one of the strongest penalty; else they are empty
        and None. With refit=True also model, a fitted `SoftmaxRegression`, else None.

    Raises
    ------
    ValueError
        If something is wrong with an option or the data, y_val has a class that y has not, or all scores are nan.
    TypeError
        If there is no such option.

    Notes
    -----
    "peak" is the search that linear probes of CLIP use (Radford et al. 2021, "Learning transferable visual models from
    natural language supervision", appendix A.3), whose default are its 7 strengths from 1e-6 to 1e6.

    Examples
    --------
    >>> import numpy as np
    >>> from sklearn.datasets import load_iris
    >>> import fastsoftmax as fs
    >>> X, y = load_iris(return_X_y=True)
    >>> found = fs.path(X, y, Cs=[0.1, 1.0])
    >>> found.coefs.shape, bool(found.converged.all())
    ((2, 3, 4), True)

    The protocol of DINOv3's linear probes: the best of 45 strengths on validation data, and a fit of both parts.

    >>> part = dict(X_val=X[1::2], y_val=y[1::2], refit=True)
    >>> found = fs.path(X[::2], y[::2], Cs=10 ** np.linspace(-6, 5, 45), **part)
    >>> found.model.C == found.best_C, len(found.scores)
    (True, 45)

    That of CLIP's: 7 strengths, then around the best up to 8 a decade.

    >>> found = fs.path(X[::2], y[::2], search="peak", **part)
    >>> found.model.C == found.best_C, len(found.scores) <= 15
    (True, True)
    """
    taken = {"C", "penalty", "warm_start", "n_jobs"} & set(options)
    if taken:
        raise TypeError(f"path takes Cs and starts each fit from the last one: it has no {', '.join(sorted(taken))}")
    values, estimator = strengths(Cs, search), SoftmaxRegression(**options)
    estimator._validate_params()
    l1_ratio = estimator._check_parameters().l1_ratio
    held_out = X_val is not None or y_val is not None
    if not held_out:
        needing = {"scoring": scoring is not None, "sample_weight_val": sample_weight_val is not None, "refit": refit}
        _refuse([name for name, asked in needing.items() if asked] + ["search='peak'"] * (search == "peak"))
    train = estimator._checked(X, y, sample_weight)
    labels = Labels(train[1])
    val = _validation(estimator, labels, (X_val, y_val, sample_weight_val)) if held_out else None
    judge = Judge(scoring, estimator, labels.classes, *val) if val else None
    both = together([train[0], val[0]]) if val and refit else None  # before all fits, should they not go together
    with Verbose(estimator.verbose):
        walk = Walk(Fit(estimator, rows_of(train[0]), labels, train[2]), l1_ratio, judge)
        values, scores = explore([[walk]], values, search)
    found = _collect(walk, values, scores[0, 0])
    if val and refit:
        found = found._replace(model=_refitted(estimator, both, train, val, labels, found.best_C))
    warn_unless(found.converged, estimator.max_iter)
    return found


def _refuse(needing: list[str]) -> None:
    if needing:
        raise ValueError(f"{', '.join(needing)} needs rows to score: pass X_val and y_val")


def _validation(estimator: SoftmaxRegression, labels: Labels, rows: Rows) -> Rows:
    """Checked as X and y are, with labels of the classes that y has."""
    if rows[0] is None or (rows[1] is None and not is_parted(rows[0])):
        raise ValueError("X_val and y_val go together: pass both, or neither")
    X, y, weight = estimator._checked(*rows, reset=False)
    if y.ndim != 1:
        raise ValueError(f"y_val must be labels of shape (n_val,), got shape {y.shape}")
    strange = sorted(set(y.tolist()) - set(labels.classes.tolist()), key=str)
    if strange:
        raise ValueError(f"y_val has classes that y does not have: {strange}. Leave these rows out")
    return X, labels.classes[np.searchsorted(labels.classes, y)], weight


def _collect(walk: Walk, Cs: Array, scores: Array) -> Path:
    names = ("coef", "intercept", "n_iter", "optimality", "gap", "converged")
    columns: list[Any] = [walk.column(name, Cs) for name in names]
    index = best(scores[None], Cs)[1] if len(scores) else None
    strength = None if index is None else float(Cs[index])
    return Path._make([Cs, *columns, walk.fit.labels.classes, scores, index, strength, None])


def _refitted(
    estimator: SoftmaxRegression, both: Any, train: Rows, val: Rows, labels: Labels, C: float | None
) -> SoftmaxRegression:
    """Fitted to both; y may be probabilities."""
    y = np.eye(len(labels.classes))[np.searchsorted(labels.classes, val[1])] if labels.soft else val[1]
    weights = [np.ones(len(part[1])) if part[2] is None else part[2] for part in (train, val)]
    weight = None if train[2] is None and val[2] is None else np.concatenate(weights)
    model = SoftmaxRegression(**estimator.get_params(deep=False) | {"C": C})
    model.fit(both, np.concatenate([train[1], y]), weight)
    if hasattr(estimator, "feature_names_in_"):
        model.feature_names_in_ = estimator.feature_names_in_
    return model
