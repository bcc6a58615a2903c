"""What migrations make tables of records with: each call is what one declaration asks for.

`python -m liaison_kit.new_migration` writes these calls, with the columns as the models have them;
what they do to a database must never change, for they are run again wherever Liaison is new.

What a record is found by is kept by the database (`searched`): whoever writes the row, its text is
of its columns as they are. Where the columns change, the text of rows that are there is made anew
by `refill_searches`, a bounded number a minute, so that no migration holds a large table.
"""

from sqlalchemy import text

from liaison_kit.database.migrations import (
    RECORD_COLUMNS,
    Op,
    application_role,
    enable_tenancy,
    record_indexes,
    search_view,
    seen_view,
)
from liaison_kit.database.tables import ORDER
from liaison_kit.records.search import TWINS

REFILLED = 20_000
"""How many rows' texts are made anew in one transaction."""

_SEEN = "".join(signs for plain, signs in TWINS.items() if plain)
_TYPED = "".join(plain * len(signs) for plain, signs in TWINS.items()).replace("'", "''")
_MARKS = r"[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe20-\ufe2f]+"
_FOLD = f"""
CREATE OR REPLACE FUNCTION fold_text(said text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
    SELECT CASE WHEN octet_length(said) = length(said) THEN lower(said) ELSE
        translate(replace(replace(replace(replace(replace(replace(
            lower(regexp_replace(normalize(translate(said, '{_SEEN}{TWINS[""]}', '{_TYPED}'),
                NFKD), '{_MARKS}', '', 'g')),
            'ß', 'ss'), 'ẞ', 'ss'), 'æ', 'ae'), 'Æ', 'ae'), 'œ', 'oe'), 'Œ', 'oe'),
            'øØđĐłŁıς', 'ooddlliσ') END
$$
"""
"""As `records.search.fold` does, by which is searched: a test holds the two together."""

_SEARCHES = f"""
CREATE TABLE search_refills (
    table_name text PRIMARY KEY,
    after uuid
);

CREATE FUNCTION refill_searches() RETURNS void LANGUAGE plpgsql SECURITY DEFINER
SET search_path = public AS $$
DECLARE
    due search_refills;
    last uuid;
BEGIN
    SELECT * INTO due FROM search_refills ORDER BY table_name LIMIT 1 FOR UPDATE SKIP LOCKED;
    IF NOT FOUND THEN
        RETURN;
    END IF;
    EXECUTE format(
        'WITH batch AS MATERIALIZED (SELECT id FROM %1$I WHERE $1 IS NULL OR id > $1'
        ' ORDER BY id LIMIT {REFILLED} FOR NO KEY UPDATE),'
        ' done AS (UPDATE %1$I t SET search = t.search FROM batch WHERE t.id = batch.id)'
        ' SELECT id FROM batch ORDER BY id DESC LIMIT 1', due.table_name)
    INTO last USING due.after;
    IF last IS NULL THEN
        DELETE FROM search_refills WHERE table_name = due.table_name;
    ELSE
        UPDATE search_refills SET after = last WHERE table_name = due.table_name;
    END IF;
END $$;

REVOKE EXECUTE ON FUNCTION refill_searches() FROM public;

{_FOLD}
"""


def kept_searches(op: Op) -> None:
    """What search texts are made by, and where it is kept whose are to be made anew.

    The table is the owner's alone: it holds nothing of any tenant's.
    """
    for statement in _SEARCHES.split(";\n\n"):
        op.execute(statement)
    op.execute(f"GRANT EXECUTE ON FUNCTION refill_searches() TO {application_role(op)}")


def folded_texts(op: Op) -> None:
    """What texts are searched and sorted by: without case and accents, as people type them."""
    op.execute(_FOLD)


def fold_again(op: Op, table: str, column: str) -> None:
    """Fold what was folded by an earlier release."""
    op.execute(
        f"UPDATE {table} SET {column} = fold_text({column}) WHERE {column} <> fold_text({column})"
    )


def record_table(op: Op, table: str, *columns: str) -> None:
    """A table of records: what every record has, then these columns."""
    _create(op, table, RECORD_COLUMNS, *columns)
    record_indexes(op, table)


def kept_table(op: Op, table: str, *columns: str, kind: str | None = None) -> None:
    """The table of a kept copy, and the view of those that are there.

    Where rules are about their rows, as `kind` of record, they are those that somebody may see.
    """
    base = "id uuid PRIMARY KEY, tenant_id uuid NOT NULL, name text NOT NULL, folded text NOT NULL"
    _create(op, table, base, "removed boolean NOT NULL", "version bigint NOT NULL", *columns)
    op.execute(f"CREATE INDEX ix_{table}_folded ON {table} (tenant_id, folded)")
    names = ("name", "folded", "version", *(column.split()[0] for column in columns))
    if kind is not None:
        seen_view(op, table, kind, *names, where="NOT removed")
        return
    op.execute(
        f"CREATE VIEW present_{table} WITH (security_invoker) AS"
        f" SELECT id, tenant_id, {', '.join(names)} FROM {table} WHERE NOT removed"
    )
    op.execute(f"GRANT SELECT ON present_{table} TO {application_role(op)}")


def tenant_table(op: Op, table: str, *columns: str) -> None:
    """A table whose rows are a tenant's and no records: all of its columns, and its key."""
    _create(op, table, *columns)


def add_column(op: Op, table: str, column: str) -> None:
    """A column that the release before does not know of: empty, or with a default."""
    op.execute(f"ALTER TABLE {table} ADD COLUMN {column}")
    found = op.get_bind().scalar(text(f"SELECT to_regclass('{table}_found') IS NOT NULL"))
    if found:
        search_view(op, table)


def index(op: Op, table: str, *columns: str) -> None:
    """The index of lists of a tenant's rows by these columns, called after the first."""
    name = f"ix_{table}_{columns[0].split()[0]}"
    op.execute(f"CREATE INDEX IF NOT EXISTS {name} ON {table} (tenant_id, {', '.join(columns)})")


def amounts(op: Op, table: str, column: str, currency: str) -> None:
    """Let amounts that had two decimals have those of their currency: JPY has none, KWD three.

    No row is written anew but those whose currency has none.
    """
    triggers = op.get_bind().execute(text(_TRIGGERS), {"table": table}).all()
    for name, _ in triggers:
        op.execute(f"DROP TRIGGER {name} ON {table}")
    op.execute(f"DROP VIEW IF EXISTS {table}_found")
    op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} TYPE numeric")
    op.execute(
        f"UPDATE {table} SET {column} = round({column})"
        f" WHERE {currency} IN ({_WITHOUT_MINOR_UNITS}) AND {column} = round({column})"
    )
    for _, definition in triggers:
        op.execute(definition)
    search_view(op, table)


_TRIGGERS = """
SELECT tgname, pg_get_triggerdef(oid) FROM pg_trigger
 WHERE tgrelid = CAST(:table AS regclass) AND NOT tgisinternal
"""
_WITHOUT_MINOR_UNITS = """
    'BIF', 'CLP', 'DJF', 'GNF', 'ISK', 'JPY', 'KMF', 'KRW', 'PYG', 'RWF', 'UGX', 'UYI', 'VND',
    'VUV', 'XAF', 'XOF', 'XPF'
"""


def sorted_texts(op: Op, table: str, *columns: str) -> None:
    """What lists are sorted by: each of these texts folded, in an index.

    Folded letters are compared by code point, whatever the server's locale is: they sort alike
    everywhere, and no other version of a library makes the index wrong.

    It takes the place of an index by code point: the lists of the release before sort without one.
    """
    for column in columns:
        order = f"{column}{ORDER}"
        op.execute(
            f'ALTER TABLE {table} ADD COLUMN {order} text COLLATE "C"'
            f" GENERATED ALWAYS AS (fold_text({column})) STORED"
        )
        op.execute(f"DROP INDEX IF EXISTS ix_{table}_{column}")
        op.execute(f"CREATE INDEX ix_{table}_{column} ON {table} (tenant_id, {order}, id)")
    found = op.get_bind().scalar(text(f"SELECT to_regclass('{table}_found') IS NOT NULL"))
    if found:
        search_view(op, table)


def searched(op: Op, table: str, *columns: str, refill: bool = False) -> None:
    """Have the database keep what records are found by: these columns of theirs.

    `emails.address` is that part of each object of a list, `phones.number` the digits of each. Such
    texts are dear to make row by row, so who writes many rows may give them; see `search_source`.

    Of a table that has rows, `refill` makes their texts anew, after the migration and by and by.
    """
    op.execute(
        f"CREATE OR REPLACE FUNCTION search_{table}() RETURNS trigger LANGUAGE plpgsql"
        f" AS $${search_source(columns)}$$"
    )
    op.execute(
        f"CREATE OR REPLACE TRIGGER search_{table} BEFORE INSERT OR UPDATE ON {table}"
        f" FOR EACH ROW EXECUTE FUNCTION search_{table}()"
    )
    op.execute(
        f"CREATE INDEX IF NOT EXISTS ix_{table}_search ON {table} USING gin (search gin_trgm_ops)"
    )
    search_view(op, table)
    if refill:
        op.execute(
            f"INSERT INTO search_refills (table_name) VALUES ('{table}')"
            " ON CONFLICT (table_name) DO UPDATE SET after = NULL"
        )


def search_source(columns: tuple[str, ...]) -> str:
    """The body of the function that makes the text; each word follows a space.

    Where parts of lists are in it, a space is behind each word, too, so that a whole address or
    number can be looked for, and a text that is given with a row, as an import gives it, is kept.
    """
    parts = ", ".join(map(_searched_part, columns))
    text = f"' ' || fold_text(concat_ws(' ', {parts}))"
    if not any("." in column for column in columns):
        return f"""
BEGIN
    NEW.search := {text};
    RETURN NEW;
END """
    return f"""
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF btrim(NEW.search) <> '' THEN
            RETURN NEW;
        END IF;
    ELSIF NEW.search <> OLD.search THEN
        RETURN NEW;
    END IF;
    NEW.search := {text} || ' ';
    RETURN NEW;
END """


def _searched_part(column: str) -> str:
    """SQL of what one column gives to the text; lists in one pass, which takes half as long."""
    name, _, part = column.partition(".")
    if not part:
        return f"NULLIF(NEW.{name}, '')"
    each = f"jsonb_path_query_array(NEW.{name}, '$[*].{part}')::text"
    if part == "number":
        # Without its extension, as ` x12`.
        bare = f"""regexp_replace({each}, ' x[^"]*|[^0-9"]', '', 'g')"""
        return f"""NULLIF(btrim(translate({bare}, '"', ' ')), '')"""
    return f"""NULLIF(btrim(translate({each}, '[]",', '')), '')"""


def _create(op: Op, table: str, *columns: str) -> None:
    op.execute(f"CREATE TABLE {table} ({', '.join(columns)})")
    enable_tenancy(op, table)
