"""Which partitions lie together: each once, where they are, and none has much more than its share."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastsoftmax.dask.groups import UNEVEN, Group, groups_of

THREADS = {"a": 1, "b": 3, "c": 2}


def test_partitions_stay_where_they_are():
    holders = [["a"], ["b"], ["c"], ["b"], ["a", "b"], ["c"]]
    found = groups_of([1] * 6, holders, THREADS)
    assert found == [Group("a", [0]), Group("b", [1, 3, 4]), Group("c", [2, 5])]


@pytest.mark.parametrize("holder", ["a", "nobody"])
def test_what_one_has_alone_is_shared(holder):
    found = groups_of([1.0] * 60, [[holder]] * 60, THREADS)
    assert len(found) == 3
    assert all(len(members) <= UNEVEN * 10 * THREADS[worker] for worker, members in found)


@given(
    st.lists(st.tuples(st.floats(0, 1e9), st.sets(st.sampled_from(["a", "b", "c", "gone"]))), max_size=40),
    st.dictionaries(st.sampled_from(["a", "b", "c"]), st.integers(1, 8), min_size=1),
)
def test_each_has_one_place(partitions, threads):
    sizes = [size for size, _ in partitions]
    found = groups_of(sizes, [sorted(holders) for _, holders in partitions], threads)
    assert sorted(i for _, members in found for i in members) == list(range(len(sizes)))
    assert all(members == sorted(members) for _, members in found)
    assert {worker for worker, _ in found} <= set(threads)
    share = sum(sizes) / sum(threads.values())
    for worker, members in found:  # one more than fits, at most
        assert np.sum([sizes[i] for i in members]) <= UNEVEN * share * threads[worker] + max(sizes) + 1e-3
