"""An import of people through the public API, against `COPY` of the same rows."""

import csv
import io
import time
from dataclasses import dataclass

from bench import cpu
from bench.measure import LIAISON, Meter
from bench.requests import Requests

_MAPPING = {
    "External id": "external_id",
    "First name": "first_name",
    "Last name": "last_name",
    "Job title": "title",
    "Company": "company",
    "Owner": "owner",
    "E-mail": "email",
    "Phone": "phone",
    "Street": "street",
    "Postal code": "postal_code",
    "City": "city",
    "Country": "country",
    "Lifecycle stage": "stage",
}
# What COPY writes: the rows as the service stored them, without what the database makes of others.
_COLUMNS = """
SELECT string_agg(quote_ident(attname), ', ' ORDER BY attnum) FROM pg_attribute
 WHERE attrelid = 'people'::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''
"""
_ROWS = "SELECT {columns} FROM people WHERE external_id LIKE 'I%'"


@dataclass(slots=True)
class Imported:
    """Times in seconds, from the first byte sent to the job's end; CPU seconds by group."""

    rows: int
    upload: float
    job: float
    cpu: dict[str, float]
    copy_indexed: float
    copy_bare: float
    counts: dict[str, int]

    @property
    def seconds(self) -> float:
        """Upload and job."""
        return self.upload + self.job


def file(requests: Requests, rows: int) -> bytes:
    """A CSV of people as another system exports them."""
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(_MAPPING)
    for number in range(rows):
        person = requests.person()
        writer.writerow(
            (
                f"I{number}",
                person["first_name"],
                person["last_name"],
                person["title"],
                f"Company {number % 2000}",
                f"Rep {number % 35}",
                f"import{number}@example.com",
                f"+336{number:08}",
                f"{number} rue du Port",
                "44000",
                "Nantes",
                "France",
                "lead",
            )
        )
    return text.getvalue().encode()


def measure(meter: Meter, requests: Requests, rows: int) -> Imported:
    """Import a file of this many people, then copy the same rows into empty tables."""
    ground, api = meter.ground, meter.ground.api
    body = file(requests, rows)
    meter.settle()
    before = cpu.seconds(ground.groups())
    began = time.perf_counter()
    made = api.call(
        "POST",
        "/imports?record=contacts",
        body,
        headers={
            "Content-Type": "text/csv",
            "Content-Disposition": 'attachment; filename="people.csv"',
        },
    )
    if made["mapping"] != _MAPPING:
        api.call(
            "PATCH",
            f"/imports/{made['id']}",
            {"mapping": _MAPPING},
            headers={"If-Match": f'"{made["version"]}"'},
        )
    uploaded = time.perf_counter()
    job = api.call("POST", f"/imports/{made['id']}/start")["job"]
    while (seen := api.call("GET", f"/jobs/{job}"))["status"] in ("queued", "running"):
        if time.perf_counter() - uploaded > 600:
            raise RuntimeError(f"the import does not end: {seen}")
        time.sleep(0.2)
    ended = time.perf_counter()
    meter.settle()
    after = cpu.seconds(ground.groups())
    counts = api.call("GET", f"/imports/{made['id']}")["counts"]
    if seen["status"] not in ("done", "succeeded") or counts.get("created") != rows:
        raise RuntimeError(f"the import went wrong: {seen} {counts}")
    indexed, bare = _copies(meter, rows)
    return Imported(
        rows=rows,
        upload=uploaded - began,
        job=ended - uploaded,
        cpu={n: after[n] - before[n] for n in after if n.split()[0] in LIAISON},
        copy_indexed=indexed,
        copy_bare=bare,
        counts=counts,
    )


def _copies(meter: Meter, rows: int) -> tuple[float, float]:
    """Seconds that COPY takes into a table with the same indexes, and into one with none."""
    connection = meter.ground.sql("contacts")
    times = []
    with connection.cursor() as cursor:
        cursor.execute(_COLUMNS)
        columns = cursor.fetchone()[0]
        out = io.StringIO()
        cursor.copy_expert(f"COPY ({_ROWS.format(columns=columns)}) TO STDOUT", out)
        for like in ("INCLUDING ALL", ""):
            cursor.execute(f"CREATE TABLE bench_copy (LIKE people {like})")
            out.seek(0)
            began = time.perf_counter()
            cursor.copy_expert(f"COPY bench_copy ({columns}) FROM STDIN", out)
            times.append(time.perf_counter() - began)
            cursor.execute("SELECT count(*) FROM bench_copy")
            assert cursor.fetchone()[0] == rows
            cursor.execute("DROP TABLE bench_copy")
    return times[0], times[1]
