"""The pass over features and classes, beside PyTorch, JAX and SGEMM: prints the map, and draws it.

Run: python -m pip install '.[peers,pictures]' && python benchmarks/compare_map.py [--out docs] [--features 64 256 ...]
[--classes 2 3 ...] [--rounds 5]

Each point is a race in one process, the calls taking turns, each timed call after an untimed one; medians. 4 n m c
operations are counted for a pass. SGEMM is PyTorch's product of square matrices, timed in the same race: its share says
how much of the machine a pass gets.
"""

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from compare import has, jax_pass, machine, race, torch_pass

import fastsoftmax as fs

FEATURES = (64, 256, 512, 768, 1024, 2048)
CLASSES = (2, 3, 10, 20, 45, 64, 100, 200, 400, 601, 1000, 1625)
SIZE = 2048  # of the square matrices
Point = dict[str, float]


def problem(m: int, c: int) -> tuple[Any, Any, Any, Any]:
    """Some 8e9 operations, of 2000 to 60000 rows: at most 500 MB."""
    n, rng = int(min(60000, max(2000, 2e9 / (m * c)))), np.random.default_rng(0)
    X, coef = rng.standard_normal((n, m), dtype=np.float32), rng.standard_normal((c, m), dtype=np.float32)
    return X, rng.integers(0, c, n), coef * np.float32(0.02), np.zeros(c, np.float32)


def sgemm() -> Any:
    import torch

    A = torch.randn(SIZE, SIZE)
    return lambda: A @ A


def measure(m: int, c: int, rounds: int) -> Point:
    """GFLOP/s of ours, of SGEMM, and how many times as long a peer takes."""
    data = problem(m, c)
    calls = {"ours": lambda: fs.loss_gradient(*data)}
    if has("torch"):
        calls |= {"PyTorch": torch_pass(*data), "SGEMM": sgemm()}
    if has("jax"):
        calls["JAX"] = jax_pass(*data)
    times = race(calls, rounds)
    point = {"GFLOP/s": 4e-9 * data[0].size * c / times["ours"]}
    if "SGEMM" in times:
        point["share"] = point["GFLOP/s"] / (2e-9 * SIZE**3 / times["SGEMM"])
    return point | {name: times[name] / times["ours"] for name in ("PyTorch", "JAX") if name in times}


def table(points: dict[tuple[int, int], Point], features: list[int], classes: list[int]) -> str:
    """Markdown: a row for each number of features, in each cell GFLOP/s, the share of SGEMM, and the peers' ratios."""

    def cell(point: Point) -> str:
        ratios = [f"{point[name]:.2f}x" for name in ("PyTorch", "JAX") if name in point]
        return f"{point['GFLOP/s']:.0f}, " + f"{100 * point.get('share', np.nan):.0f} %, " + ", ".join(ratios)

    lines = ["| m \\ c | " + " | ".join(map(str, classes)) + " |", "|---" * (len(classes) + 1) + "|"]
    for m in features:
        lines.append(f"| {m} | " + " | ".join(cell(points[m, c]) if (m, c) in points else "" for c in classes) + " |")
    return "\n".join(lines)


def summary(points: dict[tuple[int, int], Point]) -> str:
    """Geometric means, and the worst points."""
    lines = []
    many = {at: point for at, point in points.items() if at[0] >= 256 and at[1] >= 45}
    for name, title in (("share", "Share of SGEMM"), ("PyTorch", "Ratio to PyTorch"), ("JAX", "Ratio to JAX")):
        for where, chosen in (("m ≥ 256, c ≥ 45", many), ("all points", points)):
            values = {at: point[name] for at, point in chosen.items() if name in point}
            if values:
                at = min(values, key=lambda at: values[at])
                mean = float(np.exp(np.mean(np.log([*values.values()]))))
                below = sum(value < 1 for value in values.values())
                tail = f", {below} of {len(values)} below 1" if name != "share" else ""
                lines.append(
                    f"- {title}, {where}: geometric mean {mean:.2f}, least {values[at]:.2f} "
                    f"(m = {at[0]}, c = {at[1]}){tail}"
                )
    return "\n".join(lines)


def draw(points: dict[tuple[int, int], Point], features: list[int], classes: list[int], path: Path, title: str) -> None:
    """A heat map each of the share of SGEMM and of the ratio to PyTorch."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    mpl.rcParams["svg.hashsalt"] = "fastsoftmax"
    figure = Figure(figsize=(12, 7), layout="constrained")
    kinds = (
        ("share", "share of SGEMM", "viridis", 0.0, 1.0),
        ("PyTorch", "times as fast as PyTorch", "RdBu", -1.0, 1.0),
    )
    for axes, (name, label, colours, low, high) in zip(figure.subplots(2, 1), kinds, strict=True):
        values = np.array([[points.get((m, c), {}).get(name, np.nan) for c in classes] for m in features])
        shown = values if name == "share" else np.log2(values)
        image = axes.imshow(shown, cmap=colours, vmin=low, vmax=high, aspect="auto")
        axes.set_xticks(range(len(classes)), [str(c) for c in classes])
        axes.set_yticks(range(len(features)), [str(m) for m in features])
        axes.set(xlabel="classes", ylabel="features", title=f"{label}")
        for (i, j), value in np.ndenumerate(values):
            dark = image.norm(shown[i, j]) < 0.45 if name == "share" else abs(shown[i, j]) > 0.6
            axes.text(j, i, f"{value:.2f}", ha="center", va="center", color="white" if dark else "black", fontsize=9)
    figure.suptitle(title, fontsize=9)
    figure.savefig(path, metadata={"Date": None})


def run(features: list[int], classes: list[int], rounds: int, out: Path | None) -> None:
    """The map of these numbers of features and classes, printed, and drawn into a folder."""
    points: dict[tuple[int, int], Point] = {}
    for m in features:
        for c in classes:
            points[m, c] = measure(m, c, rounds)
            print(f"m = {m}, c = {c}:", ", ".join(f"{k} {v:.3g}" for k, v in points[m, c].items()), flush=True)
    text = f"{machine()}\n\n{summary(points)}\n\n{table(points, features, classes)}\n"
    print("\n" + text)
    if out is not None and has("matplotlib"):
        out.mkdir(exist_ok=True)
        head = (
            "# Loss and gradient over features and classes\n\n`python benchmarks/compare_map.py --out docs`: float32, "
        )
        head += "in each cell GFLOP/s of fastsoftmax, its share of SGEMM, and how many times as long PyTorch"
        head += (", and JAX, take" if has("jax") else " takes") + ".\n\n![map](map.svg)\n\n"
        (out / "map.md").write_text(head + text, encoding="utf-8")
        draw(points, features, classes, out / "map.svg", machine())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--features", type=int, nargs="+", default=list(FEATURES))
    parser.add_argument("--classes", type=int, nargs="+", default=list(CLASSES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="a folder for map.md and map.svg, as docs")
    given = parser.parse_args()
    run(given.features, given.classes, given.rounds, given.out)


if __name__ == "__main__":
    main()
