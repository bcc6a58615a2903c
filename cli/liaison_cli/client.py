"""The HTTP API as this command uses it: a token, JSON both ways, problems as exceptions."""

import ipaddress
import json
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, BinaryIO
from urllib.parse import quote, urlsplit
from uuid import uuid4

import httpx

from liaison_cli.errors import NotThere, Problem, Refused, Told

API = "/api/v1"
PART_BYTES = 512 * 1024
TIMEOUT = httpx.Timeout(60.0, connect=5.0)
# A busy or restarting server says when to come back; this is how patient the command is.
PATIENCE_S = 70.0
UNAVAILABLE_S = 6.0

Query = Mapping[str, Any]


class Client:
    """Calls Liaison at one address; `renew` gets another token when the present one has ended."""

    def __init__(
        self, url: str, token: str | None = None, renew: Callable[[], str | None] | None = None
    ) -> None:
        self.url = url.rstrip("/")
        self.token = token
        self._renew = renew
        self._http = httpx.Client(
            base_url=self.url,
            timeout=TIMEOUT,
            headers={"User-Agent": "liaison-cli", "Accept": "application/json"},
            # A proxy is for the outside; asking it for this very machine ends nowhere.
            trust_env=not is_loopback(self.url),
        )

    def __enter__(self) -> "Client":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, **query: Any) -> Any:
        """The JSON at a path."""
        return self.json("GET", path, query=query)

    def post(self, path: str, body: Any = None, *, key: str | None = None, **query: Any) -> Any:
        """Send JSON; `key` makes a repetition of the call answer what the first one did."""
        return self.json("POST", path, query=query, body=body, key=key)

    def patch(self, path: str, body: Any, version: int | None = None) -> Any:
        """Change a record that is still at this version."""
        return self.json("PATCH", path, body=body, version=version)

    def delete(self, path: str, version: int | None = None) -> Any:
        """Delete a record that is still at this version."""
        return self.json("DELETE", path, version=version)

    def json(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Any = None,
        key: str | None = None,
        version: int | None = None,
    ) -> Any:
        """One call; None when there is nothing in the answer."""
        answer = self.call(method, path, query=query, body=body, key=key, version=version)
        return json.loads(answer.content) if answer.content else None

    def call(
        self,
        method: str,
        path: str,
        *,
        query: Query | None = None,
        body: Any = None,
        key: str | None = None,
        version: int | None = None,
    ) -> httpx.Response:
        """One call; raises `Refused` for a problem and `NotThere` when nobody answers.

        Every write carries an Idempotency-Key, so that trying again can't do it twice.
        """
        headers: dict[str, str] = {}
        content: bytes | None = None
        if body is not None:
            content = json.dumps(body, ensure_ascii=False).encode()
            headers["Content-Type"] = "application/json"
        if method == "POST" and self.token:
            headers["Idempotency-Key"] = key or str(uuid4())
        if version is not None:
            headers["If-Match"] = f'"{version}"'
        return self._patiently(
            lambda: self._http.request(
                method,
                address(path),
                params=parameters(query),
                content=content,
                headers=headers | self._bearer(),
            )
        )

    def pages(self, path: str, **query: Any) -> Iterator[dict[str, Any]]:
        """Every item of a list, page after page."""
        query = {"limit": 200} | query
        while True:
            page = self.get(path, **query)
            yield from page["items"]
            if not page.get("next"):
                return
            query["cursor"] = page["next"]

    def upload(
        self,
        path: str,
        file: BinaryIO,
        *,
        size: int,
        content_type: str,
        sent: Callable[[int], None] = lambda _: None,
        **query: Any,
    ) -> Any:
        """Send a file without holding it in memory; `sent` is told how many bytes have gone."""
        headers = {"Content-Type": content_type, "Content-Length": str(size)}

        def attempt() -> httpx.Response:
            file.seek(0)
            return self._http.post(
                address(path),
                params=parameters(query),
                content=_parts(file, sent),
                headers=headers | self._bearer(),
            )

        return json.loads(self._patiently(attempt).content)

    @contextmanager
    def download(self, path: str) -> Iterator[Iterator[bytes]]:
        """A file's bytes, in parts, as they come."""
        with (
            _reachable(self.url),
            self._http.stream("GET", address(path), headers=self._bearer()) as answer,
        ):
            if answer.status_code >= 400:
                raise Refused(Problem.of(answer.status_code, answer.read()))
            yield answer.iter_bytes(PART_BYTES)

    def _bearer(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self.token}"} if self.token else {}

    def _patiently(self, attempt: Callable[[], httpx.Response]) -> httpx.Response:
        """Try, and again when the answer is to come back later or that the token has ended."""
        began = time.monotonic()
        renewed = False
        while True:
            with _reachable(self.url):
                answer = attempt()
            status = answer.status_code
            if status < 400:
                return answer
            if status == 401 and self._renew is not None and not renewed:
                renewed = True
                token = self._renew()
                if token is not None:
                    self.token = token
                    continue
            waited = time.monotonic() - began
            pause = _retry_after(answer)
            limit = {429: PATIENCE_S, 503: UNAVAILABLE_S}.get(status, 0.0)
            if pause is not None and waited + pause <= limit:
                time.sleep(pause)
                continue
            raise Refused(Problem.of(status, answer.content))


def address(path: str) -> str:
    """`/contacts` means `/api/v1/contacts`."""
    path = f"/{path.lstrip('/')}"
    return path if path == API or path.startswith(f"{API}/") else f"{API}{path}"


def segment(text: str) -> str:
    """A text as one part of a path."""
    return quote(text, safe="")


def parameters(query: Query | None) -> httpx.QueryParams:
    """Query parameters; what is None is left out, a list gives its parameter several times."""
    found: list[tuple[str, str | int | float | bool | None]] = []
    for name, value in (query or {}).items():
        for one in value if isinstance(value, list | tuple) else [value]:
            if one is None:
                continue
            found.append((name, str(one).lower() if isinstance(one, bool) else str(one)))
    return httpx.QueryParams(found)


def is_loopback(url: str) -> bool:
    """Whether an address is on this machine."""
    host = urlsplit(url).hostname or ""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def checked_url(url: str) -> str:
    """The address, if it is one: scheme and host, no path."""
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise Told(f"{url} is no address; it looks like http://127.0.0.1:8080")
    return url.rstrip("/")


def _parts(file: BinaryIO, sent: Callable[[int], None]) -> Iterator[bytes]:
    while part := file.read(PART_BYTES):
        yield part
        sent(len(part))


def _retry_after(answer: httpx.Response) -> float | None:
    said = answer.headers.get("Retry-After", "")
    return max(0.2, float(said)) if said.isdigit() else None


@contextmanager
def _reachable(url: str) -> Iterator[None]:
    try:
        yield
    except httpx.ConnectError as error:
        raise NotThere(url, _plain(error)) from None
    except httpx.TimeoutException:
        raise NotThere(url, "no answer in time") from None
    except httpx.HTTPError as error:
        raise Told(f"The connection to {url} broke off ({_plain(error)}).") from None
    except httpx.InvalidURL as error:
        raise Told(f"{url} is no address: {error}") from None


def _plain(error: Exception) -> str:
    # "[Errno 111] Connection refused" reads better without its number.
    return str(error).partition("] ")[2] or str(error) or type(error).__name__
