"""A letter with a link that could not be delivered says why."""

from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add where the reason goes."""
    op.execute("ALTER TABLE password_links ADD COLUMN failed text")
