"""The wire of contacts: operations and event handlers; it decides nothing."""

from collections.abc import Callable, Mapping
from typing import Annotated, ClassVar
from uuid import UUID

from pydantic import Field
from sqlalchemy.orm import Session

from liaison_contacts import (
    companies,
    deals,
    deals_taken_back,
    duplicates,
    merges,
    models,
    notes,
    people,
    privacy,
    timeline,
)
from liaison_contacts.companies import COMPANIES
from liaison_contacts.flows import flows
from liaison_contacts.importing import COMPANIES_IMPORT, CONTACTS
from liaison_contacts.notes import NOTES
from liaison_contacts.owners import OWNERS
from liaison_contacts.people import PEOPLE
from liaison_contacts.privacy import REQUESTS, AskAgain, FileExpires
from liaison_contacts.spread import SPREAD
from liaison_kit import listing, records
from liaison_kit.calls.operations import delete, get, internal, patch, post
from liaison_kit.calls.wire import Download, Raw, Version
from liaison_kit.events import handles
from liaison_kit.events.resend import Told
from liaison_kit.flows import (
    FLOW_NOTICE,
    FLOW_TIDIES,
    PERMISSIONS,
    FlowOperations,
    calling,
    following,
)
from liaison_kit.listing.asked import ListQuery, Page
from liaison_kit.listing.mine import Mine
from liaison_kit.privacy.serving import HoldsPersonalData
from liaison_kit.records.recordtype import RecordType
from liaison_kit.resources import TIDIES, Resource
from liaison_kit.service import Service
from liaison_kit.timers.timer import on_timer
from liaison_sdk.contracts import contacts as contract
from liaison_sdk.contracts import sales
from liaison_sdk.contracts.contacts import (
    Company,
    CompanyChanges,
    Contact,
    ContactChanges,
    CreatedContact,
    Erasing,
    Merging,
    NewCompany,
    NewContact,
    NewNote,
    Note,
    TimelineEntry,
)
from liaison_sdk.contracts.flows import NoteAsked, OperationAsked
from liaison_sdk.contracts.privacy import HOLDERS, PersonalDataHeld, PrivacyAnswered
from liaison_sdk.contracts.questions import FoundIds, Ids, KnownCompanies, KnownContacts, Names
from liaison_sdk.labels import Label

Limit = Annotated[int, Field(ge=1, le=200)]


_PEOPLE = Resource(PEOPLE, "contact", NewContact, ContactChanges, people, spread=SPREAD)
_COMPANIES = Resource(COMPANIES, "company", NewCompany, CompanyChanges, companies, spread=SPREAD)


class Contacts(HoldsPersonalData, FlowOperations, Service):
    """People and companies: the shared record."""

    name = "contacts"
    label = Label(en="Contacts", fr="Contacts")
    records = (PEOPLE, COMPANIES)
    resources = (_PEOPLE, _COMPANIES)
    copies = (OWNERS,)
    holds = (models.Person, models.Company, models.Note, models.Occurrence)
    unsearched: ClassVar[Mapping[str, str]] = {
        "owners": "users of Liaison, whom identity tells of",
        "companies": "a company's own name and addresses are not a person's",
    }
    followers = (following,)
    importables = (CONTACTS, COMPANIES_IMPORT)
    flows = flows(_PEOPLE, _COMPANIES)
    tells = (
        Told(COMPANIES, companies.tell, companies.tell_removed),
        Told(PEOPLE, people.tell, people.tell_removed),
    )
    tidies = (*Service.tidies, *TIDIES, "tidy_flows", "refill_searches")
    tidies_after = FLOW_TIDIES
    permissions = {
        "contacts:read": Label(en="See contacts", fr="Voir les contacts"),
        "contacts:write": Label(en="Change contacts", fr="Modifier les contacts"),
        "companies:read": Label(en="See companies", fr="Voir les sociétés"),
        "companies:write": Label(en="Change companies", fr="Modifier les sociétés"),
        "contacts:export": Label(en="Export contacts", fr="Exporter les contacts"),
        "companies:export": Label(en="Export companies", fr="Exporter les sociétés"),
        "contacts:merge": Label(en="Merge contacts", fr="Fusionner des contacts"),
        "companies:merge": Label(en="Merge companies", fr="Fusionner des sociétés"),
        "privacy:read": Label(
            en="See merges, erasures and access requests",
            fr="Voir les fusions, effacements et demandes d'accès",
        ),
        "privacy:write": Label(
            en="Erase people and hand out what is held of them",
            fr="Effacer des personnes et remettre les données détenues",
        ),
        **PERMISSIONS,
    }
    notification_kinds = (FLOW_NOTICE,)
    menu = (
        {"label": {"en": "Contacts", "fr": "Contacts"}, "path": "/contacts", "icon": "users"},
        {"label": {"en": "Companies", "fr": "Sociétés"}, "path": "/companies", "icon": "building"},
    )
    mine = (
        Mine(
            "contacts",
            Label(en="My contacts", fr="Mes contacts"),
            PEOPLE,
            {"owner_id": "me", "sort": "-updated_at"},
        ),
        Mine(
            "companies",
            Label(en="My companies", fr="Mes sociétés"),
            COMPANIES,
            {"owner_id": "me", "sort": "-updated_at"},
        ),
    )
    live = (
        {"type": "people_saved", "record": "contacts", "permission": "contacts:read"},
        {"type": "person_removed", "record": "contacts", "permission": "contacts:read"},
        {"type": "companies_saved", "record": "companies", "permission": "companies:read"},
        {"type": "company_removed", "record": "companies", "permission": "companies:read"},
    )

    # --- people ----------------------------------------------------------------------------------

    @post("/contacts", allow="contacts:write", problems=[409])
    def create_contact(self, session: Session, contact: NewContact) -> Raw[CreatedContact]:
        """Add a person; `possible_duplicates` warns when they may exist already."""
        alike = duplicates.warn(session, self.hooks, contact)
        person = people.create(session, contact)
        return Raw(*people.answer(session, person, alike))

    @get("/contacts/{id}/timeline", allow="contacts:read", problems=[404])
    def contact_timeline(
        self, session: Session, id: UUID, limit: Limit = 50, cursor: str | None = None
    ) -> Raw[Page[TimelineEntry]]:
        """Everything that happened with a person, latest first."""
        return Raw(timeline.of(session, PEOPLE, id, limit, cursor))

    @get("/contacts/{id}/notes", allow="contacts:read", problems=[404])
    def list_contact_notes(self, session: Session, id: UUID) -> Raw[Page[Note]]:
        """The latest notes about a person."""
        return Raw(notes.of(session, PEOPLE, id))

    @post("/contacts/{id}/notes", allow="contacts:write", problems=[404])
    def create_contact_note(self, session: Session, id: UUID, note: NewNote) -> Raw[Note]:
        """Write a note about a person."""
        return Raw(*records.answer(session, NOTES, notes.add(session, PEOPLE, id, note)))

    # --- companies -------------------------------------------------------------------------------

    @get("/companies/{id}/timeline", allow="companies:read", problems=[404])
    def company_timeline(
        self, session: Session, id: UUID, limit: Limit = 50, cursor: str | None = None
    ) -> Raw[Page[TimelineEntry]]:
        """Everything that happened with a company, latest first."""
        return Raw(timeline.of(session, COMPANIES, id, limit, cursor))

    @get("/companies/{id}/notes", allow="companies:read", problems=[404])
    def list_company_notes(self, session: Session, id: UUID) -> Raw[Page[Note]]:
        """The latest notes about a company."""
        return Raw(notes.of(session, COMPANIES, id))

    @post("/companies/{id}/notes", allow="companies:write", problems=[404])
    def create_company_note(self, session: Session, id: UUID, note: NewNote) -> Raw[Note]:
        """Write a note about a company."""
        return Raw(*records.answer(session, NOTES, notes.add(session, COMPANIES, id, note)))

    # --- notes -----------------------------------------------------------------------------------
    # What they hang on decides who may; `notes` demands it, so no permission is declared here.

    @patch("/notes/{id}", problems=[404])
    def change_note(self, session: Session, id: UUID, note: NewNote, version: Version) -> Raw[Note]:
        """Rewrite a note.

        Needs `contacts:write` or `companies:write`, whichever it hangs on.
        """
        notes.change(session, id, version, note)
        return Raw(*records.answer(session, NOTES, id))

    @delete("/notes/{id}", problems=[404])
    def delete_note(self, session: Session, id: UUID, version: Version) -> None:
        """Delete a note.

        Needs `contacts:write` or `companies:write`, whichever it hangs on.
        """
        notes.remove(session, id, version)

    # --- merges, erasures, questions of access ---------------------------------------------------

    @get("/contacts/{id}", allow="contacts:read", problems=[404])
    def get_contact(self, session: Session, id: UUID) -> Raw[Contact]:
        """One contact; of one that was merged, 404 with `merged_into`."""
        return Raw(*self._one(session, PEOPLE, id))

    @get("/companies/{id}", allow="companies:read", problems=[404])
    def get_company(self, session: Session, id: UUID) -> Raw[Company]:
        """One company; of one that was merged, 404 with `merged_into`."""
        return Raw(*self._one(session, COMPANIES, id))

    def _one(self, session: Session, kind: RecordType, id: UUID) -> tuple[bytes, int]:
        found = listing.read(session, kind, id)
        if found is None:
            raise merges.missing(session, kind, id)
        return found[0].encode(), found[1]

    @post("/contacts/{id}/merge", allow="contacts:merge", problems=[404, 409])
    def merge_contact(
        self, session: Session, id: UUID, merging: Merging, version: Version
    ) -> Raw[contract.PrivacyRequest]:
        """Make another contact part of this one.

        This one keeps its values and takes over what it lacks; lists are united. What points at
        the other points at this one then, in every module.
        """
        return Raw(*self._merge(session, PEOPLE, id, version, merging))

    @post("/companies/{id}/merge", allow="companies:merge", problems=[404, 409])
    def merge_company(
        self, session: Session, id: UUID, merging: Merging, version: Version
    ) -> Raw[contract.PrivacyRequest]:
        """Make another company part of this one.

        This one keeps its values and takes over what it lacks; lists are united. What points at
        the other points at this one then, in every module.
        """
        return Raw(*self._merge(session, COMPANIES, id, version, merging))

    def _merge(
        self, session: Session, kind: RecordType, id: UUID, version: int, merging: Merging
    ) -> tuple[bytes, int]:
        done = merges.merge(session, kind, id, version, merging)
        counts = self.merged(session, done)
        return privacy.read(session, privacy.begin(session, done, id, done.from_id, done=counts))

    @post("/contacts/{id}/merges/{merge}/undo", allow="contacts:merge", problems=[404, 409])
    def undo_contact_merge(
        self, session: Session, id: UUID, merge: UUID
    ) -> Raw[contract.PrivacyRequest]:
        """Make two contacts again of one; what has been changed since the merge stays."""
        return Raw(*self._undo(session, PEOPLE, id, merge))

    @post("/companies/{id}/merges/{merge}/undo", allow="companies:merge", problems=[404, 409])
    def undo_company_merge(
        self, session: Session, id: UUID, merge: UUID
    ) -> Raw[contract.PrivacyRequest]:
        """Make two companies again of one; what has been changed since the merge stays."""
        return Raw(*self._undo(session, COMPANIES, id, merge))

    def _undo(self, session: Session, kind: RecordType, id: UUID, merge: UUID) -> tuple[bytes, int]:
        done = merges.undo(session, kind, id, merge)
        counts = self.unmerged(session, done)
        return privacy.read(session, privacy.begin(session, done, id, done.from_id, done=counts))

    @post("/contacts/{id}/erase", allow="privacy:write", problems=[404, 409])
    def erase_contact(
        self, session: Session, id: UUID, erasing: Erasing
    ) -> Raw[contract.PrivacyRequest]:
        """Erase a person in every module, for good; also one who is in the trash."""
        reason = erasing.reason
        asked = privacy.erase(session, self.keys, self.holdings(), id, reason)
        return Raw(*privacy.read(session, asked))

    @post("/contacts/{id}/access", allow="privacy:write", problems=[404, 409])
    def give_access_to_contact(self, session: Session, id: UUID) -> Raw[contract.PrivacyRequest]:
        """Put together what every module holds of a person, as a file for who asks this."""
        return Raw(*privacy.read(session, privacy.give(session, self.keys, id)))

    @get("/privacy-requests", allow="privacy:read", record=REQUESTS)
    def list_privacy_requests(
        self, session: Session, query: ListQuery[contract.PrivacyRequest]
    ) -> Raw[Page[contract.PrivacyRequest]]:
        """Merges, erasures and questions of access, latest first."""
        return Raw(listing.page(session, REQUESTS, query))

    @get("/privacy-requests/{id}", problems=[404])
    def get_privacy_request(self, session: Session, id: UUID) -> Raw[contract.PrivacyRequest]:
        """One request, and which modules it waits for.

        For who has asked it; any other needs `privacy:read`.
        """
        return Raw(*privacy.read(session, id))

    @get("/privacy-requests/{id}/file", allow="privacy:write", problems=[404])
    def get_privacy_file(self, session: Session, id: UUID) -> Download:
        """What is held of a person, for who has asked it; it is kept for a week."""
        return privacy.file(session, id)

    @post("/modules/{module}/retire", allow="operations:manage", status=200, problems=[404])
    def retire_module(self, session: Session, module: str) -> None:
        """Wait for a module no more, whose data is gone with it; it is back once it says so."""
        privacy.retire(session, self.keys, module)

    @on_timer(AskAgain)
    def on_ask_again(self, session: Session, timer: AskAgain) -> None:
        """Somebody has not answered for a while."""
        privacy.ask_again(session, timer.request_id)

    @on_timer(FileExpires)
    def on_file_expires(self, session: Session, timer: FileExpires) -> None:
        """What was handed out is not kept."""
        privacy.drop_file(session, timer.request_id)

    @handles(PersonalDataHeld, PrivacyAnswered, source="contacts")
    def on_own_answer(self, session: Session, event: PersonalDataHeld | PrivacyAnswered) -> None:
        """Contacts itself holds data of persons, and has done its part of a request."""
        self._answered(session, event)

    def _answered(self, session: Session, event: PersonalDataHeld | PrivacyAnswered) -> None:
        if event.module != event.envelope.source:
            raise ValueError("a module answers for itself only")
        if isinstance(event, PersonalDataHeld):
            privacy.holds(session, event)
        else:
            privacy.answered(session, self.keys, event)

    # --- questions of other services -------------------------------------------------------------

    @internal()
    def resolve_companies(self, session: Session, asked: Names) -> FoundIds:
        """Which companies have these names."""
        return FoundIds(found=companies.resolve(session, asked.names))

    @internal()
    def known_companies(self, session: Session, asked: Ids) -> KnownCompanies:
        """What others keep of these companies."""
        return KnownCompanies(companies=companies.known(session, asked.ids))

    @internal()
    def known_contacts(self, session: Session, asked: Ids) -> KnownContacts:
        """What others keep of these people."""
        return KnownContacts(contacts=people.told_of(session, asked.ids))

    @internal()
    def resolve_contacts(self, session: Session, asked: Names) -> FoundIds:
        """Which people have these external ids or e-mail addresses."""
        return FoundIds(found=people.resolve(session, asked.names))

    @internal()
    def known_people(self, session: Session, asked: Ids) -> Ids:
        """Which of these people there are."""
        return Ids(ids=people.known(session, asked.ids))

    # --- what flows of others ask for ------------------------------------------------------------

    @handles(OperationAsked, source="sales")
    def on_sales_call(self, session: Session, event: OperationAsked) -> None:
        """A flow about opportunities wants something to be done here."""
        calling.answer(session, "contacts", event, {"add_note": (NoteAsked, notes.add_asked)})

    # --- what sales tells ------------------------------------------------------------------------

    @handles(sales.OpportunityOpened)
    def on_opportunity_opened(self, session: Session, event: sales.OpportunityOpened) -> None:
        """An opportunity was opened with a company or a person."""
        deals.opened(session, event)

    @handles(sales.OpportunityMoved)
    def on_opportunity_moved(self, session: Session, event: sales.OpportunityMoved) -> None:
        """An opportunity came to another stage."""
        deals.moved(session, event)

    @handles(sales.OpportunityChanged)
    def on_opportunity_changed(self, session: Session, event: sales.OpportunityChanged) -> None:
        """An opportunity may belong to somebody else now."""
        deals.changed(session, event)

    @handles(sales.OpportunitiesSaved)
    def on_opportunities_saved(self, session: Session, event: sales.OpportunitiesSaved) -> None:
        """Sales tells again whose its opportunities are."""
        deals.kept(session, event)

    @handles(sales.DealWon)
    def on_deal_won(self, session: Session, event: sales.DealWon) -> None:
        """A won deal makes its company and its contact customers."""
        deals.won(session, event)

    @handles(sales.DealLost)
    def on_deal_lost(self, session: Session, event: sales.DealLost) -> None:
        """A deal was lost."""
        deals.lost(session, event)

    @handles(sales.OpportunitiesImported)
    def on_opportunities_imported(
        self, session: Session, event: sales.OpportunitiesImported
    ) -> None:
        """A sales book came in as a file."""
        deals.imported(session, event)

    @handles(sales.OpportunitiesTakenBack)
    def on_opportunities_taken_back(
        self, session: Session, event: sales.OpportunitiesTakenBack
    ) -> None:
        """A sales book was taken back, and what it has caused goes with it."""
        deals_taken_back.taken_back(session, event)


def _answers_of(module: str) -> Callable[..., None]:
    def on_answer(
        service: Contacts, session: Session, event: PersonalDataHeld | PrivacyAnswered
    ) -> None:
        service._answered(session, event)

    on_answer.__name__ = f"on_{module}_answer"
    on_answer.__doc__ = f"The module {module} has said something of the persons that it knows of."
    return handles(PersonalDataHeld, PrivacyAnswered, source=module)(on_answer)


# Its own answers, which it has had a handler for under another name, aside.
for _module in set(HOLDERS) - {"contacts"}:
    setattr(Contacts, f"on_{_module}_answer", _answers_of(_module))
