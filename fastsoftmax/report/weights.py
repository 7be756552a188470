"""WeightsDisplay: what speaks for each class."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsoftmax.report.canvas import axes, classes_of, frame_of

MOST = 30  # classes of one picture
LARGEST = 128 * 128  # pixels of an image, of which nobody said that it is one: hashed text has 2**16 and more features
Array = NDArray[Any]


class WeightsDisplay:
    """The weights of each class: as images, or the strongest features as bars.

    Make it by `from_estimator`.

    Parameters
    ----------
    coef : ndarray of shape (c, m)
    classes : ndarray of shape (c,)
    shape : tuple of int or None
        Of the images; None for bars.
    names : list of str
        Of the features.
    strongest : int
        Features of each class that are drawn as bars.

    Attributes
    ----------
    axes_ : list of Axes
        One a class, inside of `ax_`.
    ax_, figure_
    artists_ : list
        Of each class: an AxesImage, or a BarContainer.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from fastsoftmax import SoftmaxRegression
    >>> from fastsoftmax.report import WeightsDisplay
    >>> X, y = load_iris(return_X_y=True, as_frame=True)
    >>> WeightsDisplay.from_estimator(SoftmaxRegression().fit(X, y), strongest=2).frame()["class"].tolist()
    [0, 0, 1, 1, 2, 2]
    """

    def __init__(
        self, coef: Array, classes: Array, shape: tuple[int, int] | None, names: list[str], strongest: int
    ) -> None:
        self.coef, self.classes, self.shape, self.names, self.strongest = coef, classes, shape, names, strongest

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        *,
        image: tuple[int, int] | bool | None = None,
        classes: Any = None,
        strongest: int = 10,
        ax: Any = None,
    ) -> "WeightsDisplay":
        """Of a fitted estimator, or a `SoftmaxModel`.

        Parameters
        ----------
        estimator : object with `coef_` and `classes_`, or `coef` and `classes`
        image : tuple of int, True or False, optional
            The shape of the images that rows are; True: square ones; False: bars. By default square images where the
            number of features is a square of 25 or more, and they have no names.
        classes : array-like, optional
            Which ones; by default all, of which there may be 30.
        strongest : int, default 10
            Features of each class that are drawn as bars: those of the largest absolute weights.
        ax : matplotlib Axes, optional

        Returns
        -------
        WeightsDisplay
            Of two classes one picture: what speaks for the second against the first.

        Raises
        ------
        TypeError, ValueError
            If something is wrong: the message says what was given and what was expected.
        ImportError
            Without matplotlib.
        """
        known, coef = classes_of(estimator), _coef(estimator)
        if len(known) == 2:
            coef, known = coef[-1:] - (coef[:1] if len(coef) == 2 else 0), known[1:]
        if classes is not None:
            wanted = np.asarray(classes)
            strange = [label for label in wanted.tolist() if label not in known.tolist()]
            if strange:
                raise ValueError(f"classes must be among {known[:10].tolist()}, got {strange}")
            chosen = [known.tolist().index(label) for label in wanted.tolist()]
            coef, known = coef[chosen], known[chosen]
        if len(known) > MOST:
            raise ValueError(f"{len(known)} classes make no readable picture: choose up to {MOST} by classes=")
        if isinstance(strongest, bool) or not isinstance(strongest, (int, np.integer)) or strongest < 1:
            raise ValueError(f"strongest must be an integer of at least 1, got {strongest!r}")
        titles = getattr(estimator, "feature_names_in_", getattr(estimator, "feature_names", None))
        names = [str(j) for j in range(coef.shape[1])] if titles is None else [str(name) for name in titles]
        shape = shape_of(image, coef.shape[1], titles is not None)
        return cls(coef, known, shape, names, min(int(strongest), coef.shape[1])).plot(ax)

    def _strongest(self, k: int) -> Array:
        """The features that are drawn of a class, the strongest first."""
        return np.argsort(-np.abs(self.coef[k]), kind="stable")[: self.strongest]

    def frame(self) -> Any:
        """The data: of each class the strongest features, the strongest first.

        Returns
        -------
        pandas.DataFrame
            class, feature, weight.

        Raises
        ------
        ImportError
            Without pandas.
        """
        columns: dict[str, list[Any]] = {"class": [], "feature": [], "weight": []}
        for k, label in enumerate(self.classes.tolist()):
            for j in self._strongest(k):
                for column, value in zip(columns.values(), (label, self.names[j], self.coef[k, j]), strict=True):
                    column.append(value)
        return frame_of(columns)

    def plot(self, ax: Any = None) -> "WeightsDisplay":
        """Draw it. All pictures have one scale of colours, or of lengths.

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
        count = len(self.classes)
        columns = min(count, 5 if self.shape else 3)
        rows = math.ceil(count / columns)
        height = 2.0 if self.shape else 0.6 + 0.22 * self.strongest
        self.ax_ = ax = axes(ax, (columns * (2.0 if self.shape else 3.2), rows * height))
        self.figure_, self.axes_, self.artists_ = ax.figure, [], []
        ax.set_axis_off()
        most = float(np.abs(self.coef).max(initial=0)) or 1.0
        left = 0.0 if self.shape else 0.35  # room for names
        for k, label in enumerate(self.classes.tolist()):
            i, j = divmod(k, columns)
            cell = (j + left) / columns, 1 - (i + 0.84) / rows, (0.94 - left) / columns, 0.7 / rows
            own = ax.inset_axes(cell)
            own.set_title(str(label), fontsize="medium")
            self.axes_.append(own)
            self.artists_.append(self._image(own, k, most) if self.shape else self._bars(own, k, most))
        return self

    def _image(self, ax: Any, k: int, most: float) -> Any:
        ax.set_axis_off()
        return ax.imshow(self.coef[k].reshape(self.shape), cmap="RdBu_r", vmin=-most, vmax=most)

    def _bars(self, ax: Any, k: int, most: float) -> Any:
        which = self._strongest(k)[::-1]
        ax.axvline(0, color="gray", linewidth=0.5)
        ax.set(xlim=(-1.05 * most, 1.05 * most))
        ax.tick_params(labelsize="small")
        ax.set_yticks(range(len(which)), [self.names[j] for j in which])
        return ax.barh(range(len(which)), self.coef[k, which])


def _coef(estimator: Any) -> Array:
    coef: Any = getattr(estimator, "coef_", getattr(estimator, "coef", None))
    return np.asarray(coef.toarray() if hasattr(coef, "toarray") else coef)


def shape_of(image: Any, m: int, other: bool) -> tuple[int, int] | None:
    """Of the images, if there are any; other: the features have names, or X is sparse."""
    side = math.isqrt(m)
    square = side * side == m
    if image is None:
        return (side, side) if square and 25 <= m <= LARGEST and not other else None
    if image is False:
        return None
    if image is True:
        if not square:
            raise ValueError(f"{m} features make no square image: give its shape, as image=(height, width)")
        return side, side
    shape = tuple(int(length) for length in image)
    if len(shape) != 2 or shape[0] * shape[1] != m:
        raise ValueError(f"image must be (height, width) of {m} pixels, got {image!r}")
    return shape
