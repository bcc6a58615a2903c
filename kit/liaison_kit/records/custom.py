"""Custom fields: what a tenant adds to a kind of record, typed, validated and filterable."""

import datetime as dt
import operator as operators
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID, uuid5

from pydantic import BaseModel, Field
from sqlalchemy import (
    BindParameter,
    Boolean,
    ColumnElement,
    Numeric,
    Text,
    bindparam,
    case,
    cast,
    collate,
    func,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, Session, mapped_column

from liaison_kit.context import context
from liaison_kit.database.tables import Base, TenantRow
from liaison_kit.ids import uuid7
from liaison_kit.records.operators import operators_of
from liaison_sdk.errors import Conflict, FieldError, InvalidInput, NotFound
from liaison_sdk.labels import Label
from liaison_sdk.types import Closed, Code, Name, field, is_blank

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


class NewCustomField(Closed):
    """A field to add to a kind of record."""

    name: Code = Field(description="How the API calls it, within `custom`.")
    kind: CustomKind
    label: Label
    choices: Annotated[list[Name], Field(max_length=200)] = []
    required: bool = False
    personal: bool = Field(default=False, description="Whether it holds personal data.")


class CustomFieldShape(BaseModel):
    """A field that the tenant has added, or a plugin."""

    id: UUID
    record: str
    name: str = field("Name", "Nom")
    kind: CustomKind = field("Kind", "Type")
    label: Label
    choices: list[str]
    required: bool
    personal: bool
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
        required=row.required,
        personal=row.personal,
        operators=list(operators_of(CONDITION_KINDS[row.kind], bool(row.choices))),
        plugin=row.plugin if isinstance(row, PluginField) else None,
    )


def define(session: Session, record: str, new: NewCustomField) -> CustomFieldShape:
    """Add a field to a kind of record."""
    if new.kind == "choice" and not new.choices:
        raise InvalidInput.field("choices", "missing", "A choice needs at least one choice")
    if new.kind != "choice" and new.choices:
        raise InvalidInput.field("choices", "unexpected", f"A {new.kind} field has no choices")
    if any(new.name == added.name for added in of_plugins(record)):
        raise Conflict(f"{record} has a field {new.name} already")
    row = CustomField(
        tenant_id=context(session).tenant,
        record=record,
        name=new.name,
        kind=new.kind,
        label_en=new.label.en,
        label_fr=new.label.fr,
        choices=new.choices,
        required=new.required,
        personal=new.personal,
        created_at=context(session).now,
    )
    session.add(row)
    try:
        session.flush()
    except IntegrityError:
        raise Conflict(f"{record} has a field {new.name} already") from None
    return shape(row)


def fields(session: Session, record: str) -> list[Known]:
    """The tenant's fields of a kind of record, oldest first, and after them those of plugins.

    One that the tenant had before a plugin came with its name stays the tenant's.
    """
    wanted = select(CustomField).where(CustomField.record == record).order_by(CustomField.id)
    own = list(session.scalars(wanted))
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
    found = frozenset(session.scalars(select(CustomField.record).where(CustomField.required)))
    if len(_demanding) > 10_000:
        _demanding.clear()
    _demanding[tenant] = (time.monotonic() + REMEMBERED_S, found)
    return found


def remove(session: Session, id: UUID) -> None:
    """Take a field away; the values that records hold stay in them, unseen by the checks."""
    row = session.get(CustomField, id)
    if row is None:
        raise NotFound("There is no such custom field")
    session.delete(row)


def check(
    session: Session, record: str, values: Mapping[str, Any], *, partial: bool = False
) -> dict[str, Any]:
    """The custom values as they are stored; every unknown or ill-typed one is named.

    A partial check (an update) does not ask for required fields; null clears a field, also what
    a field that is gone has left. A blank text is none where one is required.
    """
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
