"""What is committed works on any machine: no addresses of indexes, no paths of somebody's disk."""

import ast
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

from liaison_sdk.version import VERSION

ROOT = Path(__file__).parents[2]
PROJECTS = [
    project
    for pattern in ("sdk", "kit", "cli", "services/*", "plugins/*")
    for project in sorted(ROOT.glob(f"{pattern}/pyproject.toml"))
]
LOCKS = ["requirements.lock", "bootstrap.lock"]

# Put together here so that this file does not find itself.
INDEXES = ["py" + "pi.org", "python" + "hosted.org", "registry.npm" + "js", "deb.de" + "bian.org"]
DISK = re.compile(r"(?<![\w.~$}-])/(?:wo" + r"rk|ro" + r"ot|ho" + r"me/\w+|Us" + r"ers/\w+)/\w")


def committed() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    files = [ROOT / name for name in listed.stdout.split("\0") if name]
    return [file for file in files if file.is_file()]


def named_by(project: Path) -> set[str]:
    """The distributions that one pyproject names."""
    wanted = tomllib.loads(project.read_text())["project"].get("dependencies", [])
    return {re.split(r"[\s\[<>=!~;]", name, maxsplit=1)[0].lower() for name in wanted}


def imported_by(file: Path) -> set[str]:
    """The top-level modules that a file imports."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            found.add(node.module.split(".")[0])
    return found


def dependencies() -> set[str]:
    """All that the distributions and the development tools name, Liaison's own aside."""
    wanted: list[str] = []
    for file in committed():
        if file.name == "pyproject.toml" and "_template" not in file.parts:
            project = tomllib.loads(file.read_text())
            wanted += project["project"].get("dependencies", [])
            for extra in project["project"].get("optional-dependencies", {}).values():
                wanted += extra
            for group in project.get("dependency-groups", {}).values():
                wanted += group
    names = {re.split(r"[\s\[<>=!~;]", name, maxsplit=1)[0].lower() for name in wanted}
    return {name for name in names if not name.startswith("liaison-")}


@pytest.mark.parametrize("file", committed(), ids=lambda file: str(file.relative_to(ROOT)))
def test_no_file_names_an_index_or_a_path_of_a_machine(file: Path) -> None:
    try:
        text = file.read_text()
    except UnicodeDecodeError:
        pytest.skip("not text")

    assert not [address for address in INDEXES if address in text]
    assert not DISK.search(text)


def test_every_dependency_says_why_it_is_here() -> None:
    page = (ROOT / "docs/decisions/dependencies.md").read_text()
    explained = set(re.findall(r"^\| (\w[\w-]*) \|", page, re.MULTILINE)) - {"dependency"}

    assert dependencies() - explained == set()
    assert explained - dependencies() == set(), "explained, but nobody depends on it"


def test_every_dependency_is_locked() -> None:
    locked = set(re.findall(r"^([\w-]+)==", (ROOT / "requirements.lock").read_text(), re.MULTILINE))

    assert dependencies() - locked == set(), "run `make lock`"


@pytest.mark.parametrize("project", PROJECTS, ids=lambda project: project.parent.name)
def test_a_distribution_names_what_it_imports(project: Path) -> None:
    """Its own dependencies, or those of the SDK and the kit when it stands on them."""
    named = named_by(project)
    for base in ("kit", "sdk"):
        if f"liaison-{base}" in named:
            named |= named_by(ROOT / base / "pyproject.toml")
    carriers = packages_distributions()

    for file in project.parent.glob("liaison_*/**/*.py"):
        for module in imported_by(file):
            if module == "pytest" and file.name == "testing.py":
                continue  # read by tests only, and pytest is there then
            carrying = {re.sub(r"[-_.]+", "-", name).lower() for name in carriers.get(module, [])}
            if module not in sys.stdlib_module_names and not module.startswith("liaison_"):
                assert carrying & named, f"{file.relative_to(ROOT)} imports {module}"


@pytest.mark.parametrize("project", [ROOT / "pyproject.toml", *PROJECTS], ids=str)
def test_everything_has_the_version_that_it_says_it_has(project: Path) -> None:
    said = tomllib.loads(project.read_text())["project"]["version"]

    assert said == VERSION, "raise it with `make version`"


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_has_a_hash_for_everything_and_no_address(name: str) -> None:
    text = (ROOT / name).read_text()
    entries = re.split(r"\n(?=\S)", text.strip())

    assert entries
    assert not [entry for entry in entries if "==" not in entry or "--hash=sha256:" not in entry]
    assert "://" not in text
    assert "file:" not in text


def test_uv_lock_stays_out() -> None:
    assert ROOT / "uv.lock" not in committed()


def test_every_make_target_explains_itself() -> None:
    makefile = (ROOT / "Makefile").read_text()
    phony = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)
    assert phony is not None

    explained = set(re.findall(r"^([a-z-]+):.*## \S", makefile, re.MULTILINE))

    assert explained == set(phony[1].split())
    assert {"run", "demo", "test", "check", "fix", "bench", "migrate", "help"} <= explained


def test_the_types_of_every_package_are_checked() -> None:
    makefile = (ROOT / "Makefile").read_text().replace("\\\n", "")
    line = re.search(r"^\t@\$\(BIN\)/mypy --strict (.+)$", makefile, re.MULTILINE)
    assert line is not None

    checked = {found for pattern in line[1].split() for found in ROOT.glob(pattern)}

    assert checked == {
        found.parent
        for project in PROJECTS
        for found in project.parent.glob("liaison_*/__init__.py")
    }


def test_the_readme_begins_with_run_and_test() -> None:
    commands = re.findall(r"^```\n(.+?)^```", (ROOT / "README.md").read_text(), re.M | re.S)

    assert commands[0].split("\n")[:2] == ["make run", "make test"]


def test_links_between_pages_lead_somewhere() -> None:
    for page in (file for file in committed() if file.suffix == ".md"):
        for target in re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.relative_to(ROOT)} → {target}"
