"""Read a CSV or XLSX file as columns of text, a chunk at a time, whatever state it is in.

`open_table(path)` finds out what the file is (encoding, delimiter, header) and raises a named error
when it can't be imported at all. `Table.chunks()` then yields its rows turned into columns, memory
bounded by the chunk. A row that can't be read becomes a `BadRow` that says where and why; the rows
around it go on.

Row numbers are those that a spreadsheet program shows: the header is usually row 1.
"""

import codecs
import csv
import dataclasses
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from io import StringIO
from itertools import islice
from pathlib import Path

from liaison_kit.exports.formulas import MARK, unmarked
from liaison_kit.imports import encodings
from liaison_kit.imports.apart import convert_apart
from liaison_kit.imports.files import (
    DEFAULT_LIMITS,
    NOTHING_CHOSEN,
    BadFile,
    Chosen,
    EmptyFile,
    FileTooLarge,
    Limits,
    NotASpreadsheet,
    UnknownEncoding,
    UnreadableEncoding,
)
from liaison_kit.imports.layout import LOOKED_AT, TOTALS, has_header, header_place, is_total
from liaison_kit.imports.rows import Rows

CHUNK = 4000
SAMPLE = 256 << 10
DELIMITERS = "\t|;,"
"""Of those that cut a file alike the first is meant: the last stand in texts and numbers, too."""
BOMS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
OTHER_FORMATS = (
    (b"%PDF", "a PDF document"),
    (b"\xd0\xcf\x11\xe0", "an old .xls workbook or one locked by a password; save it as .xlsx"),
    (b"\x89PNG", "a picture"),
    (b"\xff\xd8\xff", "a picture"),
    (b"GIF8", "a picture"),
    (b"\x1f\x8b", "a gzip archive; unpack it first"),
    (b"7z\xbc\xaf", "a 7-Zip archive; unpack it first"),
    (b"Rar!", "a RAR archive; unpack it first"),
    (b"\x7fELF", "a program"),
    (b"{\\rtf", "a text document"),
    (b"<html", "a web page; open it in a spreadsheet program and save it as .xlsx"),
    (b"<!doctype html", "a web page; open it in a spreadsheet program and save it as .xlsx"),
    (b"<table", "a web page; open it in a spreadsheet program and save it as .xlsx"),
    (b"<?xml", "XML"),
    (b'[{"', "JSON"),
    (b'{"', "JSON"),
)
# PostgreSQL stores no NUL; a surrogate stands for a byte that the encoding doesn't know.
UNSTORABLE = re.compile("[\x00\ud800-\udfff]")
UNSTORABLE_REPLACED = re.compile("[\x00\ud800-\udfff\ufffd]")
CONTROLS = re.compile("[\x01-\x08\x0b\x0c\x0e-\x1f\x7f]")
CONTROL_BYTES = bytes([*range(0x09), 0x0B, 0x0C, *range(0x0E, 0x20), 0x7F])


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row that can't be imported: its number, its cells as far as they were read, and why."""

    number: int
    cells: Sequence[str]
    code: str
    message: str


@dataclass(slots=True)
class Chunk:
    """Some rows in order, turned into columns; `numbers[i]` is the row of each i-th value."""

    numbers: Sequence[int]
    columns: list[Sequence[str]]
    bad: list[BadRow]
    last: int
    """Number of the last row looked at, bad and blank ones included: where to go on from."""
    sums: list[int] = field(default_factory=list)
    """Rows that hold the totals of others and are none themselves."""

    def cells(self, index: int) -> list[str]:
        """The i-th good row's cells, as they stand in the file."""
        return [column[index] for column in self.columns]


@dataclass(slots=True)
class Table:
    """A file whose header has been read: what it is and how to read its rows."""

    path: Path
    encoding: str
    delimiter: str
    header: list[str]
    header_row: int
    limits: Limits = DEFAULT_LIMITS
    notes: list[str] = field(default_factory=list)
    suspicious: bool = False
    """Some bytes are unreadable or control characters: rows need a closer look."""
    uncomputed: dict[int, list[int]] = field(default_factory=dict)
    """Formulas without a stored result: columns by row number."""
    broken: dict[int, tuple[str, str]] = field(default_factory=dict)
    """Rows that can't be read, by number: a code and a sentence."""
    announced: bool = False
    """The first line is Excel's `sep=;` and belongs to no row."""
    kind: str = "csv"
    marked: bool = False
    """Some cells begin with an apostrophe that keeps spreadsheets from taking them for formulas."""
    guesses: list[encodings.Guess] = field(default_factory=list)
    """The encodings in which a file that is not Unicode makes sense, the likeliest first."""
    sheet: str | None = None
    sheets: list[str] = field(default_factory=list)
    """Of a workbook: the sheet that is read, and all that may be."""
    numbers: frozenset[int] = frozenset()
    """Of a workbook: columns with fractions that are numbers, not texts that look like some."""
    _last: int | None = None

    def chunks(self, after: int = 0, size: int = CHUNK) -> Iterator[Chunk]:
        """The rows after row number `after`, `size` at a time."""
        with self.path.open(
            encoding=self.encoding, errors=_error_handler(self.encoding), newline=""
        ) as lines:
            if self.announced:
                lines.readline()
            rows = Rows(lines, self.delimiter, len(self.header))
            number = 0
            while number < max(after, self.header_row):
                read, broken = rows.take(min(size, max(after, self.header_row) - number))
                number += len(read) + (broken is not None)
                if not read and broken is None:
                    return
            while True:
                read, broken = rows.take(size)
                if not read and broken is None:
                    return
                chunk = self._chunk(read, number + 1)
                number += len(read)
                if broken is not None:
                    number += 1
                    cells, code, message = broken
                    shown = [UNSTORABLE.sub("\ufffd", cell) for cell in cells]
                    chunk.bad.append(BadRow(number, shown, code, message))
                    chunk.last = number
                if number - self.header_row > self.limits.rows:
                    raise FileTooLarge(f"The file has more than {self.limits.rows} rows")
                yield chunk

    def lines(self) -> int:
        """About how many rows there are: the file's lines, counted without reading them."""

        with self.path.open("rb") as start:
            ends = sum(block.count(b"\n") for block in iter(lambda: start.read(1 << 20), b""))
        return max(ends - self.header_row, 0)

    def _chunk(self, rows: list[list[str]], first: int) -> Chunk:
        width = len(self.header)
        numbers: Sequence[int] = range(first, first + len(rows))
        last = first + len(rows) - 1
        bad: list[BadRow] = []
        clean = set(map(len, rows)) == {width} and all(map(str.strip, map("".join, rows)))
        if not clean or self.suspicious or self.uncomputed or self.broken:
            kept: list[list[str]] = []
            kept_numbers: list[int] = []
            for number, row in zip(numbers, rows, strict=True):
                if len(row) > width and not any(row[width:]):
                    row = row[:width]
                if not "".join(row).strip():
                    continue
                problem = self._problem(number, row)
                if problem is None:
                    if self.suspicious:
                        row = [CONTROLS.sub("", cell) for cell in row]
                    kept.append(row)
                    kept_numbers.append(number)
                else:
                    bad.append(BadRow(number, [UNSTORABLE.sub("\ufffd", c) for c in row], *problem))
            rows, numbers = kept, kept_numbers
        columns: list[Sequence[str]] = list(zip(*rows, strict=True)) if rows else [()] * width
        sums: list[int] = []
        if not all(map(TOTALS.isdisjoint, columns)):
            sums = [n for n, row in zip(numbers, rows, strict=True) if self._is_sum(n, row)]
        if sums:
            kept_rows = [(n, r) for n, r in zip(numbers, rows, strict=True) if n not in sums]
            numbers = [number for number, _ in kept_rows]
            columns = list(zip(*(row for _, row in kept_rows), strict=True)) or [()] * width
        if self.marked:
            columns = [list(map(unmarked, column)) for column in columns]
        return Chunk(numbers, columns, bad, last, sums)

    def _is_sum(self, number: int, row: Sequence[str]) -> bool:
        if not is_total(row, last=True):
            return False
        if self._last is None:
            # Few files have such a row, so few are read once more to see where they end.
            self._last = self._last_row()
        return is_total(row, last=number == self._last)

    def _last_row(self) -> int:
        with self.path.open(
            encoding=self.encoding, errors=_error_handler(self.encoding), newline=""
        ) as lines:
            if self.announced:
                lines.readline()
            rows = Rows(lines, self.delimiter, len(self.header))
            number = last = 0
            while True:
                read, broken = rows.take(CHUNK)
                for place, row in enumerate(read, start=number + 1):
                    if "".join(row).strip():
                        last = place
                number += len(read) + (broken is not None)
                if broken is not None:
                    last = number
                elif not read:
                    return last

    def _problem(self, number: int, row: list[str]) -> tuple[str, str] | None:
        if len(row) != len(self.header):
            return (
                "ragged_row",
                f"Row {number} has {len(row)} cells where the header has {len(self.header)}",
            )
        if self.suspicious:
            unreadable = _unreadable(self.encoding)
            for name, cell in zip(self.header, row, strict=True):
                if found := unreadable.search(cell):
                    if found[0] == "\0":
                        return "nul_character", f"{name}: the cell holds a NUL character"
                    return (
                        "invalid_bytes",
                        f"{name}: the cell holds bytes that are not valid {self.encoding}",
                    )
        if number in self.broken:
            return self.broken[number]
        if number in self.uncomputed:
            names = ", ".join(self.header[i] for i in self.uncomputed[number])
            return (
                "formula_without_value",
                f"{names}: the formula has no stored result; open the workbook and save it again",
            )
        return None


def spool(parts: Iterable[bytes], folder: Path, limits: Limits = DEFAULT_LIMITS) -> Path:
    """Write a file that comes in parts to disk, within the size limit."""
    size = 0
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".upload", delete=False) as out:
        for part in parts:
            size += len(part)
            if size > limits.file_bytes:
                raise FileTooLarge(f"The file is over {limits.file_bytes >> 20} MiB")
            out.write(part)
    return Path(out.name)


def open_table(
    path: Path, limits: Limits = DEFAULT_LIMITS, chosen: Chosen = NOTHING_CHOSEN
) -> Table:
    """Find out what the file is and read its header, or raise a `BadFile` that says why not."""
    size = path.stat().st_size
    if size == 0:
        raise EmptyFile("The file is empty (0 bytes)")
    if size > limits.file_bytes:
        raise FileTooLarge(f"The file is over {limits.file_bytes >> 20} MiB")
    with path.open("rb") as start:
        sample = start.read(SAMPLE)
    if sample.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return _open_workbook(path, limits, chosen.sheet)
    begin = sample[:200].removeprefix(codecs.BOM_UTF8).lstrip().lower()
    for magic, what in OTHER_FORMATS:
        if sample.startswith(magic) or begin.startswith(magic):
            raise NotASpreadsheet(f"The file is {what}")
    if chosen.encoding is None:
        encoding, suspicious, guesses = detect_encoding(path, sample)
    else:
        encoding, guesses = _known(chosen.encoding), []
        if encoding == "utf-8" and sample.startswith(codecs.BOM_UTF8):
            encoding = "utf-8-sig"
        suspicious = _has_controls(path, encoding)
    if _is_cards(sample, encoding):
        table = _open_cards(path, encoding, limits)
    else:
        table = _open_csv(path, encoding, suspicious, limits, chosen.delimiter)
    table.guesses = guesses
    if guesses:
        table.notes.append(_told(guesses))
    table.marked = table.kind == "csv" and _has_marks(path, encoding)
    if table.marked:
        table.header = [unmarked(name) for name in table.header]
    return table


def _known(chosen: str) -> str:
    encoding = encodings.known(chosen)
    if encoding is None:
        raise UnknownEncoding(
            f"{chosen} is no encoding that is known here; utf-8, windows-1252, windows-1251 and"
            " shift_jis are some"
        )
    return encoding


def _told(guesses: Sequence[encodings.Guess]) -> str:
    """What is said of an encoding that was guessed, with what would have been read otherwise."""
    first, *others = guesses
    told = f"The file is not Unicode; it is read as {first.label}"
    if first.sample:
        told += f": {first.sample}"
    others = [other for other in others if other.sample.replace("\ufffd", "\0").isprintable()]
    if others:
        named = "; ".join(f"{other.encoding}: {other.sample}" for other in others[:3])
        told += f". If the letters are wrong, choose the encoding ({named})"
    return told


def _open_csv(
    path: Path, encoding: str, suspicious: bool, limits: Limits, delimiter: str | None = None
) -> Table:
    with path.open(encoding=encoding, errors=_error_handler(encoding), newline="") as lines:
        first = lines.readline(SAMPLE)
        sample = lines.read(SAMPLE)
    announced = re.fullmatch(r"\"?sep=([,;\t|])\"?\r?\n?", first, re.I)
    if not announced:
        sample = first + sample
    delimiter = delimiter or (announced[1] if announced else sniff_delimiter(sample))
    notes: list[str] = []
    number, cells = _find_header(sample, delimiter, notes)
    while cells and not cells[-1].strip():
        cells.pop()
    if len(cells) > limits.columns:
        raise FileTooLarge(f"The file has {len(cells)} columns; the limit is {limits.columns}")
    if any(_unreadable(encoding).search(cell) for cell in cells):
        raise UnreadableEncoding(f"The header holds bytes that are not valid {encoding}")
    if suspicious:
        notes.append("Some rows may hold unreadable or control characters")
    return Table(
        path=path,
        encoding=encoding,
        delimiter=delimiter,
        header=name_columns([CONTROLS.sub("", cell) for cell in cells], notes),
        header_row=number,
        limits=limits,
        notes=notes,
        suspicious=suspicious,
        announced=announced is not None,
    )


def _find_header(sample: str, delimiter: str, notes: list[str]) -> tuple[int, list[str]]:
    """The header's row number and cells: the first row with content that isn't a mere title.

    Where there is none, what the columns are called by their places.
    """
    rows: list[tuple[int, list[str]]] = []
    reader = csv.reader(StringIO(sample, newline=""), delimiter=delimiter)
    try:
        for number, cells in enumerate(reader, start=1):
            if any(cell.strip() for cell in cells):
                rows.append((number, cells))
            if len(rows) == LOOKED_AT:
                break
    except csv.Error as error:
        if not rows:
            raise NotASpreadsheet(f"The header can't be read: {error}") from error
    if not rows:
        raise EmptyFile("The file holds nothing but blank lines")
    place = header_place([cells for _, cells in rows])
    for number, cells in rows[:place]:
        notes.append(f"Row {number} is taken for a title: {next(c for c in cells if c.strip())}")
    number, cells = rows[place]
    if not has_header([cells for _, cells in rows[place:]]):
        notes.append(
            f"The file has no header: row {number} holds values. Its columns are called by their"
            " places"
        )
        width = max(len(cells) for _, cells in rows[place:])
        return number - 1, [f"column {position}" for position in range(1, width + 1)]
    return number, list(cells)


def _open_workbook(path: Path, limits: Limits, wanted: str | None) -> Table:
    target = path.with_suffix(".sheet.csv")
    told = convert_apart(
        "liaison_kit.imports.workbook", path, target, dataclasses.asdict(limits), wanted
    )
    if "error" in told:
        raise _named(told["error"])(told["detail"])
    try:
        table = _open_csv(target, "utf-8", True, limits)
    except BadFile:
        target.unlink(missing_ok=True)
        raise
    table.kind = "xlsx"
    # The child writes valid UTF-8; control characters in a workbook are rare but cheap to look for.
    table.suspicious = _has_controls(target)
    table.notes = [note for note in table.notes if "unreadable" not in note]
    table.sheet, table.sheets = told["sheet"], told["sheets"]
    table.numbers = frozenset(told["numbers"])
    if len(table.sheets) > 1:
        others = ", ".join(name for name in table.sheets[:10] if name != table.sheet)
        table.notes.append(f"The sheet {table.sheet} is read; the workbook also has {others}")
    if told["merged_cells"]:
        table.notes.append(
            f"{told['merged_cells']} merged cells take the value they are merged with"
        )
    errors, *first = told["errors"]
    if first:
        row, error = first[0]
        table.notes.append(
            f"Cells that hold an error, as {error} in row {row + 1}, are read as blank ({errors})"
        )
    for row, column in told["uncomputed"]:
        if column < len(table.header):
            table.uncomputed.setdefault(row + 1, []).append(column)
    return table


def _is_cards(sample: bytes, encoding: str) -> bool:
    begin = sample[:1000].decode(encoding, "ignore").lstrip("\ufeff \t\r\n")
    return begin[:11].upper() == "BEGIN:VCARD"


def _open_cards(path: Path, encoding: str, limits: Limits) -> Table:
    target = path.with_suffix(".cards.csv")
    told = convert_apart(
        "liaison_kit.imports.cards", path, target, dataclasses.asdict(limits), encoding
    )
    if "error" in told:
        raise _named(told["error"])(told["detail"])
    table = _open_csv(target, "utf-8", False, limits, ",")
    table.kind = "vcard"
    table.suspicious = _has_controls(target)
    # The header is row 1, as in any table.
    table.broken = {number + 1: (code, message) for number, code, message in told["broken"]}
    if told["left_out"]:
        what = ", ".join(f"{name} ({count})" for name, count in told["left_out"])
        table.notes.append(f"The cards also hold what is not imported: {what}")
    return table


def _named(code: str) -> type[BadFile]:
    return next(error for error in BadFile.__subclasses__() if error.code == code)


def _error_handler(encoding: str) -> str:
    return "surrogateescape" if encoding in ("utf-8", "utf-8-sig") else "replace"


def _unreadable(encoding: str) -> re.Pattern[str]:
    return UNSTORABLE if encoding in ("utf-8", "utf-8-sig") else UNSTORABLE_REPLACED


def name_columns(cells: Sequence[str], notes: list[str]) -> list[str]:
    """Column names that differ: a blank one is called by its position, a repeated one numbered."""
    names: list[str] = []
    seen: Counter[str] = Counter()
    for position, cell in enumerate(cells, start=1):
        name = " ".join(cell.split())[:200]
        if not name:
            name = f"column {position}"
            notes.append(f"Column {position} has no name in the header")
        seen[name] += 1
        if seen[name] > 1:
            notes.append(f"The header has {name} more than once")
            while (numbered := f"{name} ({seen[name]})") in seen:
                seen[name] += 1
            seen[numbered] += 1
            name = numbered
        names.append(name)
    return names


def sniff_delimiter(sample: str) -> str:
    """The delimiter that cuts the sample's rows most evenly, the header like the rows below it.

    One that cuts quoted cells in two is none, and one that leaves the first line whole is not
    believed before others. A comma when none does: what stands in one column only may hold any.
    """
    best, best_score = ",", (False, False, 0.0, 0)
    lines = list(islice(StringIO(sample, newline=""), 200))
    if len(sample) >= SAMPLE and len(lines) > 1:
        lines.pop()
    for delimiter in DELIMITERS:
        if delimiter not in sample:
            continue
        try:
            rows = [row for row in csv.reader(lines, delimiter=delimiter) if any(row)]
        except csv.Error:
            continue
        widths = Counter(map(len, rows))
        width, times = max(widths.items(), key=lambda item: (item[0] > 1, item[1]), default=(1, 0))
        if width > 1:
            place = header_place(rows)
            header = len(rows[place])
            torn = sum(any(cell.count('"') % 2 for cell in row) for row in rows)
            if header == 1 or torn > len(rows) // 2:
                continue
            score = header == width, place == 0, round(times / widths.total(), 1), width
            if score > best_score:
                best, best_score = delimiter, score
    return best


def detect_encoding(path: Path, sample: bytes) -> tuple[str, bool, list[encodings.Guess]]:
    """The file's encoding, whether some characters need a closer look, what it might be else."""
    for bom, encoding in BOMS:
        if sample.startswith(bom):
            return encoding, _has_controls(path, encoding), []
    if zeros := sample.count(0):
        for encoding in ("utf-16-le", "utf-16-be"):
            if _is_utf_16(sample, encoding):
                return encoding, _has_controls(path, encoding), []
        if zeros > len(sample) // 5:
            raise NotASpreadsheet("The file is binary data, not text")
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    invalid = valid = 0
    controls = False
    foreign = b""
    with path.open("rb") as start:
        while block := start.read(1 << 20):
            if not controls:
                controls = len(block.translate(None, CONTROL_BYTES)) != len(block)
            if block.isascii():
                continue
            if len(foreign) < SAMPLE:
                foreign += b"".join(_FOREIGN.findall(block))[:SAMPLE]
            decoded = decoder.decode(block)
            wrong = len(re.findall("[\udc80-\udcff]", decoded))
            invalid += wrong
            valid += sum(1 for c in decoded if c > "\x7f") - wrong if wrong else 1
    if not invalid:
        return "utf-8", controls, []
    if valid > invalid:
        return "utf-8", True, []
    binary = len(sample) - len(sample.translate(None, CONTROL_BYTES))
    if binary > len(sample) // 20:
        raise NotASpreadsheet("The file is binary data, not text")
    guesses = encodings.guess(foreign)
    if not guesses:
        raise UnreadableEncoding("Save the file as CSV UTF-8 and try again")
    return guesses[0].encoding, controls, guesses


def _is_utf_16(sample: bytes, encoding: str) -> bool:
    """Whether bytes with zeros among them are text of two bytes a character, without a mark.

    Its line ends and delimiters, at least, are ASCII, and nothing in it is unassigned.
    """
    text = sample[: len(sample) & ~1].decode(encoding, "replace").rstrip("\ufffd")
    plain = text.translate(_LINE_ENDS)
    return len(plain) < len(text) and plain.isprintable() and any(c in text for c in ",;\t|")


_LINE_ENDS = dict.fromkeys(map(ord, "\r\n\t"))
_FOREIGN = re.compile(rb"[^\n]*[\x80-\xff][^\n]*\n?")
"""Lines with something beyond ASCII: only they tell an encoding."""


def _has_marks(path: Path, encoding: str) -> bool:
    if encoding.startswith(("utf-16", "utf-32")):
        return True
    with path.open("rb") as start:
        end = b""
        while block := start.read(1 << 20):
            if MARK.search(end + block):
                return True
            end = block[-1:]
    return False


def _has_controls(path: Path, encoding: str = "utf-8") -> bool:
    pattern = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff\ufffd]")
    with path.open(encoding=encoding, errors=_error_handler(encoding), newline="") as lines:
        while block := lines.read(1 << 20):
            if pattern.search(block):
                return True
    return False
