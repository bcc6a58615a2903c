"""Named errors and limits of the files that people hand in for an import."""

from dataclasses import dataclass

from liaison_sdk.errors import InvalidInput


class BadFile(InvalidInput):
    """The file as a whole can't be imported; a subclass says why."""

    code, title = "bad_file", "This file can't be imported"


class EmptyFile(BadFile):
    """There is nothing in the file, or nothing but blank lines."""

    code, title = "empty_file", "The file is empty"


class UnreadableEncoding(BadFile):
    """The bytes are not text in any encoding that we know."""

    code, title = "unreadable_encoding", "The file's characters can't be read"


class NotASpreadsheet(BadFile):
    """The file is something else: a picture, a PDF, an old or a locked workbook."""

    code, title = "not_a_spreadsheet", "The file is neither CSV nor XLSX"


class UnknownEncoding(BadFile):
    """What was chosen is the name of no encoding that we know."""

    code, title = "unknown_encoding", "There is no such encoding"


class NoSuchSheet(BadFile):
    """The workbook has no sheet of the name that was chosen."""

    code, title = "no_such_sheet", "The workbook has no such sheet"


class FileTooLarge(BadFile):
    """The file, or what it unpacks to, is over a limit."""

    code, title = "file_too_large", "The file is too large to import"


@dataclass(frozen=True, slots=True)
class Limits:
    """How much of a file an import takes in; what is over ends in `FileTooLarge`."""

    file_bytes: int = 64 << 20
    unpacked_bytes: int = 512 << 20
    rows: int = 1_000_000
    columns: int = 500
    workbook_memory: int = 1 << 30
    workbook_seconds: int = 120


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, slots=True)
class Chosen:
    """What somebody says of a file; what they leave open is found out from the file."""

    encoding: str | None = None
    delimiter: str | None = None
    sheet: str | None = None


NOTHING_CHOSEN = Chosen()
