"""`fastsoftmax fit`: the optimum of rows in files, which may be larger than memory, with a proof."""

import argparse
import time
from typing import Any

from fastsoftmax.cli.data import Data, Wanted, read
from fastsoftmax.cli.report import NO_LABELS, Progress, peak_memory, print_json, print_report, rows_of

PIXELS = 1 / 255


def _strength(C: float, l1_ratio: float, data: Data, standardize: bool) -> tuple[float, float]:
    """(C, l1_ratio) for X as it is; of images they were meant for X / 255."""
    if not data.images or standardize:
        return C, l1_ratio
    l2, l1 = (1 - l1_ratio) / C / PIXELS**2, l1_ratio / C / PIXELS
    return 1 / (l1 + l2), l1 / (l1 + l2)


def _estimator(args: argparse.Namespace, data: Data) -> Any:
    import numpy as np

    from fastsoftmax.estimators.regression import SoftmaxRegression
    from fastsoftmax.estimators.selection import SoftmaxRegressionCV

    weight = "balanced" if args.balanced else None
    options = {"tol": args.tol, "max_iter": args.max_iter, "standardize": args.standardize, "class_weight": weight}
    if args.cv is None:
        C, ratio = _strength(1.0 if args.C is None else args.C, args.l1_ratio, data, args.standardize)
        return SoftmaxRegression(C=C, l1_ratio=ratio, **options)
    if args.C is not None:
        raise ValueError(f"--cv chooses C: give one of the two, got --C {args.C} and --cv {args.cv}")
    if args.checkpoint is not None:
        raise ValueError("--cv has no checkpoints: leave --checkpoint out")
    scaled = [_strength(float(C), args.l1_ratio, data, args.standardize) for C in np.logspace(-4, 4, 10)]
    return SoftmaxRegressionCV(Cs=[C for C, _ in scaled], l1_ratios=[scaled[0][1]], cv=args.cv, **options)


def fit(args: argparse.Namespace) -> int:
    start = time.perf_counter()
    from fastsoftmax.files import check_folder
    from fastsoftmax.tally import tested

    for path in (args.save, args.checkpoint):
        if path:
            check_folder(path)  # now, not after the fit
    wanted = Wanted(args.label, args.features, args.weight)
    data = read(args.data, wanted)
    estimator = _estimator(args, data)
    rows = rows_of(data, args)
    test = data.test
    if args.test is not None:  # now: nobody wants to wait for a fit, and then read of a typing error
        test = read(args.test, wanted.of_test(rows, data)).parts
    began = time.perf_counter()
    with Progress(rows, args.quiet or args.json):
        estimator.fit(rows, **({} if args.cv is not None else {"checkpoint": args.checkpoint}))
    ended = time.perf_counter()
    model = estimator.to_model()
    model.settings |= data.settings
    if args.save:
        model.save(args.save)
    report = {} if test is None else tested(model, test, NO_LABELS)
    result = report | _facts(estimator, rows, data, args) | {"sha256": model.sha256(), "memory_mb": peak_memory()}
    result["seconds"] = {"read": began - start, "fit": ended - began, "test": time.perf_counter() - ended}
    if args.json:
        print_json(result)
    else:
        _print(result)
    return 0


def _facts(estimator: Any, rows: Any, data: Data, args: argparse.Namespace) -> dict[str, Any]:
    """What was fitted, and how near the optimum it is."""
    names = ("C", "l1_ratio") if args.cv is None else ("C_", "l1_ratio_")
    chosen, ratio = (float(getattr(estimator, name)) for name in names)
    if data.images and not args.standardize:
        l2, l1 = (1 - ratio) / chosen * PIXELS**2, ratio / chosen * PIXELS
        chosen, ratio = 1 / (l1 + l2), l1 / (l1 + l2)
    return {
        "rows": rows.n,
        "features": rows.m,
        "classes": len(estimator.classes_),
        "C": chosen,
        "duality_gap": float(estimator.duality_gap_),
        "optimality": float(estimator.optimality_),
        "objective": getattr(estimator, "objective_", None),  # of the fit after a cross-validation it is not known
        "iterations": int(estimator.n_iter_.sum()),
        "converged": bool(estimator.converged_),
        "passes": rows.pace.rows / rows.n,
    }


def _print(result: dict[str, Any]) -> None:
    print("{rows} rows, {features} features, {classes} classes, C = {C:.4g}".format(**result))
    value = "F" if result["objective"] is None else f"F {result['objective']:.6f},"
    print(
        "{value} at most {duality_gap:.2g} above the optimum; {iterations} iterations, {passes:.1f} passes over the "
        "rows".format(value=value, **result)
    )
    if "test_accuracy" in result:
        print_report(result)
    seconds, memory = result["seconds"], result["memory_mb"]
    print(
        f"wall time: read {seconds['read']:.2f} s, fit {seconds['fit']:.2f} s, test {seconds['test']:.2f} s"
        + ("" if memory is None else f"; at most {memory:.0f} MB of memory, mapped files included")
    )
    print(f"sha256 of the weights {result['sha256']}")
