"""Sealed bodies: a request with a secret in it is readable by the service that it is for only.

It is a JWE (RFC 7516) to a key of that service. The operation is named within what is
authenticated, so that what was sealed for one is of no use to another.
"""

from joserfc import jwe
from joserfc.errors import JoseError

from liaison_kit.trust.keys import Keyring, UnknownKey
from liaison_sdk.errors import BadRequest

_ALGORITHMS = ["ECDH-ES", "A256GCM"]


def seal(keys: Keyring, service: str, operation: str, body: bytes) -> bytes:
    """The body as only this service can read it, for this operation."""
    key = keys.sealing_jwk(service)
    head = {"alg": "ECDH-ES", "enc": "A256GCM", "kid": key.kid, "cty": operation}
    return jwe.encrypt_compact(head, body, key, algorithms=_ALGORITHMS).encode()


def unseal(keys: Keyring, operation: str, sealed: bytes) -> bytes:
    """The body that was sealed to us; `BadRequest` when it was not, or for another operation."""
    try:
        opened = jwe.decrypt_compact(
            sealed, lambda guest: keys.opening_jwk(str(guest.headers().get("kid"))), _ALGORITHMS
        )
    except (JoseError, UnknownKey, ValueError, TypeError):
        raise BadRequest("This has to be sealed to the service that it is for") from None
    if opened.headers().get("cty") != operation or opened.plaintext is None:
        raise BadRequest("This was sealed for something else")
    return opened.plaintext
