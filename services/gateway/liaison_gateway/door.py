"""The door: takes a request to the operation that answers it.

This is the hot path, so it is plain ASGI: no request object, no middleware, one table.

Everything that is not an operation of a service (the document, the menu, live events, health) is
handed to a Starlette application.
"""

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping

from opentelemetry.trace import SpanKind, get_current_span
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from liaison_gateway.auth import (
    SAFE_METHODS,
    Caller,
    Doorman,
    check_origin,
    session_seconds,
    token_of,
)
from liaison_gateway.bus import Bus, RawHeaders, Reply
from liaison_gateway.incoming import (
    LONGEST_SHOWN,
    URL_BYTES_ALLOWED,
    Incoming,
    decode_segment,
    read_query,
    timeout_of,
    traceparent,
)
from liaison_gateway.limits import HEAD_BYTES_ALLOWED, HEAD_TOO_LARGE, check_length, read_body
from liaison_gateway.manifests import Registry
from liaison_gateway.problems import (
    PROBLEM_JSON,
    Gone,
    HeadTooLarge,
    MethodNotAllowed,
    ModuleDown,
    NotReady,
    SignInFirst,
    UnsupportedMediaType,
    UrlTooLong,
    body_of,
    headers_of,
)
from liaison_gateway.rates import Rates, payer_at
from liaison_gateway.routes import PREFIX, Operation, Route
from liaison_gateway.shared import Shared, declared_query
from liaison_gateway.uploads import Files
from liaison_gateway.visits import PAGE_HEADERS, PAGES_PREFIX, error_page, sealed_body
from liaison_kit.pages.layout import STYLESHEET
from liaison_kit.settings import Settings
from liaison_kit.telemetry import log, span, tracing
from liaison_sdk.errors import Forbidden, LiaisonError, NotFound

SIGN_IN_FAILS_AFTER_S = 0.5
"""A sign-in that fails takes this long, whatever the reason: how long it takes tells nothing. So
does whatever else is guessable."""

DRAINED_BYTES = 8 << 20
"""Up to this size a refused body is still read and thrown away, so that the client sees why."""

SECURITY_HEADERS: RawHeaders = [
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cache-control", b"private, no-cache"),
]
HTTPS_HEADERS: RawHeaders = [
    *SECURITY_HEADERS,
    (b"strict-transport-security", b"max-age=31536000; includeSubDomains"),
]
ANONYMOUS = Caller(b"", None, float("inf"))
FREE = frozenset({b"/health/live"})
"""Asked by whoever keeps the gateway running, who must not hear that somebody asked too often."""

LOOKING = PREFIX + "/looking"
ASKS_WHO = frozenset(
    (method, PREFIX.encode() + path)
    for path in (b"/menu", b"/records", b"/notification-kinds", b"/search", b"/live", b"/looking")
    for method in ("GET", "HEAD")
) | {("POST", LOOKING.encode())}
"""What the gateway itself answers to those who are signed in."""

_NO_BODY = frozenset({204, 304})
_PREFIX = PREFIX.encode() + b"/"
_PAGES = PAGES_PREFIX.encode()
_STYLESHEET = STYLESHEET.encode()


class Door:
    """The gateway's ASGI application."""

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        bus: Bus,
        doorman: Doorman,
    ) -> None:
        self.registry = registry
        self.bus = bus
        self.doorman = doorman
        self.app: ASGIApp
        self.shared = Shared(bus)
        self.files = Files(bus, settings)
        self.rates = Rates(settings.rate_limit_per_minute)
        self._looked_up: set[bytes] = set()
        self.in_flight = 0
        self.unrouted = Route("*", "/*", None)
        self._timeout_s = settings.request_timeout_s
        self._body_limit = settings.body_limit_bytes
        self._body_timeout_s = settings.body_timeout_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; whatever happens, the client gets a proper answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        started = time.perf_counter()
        headers: dict[bytes, bytes] = dict(scope["headers"])
        trace = traceparent(headers)
        route: Route | None = None
        status = 500
        self.in_flight += 1
        try:
            raw_path: bytes = scope["raw_path"]
            if len(raw_path) + len(scope["query_string"]) > URL_BYTES_ALLOWED:
                self._charge(scope, headers)
                raise UrlTooLong(URL_BYTES_ALLOWED)
            if HEAD_TOO_LARGE in scope:
                self._charge(scope, headers)
                raise HeadTooLarge(HEAD_BYTES_ALLOWED)
            found = None
            if raw_path.startswith(_PREFIX):
                found = self.registry.table.find(raw_path[len(PREFIX) :].decode("ascii"))
            elif raw_path.startswith(_PAGES):
                found = self.registry.pages.find(raw_path.decode("ascii"))
                if found is None and raw_path != _STYLESHEET:
                    self._charge(scope, headers)
                    raise self.nothing_here(scope["path"])
            if found is None:
                status = await self._elsewhere(scope, receive, send, headers, trace)
                return
            methods, values = found
            method: str = scope["method"]
            route = methods.get(method)
            if route is None:
                route = methods.get("GET") if method == "HEAD" else None
            if route is None:
                self._charge(scope, headers)
                status = await self._other_method(scope, send, methods, method, trace)
                return
            if tracing():
                parent = trace if b"traceparent" in headers else None
                facts = {"http.request.method": method, "http.route": route.whole_path}
                with span(route.name, parent, SpanKind.SERVER, **facts) as inner:
                    trace = inner or trace
                    status = await self._answer(scope, receive, send, route, values, headers, trace)
                    get_current_span().set_attribute("http.response.status_code", status)
            else:
                status = await self._answer(scope, receive, send, route, values, headers, trace)
        except Gone:
            status = 499
        except LiaisonError as error:
            status = error.status
            await self.send_problem(scope, send, error, trace, headers)
        except _BrokeOffError:
            # The server closes a connection whose answer is not complete.
            pass
        except Exception as error:
            log.exception("request failed", trace_id=trace[3:35], error=type(error).__name__)
            status = 500
            await self.send_problem(scope, send, LiaisonError(), trace, headers)
        finally:
            self.in_flight -= 1
            (route or self.unrouted).count(status, time.perf_counter() - started)

    async def _answer(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        route: Route,
        values: list[str],
        headers: dict[bytes, bytes],
        trace: str,
    ) -> int:
        """Take one routed request to its service and the reply back."""
        arrived = time.monotonic()
        operation = route.operation
        if operation.page:
            return await self._visit(scope, receive, send, route, values, headers, trace)
        caller = await self._caller(scope, operation, headers, trace)
        incoming = Incoming(headers, trace, self._timeout_s)
        if caller is ANONYMOUS:
            incoming.source = _address(scope)
        else:
            incoming.principal = caller.principal
        if values:
            for name, value in zip(route.params, values, strict=True):
                if "%" in value:
                    value = decode_segment(value, name)
                incoming.path.append((name, value))
        if scope["query_string"]:
            incoming.query = read_query(scope["query_string"])
        if operation.service == "identity" and route.method != "GET":
            incoming.source = _address(scope)
            incoming.permissions = self.registry.permissions
            incoming.notification_kinds = self.registry.notification_kinds
        method = route.method
        if method != "GET":
            incoming.read_preconditions()
        if route.shared is not None:
            operation, reply = await self._shared(scope, route, incoming, caller, receive)
        else:
            if not (caller.everything or operation.public or caller.may(operation.permission)):
                raise Forbidden(f"Your role needs the permission {operation.permission}.")
            if operation.module.answers_until < time.monotonic():
                raise ModuleDown(
                    f"The module {operation.service} is not running.", operation.service
                )
            if operation.upload:
                reply = await self._upload(scope, operation, incoming, caller, receive)
            else:
                body = b"" if method == "GET" else await self.body(incoming, receive)
                reply = await self.bus.call(
                    operation.target,
                    incoming.head(),
                    body,
                    incoming.timeout_s,
                )
                if reply.head.status == 202:
                    self.shared.remember_location(reply, operation.service)
                if operation.guessable or (
                    operation.name == "sign_in" and reply.head.status == 401
                ):
                    await asyncio.sleep(arrived + SIGN_IN_FAILS_AFTER_S - time.monotonic())
        if reply.head.parts:
            incoming.ask_again = self._asking_again(caller, headers, trace)
            return await self._send_download(scope, receive, send, operation, incoming, reply)
        extra: RawHeaders = []
        if operation.service == "identity":
            extra = self._session_cookies(scope, operation, headers, reply)
        return await self._send_reply(scope, send, headers, trace, reply, extra)

    async def _visit(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        route: Route,
        values: list[str],
        headers: dict[bytes, bytes],
        trace: str,
    ) -> int:
        """Show a page, or take its form; whoever comes is a stranger."""
        arrived = time.monotonic()
        operation = route.operation
        if operation.guessable:
            self.rates.charge_sign_in(_address(scope))
        else:
            self.rates.charge_address(_address(scope))
        incoming = Incoming(headers, trace, self._timeout_s)
        incoming.source = _address(scope)
        body = await sealed_body(
            incoming, route, values, scope["query_string"], receive, self._body_timeout_s
        )
        reply = await self.bus.call(operation.target, incoming.head(), body, incoming.timeout_s)
        if operation.guessable:
            await asyncio.sleep(arrived + SIGN_IN_FAILS_AFTER_S - time.monotonic())
        status = reply.head.status
        # What is no page says what went wrong, in words for programs.
        shown = dict(reply.head.headers).get(b"content-type", b"").startswith(b"text/html")
        text = reply.body if shown else error_page(status, headers)
        await self._send_page(scope, send, status, text, trace)
        return status

    async def _send_page(
        self,
        scope: Scope,
        send: Send,
        status: int,
        text: bytes,
        trace: str,
        more: Iterable[tuple[bytes, bytes]] = (),
    ) -> None:
        out = [
            (b"content-type", b"text/html; charset=utf-8"),
            (b"content-length", b"%d" % len(text)),
            *PAGE_HEADERS,
            *(HTTPS_HEADERS[len(SECURITY_HEADERS) :] if scope["scheme"] == "https" else []),
            (b"traceresponse", trace.encode()),
            *more,
        ]
        await send({"type": "http.response.start", "status": status, "headers": out})
        shown = b"" if scope["method"] == "HEAD" else text
        await send({"type": "http.response.body", "body": shown})

    # ---- who

    async def _caller(
        self, scope: Scope, operation: Operation, headers: dict[bytes, bytes], trace: str
    ) -> Caller:
        if not operation.public:
            return await self._known_caller(scope, headers, trace)
        if operation.guessable or operation.name == "sign_in":
            self.rates.charge_sign_in(_address(scope))
            check_origin(headers)
        else:
            self._charge(scope, headers)
        return ANONYMOUS

    async def caller(self, scope: Scope, incoming: Incoming) -> Caller:
        """Who sent this request; raises `SignInFirst`, `Forbidden` or `OverRate`."""
        return await self._known_caller(scope, incoming.headers, incoming.traceparent)

    async def caller_now(self, incoming: Incoming) -> Caller:
        """Who sent a request that is still being answered, as identity knows them by now."""
        return await self._caller_now(incoming.headers, incoming.traceparent)

    def _charge(self, scope: Scope, headers: Mapping[bytes, bytes]) -> None:
        """Have somebody pay for a request that nobody needs to be signed in for."""
        try:
            token, _ = token_of(headers)
        except SignInFirst:
            token = None
        if token is not None:
            token_hash = hashlib.sha256(token).digest()
            caller = self.doorman.known(token_hash)
            if caller is not None:
                self.rates.charge_user(caller.user)
                return
            if self.rates.has_met(token_hash):
                self.rates.charge_token(token_hash)
                return
        self.rates.charge_address(_address(scope))

    async def _known_caller(self, scope: Scope, headers: dict[bytes, bytes], trace: str) -> Caller:
        try:
            token, by_cookie = token_of(headers)
            if token is None:
                raise SignInFirst
        except SignInFirst:
            self.rates.charge_address(_address(scope))
            raise
        token_hash = hashlib.sha256(token).digest()
        caller = self.doorman.known(token_hash)
        if caller is not None:
            self.rates.charge_user(caller.user)
        else:
            caller = await self._look_up(_address(scope), token_hash, headers, trace)
        if by_cookie and scope["method"] not in SAFE_METHODS:
            self.doorman.check_browser(headers, token_hash)
        return caller

    async def _look_up(
        self,
        address: str,
        token_hash: bytes,
        headers: Mapping[bytes, bytes],
        trace: str,
    ) -> Caller:
        """Whose token it is, from identity; whoever pays for the question has done so before."""
        if self.rates.has_met(token_hash):
            self.rates.charge_token(token_hash)
            try:
                return await self._ask(token_hash, headers, trace)
            except SignInFirst:
                self.rates.forget(token_hash)
                raise
        if token_hash in self._looked_up:
            # The question is under way, and to wait for its answer costs nothing more.
            try:
                caller = await self._ask(token_hash, headers, trace)
            except SignInFirst:
                self.rates.charge_address(address)
                raise
            self.rates.charge_user(caller.user)
            return caller
        second_look = self.rates.charge_guess(address, token_hash)
        self._looked_up.add(token_hash)
        try:
            caller = await self._ask(token_hash, headers, trace)
        except SignInFirst:
            self.rates.guessed_wrong(second_look=second_look)
            raise
        finally:
            self._looked_up.discard(token_hash)
        self.rates.guessed_right(address, token_hash, caller.user, second_look=second_look)
        return caller

    async def _ask(self, token_hash: bytes, headers: Mapping[bytes, bytes], trace: str) -> Caller:
        # Those who came with the same token share the question, so its time is nobody's own.
        question = Incoming({}, trace, self._timeout_s)
        try:
            async with asyncio.timeout(timeout_of(headers, self._timeout_s)):
                return await self.doorman.ask(token_hash, question)
        except TimeoutError:
            raise ModuleDown("The module identity did not answer in time.", "identity") from None

    async def _caller_now(self, headers: Mapping[bytes, bytes], trace: str) -> Caller:
        token, _ = token_of(headers)
        if token is None:
            raise SignInFirst
        token_hash = hashlib.sha256(token).digest()
        caller = self.doorman.known(token_hash)
        return caller or await self._ask(token_hash, {}, trace)

    def _asking_again(
        self, caller: Caller, headers: Mapping[bytes, bytes], trace: str
    ) -> Callable[[], Awaitable[str]] | None:
        """What a long upload or download asks before each part."""
        if caller is ANONYMOUS:
            return None

        async def principal() -> str:
            return (await self._caller_now(headers, trace)).principal

        return principal

    def _session_cookies(
        self, scope: Scope, operation: Operation, headers: dict[bytes, bytes], reply: Reply
    ) -> RawHeaders:
        """Signing in sets the session's cookies, signing out takes them away."""
        https = scope["scheme"] == "https"
        if operation.name == "sign_in" and reply.head.status == 200:
            said = json.loads(reply.body)
            if "token" in said:
                token_hash = hashlib.sha256(said["token"].encode()).digest()
                self.rates.meet(token_hash, str(said["user"]["id"]))
                seconds = session_seconds(said.get("expires_at"))
                return self.doorman.cookies(said["token"], seconds, https=https)
        if operation.name == "sign_out" and reply.head.status < 400:
            token, _ = token_of(headers)
            if token is not None:
                self.doorman.forget(hashlib.sha256(token).digest())
            return self.doorman.no_cookies(https=https)
        return []

    # ---- what

    async def body(self, incoming: Incoming, receive: Receive) -> bytes:
        """The JSON of a request, or nothing when none came with it."""
        headers = incoming.headers
        if b"content-length" not in headers and b"transfer-encoding" not in headers:
            return b""
        check_length(headers, self._body_limit)
        content_type = headers.get(b"content-type", b"")
        if content_type != b"application/json" and headers.get(b"content-length") != b"0":
            kind = content_type.partition(b";")[0].strip().lower()
            if kind != b"application/json" and not kind.endswith(b"+json"):
                raise UnsupportedMediaType("Send the body as application/json.")
        body = await read_body(receive, headers, self._body_limit, self._body_timeout_s)
        incoming.restart_clock()
        return body

    async def _upload(
        self,
        scope: Scope,
        operation: Operation,
        incoming: Incoming,
        caller: Caller,
        receive: Receive,
    ) -> Reply:
        incoming.ask_again = self._asking_again(caller, incoming.headers, incoming.traceparent)
        sender = caller.id or _address(scope)
        return await self.files.upload(operation, incoming, sender, receive)

    async def _shared(
        self,
        scope: Scope,
        route: Route,
        incoming: Incoming,
        caller: Caller,
        receive: Receive,
    ) -> tuple[Operation, Reply]:
        """The answer, and whose it is."""
        if route.shared == "merge" and route.method == "GET":
            return route.operation, await self.shared.merged(route, incoming, caller)
        if route.shared == "record":
            operation = self.shared.by_record(route, incoming, caller)
            if operation.upload:
                reply = await self._upload(scope, operation, incoming, caller, receive)
            else:
                body = b"" if route.method == "GET" else await self.body(incoming, receive)
                header = incoming.head(query=declared_query(operation, incoming.query))
                reply = await self.bus.call(
                    operation.target,
                    header,
                    body,
                    incoming.timeout_s,
                )
            if reply.head.status in (201, 202):
                self.shared.remember_location(reply, operation.service)
            return operation, reply
        body = b"" if route.method == "GET" else await self.body(incoming, receive)
        return await self.shared.by_id(route, incoming, caller, body)

    # ---- answers

    async def _send_reply(
        self,
        scope: Scope,
        send: Send,
        headers: dict[bytes, bytes],
        trace: str,
        reply: Reply,
        extra: RawHeaders,
    ) -> int:
        head = reply.head
        status = head.status
        body = reply.body
        common = SECURITY_HEADERS if scope["scheme"] != "https" else HTTPS_HEADERS
        out = [*head.headers, *common, (b"traceresponse", trace.encode())]
        if extra:
            out += extra
        if status == 200 and b"if-none-match" in headers and scope["method"] in ("GET", "HEAD"):
            etag = dict(head.headers).get(b"etag")
            if etag is not None and _matches(headers[b"if-none-match"], etag):
                status, body = 304, b""
        if status in _NO_BODY:
            out = [header for header in out if header[0] != b"content-type"]
            body = b""
        else:
            out.append((b"content-length", b"%d" % len(body)))
        await send({"type": "http.response.start", "status": status, "headers": out})
        if scope["method"] == "HEAD":
            body = b""
        await send({"type": "http.response.body", "body": body})
        return status

    async def _send_download(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        operation: Operation,
        incoming: Incoming,
        reply: Reply,
    ) -> int:
        head = reply.head
        out = [*head.headers, *SECURITY_HEADERS, (b"traceresponse", incoming.traceparent.encode())]
        if head.size is not None:
            out.append((b"content-length", b"%d" % head.size))
        start: Message = {"type": "http.response.start", "status": head.status, "headers": out}
        if scope["method"] == "HEAD":
            await send(start)
            await send({"type": "http.response.body", "body": b""})
            return head.status
        parts: AsyncIterator[bytes] = self.files.download(operation, incoming, head)
        # The first part is fetched before the head is sent: until then an error is still an answer.
        part = await anext(parts)
        await send(start)
        gone = asyncio.create_task(_hung_up(receive))
        try:
            while not gone.done():
                await send({"type": "http.response.body", "body": part, "more_body": True})
                part = await anext(parts)
            raise Gone
        except StopAsyncIteration:
            await send({"type": "http.response.body", "body": b""})
        except LiaisonError as error:
            # Too late for a status: an answer that breaks off is how HTTP says so.
            log.error("download broke off", service=operation.service, error=error.detail)
            raise _BrokeOffError from error
        finally:
            gone.cancel()
        return head.status

    async def _elsewhere(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        headers: dict[bytes, bytes],
        trace: str,
    ) -> int:
        """Hand what is no operation to the Starlette application; gives the status it sent."""
        status = 500
        common = SECURITY_HEADERS if scope["scheme"] != "https" else HTTPS_HEADERS

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                own = {name for name, _ in message["headers"]}
                message["headers"] = [
                    *message["headers"],
                    *(header for header in common if header[0] not in own),
                    (b"traceresponse", trace.encode()),
                ]
            await send(message)

        raw_path: bytes = scope["raw_path"]
        asks_who = (scope["method"], raw_path) in ASKS_WHO
        if raw_path not in FREE and not asks_who:
            self._charge(scope, headers)
        if b"%" in raw_path:
            decode_segment(raw_path.decode("ascii"), "path")
        scope["liaison"] = Incoming(headers, trace, self._timeout_s)
        await self.app(scope, receive, sending)
        return status

    def nothing_here(self, path: str) -> LiaisonError:
        """Why no route matches: there is none, or nobody has said yet which there are."""
        if path.startswith((PREFIX + "/", PAGES_PREFIX)) and self.registry.listening:
            return NotReady()
        return NotFound(f"There is nothing at {path[:LONGEST_SHOWN]}.")

    async def _other_method(
        self, scope: Scope, send: Send, methods: dict[str, Route], method: str, trace: str
    ) -> int:
        allowed = set(methods) | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())
        allow = ", ".join(sorted(allowed))
        if method != "OPTIONS":
            raise MethodNotAllowed(allow)
        out = [(b"allow", allow.encode()), *SECURITY_HEADERS, (b"traceresponse", trace.encode())]
        await send({"type": "http.response.start", "status": 204, "headers": out})
        await send({"type": "http.response.body", "body": b""})
        return 204

    async def send_problem(
        self,
        scope: Scope,
        send: Send,
        error: LiaisonError,
        trace: str,
        headers: dict[bytes, bytes],
    ) -> None:
        """Answer with a problem document, or a page where pages are."""
        if scope["raw_path"].startswith(_PAGES):
            more = [(n.lower().encode(), v.encode()) for n, v in headers_of(error).items()]
            text = error_page(error.status, headers)
            more += _ending(headers)
            await self._send_page(scope, send, error.status, text, trace, more)
            return
        body = body_of(error, trace[3:35])
        common = SECURITY_HEADERS if scope["scheme"] != "https" else HTTPS_HEADERS
        out = [
            (b"content-type", PROBLEM_JSON),
            (b"content-length", b"%d" % len(body)),
            *((n.lower().encode(), v.encode()) for n, v in headers_of(error).items()),
            *common,
            (b"traceresponse", trace.encode()),
        ]
        out += _ending(headers)
        await send({"type": "http.response.start", "status": error.status, "headers": out})
        await send(
            {"type": "http.response.body", "body": b"" if scope["method"] == "HEAD" else body}
        )


class _BrokeOffError(Exception):
    """An answer that had begun cannot be finished."""


def _ending(headers: Mapping[bytes, bytes]) -> RawHeaders:
    """What ends the connection, where nobody will read the rest of the request's body."""
    length = headers.get(b"content-length", b"0")
    unread = b"transfer-encoding" in headers or int(length) > DRAINED_BYTES
    return [(b"connection", b"close")] if unread else []


def _address(scope: Scope) -> str:
    client = scope.get("client")
    return payer_at(client[0]) if client else ""


async def _hung_up(receive: Receive) -> None:
    """Returns when the client has closed its connection."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _matches(if_none_match: bytes, etag: bytes) -> bool:
    if if_none_match.strip() == b"*":
        return True
    wanted = etag.removeprefix(b"W/")
    return any(tag.strip().removeprefix(b"W/") == wanted for tag in if_none_match.split(b","))
