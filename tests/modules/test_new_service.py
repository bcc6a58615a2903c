"""`make new-service` renders a service that is checked, tested and runs, and refuses bad names.

It is rendered into a copy of the repository, as somebody would render it into theirs.
"""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from services._template.__main__ import BadName, check, plural_of, said_of

ROOT = Path(__file__).parents[2]
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "node_modules", "bench.json")
LINES, FILES = 100, 4
"""How much somebody has to read and write for a record type."""


class Repository:
    """A copy of the repository, and what is run in it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(ROOT, folder, ignore=LEFT_OUT)

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a module of Python's, on the copy's code instead of what is installed."""
        return subprocess.run(
            [sys.executable, "-m", *command],
            cwd=self.folder,
            env={**os.environ, **self._paths(), **environment},
            capture_output=True,
            text=True,
        )

    def render(self, *names: str) -> subprocess.CompletedProcess[str]:
        """Render a service as make does."""
        return self.run("services._template", *names)

    def files(self) -> dict[str, bytes]:
        """Every file of it."""
        return {
            str(file.relative_to(self.folder)): file.read_bytes()
            for file in self.folder.rglob("*")
            if file.is_file() and "__pycache__" not in file.parts and ".site" not in file.parts
        }

    def _paths(self) -> Mapping[str, str]:
        places = [self.folder / name for name in ("sdk", "kit", "cli")]
        places += [each for each in (self.folder / "services").iterdir() if each.is_dir()]
        places.append(self.folder / ".site")
        found = os.pathsep.join(map(str, places))
        return {"PYTHONPATH": found, "MYPYPATH": found, "PYTHONDONTWRITEBYTECODE": "1"}


@pytest.mark.parametrize(
    ("names", "said"),
    [
        ([], "small letters"),
        (["Fleet", "vehicle"], "small letters"),
        (["fleet", "the car"], "small letters"),
        (["fleet", "x" * 31], "small letters"),
        (["class", "pupil"], "taken"),
        (["gateway", "vehicle"], "taken"),
        (["fleet", "person"], "taken"),
        (["sales", "vehicle"], "there is such a service"),
        (["flows", "vehicle"], "there is such a service, or a contract"),
        (["fleet", "product"], "another service or the kit has such records"),
        (["fleet", "job"], "another service or the kit has such records"),
        (["fleet", "sheep", "sheep"], "its own plural"),
    ],
)
def test_a_name_that_can_not_be_is_refused(names: list[str], said: str) -> None:
    with pytest.raises(BadName, match=said):
        check(said_of(*names or [""]))


def test_a_noun_has_its_plural() -> None:
    plurals = {"vehicle": "vehicles", "agency": "agencies", "survey": "surveys", "visa": "visas"}

    assert {noun: plural_of(noun) for noun in plurals} == plurals
    assert plural_of("branch") == "branches"
    assert said_of("fleet")["records"] == "fleets"


@pytest.fixture(scope="module")
def orchard(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """The copy with a service that was rendered, installed as `make` would."""
    repository = Repository(tmp_path_factory.mktemp("rendered") / "liaison")
    done = repository.render("orchard", "tree")
    assert done.returncode == 0, done.stderr
    built = subprocess.run(
        [
            *(sys.executable, "-m", "uv", "pip", "install", "--quiet", "--offline", "--no-deps"),
            *("--no-build-isolation", "--python", sys.executable, "--target", ".site"),
            "./services/orchard",
        ],
        cwd=repository.folder,
        capture_output=True,
        text=True,
    )
    assert built.returncode == 0, built.stderr
    return repository


def test_it_can_not_be_rendered_twice(orchard: Repository) -> None:
    before = orchard.files()

    done = orchard.render("orchard", "bush")

    assert done.returncode == 1
    assert "there is such a service" in done.stderr
    assert orchard.files() == before


def test_what_is_rendered_passes_the_checks(orchard: Repository) -> None:
    whole = [orchard.run("ruff", "check", "."), orchard.run("ruff", "format", "--check", ".")]
    typed = orchard.run(
        *("mypy", "--strict", "--cache-dir", ".mypy_cache"),
        *("services/orchard/liaison_orchard", "sdk/liaison_sdk/contracts/orchard.py"),
    )

    assert [done.stdout for done in (*whole, typed) if done.returncode] == []


def test_its_tests_pass_as_rendered_and_it_runs_with_the_others(orchard: Repository) -> None:
    done = orchard.run(
        *(
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "services/orchard",
            "tests/journeys/test_orchard.py",
        ),
        *("tests/shape/test_models_and_databases.py", "tests/shape/test_permissions.py"),
        *("tests/shape/test_arrows.py", "tests/contracts", "-k", "orchard"),
        LIAISON_TEST_DATABASE_URL="",
        LIAISON_TEST_AMQP_URL="",
    )

    assert done.returncode == 0, done.stdout
    assert re.search(r"\b[1-9]\d passed", done.stdout), done.stdout


def test_a_kind_of_record_takes_at_most_a_hundred_lines_in_four_files(orchard: Repository) -> None:
    """The lines that say what a tree is; the migration is drawn from them."""
    package = "services/orchard/liaison_orchard"
    whole = ["sdk/liaison_sdk/contracts/orchard.py", f"{package}/trees.py"]
    models = (orchard.folder / package / "models.py").read_text()
    service = (orchard.folder / package / "service.py").read_text().splitlines()

    of_a_tree = re.search(r"^class Tree\(.+?(?=\n\n\n)", models, re.DOTALL | re.MULTILINE)
    assert of_a_tree is not None
    lines = sum(len((orchard.folder / file).read_text().splitlines()) for file in whole)
    lines += len(of_a_tree[0].splitlines())
    lines += sum("ree" in line for line in service)

    assert len([*whole, "models.py", "service.py"]) <= FILES
    assert lines <= LINES


def test_an_added_column_is_drawn_with_what_it_is_searched_by(orchard: Repository) -> None:
    contract = orchard.folder / "sdk/liaison_sdk/contracts/orchard.py"
    models = orchard.folder / "services/orchard/liaison_orchard/models.py"
    _after(contract, "    description: LongText | None = None\n", "    kind: Name | None = None\n")
    shown = '    description: str | None = field("Description", "Description", searchable=True)\n'
    _after(contract, shown, '    kind: str | None = field("Kind", "Espèce", searchable=True)\n')
    column = "    description: Mapped[str | None] = personal()\n"
    _after(models, column, "    kind: Mapped[str | None]\n")

    drawn = orchard.run("liaison_kit.new_migration", "orchard", "Trees have a kind")
    again = orchard.run("liaison_kit.new_migration", "orchard", "Trees have a kind")

    assert drawn.returncode == 0, drawn.stderr
    written = models.parent / "migrations/versions/0002_trees_have_a_kind.py"
    assert written.read_text().endswith("""

def upgrade() -> None:
    add_column(op, "trees", "kind text")
    searched(op, "trees", "name", "description", "kind", refill=True)
""")
    assert (again.returncode, "nothing to write" in again.stderr) == (1, True)


def _after(file: Path, line: str, more: str) -> None:
    text = file.read_text()
    assert line in text
    file.write_text(text.replace(line, line + more))
