"""What migrations are written with: tenancy, search views, the kit's own tables; and their runner.

A service's database belongs to a role that migrates; the service works as another, which owns
nothing, so that row-level security binds it.
"""

import contextlib
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from typing import Any, Protocol

import psycopg2
from alembic import command
from alembic.config import Config
from psycopg2 import sql
from psycopg2.extensions import encrypt_password
from sqlalchemy import create_engine, text
from sqlalchemy.engine import URL, Connection

from liaison_kit import sight
from liaison_kit.events.tables import EVENT_TABLE_NAMES, SAFER_EVENTS_NAMES, safer_statements
from liaison_kit.events.tables import statements as event_tables
from liaison_kit.timers import tables as timers

EXTENSIONS = ("pg_trgm", "unaccent", "btree_gin")
SERVICES = "liaison.services"


def services() -> dict[str, str]:
    """The installed services: name to `module:Class`."""
    return {entry.name: entry.value for entry in metadata.entry_points(group=SERVICES)}


@dataclass(frozen=True, slots=True)
class Roles:
    """The two roles of a service's database: who owns the tables, and who the service works as.

    Each has a password of its own; both addresses name the same server and database.
    """

    owner: URL
    service: URL

    @property
    def database(self) -> str:
        """The database's name."""
        return str(self.owner.database)


def prepare(server: URL, roles: Roles) -> None:
    """Create the roles and the database where they are missing; needs the server's rights.

    The passwords are set each time, so that they can be changed.
    """
    arguments = _plain(server)
    database = roles.database
    with contextlib.closing(psycopg2.connect(arguments)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for role in (roles.owner, roles.service):
                cursor.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", (role.username,))
                verb = "ALTER" if cursor.fetchone() else "CREATE"
                cursor.execute(
                    sql.SQL(verb + " ROLE {} LOGIN NOBYPASSRLS PASSWORD {}").format(
                        sql.Identifier(str(role.username)), sql.Literal(_verifier(cursor, role))
                    )
                )
            cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", (database,))
            if cursor.fetchone() is None:
                cursor.execute(
                    sql.SQL(
                        "CREATE DATABASE {} OWNER {} TEMPLATE template0 ENCODING 'UTF8'"
                    ).format(sql.Identifier(database), sql.Identifier(str(roles.owner.username)))
                )
            # By default every role may enter every database and see the names of its tables.
            cursor.execute(
                sql.SQL("REVOKE ALL ON DATABASE {} FROM PUBLIC").format(sql.Identifier(database))
            )
            cursor.execute(
                sql.SQL("GRANT CONNECT, TEMPORARY ON DATABASE {} TO {}").format(
                    sql.Identifier(database), sql.Identifier(str(roles.service.username))
                )
            )
    inside = server.set(database=database)
    with contextlib.closing(psycopg2.connect(_plain(inside))) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            for extension in EXTENSIONS:
                cursor.execute(
                    sql.SQL("CREATE EXTENSION IF NOT EXISTS {}").format(sql.Identifier(extension))
                )
            cursor.execute(
                sql.SQL("GRANT USAGE ON SCHEMA public TO {}").format(
                    sql.Identifier(str(roles.service.username))
                )
            )
            cursor.execute(
                sql.SQL("ALTER SCHEMA public OWNER TO {}").format(
                    sql.Identifier(str(roles.owner.username))
                )
            )


def _plain(url: URL) -> str:
    return url.set(drivername="postgresql").render_as_string(hide_password=False)


def _verifier(cursor: Any, role: URL) -> str:
    """The password as PostgreSQL keeps it: no statement, and so no log, has it in clear."""
    kept: str = encrypt_password(role.password, role.username, cursor.connection, "scram-sha-256")
    return kept


def migrate(service: str, owner: URL, revision: str = "head") -> None:
    """Bring one service's database to a revision; several at once wait for each other."""
    package = import_module(services()[service].partition(":")[0].rpartition(".")[0])
    config = Config()
    config.set_main_option(
        "script_location", str(Path(str(package.__file__)).parent / "migrations")
    )
    engine = create_engine(owner)
    try:
        with engine.connect() as connection:
            connection.execute(text("SELECT pg_advisory_lock(hashtext('liaison.migrate'))"))
            connection.commit()
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
            connection.commit()
    finally:
        engine.dispose()


def run_environment() -> None:
    """What a service's `migrations/env.py` does."""
    from alembic import context

    connection: Connection = context.config.attributes["connection"]
    context.configure(connection=connection, transaction_per_migration=True)
    with context.begin_transaction():
        context.run_migrations()


# --- for the migrations themselves -------------------------------------------------------------

_TENANT = "NULLIF(current_setting('liaison.tenant', true), '')::uuid"


class Op(Protocol):
    """Alembic's operations: an object, or the module `op` that migrations know."""

    def execute(self, sqltext: str, /) -> None:
        """Run one statement."""

    def get_bind(self) -> Connection:
        """The connection that it runs on."""


def application_role(op: Op) -> str:
    """The role that the service works as."""
    return str(op.get_bind().engine.url.database)


def enable_tenancy(op: Op, table: str) -> None:
    """Show each tenant its own rows only, and let the service's role work on them."""
    op.execute(f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
    op.execute(
        f"CREATE POLICY tenant ON {table} USING (tenant_id = {_TENANT})"
        f" WITH CHECK (tenant_id = {_TENANT})"
    )
    grant(op, table)


def grant(op: Op, table: str) -> None:
    """Let the service's role work on a table."""
    op.execute(f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {application_role(op)}")


def search_view(op: Op, table: str) -> None:
    """A view of the tenant's rows whose searches may use every index.

    LIKE and array operators are not leakproof, so under a policy PostgreSQL keeps them out of
    indexes. The view belongs to the owner, whom the policy does not bind, and has the same
    condition itself.
    """
    op.execute(
        f"CREATE OR REPLACE VIEW {table}_found AS SELECT * FROM {table} WHERE tenant_id = {_TENANT}"
    )
    op.execute(f"GRANT SELECT ON {table}_found TO {application_role(op)}")


def seen_view(
    op: Op, table: str, kind: str, *columns: str, source: str | None = None, where: str = "true"
) -> None:
    """`seen_<table>`: the rows of a kind of record that the person who asks may see.

    What shows or takes a record of another kind reads it there: its name beside an id, a reference.
    """
    seen = sight.condition(f"'{kind}:read'", f"'{kind}'", "owner_id")
    listed = ", ".join(("id", "tenant_id", *columns))
    op.execute(
        f"CREATE OR REPLACE VIEW seen_{table} WITH (security_invoker) AS"
        f" SELECT {listed} FROM {source or table} WHERE {where} AND {seen}"
    )
    op.execute(f"GRANT SELECT ON seen_{table} TO {application_role(op)}")


def record_indexes(op: Op, table: str) -> None:
    """The indexes that every record has: external id, and the order of last change."""
    op.execute(
        f"CREATE UNIQUE INDEX uq_{table}_external_id ON {table} (tenant_id, external_id)"
        " WHERE external_id IS NOT NULL"
    )
    op.execute(f"CREATE INDEX ix_{table}_updated ON {table} (tenant_id, updated_at, id)")


RECORD_COLUMNS = """
    id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL,
    external_id text,
    version bigint NOT NULL,
    custom jsonb NOT NULL DEFAULT '{}',
    created_at timestamptz NOT NULL,
    created_by uuid,
    updated_at timestamptz NOT NULL,
    updated_by uuid
"""


def kit_tables(op: Op) -> None:
    """The kit's own tables, as each service's first migration makes them."""
    for statement in KIT_TABLES.split(";\n\n"):
        op.execute(statement)
    for table in ("custom_fields", "history", "idempotency_keys", "file_parts", "jobs"):
        enable_tenancy(op, table)
    for statement in event_tables():
        op.execute(statement)
    for table in EVENT_TABLE_NAMES:
        grant(op, table)
    role = application_role(op)
    # Workers look for jobs of every tenant: they see this much of them, through the owner's view.
    op.execute(
        "CREATE VIEW job_queue AS SELECT id, tenant_id, status, worker, leased_until, attempts,"
        " started_at FROM jobs WHERE status IN ('queued', 'running')"
    )
    op.execute(f"GRANT SELECT, UPDATE ON job_queue TO {role}")
    op.execute(TIDY)
    op.execute("REVOKE EXECUTE ON FUNCTION tidy() FROM public")
    op.execute(f"GRANT EXECUTE ON FUNCTION tidy() TO {role}")


def safer_events(op: Op) -> None:
    """What events need to survive crashes, refusals of the broker and other numbers of shards."""
    for statement in safer_statements():
        op.execute(statement)
    for table in SAFER_EVENTS_NAMES:
        grant(op, table)


def timer_tables(op: Op) -> None:
    """What is to run later, and how whoever runs it sees that of every tenant."""
    for statement in timers.statements():
        op.execute(statement)
    enable_tenancy(op, "timers")
    op.execute(timers.QUEUE)
    op.execute(f"GRANT SELECT, UPDATE ON timer_queue TO {application_role(op)}")


TENANT_SETTINGS = """
CREATE TABLE tenant_settings (
    tenant_id uuid PRIMARY KEY,
    time_zone text NOT NULL,
    country text,
    currency text NOT NULL,
    language text NOT NULL,
    version bigint NOT NULL
)
"""


def tenant_settings_table(op: Op) -> None:
    """What a service keeps of its tenants, and which ones it has been told of."""
    op.execute(TENANT_SETTINGS)
    enable_tenancy(op, "tenant_settings")
    # Whoever sets the timers that a service has for every tenant has to know all of them.
    op.execute("CREATE VIEW known_tenants AS SELECT tenant_id FROM tenant_settings")
    op.execute(f"GRANT SELECT ON known_tenants TO {application_role(op)}")


def changing_custom_fields(op: Op) -> None:
    """What added fields need to be changed, and to be taken away with their values."""
    op.execute(
        "ALTER TABLE custom_fields ADD COLUMN version bigint NOT NULL DEFAULT 1,"
        " ADD COLUMN updated_at timestamptz, ADD COLUMN removed_at timestamptz,"
        " ADD COLUMN swept_to uuid, ADD COLUMN choice_labels jsonb NOT NULL DEFAULT '{}'"
    )


# With the owner's rights, because it clears up for every tenant; a bounded batch each time.
TIDY = """
CREATE FUNCTION tidy() RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = public AS $$
    SELECT gin_clean_pending_list(i.indexrelid) FROM pg_index i
        JOIN pg_class c ON c.oid = i.indexrelid JOIN pg_am a ON a.oid = c.relam
        JOIN pg_namespace n ON n.oid = c.relnamespace
        WHERE a.amname = 'gin' AND n.nspname = 'public';
    DELETE FROM file_parts WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM file_parts
        WHERE NOT claimed AND created_at < now() - interval '1 day' LIMIT 1000));
    DELETE FROM idempotency_keys WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM idempotency_keys WHERE created_at < now() - interval '1 day' LIMIT 5000));
$$
"""

KIT_TABLES = """
CREATE TABLE custom_fields (
    id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL,
    record text NOT NULL,
    name text NOT NULL,
    kind text NOT NULL,
    label_en text NOT NULL,
    label_fr text NOT NULL,
    choices text[] NOT NULL,
    required boolean NOT NULL,
    personal boolean NOT NULL,
    created_at timestamptz NOT NULL,
    UNIQUE (tenant_id, record, name)
);

CREATE TABLE history (
    id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL,
    record text NOT NULL,
    record_id uuid NOT NULL,
    version bigint NOT NULL,
    action text NOT NULL,
    at timestamptz NOT NULL,
    by uuid,
    changes jsonb NOT NULL
);

CREATE INDEX ix_history_record ON history (tenant_id, record_id, at);

CREATE INDEX ix_history_removed ON history (tenant_id, record, record_id) WHERE action = 'removed';

CREATE TABLE idempotency_keys (
    tenant_id uuid NOT NULL,
    user_id uuid NOT NULL,
    key text NOT NULL,
    fingerprint text NOT NULL,
    status integer,
    headers jsonb,
    body bytea,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (tenant_id, user_id, key)
);

CREATE TABLE file_parts (
    tenant_id uuid NOT NULL,
    file_id uuid NOT NULL,
    part integer NOT NULL,
    body bytea NOT NULL,
    claimed boolean NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (file_id, part)
);

CREATE INDEX ix_file_parts_unclaimed ON file_parts (created_at) WHERE NOT claimed;

CREATE INDEX ix_idempotency_keys_created ON idempotency_keys (created_at);

CREATE TABLE jobs (
    id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL,
    kind text NOT NULL,
    title text NOT NULL,
    about_id uuid,
    arguments jsonb NOT NULL,
    checkpoint jsonb NOT NULL,
    principal jsonb,
    traceparent text,
    status text NOT NULL,
    done bigint NOT NULL,
    total bigint,
    error text,
    cancel boolean NOT NULL,
    attempts integer NOT NULL,
    worker uuid,
    leased_until timestamptz,
    created_at timestamptz NOT NULL,
    created_by uuid,
    started_at timestamptz,
    ended_at timestamptz
);

CREATE INDEX ix_jobs_waiting ON jobs (id) WHERE status IN ('queued', 'running');

CREATE INDEX ix_jobs_tenant ON jobs (tenant_id, id)
"""
