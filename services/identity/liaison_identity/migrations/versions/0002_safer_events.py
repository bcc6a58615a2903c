"""Events survive crashes, refusals of the broker and another number of shards."""

from alembic import op

from liaison_kit.database.migrations import safer_events

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    safer_events(op)
