"""`make new-service NAME=fleet RECORD=vehicle`: render a service that runs and is tested.

What is in `files` is rendered (Liquid) to the same place in the repository, `_service_` and
`_records_` in names included. Then the service is written down where services are: the workspace,
who may hold data of persons, the ready-made roles, the systems that tests start. Its migration is
drawn from its models, and goldens of its contracts are kept. A name that can't be is refused, and
nothing is changed.
"""

import argparse
import keyword
import re
import subprocess
import sys
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path

from liaison_identity.permissions import SHIPPED
from liaison_kit import new_migration, templates
from liaison_kit.database.migrations import services
from liaison_kit.database.tables import Base
from liaison_sdk.version import VERSION

ROOT = Path(__file__).parents[2]
FILES = Path(__file__).parent / "files"
NAME = re.compile(r"[a-z][a-z0-9]*(_[a-z0-9]+)*")
LONGEST = 30
TAKEN = {"api", "base", "cli", "event", "gateway", "kit", "label", "liaison", "owner", "person"}
TAKEN |= {"record", "resource", "sdk", "service", "stage", "template", "tests", "web", "worker"}
"""What something of the house's own is called, or is in each service that is rendered."""


class BadName(Exception):
    """A service or a record that can't be called so."""


def said_of(service: str, record: str = "", plural: str = "") -> dict[str, str]:
    """What templates say of a service and its record."""
    one = record or service.removesuffix("s")
    many = plural or plural_of(one)
    article = "an" if one[:1] in "aeio" else "a"
    return {
        "service": service,
        "Service": _camel(service),
        "record": one,
        "Record": _camel(one),
        "records": many,
        "Records": _camel(many),
        "RECORDS": many.upper(),
        "Said": many.replace("_", " ").capitalize(),
        "said_one": one.replace("_", " ").capitalize(),
        "a": article,
        "A": article.capitalize(),
        "version": VERSION,
    }


def check(said: Mapping[str, str]) -> None:
    """Raise `BadName` where a service or its record can't be called so."""
    service, one, many = said["service"], said["record"], said["records"]
    for what, name in (("NAME", service), ("RECORD", one), ("PLURAL", many)):
        if not NAME.fullmatch(name) or len(name) > LONGEST:
            raise BadName(
                f"{what}={name[:80]!r}: small letters, digits and single underscores, beginning"
                f" with a letter, {LONGEST} at most, as in NAME=fleet RECORD=vehicle"
            )
        if name in TAKEN or keyword.iskeyword(name) or keyword.issoftkeyword(name):
            raise BadName(f"{what}={name}: this word is taken; find another")
    if one == many:
        raise BadName(f"RECORD={one} is its own plural; RECORD=… names one, PLURAL=… several")
    contract = ROOT / "sdk/liaison_sdk/contracts" / f"{service}.py"
    if service in services() or (ROOT / "services" / service).exists() or contract.exists():
        raise BadName(f"NAME={service}: there is such a service, or a contract of that name")
    if many in known():
        raise BadName(f"PLURAL={many}: another service or the kit has such records or tables")


def plural_of(noun: str) -> str:
    """What several are called in English, by its rules; where it keeps to none, say PLURAL=…."""
    if re.search(r"[^aeiou]y$", noun):
        return noun[:-1] + "ies"
    return noun + ("es" if re.search(r"(s|x|z|ch|sh)$", noun) else "s")


def known() -> set[str]:
    """What records and tables are called already, in any service."""
    classes = [
        getattr(import_module(place), name)
        for place, _, name in (value.partition(":") for value in services().values())
    ]
    paths = {
        operation.path.strip("/").split("/")[0]
        for service in classes
        for operation in (getattr(member, "operation", None) for member in vars(service).values())
        if operation is not None and operation.path
    }
    permissions = {permission.partition(":")[0] for permission in SHIPPED}
    return {*permissions, *paths, *Base.metadata.tables, "bulk", "exports", "trash"}


def _camel(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("_"))


def rendered(said: Mapping[str, str]) -> dict[Path, str]:
    """Every file of the new service, by where it goes."""
    found = {}
    for file in sorted(FILES.rglob("*")):
        if file.is_file():
            place = str(file.relative_to(FILES)).removesuffix(".liquid")
            for name in ("service", "records"):
                place = place.replace(f"_{name}_", said[name])
            found[ROOT / place] = templates.render(file.read_text(), place, said)
    return found


def registered(said: Mapping[str, str]) -> dict[Path, str]:
    """Every file that names the services or their records, with this one in it."""
    service, project = said["service"], ROOT / "pyproject.toml"
    text = _into(project.read_text(), "dependencies = [\n", f'    "liaison-{service}",\n', "]")
    source = f"liaison-{service} = {{ workspace = true }}\n"
    found = {project: _into(text, "[tool.uv.sources]\n", source, "\n")}
    for place, name, value in (
        ("sdk/liaison_sdk/contracts/privacy.py", "HOLDERS", service),
        ("services/identity/liaison_identity/standard_roles.py", "FURTHER", said["records"]),
        ("tests/system.py", "SERVICES", service),
    ):
        file = ROOT / place
        found[file] = _in_tuple(file.read_text(), name, value)
    return found


def _into(text: str, begin: str, line: str, end: str) -> str:
    """A text with one more line in a sorted block."""
    start = text.index(begin) + len(begin)
    stop = text.index("\n" + end, start) + 1
    lines = sorted([*text[start:stop].splitlines(keepends=True), line])
    return text[:start] + "".join(lines) + text[stop:]


def _in_tuple(text: str, name: str, value: str) -> str:
    """A text in which a tuple of names has one more."""
    declared = re.search(rf"^{name}(: [^=]+)? = \(([^)]*)\)", text, re.MULTILINE)
    assert declared is not None, name
    there = re.findall(r'"([^"]+)"', declared[2])
    listed = ", ".join(f'"{one}"' for one in (*there, value)) + ("" if there else ",")
    return text[: declared.start(2)] + listed + text[declared.end(2) :]


def write(said: Mapping[str, str]) -> list[Path]:
    """Write the service; what was written."""
    files = rendered(said) | registered(said)
    for file, text in files.items():
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    package = ROOT / "services" / said["service"]
    sys.path.insert(0, str(package))
    service = getattr(import_module(f"liaison_{said['service']}.service"), said["Service"])
    migration = new_migration.draw(service, f"{said['Said']}, and whom they are for")
    # Imports are in another order, and lines of another length, under other names.
    python = [str(file) for file in (*files, migration) if file.suffix == ".py"]
    for arguments in (["check", "--quiet", "--fix", "--select", "I"], ["format", "--quiet"]):
        subprocess.run([sys.executable, "-m", "ruff", *arguments, *python], cwd=ROOT, check=True)
    goldens = [sys.executable, "-m", "tests.contracts.write"]
    subprocess.run(goldens, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return [*files, migration]


def main(arguments: list[str]) -> int:
    """Render a service; 0 when it is there."""
    parser = argparse.ArgumentParser(prog="make new-service")
    for name in ("service", "record", "plural"):
        parser.add_argument(name, nargs="?", default="")
    given = parser.parse_args(arguments)
    said = said_of(given.service, given.record, given.plural)
    try:
        check(said)
    except BadName as reason:
        print(reason, file=sys.stderr)
        return 1
    for file in write(said):
        print(file.relative_to(ROOT))
    print(f"\nNow: make run, and .venv/bin/pytest services/{said['service']}/tests")
    print("docs/a-module.md goes through it, and says how to go on.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
