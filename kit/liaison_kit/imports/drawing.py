"""Import fields drawn from a kind of record: its labels, limits and choices are declared once.

    product = Drawn(PRODUCTS, contract.NewProduct)
    fields = (product("name", "product", "désignation"), product("list_price", "price", "prix"))

What files call a field otherwise is all that is left to say. Of a kind whose rules are plain the
whole import is drawn (`importable`).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import cached_property
from typing import Any, cast
from uuid import UUID

from pydantic import BaseModel
from sqlalchemy.orm import Session

from liaison_kit.events.resend import Told
from liaison_kit.imports.fields import Importable, ImportField, Kind
from liaison_kit.records.recordtype import FieldKind, RecordType
from liaison_sdk.labels import Label

_KINDS: Mapping[FieldKind, Kind] = {"list": "tags"}


@dataclass(frozen=True)
class Drawn:
    """The fields of a kind of record, as what is sent to add one limits them."""

    kind: RecordType
    new: type[BaseModel]

    def __call__(
        self,
        name: str,
        *aliases: str,
        spellings: Mapping[str, Sequence[str]] | None = None,
        **options: Any,
    ) -> ImportField:
        """A field, with what files call it besides; `spellings` are other words for its choices."""
        info, limits = self.kind.fields[name], self._limits(name)
        found: dict[str, Any] = {
            "label": info.label.model_dump(),
            "kind": "choice" if info.choices else _KINDS.get(info.kind, info.kind),
            "required": name in self._schema.get("required", ()),
            "aliases": aliases,
        }
        if info.choices:
            others = spellings or {}
            found["choices"] = {
                choice: (*_said(info.choice_labels.get(choice)), *others.get(choice, ()))
                for choice in info.choices
            }
        if longest := limits.get("items", limits).get("maxLength"):
            found["max_length"] = longest
        for limit in ("minimum", "maximum"):
            if limit in limits:
                found[limit] = Decimal(str(limits[limit]))
        return ImportField(name, **found | options)

    @cached_property
    def _schema(self) -> Mapping[str, Any]:
        return self.new.model_json_schema()

    def _limits(self, name: str) -> Mapping[str, Any]:
        """What the JSON schema says of a value that is there."""
        declared = self._schema["properties"][name]
        several = declared.get("anyOf", [declared])
        found = next(one for one in several if one.get("type") != "null")
        if "$ref" in found:
            # Money: what limits it limits its amount.
            referred = self._schema["$defs"][found["$ref"].rpartition("/")[2]]["properties"]
            amount = referred.get("amount", {})
            return next((o for o in amount.get("anyOf", [amount]) if "minimum" in o), {})
        return cast(Mapping[str, Any], found)


def importable(
    kind: RecordType,
    new: type[BaseModel],
    called: Label,
    told: Told | None,
    words: Mapping[str, Sequence[str]],
) -> Importable:
    """How files fill a kind of record whose fields are its columns; `words` are their other names.

    What points at others' records is found in the copies that are kept of those.
    """
    draw = Drawn(kind, new)

    def drawn(name: str) -> ImportField:
        options: dict[str, Any] = {"default": _text(new.model_fields[name].default)}
        if name in kind.copies:
            options |= {"kind": "reference", "reference": kind.copies[name].record}
        if f"{name}_currency" in kind.table.c:
            options["currency_column"] = f"{name}_currency"
        return draw(name, *words.get(name, ()), **options)

    def saved(session: Session, created: Sequence[UUID], updated: Sequence[UUID]) -> None:
        if told is not None:
            told.saved(session, [*created, *updated])

    def taken_back(session: Session, deleted: Sequence[UUID], restored: Sequence[UUID]) -> None:
        if told is not None:
            told.removed(session, deleted)
            told.saved(session, restored)

    return Importable(
        record=kind.name,
        label=called.model_dump(),
        permission=f"{kind.name}:write",
        kind=kind,
        table=kind.table,
        fields=tuple(drawn(name) for name in new.model_fields if name != "custom"),
        references={copy.record: copy for copy in kind.copies.values()},
        after_chunk=saved,
        after_rollback=taken_back,
    )


def _text(default: Any) -> str:
    """A field's default as a cell would say it; blank for none."""
    if isinstance(default, bool):
        return str(default).lower()
    return default if isinstance(default, str) else ""


def _said(label: Label | None) -> tuple[str, ...]:
    return () if label is None else (label.en, label.fr)
