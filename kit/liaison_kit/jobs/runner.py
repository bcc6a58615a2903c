"""The runner: takes queued and abandoned jobs and runs them in a service process."""

import time
from typing import Any
from uuid import UUID, uuid4

import eventlet
from nameko.extensions import DependencyProvider
from sqlalchemy import func, text, update
from sqlalchemy.exc import DBAPIError

from liaison_kit.context import Context, Principal
from liaison_kit.database.database import Database
from liaison_kit.database.faults import is_collision, is_not_now
from liaison_kit.jobs.work import LEASE_S, Cancelled, JobRow, LeaseLost, Run
from liaison_kit.process.metrics import JOBS, JOBS_RUNNING
from liaison_kit.process.roles import plays
from liaison_kit.settings import settings
from liaison_kit.telemetry import log, span
from liaison_kit.trust.renewing import renewed
from liaison_sdk.errors import LiaisonError

RENEW_S = 4

POLL_S = 2.0

ATTEMPTS = 5

TIDY_S = 60


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
                    listening = db.listen("jobs")
                wait(listening, POLL_S)
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
        calls = [f"{name}()" for name in service.tidies]
        for name, setting in service.tidies_after.items():
            if days := int(getattr(settings(), setting)):
                calls.append(f"{name}({days})")
        clear_up = text("SELECT " + ", ".join(calls))
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
        run = Run(db, row, self.worker, self._rights)
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

    def _rights(self, signed: str) -> Principal:
        """What the person may do now whose principal this was."""
        return renewed(self.container.service_cls.principals, self._worker().ask, signed)

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


def wait(connection: Any, timeout_s: float) -> None:
    """Until something is notified, or the time is up."""
    try:
        eventlet.hubs.trampoline(connection.fileno(), read=True, timeout=timeout_s)
    except eventlet.Timeout:
        return
    connection.poll()
    connection.notifies.clear()
