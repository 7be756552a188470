"""The command line: `fastsoftmax fit`, `train`, `evaluate`, `predict`, `report`, `info`, `warmup`, `cache`.

Nothing below prints.

What a command needs is imported when it runs: `--help` needs no Numba.
"""

import argparse
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any

from fastsoftmax.cli import evaluation, fitting, house, interrupts, page, training

__all__ = ["entry", "main", "parser"]
DATA = """
DATA is a file or a folder of files, of one kind:
  .csv, .tsv              text with a line of names, also .gz
  .parquet, .feather      tables: columns of numbers, or one of lists
  .npy                    X*.npy, with labels in y*.npy beside them, or in --label FILE;
                          of a folder X*test*.npy are rows to test
  .npz                    arrays X and y, or those that --features and --label name
  .svm, .svmlight         sparse rows, labels in front
  IDX                     a folder with the four files of MNIST, Fashion-MNIST, ...
"""
SOURCE = "see DATA below (default: MNIST itself)"


def _data(made: argparse.ArgumentParser) -> None:
    """Options that say what of DATA is what."""
    made.add_argument("--label", metavar="NAME", help="the column, array or file of labels")
    made.add_argument("--features", metavar="NAME", nargs="+", help="columns of X (default: all others)")


def parser() -> argparse.ArgumentParser:
    """The arguments. Choices are spelt here, not read from the registries: those would import Numba first."""
    top = argparse.ArgumentParser(prog="fastsoftmax", description="Softmax regression on a CPU.")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], int], text: str, more: str = "") -> Any:
        shape = argparse.RawDescriptionHelpFormatter
        made = commands.add_parser(name, help=text, description=text, epilog=more, formatter_class=shape)
        made.set_defaults(run=run)
        made.add_argument("--json", action="store_true", help="print the result as one JSON object")
        return made

    _fit(command("fit", fitting.fit, "Fit to the optimum, with a proof.", DATA))
    _train(command("train", training.train, "Train by mini-batch descent, and test: MNIST by default.", DATA))
    _evaluate(command("evaluate", evaluation.evaluate, "Test a saved model.", DATA))
    _predict(command("predict", evaluation.predict, "Print the class of each row, one a line.", DATA))
    _report(command("report", page.report, "Write a page of HTML about a saved model, with a canvas to draw on.", DATA))
    command("info", house.info, "Print versions, CPU, threads, threading layer and cache folder.")
    _warmup(command("warmup", house.warmup, "Compile ahead of time what trainers and estimators call."))
    five = command("cache", house.cache, "Print where compiled kernels are kept, and how many.")
    five.add_argument("--clear", action="store_true", help="delete them; nothing else in the folder is touched")
    return top


def _results(made: argparse.ArgumentParser) -> None:
    made.add_argument("--test", metavar="DATA", help="rows to test on (default: those that a folder has)")
    made.add_argument("--threads", type=int, help="number of threads (default: all cores)")
    made.add_argument("--save", metavar="FILE", help="write the model to FILE (safetensors)")
    made.add_argument(
        "--cache", metavar="FOLDER", help="where X of tables and text is kept meanwhile (default: a temporary folder)"
    )


def _fit(made: argparse.ArgumentParser) -> None:
    made.add_argument("data", metavar="DATA", help="see below")
    _data(made)
    made.add_argument("--weight", metavar="NAME", help="the column, array or file of weights")
    made.add_argument("--C", type=float, help="inverse strength of the penalty (default: 1; of images, for X / 255)")
    made.add_argument(
        "--cv", type=int, nargs="?", const=5, metavar="K", help="choose C by K folds (default: 5) instead"
    )
    made.add_argument("--l1-ratio", type=float, default=0.0, help="share of the l1 penalty (default: %(default)s)")
    made.add_argument("--tol", type=float, default=1e-4, help="largest duality gap and gradient (default: %(default)s)")
    made.add_argument("--max-iter", type=int, default=1000, help="default: %(default)s")
    made.add_argument("--balanced", action="store_true", help="weigh classes inversely to their frequency")
    made.add_argument("--standardize", action="store_true", help="features less their means, over their deviations")
    made.add_argument("--checkpoint", metavar="FILE", help="what passes give is written there; if it is there, go on")
    made.add_argument("--quiet", action="store_true", help="no line of progress")
    _results(made)


def _train(made: argparse.ArgumentParser) -> None:
    from fastsoftmax.defaults import MNIST, OPTIMIZERS, SCHEDULES

    made.add_argument("--data", metavar="DATA", help=SOURCE)
    _data(made)
    made.add_argument("--epochs", type=int, default=MNIST["epochs"], help="default: %(default)s")
    made.add_argument("--batch-size", type=int, default=MNIST["batch_size"], help="default: %(default)s")
    made.add_argument("--lr", type=float, default=MNIST["lr"], help="learning rate (default: %(default)s)")
    made.add_argument("--optimizer", choices=OPTIMIZERS, default=MNIST["optimizer"], help="default: %(default)s")
    made.add_argument("--schedule", choices=SCHEDULES, default=MNIST["schedule"], help="default: %(default)s")
    made.add_argument("--momentum", type=float, default=MNIST["momentum"], help="default: %(default)s")
    made.add_argument("--l2", type=float, default=MNIST["l2"], help="default: %(default)s")
    made.add_argument("--calibrate", action="store_true", help="hold rows out, and choose the temperature by them")
    made.add_argument("--scale", type=float, help="features are X times this (default: 1/255 of images, else 1)")
    made.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    made.add_argument("--checkpoint", metavar="FILE", help="written after each epoch; if it is there, go on from it")
    made.add_argument("--quiet", action="store_true", help="no line an epoch")
    _results(made)


def _evaluate(made: argparse.ArgumentParser) -> None:
    made.add_argument("model", metavar="MODEL", help="file that fit --save or train --save wrote")
    made.add_argument("--data", metavar="DATA", help=SOURCE)
    _data(made)


def _predict(made: argparse.ArgumentParser) -> None:
    made.add_argument("model", metavar="MODEL", help="file that fit --save or train --save wrote")
    made.add_argument("data", metavar="DATA", help="see below; also one IDX file of images, raw or .gz")
    _data(made)
    made.add_argument("--proba", action="store_true", help="print probabilities instead")
    made.add_argument("--out", metavar="FILE", help="write there, when all are right (default: print as they come)")


def _report(made: argparse.ArgumentParser) -> None:
    made.add_argument("model", metavar="MODEL", help="file that fit --save or train --save wrote")
    made.add_argument("--data", metavar="DATA", help="to measure it on; see below (default: MNIST itself, of digits)")
    _data(made)
    made.add_argument("--image", metavar="HxW", help="shape of the images that rows are, or no (default: if square)")
    made.add_argument(
        "--pixels",
        metavar="V",
        type=float,
        nargs=2,
        help="what pixels hold without ink, and with most (default: as DATA)",
    )
    made.add_argument("--title", help="of the page")
    made.add_argument("-o", "--out", metavar="FILE", default="report.html", help="default: %(default)s")


def _warmup(made: argparse.ArgumentParser) -> None:
    from fastsoftmax.defaults import DTYPES, EVERY_DTYPE

    made.add_argument("--classes", type=int, nargs="+", metavar="N", help="numbers of classes (default: any)")
    made.add_argument("--dtype", choices=EVERY_DTYPE, nargs="+", default=DTYPES, help="of X (default: %(default)s)")


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
        return interrupts.CODE
    except BrokenPipeError:  # as by `| head`: nobody reads on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, TypeError, OSError, ImportError, FloatingPointError) as error:
        print(f"fastsoftmax: error: {error}", file=sys.stderr)
        return 2


def entry() -> None:
    """`main`, as a process."""
    interrupts.own()
    code = main()
    if code == interrupts.CODE:
        interrupts.leave()
    sys.exit(code)
