"""The code is formatted and lints clean, whoever ran what before committing."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("asked", [("check",), ("format", "--check")], ids=" ".join)
def test_ruff_finds_nothing(asked: tuple[str, ...]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *asked, "."], cwd=ROOT, capture_output=True, text=True
    )

    assert done.returncode == 0, done.stdout + done.stderr
