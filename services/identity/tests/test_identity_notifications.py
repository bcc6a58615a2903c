"""Notifications: who is told what, once; who is shown it by then; mails at once and of the day."""

import datetime as dt
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Barrier, Thread
from typing import Any
from uuid import UUID, uuid4, uuid5

import pytest
from identity_company import Company, call
from sqlalchemy import text

from liaison_identity import digests, notifications
from liaison_identity.service import Identity
from liaison_kit import jobs, messages
from liaison_kit.context import Context
from liaison_kit.notifications import NotificationKind, notify
from liaison_kit.tenants import keep as keep_settings
from liaison_kit.testing import keyring
from liaison_kit.testing import told as told_by
from liaison_kit.timers import queue
from liaison_kit.timers.running import Runs
from liaison_kit.timers.timer import handlers_of
from liaison_kit.trust.sealing import unseal
from liaison_sdk.contracts import contacts, sales
from liaison_sdk.contracts.connect import About
from liaison_sdk.contracts.desk import UsersNotified
from liaison_sdk.contracts.identity import TenantSaved
from liaison_sdk.events import Envelope, Event
from liaison_sdk.labels import Label

Users = Callable[..., dict[str, Any]]
GIVEN = NotificationKind(
    "given",
    Label(en="Given", fr="Confié"),
    subject=Label(en="{{ what }} is yours", fr="{{ what }} est à vous"),
    text=Label(en="Take care of it.", fr="Occupez-vous-en."),
    fields=("what",),
)


def hear(company: Company, event: Event, module: str = "sales") -> None:
    """What a module tells arrives."""
    with company.db.writing(Context(tenant=company.id)) as session:
        if notifications.concern(session, [event]):  # type: ignore[list-item]
            notifications.heard(session, module, event)  # type: ignore[arg-type]


def event_of(
    users: list[str],
    what: str = "Desk",
    about: About | None = None,
    kind: NotificationKind = GIVEN,
) -> UsersNotified:
    """What a module's `notify` tells."""
    said = {"en": kind.said("en", {"what": what}), "fr": kind.said("fr", {"what": what})}
    data = {"notice_id": uuid4(), "kind": kind.name, "channel": kind.channel, "about": about}
    return UsersNotified.model_validate(data | {"user_ids": users, "said": said})


def tell(company: Company, *users: dict[str, Any], **more: Any) -> None:
    hear(company, event_of([user["id"] for user in users], **more))


def deal(owner: str | None = None, id: UUID | None = None) -> About:
    return About(record="opportunities", id=id or uuid4(), owner_id=owner and UUID(owner))


def shown(who: dict[str, Any], **query: Any) -> list[dict[str, Any]]:
    return list(call("list_notifications", who, query=query).body["items"])


def mails(company: Company) -> list[dict[str, Any]]:
    """The mails that were handed to connect, of notifications and digests."""
    found = []
    for type, data in told_by(company.db, company.id):
        if type != "message_intended" or data["intent"]["purpose"] == "account":
            continue
        if data["sealed"]:
            opened = unseal(keyring("connect"), messages.SEALED_FOR, data["sealed"].encode())
            data["intent"]["content"] = json.loads(opened)["content"]
        found.append(data["intent"])
    return found


def choose(who: dict[str, Any], channel: str | None, **more: Any) -> Any:
    body = {"channels": {"sales.given": channel}, **more}
    kinds = ["contacts.flow_notice", "sales.given"]
    return call("change_notification_choices", who, body=body, kinds=kinds)


@pytest.fixture
def rep(company: Company, add_user: Users) -> dict[str, Any]:
    """Somebody who sees their own deals."""
    return add_user("Rep", "sales_rep")


@pytest.fixture
def reps_desk(company: Company, rep: dict[str, Any]) -> dict[str, Any]:
    """That person, signed in."""
    return company.principal(company.token(rep["email"]))


# --- being told -----------------------------------------------------------------------------------


def test_what_a_person_is_told_is_theirs_alone(
    company: Company, admin: dict[str, Any], rep: dict[str, Any], reps_desk: dict[str, Any]
) -> None:
    tell(company, rep)

    (mine,) = shown(reps_desk)
    assert (mine["subject"], mine["text"]) == ("Desk is yours", "Take care of it.")
    assert (mine["module"], mine["kind"], mine["unread"]) == ("sales", "given", True)
    assert shown(admin) == []
    assert call("read_notification", admin, path={"id": mine["id"]}).status == 404
    assert call("read_notifications", admin, body=until(1)).body == {"read": 0}
    assert [one["unread"] for one in shown(reps_desk)] == [True]


def test_each_is_told_in_their_own_language(company: Company, add_user: Users) -> None:
    user = add_user("Luc", locale="fr")

    tell(company, user)

    (mine,) = shown(company.principal(company.token(user["email"])))
    assert mine["subject"] == "Desk est à vous"


def test_nobody_of_another_organisation_is_told(
    company: Company, rep: dict[str, Any], make_company: Callable[..., Company]
) -> None:
    other = make_company()

    tell(other, rep)

    with company.db.reading(Context(tenant=company.id)) as session:
        assert session.scalar(text("SELECT count(*) FROM notifications")) == 0
    assert told_by(other.db, other.id).count(("notifications_changed", {})) == 0
    assert "notifications_changed" not in {type for type, _ in told_by(other.db, other.id)}


def test_a_module_tells_in_its_own_name_whatever_it_says(
    company: Company, rep: dict[str, Any], reps_desk: dict[str, Any]
) -> None:
    choose(reps_desk, "none")
    forged = event_of([rep["id"]]).model_copy(update={"kind": "sales.given"})

    hear(company, event_of([rep["id"]]), "contacts")
    hear(company, forged, "contacts")

    # What they do not want to hear of sales, nobody else has a say in, and nobody speaks for.
    assert {(one["module"], one["kind"]) for one in shown(reps_desk)} == {
        ("contacts", "given"),
        ("contacts", "sales.given"),
    }


def test_who_may_not_see_the_record_is_not_told(
    company: Company, rep: dict[str, Any], reps_desk: dict[str, Any], add_user: Users
) -> None:
    stranger = add_user("Stranger")
    inactive = add_user("Gone", "administrator", active=False)

    tell(company, rep, stranger, inactive, about=deal(owner=stranger["id"]))

    with company.db.reading(Context(tenant=company.id)) as session:
        assert session.scalar(text("SELECT count(*) FROM notifications")) == 0
    assert shown(reps_desk) == []


def test_what_is_told_twice_of_a_record_is_one_until_it_is_read(
    company: Company, rep: dict[str, Any], reps_desk: dict[str, Any]
) -> None:
    about = deal(owner=rep["id"])
    for what in ("One", "Two", "Three"):
        tell(company, rep, what=what, about=about)
    tell(company, rep, what="Other", about=deal(owner=rep["id"]))

    heaps = {one["subject"]: one["times"] for one in shown(reps_desk)}
    unread = call("count_unread", reps_desk).body["unread"]
    (first,) = [one for one in shown(reps_desk) if one["times"] == 3]
    call("read_notification", reps_desk, path={"id": first["id"]})
    tell(company, rep, what="Four", about=about)

    assert heaps == {"Three is yours": 3, "Other is yours": 1}
    assert unread == 2
    assert {one["subject"] for one in shown(reps_desk)} == {
        "Three is yours",
        "Four is yours",
        "Other is yours",
    }
    assert len(shown(reps_desk, unread="true")) == 2


def test_what_is_told_by_several_at_once_is_one(
    company: Company, rep: dict[str, Any], reps_desk: dict[str, Any]
) -> None:
    about, ready = deal(owner=rep["id"]), Barrier(4)

    def one() -> None:
        ready.wait()
        tell(company, rep, about=about)

    at_once(one, 4)

    assert [one["times"] for one in shown(reps_desk)] == [4]


def test_only_its_person_is_told_of_a_change_at_once(company: Company, rep: dict[str, Any]) -> None:
    tell(company, rep)

    told = [data for type, data in told_by(company.db, company.id) if "notifications" in type]
    (live,) = [e for e in Identity.live if e["type"] == "notifications_changed"]
    assert told == [{"owner_id": rep["id"]}]
    assert live["to"] == "owner"


# --- being shown ----------------------------------------------------------------------------------


@pytest.mark.parametrize("version", [None, 2])
def test_who_sees_a_record_no_more_is_shown_no_trace_of_it(
    company: Company,
    rep: dict[str, Any],
    reps_desk: dict[str, Any],
    admin: dict[str, Any],
    version: int | None,
) -> None:
    about = deal(owner=rep["id"])
    tell(company, rep, about=about)
    (mine,) = shown(reps_desk)
    changed = sales.OpportunityChanged(
        opportunity_id=about.id,
        name="Desk",
        company_id=None,
        contact_id=None,
        owner_id=UUID(admin["user"]),
        changed=["owner_id"],
        record_version=version,
    )

    hear(company, changed)

    assert shown(reps_desk) == []
    assert call("count_unread", reps_desk).body["unread"] == 0
    assert call("read_notification", reps_desk, path={"id": mine["id"]}).status == 404


def test_what_is_heard_late_of_an_owner_counts_for_nothing(
    company: Company, rep: dict[str, Any], reps_desk: dict[str, Any]
) -> None:
    about = deal(owner=rep["id"])
    tell(company, rep, about=about)

    for owner, version in ((UUID(rep["id"]), 5), (uuid4(), 4)):
        ref = sales.OpportunityRef(id=about.id, owner_id=owner, version=version)
        hear(company, sales.OpportunitiesSaved(opportunities=[ref]))

    assert len(shown(reps_desk)) == 1


def test_a_role_that_is_taken_away_takes_what_was_told_out_of_sight(
    company: Company, admin: dict[str, Any], rep: dict[str, Any]
) -> None:
    tell(company, rep, about=deal(owner=rep["id"]))
    without = {"role_ids": []}
    call("change_user", admin, path={"id": rep["id"]}, body=without, version=rep["version"])

    assert shown(company.principal(company.token(rep["email"]))) == []


def test_a_record_that_is_deleted_takes_what_was_told_of_it_along(
    company: Company, rep: dict[str, Any], reps_desk: dict[str, Any]
) -> None:
    about = deal(owner=rep["id"])
    tell(company, rep, about=about)

    hear(company, sales.OpportunitiesRemoved(opportunity_ids=[about.id]))
    deleted = shown(reps_desk)
    ref = sales.OpportunityRef(id=about.id, owner_id=UUID(rep["id"]), version=3)
    hear(company, sales.OpportunitiesSaved(opportunities=[ref]))

    assert deleted == []
    assert len(shown(reps_desk)) == 1


def test_all_up_to_a_moment_is_read_and_what_came_later_is_not(
    company: Company, rep: dict[str, Any], reps_desk: dict[str, Any]
) -> None:
    tell(company, rep, about=deal(owner=rep["id"]))
    (first,) = shown(reps_desk)
    tell(company, rep, about=deal(owner=rep["id"]))

    read = call("read_notifications", reps_desk, body={"until": first["updated_at"]})
    again = call("read_notifications", reps_desk, body={"until": first["updated_at"]})

    assert (read.body, again.body) == ({"read": 1}, {"read": 0})
    assert {one["id"]: one["unread"] for one in shown(reps_desk)}[first["id"]] is False
    assert call("count_unread", reps_desk).body["unread"] == 1


def test_pages_of_notifications_follow_each_other(
    company: Company, rep: dict[str, Any], reps_desk: dict[str, Any]
) -> None:
    for number in range(5):
        tell(company, rep, what=f"No. {number}", about=deal(owner=rep["id"]))

    first = call("list_notifications", reps_desk, query={"limit": 3}).body
    second = call("list_notifications", reps_desk, query={"limit": 3, "cursor": first["next"]}).body

    seen = [one["subject"] for one in (*first["items"], *second["items"])]
    assert seen == [f"No. {number} is yours" for number in (4, 3, 2, 1, 0)]
    assert second["next"] is None


# --- mails ----------------------------------------------------------------------------------------


def test_who_wants_it_is_mailed_once_for_what_is_told_again_and_again(
    company: Company, rep: dict[str, Any], reps_desk: dict[str, Any]
) -> None:
    choose(reps_desk, "mail")
    about = deal(owner=rep["id"])

    for _ in range(3):
        tell(company, rep, about=about)

    (mail,) = mails(company)
    assert mail["to"]["address"] == rep["email"]
    assert mail["content"]["subject"] == "Desk is yours"
    assert mail["about"] == {"record": "opportunities", "id": str(about.id), "owner_id": rep["id"]}
    assert shown(reps_desk)[0]["times"] == 3


def test_who_wants_to_hear_nothing_of_a_kind_hears_nothing(
    company: Company, rep: dict[str, Any], reps_desk: dict[str, Any]
) -> None:
    choose(reps_desk, "none")

    tell(company, rep)
    quiet = shown(reps_desk)
    choose(reps_desk, None)
    tell(company, rep)

    assert quiet == []
    assert len(shown(reps_desk)) == 1


def test_a_kind_that_no_module_has_is_refused_with_the_nearest(reps_desk: dict[str, Any]) -> None:
    body = {"channels": {"sales.givn": "mail"}}

    refused = call("change_notification_choices", reps_desk, body=body, kinds=["sales.given"])

    assert refused.status == 422
    assert refused.body["code"] == "unknown_kind"
    assert "sales.given" in refused.body["errors"][0]["message"]
    assert call("get_notification_choices", reps_desk).body == {
        "digest_at": "08:00",
        "channels": {},
    }


def test_two_who_choose_at_once_lose_nothing(company: Company, reps_desk: dict[str, Any]) -> None:
    ready, kinds = Barrier(4), [f"sales.kind_{number}" for number in range(4)]
    names = iter(kinds)

    def one() -> None:
        body = {"channels": {next(names): "mail"}}
        ready.wait()
        assert call("change_notification_choices", reps_desk, body=body, kinds=kinds).status == 200

    at_once(one, 4)

    chosen = call("get_notification_choices", reps_desk).body["channels"]
    assert chosen == dict.fromkeys(kinds, "mail")


class Clock:
    """Runs what is due, and lets time pass for it."""

    def __init__(self, company: Company) -> None:
        self.company = company
        handlers = handlers_of(Identity)

        def run(method: str, session: Any, timer: Any) -> None:
            getattr(Identity, method)(None, session, timer)

        self._runs = Runs("identity", handlers, company.db, run, lambda _: None, (60.0,))  # type: ignore[arg-type, return-value]

    def due(self) -> list[dt.datetime]:
        """When mails of the day are due."""
        with self.company.db.reading(Context(tenant=self.company.id)) as session:
            found = text("SELECT due_at FROM timers WHERE kind = 'digest_due'")
            return list(session.scalars(found))

    def strike(self) -> None:
        """The time has come."""
        with self.company.db.writing(Context(tenant=self.company.id)) as session:
            session.execute(text("UPDATE timers SET run_at = now() WHERE kind = 'digest_due'"))
        while (claim := queue.claim(self.company.db, digests.DigestDue.kind)) is not None:
            self._runs.run(claim)


@pytest.fixture
def clock(company: Company) -> Clock:
    return Clock(company)


def test_the_mail_of_the_day_tells_once_what_was_not_read(
    company: Company, rep: dict[str, Any], reps_desk: dict[str, Any], clock: Clock
) -> None:
    choose(reps_desk, "digest")
    for what in ("Read", "Lamp", "Lamp", "Chair"):
        about = deal(owner=rep["id"], id=uuid5(UUID(rep["id"]), what))
        tell(company, rep, what=what, about=about)
    (seen,) = [one for one in shown(reps_desk) if one["subject"].startswith("Read")]
    call("read_notification", reps_desk, path={"id": seen["id"]})
    planned = clock.due()

    clock.strike()
    clock.strike()

    (mail,) = mails(company)
    assert len(planned) == 1
    assert mail["to"]["address"] == rep["email"]
    assert mail["secret"]
    assert "Lamp is yours (2×)" in mail["content"]["text"]
    assert "Chair is yours" in mail["content"]["text"]
    assert "Read" not in mail["content"]["text"]
    assert clock.due() == []


def test_where_there_is_nothing_to_say_no_mail_goes(
    company: Company,
    admin: dict[str, Any],
    rep: dict[str, Any],
    reps_desk: dict[str, Any],
    clock: Clock,
) -> None:
    choose(reps_desk, "digest")
    about = deal(owner=rep["id"])
    tell(company, rep, about=about)
    ref = sales.OpportunityRef(id=about.id, owner_id=UUID(admin["user"]), version=9)

    hear(company, sales.OpportunitiesSaved(opportunities=[ref]))
    clock.strike()

    assert mails(company) == []
    assert clock.due() == []


def test_what_is_told_after_a_mail_of_the_day_is_in_the_next(
    company: Company, rep: dict[str, Any], reps_desk: dict[str, Any], clock: Clock
) -> None:
    choose(reps_desk, "digest")
    tell(company, rep, what="First", about=deal(owner=rep["id"]))
    clock.strike()

    tell(company, rep, what="Second", about=deal(owner=rep["id"]))
    clock.strike()

    first, second = [mail["content"]["text"] for mail in mails(company)]
    assert ("First" in first, "First" in second) == (True, False)
    assert "Second" in second


def test_the_mail_of_the_day_goes_by_the_organisations_clock(
    company: Company, rep: dict[str, Any], reps_desk: dict[str, Any], clock: Clock
) -> None:
    there = {"name": "x", "time_zone": "Asia/Tokyo", "country": None, "currency": "EUR"}
    said = {"tenant_id": company.id, "tenant": there | {"language": "en", "version": 99}}
    with company.db.writing(Context(tenant=company.id)) as session:
        assert keep_settings(session, TenantSaved.model_validate(said))
    choose(reps_desk, "digest", digest_at="07:30")
    tell(company, rep)
    (planned,) = clock.due()

    choose(reps_desk, "digest", digest_at="18:45")

    (moved,) = clock.due()
    assert (planned.astimezone(dt.UTC).time(), moved.astimezone(dt.UTC).time()) == (
        dt.time(22, 30),
        dt.time(9, 45),
    )


def test_the_mail_of_the_day_of_who_was_removed_is_none(
    company: Company,
    admin: dict[str, Any],
    rep: dict[str, Any],
    reps_desk: dict[str, Any],
    clock: Clock,
) -> None:
    choose(reps_desk, "digest")
    tell(company, rep)
    gone = call("delete_user", admin, path={"id": rep["id"]}, version=rep["version"])

    clock.strike()

    assert gone.status == 204
    assert (clock.due(), mails(company)) == ([], [])
    with company.db.reading(Context(tenant=company.id)) as session:
        assert session.scalar(text("SELECT count(*) FROM notifications")) == 0


# --- what is declared -----------------------------------------------------------------------------


def test_a_kind_whose_text_names_a_field_that_it_does_not_declare_stops_its_service() -> None:
    wrong = NotificationKind("x", GIVEN.label, GIVEN.subject, GIVEN.text, fields=("other",))

    with pytest.raises(TypeError, match="what"):
        type("Shop", (Identity,), {"notification_kinds": (wrong,)})


def test_a_service_tells_in_its_own_name_and_nothing_if_its_change_is_undone(
    company: Company, rep: dict[str, Any]
) -> None:
    users = [UUID(rep["id"])] * 2

    with company.db.writing(Context(tenant=company.id)) as session:
        notify(session, GIVEN, users, {"what": "Kept\r\nBcc: x"})
    with company.db.session(Context(tenant=company.id)) as session:
        notify(session, GIVEN, users, {"what": "Undone"})
        session.rollback()

    told = [data for type, data in told_by(company.db, company.id) if type == "users_notified"]
    assert [one["user_ids"] for one in told] == [[rep["id"]]]
    assert told[0]["said"]["fr"]["subject"] == "Kept Bcc: x est à vous"


# --- going away -----------------------------------------------------------------------------------


def test_old_notifications_go_away(
    company: Company, rep: dict[str, Any], reps_desk: dict[str, Any]
) -> None:
    for number in range(2):
        tell(company, rep, what=str(number), about=deal(owner=rep["id"]))
    old = shown(reps_desk)[0]["id"]
    with company.db.writing(Context(tenant=company.id)) as session:
        aged = "UPDATE notifications SET updated_at = now() - interval '91 days' WHERE id = :id"
        session.execute(text(aged), {"id": old})

    with company.db.connection() as connection:
        connection.execute(text("SELECT tidy_desks()"))
        connection.commit()

    assert old not in {one["id"] for one in shown(reps_desk)}
    assert len(shown(reps_desk)) == 1


def test_what_is_about_an_erased_person_goes_with_them_and_none_comes_late(
    company: Company, rep: dict[str, Any], reps_desk: dict[str, Any]
) -> None:
    person = uuid4()
    about = About(record="contacts", id=person, owner_id=UUID(rep["id"]))
    tell(company, rep, what="Zoé Erased", about=about)
    tell(company, rep, what="Ask Zoé Erased", about=deal(owner=rep["id"]))
    put_draft(reps_desk, "contacts", person, "Dear Zoé Erased")
    put_draft(reps_desk, "opportunities", uuid4(), "For Zoé Erased")

    with erasing(company, person, "Zoé", "Erased") as counts:
        pass
    tell(company, rep, what="Late", about=about)

    assert [one["subject"] for one in shown(reps_desk)] == ["Ask [erased] is yours"]
    with company.db.reading(Context(tenant=company.id)) as session:
        assert list(session.scalars(text("SELECT body FROM drafts"))) == ["For [erased]"]
    assert counts["notifications"] >= 2
    assert counts["drafts"] >= 2
    assert put_draft(reps_desk, "contacts", person, "again").status == 404


def test_what_is_about_a_merged_person_is_about_the_survivor(
    company: Company, rep: dict[str, Any], reps_desk: dict[str, Any]
) -> None:
    gone, kept = uuid4(), uuid4()
    for id in (gone, kept):
        about = About(record="contacts", id=id, owner_id=UUID(rep["id"]))
        tell(company, rep, about=about)
        put_draft(reps_desk, "contacts", id, f"draft of {id}")
    put_draft(reps_desk, "contacts", gone, "note", field="note")
    hear(company, contacts.PersonRemoved(person_id=gone, record_version=3), "contacts")

    merging(company, gone, kept)
    late = put_draft(reps_desk, "contacts", gone, "late", field="late")

    assert {one["record_id"] for one in shown(reps_desk)} == {str(kept)}
    assert len(shown(reps_desk)) == 2
    about_kept = call("list_drafts", reps_desk, path={"record": "contacts", "id": kept}).body
    assert {one["field"]: one["body"] for one in about_kept["items"]} == {
        "form": f"draft of {kept}",
        "late": "late",
        "note": "note",
    }
    assert late.body["record_id"] == str(kept)


# --- tools ----------------------------------------------------------------------------------------


def until(days: int) -> dict[str, str]:
    return {"until": (dt.datetime.now(dt.UTC) + dt.timedelta(days=days)).isoformat()}


def at_once(act: Callable[[], None], times: int) -> None:
    failed: list[BaseException] = []

    def guarded() -> None:
        try:
            act()
        except BaseException as error:
            failed.append(error)

    threads = [Thread(target=guarded) for _ in range(times)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []


def put_draft(
    who: dict[str, Any], record: str, id: UUID, body: str, field: str = "form", **more: Any
) -> Any:
    path = {"record": record, "id": id, "field": field}
    return call("keep_draft", who, path=path, body={"body": body}, **more)


@contextmanager
def erasing(company: Company, person: UUID, first: str, last: str) -> Iterator[dict[str, int]]:
    """A person is erased, as contacts asks it; what was found, by table."""
    from liaison_kit.privacy import erasing as by
    from liaison_kit.privacy.traces import Traces
    from liaison_kit.testing import in_hand

    about = Context(tenant=company.id)
    traces = Traces(names=[(first, last)])
    with company.db.writing(about) as session:
        by.settle(session, [person], uuid4())
        counts = by.by_marks(session, Identity.holdings(), "contacts", [person], traces)
        job = jobs.start(session, "erase", "Erase a person")
    found = by.Search(Identity.holdings(), str(traces.pattern()), [person]).run(
        in_hand(company.db, about, job)
    )
    for name, number in found.items():
        counts[name] = counts.get(name, 0) + number
    yield counts


def merging(company: Company, gone: UUID, kept: UUID) -> None:
    """Two persons are merged, as contacts tells it."""
    from liaison_kit.testing import at_work
    from liaison_sdk.contracts.privacy import RecordsMerged

    data = {
        "tenant_id": str(company.id),
        "request_id": str(uuid4()),
        "record": "contacts",
        "from_id": str(gone),
        "into_id": str(kept),
    }
    envelope = Envelope(
        id=uuid4(),
        type="records_merged",
        source="contacts",
        seq=1,
        tenant=company.id,
        occurred_at=dt.datetime.now(dt.UTC),
        key=str(company.id),
        correlation_id=uuid4(),
        data=data,
    )
    event = RecordsMerged.read(envelope)
    with company.db.writing(Context(tenant=company.id)) as session:
        at_work(Identity, company.db).on_privacy_asked(session, event)
