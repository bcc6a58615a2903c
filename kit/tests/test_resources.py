"""What a service says of itself follows from its resources, and only what is true of them."""

from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy.orm import Mapped

from liaison_kit.database.tables import Base, Owned, Searched
from liaison_kit.records.plain import Plain
from liaison_kit.records.recordtype import RecordType
from liaison_kit.resources import Resource
from liaison_kit.service import Service
from liaison_sdk.labels import Label
from liaison_sdk.records import NewOwned, OwnedRecord
from liaison_sdk.types import Name, field


class Kite(Owned, Searched, Base):
    """A kite."""

    __tablename__ = "kites"

    name: Mapped[str]


class NewKite(NewOwned):
    """A kite to add."""

    name: Name


class KiteShape(OwnedRecord):
    """A kite as readers get it."""

    name: str = field("Name", "Nom", searchable=True)


def kind(**options: Any) -> RecordType:
    said = Label(en="Kite", fr="Cerf-volant")
    return RecordType("kites", said, model=Kite, shape=KiteShape, **options)


def of(rules: Any, **options: Any) -> Resource:
    said = Label(en="Kites", fr="Cerfs-volants")
    return Resource(rules.kind, "kite", NewKite, NewKite, rules, called=said, **options)


def service(resource: Resource) -> Any:
    label = Label(en="Sky", fr="Ciel")
    return type("Sky", (Service,), {"name": "sky", "label": label, "resources": (resource,)})


def test_a_resource_that_is_called_something_is_said_once() -> None:
    sky = service(of(Plain(kind()), icon="wind"))

    assert [found.name for found in sky.records] == ["kites"]
    assert sky.permissions["kites:write"] == Label(
        en="Change kites", fr="Modifier les cerfs-volants"
    )
    assert [entry["path"] for entry in sky.menu] == ["/kites"]
    assert [found.record for found in sky.importables] == ["kites"]
    assert "refill_searches" in sky.tidies


def test_what_is_derived_from_a_service_says_nothing_twice() -> None:
    sky = service(of(Plain(kind())))

    again = type("Again", (sky,), {})

    for name in ("records", "menu", "importables", "tidies", "live", "tells"):
        assert getattr(again, name) == getattr(sky, name), name


def test_files_do_not_pass_by_rules_that_say_what_may_be_written() -> None:
    class Careful(Plain):
        """Kites with a rule."""

        def create(self, session: Any, new: Any) -> Any:
            """Refuse everything."""
            raise ValueError

    strange = SimpleNamespace(kind=kind(), change=None, remove=None)

    assert of(Careful(kind())).importables == ()
    assert of(strange).importables == ()


def test_readers_get_a_records_own_fields_before_those_that_every_record_has() -> None:
    assert list(kind().fields)[:3] == ["id", "name", "external_id"]
    assert kind().owner is Kite.owner_id
    assert kind().search is Kite.search


def test_files_that_could_not_follow_their_record_to_the_trash_are_refused() -> None:
    with pytest.raises(TypeError, match="restorable"):
        kind(attachments=True)
    assert kind(attachments=True, restorable=True).follows == {"attachments": "about_id"}
