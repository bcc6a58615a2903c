"""Certificates: facts that a party has signed, for whoever keeps them outside of Liaison.

The signature is Ed25519 over `liaison certificate <issuer>`, a line feed, and the facts as
canonical JSON: keys in order, no spaces, UTF-8. Its key is in the issuer's published JWK set.
`python -m liaison_kit.certificates FILE` checks one.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cryptography.exceptions import InvalidSignature

from liaison_kit import base64url
from liaison_kit.trust.keys import Keyring, NoKeys, UnknownKey, public_key


class NotGenuine(Exception):
    """The certificate was not issued so; the message says what is wrong with it."""


def issue(keys: Keyring, facts: Mapping[str, Any]) -> dict[str, Any]:
    """The facts with who vouches for them, by which key, and the signature."""
    kid, key = keys.signing()
    signed = {**facts, "issuer": keys.party, "key": kid}
    signature = key.sign(_statement(keys.party, signed))
    return {**signed, "signature": base64url.write(signature)}


def verify(trusted: Path, certificate: Mapping[str, Any]) -> None:
    """Raise `NotGenuine` unless the issuer that it names has signed these very facts.

    `trusted` is the folder of public keys.
    """
    signed = {name: value for name, value in certificate.items() if name != "signature"}
    try:
        issuer, kid = str(signed["issuer"]), str(signed["key"])
        signature = base64url.read(str(certificate["signature"]))
        public_key(trusted, issuer, kid).verify(signature, _statement(issuer, signed))
    except (KeyError, ValueError):
        raise NotGenuine("It is no certificate: it lacks its issuer, key or signature") from None
    except (UnknownKey, NoKeys):
        raise NotGenuine("It is signed with a key that is not trusted here") from None
    except InvalidSignature:
        raise NotGenuine("It has been changed since it was signed") from None


def canonical(facts: Mapping[str, Any]) -> bytes:
    """The one way to write these facts down."""
    written = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return written.encode()


def _statement(issuer: str, signed: Mapping[str, Any]) -> bytes:
    return f"liaison certificate {issuer}\n".encode() + canonical(signed)
