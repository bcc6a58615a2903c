"""What alike opportunities add up to, kept by the database as they change."""

from alembic import op

from liaison_kit.database.migrations import application_role, enable_tenancy

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ALIKE = (
    "tenant_id, pipeline_id, stage_id, status, owner_id, product_id, region, currency, probability"
)

# Every change adds rows, so that no two of them wait for each other; `fold_opportunity_sums` makes
# one of those that are alike.
TABLE = """
CREATE TABLE opportunity_sums (
    tenant_id uuid NOT NULL,
    pipeline_id uuid NOT NULL,
    stage_id uuid NOT NULL,
    status text NOT NULL,
    owner_id uuid,
    product_id uuid,
    region text,
    currency char(3),
    probability smallint,
    count bigint NOT NULL,
    amount numeric NOT NULL,
    days bigint NOT NULL,
    dated bigint NOT NULL,
    folded boolean NOT NULL DEFAULT false
)
"""

SUMMED = """
    count(*), coalesce(sum(amount_amount), 0), coalesce(sum(closed_on - engaged_on), 0),
    count(closed_on - engaged_on)
"""
TAKEN_AWAY = """
    -count(*), -coalesce(sum(amount_amount), 0), -coalesce(sum(closed_on - engaged_on), 0),
    -count(closed_on - engaged_on)
"""

# Statements that write many rows, as imports do, add one row for all that are alike.
ADD_UP = f"""
CREATE FUNCTION add_up_opportunities() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF TG_OP = 'INSERT' THEN
        INSERT INTO opportunity_sums ({ALIKE}, count, amount, days, dated)
        SELECT {ALIKE}, {SUMMED} FROM arrived GROUP BY {ALIKE};
    ELSE
        INSERT INTO opportunity_sums ({ALIKE}, count, amount, days, dated)
        SELECT {ALIKE}, {TAKEN_AWAY} FROM gone GROUP BY {ALIKE};
    END IF;
    RETURN NULL;
END $$
"""

_OF = "{0}." + ", {0}.".join(ALIKE.split(", "))
_ONE = (
    "({of}, {sign}1, {sign}coalesce({row}.amount_amount, 0),"
    " {sign}coalesce({row}.closed_on - {row}.engaged_on, 0),"
    " CASE WHEN {row}.closed_on - {row}.engaged_on IS NULL THEN 0 ELSE {sign}1 END)"
)

SHIFT = f"""
CREATE FUNCTION shift_opportunity_sums() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    INSERT INTO opportunity_sums ({ALIKE}, count, amount, days, dated)
    VALUES {_ONE.format(of=_OF.format("old"), row="old", sign="-")},
           {_ONE.format(of=_OF.format("new"), row="new", sign="")};
    RETURN NULL;
END $$
"""

_SUMMED_COLUMNS = (*ALIKE.split(", "), "amount_amount", "engaged_on", "closed_on")
_COLUMNS = (f"ROW({', '.join(f'{row}.{c}' for c in _SUMMED_COLUMNS)})" for row in ("old", "new"))

TRIGGERS = (
    "CREATE TRIGGER opportunities_arrived AFTER INSERT ON opportunities"
    " REFERENCING NEW TABLE AS arrived FOR EACH STATEMENT EXECUTE FUNCTION add_up_opportunities()",
    "CREATE TRIGGER opportunities_gone AFTER DELETE ON opportunities"
    " REFERENCING OLD TABLE AS gone FOR EACH STATEMENT EXECUTE FUNCTION add_up_opportunities()",
    "CREATE TRIGGER opportunities_shifted AFTER UPDATE ON opportunities FOR EACH ROW"
    f" WHEN ({' IS DISTINCT FROM '.join(_COLUMNS)}) EXECUTE FUNCTION shift_opportunity_sums()",
)

# With the owner's rights, because it folds every tenant's. A tenant whose sums hardly changed is
# left alone: what is folded is written anew.
FOLD = f"""
CREATE FUNCTION fold_opportunity_sums() RETURNS void LANGUAGE sql SECURITY DEFINER
SET search_path = public AS $$
    WITH changed AS (
        SELECT tenant_id FROM opportunity_sums WHERE NOT folded
        GROUP BY tenant_id HAVING count(*) >= 200
    ), gone AS (
        DELETE FROM opportunity_sums s USING changed c WHERE s.tenant_id = c.tenant_id
        RETURNING s.*
    )
    INSERT INTO opportunity_sums ({ALIKE}, count, amount, days, dated, folded)
    SELECT {ALIKE}, sum(count), sum(amount), sum(days), sum(dated), true FROM gone
    GROUP BY {ALIKE} HAVING sum(count) <> 0
$$
"""


def upgrade() -> None:
    op.execute(TABLE)
    op.execute("CREATE INDEX ix_opportunity_sums_tenant ON opportunity_sums (tenant_id)")
    op.execute(
        "CREATE INDEX ix_opportunity_sums_unfolded ON opportunity_sums (tenant_id) WHERE NOT folded"
    )
    enable_tenancy(op, "opportunity_sums")
    op.execute("LOCK TABLE opportunities IN SHARE ROW EXCLUSIVE MODE")
    op.execute(
        f"INSERT INTO opportunity_sums ({ALIKE}, count, amount, days, dated, folded)"
        f" SELECT {ALIKE}, {SUMMED}, true FROM opportunities GROUP BY {ALIKE}"
    )
    for statement in (ADD_UP, SHIFT, *TRIGGERS, FOLD):
        op.execute(statement)
    op.execute("REVOKE EXECUTE ON FUNCTION fold_opportunity_sums() FROM public")
    op.execute(f"GRANT EXECUTE ON FUNCTION fold_opportunity_sums() TO {application_role(op)}")
