"""Checkpoints: where a fit is, after each of its epochs; a run that goes on from one ends with the same bytes."""

import hashlib
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from fastsoftmax import files
from fastsoftmax.design import Design
from fastsoftmax.targets import CheckedTargets

FORMAT, VERSION = "fastsoftmax.checkpoint", "1"
ROWS = 64  # of the data, by which they are known again
Array = NDArray[Any]


class CheckpointError(files.FileError):
    """A file that holds no checkpoint, or one of another run; the message says what differs."""


class State(NamedTuple):
    """What a fit has come to after an epoch."""

    weights: dict[str, Array]  # of `Descent.saved`
    kept: dict[str, Array]  # coef and intercept of the trainer's model
    history: list[dict[str, Any]]
    stream: Any  # of the random numbers
    best: int  # validation rows right, and epochs since then
    waited: int
    stopped: str  # why it ended, or ""


def fingerprint(design: Design, targets: CheckedTargets, c: int) -> str:
    """The data, by their shape, dtypes, and some rows."""
    index = np.unique(np.arange(ROWS) * max(1, design.n) // ROWS)[: design.n]
    rows, digest = design.rows(index), hashlib.sha256(repr((design.n, design.m, c)).encode())
    for array in (*rows.arrays(), rows.scale, rows.shift, *targets.rows(index, c).kernel[:3]):
        digest.update(repr((array.dtype, array.shape)).encode() + np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


class Checkpoint:
    """A file that a fit writes after each epoch, and goes on from if it is there.

    Parameters
    ----------
    path : path-like
    settings : dict
        Of the run, as JSON can hold them: one with others is refused.
    """

    def __init__(self, path: str | os.PathLike[str], settings: dict[str, Any]) -> None:
        files.check_folder(path)
        self.path, self.settings = Path(path), settings

    def save(self, state: State) -> None:
        """Under a temporary name that is renamed."""
        arrays = {f"weights.{name}": array for name, array in state.weights.items()}
        arrays |= {f"kept.{name}": array for name, array in state.kept.items()}
        rest = {name: getattr(state, name) for name in State._fields if name not in ("weights", "kept")}
        files.save(self.path, FORMAT, VERSION, arrays, {"settings": self.settings, "state": rest})

    def load(self, weights: dict[str, Array], kept: dict[str, Array]) -> State | None:
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
            state = State(_under("weights", arrays), _under("kept", arrays), **facts["state"])
            if _shapes(state.weights) != _shapes(weights) or _shapes(state.kept) != _shapes(kept):
                raise ValueError("its arrays are others than this run has")
            if not isinstance(state.history, list) or not all(isinstance(n, int) for n in (state.best, state.waited)):
                raise TypeError("its history is none")
        except CheckpointError:
            raise
        except files.FileError as error:
            raise CheckpointError(str(error)) from error
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(f"{self.path}: a damaged checkpoint: {error!r}") from error
        return state

    def _compare(self, theirs: dict[str, Any]) -> None:
        differ = [k for k in sorted({*theirs, *self.settings}) if theirs.get(k) != self.settings.get(k)]
        if differ:
            what = ", ".join(f"{k} ({theirs.get(k)!r}, now {self.settings.get(k)!r})" for k in differ)
            raise CheckpointError(f"{self.path}: a checkpoint of another run, which had other {what}; delete it")


def _under(prefix: str, arrays: dict[str, Array]) -> dict[str, Array]:
    return {name.removeprefix(prefix + "."): part for name, part in arrays.items() if name.startswith(prefix + ".")}


def _shapes(arrays: dict[str, Array]) -> dict[str, Any]:
    return {name: (part.dtype, part.shape) for name, part in arrays.items()}
