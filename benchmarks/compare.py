"""fastsoftmax and its peers side by side: one process, interleaved, warm; prints a table of ratios as Markdown.

Run: python -m pip install '.[peers]' && python benchmarks/compare.py [map] [pass] [softmax] [epoch] [threads] ...

A peer that is not installed is left out. Each is raced against fastsoftmax alone, the two taking turns, and each call
that is timed follows an untimed one, which wakes its threads; ratios are of medians. Peers run as their users would.
"""

import argparse
import platform
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
from suite.problems import LOGITS, SHAPES, peak_beyond, problem

import fastsoftmax as fs

Call = Callable[[], Any]


def has(name: str) -> bool:
    try:
        version(name)
    except PackageNotFoundError:
        return False
    return True


def race(calls: dict[str, Call], rounds: int) -> dict[str, float]:
    """Median seconds of each call, the calls taking turns."""
    times: dict[str, list[float]] = {name: [] for name in calls}
    for i in range(rounds + 1):
        for name, call in calls.items():
            call()
            start = time.perf_counter()
            call()
            times[name] += [time.perf_counter() - start] * (i > 0)
    return {name: float(np.median(t)) for name, t in times.items()}


def row(title: str, ours: Call, rivals: dict[str, Call], rounds: int) -> None:
    """One line of the table: ours, then each rival, how many times longer it takes, in a race of the two."""
    cells, own = [], []
    for name, rival in rivals.items():
        times = race({"ours": ours, "rival": rival}, rounds)
        own.append(times["ours"])
        cells.append(f"{name} {1e3 * times['rival']:.2f} ms, **{times['rival'] / times['ours']:.2f}x**")
    own = own or [race({"ours": ours}, rounds)["ours"]]
    print(f"| {title} | {1e3 * float(np.median(own)):.2f} ms | " + " | ".join(cells) + " |", flush=True)


# ---- the fused pass


def torch_pass(X: Any, y: Any, coef: Any, intercept: Any) -> Call:
    import torch

    Xt, yt = torch.from_numpy(X), torch.from_numpy(y)
    W, b = torch.from_numpy(coef.copy()).requires_grad_(), torch.from_numpy(intercept.copy()).requires_grad_()

    def call() -> None:
        W.grad = b.grad = None
        torch.nn.functional.cross_entropy(torch.nn.functional.linear(Xt, W, b), yt).backward()

    return call


def sklearn_pass(X: Any, y: Any, coef: Any, intercept: Any) -> Call:
    from sklearn._loss.loss import HalfMultinomialLoss
    from sklearn.linear_model._linear_loss import LinearModelLoss

    loss = LinearModelLoss(HalfMultinomialLoss(n_classes=len(coef)), fit_intercept=True)
    packed, target = np.asfortranarray(np.c_[coef, intercept]), y.astype(X.dtype)
    return lambda: loss.loss_gradient(packed, X, target, n_threads=fs.get_num_threads())


def jax_pass(X: Any, y: Any, coef: Any, intercept: Any) -> Call:
    import jax
    import jax.numpy as jnp

    def loss(W: Any, b: Any, X: Any, y: Any) -> Any:
        return -jnp.mean(jnp.take_along_axis(jax.nn.log_softmax(X @ W.T + b), y[:, None], 1))

    compiled, args = jax.jit(jax.value_and_grad(loss, (0, 1))), [jnp.asarray(a) for a in (coef, intercept, X, y)]
    return lambda: jax.block_until_ready(compiled(*args))


def passes() -> None:
    print("\n| loss and gradient | fastsoftmax |" + " |" * len(peers()) + "\n|---|---|" + "---|" * len(peers()))
    for shape, (n, _, c) in SHAPES.items():
        data = problem(shape)
        rivals = {name: make(*data) for name, make in peers().items()}
        row(f"{shape} float32", lambda data=data: fs.loss_gradient(*data), rivals, 5 if n * c > 10**7 else 15)  # type: ignore[misc]
    X, y, _, _ = fs.datasets.load_mnist()
    _, _, coef, intercept = problem("60000x784x10")
    coef = coef * np.float32(0.01)
    rivals = {"PyTorch float32": torch_pass(X / np.float32(255), y, coef, intercept)} if has("torch") else {}
    row("MNIST uint8", lambda: fs.loss_gradient(X, y, coef, intercept, scale=1 / 255), rivals, 15)
    single, double = problem("60000x784x10"), problem("60000x784x10", "float64")
    rivals = {"float64": lambda: fs.loss_gradient(*double)}
    row("60000x784x10 float32 against float64", lambda: fs.loss_gradient(*single), rivals, 15)


def peers() -> dict[str, Callable[..., Call]]:
    every = {"torch": ("PyTorch", torch_pass), "scikit-learn": ("scikit-learn", sklearn_pass), "jax": ("JAX", jax_pass)}
    return {title: make for name, (title, make) in every.items() if has(name)}


# ---- softmax


def softmaxes() -> None:
    print("\n| softmax into an output | fastsoftmax | | | |\n|---|---|---|---|---|")
    for shape, size in LOGITS.items():
        Z = np.random.default_rng(0).standard_normal(size, dtype=np.float32)
        out, copy = np.empty_like(Z), np.empty_like(Z)
        rivals: dict[str, Call] = {"a bare copy by NumPy": lambda Z=Z, copy=copy: np.copyto(copy, Z)}
        if has("torch"):
            import torch

            Zt, to = torch.from_numpy(Z), torch.empty(size)
            rivals["PyTorch"] = lambda Zt=Zt, to=to: torch.softmax(Zt, -1, out=to)
            rivals["a bare copy by PyTorch"] = lambda Zt=Zt, to=to: to.copy_(Zt)
        row(f"{shape} float32", lambda Z=Z, out=out: fs.softmax(Z, out=out), rivals, 25)  # type: ignore[misc]


# ---- an epoch of mini-batches


def torch_epoch(X: Any, y: Any, batch: int, adam: bool = False) -> Call:
    import torch

    Xt, yt, model = torch.from_numpy(X), torch.from_numpy(y), torch.nn.Linear(X.shape[1], int(y.max()) + 1)
    optimizer = (torch.optim.Adam if adam else torch.optim.SGD)(model.parameters(), 1e-3 if adam else 0.1)

    def call() -> None:
        for rows in torch.randperm(len(yt)).split(batch):
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(Xt.index_select(0, rows)), yt.index_select(0, rows))
            loss.backward()
            optimizer.step()

    return call


def epochs() -> None:
    print("\n| an epoch of SGD on MNIST | fastsoftmax, uint8 | |\n|---|---|---|")
    X, y, _, _ = fs.datasets.load_mnist()
    for batch in (64, 256, 1024):
        trainer = fs.Trainer(1, batch, learning_rate=0.1, scale=1 / 255, progress=False)
        rivals = {"PyTorch float32": torch_epoch(X / np.float32(255), y, batch)} if has("torch") else {}
        row(f"batch {batch}", lambda trainer=trainer: trainer.fit(X, y), rivals, 5)  # type: ignore[misc]
    print("\n| an epoch, 30000 x 512 in float32, 601 classes, batch 256 | fastsoftmax | |\n|---|---|---|")
    rng = np.random.default_rng(0)
    E, labels = rng.standard_normal((30000, 512), dtype=np.float32), rng.integers(0, 601, 30000)
    for name in ("sgd", "adam"):
        trainer = fs.Trainer(1, 256, name, learning_rate=1e-3 if name == "adam" else 0.1, progress=False)
        rivals = {"PyTorch": torch_epoch(E, labels, 256, name == "adam")} if has("torch") else {}
        row(name, lambda trainer=trainer: trainer.fit(E, labels), rivals, 3)  # type: ignore[misc]


# ---- ourselves


def threads() -> None:
    print("\n| 2 threads against 1 | two | one |\n|---|---|---|")
    data = problem("60000x784x10")

    def on(k: int) -> Call:
        def call() -> None:
            fs.set_num_threads(k)
            fs.loss_gradient(*data)

        return call

    row("60000x784x10 float32", on(2), {"one": on(1)}, 25)
    fs.set_num_threads(2)


def memory() -> None:
    print("\n| memory beyond inputs and outputs | MB |\n|---|---|")
    for shape in SHAPES:
        data = problem(shape)
        out: Any = np.zeros_like(data[2]), np.zeros_like(data[3])
        print(f"| {shape} | {peak_beyond(lambda d=data, o=out: fs.loss_gradient(*d, out=o)) / 1e6:.1f} |")  # type: ignore[misc]


def fits() -> None:
    """Fits to the optimum: a file of their own."""
    import compare_fits

    compare_fits.run(list(compare_fits.PARTS))


def starts() -> None:
    """Whole processes, cold and warm; what the gate costs; how soon Ctrl-C is heard: from the asv suite."""
    from suite.gate import Gate
    from suite.interruptions import WORK, CtrlC
    from suite.startup import Startup

    gate = Gate()
    gate.setup()
    print("\n| start, gate, Ctrl-C | |\n|---|---|")
    for suite in (Startup(), gate):
        known = [suite.setup_cache()] if isinstance(suite, Startup) else []  # as asv hands it to each
        for name in (name for name in vars(type(suite)) if name.startswith("track_")):
            unit = "" if "kernels" in name else " " + suite.unit
            title, value = name.removeprefix("track_").replace("_", " "), getattr(suite, name)(*known)
            print(f"| {title} | {value:.4g}{unit} |", flush=True)
    for work in WORK:
        print(f"| Ctrl-C in {work} | {CtrlC().track_latency(work):.3f} s |", flush=True)


def calls() -> None:
    """What a call costs beside its work: a file of their own."""
    import compare_calls

    compare_calls.main()


def mapped() -> None:
    """The pass over features and classes: a file of its own."""
    import compare_map

    compare_map.run(list(compare_map.FEATURES), list(compare_map.CLASSES), 5, None)


PARTS = {
    "map": mapped,
    "pass": passes,
    "softmax": softmaxes,
    "epoch": epochs,
    "threads": threads,
    "memory": memory,
    "fits": fits,
    "starts": starts,
    "calls": calls,
}


def machine() -> str:
    cpu = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        cpu = next((t.split(":")[1].strip() for t in info.read_text().splitlines() if t.startswith("model name")), cpu)
    packages = [f"{name} {version(name)}" for name in ("numba", "numpy", "torch", "scikit-learn", "jax") if has(name)]
    return f"{cpu}, {fs.get_num_threads()} threads; Python {platform.python_version()}, {', '.join(packages)}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("parts", nargs="*", choices=[*PARTS, []], help="all of them by default")
    print(machine())
    for part in parser.parse_args().parts or PARTS:
        PARTS[part]()


if __name__ == "__main__":
    main()
