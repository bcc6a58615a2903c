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
from liaison_kit.privacy.traces import ERASED, Traces
from liaison_kit.records import files

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
        "inbox",
        "moved_ids",
        "repointed",
        "tenant_settings",
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
    values = {"ids": list(ids), "emails": traces.emails}
    return _run(session, f"UPDATE {table.name} SET {unlinked}{empty} WHERE {found}", **values)


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
