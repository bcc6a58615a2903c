"""What the sales service agrees to: products, pipelines, opportunities, what happens to them."""

import datetime as dt
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from pydantic import BaseModel, Field, model_validator
from pydantic_extra_types.currency_code import Currency

from liaison_sdk.events import Event
from liaison_sdk.types import Closed, Code, ExternalId, Money, Name, ShortText, field

StageKind = Literal["open", "won", "lost"]
"""What being in a stage means: still worked on, won, or lost."""

Status = StageKind
SummaryBy = Literal["stage", "region", "rep", "product", "month", "manager", "currency"]
"""What a summary's rows stand for."""

Percent = Annotated[int, Field(ge=0, le=100)]
Custom = Annotated[dict[str, Any], Field(max_length=100)]


# --- products ------------------------------------------------------------------------------------


class NewProduct(Closed):
    """Something to sell."""

    name: Name
    code: ShortText | None = None
    family: ShortText | None = None
    list_price: Money | None = None
    active: bool = True
    external_id: ExternalId | None = None
    custom: Custom = Field(default_factory=dict)


class ProductChanges(Closed):
    """What to change of a product; what is left out stays."""

    name: Name = "-"
    code: ShortText | None = None
    family: ShortText | None = None
    list_price: Money | None = None
    active: bool = True
    external_id: ExternalId | None = None
    custom: Custom = Field(default_factory=dict)


class Product(BaseModel):
    """Something that is sold, with its list price."""

    id: UUID
    name: str = field("Name", "Nom", searchable=True, sortable=True)
    code: str | None = field("Code", "Référence", searchable=True)
    family: str | None = field("Family", "Gamme", searchable=True)
    list_price: Money | None = field("List price", "Prix catalogue", sortable=True)
    active: bool = field("Active", "Actif")
    external_id: str | None = field("External id", "Identifiant externe")
    custom: dict[str, Any] = field("Custom fields", "Champs personnalisés", filterable=False)
    version: int = field("Version", "Version", filterable=False)
    created_at: dt.datetime = field("Created", "Créé le", sortable=True)
    created_by: UUID | None = field("Created by", "Créé par")
    updated_at: dt.datetime = field("Changed", "Modifié le", sortable=True)
    updated_by: UUID | None = field("Changed by", "Modifié par")


# --- pipelines -----------------------------------------------------------------------------------


class NewStage(Closed):
    """A stage of a pipeline; `code` is made from the name where it is left out."""

    name: Name
    code: Code | None = None
    kind: StageKind = "open"
    probability: Percent | None = Field(
        default=None, description="Chance of winning, in percent; won is 100 and lost is 0."
    )


class StageChanges(NewStage):
    """A stage as a pipeline shall have it: with an `id` one that it has, without one a new one."""

    id: UUID | None = None


class Stage(BaseModel):
    """A stage of a pipeline."""

    id: UUID
    code: str
    name: str
    position: int
    probability: int
    kind: StageKind


Stages = Annotated[list[NewStage], Field(min_length=3, max_length=50)]


class NewPipeline(Closed):
    """A way of selling; without stages it gets the usual ones.

    Stages come in the order in which deals go through them: at least one open, one won, one lost.
    """

    name: Name
    currency: Currency = Field(
        default=Currency("EUR"), description="Of amounts that come without one, as in files."
    )
    is_default: bool = False
    stages: Stages | None = None
    external_id: ExternalId | None = None
    custom: Custom = Field(default_factory=dict)


class PipelineChanges(Closed):
    """What to change of a pipeline; `stages`, if sent, is the whole list, in order."""

    name: Name = "-"
    currency: Currency = Currency("EUR")
    is_default: bool = False
    stages: Annotated[list[StageChanges], Field(min_length=3, max_length=50)] = Field(
        default_factory=list
    )
    external_id: ExternalId | None = None
    custom: Custom = Field(default_factory=dict)


class Pipeline(BaseModel):
    """A way of selling: the stages that its opportunities go through."""

    id: UUID
    name: str = field("Name", "Nom", searchable=True, sortable=True)
    currency: str = field("Currency", "Devise")
    is_default: bool = field("Default", "Par défaut")
    stages: list[Stage] = field("Stages", "Étapes", filterable=False)
    external_id: str | None = field("External id", "Identifiant externe")
    custom: dict[str, Any] = field("Custom fields", "Champs personnalisés", filterable=False)
    version: int = field("Version", "Version", filterable=False)
    created_at: dt.datetime = field("Created", "Créé le", sortable=True)
    created_by: UUID | None = field("Created by", "Créé par")
    updated_at: dt.datetime = field("Changed", "Modifié le", sortable=True)
    updated_by: UUID | None = field("Changed by", "Modifié par")


# --- opportunities -------------------------------------------------------------------------------

StageName = Annotated[
    Name, Field(description="A stage of the pipeline, by its code or its name; or use `stage_id`.")
]


class _NamesAStage(Closed):
    stage_id: UUID | None = None
    stage: StageName | None = None

    @model_validator(mode="after")
    def _names_one_stage_at_most(self) -> "_NamesAStage":
        if self.stage_id is not None and self.stage is not None:
            raise ValueError("name the stage by stage_id or by stage, not by both")
        return self


class NewOpportunity(_NamesAStage):
    """A deal to work on, in the first stage of the default pipeline unless told otherwise.

    Without an owner, plugins are asked for one (`sales_suggest_owner`).
    """

    name: Name
    pipeline_id: UUID | None = None
    product_id: UUID | None = None
    company_id: UUID | None = None
    contact_id: UUID | None = None
    owner_id: UUID | None = None
    region: ShortText | None = None
    amount: Money | None = None
    probability: Percent | None = Field(
        default=None, description="In percent, instead of the stage's."
    )
    engaged_on: dt.date | None = None
    expected_close: dt.date | None = None
    closed_on: dt.date | None = Field(
        default=None, description="Only for a deal that is won or lost already; today if left out."
    )
    win_reason: ShortText | None = None
    lost_reason: ShortText | None = None
    external_id: ExternalId | None = None
    custom: Custom = Field(default_factory=dict)


class OpportunityChanges(_NamesAStage):
    """What to change of an opportunity; what is left out stays."""

    name: Name = "-"
    product_id: UUID | None = None
    company_id: UUID | None = None
    contact_id: UUID | None = None
    owner_id: UUID | None = None
    region: ShortText | None = None
    amount: Money | None = None
    probability: Percent | None = None
    engaged_on: dt.date | None = None
    expected_close: dt.date | None = None
    closed_on: dt.date | None = None
    win_reason: ShortText | None = None
    lost_reason: ShortText | None = None
    external_id: ExternalId | None = None
    custom: Custom = Field(default_factory=dict)


class Move(_NamesAStage):
    """To which stage an opportunity goes; `on` is the day that it happened, today if left out."""

    on: dt.date | None = None
    reason: ShortText | None = Field(default=None, description="Why, where the stage closes it.")

    @model_validator(mode="after")
    def _names_a_stage(self) -> "Move":
        if self.stage_id is None and self.stage is None:
            raise ValueError("name the stage by stage_id or by stage")
        return self


class Win(Closed):
    """An opportunity is won, for this amount if it is another than it had."""

    amount: Money | None = None
    reason: ShortText | None = None
    on: dt.date | None = None


class Loss(Closed):
    """An opportunity is lost, and why."""

    reason: Name
    on: dt.date | None = None


class Reopening(_NamesAStage):
    """A closed opportunity is worked on again, in this stage or its last open one."""


class Opportunity(BaseModel):
    """A deal: with whom, about what, how far it is, and what it is worth.

    `region` is that of the owner's team, else the opportunity's own. `probability` is the stage's
    unless it was given; both are in percent.
    """

    id: UUID
    name: str = field("Name", "Nom", searchable=True, sortable=True)
    pipeline_id: UUID = field("Pipeline", "Pipeline")
    stage_id: UUID = field("Stage", "Étape")
    stage: str = field("Stage code", "Code de l'étape")
    stage_name: str = field("Stage name", "Nom de l'étape", filterable=False)
    stage_since: dt.datetime = field("In this stage since", "À cette étape depuis")
    status: Status = field("Status", "Statut")
    product_id: UUID | None = field("Product", "Produit")
    product_name: str | None = field("Product name", "Nom du produit", filterable=False)
    company_id: UUID | None = field("Company", "Société")
    company_name: str | None = field("Company name", "Nom de la société", filterable=False)
    contact_id: UUID | None = field("Contact", "Contact")
    owner_id: UUID | None = field("Owner", "Responsable")
    owner_name: str | None = field("Owner's name", "Nom du responsable", filterable=False)
    owner_reason: str | None = field("Why this owner", "Pourquoi ce responsable", filterable=False)
    region: str | None = field("Region", "Région")
    amount: Money | None = field("Amount", "Montant", sortable=True)
    probability: int = field("Probability", "Probabilité", filterable=False)
    engaged_on: dt.date | None = field("Engaged on", "Engagée le")
    expected_close: dt.date | None = field("Expected close", "Clôture prévue", sortable=True)
    closed_on: dt.date | None = field("Closed on", "Clôturée le", sortable=True)
    win_reason: str | None = field("Reason of the win", "Raison du gain")
    lost_reason: str | None = field("Reason of the loss", "Raison de la perte")
    external_id: str | None = field("External id", "Identifiant externe", searchable=True)
    custom: dict[str, Any] = field("Custom fields", "Champs personnalisés", filterable=False)
    version: int = field("Version", "Version", filterable=False)
    created_at: dt.datetime = field("Created", "Créée le", sortable=True)
    created_by: UUID | None = field("Created by", "Créée par")
    updated_at: dt.datetime = field("Changed", "Modifiée le", sortable=True)
    updated_by: UUID | None = field("Changed by", "Modifiée par")


class StageChange(BaseModel):
    """One move of an opportunity; `seconds` is how long it was in the stage that it left."""

    from_stage_id: UUID | None
    from_stage: str | None
    to_stage_id: UUID
    to_stage: str
    at: dt.datetime
    by: UUID | None
    seconds: int | None


class SummaryRow(BaseModel):
    """What a summary says of one stage, region, rep, product, month, manager or currency.

    Money is never added across currencies: each figure has one amount per currency that occurs.
    """

    key: str | None = Field(description="Id, region, month (YYYY-MM) or currency; null for none.")
    label: str | None = Field(description="What people call it; null for none.")
    count: int = Field(description="Opportunities.")
    open: int = Field(description="Of these, still worked on.")
    won: int = Field(description="Of these, won.")
    lost: int = Field(description="Of these, lost.")
    amounts: list[Money] = Field(description="Amounts of the open and the won ones.")
    open_amounts: list[Money] = Field(description="Amounts of the open ones.")
    won_amounts: list[Money] = Field(description="Amounts of the won ones.")
    lost_amounts: list[Money] = Field(description="Amounts of the lost ones.")
    weighted: list[Money] = Field(
        description="Sum of amount x probability over the open ones, rounded half up at the end."
    )
    win_rate: str | None = Field(
        description="won / (won + lost), four decimals rounded half up; null when none is closed."
    )
    mean_cycle_days: str | None = Field(
        description="Mean of closed_on - engaged_on over the won ones that have both dates, in"
        " days, two decimals rounded half up; null when there is none."
    )


class Summary(BaseModel):
    """Opportunities added up by one property, and all together."""

    by: SummaryBy
    rows: list[SummaryRow]
    total: SummaryRow


# --- events --------------------------------------------------------------------------------------


class OpportunityOpened(Event):
    """A deal is being worked on."""

    source: ClassVar[str] = "sales"
    type: ClassVar[str] = "opportunity_opened"
    key_field: ClassVar[str | None] = "opportunity_id"

    opportunity_id: UUID
    name: str
    company_id: UUID | None
    contact_id: UUID | None
    owner_id: UUID | None
    stage: str
    amount: Money | None
    record_version: int | None = None


class OpportunityChanged(Event):
    """Something but the stage of an opportunity was changed; `changed` names the fields."""

    source: ClassVar[str] = "sales"
    type: ClassVar[str] = "opportunity_changed"
    key_field: ClassVar[str | None] = "opportunity_id"

    opportunity_id: UUID
    name: str
    company_id: UUID | None
    contact_id: UUID | None
    owner_id: UUID | None
    changed: list[str]
    record_version: int | None = None


class OpportunityMoved(Event):
    """An opportunity went to another stage, be it open, won or lost; stages are told by name."""

    source: ClassVar[str] = "sales"
    type: ClassVar[str] = "opportunity_moved"
    key_field: ClassVar[str | None] = "opportunity_id"

    opportunity_id: UUID
    name: str
    company_id: UUID | None
    contact_id: UUID | None
    owner_id: UUID | None
    from_stage_id: UUID
    from_stage: str
    to_stage_id: UUID
    to_stage: str
    kind: StageKind
    record_version: int | None = None


class DealWon(Event):
    """An opportunity was won."""

    source: ClassVar[str] = "sales"
    type: ClassVar[str] = "deal_won"
    key_field: ClassVar[str | None] = "opportunity_id"

    opportunity_id: UUID
    name: str
    company_id: UUID | None
    contact_id: UUID | None
    owner_id: UUID | None
    amount: Money | None
    won_on: dt.date
    reason: str | None = None
    record_version: int | None = None


class DealLost(Event):
    """An opportunity was lost."""

    source: ClassVar[str] = "sales"
    type: ClassVar[str] = "deal_lost"
    key_field: ClassVar[str | None] = "opportunity_id"

    opportunity_id: UUID
    name: str
    company_id: UUID | None
    contact_id: UUID | None
    owner_id: UUID | None
    amount: Money | None
    lost_on: dt.date
    reason: str | None = None
    record_version: int | None = None


class ImportedOpportunity(BaseModel):
    """An opportunity as an import left it."""

    opportunity_id: UUID
    company_id: UUID | None
    name: str
    stage: str
    kind: StageKind
    amount: Money | None
    closed_on: dt.date | None
    owner_id: UUID | None = None
    record_version: int | None = None


class OpportunitiesImported(Event):
    """Opportunities came in, or were changed, from a file; at most 500 at a time."""

    source: ClassVar[str] = "sales"
    type: ClassVar[str] = "opportunities_imported"

    opportunities: list[ImportedOpportunity]


class OpportunityTakenBack(BaseModel):
    """An opportunity of an import that was taken back: gone, or as it was before."""

    opportunity_id: UUID
    kind: StageKind | None
    """Of the stage that it is in again; none for one that is gone."""
    company_id: UUID | None = None
    """Whose it is again."""


class OpportunitiesTakenBack(Event):
    """An import of opportunities was taken back, with all that it caused; at most 500 at a time."""

    source: ClassVar[str] = "sales"
    type: ClassVar[str] = "opportunities_taken_back"

    opportunities: list[OpportunityTakenBack]


class OpportunityRef(BaseModel):
    """An opportunity as other services keep it: who may see what is told of it."""

    id: UUID
    owner_id: UUID | None
    version: int


class OpportunitiesSaved(Event):
    """Whose opportunities are, told again to who may not have heard of them or of their owners."""

    source: ClassVar[str] = "sales"
    type: ClassVar[str] = "opportunities_saved"

    opportunities: list[OpportunityRef]


class OpportunitiesRemoved(Event):
    """Opportunities were deleted, or an import of them was taken back."""

    source: ClassVar[str] = "sales"
    type: ClassVar[str] = "opportunities_removed"

    opportunity_ids: list[UUID]


class ProductRef(BaseModel):
    """A product as other services keep it."""

    id: UUID
    name: str
    external_id: str | None
    active: bool
    version: int


class ProductsSaved(Event):
    """Products were added or changed."""

    source: ClassVar[str] = "sales"
    type: ClassVar[str] = "products_saved"

    products: list[ProductRef]


class ProductRemoved(Event):
    """A product was deleted."""

    source: ClassVar[str] = "sales"
    type: ClassVar[str] = "product_removed"
    key_field: ClassVar[str | None] = "product_id"

    product_id: UUID
    record_version: int | None = None


class PipelinesSaved(Event):
    """Pipelines were added or changed."""

    source: ClassVar[str] = "sales"
    type: ClassVar[str] = "pipelines_saved"

    pipeline_ids: list[UUID]
