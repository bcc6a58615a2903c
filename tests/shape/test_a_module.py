"""docs/a-module.md is true: what it names is there, and what it quotes is rendered."""

import re
from pathlib import Path

import pytest
from services._template.__main__ import rendered, said_of

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs/a-module.md").read_text()
RENDERED = rendered(said_of("fleet", "vehicle"))
FLEET = {str(file.relative_to(ROOT)): text for file, text in RENDERED.items()}
BLOCKS = re.findall(r"^```(\w*)\n(.+?)^```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.mark.parametrize("path", sorted(set(re.findall(r"`(\w[\w-]*/[\w/.-]+|\w+\.toml)`", PAGE))))
def test_a_file_that_the_page_names_is_there_or_is_rendered(path: str) -> None:
    assert (ROOT / path).exists() or path in FLEET or any(f.startswith(path) for f in FLEET)


def test_every_command_of_the_page_can_be_given() -> None:
    makefile = (ROOT / "Makefile").read_text()
    commands = [line for kind, block in BLOCKS if not kind for line in block.splitlines()]

    assert commands
    for command in commands:
        program, what, *_ = command.split()
        if program == "make":
            assert re.search(rf"^{what}:", makefile, re.MULTILINE), command
        else:
            assert program == ".venv/bin/pytest"
            assert any(file.startswith(what) for file in FLEET), command


def test_what_the_page_quotes_is_what_is_rendered() -> None:
    quoted = [block for kind, block in BLOCKS if kind == "python"]

    assert len(quoted) >= 3
    for block in quoted:
        assert any(block in text for text in FLEET.values()), block


def test_what_the_page_would_have_you_change_is_there() -> None:
    changes = [block for kind, block in BLOCKS if kind == "diff"]
    lines = [line for block in changes for line in block.splitlines() if line]
    there = [line[1:] for line in lines if not line.startswith("+")]

    assert len(there) < len(lines)
    for line in there:
        assert any(f"{line}\n" in text for text in FLEET.values()), line
