"""Whether a service's database is what its declarations ask for, and what is missing where not.

Columns are declared once, in the models. A migration is drawn from the difference between them and
a database that has all migrations so far (`liaison_kit.new_migration`), and a test demands that
there is none. What a drawn migration does is written into it, so that it does the same for ever.

What can be told is told by one call of the kit's for migrations each (`Differences.calls`). The
rest takes two releases or a person who thinks about it (`by_hand`): a column of another type, one
that is required all of a sudden, one that is gone from the model and still demanded by the table.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Column, Table, create_engine, inspect, text
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import URL, Connection

from liaison_kit.copies import KeptRow
from liaison_kit.database.record_tables import search_source
from liaison_kit.database.tables import ORDER, Base, Record, Searched, TenantRow
from liaison_kit.privacy.marks import Pointer, pointers_of
from liaison_kit.records.recordtype import RecordType
from liaison_kit.service import Service

KIT = "liaison_kit"


@dataclass(frozen=True, slots=True)
class FoundColumn:
    """A column of a table as the database has it."""

    type: str
    nullable: bool
    has_default: bool


@dataclass(frozen=True, slots=True)
class Found:
    """What a database has: tables and views by their columns, and what hangs on the tables."""

    tables: Mapping[str, Mapping[str, FoundColumn]] = field(default_factory=dict)
    views: Mapping[str, Mapping[str, FoundColumn]] = field(default_factory=dict)
    held_apart: frozenset[str] = frozenset()
    """The tables that show each tenant its own rows only."""
    indexes: frozenset[str] = frozenset()
    triggers: frozenset[str] = frozenset()
    sources: Mapping[str, str] = field(default_factory=dict)
    """The bodies of the functions that make search texts, and fold."""

    @classmethod
    def of(cls, connection: Connection) -> "Found":
        """What there is in the database that this is a connection to."""
        tables: dict[str, dict[str, FoundColumn]] = {}
        views: dict[str, dict[str, FoundColumn]] = {}
        for kind, relation, name, *column in connection.execute(text(_COLUMNS)):
            among = tables if kind in ("r", "p") else views
            among.setdefault(relation, {})[name] = FoundColumn(*column)
        return cls(
            tables,
            views,
            frozenset(connection.scalars(text(_HELD_APART))),
            frozenset(connection.scalars(text(_INDEXES))),
            frozenset(connection.scalars(text(_TRIGGERS))),
            {name: source for name, source in connection.execute(text(_SOURCES))},  # noqa: C416
        )


def looked_at(owner: URL) -> Found:
    """What there is in a database, as its owner sees it."""
    engine = create_engine(owner)
    try:
        with engine.connect() as connection:
            return Found.of(connection)
    finally:
        engine.dispose()


@dataclass(frozen=True, slots=True)
class Differences:
    """What a database lacks: calls that a migration makes, and what is left to a person."""

    calls: list[str]
    by_hand: list[str]

    def __bool__(self) -> bool:
        return bool(self.calls or self.by_hand)


def differences(service: type[Service], found: Found) -> Differences:
    """What the service's models, kinds of record and marks ask for and the database has not."""
    done = Differences([], [])
    declared = _Declared(service)
    if found.tables and "fold_text" not in found.sources and declared.is_sorted:
        done.calls.append("folded_texts(op)")
    if found.tables and declared.searched and "search_refills" not in found.tables:
        done.calls.append("kept_searches(op)")
    if "attachments" not in found.tables and any(kind.attachments for kind in service.records):
        done.calls.append("attachment_tables(op)")
    for model in declared.models:
        table = inspect(model).local_table
        assert isinstance(table, Table)
        if table.name in found.tables:
            _grown(declared, model, table, found, done)
        elif table.name in found.views:
            _alike(table, found.views[table.name], done, is_view=True)
        elif not model.__module__.startswith(f"{KIT}."):
            done.calls.extend(_made(declared, model, table))
    return done


class _Declared:
    """What a service says of its tables, by table."""

    def __init__(self, service: type[Service]) -> None:
        package = service.__module__.partition(".")[0]
        mappers = Base.registry.mappers
        ours = (m.class_ for m in mappers if m.class_.__module__.startswith((f"{package}.", KIT)))
        self.models: list[type[Any]] = sorted(ours, key=lambda model: model.__tablename__)
        self.kinds = {kind.table.name: kind for kind in service.records}
        self.searched = {
            kind.table.name: kind.search_columns
            for kind in service.records
            if issubclass(kind.model, Searched)
        }
        self.copies = {copy.table.name: copy for copy in service.copies}

    @property
    def is_sorted(self) -> bool:
        return any(kind.sorted_texts for kind in self.kinds.values())

    def pointers(self, model: type[Any]) -> list[Pointer]:
        return list(pointers_of([model]))


# --- a table that is not there --------------------------------------------------------------------


def _made(declared: _Declared, model: type[Any], table: Table) -> Iterator[str]:
    base: type[TenantRow]
    if issubclass(model, Record):
        base, call, end = Record, "record_table", ""
    elif issubclass(model, KeptRow):
        base, call = KeptRow, "kept_table"
        copy = declared.copies.get(table.name)
        seen = None if copy is None else copy.seen
        end = f', kind="{seen.kind}"' if seen is not None else ""
    else:
        base, call, end = TenantRow, "tenant_table", ""
    usual = {name for one in base.__mro__ for name in getattr(one, "__annotations__", ())}
    own = [column for column in table.c if call == "tenant_table" or column.name not in usual]
    columns = [f'"{_ddl(column)}"' for column in own]
    if call == "tenant_table":
        keys = ", ".join(column.name for column in table.primary_key)
        columns.append(f'"PRIMARY KEY ({keys})"')
    yield f'{call}(op, "{table.name}", {", ".join(columns)}{end})'
    yield from _beside(declared, model, table, own)


def _beside(
    declared: _Declared, model: type[Any], table: Table, columns: Iterable[Column[Any]]
) -> Iterator[str]:
    """What new columns bring with them: indexes, and where they point at others' records."""
    names = {column.name for column in columns}
    kind = declared.kinds.get(table.name)
    if table.name in declared.searched and "search" in names:
        yield _searched(table.name, declared.searched[table.name])
    for name, rest in _listed_by(kind) if kind is not None else ():
        if name in names:
            listed = ", ".join(f'"{part}"' for part in (name, *rest))
            yield f'index(op, "{table.name}", {listed})'
    if kind is not None and (texts := [name for name in kind.sorted_texts if name in names]):
        yield _sorted(table.name, texts)
    for pointer in declared.pointers(model):
        if pointer.column in names:
            yield f'index(op, "{table.name}", "{pointer.column}")'
            yield _lands(pointer)


def _listed_by(kind: RecordType) -> Iterator[tuple[str, tuple[str, ...]]]:
    """The columns that lists are narrowed and boards are divided by, and sorted by."""
    if kind.owner is not None:
        yield kind.owner.key, ("updated_at", "id")
    for name, info in kind.fields.items():
        if name in kind.columns or name in Record.__annotations__:
            continue
        if info.choices and info.filterable:
            yield name, ("updated_at", "id")
        elif info.sortable and info.kind not in ("money", "text"):
            yield name, ("id",)


def _sorted(table: str, columns: Iterable[str]) -> str:
    listed = ", ".join(f'"{name}"' for name in columns)
    return f'sorted_texts(op, "{table}", {listed})'


def _searched(table: str, columns: tuple[str, ...], refill: bool = False) -> str:
    listed = ", ".join(f'"{name}"' for name in columns)
    return f'searched(op, "{table}", {listed}{", refill=True" if refill else ""})'


def _lands(pointer: Pointer) -> str:
    keys = "" if pointer.keys == ("id",) else "".join(f', "{key}"' for key in pointer.keys)
    goes = ", goes_with=True" if pointer.goes_with else ""
    return f'lands(op, "{pointer.table.name}", "{pointer.column}"{keys}{goes})'


# --- a table that is there ------------------------------------------------------------------------


def _grown(
    declared: _Declared, model: type[Any], table: Table, found: Found, done: Differences
) -> None:
    there, name = found.tables[table.name], table.name
    new = [column for column in table.c if column.name not in there]
    for column in new:
        if not column.nullable and column.server_default is None:
            done.by_hand.append(
                f"{name}.{column.name} is new and may not be empty, but the release before writes"
                " rows without it: let it be empty, or give it a server_default"
            )
        else:
            done.calls.append(f'add_column(op, "{name}", "{_ddl(column)}")')
    _alike(table, there, done)
    for column_name, kept in there.items():
        if column_name not in table.c and not kept.nullable and not kept.has_default:
            done.by_hand.append(
                f"{name}.{column_name} is in no model any more, but rows can't be without it:"
                " let it be empty in this release, and drop it in the next"
            )
    if "tenant_id" in table.c and name not in found.held_apart:
        done.calls.append(f'enable_tenancy(op, "{name}")')
    done.calls.extend(_beside(declared, model, table, new))
    for pointer in declared.pointers(model):
        trigger = f"land_{name}_{pointer.column}_insert"
        if pointer.column in there and trigger not in found.triggers:
            done.calls.append(_lands(pointer))
    kind = declared.kinds.get(name)
    if kind is not None:
        grown = {column.name for column in new}
        lacking = [t for t in kind.sorted_texts if t not in grown and f"{t}{ORDER}" not in there]
        done.calls.extend([_sorted(name, lacking)] if lacking else [])
    if kind is not None and not {f"uq_{name}_external_id", f"ix_{name}_updated"} <= found.indexes:
        done.calls.append(f'record_indexes(op, "{name}")')
    _found_by(declared, kind, name, found, done, new)


def _found_by(
    declared: _Declared,
    kind: RecordType | None,
    name: str,
    found: Found,
    done: Differences,
    new: list[Column[Any]],
) -> None:
    columns = declared.searched.get(name)
    kept = found.sources.get(f"search_{name}")
    if columns is not None and "search" in found.tables[name]:
        if kept != search_source(columns) or f"search_{name}" not in found.triggers:
            done.calls.append(_searched(name, columns, refill=True))
            return
    elif columns is None and kept is not None:
        done.by_hand.append(f"search_{name}() is there, but nothing declares what it searches")
    view = found.views.get(f"{name}_found")
    if kind is None or (kind.search is None and not kind.indexed_filters):
        return
    asked = {column for column in found.tables[name] if column in kind.table.c}
    if view is None or (asked - set(view) and not new):
        done.calls.append(f'search_view(op, "{name}")')


def _alike(
    table: Table,
    there: Mapping[str, FoundColumn],
    done: Differences,
    *,
    is_view: bool = False,
) -> None:
    """Columns that both have must be alike; of a view only their types can be told."""
    for column in table.c:
        found = there.get(column.name)
        if found is None:
            continue
        name, wanted = f"{table.name}.{column.name}", _type(column)
        if found.type != wanted:
            done.by_hand.append(f"{name} is {found.type} in the database, {wanted} in the model")
        elif is_view:
            continue
        elif found.nullable and not column.nullable:
            done.by_hand.append(f"{name} may be empty in the database, and not in the model")
        elif column.nullable and not found.nullable:
            done.by_hand.append(f"{name} may not be empty in the database, but in the model")


# --- SQL of columns -------------------------------------------------------------------------------

_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]
_SPELT = ((re.compile(r"^char\b"), "character"), (re.compile(r"^varchar\b"), "character varying"))


def _type(column: Column[Any]) -> str:
    """A column's type as PostgreSQL calls it."""
    name = column.type.compile(_DIALECT).lower().replace(", ", ",")
    for short, long in _SPELT:
        name = short.sub(long, name)
    return name


def _ddl(column: Column[Any]) -> str:
    written = f"{column.name} {_type(column)}"
    default: Any = column.server_default
    if default is not None:
        value = default.arg
        written += f" DEFAULT '{value}'" if isinstance(value, str) else f" DEFAULT {value}"
    return written if column.nullable else f"{written} NOT NULL"


_COLUMNS = """
SELECT c.relkind::text, c.relname, a.attname, format_type(a.atttypid, a.atttypmod),
       NOT a.attnotnull, a.atthasdef OR a.attidentity <> ''
  FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
  JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = 'public' AND c.relkind IN ('r', 'p', 'v') AND a.attnum > 0
   AND NOT a.attisdropped
 ORDER BY c.relname, a.attnum
"""
_HELD_APART = """
SELECT c.relname FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
 WHERE n.nspname = 'public' AND c.relrowsecurity
   AND EXISTS (SELECT FROM pg_policy p WHERE p.polrelid = c.oid)
"""
_INDEXES = "SELECT indexname FROM pg_indexes WHERE schemaname = 'public'"
_TRIGGERS = "SELECT tgname FROM pg_trigger WHERE NOT tgisinternal AND tgenabled = 'O'"
_SOURCES = r"""
SELECT p.proname, p.prosrc FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace
 WHERE n.nspname = 'public' AND (p.proname LIKE 'search\_%' OR p.proname = 'fold_text')
"""
