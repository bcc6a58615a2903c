"""Saved views: questions that people keep, for themselves, for their team, for everybody.

A view holds the question only. Who asks it is answered by the module whose records they are, as
far as they may see those; that module also says what of a question means nothing (any more).
"""

import json
from contextlib import suppress
from typing import Any
from urllib.parse import parse_qsl
from uuid import UUID

from sqlalchemy import ColumnElement, Select, and_, delete, func, or_, select, tuple_, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from liaison_identity.models import SavedView, Team, User, ViewChoice
from liaison_kit.conditions.reading import DEEPEST, LONGEST, MOST_RULES
from liaison_kit.context import context
from liaison_kit.ids import uuid7
from liaison_kit.listing.asked import Page
from liaison_sdk.contracts import desk
from liaison_sdk.contracts.desk import NewView, Share, ViewChanges, ViewOrder
from liaison_sdk.errors import Conflict, Forbidden, InvalidInput, NotFound, StaleVersion

MOST = 200
"""So many views a user may own, and so many are shown of a kind of record on one page."""
SHARE, ADMINISTER = "views:share", "views:write"
_LAST = 2**31
_NOT_ASKED = {"sort", "limit", "cursor", "count", "where"}


class BadCondition(InvalidInput):
    """A condition whose form can't be right, whatever it is about."""

    code, title = "bad_condition", "This condition can't be kept"


class NoTeam(InvalidInput):
    """A view is shared with one's team, and there is none."""

    code, title = "no_team", "You are in no team"


class NotYours(Forbidden):
    """Who shares a view decides what it asks."""

    code, title = "not_yours", "This view is somebody else's"


class TooManyViews(Conflict):
    """The user has as many views as anybody may have; delete one first."""

    code, title = "too_many_views", "You have too many views"


class NoSuchView(NotFound):
    """There is none, or it is not shared with the caller."""

    title = "There is no such view"


# --- asking ---------------------------------------------------------------------------------------


def page(session: Session, record: str | None, limit: int, cursor: UUID | None) -> Page[desk.View]:
    """The caller's own and those that are shared with them, in the order that they gave them."""
    wanted = _shown(session)
    order = tuple_(func.coalesce(ViewChoice.position, _LAST), SavedView.name, SavedView.id)
    if record is not None:
        wanted = wanted.where(SavedView.record == record)
    if cursor is not None:
        last = _shown(session).where(SavedView.id == cursor)
        found = session.execute(last.with_only_columns(*order.clauses)).one_or_none()
        if found is None:
            said = "The view that this page begins behind is gone: begin again"
            raise InvalidInput.field("cursor", "gone", said)
        wanted = wanted.where(order > tuple_(*found))
    rows = session.execute(wanted.order_by(*order.clauses).limit(limit + 1)).all()
    items = [_shape(*row) for row in rows[:limit]]
    return Page[desk.View](items=items, next=str(items[-1].id) if len(rows) > limit else None)


def one(session: Session, id: UUID) -> desk.View:
    """A view of the caller's own, or one that is shared with them."""
    session.flush()
    found = session.execute(_shown(session).where(SavedView.id == id)).one_or_none()
    if found is None:
        raise NoSuchView()
    return _shape(*found)


def _shown(session: Session) -> Select[SavedView, int | None, bool]:
    mine = and_(ViewChoice.view_id == SavedView.id, ViewChoice.user_id == context(session).user)
    chosen = select(SavedView, ViewChoice.position, ViewChoice.is_default)
    return chosen.outerjoin(ViewChoice, mine).where(_seen(session))


def _seen(session: Session) -> ColumnElement[bool]:
    user = context(session).user
    team = select(User.team_id).where(User.id == user).scalar_subquery()
    managed = select(Team.id).where(Team.manager_id == user)
    with_team = or_(SavedView.team_id == team, SavedView.team_id.in_(managed))
    return or_(
        SavedView.owner_id == user,
        SavedView.share == "all",
        and_(SavedView.share == "team", with_team),
    )


# --- keeping --------------------------------------------------------------------------------------


def create(session: Session, new: NewView) -> UUID:
    """Save a view of the caller's own."""
    about = context(session)
    assert about.user is not None
    _check(new.query, new.where)
    # Those who save several at once take turns.
    session.execute(select(User.id).where(User.id == about.user).with_for_update(key_share=True))
    owned = session.scalar(select(func.count()).where(SavedView.owner_id == about.user)) or 0
    if owned >= MOST:
        raise TooManyViews(f"You have {owned} views: delete one that you don't need any more")
    row = SavedView(
        id=uuid7(),
        tenant_id=about.tenant,
        owner_id=about.user,
        team_id=_team_for(session, new.share),
        condition=new.where,
        version=1,
        created_at=about.now,
        updated_at=about.now,
        **new.model_dump(exclude={"where"}),
    )
    session.add(row)
    session.flush()
    return row.id


def change(session: Session, id: UUID, changes: ViewChanges, version: int) -> None:
    """Set what is sent of a view that the caller owns, or administers."""
    row = _to_change(session, id, version)
    values = {name: getattr(changes, name) for name in changes.model_fields_set}
    _check(values.get("query", row.query), values.get("where", row.condition))
    if "where" in values:
        values["condition"] = values.pop("where")
    share = values.get("share", row.share)
    if share != row.share:
        if share == "own" and row.owner_id != context(session).user:
            raise NotYours("Only its owner can take it back for themselves")
        values["team_id"] = _team_for(session, share)
    changed = {name: value for name, value in values.items() if getattr(row, name) != value}
    if not changed:
        return
    for name, value in changed.items():
        setattr(row, name, value)
    row.version, row.updated_at = version + 1, context(session).now


def remove(session: Session, id: UUID, version: int) -> None:
    """Delete a view that the caller owns, or administers."""
    session.delete(_to_change(session, id, version))


def _to_change(session: Session, id: UUID, version: int) -> SavedView:
    found = select(SavedView).where(SavedView.id == id, _seen(session))
    row = session.scalar(found.with_for_update())
    if row is None:
        raise NoSuchView()
    principal = context(session).principal
    assert principal is not None
    if row.owner_id != principal.user and not principal.may(ADMINISTER):
        raise NotYours(f"Its owner changes it, and who has {ADMINISTER}")
    if row.version != version:
        current = one(session, id).model_dump_json().encode()
        said = f"You changed version {version}; it is at version {row.version} now"
        raise StaleVersion(said, current)
    return row


def _team_for(session: Session, share: Share) -> UUID | None:
    """The team that a view is shared with, if the caller may share it so."""
    if share == "own":
        return None
    principal = context(session).principal
    assert principal is not None
    principal.demand(SHARE)
    if share == "all":
        return None
    team = session.scalar(select(User.team_id).where(User.id == principal.user))
    if team is None:
        raise NoTeam.field("share", "no_team", "You are in no team: share it with everybody")
    return team


def _check(query: str, where: Any) -> None:
    """Raise unless the question has a form that some list may take; its meaning is the list's."""
    named = {name for name, _ in parse_qsl(query, keep_blank_values=True)}
    if others := sorted(named & _NOT_ASKED):
        said = f"{', '.join(others)} is no filter: a view has its sort and where beside its query"
        raise InvalidInput.field("query", "no_filter", said)
    if where is None:
        return
    written = _written(where)
    if len(written) > LONGEST:
        raise BadCondition.field("where", "too_long", f"It has at most {LONGEST} characters")
    level, depth, rules = [where], 0, 0
    while level:
        depth += 1
        if depth > DEEPEST + 1:
            raise BadCondition.field("where", "too_deep", f"Groups lie {DEEPEST} deep at most")
        below = []
        for part in level:
            if not isinstance(part, dict):
                raise BadCondition.field("where", "no_rule", "Rules and groups are objects")
            inside = part.get("rules")
            if isinstance(inside, list):
                below += inside
            elif "field" in part and "operator" in part:
                rules += 1
            else:
                said = "A rule has a field and an operator, a group has a combinator and rules"
                raise BadCondition.field("where", "no_rule", said)
        if rules + len(below) > MOST_RULES:
            raise BadCondition.field("where", "too_many", f"It has at most {MOST_RULES} rules")
        level = below


def _written(where: Any) -> str:
    """A condition as it is kept: PostgreSQL has no NUL, and JSON no NaN."""
    written = None
    with suppress(ValueError):
        written = json.dumps(where, allow_nan=False)
    if written is None or "\\u0000" in written:
        said = "There are characters or numbers in it that no record can have"
        raise BadCondition.field("where", "no_text", said)
    return written


# --- among a person's own -------------------------------------------------------------------------


def arrange(session: Session, order: ViewOrder) -> None:
    """Have the caller's views of a kind of record come in this order."""
    ids = list(dict.fromkeys(order.ids))
    seen = select(SavedView.id).where(SavedView.record == order.record, _seen(session))
    there = set(session.scalars(seen.where(SavedView.id.in_(ids))))
    if missing := [n for n, id in enumerate(ids) if id not in there]:
        said = f"There is no such view of {order.record}"
        raise InvalidInput.field(f"ids.{missing[0]}", "unknown_view", said)
    _lock(session)
    mine = [ViewChoice.user_id == context(session).user, ViewChoice.record == order.record]
    session.execute(update(ViewChoice).where(*mine).values(position=None))
    for position, id in enumerate(ids):
        _choose(session, id, order.record, position=position)


def begin_with(session: Session, id: UUID) -> None:
    """Have the caller begin with this view when they come to records of its kind."""
    view = one(session, id)
    _lock(session)
    _forget_default(session, ViewChoice.record == view.record)
    _choose(session, id, view.record, is_default=True)


def begin_without(session: Session, id: UUID) -> None:
    """Have the caller begin with this view no more."""
    _forget_default(session, ViewChoice.view_id == id)


def _forget_default(session: Session, which: ColumnElement[bool]) -> None:
    mine = ViewChoice.user_id == context(session).user
    session.execute(update(ViewChoice).where(mine, which).values(is_default=False))


def _lock(session: Session) -> None:
    # What one person does twice at once is done one after the other.
    me = select(User.id).where(User.id == context(session).user)
    session.execute(me.with_for_update(key_share=True))


def _choose(session: Session, id: UUID, record: str, **values: Any) -> None:
    about = context(session)
    row = {"user_id": about.user, "view_id": id, "tenant_id": about.tenant, "record": record}
    given = insert(ViewChoice).values({**row, "is_default": False, **values})
    same = [ViewChoice.user_id, ViewChoice.view_id]
    session.execute(given.on_conflict_do_update(index_elements=same, set_=values))


# --- when somebody goes ---------------------------------------------------------------------------


def owner_left(session: Session, user: UUID) -> None:
    """A user is removed: what they shared stays their team's or everybody's, the rest goes."""
    theirs = SavedView.owner_id == user
    session.execute(delete(SavedView).where(theirs, SavedView.share == "own"))
    session.execute(update(SavedView).where(theirs).values(owner_id=None))


def team_left(session: Session, team: UUID) -> None:
    """A team is removed: its views are their owners' again; those of nobody go."""
    its = SavedView.team_id == team
    session.execute(delete(SavedView).where(its, SavedView.owner_id.is_(None)))
    session.execute(update(SavedView).where(its).values(share="own", team_id=None))


def _shape(row: SavedView, position: int | None, is_default: bool | None) -> desk.View:
    beside: dict[str, Any] = {
        "where": row.condition,
        "position": position,
        "is_default": bool(is_default),
    }
    own = desk.View.model_fields.keys() - beside.keys()
    return desk.View(**{name: getattr(row, name) for name in own}, **beside)
