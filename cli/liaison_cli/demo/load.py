"""Bring the demo company in, through the public API.

Most of it goes through the import; some deals and notes are entered one by one, as people do. Every
call carries a key of its own, so a run that was cut off is simply run again.
"""

import datetime as dt
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from liaison_cli import importing, screen
from liaison_cli.client import Client, segment
from liaison_cli.demo.book import Book, Deal, Size, make
from liaison_cli.demo.files import File, files
from liaison_cli.errors import Refused, Told
from liaison_cli.signin import connect

# Entered last of all, so whoever finds it has found the whole book.
LAST = "demo-live-001"
# How long other services may take to learn of the users and companies that came in before.
ARRIVES_WITHIN_S = 30.0
AT_ONCE = 6

T = TypeVar("T")

CUSTOM_FIELDS: dict[str, list[dict[str, Any]]] = {
    "companies": [
        {
            "name": "size_band",
            "kind": "choice",
            "label": {"en": "Size", "fr": "Taille"},
            "choices": ["Small", "Medium", "Large"],
        },
        {"name": "sites", "kind": "number", "label": {"en": "Sites", "fr": "Sites"}},
    ],
    "contacts": [
        {
            "name": "language",
            "kind": "choice",
            "label": {"en": "Language", "fr": "Langue"},
            "choices": ["en", "fr"],
        },
        {
            "name": "newsletter",
            "kind": "boolean",
            "label": {"en": "Gets the newsletter", "fr": "Reçoit la lettre d'information"},
        },
    ],
    "opportunities": [
        {
            "name": "source",
            "kind": "choice",
            "label": {"en": "Source", "fr": "Origine"},
            "choices": [
                "Website",
                "Referral",
                "Existing customer",
                "Trade show",
                "Partner",
                "Cold call",
            ],
        },
        {"name": "competitor", "kind": "text", "label": {"en": "Competitor", "fr": "Concurrent"}},
    ],
}


def load(size: Size) -> None:
    """Make the book up and bring it in; says so when it is there already."""
    began = time.monotonic()
    with connect() as client:
        if client.get("/opportunities", external_id=LAST, limit=1)["items"]:
            screen.say("The demo company is in already.")
            return
        _settle(client)
        book = make(size, dt.datetime.now(dt.UTC).date())
        _define_fields(client)
        for file in files(book):
            _bring_in(client, file)
            if file.record == "users":
                _name_managers(client, book)
        key = f"demo-{size.seed}-{book.today}"
        companies = _ids(client, "companies", "external_id")
        _write_notes(client, book, companies, key)
        _enter_deals(client, book, companies, key)
    took = time.monotonic() - began
    screen.say(
        f"The demo company is in after {took:.0f} s: {len(book.users)} colleagues,"
        f" {len(book.companies)} companies, {len(book.people)} people,"
        f" {len(book.deals) + len(book.live)} deals."
    )


def _settle(client: Client) -> None:
    """The company is in Paris, unless somebody has said already where it is."""
    tenant = client.get("/tenant")
    if tenant["version"] == 1:
        there = {"time_zone": "Europe/Paris", "country": "FR", "currency": "EUR"}
        client.patch("/tenant", there, tenant["version"])


def _define_fields(client: Client) -> None:
    for record, wanted in CUSTOM_FIELDS.items():
        found = client.get("/custom-fields", record=record)["items"]
        known = {field["name"] for field in found}
        for field in wanted:
            if field["name"] not in known:
                client.post("/custom-fields", field, record=record)


def _bring_in(client: Client, file: File) -> None:
    """Import one file of the book; all of its rows have to go in."""
    began = importing.begin(client, file.body, file.record, file.name)
    mapping = {column: column for column in file.columns}
    began = importing.change(client, began, {"mapping": mapping})
    _wait_for_references(client, began)
    ended = importing.carry_out(client, began, file.record.capitalize())
    if ended["status"] != "done" or ended["counts"].get("failed"):
        told = "; ".join(importing.problem_lines(ended)[:3])
        raise Told(f"The demo's {file.record} did not all go in: {told or ended['status']}")


def _name_managers(client: Client, book: Book) -> None:
    """Each team's manager; a file of users tells only whom each of them reports to."""
    owners = _ids(client, "users", "email")
    teams = {team["name"]: team for team in client.pages("/teams")}
    leads = {user.manager for user in book.users}
    for user in book.users:
        team = teams[user.team]
        if user.name in leads and team["manager_id"] is None:
            changes = {"manager_id": owners[user.email]}
            teams[user.team] = client.patch(f"/teams/{team['id']}", changes, team["version"])


def _wait_for_references(client: Client, import_: dict[str, Any]) -> None:
    """Wait until the service knows everybody whom the file names: it learns of them by events."""
    deadline = time.monotonic() + ARRIVES_WITHIN_S
    while unknown := importing.unresolved(client, import_):
        if time.monotonic() > deadline:
            first = unknown[0]
            raise Told(f"{first['column']} {first['value']!r} of the demo is not known to Liaison")
        time.sleep(0.3)


def _ids(client: Client, record: str, name: str) -> dict[str, str]:
    """The id of each record by one of its fields."""
    return {item[name]: item["id"] for item in client.pages(f"/{record}") if item[name]}


def _write_notes(client: Client, book: Book, companies: dict[str, str], key: str) -> None:
    def write(number: int) -> None:
        note = book.notes[number]
        id = companies[note.company.external_id]
        client.post(f"/companies/{id}/notes", {"body": note.body}, key=f"{key}-note-{number}")

    _several("Notes", write, range(len(book.notes)))


def _enter_deals(client: Client, book: Book, companies: dict[str, str], key: str) -> None:
    products = _ids(client, "products", "code")
    owners = _ids(client, "users", "email")

    def enter(deal: Deal) -> None:
        company = companies[deal.company.external_id]
        people = client.get("/contacts", company_id=company, limit=1)["items"]
        new = {
            "name": deal.name,
            "external_id": deal.external_id,
            "company_id": company,
            "contact_id": people[0]["id"] if people else None,
            "product_id": products[deal.item.code],
            "owner_id": owners[deal.owner.email],
            "amount": {"amount": str(deal.amount), "currency": deal.company.currency},
            "engaged_on": deal.engaged_on.isoformat(),
            "expected_close": deal.expected_close.isoformat(),
            "custom": {"source": deal.source}
            | ({"competitor": deal.competitor} if deal.competitor else {}),
        }
        _enter(client, deal, new, key)

    last = [deal for deal in book.live if deal.external_id == LAST]
    _several("Deals of these weeks", enter, [deal for deal in book.live if deal not in last])
    _several("The last one", enter, last)


def _several(what: str, do: Callable[[T], None], each: Sequence[T]) -> None:
    """Do it for each, a few at a time, as people in an office would."""
    with screen.progress(what, total=len(each)) as bar, ThreadPoolExecutor(AT_ONCE) as pool:
        for _ in pool.map(do, each):
            bar.advance()


def _enter(client: Client, deal: Deal, new: dict[str, Any], key: str) -> None:
    """Open a deal and take it through its stages, each on the day that it happened."""
    try:
        opened = client.post("/opportunities", new, key=f"{key}-{deal.external_id}")
    except Refused as refused:
        if refused.problem.status == 409:
            # An earlier run, some days ago, came as far as this one.
            return
        raise
    path, version = f"/opportunities/{segment(opened['id'])}", opened["version"]
    for number, step in enumerate(deal.steps[1:], start=1):
        verb, body = "move", {"stage": step.stage, "on": step.on.isoformat()}
        if step.stage in ("won", "lost"):
            verb = "win" if step.stage == "won" else "lose"
            body = {"reason": step.reason, "on": step.on.isoformat()}
        moved = client.json(
            "POST",
            f"{path}/{verb}",
            body=body,
            version=version,
            key=f"{key}-{deal.external_id}-{number}",
        )
        version = moved["version"]
