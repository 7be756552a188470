"""The cache of compiled kernels: one checksummed file per key, in a private folder; it is never wrong and never raises.

Numba's own key holds no flags and no callee, so twins of one function would hit each other's entry, and an edit in
another file would leave a stale result; two processes may write each other's file; a truncated index raises.
"""

import functools
import hashlib
import logging
import math
import os
import pickle
import re
import sys
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numba
import numpy as np
from numba.core.caching import NullCache

logger = logging.getLogger("fastsoftmax")


def cache_folder() -> Path:
    """The folder of compiled kernels: FASTSOFTMAX_CACHE_DIR, else a folder of ours in the user's cache folder."""
    if chosen := os.environ.get("FASTSOFTMAX_CACHE_DIR"):
        return Path(chosen)
    if sys.platform == "win32":
        home = os.environ.get("LOCALAPPDATA") or Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        home = Path.home() / "Library" / "Caches"
    else:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "fastsoftmax"


@functools.cache
def _digest(path: str) -> str:
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


@functools.cache
def stamp() -> str:
    """What every entry depends on: versions, Numba's settings and the source of all that is compiled."""
    package = Path(__file__).parent.parent
    sources = [path for wing in ("engine", "kernels") for path in sorted((package / wing).rglob("*.py"))]
    settings = [getattr(numba.config, name, None) for name in ("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "BOUNDSCHECK")]
    digests = [_digest(str(path)) for path in sources]
    return repr((numba.__version__, np.__version__, sys.implementation.cache_tag, settings, digests))


@functools.cache
def warn_uncached(reason: str) -> None:
    logger.warning("kernels are compiled, not cached: %s", reason)


def cached_files() -> list[Path]:
    """What caches of ours, of this version or another, have written; nothing else that may lie in the folder."""
    ours = re.compile(r"fastsoftmax\..*-[0-9a-f]{32}\.(kernel|[0-9a-f]{32})")
    try:
        return sorted(path for path in cache_folder().iterdir() if ours.fullmatch(path.name))
    except OSError:
        return []


class _Patience:
    """Says once, on a terminal, that kernels are being compiled, when that has taken more than a second."""

    since = last = -math.inf
    told = False

    def tick(self) -> None:
        """Before and after each compilation; those that are seconds apart do not belong together."""
        now = time.perf_counter()
        self.since = self.since if now - self.last < 3 else now
        self.last = now
        if now - self.since > 1 and not self.told:
            self.told = True
            level = logging.WARNING if sys.stderr is not None and sys.stderr.isatty() else logging.INFO
            logger.log(level, "compiling kernels for this CPU; later processes find them in %s", cache_folder())


_patience = _Patience()


class KernelCache(NullCache):  # type: ignore[misc]
    """One checksummed file per key, named by the key: no index to tear, nothing to overwrite; it never raises."""

    def __init__(self, function: Callable[..., Any], *flags: object) -> None:
        self.name = f"{function.__module__}.{function.__qualname__}"
        self.flags, self.source = flags, function.__code__.co_filename

    def path(self, signature: Any, codegen: Any) -> Path:
        folder = cache_folder()
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if os.name == "posix":
            found = folder.stat()
            if found.st_mode & 0o022 or found.st_uid not in (0, os.getuid()):  # what lies there is unpickled and run
                raise PermissionError(f"others may write to {folder}")
        key = repr((stamp(), _digest(self.source), self.name, self.flags, signature, codegen.magic_tuple()))
        return folder / f"{self.name}-{hashlib.sha256(key.encode()).hexdigest()[:32]}.kernel"

    def load_overload(self, signature: Any, target_context: Any) -> Any:
        try:
            from numba.core.compiler import CompileResult
            from numba.core.runtime import rtsys

            rtsys.initialize(target_context)  # compiled code needs no more; refresh(), for the compiler, takes 0.1 s
            blob = self.path(signature, target_context.codegen()).read_bytes()
            if hashlib.sha256(blob[32:]).digest() != blob[:32]:  # LLVM must never see half an object file
                raise ValueError("a damaged file")
            return CompileResult._rebuild(target_context, *pickle.loads(blob[32:]))
        except FileNotFoundError:
            _patience.tick()
            return None
        except Exception as error:
            warn_uncached(repr(error))
            return None

    def save_overload(self, signature: Any, data: Any) -> None:
        _patience.tick()
        try:
            from numba.core.serialize import dumps

            if data.library.has_dynamic_globals:
                raise ValueError(f"{self.name} holds an address")
            blob, path = dumps(data._reduce()), self.path(signature, data.codegen)
            scratch = path.with_suffix("." + uuid.uuid4().hex)
            try:
                scratch.write_bytes(hashlib.sha256(blob).digest() + blob)
                os.replace(scratch, path)
            finally:
                scratch.unlink(missing_ok=True)
        except Exception as error:
            warn_uncached(repr(error))
