"""SoftmaxRegression: the exact optimum of softmax regression behind scikit-learn's face."""

import logging
import os
import warnings
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils._param_validation import Hidden, Interval, StrOptions

from fastsoftmax.estimators.base import SoftmaxClassifier, checking_parameters
from fastsoftmax.estimators.fitting import Fit
from fastsoftmax.estimators.labels import Labels
from fastsoftmax.estimators.penalty import NAMES, Penalty
from fastsoftmax.estimators.progress import Verbose
from fastsoftmax.estimators.rows import rows_of
from fastsoftmax.solvers import Outcome

logger = logging.getLogger("fastsoftmax")
SEPARABLE = "the data are separable and nothing is penalised: F has no minimum, and coefficients could grow without end"


class SoftmaxRegression(SoftmaxClassifier):
    """Softmax regression (multinomial logistic regression), fitted to its optimum, with a proof.

    The parameters, attributes and meaning are those of scikit-learn's `LogisticRegression`:
    `from fastsoftmax import SoftmaxRegression as LogisticRegression` works. What is minimised is::

        F = (1/S) sum_i s_i CE_i + (1 - l1_ratio) / (2 C S) |coef|^2 + l1_ratio / (C S) |coef|_1,

    S the sum of the weights s_i, the intercept unpenalised. Two classes have one row of coefficients.

    Parameters
    ----------
    penalty : {"l1", "l2", "elasticnet", None}, optional
        Deprecated as in scikit-learn 1.8: use C and l1_ratio.
    C : float, default 1.0
        Inverse strength of the penalty; np.inf for none.
    l1_ratio : float, default 0.0
        0 is the l2 penalty, 1 the l1 penalty, what is between an elastic net.
    dual : bool, default False
        Only False.
    tol : float, default 1e-4
        A fit ends when `duality_gap_` and `optimality_` are at most tol; without a penalty, `optimality_`, and what
        further steps of Newton's method would bring.
    fit_intercept : bool, default True
    intercept_scaling : float, default 1
        Only 1.
    class_weight : dict or "balanced", optional
    random_state : optional
        Accepted, and not needed: nothing is random.
    solver : str, default "auto"
        "auto" chooses by shape and penalty, `solver_` says what; "lbfgs" (preconditioned), "newton", "proximal" (takes
        l1). scikit-learn's "newton-cg", "newton-cholesky", "sag" and "saga" reach the same optimum by one of these.
    max_iter : int, default 1000
        0 leaves all weights at 0.
    verbose : int, default 0
        1: a line with iteration, F and gap on stderr, once a fit takes more than two seconds; in notebooks a widget.
        More: each iteration is logged there.
    warm_start : bool, default False
        Start from the coefficients of the last fit.
    n_jobs : None
        Accepted, without effect, as in scikit-learn 1.8; see `fastsoftmax.set_num_threads`.
    label_smoothing : float, default 0.0
        epsilon: targets become (1 - epsilon) Y + epsilon / c.
    standardize : bool, default False
        Fit on (X - mean) / deviation, neither copied nor densified; the penalty acts on those weights, as in glmnet.
        Coefficients are in the units of X.

    Attributes
    ----------
    coef_ : ndarray of shape (c, m), or (1, m) for two classes
        In the dtype of X; float32 for float16, bfloat16 and int8, float64 for other integers.
    intercept_ : ndarray of shape (c,) or (1,)
        It sums to 0 over the classes.
    classes_ : ndarray of shape (c,)
    n_iter_ : ndarray of shape (1,)
        Iterations, at least 1.
    n_features_in_ : int
    feature_names_in_ : ndarray of shape (m,)
        Where X has names of strings.
    optimality_ : float
        The largest entry of the subgradient of least norm of F, in float64, at the coefficients as stored.
    duality_gap_ : float
        F - F* is at most this, by a dual feasible point; nan without a penalty.
    objective_ : float
        F.
    converged_ : bool
        Whether they are at most tol. Where rounding keeps the gradient from getting so small, as with features of
        1e12 or coefficients in float32, whether F is right to tol.
    separable_ : bool
        Without a penalty, whether F falls without end in some direction, as where a hyperplane parts the classes: then
        there is no optimum, and larger coefficients are always better.
    solver_ : str
        The solver that was used, or, where one made no progress, those that went on from there too.
    history_ : list of dict
        One an iteration, and one of the end: iteration, objective (F), gap (nan before the end, unless `verbose`: it is
        not needed to go on), gradient (before the end what the solver goes by: the squared Newton decrement of its
        step, some 2 (F - F*), or the largest entry of the gradient). `fastsoftmax.report.HistoryDisplay` draws it.

    Notes
    -----
    The same bytes on any number of threads, of the process and of BLAS.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from fastsoftmax import SoftmaxRegression
    >>> X, y = load_iris(return_X_y=True)
    >>> model = SoftmaxRegression().fit(X, y)
    >>> round(model.score(X, y), 3), model.duality_gap_ <= 1e-4
    (0.973, True)
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        "penalty": [StrOptions({"l1", "l2", "elasticnet"}), None, Hidden(StrOptions({"deprecated"}))],
        "C": [Interval(Real, 0, None, closed="right")],
        "l1_ratio": [Interval(Real, 0, 1, closed="both"), None],
        "dual": ["boolean"],
        "tol": [Interval(Real, 0, None, closed="left")],
        "fit_intercept": ["boolean"],
        "intercept_scaling": [Interval(Real, 0, None, closed="neither")],
        "class_weight": [dict, StrOptions({"balanced"}), None],
        "random_state": ["random_state"],
        "solver": [StrOptions(NAMES)],
        "max_iter": [Interval(Integral, 0, None, closed="left")],
        "verbose": ["verbose"],
        "warm_start": ["boolean"],
        "n_jobs": [None, Integral],
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
        "standardize": ["boolean"],
    }

    n_iter_: NDArray[np.int32]
    optimality_: float
    duality_gap_: float
    objective_: float
    converged_: bool
    separable_: bool
    solver_: str
    history_: list[dict[str, float]]

    def __init__(
        self,
        penalty: Any = "deprecated",
        *,
        C: float = 1.0,
        l1_ratio: float | None = 0.0,
        dual: bool = False,
        tol: float = 1e-4,
        fit_intercept: bool = True,
        intercept_scaling: float = 1,
        class_weight: Any = None,
        random_state: Any = None,
        solver: str = "auto",
        max_iter: int = 1000,
        verbose: int = 0,
        warm_start: bool = False,
        n_jobs: int | None = None,
        label_smoothing: float = 0.0,
        standardize: bool = False,
    ) -> None:
        self.penalty, self.C, self.l1_ratio, self.dual, self.tol = penalty, C, l1_ratio, dual, tol
        self.fit_intercept, self.intercept_scaling = fit_intercept, intercept_scaling
        self.class_weight, self.random_state, self.solver = class_weight, random_state, solver
        self.max_iter, self.verbose, self.warm_start, self.n_jobs = max_iter, verbose, warm_start, n_jobs
        self.label_smoothing, self.standardize = label_smoothing, standardize

    @checking_parameters
    def fit(
        self,
        X: Any,
        y: Any = None,
        sample_weight: Any = None,
        *,
        checkpoint: str | os.PathLike[str] | None = None,
    ) -> "SoftmaxRegression":
        """Fit to the optimum.

        Parameters
        ----------
        X : {array-like, sparse matrix} of shape (n, m), or Parts
            float32, float64, float16, bfloat16, int8 and uint8 are read as they are, others become float64. Parts,
            which may be larger than memory, are read once for each pass.
        y : array-like of shape (n,) or (n, c)
            Labels, or target probabilities, whose rows sum to 1: then `classes_` is 0..c-1. Parts may have their own.
        sample_weight : array-like of shape (n,), optional
        checkpoint : path-like, optional
            A file to which what each pass over all rows gives is written. A fit that was killed, and is started again
            with the same file, makes none of these passes again, and ends with the same bytes. The file has 8 bytes a
            parameter and pass, and is not deleted.

        Returns
        -------
        self

        Raises
        ------
        ValueError
            If something is wrong with a parameter or the data; of Parts the message names the part and the row.
        CheckpointError
            If `checkpoint` is another file, or of a fit with other parameters or data.
        OSError
            If `checkpoint` cannot be written.

        Warns
        -----
        ConvergenceWarning
            If `tol` was not reached within `max_iter` iterations, or cannot be.
        """
        penalty = self._check_parameters()
        with self._unchanged_if_refused():
            X, y, sample_weight = self._checked(X, y, sample_weight)
            outcome = self._solve(rows_of(X), Labels(y), sample_weight, penalty, checkpoint)
        if not outcome.converged:
            self._warn(outcome)
        return self

    def _solve(self, rows: Any, labels: Any, sample_weight: Any, penalty: Penalty, checkpoint: Any) -> Outcome:
        """The fit of rows that were checked, wherever they are; its attributes."""
        with Verbose(self.verbose):
            fit = Fit(self, rows, labels, sample_weight)
            with fit.written_to(checkpoint):
                outcome = fit.run(penalty.C, penalty.l1_ratio, fit.starts())
        self.classes_, self.coef_, self.intercept_ = fit.labels.classes, outcome.coef, outcome.intercept
        self.n_iter_ = np.array([max(min(1, self.max_iter), outcome.n_iter)], np.int32)
        self.optimality_, self.duality_gap_ = outcome.optimality, outcome.gap
        self.objective_, self.converged_, self.solver_ = outcome.value, outcome.converged, outcome.solver
        self.separable_ = outcome.separable
        last = {"iteration": len(fit.history), "objective": outcome.value}
        self.history_ = [*fit.history, last | {"gap": outcome.gap, "gradient": outcome.optimality}]
        if outcome.separable:
            logger.warning("%s", SEPARABLE)
        return outcome

    def __repr__(self, N_CHAR_MAX: int = 700) -> str:
        text = str(super().__repr__(N_CHAR_MAX))
        return f"{text}  # {SEPARABLE}" if getattr(self, "separable_", False) else text

    def _check_parameters(self) -> Penalty:
        if self.dual:
            raise ValueError(f"Solver {self.solver} supports only dual=False, got dual=True")
        if self.intercept_scaling != 1:
            raise ValueError(
                f"intercept_scaling must be 1: the intercept is not penalised, got {self.intercept_scaling}"
            )
        if self.n_jobs is not None:
            warnings.warn(
                f"'n_jobs' has no effect since 1.8 and will be removed in 1.10. You provided 'n_jobs={self.n_jobs}', "
                "please leave it unspecified.",
                FutureWarning,
                stacklevel=4,
            )
        return Penalty(self.penalty, self.l1_ratio, self.C, self.solver)

    def _warn(self, outcome: Outcome) -> None:
        name = outcome.solver if self.solver == "auto" else self.solver
        gap = "" if np.isnan(outcome.gap) else f" and the duality gap {outcome.gap:.2g}"
        if outcome.why == "iterations":
            hint = "The max_iter was reached which means the coef_ did not converge. "
            hint += f"Increase the number of iterations (max_iter={self.max_iter})"
        elif outcome.why == "storage":
            hint = f"F rises by more than tol where the coefficients are rounded to {outcome.coef.dtype}, that of X"
        else:
            hint = "Rounding allows no more: in float64 no step lowers F, which may be right where its proof is short"
        warnings.warn(
            f"{name} failed to converge after {outcome.n_iter} iteration(s): the largest gradient entry is "
            f"{outcome.optimality:.2g}{gap}, tol={self.tol:g}. {hint}; increase tol, use float64 data, scale "
            "the data (standardize=True) or choose a smaller C.",
            ConvergenceWarning,
            stacklevel=4,
        )
