"""The operations of imports, given to each service that declares importables, and their jobs.

Hand a file in, look at what it would do, correct the mapping, try it dry, start it, and take it
back if it was wrong. What takes long is a job.
"""

import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar
from uuid import UUID

from sqlalchemy import ColumnElement, and_, false, or_, select, true, update
from sqlalchemy.orm import Session

from liaison_kit import jobs
from liaison_kit.calls.operations import delete, get, patch, post
from liaison_kit.calls.outside import Known, doing, knows, outside
from liaison_kit.calls.wire import Accepted, Download, Raw, Upload, Version
from liaison_kit.context import Principal, context
from liaison_kit.ids import uuid7
from liaison_kit.imports import engine, planning, saved, saying
from liaison_kit.imports.fields import Importable
from liaison_kit.imports.files import NOTHING_CHOSEN, Chosen
from liaison_kit.imports.models import Import, SavedMapping
from liaison_kit.imports.reading import Chunk, Table, open_table, spool
from liaison_kit.imports.rollback import roll_back
from liaison_kit.imports.shapes import (
    ChangeImport,
    Delimiter,
    Encoding,
    ImportOptions,
    ImportShape,
    Limit,
    MappingShape,
    Preview,
    SheetName,
)
from liaison_kit.imports.unfed import UndecidedColumns, Unfed
from liaison_kit.jobs.work import Cancelled, Run, job
from liaison_kit.listing.asked import Page
from liaison_kit.records import files
from liaison_sdk.errors import Conflict, InvalidInput, LiaisonError, NotFound, StaleVersion

if TYPE_CHECKING:
    from liaison_kit.database.database import Database

SHOWN_ROWS = 20
T = TypeVar("T")


class ImportOperations:
    """What a service that declares `importables` answers about imports."""

    importables: ClassVar[Sequence[Importable]]
    db: ClassVar["Database"]
    ask: Any

    @post("/imports", allow="imports:write", shared="record", status=201, problems=[413, 422])
    def create_import(
        self,
        session: Session,
        record: str,
        upload: Upload,
        principal: Principal,
        encoding: Encoding | None = None,
        delimiter: Delimiter | None = None,
        sheet: SheetName | None = None,
    ) -> Raw[ImportShape]:
        """Hand a CSV, XLSX or vCard file in; the answer suggests which column feeds which field.

        How the file is written is found out; what is said of it counts more.
        """
        importable = self._importable(record)
        principal.demand(importable.permission)
        about = context(session)
        options = ImportOptions(encoding=encoding, delimiter=delimiter, sheet=sheet)
        info = self._described(session, importable, upload.id, options)
        files.claim_upload(session, upload)
        mapping, value_map, kept = _proposed(session, importable, info)
        row = Import(
            id=uuid7(),
            tenant_id=about.tenant,
            record=record,
            file_id=upload.id,
            file_name=upload.name[:200],
            file_size=upload.size,
            file_info=info,
            mapping=mapping,
            value_map=value_map,
            options={**_kept(options), **kept},
            status="draft",
            counts={},
            problems=[],
            columns=[],
            created_at=about.now,
            created_by=about.user,
            updated_at=about.now,
        )
        session.add(row)
        session.flush()
        return _answer(row)

    @get("/imports", allow="imports:read", shared="merge")
    def list_imports(
        self, session: Session, limit: Limit = 50, cursor: UUID | None = None
    ) -> Page[ImportShape]:
        """Files that were handed in, latest first."""
        wanted = select(Import).where(self._shown(session)).order_by(Import.id.desc())
        wanted = wanted.limit(limit + 1)
        if cursor is not None:
            wanted = wanted.where(Import.id < cursor)
        rows = list(session.scalars(wanted))
        after = str(rows[limit - 1].id) if len(rows) > limit else None
        return Page[ImportShape](items=[_shape(row) for row in rows[:limit]], next=after)

    @get("/imports/{id}", allow="imports:read", shared="id", problems=[404])
    def get_import(self, session: Session, id: UUID) -> Raw[ImportShape]:
        """One import: its mapping, how far it is, what went wrong."""
        return _answer(self._find(session, id))

    @patch("/imports/{id}", allow="imports:write", shared="id", problems=[404, 409, 412, 422])
    def change_import(
        self, session: Session, id: UUID, change: ChangeImport, version: Version
    ) -> Raw[ImportShape]:
        """Correct the mapping, the values or the options of an import that has not started."""
        row = self._find(session, id, lock=True)
        if row.version != version:
            raise StaleVersion(
                f"You changed version {version}; it is at version {row.version} now",
                _shape(row).model_dump_json().encode(),
            )
        _demand_status(row, "draft", "previewed")
        importable = self._importable(row.record)
        if change.options is not None:
            was, row.options = _said_of_file(row), _kept(change.options)
            if _said_of_file(row) != was:
                # Read otherwise, the file has other columns.
                info = self._described(session, importable, row.file_id, change.options)
                row.file_info = info
                row.mapping = _mapped_anew(info, row.mapping)
        if change.mapping is not None:
            row.mapping = dict(change.mapping)
        if change.value_map is not None:
            row.value_map = {name: dict(values) for name, values in change.value_map.items()}
        _check(session, importable, row)
        row.version += 1
        row.updated_at = context(session).now
        session.flush()
        return _answer(row)

    @post(
        "/imports/{id}/preview", allow="imports:write", shared="id", status=200, problems=[404, 422]
    )
    def preview_import(self, session: Session, id: UUID) -> Preview:
        """The first rows as they would be imported, and every value that matches nothing."""
        row = self._find(session, id)
        importable = self._importable(row.record)
        about, choices, file_id = context(session), _choices(row), row.file_id
        chosen = _said_of_file(row)
        specs = importable.all_fields(session)

        def read() -> tuple[planning.Survey, Chunk | None]:
            with _file(self.db.reading(about), file_id, chosen) as table:
                surveyed = planning.survey(importable, specs, table, *choices)
                return surveyed, next(table.chunks(size=SHOWN_ROWS), None)

        surveyed, first = outside(session, ("preview", file_id), read)
        preview = saying.preview(planning.settle(session, surveyed), first)
        if before := row.file_info.get("saved"):
            day = before["used_at"][:10]
            preview.notes.append(f"It is mapped as {before['file_name']} was, imported on {day}")
        session.execute(
            update(Import)
            .where(Import.id == id, Import.status == "draft")
            .values(status="previewed")
        )
        return preview

    @post("/imports/{id}/dry-run", allow="imports:write", shared="id", problems=[404, 409])
    def dry_run_import(self, session: Session, id: UUID, principal: Principal) -> Accepted:
        """Count what the whole file would create, change and fail, without writing any of it."""
        row = self._find(session, id, lock=True)
        principal.demand(self._importable(row.record).permission)
        _demand_status(row, "draft", "previewed")
        row.job_id = _start(session, "import_dry_run", row)
        return Accepted(row.job_id)

    @post("/imports/{id}/start", allow="imports:write", shared="id", problems=[404, 409, 422])
    def start_import(self, session: Session, id: UUID, principal: Principal) -> Accepted:
        """Import the file; refused while columns with values feed nothing, undecided."""
        row = self._find(session, id, lock=True)
        principal.demand(self._importable(row.record).permission)
        _demand_status(row, "draft", "previewed")
        _demand_decisions(row)
        row.status = "queued"
        row.job_id = _start(session, "import", row)
        return Accepted(row.job_id)

    @post("/imports/{id}/rollback", allow="imports:write", shared="id", problems=[404, 409])
    def roll_back_import(self, session: Session, id: UUID, principal: Principal) -> Accepted:
        """Take a finished import back: what nobody has touched since becomes as it was."""
        row = self._find(session, id, lock=True)
        principal.demand(self._importable(row.record).permission)
        _demand_status(row, "done", "cancelled", "failed", "rolled_back")
        row.status = "rolling_back"
        row.job_id = _start(session, "import_rollback", row)
        return Accepted(row.job_id)

    @get("/imports/{id}/errors", allow="imports:read", shared="id", problems=[404])
    def get_import_errors(self, session: Session, id: UUID) -> Download:
        """The rows that failed, as they stood in the file, each with what is wrong, as CSV."""
        row = self._find(session, id)
        parts = files.parts(session, row.errors_file) if row.errors_file else 0
        if not parts:
            raise NotFound("No row of this import failed")
        name = f"{row.file_name.rpartition('.')[0] or row.file_name}-errors.csv"
        return Download(name, "text/csv; charset=utf-8", stored=row.errors_file, parts=parts)

    @get("/import-mappings", allow="imports:read", shared="merge")
    def list_import_mappings(
        self, session: Session, principal: Principal, limit: Limit = 50, cursor: UUID | None = None
    ) -> Page[MappingShape]:
        """Mappings that are kept for the next file of the same header, latest first."""
        readable = [found.record for found in self.importables if found.readable(principal)]
        if not readable:
            return Page[MappingShape](items=[], next=None)
        wanted = select(SavedMapping).where(SavedMapping.record.in_(readable))
        if cursor is not None:
            wanted = wanted.where(SavedMapping.id < cursor)
        rows = list(session.scalars(wanted.order_by(SavedMapping.id.desc()).limit(limit + 1)))
        after = str(rows[limit - 1].id) if len(rows) > limit else None
        shown = [MappingShape.model_validate(row, from_attributes=True) for row in rows[:limit]]
        return Page[MappingShape](items=shown, next=after)

    @delete("/import-mappings/{id}", allow="imports:write", shared="id", problems=[404])
    def delete_import_mapping(self, session: Session, id: UUID, principal: Principal) -> None:
        """Forget a kept mapping: the next file of its header is looked at afresh."""
        row = session.get(SavedMapping, id) if self.importables else None
        known = [found for found in self.importables if row and found.record == row.record]
        if row is None or not known or not known[0].readable(principal):
            raise NotFound("There is no such mapping")
        principal.demand(known[0].permission)
        session.delete(row)

    # --- jobs ------------------------------------------------------------------------------------

    @job("import_dry_run")
    def import_dry_run_job(self, run: Run) -> None:
        """The work behind a dry run."""

        with run.look() as session:
            row = _find(session, run.about_id)
            importable, choices = self._importable(row.record), _choices(row)
        with _file(run.look(), row.file_id, _said_of_file(row)) as table:
            run.total = table.lines()
            found, tally = engine.dry_run(_Trying(run, self.ask), importable, table, *choices)
        with run.step() as session:
            row = _find(session, run.about_id, lock=True)
            row.counts = {f"would_{k}": v for k, v in saying.counted(tally).items()}
            if lost := sum(each.count for each in found.unfed if each.lost):
                row.counts = {**row.counts, "would_lose": lost}
            row.problems = saying.problems_of(tally, found)
            row.updated_at = context(session).now
            run.done = run.total = found.rows

    @job("import")
    def import_job(self, run: Run) -> None:
        """The work behind an import."""
        work = _Asking(run, self.ask)
        try:
            with run.step() as session:
                row = _find(session, run.about_id, lock=True)
                row.status = "running"
                row.errors_file = row.errors_file or uuid7()
                ids = row.id, row.errors_file
                importable, choices = self._importable(row.record), _choices(row)
                _demand(session, importable)
            with _file(run.look(), row.file_id, _said_of_file(row)) as table:
                found, tally = engine.run(work, importable, table, *choices, *ids)
        except Cancelled:
            with suppress(Cancelled), run.step() as session:
                _end(session, run, "cancelled")
            raise
        except UndecidedColumns as error:
            # Nothing is written: once it is decided, the import can start again.
            with run.step() as session:
                _end(session, run, "previewed").problems = saying.reasons(error)
            raise
        except LiaisonError as error:
            with run.step() as session:
                _end(session, run, "failed").problems = saying.reasons(error)
            raise
        with run.step() as session:
            row = _end(session, run, "done")
            row.problems = saying.problems_of(tally, found)
            saved.save(session, row)

    @job("import_rollback")
    def import_rollback_job(self, run: Run) -> None:
        """The work behind a rollback."""
        with run.look() as session:
            row = _find(session, run.about_id)
            importable, columns, id = self._importable(row.record), list(row.columns), row.id
            _demand(session, importable)
        counts = roll_back(_Asking(run, self.ask), importable, id, columns)
        with run.step() as session:
            row = _find(session, run.about_id, lock=True)
            row.status = "rolled_back"
            row.counts = {**row.counts, **counts}
            row.updated_at = context(session).now

    def _described(
        self, session: Session, importable: Importable, file_id: UUID, options: ImportOptions
    ) -> dict[str, Any]:
        """What the file is, read as the options say; reading may take long."""
        about, chosen = context(session), _said_of(options)
        specs = importable.all_fields(session)

        def read() -> dict[str, Any]:
            with _file(self.db.reading(about), file_id, chosen) as table:
                return saying.described(importable, specs, table)

        return outside(session, ("describe", file_id, chosen), read)

    def _shown(self, session: Session) -> ColumnElement[bool]:
        """An import is shown like a record of its kind that belongs to who handed it in."""
        principal = context(session).principal
        if principal is None:
            return true()
        shown: list[ColumnElement[bool]] = []
        for found in self.importables:
            if not found.readable(principal):
                continue
            peers = found.peers(session)
            mine = true() if peers is None else Import.created_by.in_(peers)
            shown.append(and_(Import.record == found.record, mine))
        return or_(false(), *shown)

    def _find(self, session: Session, id: UUID, lock: bool = False) -> Import:
        wanted = select(Import).where(Import.id == id, self._shown(session))
        if lock:
            wanted = wanted.with_for_update().execution_options(populate_existing=True)
        row = session.scalar(wanted)
        if row is None:
            raise NotFound("There is no such import")
        return row

    def _importable(self, record: str) -> Importable:
        for found in self.importables:
            if found.record == record:
                return found
        raise InvalidInput.field("record", "unknown", f"{record[:80]!r} can't be imported here")


@dataclass
class _Asking:
    """A job's steps that may ask other services."""

    run: Run
    ask: Any

    def step(self) -> AbstractContextManager[Session]:
        return self.run.step()

    def asking(self, work: Callable[[Session], T]) -> T:
        def once(known: Known) -> T:
            with self.step() as session:
                knows(session, known)
                return work(session)

        return doing(self.ask, self.run.context, once)

    @property
    def checkpoint(self) -> dict[str, Any]:
        return self.run.checkpoint

    @checkpoint.setter
    def checkpoint(self, value: dict[str, Any]) -> None:
        self.run.checkpoint = value

    @property
    def done(self) -> int:
        return self.run.done

    @done.setter
    def done(self, value: int) -> None:
        self.run.done = value

    @property
    def total(self) -> int | None:
        return self.run.total

    @total.setter
    def total(self, value: int | None) -> None:
        self.run.total = value


class _Trying(_Asking):
    """Steps of which nothing is kept."""

    @contextmanager
    def step(self) -> Iterator[Session]:
        with self.run.trial() as session:
            yield session


@contextmanager
def _file(
    looking: AbstractContextManager[Session], file_id: UUID, chosen: Chosen = NOTHING_CHOSEN
) -> Iterator[Table]:
    """The stored file on disk, opened, while the block lasts.

    The session is left before it is opened: to unpack a workbook may take long.
    """
    with tempfile.TemporaryDirectory(prefix="liaison-import-") as folder:
        with looking as session:
            stored = spool(files.chunks(session, file_id), Path(folder))
        yield open_table(stored, chosen=chosen)


def _find(session: Session, id: UUID | None, lock: bool = False) -> Import:
    """The import that a job is about; who may start it was asked before."""
    row = session.get(Import, id, with_for_update=lock or None, populate_existing=lock)
    if row is None:
        raise NotFound("There is no such import")
    return row


def _start(session: Session, kind: str, row: Import) -> UUID:
    return jobs.start(session, kind, row.file_name, about_id=row.id, record=row.record)


def _demand(session: Session, importable: Importable) -> None:
    """Who started it may have lost the right meanwhile."""
    principal = context(session).principal
    if principal is not None:
        principal.demand(importable.permission)


def _demand_status(row: Import, *wanted: str) -> None:
    if row.status not in wanted:
        raise Conflict(f"The import is {row.status.replace('_', ' ')}")


def _shape(row: Import) -> ImportShape:
    values = {
        name: getattr(row, name) for name in ImportShape.model_fields if name != "has_errors_file"
    }
    values["options"] = ImportOptions.model_validate(row.options).model_dump()
    failed = (row.counts or {}).get("failed", 0) > 0
    return ImportShape(**values, has_errors_file=row.errors_file is not None and failed)


def _answer(row: Import) -> Raw[ImportShape]:
    return Raw(_shape(row).model_dump_json().encode(), row.version)


def _choices(
    row: Import,
) -> tuple[Mapping[str, str | None], Mapping[str, Mapping[str, str | None]], planning.Options]:
    of_file = {"encoding", "delimiter", "sheet"}
    given = ImportOptions.model_validate(row.options).model_dump(exclude_none=True, exclude=of_file)
    return row.mapping, row.value_map, planning.Options(**given)


def _kept(options: ImportOptions) -> dict[str, Any]:
    """Options as they are stored: without what nobody said, so that an older version reads them."""
    return options.model_dump(exclude_none=True)


def _said_of_file(row: Import) -> Chosen:
    return _said_of(ImportOptions.model_validate(row.options))


def _said_of(options: ImportOptions) -> Chosen:
    delimiter = "\t" if options.delimiter == "tab" else options.delimiter
    return Chosen(options.encoding, delimiter, options.sheet)


def _suggested(info: Mapping[str, Any]) -> dict[str, str | None]:
    return {found["column"]: found["field"] for found in info["suggestions"]}


def _proposed(
    session: Session, importable: Importable, info: dict[str, Any]
) -> tuple[dict[str, str | None], dict[str, Any], dict[str, Any]]:
    """What is proposed of a file: what was said of the last one of its header, if there was one."""
    suggested = _suggested(info)
    kept = saved.find(session, importable.record, info["header"])
    if kept is None:
        return suggested, {}, {}
    known = {field["name"] for field in info["fields"]}
    info["saved"] = {
        "id": str(kept.id),
        "file_name": kept.file_name,
        "used_at": kept.used_at.isoformat(),
    }
    mapping = saved.proposed(kept, suggested, known)
    fed = {name for name in mapping.values() if name}
    options = {
        name: saved.still_there(said, known)
        if name in ("on_missing", "defaults")
        else saved.still_there(said, mapping)
        if name == "formats"
        else said
        for name, said in kept.options.items()
        if name != "key" or said in fed
    }
    return mapping, saved.still_there(kept.value_map, known), options


def _demand_decisions(row: Import) -> None:
    """Refuse at once what the file's first rows show to be undecided; the job sees the others."""
    if row.options.get("unmapped"):
        return
    filled = row.file_info.get("filled", {})
    undecided = [
        Unfed(column, place, "")
        for place, column in enumerate(row.file_info["header"])
        if row.mapping.get(column) is None and filled.get(column)
    ]
    if undecided:
        raise UndecidedColumns(undecided)


def _mapped_anew(
    info: Mapping[str, Any], before: Mapping[str, str | None]
) -> dict[str, str | None]:
    """What was said of columns that the file still has, and suggestions for the others."""
    kept = {column: name for column, name in before.items() if column in info["header"]}
    fed = set(kept.values())
    return {c: None if name in fed else name for c, name in _suggested(info).items()} | kept


def _check(session: Session, importable: Importable, row: Import) -> None:
    planning.check(
        importable, importable.all_fields(session), row.file_info["header"], *_choices(row)
    )


def _end(session: Session, run: Run, status: str) -> Import:
    row = _find(session, run.about_id, lock=True)
    row.status = status
    row.counts = dict(run.checkpoint.get("counts", {}))
    row.columns = list(run.checkpoint.get("columns", ()))
    row.updated_at = context(session).now
    if row.errors_file is not None:
        files.claim(session, row.errors_file)
    return row
