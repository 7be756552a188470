"""Fixtures: seeded problems, and fresh processes."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def rng():
    return np.random.default_rng(20240229)


@pytest.fixture
def run_python():
    """Run code in a fresh process with further environment variables; returns what it prints."""

    def run(code, check=True, timeout=300, args=(), **environment):
        result = subprocess.run(
            [sys.executable, "-W", "error", "-c", code, *args],
            env=os.environ | {"PYTHONPATH": str(ROOT)} | {k: str(v) for k, v in environment.items()},
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )
        if check:
            assert result.returncode == 0, result.stderr[-3000:]
        return result.stdout.strip() if check else result

    return run


def make_problem(rng, n, m, c, dtype=np.float32):
    """X of any of the three dtypes, labels, coef and intercept with logits of moderate size."""
    if dtype == np.uint8:
        X = rng.integers(0, 256, (n, m), dtype=np.uint8)
        coef = rng.standard_normal((c, m)).astype(np.float32) * np.float32(0.01 / np.sqrt(m))
    else:
        X = rng.standard_normal((n, m)).astype(dtype)
        coef = rng.standard_normal((c, m)).astype(dtype) / dtype(np.sqrt(m))
    return X, rng.integers(0, c, n), coef, rng.standard_normal(c).astype(coef.dtype)


def objective_of(X, targets, dtype=None):
    """Sums over X, or a design, and targets."""
    from fastsoftmax.data.examples import Examples
    from fastsoftmax.data.layouts import as_design
    from fastsoftmax.objective.softmax import SoftmaxObjective

    return SoftmaxObjective(Examples(as_design(X), targets), dtype)


def problem_of(X, targets, dtype=None, **settings):
    """F over them."""
    from fastsoftmax.objective.problem import Problem

    return Problem(objective_of(X, targets, dtype), **settings)


@pytest.fixture
def checked_drivers(monkeypatch):
    """Every call of a driver is checked: types of its arguments are those that its chunk was compiled with."""
    from fastsoftmax.engine.jit import Driver

    monkeypatch.setattr(Driver, "checks", True)


def pytest_collection_modifyitems(items):
    """The longest file first: of two workers one would else wait minutes for it in the end."""
    items.sort(key=lambda item: item.path.name != "test_bits.py")
