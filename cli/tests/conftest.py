"""A small server of the tests' own, that answers as Liaison does, and settings of their own."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
from typer.testing import CliRunner, Result

from liaison_cli.main import app

Answer = tuple[int, Any] | tuple[int, Any, dict[str, str]]


@dataclass
class Request:
    """What the server was asked."""

    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Server:
    """Answers what a test says it shall, in turn; the last answer stays."""

    url: str
    routes: dict[tuple[str, str], list[Answer | Callable[[Request], Answer]]] = field(
        default_factory=dict
    )
    seen: list[Request] = field(default_factory=list)

    def answers(
        self, method: str, path: str, *answers: Answer | Callable[[Request], Answer]
    ) -> None:
        self.routes[method, f"/api/v1{path}"] = list(answers)

    def asked(self, method: str, path: str) -> list[Request]:
        wanted = f"/api/v1{path}"
        return [r for r in self.seen if r.method == method and r.path == wanted]

    def answer(self, request: Request) -> Answer:
        self.seen.append(request)
        found = self.routes.get((request.method, request.path))
        if not found:
            return problem(404, "not_found", "There is nothing here")
        said = found.pop(0) if len(found) > 1 else found[0]
        return said(request) if callable(said) else said


def problem(status: int, code: str, title: str, **more: Any) -> Answer:
    return status, {"type": f"urn:liaison:problem:{code}", "title": title, "status": status} | more


@pytest.fixture
def server() -> Iterator[Server]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def answer(self) -> None:
            parts = urlsplit(self.path)
            request = Request(
                self.command,
                parts.path,
                dict(parse_qsl(parts.query)),
                {name.lower(): value for name, value in self.headers.items()},
                self.rfile.read(int(self.headers.get("Content-Length") or 0)),
            )
            status, body, *headers = found.answer(request)
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            content = b"" if body is None else content
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Content-Type", "application/json")
            for name, value in (headers[0] if headers else {}).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_DELETE = answer  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        http.daemon_threads = True
        found = Server(f"http://127.0.0.1:{http.server_port}")
        thread = threading.Thread(target=http.serve_forever, args=(0.01,))
        thread.start()
        yield found
        http.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person who has never used Liaison, in an empty folder."""
    for name in ("URL", "TOKEN", "EMAIL", "PASSWORD", "ADMIN_EMAIL", "ADMIN_PASSWORD", "RUN_DIR"):
        monkeypatch.delenv(f"LIAISON_{name}", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return tmp_path / "config" / "liaison"


@pytest.fixture
def signed_in(server: Server, monkeypatch: pytest.MonkeyPatch) -> Server:
    monkeypatch.setenv("LIAISON_URL", server.url)
    monkeypatch.setenv("LIAISON_TOKEN", "secret-token")
    return server


@pytest.fixture
def liaison() -> Callable[..., Result]:
    """The command, run with these arguments as a script would."""

    def run(*arguments: str, input: str | None = None) -> Result:
        return CliRunner().invoke(app, list(arguments), input=input)

    return run
