"""What passes over all rows gave, written down as they end: a fit that was killed reads it, and goes on.

A fit is a function of what its passes give. So no solver has to know how to stop and go on: the fit is run again, and
each pass whose result is in the journal is not made. What is asked of samples is computed again. The file grows at its
end, a record a pass, each with its SHA-256: one that was cut off by the kill is left out, and overwritten.
"""

import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from fastsoftmax import files
from fastsoftmax.files import CheckpointError

MAGIC = b"fastsoftmax fit\x01"
DIGEST = 32
Array = NDArray[Any]


def key_of(name: str, *parts: Any) -> bytes:
    """What a pass is known by: its name, and its arguments."""
    digest = hashlib.sha256(name.encode())
    for part in parts:
        array = isinstance(part, np.ndarray) and part.dtype.kind in "biuf"
        if not array:  # labels, for one: the bytes of an array of objects are their addresses
            digest.update(repr(part.tolist() if isinstance(part, np.ndarray) else part).encode())
            continue
        digest.update(repr((part.dtype.str, part.shape)).encode())
        digest.update(np.ascontiguousarray(part).data)
    return digest.digest()


class Journal:
    """A file of results, in the order in which passes were made.

    Parameters
    ----------
    path : path-like
        Made if it is not there.
    identity : bytes
        32 bytes by which the fit and its data are known: a file of another one is refused.

    Raises
    ------
    CheckpointError
        If the file is something else, or of another fit.
    OSError
        If it cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], identity: bytes) -> None:
        files.check_folder(path)
        self.path, head = Path(path), MAGIC + identity
        if self.path.exists() and not stat.S_ISREG(self.path.stat().st_mode):
            raise CheckpointError(f"{self.path}: not a file, but a folder, a pipe or a device")
        if not self.path.exists():
            files.write(self.path, head)
        self.file: BinaryIO = open(self.path, "r+b")  # noqa: SIM115  # as long as the fit takes
        found = self.file.read(len(head))
        if found[: len(MAGIC)] != MAGIC:
            self.file.close()
            raise CheckpointError(f"{self.path}: a file, but no checkpoint of a fit")
        if found != head:
            self.file.close()
            raise CheckpointError(f"{self.path}: a checkpoint of another fit, with other data or parameters; delete it")
        self.replaying = True

    def close(self) -> None:
        """At the end of the fit; what is there stays."""
        self.file.close()

    def recall(self, key: bytes, compute: Callable[[], Array]) -> Array:
        """What the next pass gave, or what it gives now, float64 (k,)."""
        if self.replaying:
            start = self.file.tell()
            found = self._next(key)
            if found is not None:
                return found
            self.replaying = False
            self.file.seek(start)
            self.file.truncate()
        values = np.ascontiguousarray(compute(), np.float64)
        record = key + len(values).to_bytes(8, "little") + values.tobytes()
        self.file.write(record + hashlib.sha256(record).digest())
        self.file.flush()
        os.fsync(self.file.fileno())
        return values

    def _next(self, key: bytes) -> Array | None:
        """The next record, or None where there is none of this pass."""
        head = self.file.read(DIGEST + 8)
        size = 8 * int.from_bytes(head[DIGEST:], "little")
        if len(head) < DIGEST + 8 or size > os.fstat(self.file.fileno()).st_size:
            return None
        payload, digest = self.file.read(size), self.file.read(DIGEST)
        if len(payload) < size or hashlib.sha256(head + payload).digest() != digest:
            return None
        if head[:DIGEST] != key:  # it went another way, as after max_iter: what follows is of no use
            return None
        return np.frombuffer(payload, np.float64).copy()
