"""Threads as granted: by affinity, and by the quota of a container, unless the user names a number."""

import os

import pytest

import fastsoftmax as fs
from fastsoftmax.engine import threads

CODE = """
import builtins, os
quota = {QUOTA!r}
real, there = builtins.open, os.path.exists
def opened(path, *more, **options):
    if path in quota:
        import io
        return io.StringIO(quota[path])
    if str(path).startswith("/sys/fs/cgroup/"):
        raise FileNotFoundError(path)
    return real(path, *more, **options)
builtins.open = opened
os.path.exists = lambda path: path in quota or (not str(path).startswith("/sys/fs/cgroup/") and there(path))
import sys, numba
numba.config.NUMBA_NUM_THREADS = 64
os.cpu_count = lambda: 64
os.sched_getaffinity = lambda process: set(range(64))
import fastsoftmax as fs
print(fs.get_num_threads(), "joblib" in sys.modules)
fs.set_num_threads(8)
print(fs.get_num_threads())
"""
V2, V1, PERIOD = "/sys/fs/cgroup/cpu.max", "/sys/fs/cgroup/cpu/cpu.cfs_quota_us", "/sys/fs/cgroup/cpu/cpu.cfs_period_us"


@pytest.mark.parametrize(
    ("quota", "expected", "asked"),
    [
        ({}, 64, False),
        ({V2: "max 100000\n"}, 64, False),
        ({V1: "-1\n", PERIOD: "100000\n"}, 64, False),
        ({V2: "200000 100000\n"}, 2, True),
        ({V2: "150000 100000\n"}, 2, True),
        ({V1: "300000\n", PERIOD: "100000\n"}, 3, True),
    ],
)
def test_the_quota_of_a_container(run_python, monkeypatch, quota, expected, asked):
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    first, second = run_python(CODE.replace("{QUOTA!r}", repr(quota))).splitlines()
    assert first == f"{expected} {asked}"
    assert second == "8"  # who names a number gets it


def test_a_number_of_the_environment(run_python):
    code = CODE.replace("{QUOTA!r}", repr({V2: "200000 100000\n"}))
    assert run_python(code, NUMBA_NUM_THREADS=7).splitlines()[0] == "64 False"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system has no affinity")
def test_affinity(run_python, monkeypatch):
    monkeypatch.delenv("NUMBA_NUM_THREADS", raising=False)
    one = min(os.sched_getaffinity(0))
    code = f"""
import os
os.sched_setaffinity(0, {{{one}}})
import fastsoftmax as fs
print(fs.get_num_threads())
"""
    assert run_python(code) == "1"


def test_it_is_asked_once(monkeypatch):
    assert fs.get_num_threads() <= threads.granted()
    assert threads.granted.cache_info().currsize == 1
