"""Uploads: kept once, refused whole, and within what a tenant may leave lying about."""

import hashlib
import json
from typing import Any
from uuid import UUID

import pytest

from liaison_contacts import people
from liaison_contacts.service import Contacts
from liaison_kit.calls.wire import Reply, Upload
from liaison_kit.context import Context
from liaison_kit.database.database import Database
from liaison_kit.ids import uuid7
from liaison_kit.records import files
from liaison_kit.records.files import UploadGone
from liaison_kit.settings import Settings
from liaison_kit.testing import about, at_work, call
from liaison_sdk.contracts.contacts import NewContact


class Sender:
    """Somebody who sends files, part by part as the gateway does."""

    def __init__(self, db: Database, who: Context) -> None:
        self.db, self.who = db, who
        self.service = at_work(Contacts, db)
        with db.writing(who) as session:
            self.person = people.create(session, NewContact(last_name="Lee")).id

    def put(self, *parts: bytes, id: UUID | None = None) -> tuple[UUID, list[int]]:
        """Send parts; the upload's id, and what each part was answered."""
        id = id or uuid7()
        told = [{"id": str(id), "part": number} for number in range(len(parts))]
        return id, [
            call(self.service, "put_part", self.who.principal, part, upload=upload).status
            for part, upload in zip(parts, told, strict=True)
        ]

    def attach(self, content: bytes, key: str | None = None, **facts: Any) -> Reply:
        """Send a file and attach it to the person."""
        id, _ = self.put(content)
        upload = {
            "id": str(id),
            "name": "plan.txt",
            "content_type": "text/plain",
            "size": len(content),
            "sha256": hashlib.sha256(content).hexdigest(),
            **facts,
        }
        about = {} if key is None else {"idempotency_key": key}
        path = {"id": str(self.person)}
        return call(
            self.service,
            "create_contact_attachment",
            self.who.principal,
            upload=upload,
            path=path,
            **about,
        )

    def stored(self) -> int:
        """How many parts the tenant has."""
        with self.db.reading(self.who) as session:
            return session.query(files.FilePart).count()


@pytest.fixture
def sender(contacts_db: Database, someone: Context) -> Sender:
    """Somebody of a tenant of their own."""
    return Sender(contacts_db, someone)


def test_a_key_gets_the_first_answer_for_the_same_file_and_none_for_another(
    sender: Sender,
) -> None:
    first = sender.attach(b"abc", "key")

    again = sender.attach(b"abc", "key")
    other = sender.attach(b"abd", "key")
    renamed = sender.attach(b"abc", "key", name="other.txt")

    assert (first.status, again.status) == (201, 201)
    assert again.body == first.body
    assert (other.status, renamed.status) == (422, 422)
    assert json.loads(other.body)["errors"][0]["code"] == "reused"


def test_a_file_that_was_sent_again_is_not_kept_twice(sender: Sender) -> None:
    sender.attach(b"abc", "key")
    sender.attach(b"abc", "key")

    assert sender.stored() == 1


def test_a_key_that_comes_back_for_another_version_is_refused(sender: Sender) -> None:
    def change(version: int) -> Reply:
        return call(
            sender.service,
            "change_contact",
            sender.who.principal,
            b'{"title": "Dr"}',
            path={"id": str(sender.person)},
            if_match=version,
            idempotency_key="key",
        )

    assert [change(1).status, change(1).status, change(2).status] == [200, 200, 422]


def test_a_part_over_the_quota_is_refused_until_there_is_room(
    sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "settings", lambda: Settings(upload_quota_bytes=1000))

    id, statuses = sender.put(b"x" * 400, b"x" * 400, b"x" * 400)
    assert statuses == [204, 204, 429]

    call(sender.service, "drop_parts", sender.who.principal, upload={"id": str(id)})
    assert sender.stored() == 0
    assert sender.put(b"x" * 900)[1] == [204]
    # What others have sent does not count.
    assert Sender(sender.db, about()).put(b"x" * 900)[1] == [204]


def test_what_a_record_holds_counts_no_more(
    sender: Sender, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "settings", lambda: Settings(upload_quota_bytes=1000))

    assert [sender.attach(b"x" * 900).status for _ in range(3)] == [201, 201, 201]


def test_what_a_record_holds_is_not_dropped(sender: Sender) -> None:
    attached = json.loads(sender.attach(b"abc").body)

    call(sender.service, "drop_parts", sender.who.principal, upload={"id": attached["id"]})

    assert sender.stored() == 1


@pytest.mark.parametrize("gone", [0, 1, 2, None])
def test_an_upload_of_which_parts_are_gone_is_refused(sender: Sender, gone: int | None) -> None:
    id, _ = sender.put(b"a", b"b", b"c")
    with sender.db.writing(sender.who) as session:
        session.query(files.FilePart).filter(
            files.FilePart.file_id == id,
            *([files.FilePart.part == gone] if gone is not None else []),
        ).delete()

    with pytest.raises(UploadGone), sender.db.writing(sender.who) as session:
        files.claim_upload(session, Upload(id, "plan.txt", "text/plain", 3))

    assert sender.stored() == (0 if gone is None else 2)


def test_an_upload_is_claimed_once(sender: Sender) -> None:
    id, _ = sender.put(b"abc")
    upload = Upload(id, "plan.txt", "text/plain", 3)
    with sender.db.writing(sender.who) as session:
        files.claim_upload(session, upload)

    with pytest.raises(UploadGone), sender.db.writing(sender.who) as session:
        files.claim_upload(session, upload)


def test_an_empty_file_needs_no_parts(sender: Sender) -> None:
    assert sender.attach(b"").status == 201
