"""Two versions of sales side by side, under load: they come and go, and nobody notices."""

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

import httpx
import pytest
from tests.system import Api, Running, System, Tenant, wait_for

NEXT = Path(__file__).parent / "next_sales.py"


class Load:
    """People at work without pause while it is entered; what they were answered, by operation."""

    def __init__(self, system: System, tenant: Tenant) -> None:
        self.answers: dict[str, Counter[int]] = {}
        self.refusals: list[str] = []
        self.next_is_there = False
        self._system = system
        self._token = tenant.api.headers["Authorization"].removeprefix("Bearer ")
        self._stopping = threading.Event()
        self._people = [
            threading.Thread(target=self._repeat, args=(act,))
            for act in (self._read, self._write, self._write, self._ask_next)
        ]

    def __enter__(self) -> Self:
        for person in self._people:
            person.start()
        self.go_on()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        self._stopping.set()
        for person in self._people:
            person.join(60)

    def go_on(self, more: int = 15) -> None:
        """Until every operation was answered so many times more."""
        before = {name: sum(found.values()) for name, found in self.answers.items()}
        wanted = ["list", "open", "win"] + ["next"] * self.next_is_there

        def gone_on() -> bool:
            return all(
                sum(self.answers.get(name, Counter()).values()) >= before.get(name, 0) + more
                for name in wanted
            )

        wait_for("everybody goes on", gone_on, seconds=90)

    def _repeat(self, act: Callable[[Api], None]) -> None:
        with Api(self._system.address, self._token) as api:
            while not self._stopping.is_set():
                act(api)
                time.sleep(0.01)

    def _note(self, name: str, answer: httpx.Response) -> httpx.Response:
        if not answer.is_success:
            self.refusals.append(f"{name}: {answer.status_code} {answer.text}")
        self.answers.setdefault(name, Counter())[answer.status_code] += 1
        return answer

    def _read(self, api: Api) -> None:
        self._note("list", api.get("/opportunities"))

    def _write(self, api: Api) -> None:
        made = self._note("open", api.post("/opportunities", json={"name": "Desks"}))
        if made.status_code != 201:
            return
        # What only the next version reads is said while that is the API.
        facts = {"remark": "by a hair"} if self.next_is_there else {}
        path = f"/opportunities/{made.json()['id']}/win"
        self._note("win", api.post(path, json=facts, headers={"If-Match": '"1"'}))

    def _ask_next(self, api: Api) -> None:
        if self.next_is_there:
            self._note("next", api.get("/sales/next"))


@pytest.fixture
def start_next(running: System) -> Iterator[Callable[[], Running]]:
    """Starts a process of the next version; afterwards there is one of this version again."""

    def start() -> Running:
        return running._start("sales-next", "sales", [sys.executable, str(NEXT)], True, {})

    yield start
    running.stop_process("sales-next")
    if "sales" not in running.processes:
        running.start_service("sales")
    running.wait_until_whole()


@pytest.mark.timeout(300)
def test_versions_come_and_go_and_nobody_notices(
    running: System, start_next: Callable[[], Running]
) -> None:
    tenant = running.tenant("Versions")
    with Load(running, tenant) as load:
        start_next()
        wait_for("the next one answers", lambda: tenant.api.get("/sales/next").is_success)
        load.next_is_there = True
        load.go_on()

        running.stop_process("sales")
        load.go_on()

        running.start_service("sales")
        load.go_on()

        load.next_is_there = False
        time.sleep(0.5)
        running.stop_process("sales-next")
        load.go_on()
        wait_for("this one is the API", lambda: tenant.api.get("/sales/next").status_code == 404)

        start_next()
        wait_for("the next one answers", lambda: tenant.api.get("/sales/next").is_success)
        load.next_is_there = True
        load.go_on()

    assert {name: set(found) for name, found in load.answers.items()} == {
        "list": {200},
        "open": {201},
        "win": {200},
        "next": {200},
    }, load.refusals
    version = next(
        tag["x-version"]
        for tag in httpx.get(f"{running.address}/api/v1/openapi.json", timeout=10).json()["tags"]
        if tag["name"] == "sales"
    )
    assert version == "99.0.0"
