"""The wire of connect: operations, event handlers and the loop that sends; it decides nothing."""

from collections.abc import Mapping
from typing import ClassVar
from uuid import UUID

from sqlalchemy.orm import Session

from liaison_connect import ledger, models, templates
from liaison_connect.ledger import MESSAGES
from liaison_connect.sending import Sender
from liaison_connect.templates import TEMPLATES
from liaison_kit import listing, records
from liaison_kit.calls.operations import delete, get, patch, post
from liaison_kit.calls.wire import Raw, Version
from liaison_kit.events import handles
from liaison_kit.jobs.loop import Loop
from liaison_kit.listing.asked import ListQuery, Page
from liaison_kit.privacy.serving import HoldsPersonalData
from liaison_kit.service import Service
from liaison_kit.settings import Settings
from liaison_sdk.contracts import connect as contracts
from liaison_sdk.contracts.connect import (
    MessageIntended,
    NewTemplate,
    ReadMessage,
    Template,
    TemplateChanges,
)
from liaison_sdk.errors import NotFound
from liaison_sdk.labels import Label


class Connect(HoldsPersonalData, Service):
    """Every message out: what others hand in, the tenant's templates, and what became of each."""

    name = "connect"
    label = Label(en="Messages", fr="Messages")
    records = (MESSAGES, TEMPLATES)
    holds = (models.Message,)
    tidies_after: ClassVar[Mapping[str, str]] = {
        "tidy_message_bodies": "message_bodies_kept_days",
        "tidy_messages": "messages_kept_days",
    }
    permissions = {
        "messages:read": Label(en="See messages", fr="Voir les messages"),
        "messages:write": Label(en="Send messages again", fr="Renvoyer des messages"),
        "templates:read": Label(en="See templates", fr="Voir les modèles"),
        "templates:write": Label(en="Change templates", fr="Modifier les modèles"),
    }
    menu = (
        {"label": {"en": "Messages", "fr": "Messages"}, "path": "/messages", "icon": "mail"},
        {"label": {"en": "Templates", "fr": "Modèles"}, "path": "/templates", "icon": "file"},
    )

    sender: ClassVar[Sender]
    loop = Loop("send_next", rung_by="messages", at_once=2)

    @classmethod
    def open(cls, settings: Settings) -> None:
        """Get ready to work, and find the way out."""
        super().open(settings)
        cls.sender = Sender.of(cls.db, cls.keys, settings)

    def send_next(self) -> bool:
        """Send the next message that is due; whether there was one."""
        return self.sender.send_next()

    # --- messages --------------------------------------------------------------------------------

    @get("/messages", allow="messages:read", record=MESSAGES)
    def list_messages(
        self, session: Session, query: ListQuery[contracts.Message]
    ) -> Raw[Page[contracts.Message]]:
        """Messages and what became of them, latest first; about records that you may see."""
        return Raw(listing.page(session, MESSAGES, query))

    @get("/messages/{id}", allow="messages:read", problems=[404])
    def get_message(self, session: Session, id: UUID) -> Raw[ReadMessage]:
        """One message with its body; a secret one has none to show."""
        return Raw(*ledger.read(session, id))

    @post("/messages/{id}/retry", allow="messages:write", status=200, problems=[404, 409])
    def retry_message(self, session: Session, id: UUID, version: Version) -> Raw[contracts.Message]:
        """Send a message again that has failed, or of which nobody knows whether it was sent.

        Whoever has it already gets it with the same Message-ID.
        """
        ledger.retry(session, id, version)
        return Raw(*ledger.answered(session, id))

    # --- templates -------------------------------------------------------------------------------

    @get("/templates", allow="templates:read", record=TEMPLATES)
    def list_templates(self, session: Session, query: ListQuery[Template]) -> Raw[Page[Template]]:
        """Templates, filtered and sorted."""
        return Raw(listing.page(session, TEMPLATES, query))

    @post("/templates", allow="templates:write", problems=[409])
    def create_template(self, session: Session, template: NewTemplate) -> Raw[Template]:
        """Add a template in one language; what can't be read in it is named with its line."""
        made = templates.create(session, template)
        return Raw(*records.answer(session, TEMPLATES, made))

    @get("/templates/{id}", allow="templates:read", problems=[404])
    def get_template(self, session: Session, id: UUID) -> Raw[Template]:
        """One template."""
        found = listing.read(session, TEMPLATES, id)
        if found is None:
            raise NotFound("There is no such template")
        return Raw(found[0].encode(), found[1])

    @patch("/templates/{id}", allow="templates:write", problems=[404, 409])
    def change_template(
        self, session: Session, id: UUID, changes: TemplateChanges, version: Version
    ) -> Raw[Template]:
        """Change what is sent of a template; messages that are on their way stay as they are."""
        made = templates.change(session, id, changes, version)
        return Raw(*records.answer(session, TEMPLATES, made))

    @delete("/templates/{id}", allow="templates:write", problems=[404])
    def delete_template(self, session: Session, id: UUID, version: Version) -> None:
        """Delete a template; messages that name it fail from then on."""
        templates.remove(session, id, version)

    # --- what others hand in ---------------------------------------------------------------------

    @handles(MessageIntended, source="identity")
    def on_identity_message(self, session: Session, event: MessageIntended) -> None:
        """Identity wants somebody to get a message: an invitation, a link to a new password."""
        ledger.accept(session, self.keys, "identity", event)

    @handles(MessageIntended, source="contacts")
    def on_contacts_message(self, session: Session, event: MessageIntended) -> None:
        """A flow about people or companies wants somebody to get a message."""
        ledger.accept(session, self.keys, "contacts", event)

    @handles(MessageIntended, source="sales")
    def on_sales_message(self, session: Session, event: MessageIntended) -> None:
        """A flow about opportunities wants somebody to get a message."""
        ledger.accept(session, self.keys, "sales", event)
