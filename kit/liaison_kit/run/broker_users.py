"""The broker's users: each service may write and read only what is its own.

A service publishes its own events and announcements, takes its own calls, hears the events of those
that it says it hears (`HEARS`), and calls those that it says it asks (`ASKS`; both are in the
package's `__init__`). RabbitMQ refuses the rest. Replies go to whoever asked, by the default
exchange, which leads into every queue; therefore nothing that comes that way is believed unless it
is signed.
"""

import base64
import hashlib
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from liaison_kit.database.migrations import services

CALLS, ANNOUNCEMENTS, DISCOVERY = "nameko-rpc", "liaison.manifests", "liaison.discovery"
ONLOOKERS = "liaison.onlookers"
GATEWAY = "gateway"
VHOST = "/"


@dataclass(frozen=True, slots=True)
class Needs:
    """What a service has to do with others on the bus."""

    service: str
    hears: tuple[str, ...]
    asks: tuple[str, ...]


def installed() -> list[Needs]:
    """The needs of every installed service, as its package says them."""
    found = []
    for name, place in sorted(services().items()):
        package = import_module(place.partition(".")[0])
        found.append(Needs(name, tuple(package.HEARS), tuple(package.ASKS)))
    return found


def definitions(needs: Sequence[Needs], passwords: dict[str, str], admin: str) -> dict[str, Any]:
    """What RabbitMQ is to load at its start: users, what each may do, and the shared exchanges."""
    sources = {need.service for need in needs} | {name for need in needs for name in need.hears}
    users = [_user("liaison", admin, "administrator")]
    users += [_user(party, password) for party, password in sorted(passwords.items())]
    rights = [_right("liaison", ".*", ".*", ".*")]
    topics = []
    if GATEWAY in passwords:
        rights.append(_gateways_right())
        topics.append(_topic(GATEWAY, ".*", "^$"))
    for need in (need for need in needs if need.service in passwords):
        name = need.service
        own = [rf"{name}\..*", rf"rpc-{name}(\..*)?", rf"discovery-{name}-.*"]
        heard = [rf"{source}\.events" for source in need.hears]
        asked = [CALLS] if need.asks else []
        told = [ANNOUNCEMENTS, r"amq\.default"]
        rights.append(
            _right(
                name,
                configure=_any(own),
                write=_any([*own, *told, *asked]),
                read=_any([*own, *heard, CALLS, DISCOVERY]),
            )
        )
        may_ask = _any(rf"{asked}\..*" for asked in need.asks) if need.asks else "^$"
        topics.append(_topic(name, may_ask, _any([rf"{name}\..*"])))
    return {
        "vhosts": [{"name": VHOST}],
        "users": users,
        "permissions": rights,
        "topic_permissions": topics,
        "exchanges": [
            _exchange(CALLS, "topic"),
            _exchange(ANNOUNCEMENTS, "fanout"),
            _exchange(DISCOVERY, "fanout"),
            _exchange(ONLOOKERS, "fanout"),
            *(_exchange(f"{source}.events", "topic") for source in sorted(sources)),
        ],
    }


def _gateways_right() -> dict[str, str]:
    queues = r"amq\.gen.*"
    return _right(
        GATEWAY,
        configure=_any([queues]),
        write=_any([queues, CALLS, DISCOVERY, ONLOOKERS]),
        read=_any([queues, ANNOUNCEMENTS, ONLOOKERS, r"[a-z_]+\.events"]),
    )


def _any(patterns: Iterable[str]) -> str:
    return "^(" + "|".join(patterns) + ")$"


def _right(user: str, configure: str, write: str, read: str) -> dict[str, str]:
    return {"user": user, "vhost": VHOST, "configure": configure, "write": write, "read": read}


def _topic(user: str, write: str, read: str) -> dict[str, str]:
    return {"user": user, "vhost": VHOST, "exchange": CALLS, "write": write, "read": read}


def _exchange(name: str, kind: str) -> dict[str, Any]:
    return {
        "name": name,
        "vhost": VHOST,
        "type": kind,
        "durable": True,
        "auto_delete": False,
        "internal": False,
        "arguments": {},
    }


def _user(name: str, password: str, tags: str = "") -> dict[str, str]:
    salt = os.urandom(4)
    hashed = salt + hashlib.sha256(salt + password.encode()).digest()
    return {
        "name": name,
        "password_hash": base64.b64encode(hashed).decode(),
        "hashing_algorithm": "rabbit_password_hashing_sha256",
        "tags": tags,
    }
