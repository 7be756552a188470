"""`fastsoftmax report`: a page about a model that was saved."""

import argparse
import re
from pathlib import Path
from typing import Any

from fastsoftmax.cli.data import MNIST, Data, Wanted, read
from fastsoftmax.cli.report import print_json


def _shape(text: str | None) -> tuple[int, int] | bool | None:
    """28x28, or `no` for rows that are no images."""
    if text is None or text == "no":
        return None if text is None else False
    found = re.fullmatch(r"([0-9]{1,6})x([0-9]{1,6})", text)
    if not found:
        raise ValueError(f"--image must be HEIGHTxWIDTH, as 28x28, or no; got {text!r}")
    return int(found[1]), int(found[2])


def _is_of_digits(model: Any) -> bool:
    """Whether MNIST is what it could have been trained on."""
    return model.coef.shape == (10, 784) and model.classes.tolist() == list(range(10)) and model.feature_names is None


def _rows(args: argparse.Namespace, model: Any) -> tuple[Any, str | None]:
    """The rows to measure it on, and what they are."""
    known = model.settings.get("data")
    if args.data is None and (known not in (None, MNIST) or not _is_of_digits(model)):
        return None, None
    data: Data = read(args.data, Wanted.by(model, args, True))
    name = Path(args.data).resolve().name if args.data is not None else MNIST
    if args.data is None and known is None:
        name += ", which may not be its data (--data names others)"
    return (data.parts, f"the rows of {name}") if data.test is None else (data.test, f"the test rows of {name}")


def report(args: argparse.Namespace) -> int:
    from fastsoftmax.files import check_folder
    from fastsoftmax.model import SoftmaxModel
    from fastsoftmax.report.page import write_page

    check_folder(args.out)
    model = SoftmaxModel.load(args.model)
    rows, source = _rows(args, model)
    write_page(
        args.out, model, rows, image=_shape(args.image), pixels=args.pixels, title=args.title, source=source
    )  # fmt: skip
    size = Path(args.out).stat().st_size
    if args.json:
        print_json({"out": args.out, "bytes": size, "measured_on": source, "sha256": model.sha256()})
    else:
        print(f"{args.out}: {size / 1e6:.2f} MB, " + (f"measured on {source}" if source else "measured on nothing"))
    return 0
