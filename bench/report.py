"""The table: each figure beside its target, with a verdict that is never rounded in its favour."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any, Literal

import psycopg2

Verdict = Literal["met", "NOT MET", ""]


def say(line: str = "") -> None:
    """Tell the person at the terminal."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def progress(line: str) -> None:
    """Tell what is being done, beside the table."""
    sys.stderr.write(f"… {line}\n")
    sys.stderr.flush()


@dataclass(slots=True)
class Line:
    """A line of the table."""

    section: str
    what: str
    figure: float
    unit: str
    target: str = ""
    verdict: Verdict = ""
    note: str = ""


class Report:
    """Collects lines and raw figures."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self.raw: dict[str, Any] = {}

    def add(
        self,
        section: str,
        what: str,
        figure: float,
        unit: str,
        *,
        most: float | None = None,
        least: float | None = None,
        note: str = "",
    ) -> None:
        """A figure; `most` or `least` is its target."""
        target, verdict = "", ""
        if most is not None:
            target, verdict = f"≤ {most:g}", "met" if figure <= most else "NOT MET"
        if least is not None:
            target, verdict = f"≥ {least:g}", "met" if figure >= least else "NOT MET"
        self.lines.append(Line(section, what, figure, unit, target, verdict, note))  # type: ignore[arg-type]

    @contextmanager
    def part(self, section: str) -> Iterator[None]:
        """A part that breaks is told as such, and the others are measured all the same."""
        try:
            yield
        except (RuntimeError, OSError, psycopg2.Error) as error:
            reason = f"{type(error).__name__}: {error}"
            progress(f"{section} could not be measured: {reason}")
            self.raw[f"{section}, could not be measured"] = reason
            note = f"could not be measured: {reason.splitlines()[0][:200]}"
            self.lines.append(Line(section, "", float("nan"), "", "", "NOT MET", note))

    def table(self) -> None:
        """Print all lines."""
        section = ""
        for line in self.lines:
            if line.section != section:
                section = line.section
                say(f"\n{section}")
            shown = f"{_shown(line.figure)} {line.unit}"
            text = (
                f"  {line.what:<50} {shown:>16}  {line.target:>10}  {line.verdict:<7}  {line.note}"
            )
            say(text.rstrip())
        verdicts = [line.verdict for line in self.lines if line.verdict]
        say(f"\n{verdicts.count('met')} of {len(verdicts)} targets met.")

    def plain(self) -> dict[str, Any]:
        """For the JSON."""
        return {"lines": [asdict(line) for line in self.lines], "raw": self.raw}


def _shown(figure: float) -> str:
    size = abs(figure)
    return f"{figure:,.0f}" if size >= 1000 else f"{figure:.4g}" if size >= 1 else f"{figure:.3f}"
