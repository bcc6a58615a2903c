"""To take a list out as a file is a right of its own.

Until now it came with seeing the list: what roles and tokens could do, they can do still, until
somebody takes it from them. Only tenants that are new get roles without it.
"""

from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

EXPORTED = ("contacts", "companies", "opportunities", "products", "pipelines")


def upgrade() -> None:
    """Give it with what it was part of."""
    listed = ", ".join(f"'{record}'" for record in EXPORTED)
    gained = f"""
        SELECT r || '\\:export' FROM unnest(ARRAY[{listed}]) AS r
        WHERE r || '\\:read' = ANY(permissions) AND r || '\\:export' <> ALL(permissions)
    """
    for table, more in (("roles", ", version = version + 1, updated_at = now()"), ("tokens", "")):
        op.execute(
            f"UPDATE {table} SET permissions = ARRAY("
            f"SELECT unnest(permissions) UNION {gained} ORDER BY 1){more}"
            f" WHERE EXISTS ({gained})"
        )
