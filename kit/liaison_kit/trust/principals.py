"""Signed principals: identity says who somebody is and what they may do, and signs it.

Whoever has a call to make hands the text on as it is; whoever gets one verifies it, and remembers
for as long as it is valid that it has. It is a JWT (RFC 7519) of a few minutes. Work that takes
longer asks identity for a fresh one, and gets the rights that the person has by then.
"""

import time
from collections import OrderedDict
from typing import Any
from uuid import UUID

from joserfc import jwt
from joserfc.errors import JoseError
from joserfc.jws import JWSRegistry

from liaison_kit.context import Principal
from liaison_kit.trust.keys import Keyring, UnknownKey
from liaison_sdk.errors import Unauthenticated

ISSUER = "identity"
VALID_S = 300
"""How long a principal may be handed on."""
SKEW_S = 30
"""How far the clocks of two machines may be apart."""
REMEMBERED = 10_000

_ALGORITHM = "Ed25519"


class _Registry(JWSRegistry):
    # Who is on a team of thousands names them all.
    max_payload_length = 4_000_000


_REGISTRY = _Registry(algorithms=[_ALGORITHM])


class NotVouchedFor(Unauthenticated):
    """Nobody whom we trust says that the caller is who they say, or no longer."""

    code, title = "not_vouched_for", "Identity does not vouch for the caller"

    def __init__(self, reason: str) -> None:
        super().__init__("Sign in again")
        self.reason = reason


class Principals:
    """Reads the principals that calls carry; in identity it makes them as well."""

    def __init__(self, keys: Keyring) -> None:
        self._keys = keys
        self._known: OrderedDict[str, Principal] = OrderedDict()

    def issue(self, principal: Principal) -> str:
        """A principal as text, valid from now on; only identity's signature makes it one."""
        key = self._keys.signing_jwk()
        now = int(time.time())
        claims = {
            "iss": ISSUER,
            "iat": now,
            "exp": now + VALID_S,
            "sub": str(principal.user),
            "tenant": str(principal.tenant),
            "name": principal.name,
            "permissions": sorted(principal.permissions),
            "rows": dict(principal.rows),
            "peers": [str(peer) for peer in principal.peers],
            "locale": principal.locale,
            "token_id": str(principal.token_id),
            "kind": principal.kind,
        }
        return jwt.encode({"alg": _ALGORITHM, "kid": key.kid}, claims, key, algorithms=[_ALGORITHM])

    def read(self, signed: object) -> Principal:
        """Who is asking; `NotVouchedFor` when identity does not say so, or said so too long ago."""
        if not isinstance(signed, str):
            raise NotVouchedFor("unsigned")
        found = self._known.get(signed)
        if found is None:
            found = self._verified(signed)
            self._known[signed] = found
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        if found.expires < time.time() - SKEW_S:
            self._known.pop(signed, None)
            raise NotVouchedFor("expired")
        return found

    def read_expired(self, signed: str) -> Principal:
        """Who it was: for work that goes on after its principal has expired."""
        return self._known.get(signed) or self._verified(signed)

    def _verified(self, signed: str) -> Principal:
        try:
            token = jwt.decode(signed, lambda head: self._key(head), registry=_REGISTRY)
            claims = token.claims
            if claims["iss"] != ISSUER:
                raise NotVouchedFor("foreign")
            return Principal(
                tenant=UUID(claims["tenant"]),
                user=UUID(claims["sub"]),
                name=claims["name"],
                permissions=frozenset(claims["permissions"]),
                rows=claims["rows"],
                peers=tuple(UUID(peer) for peer in claims["peers"]),
                locale=claims["locale"],
                token_id=UUID(claims["token_id"]),
                kind=claims["kind"],
                expires=float(claims["exp"]),
                signed=signed,
            )
        except UnknownKey:
            raise NotVouchedFor("unknown key") from None
        except (JoseError, ValueError, KeyError, TypeError, AttributeError):
            raise NotVouchedFor("forged") from None

    def _key(self, head: Any) -> Any:
        return self._keys.verifying_jwk(ISSUER, str(head.headers().get("kid")))
