"""Tenants: set up once with roles and an administrator, however often it is asked."""

import re
from uuid import UUID

from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from liaison_identity import audit, roles, users
from liaison_identity.models import Role, Tenant, User
from liaison_identity.standard_roles import STANDARD, Standard
from liaison_kit.context import NOBODY, Context, context
from liaison_kit.database.database import Database
from liaison_kit.events import emit
from liaison_kit.ids import uuid7
from liaison_kit.records.search import fold
from liaison_sdk.contracts import identity as contracts
from liaison_sdk.contracts.identity import (
    Administrator,
    Locale,
    NewRole,
    NewTenant,
    NewUser,
    TenantCreated,
)
from liaison_sdk.errors import InvalidInput


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
    row = session.scalars(select(Tenant).where(Tenant.id == context(session).tenant)).one()
    return contracts.Tenant.model_validate(row, from_attributes=True)


def slug_of(name: str) -> str:
    """A tenant's name as it is typed in addresses: `Hélios & Fils` becomes `helios-fils`."""
    slug = re.sub(r"[^a-z0-9]+", "-", fold(name)).strip("-")[:63].strip("-")
    if not slug:
        raise InvalidInput.field("slug", "missing", "This name makes no slug: give one")
    return slug


def _create(session: Session, new: NewTenant, slug: str) -> None:
    about = context(session)
    session.add(
        Tenant(id=about.tenant, name=new.name, slug=slug, active=True, created_at=about.now)
    )
    session.flush()
    audit.record(session, "tenant_created", "tenants", about.tenant, name=new.name)
    emit(
        session,
        TenantCreated(tenant_id=about.tenant, name=new.name, locale=new.administrator.locale),
    )
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
