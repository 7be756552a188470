"""Half precision, files larger than what is read at once, and parts, beside float32 in memory: ratios as Markdown.

Run: python benchmarks/compare_parts.py [half] [memmap] [parts] [sorted] [--folder FOLDER] [--gigabytes 6]

Calls take turns, each after an untimed one; ratios are of medians.
"""

import argparse
import functools
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from compare import race
from probe_at_scale import Watch

import fastsoftmax as fs


def bfloat16(X: Any) -> Any:
    return fs.bfloat16((X.view(np.uint32) >> 16).astype(np.uint16))


def half() -> None:
    print("\n| loss and gradient, times float32 | float16 | bfloat16 | int8 |\n|---|---|---|---|")
    rng = np.random.default_rng(0)
    for n, m, c, rounds in ((60000, 784, 10, 25), (20000, 768, 1000, 7)):
        X, y = rng.standard_normal((n, m), dtype=np.float32), rng.integers(0, c, n)
        W = (0.02 * rng.standard_normal((c, m))).astype(np.float32)
        stored = {"float32": X, "e": X.astype(np.float16), "b": bfloat16(X), "i": (X * 20).clip(-128, 127).astype("i1")}
        calls = {name: functools.partial(fs.loss_gradient, Z, y, W) for name, Z in stored.items()}
        times = race(calls, rounds)
        cells = [f"**{times[name] / times['float32']:.2f}**" for name in ("e", "b", "i")]
        print(f"| {n} x {m} x {c}, {1e3 * times['float32']:.2f} ms | " + " | ".join(cells) + " |", flush=True)


def memmap(folder: Path, gigabytes: float) -> None:
    m, c = 784, 10
    n, block = int(gigabytes * 1e9 / (4 * m)), 60000
    rng, path = np.random.default_rng(0), folder / "large.npy"
    part = rng.standard_normal((block, m), dtype=np.float32)
    if not (path.exists() and np.load(path, mmap_mode="r").shape == (n, m)):
        whole = np.lib.format.open_memmap(path, "w+", np.float32, (n, m))
        for start in range(0, n, block):
            whole[start : start + block] = part[: len(whole[start : start + block])]
        del whole
    y, W = rng.integers(0, c, n), (0.02 * rng.standard_normal((c, m))).astype(np.float32)
    X = np.load(path, mmap_mode="r")

    def slices() -> None:
        """The same rows in memory, as often as it takes."""
        for start in range(0, n, block):
            fs.loss_gradient(part[: min(block, n - start)], y[start : start + block], W)

    fs.loss_gradient(part, y[:block], W)
    with Watch() as watch:
        times = race({"file": lambda: fs.loss_gradient(X, y, W), "memory": slices}, 3)
    print(f"\n| a file of {X.nbytes / 1e9:.1f} GB, 10 classes | |\n|---|---|")
    print(f"| throughput, GB/s; share of that in memory | {X.nbytes / 1e9 / times['file']:.1f}; ", end="")
    print(f"**{times['memory'] / times['file']:.2f}** |")
    print(f"| anonymous memory beyond the labels, MB | {watch.megabytes:.0f} |")


def parts(folder: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng, n, m, c, count = np.random.default_rng(0), 240_000, 256, 10, 12
    X = rng.standard_normal((n, m), dtype=np.float32)
    y = (X[:, :c] + 2 * rng.standard_normal((n, c), dtype=np.float32)).argmax(1)
    each = n // count
    for i in range(count):
        at = slice(i * each, i * each + each)
        np.save(folder / f"x{i}.npy", X[at])
        np.save(folder / f"y{i}.npy", y[at])
        lists = pa.FixedSizeListArray.from_arrays(pa.array(X[at].reshape(-1)), m)
        pq.write_table(pa.table({"x": lists, "y": y[at]}), folder / f"list{i}.parquet", compression="none")
        columns = {f"f{j}": X[at, j] for j in range(m)}
        pq.write_table(pa.table(columns | {"y": y[at]}), folder / f"wide{i}.parquet")

    def names(kind: str, ending: str) -> list[Path]:
        return [folder / f"{kind}{i}.{ending}" for i in range(count)]

    sources = {
        "12 .npy files": lambda: fs.Parts.from_npy(names("x", "npy"), names("y", "npy")),
        "12 Parquet files, lists": lambda: fs.Parts.from_parquet(names("list", "parquet"), features="x", label="y"),
        "12 Parquet files, lists, cached": lambda: fs.Parts.from_parquet(
            names("list", "parquet"), features="x", label="y"
        ).cached(),
        "12 Parquet files, 256 columns, cached": lambda: fs.Parts.from_parquet(
            names("wide", "parquet"), label="y"
        ).cached(),
    }
    models: dict[str, Any] = {}

    def fit(name: str, *data: Any) -> None:
        models[name] = fs.SoftmaxRegression(C=1.0).fit(*data)

    calls = {"memory": lambda: fit("memory", X, y)}
    calls |= {name: lambda name=name, make=make: fit(name, make()) for name, make in sources.items()}  # type: ignore[misc]
    times = race(calls, 5)
    print(f"\n| a fit of {n} x {m} x {c} | seconds | times memory | F - F in memory | gap |\n|---|---|---|---|---|")
    for name, seconds in times.items():
        model, first = models[name], models["memory"]
        print(f"| {name} | {seconds:.2f} | **{seconds / times['memory']:.2f}** | ", end="")
        print(f"{model.objective_ - first.objective_:.1e} | {model.duality_gap_:.1e} |", flush=True)


def sorted_rows(folder: Path) -> None:
    """Mini-batch descent on MNIST sorted by its digits, in 12 files, through windows of an eighth of it."""
    X, y, X_test, y_test = fs.datasets.load_mnist()
    order = np.argsort(y, kind="stable")
    X, y, each = X[order], y[order], len(y) // 12
    for i in range(12):
        np.save(folder / f"s{i}.npy", X[i * each : (i + 1) * each])
    files, budget = [folder / f"s{i}.npy" for i in range(12)], X.nbytes // 4

    def functions() -> fs.Parts:
        """Files that are read wholly, as Parquet's are."""
        return fs.Parts([lambda i=i: (np.load(files[i]), y[i * each : (i + 1) * each]) for i in range(12)])

    def trainer(seed: int, **more: Any) -> fs.Trainer:
        return fs.Trainer(10, 64, "adam", 0.003, "one_cycle", scale=1 / 255, seed=seed, progress=False, **more)

    sources: dict[str, Any] = {
        "in memory": lambda seed: trainer(seed).fit(X, y),
        "12 .npy files": lambda seed: trainer(seed, shuffle_bytes=budget).fit(fs.Parts.from_npy(files, y)),
        "12 parts read wholly, cached": lambda seed: trainer(seed, shuffle_bytes=budget).fit(functions().cached()),
        "12 parts read wholly": lambda seed: trainer(seed, shuffle_bytes=budget).fit(functions()),
    }
    times = race({name: functools.partial(fit, 0) for name, fit in sources.items()}, 3)
    print(f"\n| Adam, 10 epochs of sorted MNIST, {budget / 1e6:.0f} MB at once | seconds | times memory | ", end="")
    print("test accuracy of 5 seeds |\n|---|---|---|---|")
    for name, fit in sources.items():
        scores = [fit(seed).score(X_test, y_test) for seed in range(5)]
        print(f"| {name} | {times[name]:.2f} | **{times[name] / times['in memory']:.2f}** | ", end="")
        print(f"{np.mean(scores):.4f} ({min(scores):.4f} to {max(scores):.4f}) |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", choices=["half", "memmap", "parts", "sorted", []])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "fastsoftmax_parts")
    parser.add_argument("--gigabytes", type=float, default=6.0)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    start = time.perf_counter()
    for name in arguments.parts or ["half", "memmap", "parts", "sorted"]:
        if name == "half":
            half()
        elif name == "memmap":
            memmap(arguments.folder, arguments.gigabytes)
        elif name == "parts":
            parts(arguments.folder)
        else:
            sorted_rows(arguments.folder)
    print(f"\n{time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
