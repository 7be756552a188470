"""A linear probe of ImageNet's size: 1 280 000 rows, 768 features, 1000 classes, float16 on disk, fitted with a proof.

Run: python benchmarks/probe_at_scale.py [--rows 1280000] [--C 0.01] [--folder FOLDER] [--rival 20000]

A row is three MNIST digits side by side, drawn with replacement, pixels / 255, times a fixed random 2352 x 768 matrix,
plus a bias, and what is negative is 0; its label is the three-digit number. The folder gets .npy files of 20 000 rows,
and is used again when it is there. `--rival N`: scikit-learn's LogisticRegression on the first N rows in memory, in
float32, the same strength of the penalty against the mean loss; its seconds an iteration, times rows / N, are what one
over all rows would take it.
"""

import argparse
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np

import fastsoftmax as fs
from fastsoftmax.data.parted_rows import PartedRows

ROWS, FEATURES, PART, HELD_OUT = 1_280_000, 768, 20_000, 20_000


def anonymous() -> int:
    """Bytes of memory of this process that are in no file."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) << 10
    return 0


class Watch:
    """The most anonymous memory while it runs, beyond what there was."""

    def __enter__(self) -> "Watch":
        self.before = self.most = anonymous()
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.look, daemon=True)
        self.thread.start()
        return self

    def look(self) -> None:
        while not self.stop.wait(0.05):
            self.most = max(self.most, anonymous())

    def __exit__(self, *error: object) -> None:
        self.stop.set()
        self.thread.join()

    @property
    def megabytes(self) -> float:
        return (self.most - self.before) / 1e6


def maker(rng: np.random.Generator) -> Any:
    """A function that makes rows and labels of digits."""
    weights = (rng.standard_normal((3 * 784, FEATURES)) / np.sqrt(3 * 784 / 10)).astype(np.float32)
    bias = (rng.standard_normal(FEATURES) / 10).astype(np.float32)

    def make(images: Any, labels: Any, count: int, seed: int) -> tuple[Any, Any]:
        drawn = np.random.default_rng(seed).integers(0, len(images), (count, 3))
        pixels = images[drawn].reshape(count, -1).astype(np.float32) / np.float32(255)
        return np.maximum(pixels @ weights + bias, 0).astype(np.float16), labels[drawn] @ np.array([100, 10, 1])

    return make


def made(folder: Path, rows: int) -> tuple[fs.Parts, Any, Any]:
    """Parts in the folder, made if they are not there, and rows that are held out, of the test digits."""
    images, digits, test_images, test_digits = fs.datasets.load_mnist()
    make = maker(np.random.default_rng(0))
    folder.mkdir(parents=True, exist_ok=True)
    labels = []
    for i in range(-(-rows // PART)):
        path, count = folder / f"x{i}.npy", min(PART, rows - i * PART)
        if path.exists() and np.load(path, mmap_mode="r").shape == (count, FEATURES):
            drawn = np.random.default_rng(i).integers(0, len(images), (count, 3))
            labels.append(digits[drawn] @ np.array([100, 10, 1]))
            continue
        X, y = make(images, digits, count, i)
        np.save(path, X)
        labels.append(y)
    files = [folder / f"x{i}.npy" for i in range(-(-rows // PART))]
    return fs.Parts.from_npy(files, np.concatenate(labels)), *make(test_images, test_digits, HELD_OUT, 10**6)


def ours(folder: Path, rows: int, tol: float, C: float) -> None:
    parts, X_test, y_test = made(folder, rows)
    with Watch() as watch:
        start = time.perf_counter()
        every = PartedRows(parts)
        model = fs.SoftmaxRegression(C=C, tol=tol, verbose=1).fit(every)
        seconds = time.perf_counter() - start
    accuracy = model.score(X_test, y_test)
    print(f"\n| {rows} x {FEATURES}, 1000 classes, float16 on disk | |\n|---|---|")
    print(f"| seconds | {seconds:.0f} |")
    print(f"| iterations; passes over all rows | {model.n_iter_[0]}; {every.pace.rows / rows:.1f} |")
    print(f"| F; F - F* is at most | {model.objective_:.5f}; {model.duality_gap_:.2g} |")
    print(f"| accuracy on {HELD_OUT} rows held out | {accuracy:.4f} |")
    print(f"| anonymous memory beyond import, MB | {watch.megabytes:.0f} |")


def rival(folder: Path, rows: int, count: int, C: float) -> None:
    """scikit-learn on as many rows as it can hold."""
    from sklearn.linear_model import LogisticRegression

    parts, X_test, y_test = made(folder, rows)
    X = np.concatenate([np.load(folder / f"x{i}.npy") for i in range(-(-count // PART))])[:count].astype(np.float32)
    y = np.concatenate([piece.read(True).y for piece in parts])[:count]
    with Watch() as watch:
        start = time.perf_counter()
        theirs = LogisticRegression(C=C, max_iter=100).fit(X, y)
        seconds = time.perf_counter() - start
    each = seconds / theirs.n_iter_[0]
    print(f"\n| scikit-learn on {count} rows | |\n|---|---|")
    print(f"| seconds; iterations | {seconds:.0f}; {theirs.n_iter_[0]} |")
    print(f"| seconds an iteration, times {rows} / {count} | {each * rows / count:.0f} |")
    print(f"| accuracy on {HELD_OUT} rows held out | {theirs.score(X_test.astype(np.float32), y_test):.4f} |")
    print(f"| anonymous memory beyond import, MB | {watch.megabytes:.0f} |")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "fastsoftmax_probe")
    parser.add_argument("--C", type=float, default=0.01)
    parser.add_argument("--tol", type=float, default=1e-2)
    parser.add_argument("--rival", type=int, default=0)
    arguments = parser.parse_args()
    ours(arguments.folder, arguments.rows, arguments.tol, arguments.C)
    if arguments.rival:
        rival(
            arguments.folder,
            arguments.rows,
            arguments.rival,
            arguments.C * arguments.rows / arguments.rival,
        )


if __name__ == "__main__":
    main()
