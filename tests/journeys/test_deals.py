"""A walk through sales: deals that move, are won and lost, and what the rest of Liaison hears."""

import datetime as dt
import itertools
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Empty, Queue
from typing import Any

from tests.system import Api, System, Tenant, wait_for

EUR_100 = {"amount": "100.00", "currency": "EUR"}


def test_a_won_deal_makes_its_company_a_customer_within_two_seconds(api: Api) -> None:
    company = api.make("/companies", name="Buyer SA")
    person = api.make("/contacts", last_name="Buyer", company_id=company["id"])
    deal = api.make(
        "/opportunities",
        name="Forty chairs",
        company_id=company["id"],
        contact_id=person["id"],
        amount=EUR_100,
    )
    wait_for(
        "the company is worked on",
        lambda: api.see(f"/companies/{company['id']}")["stage"] == "opportunity",
    )

    won = api.act(f"/opportunities/{deal['id']}/win", deal["version"], on="2026-03-31")
    began = time.monotonic()

    def customer(path: str) -> dict[str, Any] | None:
        found = api.see(path)
        return found if found["stage"] == "customer" else None

    found = wait_for("the company is a customer", lambda: customer(f"/companies/{company['id']}"))
    kinds = _timeline(api, "companies", company["id"])
    took = time.monotonic() - began
    contact = wait_for("the contact is one", lambda: customer(f"/contacts/{person['id']}"))
    assert took < 2
    assert won["status"] == "won"
    assert found["customer_since"] == contact["customer_since"] == "2026-03-31"
    assert "Forty chairs" in found["customer_because"]
    assert {"opportunity_opened", "deal_won"} <= set(kinds)
    assert _timeline(api, "companies", company["id"]).count("deal_won") == 1


def _timeline(api: Api, record: str, id: str) -> list[str]:
    return [entry["kind"] for entry in api.every(f"/{record}/{id}/timeline")]


def test_a_deal_moves_through_its_stages_and_keeps_when(api: Api) -> None:
    pipeline = next(p for p in api.see("/pipelines")["items"] if p["is_default"])
    stages = [stage["code"] for stage in pipeline["stages"] if stage["kind"] == "open"]
    deal = api.make("/opportunities", name="Moving", stage=stages[0])
    for stage in stages[1:]:
        deal = api.act(f"/opportunities/{deal['id']}/move", deal["version"], stage=stage)
    lost = api.act(f"/opportunities/{deal['id']}/lose", deal["version"], reason="Too dear")
    again = api.act(f"/opportunities/{deal['id']}/reopen", lost["version"])

    changes = api.see(f"/opportunities/{deal['id']}/stages")["items"]
    assert len(changes) == len(stages) + 2
    for before, after in itertools.pairwise(changes):
        assert after["from_stage_id"] == before["to_stage_id"]
        assert after["at"] >= before["at"]
    assert (lost["status"], lost["lost_reason"]) == ("lost", "Too dear")
    assert (again["status"], again["stage"]) == ("open", stages[-1])


def test_a_closed_deal_is_not_won_again(api: Api) -> None:
    deal = api.make("/opportunities", name="Once", amount=EUR_100)
    won = api.act(f"/opportunities/{deal['id']}/win", deal["version"])

    again = api.post(
        f"/opportunities/{deal['id']}/win",
        json={},
        headers={"If-Match": f'"{won["version"]}"'},
    )

    assert again.status_code == 409


def test_the_summary_adds_up_to_the_cent(new_tenant: Any) -> None:
    api = new_tenant("Summed").api
    amounts = ["0.01", "999999999.99", "1234.50", "10.10"]
    for number, amount in enumerate(amounts):
        deal = api.make(
            "/opportunities",
            name=f"Deal {number}",
            amount={"amount": amount, "currency": "EUR"},
            engaged_on="2026-01-01",
        )
        if number < 2:
            path = f"/opportunities/{deal['id']}/win"
            api.act(path, deal["version"], on=f"2026-01-{11 + 10 * number}")
        elif number == 2:
            api.act(f"/opportunities/{deal['id']}/lose", deal["version"], reason="Price")

    total = api.see("/sales/summary", by="stage")["total"]

    assert (total["count"], total["open"], total["won"], total["lost"]) == (4, 1, 2, 1)
    assert total["won_amounts"] == [{"amount": "1000000000.00", "currency": "EUR"}]
    assert total["lost_amounts"] == [{"amount": "1234.50", "currency": "EUR"}]
    assert total["win_rate"] == "0.6667"
    assert total["mean_cycle_days"] == "15.00"


def test_a_company_that_was_added_a_moment_ago_can_be_sold_to(api: Api) -> None:
    company = api.make("/companies", name="Brand new")
    deal = api.make("/opportunities", name="At once", company_id=company["id"])

    assert deal["company_name"] == "Brand new"
    path = f"/companies/{company['id']}"
    worked_on = wait_for(
        "contacts knows of the deal",
        lambda: found if (found := api.see(path))["stage"] == "opportunity" else None,
    )
    api.change(path, worked_on["version"], name="Renamed")
    wait_for(
        "sales knows the new name",
        lambda: api.see(f"/opportunities/{deal['id']}")["company_name"] == "Renamed",
    )


# --- live events ---------------------------------------------------------------------------------


@contextmanager
def _listening(api: Api) -> Iterator[Queue[dict[str, Any]]]:
    """The live events of somebody while it is entered."""
    heard: Queue[dict[str, Any]] = Queue()
    opened, enough = threading.Event(), threading.Event()
    with Api(str(api.base_url).removesuffix("/api/v1/"), _token(api)) as listener:
        stream = listener.stream("GET", "/live", timeout=60)
        answer = stream.__enter__()

        def listen() -> None:
            try:
                for line in answer.iter_lines():
                    opened.set()
                    if enough.is_set():
                        return
                    if line.startswith("data: "):
                        heard.put(json.loads(line[6:]))
            except Exception:
                heard.put({"type": "stream ended"})

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        assert opened.wait(20)
        yield heard
        # Who listens notices that it is enough when the next news comes.
        enough.set()
        api.make("/opportunities", name="The last one")
        thread.join(20)
        answer.close()
        assert not thread.is_alive()


def _token(api: Api) -> str:
    return api.headers["Authorization"].removeprefix("Bearer ")


def _next(heard: Queue[dict[str, Any]], type: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        try:
            event = heard.get(timeout=0.5)
        except Empty:
            return None
        return event if event["type"] == type else None

    return wait_for(f"a live {type}", look)


def test_screens_hear_what_changed_and_nobody_elses_news(
    running: System, tenant: Tenant, api: Api, new_tenant: Any
) -> None:
    stranger = new_tenant("Stranger").api
    with _listening(api) as heard, _listening(stranger) as elsewhere:
        deal = api.make("/opportunities", name="Live")
        opened = _next(heard, "opportunity_opened")
        stranger.make("/opportunities", name="Theirs")
        theirs = _next(elsewhere, "opportunity_opened")

    assert (opened["record"], opened["id"]) == ("opportunities", deal["id"])
    assert theirs["id"] != deal["id"]
    while not elsewhere.empty():
        assert elsewhere.get().get("id") != deal["id"]
    assert dt.datetime.fromisoformat(opened["at"]).tzinfo is not None
