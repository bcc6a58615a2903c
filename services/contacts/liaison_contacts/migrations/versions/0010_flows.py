"""What happens step by step over days: definitions, runs, what they wait for, their log."""

from alembic import op

from liaison_kit.flows.tables import flow_tables

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    flow_tables(op)
