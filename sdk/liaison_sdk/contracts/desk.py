"""What identity keeps for each person at their desk: notifications, drafts, saved views.

Any module tells people something (`UsersNotified`); the rest is asked over HTTP.
"""

import datetime as dt
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from pydantic import BaseModel, Field, StringConstraints

from liaison_sdk.contracts.connect import About
from liaison_sdk.events import Event
from liaison_sdk.types import WITHOUT_NUL, Closed, Code, Name, field

# --- notifications --------------------------------------------------------------------------------

Channel = Literal["app", "mail", "digest", "none"]
"""How a person hears of a kind: on the screen; there and by a mail at once; there and in the mail
of the day; not at all."""

KindName = Annotated[
    str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}\.[a-z][a-z0-9_]{0,62}$")
]
"""A module and its kind of notification: `sales.flow_notice`."""


class Said(BaseModel):
    """What a notification says: a line, and what there is to add."""

    subject: str
    text: str


class Translated(BaseModel):
    """The same in each language that Liaison speaks."""

    en: Said
    fr: Said


class UsersNotified(Event):
    """A service tells users something, each service in its own name; at most 500 at a time.

    `channel` is how they hear of it who have not chosen otherwise.
    """

    source: ClassVar[str] = "identity"
    type: ClassVar[str] = "users_notified"
    key_field: ClassVar[str | None] = "notice_id"

    notice_id: UUID
    kind: str
    user_ids: list[UUID]
    channel: Channel
    about: About | None
    said: Translated


class NotificationsChanged(Event):
    """Somebody's notifications are others than they were; nobody else is told."""

    source: ClassVar[str] = "identity"
    type: ClassVar[str] = "notifications_changed"
    key_field: ClassVar[str | None] = "owner_id"

    owner_id: UUID


class Notification(BaseModel):
    """Something that a person was told; `times` is how often, while they had not read it."""

    id: UUID = field("Id", "Identifiant")
    module: str = field("Module", "Module")
    kind: str = field("Kind", "Type")
    record: str | None = field("About (kind)", "Concerne (type)")
    record_id: UUID | None = field("About", "Concerne")
    subject: str = field("Subject", "Objet", personal=True, filterable=False)
    text: str = field("Text", "Texte", personal=True, filterable=False)
    times: int = field("Times", "Nombre de fois")
    unread: bool = field("Unread", "Non lue")
    read_at: dt.datetime | None = field("Read", "Lue le")
    created_at: dt.datetime = field("First told", "Première fois", sortable=True)
    updated_at: dt.datetime = field("Last told", "Dernière fois", sortable=True)


class Unread(BaseModel):
    """How many notifications a person has not read; from `most` on they are not counted."""

    unread: int
    most: int


class ReadUntil(Closed):
    """Up to which moment everything has been read: what came later stays unread."""

    until: dt.datetime


class ReadNow(BaseModel):
    """How many notifications are read now that were not."""

    read: int


WallTime = Annotated[str, StringConstraints(pattern=r"^([01][0-9]|2[0-3]):[0-5][0-9]$")]
"""A time by the clock on the organisation's wall: `07:30`. JSON Schema's own has a zone."""


class NotificationChoices(BaseModel):
    """How a person hears of what: the kinds that they chose for, and when the day's mail goes."""

    digest_at: WallTime
    channels: dict[str, Channel]


class NotificationChoiceChanges(Closed):
    """Choices to set; a kind that is set to null is as its module has it."""

    digest_at: WallTime = "08:00"
    channels: Annotated[dict[KindName, Channel | None], Field(max_length=200)] = {}


# --- drafts ---------------------------------------------------------------------------------------

LONGEST_DRAFT = 100_000


class Draft(BaseModel):
    """What somebody has written and not sent yet, of a record and a field of it."""

    record: str
    record_id: UUID
    field: str
    body: str
    version: int
    updated_at: dt.datetime


class DraftText(Closed):
    """What has been written so far: a text, or a form as the screen writes it."""

    body: Annotated[str, StringConstraints(pattern=WITHOUT_NUL)]


class Drafts(BaseModel):
    """All that somebody has begun about one record."""

    items: list[Draft]


# --- saved views ----------------------------------------------------------------------------------

Share = Literal["own", "team", "all"]
ViewKind = Literal["list", "board"]
FieldPath = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_.]{0,127}$")]
SortBy = Annotated[str, StringConstraints(pattern=r"^-?[a-z][a-z0-9_.]{0,127}$")]
Columns = Annotated[list[FieldPath], Field(max_length=100)]
Asked = Annotated[str, StringConstraints(max_length=4000, pattern=WITHOUT_NUL)]
Condition = Annotated[dict[str, Any], Field(max_length=10)]


class View(BaseModel):
    """A question that is asked again and again: of which records, how narrowed, how shown.

    It holds no answer and gives no right: who asks it sees what they may see.
    """

    id: UUID
    name: str
    record: str
    kind: ViewKind
    query: str
    where: dict[str, Any] | None
    sort: str | None
    by: str | None
    columns: list[str]
    share: Share
    team_id: UUID | None
    owner_id: UUID | None
    position: int | None
    is_default: bool
    version: int
    created_at: dt.datetime
    updated_at: dt.datetime


class NewView(Closed):
    """A view to save.

    `query` are the filters as a list takes them (`stage=won&amount[gte]=100`), `where` a condition
    beside them, `by` the field of a board. Sharing it needs `views:share`.
    """

    name: Name
    record: Code
    kind: ViewKind = "list"
    query: Asked = ""
    where: Condition | None = None
    sort: SortBy | None = None
    by: FieldPath | None = None
    columns: Columns = []
    share: Share = "own"


class ViewChanges(Closed):
    """What to set of a view; what is not sent stays."""

    name: Name = "-"
    kind: ViewKind = "list"
    query: Asked = ""
    where: Condition | None = None
    sort: SortBy | None = None
    by: FieldPath | None = None
    columns: Columns = []
    share: Share = "own"


class ViewOrder(Closed):
    """In which order somebody wants their views of a kind of record; the rest come after."""

    record: Code
    ids: Annotated[list[UUID], Field(max_length=200)]
