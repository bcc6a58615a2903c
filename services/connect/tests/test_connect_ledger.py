"""The ledger: what is handed in becomes one message, and what became of it is told."""

import json
from typing import Any
from uuid import uuid4

import pytest
from connect_desk import HELLO, Desk, Pretend, intended, intent, soon
from sqlalchemy import text

from liaison_kit.testing import principal
from liaison_sdk.contracts.connect import About, MessageIntent

SECRET = "https://crm.example/p/identity/password/the-secret-link"
ACCOUNT: dict[str, Any] = {
    "purpose": "account",
    "secret": True,
    "content": HELLO.model_copy(update={"text": f"Click {SECRET}\n", "html": None}),
}


def test_a_message_is_sent_once_however_often_it_is_handed_in(desk: Desk) -> None:
    message, way = intent(), Pretend()

    desk.hand_in(message)
    desk.hand_in(message)
    desk.send_all(way)
    desk.hand_in(message)
    desk.send_all(way)

    assert len(way.taken) == 1
    assert desk.message()["state"] == "sent"
    assert desk.told() == [("message_sent", None)]


def test_another_message_under_the_same_id_is_refused_and_the_first_one_stays(desk: Desk) -> None:
    first, way = intent(), Pretend()

    desk.hand_in(first)
    desk.hand_in(first.model_copy(update={"purpose": "other"}))
    desk.send_all(way)

    assert len(way.taken) == 1
    assert desk.message()["purpose"] == "newsletter"
    assert desk.told() == [("message_failed", "same_id"), ("message_sent", None)]


def test_an_id_is_its_senders_own(desk: Desk) -> None:
    message, way = intent(), Pretend()

    desk.hand_in(message, "identity")
    desk.hand_in(message, "contacts")
    desk.send_all(way)

    assert len(way.taken) == 2


@pytest.mark.parametrize(
    ("bad", "reason"),
    [
        (intent(None), "no_address"),
        (intent(""), "no_address"),
        (intent("nobody"), "bad_address"),
        (intent("a@b@example.com"), "bad_address"),
        (intent("a@example.com\r\nBcc: all@example.com"), "bad_address"),
        (intent("josé@example.com"), "bad_address"),
        (intent(channel="pigeon"), "unknown_channel"),
        (intent(content=None), "no_content"),
        (intent(content=None, template="nowhere"), "unknown_template"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_can_not_be_sent_has_failed_and_says_why(
    desk: Desk, bad: MessageIntent, reason: str
) -> None:
    way = Pretend()

    desk.hand_in(bad)
    desk.hand_in(bad)
    desk.send_all(way)

    assert way.taken == []
    assert (desk.message()["state"], desk.message()["reason"]) == ("failed", reason)
    assert desk.told() == [("message_failed", reason)]


@pytest.mark.parametrize("secret", [False, True])
def test_a_template_is_filled_in_with_the_intents_fields(desk: Desk, secret: bool) -> None:
    desk.see(
        "create_template",
        body={
            "code": "welcome",
            "language": "en",
            "name": "Welcome",
            "subject": "Welcome {{ who }}",
            "text": "Dear {{ who }}",
            "html": "<b>{{ who }}</b>",
        },
    )
    way, fields = Pretend(), {"who": "<i>Ada</i>"}

    desk.hand_in(intent(content=None, template="welcome", fields=fields, secret=secret))
    desk.send_all(way)

    text = way.taken[0].text.decode()
    assert "Subject: Welcome <i>Ada</i>" in text
    assert "Dear <i>Ada</i>" in text
    assert "<b>&lt;i&gt;Ada&lt;/i&gt;</b>" in text


def test_a_field_that_is_not_given_fails_the_message_and_names_the_place(desk: Desk) -> None:
    body = {"code": "c", "language": "en", "name": "C", "subject": "s", "text": "a\n{{ who }}"}
    desk.see("create_template", body=body)

    desk.hand_in(intent(content=None, template="c", fields={}))

    assert desk.message()["reason"] == "bad_template"
    assert desk.message()["answer"].startswith("templates.c.en.text: line 2:")
    assert "who" in desk.message()["answer"]


def test_what_a_secret_message_says_is_in_clear_nowhere_and_gone_once_it_was_sent(
    desk: Desk,
) -> None:
    message = intent(**ACCOUNT)
    travelling = intended(message).model_dump_json()

    desk.hand_in(message)
    waiting = desk.kept()
    way = Pretend()
    desk.send_all(way)

    assert SECRET not in travelling + waiting + desk.kept()
    assert json.loads(waiting)["sealed"]
    assert SECRET in way.taken[0].text.decode().replace("=\r\n", "")
    assert json.loads(desk.kept())["sealed"] is None
    whole = desk.see("get_message", id=desk.message()["id"])
    assert (whole["text"], whole["html"], whole["subject"]) == (None, None, None)


def test_a_message_that_is_no_secret_keeps_its_body(desk: Desk) -> None:
    desk.hand_in(intent())
    desk.send_all(Pretend())

    whole = desk.see("get_message", id=desk.message()["id"])

    assert (whole["subject"], whole["text"], whole["html"]) == tuple(HELLO.model_dump().values())
    assert "text" not in desk.message()


def test_nothing_is_sent_before_its_time(desk: Desk) -> None:
    way = Pretend()
    desk.hand_in(intent(not_before=soon(1000)))

    desk.send_all(way)
    early = list(way.taken)
    desk.let_pass(1001)
    desk.send_all(way)

    assert early == []
    assert len(way.taken) == 1


@pytest.mark.parametrize("not_before", [None, soon(5000)])
def test_what_nobody_wants_any_more_is_not_sent(desk: Desk, not_before: Any) -> None:
    way = Pretend()
    desk.hand_in(intent(expires_at=soon(1000), not_before=not_before, **ACCOUNT))

    desk.let_pass(1001)
    desk.send_all(way)

    assert way.taken == []
    assert desk.message()["state"] == "expired"
    assert desk.told() == [("message_failed", "expired")]
    assert json.loads(desk.kept())["sealed"] is None


def test_without_a_way_out_messages_are_held_until_there_is_one_or_they_expire(desk: Desk) -> None:
    desk.hand_in(intent("old@example.com", expires_at=soon(1000)))
    desk.hand_in(intent("new@example.com"))

    desk.send_all(None)
    desk.let_pass(1001)
    desk.send_all(None)

    assert [m["state"] for m in desk.messages()] == ["expired", "queued"]
    way = Pretend()
    desk.send_all(way)
    assert [mail.recipient for mail in way.taken] == ["new@example.com"]


def test_who_waits_at_a_screen_comes_before_a_campaign(desk: Desk) -> None:
    way = Pretend()
    for number in range(3):
        desk.hand_in(intent(f"reader{number}@example.com"))
    desk.hand_in(intent("ada@example.com", **ACCOUNT))

    desk.send_all(way)

    assert way.taken[0].recipient == "ada@example.com"


def test_a_failed_message_is_sent_again_when_somebody_asks_for_it(desk: Desk) -> None:
    way = Pretend()
    desk.hand_in(intent("nobody"))
    failed = desk.message()

    stale = desk.call("retry_message", version=failed["version"] + 1, id=failed["id"])
    again = desk.call("retry_message", version=failed["version"], id=failed["id"])
    desk.send_all(way)

    assert (stale.status, again.status) == (412, 200)
    assert desk.message()["reason"] == "bad_address"
    assert desk.told() == [("message_failed", "bad_address")] * 2


def test_only_what_has_failed_and_is_still_known_is_sent_again(desk: Desk) -> None:
    desk.hand_in(intent())
    desk.hand_in(intent("nobody", **ACCOUNT))
    desk.send_all(Pretend())
    sent, forgotten = desk.messages()

    codes = [
        json.loads(desk.call("retry_message", version=m["version"], id=m["id"]).body)["code"]
        for m in (sent, forgotten)
    ]

    assert codes == ["not_failed", "forgotten"]


def test_a_message_is_shown_to_who_may_see_what_it_is_about(desk: Desk) -> None:
    mine, theirs = uuid4(), uuid4()
    for owner in (mine, theirs):
        about = About(record="opportunities", id=uuid4(), owner_id=owner)
        desk.hand_in(intent(f"{owner}@example.com", about=about))
    desk.hand_in(intent("general@example.com"))
    everything, rep = desk.messages(), ("messages:read", "messages:write", "opportunities:read")
    viewers = {
        "own": principal(
            desk.who.tenant, *rep, user=mine, peers=(mine,), rows={"opportunities": "own"}
        ),
        "no deals": principal(desk.who.tenant, "messages:read"),
        "nothing": principal(desk.who.tenant, "contacts:read"),
        "elsewhere": principal(),
    }

    seen = {
        who: [m["to_address"] for m in json.loads(reply.body).get("items", [])]
        for who, viewer in viewers.items()
        for reply in (desk.call("list_messages", who=viewer),)
    }

    assert {who: len(found) for who, found in seen.items()} == {
        "own": 2,
        "no deals": 1,
        "nothing": 0,
        "elsewhere": 0,
    }
    assert f"{theirs}@example.com" not in seen["own"]
    hidden = next(m for m in everything if m["to_address"] == f"{theirs}@example.com")
    for operation in ("get_message", "retry_message"):
        reply = desk.call(operation, who=viewers["own"], version=1, id=hidden["id"])
        assert reply.status == 404, operation


def test_what_messages_said_goes_before_the_messages_do(desk: Desk) -> None:
    desk.hand_in(intent("sent@example.com"))
    desk.send_all(Pretend())
    desk.hand_in(intent("waits@example.com"))

    def tidied(statement: str) -> list[tuple[str, bool]]:
        with desk.db.writing(desk.system) as session:
            session.execute(text(f"SELECT {statement}"))
            kept = "SELECT to_address, text IS NOT NULL FROM messages ORDER BY to_address"
            return [(address, has_text) for address, has_text in session.execute(text(kept))]

    with desk.db.writing(desk.system) as session:
        session.execute(text("UPDATE messages SET updated_at = now() - interval '40 days'"))

    young = tidied("tidy_message_bodies(50), tidy_messages(50)")
    without = tidied("tidy_message_bodies(30)")
    gone = tidied("tidy_messages(30)")

    assert young == [("sent@example.com", True), ("waits@example.com", True)]
    assert without == [("sent@example.com", False), ("waits@example.com", True)]
    assert gone == [("waits@example.com", True)]
