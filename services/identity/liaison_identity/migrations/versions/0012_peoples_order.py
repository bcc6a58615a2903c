"""Texts are searched as they are typed, and lists by name are in the order of people."""

from alembic import op

from liaison_kit.database.record_tables import fold_again, folded_texts, sorted_texts

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    folded_texts(op)
    fold_again(op, "users", "search")
    sorted_texts(op, "users", "name", "email")
    sorted_texts(op, "teams", "name", "region")
    sorted_texts(op, "roles", "name")
