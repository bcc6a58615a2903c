"""How things look at the terminal: answers on standard output, what is going on beside it."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TaskProgressColumn,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Table
from rich.text import Text

# Wide enough that a table in a file or a pipe is not folded.
UNBOUNDED = 4000


def out() -> Console:
    """For what was asked for."""
    return _console(sys.stdout)


def err() -> Console:
    """For everything beside it, so that output can go into a file or another program."""
    return _console(sys.stderr)


def _console(file: Any) -> Console:
    # Made anew each time: tests and pipes change what the standard streams are.
    width = None if file.isatty() else UNBOUNDED
    return Console(file=file, width=width, highlight=False, soft_wrap=True)


def is_terminal() -> bool:
    """Whether somebody sits there who can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def plain(value: Any) -> str:
    """A value as text without characters that a terminal would obey."""
    text = "" if value is None else str(value)
    return "".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text)


def say(text: str = "", style: str = "") -> None:
    """Tell what was asked for."""
    out().print(Text(plain(text), style=style))


def note(text: str = "", style: str = "") -> None:
    """Tell what is going on."""
    err().print(Text(plain(text), style=style))


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    right: Iterable[str] = (),
    last: Sequence[Any] | None = None,
    aside: bool = False,
) -> None:
    """Show rows under a header; `right` names the columns of numbers, `last` is a total.

    `aside` puts it beside what was asked for, as `note` does.
    """
    numbers = set(right)
    drawn = Table(box=SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for name in columns:
        justify: Any = "right" if name in numbers else "left"
        drawn.add_column(Text(name), justify=justify, overflow="fold")
    for row in rows:
        drawn.add_row(*map(_cell, row))
    if last is not None:
        drawn.add_section()
        drawn.add_row(*map(_cell, last), style="bold")
    console = err() if aside else out()
    with console.capture() as drawing:
        console.print(drawn, soft_wrap=False)
    # A table pads its last column; in a file that would be blanks at every line's end.
    lines = [line.rstrip() for line in drawing.get().splitlines()]
    console.file.write("\n".join(lines) + "\n")


def _cell(value: Any) -> Text:
    return value if isinstance(value, Text) else Text(plain(value))


def document(value: Any) -> None:
    """Show JSON, in colours for a person, plain for a program."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    console = out()
    if console.is_terminal:
        console.print_json(text, ensure_ascii=False)
    else:
        console.file.write(text + "\n")


def number(value: Any) -> str:
    """A count with its thousands apart."""
    return "" if value is None else f"{value:,}"


def money(amounts: Sequence[Mapping[str, str]]) -> str:
    """One amount per currency, each on a line of its own."""
    return "\n".join(f"{amount(one['amount'])} {one['currency']}" for one in amounts)


def amount(decimal: str) -> str:
    """A decimal with its thousands apart, to the cent as it came; never through a float."""
    sign, digits = ("-", decimal[1:]) if decimal.startswith("-") else ("", decimal)
    whole, point, cents = digits.partition(".")
    return f"{sign}{int(whole or 0):,}{point}{cents}"


def when(moment: str | None) -> str:
    """A moment to the second, as the server said it (UTC)."""
    return "" if not moment else moment[:19].replace("T", " ")


@contextmanager
def progress(what: str, total: int | None = None, *, counted: bool = True) -> Iterator["Bar"]:
    """A bar while something goes on, in steps or in percent; nothing where there is no terminal."""
    console = err()
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn() if counted else TaskProgressColumn(),
        TimeElapsedColumn(),
    )
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        yield Bar(bar, bar.add_task(plain(what), total=total))


class Bar:
    """How far something has come."""

    def __init__(self, drawn: Progress, task: Any) -> None:
        self._drawn = drawn
        self._task = task

    def at(self, done: int, total: int | None = None) -> None:
        """It has come this far."""
        if total is None:
            self._drawn.update(self._task, completed=done)
        else:
            self._drawn.update(self._task, completed=done, total=total)

    def advance(self, steps: int = 1) -> None:
        """It has come further."""
        self._drawn.advance(self._task, steps)
