"""Whatever was merged and undone, in whatever order: contacts and sales are as they were."""

import json
import os
from collections.abc import Callable
from typing import Any
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from liaison_contacts.service import Contacts
from liaison_kit.context import Context, Principal
from liaison_kit.database.database import Database
from liaison_kit.ids import uuid7
from liaison_kit.plugins import Hooks
from liaison_kit.testing import at_work, call, principal
from liaison_sales import pipelines
from liaison_sales.service import Sales
from liaison_sdk.contracts.privacy import RecordsMerged, RecordsUnmerged

EXAMPLES = int(os.environ.get("LIAISON_STATES", "15"))
PEOPLE, DEALS = 4, 6

_STAMPS = "- 'version' - 'updated_at' - 'updated_by'"
_TABLES = {
    "contacts": (
        *("people", "companies", "notes", "occurrences", "moved_ids", "repointed"),
        *("flow_runs", "flow_log", "flow_waits"),
    ),
    "sales": ("opportunities", "moved_ids", "repointed"),
}


class World:
    """Contacts and sales of one tenant; sales hears of merges when it is told to."""

    def __init__(self, database: Callable[[str], Database]) -> None:
        self.databases = {name: database(name) for name in _TABLES}
        self.who: Principal = principal()
        self.contacts = at_work(Contacts, self.databases["contacts"], hooks=Hooks("contacts", 0.5))
        self.sales = at_work(
            Sales,
            self.databases["sales"],
            hooks=Hooks("sales", 0.5),
            ask=staticmethod(self._known),
        )
        with self.databases["sales"].writing(Context(tenant=self.who.tenant)) as session:
            pipelines.start(session, "en")
        self.people = [self._person(number) for number in range(PEOPLE)]
        for number in range(DEALS):
            self._deal(number)
        for again in ("never", "after_done", "always"):
            self._flow(again)
        self.waiting: list[RecordsMerged | RecordsUnmerged] = []
        self.merges: list[tuple[str, str, str]] = []

    def _known(self, _service: str, _operation: str, body: bytes, *_rest: Any) -> bytes:
        return body

    def ask(self, operation: str, body: Any = None, **meta: Any) -> tuple[int, Any]:
        sent = b"" if body is None else json.dumps(body).encode()
        reply = call(self.contacts, operation, self.who, sent, **meta)
        return reply.status, json.loads(reply.body) if reply.body else None

    def _person(self, number: int) -> str:
        person = {
            "first_name": f"First {number}" if number % 2 else "",
            "last_name": f"Last {number}",
            "title": "Head" if number == 1 else None,
            "external_id": f"E{number}" if number % 3 else None,
            "emails": [{"address": f"p{number}@example.com"}, {"address": "all@example.com"}],
            "tags": [f"t{number}"],
            "stage": ("lead", "customer")[number % 2],
        }
        id: str = self.ask("create_contact", person)[1]["id"]
        self.ask("create_contact_note", {"body": f"note {number}"}, path={"id": id})
        with self.databases["contacts"].writing(self.about()) as session:
            session.execute(
                text(
                    "INSERT INTO occurrences (tenant_id, id, about_id, at, kind, details)"
                    " VALUES (:tenant, :id, :about, now(), 'told', '{}')"
                ),
                {"tenant": self.who.tenant, "id": uuid7(), "about": UUID(id)},
            )
        return id

    def _deal(self, number: int) -> None:
        deal = {"name": f"Deal {number}", "contact_id": self.people[number % PEOPLE]}
        reply = call(self.sales, "create_opportunity", self.who, json.dumps(deal).encode())
        assert reply.status == 201, reply.body

    def _flow(self, again: str) -> None:
        """A flow with runs about all but one, each of which waits for a goal."""
        definition = {
            "key": again,
            "record": "contacts",
            "start": [{"kind": "by_hand"}],
            "again": again,
            "goal": {"event": "stage_entered"},
            "steps": {"calm": {"kind": "wait", "for": "3 days", "next": "end"}},
        }
        body = json.dumps({"definition": definition}).encode()
        made = call(self.contacts, "create_flow", self.who, body, query=[("record", "contacts")])
        assert made.status == 201, made.body
        path = {"id": json.loads(made.body)["id"]}
        assert self.ask("activate_flow", path=path, if_match=1)[0] == 200
        status, _ = self.ask("begin_runs", {"records": self.people[1:]}, path=path)
        assert status == 200

    def about(self) -> Context:
        return Context(tenant=self.who.tenant, principal=self.who)

    # --- what happens -----------------------------------------------------------------------------

    def merge(self, into: str, other: str) -> None:
        status, person = self.ask("get_contact", path={"id": into})
        if status != 200:
            return
        version = person["version"]
        status, request = self.ask(
            "merge_contact", {"from": other}, path={"id": into}, if_match=version
        )
        if status != 201:
            assert status in (404, 422), request
            return
        self.merges.append((request["id"], into, other))
        self.waiting.append(
            RecordsMerged(
                tenant_id=self.who.tenant,
                request_id=request["id"],
                record="contacts",
                from_id=UUID(other),
                into_id=UUID(into),
            )
        )

    def undo(self, merge: tuple[str, str, str]) -> None:
        id, into, other = merge
        status, request = self.ask("undo_contact_merge", path={"id": into, "merge": id})
        if status != 201:
            # A later one has to be undone first.
            assert request["code"] in ("undo_later_first", "merged"), request
            return
        self.merges.remove(merge)
        self.waiting.append(
            RecordsUnmerged(
                tenant_id=self.who.tenant,
                request_id=request["id"],
                merge_id=UUID(id),
                record="contacts",
                from_id=UUID(other),
                into_id=UUID(into),
            )
        )

    def hear(self, number: int | None = None) -> None:
        """Sales hears the next so many of what waits, or all."""
        heard, self.waiting = self.waiting[:number], self.waiting[len(self.waiting[:number]) :]
        for event in heard:
            with self.databases["sales"].writing(self.about()) as session:
                if isinstance(event, RecordsMerged):
                    self.sales.merged(session, event)
                else:
                    self.sales.unmerged(session, event)

    def undo_all(self) -> None:
        while self.merges:
            left = len(self.merges)
            for merge in reversed(list(self.merges)):
                self.undo(merge)
            assert len(self.merges) < left, self.merges
        self.hear()

    def everything(self) -> dict[str, Any]:
        """All rows, without what every write changes."""
        found = {}
        for service, tables in _TABLES.items():
            with self.databases[service].reading(self.about()) as session:
                for table in tables:
                    rows = session.scalars(
                        text(f"SELECT (to_jsonb(t) {_STAMPS})::text FROM {table} t ORDER BY 1")
                    )
                    found[f"{service}.{table}"] = list(rows)
        return found


numbers = st.integers(0, PEOPLE - 1)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("merge"), numbers, numbers),
        st.tuples(st.just("undo"), st.integers(0, 10), st.just(0)),
        st.tuples(st.just("hear"), numbers, st.just(0)),
    ),
    min_size=1,
    max_size=10,
)


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(steps=steps)
def test_merges_that_are_all_undone_leave_nothing_behind(
    database: Callable[[str], Database], steps: list[tuple[str, int, int]]
) -> None:
    world = World(database)
    before = world.everything()

    for step, a, b in steps:
        if step == "merge":
            world.merge(world.people[a], world.people[b])
        elif step == "undo" and world.merges:
            world.undo(world.merges[a % len(world.merges)])
        elif step == "hear":
            world.hear(a)
    world.undo_all()

    assert world.everything() == before
