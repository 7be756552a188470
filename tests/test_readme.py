"""The README says the commands that CI runs, the hash that the main job prints, and names that exist."""

import re
from pathlib import Path

import pytest

import fastsoftmax as fs
from tests import test_lecture

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


@pytest.mark.parametrize(
    "command",
    ["python -m pip install . && fastsoftmax train", "python -m pip install '.[test]' && python -m pytest -n 2"],
)
def test_the_two_commands(command):
    assert f"\n{command}\n" in README
    gate = (ROOT / ".ci" / "run").read_text()
    for part in command.split(" && "):
        assert part.replace("pip install", "pip install -q") in gate


def test_every_lecture_test_is_in_the_table():
    page = (ROOT / "docs" / "explanation" / "lecture.md").read_text()
    told = set(re.findall(r"`(test_\w+)`", page)) - {"test_lecture"}
    assert told == {name for name in vars(test_lecture) if name.startswith("test_")}


def test_functions_in_the_readme_exist():
    for name in set(re.findall(r"\bfs\.([A-Za-z_]+)", README)):
        assert hasattr(fs, name), name


@pytest.mark.filterwarnings("ignore:Port 8787 is already in use")  # by another cluster of this machine, which
@pytest.mark.filterwarnings(
    "ignore:unclosed <socket:ResourceWarning"
)  # distributed finds out by a socket that it leaves
def test_the_example_runs(capsys):
    """The README's Python, as it stands."""
    blocks = re.findall(r"```python\n(.*?)```", README, re.S)
    assert blocks
    for block in blocks:
        exec(block, {})


def test_the_published_hash_is_one():
    hashes = set(re.findall(r"\b[0-9a-f]{64}\b", README))
    assert len(hashes) == 1
    changelog = (ROOT / "CHANGELOG.md").read_text()
    assert hashes <= set(re.findall(r"\b[0-9a-f]{64}\b", changelog))
