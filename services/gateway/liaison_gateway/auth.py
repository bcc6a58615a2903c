"""Who is calling: tokens and cookies become principals, and forged browser requests are refused."""

import asyncio
import datetime as dt
import hashlib
import hmac
import json
import time
from collections.abc import Mapping
from typing import NamedTuple

from liaison_gateway.bus import Bus, Target
from liaison_gateway.incoming import Incoming
from liaison_gateway.problems import ModuleDown, SignInFirst
from liaison_kit.context import Principal
from liaison_kit.process.metrics import REFUSED
from liaison_kit.telemetry import log
from liaison_kit.trust.keys import Keyring
from liaison_kit.trust.principals import NotVouchedFor, Principals
from liaison_sdk.errors import Forbidden

SESSION_COOKIE = "liaison_session"
CSRF_COOKIE = "liaison_csrf"
KNOWN_FOR_S = 30.0
CALLERS_REMEMBERED = 20_000
TOKEN_LENGTH_ALLOWED = 4096
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
STALE_AT = frozenset({"token_revoked", "users_saved", "user_removed", "role_saved", "team_saved"})

_COOKIE_PREFIX = SESSION_COOKIE.encode() + b"="


class Caller:
    """Somebody whose token identity has vouched for, for a few seconds."""

    __slots__ = (
        "everything",
        "id",
        "known_until",
        "permissions",
        "principal",
        "tenant",
        "user",
        "who",
    )

    def __init__(self, token_hash: bytes, who: Principal | None, known_until: float) -> None:
        self.id = token_hash
        self.who = who
        self.tenant = None if who is None else str(who.tenant)
        self.user = "" if who is None else str(who.user)
        self.principal = "null" if who is None else f'"{who.signed}"'
        self.permissions = frozenset[str]() if who is None else who.permissions
        self.everything = "*" in self.permissions
        self.known_until = known_until

    def may(self, permission: str | None) -> bool:
        """Whether the caller's roles give them this."""
        return permission is None or self.everything or permission in self.permissions


def token_of(headers: Mapping[bytes, bytes]) -> tuple[bytes | None, bool]:
    """The request's token, and whether it came by cookie."""
    authorization = headers.get(b"authorization")
    if authorization is not None:
        scheme, _, token = authorization.partition(b" ")
        token = token.strip()
        if scheme.lower() != b"bearer" or not token or len(token) > TOKEN_LENGTH_ALLOWED:
            raise SignInFirst("Send the token as: Authorization: Bearer <token>.")
        return token, False
    cookies = headers.get(b"cookie")
    if cookies is not None and _COOKIE_PREFIX in cookies:
        for cookie in cookies.split(b";"):
            cookie = cookie.strip()
            if cookie.startswith(_COOKIE_PREFIX):
                token = cookie[len(_COOKIE_PREFIX) :].strip(b'"')
                if token and len(token) <= TOKEN_LENGTH_ALLOWED:
                    return token, True
    return None, False


class Stale(NamedTuple):
    """Whose rights may have changed: one token's, a tenant's, or anybody's.

    A user's are a tenant's: who is on a team is seen by all of it.
    """

    tenant: str | None = None
    token_hash: bytes | None = None

    @classmethod
    def by(cls, body: bytes) -> "Stale":
        """What an event of identity's made stale."""
        try:
            event = json.loads(body)
            tenant, data = str(event["tenant"]), event.get("data") or {}
            if "token_hash" in data:
                return cls(tenant, token_hash=bytes.fromhex(data["token_hash"]))
            return cls(tenant)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return cls()

    def concerns(self, caller: Caller) -> bool:
        """Whether this caller's rights have to be looked at again."""
        if self.tenant not in (None, caller.tenant):
            return False
        return self.token_hash in (None, caller.id)


class Doorman:
    """Knows callers by their tokens; asks identity about those it has not met lately."""

    def __init__(self, bus: Bus, keys: Keyring, secret_key: str) -> None:
        self._bus = bus
        self._principals = Principals(keys)
        self._secret = secret_key.encode()
        self._authenticate = Target("identity", "authenticate")
        self._callers: dict[bytes, Caller] = {}
        self._asking: dict[bytes, asyncio.Task[Caller]] = {}
        self._generation = 0

    def known(self, token_hash: bytes) -> Caller | None:
        """The caller, when identity has been asked in the last seconds."""
        caller = self._callers.get(token_hash)
        if caller is None or caller.known_until < time.monotonic():
            return None
        return caller

    async def ask(self, token_hash: bytes, incoming: Incoming) -> Caller:
        """The caller, from identity; raises `SignInFirst` when it does not know the token.

        Many requests with one new token ask once.
        """
        task = self._asking.get(token_hash)
        if task is None:
            task = asyncio.create_task(self._ask(token_hash, incoming))
            self._asking[token_hash] = task
            task.add_done_callback(lambda done: self._asked(token_hash, done))
        return await asyncio.shield(task)

    def _asked(self, token_hash: bytes, task: "asyncio.Task[Caller]") -> None:
        if self._asking.get(token_hash) is task:
            del self._asking[token_hash]
        if not task.cancelled():
            # Its readers may all have hung up; an exception that nobody reads is no news.
            task.exception()

    async def _ask(self, token_hash: bytes, incoming: Incoming) -> Caller:
        generation = self._generation
        # The token stays here: identity knows tokens by their hash.
        body = json.dumps({"token_hash": token_hash.hex()}).encode()
        question = Incoming({}, incoming.traceparent, incoming.timeout_s)
        reply = await self._bus.call(self._authenticate, question.head(), body, question.timeout_s)
        if reply.head.status == 401:
            raise SignInFirst("This token is not valid, or not any more.")
        if reply.head.status != 200:
            log.error("identity refused to authenticate", status=reply.head.status)
            raise ModuleDown("The module identity cannot check tokens now.", "identity")
        said = json.loads(reply.body)
        try:
            who = self._principals.read(said["principal"])
        except NotVouchedFor as refused:
            REFUSED.labels("gateway", "principal", refused.reason).inc()
            log.error("an answer that is not identity's", reason=refused.reason)
            raise ModuleDown("The module identity cannot check tokens now.", "identity") from None
        known_until = time.monotonic() + min(KNOWN_FOR_S, _seconds_until(said["expires_at"]))
        caller = Caller(token_hash, who, known_until)
        if generation == self._generation:
            if len(self._callers) >= CALLERS_REMEMBERED:
                self._forget_old()
            self._callers[token_hash] = caller
        return caller

    def identity_changed(self, event_type: str, body: bytes) -> "Stale | None":
        """Forget what an identity event made stale; says whose rights that are."""
        if event_type not in STALE_AT:
            return None
        stale = Stale.by(body)
        self._generation += 1
        # What is being asked may be answered with what was true before.
        self._asking = {}
        for token_hash, caller in list(self._callers.items()):
            if stale.tenant in (None, caller.tenant):
                del self._callers[token_hash]
        return stale

    def forget_all(self) -> None:
        """Ask identity again about everybody."""
        self._generation += 1
        self._asking = {}
        self._callers.clear()

    def forget(self, token_hash: bytes) -> None:
        """Forget one caller: they have signed out."""
        self._generation += 1
        self._callers.pop(token_hash, None)

    def _forget_old(self) -> None:
        now = time.monotonic()
        old = [key for key, caller in self._callers.items() if caller.known_until < now]
        for key in old or list(self._callers)[: CALLERS_REMEMBERED // 10]:
            del self._callers[key]

    # ---- browsers

    def csrf_token(self, token_hash: bytes) -> str:
        """The token that scripts of our own pages send back with changes."""
        return hmac.new(self._secret, b"csrf:" + token_hash, hashlib.sha256).hexdigest()

    def check_browser(self, headers: Mapping[bytes, bytes], token_hash: bytes) -> None:
        """Refuse a change that came by cookie unless our own page sent it."""
        check_origin(headers)
        sent = headers.get(b"x-csrf-token", b"")
        if not hmac.compare_digest(sent, self.csrf_token(token_hash).encode()):
            raise Forbidden(
                f"Send the value of the cookie {CSRF_COOKIE} as X-CSRF-Token with every change."
            )

    def cookies(self, token: str, max_age_s: int, *, https: bool) -> list[tuple[bytes, bytes]]:
        """The cookies of a fresh session."""
        secure = "; Secure" if https else ""
        shared = f"; Path=/; Max-Age={max_age_s}; SameSite=Lax{secure}"
        csrf = self.csrf_token(hashlib.sha256(token.encode()).digest())
        return [
            (b"set-cookie", f"{SESSION_COOKIE}={token}; HttpOnly{shared}".encode("latin-1")),
            (b"set-cookie", f"{CSRF_COOKIE}={csrf}{shared}".encode("latin-1")),
        ]

    @staticmethod
    def no_cookies(*, https: bool) -> list[tuple[bytes, bytes]]:
        """What makes a browser forget its session."""
        secure = "; Secure" if https else ""
        gone = f"=; Path=/; Max-Age=0; SameSite=Lax{secure}"
        return [
            (b"set-cookie", f"{SESSION_COOKIE}{gone}; HttpOnly".encode()),
            (b"set-cookie", f"{CSRF_COOKIE}{gone}".encode()),
        ]


def check_origin(headers: Mapping[bytes, bytes]) -> None:
    """Refuse what another site's page sent; programs send neither header and pass."""
    site = headers.get(b"sec-fetch-site")
    if site is not None and site not in (b"same-origin", b"none"):
        raise Forbidden("This request came from another site.")
    origin = headers.get(b"origin")
    if origin is not None:
        host = headers.get(b"host", b"").decode("latin-1").lower()
        if origin.decode("latin-1").lower().partition("://")[2] != host:
            raise Forbidden("This request came from another site.")


def check_form(headers: Mapping[bytes, bytes]) -> None:
    """Refuse a page's form that another site's page sent.

    Our pages tell nobody where a visitor comes from, so browsers send `Origin: null` with their
    forms; what says more than that is believed. Nothing hangs on it: a form is good for what the
    address of its page says, and for nothing that a browser would add by itself.
    """
    check_origin({n: v for n, v in headers.items() if (n, v) != (b"origin", b"null")})


def session_seconds(expires_at: object) -> int:
    """How long a session's cookie lives."""
    return max(0, int(_seconds_until(expires_at)))


def _seconds_until(moment: object) -> float:
    if not isinstance(moment, str):
        return KNOWN_FOR_S
    try:
        when = dt.datetime.fromisoformat(moment)
    except ValueError:
        return KNOWN_FOR_S
    if when.tzinfo is None:
        when = when.replace(tzinfo=dt.UTC)
    return (when - dt.datetime.now(dt.UTC)).total_seconds()
