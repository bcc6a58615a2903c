"""`python -m liaison_kit.new_migration SERVICE "What it brings"`: draw the next migration.

It looks at what the service declares and at a database that has all its migrations so far, on a
PostgreSQL of its own that is thrown away, and writes the file that makes up the difference. Read it
before it is committed: what it does to a large table, and whether the release before can live with
it, is for a person to judge. A service that has no migration yet gets its first, with all that the
kit needs itself.
"""

import argparse
import re
import sys
import tempfile
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

from sqlalchemy import make_url

from liaison_kit.agreement import Found, differences, looked_at
from liaison_kit.database.migrations import migrate, prepare, services
from liaison_kit.flows.api import FlowOperations
from liaison_kit.run.credentials import Credentials
from liaison_kit.run.postgres import Postgres
from liaison_kit.service import Service

_MIGRATIONS = "liaison_kit.database.migrations"
_RECORDS = "liaison_kit.database.record_tables"
_KIT = {
    "kit_tables": _MIGRATIONS,
    "changing_custom_fields": _MIGRATIONS,
    "safer_events": _MIGRATIONS,
    "timer_tables": _MIGRATIONS,
    "tenant_settings_table": _MIGRATIONS,
    "import_tables": "liaison_kit.imports.models",
    "mapping_tables": "liaison_kit.imports.models",
    "trash_tables": "liaison_kit.records.trash",
    "export_tables": "liaison_kit.exports.models",
    "bulk_tables": "liaison_kit.bulk.models",
    "privacy_tables": "liaison_kit.privacy.tables",
    "link_tables": "liaison_kit.records.links",
    "kept_searches": _RECORDS,
}
"""What makes the kit's own tables, in this order, and where it is."""

_PLACES = {
    **_KIT,
    "flow_tables": "liaison_kit.flows.tables",
    "enable_tenancy": _MIGRATIONS,
    "record_indexes": _MIGRATIONS,
    "search_view": _MIGRATIONS,
    "attachment_tables": "liaison_kit.records.attachments",
    "lands": "liaison_kit.privacy.tables",
}

_FILE = '''"""{message}."""

from alembic import op

{imports}

revision = "{revision}"
down_revision = {before}
branch_labels = None
depends_on = None


def upgrade() -> None:
{calls}
'''


class CannotDraw(Exception):
    """There is nothing to write, or something that only a person can."""


def draw(service: type[Service], message: str) -> Path:
    """Write the next migration of a service; the file that it is in."""
    name = service.name
    package = import_module(service.__module__.partition(".")[0])
    folder = Path(str(package.__file__)).parent / "migrations" / "versions"
    last = max((file.name[:4] for file in folder.glob("[0-9]*.py")), default=None)
    found = Found() if last is None else _migrated(name)
    lacking = differences(service, found)
    if lacking.by_hand:
        raise CannotDraw("Only a person can say how:\n" + "\n".join(lacking.by_hand))
    if not lacking.calls:
        raise CannotDraw(f"The database of {name} is what its models ask for; nothing to write.")
    calls = lacking.calls
    if last is None:
        flows = ["flow_tables(op)"] if issubclass(service, FlowOperations) else []
        calls = [*(f"{call}(op)" for call in _KIT), *flows, *calls]
    revision = f"{int(last or 0) + 1:04}"
    words = re.sub(r"[^a-z0-9]+", "_", message.lower()).strip("_")
    file = folder / f"{revision}_{words[:60]}.py"
    folder.mkdir(parents=True, exist_ok=True)
    file.write_text(_written(message, revision, last, calls))
    return file


def _migrated(name: str) -> Found:
    with (
        tempfile.TemporaryDirectory(prefix="liaison-draw-") as folder,
        Postgres(Path(folder) / "data") as server,
    ):
        roles = Credentials(Path(folder)).roles(name, make_url(server.url))
        prepare(make_url(server.url), roles)
        migrate(name, roles.owner)
        return looked_at(roles.owner)


def _written(message: str, revision: str, before: str | None, calls: Sequence[str]) -> str:
    used = {call.partition("(")[0] for call in calls}
    places: dict[str, list[str]] = {}
    for name in sorted(used):
        places.setdefault(_PLACES.get(name, _RECORDS), []).append(name)
    imports = (_import(place, names) for place, names in sorted(places.items()))
    return _FILE.format(
        message=message.rstrip("."),
        imports="\n".join(imports),
        revision=revision,
        before=f'"{before}"' if before else None,
        calls="\n".join(map(_call, calls)),
    )


def _import(place: str, names: Sequence[str]) -> str:
    line = f"from {place} import {', '.join(names)}"
    if len(line) <= 100:
        return line
    return f"from {place} import (\n" + "".join(f"    {name},\n" for name in names) + ")"


def _call(call: str) -> str:
    """A call as the formatter leaves it: on one line, else an argument a line."""
    if len(call) <= 96:
        return f"    {call}"
    name, _, rest = call.partition("(")
    arguments = re.findall(r'(?:\w+=)?(?:"[^"]*"|[^,"\s]+)', rest[:-1])
    return f"    {name}(\n" + "".join(f"        {one},\n" for one in arguments) + "    )"


def main(arguments: list[str]) -> int:
    """Draw a migration; 0 when it was written."""
    parser = argparse.ArgumentParser(prog="python -m liaison_kit.new_migration")
    parser.add_argument("service", choices=sorted(services()))
    parser.add_argument("message", help="what it brings, in a sentence")
    given = parser.parse_args(arguments)
    place, _, name = services()[given.service].partition(":")
    try:
        file = draw(getattr(import_module(place), name), given.message)
    except CannotDraw as reason:
        print(reason, file=sys.stderr)
        return 1
    print(f"Written: {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
