"""TopLossesDisplay: the rows that a model is most confidently wrong about."""

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from fastsoftmax.data.gate import is_sparse
from fastsoftmax.functional.calibration import Said
from fastsoftmax.report.canvas import axes, classes_of, codes_of, frame_of
from fastsoftmax.report.weights import shape_of

FEATURES = 6  # of a row that is no image, are written
Array = NDArray[Any]


class TopLossesDisplay:
    """The rows with the largest losses, as images or as features, with what was said and what is true.

    Make it by `from_estimator` or `from_predictions`.

    Parameters
    ----------
    rows : ndarray of shape (k,)
        Their numbers, the largest loss first.
    X : ndarray of shape (k, m)
    truth, said : ndarray of shape (k,)
        Labels, and the classes that are predicted.
    losses, confidence : ndarray of shape (k,)
        -log of the probability of the truth, and the probability of what is predicted.
    shape : tuple of int or None
        Of the images.
    names : list of str
        Of the features.

    Attributes
    ----------
    ax_, figure_
    axes_ : list of Axes
        One a row, inside of `ax_`.
    artists_ : list
        Of each row: an AxesImage, or a Text.

    Examples
    --------
    >>> import fastsoftmax as fs
    >>> from sklearn.datasets import load_iris
    >>> from fastsoftmax.report import TopLossesDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> display = TopLossesDisplay.from_estimator(fs.SoftmaxRegression().fit(X, y), X, y, rows=3)
    >>> display.frame()["loss"].is_monotonic_decreasing
    True
    """

    def __init__(
        self,
        rows: Array,
        X: Array,
        truth: Array,
        said: Array,
        losses: Array,
        confidence: Array,
        shape: tuple[int, int] | None,
        names: list[str],
    ) -> None:
        self.rows, self.X, self.truth, self.said = rows, X, truth, said
        self.losses, self.confidence, self.shape, self.names = losses, confidence, shape, names

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: ArrayLike,
        *,
        rows: int = 12,
        image: tuple[int, int] | bool | None = None,
        ax: Any = None,
    ) -> "TopLossesDisplay":
        """Of a fitted estimator, or a `SoftmaxModel`.

        Parameters
        ----------
        estimator : object with `predict_proba` and `classes_` or `classes`
        X : {array-like, sparse matrix} of shape (n, m)
        y : array-like of shape (n,)
            Labels, of its classes.
        rows : int, default 12
            How many, at most.
        image : tuple of int, True or False, optional
            As in `WeightsDisplay.from_estimator`.
        ax : matplotlib Axes, optional

        Returns
        -------
        TopLossesDisplay

        Raises
        ------
        TypeError, ValueError
            If something is wrong: the message says what was given and what was expected.
        ImportError
            Without matplotlib.
        """
        classes = classes_of(estimator)
        return cls._of(X, codes_of(y, classes), estimator.predict_proba(X), classes, rows, image).plot(ax)

    @classmethod
    def from_predictions(
        cls,
        X: Any,
        y: ArrayLike,
        P: ArrayLike,
        *,
        rows: int = 12,
        image: tuple[int, int] | bool | None = None,
        ax: Any = None,
    ) -> "TopLossesDisplay":
        """Of probabilities.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n, m)
        y : array-like of shape (n,)
            Integer labels in 0..c - 1.
        P : array-like of shape (n, c)
        rows, image, ax
            As in `from_estimator`.

        Returns
        -------
        TopLossesDisplay

        Raises
        ------
        TypeError, ValueError
            If something is wrong: the message says what was given and what was expected.
        ImportError
            Without matplotlib.
        """
        return cls._of(X, y, P, np.arange(np.shape(np.asarray(P))[-1]), rows, image).plot(ax)

    @classmethod
    def _of(cls, X: Any, y: ArrayLike, P: ArrayLike, classes: Array, rows: int, image: Any) -> "TopLossesDisplay":
        if isinstance(rows, bool) or not isinstance(rows, (int, np.integer)) or rows < 1:
            raise ValueError(f"rows must be an integer of at least 1, got {rows!r}")
        said = Said.of(P, y, None)
        if X.shape[0] != len(said.labels):
            raise ValueError(f"X has {X.shape[0]} rows, y {len(said.labels)}")
        right = said.P[np.arange(len(said.labels)), said.labels]
        order = np.argsort(right, kind="stable")[: int(rows)]
        names = [str(name) for name in X.columns] if hasattr(X, "columns") else [str(j) for j in range(X.shape[1])]
        some = X.iloc[order] if hasattr(X, "iloc") else X[order]
        some = np.asarray(some.toarray() if hasattr(some, "toarray") else some)
        best = said.P[order].argmax(1)
        with np.errstate(divide="ignore"):
            losses = -np.log(right[order])
        shape = shape_of(image, some.shape[1], hasattr(X, "columns") or is_sparse(X))
        return cls(
            order, some, classes[said.labels[order]], classes[best], losses, said.P[order, best], shape, names
        )  # fmt: skip

    def frame(self) -> Any:
        """The data: a row a row of X, the largest loss first.

        Returns
        -------
        pandas.DataFrame
            row (its number in X), truth, said, loss, confidence.

        Raises
        ------
        ImportError
            Without pandas.
        """
        return frame_of(
            {"row": self.rows, "truth": self.truth, "said": self.said, "loss": self.losses,
             "confidence": self.confidence}
        )  # fmt: skip

    def plot(self, ax: Any = None) -> "TopLossesDisplay":
        """Draw it.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Whose place the pictures take; by default a new figure.

        Returns
        -------
        self

        Raises
        ------
        ImportError
            Without matplotlib.
        """
        columns = min(len(self.rows), 6 if self.shape else 3)
        rows = math.ceil(len(self.rows) / columns)
        self.ax_ = ax = axes(ax, (columns * (1.6 if self.shape else 2.6), rows * 2.0))
        self.figure_, self.axes_, self.artists_ = ax.figure, [], []
        ax.set_axis_off()
        for k in range(len(self.rows)):
            i, j = divmod(k, columns)
            own = ax.inset_axes((j / columns, 1 - (i + 0.96) / rows, 0.94 / columns, 0.7 / rows))
            own.set_axis_off()
            own.set_title(f"{self.truth[k]}, said {self.said[k]}\n({self.confidence[k]:.0%})", fontsize="small")
            self.axes_.append(own)
            self.artists_.append(self._image(own, k) if self.shape else self._text(own, k))
        return self

    def _image(self, ax: Any, k: int) -> Any:
        return ax.imshow(self.X[k].reshape(self.shape), cmap="gray_r")

    def _text(self, ax: Any, k: int) -> Any:
        largest = np.argsort(-np.abs(self.X[k].astype(float)), kind="stable")[:FEATURES]
        lines = [f"{self.names[j]}: {self.X[k, j]:.4g}" for j in largest if self.X[k, j] != 0]
        return ax.text(0, 1, "\n".join(lines), va="top", fontsize="small", transform=ax.transAxes)
