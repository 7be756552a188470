"""Compiling ahead of time: a small problem of each kind that kernels tell apart, and both twins of each driver."""

import logging
import time
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from fastsoftmax.data.csr import CSR
from fastsoftmax.data.design import Design
from fastsoftmax.data.examples import Examples
from fastsoftmax.data.gate import BFLOAT16, as_features
from fastsoftmax.data.layouts import as_design
from fastsoftmax.data.targets import as_targets
from fastsoftmax.defaults import DTYPES, EVERY_DTYPE
from fastsoftmax.engine import threads
from fastsoftmax.functional.cross_entropy import cross_entropy_gradient
from fastsoftmax.functional.regression import loss_gradient
from fastsoftmax.functional.softmax import softmax
from fastsoftmax.objective.partition import MANY, PARTIAL_BYTES
from fastsoftmax.objective.problem import Problem
from fastsoftmax.objective.softmax import OWNING, SoftmaxObjective
from fastsoftmax.solvers import SOLVERS, minimise, preconditioners
from fastsoftmax.training.sources import InMemory
from fastsoftmax.training.trainer import Trainer

logger = logging.getLogger("fastsoftmax")
Array = NDArray[Any]
ROWS, FEATURES = 12, 5


def warmup(
    n_classes: int | Iterable[int] | None = None,
    dtypes: Iterable[DTypeLike] = DTYPES,
    *,
    progress: bool | None = None,
) -> float:
    """Compile what the public functions, trainers and estimators call, and keep it in the cache.

    Parameters
    ----------
    n_classes : int or iterable of int, optional
        Numbers of classes that will come; by default any: register tiles of each shape are compiled.
    dtypes : iterable of dtype, default ("uint8", "float32", "float64")
        Of X; also "float16", "bfloat16" and "int8".
    progress : bool, optional
        Whether to show a bar; by default only on a terminal.

    Returns
    -------
    float
        Seconds that it took: some minutes, or seconds where all is cached.

    Raises
    ------
    ValueError
        If a number of classes is less than 2, or a dtype is another.

    Examples
    --------
    In the building of a container, for classifiers of ten classes on float32 data, which takes a minute:

    >>> import fastsoftmax as fs
    >>> seconds = fs.warmup(10, ["float32"])  # doctest: +SKIP
    """
    given = range(2, MANY + 1) if n_classes is None else n_classes
    counts = list(given) if isinstance(given, Iterable) else [given]
    if not counts or any(not isinstance(c, (int, np.integer)) or c < 2 for c in counts):
        raise ValueError(f"n_classes must be integers of at least 2, got {n_classes!r}")
    names = [dtypes] if isinstance(dtypes, str) else list(dtypes)
    kinds = [kind for kind in EVERY_DTYPE if any(_same(kind, name) for name in names)]
    if not names or not all(any(_same(kind, name) for kind in EVERY_DTYPE) for name in names):
        raise ValueError(f"dtypes must be some of {EVERY_DTYPE}, got {names}")
    from tqdm import tqdm

    start, tasks = time.perf_counter(), [*_tasks([int(c) for c in counts], kinds)]
    with threads.warming():
        for task, *arguments in tqdm(
            tasks, "compiling", leave=False, disable=None if progress is None else not progress
        ):
            task(*arguments)
    seconds = time.perf_counter() - start
    logger.info("warm after %.1f s", seconds)
    return seconds


def _same(kind: str, name: Any) -> bool:
    if kind == "bfloat16":  # which NumPy does not know by its name
        return bool(name == kind or getattr(name, "__name__", getattr(name, "name", "")) == kind)
    try:
        return name is not None and bool(np.dtype(kind) == np.dtype(name))
    except TypeError:
        return False


def _stored(numbers: Array, kind: str) -> Array:
    """Small numbers in one of the dtypes; bfloat16, of which scipy.sparse knows nothing, by its bits."""
    if kind != "bfloat16":
        return numbers.astype(kind)
    return (numbers.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).view(BFLOAT16)


def _tasks(counts: list[int], kinds: list[str]) -> Iterator[tuple[Any, ...]]:
    """Functions and what they are to be called with."""
    for dtype in sorted({np.dtype(np.float64 if kind == "float64" else np.float32) for kind in kinds}, key=str):
        yield _functions, dtype
    for design in _examples(kinds):
        for dtype in sorted({design.dtype, np.dtype(np.float64)}, key=str):
            tiles: dict[Any, int] = {}
            for c in counts:
                plan = design.arrange(dtype, c)
                tiles.setdefault((plan.tile, plan.side), c)
            for c in tiles.values():
                yield _passes, design, dtype, c
            if () in {tile for tile, _ in tiles}:  # panels, which a wider X makes a pass of its own, as more classes do
                yield _curvature, design, dtype, OWNING
                yield _steps, design, dtype, OWNING
            yield _solvers, design, dtype, next(iter(tiles.values()))


def _examples(kinds: list[str]) -> Iterator[Design]:
    """Dense X, sparse X, and sparse X with so many features that each owns its gradient."""
    for kind in kinds:
        X = _stored((np.arange(ROWS * FEATURES) % 7).reshape(ROWS, FEATURES), kind)
        yield as_design(X)
        data, index = as_features(X).reshape(-1), np.arange(ROWS * FEATURES, dtype=np.int32)
        yield CSR.of(ROWS, FEATURES, data, index % FEATURES, np.arange(ROWS + 1) * FEATURES).mapped(1.0)
        wide = CSR.of(ROWS, PARTIAL_BYTES // 1024 + 1, data[:ROWS].copy(), index[:ROWS], np.arange(ROWS + 1))
        yield wide.mapped(1.0)


def _functions(dtype: np.dtype[Any]) -> None:
    """softmax and its kin, of few and of many classes, along any axis."""
    for c in (3, 40):
        Z, y = np.zeros((4, c), dtype), np.zeros(4, np.int64)
        for axis in (0, 1):
            softmax(Z, axis)
        cross_entropy_gradient(Z, y)
        loss_gradient(Z, y, np.zeros((2, c), dtype), l2=1.0)


def _passes(design: Design, dtype: np.dtype[Any], c: int) -> None:
    """What a trainer, a model and a solver ask of an objective."""
    examples = Examples(design, as_targets(np.arange(design.n) % c, design.n, c, dtype))
    objective = SoftmaxObjective(examples, dtype)
    coef, intercept = np.zeros((c, design.m), dtype), np.zeros(c, dtype)
    objective.evaluate(coef, intercept)
    objective.predict(coef, intercept)
    _curvature(design, dtype, c)
    _steps(design, dtype, c)


def _steps(design: Design, dtype: np.dtype[Any], c: int) -> None:
    """Both optimisers'."""
    examples = Examples(design, as_targets(np.arange(design.n) % c, design.n, c, dtype))
    for optimizer in ("sgd", "adam"):
        trainer = Trainer(1, 4, optimizer, learning_rate=1e-6, l2=1e-6, dtype=dtype, progress=False)
        trainer.fit_checked(InMemory(examples, np.dtype(dtype)), np.arange(c))


def _curvature(design: Design, dtype: np.dtype[Any], c: int) -> None:
    """The gradient and products with the Hessian, which of many classes are passes of their own."""
    objective = SoftmaxObjective(Examples(design, as_targets(np.arange(design.n) % c, design.n, c, dtype)), dtype)
    coef, intercept = np.zeros((c, design.m), dtype), np.zeros(c, dtype)
    objective.loss_gradient(coef, intercept)
    out = np.zeros_like(coef), np.zeros_like(intercept)
    objective.curvature(coef, intercept).hessp(coef, intercept, 1.0, out)


def _solvers(design: Design, dtype: np.dtype[Any], c: int) -> None:
    """Moments, Gram matrices, preconditioners; and each solver for an iteration or two."""
    targets = as_targets(np.arange(design.n) % c, design.n, c, dtype)
    for l1 in (0.0, 0.1):
        objective = SoftmaxObjective(Examples(design, targets), dtype)
        problem = Problem(objective, l1=l1, l2=1.0, fit_intercept=True)
        theta = np.zeros(problem.size)
        preconditioners.sharper(problem, theta)(theta)
        for name, solver in SOLVERS.items():
            if solver.l1 or not l1:
                minimise(problem, [], name, 1e-4, 2, dtype, lambda *_: None)
