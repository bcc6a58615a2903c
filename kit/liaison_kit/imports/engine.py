"""Run an import: look at a file first, try it dry, then write it chunk by chunk, and take it back.

The plan is made once per run: formats, references and choices are settled for the whole file from a
first pass over it. A second pass converts and writes, two chunks at a time (`overlap.py`). Each
chunk is one transaction together with the job's checkpoint, committed in the order of the file, so
a run that died goes on after the last chunk that was kept.
"""

import csv
import dataclasses
import io
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from itertools import compress
from typing import Any, Protocol, TypeVar
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sqlalchemy.orm import Session

from liaison_kit.imports.converting import (
    Convert,
    Converted,
    Formats,
    Invalid,
    converter,
    detect_formats,
    fold,
)
from liaison_kit.imports.fields import (
    Batch,
    Importable,
    ImportField,
    Reference,
    table_columns,
)
from liaison_kit.imports.matching import Choices, Matched, Seen, Unmatched, match_values
from liaison_kit.imports.overlap import Turn, ahead, in_turn
from liaison_kit.imports.reading import Chunk, Table
from liaison_kit.imports.writing import Outcome, Writer
from liaison_kit.records import files
from liaison_sdk.errors import FieldError, InvalidInput

DISTINCT_LIMIT = 200_000
FORMAT_SAMPLE = 5_000
ROUNDS = 20

T = TypeVar("T")


class Looks(Protocol):
    """Transactions to look at a file in."""

    def step(self) -> AbstractContextManager[Session]:
        """One transaction."""

    def asking(self, work: Callable[[Session], T]) -> T:
        """Work in one transaction that may have questions, which are asked outside of it."""


class Steps(Looks, Protocol):
    """A resumable job, as `liaison_kit.jobs.Run` is one; each transaction keeps the checkpoint."""

    checkpoint: dict[str, Any]
    done: int
    total: int | None


@dataclass(frozen=True, slots=True)
class Options:
    """How to import: everything that is not which column feeds which field."""

    key: str | None = None
    create_only: bool = False
    blanks: str = "keep"
    on_missing: Mapping[str, str] = field(default_factory=dict)
    formats: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    currency: str = "EUR"
    timezone: str = "UTC"
    defaults: Mapping[str, str] = field(default_factory=dict)


@dataclass(slots=True)
class Feed:
    """A column and the field that it feeds."""

    spec: ImportField
    column: str
    position: int
    convert: Convert
    formats: Formats
    matched: Matched | None = None


@dataclass(slots=True)
class Plan:
    """A file, its mapping, and all that was settled for it from the first pass."""

    importable: Importable
    table: Table
    feeds: list[Feed]
    constants: list[ImportField]
    key: str | None
    rows: int = 0
    unreadable: int = 0
    unmatched: list[Unmatched] = field(default_factory=list)
    waiting: dict[str, frozenset[str]] = field(default_factory=dict)

    @property
    def specs(self) -> list[ImportField]:
        """The fields that get a value, by column or by default."""
        return [feed.spec for feed in self.feeds] + self.constants


@dataclass(slots=True)
class Prepared:
    """A chunk turned into table columns, with the rows that failed on the way."""

    chunk: Chunk
    places: Sequence[int]
    """Of each row to write, its place in the chunk."""
    columns: dict[str, Sequence[str]]
    failed: dict[int, list[tuple[str, str, str]]]
    """By place in the chunk: (column, code, message)."""
    waits: int = 0


def check(
    importable: Importable,
    specs: Sequence[ImportField],
    header: Sequence[str],
    mapping: Mapping[str, str | None],
    value_map: Mapping[str, Mapping[str, str | None]],
    options: Options,
) -> tuple[list[tuple[str, ImportField]], list[ImportField], str | None]:
    """What feeds what, the fields of a constant, and the key; raises naming all that is wrong.

    A required field without a column is told when the import is looked at, not while it is edited.
    """
    known = {spec.name: spec for spec in specs}
    errors: list[FieldError] = []
    fed: dict[str, str] = {}
    for column, name in mapping.items():
        if column not in header:
            errors.append(FieldError(f"mapping.{column}", "unknown_column", "No such column"))
        elif name is None:
            continue
        elif name not in known:
            errors.append(FieldError(f"mapping.{column}", "unknown_field", f"No field {name}"))
        elif name in fed:
            errors.append(FieldError(f"mapping.{column}", "fed_twice", f"Two columns feed {name}"))
        else:
            fed[name] = column
    for part, names in (
        ("value_map", value_map),
        ("options.on_missing", options.on_missing),
        ("options.defaults", options.defaults),
    ):
        errors += [
            FieldError(f"{part}.{name}", "unknown_field", f"No field {name}")
            for name in names
            if name not in known
        ]
    try:
        ZoneInfo(options.timezone)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        errors.append(FieldError("options.timezone", "unknown", f"No zone {options.timezone}"))
    key = next((key for key in importable.keys if key in fed), None)
    if options.key is not None:
        key = options.key
        if key not in importable.keys or key not in fed:
            errors.append(FieldError("options.key", "not_a_key", f"{key} is no key or not fed"))
    given = {
        name: dataclasses.replace(spec, default=options.defaults.get(name, spec.default))
        for name, spec in known.items()
    }
    for name, text in options.defaults.items():
        if name in known and known[name].kind not in ("choice", "reference"):
            converted = converter(known[name], Formats())([text])
            for problem in converted.problems.values():
                errors.append(FieldError(f"options.defaults.{name}", problem.code, problem.message))
            given[name] = dataclasses.replace(given[name], default=converted.values[0])
    if errors:
        raise InvalidInput("The import needs another look", errors)
    return (
        [(column, given[name]) for name, column in fed.items()],
        [spec for name, spec in given.items() if spec.default and name not in fed],
        None if options.create_only else key,
    )


@dataclass(slots=True)
class Survey:
    """A file and its mapping after the first pass over it: all that has to be settled."""

    plan: Plan
    value_map: Mapping[str, Mapping[str, str | None]]
    options: Options
    seen: dict[int, Seen]
    """By position of a column: the values that name records or choices."""
    samples: dict[int, set[str]]
    """By position of a column: values to tell how it writes dates and numbers."""
    names: set[str]
    """What the records of this very file are called."""


def survey(
    importable: Importable,
    specs: Sequence[ImportField],
    table: Table,
    mapping: Mapping[str, str | None],
    value_map: Mapping[str, Mapping[str, str | None]],
    options: Options,
) -> Survey:
    """Read the whole file once: count it, and collect what must be settled for all of it.

    It may take long, and needs no database. Raises what makes the file hopeless.
    """
    fed, constants, key = check(importable, specs, table.header, mapping, value_map, options)
    given = {spec.name for _, spec in fed} | {spec.name for spec in constants}
    missing = [
        FieldError(f"mapping.{spec.name}", "missing", f"{spec.label['en']} is required")
        for spec in specs
        if spec.required and spec.name not in given
    ]
    if missing or not fed:
        raise InvalidInput("A required field has no column", missing)
    feeds = [
        Feed(spec, column, table.header.index(column), _unsettled, Formats())
        for column, spec in fed
    ]
    surveyed = Survey(
        Plan(importable, table, feeds, constants, key), value_map, options, {}, {}, set()
    )
    _first_pass(surveyed)
    return surveyed


def _unsettled(column: Sequence[str]) -> Converted:
    raise AssertionError("settling gives every column its converter")


def _first_pass(surveyed: Survey) -> None:
    found = surveyed.plan
    matched = [feed for feed in found.feeds if feed.spec.kind in ("reference", "choice")]
    formatted = [
        feed
        for feed in found.feeds
        if feed.spec.kind in ("date", "datetime", "integer", "decimal", "money")
    ]
    own = [feed for feed in matched if feed.spec.reference == found.importable.record]
    named = [
        feed.position
        for feed in found.feeds
        if own and feed.spec.name in (*found.importable.keys, "name")
    ]
    seen = surveyed.seen = {feed.position: Seen() for feed in matched}
    samples = surveyed.samples = {feed.position: set() for feed in formatted}
    names = surveyed.names
    if not seen and not samples:
        # Nothing to settle: spare the pass; the number of lines is near enough for progress.
        found.rows = found.table.lines()
    for chunk in found.table.chunks() if seen or samples else ():
        time.sleep(0)
        found.rows += len(chunk.numbers) + len(chunk.bad)
        found.unreadable += len(chunk.bad)
        for position, values in seen.items():
            values.add(chunk.numbers, chunk.columns[position])
            if len(values.counts) > DISTINCT_LIMIT:
                raise InvalidInput.field(
                    f"mapping.{found.table.header[position]}",
                    "too_many_values",
                    f"The column refers to more than {DISTINCT_LIMIT} different things",
                )
        for position, sample in samples.items():
            if len(sample) < FORMAT_SAMPLE:
                sample.update(chunk.columns[position])
        for position in named:
            names.update(map(fold, chunk.columns[position]))


def settle(session: Session, surveyed: Survey, *, writes: bool = False) -> Plan:
    """Settle formats, references and choices for the whole file; raise what makes it hopeless."""
    before, options, samples = surveyed.plan, surveyed.options, surveyed.samples
    found = dataclasses.replace(
        before,
        feeds=[dataclasses.replace(feed) for feed in before.feeds],
        constants=list(before.constants),
        unmatched=[],
        waiting={},
    )
    _resolve_defaults(session, found)
    base = Formats(currency=options.currency, timezone=options.timezone)
    for feed in found.feeds:
        if feed.position in samples:
            detected = detect_formats(feed.spec, sorted(samples[feed.position]), base)
            feed.formats = dataclasses.replace(
                detected,
                **options.formats.get(feed.column, {}),  # type: ignore[arg-type]
            )
        else:
            feed.formats = base
        if feed.position in surveyed.seen:
            own = feed.spec.reference == found.importable.record
            feed.matched = _match(
                session,
                found,
                feed,
                surveyed.seen[feed.position],
                surveyed.value_map.get(feed.spec.name, {}),
                options,
                (lambda text: fold(text) in surveyed.names) if own else None,
                writes,
            )
            feed.convert = feed.matched.convert
            found.unmatched += feed.matched.unmatched
            if feed.matched.waiting:
                found.waiting[feed.column] = frozenset(feed.matched.waiting)
        else:
            feed.convert = converter(feed.spec, feed.formats)
    return found


def _match(
    session: Session,
    found: Plan,
    feed: Feed,
    seen: Seen,
    value_map: Mapping[str, str | None],
    options: Options,
    within_file: Callable[[str], bool] | None,
    writes: bool,
) -> Matched:
    spec = feed.spec
    reference = _reference(session, found.importable, spec)
    usual: str = getattr(reference, "on_missing", "report")
    return match_values(
        session,
        spec.name,
        feed.column,
        seen,
        reference,
        value_map=value_map,
        on_missing=options.on_missing.get(spec.name, usual),
        within_file=within_file,
        writes=writes,
    )


def _reference(session: Session, importable: Importable, spec: ImportField) -> Reference | Choices:
    if spec.kind == "choice":
        listed = importable.choices.get(spec.name)
        return Choices(listed(session) if listed else spec.choices or {})
    return importable.references[spec.reference or ""]


def _resolve_defaults(session: Session, found: Plan) -> None:
    """A default that names a choice or a record is settled like the values of a column."""
    errors: list[FieldError] = []

    def resolved(spec: ImportField) -> ImportField:
        if not spec.default or spec.kind not in ("choice", "reference"):
            return spec
        known = _reference(session, found.importable, spec).resolve(session, [spec.default])
        if spec.default not in known:
            where = f"options.defaults.{spec.name}"
            errors.append(FieldError(where, "unknown_value", f"{spec.default} matches nothing"))
        return dataclasses.replace(spec, default=known.get(spec.default, ""))

    found.constants = [resolved(spec) for spec in found.constants]
    for feed in found.feeds:
        feed.spec = resolved(feed.spec)
    if errors:
        raise InvalidInput("A default needs another look", errors)


# --- converting


class Converting:
    """Turns chunks into table columns; remembers the keys it has seen in this file."""

    def __init__(
        self, found: Plan, only: Mapping[str, frozenset[str]] | None = None, dry: bool = False
    ) -> None:
        self.plan = found
        self.only = only
        """In a later round: the values that rows waited for; all other rows are done."""
        self.dry = dry
        self.first_seen: dict[str, int] = {}

    def prepare(self, chunk: Chunk) -> Prepared:
        """Convert one chunk, column by column."""
        found = self.plan
        size = len(chunk.numbers)
        failed: dict[int, list[tuple[str, str, str]]] = {}
        values: dict[str, Sequence[str]] = {}
        skipped: set[int] = set()
        waits = 0
        if self.only is not None:
            skipped |= set(range(size)) - self._places(chunk, self.only)
        if found.waiting and not self.dry:
            waiting = self._places(chunk, found.waiting) - skipped
            waits = len(waiting)
            skipped |= waiting
        for feed in found.feeds:
            spec = feed.spec
            converted = feed.convert(chunk.columns[feed.position])
            column: Sequence[str] = converted.values
            for place, problem in converted.problems.items():
                if place not in skipped:
                    failed.setdefault(place, []).append(
                        (feed.column, problem.code, problem.message)
                    )
            if spec.default and "" in column:
                column = [value or spec.default for value in column]
            if spec.required and "" in column:
                self._demand(feed, column, converted.problems, skipped, failed)
            values[spec.name] = column
            if converted.currencies is not None:
                values[f"{spec.name} currency"] = converted.currencies
        for spec in found.constants:
            values[spec.name] = [spec.default] * size
        if found.key is not None:
            self._check_keys(chunk, values[found.key], skipped, failed)
        places: Sequence[int] = range(size)
        if failed or skipped:
            keep = [place not in failed and place not in skipped for place in range(size)]
            places = list(compress(range(size), keep))
            values = {name: list(compress(column, keep)) for name, column in values.items()}
        batch = Batch(len(places), values)
        columns = table_columns(found.importable, found.specs, batch)
        return Prepared(chunk, places, columns, failed, waits)

    def _places(self, chunk: Chunk, raws: Mapping[str, frozenset[str]]) -> set[int]:
        places: set[int] = set()
        for feed in self.plan.feeds:
            wanted = raws.get(feed.column)
            if wanted:
                column = chunk.columns[feed.position]
                places |= {place for place, raw in enumerate(column) if raw in wanted}
        return places

    @staticmethod
    def _demand(
        feed: Feed,
        column: Sequence[str],
        problems: Mapping[int, Invalid],
        skipped: set[int],
        failed: dict[int, list[tuple[str, str, str]]],
    ) -> None:
        message = f"{feed.spec.label['en']} is required"
        for place, value in enumerate(column):
            if not value and place not in problems and place not in skipped:
                failed.setdefault(place, []).append((feed.column, "missing", message))

    def _check_keys(
        self,
        chunk: Chunk,
        keys: Sequence[str],
        skipped: set[int],
        failed: dict[int, list[tuple[str, str, str]]],
    ) -> None:
        name = self.plan.key or ""
        column = next(feed.column for feed in self.plan.feeds if feed.spec.name == name)
        first_seen = self.first_seen
        fresh = dict(zip(keys, chunk.numbers, strict=True))
        if (
            len(fresh) == len(keys)
            and not skipped
            and "" not in fresh
            and name not in self.plan.importable.match
            and first_seen.keys().isdisjoint(fresh)
        ):
            first_seen |= fresh
            return
        # A key that a service matches in its own way is taken to ignore case.
        folded = [k.casefold() for k in keys] if name in self.plan.importable.match else keys
        for place, (key, number) in enumerate(zip(folded, chunk.numbers, strict=True)):
            if place in skipped:
                continue
            if not key:
                failed.setdefault(place, []).append(
                    (column, "missing_key", "The row has no key to recognise it by")
                )
            elif (first := first_seen.setdefault(key, number)) != number:
                failed.setdefault(place, []).append(
                    (column, "duplicate_key", f"Row {first} has the same {column}")
                )


def show(found: Plan, chunk: Chunk) -> list[tuple[int, dict[str, str], list[dict[str, str]]]]:
    """A few rows for a person to look at: number, values by field, errors."""
    converting = Converting(found, dry=True)
    prepared = converting.prepare(chunk)
    shown = []
    values = {
        feed.spec.name: chunk.columns[feed.position]
        # A name tells a person more than the id that it stands for.
        if feed.spec.kind == "reference"
        else feed.convert(chunk.columns[feed.position]).values
        for feed in found.feeds
    }
    for place, number in enumerate(chunk.numbers):
        errors = [
            {"column": column, "code": code, "message": message}
            for column, code, message in prepared.failed.get(place, ())
        ]
        shown.append((number, {name: column[place] for name, column in values.items()}, errors))
    for bad in chunk.bad:
        shown.append((bad.number, {}, [{"column": "", "code": bad.code, "message": bad.message}]))
    return sorted(shown, key=lambda row: row[0])


# --- the stages


@dataclass(slots=True)
class Tally:
    """Running totals of a run and its most frequent problems."""

    counts: Counter[str] = field(default_factory=Counter)
    problems: dict[str, dict[str, Any]] = field(default_factory=dict)

    def take(self, prepared: Prepared, outcome: Outcome) -> list[tuple[int, list[str], str]]:
        """Count a chunk; its failed rows as (number, cells, what is wrong)."""
        chunk = prepared.chunk
        header: list[tuple[int, list[str], str]] = []
        for place, (code, message) in outcome.failed.items():
            prepared.failed.setdefault(prepared.places[place], []).append(("", code, message))
        for place, whys in prepared.failed.items():
            for column, code, message in whys:
                self._problem(column, code, message, chunk.numbers[place])
            told = "; ".join(f"{c}: {m}" if c else m for c, _, m in whys)
            header.append((chunk.numbers[place], chunk.cells(place), told))
        for bad in chunk.bad:
            self._problem("", bad.code, bad.message, bad.number)
            header.append((bad.number, list(bad.cells), bad.message))
        self.counts["created"] += outcome.created
        self.counts["updated"] += outcome.updated
        self.counts["unchanged"] += outcome.unchanged
        self.counts["failed"] += len(header)
        header.sort(key=lambda row: row[0])
        return header

    def _problem(self, column: str, code: str, message: str, number: int) -> None:
        known = self.problems.get(f"{column}/{code}")
        if known is None:
            self.problems[f"{column}/{code}"] = {
                "column": column or None,
                "code": code,
                "message": message,
                "count": 1,
                "rows": [number],
            }
        else:
            known["count"] += 1
            if len(known["rows"]) < 5:
                known["rows"].append(number)

    def as_list(self) -> list[dict[str, Any]]:
        """The problems, most frequent first."""
        return sorted(self.problems.values(), key=lambda p: (-p["count"], p["rows"]))[:200]


def dry_run(
    looks: Looks,
    importable: Importable,
    table: Table,
    mapping: Mapping[str, str | None],
    value_map: Mapping[str, Mapping[str, str | None]],
    options: Options,
) -> tuple[Plan, Tally]:
    """Everything but the writes: what each row would become. What `looks` begins is undone."""
    with looks.step() as session:
        specs = importable.all_fields(session)
    surveyed = survey(importable, specs, table, mapping, value_map, options)
    found = looks.asking(lambda session: settle(session, surveyed))
    writer = _writer(found, options, UUID(int=0), dry=True)
    converting = Converting(found, dry=True)
    tally = Tally()
    for prepared in ahead(table.chunks(), converting.prepare):
        with looks.step() as session:
            outcome = writer.write(session, prepared.columns, len(prepared.places))
        tally.take(prepared, outcome)
    return found, tally


def _writer(found: Plan, options: Options, import_id: UUID, dry: bool = False) -> Writer:
    return Writer(
        found.importable, import_id, found.key, clear_blanks=options.blanks == "clear", dry=dry
    )


def run(
    steps: Steps,
    importable: Importable,
    table: Table,
    mapping: Mapping[str, str | None],
    value_map: Mapping[str, Mapping[str, str | None]],
    options: Options,
    import_id: UUID,
    errors_file: UUID,
) -> tuple[Plan, Tally]:
    """Write the file, from the job's last checkpoint on.

    Rows that name a record of this same file which isn't there yet (a parent company further down)
    wait for a later round.
    """
    state = steps.checkpoint
    tally = Tally(Counter(state.get("counts", {})), dict(state.get("problems", {})))
    with steps.step() as session:
        specs = importable.all_fields(session)
    surveyed = survey(importable, specs, table, mapping, value_map, options)
    state.setdefault("round", 0)
    state.setdefault("row", 0)
    steps.total = surveyed.plan.rows
    while True:
        found = steps.asking(lambda session: settle(session, surveyed, writes=True))
        only = None
        if state["round"] > 0:
            only = {column: frozenset(raws) for column, raws in state["waited"].items()}
            stuck = found.waiting and all(only.get(c) == raws for c, raws in found.waiting.items())
            if stuck or state["round"] > ROUNDS:
                _give_up_waiting(found)
        _one_round(steps, found, options, tally, only, import_id, errors_file)
        if not found.waiting:
            return found, tally
        state["waited"] = {column: sorted(raws) for column, raws in found.waiting.items()}
        state["round"] += 1
        state["row"] = 0


def _give_up_waiting(found: Plan) -> None:
    # What still waits names itself or runs in a circle: its rows are reported.
    for feed in found.feeds:
        if feed.matched is not None:
            found.unmatched += feed.matched.waiting.values()
    found.waiting = {}


def _one_round(
    steps: Steps,
    found: Plan,
    options: Options,
    tally: Tally,
    only: Mapping[str, frozenset[str]] | None,
    import_id: UUID,
    errors_file: UUID,
) -> None:
    state = steps.checkpoint
    writer = _writer(found, options, import_id)
    converting = Converting(found, only)
    after = state["row"]
    if after and found.key is not None:
        # The keys of the rows that an earlier attempt has written still count as seen.
        for chunk in found.table.chunks():
            if chunk.numbers and chunk.numbers[0] > after:
                break
            converting.prepare(_until(chunk, after))

    def write(prepared: Prepared, turn: Turn) -> None:
        chunk = prepared.chunk
        if only is not None:
            # An earlier round has reported the rows that can't be read.
            chunk.bad.clear()
        with steps.step() as session:
            outcome = writer.write(session, prepared.columns, len(prepared.places))
            turn.come()
            if tell := found.importable.after_chunk:
                tell(session, outcome.created_ids, outcome.updated_ids)
            failed = tally.take(prepared, outcome)
            if failed:
                _keep_errors(session, state, errors_file, found.table.header, failed)
            state["row"] = chunk.last
            state["columns"] = list(prepared.columns)
            state["counts"] = dict(tally.counts)
            state["problems"] = tally.problems
            steps.done = sum(tally.counts.values())

    in_turn(ahead(found.table.chunks(after=after), converting.prepare), write)


def _until(chunk: Chunk, last: int) -> Chunk:
    size = sum(1 for number in chunk.numbers if number <= last)
    return Chunk(chunk.numbers[:size], [c[:size] for c in chunk.columns], [], last)


def _keep_errors(
    session: Session,
    state: dict[str, Any],
    errors_file: UUID,
    header: Sequence[str],
    failed: Sequence[tuple[int, Sequence[str], str]],
) -> None:
    """Append the failed rows, as they stood in the file, to the import's file of errors."""
    out = io.StringIO(newline="")
    lines = csv.writer(out)
    part = state.get("errors_parts", 0)
    if part == 0:
        # Excel takes CSV for Unicode only with this mark.
        out.write("\ufeff")
        lines.writerow(["row", *header, "errors"])
    width = len(header)
    for number, cells, told in failed:
        padded = [*cells, *[""] * (width - len(cells))]
        lines.writerow([number, *padded[:width], told])
    body = out.getvalue().encode()
    for start in range(0, len(body), files.PART_BYTES):
        files.put(session, errors_file, part, body[start : start + files.PART_BYTES])
        part += 1
    state["errors_parts"] = part
