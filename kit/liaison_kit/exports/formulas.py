"""Cells that a spreadsheet would take for formulas, and how they become texts and back.

What begins with `=`, `+`, `-`, `@`, a tab or a carriage return may be a formula, and a formula may
run programs. A text that begins so gets an apostrophe in front, which is how spreadsheets mark
texts. To be told from it, a text that begins with apostrophes and then such a character gets one
more. An import takes one off, so that what was exported comes back as it was: `+33 6 12 …` travels
as `'+33 6 12 …`.
"""

import re

_BEGINS = re.compile(r"'*[=+\-@\t\r]")
_MARKED = re.compile(r"''*[=+\-@\t\r]")

MARK = re.compile(rb"'[=+\-@\t\r]")
"""What a file has somewhere that has such a cell."""


def marked(text: str) -> str:
    """A text as a cell that no spreadsheet takes for a formula."""
    return f"'{text}" if _BEGINS.match(text) else text


def unmarked(cell: str) -> str:
    """The text that a cell was made of."""
    return cell[1:] if _MARKED.match(cell) else cell
