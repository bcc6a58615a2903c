"""Write converted rows into their table, a chunk in a handful of statements.

Rows travel as one text per column that PostgreSQL splits: `unnest(string_to_array(...))`. COPY
would be somewhat faster, but psycopg2 refuses it on green connections. A temporary table then
meets the existing rows and tells new, changed and unchanged ones apart; the rest is INSERT and
UPDATE of whole sets.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from uuid import UUID

from psycopg2.errors import UniqueViolation
from sqlalchemy import ARRAY, Column, Numeric, Table, Text
from sqlalchemy.dialects import postgresql
from sqlalchemy.exc import DataError, IntegrityError
from sqlalchemy.orm import Session
from uuid_utils import uuid7

from liaison_kit.context import context
from liaison_kit.exports.columns import LIAISON_ID
from liaison_kit.imports.fields import USUAL, Importable
from liaison_kit.listing.row_rules import OUT_OF_SIGHT
from liaison_sdk.errors import InvalidInput

SEPARATOR = "\x1f"
# Halving finds a few bad rows fast; a file that is bad throughout is not worth it.
REFUSALS = 1000
_UNKNOWN = ("unknown_id", "No record has this id; leave it blank to add one")
_TAKEN = ("taken", "Another record has a value that must be unique")
_DIALECT = postgresql.dialect()  # type: ignore[no-untyped-call]


@dataclass(slots=True)
class Outcome:
    """What became of a chunk's rows; `failed` maps a row's place to (code, message)."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    failed: dict[int, tuple[str, str]] = field(default_factory=dict)
    created_ids: list[UUID] = field(default_factory=list)
    updated_ids: list[UUID] = field(default_factory=list)

    def add(self, other: "Outcome", offset: int = 0) -> None:
        """Count in another part of the chunk."""
        self.created += other.created
        self.updated += other.updated
        self.unchanged += other.unchanged
        self.failed |= {place + offset: why for place, why in other.failed.items()}
        self.created_ids += other.created_ids
        self.updated_ids += other.updated_ids


def new_ids(count: int) -> list[str]:
    """So many UUIDs of version 7 in rising order, as text."""
    return [str(uuid7()) for _ in range(count)]


class Writer:
    """Writes the rows of one import; made once, used for each chunk."""

    def __init__(
        self,
        importable: Importable,
        import_id: UUID,
        key: str | None,
        *,
        clear_blanks: bool = False,
        dry: bool = False,
    ) -> None:
        self.importable = importable
        self.import_id = import_id
        self.table: Table = importable.table
        self.key = key
        self.clear_blanks = clear_blanks
        self.dry = dry
        self.refused = 0
        self.clashes = False
        """Some rows have what must be unique: from then on each is looked up before it is written,
        which costs a tenth of the insert."""
        self.own_id = key == LIAISON_ID
        indexed = key is None or self.own_id or key in importable.unique_keys
        self.ways = _BY_INDEX if indexed else _BY_HASH

    def write(self, session: Session, columns: dict[str, Sequence[str]], size: int) -> Outcome:
        """Write the rows; those that the database refuses are found by halving and reported."""
        if not size:
            return Outcome()
        try:
            with session.begin_nested():
                return self._write(session, columns, size)
        except (IntegrityError, DataError) as error:
            if isinstance(error.orig, UniqueViolation) and not self.clashes:
                self.clashes = True
                return self.write(session, columns, size)
            if size == 1:
                self.refused += 1
                if self.refused > REFUSALS:
                    raise InvalidInput(f"The database refuses over {REFUSALS} rows") from None
                return Outcome(failed={0: _refusal(error)})
        half = size // 2
        outcome = Outcome()
        for start, end in ((0, half), (half, size)):
            part = {name: values[start:end] for name, values in columns.items()}
            outcome.add(self.write(session, part, end - start), start)
        return outcome

    # --- the statements

    def _write(self, session: Session, columns: dict[str, Sequence[str]], size: int) -> Outcome:
        about = context(session)
        connection = session.connection()
        if not self.own_id:
            columns = {name: values for name, values in columns.items() if name != "id"}
        names = list(columns)
        parameters: dict[str, object] = {
            "sep": SEPARATOR,
            "tenant": str(about.tenant),
            "import": str(self.import_id),
            "now": about.now,
            "user": str(about.user) if about.user else None,
            "places": SEPARATOR.join(map(str, range(size))),
            "ids": SEPARATOR.join(new_ids(size)),
        }
        for i, name in enumerate(names):
            parameters[f"c{i}"] = SEPARATOR.join(columns[name])
        connection.exec_driver_sql(
            _off(self.ways) + self._stage(session, names, parameters) + _on(self.ways), parameters
        )
        # It is what a record is met by, and nothing to write.
        names = [name for name in names if name != "id"]
        outcome = Outcome()
        if self.own_id:
            unknown = connection.exec_driver_sql(
                "DELETE FROM import_stage WHERE _action = 'm' RETURNING _place"
            ).scalars()
            outcome.failed |= dict.fromkeys(unknown, _UNKNOWN)
        elif self.key is not None and self.key not in self.importable.unique_keys:
            several = connection.exec_driver_sql(
                "DELETE FROM import_stage WHERE _place IN (SELECT _place FROM import_stage"
                " GROUP BY _place HAVING count(*) > 1) RETURNING _place"
            ).scalars()
            for place in set(several):
                outcome.failed[place] = ("ambiguous", "Several records have this key")
        if self._peers(session) is not None:
            refused = connection.exec_driver_sql(
                "DELETE FROM import_stage WHERE _action IN ('h', 'o') RETURNING _place, _action"
            )
            for place, action in refused:
                outcome.failed[place] = _TAKEN if action == "h" else OUT_OF_SIGHT
        counts: dict[str, int] = {}
        for action, count in connection.exec_driver_sql(
            "SELECT _action, count(*) FROM import_stage GROUP BY _action"
        ):
            counts[action] = count
        outcome.unchanged = counts.get("n", 0)
        outcome.created, outcome.updated = counts.get("c", 0), counts.get("u", 0)
        if not self.dry:
            if outcome.created:
                self._insert(session, names, parameters, outcome)
            if outcome.updated:
                self._update(session, names, parameters, outcome)
        connection.exec_driver_sql("DROP TABLE import_stage")
        return outcome

    def _peers(self, session: Session) -> list[str] | None:
        """The owners whose records the importer sees; None stands for everybody's."""
        return self.importable.peers(session)

    def _stage(self, session: Session, names: list[str], parameters: dict[str, object]) -> str:
        table = self.table
        arrays = ", ".join(
            f"string_to_array(%({p})s, %(sep)s, '')"
            for p in ("places", "ids", *(f"c{i}" for i in range(len(names))))
        )
        raw = ", ".join(f"c{i}" for i in range(len(names)))
        typed = ", ".join(
            f"{_cast(table.c[name], f'c{i}')} AS {_quoted(name)}" for i, name in enumerate(names)
        )
        incoming = (
            f"SELECT _place::int AS _place, _new_id::uuid AS _new_id, {typed}"
            f" FROM unnest({arrays}) AS r(_place, _new_id, {raw})"
        )
        if self.own_id:
            # A cast may tell of its value what it fails on: within it, the policy would keep the id
            # out of the index.
            incoming += " OFFSET 0"
        peers = parameters["peers"] = self._peers(session)
        if self.key is None:
            action = "'c'"
            if peers is not None:
                action = f"CASE {self._out_of_sight(names, new=True)} ELSE 'c' END"
            return (
                "CREATE TEMP TABLE import_stage ON COMMIT DROP AS"
                " SELECT s.*, NULL::uuid AS _old_id,"
                f" NULL::bigint AS _old_version, {action} AS _action FROM ({incoming}) s; "
            )
        column = "id" if self.own_id else self.key_column
        met = self.importable.match.get(
            self.key, f"t.{_quoted(column)} = s.{_quoted(column)}"
        ).replace("%", "%%")
        told = self._told(names)
        after = ", ".join(self._new_value(name) for name in told)
        before = ", ".join(f"t.{_quoted(name)}" for name in told)
        changed = f"ROW({after}) IS DISTINCT FROM ROW({before})" if told else "false"
        source = _quoted(table.name)
        met = f"t.tenant_id = %(tenant)s::uuid AND {met}"
        new = old = seen = ""
        if self.own_id:
            new = " WHEN t.id IS NULL AND s.id IS NOT NULL THEN 'm'"
        if peers is not None:
            # A record that the importer may not see is not there; but what must be unique is taken.
            seen = f" AND {self._owner('t')} = ANY(%(peers)s::uuid[])"
            if self.key in self.importable.unique_keys:
                new += (
                    f" WHEN t.id IS NULL AND EXISTS (SELECT FROM {source} t WHERE {met}) THEN 'h'"
                )
            new += (
                f" WHEN t.id IS NULL THEN CASE {self._out_of_sight(names, new=True)} ELSE 'c' END"
            )
            if self.owner in names:
                old = f" {self._out_of_sight(names, new=False)}"
        return (
            "CREATE TEMP TABLE import_stage ON COMMIT DROP AS"
            " SELECT s.*, t.id AS _old_id, t.version AS _old_version,"
            f" CASE{new} WHEN t.id IS NULL THEN 'c'{old}"
            f" WHEN {changed} THEN 'u' ELSE 'n' END AS _action"
            f" FROM ({incoming}) s LEFT JOIN {source} t ON {met}{seen}; "
        )

    def _told(self, names: Sequence[str]) -> list[str]:
        """The columns that say whether a record changes; the others follow from these."""
        kind = self.importable.kind
        derived = frozenset() if kind is None else kind.derived
        return [name for name in names if name != "id" and name not in derived]

    @property
    def owner(self) -> str:
        """The table's column that says whose a record is."""
        kind = self.importable.kind
        assert kind is not None
        assert kind.owner is not None
        return str(kind.owner.key)

    def _owner(self, row: str) -> str:
        return f"{row}.{_quoted(self.owner)}"

    def _out_of_sight(self, names: Sequence[str], *, new: bool) -> str:
        """SQL of a case: the importer would not see what they write."""
        after = self._new_value(self.owner)
        if new:
            # Without an owner it becomes the importer's.
            given = self._owner("s") if self.owner in names else "NULL"
            after = f"coalesce({given}, %(user)s::uuid)"
        return f"WHEN NOT coalesce({after} = ANY(%(peers)s::uuid[]), false) THEN 'o'"

    @property
    def key_column(self) -> str:
        """The table's column of the key field."""
        spec = next((f for f in self.importable.fields if f.name == self.key), None)
        return (spec.column if spec else None) or self.key or ""

    def _new_value(self, name: str) -> str:
        if name in self.importable.merge:
            merged = self.importable.merge[name].replace("%", "%%")
            return merged.replace(USUAL, self._usual_value(name))
        if name == "custom":
            return "t.custom || coalesce(s.custom, '{}'::jsonb)"
        return self._usual_value(name)

    def _usual_value(self, name: str) -> str:
        column = _quoted(name)
        if self.clear_blanks and self.table.c[name].nullable:
            return f"s.{column}"
        return f"coalesce(s.{column}, t.{column})"

    def _insert(
        self, session: Session, names: list[str], parameters: dict[str, object], outcome: Outcome
    ) -> None:
        connection = session.connection()
        table, extra = self.table, dict(self.importable.on_insert)
        values = {
            "id": "s._new_id",
            "tenant_id": "%(tenant)s::uuid",
            "version": "1",
            "created_at": "%(now)s::timestamptz",
            "created_by": "%(user)s::uuid",
            "updated_at": "%(now)s::timestamptz",
            "updated_by": "%(user)s::uuid",
            "custom": "'{}'::jsonb",
        }
        values = {name: sql for name, sql in values.items() if name in table.c}
        values |= {name: sql.replace("%", "%%") for name, sql in extra.items()}
        if self._peers(session) is not None:
            # Who may only see their own rows would lose sight of a row that has no owner.
            values[self.owner] = "%(user)s::uuid"
        for name in names:
            fallback = values.get(name)
            column = f"s.{_quoted(name)}"
            values[name] = f"coalesce({column}, {fallback})" if fallback else column
        done = connection.exec_driver_sql(
            f"INSERT INTO {_quoted(table.name)} ({', '.join(map(_quoted, values))})"
            f" SELECT {', '.join(values.values())} FROM import_stage s WHERE s._action = 'c'"
            f" ORDER BY s._place{' ON CONFLICT DO NOTHING' if self.clashes else ''}",
            parameters,
        ).rowcount
        if done != outcome.created:
            clashing = connection.exec_driver_sql(
                "UPDATE import_stage s SET _action = 'f' WHERE s._action = 'c' AND NOT EXISTS"
                f" (SELECT FROM {_quoted(table.name)} t WHERE t.id = s._new_id) RETURNING _place"
            ).scalars()
            for place in clashing:
                outcome.failed[place] = _TAKEN
            outcome.created = done
        connection.exec_driver_sql(
            "INSERT INTO import_changes (import_id, tenant_id, record_id, action, before, version)"
            " SELECT %(import)s::uuid, %(tenant)s::uuid, s._new_id, 'created', NULL, 1"
            " FROM import_stage s WHERE s._action = 'c' ORDER BY s._place",
            parameters,
        )
        if self.importable.after_chunk is not None or "custom" in names:
            outcome.created_ids = list(
                connection.exec_driver_sql(
                    "SELECT _new_id FROM import_stage WHERE _action = 'c' ORDER BY _place"
                ).scalars()
            )

    def _update(
        self, session: Session, names: list[str], parameters: dict[str, object], outcome: Outcome
    ) -> None:
        connection = session.connection()
        table = _quoted(self.table.name)
        # The lock and the version keep what somebody else changes meanwhile out of our way.
        kept = connection.exec_driver_sql(
            "INSERT INTO import_changes (import_id, tenant_id, record_id, action, before, version)"
            " SELECT %(import)s::uuid, %(tenant)s::uuid, t.id, 'updated',"
            f" {self._image(names, 't')}, t.version + 1"
            f" FROM import_stage s JOIN {table} t"
            " ON t.id = s._old_id AND t.version = s._old_version"
            " WHERE s._action = 'u' ORDER BY t.id FOR UPDATE OF t"
            " ON CONFLICT DO NOTHING",
            parameters,
        ).rowcount
        changed = ", ".join(f"{_quoted(name)} = {self._new_value(name)}" for name in names)
        signed = ", updated_at = %(now)s::timestamptz, updated_by = %(user)s::uuid"
        connection.exec_driver_sql(
            f"UPDATE {table} t SET {changed}, version = t.version + 1{signed}"
            " FROM import_stage s JOIN import_changes c ON c.import_id = %(import)s::uuid"
            " AND c.record_id = s._old_id AND c.version = s._old_version + 1"
            " WHERE s._action = 'u' AND t.id = s._old_id AND t.version = s._old_version",
            parameters,
        )
        connection.exec_driver_sql(
            _HISTORY.format(table=table, after=self._image(self._told(names), "t")),
            {**parameters, "record": self.importable.record},
        )
        if kept != outcome.updated:
            late = connection.exec_driver_sql(
                "SELECT s._place FROM import_stage s WHERE s._action = 'u' AND NOT EXISTS"
                " (SELECT FROM import_changes c WHERE c.import_id = %(import)s::uuid"
                " AND c.record_id = s._old_id AND c.version = s._old_version + 1)",
                parameters,
            ).scalars()
            for place in late:
                outcome.failed[place] = (
                    "changed_meanwhile",
                    "Somebody changed the record during the import",
                )
            outcome.updated = kept
        if self.importable.after_chunk is not None or "custom" in names:
            outcome.updated_ids = list(
                connection.exec_driver_sql(
                    "SELECT _old_id FROM import_stage WHERE _action = 'u' ORDER BY _place"
                ).scalars()
            )

    def _image(self, names: Sequence[str], row: str) -> str:
        pairs = ", ".join(
            f"'{name}', {row}.{_quoted(name)}"
            # As the history keeps decimals: exact, as text.
            + ("::text" if isinstance(self.table.c[name].type, Numeric) else "")
            for name in names
        )
        return f"jsonb_build_object({pairs})"


# A few thousand rows meet millions by index. The planner can't know: it has no figures of a table
# that is just being filled, and would read it whole, for every chunk or even for every row. A key
# without an index of its own is better met by hash.
_BY_INDEX = ("hashjoin", "mergejoin", "material", "bitmapscan", "seqscan")
_BY_HASH = ("nestloop",)


def _off(ways: Sequence[str]) -> str:
    return "".join(f"SET LOCAL enable_{way} = off; " for way in ways)


def _on(ways: Sequence[str]) -> str:
    return "".join(f"RESET enable_{way}; " for way in ways)


_HISTORY = """
INSERT INTO history (id, tenant_id, record, record_id, version, action, at, "by", changes)
SELECT s._new_id, %(tenant)s::uuid, %(record)s, c.record_id, c.version, 'changed',
       %(now)s::timestamptz, %(user)s::uuid,
       (SELECT jsonb_object_agg(a.key, jsonb_build_array(c.before -> a.key, a.value))
          FROM jsonb_each({after}) a WHERE a.value IS DISTINCT FROM c.before -> a.key)
  FROM import_stage s
  JOIN import_changes c ON c.import_id = %(import)s::uuid AND c.record_id = s._old_id
  JOIN {table} t ON t.id = s._old_id AND t.version = c.version
 WHERE s._action = 'u' AND c.version = s._old_version + 1
"""


def _cast(column: "Column[object]", value: str) -> str:
    if isinstance(column.type, ARRAY):
        item = column.type.item_type.compile(_DIALECT)
        return (
            f"CASE WHEN {value} IS NOT NULL THEN"
            f" ARRAY(SELECT jsonb_array_elements_text({value}::jsonb)::{item}) END"
        )
    if isinstance(column.type, Text):
        return value
    return f"{value}::{column.type.compile(_DIALECT)}"


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _refusal(error: IntegrityError | DataError) -> tuple[str, str]:
    """Why the database refused one row, without the values that its message quotes."""
    diagnosis = getattr(error.orig, "diag", None)
    state = getattr(error.orig, "pgcode", None) or ""
    where = getattr(diagnosis, "column_name", None) or getattr(diagnosis, "constraint_name", None)
    named = f" ({where})" if where else ""
    kinds = {
        "23502": ("missing", f"A value is missing{named}"),
        "23503": ("unknown_reference", f"It refers to a record that isn't there{named}"),
        "23505": ("taken", f"Another record has this value{named}"),
        "23514": ("not_allowed", f"A value is not allowed{named}"),
        "22003": ("out_of_range", f"A number is out of range{named}"),
        "22001": ("too_long", f"A text is too long{named}"),
    }
    return kinds.get(state, ("refused", f"The database refuses a value{named}"))
