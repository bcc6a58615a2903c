"""Keys: each process signs as its service, and knows the public keys of everybody.

A party is a service or the gateway. Two JWK sets (RFC 7517) tell all there is to know: the private
keys of this party in one file, and the public keys of each party in `<party>.json` of a folder that
all may read. Ed25519 keys sign, X25519 keys open what was sealed to the party.

Rotation adds keys and takes none away: what was signed before, as an event in the parking lot, is
still verified. A new key may be dated ahead (`not_before`), so that its public half is everywhere
when it signs first. Files are read again when a key turns up that is not known, and now and then.
"""

import json
import os
import secrets
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal, cast

from cryptography.hazmat.primitives.asymmetric.ed25519 import (
    Ed25519PrivateKey,
    Ed25519PublicKey,
)
from joserfc.errors import JoseError
from joserfc.jwk import OKPKey

Use = Literal["sig", "enc"]
_CURVES: Mapping[Use, Any] = {"sig": "Ed25519", "enc": "X25519"}

READ_AGAIN_S = 30.0
"""How old what is known of the files may be."""
NOT_TWICE_S = 1.0
"""How often a key that nobody knows may make us read the files."""
SEALED_TO = 2
"""How many of its latest sealing keys a party keeps: what was sealed is opened within seconds."""


class NoKeys(Exception):
    """A key file is missing or can't be read; the message says which and what to do."""


class UnknownKey(Exception):
    """No such key of this party is trusted here."""


class Keyring:
    """The private keys of one party and the public keys of all."""

    def __init__(self, party: str, own: Path, trusted: Path) -> None:
        self.party = party
        self._own_file = own
        self._trusted_folder = trusted
        self._read_at = 0.0
        self._own: list[OKPKey] = []
        self._trusted: dict[str, list[OKPKey]] = {}
        self._read()

    def signing(self) -> tuple[str, Ed25519PrivateKey]:
        """The key that this party signs with now, and its id."""
        key = self._newest("sig", self._fresh_own())
        private: Ed25519PrivateKey = key.private_key  # type: ignore[assignment]
        return str(key.kid), private

    def signing_jwk(self) -> OKPKey:
        """The same key as a JWK."""
        return self._newest("sig", self._fresh_own())

    def opening_jwk(self, kid: str) -> OKPKey:
        """The private key that something was sealed to."""
        return self._find("enc", kid, lambda: self._own)

    def sealing_jwk(self, party: str) -> OKPKey:
        """The public key that secrets for this party are sealed to."""
        self._refresh(READ_AGAIN_S)
        found = self._trusted.get(party)
        if not found:
            self._refresh(NOT_TWICE_S)
            found = self._trusted.get(party, [])
        return self._newest("enc", found, party)

    def verifying(self, party: str, kid: str) -> Ed25519PublicKey:
        """A public key of a party, retired ones included; `UnknownKey` when there is none."""
        public: Ed25519PublicKey = self.verifying_jwk(party, kid).public_key  # type: ignore[assignment]
        return public

    def verifying_jwk(self, party: str, kid: str) -> OKPKey:
        """The same key as a JWK."""
        return self._find("sig", kid, lambda: self._trusted.get(party, []))

    def _find(self, use: Use, kid: str, among: Any) -> OKPKey:
        for may_read in (True, False):
            for key in among():
                if key.kid == kid and key.get("use") == use:
                    found: OKPKey = key
                    return found
            if may_read and not self._refresh(NOT_TWICE_S):
                break
        raise UnknownKey(f"{self.party} trusts no such key")

    def _fresh_own(self) -> list[OKPKey]:
        self._refresh(READ_AGAIN_S)
        return self._own

    def _newest(self, use: Use, keys: Iterable[OKPKey], party: str | None = None) -> OKPKey:
        now = time.time()
        usable = [key for key in keys if key.get("use") == use and _begins(key) <= now]
        if not usable:
            raise NoKeys(f"{self.party} has no key of {party or 'its own'} for {use!r}")
        return max(usable, key=_begins)

    def _refresh(self, older_than_s: float) -> bool:
        """Read the files again unless that was done lately."""
        if time.monotonic() - self._read_at < older_than_s:
            return False
        self._read()
        return True

    def _read(self) -> None:
        # What can't be read now (a file that is being replaced) leaves what was known.
        self._read_at = time.monotonic()
        try:
            self._own = _keys_in(self._own_file)
            self._trusted = {
                file.stem: _keys_in(file) for file in sorted(self._trusted_folder.glob("*.json"))
            }
        except NoKeys:
            if not self._own:
                raise


def create(party: str, own: Path, trusted: Path) -> None:
    """Give a party its first keys, unless it has some."""
    if not own.exists():
        rotate(party, own, trusted)


def rotate(party: str, own: Path, trusted: Path, *, begins_in_s: float = 0.0) -> None:
    """Give a party new keys. The public halves are written first: nobody meets a key unprepared."""
    begins = time.time() + begins_in_s
    fresh = [
        OKPKey.generate_key(
            _CURVES[use],
            cast(Any, {"use": use, "kid": secrets.token_urlsafe(9), "not_before": begins}),
        )
        for use in _CURVES
    ]
    public = trusted / f"{party}.json"
    known = [*_present(public), *fresh]
    held = [*_present(own), *fresh]
    sealed = sorted((k for k in held if k.get("use") == "enc"), key=_begins)[-SEALED_TO:]
    _write(public, [key.as_dict(private=False) for key in known], 0o644)
    kept = [*(k for k in held if k.get("use") == "sig"), *sealed]
    _write(own, [key.as_dict(private=True) for key in kept], 0o600)


def revoke(party: str, kid: str, trusted: Path) -> None:
    """Trust a key no longer, as when it was stolen: what it signed is refused from then on."""
    public = trusted / f"{party}.json"
    known = _keys_in(public)
    left = [key for key in known if key.kid != kid]
    if len(left) == len(known):
        raise UnknownKey(f"{party} has no key {kid}")
    _write(public, [key.as_dict(private=False) for key in left], 0o644)


def public_key(trusted: Path, party: str, kid: str) -> Ed25519PublicKey:
    """A key that a party signs with, for who has the public halves only."""
    if not party.isidentifier():
        raise UnknownKey("a party's name is one word")
    for key in _keys_in(trusted / f"{party}.json"):
        if key.kid == kid and key.get("use") == "sig":
            return cast(Ed25519PublicKey, key.public_key)
    raise UnknownKey(f"{party} has no key {kid}")


def age_s(own: Path) -> float:
    """How long ago the party's latest signing key began to be used."""
    return time.time() - max(_begins(key) for key in _keys_in(own) if key.get("use") == "sig")


def _present(file: Path) -> list[OKPKey]:
    return _keys_in(file) if file.exists() else []


def _begins(key: OKPKey) -> float:
    begins: Any = key.get("not_before")
    return float(begins or 0.0)


def _keys_in(file: Path) -> list[OKPKey]:
    try:
        return [OKPKey.import_key(key) for key in json.loads(file.read_text())["keys"]]
    except FileNotFoundError:
        raise NoKeys(f"There is no key file {file}: `python -m liaison_kit.keys`") from None
    except (OSError, ValueError, KeyError, TypeError, JoseError) as error:
        raise NoKeys(f"The key file {file} can't be read: {type(error).__name__}") from None


def _write(file: Path, keys: list[Any], mode: int) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    beside = file.with_suffix(".new")
    with open(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as sink:
        os.fchmod(sink.fileno(), mode)
        json.dump({"keys": keys}, sink)
    beside.replace(file)
