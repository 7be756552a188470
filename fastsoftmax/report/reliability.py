"""ReliabilityDisplay: what is said, against what comes true."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastsoftmax.functional.calibration import Bins, Said, binned, check_bins
from fastsoftmax.report.canvas import axes, classes_of, codes_of, frame_of


class ReliabilityDisplay:
    """The share that comes true in each bin of probabilities, with the weight of the rows beneath.

    Make it by `from_estimator` or `from_predictions`.

    Parameters
    ----------
    bins : Bins
        edges (bins + 1,); weight, confidence and accuracy (bins,), nan where there are no rows.
    title : str
        Of what: the most probable class, or one class.

    Attributes
    ----------
    ax_, counts_ax_, figure_
        Axes of the shares and of the weights, and their figure.
    line_, diagonal_, bars_
        Artists.

    Examples
    --------
    >>> import numpy as np
    >>> from fastsoftmax.report import ReliabilityDisplay
    >>> P = np.array([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.7, 0.3]])
    >>> display = ReliabilityDisplay.from_predictions([0, 1, 1, 0], P, bins=4)
    >>> display.frame()["weight"].tolist()
    [0.0, 0.0, 2.0, 2.0]
    """

    def __init__(self, bins: Bins, title: str) -> None:
        self.bins, self.title = bins, title

    @classmethod
    def from_estimator(
        cls,
        estimator: Any,
        X: Any,
        y: ArrayLike,
        *,
        label: Any = None,
        bins: int = 15,
        strategy: str = "uniform",
        sample_weight: ArrayLike | None = None,
        ax: Any = None,
    ) -> "ReliabilityDisplay":
        """Of what a fitted estimator, or a `SoftmaxModel`, says of rows that it was not trained on.

        Parameters
        ----------
        estimator : object with `predict_proba` and `classes_` or `classes`
        X : array-like of shape (n, m)
        y : array-like of shape (n,)
            Labels, of its classes.
        label : optional
            One of the classes: what is said of that alone; else of the most probable class of each row.
        bins : int, default 15
        strategy : {"uniform", "quantile"}, default "uniform"
        sample_weight : array-like of shape (n,), optional
        ax : matplotlib Axes, optional

        Returns
        -------
        ReliabilityDisplay

        Raises
        ------
        TypeError, ValueError
            If something is wrong: the message says what was given and what was expected.
        ImportError
            Without matplotlib.
        """
        classes = classes_of(estimator)
        k = None if label is None else int(codes_of([label], classes)[0])
        return cls._of(
            estimator.predict_proba(X), codes_of(y, classes), k, label, bins, strategy, sample_weight
        ).plot(ax)  # fmt: skip

    @classmethod
    def from_predictions(
        cls,
        y: ArrayLike,
        P: ArrayLike,
        *,
        label: int | None = None,
        bins: int = 15,
        strategy: str = "uniform",
        sample_weight: ArrayLike | None = None,
        ax: Any = None,
    ) -> "ReliabilityDisplay":
        """Of probabilities.

        Parameters
        ----------
        y : array-like of shape (n,)
            Integer labels in 0..c - 1.
        P : array-like of shape (n, c) or (n,)
        label : int, optional
        bins, strategy, sample_weight, ax
            As in `from_estimator`.

        Returns
        -------
        ReliabilityDisplay

        Raises
        ------
        TypeError, ValueError
            If something is wrong: the message says what was given and what was expected.
        ImportError
            Without matplotlib.
        """
        return cls._of(P, y, label, label, bins, strategy, sample_weight).plot(ax)

    @classmethod
    def _of(
        cls, P: ArrayLike, y: ArrayLike, k: int | None, name: Any, bins: int, strategy: str, weight: ArrayLike | None
    ) -> "ReliabilityDisplay":
        check_bins(bins, strategy)
        said = Said.of(P, y, weight)
        c = said.P.shape[1]
        if k is not None and not 0 <= k < c:
            raise ValueError(f"label must be in 0..{c - 1}, got {k!r}")
        confidence, came = said.top() if k is None else (said.P[:, k], said.labels == k)
        title = "the most probable class" if k is None else f"class {name}"
        return cls(binned(confidence, came, said.weight, int(bins), strategy), title)

    def frame(self) -> Any:
        """The data: a row a bin.

        Returns
        -------
        pandas.DataFrame
            low, high, weight, confidence, accuracy.

        Raises
        ------
        ImportError
            Without pandas.
        """
        edges, *rest = self.bins
        return frame_of({"low": edges[:-1], "high": edges[1:], **dict(zip(Bins._fields[1:], rest, strict=True))})

    def plot(self, ax: Any = None) -> "ReliabilityDisplay":
        """Draw it.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Whose place the two pictures take; by default a new figure.

        Returns
        -------
        self

        Raises
        ------
        ImportError
            Without matplotlib.
        """
        place, there, found = axes(ax, (5, 5.5)), self.bins.filled, self.bins
        place.set_axis_off()
        self.figure_, self.ax_ = place.figure, place.inset_axes((0, 0.3, 1, 0.7))
        self.counts_ax_, ax = place.inset_axes((0, 0, 1, 0.2), sharex=self.ax_), self.ax_
        (self.diagonal_,) = ax.plot([0, 1], [0, 1], ":", color="gray", label="as said")
        (self.line_,) = ax.plot(found.confidence[there], found.accuracy[there], "o-", label=self.title)
        ax.set(xlim=(0, 1), ylim=(0, 1), ylabel="came true (share)")
        ax.tick_params(labelbottom=False)
        ax.legend(loc="upper left")
        self.bars_ = self.counts_ax_.bar(
            found.edges[:-1], found.weight, np.diff(found.edges), align="edge", edgecolor="white"
        )
        self.counts_ax_.set(xlabel="said (mean probability)", ylabel="rows, by weight")
        return self
