"""One request seen whole: gateway, service, SQL, event, handler, all in one trace."""

import json
import secrets

from tests.collector import Collector, Span
from tests.system import System, Tenant, wait_for

SERVER, CLIENT, CONSUMER = 2, 3, 5


def test_one_request_is_one_trace_from_the_gateway_to_the_handler_of_its_event(
    running: System, tenant: Tenant, collector: Collector
) -> None:
    company = tenant.api.make("/companies", name="Traced SARL, secret-street 7")
    deal = tenant.api.make("/opportunities", name="Traced deal", company_id=company["id"])
    trace, caller = secrets.token_hex(16), secrets.token_hex(8)

    answer = tenant.api.post(
        f"/opportunities/{deal['id']}/win",
        json={},
        headers={"If-Match": '"1"', "traceparent": f"00-{trace}-{caller}-01"},
    )

    assert answer.status_code == 200
    assert answer.headers["traceresponse"].split("-")[1] == trace
    spans = wait_for(
        "the trace of the won deal",
        lambda: _whole(collector.trace(trace)),
        seconds=30,
    )
    by_id = {span.id: span for span in spans}

    def chain(span: Span) -> list[str]:
        """Which processes and pieces of work a span is under, outermost first."""
        above = by_id.get(span.parent)
        return [*(chain(above) if above else []), f"{span.process}: {span.name}"]

    gateway = _one(spans, "gateway", "POST /api/v1/opportunities/{id}/win")
    assert gateway.parent == caller
    assert gateway.kind == SERVER
    assert gateway.attributes["http.response.status_code"] == 200
    operation = _one(spans, "sales", "sales.win_opportunity")
    assert operation.parent == gateway.id
    statements = [s for s in spans if s.parent == operation.id and s.name.startswith("sql ")]
    assert any("UPDATE opportunities" in s.attributes["db.statement"] for s in statements)
    assert any("INSERT INTO outbox" in s.attributes["db.statement"] for s in statements)
    assert {s.kind for s in statements} == {CLIENT}
    published = [s for s in spans if s.process == "sales" and "publish" in s.name]
    handled = _one(spans, "contacts", "handle deal_won")
    assert handled.kind == CONSUMER
    assert published, sorted(s.name for s in spans)
    path = chain(handled)
    assert path[:2] == [f"gateway: {gateway.name}", "sales: sales.win_opportunity"]
    assert handled.parent in {operation.id, *(s.id for s in published)}
    assert any(s.name.startswith("sql ") and s.parent == handled.id for s in spans)
    # What contacts tells in turn is part of the same story.
    assert all(span.parent == caller or span.parent in by_id for span in spans)
    # Values are personal data: statements are recorded without them.
    assert "secret-street" not in json.dumps([span.attributes for span in spans])


def _whole(spans: list[Span]) -> list[Span] | None:
    """The spans, once the gateway's, the handler's and all that they are under have come."""
    ids = {span.id for span in spans}
    handled = [s for s in spans if (s.process, s.name) == ("contacts", "handle deal_won")]
    gateway = [s for s in spans if s.process == "gateway"]
    published = [s for s in spans if s.process == "sales" and "publish" in s.name]
    if not (handled and gateway and published):
        return None
    roots = [s for s in spans if s.parent not in ids]
    under_it = [s for s in spans if s.parent == handled[0].id]
    return spans if roots == gateway and under_it else None


def _one(spans: list[Span], process: str, name: str) -> Span:
    found = [span for span in spans if (span.process, span.name) == (process, name)]
    assert len(found) == 1, sorted(f"{span.process}: {span.name}" for span in spans)
    return found[0]


def test_a_problem_names_the_trace_that_it_belongs_to(tenant: Tenant) -> None:
    trace = secrets.token_hex(16)

    answer = tenant.api.post(
        "/contacts",
        json={"emails": "none"},
        headers={"traceparent": f"00-{trace}-{secrets.token_hex(8)}-00"},
    )

    assert answer.status_code == 422
    assert answer.json()["trace_id"] == trace


def test_requests_that_nobody_asked_to_trace_leave_no_spans(
    tenant: Tenant, collector: Collector
) -> None:
    answer = tenant.api.get("/contacts")
    later = secrets.token_hex(16)
    asked = {"traceparent": f"00-{later}-{secrets.token_hex(8)}-01"}
    assert tenant.api.get("/contacts", headers=asked).is_success

    # Every process sends its spans in the order in which they ended.
    for process in ("gateway", "contacts"):
        wait_for(
            f"the spans of {process}",
            lambda process=process: process in {span.process for span in collector.trace(later)},
            seconds=30,
        )
    trace = answer.headers["traceresponse"].split("-")[1]
    assert collector.trace(trace) == []
