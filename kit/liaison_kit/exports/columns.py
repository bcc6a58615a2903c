"""The columns of an exported file: the fields of the record's shape, each in as many as it needs.

Money has one for the amount and one for its currency. A list of objects has those that its kind
declares (`Spread`), else it is written as JSON. A tenant's own fields come last.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.orm import Session

from liaison_kit.records import custom
from liaison_kit.records.recordtype import FieldInfo, FieldKind, RecordType
from liaison_sdk.errors import FieldError, InvalidInput
from liaison_sdk.labels import Label

LIAISON_ID = "liaison_id"
"""What a record's id is called in files: an import meets the record by it."""

Read = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class ExportColumn:
    """A column: what it is called, what is in it, and how it is read from a record as JSON."""

    name: str
    label: Label
    kind: FieldKind
    read: Read

    @property
    def free(self) -> bool:
        """Whether people write what is in it, and may have written anything."""
        return self.kind in ("text", "list", "object")


Spread = Mapping[str, Sequence[ExportColumn]]
"""By field: its columns, which read from the field's own value."""


def columns(
    session: Session, kind: RecordType, spread: Spread, wanted: Sequence[str]
) -> list[ExportColumn]:
    """The columns of the wanted fields; every unknown field is named."""
    known: dict[str, list[ExportColumn]] = {
        name: [_of(name, column) for column in spread[name]] if name in spread else _plain(info)
        for name, info in kind.fields.items()
        if name != "custom"
    }
    if "custom" in kind.fields:
        for row in custom.fields(session, kind.name):
            label = Label(en=row.label_en, fr=row.label_fr)
            known[f"custom.{row.name}"] = [_custom(row.name, label, row.kind)]
    names = list(dict.fromkeys(wanted))
    errors = [
        FieldError(f"fields.{place}", "unknown_field", f"{kind.name} have no field {name[:80]}")
        for place, name in enumerate(names)
        if name not in known
    ]
    if errors:
        raise InvalidInput("Some fields need another look", errors)
    return [column for name in names for column in known[name]]


def every_field(session: Session, kind: RecordType) -> list[str]:
    """The fields that a file may have, the tenant's own last."""
    own = custom.fields(session, kind.name) if "custom" in kind.fields else []
    return [n for n in kind.fields if n != "custom"] + [f"custom.{row.name}" for row in own]


def header(found: Sequence[ExportColumn], language: str | None) -> list[str]:
    """The columns' labels in a language, or their names; no two are called alike."""
    if language is None:
        return [column.name for column in found]
    labels = [getattr(column.label, language) for column in found]
    return [
        label if labels.count(label) == 1 else f"{label} ({column.name})"
        for label, column in zip(labels, found, strict=True)
    ]


def _plain(info: FieldInfo) -> list[ExportColumn]:
    name, label = info.name, info.label
    if name == "id":
        said = Label(en="Liaison id", fr="Identifiant Liaison")
        return [ExportColumn(LIAISON_ID, said, "id", lambda record: record["id"])]
    if info.kind == "money":
        said = Label(en=f"{label.en}: currency", fr=f"{label.fr} : devise")
        return [
            ExportColumn(name, label, "decimal", _part(name, "amount")),
            ExportColumn(f"{name}_currency", said, "text", _part(name, "currency")),
        ]
    return [ExportColumn(name, label, info.kind, lambda record: record[name])]


def _of(field: str, column: ExportColumn) -> ExportColumn:
    read = column.read
    return ExportColumn(column.name, column.label, column.kind, lambda record: read(record[field]))


def _part(name: str, part: str) -> Read:
    return lambda record: None if record[name] is None else record[name][part]


def _custom(name: str, label: Label, kind: str) -> ExportColumn:
    kinds: Mapping[str, FieldKind] = {"number": "decimal", "boolean": "boolean", "date": "date"}
    return ExportColumn(
        f"custom.{name}", label, kinds.get(kind, "text"), lambda record: record["custom"].get(name)
    )


def text_of(value: Any) -> str:
    """A value as a file says it; what is not there is blank."""
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return value
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return ", ".join(value)
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, default=str)
    return str(value)
