"""Fits of random hard problems against Newton's method in float64: how many are right, and how many say they are not.

Run: python benchmarks/hard_fits.py [--count 2000] [--first 0] [--jobs 1] [--seconds-limit S] [--verbose]

A fit fails if it ends without a ConvergenceWarning and F is above F* + tol, if F is above that of coef = 0 or of the
warm start, if it raises, warns of anything else or returns what is not finite. A problem is made from its seed alone:
--first 137 --count 1 makes the 137th again. Without a penalty on separable data F* is that of a reference that goes
on until F is a hundredth of tol. Seconds are of the fit, with what is compiled in it: the first run is slower.
"""

import argparse
import multiprocessing
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from hard_problems import Hard, make
from hard_reference import Infimum, Reference
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

import fastsoftmax as fs

RIGHT, WARNED = "converged, right", "warned"
HIGH, WORSE = "FAILED: F above F* + tol, no warning", "FAILED: F above that of the start"
INFINITE, NOISE = "FAILED: not finite", "FAILED: another warning"
SILENT, RAISED = "FAILED: not converged, no warning", "FAILED: raised"


class Result(NamedTuple):
    """What became of a seed."""

    seed: int
    outcome: str
    kinds: list[str]
    seconds: float
    excess: float  # F - F*
    sure: bool  # of F*
    remark: str


class Fitted(NamedTuple):
    """What a fit left behind."""

    model: Any
    start: tuple[Any, Any] | None  # coef_ and intercept_ of the warm start
    warned: bool
    others: list[str]
    seconds: float


def fit(hard: Hard) -> Fitted:
    """Fit; a warm start is from a fit to a thousandth of X, whose coefficients are a thousand times too large."""
    model, start = fs.SoftmaxRegression(**hard.options), None
    if hard.options["warm_start"]:
        with warnings.catch_warnings(action="ignore"):
            model.fit(hard.X / 1000, hard.y, hard.sample_weight)
        start = model.coef_.copy(), model.intercept_.copy()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        warnings.filterwarnings("ignore", "The number of unique classes is greater")  # scikit-learn's, and true
        began = time.perf_counter()
        model.fit(hard.X, hard.y, hard.sample_weight)
        seconds = time.perf_counter() - began
    others = [f"{w.category.__name__}: {w.message}" for w in seen if w.category is not ConvergenceWarning]
    return Fitted(model, start, len(others) < len(seen), others, seconds)


def found(reference: Reference, fitted: Fitted, value: float) -> Infimum:
    """F*, sought again from the fit's coefficients where they are better than what was found from 0."""
    best, model = reference.infimum(), fitted.model
    if value < best.value - 0.1 * reference.tol:
        again = reference.infimum(model.coef_, np.broadcast_to(model.intercept_, len(model.coef_)))
        best = again if again.value <= value else Infimum(value, False)
    return best


def judged(fitted: Fitted, reference: Reference, value: float, best: Infimum) -> tuple[str, str]:
    """The outcome and a remark."""
    model, tol = fitted.model, reference.tol
    start = reference.at_zero()
    if fitted.start is not None:
        start = min(start, reference.value(*fitted.start))
    slack = max(1.0, start) * (1e-6 if model.coef_.dtype == np.float32 else 1e-12)
    slack += tol * (len(reference.active) < reference.Y.shape[1])  # intercepts of classes without rows are finite
    if fitted.others:
        return NOISE, fitted.others[0]
    if value > start + slack:
        return WORSE, f"F {value:.9g}, start {start:.9g}"
    if fitted.warned:
        return WARNED, "F* + tol or less" if value <= best.value + tol else "F above F* + tol"
    if not model.converged_:
        return SILENT, ""
    if value > best.value + tol + 1e-9:
        return HIGH, f"F {value:.9g}, F* {best.value:.9g}, optimality {model.optimality_:.1e}"
    return RIGHT, ""


def tried(seed: int) -> Result:
    """Make, fit, judge."""
    hard = make(seed)
    reference = Reference(*hard[:4])
    began = time.perf_counter()
    try:
        fitted = fit(hard)
    except Exception as error:
        text = f"{type(error).__name__}: {error}"
        return Result(seed, RAISED, hard.kinds, time.perf_counter() - began, np.nan, True, text)
    model = fitted.model
    if not (np.isfinite(model.coef_).all() and np.isfinite(model.intercept_).all()):
        return Result(seed, INFINITE, hard.kinds, fitted.seconds, np.nan, True, "")
    value = reference.value(model.coef_, model.intercept_)
    with threadpool_limits(1):  # its matrices are small
        best = found(reference, fitted, value)
    outcome, remark = judged(fitted, reference, value, best)
    remark += f"{'; ' if remark else ''}{model.solver_}, {model.n_iter_[0]} iterations, gap {model.duality_gap_:.1e}"
    return Result(seed, outcome, hard.kinds, fitted.seconds, value - best.value, best.sure, remark)


def described(result: Result) -> str:
    hard = make(result.seed)
    shape = "x".join(map(str, (*hard.X.shape, len(np.unique(hard.y)) if hard.y.ndim == 1 else hard.y.shape[1])))
    text = f"{result.seed}: {result.outcome}; F* {'+' if result.excess >= 0 else '-'} {abs(result.excess):.1e}; "
    return (
        f"{text}{shape}, {', '.join(result.kinds)}; C {hard.options['C']:.3g}; {result.seconds:.2f} s; {result.remark}"
    )


def results(seeds: range, jobs: int) -> Iterator[Result]:
    if jobs == 1:
        yield from map(tried, seeds)
        return
    pool = ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), fs.set_num_threads, (1,))
    try:
        yield from pool.map(tried, seeds)
    finally:
        pool.shutdown(cancel_futures=True)


def report(every: list[Result]) -> None:
    """Counts, the share that converged, the kinds of those that did not, the slowest."""
    total = len(every)
    print(f"\n| outcome of {total} | |\n|---|---|")
    for outcome, count in sorted(Counter(r.outcome for r in every).items()):
        print(f"| {outcome} | {count} |")
    short = sum(r.outcome == WARNED and "or less" not in r.remark for r in every)
    print(f"| of those warned, F above F* + tol | {short} |")
    print(f"| F* not proved by the reference | {sum(not r.sure for r in every)} |")
    print(f"| converged and right | {sum(r.outcome == RIGHT for r in every) / total:.2%} |")
    print("\n| kind | problems | warned | failed |\n|---|---|---|---|")
    kinds = Counter(kind for r in every for kind in r.kinds)
    for kind, count in kinds.most_common():
        of = Counter(r.outcome.partition(":")[0] for r in every if kind in r.kinds)
        print(f"| {kind} | {count} | {of[WARNED]} | {of['FAILED']} |")
    print("\nThe slowest:")
    for result in sorted(every, key=lambda r: -r.seconds)[:10]:
        print("  " + described(result))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--count", type=int, default=2000, help="how many problems")
    parser.add_argument("--first", type=int, default=0, help="the seed of the first")
    parser.add_argument("--jobs", type=int, default=1, help="processes, each on one thread if more than one")
    parser.add_argument("--seconds-limit", type=float, default=np.inf, help="begin no problem later, and report")
    parser.add_argument("--verbose", action="store_true", help="a line a problem, not of the failed ones only")
    options = parser.parse_args()
    every, began = [], time.perf_counter()
    for result in results(range(options.first, options.first + options.count), options.jobs):
        every.append(result)
        if options.verbose or result.outcome.startswith("FAILED") or result.outcome == WARNED:
            print(described(result), flush=True)
        if time.perf_counter() - began > options.seconds_limit:
            break
    report(every)


if __name__ == "__main__":
    main()
