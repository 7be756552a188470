"""DaskSoftmaxRegression on local workers beside one process: ratios, seconds a step, memory of the client.

Run: python benchmarks/compare_dask.py [tasks] [overhead] [partitions] [memory]

Each worker is a process of one thread. Fits take turns, the first of each untimed; ratios are of medians.
"""

import argparse
import time
from typing import Any

import dask.array as da
import numpy as np
from distributed import Client, LocalCluster
from probe_at_scale import Watch

import fastsoftmax as fs
from fastsoftmax.dask import DaskSoftmaxRegression
from fastsoftmax.dask.objective import ObjectiveOverCluster


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


def partitions() -> None:
    """Seconds a step of many small partitions."""
    print("\n| 1000 rows x 50 features x 10 classes a partition | seconds a step |\n|---|---|")
    steps: list[float] = []
    counted(steps)
    with cluster(2) as made, Client(made) as client:
        for count in (10, 100, 1000):
            X, y = rows_of(1000 * count, 50, 10)
            lazy = client.persist([da.from_array(X, chunks=(1000, 50)), da.from_array(y, chunks=1000)])
            steps.clear()
            DaskSoftmaxRegression(client=client, solver="lbfgs").fit(*lazy)
            print(f"| {count} partitions | **{np.median(steps):.2f}** |", flush=True)


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
    known = {"tasks": tasks, "overhead": overhead, "partitions": partitions, "memory": memory}
    parser.add_argument("parts", nargs="*", choices=[*known, []])
    for name in parser.parse_args().parts or known:
        known[name]()


if __name__ == "__main__":
    main()
