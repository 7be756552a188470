"""The next part is read by a thread while the last one is computed with; never more than two are in memory."""

import atexit
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")
QUICK = 2e-3  # seconds a part: a thread for each costs 0.1 to 1 ms
LAST = 3.0  # seconds that Python waits, as it ends, for readers: one in a library that is taken down means an abort
_readers: "weakref.WeakSet[threading.Thread]" = weakref.WeakSet()


@atexit.register
def _await_readers() -> None:
    """Nobody else waits for those that an error, or Ctrl-C, left behind."""
    until = time.monotonic() + LAST
    for reader in list(_readers):
        reader.join(max(0.0, until - time.monotonic()))


class _Next(Generic[T]):
    """The next item of an iterator, by a thread that no caller waits for: a slow disk does not stop Ctrl-C.

    Python itself waits for it as it ends, but not for long: see LAST.
    """

    def __init__(self, items: Iterator[T]) -> None:
        self.items, self.found, self.done = items, list[T](), threading.Event()
        self.error: BaseException | None = None
        reader = threading.Thread(target=self._read, name="fastsoftmax reader", daemon=True)
        _readers.add(reader)
        reader.start()

    def _read(self) -> None:
        try:
            self.found.append(next(self.items))
        except StopIteration:
            pass
        except BaseException as error:
            self.error = error
        finally:
            self.done.set()

    def take(self) -> list[T]:
        """It, or nothing at the end."""
        while not self.done.wait(0.1):  # in pieces: on some systems a wait without end does not hear Ctrl-C
            pass
        if self.error is not None:
            raise self.error
        found, self.found = self.found, []
        return found


class Pace:
    """Whether a thread that reads ahead is worth its while: not where all is in memory, and a switch takes longer."""

    def __init__(self) -> None:
        self.ahead, self.reading, self.reads = True, 0.0, 0
        self.rows = 0  # of all passes

    def timed(self, items: Iterator[T]) -> Iterator[T]:
        """The same items, of one pass; what reading them took decides about the next pass."""
        self.reading, self.reads = 0.0, 0
        while True:
            start = time.perf_counter()
            found = next(items, None)
            self.reading += time.perf_counter() - start
            if found is None:
                break
            self.reads += 1
            yield found
            del found
        self.ahead = self.reading > QUICK * self.reads


def each(items: Iterator[T], visit: Callable[[T], Any], ahead: bool = True) -> None:
    """Calls `visit` with each item, in order, while the next one is read."""
    if not ahead:
        for one in items:
            visit(one)
            del one  # before the next one is read
        return
    following = _Next(items)
    while item := following.take():
        following = _Next(items)
        visit(item.pop())
