"""What penalty, l1_ratio and C ask for, in scikit-learn's words."""

import math
import warnings
from typing import Any

import numpy as np

from fastsoftmax.solvers import SOLVERS

THEIRS = {"lbfgs": "lbfgs", "newton-cg": "newton", "newton-cholesky": "newton", "sag": "lbfgs", "saga": "proximal"}
NAMES = {"auto", "liblinear", *THEIRS, *SOLVERS}


class Penalty:
    """What penalty, l1_ratio and C ask for, with scikit-learn's warnings and errors."""

    def __init__(self, penalty: Any, l1_ratio: float | None, C: float, solver: str) -> None:
        self.name = penalty
        if penalty == "deprecated":
            if l1_ratio is None:
                text = "'l1_ratio=None' was deprecated in version 1.8 and will trigger an error in 1.10. "
                warnings.warn(text + "Use 0<=l1_ratio<=1 instead.", FutureWarning, stacklevel=4)
            self.name = "l2" if not l1_ratio else "l1" if l1_ratio == 1 else "elasticnet"
            self.name = self.name if math.isfinite(C) else None
        else:
            warnings.warn(
                "'penalty' was deprecated in version 1.8 and will be removed in 1.10. Use l1_ratio=0 instead of "
                "penalty='l2', l1_ratio=1 instead of penalty='l1', l1_ratio between 0 and 1 instead of "
                "penalty='elasticnet', and C=np.inf instead of penalty=None.",
                FutureWarning,
                stacklevel=4,
            )
            self._check_consistency(l1_ratio, C)
        self._check_solver(solver)
        self.C = np.inf if self.name is None else C
        if self.name == "elasticnet" and l1_ratio is None:
            raise ValueError("l1_ratio must be specified when penalty is elasticnet.")
        self.l1_ratio = float(l1_ratio or 0.0) if self.name == "elasticnet" else float(self.name == "l1")

    def _check_consistency(self, l1_ratio: float | None, C: float) -> None:
        if self.name != "elasticnet" and l1_ratio is not None and 0 < l1_ratio < 1:
            text = f"l1_ratio parameter is only used when penalty is 'elasticnet'. Got (penalty={self.name})"
            warnings.warn(text, UserWarning, stacklevel=5)
        if (self.name == "l2" and l1_ratio != 0) or (self.name == "l1" and l1_ratio != 1):
            text = f"Inconsistent values: penalty={self.name} with l1_ratio={l1_ratio}. penalty is deprecated. "
            warnings.warn(text + "Please use l1_ratio only.", UserWarning, stacklevel=5)
        if self.name is None and C != 1.0:
            text = "Setting penalty=None will ignore the C and l1_ratio parameters"
            warnings.warn(text, UserWarning, stacklevel=5)

    def _check_solver(self, solver: str) -> None:
        if solver == "liblinear":
            raise ValueError(
                "solver='liblinear' minimises another objective, which penalises the intercept; fastsoftmax does not. "
                "Use solver='auto'."
            )
        takes_l1 = solver in ("auto", "saga") or (solver in SOLVERS and SOLVERS[solver].l1)
        if self.name in ("l1", "elasticnet") and not takes_l1:
            raise ValueError(f"Solver {solver} supports only 'l2' or None penalties, got {self.name} penalty.")


def strength(C: float, total: float) -> float:
    """1 / (C S); of a C near 0 no more than float64 can count with: coef is 0 long before."""
    return 1 / max(C * total, 1e-100) if math.isfinite(C) else 0.0
