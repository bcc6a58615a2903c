"""No reference points at what was deleted, and what comes back is pointed at as before."""

import json
import threading
from collections.abc import Mapping
from typing import Any, ClassVar
from uuid import UUID

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.orm import Mapped

from liaison_kit import records
from liaison_kit.context import Context
from liaison_kit.database.database import Database
from liaison_kit.database.tables import Base, Owned, Record, refers_to
from liaison_kit.ids import uuid7
from liaison_kit.privacy.marks import points_at
from liaison_kit.records import links, trash
from liaison_kit.records.links import InUse, Others
from liaison_kit.records.recordtype import RecordType
from liaison_kit.run.process import wait_until
from liaison_kit.testing import about, principal, statements
from liaison_sdk.events import Event
from liaison_sdk.labels import Label

from .conftest import Ground


class Firm(Record, Base):
    """What people work for."""

    __tablename__ = "firms"

    name: Mapped[str]
    parent_id: Mapped[UUID | None] = points_at("firms", deleted="unlink")


class Worker(Owned, Base):
    """Who works for a firm, for another service's client, with a tool."""

    __tablename__ = "employees"

    firm_id: Mapped[UUID | None] = points_at("firms", deleted="unlink")
    client_id: Mapped[UUID | None] = points_at("clients", deleted="unlink")
    tool_id: Mapped[UUID | None] = refers_to("tools", deleted="refuse", instead="lend it out")


class Tool(Record, Base):
    """What is worked with."""

    __tablename__ = "tools"


class Shape(BaseModel):
    """Any of them, as readers get it."""

    id: UUID
    external_id: str | None
    version: int


class ClientRemoved(Event):
    """A client is gone."""

    type = "client_removed"
    source = "elsewhere"
    key_field: ClassVar[str | None] = "client_id"

    client_id: UUID
    record_version: int | None = None
    because: str | None = None


class ClientRestored(Event):
    """A client is back."""

    type = "client_restored"
    source = "elsewhere"
    key_field: ClassVar[str | None] = "client_id"

    client_id: UUID
    record_version: int | None = None


def _kind(name: str, model: type[Record], **more: Any) -> RecordType:
    return RecordType(name, Label(en=name, fr=name), model, Shape, title=("external_id",),
                      restorable=True, **more)  # fmt: skip


FIRMS = _kind("firms", Firm, references={"parent_id": "firms"})
EMPLOYEES = _kind("employees", Worker, references={"firm_id": "firms"})
TOOLS = _kind("tools", Tool)
SAVED: list[UUID] = []
REFERRERS = links.join(
    (FIRMS, EMPLOYEES, TOOLS), {"employees": lambda _session, ids: SAVED.extend(ids)}
)
CLIENTS = Others("clients", ClientRemoved, ClientRestored)
COLUMNS = {
    "firms": ("name", "parent_id"),
    "employees": ("owner_id", "firm_id", "client_id", "tool_id"),
}


def create(db: Database, who: Context, kind: RecordType, **values: Any) -> UUID:
    blank = dict.fromkeys(COLUMNS.get(kind.name, ()))
    if kind is FIRMS:
        blank["name"] = "x"
    with db.writing(who) as session:
        return records.create(session, kind, kind.model, external_id=None, **blank | values).id


def change(db: Database, who: Context, kind: RecordType, id: UUID, **values: Any) -> None:
    with db.writing(who) as session:
        row = records.load(session, kind, kind.model, id)
        records.change(session, kind, row, values)


def remove(db: Database, who: Context, kind: RecordType, id: UUID) -> None:
    with db.writing(who) as session:
        records.remove(session, kind, records.load(session, kind, kind.model, id))


def restore(db: Database, who: Context, kind: RecordType, id: UUID) -> None:
    with db.writing(who) as session:
        trash.restore(session, kind, id)


def hear(db: Database, who: Context, event: Event) -> None:
    with db.writing(who) as session:
        CLIENTS.heard(session, event, REFERRERS)


def removed(client: UUID, version: int, because: str | None = "deleted") -> ClientRemoved:
    return ClientRemoved(client_id=client, record_version=version, because=because)


def row(db: Database, who: Context, kind: RecordType, id: UUID) -> Mapping[str, Any]:
    with db.writing(who) as session:
        return records.values_of(records.load(session, kind, kind.model, id))


def history(db: Database, who: Context, kind: RecordType, id: UUID) -> list[tuple[str, Any]]:
    with db.reading(who) as session:
        items = json.loads(records.history(session, kind, id))["items"]
    return [(item["action"], item["changes"]) for item in items]


class Deletions(RuleBasedStateMachine):
    """Records of two services are linked, deleted and restored, and news come in any order."""

    db: ClassVar[Database]

    def __init__(self) -> None:
        super().__init__()
        self.who = about()
        self.there: dict[UUID, bool] = {}
        self.wanted: dict[tuple[UUID, str], UUID | None] = {}
        self.kinds: dict[UUID, RecordType] = {}
        self.versions = {uuid7(): 1 for _ in range(2)}
        self.there |= dict.fromkeys(self.versions, True)
        self.news: list[Event] = []
        self.old_news: list[Event] = []
        # Linked from the start: what is rare is that both ends go and come back.
        firms: list[UUID] = []
        clients = list(self.versions)
        for kind in (FIRMS, FIRMS, EMPLOYEES):
            links = {"parent_id": firms[0] if firms else None}
            if kind is EMPLOYEES:
                links = {"firm_id": firms[1], "client_id": clients[0]}
            id = create(self.db, self.who, kind, **links)
            firms.append(id)
            self.kinds[id], self.there[id] = kind, True
            self.wanted |= {(id, column): aim for column, aim in links.items()}

    @rule(which=st.integers(0, 3), to=st.integers(0, 2))
    def link(self, which: int, to: int) -> None:
        (id, column) = list(self.wanted)[which]
        aims = list(self.versions) if column == "client_id" else list(self.kinds)[:2]
        aim = [*aims, None][to]
        if not self.there[id] or (column != "client_id" and not self.there.get(aim, True)):
            return
        before = row(self.db, self.who, self.kinds[id], id)[column]
        change(self.db, self.who, self.kinds[id], id, **{column: aim})
        if before != aim:
            self.wanted[id, column] = aim

    @rule(which=st.integers(0, 2))
    def come_or_go(self, which: int) -> None:
        id = list(self.kinds)[which]
        (remove if self.there[id] else restore)(self.db, self.who, self.kinds[id], id)
        self.there[id] = not self.there[id]

    @rule(which=st.integers(0, 1))
    def come_or_go_elsewhere(self, which: int) -> None:
        id = list(self.versions)[which]
        self.versions[id] += 1
        version = self.versions[id]
        self.news.append(
            removed(id, version)
            if self.there[id]
            else ClientRestored(client_id=id, record_version=version)
        )
        self.there[id] = not self.there[id]

    @precondition(lambda self: self.news)
    @rule(which=st.integers(0, 9))
    def hear_some(self, which: int) -> None:
        event = self.news.pop(which % len(self.news))
        self.old_news.append(event)
        hear(self.db, self.who, event)

    @precondition(lambda self: self.old_news)
    @rule(which=st.integers(0, 9))
    def hear_again(self, which: int) -> None:
        hear(self.db, self.who, self.old_news[which % len(self.old_news)])

    @invariant()
    def everything_points_at_what_is_there_and_nothing_else(self) -> None:
        for (id, column), aim in self.wanted.items():
            if not self.there[id] or (column == "client_id" and self.news):
                continue
            found = row(self.db, self.who, self.kinds[id], id)[column]
            assert found == (aim if self.there.get(aim, True) else None), column


def test_whatever_is_deleted_and_restored_nothing_dead_is_pointed_at_and_no_link_is_lost(
    db: Database,
) -> None:
    Deletions.db = db
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Deletions,
        settings=settings(
            max_examples=20,
            stateful_step_count=30,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_history_says_which_record_let_go_and_of_what_and_others_are_told(
    db: Database, someone: Context
) -> None:
    firm = create(db, someone, FIRMS)
    worker = create(db, someone, EMPLOYEES, firm_id=firm)
    SAVED.clear()

    remove(db, someone, FIRMS, firm)
    restore(db, someone, FIRMS, firm)

    assert history(db, someone, EMPLOYEES, worker) == [
        ("linked_again", {"firm_id": [None, str(firm)]}),
        ("unlinked", {"firm_id": [str(firm), None]}),
    ]
    assert row(db, someone, EMPLOYEES, worker)["version"] == 3
    assert [worker, worker] == SAVED


def test_what_has_been_given_another_keeps_it(db: Database, someone: Context) -> None:
    firm, other = create(db, someone, FIRMS), create(db, someone, FIRMS)
    worker = create(db, someone, EMPLOYEES, firm_id=firm)
    remove(db, someone, FIRMS, firm)
    change(db, someone, EMPLOYEES, worker, firm_id=other)

    restore(db, someone, FIRMS, firm)

    assert row(db, someone, EMPLOYEES, worker)["firm_id"] == other


@pytest.mark.parametrize("because", ["merged", "erased", None])
def test_what_was_merged_or_erased_or_told_by_an_earlier_release_is_not_let_go_of(
    db: Database, someone: Context, because: str | None
) -> None:
    client = uuid7()
    worker = create(db, someone, EMPLOYEES, client_id=client)

    hear(db, someone, removed(client, 2, because))

    assert row(db, someone, EMPLOYEES, worker)["client_id"] == client


def test_what_is_written_late_points_at_nothing_until_it_is_back(
    db: Database, someone: Context
) -> None:
    client = uuid7()
    hear(db, someone, removed(client, 2))

    worker = create(db, someone, EMPLOYEES, client_id=client)
    assert row(db, someone, EMPLOYEES, worker)["client_id"] is None
    hear(db, someone, ClientRestored(client_id=client, record_version=3))

    assert row(db, someone, EMPLOYEES, worker)["client_id"] == client


def test_who_is_about_to_point_at_it_is_waited_for(
    ground: Ground, db: Database, someone: Context
) -> None:
    client = uuid7()
    with db.writing(someone) as session:
        worker = records.create(
            session, EMPLOYEES, Worker, external_id=None,
            **dict.fromkeys(COLUMNS["employees"]) | {"client_id": client},
        ).id  # fmt: skip
        hearing = threading.Thread(target=hear, args=(db, someone, removed(client, 2)))
        hearing.start()
        assert wait_until(ground.waiting, seconds=20)
    hearing.join()

    assert row(db, someone, EMPLOYEES, worker)["client_id"] is None


def test_a_refusal_counts_what_the_caller_may_see_and_does_not_count_the_rest(
    db: Database, someone: Context
) -> None:
    rep = principal(someone.tenant, rows={"employees": "own"})
    tool = create(db, someone, TOOLS)
    for owner in (rep.user, rep.user, uuid7(), None):
        create(db, someone, EMPLOYEES, tool_id=tool, owner_id=owner)
    blind = principal(someone.tenant, "tools:write")

    found = {}
    for name, who in (("all", someone), ("own", about(rep)), ("none", about(blind))):
        with pytest.raises(InUse) as refused:
            remove(db, who, TOOLS, tool)
        found[name] = (refused.value.detail, refused.value.problem()["in_the_way"])

    assert found == {
        "all": (
            "4 employees point at it; lend it out",
            [{"record": "employees", "count": 4, "hidden": False}],
        ),
        "own": (
            "2 employees and records that you may not see point at it; lend it out",
            [{"record": "employees", "count": 2, "hidden": True}],
        ),
        "none": ("Records that you may not see point at it; lend it out", []),
    }
    assert row(db, someone, TOOLS, tool)["version"] == 1


def test_deleting_takes_as_many_statements_however_many_let_go(
    db: Database, someone: Context
) -> None:
    firms = [create(db, someone, FIRMS) for _ in range(2)]
    for firm in (firms[0], *firms[1:] * 20):
        create(db, someone, EMPLOYEES, firm_id=firm)
    runs = []

    for act in (remove, restore):
        for firm in firms:
            with statements(db) as seen:
                act(db, someone, FIRMS, firm)
            runs.append(len(seen))

    # Each column that lets go is one, what its records' history says another.
    assert runs == [7, 7, 9, 9]


def test_what_can_come_back_no_more_is_forgotten(
    ground: Ground, db: Database, someone: Context
) -> None:
    old, young = create(db, someone, FIRMS), create(db, someone, FIRMS)
    for firm in (old, young):
        create(db, someone, EMPLOYEES, firm_id=firm)
        remove(db, someone, FIRMS, firm)
    ground.look(
        f"UPDATE unlinked_records SET at = now() - interval '32 days' WHERE gone_id = '{old}'"
    )

    with db.connection() as connection:
        connection.execute(text("SELECT forget_unlinked()"))
        connection.commit()

    left = f"SELECT gone_id FROM unlinked_records WHERE gone_id IN ('{old}', '{young}')"
    assert [str(id) for (id,) in ground.look(left)] == [str(young)]
