"""The gateway put together, with the few answers that are its own."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.resources import files
from typing import Any
from uuid import uuid4

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import (
    JSONResponse,
    PlainTextResponse,
    RedirectResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Route as WebRoute

from liaison_gateway import announcements
from liaison_gateway.auth import Caller, Doorman, Stale
from liaison_gateway.bus import Bus
from liaison_gateway.door import LOOKING, Door
from liaison_gateway.incoming import Incoming, read_query
from liaison_gateway.listening import Listener
from liaison_gateway.live import Live
from liaison_gateway.looking import Looking
from liaison_gateway.manifests import Registry
from liaison_gateway.metrics import Figures
from liaison_gateway.onlookers import Onlookers
from liaison_gateway.openapi import Document
from liaison_gateway.problems import MethodNotAllowed, SignInFirst, body_of, headers_of
from liaison_gateway.routes import PREFIX
from liaison_gateway.search import Search
from liaison_gateway.server import make_ops_server, make_server
from liaison_kit.pages import layout
from liaison_kit.process.metrics import REFUSED
from liaison_kit.settings import Settings
from liaison_kit.telemetry import log
from liaison_kit.trust.keys import Keyring
from liaison_kit.trust.signatures import Forged, Purpose, Signer, UnknownKey, Verifier
from liaison_sdk.errors import LiaisonError

LOOK_EVERY_S = 0.1
PAGES_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
PAGES = {
    "docs.html": "text/html; charset=utf-8",
    "docs.css": "text/css; charset=utf-8",
    "docs.js": "text/javascript; charset=utf-8",
}


class Gateway:
    """Everything that one gateway process holds."""

    def __init__(self, settings: Settings) -> None:
        self.keys = Keyring("gateway", settings.key_file, settings.trust_dir)
        self._verifier = Verifier(self.keys)
        self.bus = Bus(
            settings.broker,
            self.keys,
            on_waiting=lambda service: self.registry.presence.doubt(service),
            on_unserved=lambda crew: self.registry.presence.unserved(crew),
            declares=settings.declare_exchanges,
        )
        self.registry = Registry(self.bus.lost, self.bus.silent, settings.hung_after_s)
        self._id = str(uuid4())
        self._signer = Signer(self.keys)
        self.onlookers = Onlookers()
        self.live = Live(self.registry, self.onlookers)
        self.listener = Listener(
            settings.broker,
            on_announcement=self._heard_announcement,
            on_event=self._heard_event,
            on_onlookers=self._heard_onlookers,
            on_nobody=self.registry.presence.nobody_at,
            on_up=self._listening,
            declares=settings.declare_exchanges,
        )
        self.onlookers.publish = self._tell_gateways
        self.registry.on_new_service = self.listener.follow
        self.registry.presence.ask = self.listener.ask
        self.doorman = Doorman(self.bus, self.keys, settings.secret_key.get_secret_value())
        self.door = Door(settings, self.registry, self.bus, self.doorman)
        self.search = Search(self.registry, self.bus, settings.search_within_s)
        self.looking = Looking(self.registry, self.bus, self.onlookers)
        self.document = Document(self.registry)
        self.door.app = self._pages()
        figures = CollectorRegistry()
        figures.register(REFUSED)
        figures.register(Figures(self.registry, self.bus, self.live, self.onlookers, self.door))
        self.ops = _ops_app(self, figures)

    @property
    def ready(self) -> bool:
        """Whether requests can be answered: the broker is there, and the services were heard."""
        return self.bus.up and self.registry.answers("identity") and not self.registry.listening

    def _heard_announcement(self, body: bytes) -> None:
        """Take in what a service says it can do, if it is that service which says so."""
        service = announcements.speaker(body)
        if service is not None and self._is_told_by(service, "announcement", body):
            self.registry.heard(body)

    def _is_told_by(self, service: str, what: Purpose, body: bytes) -> bool:
        try:
            self._verifier.verify(what, service, body)
        except (Forged, UnknownKey) as refused:
            reason = refused.reason if isinstance(refused, Forged) else "unknown key"
            REFUSED.labels("gateway", what, reason).inc()
            log.warning("refused", what=what, service=service, reason=reason)
            return False
        return True

    def _heard_event(self, service: str, routing_key: str, body: bytes) -> None:
        if not self._is_told_by(service, "event", body):
            return
        if service == "identity":
            stale = self.doorman.identity_changed(routing_key.partition(".")[0], body)
            if stale is not None:
                self.onlookers.look_again(stale)
                self.live.look_again(stale)
        self.live.heard(service, routing_key, body)

    def _tell_gateways(self, message: dict[str, Any]) -> None:
        text = json.dumps({**message, "from": self._id}).encode()
        (signed,) = self._signer.sign("onlookers", [text])
        self.listener.tell_gateways(signed)

    def _heard_onlookers(self, body: bytes) -> None:
        if not self._is_told_by("gateway", "onlookers", body):
            return
        try:
            said = json.loads(body)
            if said["from"] != self._id:
                self.onlookers.heard(said)
        except (ValueError, KeyError, TypeError) as error:
            log.warning("unreadable word of onlookers", error=repr(error))

    def _listening(self) -> None:
        self.registry.connected()
        # What identity said meanwhile was not heard.
        self.doorman.forget_all()
        self.onlookers.look_again(Stale())
        self.live.missed_some()

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            try:
                self.onlookers.look()
                if self.listener.kept.up:
                    self.registry.look()
            except Exception:
                log.exception("looking for what has fallen silent failed")

    # ---- answers of its own

    def _pages(self) -> Starlette:
        @asynccontextmanager
        async def lifespan(_app: Starlette) -> AsyncIterator[None]:
            # Identity's events keep the doorman current, so they are heard from the first moment.
            self.listener.follow("identity")
            self.listener.kept.start()
            self.bus.start()
            watch = asyncio.create_task(self._watch(), name="presence")
            yield
            watch.cancel()
            await self.listener.kept.stop()
            await self.bus.stop()

        return Starlette(
            routes=[
                WebRoute(f"{PREFIX}/openapi.json", self._openapi),
                WebRoute(f"{PREFIX}/menu", self._menu),
                WebRoute(f"{PREFIX}/records", self._records),
                WebRoute(f"{PREFIX}/notification-kinds", self._notification_kinds),
                WebRoute(f"{PREFIX}/search", self._search),
                WebRoute(LOOKING, self._looking, methods=["GET", "POST"]),
                WebRoute(f"{PREFIX}/live", self._live),
                WebRoute("/docs", _page("docs.html")),
                WebRoute("/docs/docs.css", _page("docs.css")),
                WebRoute("/docs/docs.js", _page("docs.js")),
                WebRoute(layout.STYLESHEET, _stylesheet),
                WebRoute("/health/live", _alive),
                WebRoute("/", _home),
            ],
            exception_handlers={
                HTTPException: self._http_problem,
                LiaisonError: _problem,
            },
            lifespan=lifespan,
        )

    async def _openapi(self, request: Request) -> Response:
        document = self.document.refresh()
        headers = {"ETag": document.etag, "Vary": "Accept-Encoding", "Cache-Control": "no-cache"}
        if document.etag in request.headers.get("if-none-match", ""):
            return Response(status_code=304, headers=headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            headers["Content-Encoding"] = "gzip"
            return Response(document.gzipped, headers=headers, media_type="application/json")
        return Response(document.body, headers=headers, media_type="application/json")

    async def _menu(self, request: Request) -> Response:
        caller = await self._caller(request)
        readable = self._readable_paths(caller)
        items = [
            {**entry, "service": name}
            for name, module in sorted(self.registry.modules.items())
            for entry in module.manifest.get("menu") or ()
            if readable.get(str(entry.get("path")), True)
        ]
        mine = [
            {**each, "service": name}
            for name, module in sorted(self.registry.modules.items())
            for each in module.manifest.get("mine") or ()
            if caller.may(each.get("permission"))
        ]
        return JSONResponse({"items": items, "mine": mine})

    async def _records(self, request: Request) -> Response:
        await self._caller(request)
        items = [
            {**record, "service": name}
            for name, module in sorted(self.registry.modules.items())
            for record in module.manifest.get("records") or ()
        ]
        return JSONResponse({"items": items})

    async def _notification_kinds(self, request: Request) -> Response:
        await self._caller(request)
        items = [
            {**kind, "service": name, "name": f"{name}.{kind['name']}"}
            for name, module in sorted(self.registry.modules.items())
            for kind in module.manifest.get("notification_kinds") or ()
        ]
        return JSONResponse({"items": items})

    async def _search(self, request: Request) -> Response:
        caller = await self._caller(request)
        incoming: Incoming = request.scope["liaison"]
        incoming.query = read_query(request.scope["query_string"])
        return JSONResponse(await self.search.find(incoming, caller))

    async def _looking(self, request: Request) -> Response:
        caller = await self._caller(request)
        incoming: Incoming = request.scope["liaison"]
        if request.method == "POST":
            body = await self.door.body(incoming, request.receive)
            return JSONResponse(await self.looking.say(incoming, caller, body))
        incoming.query = read_query(request.scope["query_string"])
        return JSONResponse(await self.looking.ask(incoming, caller))

    def _readable_paths(self, caller: Caller) -> dict[str, bool]:
        """For each address that can be read, whether this caller may read it."""
        return {
            route.path: any(caller.may(o.permission) for o in route.operations)
            for route in self.registry.table
            if route.method == "GET"
        }

    async def _live(self, request: Request) -> Response:
        incoming: Incoming = request.scope["liaison"]
        caller = await self._caller(request)

        async def refresh() -> Caller:
            return await self.door.caller_now(incoming)

        async def frames() -> AsyncIterator[bytes]:
            last = request.headers.get("last-event-id")
            try:
                async for frame in self.live.stream(caller, last, refresh):
                    yield frame
            except SignInFirst:
                yield b"event: signed_out\ndata: {}\n\n"
            except LiaisonError:
                # Identity is away for a moment: the client comes back and asks again.
                return

        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        return StreamingResponse(frames(), headers=headers, media_type="text/event-stream")

    async def _caller(self, request: Request) -> Caller:
        return await self.door.caller(request.scope, request.scope["liaison"])

    async def _http_problem(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        if error.status_code == 405:
            allow = "GET, HEAD, OPTIONS"
            if request.url.path == LOOKING:
                allow = "GET, HEAD, OPTIONS, POST"
            if request.method == "OPTIONS":
                return Response(status_code=204, headers={"Allow": allow})
            return await _problem(request, MethodNotAllowed(allow))
        return await _problem(request, self.door.nothing_here(request.scope["path"]))


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, LiaisonError)
    return Response(
        body_of(error, request.scope["liaison"].trace_id),
        error.status,
        dict(headers_of(error)),
        "application/problem+json",
    )


def _page(name: str) -> Callable[[Request], Awaitable[Response]]:
    content = files("liaison_gateway").joinpath("pages", name).read_bytes()
    headers = {"Content-Security-Policy": PAGES_POLICY, "Cache-Control": "no-cache"}

    async def page(_request: Request) -> Response:
        return Response(content, headers=headers, media_type=PAGES[name])

    return page


async def _stylesheet(_request: Request) -> Response:
    headers = {"Cache-Control": "public, max-age=3600"}
    return Response(layout.stylesheet(), headers=headers, media_type="text/css")


async def _alive(_request: Request) -> Response:
    return PlainTextResponse("ok\n")


async def _home(_request: Request) -> Response:
    return RedirectResponse("/docs", 303)


def _ops_app(gateway: Gateway, figures: CollectorRegistry) -> Starlette:
    """What operators ask: figures and health, on a port of their own."""

    async def metrics(_request: Request) -> Response:
        return Response(generate_latest(figures), headers={"Content-Type": CONTENT_TYPE_LATEST})

    async def ready(_request: Request) -> Response:
        facts = {
            "ready": gateway.ready,
            "broker": gateway.bus.up,
            "modules": {name: gateway.registry.answers(name) for name in gateway.registry.modules},
        }
        return JSONResponse(facts, 200 if gateway.ready else 503)

    return Starlette(
        routes=[
            WebRoute("/metrics", metrics),
            WebRoute("/health/live", _alive),
            WebRoute("/health/ready", ready),
        ]
    )


async def serve(settings: Settings) -> None:
    """Run the gateway until it is told to stop; requests that have begun are finished."""
    gateway = Gateway(settings)
    main = make_server(gateway.door, settings, on_stop=gateway.live.close)
    ops = make_ops_server(gateway.ops, settings)
    log.info("gateway starts", address=f"http://{settings.http_host}:{settings.http_port}")
    helper = asyncio.create_task(ops.serve()) if ops is not None else None
    await main.serve()
    if ops is not None and helper is not None:
        ops.should_exit = True
        await helper
