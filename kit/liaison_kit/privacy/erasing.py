"""Erasing: what is held of a subject is deleted or emptied, by its marks and by what is written.

By id: rows that go with the subject, the personal columns of rows that point at them, their history
and their remains in the trash (`by_marks`). By what is written: every text of every table of the
service (`Search`), a stretch of a table per transaction, and the files of imports.
"""

import re
import tempfile
import zipfile
from collections.abc import Iterator, Sequence
from typing import IO, Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from liaison_kit.context import context
from liaison_kit.jobs import Run
from liaison_kit.privacy import merging
from liaison_kit.privacy.marks import Holdings, Pointer
from liaison_kit.privacy.traces import ERASED, Traces, telling
from liaison_kit.records import custom, files, links

STRETCH = 2000
"""How many blocks of 8 KB of a table are searched in one transaction."""

PASSES = 3
"""A row that is written meanwhile may come to lie where the search has been: it is repeated until
it finds nothing, at most so often."""

Counts = dict[str, int]

_UNSEARCHED = frozenset(
    {
        "alembic_version",
        "begun_events",
        "custom_fields",
        "event_queues",
        "file_parts",
        "gone_records",
        "inbox",
        "moved_ids",
        "repointed",
        "tenant_settings",
        "unlinked_records",
    }
)
"""Tables of the kit that hold no texts of people's; files are searched by themselves."""


def by_marks(
    session: Session, holdings: Holdings, record: str, ids: Sequence[UUID], traces: Traces
) -> Counts:
    """Delete and empty what is found by the subject's ids, or in a column for addresses."""
    counts: Counts = {}
    for pointer in holdings.at(record):
        _add(counts, pointer.table.name, _by_pointer(session, pointer, ids, traces))
        if pointer.kind is not None and not pointer.goes_with:
            _add(counts, "trash", _unlink_trash(session, pointer, ids))
    links.forget(session, ids)
    for follower in holdings.followers:
        for table, number in follower.erased(session, ids).items():
            _add(counts, table, number)
    _add(counts, "history", _run(session, _HISTORY, ids=list(ids)))
    gone = session.execute(text(_TRASH), {"ids": list(ids)}).all()
    for row in gone:
        for attached in row.beside.get("attachments", ()):
            files.discard(session, UUID(attached["id"]))
    _add(counts, "trash", len(gone))
    return counts


def said_of(session: Session, holdings: Holdings, record: str, ids: Sequence[UUID]) -> list[str]:
    """What personal fields of the tenant's say in records that point at a subject, and at nobody
    else's: what is looked for in texts beside what the subject is found by."""
    found: set[str] = set()
    for pointer in holdings.at(record):
        if pointer.kind is not None and not pointer.goes_with:
            statement = _SAID.format(table=pointer.table.name, at=pointer.column)
            plain = _plain(session, pointer)
            values = {"ids": list(ids), "record": pointer.kind.name, "plain": plain}
            found.update(filter(telling, session.scalars(text(statement), values)))
    return sorted(found)


# Of rows that are there, and of how they were.
_SAID = """
WITH ours AS (SELECT id, custom FROM {table} WHERE {at} = ANY(:ids)), said AS (
    SELECT custom FROM ours UNION ALL
    SELECT jsonb_array_elements(h.changes -> 'custom')
      FROM history h JOIN ours ON ours.id = h.record_id
     WHERE h.record = :record AND jsonb_typeof(h.changes -> 'custom') = 'array'
), each AS (
    SELECT DISTINCT e.key, e.value FROM said, jsonb_each(
        CASE WHEN jsonb_typeof(custom) = 'object' THEN custom ELSE '{{}}' END) AS e
     WHERE e.key <> ALL(CAST(:plain AS text[])) AND jsonb_typeof(e.value) = 'string'
)
SELECT value #>> '{{}}' FROM each WHERE NOT EXISTS (
    SELECT FROM {table} o WHERE o.custom @> jsonb_build_object(each.key, each.value)
       AND ({at} IS NULL OR {at} <> ALL(:ids)))
"""


def _plain(session: Session, pointer: Pointer) -> list[str]:
    """The tenant's fields that hold nothing personal. Those that have been taken away may have."""
    assert pointer.kind is not None
    return [each.name for each in custom.fields(session, pointer.kind.name) if not each.personal]


_ONLY_PLAIN = """(
    SELECT coalesce(jsonb_object_agg(e.key, e.value), '{{}}') FROM jsonb_each(
        CASE WHEN jsonb_typeof({held}) = 'object' THEN {held} ELSE '{{}}' END) AS e
     WHERE e.key = ANY(CAST(:plain AS text[]))
)"""
"""SQL of custom values without those that are personal."""

_UNLINK_TRASH = f"""
UPDATE trash SET held = held || jsonb_build_object(CAST(:at AS text), NULL, 'custom',
    {_ONLY_PLAIN.format(held="held -> 'custom'")})
 WHERE record = :record AND held ->> :at = ANY(CAST(:ids AS text[]))
RETURNING record_id
"""
_PLAIN_HISTORY = f"""
UPDATE history SET changes = jsonb_set(changes, '{{custom}}', jsonb_build_array(
    {_ONLY_PLAIN.format(held="changes #> '{custom,0}'")},
    {_ONLY_PLAIN.format(held="changes #> '{custom,1}'")}))
 WHERE record = :record AND record_id = ANY(:ids)
   AND jsonb_typeof(changes -> 'custom') = 'array'
"""


def _unlink_trash(session: Session, pointer: Pointer, ids: Sequence[UUID]) -> int:
    """Records in the trash that point at the subject keep neither that nor what is personal."""
    assert pointer.kind is not None
    plain = _plain(session, pointer)
    values = {"at": pointer.column, "record": pointer.kind.name, "plain": plain}
    gone = session.scalars(text(_UNLINK_TRASH), values | {"ids": [str(id) for id in ids]}).all()
    _without_personal(session, pointer, gone, plain)
    return len(gone)


def _without_personal(
    session: Session, pointer: Pointer, ids: Sequence[UUID], plain: Sequence[str]
) -> None:
    """Take what personal fields of the tenant's said out of the history of these records."""
    assert pointer.kind is not None
    values = {"record": pointer.kind.name, "plain": list(plain), "ids": list(ids)}
    _run(session, _PLAIN_HISTORY, **values)


def settle(session: Session, ids: Sequence[UUID], request: UUID) -> None:
    """From now on these ids stand for nobody, whatever comes late for them."""
    for id in sorted(ids):
        merging.move(session, id, None, request)


_HISTORY = "UPDATE history SET changes = '{}' WHERE record_id = ANY(:ids) AND changes <> '{}'"
_TRASH = "DELETE FROM trash WHERE record_id = ANY(:ids) RETURNING beside"


def _by_pointer(session: Session, pointer: Pointer, ids: Sequence[UUID], traces: Traces) -> int:
    table, column = pointer.table, pointer.column
    found = f"{column} = ANY(:ids)"
    if pointer.goes_with:
        gone = session.scalars(
            text(f"DELETE FROM {table.name} WHERE {found} RETURNING {pointer.keys[0]}"),
            {"ids": list(ids)},
        ).all()
        # What it said before it was changed is in its history.
        _run(session, _HISTORY, ids=list(gone))
        if pointer.has_file:
            for file in gone:
                files.discard(session, file)
        return len(gone)
    for address in pointer.addresses:
        found += f" OR lower({address}) = ANY(:emails)"
    empty = "".join(f", {name} = {_emptied(pointer, name)}" for name in pointer.personal)
    unlinked = f"{column} = CASE WHEN {column} = ANY(:ids) THEN NULL ELSE {column} END"
    values: dict[str, Any] = {"ids": list(ids), "emails": traces.emails}
    if pointer.kind is None:
        return _run(session, f"UPDATE {table.name} SET {unlinked}{empty} WHERE {found}", **values)
    plain = _plain(session, pointer)
    empty += f", custom = {_ONLY_PLAIN.format(held='custom')}"
    changed = session.scalars(
        text(f"UPDATE {table.name} SET {unlinked}{empty} WHERE {found} RETURNING id"),
        {name: value for name, value in values.items() if name == "ids" or pointer.addresses}
        | {"plain": plain},
    ).all()
    _without_personal(session, pointer, changed, plain)
    return len(changed)


def _emptied(pointer: Pointer, name: str) -> str:
    column = pointer.table.c[name]
    return "NULL" if column.nullable else "''"


def _run(session: Session, statement: str, **values: Any) -> int:
    names = {name: value for name, value in values.items() if f":{name}" in statement}
    return int(session.execute(text(statement), names).rowcount)  # type: ignore[attr-defined]


def _add(counts: Counts, name: str, number: int) -> None:
    if number:
        counts[name] = counts.get(name, 0) + number


# --- what is written ------------------------------------------------------------------------------


class Search:
    """Empties every text of a service's tables of what a subject is found by."""

    def __init__(self, holdings: Holdings, pattern: str, ids: Sequence[UUID]) -> None:
        self._holdings = holdings
        self._pattern = pattern
        self._ids = [str(id) for id in ids]

    def run(self, run: Run) -> Counts:
        """Search everything; it goes on where it was when it was interrupted."""
        with run.step() as session:
            tables = _tables(session, self._holdings)
            run.total = len(tables) + 1
        while run.checkpoint.get("pass", 0) < PASSES and not run.checkpoint.get("clean"):
            self._pass(run, tables)
        found: Counts = run.checkpoint.get("counts", {})
        return found

    def _pass(self, run: Run, tables: dict[str, list[tuple[str, str]]]) -> None:
        names = [*sorted(tables), "file_parts"]
        at = run.checkpoint.get("table", names[0])
        for name in names[names.index(at) :]:
            block: int | None = run.checkpoint.get("block", 0) if name == at else 0
            while block is not None:
                with run.step() as session:
                    if name == "file_parts":
                        number, block = _search_files(session, self._pattern), None
                    else:
                        number, block = self._stretch(session, name, tables[name], block)
                    counts: Counts = run.checkpoint.setdefault("counts", {})
                    _add(counts, name, number)
                    run.checkpoint["found"] = run.checkpoint.get("found", 0) + number
                    run.checkpoint["table"], run.checkpoint["block"] = name, block or 0
            run.done = names.index(name) + 1
        with run.step():
            run.checkpoint["clean"] = run.checkpoint.pop("found", 0) == 0
            run.checkpoint["pass"] = run.checkpoint.get("pass", 0) + 1
            run.checkpoint.pop("table", None)
            run.checkpoint.pop("block", None)

    def _stretch(
        self, session: Session, table: str, columns: list[tuple[str, str]], block: int
    ) -> tuple[int, int | None]:
        """Search some blocks of a table; how many rows were emptied, and where to go on."""
        blocks = session.scalar(
            text(
                "SELECT pg_relation_size(CAST(:table AS regclass))"
                " / current_setting('block_size')::int"
            ),
            {"table": table},
        )
        # The last stretch is open: the table may grow meanwhile.
        last = block + STRETCH >= int(blocks or 0)
        within = f"ctid >= '({block},0)'::tid"
        if not last:
            within += f" AND ctid < '({block + STRETCH},0)'::tid"
        statement = _special(table) or _emptying(table, columns)
        values = {
            "pattern": self._pattern,
            "erased": ERASED,
            "bare": rf"([:,\[] *)-?(?:{self._pattern})(?:\.\d+)?(?= *[]}},])",
            "quoted": rf'\1"{ERASED}"',
            "ids": self._ids,
            "tenant": context(session).tenant,
        }
        number = _run(session, statement.format(within=within), **values)
        return number, None if last else block + STRETCH


_TEXTS = text("""
SELECT c.relname, a.attname, format_type(a.atttypid, NULL)
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = 'public' AND c.relkind = 'r' AND a.attnum > 0 AND NOT a.attisdropped
   AND format_type(a.atttypid, NULL) IN ('text', 'json', 'jsonb', 'text[]') AND a.attgenerated = ''
   AND has_table_privilege(c.oid, 'UPDATE')
 ORDER BY 1, a.attnum
""")


def _tables(session: Session, holdings: Holdings) -> dict[str, list[tuple[str, str]]]:
    """The tables with texts, and which columns those are."""
    found: dict[str, list[tuple[str, str]]] = {}
    for table, column, type in session.execute(_TEXTS):
        if table not in _UNSEARCHED and table not in holdings.unsearched:
            found.setdefault(table, []).append((column, type))
    return found


def _emptying(table: str, columns: list[tuple[str, str]]) -> str:
    """SQL that replaces in all texts of a table what the pattern finds."""
    changes, found = [], []
    for column, type in columns:
        as_text = column if type == "text" else f"CAST({column} AS text)"
        emptied = f"regexp_replace({as_text}, :pattern, :erased, 'gi')"
        if type in ("json", "jsonb"):
            # A number that was found without quotes around it leaves no JSON behind.
            bare = f"regexp_replace({as_text}, :bare, :quoted, 'gi')"
            quoted = f"regexp_replace({bare}, :pattern, :erased, 'gi')"
            emptied = f"CASE WHEN {emptied} IS JSON THEN {emptied} ELSE {quoted} END"
        changes.append(
            f"{column} = " + (emptied if type == "text" else f"CAST({emptied} AS {type})")
        )
        found.append(f"{as_text} ~* :pattern")
    return f"UPDATE {table} SET {', '.join(changes)} WHERE {{within}} AND ({' OR '.join(found)})"


def _special(table: str) -> str | None:
    """SQL for the tables of the kit that hold more than their own tenant's, or whole messages."""
    return {
        # Not sent yet and not signed yet: what is sent has lost the traces.
        "outbox": (
            "UPDATE outbox SET body = regexp_replace(body, :pattern, :erased, 'gi')"
            " WHERE {within} AND to_queue IS NULL AND body ~* :pattern"
            " AND CAST(body AS jsonb) ->> 'tenant' = CAST(:tenant AS text)"
        ),
        # A signed event with a hole in it is none: it is given up, and said to be.
        "failed_events": (
            "DELETE FROM failed_events WHERE {within} AND tenant_id = :tenant"
            " AND body || coalesce(error, '') ~* :pattern"
        ),
        "idempotency_keys": (
            "UPDATE idempotency_keys SET body = '{{}}' WHERE {within} AND status IS NOT NULL"
            " AND body <> '{{}}' AND (EXISTS (SELECT FROM unnest(CAST(:ids AS text[])) AS id"
            " WHERE position(convert_to(id, 'UTF8') IN body) > 0)"
            " OR CASE WHEN headers ->> 'content-type' LIKE '%json%'"
            " THEN convert_from(body, 'UTF8') ~* :pattern ELSE false END)"
        ),
        "import_changes": (
            "DELETE FROM import_changes WHERE {within} AND (record_id = ANY(CAST(:ids AS uuid[]))"
            " OR CAST(before AS text) ~* :pattern)"
        ),
    }.get(table)


# --- files ----------------------------------------------------------------------------------------

_AHEAD = 400
"""Characters of the chunk before that are searched again: a trace may lie across two."""

_FILES = {
    "imports": text("""
        SELECT DISTINCT f.file_id
          FROM imports i, unnest(ARRAY[i.file_id, i.errors_file]) AS f (file_id)
         WHERE f.file_id IS NOT NULL
    """),
    # The rows of a workbook lie in a file of their own until it is made of them.
    "exports": text("SELECT unnest(ARRAY[id, rows_id]) FROM exports"),
}
"""By table, the files that may tell of anybody."""


def _search_files(session: Session, pattern: str) -> int:
    """Delete the files of imports and exports in which the pattern is found."""
    found = re.compile(pattern, re.IGNORECASE)
    number = 0
    for table, listed in _FILES.items():
        if session.scalar(text("SELECT to_regclass(:table)"), {"table": table}) is None:
            continue
        gone = [file for file in session.scalars(listed).all() if _is_in(session, file, found)]
        for file in gone:
            files.discard(session, file)
        if gone and table == "exports":
            # What is left of it would be taken for the whole list.
            session.execute(
                text("DELETE FROM exports WHERE id = ANY(:files) OR rows_id = ANY(:files)"),
                {"files": gone},
            )
        number += len(gone)
    return number


def _is_in(session: Session, file: UUID, pattern: re.Pattern[str]) -> bool:
    chunks = files.chunks(session, file)
    first = next(chunks, b"")
    if not first.startswith(b"PK"):
        return _is_in_text(_and_then(first, chunks), pattern)
    with tempfile.TemporaryFile() as whole:
        for chunk in _and_then(first, chunks):
            whole.write(chunk)
        return _is_in_workbook(whole, pattern)


def _is_in_workbook(whole: Any, pattern: re.Pattern[str]) -> bool:
    try:
        with zipfile.ZipFile(whole) as workbook:
            for member in workbook.namelist():
                with workbook.open(member) as part:
                    if _is_in_text(_chunks_of(part), pattern):
                        return True
    except zipfile.BadZipFile:
        return False
    return False


def _is_in_text(chunks: Iterator[bytes], pattern: re.Pattern[str]) -> bool:
    before = b""
    for chunk in chunks:
        both = before + chunk
        if any(pattern.search(both.decode(code, "replace")) for code in ("utf-8", "cp1252")):
            return True
        before = both[-_AHEAD:]
    return False


def _chunks_of(part: IO[bytes]) -> Iterator[bytes]:
    while chunk := part.read(files.PART_BYTES):
        yield chunk


def _and_then(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest
