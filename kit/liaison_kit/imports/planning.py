"""The plan of an import: what feeds what, and all that is settled for the whole file beforehand.

A first pass over the file, which needs no database, collects what has to be settled: formats,
references and choices.
"""

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from sqlalchemy.orm import Session

from liaison_kit.imports.converting import Convert, Converted, Formats, converter, fold
from liaison_kit.imports.fields import Importable, ImportField
from liaison_kit.imports.formats import (
    DATED,
    ENOUGH,
    NUMERIC,
    Evidence,
    Question,
    question,
    settle_formats,
)
from liaison_kit.imports.matching import Choices, Matched, Seen, Unmatched, match_values
from liaison_kit.imports.reading import Table
from liaison_kit.imports.references import SEVERAL, Reference
from liaison_kit.imports.unfed import (
    CUSTOM,
    DECISIONS,
    FOR_ALL,
    NOTE,
    UndecidedColumns,
    Unfed,
    define,
    field_of,
    note_of,
)
from liaison_kit.tenants import tenant_settings
from liaison_sdk.errors import FieldError, InvalidInput

DISTINCT_LIMIT = 200_000
# Where a bare 04/05 is the fifth of April.
MONTH_FIRST = frozenset({"US", "PH", "PR", "GU", "FM", "MH", "PW"})


@dataclass(frozen=True, slots=True)
class Options:
    """How to import: everything that is not which column feeds which field."""

    key: str | None = None
    create_only: bool = False
    blanks: str = "keep"
    on_missing: Mapping[str, str] = field(default_factory=dict)
    formats: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    currency: str | None = None
    """Of amounts that don't say theirs: the tenant's, unless it is told."""
    timezone: str | None = None
    """The same of times of day."""
    defaults: Mapping[str, str] = field(default_factory=dict)
    unmapped: str | None = None
    """What becomes of columns that feed nothing, and of which nothing is said: see `unfed.py`."""


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
    loose: bool = False
    """The key is a mere name that nobody has chosen: see `Importable.loose_keys`."""
    country: str | None = None
    """Where the tenant is."""
    questions: list[Question] = field(default_factory=list)
    """What columns leave open of how they are written, and nobody has said."""
    unfed: list[Unfed] = field(default_factory=list)
    """The columns with values that feed no field."""

    @property
    def defaults(self) -> dict[str, str]:
        """By column: what a new record has where the file says nothing, and a known one keeps.

        Of fields that are a column as they are; the others' defaults are values of their rows.
        """
        return {
            spec.column or spec.name: spec.default
            for spec in self.specs
            if spec.default
            and not spec.custom
            and spec.kind not in ("money", "currency")
            and spec.name not in self.importable.covers
        }

    @property
    def specs(self) -> list[ImportField]:
        """The fields that get a value, by column or by default."""
        return [feed.spec for feed in self.feeds] + self.constants


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
    known = {spec.name: spec for spec in specs if not spec.kept}
    errors: list[FieldError] = []
    fed: dict[str, str] = {}
    for column, name in mapping.items():
        if column not in header:
            errors.append(FieldError(f"mapping.{column}", "unknown_column", "No such column"))
        elif name is None or name in DECISIONS:
            continue
        elif name not in known:
            errors.append(FieldError(f"mapping.{column}", "unknown_field", f"No field {name}"))
        elif name in fed:
            errors.append(FieldError(f"mapping.{column}", "fed_twice", f"Two columns feed {name}"))
        else:
            fed[name] = column
    errors += _undecidable(importable, mapping, options)
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
        ZoneInfo(options.timezone or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        errors.append(FieldError("options.timezone", "unknown", f"No zone {options.timezone}"))
    key = next((key for key in importable.met_by if key in fed), None)
    if options.key is not None:
        key = options.key
        if key not in importable.met_by or key not in fed:
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


def _undecidable(
    importable: Importable, mapping: Mapping[str, str | None], options: Options
) -> list[FieldError]:
    """What can't become of columns of this kind of record."""
    what: dict[str, str] = {}
    if not importable.takes_notes:
        what[NOTE] = f"{importable.label['en']} take no notes"
    if "custom" not in importable.table.c:
        what[CUSTOM] = f"{importable.label['en']} take no custom fields"
    said = {f"mapping.{column}": name for column, name in mapping.items()}
    said["options.unmapped"] = FOR_ALL.get(options.unmapped or "")
    return [
        FieldError(path, "not_here", what[name])
        for path, name in said.items()
        if name is not None and name in what
    ]


@dataclass(slots=True)
class Survey:
    """A file and its mapping after the first pass over it: all that has to be settled."""

    plan: Plan
    value_map: Mapping[str, Mapping[str, str | None]]
    options: Options
    seen: dict[int, Seen]
    """By position of a column: the values that name records or choices."""
    evidence: dict[int, Evidence]
    """By position of a column: what its values tell of how it writes dates and numbers."""
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
        FieldError(
            f"mapping.{spec.name}",
            "missing",
            f"{spec.label['en']} is required: name the column that has it, or a default",
        )
        for spec in specs
        if spec.required and spec.name not in given
    ]
    if missing or not fed:
        raise InvalidInput(_no_column(table, [error.path for error in missing]), missing)
    feeds = [
        Feed(spec, column, table.header.index(column), _unsettled, Formats())
        for column, spec in fed
    ]
    loose = key in importable.loose_keys and options.key is None
    by_column = {column for column, _ in fed}
    unfed = [
        Unfed(column, position, mapping.get(column) or FOR_ALL.get(options.unmapped or "", ""))
        for position, column in enumerate(table.header)
        if column not in by_column
    ]
    surveyed = Survey(
        Plan(importable, table, feeds, constants, key, loose=loose, unfed=unfed),
        value_map,
        options,
        {},
        {},
        set(),
    )
    _first_pass(surveyed)
    return surveyed


def _no_column(table: Table, missing: Sequence[str]) -> str:
    """What is said of a file in which nothing, or not all that is required, is recognised."""
    what = ", ".join(path.removeprefix("mapping.") for path in missing)
    told = f"No column of the file feeds {what}" if what else "No column of the file feeds a field"
    told += f". It has: {', '.join(table.header[:20])}"
    if len(table.sheets) > 1:
        told += f". The sheet {table.sheet} is read, of {', '.join(table.sheets[:10])}"
    return told


def _unsettled(column: Sequence[str]) -> Converted:
    raise AssertionError("settling gives every column its converter")


def _first_pass(surveyed: Survey) -> None:
    found = surveyed.plan
    matched = [feed for feed in found.feeds if feed.spec.kind in ("reference", "choice")]
    formatted = [feed for feed in found.feeds if feed.spec.kind in (*DATED, *NUMERIC)]
    own = [feed for feed in matched if feed.spec.reference == found.importable.record]
    named = [
        feed.position
        for feed in found.feeds
        if own and feed.spec.name in (*found.importable.keys, "name")
    ]
    seen = surveyed.seen = {feed.position: Seen() for feed in matched}
    kinds = {feed.position: feed.spec.kind for feed in formatted}
    evidence = surveyed.evidence = {position: Evidence() for position in kinds}
    for position in found.table.numbers & kinds.keys():
        # What a workbook holds as numbers is written as Python writes them.
        evidence[position].votes["."] = ENOUGH
    names = surveyed.names
    unfed = found.unfed
    if not seen and not evidence and not unfed:
        # Nothing to settle: spare the pass; the number of lines is near enough for progress.
        found.rows = found.table.lines()
    for chunk in found.table.chunks() if seen or evidence or unfed else ():
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
        for position, told in evidence.items():
            if not told.enough:
                told.add(kinds[position], dict.fromkeys(chunk.columns[position]))
        for position in named:
            names.update(map(fold, chunk.columns[position]))
        for column in unfed:
            column.add(chunk.columns[column.position])
    found.unfed = [column for column in unfed if column.count]


def settle(session: Session, surveyed: Survey, *, writes: bool = False) -> Plan:
    """Settle formats, references and choices for the whole file; raise what makes it hopeless."""
    before, options, evidence = surveyed.plan, surveyed.options, dict(surveyed.evidence)
    tenant = tenant_settings(session)
    found = dataclasses.replace(
        before,
        feeds=[dataclasses.replace(feed) for feed in before.feeds],
        constants=list(before.constants),
        unmatched=[],
        waiting={},
        questions=[],
        country=tenant.country,
    )
    if writes and (undecided := [each for each in found.unfed if not each.decision]):
        raise UndecidedColumns(undecided)
    _feed_the_rest(session, found, evidence, writes)
    _resolve_defaults(session, found)
    base = Formats(
        dates="mdy" if tenant.country in MONTH_FIRST else "dmy",
        currency=options.currency or tenant.currency,
        timezone=options.timezone or tenant.time_zone,
    )
    for feed in found.feeds:
        feed.formats = base
        if feed.position in evidence:
            told = evidence[feed.position]
            others = _others(found, evidence)
            formats, doubt = settle_formats(feed.spec, told, base, others, tenant.country)
            said = options.formats.get(feed.column, {})
            feed.formats = dataclasses.replace(formats, **said)  # type: ignore[arg-type]
            asked = question(feed.spec, feed.column, told, formats, doubt)
            if asked is not None and asked.option not in said:
                found.questions.append(asked)
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
    if writes:
        _demand_answers(found.questions)
    return found


def _feed_the_rest(
    session: Session, found: Plan, evidence: dict[int, Evidence], writes: bool
) -> None:
    """Give the columns that become custom fields or notes a field to feed."""
    own = [each for each in found.unfed if each.decision == CUSTOM]
    if own and writes:
        define(session, found.importable, own)
    fields = [(each, field_of(each)) for each in own]
    fields += [(each, note_of(each)) for each in found.unfed if each.decision == NOTE]
    for each, spec in fields:
        found.feeds.append(Feed(spec, each.column, each.position, _unsettled, Formats()))
        if each.decision == CUSTOM and each.evidence is not None:
            evidence[each.position] = each.evidence


def _demand_answers(questions: Sequence[Question]) -> None:
    """Refuse to write what may mean something else by a factor of a thousand, or another day."""
    errors = [
        FieldError(f"options.formats.{one.column}", one.code, one.message)
        for one in questions
        if one.must
    ]
    if errors:
        raise InvalidInput("It is not clear how a column is written", errors)


def _others(found: Plan, evidence: Mapping[int, Evidence]) -> dict[str, str]:
    """How the file's columns write decimals and dates, where those that tell agree."""
    said: dict[str, set[str]] = {"decimal": set(), "dates": set()}
    for feed in found.feeds:
        told = evidence[feed.position].told if feed.position in evidence else None
        if told is not None and feed.position not in found.table.numbers:
            said["dates" if feed.spec.kind in DATED else "decimal"].add(told)
    return {what: ways.pop() for what, ways in said.items() if len(ways) == 1}


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
    reference = _reference(found.importable, spec)
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


def _reference(importable: Importable, spec: ImportField) -> Reference | Choices:
    if spec.kind == "choice":
        return Choices(spec.choices or {})
    return importable.references[spec.reference or ""]


def _resolve_defaults(session: Session, found: Plan) -> None:
    """A default that names a choice or a record is settled like the values of a column."""
    errors: list[FieldError] = []

    def resolved(spec: ImportField) -> ImportField:
        if not spec.default or spec.kind not in ("choice", "reference"):
            return spec
        known = _reference(found.importable, spec).resolve(session, [spec.default])
        if known.get(spec.default, SEVERAL) == SEVERAL:
            where = f"options.defaults.{spec.name}"
            told = "several" if spec.default in known else "nothing"
            code = "ambiguous" if spec.default in known else "unknown_value"
            errors.append(FieldError(where, code, f"{spec.default} matches {told}"))
        return dataclasses.replace(spec, default=known.get(spec.default, ""))

    found.constants = [resolved(spec) for spec in found.constants]
    for feed in found.feeds:
        feed.spec = resolved(feed.spec)
    if errors:
        raise InvalidInput("A default needs another look", errors)
