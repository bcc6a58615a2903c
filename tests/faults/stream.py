"""A stream of writes that goes on whatever happens, and what must be true when it has ended.

Several callers open deals and win them over HTTP. Each write has an Idempotency-Key and is sent
again until it is accepted, as a careful client does it.
"""

import threading
import time
from collections import Counter
from types import TracebackType
from typing import Any, Self
from uuid import uuid4

import httpx
from tests.system import SERVICES, Api, System, Tenant, wait_for

CALLERS = 3
COMPANIES = 4
PATIENCE_S = 90.0


class Stream:
    """Deals that are opened and won without pause while it is entered."""

    def __init__(self, system: System, tenant: Tenant) -> None:
        self._system = system
        self._tenant = tenant
        self._stopping = threading.Event()
        self._callers: list[threading.Thread] = []
        self.companies: list[str] = []
        self.won: dict[str, str] = {}
        """Every deal whose winning was accepted, with its company."""
        self.refused: Counter[str] = Counter()
        """What callers were told when a write was not accepted, and how often."""
        self.faults: list[str] = []
        """Answers that nobody should ever get."""

    def __enter__(self) -> Self:
        for number in range(COMPANIES):
            company = self._tenant.api.make("/companies", name=f"Buyer {number}")
            self.companies.append(company["id"])
        self._callers = [
            threading.Thread(target=self._call, args=(number,)) for number in range(CALLERS)
        ]
        for caller in self._callers:
            caller.start()
        self.go_on(5)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self._stopping.set()
        for caller in self._callers:
            caller.join(2 * PATIENCE_S)

    def go_on(self, more: int = 10) -> None:
        """Wait until this many more deals have been won."""
        wanted = len(self.won) + more
        wait_for(
            f"{more} more deals won (so far {len(self.won)}, refused {dict(self.refused)})",
            lambda: len(self.won) >= wanted or self.faults,
            seconds=PATIENCE_S,
        )
        assert not self.faults, self.faults

    def _call(self, number: int) -> None:
        token = self._tenant.api.headers["Authorization"].removeprefix("Bearer ")
        with Api(self._system.address, token) as api:
            turn = 0
            while not self._stopping.is_set() and not self.faults:
                company = self.companies[(number + turn) % COMPANIES]
                name = f"Deal {number}.{turn}"
                turn += 1
                deal = self._insist(api, "/opportunities", {"name": name, "company_id": company})
                if deal is None:
                    return
                path = f"/opportunities/{deal['id']}/win"
                if self._insist(api, path, {"on": "2026-02-03"}, deal["version"]) is None:
                    return
                self.won[deal["id"]] = company
                time.sleep(0.01)

    def _insist(
        self, api: Api, path: str, body: dict[str, Any], version: int | None = None
    ) -> dict[str, Any] | None:
        """Send one write until it is accepted; the key makes sure that it is done once."""
        headers = {"Idempotency-Key": str(uuid4()), "Liaison-Timeout": "2"}
        if version is not None:
            headers["If-Match"] = f'"{version}"'
        until = time.monotonic() + PATIENCE_S
        while time.monotonic() < until:
            try:
                answer = api.post(path, json=body, headers=headers)
            except httpx.TransportError as error:
                self.refused[type(error).__name__] += 1
                time.sleep(0.1)
                continue
            if answer.status_code in (200, 201):
                accepted: dict[str, Any] = answer.json()
                return accepted
            if answer.status_code != 503:
                break
            self.refused["503"] += 1
            time.sleep(0.1)
        self.faults.append(f"{path}: {answer.status_code} {answer.text}")
        return None

    # --- afterwards ------------------------------------------------------------------------------

    def is_whole(self) -> None:
        """No accepted write is lost, and every event had its effect exactly once."""
        assert not self.faults, self.faults
        wait_for("every event is handled", self._all_is_handled, seconds=PATIENCE_S, every=0.25)
        self._every_write_is_there_once()
        self._every_event_had_its_effect_once()

    def _all_is_handled(self) -> bool:
        for service in SERVICES:
            waiting = self._system.rows(
                service,
                "SELECT (SELECT count(*) FROM outbox) AS unsent,"
                " (SELECT count(*) FROM failed_events WHERE tenant_id = %s) AS failed",
                (str(self._tenant.id),),
            )
            if any(waiting[0].values()):
                return False
        told = self._told()
        return len(told) >= 2 * len(self.won)

    def _told(self) -> list[tuple[str, str, str]]:
        """What contacts has been told of deals: kind, deal, company."""
        rows = self._system.rows(
            "contacts",
            "SELECT kind, details ->> 'opportunity_id' AS deal, about_id FROM occurrences"
            " WHERE tenant_id = %s AND about_id = ANY(%s::uuid[])"
            " AND kind IN ('opportunity_opened', 'deal_won')",
            (str(self._tenant.id), self.companies),
        )
        return [(row["kind"], row["deal"], str(row["about_id"])) for row in rows]

    def _every_write_is_there_once(self) -> None:
        deals = self._system.rows(
            "sales",
            "SELECT o.id, o.name, o.company_id, s.kind FROM opportunities o"
            " JOIN stages s ON s.id = o.stage_id"
            " WHERE o.tenant_id = %s AND o.company_id = ANY(%s::uuid[])",
            (str(self._tenant.id), self.companies),
        )
        assert {str(d["id"]): str(d["company_id"]) for d in deals} == self.won
        assert {d["kind"] for d in deals} == {"won"}
        assert len({d["name"] for d in deals}) == len(deals)

    def _every_event_had_its_effect_once(self) -> None:
        wanted = Counter(
            (kind, deal, company)
            for deal, company in self.won.items()
            for kind in ("opportunity_opened", "deal_won")
        )
        assert Counter(self._told()) == wanted
        moves = self._system.rows(
            "contacts",
            "SELECT record_id, changes -> 'stage' AS stage FROM history"
            " WHERE tenant_id = %s AND record_id = ANY(%s::uuid[]) AND changes ? 'stage'",
            (str(self._tenant.id), self.companies),
        )
        became = Counter(str(m["record_id"]) for m in moves if m["stage"][1] == "customer")
        assert became == Counter(set(self.won.values()))
        for company in set(self.won.values()):
            shown = self._tenant.api.see(f"/companies/{company}")
            assert (shown["stage"], shown["customer_since"]) == ("customer", "2026-02-03")
