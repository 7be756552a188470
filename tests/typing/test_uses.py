"""A file of typical uses passes a strict type checker against the installed package: its types are there for users."""

import os
import shutil
import subprocess
import sys
from pathlib import Path


def test_uses(tmp_path):
    """In a folder of its own, so that the installed package is checked, not the one beside the tests."""
    shutil.copy(Path(__file__).parent / "uses.py", tmp_path)
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MYPYPATH")}
    result = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--warn-unused-ignores", "uses.py"],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=False, timeout=600,
    )  # fmt: skip
    assert result.returncode == 0, result.stdout + result.stderr
