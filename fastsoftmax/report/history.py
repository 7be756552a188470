"""HistoryDisplay: how training went."""

from typing import Any

from fastsoftmax.report.canvas import axes, frame_of


class HistoryDisplay:
    """Losses and the learning rate over the epochs of a `Trainer` or `SoftmaxSGDClassifier`.

    Make it by `from_estimator`.

    Parameters
    ----------
    history : list of dict
        See `Trainer.history`.

    Attributes
    ----------
    ax_, rate_ax_, figure_
        Axes of the losses and of the rate, and their figure.
    lines_ : dict of Line2D
        Of "loss", "validation_loss" where there were validation rows, and "learning_rate".

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
        estimator : Trainer or SoftmaxSGDClassifier
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
            raise TypeError(f"a Trainer or a fitted SoftmaxSGDClassifier is expected, got {kind} without a history")
        if not history:
            raise ValueError("there is nothing to draw: no epoch was trained")
        return cls([dict(record) for record in history]).plot(ax)

    def _column(self, name: str) -> list[Any]:
        return [record[name] for record in self.history]

    def frame(self) -> Any:
        """The data: a row an epoch.

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
            By default that of a new figure. The rate has an axis at its right.

        Returns
        -------
        self

        Raises
        ------
        ImportError
            Without matplotlib.
        """
        self.ax_ = ax = axes(ax)
        self.figure_, self.rate_ax_ = ax.figure, ax.twinx()
        epochs, mark, self.lines_ = self._column("epoch"), "o" if len(self.history) == 1 else "", {}
        names = {"loss": "training (each row before its step)", "validation_loss": "validation"}
        for name, label in names.items():
            if name in self.history[0]:
                (self.lines_[name],) = ax.plot(epochs, self._column(name), marker=mark, label=label)
        (self.lines_["learning_rate"],) = self.rate_ax_.plot(
            epochs, self._column("learning_rate"), ":", marker=mark, color="gray", label="learning rate"
        )
        ax.set(xlabel="epoch", ylabel="loss")
        ax.xaxis.get_major_locator().set_params(integer=True)
        self.rate_ax_.set(ylabel="learning rate", ylim=(0, None))
        ax.legend(handles=list(self.lines_.values()), loc="center right")
        return self
