"""A body with a secret in it is read by the service that it is for, and by nobody else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison_kit.testing import keyring
from liaison_kit.trust.sealing import seal, unseal
from liaison_sdk.errors import BadRequest


@given(body=st.binary(max_size=5000))
def test_what_was_sealed_is_opened_as_it_was(body: bytes) -> None:
    keyring("identity")

    sealed = seal(keyring("gateway"), "identity", "sign_in", body)

    assert unseal(keyring("identity"), "sign_in", sealed) == body
    assert len(body) < 8 or body not in sealed


def test_it_is_for_one_service_and_one_operation() -> None:
    keyring("identity")
    sealed = seal(keyring("gateway"), "identity", "sign_in", b'{"password":"correct horse"}')

    for party, operation, given_body in (
        ("contacts", "sign_in", sealed),
        ("gateway", "sign_in", sealed),
        ("identity", "create_user", sealed),
        ("identity", "sign_in", sealed[:-2]),
        ("identity", "sign_in", sealed.replace(b".", b"", 1)),
        ("identity", "sign_in", b'{"password":"in clear"}'),
        ("identity", "sign_in", b""),
        ("identity", "sign_in", b"\xff.\xfe.a.b.c"),
    ):
        with pytest.raises(BadRequest):
            unseal(keyring(party), operation, given_body)
