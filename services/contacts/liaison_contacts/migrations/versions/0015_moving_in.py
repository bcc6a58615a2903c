"""People have more to be known by, the relation more stages, and mappings are kept."""

from alembic import op

from liaison_kit.database.record_tables import add_column
from liaison_kit.imports.models import mapping_tables

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    mapping_tables(op)
    add_column(op, "people", "salutation text")
    add_column(op, "people", "middle_name text")
    add_column(op, "people", "suffix text")
    add_column(op, "people", "department text")
    add_column(op, "people", "birthday date")
    add_column(op, "people", "languages text[] DEFAULT '{}' NOT NULL")
    add_column(op, "people", "websites text[] DEFAULT '{}' NOT NULL")
    # The release before goes on to write what it knows, as long as it runs beside this one.
    op.execute("""
        CREATE FUNCTION stage_as_now() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN
            NEW.stage := 'churned';
            RETURN NEW;
        END $$
    """)
    for table in ("people", "companies"):
        op.execute(
            f"CREATE TRIGGER stage_as_now BEFORE INSERT OR UPDATE OF stage ON {table}"
            " FOR EACH ROW WHEN (NEW.stage = 'former_customer') EXECUTE FUNCTION stage_as_now()"
        )
        op.execute(f"UPDATE {table} SET stage = 'churned' WHERE stage = 'former_customer'")
