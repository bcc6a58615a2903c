"""What the contacts service agrees to: people, companies, their notes, and what happens to them."""

import datetime as dt
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import InitErrorDetails, PydanticCustomError

from liaison_sdk.events import Event
from liaison_sdk.labels import Label
from liaison_sdk.texts import Seen, Trimmed
from liaison_sdk.types import (
    WITHOUT_NUL,
    Closed,
    EmailAddress,
    ExternalId,
    Money,
    Name,
    Paragraphs,
    ShortText,
    field,
)

RENAMED_STAGES = {"former_customer": "churned"}
"""What stages were called in an earlier release: whoever says so is understood."""


def _as_now(stage: Any) -> Any:
    return RENAMED_STAGES.get(stage, stage) if isinstance(stage, str) else stage


LifecycleStage = Annotated[
    Literal["visitor", "subscriber", "lead", "mql", "sql", "opportunity", "customer", "churned"],
    BeforeValidator(_as_now),
]
"""How far the relation has come."""

LIFECYCLE_STAGES = {
    "visitor": Label(en="Visitor", fr="Visiteur"),
    "subscriber": Label(en="Subscriber", fr="Abonné"),
    "lead": Label(en="Lead", fr="Prospect"),
    "mql": Label(en="Marketing qualified lead", fr="Prospect qualifié par le marketing"),
    "sql": Label(en="Sales qualified lead", fr="Prospect qualifié par la vente"),
    "opportunity": Label(en="Opportunity", fr="Opportunité"),
    "customer": Label(en="Customer", fr="Client"),
    "churned": Label(en="Churned", fr="Ancien client"),
}

EarlierStage = Literal["subscriber", "lead", "opportunity", "customer", "former_customer"]
"""The stages that `LifecycleMoved` knows."""

EARLIER_STAGES: Mapping[str, EarlierStage] = {
    "visitor": "subscriber",
    "subscriber": "subscriber",
    "lead": "lead",
    "mql": "lead",
    "sql": "lead",
    "opportunity": "opportunity",
    "customer": "customer",
    "churned": "former_customer",
}
"""What who knows the earlier stages only is told of each."""

Industry = Literal[
    "agriculture",
    "automotive",
    "construction",
    "consulting",
    "education",
    "employment",
    "energy",
    "entertainment",
    "finance",
    "food",
    "government",
    "hospitality",
    "insurance",
    "legal",
    "logistics",
    "manufacturing",
    "marketing",
    "media",
    "medical",
    "nonprofit",
    "real_estate",
    "retail",
    "services",
    "software",
    "technology",
    "telecommunications",
    "other",
]
"""What a company does."""

Kind = Literal["work", "home", "mobile", "billing", "delivery", "other"]
PhoneKind = Literal["work", "home", "mobile", "billing", "delivery", "fax", "other"]
Phone = Annotated[
    str,
    StringConstraints(min_length=2, max_length=50, pattern=WITHOUT_NUL),
    Trimmed,
    Seen,
]
Tags = Annotated[list[Name], Field(max_length=50)]
Custom = Annotated[dict[str, Any], Field(max_length=100)]
Year = Annotated[int, Field(ge=1000, le=2200)]
Country = Annotated[str, StringConstraints(max_length=60, pattern=WITHOUT_NUL), Trimmed]


class Email(Closed):
    """An e-mail address."""

    address: EmailAddress
    kind: Kind = "work"


class PhoneNumber(Closed):
    """A phone number: E.164 where it can be understood, else as it was given."""

    number: Phone
    kind: PhoneKind = "work"


class Address(Closed):
    """A postal address."""

    street: ShortText = ""
    postal_code: ShortText = ""
    city: ShortText = ""
    region: ShortText = ""
    country: Country = ""
    kind: Kind = "work"


Emails = Annotated[list[Email], Field(max_length=20)]
Languages = Annotated[list[Name], Field(max_length=20)]
Websites = Annotated[list[Name], Field(max_length=20)]
Phones = Annotated[list[PhoneNumber], Field(max_length=20)]
Addresses = Annotated[list[Address], Field(max_length=20)]


class NewContact(Closed):
    """A person to add; a first or a last name is the least to know of somebody."""

    first_name: ShortText = ""
    last_name: ShortText = ""
    title: ShortText | None = None
    salutation: ShortText | None = None
    middle_name: ShortText | None = None
    suffix: ShortText | None = None
    department: ShortText | None = None
    birthday: dt.date | None = None
    languages: Languages = []
    websites: Websites = []
    company_id: UUID | None = None
    owner_id: UUID | None = None
    emails: Emails = []
    phones: Phones = []
    addresses: Addresses = []
    tags: Tags = []
    stage: LifecycleStage = "lead"
    external_id: ExternalId | None = None
    custom: Custom = {}

    @model_validator(mode="after")
    def _has_a_name(self) -> "NewContact":
        if not self.first_name and not self.last_name:
            # One field is at fault, not the whole.
            wrong = PydanticCustomError("missing", "A person needs a first or a last name")
            at = InitErrorDetails(type=wrong, loc=("last_name",), input=self.last_name)
            raise ValidationError.from_exception_data(type(self).__name__, [at])
        return self


class ContactChanges(Closed):
    """What to change of a person; what is left out stays."""

    first_name: ShortText = ""
    last_name: ShortText = ""
    title: ShortText | None = None
    salutation: ShortText | None = None
    middle_name: ShortText | None = None
    suffix: ShortText | None = None
    department: ShortText | None = None
    birthday: dt.date | None = None
    languages: Languages = []
    websites: Websites = []
    company_id: UUID | None = None
    owner_id: UUID | None = None
    emails: Emails = []
    phones: Phones = []
    addresses: Addresses = []
    tags: Tags = []
    stage: LifecycleStage = "lead"
    external_id: ExternalId | None = None
    custom: Custom = {}


class Contact(BaseModel):
    """A person."""

    id: UUID
    first_name: str = field("First name", "Prénom", personal=True, searchable=True)
    last_name: str = field("Last name", "Nom", personal=True, searchable=True, sortable=True)
    title: str | None = field("Job title", "Fonction")
    salutation: str | None = field("Salutation", "Civilité", personal=True)
    middle_name: str | None = field("Middle name", "Autres prénoms", personal=True)
    suffix: str | None = field("Suffix", "Suffixe", personal=True)
    department: str | None = field("Department", "Service")
    birthday: dt.date | None = field("Birthday", "Date de naissance", personal=True)
    languages: list[str] = field("Languages", "Langues", personal=True, filterable=False)
    websites: list[str] = field("Websites", "Sites web", personal=True, filterable=False)
    company_id: UUID | None = field("Company", "Société")
    company_name: str | None = field("Company name", "Nom de la société", filterable=False)
    owner_id: UUID | None = field("Owner", "Responsable")
    emails: list[Email] = field(
        "E-mails", "E-mails", personal=True, searchable=True, filterable=False, part="address"
    )
    phones: list[PhoneNumber] = field(
        "Phones", "Téléphones", personal=True, searchable=True, filterable=False, part="number"
    )
    addresses: list[Address] = field("Addresses", "Adresses", personal=True, filterable=False)
    tags: list[str] = field("Tags", "Étiquettes")
    stage: LifecycleStage = field(
        "Lifecycle stage", "Étape de la relation", choices=LIFECYCLE_STAGES, renamed=RENAMED_STAGES
    )
    customer_since: dt.date | None = field("Customer since", "Client depuis")
    customer_because: str | None = field("Customer because of", "Client grâce à", filterable=False)
    external_id: str | None = field("External id", "Identifiant externe")
    custom: dict[str, Any] = field("Custom fields", "Champs personnalisés", filterable=False)
    version: int = field("Version", "Version", filterable=False)
    created_at: dt.datetime = field("Created", "Créé le", sortable=True)
    created_by: UUID | None = field("Created by", "Créé par")
    updated_at: dt.datetime = field("Changed", "Modifié le", sortable=True)
    updated_by: UUID | None = field("Changed by", "Modifié par")


class PossibleDuplicate(BaseModel):
    """Somebody who may be the person just created: how alike from 0 to 1, and why."""

    id: UUID
    name: str
    score: float
    reason: str


class CreatedContact(Contact):
    """A person who was just added, with a warning where they may exist already."""

    possible_duplicates: list[PossibleDuplicate]


class NewCompany(Closed):
    """A company to add."""

    name: Name
    parent_id: UUID | None = None
    owner_id: UUID | None = None
    industry: Industry | None = None
    website: ShortText | None = None
    year_founded: Year | None = None
    employees: Annotated[int, Field(ge=0, le=10_000_000)] | None = None
    annual_revenue: Money | None = None
    emails: Emails = []
    phones: Phones = []
    addresses: Addresses = []
    tags: Tags = []
    stage: LifecycleStage = "lead"
    external_id: ExternalId | None = None
    custom: Custom = {}


class CompanyChanges(Closed):
    """What to change of a company; what is left out stays."""

    name: Name = "-"
    parent_id: UUID | None = None
    owner_id: UUID | None = None
    industry: Industry | None = None
    website: ShortText | None = None
    year_founded: Year | None = None
    employees: Annotated[int, Field(ge=0, le=10_000_000)] | None = None
    annual_revenue: Money | None = None
    emails: Emails = []
    phones: Phones = []
    addresses: Addresses = []
    tags: Tags = []
    stage: LifecycleStage = "lead"
    external_id: ExternalId | None = None
    custom: Custom = {}


class Company(BaseModel):
    """A company."""

    id: UUID
    name: str = field("Name", "Nom", searchable=True, sortable=True)
    parent_id: UUID | None = field("Parent company", "Société mère")
    parent_name: str | None = field("Parent's name", "Nom de la société mère", filterable=False)
    owner_id: UUID | None = field("Owner", "Responsable")
    industry: Industry | None = field("Industry", "Secteur")
    website: str | None = field("Website", "Site web")
    year_founded: int | None = field("Founded in", "Fondée en")
    employees: int | None = field("Employees", "Effectif")
    annual_revenue: Money | None = field(
        "Annual revenue", "Chiffre d'affaires annuel", sortable=True
    )
    emails: list[Email] = field(
        "E-mails", "E-mails", searchable=True, filterable=False, part="address"
    )
    phones: list[PhoneNumber] = field(
        "Phones", "Téléphones", searchable=True, filterable=False, part="number"
    )
    addresses: list[Address] = field("Addresses", "Adresses", filterable=False)
    tags: list[str] = field("Tags", "Étiquettes")
    stage: LifecycleStage = field(
        "Lifecycle stage", "Étape de la relation", choices=LIFECYCLE_STAGES, renamed=RENAMED_STAGES
    )
    customer_since: dt.date | None = field("Customer since", "Cliente depuis")
    customer_because: str | None = field("Customer because of", "Cliente grâce à", filterable=False)
    external_id: str | None = field("External id", "Identifiant externe")
    custom: dict[str, Any] = field("Custom fields", "Champs personnalisés", filterable=False)
    version: int = field("Version", "Version", filterable=False)
    created_at: dt.datetime = field("Created", "Créée le", sortable=True)
    created_by: UUID | None = field("Created by", "Créée par")
    updated_at: dt.datetime = field("Changed", "Modifiée le", sortable=True)
    updated_by: UUID | None = field("Changed by", "Modifiée par")


class NewNote(Closed):
    """A note to add to a person or a company."""

    body: Paragraphs


class Note(BaseModel):
    """A note about a person or a company."""

    id: UUID
    about: str
    about_id: UUID
    body: str
    version: int
    created_at: dt.datetime
    created_by: UUID | None
    updated_at: dt.datetime
    updated_by: UUID | None


class TimelineEntry(BaseModel):
    """Something that happened with a person or a company, whoever tells it."""

    id: UUID
    at: dt.datetime
    kind: str
    by: UUID | None
    details: dict[str, Any]


# --- events ------------------------------------------------------------------------------------


class PersonRef(BaseModel):
    """A person as other services keep them."""

    id: UUID
    name: str
    company_id: UUID | None
    owner_id: UUID | None
    version: int


class CompanyRef(BaseModel):
    """A company as other services keep it."""

    id: UUID
    name: str
    external_id: str | None
    owner_id: UUID | None
    version: int


class PeopleSaved(Event):
    """People were added or changed."""

    source: ClassVar[str] = "contacts"
    type: ClassVar[str] = "people_saved"

    people: list[PersonRef]


Because = Literal["deleted", "merged", "erased"]
"""Why a record is gone: what points at one that was deleted lets go of it until it is back."""


class PersonRemoved(Event):
    """A person was deleted, or merged into another, or erased."""

    source: ClassVar[str] = "contacts"
    type: ClassVar[str] = "person_removed"
    key_field: ClassVar[str | None] = "person_id"

    person_id: UUID
    record_version: int | None = None
    because: Because | None = None


class PersonRestored(Event):
    """A person that was deleted is back; what is kept of them is told beside it."""

    source: ClassVar[str] = "contacts"
    type: ClassVar[str] = "person_restored"
    key_field: ClassVar[str | None] = "person_id"

    person_id: UUID
    record_version: int | None = None


class CompaniesSaved(Event):
    """Companies were added or changed."""

    source: ClassVar[str] = "contacts"
    type: ClassVar[str] = "companies_saved"

    companies: list[CompanyRef]


class CompanyRemoved(Event):
    """A company was deleted, or merged into another."""

    source: ClassVar[str] = "contacts"
    type: ClassVar[str] = "company_removed"
    key_field: ClassVar[str | None] = "company_id"

    company_id: UUID
    record_version: int | None = None
    because: Because | None = None


class CompanyRestored(Event):
    """A company that was deleted is back; what is kept of it is told beside it."""

    source: ClassVar[str] = "contacts"
    type: ClassVar[str] = "company_restored"
    key_field: ClassVar[str | None] = "company_id"

    company_id: UUID
    record_version: int | None = None


class LifecycleMoved(Event):
    """A person or company came to another stage, of those that there were before 0.4.

    It is told beside `lifecycle_moved.v2` for one release, where the two stages differ in it.
    """

    source: ClassVar[str] = "contacts"
    type: ClassVar[str] = "lifecycle_moved"
    key_field: ClassVar[str | None] = "record_id"

    record: Literal["contacts", "companies"]
    record_id: UUID
    before: EarlierStage
    after: EarlierStage
    because: str


class StageMoved(Event):
    """A person or company came to another stage of the relation."""

    source: ClassVar[str] = "contacts"
    type: ClassVar[str] = "lifecycle_moved.v2"
    key_field: ClassVar[str | None] = "record_id"

    record: Literal["contacts", "companies"]
    record_id: UUID
    before: LifecycleStage
    after: LifecycleStage
    because: str


# --- merges, erasures, questions of access -----------------------------------------------------


class Merging(Closed):
    """The other one of a merge, which becomes part of the one in the path.

    `from_version` is the version at which the caller knows the other. Of the fields in `take` the
    other's value is kept.
    """

    from_id: UUID = Field(alias="from")
    from_version: int | None = None
    take: Annotated[list[Name], Field(max_length=50)] = []


Ground = Literal["asked", "consent_withdrawn", "objected", "unlawful", "not_needed", "obligation"]
"""Why a person is erased, as article 17 of the GDPR has it."""


class Erasing(Closed):
    """Why a person is erased."""

    reason: Ground


class ModulesPart(BaseModel):
    """What a module has to do with a request: whether it has answered, and how many rows it was."""

    module: str
    state: Literal["waiting", "done", "retired"]
    counts: dict[str, int]
    answered_at: dt.datetime | None


class PrivacyRequest(BaseModel):
    """A merge, its undoing, an erasure or a question of access, and how far the modules are.

    `subject_id` is who it is about, of a merge the survivor, and `other_id` who was merged into
    them. An erasure ends with a certificate, a question of access with a file.
    """

    id: UUID
    kind: Literal["merge", "undo", "erasure", "access"] = field("Kind", "Type")
    record: Literal["contacts", "companies"] = field("Record", "Fiche")
    subject_id: UUID = field("About", "Objet")
    other_id: UUID | None = field("Merged from", "Fusionné depuis")
    reason: Ground | None = field("Reason", "Motif")
    state: Literal["running", "done"] = field("State", "État")
    modules: list[ModulesPart] = field("Modules", "Modules", filterable=False)
    certificate: dict[str, Any] | None = field("Certificate", "Attestation", filterable=False)
    has_file: bool = field("File", "Fichier", filterable=False)
    finished_at: dt.datetime | None = field("Finished", "Terminée")
    version: int = field("Version", "Version", filterable=False)
    created_at: dt.datetime = field("Asked", "Demandée le", sortable=True)
    created_by: UUID | None = field("Asked by", "Demandée par")
