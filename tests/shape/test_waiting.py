"""Nothing waits while it holds a connection or a lock: services neither sleep nor ask themselves.

What has to be waited for goes through `liaison_kit.calls.outside`, which leaves the transaction.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SERVICES = sorted(
    file
    for folder in ROOT.glob("services/*/liaison_*")
    # The gateway has no database.
    if folder.name != "liaison_gateway"
    for file in folder.rglob("*.py")
)
KIT = sorted((ROOT / "kit" / "liaison_kit").rglob("*.py"))
ASKS = {
    "bulk/api.py": "hands the question's means to `doing`",
    "calls/answering.py": "hands the question's means to `doing`, which holds nothing",
    "calls/asking.py": "is the means",
    "calls/outside.py": "asks with nothing in hand",
    "imports/api.py": "hands the question's means to `doing`",
    "jobs/runner.py": "asks whose rights a job has, before its transaction",
    "timers/runner.py": "asks whose rights a timer has, before its transaction",
}
"""The kit's files that may ask another service, and why."""


def _waits(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if node.func.attr == "sleep" and not _yields(node):
                yield f"{node.lineno}: sleeps"
        elif isinstance(node, ast.ImportFrom) and "sleep" in {a.name for a in node.names}:
            yield f"{node.lineno}: sleeps"


def _yields(node: ast.Call) -> bool:
    """`sleep(0)` only lets others have a turn."""
    return [ast.unparse(argument) for argument in node.args] == ["0"]


def _asks(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        named = isinstance(node, ast.Attribute) and node.attr == "ask"
        # Plugins are asked as well, by `hooks.ask`: they do no I/O and have half a second.
        if named and not ast.unparse(node).endswith("hooks.ask"):
            yield f"{node.lineno}: asks another service"


def test_there_is_something_to_look_at() -> None:
    assert len(SERVICES) > 40
    assert {f.relative_to(ROOT / "kit" / "liaison_kit").as_posix() for f in KIT} >= ASKS.keys()


@pytest.mark.parametrize("file", SERVICES, ids=lambda file: "/".join(file.parts[-2:]))
def test_a_service_neither_sleeps_nor_asks_by_itself(file: Path) -> None:
    assert [*_waits(file), *_asks(file)] == []


@pytest.mark.parametrize("file", KIT, ids=lambda file: "/".join(file.parts[-2:]))
def test_the_kit_asks_where_nothing_is_held(file: Path) -> None:
    if file.relative_to(ROOT / "kit" / "liaison_kit").as_posix() not in ASKS:
        assert list(_asks(file)) == []


def test_the_rule_is_seen_to_be_broken(tmp_path: Path) -> None:
    broken = tmp_path / "broken.py"
    broken.write_text("import time\ntime.sleep(0.05)\ntime.sleep(0)\nself.ask('contacts')\n")

    assert list(_waits(broken)) == ["2: sleeps"]
    assert list(_asks(broken)) == ["4: asks another service"]
