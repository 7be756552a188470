"""scikit-learn's own tests of LogisticRegression, with SoftmaxRegression in its place: what fails, and why."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import sklearn.linear_model

PASSED_BY_THEIRS = 295  # by LogisticRegression itself, in scikit-learn 1.9
IMPORT = "from sklearn.linear_model import LogisticRegression, LogisticRegressionCV, SGDClassifier"
OURS = """from sklearn.linear_model import LogisticRegressionCV, SGDClassifier
from fastsoftmax import SoftmaxRegression as LogisticRegression"""

REASONS = {
    "liblinear": "that solver penalises the intercept: another objective, refused",
    r"test_check_solver_option|test_logistic_regression_solvers\[": "they ask liblinear, among others",
    r"test_logistic_cv\[|test_logreg_l1\[|test_logistic_regression_class_weights": "they ask liblinear, among others",
    "test_consistency_path": "intercept_scaling=10000: the intercept is not penalised, so it is refused",
    "test_max_iter.*newton-cholesky": "the words of that solver's warning",
    "test_logistic_cv_multinomial_score": "all parameters are handed to a private function that knows none of ours",
    "test_large_sparse_matrix.*sag": "those solvers refuse 64-bit indices; ours takes them",
    "test_newton_cholesky_fallback_to_lbfgs": "the number of iterations after scikit-learn's own fallback",
    "callback": "scikit-learn's callbacks hook into its lbfgs alone, and are experimental",
}


@pytest.mark.skipif(
    not sklearn.__version__.startswith("1.9"), reason="the reasons below are for the tests of scikit-learn 1.9"
)
def test_their_tests_pass_but_for_known_reasons(tmp_path):
    text = (Path(sklearn.linear_model.__file__).parent / "tests" / "test_logistic.py").read_text()
    assert IMPORT in text
    (tmp_path / "test_theirs.py").write_text(text.replace(IMPORT, OURS))
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-q",
        "-p",
        "sklearn.conftest",
        "-p",
        "no:cacheprovider",
        "test_theirs.py",
    ]
    command += ["-p", "no:warnings", "--tb=no"]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False)
    failed = re.findall(r"^FAILED (.*?)(?: - .*)?$", run.stdout, re.M)
    unknown = [name for name in failed if not any(re.search(reason, name) for reason in REASONS)]
    assert not unknown, "\n".join(unknown)
    passed = int(re.search(r"(\d+) passed", run.stdout)[1])
    assert passed >= 0.78 * PASSED_BY_THEIRS, run.stdout[-3000:]
