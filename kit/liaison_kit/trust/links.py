"""Signed links: what a link in a message stands for, said by the service that made it.

A link names a tenant, something of it, and until when it is good, for one purpose. It is no secret
of the service's that such a link could be made, and it is a secret of whoever has it: a service
that lets it be used once keeps its hash. As it travels it is `<key>.<what it says>.<signature>`,
with characters that every address may have.
"""

import datetime as dt
import hashlib
from dataclasses import dataclass
from typing import ClassVar
from uuid import UUID

from cryptography.exceptions import InvalidSignature

from liaison_kit import base64url
from liaison_kit.trust.keys import Keyring, UnknownKey
from liaison_sdk.errors import NotFound

_LONGEST = 400
_BYTES = 16 + 16 + 8


class LinkNotValid(NotFound):
    """The link was not made here, is too old, or has been used: which of them is not told."""

    code: ClassVar[str] = "link_not_valid"
    title: ClassVar[str] = "This link is not valid, or not any more"


@dataclass(frozen=True, slots=True)
class Link:
    """What a link says."""

    tenant: UUID
    about: UUID
    expires_at: dt.datetime


def signed_link(keys: Keyring, purpose: str, link: Link) -> str:
    """The text of a link, good for this purpose until its time is over."""
    said = link.tenant.bytes + link.about.bytes + int(link.expires_at.timestamp()).to_bytes(8)
    kid, key = keys.signing()
    signature = key.sign(_statement(keys.party, purpose, said))
    return f"{kid}.{base64url.write(said)}.{base64url.write(signature)}"


def read_link(keys: Keyring, purpose: str, text: str) -> Link:
    """What a link of this service's says; `LinkNotValid` when it is none, or its time is over."""
    if len(text) > _LONGEST:
        raise LinkNotValid()
    try:
        kid, claimed, signature = text.split(".")
        # Read in one way only: the same link in other letters would have another hash.
        said = base64url.read(claimed)
        key = keys.verifying(keys.party, kid)
        key.verify(base64url.read(signature), _statement(keys.party, purpose, said))
    except (ValueError, UnknownKey, InvalidSignature):
        raise LinkNotValid() from None
    if len(said) != _BYTES:
        raise LinkNotValid()
    expires_at = dt.datetime.fromtimestamp(int.from_bytes(said[32:]), dt.UTC)
    if expires_at <= dt.datetime.now(dt.UTC):
        raise LinkNotValid()
    return Link(UUID(bytes=said[:16]), UUID(bytes=said[16:32]), expires_at)


def hash_of(text: str) -> bytes:
    """What is kept of a link that may be used once."""
    return hashlib.sha256(text.encode()).digest()


def _statement(party: str, purpose: str, said: bytes) -> bytes:
    # What is signed as an event can't be passed off as a link, nor a link for another purpose.
    return f"liaison link {party} {purpose}\n".encode() + said
