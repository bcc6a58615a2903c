"""Preparing: a chunk of the file becomes table columns, column by column.

What fails on the way is told by row; rows that have to wait for others of the file are left out.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import compress
from typing import Any, NamedTuple

from liaison_kit.exports.columns import LIAISON_ID
from liaison_kit.imports.converting import Invalid, shown
from liaison_kit.imports.fields import Batch, table_columns
from liaison_kit.imports.planning import Feed, Plan
from liaison_kit.imports.reading import Chunk
from liaison_sdk.types import rounded


class Problem(NamedTuple):
    """Why a row fails: the column of the file (none for the row as such), a code, what to read."""

    column: str
    code: str
    message: str


@dataclass(slots=True)
class Prepared:
    """A chunk turned into table columns, with the rows that failed on the way."""

    chunk: Chunk
    places: Sequence[int]
    """Of each row to write, its place in the chunk."""
    columns: dict[str, Sequence[str]]
    failed: dict[int, list[Problem]]
    """By place in the chunk."""
    left_out: dict[int, list[Problem]]
    """By place in the chunk: what is no good, of rows that come in without it."""
    beside: dict[str, Sequence[str]]
    """What the rows to write say beside their records, by field."""


class Preparing:
    """Turns chunks into table columns; remembers the keys it has seen in this file."""

    def __init__(self, found: Plan, only: Mapping[str, frozenset[str]] | None = None) -> None:
        self.plan = found
        self.only = only
        """In a later round: the values that rows waited for; all other rows are done."""
        self.defaults = found.defaults.keys()
        """Columns whose defaults are for new records only, which is known when they are written."""
        self.first_seen: dict[str, int] = {}
        alone = found.importable.unique_keys - {found.key}
        self.unique = [feed for feed in found.feeds if feed.spec.name in alone]
        """Columns besides the key in which no value is there twice, each with what it has had."""
        self.had: list[dict[str, int]] = [{} for _ in self.unique]

    def prepare(self, chunk: Chunk) -> Prepared:
        """Convert one chunk, column by column."""
        found = self.plan
        size = len(chunk.numbers)
        failed: dict[int, list[Problem]] = {}
        left_out: dict[int, list[Problem]] = {}
        values: dict[str, Sequence[str]] = {}
        skipped: set[int] = set()
        if self.only is not None:
            skipped |= set(range(size)) - self._places(chunk, self.only)
        if found.waiting:
            skipped |= self._places(chunk, found.waiting)
        for feed in found.feeds:
            spec = feed.spec
            converted = feed.convert(chunk.columns[feed.position])
            column: Sequence[str] = converted.values
            for place, problem in converted.problems.items():
                if place not in skipped:
                    failed.setdefault(place, []).append(
                        Problem(feed.column, problem.code, problem.message)
                    )
            for place, problem in converted.left_out.items():
                left_out.setdefault(place, []).append(
                    Problem(feed.column, problem.code, f"{problem.message}; it is left out")
                )
            later = (spec.column or spec.name) in self.defaults
            if spec.default and not later and "" in column:
                column = [value or spec.default for value in column]
            if spec.required and not later and "" in column:
                self._demand(feed, column, converted.problems, skipped, failed)
            values[spec.name] = column
            if converted.currencies is not None:
                values[f"{spec.name} currency"] = converted.currencies
        for feed in found.feeds:
            if feed.spec.kind == "currency":
                _take_currencies(values, feed.spec.name)
        for feed in found.feeds:
            if feed.spec.kind == "money":
                _in_minor_units(chunk, feed, values, skipped, failed)
        for spec in found.constants:
            later = (spec.column or spec.name) in self.defaults
            values[spec.name] = ["" if later else spec.default] * size
        if found.key is not None:
            self._check_keys(chunk, self._keys(values), skipped, failed)
        for feed, had in zip(self.unique, self.had, strict=True):
            _refuse_repeated(chunk, feed, values[feed.spec.name], had, skipped, failed)
        places: Sequence[int] = range(size)
        if failed or skipped:
            keep = [place not in failed and place not in skipped for place in range(size)]
            places = list(compress(range(size), keep))
            values = {name: list(compress(column, keep)) for name, column in values.items()}
        for place in list(left_out):
            if place in failed or place in skipped:
                failed.get(place, []).extend(left_out.pop(place))
        batch = Batch(len(places), values, found.country)
        columns = table_columns(found.importable, found.specs, batch)
        beside = {
            name: values[name]
            for spec in found.specs
            if spec.beside
            for name in (spec.name, f"{spec.name} currency")
            if name in values
        }
        return Prepared(chunk, places, columns, failed, left_out, beside)

    def _keys(self, values: Mapping[str, Sequence[str]]) -> Sequence[str]:
        """What must not be twice in the file; of a mere name, all that is said with it."""
        key = self.plan.key or ""
        if not self.plan.loose:
            return values[key]
        return [
            "\x1f".join(row) if name else ""
            for name, row in zip(values[key], zip(*values.values(), strict=True), strict=True)
        ]

    def _places(self, chunk: Chunk, raws: Mapping[str, frozenset[str]]) -> set[int]:
        places: set[int] = set()
        for feed in self.plan.feeds:
            wanted = raws.get(feed.column)
            if wanted:
                column = chunk.columns[feed.position]
                places |= {place for place, raw in enumerate(column) if raw in wanted}
        return places

    @staticmethod
    def _demand(
        feed: Feed,
        column: Sequence[str],
        problems: Mapping[int, Invalid],
        skipped: set[int],
        failed: dict[int, list[Problem]],
    ) -> None:
        message = f"{feed.spec.label['en']} is required"
        for place, value in enumerate(column):
            if not value and place not in problems and place not in skipped:
                failed.setdefault(place, []).append(Problem(feed.column, "missing", message))

    def _check_keys(
        self,
        chunk: Chunk,
        keys: Sequence[str],
        skipped: set[int],
        failed: dict[int, list[Problem]],
    ) -> None:
        name = self.plan.key or ""
        column = next(feed.column for feed in self.plan.feeds if feed.spec.name == name)
        first_seen = self.first_seen
        fresh = dict(zip(keys, chunk.numbers, strict=True))
        if (
            len(fresh) == len(keys)
            and not skipped
            and not failed
            and "" not in fresh
            and name not in self.plan.importable.match
            and first_seen.keys().isdisjoint(fresh)
        ):
            first_seen |= fresh
            return
        # A key that a service matches in its own way is taken to ignore case.
        folded = [k.casefold() for k in keys] if name in self.plan.importable.match else keys
        for place, (key, number) in enumerate(zip(folded, chunk.numbers, strict=True)):
            if place in failed:
                # Another of this key may come in instead.
                continue
            if place in skipped:
                # It comes in another round, and is the first all the same.
                first_seen.setdefault(key, number)
                continue
            if not key and name == LIAISON_ID:
                # Somebody who was added to an exported file.
                continue
            if not key:
                told = f"The row has no {column} to recognise it by"
                failed.setdefault(place, []).append(Problem(column, "missing_key", told))
            elif (first := first_seen.setdefault(key, number)) != number:
                same = "says the same" if self.plan.loose else f"has the same {column}"
                told = f"Row {first} {same}"
                failed.setdefault(place, []).append(Problem(column, "duplicate_key", told))


def _refuse_repeated(
    chunk: Chunk,
    feed: Feed,
    values: Sequence[str],
    had: dict[str, int],
    skipped: set[int],
    failed: dict[int, list[Problem]],
) -> None:
    for place, (value, number) in enumerate(zip(values, chunk.numbers, strict=True)):
        if place in failed:
            continue
        if value and (first := had.setdefault(value, number)) != number and place not in skipped:
            told = f"Row {first} has the same {feed.column}"
            failed.setdefault(place, []).append(Problem(feed.column, "duplicate_key", told))


def _take_currencies(values: dict[str, Sequence[str]], name: str) -> None:
    """The currencies of amounts, from the column that has them."""
    usual = f"{name.removesuffix('_currency')} currency"
    if usual in values:
        pairs = zip(values[name], values[usual], strict=True)
        values[usual] = [(given or was) if was else "" for given, was in pairs]


def _in_minor_units(
    chunk: Chunk,
    feed: Feed,
    values: dict[str, Sequence[str]],
    skipped: set[int],
    failed: dict[int, list[Problem]],
) -> None:
    """Amounts with the decimals of their currency, which may be in another column."""
    name = feed.spec.name
    known: dict[tuple[str, str], str | None] = {("", ""): ""}
    found: list[str] = []
    pairs = zip(values[name], values[f"{name} currency"], strict=True)
    for place, (amount, currency) in enumerate(pairs):
        if (amount, currency) not in known:
            exact, told = Decimal(amount or 0), rounded(Decimal(amount or 0), currency)
            known[amount, currency] = None if exact != told else f"{told:f}" if amount else ""
        value = known[amount, currency]
        if value is None and place not in skipped:
            said = shown(chunk.columns[feed.position][place])
            why = f"{said} has more decimals than {currency} has"
            failed.setdefault(place, []).append(Problem(feed.column, "too_many_decimals", why))
        found.append(value or "")
    values[name] = found


def show(found: Plan, chunk: Chunk) -> list[tuple[int, dict[str, str], list[dict[str, Any]]]]:
    """A few rows for a person to look at: number, values by field, errors."""
    preparing = Preparing(found)
    prepared = preparing.prepare(chunk)
    shown = []
    values = {
        feed.spec.name: chunk.columns[feed.position]
        # A name tells a person more than the id that it stands for.
        if feed.spec.kind == "reference"
        else feed.convert(chunk.columns[feed.position]).values
        for feed in found.feeds
    }
    for place, number in enumerate(chunk.numbers):
        whys = (*prepared.failed.get(place, ()), *prepared.left_out.get(place, ()))
        errors = [problem._asdict() for problem in whys]
        shown.append((number, {name: column[place] for name, column in values.items()}, errors))
    for bad in chunk.bad:
        shown.append((bad.number, {}, [Problem("", bad.code, bad.message)._asdict()]))
    return sorted(shown, key=lambda row: row[0])
