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
from uuid import UUID, uuid4

import eventlet
from nameko.extensions import DependencyProvider
from pydantic import BaseModel
from sqlalchemy import func, select, text, update
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Mapped, Session, mapped_column

from liaison_kit.context import Context, Principal, context
from liaison_kit.db import Base, Database, TenantRow
from liaison_kit.handling import is_collision, is_not_now
from liaison_kit.ids import uuid7
from liaison_kit.metrics import JOBS, JOBS_RUNNING
from liaison_kit.roles import plays
from liaison_kit.telemetry import log, span
from liaison_sdk.errors import Conflict, LiaisonError, NotFound
from liaison_sdk.types import field

LEASE_S = 15
RENEW_S = 4
POLL_S = 2.0
ATTEMPTS = 5
TIDY_S = 60

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
    principal: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    traceparent: Mapped[str | None]
    status: Mapped[str]
    done: Mapped[int]
    total: Mapped[int | None]
    error: Mapped[str | None]
    cancel: Mapped[bool]
    attempts: Mapped[int]
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
        principal=_principal(about.principal),
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


def _principal(principal: Principal | None) -> dict[str, Any] | None:
    if principal is None:
        return None
    return {
        "tenant": str(principal.tenant),
        "user": str(principal.user),
        "name": principal.name,
        "permissions": sorted(principal.permissions),
        "rows": dict(principal.rows),
        "peers": [str(peer) for peer in principal.peers],
        "locale": principal.locale,
    }


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


class Run:
    """A job being worked on: its arguments, its checkpoint, and steps to do it in."""

    def __init__(self, db: Database, row: JobRow, worker: UUID) -> None:
        self._db = db
        self._worker = worker
        self.id = row.id
        self.kind = row.kind
        self.about_id = row.about_id
        self.arguments = dict(row.arguments)
        self.checkpoint = dict(row.checkpoint)
        self.done = row.done
        self.total = row.total
        principal = None if row.principal is None else Principal.of(row.principal)
        self._about = Context(
            tenant=row.tenant_id, principal=principal, traceparent=row.traceparent
        )
        self._created = row.created_at

    @property
    def context(self) -> Context:
        """On whose behalf the job runs, at this moment."""
        return Context(
            tenant=self._about.tenant,
            principal=self._about.principal,
            correlation_id=self._about.correlation_id,
            traceparent=self._about.traceparent,
        )

    @contextmanager
    def step(self) -> Iterator[Session]:
        """One transaction of work; the checkpoint and the progress are saved with it.

        Raises `Cancelled` before the work when a stop was asked for, and `LeaseLost` instead of
        committing when another worker has the job.
        """
        with self._db.writing(self.context) as session:
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


class JobRunner(DependencyProvider):  # type: ignore[misc]
    """Takes queued and abandoned jobs and runs them, a few at a time, in a service process."""

    AT_ONCE = 2

    def setup(self) -> None:
        self.worker = uuid4()
        self._stopping = False
        self._running: set[UUID] = set()

    def start(self) -> None:
        if not plays("jobs"):
            return
        self.container.spawn_managed_thread(self._look_for_work)
        self.container.spawn_managed_thread(self._renew)
        self.container.spawn_managed_thread(self._tidy_up)

    def stop(self) -> None:
        self._stopping = True

    def _look_for_work(self) -> None:
        db = self.container.service_cls.db
        listening: Any = None
        while not self._stopping:
            try:
                if len(self._running) < self.AT_ONCE:
                    row = self._claim(db)
                    if row is not None:
                        self._running.add(row.id)
                        self.container.spawn_managed_thread(lambda row=row: self._run(db, row))
                        continue
                if listening is None or listening.closed:
                    listening = _listen(db)
                _wait(listening, POLL_S)
            except Exception as error:
                # Whatever it was, a process that has stopped looking would be noticed by nobody.
                log.warning("jobs wait for the database", error=type(error).__name__)
                listening = None
                eventlet.sleep(1)
        if listening is not None:
            listening.close()

    def _claim(self, db: Database) -> JobRow | None:
        with db.connection() as connection:
            found = connection.execute(
                text(
                    "UPDATE job_queue SET status = 'running', worker = :worker,"
                    f" leased_until = now() + interval '{LEASE_S} seconds',"
                    " attempts = attempts + 1,"
                    " started_at = coalesce(started_at, now())"
                    " WHERE id = (SELECT id FROM job_queue WHERE status = 'queued' OR"
                    " (status = 'running' AND leased_until < now())"
                    " ORDER BY id LIMIT 1 FOR UPDATE SKIP LOCKED)"
                    " RETURNING id, tenant_id"
                ),
                {"worker": self.worker},
            ).first()
            connection.commit()
        if found is None:
            return None
        with db.reading(Context(tenant=found.tenant_id)) as session:
            return session.get(JobRow, found.id)

    def _tidy_up(self) -> None:
        """Clear up what nobody needs any more, a bounded batch a minute."""
        service = self.container.service_cls
        clear_up = text("SELECT " + ", ".join(f"{name}()" for name in service.tidies))
        while not self._stopping:
            eventlet.sleep(TIDY_S)
            try:
                with service.db.connection() as connection:
                    connection.execute(clear_up)
                    connection.commit()
            except Exception as error:
                log.warning("not tidied up", error=type(error).__name__)

    def _renew(self) -> None:
        db = self.container.service_cls.db
        while not self._stopping:
            eventlet.sleep(RENEW_S)
            if not self._running:
                continue
            try:
                with db.connection() as connection:
                    connection.execute(
                        text(
                            "UPDATE job_queue SET"
                            f" leased_until = now() + interval '{LEASE_S} seconds'"
                            " WHERE worker = :worker AND status = 'running' AND id = ANY(:ids)"
                        ),
                        {"worker": self.worker, "ids": list(self._running)},
                    )
                    connection.commit()
            except Exception as error:
                log.warning("lease not renewed", error=type(error).__name__)

    def _run(self, db: Database, row: JobRow) -> None:
        run = Run(db, row, self.worker)
        service = self.container.service_cls
        started = time.monotonic()
        JOBS_RUNNING.labels(service.name).inc()
        outcome: tuple[str, str | None] | None = None
        try:
            if row.attempts > ATTEMPTS:
                outcome = ("failed", "The job was started five times and never ended")
                return
            if row.cancel:
                outcome = ("cancelled", None)
                return
            work = service.job_methods[row.kind]
            with span(f"{service.name}.job.{row.kind}", row.traceparent):
                work(self._worker(), run)
            outcome = ("done", None)
        except Cancelled:
            outcome = ("cancelled", None)
        except LeaseLost:
            log.warning("job taken over", job=str(row.id))
        except Exception as error:
            outcome = self._went_wrong(row, error)
        finally:
            JOBS_RUNNING.labels(service.name).dec()
            try:
                if outcome is not None:
                    self._end(db, row, *outcome)
                    JOBS.labels(service.name, row.kind, outcome[0]).inc()
                    log.info(
                        "job ended",
                        job=str(row.id),
                        kind=row.kind,
                        outcome=outcome[0],
                        seconds=round(time.monotonic() - started, 2),
                    )
            except Exception as error:
                # Its end was not written down: it is taken up again, and finds its work done.
                log.warning("job's end not saved", job=str(row.id), error=type(error).__name__)
            finally:
                self._running.discard(row.id)

    def _went_wrong(self, row: JobRow, error: Exception) -> tuple[str, str | None] | None:
        """How a job ends that has raised; nothing when it is to go on from its checkpoint."""
        if is_not_now(error) or is_collision(error):
            # Nobody renews its lease now: when that runs out the job is taken up again.
            log.warning("job interrupted", job=str(row.id), error=type(error).__name__)
            return None
        if isinstance(error, LiaisonError):
            return "failed", error.detail or error.title
        if isinstance(error, DBAPIError):
            log.error("job failed", job=str(row.id), error=type(error).__name__)
            return "failed", f"The database refused: {type(error.orig).__name__}"
        log.error("job failed", job=str(row.id), error=type(error).__name__, exc_info=error)
        return "failed", "Something went wrong on our side"

    def _worker(self) -> Any:
        """The service's object as nameko would make it for a call."""
        worker = self.container.service_cls()
        for provider in self.container.dependencies:
            setattr(worker, provider.attr_name, provider.get_dependency(None))
        return worker

    def _end(self, db: Database, row: JobRow, status: str, error: str | None) -> None:
        with db.writing(Context(tenant=row.tenant_id)) as session:
            session.execute(
                update(JobRow)
                .where(JobRow.id == row.id, JobRow.worker == self.worker)
                .values(status=status, error=error, ended_at=func.now(), leased_until=None)
            )


def _listen(db: Database) -> Any:
    raw = db.engines[0].raw_connection()
    connection = raw.driver_connection
    raw.detach()
    assert connection is not None
    with connection.cursor() as cursor:
        cursor.execute("LISTEN jobs")
    return connection


def _wait(connection: Any, timeout_s: float) -> None:
    """Until a job is announced, or the time is up."""
    try:
        eventlet.hubs.trampoline(connection.fileno(), read=True, timeout=timeout_s)
    except eventlet.Timeout:
        return
    connection.poll()
    connection.notifies.clear()
