"""One set of rules: what a file brings in the API takes, and what a dry run says a run does."""

import csv
import datetime as dt
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from liaison_kit.testing import imported
from liaison_sdk.contracts import sales as contract

_DAYS = st.sampled_from(
    ["", "2020-01-02", "2020-03-04", "2021-05-06", (dt.date.today() + dt.timedelta(9)).isoformat()]
)
_MONEY = st.sampled_from(["", "12.50", "-3", "9999999999999999", "1e30", "five"])
_CURRENCIES = st.sampled_from(["", "EUR", "usd", "XXQ"])
ROWS: dict[str, dict[str, Any]] = {
    "products": {
        "name": st.sampled_from(["Robot", "Robot", "", "n" * 201, "=1+1"]),
        "code": st.sampled_from(["", "R-1", "c" * 201]),
        "list_price": _MONEY,
        "list_price_currency": _CURRENCIES,
        "active": st.sampled_from(["", "true", "false", "perhaps"]),
    },
    "opportunities": {
        "name": st.sampled_from(["Deal", "d" * 201]),
        "stage": st.sampled_from(["", "prospecting", "engaging", "won", "lost", "nonsense"]),
        "amount": _MONEY,
        "amount_currency": _CURRENCIES,
        "probability": st.sampled_from(["", "0", "100", "101", "-1", "x"]),
        "engaged_on": _DAYS,
        "expected_close": _DAYS,
        "closed_on": _DAYS,
        "win_reason": st.sampled_from(["", "", "cheap"]),
        "lost_reason": st.sampled_from(["", "", "dear"]),
    },
}
_NEW: dict[str, Any] = {
    "products": contract.NewProduct,
    "opportunities": contract.NewOpportunity,
}
_ONE = {"products": "product", "opportunities": "opportunity"}


def as_sent(row: dict[str, str]) -> dict[str, Any]:
    """A row as somebody sends it to the API who has no file."""
    body: dict[str, Any] = {n: v for n, v in row.items() if v and not n.endswith("currency")}
    for name in ("amount", "list_price"):
        if name in body:
            currency = row[f"{name}_currency"].upper() or "EUR"
            body[name] = {"amount": body[name], "currency": currency}
    if body.get("probability", "x").lstrip("-").isdigit():
        body["probability"] = int(body["probability"])
    if body.get("active") in ("true", "false"):
        body["active"] = body["active"] == "true"
    return body


def one_rule(desk: Any, record: str, rows: list[dict[str, str]], path: Path, turn: int) -> None:
    rows = [{"external_id": f"{turn}-{n}", **row} for n, row in enumerate(rows)]
    amount = "list_price" if record == "products" else "amount"
    for row in rows:
        # The API has no way to say a currency of nothing.
        row[f"{amount}_currency"] = row[f"{amount}_currency"] if row[amount] else ""
    with path.open("w", newline="") as file:
        lines = csv.DictWriter(file, list(rows[0]))
        lines.writeheader()
        lines.writerows(rows)
    mapping: dict[str, str | None] = {name: name for name in rows[0]}

    def bring(dry: bool) -> Any:
        return imported(desk.service, desk.context(), record, path, mapping=mapping, dry=dry)

    dry, real, again = bring(True), bring(False), bring(True)

    assert dry.counts == real.counts
    assert dry.as_list() == real.as_list()
    assert again.counts["unchanged"] == real.counts["created"]
    shown = json.loads(desk.call(f"list_{record}", query=[["limit", "200"]]).body)["items"]
    come = {item["external_id"]: item for item in shown}
    for row in rows:
        made = come.get(row["external_id"])
        if made is None:
            sent, status = as_sent(row) | {"external_id": None}, 422
        else:
            own = _NEW[record].model_fields.keys() - {"stage_id"}
            sent = {n: v for n, v in made.items() if n in own}
            sent, status = sent | {"external_id": None}, 201
        reply = desk.call(f"create_{_ONE[record]}", json.dumps(sent).encode())
        taken = 201 if reply.status < 300 else reply.status
        assert taken == status, (reply.body, sent)


@pytest.mark.parametrize("record", list(ROWS))
def test_a_file_and_the_api_take_the_same_rows_and_a_try_says_which(
    desk: Any, record: str, tmp_path: Path
) -> None:
    turns = iter(range(1000))

    @settings(
        max_examples=20,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(st.fixed_dictionaries(ROWS[record]), min_size=1, max_size=5))
    def over(rows: list[dict[str, str]]) -> None:
        one_rule(desk, record, rows, tmp_path / "rows.csv", next(turns))

    over()


def test_a_won_deal_without_its_day_ends_today_and_an_open_one_is_expected(
    desk: Any, tmp_path: Path
) -> None:
    path = tmp_path / "deals.csv"
    path.write_text("name,stage,close date\nA,won,\nB,engaging,2031-05-06\n")

    real = imported(desk.service, desk.context(), "opportunities", path)

    assert real.counts["created"] == 2, real.as_list()
    items = json.loads(desk.call("list_opportunities", query=[["sort", "name"]]).body)["items"]
    won, still_open = items
    assert won["closed_on"] is not None
    assert (still_open["closed_on"], still_open["expected_close"]) == (None, "2031-05-06")
