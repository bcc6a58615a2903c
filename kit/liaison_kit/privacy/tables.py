"""The tables behind merging and erasing, and the triggers by which late arrivals find their way.

`moved_ids` keeps for each record that was merged into which, and of one that was erased that there
is none. A trigger on every column that points at such records looks there, whoever writes: an
event that comes late, a row of an import, a record out of the trash. `repointed` keeps what a merge
has moved, row by row, so that its undoing moves those and no others.

A writer that has looked and not committed yet would be missed by a merge at that moment. So writers
share a lock on a slot of the id that they point at, and a merge holds that slot alone.
"""

from liaison_kit.database.migrations import Op, enable_tenancy

LOCK = 0x4C49
SLOTS = 1024

_TABLES = """
CREATE TABLE moved_ids (
    id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL,
    into_id uuid,
    request_id uuid NOT NULL
);

CREATE INDEX ix_moved_ids_into ON moved_ids (into_id) WHERE into_id IS NOT NULL;

CREATE TABLE repointed (
    tenant_id uuid NOT NULL,
    request_id uuid NOT NULL,
    place text NOT NULL,
    key jsonb NOT NULL,
    PRIMARY KEY (request_id, place, key)
)
"""

_DELETED = """
            DELETE FROM unlinked_records WHERE place = '{table}.{column}' AND row_id = NEW.id;
            IF EXISTS (SELECT FROM gone_records WHERE id = NEW.{column} AND gone) THEN
                INSERT INTO unlinked_records (tenant_id, place, row_id, gone_id)
                VALUES (NEW.tenant_id, '{table}.{column}', NEW.id, NEW.{column});
                NEW.{column} := NULL;
            END IF;
"""
"""What was deleted is pointed at by nothing, until it is back (`liaison_kit.records.links`)."""


def privacy_tables(op: Op) -> None:
    """Where a service keeps which records have moved, as one of its migrations makes it."""
    for statement in _TABLES.split(";\n\n"):
        op.execute(statement)
    for table in ("moved_ids", "repointed"):
        enable_tenancy(op, table)


def lands(
    op: Op, table: str, column: str, *keys: str, goes_with: bool = False, refused: bool = False
) -> None:
    """Have what points at a record that was merged point at the survivor.

    What would point at one that was erased or deleted points at nothing; a row that goes with one
    that was erased is not written, or `refused`.
    """
    landing(op, table, column, *keys, goes_with=goes_with, refused=refused)
    name = f"land_{table}_{column}"
    for when, condition in (
        (f"INSERT ON {table}", f"NEW.{column} IS NOT NULL"),
        (
            f"UPDATE OF {column} ON {table}",
            f"NEW.{column} IS NOT NULL AND NEW.{column} IS DISTINCT FROM OLD.{column}",
        ),
    ):
        verb = when.partition(" ")[0].lower()
        op.execute(
            f"CREATE TRIGGER {name}_{verb} BEFORE {when} FOR EACH ROW"
            f" WHEN ({condition}) EXECUTE FUNCTION {name}()"
        )


def landing(
    op: Op, table: str, column: str, *keys: str, goes_with: bool = False, refused: bool = False
) -> None:
    """What the triggers of `lands` do; a later migration replaces what an earlier one made."""
    name = f"land_{table}_{column}"
    gone = f"NEW.{column} := NULL; RETURN NEW;"
    if refused:
        gone = "RAISE foreign_key_violation USING MESSAGE = 'what this points at was erased';"
    elif goes_with:
        gone = "RETURN NULL;"
    key = ", ".join(f"'{each}', NEW.{each}" for each in keys or ("id",))
    # A row of another key than its id goes with what it points at.
    deleted = "" if goes_with or keys else _DELETED.format(table=table, column=column)
    op.execute(f"""
        CREATE OR REPLACE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql AS $$
        DECLARE
            moved record;
            steps integer := 0;
        BEGIN
            PERFORM pg_advisory_xact_lock_shared(
                {LOCK}, abs(hashtext(NEW.{column}\\:\\:text) % {SLOTS}));
            LOOP
                SELECT into_id, request_id INTO moved FROM moved_ids WHERE id = NEW.{column};
                EXIT WHEN NOT FOUND;
                steps := steps + 1;
                IF steps > 1000 THEN
                    RAISE 'merged in a circle: %', NEW.{column};
                END IF;
                IF moved.into_id IS NULL THEN
                    {gone}
                END IF;
                NEW.{column} := moved.into_id;
                INSERT INTO repointed (tenant_id, request_id, place, key)
                VALUES (NEW.tenant_id, moved.request_id, '{table}.{column}',
                        jsonb_build_object({key}))
                ON CONFLICT DO NOTHING;
            END LOOP;
            {deleted}
            RETURN NEW;
        END $$
    """)
