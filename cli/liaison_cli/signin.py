"""Who you are to Liaison: tokens kept in your own folder, the environment, this machine's own run.

The first of these that is there wins: `LIAISON_TOKEN`; `LIAISON_EMAIL` and `LIAISON_PASSWORD`; what
`liaison sign-in` has kept; the administrator of the Liaison that `make run` started in this folder.
"""

import datetime as dt
import json
import os
import re
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from liaison_cli import screen
from liaison_cli.client import Client, checked_url, is_loopback
from liaison_cli.errors import Refused, SignInFirst

DEFAULT_URL = "http://127.0.0.1:8080"
# A token this close to its end is taken for ended.
MARGIN = dt.timedelta(minutes=1)


@dataclass(frozen=True, slots=True)
class Credentials:
    """An e-mail and a password."""

    email: str
    password: str


def config_dir() -> Path:
    """Where this person's programs keep their settings."""
    if os.environ.get("XDG_CONFIG_HOME"):
        return Path(os.environ["XDG_CONFIG_HOME"]) / "liaison"
    if sys.platform == "win32":
        return Path(os.environ.get("APPDATA", Path.home())) / "Liaison"
    if sys.platform == "darwin":
        return Path.home() / "Library" / "Application Support" / "Liaison"
    return Path.home() / ".config" / "liaison"


class Kept:
    """The tokens on disk, by address, readable by their owner only."""

    def __init__(self, folder: Path | None = None) -> None:
        self.file = (folder or config_dir()) / "sign-in.json"

    def current(self) -> str | None:
        """The address that was signed in to last."""
        url = self._read().get("current")
        return url if isinstance(url, str) else None

    def token(self, url: str) -> str | None:
        """The token for an address, unless it has ended."""
        found = self._places().get(url, {})
        token, until = found.get("token"), found.get("expires_at")
        if not isinstance(token, str):
            return None
        if isinstance(until, str):
            ends = dt.datetime.fromisoformat(until)
            if ends <= dt.datetime.now(dt.UTC) + MARGIN:
                return None
        return token

    def save(self, url: str, session: dict[str, Any]) -> None:
        """Keep a sign-in; the file is whole at any time, and nobody else's to read."""
        kept = {"token": session["token"], "expires_at": session.get("expires_at")}
        kept["email"] = (session.get("user") or {}).get("email")
        self._write({"current": url, "addresses": self._places() | {url: kept}})

    def forget(self, url: str) -> None:
        """Drop the token for an address."""
        places = {known: kept for known, kept in self._places().items() if known != url}
        self._write({"current": url, "addresses": places})

    def _places(self) -> dict[str, dict[str, Any]]:
        found = self._read().get("addresses")
        return found if isinstance(found, dict) else {}

    def _read(self) -> dict[str, Any]:
        try:
            found = json.loads(self.file.read_text())
        except (OSError, ValueError):
            return {}
        return found if isinstance(found, dict) else {}

    def _write(self, content: dict[str, Any]) -> None:
        self.file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        draft = self.file.with_suffix(f".{os.getpid()}")
        with open(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as sink:
            json.dump(content, sink, indent=2)
        draft.replace(self.file)


@dataclass(frozen=True, slots=True)
class LocalRun:
    """The Liaison that `make run` has started here: its address and its administrator."""

    url: str
    administrator: Credentials

    @classmethod
    def find(cls) -> "LocalRun | None":
        """Look where `make run` keeps its data, from this folder upwards."""
        named = os.environ.get("LIAISON_RUN_DIR")
        here = Path.cwd()
        folders = [Path(named)] if named else [up / ".run" for up in (here, *here.parents)]
        for folder in folders:
            try:
                address = re.search(r"https?://\S+", (folder / "lock").read_text())
                password = os.environ.get("LIAISON_ADMIN_PASSWORD") or (
                    (folder / "admin_password").read_text().strip()
                )
            except OSError:
                continue
            if address and password:
                email = os.environ.get("LIAISON_ADMIN_EMAIL", "admin@example.com")
                return cls(address[0], Credentials(email, password))
        return None


def default_url() -> str:
    """The address to talk to when none is named."""
    named = os.environ.get("LIAISON_URL") or Kept().current()
    if named:
        return checked_url(named)
    local = LocalRun.find()
    return local.url if local else DEFAULT_URL


def credentials(url: str) -> Credentials | None:
    """An e-mail and a password that are at hand for this address, without asking anybody."""
    email = os.environ.get("LIAISON_EMAIL")
    password = os.environ.get("LIAISON_PASSWORD")
    if email and password:
        return Credentials(email, password)
    # The supervisor hands these to the programs that it starts.
    email = os.environ.get("LIAISON_ADMIN_EMAIL")
    password = os.environ.get("LIAISON_ADMIN_PASSWORD")
    if email and password and os.environ.get("LIAISON_URL", "").rstrip("/") == url:
        return Credentials(email, password)
    local = LocalRun.find()
    # This password is for this machine's own Liaison; it is never sent anywhere else.
    if local is not None and local.url == url and is_loopback(url):
        return local.administrator
    return None


def sign_in(url: str, who: Credentials) -> dict[str, Any]:
    """Sign in and keep the token; the answer has the user."""
    with Client(url) as client:
        session: dict[str, Any] = client.post(
            "/sign-in", {"email": who.email, "password": who.password}
        )
    Kept().save(url, session)
    return session


def connect(url: str | None = None) -> Client:
    """A client that is signed in; raises `SignInFirst` when there is nothing to sign in with."""
    url = checked_url(url) if url else default_url()
    if token := os.environ.get("LIAISON_TOKEN"):
        return Client(url, token)
    token = None if os.environ.get("LIAISON_PASSWORD") else Kept().token(url)
    renew = _renewal(url)
    token = token or renew()
    if token is None:
        raise SignInFirst(url)
    return Client(url, token, renew)


def _renewal(url: str) -> Callable[[], str | None]:
    def renew() -> str | None:
        who = credentials(url)
        if who is None:
            return None
        try:
            token: str = sign_in(url, who)["token"]
        except Refused as refused:
            if refused.problem.status == 401 and not os.environ.get("LIAISON_PASSWORD"):
                # A password that was found, not given: the person may sign in as somebody else.
                screen.note(f"{who.email} could not be signed in: {refused.problem.title}.")
                return None
            raise
        return token

    return renew
