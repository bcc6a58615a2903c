"""Custom fields: what a tenant adds to a kind of record, typed, validated and filterable."""

import datetime as dt
import operator as operators
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from dataclasses import field as part
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID, uuid5

from pydantic import BaseModel, Field
from pydantic_core import to_json
from sqlalchemy import (
    BindParameter,
    Boolean,
    ColumnElement,
    Numeric,
    Table,
    Text,
    bindparam,
    case,
    cast,
    collate,
    func,
    select,
    text,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, Session, mapped_column

from liaison_kit.context import context
from liaison_kit.database.tables import Base, TenantRow
from liaison_kit.ids import uuid7
from liaison_kit.records.operators import operators_of
from liaison_sdk.errors import Conflict, FieldError, InvalidInput, NotFound, StaleVersion
from liaison_sdk.labels import Label
from liaison_sdk.texts import is_blank
from liaison_sdk.types import Closed, Code, Name, field

if TYPE_CHECKING:
    from liaison_kit.records.recordtype import FieldKind, RecordType

CustomKind = Literal["text", "number", "date", "boolean", "choice"]

CONDITION_KINDS: Mapping[str, "FieldKind"] = {
    "text": "text",
    "choice": "text",
    "number": "decimal",
    "date": "date",
    "boolean": "boolean",
}
"""As which kind of field a condition takes each of them."""

_ORDERED: dict[str, Callable[[Any, Any], ColumnElement[bool]]] = {
    "gt": operators.gt,
    "gte": operators.ge,
    "lt": operators.lt,
    "lte": operators.le,
}
_COMPARED: dict[str, Callable[[Any, Any], ColumnElement[bool]]] = {
    "eq": operators.eq,
    "ne": operators.ne,
    **_ORDERED,
}


class CustomField(TenantRow, Base):
    """A field that a tenant has added to a kind of record."""

    __tablename__ = "custom_fields"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    record: Mapped[str]
    name: Mapped[str]
    kind: Mapped[str]
    label_en: Mapped[str]
    label_fr: Mapped[str]
    choices: Mapped[list[str]] = mapped_column(ARRAY(Text))
    required: Mapped[bool]
    personal: Mapped[bool]
    created_at: Mapped[dt.datetime]
    choice_labels: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict, server_default="{}")
    version: Mapped[int] = mapped_column(default=1, server_default="1")
    updated_at: Mapped[dt.datetime | None]
    removed_at: Mapped[dt.datetime | None]
    """Since when it is hidden: its row goes when the last record has lost its value."""
    swept_to: Mapped[UUID | None]


@dataclass(frozen=True, slots=True)
class PluginField:
    """A field that a plugin has added to a kind of record, of every tenant."""

    record: str
    name: str
    kind: str
    label: Label
    choices: list[str]
    personal: bool
    plugin: str
    section: Label | None
    required: bool = False
    choice_labels: Mapping[str, Any] = part(default_factory=dict)
    version: int = 1

    @property
    def id(self) -> UUID:
        """The same for ever, since it has no row."""
        return uuid5(_PLUGINS, f"{self.record}.{self.name}")

    @property
    def label_en(self) -> str:
        return self.label.en

    @property
    def label_fr(self) -> str:
        return self.label.fr


Known = CustomField | PluginField
_PLUGINS = UUID("6c9a2f0e-5d0b-4b7e-9a53-0f6f5a1d8c11")
_of_plugins: dict[str, tuple[PluginField, ...]] = {}


def add(record: str, added: Sequence[PluginField]) -> None:
    """From now on records of this kind have these fields of plugins, and no others."""
    _of_plugins[record] = tuple(added)


def of_plugins(record: str) -> tuple[PluginField, ...]:
    """The fields that plugins have added to a kind of record."""
    return _of_plugins.get(record, ())


Choices = Annotated[list[Name], Field(max_length=200)]


class NewCustomField(Closed):
    """A field to add to a kind of record."""

    name: Code = Field(description="How the API calls it, within `custom`.")
    kind: CustomKind
    label: Label
    choices: Choices = Field(default=[], description="What records hold, in order.")
    choice_labels: dict[Name, Label] = Field(
        default={}, description="What people read for a choice, where that is another text."
    )
    required: bool = False
    personal: bool = Field(default=False, description="Whether it holds personal data.")


class CustomFieldChanges(Closed):
    """What to change of a field; what is left out stays.

    A field keeps its name and a choice its value: by these, views, flows, files and programs know
    them. What people read is the label, and `choice_labels`.
    """

    name: Code = "-"
    kind: CustomKind = "text"
    label: Label = Label(en="-", fr="-")
    choices: Choices = Field(default=[], description="All that there shall be, in order.")
    choice_labels: dict[Name, Label] = {}
    required: bool = False
    personal: bool = False


class CustomFieldShape(BaseModel):
    """A field that the tenant has added, or a plugin."""

    id: UUID
    record: str
    name: str = field("Name", "Nom")
    kind: CustomKind = field("Kind", "Type")
    label: Label
    choices: list[str]
    choice_labels: dict[str, Label] = Field(description="Of choices that have a label of their own")
    required: bool
    personal: bool
    version: int
    operators: list[str] = Field(description="What a condition may ask of it.")
    plugin: str | None = Field(default=None, description="The plugin that it comes from.")


def shape(row: Known) -> CustomFieldShape:
    """The field as readers get it."""
    return CustomFieldShape(
        id=row.id,
        record=row.record,
        name=row.name,
        kind=row.kind,  # type: ignore[arg-type]
        label=Label(en=row.label_en, fr=row.label_fr),
        choices=row.choices,
        choice_labels=labels_of(row),
        required=row.required,
        personal=row.personal,
        version=row.version,
        operators=list(operators_of(CONDITION_KINDS[row.kind], bool(row.choices))),
        plugin=row.plugin if isinstance(row, PluginField) else None,
    )


def labels_of(row: Known) -> dict[str, Label]:
    """What people read for its choices, of those that have a label of their own."""
    return {choice: Label(**said) for choice, said in row.choice_labels.items()}


class StillThere(Conflict):
    """The name was another field's, whose values are being taken out of the records."""

    code, title = "being_removed", "The field that had this name is still being removed"


class ChoiceInUse(Conflict):
    """Records have a choice that is to go."""

    code, title = "choice_in_use", "Records have this choice"


def define(session: Session, record: str, new: NewCustomField) -> CustomFieldShape:
    """Add a field to a kind of record."""
    _check_choices(new.kind, new.choices, new.choice_labels)
    if any(new.name == added.name for added in of_plugins(record)):
        raise Conflict(f"{record} has a field {new.name} already")
    named = select(CustomField.removed_at).where(
        CustomField.record == record, CustomField.name == new.name
    )
    if session.scalar(named) is not None:
        raise StillThere(
            f"Records are losing what they had in the {new.name} that was removed:"
            " add it when they have, in some minutes, or take another name"
        )
    row = CustomField(
        tenant_id=context(session).tenant,
        record=record,
        name=new.name,
        kind=new.kind,
        label_en=new.label.en,
        label_fr=new.label.fr,
        choices=new.choices,
        choice_labels={name: said.model_dump() for name, said in new.choice_labels.items()},
        required=new.required,
        personal=new.personal,
        created_at=context(session).now,
        version=1,
    )
    session.add(row)
    try:
        session.flush()
    except IntegrityError:
        raise Conflict(f"{record} has a field {new.name} already") from None
    _note(session, row, "created", {})
    return shape(row)


def _check_choices(kind: str, choices: Sequence[str], labels: Iterable[str]) -> None:
    if kind == "choice" and not choices:
        raise InvalidInput.field("choices", "missing", "A choice needs at least one choice")
    if kind != "choice" and choices:
        raise InvalidInput.field("choices", "unexpected", f"A {kind} field has no choices")
    if len(set(choices)) < len(choices):
        raise InvalidInput.field("choices", "twice", "Each choice is there once")
    for name in labels:
        if name not in choices:
            said = f"There is no choice {name} that this could be the label of"
            raise InvalidInput.field(f"choice_labels.{name}", "unknown", said)


def change(
    session: Session, kind: "RecordType", id: UUID, version: int, changes: CustomFieldChanges
) -> CustomFieldShape:
    """Change what was sent of a field; its name and its kind stay."""
    row = _in_hand(session, id)
    if row.version != version:
        raise StaleVersion(
            f"You changed version {version}; it is at version {row.version} now",
            shape(row).model_dump_json().encode(),
        )
    sent = changes.model_dump(exclude_unset=True)
    _keeps_its(row, "name", sent, "change its label: that is what people read")
    _keeps_its(row, "kind", sent, "add another field and move the values, by a file or in bulk")
    wanted: dict[str, Any] = {
        name: sent[name] for name in ("choices", "required", "personal") if name in sent
    }
    choices: list[str] = sent.get("choices", row.choices)
    if "choices" in sent or "choice_labels" in sent:
        labels: dict[str, Any] = sent.get("choice_labels", {})
        if "choice_labels" not in sent:
            labels = {n: said for n, said in row.choice_labels.items() if n in choices}
        _check_choices(row.kind, choices, labels)
        wanted["choice_labels"] = labels
    if "label" in sent:
        wanted |= {f"label_{language}": said for language, said in sent["label"].items()}
    for choice in row.choices:
        if choice not in choices:
            _is_free(session, kind, row, choice)
    told = {n: (getattr(row, n), v) for n, v in wanted.items() if getattr(row, n) != v}
    if told:
        for name, value in wanted.items():
            setattr(row, name, value)
        row.version += 1
        row.updated_at = context(session).now
        _note(session, row, "changed", told)
    _demanding.pop(row.tenant_id, None)
    return shape(row)


def _row(session: Session, id: UUID) -> CustomField:
    row = session.get(CustomField, id)
    if row is None or row.removed_at is not None:
        for added in (each for every in _of_plugins.values() for each in every):
            if added.id == id:
                raise Conflict(f"{added.name} comes with the plugin {added.plugin}, as it is")
        raise NotFound("There is no such custom field")
    return row


def record_of(session: Session, id: UUID) -> str:
    """Which kind of record a field is of."""
    return _row(session, id).record


def _in_hand(session: Session, id: UUID) -> CustomField:
    """The field, locked, once whoever has checked a value against it as it was has written that."""
    _alone(session, _row(session, id).record)
    wanted = select(CustomField).where(CustomField.id == id, CustomField.removed_at.is_(None))
    row = session.scalar(wanted.with_for_update().execution_options(populate_existing=True))
    if row is None:
        raise NotFound("There is no such custom field")
    return row


def _keeps_its(row: CustomField, what: str, sent: Mapping[str, Any], instead: str) -> None:
    if sent.get(what, getattr(row, what)) != getattr(row, what):
        raise InvalidInput.field(what, "fixed", f"A field keeps its {what}; {instead}")


def _is_free(session: Session, kind: "RecordType", row: CustomField, choice: str) -> None:
    """Nothing has the choice that is to go."""
    table = kind.table
    held = table.c.custom.op("->>")(row.name)
    used = session.scalar(select(func.count()).select_from(table).where(held == choice)) or 0
    if used:
        said = f"{used} of the {row.record} have it: give them another value first, as by"
        said += f" POST /{row.record}/bulk for all with custom.{row.name}={choice}"
        raise ChoiceInUse(
            f"{choice} can't go: {said}", [FieldError("choices", "choice_in_use", said)]
        )


def _note(session: Session, row: CustomField, action: str, told: Mapping[str, Any]) -> None:
    """Keep who did what to the field."""
    about = context(session)
    changes = {name: [before, after] for name, (before, after) in told.items()}
    session.execute(
        _NOTED,
        {
            "id": uuid7(),
            "tenant": about.tenant,
            "field": row.id,
            "version": row.version,
            "action": action,
            "at": about.now,
            "by": about.user,
            "changes": to_json(changes).decode(),
        },
    )


_NOTED = text(
    "INSERT INTO history (id, tenant_id, record, record_id, version, action, at, by, changes)"
    " VALUES (:id, :tenant, 'custom_fields', :field, :version, :action, :at, :by,"
    " CAST(:changes AS jsonb))"
)


def fields(session: Session, record: str) -> list[Known]:
    """The tenant's fields of a kind of record, oldest first, and after them those of plugins.

    One that the tenant had before a plugin came with its name stays the tenant's.
    """
    wanted = select(CustomField).where(CustomField.record == record).order_by(CustomField.id)
    own = list(session.scalars(wanted.where(CustomField.removed_at.is_(None))))
    taken = {row.name for row in own}
    return [*own, *(added for added in of_plugins(record) if added.name not in taken)]


REMEMBERED_S = 5.0
_demanding: dict[UUID, tuple[float, frozenset[str]]] = {}


def demanding(session: Session) -> frozenset[str]:
    """The kinds of record for which this tenant has made some field required.

    It rarely changes and every creation asks: an answer serves for five seconds.
    """
    tenant = context(session).tenant
    until, found = _demanding.get(tenant, (0.0, frozenset[str]()))
    if time.monotonic() < until:
        return found
    wanted = select(CustomField.record).where(CustomField.required)
    found = frozenset(session.scalars(wanted.where(CustomField.removed_at.is_(None))))
    if len(_demanding) > 10_000:
        _demanding.clear()
    _demanding[tenant] = (time.monotonic() + REMEMBERED_S, found)
    return found


# --- taking one away -----------------------------------------------------------------------------

PIECE = 5_000
"""How many records are looked at in one go."""


def remove(session: Session, kind: "RecordType", id: UUID) -> bool:
    """Take a field away, and its values; whether all are gone already.

    Nobody sees them from now on. Of many records they are taken out piece by piece, by `sweep`;
    until that is done the name is taken.
    """
    row = _in_hand(session, id)
    row.removed_at = context(session).now
    row.version += 1
    _note(session, row, "removed", {})
    _demanding.pop(row.tenant_id, None)
    session.flush()
    return sweep(session, kind, id)


def sweep(session: Session, kind: "RecordType", id: UUID) -> bool:
    """Take the values of a removed field out of some more records; whether none is left.

    The records that somebody is changing just now are left for the next time: waiting for them
    could be waiting for somebody who waits for this.
    """
    row = session.get(CustomField, id)
    if row is None or row.removed_at is None:
        return True
    table = kind.table.name
    values: dict[str, Any] = {"after": row.swept_to, "name": row.name, "size": PIECE}
    ids = list(session.scalars(text(_NEXT.format(table=table)), values))
    left = 0
    if ids:
        values |= {"ids": ids}
        session.execute(text(_CLEAR.format(table=table)), values)
        left = session.scalar(text(_LEFT.format(table=table)), values) or 0
    if left:
        return False
    if len(ids) < PIECE:
        session.delete(row)
        return True
    row.swept_to = ids[-1]
    return False


_NEXT = (
    "SELECT id FROM {table} WHERE CAST(:after AS uuid) IS NULL OR id > CAST(:after AS uuid)"
    " ORDER BY id LIMIT :size"
)
# No new version: to its readers the record is as it was.
_CLEAR = (
    "UPDATE {table} SET custom = custom - :name WHERE id IN (SELECT id FROM {table}"
    " WHERE id = ANY(CAST(:ids AS uuid[])) AND jsonb_exists(custom, :name)"
    " FOR UPDATE SKIP LOCKED)"
)
_LEFT = (
    "SELECT count(*) FROM {table} WHERE id = ANY(CAST(:ids AS uuid[]))"
    " AND jsonb_exists(custom, :name)"
)

_FIELDS = 0x4346
"""The advisory locks of this module: of the fields of one tenant's records of a kind."""
_WRITES = text("SELECT pg_advisory_xact_lock_shared(:fields, hashtext(:key))")
_ALONE = text("SELECT pg_advisory_xact_lock(:fields, hashtext(:key))")


def writes(session: Session, record: str) -> None:
    """Until the transaction ends no field is taken away under the values that it writes."""
    session.execute(_WRITES, _place(session, record))


def _alone(session: Session, record: str) -> None:
    """Wait for all who write values of these fields; who comes later finds them as they become."""
    session.execute(_ALONE, _place(session, record))


def _place(session: Session, record: str) -> dict[str, Any]:
    return {"fields": _FIELDS, "key": f"{context(session).tenant} {record}"}


def forget(
    session: Session, record: str, table: Table, names: Sequence[str], ids: Sequence[UUID]
) -> None:
    """Take out of records that were just written what belongs to fields that are gone by now."""
    writes(session, record)
    gone = set(names) - {each.name for each in fields(session, record)}
    if gone and ids:
        statement = text(
            f"UPDATE {table.name} SET custom = custom - CAST(:names AS text[])"
            " WHERE id = ANY(CAST(:ids AS uuid[]))"
        )
        session.execute(statement, {"names": sorted(gone), "ids": list(ids)})


def still_held(
    session: Session, record: str, since: UUID, values: Mapping[str, Any]
) -> dict[str, Any]:
    """What was put aside under an id, without the values of fields that have gone since then."""
    known = names_since(session, record, since)
    return {name: value for name, value in values.items() if name in known}


def names_since(session: Session, record: str, since: UUID) -> set[str]:
    """The fields that were there when this id was given, and still are.

    A field that has the name of one that has gone is younger: ids rise with time.
    """
    return {
        each.name
        for each in fields(session, record)
        if isinstance(each, PluginField) or each.id < since
    }


# --- values --------------------------------------------------------------------------------------


def check(
    session: Session, record: str, values: Mapping[str, Any], *, partial: bool = False
) -> dict[str, Any]:
    """The custom values as they are stored; every unknown or ill-typed one is named.

    A partial check (an update) does not ask for required fields; null clears a field, also what
    a field that is gone has left. A blank text is none where one is required.
    """
    if values:
        writes(session, record)
    known = {f.name: f for f in fields(session, record)}
    errors: list[FieldError] = []
    checked: dict[str, Any] = {}
    for name, value in values.items():
        found = known.get(name)
        if found is None and (value is not None or not partial):
            errors.append(FieldError(f"custom.{name}", "unknown", f"There is no field {name}"))
        elif found is None or value is None:
            checked[name] = None
        else:
            try:
                checked[name] = as_stored(found, value)
            except ValueError as error:
                errors.append(FieldError(f"custom.{name}", found.kind, str(error)))
    for name, found in known.items():
        if found.required and _is_blank(checked.get(name) if name in values else partial or None):
            errors.append(FieldError(f"custom.{name}", "missing", f"{name} is required"))
    if errors:
        raise InvalidInput("Some custom fields need another look", errors)
    return checked


def _is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and is_blank(value))


def as_stored(found: Known, value: Any) -> Any:
    """A value as the field holds it; ValueError says what it is instead."""
    match found.kind:
        case "boolean" if isinstance(value, bool):
            return value
        case "number" if isinstance(value, int | float) and not isinstance(value, bool):
            if abs(value) < 10**15:
                return value
        case "text" if isinstance(value, str) and len(value) <= 2000 and "\x00" not in value:
            return value
        case "date" if isinstance(value, str):
            return dt.date.fromisoformat(value).isoformat()
        case "choice":
            if value in found.choices:
                return value
            raise ValueError(f"{found.name} is one of {', '.join(found.choices)}")
    raise ValueError(f"{found.name} is a {found.kind}")


def filter_value(
    session: Session, kind: "RecordType", name: str, operator: str, raw: str
) -> tuple[str, Any]:
    """A filter's operator and text as how the custom field is compared, and with what value."""
    found = next((f for f in fields(session, kind.name) if f.name == name), None)
    path = f"custom.{name}"
    if found is None:
        raise InvalidInput.field(path, "unknown_parameter", f"There is no filter {path}")
    if operator == "null":
        if raw.lower() not in ("true", "false"):
            raise InvalidInput.field(path, "boolean", f"{path} is true or false")
        return operator, raw.lower()
    if operator in _ORDERED and found.kind not in ("number", "date"):
        raise InvalidInput.field(path, "operator", f"A {found.kind} has no operator {operator}")
    value: Any
    if operator == "in":
        value = [_compared(found.kind, path, part) for part in raw.split(",")]
    else:
        value = _compared(found.kind, path, raw)
    if found.kind == "number":
        return f"{operator}_number", value
    if found.kind == "date" and operator in _ORDERED:
        return f"{operator}_date", value
    return operator, value


def _compared(kind: str, path: str, raw: str) -> Any:
    try:
        match kind:
            case "number":
                number = Decimal(raw)
                if not number.is_finite() or abs(number.adjusted()) > 30:
                    raise ValueError
                return number
            case "date":
                return dt.date.fromisoformat(raw).isoformat()
            case "boolean":
                return {"true": "true", "false": "false"}[raw.lower()]
    except (ValueError, KeyError, ArithmeticError):
        raise InvalidInput.field(path, "value", f"{raw[:80]!r} is no {kind}") from None
    return raw


def condition(column: Any, name: str, operator: str, bind: str) -> ColumnElement[bool]:
    """`custom.size[gte]=10` as SQL; only numbers compare as numbers, the rest as text."""
    # The name has been checked against the tenant's fields: it is a lower-case identifier.
    held: ColumnElement[Any] = column.op("->>")(name)
    value: BindParameter[Any] = bindparam(bind)
    if operator == "null":
        return held.is_(None) == cast(value, Boolean)
    if operator == "in":
        return held == cast(value, ARRAY(Text)).any_()
    if operator.endswith("_date"):
        # As ISO writes them, their order is that of their text.
        return _ORDERED[operator.removesuffix("_date")](
            collate(cast(held, Text), "C"), cast(value, Text)
        )
    if operator.endswith("_number"):
        # A field of another kind may have had this name before, and left its values.
        is_number = func.jsonb_typeof(column.op("->")(name)) == "number"
        number = case((is_number, cast(cast(held, Text), Numeric)))
        if operator == "in_number":
            return number == cast(value, ARRAY(Numeric)).any_()
        return _COMPARED[operator.removesuffix("_number")](number, cast(value, Numeric))
    same = cast(held, Text) == cast(value, Text)
    return ~same if operator == "ne" else same
