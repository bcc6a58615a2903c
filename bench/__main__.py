"""`python -m bench`: measure, print the table, write bench.json."""

import argparse
import importlib.metadata
import json
import os
import platform
import subprocess
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from sqlalchemy import bindparam

from bench import events, imports, memory
from bench.fill import Fill
from bench.ground import Ground
from bench.load import Load
from bench.measure import Figures, Meter, middle
from bench.report import Report, progress, say
from bench.requests import Requests

# Odoo 19 Community with 100,000 contacts on the same kind of machine: CPU ms of application and
# database per request, and the share of it that Liaison may spend.
ODOO = {
    "create": (33, 5),
    "read": (10, 5),
    "list": (43, 10),
    "search": (95, 10),
    "stage move": (17, 5),
    "summary": (102, 10),
}
ODOO_IMPORT_PER_SECOND, IMPORT_TIMES = 520, 40
LIBRARIES = (
    *("nameko", "kombu", "eventlet", "pika", "psycopg2-binary", "sqlalchemy", "pydantic"),
    *("starlette", "uvicorn", "uvloop"),
)

_CREATE = """
INSERT INTO people (id, tenant_id, version, custom, created_at, updated_at, owner_id, emails,
    phones, addresses, tags, stage, search, first_name, last_name, title, company_id)
VALUES (uuidv7(), '{tenant}', 1, '{{}}', now(), now(), %(owner_id)s, %(emails)s, %(phones)s,
    '[]', '{{}}', %(stage)s, %(search)s, %(first_name)s, %(last_name)s, %(title)s, %(company_id)s)
RETURNING id::text
"""


class Bench:
    """The parts of a run, in the order in which they are measured."""

    def __init__(self, ground: Ground, load: Load, *, quick: bool) -> None:
        self.ground = ground
        self.quick = quick
        self.seconds = 2.0 if quick else 4.0
        self.rounds = 1 if quick else 3
        self.report = Report()
        self.meter = Meter(ground, load)
        self.fill = Fill(ground)
        self.requests: Requests
        self.scales: dict[int, dict[str, Figures]] = {}

    def run(self, parts: set[str]) -> None:
        """Measure what was asked for; the order matters, since the tables grow."""

        def part(name: str, measure: Callable[..., None], *about: int) -> None:
            if name in parts:
                with self.report.part(" ".join([name, *(f"{size:,}" for size in about)])):
                    measure(*about)

        progress("10,000 contacts")
        self.fill.people_to(10_000)
        self.fill.opportunities_to(10_000)
        self.requests = Requests(self.ground, self.fill)
        self._warm_up()
        part("scale", self._scale, 10_000)
        part("operations", self._summary, 10_000)
        progress("100,000 contacts")
        self.fill.people_to(100_000)
        self.fill.opportunities_to(100_000)
        self.requests.draw()
        part("floor", self._floor)
        part("operations", self._operations)
        part("operations", self._summary, 100_000)
        part("operations", self._board, 100_000)
        part("processes", self._processes)
        part("scale", self._scale, 100_000)
        part("events", self._events)
        part("import", self._import)
        part("timers", self._timers)
        if "scale" in parts:
            if not self.quick:
                progress("1,000,000 contacts")
                self.fill.people_to(1_000_000)
                self.requests.draw()
                part("scale", self._scale, 1_000_000)
            part("scale", self._scales_compared)

    def _warm_up(self) -> None:
        """Have every path walked once, so that the first figure is not dearer than the rest."""
        progress("warming up")
        for make, writes in (
            (self.requests.read, False),
            (self.requests.lists, False),
            (self.requests.searches, False),
            (self.requests.summary, False),
            (self.requests.creates, True),
            (self.requests.updates, True),
            (self.requests.moves, True),
        ):
            requests = make()[:500]
            self.meter.run(requests, 16, 1.5, writes=writes)

    # --- (a) the floor ---------------------------------------------------------------------------

    def _floor(self) -> None:
        from liaison_contacts.models import Person
        from liaison_contacts.people import PEOPLE
        from liaison_kit.database.queries import text_of
        from liaison_kit.records.recordtype import as_json

        one = as_json(
            PEOPLE.select().where(Person.id == bindparam("id", type_=Person.id.type)), "version"
        )
        self.ground.start_floor(text_of(one), _CREATE.format(tenant=self.ground.tenant))
        for concurrency in (1, 16):
            self._against_floor("read", concurrency, 60 if concurrency == 16 else None)
        for concurrency in (1, 16):
            self._against_floor("create", concurrency, 40 if concurrency == 16 else None)
        for name in ("floor worker", "floor route"):
            self.ground.stop_process(name)

    def _against_floor(self, what: str, concurrency: int, least: float | None) -> None:
        progress(f"the floor's {what} at {concurrency}")
        mine: list[Figures] = []
        floors: list[Figures] = []
        # Alternately, so that whatever else the machine does meets both.
        for _ in range(self.rounds):
            for of_floor, found in ((True, floors), (False, mine)):
                requests = {
                    ("read", True): self.requests.floor_read,
                    ("read", False): self.requests.read,
                    ("create", True): self.requests.floor_creates,
                    ("create", False): self.requests.creates,
                }[what, of_floor]()
                found.append(
                    self.meter.run(
                        requests, concurrency, self.seconds, writes=what == "create", floor=of_floor
                    )
                )
        floor, liaison = middle(floors), middle(mine)
        self.report.raw[f"{what} at {concurrency}, floor and Liaison"] = {
            "floor": [f.plain() for f in floors],
            "liaison": [f.plain() for f in mine],
        }
        section = f"Floor: {what}, concurrency {concurrency}"
        add = self.report.add
        add(section, "floor", floor.per_second, "req/s", note=_cpu(floor))
        add(section, "Liaison", liaison.per_second, "req/s", note=_cpu(liaison))
        share = liaison.per_second / floor.per_second * 100
        add(section, "Liaison's throughput, of the floor's", share, "%", least=least)
        share = floor.cpu_total / liaison.cpu_total * 100
        add(section, "the floor's CPU, of Liaison's", share, "%")

    # --- (b) operations --------------------------------------------------------------------------

    def _operations(self) -> None:
        idle = self.meter.idle()
        self.report.raw["idle, CPU ms per second"] = idle
        kinds: dict[str, tuple[Callable[[], list[bytes]], bool]] = {
            "read": (self.requests.read, False),
            "list": (self.requests.lists, False),
            "search": (self.requests.searches, False),
            "create": (self.requests.creates, True),
            "update": (self.requests.updates, True),
            "stage move": (self.requests.moves, True),
        }
        found = {
            what: {c: self._measured(what, make, c, writes) for c in (1, 16)}
            for what, (make, writes) in kinds.items()
        }
        for what, by in found.items():
            self._shown(what, f"100,000 contacts: {what}", by)
        for concurrency in (1, 16):
            ratio = found["list"][concurrency].p95 / found["read"][concurrency].p95
            self.report.add(
                "100,000 contacts: list against read",
                f"p95 of a list / p95 of a read, concurrency {concurrency}",
                ratio,
                "×",
                most=3,
            )
        self.report.add(
            "100,000 contacts: list against read",
            "CPU of all processes when nobody asks anything",
            sum(idle.values()) / 10,
            "% of a core",
            note=", ".join(f"{n} {used / 10:.1f}" for n, used in idle.items() if used >= 1),
        )

    def _measured(
        self, what: str, make: Callable[[], list[bytes]], concurrency: int, writes: bool
    ) -> Figures:
        progress(f"{what} at {concurrency}")
        figures = self.meter.run(make(), concurrency, self.seconds, writes=writes)
        self.report.raw[f"{what} at {concurrency}, {self.fill.people} contacts"] = figures.plain()
        return figures

    def _summary(self, size: int) -> None:
        progress(f"summary of {size} opportunities")
        by = {c: self.meter.run(self.requests.summary(), c, self.seconds) for c in (1, 16)}
        self.report.raw[f"summary of {size} opportunities"] = {c: f.plain() for c, f in by.items()}
        self._shown("summary", f"Value by stage of {size:,} opportunities", by)

    def _board(self, size: int) -> None:
        progress(f"board of {size} opportunities")
        ways = {"board": self.requests.board, "list": self.requests.deals}
        found = {name: self.meter.run(make(), 16, self.seconds) for name, make in ways.items()}
        self.report.raw[f"board of {size} opportunities"] = {n: f.plain() for n, f in found.items()}
        section = f"Board by stage of {size:,} opportunities"
        self._shown("board", section, {16: found["board"]})
        ratio = found["board"].cpu_total / found["list"].cpu_total
        self.report.add(section, "CPU of a board / CPU of a list of 50", ratio, "×", most=3)

    def _shown(self, what: str, section: str, by: dict[int, Figures]) -> None:
        add = self.report.add
        for concurrency, found in by.items():
            add(section, f"concurrency {concurrency}", found.per_second, "req/s")
            note = f"p95 {found.p95:.2f} ms, client {found.client_cpu:.2f} CPU ms"
            add(section, f"concurrency {concurrency}, p50", found.p50, "ms", note=note)
            if what in ODOO:
                odoo, part = ODOO[what]
                add(
                    section,
                    f"concurrency {concurrency}, CPU per request",
                    found.cpu_total,
                    "ms",
                    # Under load is what a machine is bought for; one request alone wakes everybody.
                    most=odoo / part if concurrency == 16 else None,
                    note=f"1/{odoo / found.cpu_total:.1f} of Odoo: {_cpu(found)}",
                )
            else:
                name = f"concurrency {concurrency}, CPU per request"
                add(section, name, found.cpu_total, "ms", note=_cpu(found))

    # --- (c) to (f) ------------------------------------------------------------------------------

    def _import(self) -> None:
        rows = 20_000 if self.quick else 100_000
        progress(f"import of {rows:,} people")
        found = imports.measure(self.meter, self.requests, rows)
        self.report.raw["import"] = asdict(found)
        section = f"Import of {rows:,} people through the API"
        add = self.report.add
        per_second = rows / found.seconds
        note = f"upload {found.upload:.1f} s, job {found.job:.1f} s; CPU " + ", ".join(
            f"{name} {used:.1f} s" for name, used in found.cpu.items() if used >= 0.05
        )
        least = ODOO_IMPORT_PER_SECOND * IMPORT_TIMES
        add(section, "rows per second", per_second, "rows/s", least=least, note=note)
        ratio = found.seconds / found.copy_indexed
        note = f"COPY {found.copy_indexed:.2f} s"
        add(section, "against COPY, same indexes", ratio, "×", most=8, note=note)
        note = f"COPY {found.copy_bare:.2f} s"
        add(section, "against COPY, no index", found.seconds / found.copy_bare, "×", note=note)

    def _events(self) -> None:
        seconds = 5.0 if self.quick else 15.0
        ways: dict[str, Callable[[], events.Lag]] = {
            "the kit alone": lambda: events.by_the_kit(self.meter, self.fill, 200, seconds),
            "requests": lambda: events.by_requests(self.meter, self.requests, 200, seconds),
        }
        for how, lag in ways.items():
            progress(f"event lag, facts by {how}")
            found = lag()
            self.report.raw[f"event lag, facts by {how}"] = asdict(found)
            section = f"Events at 200/s, commit in sales to commit in contacts: facts by {how}"
            note = f"{found.events} events at {found.per_second:.0f}/s, {found.missing} missing"
            self.report.add(section, "lag p50", found.p50, "ms", note=note)
            note = f"longest {found.longest:.1f} ms"
            if found.per_second < 195:
                note += "; the machine did not carry 200/s"
            self.report.add(section, "lag p99", found.p99, "ms", most=250, note=note)

    def _processes(self) -> None:
        section = "Reads with one and with two rpc processes of contacts, concurrency 32"
        progress(section)
        one = self.meter.run(self.requests.read(), 32, self.seconds)
        self.ground.start_service("contacts", "rpc", "contacts 2")
        deadline = time.monotonic() + 30
        while not self.ground.is_ready("contacts 2"):
            if time.monotonic() > deadline:
                raise RuntimeError("the second process of contacts did not come up")
            time.sleep(0.2)
        try:
            two = self.meter.run(self.requests.read(), 32, self.seconds)
        finally:
            self.ground.stop_process("contacts 2")
        self.report.raw["processes"] = {"one": one.plain(), "two": two.plain()}
        cores = os.cpu_count()
        self.report.add(section, "one", one.per_second, "req/s", note=_cpu(one))
        self.report.add(section, "two", two.per_second, "req/s", note=_cpu(two))
        note = f"{cores} cores shared with broker, database, gateway and client"
        self.report.add(section, "two / one", two.per_second / one.per_second, "×", note=note)

    def _timers(self) -> None:
        waiting = 100_000 if self.quick else 1_000_000
        # Of those that there are, most have been moved.
        self.fill.opportunities_to(self.fill.opportunities + 100_000)
        self.requests.draw()
        without = self._with_timers("no timers")
        progress(f"{waiting:,} timers")
        self.fill.timers(waiting)
        filled = self._with_timers(f"{waiting:,} timers")
        section = f"{waiting:,} timers waiting in each of contacts and sales, concurrency 16"
        for what, rounds in without.items():
            used = [figures.cpu_total for figures in rounds]
            after = middle(filled[what])
            self.report.add(
                section,
                f"{what}: CPU against none waiting",
                after.cpu_total / middle(rounds).cpu_total,
                "×",
                # What the same figure differs by from round to round is no difference.
                most=max(used) / min(used),
                note=_cpu(after),
            )

    def _with_timers(self, how: str) -> dict[str, list[Figures]]:
        found: dict[str, list[Figures]] = {}
        for _ in range(max(3, self.rounds)):
            for what, make, writes in (
                ("read", self.requests.read, False),
                ("list", self.requests.lists, False),
                ("create", self.requests.creates, True),
                ("stage move", lambda: self.requests.moves(1500), True),
            ):
                progress(f"{what} with {how}")
                figures = self.meter.run(make(), 16, self.seconds, writes=writes)
                found.setdefault(what, []).append(figures)
        self.report.raw[how] = {what: [f.plain() for f in rounds] for what, rounds in found.items()}
        return found

    def _scale(self, size: int) -> None:
        seconds = self.seconds
        found: dict[str, Figures] = {}
        for what, make, writes in (
            ("read", self.requests.read, False),
            ("list", self.requests.lists, False),
            ("search", self.requests.searches, False),
            ("create", self.requests.creates, True),
            ("update", self.requests.updates, True),
        ):
            progress(f"{what} with {size:,} contacts")
            found[what] = self.meter.run(make(), 4, seconds, writes=writes)
        self.scales[size] = found
        self.report.raw[f"{size} contacts at 4"] = {w: f.plain() for w, f in found.items()}

    def _scales_compared(self) -> None:
        base = self.scales[10_000]
        largest = max(self.scales)
        for size, found in self.scales.items():
            section = f"{size:,} contacts against 10,000, concurrency 4"
            for what, figures in found.items():
                target = 3.0 if what in ("list", "search") else 1.5
                most = target if size == largest == 1_000_000 else None
                first = base[what]
                self.report.add(
                    section,
                    f"{what}: CPU",
                    figures.cpu_total / first.cpu_total,
                    "×",
                    most=most,
                    note=_cpu(figures),
                )
                self.report.add(
                    section,
                    f"{what}: p50",
                    figures.p50 / first.p50,
                    "×",
                    most=most,
                    note=f"p50 {figures.p50:.2f} ms, p95 {figures.p95:.2f} ms",
                )


def _cpu(found: Figures) -> str:
    parts = sorted(found.cpu.items(), key=lambda part: -part[1])
    shown = " + ".join(f"{name} {used:.2f}" for name, used in parts if used >= 0.005)
    return f"{found.cpu_total:.2f} CPU ms = {shown}"


def _memory(report: Report, *, quick: bool) -> None:
    progress("memory and start of `make run`" + ("" if quick else ", with the demo company"))
    found = memory.measure(demo=not quick, idle=5 if quick else 30)
    report.raw["memory"] = asdict(found)
    section = "`make run`, " + ("with the demo company, idle" if found.demo else "empty, idle")
    for name, group in found.groups.items():
        note = f"RSS {group.rss:.0f} MiB, {group.processes} processes"
        report.add(section, name, group.pss, "MiB PSS", note=note)
    note = "shared pages count once"
    report.add(section, "all together (PSS)", found.pss, "MiB", most=1.2 * 1024, note=note)
    note = "shared pages count for each process"
    report.add(section, "all together (RSS)", found.rss, "MiB", note=note)
    note = "migrations included, packages installed before"
    report.add(section, "first start", found.first_start, "s", most=90, note=note)
    report.add(section, "second start", found.second_start, "s", most=20)


def _machine() -> dict[str, Any]:
    model = "unknown"
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            model = line.partition(":")[2].strip()
            break
    revision = subprocess.run(
        ["git", "describe", "--always", "--dirty", "--abbrev=12"], capture_output=True, text=True
    ).stdout.strip()
    return {
        "cores": os.cpu_count(),
        "model": model,
        "load_before": os.getloadavg(),
        "revision": revision,
        "python": platform.python_version(),
        "kernel": platform.release(),
        "libraries": {name: importlib.metadata.version(name) for name in LIBRARIES},
    }


PARTS = ("floor", "operations", "import", "timers", "events", "processes", "scale", "memory")


def main() -> None:
    """Measure everything, or the parts that are named."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Measure Liaison.")
    parser.add_argument("parts", nargs="*", choices=[[], *PARTS], help="which parts (default: all)")
    parser.add_argument("--output", type=Path, default=Path("bench.json"))
    given = parser.parse_args()
    quick = os.environ.get("QUICK", "0") not in ("", "0")
    parts = set(given.parts or PARTS)
    machine = _machine()
    began = time.monotonic()
    load = Load()
    try:
        report = Report()
        if parts - {"memory"}:
            with Ground() as ground:
                bench = Bench(ground, load, quick=quick)
                report = bench.report
                machine["postgresql"] = ground.rows("contacts", "SHOW server_version")[0][0]
                bench.run(parts)
        if "memory" in parts:
            with report.part("memory"):
                _memory(report, quick=quick)
    finally:
        load.close()
    machine |= {"seconds": time.monotonic() - began, "load_after": os.getloadavg(), "quick": quick}
    say(f"{machine['model']}, {machine['cores']} cores, revision {machine['revision']}")
    before, after = machine["load_before"][0], machine["load_after"][0]
    say(f"load average {before:.1f} before, {after:.1f} after")
    report.table()
    text = json.dumps({"machine": machine, **report.plain()}, indent=1, default=str)
    given.output.write_text(text + "\n")
    say(f"All figures: {given.output}")


if __name__ == "__main__":
    main()
