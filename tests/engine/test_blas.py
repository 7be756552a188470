"""BLAS on one thread inside, whichever thread asks and whoever leaves last, and as before outside."""

import threading
import time

import pytest
import scipy.linalg  # noqa: F401  # its BLAS is not NumPy's
from threadpoolctl import threadpool_info, threadpool_limits

from fastsoftmax.engine.blas import on_threads, single_threaded


def threads():
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


def in_a_thread(function):
    found = []
    thread = threading.Thread(target=lambda: found.append(function()))
    thread.start()
    thread.join()
    return found[0]


def inside():
    with single_threaded():
        return threads()


@pytest.fixture
def two():
    with threadpool_limits(2, user_api="blas"):
        if threads() != {2}:
            pytest.skip("BLAS takes no second thread on this machine")
        yield


def test_one_thread_inside_and_as_before_outside(two):
    for _ in range(2):
        assert inside() == {1}
        assert in_a_thread(inside) == {1}
        assert threads() == {2}


def test_who_leaves_last_restores(two):
    entered, left = threading.Event(), threading.Event()

    def stay():
        with single_threaded():
            entered.set()
            assert left.wait(60)
            return threads()

    found = []
    thread = threading.Thread(target=lambda: found.append(stay()))
    with single_threaded():
        thread.start()
        assert entered.wait(60)
    assert threads() == {1}  # the other is still inside
    left.set()
    thread.join()
    assert found == [{1}]
    assert threads() == {2}


def test_it_stays_until_work_that_was_left_is_done(two):
    """After Ctrl-C, or an error, threads may still be in BLAS: its number of threads must not change under them."""
    started, go, seen = threading.Event(), threading.Event(), []

    def work(fails):
        if fails:
            assert started.wait(60)
            raise ValueError("given up")
        started.set()
        assert go.wait(60)
        seen.append(threads())

    with pytest.raises(ValueError, match="given up"), single_threaded():
        on_threads(2, work, [True, False])
    assert threads() == {1}
    go.set()
    for _ in range(6000):
        if threads() == {2}:
            break
        time.sleep(0.01)
    assert threads() == {2}
    assert seen == [{1}]


def test_work_that_ends_leaves_all_as_it_was(two):
    done = []
    on_threads(2, done.append, range(5))
    assert sorted(done) == list(range(5))
    assert threads() == {2}
    with single_threaded():
        on_threads(2, done.append, range(5))
        assert threads() == {1}
    assert threads() == {2}
