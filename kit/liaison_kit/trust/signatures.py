"""Signatures on what is told: events, announcements and onlookers, signed by whoever tells them.

A signature is the last member of a JSON object and covers every byte before it, so it stays with
the text wherever that is kept: in a queue, in the parking lot. It does not expire; whoever receives
an event drops what it has had before.

Signing costs as much as the rest of sending an event, and so does verifying. Texts that are sent
together therefore share one signature, over the list of their digests, and each carries the list:
whoever has verified it once knows the others by their digest.
"""

import hashlib
from collections import OrderedDict
from collections.abc import Sequence
from typing import Literal

from cryptography.exceptions import InvalidSignature

from liaison_kit import base64url
from liaison_kit.trust.keys import Keyring, UnknownKey

Purpose = Literal["event", "announcement", "onlookers"]

TOGETHER = 16
"""How many texts share a signature; each carries 32 bytes for each of them."""
REMEMBERED = 4096

_MEMBER = b',"signature":"'
_DIGEST = 32


class Forged(Exception):
    """The text was not signed by the party that it says it comes from; `reason` tells how so."""

    def __init__(self, reason: Literal["missing", "malformed", "wrong"]) -> None:
        super().__init__(reason)
        self.reason = reason


class Signer:
    """Signs the texts of one party."""

    def __init__(self, keys: Keyring) -> None:
        self._keys = keys

    def sign(self, purpose: Purpose, texts: Sequence[bytes]) -> list[bytes]:
        """The JSON objects, each with its signature."""
        signed: list[bytes] = []
        for start in range(0, len(texts), TOGETHER):
            together = texts[start : start + TOGETHER]
            kid, key = self._keys.signing()
            digests = b"".join(_digest(text) for text in together)
            signature = key.sign(_statement(purpose, self._keys.party, digests))
            shared = f"{base64url.write(digests)}.{base64url.write(signature)}"
            signed += [
                b'%b%b%b.%d.%b"}' % (text[:-1], _MEMBER, kid.encode(), number, shared.encode())
                for number, text in enumerate(together)
            ]
        return signed


class Verifier:
    """Tells what a party has signed from what it has not."""

    def __init__(self, keys: Keyring) -> None:
        self._keys = keys
        self._verified: OrderedDict[tuple[Purpose, str, str], bytes] = OrderedDict()

    def verify(self, purpose: Purpose, party: str, text: bytes) -> None:
        """Raise `Forged` unless the party has signed this, `UnknownKey` when that can't be told."""
        at = text.rfind(_MEMBER)
        if at < 0:
            raise Forged("missing")
        try:
            kid, number, shared = text[at + len(_MEMBER) :].decode("ascii").split(".", 2)
            place = int(number) * _DIGEST
        except ValueError:
            raise Forged("malformed") from None
        digests = self._digests(purpose, party, f"{kid}.{shared}")
        if place < 0 or digests[place : place + _DIGEST] != _digest(text[:at] + b"}"):
            raise Forged("wrong")

    def _digests(self, purpose: Purpose, party: str, claim: str) -> bytes:
        """The digests that the party has signed together."""
        known = self._verified.get((purpose, party, claim))
        if known is not None:
            return known
        kid, listed, signature = _parts(claim)
        try:
            self._keys.verifying(party, kid).verify(signature, _statement(purpose, party, listed))
        except InvalidSignature:
            raise Forged("wrong") from None
        self._verified[purpose, party, claim] = listed
        if len(self._verified) > REMEMBERED:
            self._verified.popitem(last=False)
        return listed


def _parts(claim: str) -> tuple[str, bytes, bytes]:
    try:
        kid, listed, signature = claim.removesuffix('"}').split(".")
        return kid, base64url.read(listed), base64url.read(signature)
    except ValueError:
        raise Forged("malformed") from None


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).digest()


def _statement(purpose: Purpose, party: str, digests: bytes) -> bytes:
    # An event can't be passed off as an announcement, nor one party's as another's.
    return f"liaison {purpose} {party}\n".encode() + digests


__all__ = ["Forged", "Purpose", "Signer", "UnknownKey", "Verifier"]
