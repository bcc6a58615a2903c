"""Templates: checked as they are saved, one per code and language."""

import json
from typing import Any

import pytest
from connect_desk import Desk, Pretend, intent

from liaison_sdk.contracts.connect import Recipient


def new(**more: Any) -> dict[str, Any]:
    return {
        "code": "welcome",
        "language": "en",
        "name": "Welcome",
        "subject": "Welcome",
        "text": "Hello {{ name }}",
        **more,
    }


def test_every_text_that_can_not_be_read_is_named_with_its_line_and_nothing_is_kept(
    desk: Desk,
) -> None:
    bad = new(subject="{{ name", text="a\nb {% nothing %}", html="{% if %}")

    reply = desk.call("create_template", bad)

    assert reply.status == 422
    said = json.loads(reply.body)
    assert said["code"] == "bad_template"
    assert [error["path"] for error in said["errors"]] == ["subject", "text", "html"]
    assert said["errors"][1]["message"].startswith("line 2:")
    assert desk.see("list_templates")["items"] == []


def test_a_change_is_checked_like_a_new_one(desk: Desk) -> None:
    made = desk.see("create_template", body=new())

    bad = desk.call("change_template", {"html": "{{ }"}, version=1, id=made["id"])
    empty = desk.call("change_template", {"text": None}, version=1, id=made["id"])
    good = desk.call("change_template", {"html": "<p>{{ name }}</p>"}, version=1, id=made["id"])

    assert (bad.status, empty.status, good.status) == (422, 422, 200)
    assert desk.see("get_template", id=made["id"])["version"] == 2


def test_a_code_has_one_template_per_language(desk: Desk) -> None:
    desk.see("create_template", body=new())

    again = desk.call("create_template", new())
    other = desk.call("create_template", new(language="fr"))

    assert (again.status, json.loads(again.body)["code"]) == (409, "code_taken")
    assert other.status == 201


@pytest.mark.parametrize(
    ("there", "wanted", "got"), [("en,fr", "fr", "fr"), ("en", "fr", "en"), ("fr", "en", "fr")]
)
def test_people_are_written_to_in_their_language_where_it_is_there(
    desk: Desk, there: str, wanted: Any, got: str
) -> None:
    for language in there.split(","):
        desk.see("create_template", body=new(language=language, subject=f"in {language}"))
    way = Pretend()
    to = Recipient(address="ada@example.com", language=wanted)

    desk.hand_in(intent(to=to, content=None, template="welcome", fields={"name": "Ada"}))
    desk.send_all(way)

    assert f"Subject: in {got}".encode() in way.taken[0].text


def test_a_deleted_template_is_unknown(desk: Desk) -> None:
    made = desk.see("create_template", body=new())

    gone = desk.call("delete_template", version=1, id=made["id"])
    desk.hand_in(intent(content=None, template="welcome", fields={"name": "Ada"}))

    assert gone.status == 204
    assert desk.message()["reason"] == "unknown_template"
