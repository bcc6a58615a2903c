"""Many people are changed at once, each by the rules and once, and as far as that goes put back."""

import json
from typing import Any
from uuid import UUID

import pytest

from liaison_contacts.service import Contacts
from liaison_kit import chosen, jobs
from liaison_kit.bulk import api, working
from liaison_kit.context import Context
from liaison_kit.database.database import Database
from liaison_kit.ids import uuid7
from liaison_kit.jobs import Cancelled
from liaison_kit.plugins import Hooks
from liaison_kit.testing import about, at_work, call, in_hand, principal, told


class Desk:
    """Somebody who changes many people at once."""

    def __init__(self, db: Database, who: Context) -> None:
        self.db, self.who = db, who
        self.service = at_work(
            Contacts, db, hooks=Hooks("contacts", 5.0), ask=staticmethod(self.nobody_is_known)
        )

    @staticmethod
    def nobody_is_known(*_asked: Any) -> bytes:
        """What identity answers of users that nobody has: this service's edge."""
        return b'{"users": []}'

    def call(self, name: str, body: Any = None, **meta: Any) -> tuple[int, Any]:
        """What an operation answers: its status and its JSON."""
        who = meta.pop("who", self.who.principal)
        sent = b"" if body is None else json.dumps(body).encode()
        reply = call(self.service, name, who, sent, **meta)
        return reply.status, json.loads(reply.body) if reply.body else None

    def make(self, count: int = 1, **values: Any) -> list[dict[str, Any]]:
        """New people."""
        made = []
        for number in range(count):
            given = {"last_name": f"P{number}"} | values
            made.append(self.call("create_contact", given)[1])
        return made

    def read(self, id: str) -> Any:
        """A person as they are."""
        return self.call("get_contact", path={"id": id})[1]

    def start(self, **body: Any) -> UUID:
        """A bulk change that has been asked for; its job."""
        status, answer = self.call("change_many_contacts", body)
        assert status == 202, answer
        return UUID(answer["job"])

    def run(self, job: UUID) -> None:
        """Do the job's work to its end."""
        run = in_hand(self.db, self.who, job)
        getattr(self.service, f"{run.kind}_job")(run)
        with self.db.writing(self.who) as session:
            jobs.find(session, job).status = "done"

    def bulk(self, **body: Any) -> UUID:
        """A bulk change that has been done; its job."""
        job = self.start(**body)
        self.run(job)
        return job

    def undo(self, job: UUID) -> dict[str, Any]:
        """Take a bulk change back; what became of it."""
        status, answer = self.call("undo_bulk", path={"id": str(job)})
        assert status == 202, answer
        self.run(UUID(answer["job"]))
        return self.report(job)

    def report(self, job: UUID, **meta: Any) -> dict[str, Any]:
        """What became of a bulk change."""
        status, found = self.call("get_bulk", path={"id": str(job)}, **meta)
        assert status == 200, found
        shown: dict[str, Any] = found
        return shown


@pytest.fixture
def desk(contacts_db: Database, someone: Context) -> Desk:
    """Somebody who may do everything."""
    return Desk(contacts_db, someone)


def ids(made: list[dict[str, Any]]) -> list[str]:
    return [one["id"] for one in made]


def counts(report: dict[str, Any]) -> tuple[int, ...]:
    return tuple(report[name] for name in ("total", "changed", "skipped", "undone", "kept"))


def plain(person: dict[str, Any]) -> dict[str, Any]:
    stamps = ("version", "updated_at", "updated_by", "possible_duplicates")
    return {name: value for name, value in person.items() if name not in stamps}


@pytest.mark.parametrize(
    "act",
    [
        {"change": {"title": "Boss", "custom": {"size": 3}}},
        {"change": {"emails": [{"address": "x@y.example", "kind": "home"}]}},
        {"add_tags": ["new", "vip"], "remove_tags": ["old"]},
        {"delete": True},
    ],
)
def test_what_a_bulk_change_does_its_undo_takes_back(desk: Desk, act: dict[str, Any]) -> None:
    field = {"name": "size", "kind": "number", "label": {"en": "Size", "fr": "Taille"}}
    desk.call("create_custom_field", field, query=[["record", "contacts"]])
    made = desk.make(3, tags=["old", "vip"], title="Clerk")

    job = desk.bulk(ids=ids(made), **act)

    assert counts(desk.report(job)) == (3, 3, 0, 0, 0)
    after = desk.read(made[0]["id"])
    match act:
        case {"delete": True}:
            assert after["code"] == "not_found"
        case {"add_tags": _}:
            assert after["tags"] == ["vip", "new"]
        case {"change": change}:
            assert {name: after[name] for name in change} == change
    assert counts(desk.undo(job)) == (3, 3, 0, 3, 0)
    assert [plain(desk.read(id)) for id in ids(made)] == [plain(one) for one in made]
    assert counts(desk.undo(job)) == (3, 3, 0, 3, 0)


def test_each_record_tells_of_its_change_once(
    desk: Desk, contacts_db: Database, someone: Context
) -> None:
    made = desk.make(2)
    before = len(told(contacts_db, someone.tenant))

    desk.bulk(ids=[*ids(made), ids(made)[0]], change={"title": "Boss"})

    events = told(contacts_db, someone.tenant)[before:]
    assert [(kind, len(data["people"])) for kind, data in events] == [("people_saved", 1)] * 2
    assert [desk.read(id)["version"] for id in ids(made)] == [2, 2]


def test_those_that_a_list_finds_are_changed_and_no_others(desk: Desk) -> None:
    found, other = desk.make(2, stage="lead", tags=["x"]), desk.make(1, stage="customer")

    job = desk.bulk(filters={"stage": "lead"}, q="p", change={"title": "Found"})

    assert desk.report(job)["changed"] == 2
    titles = [desk.read(one["id"])["title"] for one in (*found, *other)]
    assert titles == ["Found", "Found", None]


def test_what_the_rules_refuse_is_told_beside_the_record(desk: Desk) -> None:
    (nameless,) = desk.make(1, last_name="", first_name="Lee")
    (fine,) = desk.make(1, first_name="Kim")
    gone, elsewhere = str(uuid7()), Desk(desk.db, about()).make()[0]["id"]
    which = [nameless["id"], fine["id"], gone, elsewhere]

    job = desk.bulk(ids=which, change={"first_name": ""})

    report = desk.report(job)
    assert counts(report) == (4, 1, 3, 0, 0)
    codes = {item["id"]: item["code"] for item in report["items"]}
    assert codes == {nameless["id"]: "invalid_input", gone: "not_found", elsewhere: "not_found"}
    assert desk.read(nameless["id"])["first_name"] == "Lee"
    first = desk.report(job, query=[["limit", "2"]])
    rest = desk.report(job, query=[["limit", "2"], ["cursor", first["next"]]])
    assert [*first["items"], *rest["items"]] == report["items"]


def test_an_owner_whom_nobody_knows_is_given_nothing(desk: Desk) -> None:
    made = desk.make(2)

    job = desk.bulk(ids=ids(made), owner_id=str(uuid7()))

    report = desk.report(job)
    assert counts(report) == (2, 0, 2, 0, 0)
    assert {item["code"] for item in report["items"]} == {"invalid_input"}


def test_what_somebody_has_changed_since_is_not_put_back(desk: Desk) -> None:
    made = desk.make(3, title="Clerk")
    job = desk.bulk(ids=ids(made), change={"title": "Boss"})
    desk.call("change_contact", {"title": "Queen"}, path={"id": made[0]["id"]}, if_match=2)
    desk.call("delete_contact", path={"id": made[1]["id"]}, if_match=2)

    report = desk.undo(job)

    assert counts(report) == (3, 3, 0, 1, 2)
    codes = {item["id"]: item["undo_code"] for item in report["items"]}
    assert codes == {made[0]["id"]: "changed_since", made[1]["id"]: "not_found"}
    assert [desk.read(made[n]["id"])["title"] for n in (0, 2)] == ["Queen", "Clerk"]


def test_what_followed_from_a_change_and_stays_is_told(desk: Desk) -> None:
    made = desk.make(1, stage="lead")
    job = desk.bulk(ids=ids(made), change={"stage": "customer"})

    report = desk.undo(job)

    assert desk.read(made[0]["id"])["stage"] == "lead"
    assert counts(report) == (1, 1, 0, 1, 1)
    (item,) = report["items"]
    assert item["undo_code"] == "put_back_partly"
    assert "customer_since" in item["undo_message"]


def test_a_job_that_is_taken_over_changes_every_record_once(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(working, "TOGETHER", 2)
    monkeypatch.setattr(chosen, "BATCH", 4)
    made = desk.make(9)
    job = desk.start(ids=ids(made), change={"title": "Boss"})
    changed, calls = working._changed, 0

    def dies(*given: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 6:
            raise MemoryError
        return changed(*given)

    monkeypatch.setattr(working, "_changed", dies)
    with pytest.raises(MemoryError):
        desk.run(job)
    assert desk.report(job)["changed"] == 4
    monkeypatch.setattr(working, "_changed", changed)
    desk.run(job)

    assert counts(desk.report(job)) == (9, 9, 0, 0, 0)
    assert [desk.read(id)["version"] for id in ids(made)] == [2] * 9


def test_a_cancelled_job_stops_and_what_it_did_can_be_taken_back(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(working, "TOGETHER", 2)
    made = desk.make(5)
    job = desk.start(ids=ids(made), change={"title": "Boss"})
    run = in_hand(desk.db, desk.who, job)
    assert desk.call("undo_bulk", path={"id": str(job)})[0] == 409
    assert desk.call("cancel_job", path={"id": str(job)})[0] == 200

    with pytest.raises(Cancelled):
        desk.service.bulk_job(run)
    with desk.db.writing(desk.who) as session:
        jobs.find(session, job).status = "cancelled"

    assert counts(desk.report(job)) == (5, 2, 0, 0, 0)
    assert counts(desk.undo(job)) == (5, 2, 0, 2, 0)
    assert {desk.read(id)["title"] for id in ids(made)} == {None}


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"ids": [str(uuid7())]}, "change"),
        ({"ids": [str(uuid7())], "change": {}}, "change"),
        ({"ids": [str(uuid7())], "change": {"title": "x"}, "delete": True}, "change"),
        ({"change": {"title": "x"}}, "ids"),
        ({"ids": [str(uuid7())], "q": "x", "delete": True}, "ids"),
        ({"filters": {"colour": "x"}, "delete": True}, "colour"),
        ({"ids": [], "delete": True}, "ids"),
        ({"ids": [str(uuid7())], "delete": False}, "delete"),
        ({"ids": [str(uuid7())], "change": {"colour": "x"}}, "change.colour"),
    ],
)
def test_what_is_wrong_with_a_bulk_change_is_told_at_once(desk: Desk, body: Any, path: str) -> None:
    status, problem = desk.call("change_many_contacts", body)

    assert status == 422
    assert problem["errors"][0]["path"] == path


def test_more_than_so_many_are_refused_and_none_is_changed(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api, "MOST", 2)
    desk.make(3)

    status, problem = desk.call("change_many_contacts", {"filters": {}, "delete": True})

    assert (status, problem["errors"][0]["code"]) == (422, "too_many")
    assert "2" in problem["detail"]


def test_nobody_changes_many_that_they_could_not_change_one_by_one(desk: Desk) -> None:
    mine = Desk(
        desk.db, about(principal(desk.who.tenant, "*", user=uuid7(), rows={"contacts": "own"}))
    )
    hidden, own = desk.make()[0], mine.make()[0]

    job = mine.bulk(ids=[hidden["id"], own["id"]], change={"title": "Boss"})
    all_of_mine = mine.bulk(filters={}, change={"title": "Queen"})

    assert counts(mine.report(job)) == (2, 1, 1, 0, 0)
    assert counts(mine.report(all_of_mine)) == (1, 1, 0, 0, 0)
    assert desk.read(hidden["id"])["title"] is None
    reader = principal(desk.who.tenant, "contacts:read")
    body = {"ids": [own["id"]], "delete": True}
    assert desk.call("change_many_contacts", body, who=reader)[0] == 403
    lost = mine.bulk(ids=[own["id"]], owner_id=None)
    assert mine.report(lost)["items"][0]["code"] == "invalid_input"


def test_a_bulk_change_is_for_who_started_it_and_for_operators(desk: Desk) -> None:
    made = desk.make()
    job = desk.bulk(ids=ids(made), change={"title": "Boss"})
    path = {"id": str(job)}
    follows = ("jobs:read", "jobs:write")
    colleague = principal(desk.who.tenant, "contacts:write", *follows)
    operator = principal(desk.who.tenant, "operations:manage", *follows)

    for name in ("get_bulk", "undo_bulk"):
        assert desk.call(name, path=path, who=colleague)[0] == 404
        assert desk.call(name, path=path, who=about().principal)[0] == 404
    assert desk.call("get_bulk", path=path, who=operator)[0] == 200
    assert desk.call("undo_bulk", path=path, who=operator)[0] == 403
