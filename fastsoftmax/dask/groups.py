"""Which partitions a worker takes in one task: those that it has, unless that were far more than its share."""

from collections.abc import Sequence
from typing import NamedTuple

UNEVEN = 1.05  # times its share that a worker may have: what is moved once makes each of tens of steps shorter


class Group(NamedTuple):
    """Partitions of one worker, by ascending numbers."""

    worker: str | None
    members: list[int]


def groups_of(sizes: Sequence[float], holders: Sequence[Sequence[str]], threads: dict[str, int]) -> list[Group]:
    """A group a worker; what a worker has beyond its share goes to those with the least to do.

    Parameters
    ----------
    sizes : sequence of float
        Of each partition.
    holders : sequence of sequence of str
        The workers that have each.
    threads : dict
        Of each worker, all of which there are.
    """
    share = UNEVEN * sum(sizes) / max(1, sum(threads.values()))
    most = {worker: share * count for worker, count in threads.items()}
    load, found = dict.fromkeys(threads, 0.0), {worker: list[int]() for worker in threads}

    def give(i: int, worker: str) -> None:
        load[worker] += sizes[i]
        found[worker].append(i)

    left = []
    for i, having in enumerate(holders):
        free = [worker for worker in having if worker in threads and load[worker] + sizes[i] <= most[worker]]
        if free:
            give(i, min(free, key=lambda worker: load[worker] / threads[worker]))
        else:
            left.append(i)
    for i in sorted(left, key=lambda i: -sizes[i]):
        give(i, min(threads, key=lambda worker: (load[worker] + sizes[i]) / threads[worker]))
    return [Group(worker, sorted(members)) for worker, members in found.items() if members]
