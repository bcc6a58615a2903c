"""What every service that holds data of persons does when contacts asks.

    class Sales(HoldsPersonalData, Service):
        holds = (models.Opportunity,)

Merges are done as they are heard; what has to be searched for is a job. Answers are events, so that
a service that is down answers when it is back.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar
from uuid import UUID

from pydantic_core import to_json
from sqlalchemy import update
from sqlalchemy.orm import DeclarativeBase, Session

from liaison_kit import jobs
from liaison_kit.events import emit, handles
from liaison_kit.events.resend import Told
from liaison_kit.jobs import JobRow, Run, job
from liaison_kit.privacy import erasing, merging, telling
from liaison_kit.privacy.marks import Follower, Holdings
from liaison_kit.privacy.traces import Traces
from liaison_kit.records.attachments import Attachment
from liaison_kit.records.recordtype import RecordType
from liaison_kit.timers.schedules import Daily
from liaison_kit.timers.timer import Occasion, on_schedule
from liaison_kit.trust.keys import Keyring
from liaison_kit.trust.sealing import seal, unseal
from liaison_sdk.contracts.identity import TenantSaved
from liaison_sdk.contracts.privacy import (
    AccessAsked,
    ErasureAsked,
    PersonalDataHeld,
    PrivacyAnswered,
    RecordsMerged,
    RecordsUnmerged,
)

TRACES = "privacy_traces"
"""What the traces of a subject are sealed for."""
HELD = "privacy_held"
"""What is held of a subject is sealed for."""

PART_CHARS = 256_000
"""How much of what is held travels in one event."""


class HoldsPersonalData:
    """A service that holds data of persons.

    `holds` are the models with marked columns, files of records aside; `unsearched` the tables in
    whose texts nobody is looked for, each with the reason; `followers` what goes with records
    beside marked columns.
    """

    name: ClassVar[str]
    keys: ClassVar[Keyring]
    records: ClassVar[Sequence[RecordType]]
    tells: ClassVar[Sequence[Told]]
    holds: ClassVar[Sequence[type[DeclarativeBase]]] = ()
    unsearched: ClassVar[Mapping[str, str]] = {}
    followers: ClassVar[Sequence[Follower]] = ()

    @classmethod
    def holdings(cls) -> Holdings:
        """What it holds, as the marks say."""
        files = [Attachment] if any(kind.attachments for kind in cls.records) else []
        return Holdings.of([*cls.holds, *files], cls.records, cls.unsearched, cls.followers)

    def tell_moved(self, session: Session, record: str, ids: Sequence[UUID]) -> None:
        """Tell the others of records that point elsewhere now."""
        for told in self.tells:
            if told.kind.name == record:
                told.saved(session, ids)

    # --- saying that there is something -----------------------------------------------------------

    @handles(TenantSaved)
    def on_tenant_to_answer_for(self, session: Session, event: TenantSaved) -> None:
        """Say of every organisation that its persons' data is held here."""
        self._say_so(session)

    @on_schedule(Daily(at=dt.time(3, 30)))
    def say_that_personal_data_is_held(self, session: Session, occasion: Occasion) -> None:
        """Say it again: contacts may have been installed later, or restored from a backup."""
        self._say_so(session)

    def _say_so(self, session: Session) -> None:
        emit(session, PersonalDataHeld(module=self.name), source=self.name)

    # --- what contacts asks -----------------------------------------------------------------------

    @handles(RecordsMerged, RecordsUnmerged, ErasureAsked, AccessAsked)
    def on_privacy_asked(
        self,
        session: Session,
        event: RecordsMerged | RecordsUnmerged | ErasureAsked | AccessAsked,
    ) -> None:
        """Do this service's part of a merge, of its undoing, of an erasure, of a question."""
        match event:
            case RecordsMerged():
                if self.name != event.source:
                    self._answer(session, event.request_id, self.merged(session, event))
            case RecordsUnmerged():
                if self.name != event.source:
                    self._answer(session, event.request_id, self.unmerged(session, event))
            case ErasureAsked():
                self._begin_erasing(session, event)
            case AccessAsked():
                self._give(session, event)

    def merged(self, session: Session, event: RecordsMerged) -> dict[str, int]:
        """Have what points at the merged record point at the survivor."""
        return merging.repoint(
            session,
            self.holdings(),
            event.record,
            event.from_id,
            event.into_id,
            event.request_id,
            self.tell_moved,
        )

    def unmerged(self, session: Session, event: RecordsUnmerged) -> dict[str, int]:
        """Have what the merge moved point where it did."""
        return merging.put_back(
            session,
            self.holdings(),
            event.record,
            event.from_id,
            event.into_id,
            event.merge_id,
            self.tell_moved,
        )

    def _begin_erasing(self, session: Session, event: ErasureAsked) -> None:
        sealed = event.sealed.get(self.name, "")
        traces = self._traces(sealed)
        erasing.settle(session, event.ids, event.request_id)
        said = erasing.said_of(session, self.holdings(), event.record, event.ids)
        if said:
            traces.texts = sorted({*traces.texts, *said})
            written = traces.model_dump_json().encode()
            sealed = seal(self.keys, self.name, TRACES, written).decode()
        counts = erasing.by_marks(session, self.holdings(), event.record, event.ids, traces)
        jobs.start(
            session,
            "erase",
            "Erase a person",
            request=str(event.request_id),
            ids=[str(id) for id in event.ids],
            sealed=sealed,
            counts=counts,
        )

    @job("erase")
    def erase_job(self, run: Run) -> None:
        """The search behind an erasure."""
        given = run.arguments
        if not given:
            # It had ended, and whoever did it died before that was written down.
            return
        pattern = self._traces(given["sealed"]).pattern()
        ids = [UUID(id) for id in given["ids"]]
        counts = dict(given["counts"])
        if pattern is not None:
            for name, number in erasing.Search(self.holdings(), pattern, ids).run(run).items():
                counts[name] = counts.get(name, 0) + number
        with run.step() as session:
            self._answer(session, UUID(given["request"]), counts)
            session.execute(update(JobRow).where(JobRow.id == run.id).values(arguments={}))

    def _give(self, session: Session, event: AccessAsked) -> None:
        traces = self._traces(event.sealed.get(self.name, ""))
        found = telling.held(session, self.holdings(), event.record, event.ids, traces)
        counts = {table: len(rows) for table, rows in found.items()}
        written = to_json(found)
        parts = [written[at : at + PART_CHARS] for at in range(0, len(written), PART_CHARS)]
        for number, part in enumerate(parts, start=1):
            sealed = seal(self.keys, event.source, HELD, part).decode()
            self._answer(
                session,
                event.request_id,
                counts,
                held=sealed,
                part=number,
                parts=len(parts),
            )

    def _traces(self, sealed: str) -> Traces:
        if not sealed:
            return Traces()
        return Traces.model_validate_json(unseal(self.keys, TRACES, sealed.encode()))

    def _answer(self, session: Session, request: UUID, counts: dict[str, int], **more: Any) -> None:
        answer = PrivacyAnswered(request_id=request, module=self.name, counts=counts, **more)
        emit(session, answer, source=self.name)
