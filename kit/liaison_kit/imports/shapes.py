"""What is sent of an import, and what readers get of one."""

import datetime as dt
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AfterValidator, BaseModel, Field, StringConstraints
from pydantic_core import PydanticCustomError

from liaison_sdk.types import WITHOUT_NUL, Closed, field

Status = Literal[
    "draft",
    "previewed",
    "queued",
    "running",
    "done",
    "cancelled",
    "failed",
    "rolling_back",
    "rolled_back",
]
Limit = Annotated[int, Field(ge=1, le=200)]
# A cell's text; the separator of the writer's columns must not be in it, nor any control character.
Cell = Annotated[str, StringConstraints(max_length=1000, pattern=r"^[^\x00-\x08\x0b-\x1f\x7f]*$")]
ColumnName = Annotated[str, StringConstraints(max_length=300, pattern=WITHOUT_NUL)]
FieldName = Annotated[str, StringConstraints(max_length=100, pattern=WITHOUT_NUL)]
Encoding = Annotated[str, StringConstraints(max_length=40, pattern=r"^[A-Za-z0-9_.:-]+$")]


def _one_sign(text: str) -> str:
    sign = "\t" if text == "tab" else text
    if len(sign) != 1 or sign.isalnum() or sign in "_ \r\n\"'\\" or (sign < " " and sign != "\t"):
        raise PydanticCustomError(
            "bad_delimiter", "One sign that is no letter, digit, space or quote; or the word tab"
        )
    return text


Delimiter = Annotated[str, AfterValidator(_one_sign)]
SheetName = Annotated[str, StringConstraints(min_length=1, max_length=100, pattern=WITHOUT_NUL)]


class ColumnFormat(Closed):
    """How a column writes dates and numbers, where its values don't tell."""

    dates: Literal["dmy", "mdy"] | None = None
    decimal: Literal[".", ","] | None = None


class ImportOptions(Closed):
    """How to import; what is not given is chosen from the file."""

    encoding: Encoding | None = Field(
        default=None, description="How the file's letters are written, as windows-1251."
    )
    delimiter: Delimiter | None = Field(
        default=None, description="What stands between the cells of a CSV file; tab for a tab."
    )
    sheet: SheetName | None = Field(
        default=None, description="The sheet of a workbook that is read, by its name."
    )
    key: FieldName | None = Field(
        default=None, description="Field by which a row meets an existing record."
    )
    create_only: bool = Field(default=False, description="Meet nothing: every row is a new record.")
    blanks: Literal["keep", "clear"] = Field(
        default="keep", description="Whether a blank cell keeps or clears an existing value."
    )
    on_missing: dict[FieldName, Literal["report", "create", "blank"]] = Field(
        default={}, description="By field: what to do with a value that matches no record."
    )
    formats: dict[ColumnName, ColumnFormat] = Field(
        default={}, description="By column: how it writes dates and numbers."
    )
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")] | None = Field(
        default=None, description="Of amounts that don't say theirs; else the organisation's."
    )
    timezone: (
        Annotated[str, StringConstraints(max_length=60, pattern=r"^[A-Za-z0-9_+/-]+$")] | None
    ) = Field(default=None, description="Of times of day; else the organisation's.")
    defaults: dict[FieldName, Cell] = Field(
        default={}, description="By field: the value of rows that have none."
    )
    unmapped: Literal["custom", "note", "skip"] | None = Field(
        default=None,
        description="What becomes of columns with values that feed no field, and of which the"
        " mapping says nothing: a custom field each, a part of a note, or nothing. Not said, such"
        " an import is refused.",
    )


class ChangeImport(Closed):
    """What to correct before an import starts."""

    mapping: dict[ColumnName, FieldName | None] | None = Field(
        default=None,
        description="By column: the field that it feeds; `custom` for a custom field of its own,"
        " `note` for a part of a note, `-` for nothing; null where nothing is decided.",
    )
    value_map: dict[FieldName, dict[Cell, Cell | None]] | None = Field(
        default=None,
        description="By field: what a value of the file is meant to be, for the whole file.",
    )
    options: ImportOptions | None = None


class ImportShape(BaseModel):
    """A file handed in for import and how far it has come."""

    id: UUID
    record: str = field("Record", "Type de fiche")
    file_name: str = field("File", "Fichier")
    file_size: int = field("Size", "Taille")
    file_info: dict[str, Any] = field("About the file", "À propos du fichier")
    mapping: dict[str, str | None] = field("Mapping", "Correspondance")
    value_map: dict[str, dict[str, str | None]] = field("Values", "Valeurs")
    options: dict[str, Any] = field("Options", "Options")
    status: Status = field("Status", "État")
    counts: dict[str, int] = field("Counts", "Décomptes")
    problems: list[dict[str, Any]] = field("Problems", "Problèmes")
    has_errors_file: bool = field("Errors file", "Fichier des erreurs")
    job_id: UUID | None = field("Job", "Tâche")
    version: int = field("Version", "Version")
    created_at: dt.datetime = field("Created", "Créé le")
    created_by: UUID | None = field("Created by", "Créé par")
    updated_at: dt.datetime = field("Updated", "Modifié le")


class PreviewRow(BaseModel):
    """A row as it would be imported, or why it would not."""

    row: int
    values: dict[str, str]
    errors: list[dict[str, str]]


class UnmatchedValue(BaseModel):
    """A value that names nothing, and what it may have meant."""

    field: str
    column: str
    value: str
    count: int
    rows: list[int]
    nearest: str | None
    score: int
    code: str


class FormatQuestion(BaseModel):
    """What a column leaves open of how it writes dates or numbers, and what answers it."""

    column: str
    option: Literal["dates", "decimal"]
    sample: str
    taken: str
    readings: dict[str, str]
    """By answer: what the sample then is."""
    must: bool
    """The import is refused until it is answered; otherwise `taken` is likely."""
    message: str


class UnfedColumn(BaseModel):
    """A column with values that feed no field, and what is decided of it."""

    column: str
    count: int
    examples: list[str]
    kind: str
    """The kind of custom field that its values ask for."""
    decision: str
    """`custom`, `note` or `-`; empty where nothing is decided, and the import will be refused."""
    message: str


class MappingShape(BaseModel):
    """What fed what when a file with this header was last imported."""

    id: UUID
    record: str
    file_name: str
    mapping: dict[str, str | None]
    value_map: dict[str, dict[str, str | None]]
    options: dict[str, Any]
    used_at: dt.datetime
    used_by: UUID | None


class Preview(BaseModel):
    """The first rows as they would be imported, and what needs attention in the whole file."""

    rows: list[PreviewRow]
    total: int
    unreadable: int
    key: str | None
    formats: dict[str, dict[str, str]]
    questions: list[FormatQuestion]
    unfed: list[UnfedColumn]
    unmatched: list[UnmatchedValue]
    notes: list[str]
