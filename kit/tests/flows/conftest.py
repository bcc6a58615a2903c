"""The workshop: a service with flows, whose runs are taken on when the test says so."""

import datetime as dt
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import hypothesis
import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import create_engine, text
from sqlalchemy.orm import Session

from liaison_kit import records
from liaison_kit.context import Context
from liaison_kit.database.database import Database
from liaison_kit.database.migrations import Roles, enable_tenancy
from liaison_kit.flows import FlowOperations, definitions, engine, runs
from liaison_kit.flows.runs import RunDue
from liaison_kit.flows.tables import flow_tables, following_runs, tidied_runs
from liaison_kit.ids import uuid7
from liaison_kit.testing import keyring, principal
from liaison_kit.timers import queue
from liaison_kit.timers.running import Runs
from liaison_kit.timers.timer import handlers_of
from liaison_sdk.events import Envelope, Event

from ..conftest import Ground
from .workshop import FLOWS, TABLES, WORKS, Work, WorkSaved

# The first time that something is called it may take long, and longer on a busy machine.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")


@pytest.fixture(scope="session")
def workshop_roles(ground_roles: Roles) -> Roles:
    """The database with the tables of flows, and of what they are about."""
    owner = create_engine(ground_roles.owner)
    with owner.begin() as connection:
        op = Operations(MigrationContext.configure(connection))
        for statement in TABLES.split(";\n"):
            connection.execute(text(statement))
        for table in ("works", "workers", "marks"):
            enable_tenancy(op, table)
        flow_tables(op)
        following_runs(op)
        tidied_runs(op)
    owner.dispose()
    return ground_roles


EMPTIED = (
    *("flow_runs", "flow_happened", "flows", "works", "workers", "marks"),
    *("moved_ids", "repointed"),
)


class Workshop:
    """A tenant with flows about works."""

    def __init__(self, ground: Ground, db: Database) -> None:
        self.ground = ground
        self.db = db
        self.who = principal()
        self.runner = Runs(
            "ground", handlers_of(FlowOperations), db, self._call, lambda _: self.who, (60.0,)
        )

    @contextmanager
    def writing(self, who: Any = None) -> Iterator[Session]:
        """A transaction of somebody of the tenant."""
        asking = who or self.who
        with self.db.writing(Context(tenant=asking.tenant, principal=asking)) as session:
            yield session

    def empty(self) -> None:
        """Nothing is there any more."""
        self.ground.look("; ".join(f"DELETE FROM {table}" for table in EMPTIED))
        self.ground.look("DELETE FROM timers; DELETE FROM outbox")

    # --- what there is ----------------------------------------------------------------------------

    def work(self, **values: Any) -> UUID:
        """A work."""
        given = {"name": "desk", "stage": "new", "size": None, "owner_id": None} | values
        with self.writing() as session:
            return records.create(session, WORKS, Work, **given).id

    def flow(self, steps: dict[str, Any], **more: Any) -> UUID:
        """A flow that is active."""
        definition = {
            "key": f"flow_{uuid7().hex[-12:]}",
            "record": "works",
            "start": [{"kind": "event", "event": "created"}, {"kind": "by_hand"}],
            "again": "always",
            "steps": steps,
        } | more
        with self.writing() as session:
            id = definitions.create(session, FLOWS, "works", definition)
            definitions.activate(session, FLOWS, id, 1)
        return id

    def change_flow(self, id: UUID, **more: Any) -> None:
        """Save another version of a flow, and activate it."""
        with self.writing() as session:
            row = definitions.find(session, FLOWS, id)
            definitions.save(session, FLOWS, id, row.version, row.definition | more)
            definitions.activate(session, FLOWS, id, row.version + 1)

    # --- what happens -----------------------------------------------------------------------------

    def begin(self, flow: UUID, *works: UUID) -> list[UUID]:
        """Runs of a flow on works."""
        with self.writing() as session:
            row = definitions.find(session, FLOWS, flow)
            found = definitions.version_of(session, FLOWS, row, row.active)
            return list(runs.begin(session, flow, row.active, found, works).values())

    def tell(self, event: Event, at: dt.datetime | None = None, **more: Any) -> None:
        """The event arrives."""
        when = at or dt.datetime.now(dt.UTC)
        facts = {"correlation_id": uuid7(), "occurred_at": when} | more
        envelope = Envelope(
            id=uuid7(),
            type=event.type,
            version=1,
            seq=1,
            source=event.source,
            tenant=self.who.tenant,
            key="x",
            data=event.model_dump(mode="json"),
            **facts,
        )
        about = Context(tenant=self.who.tenant, correlation_id=envelope.correlation_id)
        with self.db.writing(about) as session:
            told = type(event).read(envelope)
            if runs.heeded(FLOWS, session, [told]):
                runs.heard(session, FLOWS, told)

    def saved(self, work: UUID, **more: Any) -> None:
        """It is told that a work was made, as it was then."""
        ((made,),) = self.ground.look("SELECT created_at FROM works WHERE id = %s", str(work))
        self.tell(WorkSaved(work_id=work), made, **more)

    def run(self, most: int = 1000) -> int:
        """Take on all runs that are due; in how many claims."""
        claims = 0
        while claims < most and (claim := queue.claim(self.db, RunDue.kind)) is not None:
            self.runner.run(claim)
            claims += 1
        return claims

    def pass_time(self) -> None:
        """As if whatever waits for a time had waited for long enough."""
        self.ground.look(
            "UPDATE flow_runs SET wakes_at = now() - interval '1 s' WHERE wakes_at IS NOT NULL"
        )
        self.ground.look("UPDATE timers SET run_at = now() - interval '1 second'")

    def to_the_end(self) -> None:
        """Let time pass until nothing is due any more."""
        for _ in range(200):
            self.run()
            if not self.ground.look("SELECT 1 FROM timers"):
                return
            self.pass_time()
        raise AssertionError("the runs have no end")

    def _call(self, method: str, session: Session, timers: Sequence[RunDue]) -> None:
        assert method == "on_runs_due"
        engine.take_on(session, FLOWS, [timer.run_id for timer in timers])

    # --- what has become of it --------------------------------------------------------------------

    def rows(self, columns: str = "state, step, outcome") -> list[Any]:
        """The runs, in the order in which they began."""
        return self.ground.look(
            f"SELECT {columns} FROM flow_runs WHERE tenant_id = %s ORDER BY id",
            str(self.who.tenant),
        )

    def log(self, run: UUID | None = None) -> list[Any]:
        """The lines of the log: step and way."""
        return self.ground.look(
            "SELECT step, way FROM flow_log WHERE tenant_id = %s"
            " AND run_id = coalesce(%s::uuid, run_id) ORDER BY run_id, number",
            str(self.who.tenant),
            None if run is None else str(run),
        )

    def marks(self) -> list[str]:
        """What steps have left, in its order."""
        return [
            said
            for (said,) in self.ground.look(
                "SELECT said FROM marks WHERE tenant_id = %s ORDER BY id", str(self.who.tenant)
            )
        ]

    def told(self) -> list[dict[str, Any]]:
        """What users were told."""
        found = self.ground.look(
            "SELECT body FROM outbox WHERE body LIKE '%%users_notified%%' ORDER BY seq"
        )
        return [json.loads(body)["data"] for (body,) in found]


@pytest.fixture
def shop(ground: Ground, workshop_roles: Roles) -> Workshop:
    """The workshop, with nothing in it."""
    db = ground.open(4)
    db.keys = keyring("sales")
    made = Workshop(ground, db)
    made.empty()
    return made
