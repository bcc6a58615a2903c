"""What connect agrees to: messages that others hand to it, their templates, what became of them.

Connect judges an intent, and not its sender's transaction: a bad address is told by
`message_failed`, so that nobody's record is refused because of somebody's e-mail.
"""

import datetime as dt
from typing import Annotated, Any, ClassVar, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from liaison_sdk.contracts.identity import Locale
from liaison_sdk.events import Event
from liaison_sdk.texts import Seen
from liaison_sdk.types import WITHOUT_NUL, Closed, Code, ExternalId, Name, field

MessageState = Literal["queued", "claimed", "sent", "failed", "expired", "unknown"]

FailureReason = Literal[
    "no_address",
    "bad_address",
    "unknown_channel",
    "no_content",
    "unknown_template",
    "bad_template",
    "same_id",
    "refused",
    "gave_up",
    "expired",
    "unknown",
]
"""Why a message was not sent; of an `unknown` one it is not known whether it was."""


# --- intents --------------------------------------------------------------------------------------


class Recipient(BaseModel):
    """Whom a message is for; `language` decides which of a template's texts they get."""

    model_config = ConfigDict(frozen=True)

    address: str | None
    name: str | None = None
    person_id: UUID | None = None
    language: Locale = "en"


class Content(BaseModel):
    """What a message says, finished; without `html` it is plain text."""

    model_config = ConfigDict(frozen=True)

    subject: str
    text: str
    html: str | None = None


class About(BaseModel):
    """The record that a message is about: it is shown to who may see that record."""

    model_config = ConfigDict(frozen=True)

    record: str
    id: UUID
    owner_id: UUID | None = None


class MessageIntent(BaseModel):
    """A message that somebody wants to be sent, once.

    Its sender chooses `id`: the same id again is the same message. It says something finished
    (`content`), or names a template of the tenant's and the fields to fill in. What it says is
    sealed to connect on its way there if it is `secret`, and is kept until it was sent, no longer.
    """

    model_config = ConfigDict(frozen=True)

    id: UUID
    channel: str = "email"
    to: Recipient
    purpose: str
    content: Content | None = None
    template: str | None = None
    fields: dict[str, Any] = {}
    about: About | None = None
    not_before: dt.datetime | None = None
    expires_at: dt.datetime | None = None
    secret: bool = False


class Sealed(BaseModel):
    """What of an intent only connect may read."""

    content: Content | None
    fields: dict[str, Any]


class MessageIntended(Event):
    """A service hands connect a message to send; each tells its own, under its own name.

    Of a secret one the intent has no content and no fields: those are in `sealed`.
    """

    source: ClassVar[str] = "connect"
    type: ClassVar[str] = "message_intended"
    key_field: ClassVar[str | None] = "intent_id"

    intent_id: UUID
    intent: MessageIntent
    sealed: str | None = None


# --- what became of them --------------------------------------------------------------------------


class MessageSent(Event):
    """A message was handed to whoever delivers it."""

    source: ClassVar[str] = "connect"
    type: ClassVar[str] = "message_sent"
    key_field: ClassVar[str | None] = "intent_id"

    intent_id: UUID
    message_id: UUID
    sender: str
    channel: str
    purpose: str
    person_id: UUID | None
    about: About | None
    sent_at: dt.datetime


class MessageFailed(Event):
    """A message was not sent and won't be; nothing was taken on where it has no `message_id`."""

    source: ClassVar[str] = "connect"
    type: ClassVar[str] = "message_failed"
    key_field: ClassVar[str | None] = "intent_id"

    intent_id: UUID
    message_id: UUID | None
    sender: str
    channel: str
    purpose: str
    person_id: UUID | None
    about: About | None
    reason: str
    detail: str


# --- the ledger -----------------------------------------------------------------------------------


class Message(BaseModel):
    """A message and what has become of it, without its body."""

    id: UUID = field("Id", "Identifiant")
    intent_id: UUID = field("Intent", "Intention")
    sender: str = field("Sent for", "Envoyé pour")
    channel: str = field("Channel", "Canal")
    purpose: str = field("Purpose", "Motif")
    to_address: str | None = field("To", "À", personal=True)
    to_name: str | None = field("To (name)", "À (nom)", personal=True)
    person_id: UUID | None = field("Person", "Personne")
    language: str = field("Language", "Langue")
    template: str | None = field("Template", "Modèle")
    subject: str | None = field("Subject", "Objet", personal=True)
    about_record: str | None = field("About (kind)", "Concerne (type)")
    about_id: UUID | None = field("About", "Concerne")
    secret: bool = field("Secret", "Secret")
    state: MessageState = field("State", "État")
    reason: FailureReason | None = field("Reason", "Raison")
    answer: str | None = field("Answer", "Réponse", filterable=False)
    attempts: int = field("Attempts", "Tentatives")
    not_before: dt.datetime | None = field("Not before", "Pas avant")
    expires_at: dt.datetime | None = field("Expires", "Expire le")
    sent_at: dt.datetime | None = field("Sent", "Envoyé le")
    version: int = field("Version", "Version", filterable=False)
    created_at: dt.datetime = field("Created", "Créé le", sortable=True)
    updated_at: dt.datetime = field("Changed", "Modifié le", sortable=True)


class ReadMessage(Message):
    """A message with its body; a secret one has none to show."""

    text: str | None = field("Text", "Texte", personal=True, filterable=False)
    html: str | None = field("HTML", "HTML", personal=True, filterable=False)


# --- templates ------------------------------------------------------------------------------------

Subject = Annotated[str, StringConstraints(min_length=1, max_length=998, pattern=WITHOUT_NUL), Seen]
Body = Annotated[str, StringConstraints(max_length=200_000, pattern=WITHOUT_NUL)]
FilledBody = Annotated[Body, Seen]
Custom = Annotated[dict[str, Any], Field(max_length=100)]


class Template(BaseModel):
    """A message's texts in one language, in Liquid; intents name it by its code."""

    id: UUID = field("Id", "Identifiant")
    code: str = field("Code", "Code", sortable=True)
    language: Locale = field("Language", "Langue")
    name: str = field("Name", "Nom", sortable=True)
    subject: str = field("Subject", "Objet")
    text: str = field("Text", "Texte", filterable=False)
    html: str | None = field("HTML", "HTML", filterable=False)
    external_id: str | None = field("External id", "Identifiant externe")
    custom: dict[str, Any] = field("Custom fields", "Champs personnalisés", filterable=False)
    version: int = field("Version", "Version", filterable=False)
    created_at: dt.datetime = field("Created", "Créé le", sortable=True)
    created_by: UUID | None = field("Created by", "Créé par")
    updated_at: dt.datetime = field("Changed", "Modifié le", sortable=True)
    updated_by: UUID | None = field("Changed by", "Modifié par")


class NewTemplate(Closed):
    """A template to add; each code has one per language."""

    code: Code
    language: Locale
    name: Name
    subject: Subject
    text: FilledBody
    html: Body | None = None
    external_id: ExternalId | None = None
    custom: Custom = {}


class TemplateChanges(Closed):
    """Fields of a template to set; what is not sent stays."""

    name: Name = "-"
    subject: Subject = "-"
    text: FilledBody = "-"
    html: Body | None = None
    external_id: ExternalId | None = None
    custom: Custom = {}
