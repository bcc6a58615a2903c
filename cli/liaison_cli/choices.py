"""What `liaison import` is told on the command line, as the API takes it.

--map "Nom du client=name"        a column feeds a field
--map "Lead source=custom"        it becomes a custom field; or a note, or - for nothing
--ignore Fax                      its values are left out
--value "product:GTXPro=GTX Pro"  a value stands for another, in the whole file
--on-missing company=create       what becomes of values that name nothing
--option defaults.stage=customer  anything else
"""

import shlex
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from liaison_cli.errors import Told

LEFT_OUT = "-"
DECISIONS = ("custom", "note", LEFT_OUT)
"""What becomes of a column that feeds no field."""
ON_MISSING = ("create", "blank", "report")
YES = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


def mapping(
    suggested: Mapping[str, str | None], mapped: Iterable[str], ignored: Iterable[str]
) -> dict[str, str | None]:
    """The suggested mapping, with what the person says about it."""
    found = dict(suggested)
    for said in mapped:
        column, field = _column_and_field(said, found)
        # Two columns can't feed one field: the person's choice takes it from the other.
        if field not in DECISIONS:
            found = {known: None if to == field else to for known, to in found.items()}
        found[column] = field
    for column in ignored:
        found[_known(column, found)] = LEFT_OUT
    return found


def _column_and_field(said: str, columns: Collection[str]) -> tuple[str, str]:
    column, equals, field = said.rpartition("=")
    if not equals or not column or not field:
        raise Told(f"--map {said} is no mapping; it looks like --map COLUMN=FIELD")
    return _known(column, columns), field


def _known(column: str, columns: Collection[str]) -> str:
    """The column of this name, capitals and spaces around aside."""
    if column in columns:
        return column
    alike = [c for c in columns if c.strip().casefold() == column.strip().casefold()]
    if len(alike) != 1:
        raise Told(f"The file has no column {column}. It has: {', '.join(columns)}")
    return alike[0]


def values(
    said: Iterable[str], mapping: Mapping[str, str | None]
) -> dict[str, dict[str, str | None]]:
    """By field: what a value of the file stands for; nothing after the = makes it blank."""
    found: dict[str, dict[str, str | None]] = {}
    for option in said:
        field, text = _field_and_rest(option, mapping)
        value, equals, meant = text.rpartition("=")
        if not equals or not value:
            raise Told(
                f"--value {option} says no value; it looks like --value product:GTXPro='GTX Pro'"
            )
        found.setdefault(field, {})[value] = meant or None
    return found


def _field_and_rest(option: str, mapping: Mapping[str, str | None]) -> tuple[str, str]:
    # A column's name may hold a colon itself, so each is tried as the one that ends it.
    place = -1
    while (place := option.find(":", place + 1)) >= 0:
        if field := _field(option[:place], mapping):
            return field, option[place + 1 :]
    named = option.partition(":")[0]
    fields = ", ".join(field for field in mapping.values() if field)
    raise Told(f"{named} is neither a column of the file nor a field that one feeds ({fields}).")


def _field(name: str, mapping: Mapping[str, str | None]) -> str | None:
    return mapping.get(name) or (name if name in mapping.values() else None)


def on_missing(said: Iterable[str], mapping: Mapping[str, str | None]) -> dict[str, str]:
    """By field: what becomes of values that name nothing."""
    found: dict[str, str] = {}
    for option in said:
        name, equals, what = option.rpartition("=")
        field = _field(name, mapping)
        if not equals or field is None or what not in ON_MISSING:
            raise Told(
                f"--on-missing {option} is not understood; it looks like company=create"
                f" ({', '.join(ON_MISSING)})"
            )
        found[field] = what
    return found


def options(said: Iterable[str]) -> dict[str, Any]:
    """`currency=USD`, `create_only=true`, `defaults.stage=customer`, `formats.Date.dates=mdy`."""
    found: dict[str, Any] = {}
    for option in said:
        name, equals, value = option.partition("=")
        if not equals or not name:
            raise Told(f"--option {option} says no value; it looks like --option currency=USD")
        first, dot, rest = name.partition(".")
        if not dot:
            found[name] = YES.get(value.lower(), value) if name == "create_only" else value
        elif first == "formats":
            column, _, what = rest.rpartition(".")
            found.setdefault("formats", {}).setdefault(column, {})[what] = value
        else:
            found.setdefault(first, {})[rest] = value
    return found


def value_option(field: str, value: str, meant: str) -> str:
    """The ready-made option that says what a value stands for, quoted for a shell."""
    return f"--value {shlex.quote(f'{field}:{value}={meant}')}"
