"""Texts are searched as they are typed, and lists by name are in the order of people."""

from alembic import op

from liaison_kit.database.migrations import seen_view
from liaison_kit.database.record_tables import fold_again, folded_texts, sorted_texts

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    folded_texts(op)
    fold_again(op, "people", "search")
    fold_again(op, "companies", "search")
    fold_again(op, "owners", "folded")
    sorted_texts(op, "people", "last_name")
    sorted_texts(op, "companies", "name")
    seen_view(op, "companies", "companies", "name", "external_id", "name_order")
