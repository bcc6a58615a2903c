"""Idempotency keys: the same key gets the first answer, also when both calls come at once.

A key is kept for a day.
"""

import datetime as dt
import hashlib
import hmac
import json
from typing import Any
from uuid import UUID

from sqlalchemy import Integer, LargeBinary, select, update
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.orm import Mapped, Session, mapped_column

from liaison_kit.calls.wire import Call, Reply
from liaison_kit.context import context
from liaison_kit.database.tables import Base, TenantRow
from liaison_kit.settings import settings
from liaison_sdk.errors import InvalidInput


class IdempotencyKey(TenantRow, Base):
    """A key that a caller has used, and what they were answered."""

    __tablename__ = "idempotency_keys"

    tenant_id: Mapped[UUID] = mapped_column(primary_key=True)
    user_id: Mapped[UUID] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    fingerprint: Mapped[str]
    status: Mapped[int | None] = mapped_column(Integer)
    headers: Mapped[dict[str, Any] | None] = mapped_column(JSONB)
    body: Mapped[bytes | None] = mapped_column(LargeBinary)
    created_at: Mapped[dt.datetime]


def claim(session: Session, key: str, operation: str, call: Call) -> Reply | None:
    """Take the key, or return the answer that its first use got.

    A second call waits here until the first one's transaction has ended. A key that comes back with
    another request is refused.
    """
    about = context(session)
    user = about.user or UUID(int=0)
    fingerprint = _fingerprint(operation, call)
    taken = session.execute(
        insert(IdempotencyKey)
        .values(
            tenant_id=about.tenant,
            user_id=user,
            key=key,
            fingerprint=fingerprint,
            created_at=about.now,
        )
        .on_conflict_do_nothing()
        .returning(IdempotencyKey.key)
    ).first()
    if taken is not None:
        return None
    first = session.execute(
        select(IdempotencyKey).where(IdempotencyKey.user_id == user, IdempotencyKey.key == key)
    ).scalar_one()
    if first.fingerprint != fingerprint:
        raise InvalidInput.field(
            "Idempotency-Key", "reused", "This key was used for another request"
        )
    headers = dict(first.headers or {})
    content_type = headers.pop("content-type", "application/json")
    return Reply(first.status or 200, first.body or b"", headers, content_type)


def _fingerprint(operation: str, call: Call) -> str:
    """What tells a request from another one: all that the operation is given, as it is given it."""
    meta = call.meta
    asked = [meta.get("path"), meta.get("query")]
    extra = {name: meta[name] for name in ("if_match", "upload") if meta.get(name) is not None}
    upload = extra.get("upload")
    if upload is not None and "sha256" in upload:
        # The same file sent again is stored under another id.
        extra["upload"] = {name: value for name, value in upload.items() if name != "id"}
    target = json.dumps([*asked, extra] if extra else asked, sort_keys=True)
    # Keyed, since a body may hold a secret that a plain hash would let somebody guess at.
    secret = settings().secret_key.get_secret_value().encode()
    text = f"{operation}\n{target}\n".encode() + call.body
    return hmac.new(secret, text, hashlib.sha256).hexdigest()


def remember(session: Session, key: str, reply: Reply) -> None:
    """Keep the answer beside the change that it tells of, in the same transaction."""
    user = context(session).user or UUID(int=0)
    session.flush()
    session.execute(
        update(IdempotencyKey)
        .where(IdempotencyKey.user_id == user, IdempotencyKey.key == key)
        .values(
            status=reply.status,
            headers={**reply.headers, "content-type": reply.content_type},
            body=reply.body,
        )
    )
