"""`fastsoftmax train`: mini-batch descent, on MNIST by default."""

import argparse
import threading
import time
from collections.abc import Callable
from typing import Any

from fastsoftmax.cli import interrupts
from fastsoftmax.cli.data import Data, Wanted, read
from fastsoftmax.cli.report import NO_LABELS, START, print_json, print_report, rows_of

PIXELS = 1 / 255


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


def _compile(trainer: Any, data: Data) -> None:
    """Train and evaluate on a handful of rows, so that what follows is not held up by the compiler."""
    import numpy as np

    from fastsoftmax.data.parts import Parts
    from fastsoftmax.tally import tested
    from fastsoftmax.training.trainer import Trainer

    X, y, _ = data.parts.listed()[0].read(True)
    classes = len(set(y.tolist()))
    rows = X[: max(trainer.batch_size, classes)]
    names = ("batch_size", "optimizer", "schedule", "l2", "momentum", "scale", "average")
    labels = np.arange(max(len(rows), classes)) % classes
    rows = np.resize(rows, (len(labels), X.shape[1]))
    model = Trainer(1, progress=False, **{name: getattr(trainer, name) for name in names}).fit(rows, labels)
    tested(model, Parts([(rows, labels)]), NO_LABELS)


def _print_epoch(record: dict[str, Any], epochs: int) -> None:
    print(
        f"epoch {record['epoch']:>{len(str(epochs))}}/{epochs}  loss {record['loss']:.4f}  "
        f"lr {record['learning_rate']:.4g}  {record['examples_per_second'] / 1e6:.2f} M examples/s",
        flush=True,
    )


def _print_training(result: dict[str, Any]) -> None:
    if "test_accuracy" in result:
        print_report(result)
    seconds = result["seconds"]
    print(f"{result['examples_per_second'] / 1e6:.2f} M examples/s in training")
    print(
        f"wall time: import {seconds['import']:.2f} s with load {seconds['load']:.2f} s beside it, "
        f"compile {seconds['compile']:.2f} s, train {seconds['train']:.2f} s, test {seconds['test']:.2f} s"
    )
    if "temperature" in result:
        print(f"temperature {result['temperature']:.4g}")
    print(f"sha256 of the weights {result['sha256']}")


def train(args: argparse.Namespace) -> int:
    wanted = Wanted(args.label, args.features)
    with interrupts.at_once():
        loading = Background(lambda: read(args.data, wanted))
        from fastsoftmax.files import check_folder
        from fastsoftmax.tally import tested
        from fastsoftmax.training.trainer import Trainer

        for path in (args.save, args.checkpoint):
            if path:
                check_folder(path)  # now, not after the training
        trainer = Trainer(
            args.epochs, args.batch_size, args.optimizer, args.lr, args.schedule, l2=args.l2, momentum=args.momentum,
            scale=PIXELS if args.scale is None else args.scale, seed=args.seed, progress=False,
            calibrate=args.calibrate,
        )  # fmt: skip
        imported = time.perf_counter()
        data: Data = loading.result()
        loaded = time.perf_counter()
    rows = rows_of(data, args)
    test = data.test if args.test is None else read(args.test, wanted.of_test(rows, data)).parts
    if data.images:
        _compile(trainer, data)
    elif args.scale is None:
        trainer.scale = 1.0
    compiled = time.perf_counter()

    callbacks = [] if args.quiet or args.json else [lambda record: _print_epoch(record, args.epochs)]
    model = trainer.fit(rows, callbacks=callbacks, checkpoint=args.checkpoint)
    model.settings |= data.settings
    if args.save:
        model.save(args.save)
    trained = time.perf_counter()
    report = {} if test is None else tested(model, test, NO_LABELS)
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
        "examples_per_second": rows.n * len(trainer.history) / spent if spent else 0.0,
        "seconds": seconds,
        "sha256": model.sha256(),
        "stopped": trainer.stopped,
    }
    if args.calibrate:
        result["temperature"] = model.temperature
    if args.json:
        print_json(result)
    else:
        _print_training(result)
    return 130 if trainer.stopped == "interrupted" else 0
