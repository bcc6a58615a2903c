"""Write converted rows into their table, a chunk in a handful of statements.

Rows travel as one text per column that PostgreSQL splits: `unnest(string_to_array(...))`. COPY
would be somewhat faster, but psycopg2 refuses it on green connections. A temporary table then
meets the existing rows and tells new, changed and unchanged ones apart; the rest is INSERT and
UPDATE of whole sets.
"""

from collections.abc import Collection, Mapping, Sequence
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
    written: dict[int, UUID] = field(default_factory=dict)
    """The records of the rows that came in, where something is to be written beside them."""

    def add(self, other: "Outcome", offset: int = 0) -> None:
        """Count in another part of the chunk."""
        self.created += other.created
        self.updated += other.updated
        self.unchanged += other.unchanged
        self.failed |= {place + offset: why for place, why in other.failed.items()}
        self.created_ids += other.created_ids
        self.updated_ids += other.updated_ids
        self.written |= {place + offset: id for place, id in other.written.items()}


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
        loose: bool = False,
        defaults: Mapping[str, str] | None = None,
        pretended: Mapping[str, frozenset[str]] | None = None,
        beside: bool = False,
    ) -> None:
        self.importable = importable
        self.import_id = import_id
        self.table: Table = importable.table
        self.key = key
        self.clear_blanks = clear_blanks
        self.loose = loose
        """The key is a mere name: a row that says anything else than a record of its name is not
        about that one (`Importable.loose_keys`)."""
        self.defaults = defaults or {}
        """By column: what a new record has for want of a value."""
        self.pretended = pretended or {}
        """By column, where nothing is kept: ids of records that are not there."""
        self.beside = beside
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
                return Outcome(failed={0: self._refusal(error, columns)})
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
        parameters |= {f"default {name}": text for name, text in self.defaults.items()}
        connection.exec_driver_sql(
            _off(self.ways) + self._stage(session, names, parameters) + _on(self.ways), parameters
        )
        if told := [name for name in self.defaults if name in names]:
            given = ", ".join(f"{_quoted(name)} = {self._given(name)}" for name in told)
            connection.exec_driver_sql(
                f"UPDATE import_stage s SET {given} WHERE s._action = 'c'", parameters
            )
        # It is what a record is met by, and nothing to write.
        names = [name for name in names if name != "id"]
        outcome = Outcome()
        if self.own_id:
            unknown = connection.exec_driver_sql(
                "DELETE FROM import_stage WHERE _action = 'm' RETURNING _place"
            ).scalars()
            outcome.failed |= dict.fromkeys(unknown, _UNKNOWN)
        elif self.key is not None and not self.loose and self.key not in self.unique:
            several = connection.exec_driver_sql(
                "DELETE FROM import_stage WHERE _place IN (SELECT _place FROM import_stage"
                " GROUP BY _place HAVING count(*) > 1) RETURNING _place"
            ).scalars()
            for place in set(several):
                outcome.failed[place] = (
                    "ambiguous",
                    f"Several records have this {self._called(self.key)}",
                )
        if self.loose and self.importable.namesakes == "report":
            outcome.failed |= dict.fromkeys(self._taken_out(session, "s"), self._namesake())
        for name, message in self.importable.missing.items():
            if name in names:
                missing = self._without(session, name)
                outcome.failed |= dict.fromkeys(missing, ("missing", message))
        for rule in self.importable.rules:
            if rule.column in names:
                broken = self._breaking(session, names, parameters, rule.broken)
                outcome.failed |= dict.fromkeys(broken, (rule.code, rule.message))
        if self._peers(session) is not None:
            refused = connection.exec_driver_sql(
                "DELETE FROM import_stage WHERE _action IN ('h', 'o') RETURNING _place, _action"
            )
            for place, action in refused:
                outcome.failed[place] = self._taken(names) if action == "h" else OUT_OF_SIGHT
        counts: dict[str, int] = {}
        for action, count in connection.exec_driver_sql(
            "SELECT _action, count(*) FROM import_stage GROUP BY _action"
        ):
            counts[action] = count
        outcome.unchanged = counts.get("n", 0)
        outcome.created, outcome.updated = counts.get("c", 0), counts.get("u", 0)
        for name in self.pretended.keys() & set(names):
            connection.exec_driver_sql(
                f"UPDATE import_stage SET {_quoted(name)} = NULL"
                f" WHERE {_quoted(name)}::text = ANY(%(ids)s)",
                {"ids": list(self.pretended[name])},
            )
        if outcome.created:
            self._insert(session, names, parameters, outcome)
        if outcome.updated:
            self._update(session, names, parameters, outcome)
        if self.beside:
            outcome.written = self._written(session, outcome)
        connection.exec_driver_sql("DROP TABLE import_stage")
        return outcome

    @property
    def unique(self) -> frozenset[str]:
        """Fields whose values no two records share."""
        return self.importable.unique_keys

    @staticmethod
    def _taken_out(session: Session, action: str) -> Sequence[int]:
        """Leave the rows with this action out; their places."""
        return (
            session.connection()
            .exec_driver_sql(
                "DELETE FROM import_stage WHERE _action = %(action)s RETURNING _place",
                {"action": action},
            )
            .scalars()
            .all()
        )

    def _without(self, session: Session, name: str) -> Sequence[int]:
        """Leave the new rows out that have nothing for this column; their places."""
        given = f"s.{_quoted(name)}"
        if fallback := self.importable.on_insert.get(name):
            given = f"coalesce({given}, {fallback})"
        return (
            session.connection()
            .exec_driver_sql(
                f"DELETE FROM import_stage s WHERE s._action = 'c' AND {given} IS NULL"
                " RETURNING s._place"
            )
            .scalars()
            .all()
        )

    def _breaking(
        self, session: Session, names: Sequence[str], parameters: dict[str, object], broken: str
    ) -> list[int]:
        """Leave the rows out that break a rule; their places."""
        connection, table = session.connection(), _quoted(self.table.name)
        told = {name for name in self.table.c.keys() if f"{{{name}}}" in broken}  # noqa: SIM118
        made = {name: self._made(name, names) for name in told}
        kept = {n: self._new_value(n) if n in names else f"t.{_quoted(n)}" for n in told}
        found: list[int] = []
        for sql in (
            f"DELETE FROM import_stage s WHERE s._action = 'c' AND {broken.format(**made)}",
            f"DELETE FROM import_stage s USING {table} t WHERE s._action = 'u'"
            f" AND t.id = s._old_id AND {broken.format(**kept)}",
        ):
            found += connection.exec_driver_sql(f"{sql} RETURNING s._place", parameters).scalars()
        return found

    def _made(self, name: str, names: Sequence[str]) -> str:
        """SQL of what a new record has in a column."""
        fallback = self.importable.on_insert.get(name, "NULL").replace("%", "%%")
        return f"coalesce(s.{_quoted(name)}, {fallback})" if name in names else f"({fallback})"

    def _called(self, field: str) -> str:
        """What people call a field, within a sentence."""
        spec = next((f for f in self.importable.fields if f.name == field), None)
        if spec is None:
            return field
        label = spec.label["en"]
        return label if label.isupper() else f"{label[0].lower()}{label[1:]}"

    def _of_column(self, found: str) -> str:
        """What people call the field whose column the database names, or names a rule after."""
        columns = {spec.column or spec.name: spec.name for spec in self.importable.fields}
        named = [column for column in columns if column in found]
        return self._called(columns[max(named, key=len)]) if named else found

    def _taken(self, names: Collection[str]) -> tuple[str, str]:
        unique = [self._called(name) for name in sorted(self.unique & set(names))]
        return "taken", f"Another record has the same {' or '.join(unique) or 'value'}"

    def _namesake(self) -> tuple[str, str]:
        called = self._called(self.key or "")
        return (
            "namesake",
            f"The record of this {called} says something else: choose key={self.key} to change it,"
            " or create_only=true to add another",
        )

    def _refusal(
        self, error: IntegrityError | DataError, names: Collection[str]
    ) -> tuple[str, str]:
        """Why the database refused one row, without the values that its message quotes."""
        diagnosis = getattr(error.orig, "diag", None)
        state = getattr(error.orig, "pgcode", None) or ""
        where = (
            getattr(diagnosis, "column_name", None)
            or getattr(diagnosis, "constraint_name", None)
            or ""
        )
        what = self._of_column(where) or "A value"
        told = f"{what[0].upper()}{what[1:]}"
        kinds = {
            "23502": ("missing", f"{told} is required"),
            "23503": ("unknown_reference", f"{told} names a record that isn't there"),
            "23505": self._taken(names),
            "23514": ("not_allowed", f"{told} is not allowed to be so"),
            "22003": ("out_of_range", f"{told} is out of range"),
            "22001": ("too_long", f"{told} is too long"),
        }
        return kinds.get(state, ("refused", f"The database refuses the row ({where or state})"))

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
        if self.importable.read_as:
            read = {name: f"({sql})" for name, sql in self.importable.read_as.items()}
            every = ", ".join(f"{read.get(n, f's.{_quoted(n)}')} AS {_quoted(n)}" for n in names)
            incoming = f"SELECT s._place, s._new_id, {every} FROM ({incoming}) s"
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
        if self.loose:
            return self._stage_loosely(names, incoming, peers)
        column = "id" if self.own_id else self.key_column
        met = self._met(column)
        changed = self._changed(names)
        source = _quoted(table.name)
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

    def _stage_loosely(self, names: list[str], incoming: str, peers: list[str] | None) -> str:
        """Rows by a mere name: one that some record of its name says already, else a new one.

        What this very import has made is met by none of its rows: whether two of them are in one
        chunk must not matter.
        """
        source = _quoted(self.table.name)
        there = (
            f"{self._met(self.key_column)} AND NOT EXISTS (SELECT FROM import_changes c"
            " WHERE c.import_id = %(import)s::uuid AND c.record_id = t.id)"
        )
        new = ""
        if peers is not None:
            there += f" AND {self._owner('t')} = ANY(%(peers)s::uuid[])"
        if self.importable.namesakes == "report":
            new += f" WHEN t.id IS NULL AND EXISTS (SELECT FROM {source} t WHERE {there}) THEN 's'"
        if peers is not None:
            new += (
                f" WHEN t.id IS NULL THEN CASE {self._out_of_sight(names, new=True)} ELSE 'c' END"
            )
        return (
            "CREATE TEMP TABLE import_stage ON COMMIT DROP AS"
            " SELECT DISTINCT ON (s._place) s.*, t.id AS _old_id, t.version AS _old_version,"
            f" CASE{new} WHEN t.id IS NULL THEN 'c' ELSE 'n' END AS _action"
            f" FROM ({incoming}) s LEFT JOIN {source} t ON {there}"
            f" AND NOT {self._changed(names)} ORDER BY s._place, t.id; "
        )

    def _met(self, column: str) -> str:
        """SQL of whether a row is about a record."""
        usual = f"t.{_quoted(column)} = s.{_quoted(column)}"
        met = self.importable.match.get(self.key or "", usual).replace("%", "%%")
        return f"t.tenant_id = %(tenant)s::uuid AND {met}"

    def _changed(self, names: Sequence[str]) -> str:
        """SQL of whether a row changes the record that it meets."""
        told = self._told(names)
        after = ", ".join(self._new_value(name) for name in told)
        before = ", ".join(f"t.{_quoted(name)}" for name in told)
        return f"(ROW({after}) IS DISTINCT FROM ROW({before}))" if told else "false"

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
            given = self._given(self.owner) if self.owner in names else "NULL"
            after = f"coalesce({given}, %(user)s::uuid)"
        return f"WHEN NOT coalesce({after} = ANY(%(peers)s::uuid[]), false) THEN 'o'"

    def _given(self, name: str) -> str:
        """SQL of what a new record gets of the file, or by default."""
        given = f"s.{_quoted(name)}"
        if name not in self.defaults:
            return given
        type = self.table.c[name].type.compile(_DIALECT)
        return f"coalesce({given}, %(default {name})s::{type})"

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
        if self.clear_blanks and self.table.c[name].nullable and name not in self.defaults:
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
                outcome.failed[place] = self._taken(names)
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

    @staticmethod
    def _written(session: Session, outcome: Outcome) -> dict[int, UUID]:
        rows = session.connection().exec_driver_sql(
            "SELECT _place, coalesce(_old_id, _new_id) FROM import_stage"
            " WHERE _action IN ('c', 'u', 'n')"
        )
        return {place: UUID(str(id)) for place, id in rows if place not in outcome.failed}

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
