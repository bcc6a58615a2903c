"""Links to new passwords: to whom they are mailed, how often, and when they are good no more."""

import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from identity_company import PASSWORD, Company, Guesses, call, new_source

from liaison_identity import letters, new_passwords, password_links
from liaison_identity.service import Identity
from liaison_kit.context import Context
from liaison_kit.messages import SEALED_FOR
from liaison_kit.testing import keyring
from liaison_kit.testing import told as told_by
from liaison_kit.trust.links import LinkNotValid
from liaison_kit.trust.sealing import unseal
from liaison_sdk.contracts.connect import MessageFailed

Users = Callable[..., dict[str, Any]]
MINUTE = 60.0


def mailed(company: Company) -> list[tuple[str, str]]:
    """Whom a link has been mailed to, and the link, as connect reads it."""
    found = []
    for kind, data in told_by(company.db, company.id):
        if kind == "message_intended":
            assert data["intent"]["content"] is None
            text = unseal(keyring("connect"), SEALED_FOR, data["sealed"].encode())
            said = json.loads(text)["content"]["text"]
            (line,) = [line for line in said.splitlines() if line.startswith("http")]
            link = line.rpartition("/")[2].partition("?")[0]
            assert link not in json.dumps(data)
            found.append((data["intent"]["to"]["address"], link))
    return found


def ask(email: str, source: str = "", **more: Any) -> int:
    body = {"email": email, **more}
    return call("ask_password_reset", body=body, source=source or new_source()).status


def is_good(company: Company, link: str) -> bool:
    try:
        new_passwords.look(company.db, keyring("identity"), link)
    except LinkNotValid:
        return False
    return True


def test_a_link_is_mailed_to_who_has_a_password_here(
    company: Company, admin: dict[str, Any], add_user: Users
) -> None:
    known = add_user("Known")
    gone = add_user("Gone")
    changes = {"active": False}
    call("change_user", admin, path={"id": gone["id"]}, body=changes, version=gone["version"])
    fresh = {"name": "New", "email": "new@example.com", "invite": False}
    assert call("create_user", admin, body=fresh).status == 201

    emails = (known["email"], known["email"].upper(), gone["email"], "new@example.com", "nobody")
    statuses = [ask(email) for email in emails]
    statuses.append(ask(known["email"], tenant="nowhere"))

    assert set(statuses) == {204}
    assert [address for address, _ in mailed(company)] == [known["email"]] * 2


def test_an_account_is_mailed_three_links_at_once_and_then_one_in_ten_minutes(
    company: Company, add_user: Users, guesses: Guesses
) -> None:
    user = add_user("Flooded")

    for _ in range(6):
        ask(user["email"])
    at_once = len(mailed(company))
    guesses.let_pass(10 * MINUTE + 1)
    for _ in range(3):
        ask(user["email"])

    assert at_once == 3
    assert len(mailed(company)) == 4


def test_a_source_asks_twenty_times_at_once_and_then_once_a_minute(
    company: Company, add_user: Users, guesses: Guesses
) -> None:
    user, source = add_user("Asked"), new_source()
    for number in range(20):
        ask(f"nobody{number}@example.com", source)

    ask(user["email"], source)
    tired = len(mailed(company))
    ask(user["email"], new_source())
    elsewhere = len(mailed(company))
    guesses.let_pass(MINUTE + 1)
    ask(user["email"], source)

    assert (tired, elsewhere, len(mailed(company))) == (0, 1, 2)


def test_asking_costs_a_guesser_and_an_owner_no_try_at_a_password(
    company: Company, add_user: Users
) -> None:
    user = add_user("Both")

    for _ in range(6):
        ask(user["email"], company.source)

    assert company.sign_in(user["email"]).status == 200


def test_a_link_is_good_for_the_address_that_it_was_sent_to(
    company: Company, admin: dict[str, Any]
) -> None:
    made = call("create_user", admin, body={"name": "Moved", "email": "old@example.com"}).body
    ((address, link),) = mailed(company)
    before = is_good(company, link)

    changes = {"email": "new@example.com"}
    call("change_user", admin, path={"id": made["id"]}, body=changes, version=made["version"])

    assert address == "old@example.com"
    assert (before, is_good(company, link)) == (True, False)


def test_nobody_invites_who_may_do_more_than_they(
    company: Company, admin: dict[str, Any], add_user: Users
) -> None:
    role = call("create_role", admin, body={"name": "Clerk", "permissions": ["users:write"]})
    clerk = add_user("Clerk", role_ids=[role.body["id"]])
    administrator = call("list_roles", admin, query={"external_id": "administrator"})
    powerful = {
        "name": "Boss",
        "email": "boss@example.com",
        "role_ids": [administrator.body["items"][0]["id"]],
    }
    boss = call("create_user", admin, body=powerful).body
    who = company.principal(company.token(clerk["email"]))

    answer = call("invite_user", who, path={"id": boss["id"]})

    assert answer.status == 403
    assert len(mailed(company)) == 1


@pytest.mark.parametrize(
    ("user", "code"),
    [
        ({"name": "N"}, "no_email"),
        ({"name": "N", "email": "n@example.com", "password": PASSWORD}, "has_password"),
        ({"name": "N", "email": "n@example.com", "active": False}, "not_active"),
    ],
)
def test_an_invitation_that_is_of_no_use_is_refused_by_name(
    company: Company, admin: dict[str, Any], user: dict[str, Any], code: str
) -> None:
    made = call("create_user", admin, body=user).body

    answer = call("invite_user", admin, path={"id": made["id"]})

    assert answer.body["code"] == code
    assert mailed(company) == []


def test_a_link_that_was_used_is_kept_as_what_it_was(company: Company, add_user: Users) -> None:
    user = add_user("User")
    ask(user["email"])
    ((_, link),) = mailed(company)
    body = {"link": link, "password": "another " + PASSWORD}

    first = call("complete_password_reset", body=body, source=new_source())
    second = call("complete_password_reset", body=body, source=new_source())

    assert (first.status, second.status, second.body["code"]) == (204, 404, "link_not_valid")
    assert company.sign_in(user["email"]).status == 401
    assert company.sign_in(user["email"], "another " + PASSWORD).status == 200


@pytest.mark.parametrize("kind", ["reset", "invitation"])
@pytest.mark.parametrize("language", ["en", "fr"])
def test_letters_say_the_same_in_text_and_html(kind: str, language: Any) -> None:
    link = "https://crm.example/p/identity/password/x?lang=fr"

    letter = letters.of(kind, language, "Zoé <Z>\r\nBcc: x", "Hélios & Fils", link)

    assert link in letter.text
    assert f'href="{link}"' in (letter.html or "")
    assert "Zoé <Z> Bcc: x" in letter.text
    assert "Zoé &lt;Z&gt; Bcc: x" in (letter.html or "")
    assert "Hélios &amp; Fils" in (letter.html or "")


def test_every_page_has_its_words_in_both_languages() -> None:
    from liaison_kit.calls.wire import Visit

    shown = {
        language: call_page("show_forgotten", Visit(language, "", {})) for language in ("en", "fr")
    }

    assert "Send the link" in shown["en"]
    assert "Envoyer le lien" in shown["fr"]


def call_page(name: str, visit: Any) -> str:
    operation = getattr(Identity, name).operation
    return str(operation.function(Identity(), visit).body.decode())


def not_delivered(company: Company, number: int = -1, **more: Any) -> None:
    """Connect tells that a letter could not be delivered."""
    sent = [data for kind, data in told_by(company.db, company.id) if kind == "message_intended"]
    facts = {
        "intent_id": sent[number]["intent"]["id"],
        "message_id": None,
        "sender": "identity",
        "channel": "email",
        "purpose": "account",
        "person_id": None,
        "about": None,
        "reason": "refused",
        "detail": "550 nobody of that name",
    }
    event = MessageFailed.model_validate(facts | more)
    with company.db.writing(Context(tenant=company.id)) as session:
        password_links.failed(session, event)


def test_a_letter_that_was_not_delivered_shows_on_the_user_until_another_one_is_sent(
    company: Company, admin: dict[str, Any], add_user: Users
) -> None:
    user = add_user("Away")
    seen = {"path": {"id": user["id"]}}
    ask(user["email"])

    for _twice in range(2):
        not_delivered(company)
    failed = call("get_user", admin, **seen).body
    ask(user["email"])
    asked_again = call("get_user", admin, **seen).body
    not_delivered(company, number=0, reason="unknown")

    assert (failed["unreached"], asked_again["unreached"]) == ("refused", None)
    assert call("get_user", admin, **seen).body["unreached"] is None
    trail = call("list_audit", admin).body["items"]
    said = [entry for entry in trail if entry["action"] == "letter_failed"]
    assert [(e["record_id"], e["details"]) for e in said] == [
        (user["id"], {"letter": "reset", "reason": "refused"})
    ]


def test_what_others_letters_come_to_is_nothing_to_identity(
    company: Company, admin: dict[str, Any], add_user: Users
) -> None:
    user = add_user("Fine")
    ask(user["email"])

    not_delivered(company, sender="sales")
    not_delivered(company, intent_id=uuid4())

    assert call("get_user", admin, path={"id": user["id"]}).body["unreached"] is None
