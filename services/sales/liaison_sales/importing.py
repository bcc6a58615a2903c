"""What files may bring in: a catalogue of products, a book of opportunities.

Users and companies are found in what is kept here of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from sqlalchemy import Table, select, text
from sqlalchemy.orm import Session

from liaison_kit.context import context
from liaison_kit.copies import ids_among
from liaison_kit.database.tables import Base
from liaison_kit.events.outbox import emit
from liaison_kit.events.resend import BATCH
from liaison_kit.imports.drawing import Drawn
from liaison_kit.imports.fields import USUAL, Batch, Importable, ImportField, Rule
from liaison_kit.imports.references import CannotCreate, one_each
from liaison_kit.records.search import fold
from liaison_sales import metrics, pipelines, products, telling
from liaison_sales.accounts import ACCOUNTS
from liaison_sales.models import Opportunity, Product, Stage
from liaison_sales.opportunities import OPPORTUNITIES
from liaison_sales.products import PRODUCTS
from liaison_sales.reps import REPS
from liaison_sdk.contracts import sales as contract
from liaison_sdk.types import Money

# --- references ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Stages:
    """Stages by name or code, the default pipeline's first."""

    def resolve(self, session: Session, values: Sequence[str]) -> Mapping[str, str]:
        """Ids of the stages that are named."""
        return pipelines.resolve(session, values) | ids_among(session, select(Stage.id), values)

    def names(self, session: Session, near: Sequence[str]) -> Sequence[str]:
        """Names that a misspelt one may have meant."""
        return pipelines.stage_names(session)

    def create(self, session: Session, values: Sequence[str]) -> Mapping[str, str]:
        """A file can't tell whether a stage is open, won or lost."""
        raise CannotCreate


@dataclass(frozen=True, slots=True)
class Products:
    """Products by name, code or external id."""

    def resolve(self, session: Session, values: Sequence[str]) -> Mapping[str, str]:
        """Ids of the products that are named."""
        rows = session.execute(
            select(Product.id, Product.name, Product.code, Product.external_id, Product.active)
        ).all()
        known: dict[str, str] = {}
        # What is sold no more is meant only where nothing else is called so.
        for spelling in ("external_id", "code", "name"):
            for active in (True, False):
                spelt = [(getattr(row, spelling), row) for row in rows if row.active is active]
                found = one_each((fold(text), str(row.id)) for text, row in spelt if text)
                known = found | known
        named = {value: known[fold(value)] for value in values if fold(value) in known}
        return named | ids_among(session, select(Product.id), values)

    def names(self, session: Session, near: Sequence[str]) -> Sequence[str]:
        """Names that a misspelt one may have meant."""
        return list(session.scalars(select(Product.name).limit(5000)))

    def create(self, session: Session, values: Sequence[str]) -> Mapping[str, str]:
        """New products of these names; their prices are to be added."""
        made = {
            value: products.RULES.create(session, contract.NewProduct(name=value))
            for value in values
        }
        session.flush()
        return {value: str(product.id) for value, product in made.items()}


# --- products -----------------------------------------------------------------------------------


_product = Drawn(PRODUCTS, contract.NewProduct)
_opportunity = Drawn(OPPORTUNITIES, contract.NewOpportunity)


def _field(name: str, en: str, fr: str, kind: Any = "text", **options: Any) -> ImportField:
    return ImportField(name, {"en": en, "fr": fr}, kind, **options)


def _table(model: type[Base]) -> Table:
    table = model.__table__
    assert isinstance(table, Table)
    return table


def _blank(batch: Batch, fields: Mapping[str, str]) -> dict[str, Sequence[str]]:
    """Empty columns for the fields that the file does not feed, for SQL to fill."""
    nothing = [""] * batch.size
    return {column: nothing for name, column in fields.items() if name not in batch.values}


def _products_told(session: Session, created: Sequence[UUID], updated: Sequence[UUID]) -> None:
    products.TOLD.saved(session, [*created, *updated])


def _products_untold(session: Session, deleted: Sequence[UUID], restored: Sequence[UUID]) -> None:
    products.TOLD.removed(session, deleted)
    products.TOLD.saved(session, restored)


_PRODUCTS = Importable(
    record="products",
    label={"en": "Products", "fr": "Produits"},
    permission="products:write",
    kind=PRODUCTS,
    table=_table(Product),
    keys=("external_id", "name"),
    match={"name": "lower(t.name) = lower(s.name)"},
    fields=(
        _product("external_id", "product id", "id", "id produit"),
        _product("name", "product", "product name", "produit", "désignation"),
        _product("code", "sku", "product code", "ref"),
        _product("family", "series", "category", "product line", "catégorie", "famille"),
        _product("list_price", "price", "sales price", "unit price", "prix", "tarif"),
        _product("active", "enabled", "en vente"),
    ),
    on_insert={"active": "true"},
    after_chunk=_products_told,
    after_rollback=_products_untold,
)


# --- opportunities ------------------------------------------------------------------------------

_FIRST_STAGE = (
    "(SELECT st.id FROM stages st JOIN pipelines p ON p.id = st.pipeline_id"
    " WHERE p.is_default AND st.kind = 'open' ORDER BY st.position LIMIT 1)"
)
_STAGE = f"coalesce(s.stage_id, {_FIRST_STAGE})"
_COMPANY = "(SELECT a.name FROM accounts a WHERE a.id = s.company_id)"
_PRODUCT = "(SELECT p.name FROM products p WHERE p.id = s.product_id)"
_NAMES = f"s.name, {_COMPANY} || ' – ' || {_PRODUCT}, {_COMPANY}, s.external_id, {_PRODUCT}, '–'"
_NAME = f"coalesce({_NAMES})"
_SAME_STAGE = "s.stage_id IS NULL OR s.stage_id = t.stage_id"
_KIND = "(SELECT st.kind FROM stages st WHERE st.id = coalesce(s.stage_id, t.stage_id))"


def _moment(day: str) -> str:
    """SQL of when a stage was entered on a day: as for moves by hand."""
    return (
        f"CASE WHEN {day} < (now() AT TIME ZONE 'UTC')::date"
        f" THEN {day}::timestamp AT TIME ZONE 'UTC' ELSE now() END"
    )


def _opportunity_columns(batch: Batch) -> dict[str, Sequence[str]]:
    return _blank(
        batch,
        {
            "external_id": "external_id",
            "name": "name",
            "stage": "stage_id",
            "company": "company_id",
            "product": "product_id",
            "engaged_on": "engaged_on",
            "expected_close": "expected_close",
            "closed_on": "closed_on",
        },
    ) | {name: [""] * batch.size for name in ("pipeline_id", "status", "stage_since")}


_STAGES_KEPT = text("""
    INSERT INTO stage_changes (tenant_id, opportunity_id, from_stage_id, to_stage_id, at, by,
                               seconds)
    SELECT o.tenant_id, o.id, been.stage_id, o.stage_id, o.stage_since, :user,
           CASE WHEN been.at IS NOT NULL
                THEN greatest(0, floor(extract(epoch FROM o.stage_since - been.at))) END
      FROM opportunities o
      LEFT JOIN LATERAL (SELECT c.to_stage_id AS stage_id, c.at FROM stage_changes c
                          WHERE c.opportunity_id = o.id ORDER BY c.id DESC LIMIT 1) been ON true
     WHERE o.id = ANY(CAST(:ids AS uuid[])) AND been.stage_id IS DISTINCT FROM o.stage_id
     ORDER BY o.id
    RETURNING opportunity_id
""")
_TOLD = text("""
    SELECT o.id, o.company_id, o.name, s.name AS stage, o.status, o.amount_amount, o.currency,
           o.closed_on, o.owner_id, o.version
      FROM opportunities o JOIN stages s ON s.id = o.stage_id
     WHERE o.id = ANY(CAST(:ids AS uuid[])) ORDER BY o.id
""")


def _opportunities_told(session: Session, created: Sequence[UUID], updated: Sequence[UUID]) -> None:
    """Keep the stage changes of what came in, tell it to the others, count it."""
    ids = [str(id) for id in (*created, *updated)]
    if not ids:
        return
    session.execute(_STAGES_KEPT, {"ids": ids, "user": context(session).user})
    rows = session.execute(_TOLD, {"ids": ids}).all()
    for start in range(0, len(rows), BATCH):
        told = [
            contract.ImportedOpportunity(
                opportunity_id=row.id,
                company_id=row.company_id,
                name=row.name,
                stage=row.stage,
                kind=row.status,
                amount=None
                if row.amount_amount is None
                else Money.held(row.amount_amount, row.currency),
                closed_on=row.closed_on,
                owner_id=row.owner_id,
                record_version=row.version,
            )
            for row in rows[start : start + BATCH]
        ]
        emit(session, contract.OpportunitiesImported(opportunities=told))
    fresh = {str(id) for id in created}
    metrics.count(session, "opened", len(fresh), "import")
    for kind in ("won", "lost"):
        number = sum(row.status == kind and str(row.id) in fresh for row in rows)
        metrics.count(session, kind, number, "import")


def _opportunities_untold(
    session: Session, deleted: Sequence[UUID], restored: Sequence[UUID]
) -> None:
    telling.removed(session, deleted)
    telling.taken_back(session, deleted, restored)
    _opportunities_told(session, (), restored)


_NEW_KIND = f"(SELECT st.kind FROM stages st WHERE st.id = {_STAGE})"
_TODAY = "(now() AT TIME ZONE 'UTC')::date"
_SAID_OPEN = "(SELECT st.kind FROM stages st WHERE st.id = s.stage_id) = 'open'"
# As `moves` has them for who has no file.
_RULES = (
    Rule("closed_on", "in_future", "What has not happened yet has no day of closing",
         f"s.closed_on > {_TODAY} + 1"),
    Rule("closed_on", "open", "An open opportunity has no day of closing",
         "s.closed_on IS NOT NULL AND {status} = 'open'"),
    Rule("closed_on", "before_engaged", "A deal can't end before it was engaged",
         "coalesce(s.closed_on, s.engaged_on) IS NOT NULL AND {closed_on} < {engaged_on}"),
    Rule("win_reason", "not_won", "Only a won opportunity has a reason why it was won",
         "s.win_reason IS NOT NULL AND {status} <> 'won'"),
    Rule("lost_reason", "not_lost", "Only a lost opportunity has a reason why it was lost",
         "s.lost_reason IS NOT NULL AND {status} <> 'lost'"),
)  # fmt: skip

_OPPORTUNITIES = Importable(
    record="opportunities",
    label={"en": "Opportunities", "fr": "Opportunités"},
    permission="opportunities:write",
    kind=OPPORTUNITIES,
    table=_table(Opportunity),
    fields=(
        _opportunity("external_id", "opportunity id", "deal id", "id", "id opportunité"),
        _opportunity(
            "name",
            "opportunity",
            "deal",
            "title",
            "opportunity name",
            "opportunité",
            "affaire",
            required=False,
        ),
        _field(
            "owner",
            "Owner",
            "Responsable",
            "reference",
            reference="users",
            column="owner_id",
            aliases=("sales agent", "sales rep", "rep", "agent", "commercial", "vendeur"),
        ),
        _field(
            "product",
            "Product",
            "Produit",
            "reference",
            reference="products",
            column="product_id",
            aliases=("product name", "nom du produit"),
        ),
        _field(
            "company",
            "Company",
            "Société",
            "reference",
            reference="companies",
            column="company_id",
            aliases=("account", "account name", "customer", "client", "compte", "entreprise"),
        ),
        _field(
            "stage",
            "Stage",
            "Étape",
            "reference",
            reference="stages",
            column="stage_id",
            aliases=("deal stage", "status", "étape de vente", "statut"),
        ),
        _opportunity("amount", "close value", "value", "deal value", "revenue", "valeur", "ca"),
        _opportunity("probability"),
        _opportunity("engaged_on", "engage date", "start date", "date d'engagement"),
        _opportunity(
            "expected_close", "expected close date", "forecast date", "date de clôture prévue"
        ),
        _opportunity("closed_on", "close date", "closed date", "date de clôture"),
        _opportunity("region", "territory", "territoire"),
        _opportunity("win_reason"),
        _opportunity("lost_reason"),
    ),
    references={
        "users": REPS,
        "companies": ACCOUNTS,
        "stages": Stages(),
        "products": Products(),
    },
    rules=_RULES,
    # Other tools have one column for the day when a deal has ended and the day when it may.
    read_as={
        "closed_on": f"CASE WHEN NOT coalesce({_SAID_OPEN}, false) THEN s.closed_on END",
        "expected_close": "coalesce(s.expected_close,"
        f" CASE WHEN {_SAID_OPEN} THEN s.closed_on END)",
    },
    columns=_opportunity_columns,
    on_insert={
        "name": _NAME,
        "stage_id": _FIRST_STAGE,
        "pipeline_id": f"(SELECT st.pipeline_id FROM stages st WHERE st.id = {_STAGE})",
        "status": _NEW_KIND,
        "closed_on": f"CASE WHEN {_NEW_KIND} <> 'open' THEN {_TODAY} END",
        "engaged_on": f"CASE WHEN {_STAGE} <> {_FIRST_STAGE}"
        f" THEN coalesce(s.closed_on, {_TODAY}) END",
        "stage_since": _moment("coalesce(s.closed_on, s.engaged_on)"),
    },
    merge={
        "pipeline_id": f"CASE WHEN {_SAME_STAGE} THEN t.pipeline_id ELSE"
        " (SELECT st.pipeline_id FROM stages st WHERE st.id = s.stage_id) END",
        "status": f"CASE WHEN {_SAME_STAGE} THEN t.status ELSE {_KIND} END",
        # A deal that is known here already did not enter its new stage when it was engaged.
        "stage_since": f"CASE WHEN {_SAME_STAGE} THEN t.stage_since"
        f" ELSE {_moment('s.closed_on')} END",
        # What a file opens again has not ended.
        "closed_on": f"CASE WHEN s.closed_on IS NULL AND NOT ({_SAME_STAGE}) AND {_KIND} = 'open'"
        f" THEN NULL WHEN NOT ({_SAME_STAGE}) AND {_KIND} <> 'open'"
        f" THEN coalesce(s.closed_on, t.closed_on, {_TODAY})"
        " ELSE coalesce(s.closed_on, t.closed_on) END",
        # Readers are shown the stage's probability and the owner's region where a deal has none of
        # its own; a file that says the same gives it none.
        "probability": "CASE WHEN t.probability IS NULL AND s.probability = (SELECT st.probability"
        f" FROM stages st WHERE st.id = t.stage_id) THEN NULL ELSE {USUAL} END",
        "region": "CASE WHEN s.region = (SELECT r.region FROM reps r WHERE r.id = t.owner_id)"
        f" THEN t.region ELSE {USUAL} END",
    },
    after_chunk=_opportunities_told,
    after_rollback=_opportunities_untold,
)

IMPORTABLES: Final = (_PRODUCTS, _OPPORTUNITIES)
