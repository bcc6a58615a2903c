"""Texts are searched as they are typed, and lists by name are in the order of people."""

from alembic import op

from liaison_kit.database.record_tables import folded_texts, sorted_texts

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    folded_texts(op)
    sorted_texts(op, "templates", "code", "name")
