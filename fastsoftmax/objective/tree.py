"""Sums over parts along a fixed tree: of eight by index, then of eight such sums, and so on.

Which part was read, or which worker was done, first makes no difference; nor does it matter who adds.
"""

from collections.abc import Callable, Iterable, Sequence
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


def nodes_of(members: Iterable[int], count: int) -> list[list[int]]:
    """What can be added up of `count` parts by who has these: whole eights, and single ones of the others."""
    found, nodes = set(members), list[list[int]]()
    for first in sorted({i // FAN_IN * FAN_IN for i in found}):
        eight = range(first, min(first + FAN_IN, count))
        nodes += [list(eight)] if found.issuperset(eight) else [[i] for i in eight if i in found]
    return nodes


def by_eights(nodes: Iterable[Sequence[int]], sums: Iterable[Any]) -> list[list[Any]]:
    """The sums of all nodes, by the eights that they are of, in order."""
    eights: dict[int, list[Any]] = {}
    for node, item in sorted(zip(nodes, sums, strict=True), key=lambda pair: pair[0][0]):
        eights.setdefault(node[0] // FAN_IN, []).append(item)
    return [eights[k] for k in sorted(eights)]


def folded(eights: Sequence[Sequence[Any]], join: Callable[[Sequence[Any]], Any]) -> Any:
    """The sum of all of `by_eights` along the tree; join: what adds up to eight, of which one is its own sum."""
    items = [join(eight) for eight in eights]
    while len(items) > 1:
        items = [join(items[k : k + FAN_IN]) for k in range(0, len(items), FAN_IN)]
    return items[0]


def _added(running: tuple[Any, ...], item: tuple[Any, ...]) -> tuple[Any, ...]:
    return tuple(_grown(one, more) for one, more in zip(running, item, strict=True))


def _grown(one: Any, more: Any) -> Any:
    one += more
    return one
