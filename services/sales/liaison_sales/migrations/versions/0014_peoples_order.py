"""Texts are searched as they are typed, and lists by name are in the order of people."""

from alembic import op

from liaison_kit.database.record_tables import fold_again, folded_texts, sorted_texts

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    folded_texts(op)
    fold_again(op, "products", "search")
    fold_again(op, "opportunities", "search")
    fold_again(op, "reps", "folded")
    fold_again(op, "accounts", "folded")
    sorted_texts(op, "products", "name")
    sorted_texts(op, "pipelines", "name")
    sorted_texts(op, "opportunities", "name")
