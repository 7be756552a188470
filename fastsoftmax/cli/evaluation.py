"""`fastsoftmax evaluate` and `predict`: with a model that was saved."""

import argparse
import sys
from collections.abc import Callable, Iterator
from typing import Any, BinaryIO

from fastsoftmax.cli.data import Wanted, read
from fastsoftmax.cli.report import NO_LABELS, print_json, print_report

ENTRIES = 1 << 12  # that are written at once


def evaluate(args: argparse.Namespace) -> int:
    from fastsoftmax.model import SoftmaxModel
    from fastsoftmax.tally import tested

    model = SoftmaxModel.load(args.model)
    data = read(args.data, Wanted.by(model, args, True))
    report = tested(model, data.parts if data.test is None else data.test, NO_LABELS) | {"sha256": model.sha256()}
    if args.json:
        print_json(report)
    else:
        print_report(report)
    return 0


def _pieces(rows: Any, line: Callable[[Any], str]) -> Iterator[str]:
    """Lines of text, of so many rows at a time that they stay small."""
    step = max(1, ENTRIES * len(rows) // max(1, rows.size))
    for start in range(0, len(rows), step):
        yield "".join(map(line, rows[start : start + step].tolist()))


def predict(args: argparse.Namespace) -> int:
    from fastsoftmax.files import replace_with
    from fastsoftmax.model import SoftmaxModel
    from fastsoftmax.tally import finite

    if args.json and args.out is None:
        raise ValueError("--json says how many rows went to a file: give --out FILE too")
    model = SoftmaxModel.load(args.model)
    data = read(args.data, Wanted.by(model, args, False))
    parts, written = data.parts if data.test is None else data.test, 0

    def write(name: str, X: Any, put: Callable[[str], Any]) -> None:
        nonlocal written
        finite(name, X)
        found = model.predict_proba(X) if args.proba else model.predict(X)
        line = (lambda row: " ".join(f"{p:.6f}" for p in row) + "\n") if args.proba else "{}\n".format
        for text in _pieces(found, line):
            put(text)
        written += len(found)

    if args.out is None:
        parts.each_read(lambda name, taken: write(name, taken.X, sys.stdout.write), targets=False)
        sys.stdout.flush()
        return 0

    def put(file: BinaryIO) -> None:
        parts.each_read(lambda name, taken: write(name, taken.X, lambda text: file.write(text.encode())), targets=False)

    replace_with(args.out, put)
    if args.json:
        print_json({"rows": written, "out": args.out})
    return 0
