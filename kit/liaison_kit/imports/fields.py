"""What a service declares for each kind of record that people may import: fields, keys, table."""

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Literal, Protocol
from uuid import UUID

from sqlalchemy import Table
from sqlalchemy.orm import Session

from liaison_kit.context import Principal
from liaison_kit.exports.columns import LIAISON_ID
from liaison_kit.imports.references import Reference
from liaison_kit.listing.row_rules import row_rule
from liaison_kit.records import custom
from liaison_kit.records.recordtype import RecordType

Kind = Literal[
    "text",
    "id",
    "email",
    "phone",
    "url",
    "integer",
    "decimal",
    "money",
    "currency",
    "date",
    "datetime",
    "boolean",
    "choice",
    "reference",
    "tags",
]
Label = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ImportField:
    """One field that a column of a file may feed.

    `aliases` are other names that files use for it, in any language; case, accents and punctuation
    don't matter. `columns` of one value each: `many=3` makes `phone`, `phone_2` and `phone_3` of
    `phone`. `column` is the table's column when it isn't called like the field; money fills
    `<column>_amount` and the currency column named by `currency_column`.
    """

    name: str
    label: Label
    kind: Kind = "text"
    required: bool = False
    aliases: tuple[str, ...] = ()
    max_length: int = 1000
    minimum: Decimal | None = None
    maximum: Decimal | None = None
    choices: Mapping[str, Sequence[str]] | None = None
    """Accepted values and other spellings of each; a service may give a function of the session
    instead, see `Importable.choices`."""
    reference: str | None = None
    many: int = 1
    column: str | None = None
    currency_column: str | None = "currency"
    custom: bool = False
    """The value goes to the record's `custom` object under the field's name."""
    default: str = ""
    """Taken when the cell is blank or no column feeds the field (on creation only)."""
    shared: tuple[str, ...] = ()
    """Names that another field has, too: a column called so feeds this one if its values are nearly
    all among the `telling` ones (folded, without dots around)."""
    telling: frozenset[str] = frozenset()
    several: bool = False
    """A cell may hold several e-mail addresses, phone numbers or the like: see `parts`."""
    further: bool = False
    """One of a group, as a second phone is: no file is expected to feed it."""
    copy_of: str = ""
    """The field of which this is a numbered copy."""
    beside: bool = False
    """It is not the record's own: its values go to `Importable.beside` once the record is there."""
    kept: bool = False
    """Liaison keeps it by itself: a column of an exported file that feeds nothing."""

    def expanded(self) -> "list[ImportField]":
        """The field itself, then its numbered copies when it takes several columns."""
        copies = [self]
        for number in range(2, self.many + 1):
            copies.append(
                dataclasses.replace(
                    self,
                    name=f"{self.name}_{number}",
                    label={lang: f"{text} {number}" for lang, text in self.label.items()},
                    aliases=tuple(f"{alias} {number}" for alias in self.aliases),
                    required=False,
                    many=1,
                    further=True,
                    copy_of=self.name,
                )
            )
        return copies


@dataclass(slots=True)
class Batch:
    """Converted rows by field: text that PostgreSQL casts, an empty string for NULL."""

    size: int
    values: dict[str, Sequence[str]]
    country: str | None = None
    """Where the tenant is, whose phone numbers may lack their country."""

    def get(self, name: str) -> Sequence[str]:
        """A field's values; blanks when no column feeds it."""
        return self.values.get(name) or [""] * self.size

    def gathered(self, *names: str) -> Sequence[Sequence[str]]:
        """Row by row, the values of several fields: for a column that holds a list."""
        return list(zip(*(self.get(name) for name in names), strict=True))


USUAL = "{usual}"
"""What stands in the SQL of a merge for the value that an update would have without it."""

Columns = Callable[[Batch], Mapping[str, Sequence[str]]]


class Beside(Protocol):
    """Writes what a file says beside its records."""

    def __call__(
        self,
        session: Session,
        import_id: UUID,
        values: Mapping[str, Sequence[str]],
        written: Mapping[int, UUID],
    ) -> None:
        """The values by field; `written` are the records by the place of their values."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What the API refuses of a record as it would be, for rows of a file.

    `broken` is SQL over the row (`s`) and what the record would have: `{status}` stands for the
    status then. Asked only where the file feeds the column.
    """

    column: str
    code: str
    message: str
    broken: str


@dataclass(frozen=True, kw_only=True)
class Importable:
    """A kind of record that files may fill, and how its rows come to be.

    Most services give `record`, `label`, `fields`, `table` and `references`; the rest are for what
    a plain column can't say. In SQL given here `s` is the incoming row, `t` the row it meets.
    """

    record: str
    label: Label
    fields: tuple[ImportField, ...]
    table: Table
    permission: str
    kind: RecordType | None = None
    """Narrows updates to the rows that the person may see (own, team)."""
    keys: tuple[str, ...] = ("external_id",)
    """Fields by which a row meets an existing record, the best first."""
    unique_keys: frozenset[str] = frozenset({"external_id"})
    loose_keys: frozenset[str] = frozenset({"name"})
    """Keys that are mere names. Unless one is chosen, a row meets the record of its name only if it
    says nothing else of it: two things may be called the same."""
    namesakes: Literal["create", "report"] = "create"
    """What becomes of a row that says something else than the record of its name."""
    match: Mapping[str, str] = field(default_factory=dict)
    """SQL by which a key meets a record, where it isn't `t.<column> = s.<column>`; indexed."""
    references: Mapping[str, Reference] = field(default_factory=dict)
    """By field's `reference`. One that names this very record may wait for rows of the file."""
    columns: Columns | None = None
    """Table columns of the fields that are not a column themselves (several e-mails in one)."""
    covers: frozenset[str] = frozenset()
    """Fields that `columns` takes care of."""
    merge: Mapping[str, str] = field(default_factory=dict)
    """By column: SQL of an update's new value, where it isn't the incoming one; `USUAL` in it."""
    missing: Mapping[str, str] = field(default_factory=dict)
    """By column that must not be empty: what is said of a row that has nothing for it."""
    rules: tuple[Rule, ...] = ()
    read_as: Mapping[str, str] = field(default_factory=dict)
    """By column: SQL of what a row says there, in the light of its other columns."""
    on_insert: Mapping[str, str] = field(default_factory=dict)
    """By column: SQL of what a new record has that no file gives."""
    beside: "Beside | None" = None
    """Writes what the file says beside its records (`ImportField.beside`), in the chunk's
    transaction."""
    beside_undone: Callable[[Session, UUID], None] | None = None
    """Takes back what it wrote for an import."""
    takes_notes: bool = False
    """Columns that feed no field may become notes: `beside` gets them as `note.<column>`."""
    after_chunk: Callable[[Session, Sequence[UUID], Sequence[UUID]], None] | None = None
    """Told the created and the updated records of each chunk, in its transaction: emits events."""
    after_rollback: Callable[[Session, Sequence[UUID], Sequence[UUID]], None] | None = None
    """Told the deleted and the restored records of each chunk of a rollback."""

    @property
    def met_by(self) -> tuple[str, ...]:
        """The keys, the record's own id before all others."""
        return self.keys if self.kind is None else (LIAISON_ID, *self.keys)

    def readable(self, principal: Principal) -> bool:
        """Whether somebody may see imports of this kind at all."""
        return principal.may(f"{self.record}:read") or principal.may(self.permission)

    def peers(self, session: Session) -> list[str] | None:
        """The owners whose records the caller sees, and so whose imports; None: everybody's."""
        return None if self.kind is None else row_rule(session, self.kind)[1]

    def all_fields(self, session: Session) -> list[ImportField]:
        """The declared fields, numbered copies, and the tenant's own."""
        found = [copy for spec in self.fields for copy in spec.expanded()]
        found += [_currency_of(spec) for spec in found if spec.kind == "money"]
        if self.kind is not None:
            found.append(_LIAISON_ID)
        if "custom" in self.table.c:
            found += [_custom_field(row) for row in custom.fields(session, self.record)]
        if self.kind is not None:
            found += [
                ImportField(name, info.label.model_dump(), kept=True)
                for name, info in self.kind.fields.items()
                if name not in ("id", "custom")
            ]
        return found


_LIAISON_ID = ImportField(
    LIAISON_ID, {"en": "Liaison id", "fr": "Identifiant Liaison"}, "id", column="id", further=True
)
"""By which an exported record is met again; one without is a new one."""


def _currency_of(money: ImportField) -> ImportField:
    """The field of an amount's currency, where a file has a column for it."""
    label = {"en": f"{money.label['en']}: currency", "fr": f"{money.label['fr']} : devise"}
    return ImportField(f"{money.name}_currency", label, "currency", further=money.further)


def _custom_field(row: custom.Known) -> ImportField:
    kinds = {"number": "decimal"}
    return ImportField(
        name=f"custom.{row.name}",
        label={"en": row.label_en, "fr": row.label_fr},
        kind=kinds.get(row.kind, row.kind),  # type: ignore[arg-type]
        aliases=(row.name,),
        choices=_choices(row) if row.kind == "choice" else None,
        required=row.required,
        custom=True,
    )


def _choices(row: custom.Known) -> dict[str, Sequence[str]]:
    """The values of a choice, and what people call them."""
    labels = custom.labels_of(row)
    return {
        choice: (labels[choice].en, labels[choice].fr) if choice in labels else ()
        for choice in row.choices
    }


def table_columns(
    importable: Importable, specs: Sequence[ImportField], batch: Batch
) -> dict[str, Sequence[str]]:
    """The batch as columns of the table: plain ones, money, custom fields, the service's own."""
    found: dict[str, Sequence[str]] = {}
    own: list[ImportField] = []
    for spec in specs:
        if spec.custom:
            own.append(spec)
        elif spec.beside or spec.name in importable.covers or spec.kind == "currency":
            continue
        elif spec.kind == "money":
            column = spec.column or spec.name
            found[f"{column}_amount"] = batch.values[spec.name]
            if spec.currency_column:
                found[spec.currency_column] = batch.values[f"{spec.name} currency"]
        else:
            found[spec.column or spec.name] = batch.values[spec.name]
    if own:
        found["custom"] = _custom_objects(own, batch)
    if importable.columns is not None:
        found |= importable.columns(batch)
    return found


def _custom_objects(specs: Sequence[ImportField], batch: Batch) -> list[str]:
    names = [spec.name.removeprefix("custom.") for spec in specs]
    read: list[Callable[[str], object]] = [
        (lambda v: v == "true")
        if spec.kind == "boolean"
        else (lambda v: json.loads(v))
        if spec.kind in ("decimal", "integer", "tags")
        else str
        for spec in specs
    ]
    objects = []
    for row in batch.gathered(*(spec.name for spec in specs)):
        given = {n: r(v) for n, r, v in zip(names, read, row, strict=True) if v}
        objects.append(json.dumps(given, ensure_ascii=False) if given else "")
    return objects
