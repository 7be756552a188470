"""The next part is read by a thread while the last one is computed with; never more than two are in memory."""

import threading
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

T = TypeVar("T")


class _Next(Generic[T]):
    """The next item of an iterator, by a thread that nobody waits for in the end: a slow disk does not stop Ctrl-C."""

    def __init__(self, items: Iterator[T]) -> None:
        self.items, self.found, self.done = items, list[T](), threading.Event()
        self.error: BaseException | None = None
        threading.Thread(target=self._read, name="fastsoftmax reader", daemon=True).start()

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


def each(items: Iterator[T], visit: Callable[[T], Any]) -> None:
    """Calls `visit` with each item, in order, while the next one is read."""
    following = _Next(items)
    while item := following.take():
        following = _Next(items)
        visit(item.pop())
