"""The audit trail: who did what, when. Written in the transaction of the act, never changed."""

from typing import Any
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.orm import Session

from liaison_identity.models import Audit, User
from liaison_kit.context import context
from liaison_kit.ids import uuid7
from liaison_kit.records.recordtype import RecordType
from liaison_sdk.contracts import identity as contracts
from liaison_sdk.contracts.exports import ListExported
from liaison_sdk.labels import Label

# An entry is no record, but it is listed like one.
AUDIT = RecordType(
    "audit",
    Label(en="Audit trail", fr="Journal d'audit"),
    model=Audit,  # type: ignore[arg-type]
    shape=contracts.AuditEntry,
    columns={
        "by_name": select(User.name).where(User.id == Audit.by).correlate(Audit).scalar_subquery()
    },
    default_sort="-id",
)


_FAILED = text(
    "INSERT INTO audit (id, tenant_id, at, by, action, record, record_id, details)"
    " SELECT :id, :tenant, :now, NULL, 'sign_in_failed', 'users', :user, '{}'"
    " WHERE CAST(:user AS uuid) IS NOT NULL"
)


def failed_sign_in(session: Session, user: UUID | None) -> None:
    """Write a wrong password down; when nobody has the e-mail, the same statement runs."""
    about = context(session)
    session.execute(
        _FAILED, {"id": uuid7(), "tenant": about.tenant, "user": user, "now": about.now}
    )


def record(
    session: Session,
    action: str,
    record: str,
    record_id: UUID | None = None,
    *,
    by: UUID | None = None,
    **details: Any,
) -> None:
    """Write an entry; `by` is for who acts before anybody is signed in. Details hold no secrets."""
    about = context(session)
    session.add(
        Audit(
            tenant_id=about.tenant,
            at=about.now,
            by=by or about.user,
            action=action,
            record=record,
            record_id=record_id,
            details=details,
        )
    )


def exported(session: Session, event: ListExported) -> None:
    """Somebody has taken a list out as a file."""
    record(
        session,
        "list_exported",
        event.record,
        event.export_id,
        by=event.envelope.actor,
        format=event.format,
        filters=event.filters,
        fields=event.fields,
        rows=event.rows,
    )
