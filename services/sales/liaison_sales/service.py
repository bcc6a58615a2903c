"""The wire of sales: operations and event handlers; it decides nothing."""

from collections.abc import Mapping
from typing import ClassVar
from uuid import UUID

from sqlalchemy.orm import Session

from liaison_kit import records
from liaison_kit.calls.operations import get, post
from liaison_kit.calls.wire import Raw, Version
from liaison_kit.events import handles
from liaison_kit.events.resend import Told
from liaison_kit.flows import FLOW_NOTICE, FLOW_TIDIES, PERMISSIONS, FlowOperations
from liaison_kit.listing.asked import ListQuery, Page
from liaison_kit.listing.mine import Mine
from liaison_kit.privacy.serving import HoldsPersonalData
from liaison_kit.records.links import Others
from liaison_kit.resources import TIDIES, Resource
from liaison_kit.service import Service
from liaison_sales import models, opportunities, pipelines, products, references, telling
from liaison_sales.accounts import ACCOUNTS
from liaison_sales.board import BY_STAGE
from liaison_sales.flows import flows
from liaison_sales.importing import IMPORTABLES
from liaison_sales.opportunities import OPPORTUNITIES
from liaison_sales.pipelines import PIPELINES
from liaison_sales.products import PRODUCTS
from liaison_sales.reps import REPS
from liaison_sales.summary import SUMMARISED, summary
from liaison_sdk.contracts import identity
from liaison_sdk.contracts.contacts import PersonRemoved, PersonRestored
from liaison_sdk.contracts.sales import (
    Loss,
    Move,
    NewOpportunity,
    NewPipeline,
    NewProduct,
    Opportunity,
    OpportunityChanges,
    PipelineChanges,
    ProductChanges,
    Reopening,
    StageChange,
    Summary,
    SummaryBy,
    Win,
)
from liaison_sdk.labels import Label

_OPPORTUNITIES = Resource(
    OPPORTUNITIES,
    "opportunity",
    None,
    OpportunityChanges,
    opportunities,
    boards=(BY_STAGE,),
    asked=references.seen,
)


class Sales(HoldsPersonalData, FlowOperations, Service):
    """Sales force automation: products, pipelines, opportunities and what they add up to."""

    name = "sales"
    label = Label(en="Sales", fr="Ventes")
    records = (OPPORTUNITIES, PIPELINES, PRODUCTS)
    resources = (
        Resource(
            PRODUCTS,
            "product",
            NewProduct,
            ProductChanges,
            products.RULES,
            called=Label(en="Products", fr="Produits"),
            icon="package",
        ),
        Resource(PIPELINES, "pipeline", NewPipeline, PipelineChanges, pipelines),
        _OPPORTUNITIES,
    )
    copies = (REPS, ACCOUNTS)
    points_to = (Others("contacts", PersonRemoved, PersonRestored),)
    holds = (models.Opportunity,)
    unsearched: ClassVar[Mapping[str, str]] = {
        "reps": "users of Liaison, whom identity tells of",
        "accounts": "a company's own name is not a person's",
    }
    importables = IMPORTABLES
    flows = flows(_OPPORTUNITIES)
    tells = (Told(OPPORTUNITIES, telling.saved, telling.removed),)
    tidies = (*Service.tidies, *TIDIES, "fold_opportunity_sums", "tidy_flows")
    tidies_after = FLOW_TIDIES
    permissions = {
        "opportunities:export": Label(en="Export opportunities", fr="Exporter les opportunités"),
        "pipelines:export": Label(en="Export pipelines", fr="Exporter les pipelines"),
        "opportunities:read": Label(en="See opportunities", fr="Voir les opportunités"),
        "opportunities:write": Label(en="Change opportunities", fr="Modifier les opportunités"),
        "pipelines:read": Label(en="See pipelines", fr="Voir les pipelines"),
        "pipelines:write": Label(en="Change pipelines", fr="Modifier les pipelines"),
        **PERMISSIONS,
    }
    notification_kinds = (FLOW_NOTICE,)
    menu = (
        {
            "label": {"en": "Opportunities", "fr": "Opportunités"},
            "path": "/opportunities",
            "icon": "target",
        },
        {
            "label": {"en": "Sales summary", "fr": "Synthèse des ventes"},
            "path": "/sales/summary",
            "icon": "chart",
        },
    )
    mine = (
        Mine(
            "open_opportunities",
            Label(en="My open opportunities", fr="Mes opportunités en cours"),
            OPPORTUNITIES,
            {"owner_id": "me", "status": "open", "sort": "-updated_at"},
        ),
        Mine(
            "closing_opportunities",
            Label(en="My next closings", fr="Mes prochaines clôtures"),
            OPPORTUNITIES,
            {
                "owner_id": "me",
                "status": "open",
                "expected_close[null]": "false",
                "sort": "expected_close",
            },
        ),
    )
    live = tuple(
        {"type": type, "record": record, "permission": f"{record}:read"}
        for record, types in {
            "opportunities": (
                "opportunity_opened",
                "opportunity_changed",
                "opportunity_moved",
                "opportunities_imported",
                "opportunities_removed",
            ),
            "pipelines": ("pipelines_saved",),
        }.items()
        for type in types
    )

    # --- opportunities ---------------------------------------------------------------------------

    @post("/opportunities", allow="opportunities:write", problems=[409])
    def create_opportunity(self, session: Session, opportunity: NewOpportunity) -> Raw[Opportunity]:
        """Open an opportunity; without an owner, `owner_reason` tells why it got the one it has."""
        deal = opportunities.create(session, self.hooks, opportunity)
        return Raw(*records.answer(session, OPPORTUNITIES, deal))

    @post("/opportunities/{id}/move", allow="opportunities:write", status=200, problems=[404, 409])
    def move_opportunity(
        self, session: Session, id: UUID, move: Move, version: Version
    ) -> Raw[Opportunity]:
        """Bring an open opportunity to another stage; a won or lost one closes it."""
        deal = opportunities.move(session, id, version, move)
        return Raw(*records.answer(session, OPPORTUNITIES, deal))

    @post("/opportunities/{id}/win", allow="opportunities:write", status=200, problems=[404, 409])
    def win_opportunity(
        self, session: Session, id: UUID, win: Win, version: Version
    ) -> Raw[Opportunity]:
        """Win an open opportunity, for this amount if it is another than it had."""
        deal = opportunities.win(session, id, version, win)
        return Raw(*records.answer(session, OPPORTUNITIES, deal))

    @post("/opportunities/{id}/lose", allow="opportunities:write", status=200, problems=[404, 409])
    def lose_opportunity(
        self, session: Session, id: UUID, loss: Loss, version: Version
    ) -> Raw[Opportunity]:
        """Lose an open opportunity, and say why."""
        deal = opportunities.lose(session, id, version, loss)
        return Raw(*records.answer(session, OPPORTUNITIES, deal))

    @post(
        "/opportunities/{id}/reopen", allow="opportunities:write", status=200, problems=[404, 409]
    )
    def reopen_opportunity(
        self, session: Session, id: UUID, reopening: Reopening, version: Version
    ) -> Raw[Opportunity]:
        """Work on a closed opportunity again, in the stage that it was in or the one sent."""
        deal = opportunities.reopen(session, id, version, reopening)
        return Raw(*records.answer(session, OPPORTUNITIES, deal))

    @get("/opportunities/{id}/stages", allow="opportunities:read", problems=[404])
    def list_stage_changes(self, session: Session, id: UUID) -> Raw[Page[StageChange]]:
        """The stages that an opportunity has been in, oldest first."""
        return Raw(opportunities.stage_changes(session, id))

    @get("/sales/summary", allow="opportunities:read", record=SUMMARISED)
    def summarise(
        self, session: Session, query: ListQuery[Opportunity], by: SummaryBy = "stage"
    ) -> Raw[Summary]:
        """Opportunities added up: counts, amounts, win rate, mean cycle.

        Takes the filters of the list of opportunities, but not its search, order and pages.
        """
        return Raw(summary(session, by, references.seen(session, query)))

    # --- what other services tell ----------------------------------------------------------------

    @handles(identity.TenantCreated)
    def on_tenant_created(self, session: Session, event: identity.TenantCreated) -> None:
        """A new organisation gets its default pipeline, in its language."""
        pipelines.start(session, event.locale)

    @handles(identity.UsersSaved)
    def on_users_saved(self, session: Session, event: identity.UsersSaved) -> None:
        """Users are the reps that own opportunities.

        Where sales was installed later they are the first that it hears of an organisation.
        """
        pipelines.ensure_default(session)
        REPS.keep(session, event)
