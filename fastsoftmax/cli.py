"""The command line: `fastsoftmax train`, `evaluate`, `predict`, `info`, `warmup`, `cache`. Nothing below it prints."""

import argparse
import json
import os
import sys
import threading
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

START = time.perf_counter()
SCALE = 1 / 255


class Background:
    """Runs a function on a thread, while this one imports Numba; `result` waits for it."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self.function, self.seconds = function, 0.0
        self.value: Any = None
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        start = time.perf_counter()
        try:
            self.value = self.function()
        except BaseException as error:
            self.error = error
        self.seconds = time.perf_counter() - start

    def result(self) -> Any:
        self.thread.join()
        if self.error is not None:
            raise self.error
        return self.value


def _load(folder: str | None) -> Any:
    from fastsoftmax import datasets

    return datasets.load_mnist() if folder is None else datasets.load_idx(folder)


def _compile(trainer: Any, X: Any, classes: int) -> None:
    """Train and evaluate on a handful of rows, so that what follows is not held up by the compiler."""
    import numpy as np

    from fastsoftmax.training.trainer import Trainer

    rows = X[: max(trainer.batch_size, classes)]
    settings = {name: getattr(trainer, name) for name in ("batch_size", "optimizer", "schedule", "l2", "momentum")}
    labels = np.arange(max(len(rows), classes)) % classes
    rows = np.resize(rows, (len(labels), X.shape[1]))
    model = Trainer(1, scale=SCALE, progress=False, average=trainer.average, **settings).fit(rows, labels)
    _report(model, rows, labels)


def _report(model: Any, X: Any, y: Any) -> dict[str, Any]:
    """Accuracy, also of each class, loss, and the most frequent confusion."""
    import numpy as np

    from fastsoftmax.data.examples import Examples
    from fastsoftmax.data.layouts import as_design
    from fastsoftmax.data.targets import as_targets
    from fastsoftmax.engine import threads
    from fastsoftmax.objective.softmax import SoftmaxObjective

    if X.shape[1] != model.coef.shape[1]:
        raise ValueError(f"the model has {model.coef.shape[1]} features, the test images have {X.shape[1]} pixels")
    order = np.argsort(model.classes)
    codes = order[np.searchsorted(model.classes, y, sorter=order).clip(0, len(order) - 1)]
    known = model.classes[codes] == y
    if not known.any():
        raise ValueError(f"the model knows none of the test labels: its classes are {model.classes.tolist()}")
    design = as_design(X[known])
    targets = as_targets(codes[known], design.n, len(model.classes), np.float32)
    with threads.serially():  # the parallel twin takes 0.6 s to compile, the whole pass 0.01
        loss, best = SoftmaxObjective(Examples(design, targets)).evaluate(model.coef, model.intercept)
    predicted = model.classes[best]
    y, unknown = y[known], int((~known).sum())
    right = predicted == y
    report: dict[str, Any] = {
        "test_accuracy": int(right.sum()) / (len(y) + unknown),
        "test_loss": loss / max(1, len(y)),
        "accuracy_per_class": {str(k): float(right[y == k].mean()) for k in model.classes if (y == k).any()},
    }
    wrong, counts = np.unique(np.stack([y, predicted], 1)[~right], axis=0, return_counts=True)
    if len(counts):
        (truth, guess), count = wrong[counts.argmax()], counts.max()
        report["most_frequent_confusion"] = {"truth": str(truth), "predicted": str(guess), "count": int(count)}
    return report


def _print_report(report: dict[str, Any]) -> None:
    print(f"test accuracy {report['test_accuracy']:.4f}, loss {report['test_loss']:.4f}")
    print("per class " + "  ".join(f"{k}: {v:.3f}" for k, v in report["accuracy_per_class"].items()))
    if confusion := report.get("most_frequent_confusion"):
        print("most frequent confusion: {truth} taken for {predicted}, {count} times".format(**confusion))


def _print_epoch(record: dict[str, Any], epochs: int) -> None:
    print(
        f"epoch {record['epoch']:>{len(str(epochs))}}/{epochs}  loss {record['loss']:.4f}  "
        f"lr {record['learning_rate']:.4g}  {record['examples_per_second'] / 1e6:.2f} M examples/s",
        flush=True,
    )


def _print_training(result: dict[str, Any]) -> None:
    _print_report(result)
    seconds = result["seconds"]
    print(f"{result['examples_per_second'] / 1e6:.2f} M examples/s in training")
    print(
        f"wall time: import {seconds['import']:.2f} s with load {seconds['load']:.2f} s beside it, "
        f"compile {seconds['compile']:.2f} s, train {seconds['train']:.2f} s, test {seconds['test']:.2f} s"
    )
    print(f"sha256 of the weights {result['sha256']}")


def train(args: argparse.Namespace) -> int:
    loading = Background(lambda: _load(args.data))
    from fastsoftmax.files import check_folder
    from fastsoftmax.training.trainer import Trainer

    for path in (args.save, args.checkpoint):
        if path:
            check_folder(path)  # now, not after the training

    trainer = Trainer(
        args.epochs, args.batch_size, args.optimizer, args.lr, args.schedule, l2=args.l2, momentum=args.momentum,
        scale=SCALE, seed=args.seed, progress=False,
    )  # fmt: skip
    imported = time.perf_counter()
    X, y, X_test, y_test = loading.result()
    loaded = time.perf_counter()
    _compile(trainer, X, len(set(y.tolist())))
    compiled = time.perf_counter()

    callbacks = [] if args.quiet or args.json else [lambda record: _print_epoch(record, args.epochs)]
    model = trainer.fit(X, y, callbacks=callbacks, checkpoint=args.checkpoint)
    trained = time.perf_counter()
    report = _report(model, X_test, y_test)
    done = time.perf_counter()
    seconds = {
        "import": imported - START,
        "load": loading.seconds,
        "wait_for_load": loaded - imported,
        "compile": compiled - loaded,
        "train": trained - compiled,
        "test": done - trained,
    }
    spent = sum(record["seconds"] for record in trainer.history)
    result = report | {
        "train_loss": trainer.history[-1]["loss"] if trainer.history else None,
        "epochs": len(trainer.history),
        "examples_per_second": len(X) * len(trainer.history) / spent if spent else 0.0,
        "seconds": seconds,
        "sha256": model.sha256(),
        "stopped": trainer.stopped,
    }
    if args.save:
        model.save(args.save)
    if args.json:
        print(json.dumps(result, indent=2))
    else:
        _print_training(result)
    return 130 if trainer.stopped == "interrupted" else 0


def evaluate(args: argparse.Namespace) -> int:
    loading = Background(lambda: _load(args.data))
    from fastsoftmax.data.feature_names import check_names
    from fastsoftmax.model import SoftmaxModel

    model = SoftmaxModel.load(args.model)
    _, _, X_test, y_test = loading.result()
    check_names(model.feature_names, X_test, type(model).__name__)
    report = _report(model, X_test, y_test) | {"sha256": model.sha256()}
    if args.json:
        print(json.dumps(report, indent=2))
    else:
        _print_report(report)
    return 0


def predict(args: argparse.Namespace) -> int:
    from fastsoftmax.datasets.idx import read_idx
    from fastsoftmax.model import SoftmaxModel

    model = SoftmaxModel.load(args.model)
    images = read_idx(args.images, 3)
    X = images.reshape(len(images), -1)
    if args.proba:
        for row in model.predict_proba(X):
            print(" ".join(f"{p:.6f}" for p in row))
    else:
        print("\n".join(map(str, model.predict(X).tolist())))
    return 0


def info(args: argparse.Namespace) -> int:
    import platform

    import llvmlite
    import numba
    import numpy as np

    import fastsoftmax
    from fastsoftmax.engine import cache, jit, simd, threads

    numba.get_num_threads()
    numba.np.ufunc.parallel._launch_threads()
    facts = {
        "fastsoftmax": fastsoftmax.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "numba": numba.__version__,
        "llvmlite": llvmlite.__version__,
        "cpu": jit.cpu_name(),
        "register_bytes": simd.REGISTER_BYTES,
        "threads": threads.get_num_threads(),
        "threading_layer": numba.threading_layer(),
        "cache_folder": str(cache.cache_folder()),
    }
    if args.json:
        print(json.dumps(facts, indent=2))
    else:
        for name, value in facts.items():
            print(f"{name:16} {value}")
    return 0


def warmup(args: argparse.Namespace) -> int:
    from fastsoftmax.engine import cache
    from fastsoftmax.warming import warmup

    seconds = warmup(args.classes, args.dtype)
    files = cache.cached_files()
    if args.json:
        print(json.dumps({"seconds": seconds, "files": len(files), "folder": str(cache.cache_folder())}, indent=2))
    else:
        print(f"compiled in {seconds:.1f} s; {len(files)} kernels in {cache.cache_folder()}")
    return 0


def cache(args: argparse.Namespace) -> int:
    from fastsoftmax.engine import cache

    files = cache.cached_files()
    size = sum(path.stat().st_size for path in files)
    if args.clear:
        for path in files:
            path.unlink(missing_ok=True)
    result = {"folder": str(cache.cache_folder()), "files": len(files), "bytes": size, "cleared": args.clear}
    if args.json:
        print(json.dumps(result, indent=2))
    else:
        print(f"{result['folder']}: {len(files)} kernels, {size / 1e6:.1f} MB{', cleared' * args.clear}")
    return 0


def parser() -> argparse.ArgumentParser:
    """The arguments. Choices are spelt here, not read from the registries: those would import Numba first."""
    from fastsoftmax.defaults import DTYPES, EVERY_DTYPE, MNIST, OPTIMIZERS, SCHEDULES

    top = argparse.ArgumentParser(prog="fastsoftmax", description="Softmax regression on a CPU.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=text, description=text)
        made.set_defaults(run=run)
        made.add_argument("--json", action="store_true", help="print the result as one JSON object")
        return made

    data = "folder with the four files of an MNIST-shaped data set (default: MNIST itself)"
    one = command("train", train, "Train on MNIST and test.")
    one.add_argument("--data", metavar="FOLDER", help=data)
    one.add_argument("--epochs", type=int, default=MNIST["epochs"], help="default: %(default)s")
    one.add_argument("--batch-size", type=int, default=MNIST["batch_size"], help="default: %(default)s")
    one.add_argument("--lr", type=float, default=MNIST["lr"], help="learning rate (default: %(default)s)")
    one.add_argument("--optimizer", choices=OPTIMIZERS, default=MNIST["optimizer"], help="default: %(default)s")
    one.add_argument("--schedule", choices=SCHEDULES, default=MNIST["schedule"], help="default: %(default)s")
    one.add_argument("--momentum", type=float, default=MNIST["momentum"], help="default: %(default)s")
    one.add_argument("--l2", type=float, default=MNIST["l2"], help="default: %(default)s")
    one.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    one.add_argument("--threads", type=int, help="number of threads (default: all cores)")
    one.add_argument("--save", metavar="FILE", help="write the model to FILE (safetensors)")
    one.add_argument("--checkpoint", metavar="FILE", help="written after each epoch; if it is there, go on from it")
    one.add_argument("--quiet", action="store_true", help="no line an epoch")
    two = command("evaluate", evaluate, "Test a saved model.")
    two.add_argument("model", metavar="MODEL", help="file that train --save wrote")
    two.add_argument("--data", metavar="FOLDER", help=data)
    three = command("predict", predict, "Print the class of each image, one a line.")
    three.add_argument("model", metavar="MODEL", help="file that train --save wrote")
    three.add_argument("images", metavar="IMAGES", help="IDX file of images, raw or .gz")
    three.add_argument("--proba", action="store_true", help="print probabilities instead")
    command("info", info, "Print versions, CPU, threads, threading layer and cache folder.")
    four = command("warmup", warmup, "Compile ahead of time what trainers and estimators call.")
    four.add_argument("--classes", type=int, nargs="+", metavar="N", help="numbers of classes (default: any)")
    four.add_argument("--dtype", choices=EVERY_DTYPE, nargs="+", default=DTYPES, help="of X (default: %(default)s)")
    five = command("cache", cache, "Print where compiled kernels are kept, and how many.")
    five.add_argument("--clear", action="store_true", help="delete them; nothing else in the folder is touched")
    return top


def _warn(
    message: Warning | str, category: type[Warning], filename: str, lineno: int, file: Any = None, line: Any = None
) -> None:
    """A line, as for errors, whatever else `warnings.showwarning` is given."""
    print(f"fastsoftmax: warning: {message}", file=sys.stderr)


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; 0 is success, 2 an error of the input, 130 an interruption."""
    args = parser().parse_args(argv)
    if getattr(args, "threads", None) is not None:
        if args.threads < 1:
            print(f"fastsoftmax: error: --threads must be at least 1, got {args.threads}", file=sys.stderr)
            return 2
        os.environ["NUMBA_NUM_THREADS"] = str(args.threads)
    try:
        with warnings.catch_warnings():
            warnings.showwarning = _warn
            return int(args.run(args))
    except KeyboardInterrupt:
        print("fastsoftmax: interrupted", file=sys.stderr)
        return 130
    except (ValueError, TypeError, OSError, FloatingPointError) as error:
        print(f"fastsoftmax: error: {error}", file=sys.stderr)
        return 2
