"""Which queues a handler has: remembered in the service's database, since a broker lists none.

A generation is a number of shards and a type of queue. A process that starts with other settings
than the latest generation's begins the next one, and every process of the service follows. The
queues of the generations before are unbound once the latest's are bound, worked off, oldest first,
and deleted; only then is the latest worked on. What was told while both were bound is in both, and
the inbox drops copies: nothing is lost and each record's order is kept.

A handler that no release has any more has queues that nobody attends to. They are named by a
metric, and an operator forgets them (`python -m liaison_kit.forget`): the release before, if it
comes back, still wants what they hold.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pika
from pika.exceptions import ChannelClosedByBroker
from sqlalchemy import text

from liaison_kit.database.database import Database
from liaison_kit.events.outbox import SLOTS, slot
from liaison_kit.settings import settings

UNATTENDED_S = 300
"""After so long without any process that knows the handler, its queues count as unattended."""

DELIVERY_LIMIT = 1_000_000_000
"""How often a quorum queue delivers a message again. Beyond it would drop the message, and every
message in hand is returned, and counted, when a channel ends. Without a limit RabbitMQ 4 takes 20;
with none at all it returns messages to the tail, out of their order."""

_CHUNK = 500


@dataclass(frozen=True, slots=True)
class QueuePlan:
    """One queue: what it is called, what it is bound to, where its retries wait."""

    name: str
    queue_type: str
    exchange: str
    keys: tuple[str, ...]
    delays: tuple[float, ...]

    def declare(self, channel: Any) -> None:
        """Have the queue, its retry queues and its bindings."""
        kind: dict[str, Any] = {"x-queue-type": self.queue_type}
        quorum = self.queue_type == "quorum"
        own: dict[str, Any] = {"x-single-active-consumer": True}
        if quorum:
            own["x-delivery-limit"] = DELIVERY_LIMIT
        channel.queue_declare(self.name, durable=True, arguments=kind | own)
        # Being dead-lettered must not lose a message when a node of the cluster dies.
        sure = {"x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}
        for delay in self.delays:
            back = {
                "x-message-ttl": int(delay * 1000),
                "x-dead-letter-exchange": "",
                "x-dead-letter-routing-key": self.name,
            }
            channel.queue_declare(
                retry_queue(self.name, delay),
                durable=True,
                arguments=kind | back | (sure if quorum else {}),
            )
        if settings().declare_exchanges:
            channel.exchange_declare(self.exchange, "topic", durable=True)
        for key in self.keys:
            channel.queue_bind(self.name, self.exchange, key)

    def unbind(self, channel: Any) -> None:
        """Have nothing more come from the exchange."""
        for key in self.keys:
            channel.queue_unbind(self.name, self.exchange, key)

    def delete(self, channel: Any) -> None:
        """Do away with the queue, its retry queues and what they hold."""
        for delay in self.delays:
            channel.queue_delete(retry_queue(self.name, delay))
        channel.queue_delete(self.name)


@dataclass(frozen=True, slots=True)
class Generation:
    """The queues that a handler has, or had, with one choice of settings."""

    service: str
    handler: str
    number: int
    shards: int
    queue_type: str
    exchange: str
    types: tuple[str, ...]
    delays: tuple[float, ...] = field(compare=False)

    def queues(self) -> Iterator[QueuePlan]:
        """Its queues: one, or one per shard."""
        for shard in range(self.shards):
            slots = (
                ["*"] if self.shards == 1 else [str(s) for s in range(shard, SLOTS, self.shards)]
            )
            keys = tuple(f"{kind}.{one}" for kind in self.types for one in slots)
            yield QueuePlan(self._name(shard), self.queue_type, self.exchange, keys, self.delays)

    def home(self, key: str) -> str:
        """In which of its queues the events of a key are."""
        return self._name(slot(key) % self.shards)

    def _name(self, shard: int) -> str:
        # Names are never used again: what an old queue holds comes before what a new one does.
        parts = [self.service, self.handler]
        if self.number > 1:
            parts.append(f"g{self.number}")
        if self.shards > 1:
            parts.append(str(shard))
        return ".".join(parts)


def retry_queue(queue: str, delay: float) -> str:
    """The name of the queue in which messages wait `delay` seconds before they come back."""
    for unit, name in ((3600.0, "h"), (60.0, "m"), (1.0, "s")):
        if delay >= unit and delay % unit == 0:
            return f"{queue}.retry.{int(delay // unit)}{name}"
    return f"{queue}.retry.{int(delay * 1000)}ms"


def begin(db: Database, wished: Sequence[Generation]) -> None:
    """Have these be the latest generations of their handlers, as a process starts."""
    with db.connection() as connection:
        connection.execute(_LOCK)
        for wish in wished:
            latest = connection.execute(_LATEST, {"handler": wish.handler}).one_or_none()
            shape = (wish.shards, wish.queue_type, wish.exchange)
            if latest is None or tuple(latest[1:]) != shape:
                number = latest.generation + 1 if latest else wish.number
                connection.execute(_BEGIN, _facts(wish) | {"number": number})
            else:
                connection.execute(_ADD_TYPES, _facts(wish) | {"number": latest.generation})
        connection.commit()


def known(
    db: Database,
    service: str,
    handlers: Sequence[str],
    delays: tuple[float, ...],
    *,
    attend: bool = True,
) -> dict[str, list[Generation]]:
    """The generations of some handlers, oldest first; says that somebody attends to them."""
    found: dict[str, list[Generation]] = {handler: [] for handler in handlers}
    with db.connection() as connection:
        rows = connection.execute(_KNOWN, {"handlers": list(handlers)}).all()
        if attend and any(row.unseen for row in rows):
            connection.execute(_ATTENDED, {"handlers": list(handlers)})
        connection.commit()
    for row in rows:
        handler, number, shards, queue_type, exchange, types, _unseen = row
        found[handler].append(
            Generation(service, handler, number, shards, queue_type, exchange, tuple(types), delays)
        )
    return found


def bring_home(db: Database, latest: Generation) -> None:
    """Have the failed events of a handler come back to its latest queues.

    Messages that were on their way to another queue are sent again when they are overdue.
    """
    homes = [plan.name for plan in latest.queues()]
    with db.connection() as connection:
        while rows := connection.execute(
            _STRAY, {"handler": latest.handler, "homes": homes, "limit": _CHUNK}
        ).all():
            facts = {
                "ids": [str(id) for id, _key in rows],
                "homes": [latest.home(key) for _id, key in rows],
            }
            connection.execute(_MOVE, facts)
            connection.commit()


def end(db: Database, generation: Generation) -> None:
    """Forget a generation whose queues are no more."""
    facts = {"handler": generation.handler, "number": generation.number}
    with db.connection() as connection:
        connection.execute(_END, facts)
        connection.commit()


def counts(broker: pika.BlockingConnection, queue: str) -> tuple[int, int] | None:
    """How many messages wait in a queue and how many consume it; None where there is no queue."""
    channel = broker.channel()
    try:
        declared = channel.queue_declare(queue, passive=True).method
    except ChannelClosedByBroker:
        return None
    channel.close()
    return declared.message_count, declared.consumer_count


def forget(
    db: Database, service: str, handler: str, amqp_url: str, delays: tuple[float, ...] = ()
) -> int:
    """Delete the queues of a handler that no release has any more; how many messages they held.

    What it has failed on goes with them.
    """
    gone = known(db, service, [handler], delays, attend=False)[handler]
    if not gone:
        raise UnknownHandler(handler)
    with db.connection() as connection:
        if connection.execute(_IS_ATTENDED, {"handler": handler}).scalar():
            raise StillAttended(handler)
    thrown_away = 0
    with pika.BlockingConnection(pika.URLParameters(amqp_url)) as broker:
        channel = broker.channel()
        for generation in gone:
            for plan in generation.queues():
                thrown_away += (counts(broker, plan.name) or (0, 0))[0]
                plan.delete(channel)
    with db.connection() as connection:
        connection.execute(_FORGET, {"handler": handler})
        connection.commit()
    return thrown_away


class UnknownHandler(Exception):
    """There never was such a handler, or it is forgotten."""

    def __init__(self, handler: str) -> None:
        super().__init__(f"no queues of a handler {handler} are known")


class StillAttended(Exception):
    """A process has worked on the handler's queues within the last minutes."""

    def __init__(self, handler: str) -> None:
        super().__init__(
            f"{handler} is still handled: its queues can be forgotten"
            f" {UNATTENDED_S // 60} minutes after the last process that knows it has ended"
        )


def _facts(generation: Generation) -> dict[str, Any]:
    return {
        "handler": generation.handler,
        "shards": generation.shards,
        "type": generation.queue_type,
        "exchange": generation.exchange,
        "types": list(generation.types),
    }


_LOCK = text("SELECT pg_advisory_xact_lock(hashtext('liaison.event_queues'))")
_LATEST = text("""
SELECT generation, shards, queue_type, exchange FROM event_queues
WHERE handler = :handler ORDER BY generation DESC LIMIT 1
""")
_BEGIN = text("""
INSERT INTO event_queues (handler, generation, shards, queue_type, exchange, types)
VALUES (:handler, :number, :shards, :type, :exchange, CAST(:types AS text[]))
""")
# A release that has more types binds more; the one before keeps what it has bound.
_ADD_TYPES = text("""
UPDATE event_queues SET types = ARRAY(
    SELECT DISTINCT t FROM unnest(types || CAST(:types AS text[])) AS t ORDER BY t
)
WHERE handler = :handler AND generation = :number AND NOT types @> CAST(:types AS text[])
""")
_KNOWN = text("""
SELECT handler, generation, shards, queue_type, exchange, types,
    attended_at < now() - interval '1 minute' AS unseen
FROM event_queues WHERE handler = ANY(:handlers) ORDER BY handler, generation
""")
_ATTENDED = text("""
UPDATE event_queues SET attended_at = now()
WHERE handler = ANY(:handlers) AND attended_at < now() - interval '1 minute'
""")
_STRAY = text("""
SELECT id, key FROM failed_events
WHERE handler = :handler AND queue <> ALL(:homes) ORDER BY id LIMIT :limit
""")
_MOVE = text("""
UPDATE failed_events AS f SET queue = moved.home
FROM unnest(CAST(:ids AS uuid[]), CAST(:homes AS text[])) AS moved (id, home) WHERE f.id = moved.id
""")
_IS_ATTENDED = text(f"""
SELECT max(attended_at) > now() - interval '{UNATTENDED_S} seconds' FROM event_queues
WHERE handler = :handler
""")
_FORGET = text("""
WITH failed AS (DELETE FROM failed_events WHERE handler = :handler)
DELETE FROM event_queues WHERE handler = :handler
""")
_END = text("DELETE FROM event_queues WHERE handler = :handler AND generation = :number")
