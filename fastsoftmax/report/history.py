"""HistoryDisplay: how training, or a fit, went."""

import math
from typing import Any

from fastsoftmax.report.canvas import axes, frame_of

LEFT = {"objective": "F", "loss": "training (each row before its step)", "validation_loss": "validation"}
RIGHT = {"gap": "duality gap", "gradient": "largest gradient entry", "learning_rate": "learning rate"}


class HistoryDisplay:
    """Losses and the learning rate over epochs, or F, its gap and its gradient over the iterations of a fit.

    Make it by `from_estimator`.

    Parameters
    ----------
    history : list of dict
        See `Trainer.history`, and `SoftmaxRegression.history_`.

    Attributes
    ----------
    ax_, right_ax_, figure_
        Axes of what is minimised, and of what stands at its right: the rate, or the gap and the gradient, whose scale
        is logarithmic; and their figure.
    lines_ : dict of Line2D
        By the names of the history.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from fastsoftmax import SoftmaxSGDClassifier
    >>> from fastsoftmax.report import HistoryDisplay
    >>> model = SoftmaxSGDClassifier(max_epochs=5, tol=None, random_state=0).fit(*load_iris(return_X_y=True))
    >>> HistoryDisplay.from_estimator(model).frame()["epoch"].tolist()
    [1, 2, 3, 4, 5]
    """

    def __init__(self, history: list[dict[str, Any]]) -> None:
        self.history = history

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> "HistoryDisplay":
        """Of what was trained.

        Parameters
        ----------
        estimator : Trainer, SoftmaxSGDClassifier or SoftmaxRegression
        ax : matplotlib Axes, optional

        Returns
        -------
        HistoryDisplay

        Raises
        ------
        TypeError
            If it has no history.
        ValueError
            If no epoch was trained.
        ImportError
            Without matplotlib.
        """
        history = getattr(estimator, "history_", getattr(estimator, "history", None))
        if history is None:
            kind = type(estimator).__name__
            raise TypeError(f"a Trainer or a fitted estimator is expected, got {kind} without a history")
        if not history:
            raise ValueError("there is nothing to draw: no epoch was trained")
        return cls([dict(record) for record in history]).plot(ax)

    def _column(self, name: str) -> list[Any]:
        return [record[name] for record in self.history]

    def frame(self) -> Any:
        """The data: a row an epoch, or an iteration.

        Returns
        -------
        pandas.DataFrame

        Raises
        ------
        ImportError
            Without pandas.
        """
        return frame_of({name: self._column(name) for name in self.history[0]})

    def plot(self, ax: Any = None) -> "HistoryDisplay":
        """Draw it.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            By default that of a new figure; it gets an axis at its right.

        Returns
        -------
        self

        Raises
        ------
        ImportError
            Without matplotlib.
        """
        self.ax_ = ax = axes(ax)
        self.figure_, self.right_ax_, self.lines_ = ax.figure, ax.twinx(), {}
        fit = "objective" in self.history[0]
        x = self._column("iteration" if fit else "epoch")
        for names, own, style in ((LEFT, ax, "-"), (RIGHT, self.right_ax_, ":")):
            for name, label in names.items():
                if name in self.history[0]:
                    self.lines_[name] = self._line(own, x, name, label, style)
        ax.set(xlabel="iteration" if fit else "epoch", ylabel="F" if fit else "loss")
        ax.xaxis.get_major_locator().set_params(integer=True)
        if fit:
            self.right_ax_.set(ylabel="gap, gradient", yscale="log")
        else:
            self.right_ax_.set(ylabel="learning rate", ylim=(0, None))
        ax.legend(handles=list(self.lines_.values()), loc="center right")
        return self

    def _line(self, ax: Any, x: list[Any], name: str, label: str, style: str) -> Any:
        """One column; points where there is but one."""
        y = self._column(name)
        alone = sum(map(math.isfinite, y)) == 1  # the others are nan
        color = {"gap": "tab:red", "gradient": "tab:green"}.get(name, "gray") if style == ":" else None
        return ax.plot(x, y, style, marker="o" if alone else "", color=color, label=label)[0]
