"""Fits over local workers beside one process: ratios, seconds a step beside a model of it, memory of the client.

Run: python benchmarks/compare_dask.py [tasks] [overhead] [partitions] [memory] [sgd]

Each worker is a process of one thread. Fits take turns, the first of each untimed; ratios are of medians.
"""

import argparse
import itertools
import os
import time
from collections.abc import Callable
from typing import Any

import dask.array as da
import numpy as np
from distributed import Client, LocalCluster
from probe_at_scale import Watch

import fastsoftmax as fs
from fastsoftmax.dask import DaskSoftmaxRegression, DaskSoftmaxSGDClassifier
from fastsoftmax.dask.objective import ObjectiveOverCluster
from fastsoftmax.dask.tasks import View, objective
from fastsoftmax.data.examples import Examples
from fastsoftmax.data.layouts import as_design
from fastsoftmax.data.targets import as_targets
from fastsoftmax.engine import threads
from fastsoftmax.objective.summed import SUMS


def cluster(workers: int) -> LocalCluster:
    return LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address=None, memory_limit=0)


def counted(steps: list[float]) -> None:
    """Seconds of each sum over all partitions."""
    summed = ObjectiveOverCluster.summed

    def timed(self: Any, name: str, *arguments: Any) -> Any:
        start = time.perf_counter()
        result = summed(self, name, *arguments)
        if name == "loss_gradient":
            steps.append(time.perf_counter() - start)
        return result

    ObjectiveOverCluster.summed = timed  # type: ignore[method-assign]


def rows_of(n: int, m: int, c: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(0)
    X = rng.standard_normal((n, m), dtype=np.float32)
    return X, (X[:, :c] + 2 * rng.standard_normal((n, c), dtype=np.float32)).argmax(1)


def nothing(part: Any, number: int) -> Any:
    return np.zeros((10, 256))


def tasks() -> None:
    """What tasks take that do nothing."""
    print("\n| tasks that do nothing | milliseconds, there and back, for each |\n|---|---|")
    with cluster(2) as made, Client(made) as client:
        held = [client.submit(np.arange, 10, key=f"held-{i}") for i in range(16)]
        client.gather(held)
        for count in (1, 16):
            times = []
            for turn in range(30):
                start = time.perf_counter()
                sent = [client.submit(nothing, held[i], i, key=f"nothing-{count}-{turn}-{i}") for i in range(count)]
                client.gather(sent)
                times.append(time.perf_counter() - start)
            print(f"| {count} | **{1e3 * np.median(times) / count:.1f}** |", flush=True)


def overhead() -> None:
    """Sixteen partitions on two workers of one thread, beside one process of two threads."""
    X, y = rows_of(400_000, 256, 10)
    each = len(X) // 16
    parts = fs.Parts([(X[k : k + each], y[k : k + each]) for k in range(0, len(X), each)])
    with cluster(2) as made, Client(made) as client:
        lazy = client.persist([da.from_array(X, chunks=(each, 256)), da.from_array(y, chunks=each)])
        calls = {
            "one process, 2 threads": lambda: fs.SoftmaxRegression().fit(parts),
            "2 workers of 1 thread": lambda: DaskSoftmaxRegression(client=client).fit(*lazy),
        }
        times: dict[str, list[float]] = {name: [] for name in calls}
        models: dict[str, Any] = {}
        for turn in range(4):
            for name, call in calls.items():
                start = time.perf_counter()
                models[name] = call()
                if turn:
                    times[name].append(time.perf_counter() - start)
    one, two = models.values()
    print("\n| a fit of 400000 x 256 x 10 in 16 partitions | seconds | ratio |\n|---|---|---|")
    first = np.median(next(iter(times.values())))
    for name, seconds in times.items():
        print(f"| {name} | {np.median(seconds):.2f} | **{np.median(seconds) / first:.2f}** |")
    print(f"| the same bytes | {np.array_equal(one.coef_, two.coef_)} | |", flush=True)


def seconds_of(function: Callable[[], object], turns: int = 7) -> float:
    """Median."""
    times = []
    for _ in range(turns):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return float(np.median(times))


def each_alone(rows: int, m: int, c: int) -> float:
    """Seconds that one thread takes for a sum over one partition, by what a worker runs."""
    X, y = rows_of(rows, m, c)
    parts = [Examples(as_design(X), as_targets(y, rows, c, np.float32))] * 8
    view = View(np.ones(m), np.zeros(m), np.dtype(np.float32), None)
    arguments = (np.zeros((c, m)), np.zeros(c), 1.0, True)
    with threads.serially():
        return seconds_of(lambda: [SUMS["loss_gradient"](objective(part, view), *arguments) for part in parts]) / 8


def partitions() -> None:
    """Seconds a step, beside what the terms of docs/dask.md say."""
    print("\n| partitions; rows, features, classes of each; workers | seconds a step | by its terms |\n|---|---|---|")
    steps: list[float] = []
    counted(steps)
    cores = os.cpu_count() or 1
    for workers in (1, 2, 3):
        with cluster(workers) as made, Client(made) as client:
            held = [client.submit(np.arange, 10, key=f"held-{i}", workers=[w]) for i, w in enumerate(client.nthreads())]
            client.gather(held)
            number = itertools.count()

            def empty(client: Any = client, held: Any = held, number: Any = number) -> None:
                turn = next(number)
                sent = [client.submit(nothing, part, 0, key=f"nothing-{turn}-{i}") for i, part in enumerate(held)]
                client.gather(sent, direct=True)

            alone = seconds_of(empty, 30)
            for count, rows, m in ((10, 1000, 50), (100, 1000, 50), (1000, 1000, 50), (16, 25_000, 256)):
                X, y = rows_of(rows * count, m, 10)
                lazy = client.persist([da.from_array(X, chunks=(rows, m)), da.from_array(y, chunks=rows)])
                steps.clear()
                DaskSoftmaxRegression(client=client, solver="lbfgs").fit(*lazy)
                at_once = min(workers, cores)
                expected = alone + count * each_alone(rows, m, 10) / at_once + count * 80 * (m + 1) / 1e9
                print(
                    f"| {count}; {rows}, {m}, 10; {workers} | **{np.median(steps):.3f}** | {expected:.3f} |", flush=True
                )


def sgd() -> None:
    """An epoch of mini-batches over more than comes together on one worker, beside one process with two threads."""
    rows, m, c, count = 50_000, 256, 10, 16  # 820 MB
    X, y = rows_of(rows * count, m, c)
    pieces = [(X[k : k + rows], y[k : k + rows]) for k in range(0, len(X), rows)]
    parts = fs.Parts([lambda piece=piece: piece for piece in pieces])
    options = {"random_state": 0, "max_epochs": 2, "tol": None}
    with cluster(2) as made, Client(made) as client:
        lazy = client.persist([da.from_array(X, chunks=(rows, m)), da.from_array(y, chunks=rows)])
        calls: dict[str, Callable[[], Any]] = {
            "one process, 2 threads": lambda: fs.SoftmaxSGDClassifier(**options).fit(parts),
            "2 workers of 1 thread": lambda: DaskSoftmaxSGDClassifier(client=client, **options).fit(*lazy),
        }
        models = {name: call() for name, call in calls.items()}
        times = {name: [record["seconds"] for record in model.history_] for name, model in models.items()}
    one, two = models.values()
    print(f"\n| {count} partitions of {rows} x {m} x {c}, batches of 64 | seconds an epoch |\n|---|---|")
    for name, seconds in times.items():
        print(f"| {name} | **{min(seconds):.2f}** |")
    print(f"| the same bytes | {np.array_equal(one.coef_, two.coef_)} |", flush=True)


def memory() -> None:
    """Rows that are made on the workers, four times as many as the client may hold."""
    m, c, rows, count = 256, 10, 50_000, 40  # 2 GB

    def block(seed: int) -> Any:
        return np.random.default_rng(seed).standard_normal((rows, m), dtype=np.float32)

    def labels(X: Any) -> Any:
        return (X[:, :c] + np.random.default_rng(1).standard_normal((len(X), c), dtype=np.float32)).argmax(1)

    import dask

    made_rows = [dask.delayed(block)(seed) for seed in range(count)]
    X = da.concatenate([da.from_delayed(part, (rows, m), np.float32) for part in made_rows])
    y = da.concatenate([da.from_delayed(dask.delayed(labels)(part), (rows,), np.int64) for part in made_rows])
    with cluster(2) as made, Client(made) as client, Watch() as watch:
        start = time.perf_counter()
        model = DaskSoftmaxRegression(client=client).fit(X, y)
        seconds = time.perf_counter() - start
    print(f"\n| {rows * count} x {m} x {c}, {4e-9 * rows * count * m:.1f} GB, made on the workers | |\n|---|---|")
    print(f"| seconds; iterations; gap | {seconds:.0f}; {model.n_iter_[0]}; {model.duality_gap_:.1e} |")
    print(f"| anonymous memory of the client beyond import, MB | **{watch.megabytes:.0f}** |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    known = {"tasks": tasks, "overhead": overhead, "partitions": partitions, "memory": memory, "sgd": sgd}
    parser.add_argument("parts", nargs="*", choices=[*known, []])
    for name in parser.parse_args().parts or known:
        known[name]()


if __name__ == "__main__":
    main()
