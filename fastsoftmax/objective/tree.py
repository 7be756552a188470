"""Sums over parts along a fixed tree: of eight by index, then of eight such sums, and so on.

Which part was read, or which worker was done, first makes no difference; nor does it matter who adds.
"""

from collections.abc import Sequence
from typing import Any

FAN_IN = 8


def joined(items: Sequence[tuple[Any, ...]]) -> tuple[Any, ...]:
    """Tuples of arrays, numbers and lists, added in their order; lists are put one after another."""
    total = items[0]
    for k, item in enumerate(items[1:]):
        total = _added(total, item) if k else tuple(one + more for one, more in zip(total, item, strict=True))
    return total  # what was given stays as it is


class Tree:
    """The sum of tuples that come in order, of which no more than one a level is kept; they are added to in place."""

    def __init__(self) -> None:
        self.levels: list[tuple[int, tuple[Any, ...] | None]] = []

    def add(self, item: tuple[Any, ...], level: int = 0) -> None:
        """One more."""
        while level >= len(self.levels):
            self.levels.append((0, None))
        count, running = self.levels[level]
        running = item if running is None else _added(running, item)
        if count + 1 < FAN_IN:
            self.levels[level] = count + 1, running
        else:
            self.levels[level] = 0, None
            self.add(running, level + 1)

    def total(self) -> tuple[Any, ...]:
        """Of all that came."""
        carried: tuple[Any, ...] | None = None
        for _, running in self.levels:
            if running is not None:
                carried = running if carried is None else _added(running, carried)
        assert carried is not None, "there is no sum of nothing"
        return carried


def _added(running: tuple[Any, ...], item: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(_grown(one, more) for one, more in zip(running, item, strict=True))


def _grown(one: Any, more: Any) -> Any:
    one += more
    return one
