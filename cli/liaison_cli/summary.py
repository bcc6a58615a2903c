"""`liaison summary`: opportunities added up by stage, region, rep, product or month."""

from decimal import Decimal
from typing import Annotated, Any, Literal

import typer

from liaison_cli import screen
from liaison_cli.errors import Told
from liaison_cli.signin import connect

By = Literal["stage", "region", "rep", "product", "month", "manager", "currency"]
COLUMNS = ("count", "open", "won", "lost", "amount", "won amount", "weighted", "win rate", "days")


def summary(
    by: Annotated[By, typer.Option(help="What each row stands for.")] = "stage",
    where: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILTER",
            help="Only these opportunities, as in --where closed_on[gte]=2026-01-01.",
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Show the API's answer as it is.")
    ] = False,
) -> None:
    """Add opportunities up: counts, amounts, win rate, and mean days from start to win."""
    with connect() as client:
        found = client.get("/sales/summary", by=by, **filters(where or []))
    if as_json:
        screen.document(found)
        return
    rows = [row(entry) for entry in found["rows"]]
    last = ("total", *row(found["total"])[1:])
    screen.table((by, *COLUMNS), rows, right=COLUMNS, last=last)


def filters(where: list[str]) -> dict[str, list[str]]:
    """`field[op]=value` as query parameters."""
    found: dict[str, list[str]] = {}
    for condition in where:
        name, equals, value = condition.partition("=")
        if not equals or not name:
            raise Told(f"{condition} is no filter; it looks like stage=won or amount[gte]=100")
        found.setdefault(name, []).append(value)
    return found


def row(entry: dict[str, Any]) -> tuple[Any, ...]:
    """One entry of the answer as the cells of a table."""
    rate = entry["win_rate"]
    return (
        entry["label"] or entry["key"] or "(none)",
        *(screen.number(entry[name]) for name in ("count", "open", "won", "lost")),
        screen.money(entry["amounts"]),
        screen.money(entry["won_amounts"]),
        screen.money(entry["weighted"]),
        "" if rate is None else f"{Decimal(rate) * 100:.2f}%",
        entry["mean_cycle_days"] or "",
    )
