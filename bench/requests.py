"""What is asked: requests ready to send, drawn from what is in the database, the same each run."""

import itertools
import json
import random
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import quote

from bench.fill import Fill
from bench.ground import Ground

MANY = 4000


class Requests:
    """Makes requests; those that change a record use each record once, at its first version."""

    def __init__(self, ground: Ground, fill: Fill) -> None:
        self._ground = ground
        self._fill = fill
        self._chance = random.Random(7)
        self._numbers = itertools.count(1)
        self._fresh_people: Iterator[str] = iter(())
        self._fresh_deals: Iterator[str] = iter(())
        self.people: list[tuple[str, str, str]] = []
        self.owners = self._ids("contacts", "SELECT id::text FROM bench_owners")
        self.companies = self._ids("contacts", "SELECT id::text FROM bench_companies")
        self.draw()

    def draw(self) -> None:
        """Look again at who is in the database."""
        rows = self._ground.rows(
            "contacts",
            "SELECT id::text, first_name, last_name FROM people WHERE version = 1"
            " ORDER BY hashtext(id::text) LIMIT 30000",
        )
        self.people = rows[:MANY]
        self._fresh_people = (row[0] for row in rows[MANY:])
        self._fresh_deals = iter(
            self._ids(
                "sales",
                "SELECT id::text FROM opportunities WHERE status = 'open' AND version = 1"
                " AND stage_id = (SELECT id FROM bench_stages WHERE n = 0)"
                " ORDER BY hashtext(id::text) LIMIT 30000",
            )
        )

    # --- reading ---------------------------------------------------------------------------------

    def read(self) -> list[bytes]:
        """One person each."""
        return [self._get(f"/contacts/{id}") for id, _, _ in self.people]

    def floor_read(self) -> list[bytes]:
        """The same people from the floor."""
        return [self._ground.api.request("GET", f"/people/{id}") for id, _, _ in self.people]

    def lists(self) -> list[bytes]:
        """Pages of 50: one owner's by last change, one stage's by last change and by name."""
        paths = [f"/contacts?owner_id={owner}&sort=-updated_at&limit=50" for owner in self.owners]
        for stage in ("lead", "opportunity", "customer"):
            paths += [
                f"/contacts?stage={stage}&sort=-updated_at&limit=50",
                f"/contacts?stage={stage}&sort=last_name&limit=50",
            ] * 6
        self._chance.shuffle(paths)
        return [self._get(path) for path in paths]

    def searches(self) -> list[bytes]:
        """What people type into a search box: beginnings of last names mostly, then more."""
        return [self._get(f"/contacts?q={quote(term)}&limit=50") for term in self.terms(1000)]

    def terms(self, count: int) -> list[str]:
        """Parts of the names of people who exist."""
        found = []
        for _ in range(count):
            _, first, last = self._chance.choice(self.people)
            kind = self._chance.random()
            if kind < 0.5:
                found.append(last[: self._chance.randint(3, 6)])
            elif kind < 0.7:
                found.append(last)
            elif kind < 0.9:
                found.append(f"{first[: self._chance.randint(2, 5)]} {last[:4]}")
            else:
                found.append(first)
        return found

    def summary(self) -> list[bytes]:
        """The value of all opportunities by stage."""
        return [self._get("/sales/summary?by=stage")]

    def deals(self) -> list[bytes]:
        """Pages of 50 opportunities: one stage's, by last change."""
        stages = self._ids("sales", "SELECT id::text FROM bench_stages")
        return [self._get(f"/opportunities?stage_id={stage}&limit=50") for stage in stages]

    def board(self) -> list[bytes]:
        """All opportunities by stage, with the first twenty cards of each."""
        return [self._get("/opportunities/board?by=stage_id")]

    # --- writing ---------------------------------------------------------------------------------

    def creates(self, count: int = MANY) -> list[bytes]:
        """New people."""
        return [self._post("/contacts", self.person()) for _ in range(count)]

    def floor_creates(self, count: int = MANY) -> list[bytes]:
        """New people for the floor."""
        return [
            self._ground.api.request("POST", "/people", json.dumps(self.person()).encode())
            for _ in range(count)
        ]

    def updates(self, count: int = MANY) -> list[bytes]:
        """Changes of title mostly, of a phone number sometimes."""
        return self._take(self._fresh_people, count, self._update)

    def moves(self, count: int = MANY // 2) -> list[bytes]:
        """Open opportunities that go to the next stage."""
        body = json.dumps({"stage_id": self._fill.open_stages[1]}).encode()
        return self._take(
            self._fresh_deals,
            count,
            lambda id: self._request(
                "POST", f"/opportunities/{id}/move", body, {"If-Match": '"1"'}
            ),
        )

    def _update(self, id: str) -> bytes:
        number = next(self._numbers)
        changes: dict[str, Any] = {"title": f"Title {number}"}
        if number % 3 == 0:
            changes = {"phones": [{"number": f"+337{number:08}", "kind": "mobile"}]}
        return self._request(
            "PATCH", f"/contacts/{id}", json.dumps(changes).encode(), {"If-Match": '"1"'}
        )

    def person(self) -> dict[str, Any]:
        """Somebody new."""
        number = next(self._numbers)
        first = self._fill.firsts[int(len(self._fill.firsts) * self._chance.random() ** 2)]
        last = self._fill.lasts[int(len(self._fill.lasts) * self._chance.random() ** 2)]
        return {
            "first_name": first,
            "last_name": last,
            "title": "Buyer",
            "emails": [{"address": f"new.person{number}@example.org", "kind": "work"}],
            "phones": [{"number": f"+336{number:08}", "kind": "work"}],
            "company_id": self._chance.choice(self.companies),
            "owner_id": self._chance.choice(self.owners),
            "stage": "lead",
        }

    def _take(self, ids: Iterator[str], count: int, make: Callable[[str], bytes]) -> list[bytes]:
        return [make(id) for id in itertools.islice(ids, count)]

    def _get(self, path: str) -> bytes:
        return self._request("GET", path)

    def _post(self, path: str, body: dict[str, Any]) -> bytes:
        return self._request("POST", path, json.dumps(body).encode())

    def _request(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        headers: dict[str, str] | None = None,
    ) -> bytes:
        return self._ground.api.request(method, f"/api/v1{path}", body, headers)

    def _ids(self, service: str, statement: str) -> list[str]:
        return [row[0] for row in self._ground.rows(service, statement)]
