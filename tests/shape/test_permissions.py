"""Every operation says who may use it, and every permission that one asks for can be given."""

from importlib import import_module
from typing import Any

import pytest

from liaison_identity.permissions import SHIPPED
from liaison_kit.calls.manifest import operations
from liaison_kit.database.migrations import services

ASK_THEMSELVES = {
    # Whoever is signed in may know who they are.
    "identity.get_me",
    # One's own or another's: each needs another permission.
    "identity.list_tokens",
    "identity.delete_token",
    "identity.set_password",
    # What they hang on decides.
    "contacts.change_note",
    "contacts.delete_note",
    # Whoever asked it, or who may see all.
    "contacts.get_privacy_request",
}
"""Operations that declare no permission; a test of their service shows that they demand one."""


OF_FILES = {"get_attachment_content", "delete_attachment"}
"""What a file belongs to decides, in every service whose records have files."""


def classes() -> list[Any]:
    """Every service."""
    return [
        getattr(import_module(module), name)
        for module, _, name in (found.partition(":") for found in services().values())
    ]


def test_an_operation_without_a_permission_is_known_to_ask_for_one_itself() -> None:
    without = {
        f"{service.name}.{o.name}"
        for service in classes()
        for o in operations(service)
        if o.allow is None and not (o.public or o.internal) and o.name not in OF_FILES
    }

    assert without == ASK_THEMSELVES


@pytest.mark.parametrize("service", classes(), ids=lambda service: str(service.name))
def test_whatever_a_shipped_module_asks_for_can_be_given(service: Any) -> None:
    asked = {o.allow for o in operations(service)} - {None}

    assert asked | set(service.permissions) <= SHIPPED
