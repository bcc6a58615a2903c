"""What the identity service agrees to: users, teams, roles, tokens, and what happens to them."""

import datetime as dt
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, Field, SecretStr, StringConstraints
from pydantic_core import PydanticCustomError
from pydantic_extra_types.currency_code import Currency

from liaison_sdk.events import Event
from liaison_sdk.texts import Seen
from liaison_sdk.types import (
    WITHOUT_NUL,
    Closed,
    Country,
    EmailAddress,
    ExternalId,
    Name,
    ShortText,
    TimeZone,
    field,
)

Locale = Literal["en", "fr"]
RowRule = Literal["own", "team", "all"]

Email = EmailAddress
"""An address in lower case, so that one person can't be there twice."""


SHORTEST_PASSWORD, LONGEST_PASSWORD = 10, 200


def _of_good_length(password: SecretStr) -> SecretStr:
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise PydanticCustomError("password_length", "A password has 10 to 200 characters")
    return password


Password = Annotated[
    SecretStr,
    AfterValidator(_of_good_length),
    Field(json_schema_extra={"minLength": SHORTEST_PASSWORD, "maxLength": LONGEST_PASSWORD}),
]
"""A password; its length is all that is asked of it."""

Permission = Annotated[
    str, StringConstraints(pattern=r"^(\*|[a-z][a-z_]{0,62}:[a-z][a-z_]{0,62})$")
]
"""`<records>:read`, `<records>:write` and the like; `*` is everything."""

Permissions = Annotated[list[Permission], Field(max_length=500)]
RecordName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z_]{0,62}$")]
Rows = Annotated[dict[RecordName, RowRule], Field(max_length=100)]
Custom = Annotated[dict[str, Any], Field(max_length=100)]
RoleIds = Annotated[list[UUID], Field(max_length=20)]


# --- users ----------------------------------------------------------------------------------------


class User(BaseModel):
    """Somebody who works here; without an e-mail they have not been invited yet."""

    id: UUID = field("Id", "Identifiant")
    name: str = field("Name", "Nom", personal=True, searchable=True, sortable=True)
    email: str | None = field("E-mail", "E-mail", personal=True, searchable=True, sortable=True)
    title: str | None = field("Job title", "Fonction", searchable=True)
    team_id: UUID | None = field("Team", "Équipe")
    team: str | None = field("Team's name", "Nom de l'équipe")
    region: str | None = field("Region", "Région")
    manager_id: UUID | None = field("Manager", "Responsable", user=True)
    manager: str | None = field("Manager's name", "Nom du responsable", personal=True)
    role_ids: list[UUID] = field("Roles", "Rôles", filterable=False)
    active: bool = field("Active", "Actif")
    can_sign_in: bool = field("Can sign in", "Peut se connecter")
    unreached: str | None = field("Why the last letter failed", "Motif d'échec du dernier courrier")
    locale: Locale = field("Language", "Langue")
    last_signed_in_at: dt.datetime | None = field("Last sign-in", "Dernière connexion")
    external_id: str | None = field("External id", "Identifiant externe")
    custom: dict[str, Any] = field("Custom fields", "Champs personnalisés", filterable=False)
    version: int = field("Version", "Version", filterable=False)
    created_at: dt.datetime = field("Created", "Créé le", sortable=True)
    created_by: UUID | None = field("Created by", "Créé par")
    updated_at: dt.datetime = field("Changed", "Modifié le", sortable=True)
    updated_by: UUID | None = field("Changed by", "Modifié par")


class NewUser(Closed):
    """A user to add; with an e-mail and a password they can sign in at once.

    With an e-mail and no password they are invited to set one, unless `invite` is false.
    """

    name: Name
    email: Email | None = None
    password: Password | None = None
    invite: bool = True
    title: ShortText | None = None
    team_id: UUID | None = None
    manager_id: UUID | None = None
    role_ids: RoleIds = []
    active: bool = True
    locale: Locale = "en"
    external_id: ExternalId | None = None
    custom: Custom = {}


class UserChanges(Closed):
    """Fields of a user to set; what is not sent stays."""

    name: Name = "-"
    email: Email | None = None
    title: ShortText | None = None
    team_id: UUID | None = None
    manager_id: UUID | None = None
    role_ids: RoleIds = []
    active: bool = True
    locale: Locale = "en"
    external_id: ExternalId | None = None
    custom: Custom = {}


class NewPassword(Closed):
    """A password to set; whoever changes their own says the present one too.

    `keep_tokens` has one's own API tokens go on; otherwise they end with the old password.
    """

    password: Password
    current_password: Annotated[SecretStr, Field(max_length=200)] | None = None
    keep_tokens: bool = False


class Invitation(BaseModel):
    """A mail with a link by which somebody sets their first password."""

    expires_at: dt.datetime = field("Expires", "Expire le")


class PasswordResetWanted(Closed):
    """Somebody who has forgotten their password; `tenant` (its name or slug) tells where."""

    # Whatever it is, the answer is the same: that tells nothing of who is known.
    email: Annotated[str, StringConstraints(max_length=320, pattern=WITHOUT_NUL)]
    tenant: ShortText | None = None


class PasswordByLink(Closed):
    """A new password, and the end of the link in the mail, after `/password/`."""

    link: Annotated[SecretStr, Field(max_length=400)]
    password: Password


class EndedTokens(BaseModel):
    """What a new password has ended; the session that set it goes on."""

    sessions_ended: int = field("Sessions ended", "Sessions terminées")
    api_tokens_ended: int = field("API tokens ended", "Jetons d'API terminés")


# --- teams ----------------------------------------------------------------------------------------


class Team(BaseModel):
    """People who work together, in a region."""

    id: UUID = field("Id", "Identifiant")
    name: str = field("Name", "Nom", sortable=True)
    region: str | None = field("Region", "Région", sortable=True)
    manager_id: UUID | None = field("Manager", "Responsable", user=True)
    manager: str | None = field("Manager's name", "Nom du responsable", personal=True)
    members: int = field("Members", "Membres", filterable=False)
    external_id: str | None = field("External id", "Identifiant externe")
    custom: dict[str, Any] = field("Custom fields", "Champs personnalisés", filterable=False)
    version: int = field("Version", "Version", filterable=False)
    created_at: dt.datetime = field("Created", "Créée le", sortable=True)
    created_by: UUID | None = field("Created by", "Créée par")
    updated_at: dt.datetime = field("Changed", "Modifiée le", sortable=True)
    updated_by: UUID | None = field("Changed by", "Modifiée par")


class NewTeam(Closed):
    """A team to add."""

    name: Name
    region: ShortText | None = None
    manager_id: UUID | None = None
    external_id: ExternalId | None = None
    custom: Custom = {}


class TeamChanges(Closed):
    """Fields of a team to set; what is not sent stays."""

    name: Name = "-"
    region: ShortText | None = None
    manager_id: UUID | None = None
    external_id: ExternalId | None = None
    custom: Custom = {}


# --- roles ----------------------------------------------------------------------------------------


class Role(BaseModel):
    """What people who have it may do, and in whose rows; a kind of record not named is open."""

    id: UUID = field("Id", "Identifiant")
    name: str = field("Name", "Nom", sortable=True)
    permissions: list[str] = field("Permissions", "Droits")
    rows: dict[str, RowRule] = field("Rows", "Lignes", filterable=False)
    external_id: str | None = field("External id", "Identifiant externe")
    custom: dict[str, Any] = field("Custom fields", "Champs personnalisés", filterable=False)
    version: int = field("Version", "Version", filterable=False)
    created_at: dt.datetime = field("Created", "Créé le", sortable=True)
    created_by: UUID | None = field("Created by", "Créé par")
    updated_at: dt.datetime = field("Changed", "Modifié le", sortable=True)
    updated_by: UUID | None = field("Changed by", "Modifié par")


class NewRole(Closed):
    """A role to add."""

    name: Name
    permissions: Permissions = []
    rows: Rows = {}
    external_id: ExternalId | None = None
    custom: Custom = {}


class RoleChanges(Closed):
    """Fields of a role to set; what is not sent stays."""

    name: Name = "-"
    permissions: Permissions = []
    rows: Rows = {}
    external_id: ExternalId | None = None
    custom: Custom = {}


# --- signing in -----------------------------------------------------------------------------------


class Credentials(Closed):
    """Who signs in; `tenant` (its name or slug) tells which when an e-mail belongs to several."""

    email: Annotated[str, StringConstraints(max_length=320, pattern=WITHOUT_NUL), Seen]
    password: Annotated[SecretStr, Field(max_length=200)]
    tenant: ShortText | None = None


class Session(BaseModel):
    """A sign-in that succeeded: the token to send as `Authorization: Bearer`, and until when."""

    token: str
    expires_at: dt.datetime
    user: User


class TokenToCheck(Closed):
    """A token that somebody came with, by its hash: the token itself stays at the door."""

    token_hash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Authenticated(BaseModel):
    """Who it is and what they may do, signed, as it goes along with their calls.

    `expires_at` is when the token that they came with ends.
    """

    principal: str
    expires_at: dt.datetime | None


class PrincipalToRenew(Closed):
    """Somebody whose work goes on, by the principal that identity once signed."""

    principal: str


class RenewedPrincipal(BaseModel):
    """The same person with the rights that they have now; nothing when they have none left."""

    principal: str | None


class Tenant(BaseModel):
    """An organisation whose data nobody else sees, and where it is: a bare date is a day there."""

    id: UUID
    name: str = field("Name", "Nom")
    slug: str = field("Short name", "Nom court")
    time_zone: str = field("Time zone", "Fuseau horaire")
    country: str | None = field("Country", "Pays")
    currency: str = field("Currency", "Devise")
    language: Locale = field("Language", "Langue")
    version: int = field("Version", "Version")


class TenantChanges(Closed):
    """What to set of one's organisation; what is not sent stays."""

    name: Name = "-"
    time_zone: TimeZone = "UTC"
    country: Country | None = None
    currency: Currency = Currency("EUR")
    language: Locale = "en"


class Me(BaseModel):
    """Who is signed in, where, and what they may do."""

    user: User
    tenant: Tenant
    permissions: list[str]
    rows: dict[str, RowRule]
    kind: Literal["session", "token"]


class Administrator(Closed):
    """The first user of a tenant."""

    name: Name = "Administrator"
    email: Email
    password: Password
    locale: Locale = "en"


class NewTenant(Closed):
    """An organisation to set up; its slug is made of its name unless it is given.

    Its language is that of its administrator unless one is given.
    """

    name: Name
    slug: Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9-]{0,62}$")] | None = None
    time_zone: TimeZone = "UTC"
    country: Country | None = None
    currency: Currency = Currency("EUR")
    language: Locale | None = None
    administrator: Administrator


# --- tokens ---------------------------------------------------------------------------------------


class Token(BaseModel):
    """A session or an API token, without its secret."""

    id: UUID
    user_id: UUID
    kind: Literal["session", "token"] = field("Kind", "Type")
    label: str | None = field("Label", "Libellé")
    permissions: list[str] | None = field("Permissions", "Droits")
    created_at: dt.datetime = field("Created", "Créé le")
    expires_at: dt.datetime | None = field("Expires", "Expire le")
    last_used_at: dt.datetime | None = field("Last used", "Dernier usage")


class NewToken(Closed):
    """An API token to make: what for, how long, and which of your permissions (all by default)."""

    label: Name
    days: Annotated[int, Field(ge=1, le=3650)] | None = 365
    permissions: Permissions | None = None


class IssuedToken(Token):
    """A new API token; its secret is shown this once."""

    token: str


# --- audit ----------------------------------------------------------------------------------------


class AuditEntry(BaseModel):
    """Who did what, when, to which record."""

    id: UUID = field("Id", "Identifiant")
    at: dt.datetime = field("When", "Quand")
    by: UUID | None = field("By", "Par")
    by_name: str | None = field("By (name)", "Par (nom)", personal=True)
    action: str = field("Action", "Action")
    record: str = field("Record", "Objet")
    record_id: UUID | None = field("Record's id", "Identifiant de l'objet")
    details: dict[str, Any] = field("Details", "Détails", filterable=False)


# --- events ---------------------------------------------------------------------------------------


class UserRef(BaseModel):
    """A user as other services keep them; `version` grows with every change of what is here."""

    id: UUID
    name: str
    email: str | None
    team_id: UUID | None
    team: str | None
    region: str | None
    manager_id: UUID | None
    manager: str | None
    active: bool
    version: int


class TenantCreated(Event):
    """An organisation was set up; services may give it what it starts with."""

    source: ClassVar[str] = "identity"
    type: ClassVar[str] = "tenant_created"
    key_field: ClassVar[str | None] = "tenant_id"

    tenant_id: UUID
    name: str
    locale: Locale


class TenantRef(BaseModel):
    """An organisation as services keep it; `version` grows with every change of what is here."""

    name: str
    time_zone: str
    country: str | None
    currency: str
    language: Locale
    version: int


class TenantSaved(Event):
    """An organisation was set up or changed."""

    source: ClassVar[str] = "identity"
    type: ClassVar[str] = "tenant_saved"
    key_field: ClassVar[str | None] = "tenant_id"

    tenant_id: UUID
    tenant: TenantRef


class UsersSaved(Event):
    """Users were added or changed, or their team or manager was."""

    source: ClassVar[str] = "identity"
    type: ClassVar[str] = "users_saved"

    users: list[UserRef]


class UserRemoved(Event):
    """A user was deleted."""

    source: ClassVar[str] = "identity"
    type: ClassVar[str] = "user_removed"
    key_field: ClassVar[str | None] = "user_id"

    user_id: UUID
    record_version: int | None = None


class TokenRevoked(Event):
    """A token is not valid any more; the hash is the SHA-256 of the token, in hexadecimal."""

    source: ClassVar[str] = "identity"
    type: ClassVar[str] = "token_revoked"
    key_field: ClassVar[str | None] = "token_hash"

    token_hash: str


class RoleSaved(Event):
    """A role was added, changed or deleted: what its holders may do has changed."""

    source: ClassVar[str] = "identity"
    type: ClassVar[str] = "role_saved"
    key_field: ClassVar[str | None] = "role_id"

    role_id: UUID


class TeamSaved(Event):
    """A team was added, changed or deleted: whose rows are the team's has changed."""

    source: ClassVar[str] = "identity"
    type: ClassVar[str] = "team_saved"
    key_field: ClassVar[str | None] = "team_id"

    team_id: UUID
