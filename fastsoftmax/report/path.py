"""PathDisplay: scores and coefficients over strengths of the penalty."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastsoftmax.report.canvas import axes, frame_of

MOST = 200  # lines of coefficients: more of them are a blot
Array = NDArray[Any]


class PathDisplay:
    """Scores of rows held out, and the largest coefficients, over strengths C.

    Make it by `from_path` or `from_estimator`.

    Parameters
    ----------
    Cs : ndarray of shape (k,)
    coefs : ndarray of shape (k, c, m)
        In the mean over folds, where there are any.
    scores : ndarray of shape (folds, k), or None
    best : float or None
        The C that was chosen.

    Attributes
    ----------
    ax_, coefs_ax_, figure_
        Axes of the scores, None without them, and of the coefficients, and their figure.
    score_line_, score_band_, best_line_
        Artists of the scores: their mean over folds, the mean less and plus their standard deviation, the best C.
    coef_lines_ : list of Line2D
        At most 200: of the largest absolute coefficients.

    Examples
    --------
    >>> import fastsoftmax as fs
    >>> from sklearn.datasets import load_iris
    >>> from fastsoftmax.report import PathDisplay
    >>> X, y = load_iris(return_X_y=True)
    >>> found = fs.path(X[::2], y[::2], Cs=[0.01, 1.0, 100.0], X_val=X[1::2], y_val=y[1::2])
    >>> PathDisplay.from_path(found).frame()["C"].tolist()
    [0.01, 1.0, 100.0]
    """

    def __init__(self, Cs: Array, coefs: Array, scores: Array | None, best: float | None) -> None:
        order = np.argsort(Cs)
        self.Cs, self.coefs, self.best = Cs[order], coefs[order], best
        self.scores = None if scores is None else scores[:, order]

    @classmethod
    def from_path(cls, path: Any, *, ax: Any = None) -> "PathDisplay":
        """Of what `fs.path` returned.

        Parameters
        ----------
        path : Path
        ax : matplotlib Axes, optional

        Returns
        -------
        PathDisplay

        Raises
        ------
        ImportError
            Without matplotlib.
        """
        scores = path.scores[None] if len(path.scores) else None
        return cls(path.Cs, path.coefs, scores, path.best_C).plot(ax)

    @classmethod
    def from_estimator(cls, estimator: Any, *, ax: Any = None) -> "PathDisplay":
        """Of a fitted `SoftmaxRegressionCV`; of several l1_ratios that which was chosen.

        Parameters
        ----------
        estimator : SoftmaxRegressionCV
        ax : matplotlib Axes, optional

        Returns
        -------
        PathDisplay

        Raises
        ------
        TypeError
            If it is none, was not fitted, or has attributes in the shapes of scikit-learn 1.8.
        ImportError
            Without matplotlib.
        """
        scores, coefs = getattr(estimator, "scores_", None), getattr(estimator, "coefs_paths_", None)
        if scores is None or coefs is None or isinstance(scores, dict):
            raise TypeError(
                "a fitted SoftmaxRegressionCV with use_legacy_attributes=False is expected, got "
                f"{type(estimator).__name__} {'with attributes by class' if scores is not None else 'without scores_'}"
            )
        Cs, ratios = np.asarray(estimator.Cs_), np.asarray(estimator.l1_ratios_, float)
        q = int(np.nanargmin(np.abs(ratios - float(estimator.l1_ratio_)))) if len(ratios) > 1 else 0
        coefs = np.asarray(coefs)[:, q].mean(0)[..., : estimator.n_features_in_]
        return cls(Cs, coefs, np.asarray(scores)[:, q], float(estimator.C_)).plot(ax)

    def frame(self) -> Any:
        """The data: a row a strength.

        Returns
        -------
        pandas.DataFrame
            C, norm (of the coefficients, Euclidean), nonzero (how many of them), and with rows held out score (the mean
            over folds) and deviation.

        Raises
        ------
        ImportError
            Without pandas.
        """
        columns = {"C": self.Cs, "norm": np.sqrt((self.coefs**2).sum((1, 2))), "nonzero": (self.coefs != 0).sum((1, 2))}
        if self.scores is not None:
            columns |= {"score": self.scores.mean(0), "deviation": self.scores.std(0)}
        return frame_of(columns)

    def plot(self, ax: Any = None) -> "PathDisplay":
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
        place = axes(ax, (6, 6 if self.scores is not None else 4))
        place.set_axis_off()
        self.figure_, self.ax_ = place.figure, None
        self.coefs_ax_ = place.inset_axes((0, 0, 1, 0.48 if self.scores is not None else 1))
        self.coefs_ax_.set(xscale="log", xlabel="C (weaker penalties to the right)", ylabel="coefficients")
        flat = self.coefs.reshape(len(self.Cs), -1)
        largest = np.argsort(-np.abs(flat).max(0), kind="stable")[:MOST]
        mark = "o" if len(self.Cs) == 1 else ""
        self.coef_lines_ = self.coefs_ax_.plot(self.Cs, flat[:, np.sort(largest)], linewidth=0.8, marker=mark)
        if self.scores is not None:
            self._plot_scores(place.inset_axes((0, 0.52, 1, 0.48), sharex=self.coefs_ax_), self.scores, mark)
        if self.best is not None:
            self.best_line_ = (self.ax_ or self.coefs_ax_).axvline(self.best, color="gray", linestyle=":")
        return self

    def _plot_scores(self, ax: Any, scores: Array, mark: str) -> None:
        self.ax_, mean, deviation = ax, scores.mean(0), scores.std(0)
        self.score_band_ = ax.fill_between(self.Cs, mean - deviation, mean + deviation, alpha=0.2)
        (self.score_line_,) = ax.plot(self.Cs, mean, marker=mark or ".")
        ax.tick_params(labelbottom=False)
        ax.set(ylabel="score")
