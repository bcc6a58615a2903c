"""Jobs: long work that reports progress, can be cancelled, and goes on after a crash.

    @job("import")
    def run_import(self, run: Run) -> None:
        while ...:
            with run.step() as session:   # one transaction: the work and the checkpoint together
                ...
                run.checkpoint["row"] = row

A worker holds a job by a lease that it renews; when it dies another takes the job over from the
last checkpoint. A worker that has lost its lease can't commit a step any more.
"""

import datetime as dt
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Literal, TypeVar
from uuid import UUID

from pydantic import BaseModel
from sqlalchemy import Integer, func, select, text, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, Session, mapped_column

from liaison_kit.context import Context, Principal, context
from liaison_kit.database.database import Database
from liaison_kit.database.tables import Base, TenantRow
from liaison_kit.ids import uuid7
from liaison_sdk.errors import Conflict, NotFound
from liaison_sdk.types import field

LEASE_S = 15

Status = Literal["queued", "running", "done", "failed", "cancelled"]


class JobRow(TenantRow, Base):
    """A job and how far it has come."""

    __tablename__ = "jobs"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    kind: Mapped[str]
    title: Mapped[str]
    about_id: Mapped[UUID | None]
    arguments: Mapped[dict[str, Any]] = mapped_column(JSONB)
    checkpoint: Mapped[dict[str, Any]] = mapped_column(JSONB)
    principal: Mapped[str | None] = mapped_column(JSONB)
    """Who started it, as identity signed it then; their rights are asked for again."""
    traceparent: Mapped[str | None]
    status: Mapped[str]
    done: Mapped[int]
    total: Mapped[int | None]
    error: Mapped[str | None]
    cancel: Mapped[bool]
    attempts: Mapped[int] = mapped_column(Integer)
    worker: Mapped[UUID | None]
    leased_until: Mapped[dt.datetime | None]
    created_at: Mapped[dt.datetime]
    created_by: Mapped[UUID | None]
    started_at: Mapped[dt.datetime | None]
    ended_at: Mapped[dt.datetime | None]


class Job(BaseModel):
    """Long work: what it is, how far it has come, how it ended."""

    id: UUID
    kind: str = field("Kind", "Type")
    title: str = field("Title", "Intitulé")
    about_id: UUID | None = field("About", "Objet")
    status: Status = field("Status", "État")
    done: int = field("Done", "Fait")
    total: int | None = field("Total", "Total")
    error: str | None = field("Error", "Erreur")
    created_at: dt.datetime = field("Created", "Créée", sortable=True)
    created_by: UUID | None = field("Created by", "Créée par")
    started_at: dt.datetime | None = field("Started", "Démarrée")
    ended_at: dt.datetime | None = field("Ended", "Terminée")


def shape(row: JobRow) -> Job:
    """The job as readers get it."""
    return Job.model_validate(row, from_attributes=True)


def start(
    session: Session, kind: str, title: str, about_id: UUID | None = None, **arguments: Any
) -> UUID:
    """Queue a job; it starts when this transaction has been committed."""
    about = context(session)
    row = JobRow(
        id=uuid7(),
        tenant_id=about.tenant,
        kind=kind,
        title=title,
        about_id=about_id,
        arguments=arguments,
        checkpoint={},
        principal=about.principal and about.principal.signed,
        traceparent=about.traceparent,
        status="queued",
        done=0,
        total=None,
        error=None,
        cancel=False,
        attempts=0,
        created_at=about.now,
        created_by=about.user,
    )
    session.add(row)
    session.flush()
    session.execute(select(func.pg_notify("jobs", "")))
    return row.id


def find(session: Session, id: UUID) -> JobRow:
    """One job."""
    row = session.get(JobRow, id)
    if row is None:
        raise NotFound("There is no such job")
    return row


def cancel(session: Session, id: UUID) -> Job:
    """Ask a job to stop; a running one stops after its present step."""
    row = session.get(JobRow, id, with_for_update=True, populate_existing=True)
    if row is None:
        raise NotFound("There is no such job")
    if row.status in ("done", "failed", "cancelled"):
        raise Conflict(f"The job is {row.status} already")
    row.cancel = True
    if row.status == "queued":
        row.status = "cancelled"
        row.ended_at = context(session).now
    return shape(row)


class Cancelled(Exception):
    """Somebody asked the job to stop."""


class LeaseLost(Exception):
    """Another worker has taken the job over."""


Rights = Callable[[str], Principal]
"""Asks identity what somebody may do now, by the principal that they once had."""


class Run:
    """A job being worked on: its arguments, its checkpoint, and steps to do it in."""

    def __init__(self, db: Database, row: JobRow, worker: UUID, rights: Rights) -> None:
        self._db = db
        self._worker = worker
        self._rights = rights
        self._started_by = row.principal
        self.id = row.id
        self.kind = row.kind
        self.about_id = row.about_id
        self.arguments = dict(row.arguments)
        self.checkpoint = dict(row.checkpoint)
        self.done = row.done
        self.total = row.total
        self._principal: Principal | None = None
        self._about = Context(tenant=row.tenant_id, traceparent=row.traceparent)
        self._created = row.created_at

    @property
    def context(self) -> Context:
        """On whose behalf the job runs, with the rights that they have at this moment.

        Whoever has lost them, or has left, raises what identity says of that: the job ends.
        """
        known = self._principal
        if self._started_by is not None and (known is None or known.expires < time.time()):
            self._principal = self._rights(self._started_by)
        return Context(
            tenant=self._about.tenant,
            principal=self._principal,
            correlation_id=self._about.correlation_id,
            traceparent=self._about.traceparent,
        )

    @contextmanager
    def step(self) -> Iterator[Session]:
        """One transaction of work; the checkpoint and the progress are saved with it.

        Raises `Cancelled` before the work when a stop was asked for, and `LeaseLost` instead of
        committing when another worker has the job.
        """
        with self._db.writing(self.context, job=True) as session:
            yield session
            session.flush()
            asked = session.execute(
                update(JobRow)
                .where(JobRow.id == self.id, JobRow.worker == self._worker)
                .values(
                    checkpoint=self.checkpoint,
                    done=self.done,
                    total=self.total,
                    leased_until=_lease(),
                    # A step forward: what interrupted the job before does not count any more.
                    attempts=1,
                )
                .returning(JobRow.cancel)
            ).first()
            if asked is None:
                raise LeaseLost(str(self.id))
        if asked.cancel:
            raise Cancelled(str(self.id))

    @contextmanager
    def trial(self) -> Iterator[Session]:
        """One transaction of which nothing is kept."""
        with self._db.session(self.context, job=True) as session:
            yield session
            session.rollback()

    @contextmanager
    def look(self) -> Iterator[Session]:
        """A reading session."""
        with self._db.reading(self.context) as session:
            yield session


def _lease() -> Any:
    return func.now() + text(f"interval '{LEASE_S} seconds'")


F = TypeVar("F", bound=Callable[..., Any])


def job(kind: str) -> Callable[[F], F]:
    """Makes a service's method the work of this kind of job."""

    def declare(function: F) -> F:
        function.job_kind = kind  # type: ignore[attr-defined]
        return function

    return declare
