"""Runs of flows follow records that are merged or erased, and go when they ended long ago."""

from alembic import op

from liaison_kit.flows.tables import following_runs, tidied_runs

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    following_runs(op)
    tidied_runs(op)
