"""What estimators over a cluster share: their client, predictions of collections, and the way back to local ones."""

import copy
import inspect
from typing import Any

from numpy.typing import NDArray

from fastsoftmax.dask.cluster import client_of, is_collection
from fastsoftmax.dask.predictions import lazily, share_right
from fastsoftmax.data.feature_names import as_names
from fastsoftmax.estimators.base import SoftmaxClassifier
from fastsoftmax.estimators.rows import check_features

Array = NDArray[Any]
OWN = ("client",)


class OnCluster(SoftmaxClassifier):
    """A mixin, in front of the estimator whose fits run elsewhere; `client` is none of the parameters of a model."""

    _local: Any  # that estimator

    def __init__(self, *, client: Any = None, **parameters: Any) -> None:
        super().__init__(**parameters)
        self.client = client

    @classmethod
    def _get_param_names(cls) -> list[str]:
        return sorted(name for name in inspect.signature(cls._local.__init__).parameters if name != "self")

    def set_params(self, **parameters: Any) -> Any:
        """Set parameters of the model, or `client`.

        Parameters
        ----------
        **parameters

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If there is no parameter of a name.
        """
        known = {name: value for name, value in parameters.items() if name not in OWN}
        super().set_params(**known)
        for name in parameters.keys() & set(OWN):
            setattr(self, name, parameters[name])
        return self

    def __sklearn_clone__(self) -> Any:
        return type(self)(client=self.client, **copy.deepcopy(self.get_params(deep=False)))

    def __getstate__(self) -> Any:
        return super().__getstate__() | {"client": None}

    def _features(self, rows: Any, reset: bool) -> None:
        """Know the features of rows on the workers, or check that they are those of the first fit."""
        if not reset:
            check_features(self, rows.m, rows.names)
            return
        self.n_features_in_ = rows.m
        self.__dict__.pop("feature_names_in_", None)
        if rows.names is not None:
            self.feature_names_in_ = as_names(rows.names)

    def to_local(self) -> Any:
        """The same model as a local estimator, for arrays in memory.

        Returns
        -------
        SoftmaxRegression or SoftmaxSGDClassifier
        """
        local = self._local(**self.get_params(deep=False))
        local.__dict__.update({name: value for name, value in vars(self).items() if name not in OWN})
        return local

    def predict(self, X: Any) -> Any:
        """The most probable class of each row, lazily.

        Parameters
        ----------
        X : dask array or frame of shape (n, m)
            What is in memory is predicted at once; Parts are read here.

        Returns
        -------
        dask array of shape (n,)

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If X has another number of features, or other names of them; when computed, if it has NaN or infinities.
        """
        return lazily(self, X, "predict") if is_collection(X) else super().predict(X)

    def predict_proba(self, X: Any, *, out: Any = None) -> Any:
        """The probabilities of the classes, lazily.

        Parameters
        ----------
        X : dask array or frame of shape (n, m)
        out : ndarray, optional
            For what is in memory.

        Returns
        -------
        dask array of shape (n, c)

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If X has another number of features, or other names of them; when computed, if it has NaN or infinities.
        """
        return lazily(self, X, "predict_proba") if is_collection(X) else super().predict_proba(X, out=out)

    def predict_log_proba(self, X: Any) -> Any:
        """The logarithms of the probabilities of the classes, lazily.

        Parameters
        ----------
        X : dask array or frame of shape (n, m)

        Returns
        -------
        dask array of shape (n, c)

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If X has another number of features, or other names of them; when computed, if it has NaN or infinities.
        """
        return lazily(self, X, "predict_log_proba") if is_collection(X) else super().predict_log_proba(X)

    def decision_function(self, X: Any) -> Any:
        """The logits of the classes, lazily.

        Parameters
        ----------
        X : dask array or frame of shape (n, m)

        Returns
        -------
        dask array of shape (n, c), or (n,) for two classes

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If X has another number of features, or other names of them; when computed, if it has NaN or infinities.
        """
        return lazily(self, X, "decision_function") if is_collection(X) else super().decision_function(X)

    def score(self, X: Any, y: Any = None, sample_weight: Any = None) -> float:
        """The accuracy, computed.

        Parameters
        ----------
        X : dask array or frame of shape (n, m)
        y, sample_weight : dask array or series of shape (n,)

        Returns
        -------
        float

        Raises
        ------
        NotFittedError
            Before `fit`.
        ValueError
            If X has another number of features, or other names of them; when computed, if it has NaN or infinities.
        """
        if not is_collection(X):
            return super().score(X, y, sample_weight)
        return share_right(self, client_of(self.client), X, y, sample_weight)
