"""The database keeps what people and companies are found by; domains are kept in their letters."""

import json

from alembic import op
from sqlalchemy import text

from liaison_kit.database.record_tables import kept_searches, searched
from liaison_sdk.types import in_letters

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    kept_searches(op)
    for table, names in (("people", ("first_name", "last_name")), ("companies", ("name",))):
        _spell_domains(table)
        searched(op, table, *names, "emails.address", "phones.number", refill=True)


def _spell_domains(table: str) -> None:
    """Files have brought in some as they are written in ASCII, by which nobody looks for them."""
    connection = op.get_bind()
    written = text(f"SELECT id, emails, keys FROM {table} WHERE search LIKE '%xn--%'")
    spelt = text(
        f"UPDATE {table} SET emails = CAST(:emails AS jsonb), keys = CAST(:keys AS text[])"
        " WHERE id = :id"
    )
    for id, emails, keys in connection.execute(written).all():
        named = [each | {"address": in_letters(each["address"])} for each in emails]
        values = {"id": id, "emails": json.dumps(named), "keys": [in_letters(key) for key in keys]}
        connection.execute(spelt, values)
