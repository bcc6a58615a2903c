"""Tenants: set up once with roles and an administrator, however often it is asked; then changed."""

import re
from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Select, select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from liaison_identity import audit, roles, users
from liaison_identity.models import Role, Tenant, User
from liaison_identity.standard_roles import STANDARD, Standard
from liaison_kit.context import NOBODY, Context, context
from liaison_kit.database.database import Database
from liaison_kit.events import emit
from liaison_kit.ids import uuid7
from liaison_kit.records.recordtype import RecordType
from liaison_kit.records.search import fold
from liaison_sdk.contracts import identity as contracts
from liaison_sdk.contracts.identity import (
    Administrator,
    Locale,
    NewRole,
    NewTenant,
    NewUser,
    TenantChanges,
    TenantCreated,
    TenantRef,
    TenantSaved,
)
from liaison_sdk.errors import InvalidInput, StaleVersion
from liaison_sdk.labels import Label

# A tenant is no record of its own, but it is told of like one.
TENANT = RecordType(
    "tenants",
    Label(en="Organisation", fr="Organisation"),
    model=Tenant,  # type: ignore[arg-type]
    shape=contracts.Tenant,
)


def bootstrap(db: Database, new: NewTenant) -> contracts.Tenant:
    """The tenant, its standard roles and its administrator; what is there already stays."""
    slug = new.slug or slug_of(new.name)
    with db.reading(Context(tenant=NOBODY)) as session:
        id = session.scalar(text("SELECT tenant_of_slug(:slug)"), {"slug": slug})
    if id is None:
        id = uuid7()
        try:
            with db.writing(Context(tenant=id)) as session:
                _create(session, new, slug)
        except IntegrityError as error:
            if "uq_tenants_slug" not in str(error.orig):
                raise
            # Somebody else set it up at the same moment.
            return bootstrap(db, new)
    else:
        with db.writing(Context(tenant=id)) as session:
            _complete(session, new.administrator)
    with db.reading(Context(tenant=id)) as session:
        return here(session)


def here(session: Session) -> contracts.Tenant:
    """The tenant that this session works for."""
    return _shape(session.scalars(_own(session)).one())


def change(session: Session, changes: TenantChanges, version: int) -> contracts.Tenant:
    """Set what is sent of the tenant that this session works for, and tell everybody."""
    about = context(session)
    row = session.scalars(_own(session).with_for_update()).one()
    if row.version != version:
        raise StaleVersion(
            f"You changed version {version}; it is at version {row.version} now",
            _shape(row).model_dump_json().encode(),
        )
    wanted = {name: getattr(changes, name) for name in changes.model_fields_set}
    changed = {
        name: [getattr(row, name), value]
        for name, value in wanted.items()
        if getattr(row, name) != value
    }
    if not changed:
        return _shape(row)
    for name, (_, value) in changed.items():
        setattr(row, name, value)
    row.version, row.updated_at, row.updated_by = version + 1, about.now, about.user
    audit.record(session, "tenant_changed", TENANT.name, row.id, changes=changed)
    _tell(session, row)
    return _shape(row)


def tell(session: Session, ids: Sequence[UUID]) -> None:
    """Tell what there is of these tenants, of which the session sees its own only."""
    for row in session.scalars(select(Tenant).where(Tenant.id.in_(ids))):
        _tell(session, row)


def tell_removed(session: Session, ids: Sequence[UUID]) -> None:
    """No tenant is ever removed."""
    assert not ids


def _tell(session: Session, row: Tenant) -> None:
    told = TenantRef.model_validate(row, from_attributes=True)
    emit(session, TenantSaved(tenant_id=row.id, tenant=told))


def _own(session: Session) -> Select[Tenant]:
    return select(Tenant).where(Tenant.id == context(session).tenant)


def _shape(row: Tenant) -> contracts.Tenant:
    return contracts.Tenant.model_validate(row, from_attributes=True)


def slug_of(name: str) -> str:
    """A tenant's name as it is typed in addresses: `Hélios & Fils` becomes `helios-fils`."""
    slug = re.sub(r"[^a-z0-9]+", "-", fold(name)).strip("-")[:63].strip("-")
    if not slug:
        raise InvalidInput.field("slug", "missing", "This name makes no slug: give one")
    return slug


def _create(session: Session, new: NewTenant, slug: str) -> None:
    about = context(session)
    row = Tenant(
        id=about.tenant,
        name=new.name,
        slug=slug,
        active=True,
        time_zone=new.time_zone,
        country=new.country,
        currency=new.currency,
        language=new.language or new.administrator.locale,
        version=1,
        created_at=about.now,
        updated_at=about.now,
        updated_by=None,
    )
    session.add(row)
    session.flush()
    audit.record(session, "tenant_created", "tenants", about.tenant, name=new.name)
    emit(
        session,
        TenantCreated(tenant_id=about.tenant, name=new.name, locale=new.administrator.locale),
    )
    _tell(session, row)
    _complete(session, new.administrator)


def _complete(session: Session, administrator: Administrator) -> None:
    """Add the standard roles and the administrator where they are missing."""
    # Two set-ups of one tenant at once take turns.
    session.execute(select(Tenant.id).where(Tenant.id == context(session).tenant).with_for_update())
    rows = session.execute(
        select(Role.external_id, Role.id).where(
            Role.external_id.in_([role.key for role in STANDARD])
        )
    )
    known = {row.external_id: row.id for row in rows}
    for role in STANDARD:
        if role.key not in known:
            known[role.key] = _add_role(session, role, administrator.locale)
    found = session.scalar(select(User.id).where(User.email == administrator.email))
    if found is None:
        users.create(
            session,
            NewUser(
                name=administrator.name,
                email=administrator.email,
                password=administrator.password,
                role_ids=[known["administrator"]],
                locale=administrator.locale,
            ),
        )


def _add_role(session: Session, role: Standard, locale: Locale) -> UUID:
    row = roles.create(
        session,
        NewRole(
            name=role.fr if locale == "fr" else role.en,
            permissions=list(role.permissions),
            rows=role.rows,
            external_id=role.key,
        ),
    )
    return row.id
