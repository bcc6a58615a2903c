"""The rows of a CSV text, however its quotes are set: what can't be right costs its row only."""

import csv
import re
from collections.abc import Iterator
from itertools import islice
from typing import TextIO

SHOWN_CELL = 30_000
"""So much of a cell is shown where a row is reported: what a spreadsheet's cell can hold."""


class Rows:
    """The rows of a text, some at a time; a row whose quotes can't be right ends what is taken.

    A quote that nobody closes takes the rows that follow into its cell, up to the next quote or the
    end of the file. Then the line that opened it is the broken one, and reading goes on behind it.
    """

    def __init__(self, lines: TextIO, delimiter: str, width: int) -> None:
        self._file = lines
        self._delimiter = delimiter
        self._width = width
        self._pending: list[str] = []
        """Lines to read once more, the last first."""
        self._seen: list[str] = []
        """The lines of what is being taken."""
        self._reader = csv.reader(self._lines(), delimiter=delimiter)
        cut = re.escape(delimiter)
        self._stray = re.compile(rf'"(?<=[^{cut}"\r\n]")(?=[^{cut}"\r\n])')
        """A quote in the midst of a cell."""
        self._step = 1 << 20
        """How many rows are read at once: few behind a broken one, as others may follow."""

    def take(self, size: int) -> tuple[list[list[str]], tuple[list[str], str, str] | None]:
        """The next rows, and the broken one that follows them: its cells, a code and a sentence."""
        taken: list[list[str]] = []
        while len(taken) < size:
            wanted = min(size - len(taken), self._step)
            self._seen.clear()
            rows: list[list[str]] = []
            long = False
            try:
                # extend() keeps what came before an error, unlike list().
                rows.extend(islice(self._reader, wanted))
            except csv.Error:
                long = True
            if long or len(self._seen) > len(rows):
                # Cells of several lines: most often somebody's address, else an open quote.
                good, broken = self._look(rows, long)
                if broken is not None:
                    self._step = 1
                    return taken + rows[:good], broken
            elif self._stray.search("".join(self._seen)):
                rows = list(map(self._mended, rows, self._seen))
            taken += rows
            self._step = min(self._step * 2, 1 << 20)
            if len(rows) < wanted:
                break
        return taken, None

    def _lines(self) -> Iterator[str]:
        pending, keep = self._pending, self._seen.append
        while True:
            line = pending.pop() if pending else self._file.readline()
            if not line:
                return
            keep(line)
            yield line
            if not pending:
                break
        for line in self._file:
            keep(line)
            yield line

    def _mended(self, row: list[str], line: str) -> list[str]:
        """The row of a line in which somebody quotes within quotes: the reader loses some."""
        if self._stray.search(line):
            try:
                list(csv.reader([line], delimiter=self._delimiter, strict=True))
            except csv.Error:
                return list(map(_unquoted, split(line, self._delimiter)))
        return row

    def _look(
        self, rows: list[list[str]], long: bool
    ) -> tuple[int, tuple[list[str], str, str] | None]:
        """How many of the rows are good, and the broken one behind them if there is one."""
        seen, count = list(self._seen), len(rows)
        start = 0
        for row in range(count + long):
            end = self._end(seen, start)
            last = row == count
            if last or (end - start > 1 and self._is_broken(seen[start:end])):
                first = seen[start]
                self._again(seen[start + 1 :])
                if last and len(first) > csv.field_size_limit():
                    limit = csv.field_size_limit()
                    why = "too_long", f"A cell of the row has more than {limit:,} characters"
                else:
                    why = "unclosed_quote", "A quote is opened in this row and never closed"
                return row, (split(first, self._delimiter), *why)
            if end - start == 1:
                rows[row] = self._mended(rows[row], seen[start])
            start = end
        return count, None

    def _end(self, seen: list[str], start: int) -> int:
        """Where the row that begins with this line ends."""
        if '"' not in seen[start]:
            return start + 1
        reader = csv.reader(islice(seen, start, None), delimiter=self._delimiter)
        try:
            next(reader, None)
        except csv.Error:
            return len(seen)
        return start + max(reader.line_num, 1)

    def _is_broken(self, lines: list[str]) -> bool:
        """Whether a row of several lines is none: its quotes or its cells don't fit."""
        cuts = [line.count(self._delimiter) for line in lines[1:]]
        try:
            (row,) = csv.reader(lines, delimiter=self._delimiter, strict=True)
        except csv.Error as error:
            # Somebody's remarks may hold a quote too many; what is cut like rows is no remark.
            return "unexpected end" in str(error) or any(cuts)
        return len(row) != self._width and max(cuts) >= self._width - 1

    def _again(self, lines: list[str]) -> None:
        """Read these lines again, before what follows in the file."""
        self._pending += reversed(lines)
        self._reader = csv.reader(self._lines(), delimiter=self._delimiter)


def split(line: str, delimiter: str) -> list[str]:
    """The cells of a line whose quotes don't fit or that is too long, as well as can be told."""
    cell = re.compile(rf'"((?:[^"]|"")*)"(?={re.escape(delimiter)}|$)|([^{re.escape(delimiter)}]*)')
    bare = line.rstrip("\r\n")
    cells: list[str] = []
    place = 0
    while place <= len(bare):
        found = cell.match(bare, place)
        assert found is not None
        text = found[2] if found[1] is None else found[1].replace('""', '"')
        cells.append(text if len(text) <= SHOWN_CELL else f"{text[:SHOWN_CELL]}…")
        place = found.end() + 1
    return cells


def _unquoted(cell: str) -> str:
    """A cell that is in quotes as a whole, with other quotes in it: `"he said "yes" twice"`."""
    inner = cell[1:-1]
    first = inner.find('"')
    whole = len(cell) > 1 and cell[0] == cell[-1] == '"'
    # In `"a" and "b"` the first quote within is one that closes.
    return inner if whole and (first <= 0 or inner[first - 1].isspace()) else cell
