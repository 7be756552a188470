"""Checkpoints: where a fit is, after each of its epochs; a run that goes on from one ends with the same bytes."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsoftmax import files
from fastsoftmax.files import CheckpointError

FORMAT, VERSION = "fastsoftmax.checkpoint", "1"
LONG = 100  # characters that a message says of a setting
ENDS = ("", "epochs", "early_stopping", "callback")
Array = NDArray[Any]


class State(NamedTuple):
    """What a fit has come to after an epoch."""

    weights: dict[str, Array]  # of `Descent.saved`, and the stream of random numbers
    stream: Any
    kept: dict[str, Array]  # the same of the epoch whose model is kept
    kept_stream: Any
    history: list[dict[str, Any]]
    best: int  # validation rows right, and epochs since then
    waited: int
    stopped: str  # why it ended, or ""


def digest_of(weights: dict[str, Array], stream: Any) -> str:
    """Of where another fit ended."""
    digest = hashlib.sha256(repr((sorted(weights), stream)).encode())
    for name in sorted(weights):
        digest.update(weights[name].tobytes())
    return digest.hexdigest()


class Checkpoint:
    """A file that a fit writes after each epoch, and goes on from if it is there.

    Parameters
    ----------
    path : path-like
    settings : dict
        Of the run and its data, as JSON can hold them: a file with others is refused.
    epochs : int
        Of the run.
    """

    def __init__(self, path: str | os.PathLike[str], settings: dict[str, Any], epochs: int) -> None:
        files.check_folder(path)
        self.path, self.settings, self.epochs = Path(path), settings, epochs

    def save(self, state: State) -> None:
        """Under a temporary name that is renamed."""
        arrays = {f"weights.{name}": array for name, array in state.weights.items()}
        arrays |= {f"kept.{name}": array for name, array in state.kept.items()}
        rest = {name: getattr(state, name) for name in State._fields if name not in ("weights", "kept")}
        files.save(self.path, FORMAT, VERSION, arrays, {"settings": self.settings, "state": rest})

    def load(self, weights: dict[str, Array]) -> State | None:
        """The state that was saved last, or None if there is none; its arrays are to be like these.

        Raises
        ------
        CheckpointError
            If the file is damaged, or of a run with other settings or data.
        """
        if not self.path.exists():
            return None
        try:
            arrays, facts = files.load(self.path, FORMAT, VERSION)
            self._compare(dict(facts["settings"]))
            state = State(weights=_under("weights", arrays), kept=_under("kept", arrays), **facts["state"])
            self._check(state, weights)
        except CheckpointError:
            raise
        except files.FileError as error:
            raise CheckpointError(str(error)) from error
        except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
            raise CheckpointError(f"{self.path}: a damaged checkpoint: {error!r}") from error
        return state

    def _compare(self, theirs: dict[str, Any]) -> None:
        both = sorted({*theirs, *self.settings})
        differ = [k for k in both if json.dumps(theirs.get(k)) != json.dumps(self.settings.get(k))]  # 1 is not True
        if differ:
            what = ", ".join(k + _change(theirs.get(k), self.settings.get(k)) for k in differ)
            raise CheckpointError(f"{self.path}: a checkpoint of another run, which had other {what}; delete it")

    def _check(self, state: State, weights: dict[str, Array]) -> None:
        """Its types and ranges: what is not right would only show later."""
        if _shapes(state.weights) != _shapes(weights) or _shapes(state.kept) != _shapes(weights):
            raise ValueError("its arrays are others than this run has")
        for array in (*state.weights.values(), *state.kept.values()):
            if not np.isfinite(array).all():
                raise ValueError("its arrays are not finite")
        if (state.weights["counts"] < 0).any() or (state.kept["counts"] < 0).any():
            raise ValueError("it counts fewer than no steps")
        for stream in (state.stream, state.kept_stream):
            np.random.PCG64().state = stream
        records = isinstance(state.history, list) and all(isinstance(record, dict) for record in state.history)
        if not records or len(state.history) > self.epochs:
            raise ValueError("its history is none of this run")
        if not all(type(number) is int for number in (state.best, state.waited)) or state.stopped not in ENDS:
            raise TypeError("it does not say how far it came")


def _change(before: Any, now: Any) -> str:
    """From what to what, unless that is long, as digests are."""
    text = f" ({before!r}, now {now!r})"
    return text if len(text) <= LONG else ""


def _under(prefix: str, arrays: dict[str, Array]) -> dict[str, Array]:
    return {name.removeprefix(prefix + "."): part for name, part in arrays.items() if name.startswith(prefix + ".")}


def _shapes(arrays: dict[str, Array]) -> dict[str, Any]:
    return {name: (part.dtype, part.shape) for name, part in arrays.items()}
