"""Fits to the optimum, against scikit-learn: one process, taking turns, warm; prints the table of docs/benchmarks.md.

Run: python -m pip install '.[peers,embeddings]' && python benchmarks/compare_fits.py [mnist] [probe] [text] [l1] [cv]
[small] [embeddings] [path45] [bigrams] [counts] [mteb] [intelex]

Embeddings and text are WordNet's, see embeddings.py. Rivals that are not installed are left out. F is evaluated in
float64 by a function of this file that imports nothing of fastsoftmax. Where a rival stops short of the optimum, its F
is printed, and the time is that of reaching it. scikit-learn-intelex is patched in last: then scikit-learn is no longer
itself.
"""

import argparse
import time
import warnings
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import embeddings as wordnet
import numpy as np
from scipy.special import logsumexp
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.linear_model import LogisticRegression, LogisticRegressionCV
from suite.problems import mnist_float, peak_beyond, probe, sparse_counts, sparse_text

from fastsoftmax import SoftmaxRegression, SoftmaxRegressionCV, path

OPTIMA = {1.0: 0.2321177, 0.01: 0.3641789}  # of MNIST
TOLERANCES = (0.3, 0.2, 0.1, 5e-2, 3e-2, 2e-2, 1e-2, 5e-3, 3e-3, 1e-3, 3e-4, 1e-4)


def objective(model: Any, X: Any, y: Any) -> float:
    """F in float64, in slices of rows."""
    coef, intercept = model.coef_.astype(np.float64), model.intercept_.astype(np.float64)
    l1_ratio, total = float(model.l1_ratio or 0), 0.0
    for start in range(0, X.shape[0], 10000):
        part = X[start : start + 10000]
        Z = part.astype(np.float64) @ coef.T + intercept
        total += float((logsumexp(Z, axis=1) - Z[np.arange(len(Z)), y[start : start + 10000]]).sum())
    norms = 0.5 * (1 - l1_ratio) * (coef**2).sum() + l1_ratio * np.abs(coef).sum()
    return (total + norms / model.C) / X.shape[0]


class Cyanure:
    """Cyanure's softmax regression under scikit-learn's names, to its own stop."""

    C, l1_ratio = 1.0, 0.0

    def fit(self, X: Any, y: Any) -> None:
        from cyanure.estimators import Classifier

        share = 1 / (self.C * X.shape[0])
        model = Classifier("multiclass-logistic", "l2", lambda_1=share, fit_intercept=True, verbose=False).fit(X, y)
        self.coef_, self.intercept_ = model.coef_.T, model.intercept_.ravel()


def rivals(max_iter: int = 1000) -> dict[str, Any]:
    """Those that take X of any layout."""
    every: dict[str, Any] = {"scikit-learn": LogisticRegression(max_iter=max_iter)}
    if find_spec("cyanure"):
        every["Cyanure"] = Cyanure()
    return every


def seconds(call: Callable[[], Any]) -> float:
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def median(calls: dict[str, Callable[[], Any]], rounds: int) -> dict[str, float]:
    """Median seconds, the calls taking turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            times[name].append(seconds(call))
    return {name: float(np.median(t)) for name, t in times.items()}


def line(title: str, ours: float, theirs: float, remark: str = "", memory: str = "") -> None:
    print(f"| {title} | {ours:.3g} s | {theirs:.3g} s | **{theirs / ours:.1f}x** | {remark} | {memory} |", flush=True)


def largest_tolerance(X: Any, y: Any, wanted: float, **options: Any) -> tuple[float, Any]:
    """The largest tol whose fit ends at F <= wanted; if none does, the smallest."""
    for tol in TOLERANCES:
        model = SoftmaxRegression(tol=tol, **options).fit(X, y)
        if objective(model, X, y) <= wanted:
            break
    return tol, model


def mnist(rival: Any = LogisticRegression, name: str = "scikit-learn") -> None:
    X, y = mnist_float()
    for C, best in OPTIMA.items():
        theirs = rival(C=C, tol=1e-4, max_iter=1000)
        tol, model = largest_tolerance(X, y, best + 1e-5, C=C)
        default = SoftmaxRegression(C=C)
        found = median({"reach": lambda m=model: m.fit(X, y), "default": lambda m=default: m.fit(X, y)}, 5)  # type: ignore[misc]
        slow = seconds(lambda m=theirs: m.fit(X, y))  # type: ignore[misc]
        off = objective(theirs, X, y) - best
        line(f"MNIST, C={C:g}, to F* + 1e-5 (tol={tol:g})", found["reach"], slow, f"{name} stops at F* + {off:.1e}")
        gap = f"gap {default.duality_gap_:.1e}, F* + {objective(default, X, y) - best:.1e}"
        line(f"MNIST, C={C:g}, default fit", found["default"], slow, gap)
    if name == "scikit-learn":
        sharp = SoftmaxRegression(tol=1e-6)
        took = median({"sharp": lambda: sharp.fit(X, y)}, 3)["sharp"]
        print(f"| MNIST, C=1, tol=1e-6 | {took:.3g} s | | | gap {sharp.duality_gap_:.1e} |", flush=True)


def to_their_f(title: str, X: Any, y: Any, theirs: Any, rounds: int = 3, **options: Any) -> tuple[float, float]:
    """The time to F where the rival stops; its seconds and that F."""
    SoftmaxRegression(**options).fit(X, y)
    slow, wanted = once(theirs, X, y)
    allowed = wanted + 1e-7 * abs(wanted)
    tol, model = largest_tolerance(X, y, allowed, **options)
    calls = {"ours": lambda: model.fit(X, y), "theirs": lambda: theirs.fit(X, y)}
    found = {"theirs": slow, **median(calls if rounds > 1 else {"ours": calls["ours"]}, rounds)}
    value = objective(model, X, y)
    remark = f"F {value:.6f} and {wanted:.6f}, gap {model.duality_gap_:.0e}{', NOT REACHED' if value > allowed else ''}"
    line(f"{title} (tol={tol:g})", found["ours"], found["theirs"], remark)
    return found["theirs"], wanted


def once(theirs: Any, X: Any, y: Any) -> tuple[float, float]:
    """Seconds of a fit, and its F."""
    return seconds(lambda: theirs.fit(X, y)), objective(theirs, X, y)


def default_fit(title: str, X: Any, y: Any, slow: float, wanted: float) -> None:
    """The default fit beside the rival's own stop, and the memory it takes."""
    ours = SoftmaxRegression().fit(X, y)
    took = seconds(lambda: ours.fit(X, y))
    remark = "converged" if ours.converged_ else "NOT CONVERGED"
    remark += f", gap {ours.duality_gap_:.0e}, F {objective(ours, X, y) - wanted:+.1e}"
    memory = f"{peak_beyond(lambda: ours.fit(X, y)) / 1e9:.2f} GB"
    line(f"{title}, default fit", took, slow, remark, memory)


def probes() -> None:
    for spread in (0.05, 0.15):
        X, y = probe(spread)
        to_their_f(f"probe 20000 x 768 x 200, spread {spread}", X, y, LogisticRegression(max_iter=1000))


def text() -> None:
    to_their_f("CSR 20000 x 100000 x 20", *sparse_text(), LogisticRegression(max_iter=1000))


def l1() -> None:
    X, y = mnist_float()
    X, y = X[:10000], y[:10000]
    theirs = LogisticRegression(C=0.1, l1_ratio=1.0, solver="saga", max_iter=100, tol=0.0)
    to_their_f("L1, 10000 of MNIST, C=0.1", X, y, theirs, 1, C=0.1, l1_ratio=1.0)


def cv() -> None:
    X, y = mnist_float()
    X, y = X[:10000], y[:10000]
    ours = SoftmaxRegressionCV(Cs=10, cv=3).fit(X[:1000], y[:1000])
    theirs = LogisticRegressionCV(Cs=10, cv=3, l1_ratios=(0.0,), scoring="accuracy", use_legacy_attributes=False)
    found = median({"ours": lambda: ours.fit(X, y), "theirs": lambda: theirs.fit(X, y)}, 1)
    remark = f"best scores {ours.scores_.mean(0).max():.4f} and {np.mean(theirs.scores_, axis=0).max():.4f}"
    line("10 Cs x 3 folds, 10000 of MNIST", found["ours"], found["theirs"], remark)


def small() -> None:
    for load in (load_iris, load_wine, load_digits):
        X, y = load(return_X_y=True)
        ours, theirs = SoftmaxRegression().fit(X, y), LogisticRegression()
        for m, name in ((theirs, "max_iter=100"), (LogisticRegression(max_iter=1000), "max_iter=1000")):
            found = median({"ours": lambda: ours.fit(X, y), "theirs": lambda m=m: m.fit(X, y)}, 15)  # type: ignore[misc]  # noqa: B023
            line(f"{load.__name__[5:]}, against {name}", found["ours"], found["theirs"])


def real(others: dict[str, Any] | None = None) -> None:
    """Embeddings of 45, 601 and 1625 classes."""
    for labels, n, least in (("lexicographer", 30000, 0), ("hypernym", None, 20), ("hypernym", None, wordnet.LEAST)):
        X, y = wordnet.embeddings(labels, n, least)
        for name, theirs in (others or rivals()).items():
            to_their_f(f"embeddings {len(X)} x 512, {y.max() + 1} classes, {name}", X, y, theirs, 1)


def path45() -> None:
    """The strengths that linear probes are tuned over, each fit of the rival started from the one before."""
    X, y = wordnet.embeddings("lexicographer", 12000)
    Cs, ends, slow = 10 ** np.linspace(-6, 5, 45), [], 0.0
    theirs, ours = (kind(max_iter=1000, warm_start=True) for kind in (LogisticRegression, SoftmaxRegression))
    for C in Cs:
        took, value = once(theirs.set_params(C=C), X, y)
        ends, slow = [*ends, value], slow + took
    path(X, y, Cs=Cs[:2])
    start = time.perf_counter()
    found = path(X, y, Cs=Cs)
    fast, values = time.perf_counter() - start, []
    for ours.C, ours.coef_, ours.intercept_ in zip(Cs, found.coefs, found.intercepts, strict=True):
        values.append(objective(ours, X, y))
    lower = int((np.array(values) <= np.array(ends) + 1e-7).sum())
    remark = (
        f"F no higher at {lower} of them, largest gap {found.duality_gap.max():.0e}, {found.n_iter.sum()} iterations"
    )
    line("a path of 45 strengths, 12000 x 512, 45 classes", fast, slow, remark)


def bigrams() -> None:
    X, y = wordnet.tfidf(40000)
    for name, theirs in rivals().items():
        title = f"tf-idf of words and pairs {X.shape[0]} x {X.shape[1]}, {name}"
        default_fit(title, X, y, *to_their_f(title, X, y, theirs, 1))


def counts() -> None:
    """Random ones, then those of words and pairs."""
    for make in (lambda: sparse_counts(300_000), lambda: sparse_counts(1_500_000), lambda: wordnet.counts(40000)):
        X, y = make()
        for name, theirs in rivals().items():
            default_fit(f"counts {X.shape[0]} x {X.shape[1]}, {name}", X, y, *once(theirs, X, y))


def mteb() -> None:
    """Few rows a class, as benchmarks of embeddings draw them: default fits."""
    for c in (45, 77):
        X, y = wordnet.few(c)
        for name, theirs in rivals(max_iter=100).items():
            ours = SoftmaxRegression().fit(X, y)
            found = median({"ours": lambda m=ours: m.fit(X, y), "theirs": lambda m=theirs: m.fit(X, y)}, 15)  # type: ignore[misc]  # noqa: B023
            remark = f"F {objective(ours, X, y):.6f} and {objective(theirs, X, y):.6f}"
            line(f"8 rows a class, {len(X)} x 512, {c} classes, {name}", found["ours"], found["theirs"], remark)


def intelex() -> None:
    try:
        from sklearnex.linear_model import LogisticRegression as Patched
    except ImportError:
        print("| scikit-learn-intelex is not installed |")
        return
    mnist(Patched, "intelex")
    real({"intelex": Patched(max_iter=1000)})


PARTS = {
    "mnist": mnist,
    "probe": probes,
    "text": text,
    "l1": l1,
    "cv": cv,
    "small": small,
    "embeddings": real,
    "path45": path45,
    "bigrams": bigrams,
    "counts": counts,
    "mteb": mteb,
    "intelex": intelex,
}


def run(parts: list[str]) -> None:
    """Print the lines of some of the parts."""
    warnings.simplefilter("ignore")
    print("\n| fit | fastsoftmax | rival | | | memory beyond X |\n|---|---|---|---|---|---|")
    for part in parts:
        try:
            PARTS[part]()  # type: ignore[operator]
        except wordnet.MissingError as error:
            print(f"| {part}: {error} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="all of them by default")
    run(parser.parse_args().parts or list(PARTS))


if __name__ == "__main__":
    main()
