"""What all estimators share: checks in scikit-learn's words, predictions, and the way to a SoftmaxModel."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from sklearn.base import BaseEstimator, _fit_context
from sklearn.linear_model._base import LinearClassifierMixin, SparseCoefMixin
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from fastsoftmax.data.design import Design
from fastsoftmax.data.examples import Examples
from fastsoftmax.data.gate import check_sparse, is_sparse, undistributed, unmasked
from fastsoftmax.data.layouts import as_array, as_design
from fastsoftmax.estimators.rows import (
    check_features,
    checked_design,
    checked_rows,
    each_part,
    is_parted,
    reads_as_it_is,
    score,
)
from fastsoftmax.functional.softmax import log_softmax, softmax
from fastsoftmax.model import SoftmaxModel, without_times
from fastsoftmax.objective.softmax import SoftmaxObjective

GLANCE = 1 << 14  # entries of X
BLOCK = 1 << 22  # logits at a time
Array = NDArray[Any]
Fit = TypeVar("Fit", bound=Callable[..., Any])


def _trusted(X: Any) -> Any:
    """Refuses what scikit-learn would not: masks it would ignore, and indices with which scipy would crash."""
    unmasked(undistributed(X), "X")
    if is_sparse(X):
        check_sparse(X)
    return X


def _dtypes(X: Any) -> list[Any]:
    """What X may be, the first of which anything else becomes: half precision float32, as in the functions."""
    try:  # a frame, pandas' or polars'
        common: Any = np.result_type(*{str(kind).lower() for kind in X.dtypes})
    except (AttributeError, TypeError, ValueError):
        common = getattr(X, "dtype", None)
    if isinstance(common, np.dtype) and common in (np.float16, np.float32):
        return [np.float32]
    stays = [np.uint8] if not hasattr(X, "dtypes") and common == np.uint8 else []
    return [np.float64, np.float32, *stays]


def checking_parameters(fit: Fit) -> Fit:
    """scikit-learn's decorator of a `fit`, which checks parameters by their constraints; types stay."""
    decorate: Callable[[Fit], Fit] = _fit_context(prefer_skip_nested_validation=True)
    return decorate(fit)


class SoftmaxClassifier(LinearClassifierMixin, SparseCoefMixin, BaseEstimator):  # type: ignore[misc]
    """What estimators that end with coef_, intercept_ and classes_ have in common."""

    coef_: Array
    intercept_: Array
    classes_: Array
    n_features_in_: int

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.sparse = True
        return tags

    @contextlib.contextmanager
    def _unchanged_if_refused(self) -> Iterator[None]:
        """Attributes that a call set go away again, and others come back, if it raises."""
        before = dict(vars(self))
        try:
            yield
        except BaseException:
            self.__dict__.clear()
            self.__dict__.update(before)
            raise

    def _checked(self, X: Any, y: Any, sample_weight: Any, reset: bool = True) -> tuple[Any, Any, Any]:
        """Checked, in scikit-learn's words; uint8 stays. Rows, as `Fit` takes them, of what is read as it is."""
        if reads_as_it_is(X):
            return checked_rows(self, X, y, sample_weight, reset)
        _trusted(X)
        unmasked(y, "y")
        unmasked(sample_weight, "sample_weight")
        shape = np.shape(np.asarray(y))
        X, y = validate_data(
            self, X, y, accept_sparse="csr", dtype=_dtypes(X), order="C", multi_output=len(shape) == 2 and shape[1] > 1,
            accept_large_sparse=True, reset=reset,
        )  # fmt: skip
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X, dtype=np.float64, ensure_non_negative=True)
        return X, y, sample_weight

    def decision_function(self, X: Any) -> Array:
        """Confidence scores, the logits of the classes.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n, m), or Parts

        Returns
        -------
        ndarray of shape (n, c), or (n,) for two classes

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If X has NaN, infinities, another number of features or other names of them.
        """
        if is_parted(X):
            return each_part(self, X, self.decision_function)
        if reads_as_it_is(X):
            logits = self._logits(self._validated(X))
            return logits[:, 1] if len(self.classes_) == 2 else logits
        _trusted(X)
        if is_sparse(X) and X.format != "csr":
            X = X.tocsr()
            check_sparse(X)
        return np.asarray(super().decision_function(X))

    def predict(self, X: Any) -> Array:
        """The most probable class of each row; of equals the first. Block by block: no (n, c) array is made.

        Logits are summed in another order than by `decision_function`: where two are equal but for rounding, the larger
        of its scores may be the other's.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n, m), or Parts

        Returns
        -------
        ndarray of shape (n,)
            Entries of `classes_`.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If X has NaN, infinities, another number of features or other names of them.
        """
        if is_parted(X):
            return each_part(self, X, self.predict)
        X, best = self._validated(X), np.zeros(0, np.int64)
        if self._multiplies(X):
            X, step = as_array(X) if isinstance(X, Design) else X, max(1, BLOCK // len(self.classes_))
            parts = [self._logits(X[start : start + step]).argmax(1) for start in range(0, X.shape[0], step)]
            best = np.concatenate([best, *parts])
        else:
            objective, coef, intercept = self._objective(X)
            best = objective.predict(coef, intercept)
        return np.asarray(self.classes_[best])

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """The accuracy: the share of rows, by weight, whose class is predicted; or what `scoring` says, where it is.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n, m), or Parts
        y : array-like of shape (n,)
            Parts may have their own.
        sample_weight : array-like of shape (n,), optional

        Returns
        -------
        float

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If X has NaN, infinities, another number of features or other names of them, or y does not fit it.
        """
        unmasked(y, "y")
        unmasked(sample_weight, "sample_weight")
        if is_parted(X):
            return self._score_parts(X, y, sample_weight)
        if y is None:
            raise ValueError(f"{type(self).__name__}.score requires y, which only Parts may have of their own")
        return float(self._score(X, y, {} if sample_weight is None else {"sample_weight": sample_weight}))

    def _score(self, X: Any, y: Any, weight: dict[str, Any]) -> float:
        return float(super().score(X, y, **weight))

    def _score_parts(self, X: Any, y: Any, sample_weight: Any) -> float:
        return score(self, X, y, sample_weight)

    def predict_proba(self, X: Any, *, out: Array | None = None) -> Array:
        """The probabilities of the classes.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n, m), or Parts
        out : ndarray of shape (n, c), optional
            Where they go, such as a memory-mapped file.

        Returns
        -------
        ndarray of shape (n, c)
            In the order of `classes_`; float32 where `coef_` is and X is not float64 or another integer than int8
            and uint8, else float64.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If X has NaN, infinities, another number of features or other names of them, or `out` does not fit.
        """
        if is_parted(X):
            return each_part(self, X, self.predict_proba, out)
        if out is not None:
            return self._proba_into(X, out)
        X = self._validated(X)
        if self._multiplies(X):
            return softmax(self._logits(X))
        objective, coef, intercept = self._objective(X)
        return objective.predict_proba(coef, intercept)

    def _proba_into(self, X: Any, out: Array) -> Array:
        """Probabilities in `out`, block by block."""
        X = self._validated(X)
        if isinstance(X, Design):
            X = as_array(X)
        n, c = X.shape[0], len(self.classes_)
        if out.shape != (n, c):
            raise ValueError(f"out must be of shape {(n, c)}, got {out.shape}")
        step = max(1, BLOCK // c)
        for start in range(0, n, step):
            out[start : start + step] = self.predict_proba(X[start : start + step])
        return out

    def predict_log_proba(self, X: Any) -> Array:
        """The logarithms of the probabilities of the classes.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n, m), or Parts

        Returns
        -------
        ndarray of shape (n, c)
            In the order of `classes_`.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If X has NaN, infinities, another number of features or other names of them.
        """
        if is_parted(X):
            return each_part(self, X, self.predict_log_proba)
        return log_softmax(self._logits(self._validated(X)))

    def _validated(self, X: Any) -> Any:
        """As scikit-learn checks it; a few rows of a plain array by a look, for its own takes 100 us."""
        if not hasattr(self, "coef_"):
            check_is_fitted(self)
        if isinstance(X, Design):
            return X
        if reads_as_it_is(X):
            design = checked_design(X)
            check_features(self, design.m, None)
            return design
        known = getattr(self, "n_features_in_", None), hasattr(self, "feature_names_in_")
        plain = type(X) is np.ndarray and X.dtype.char in "fd" and X.dtype.isnative and 0 < X.size <= GLANCE
        if plain and known == (X.shape[-1], False) and X.ndim == 2 and np.isfinite(X).all():
            return X
        return validate_data(self, _trusted(X), accept_sparse="csr", reset=False)

    def _multiplies(self, X: Any) -> bool:
        """Whether a product is better than a pass: of sparse weights, and of few entries, which touch few weights."""
        return is_sparse(self.coef_) or (is_sparse(X) and X.nnz < X.shape[1])

    def _logits(self, X: Any) -> Array:
        """Of all classes (n, c), of two the first 0, by a product with X, which was checked."""
        scores = (as_array(X) if isinstance(X, Design) else X) @ self.coef_.T
        scores = (scores.toarray() if is_sparse(scores) else np.asarray(scores)) + self.intercept_
        return np.concatenate([np.zeros_like(scores), scores], 1) if scores.shape[1] == 1 else scores

    def _objective(self, X: Any) -> tuple[SoftmaxObjective, Array, Array]:
        """X, which was checked, to be predicted; weights (c, m) and intercepts (c,) of all classes."""
        design, coef = as_design(X), self.coef_
        intercept = np.broadcast_to(self.intercept_, len(coef)).astype(coef.dtype, copy=False)
        if len(coef) == 1:
            coef, intercept = np.concatenate([np.zeros_like(coef), coef]), np.append(0, intercept).astype(coef.dtype)
        dtype = np.result_type(coef.dtype, design.dtype)
        return SoftmaxObjective(Examples.unlabelled(design, len(coef)), dtype), coef, intercept

    def to_model(self) -> SoftmaxModel:
        """The same probabilities as a SoftmaxModel, which can be saved and needs no scikit-learn.

        Returns
        -------
        SoftmaxModel
            With two rows for two classes, w and -w halved: its softmax is the same. It keeps `feature_names_in_`.

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If `classes_` are none that a model takes.
        """
        check_is_fitted(self)
        coef = self.coef_.toarray() if hasattr(self.coef_, "toarray") else self.coef_
        intercept = np.broadcast_to(self.intercept_, len(coef)).astype(coef.dtype)
        if len(self.classes_) == 2:
            coef, intercept = np.concatenate([-coef / 2, coef / 2]), np.concatenate([-intercept / 2, intercept / 2])
        plain = (bool, int, float, str, type(None))
        settings: dict[str, Any] = {
            name: value for name, value in self.get_params(deep=False).items() if isinstance(value, plain)
        }
        classes = self.classes_
        if classes.dtype == object and all(isinstance(label, str) for label in classes):
            classes = classes.astype(str)
        settings["estimator"], names = type(self).__name__, getattr(self, "feature_names_in_", None)
        if hasattr(self, "history_"):
            settings["history"] = without_times(self.history_)
        return SoftmaxModel(coef, intercept, classes, settings, names)
