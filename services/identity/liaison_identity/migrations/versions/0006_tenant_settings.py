"""A tenant has a time zone, a country, a currency and a language.

Those that there are get what a new one gets; their language is that of who set them up.
"""

from alembic import op

from liaison_kit.database.migrations import tenant_settings_table

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "ALTER TABLE tenants ADD COLUMN time_zone text NOT NULL DEFAULT 'UTC',"
        " ADD COLUMN country text,"
        " ADD COLUMN currency text NOT NULL DEFAULT 'EUR',"
        " ADD COLUMN language text NOT NULL DEFAULT 'en',"
        " ADD COLUMN version bigint NOT NULL DEFAULT 1,"
        " ADD COLUMN updated_at timestamptz NOT NULL DEFAULT now(),"
        " ADD COLUMN updated_by uuid"
    )
    op.execute(
        "UPDATE tenants AS t SET language = first.locale FROM"
        " (SELECT DISTINCT ON (tenant_id) tenant_id, locale FROM users"
        " ORDER BY tenant_id, created_at, id) AS first"
        " WHERE first.tenant_id = t.id AND first.locale <> t.language"
    )
    tenant_settings_table(op)
