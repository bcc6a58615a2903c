"""Row rules hold wherever a record, or a trace of it, shows: every kind, operation and rule."""

import csv
import io
import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import httpx
import pytest
from tests.isolation.world import (
    KINDS,
    Operation,
    Somebody,
    World,
    naming_field,
    of_kind,
    operations,
    owned,
    references,
    said,
)
from tests.system import Api, System, wait_for

from liaison_kit.ids import uuid7

NARROWED = [(kind, rule) for kind in KINDS for rule in ("own", "team")]
EVERYBODY = [*NARROWED, ("", "all")]
MATCH = {"If-Match": '"1"'}


@pytest.fixture(scope="module")
def world(running: System) -> World:
    """A tenant of its own in which everybody has records of every kind."""
    found = World(running, running.tenant("Rows")).build()
    for (kind, _), record in found.records.items():
        _hang_on(found, kind, record)
    _tell_of_deals(found)
    return found


@pytest.fixture
def who(request: pytest.FixtureRequest, world: World) -> Somebody:
    """The colleague whose role has this rule for this kind."""
    return next(one for one in world.people if (one.kind, one.rule) == request.param)


def _all_of(world: World, kind: str) -> list[dict[str, Any]]:
    shared = [record for (of, _), record in world.records.items() if of == kind]
    return shared + [one.own[kind] for one in world.people]


def _hang_on(world: World, kind: str, record: dict[str, Any]) -> None:
    """Notes, files and whatever else can be added to a record, each with its word."""
    record["hung"] = []
    for operation in of_kind(kind):
        added = operation.path.removeprefix(f"/{kind}/{{id}}/")
        if operation.method != "POST" or operation.told["if_match"] or added == operation.path:
            continue
        if added in ("restore", "erase", "access") or "{merge}" in added:
            # What is there can't be brought back; nobody is to be gone, or to be two again.
            continue
        path = operation.path.format(id=record["id"])
        if operation.told["upload"]:
            file = {"file": (f"{record['word']}.txt", record["word"].encode(), "text/plain")}
            answer = world.admin.post(path, files=file)
        else:
            body = dict.fromkeys(operation.body() or {}, record["word"])
            answer = world.admin.post(path, json=body)
        assert answer.status_code == 201, (path, answer.text)
        record["hung"].append((added, answer.json()["id"]))


def _tell_of_deals(world: World) -> None:
    """Deals are won with companies and people that everybody sees: their timelines tell of it."""
    for whose, owner in world.owners.items():
        company = world.make("companies", None)
        person = world.make("contacts", None)
        deal = world.make(
            "opportunities",
            owner,
            company_id=company["id"],
            contact_id=person["id"],
            amount={"amount": "4711.00", "currency": "EUR"},
        )
        world.admin.act(f"/opportunities/{deal['id']}/win", deal["version"])
        for record in (company, person):
            kind = "companies" if record is company else "contacts"
            world.records[kind, f"customer of {whose}"] = record | {"deal": deal, "hung": []}
            wait_for(
                "the timeline tells of the deal",
                lambda kind=kind, record=record: (
                    "deal_won" in world.admin.get(f"/{kind}/{record['id']}/timeline").text
                ),
            )


def narrowed(test: Callable[..., None]) -> Callable[..., None]:
    """For every kind of record and rule that narrows it."""
    return pytest.mark.parametrize("who", NARROWED, indirect=True, ids="-".join)(test)


def everybody(test: Callable[..., None]) -> Callable[..., None]:
    """For every kind of record and rule."""
    return pytest.mark.parametrize("who", EVERYBODY, indirect=True, ids="-".join)(test)


def test_every_kind_of_record_with_an_owner_is_looked_at() -> None:
    assert {"contacts", "companies", "opportunities"} <= set(KINDS)
    assert all(any(True for _ in of_kind(kind)) for kind in KINDS)


# --- what is shown -------------------------------------------------------------------------------


@everybody
def test_a_list_a_count_and_a_search_show_what_the_rule_lets_through(
    world: World, who: Somebody
) -> None:
    for kind in KINDS:
        shown = {item["id"] for item in who.api.every(f"/{kind}", limit=200)}
        for record in world.admin.every(f"/{kind}", limit=200):
            assert (record["id"] in shown) == world.sees(who, kind, record["owner_id"]), kind
        assert who.api.see(f"/{kind}", count="true")["count"] == len(shown)
        for record in _all_of(world, kind):
            seen = world.sees(who, kind, record["owner_id"])
            found = who.api.see(f"/{kind}", q=record["word"], count="true")
            assert found["count"] == len(found["items"]) == int(seen)


@everybody
def test_a_search_over_all_modules_shows_what_the_rule_lets_through(
    world: World, who: Somebody
) -> None:
    for kind in KINDS:
        for record in _all_of(world, kind):
            word = record["word"]
            found = wait_for("all modules answer", lambda word=word: _searched(who, word))
            shown = {item["id"] for group in found["groups"] for item in group["items"]}
            seen = world.sees(who, kind, record["owner_id"])
            assert (record["id"] in shown) == seen, kind
            assert not world.told(who, json.dumps(found)), found
    # A record that may be seen names none that may not beside it.
    for pointing in who.pointing.values():
        found = wait_for("all modules answer", lambda p=pointing: _searched(who, p["word"]))
        assert not world.told(who, json.dumps(found)), found


def _searched(who: Somebody, word: str) -> dict[str, Any] | None:
    """What somebody finds, unless a module was too slow: then it is no answer to judge by."""
    found = who.api.see("/search", q=word, limit=20)
    return None if found["missing"] else found


@everybody
def test_who_looks_at_a_record_is_told_to_who_may_read_it(world: World, who: Somebody) -> None:
    for kind in KINDS:
        for (of, _), record in world.records.items():
            if of != kind:
                continue
            look = {"screen": "s", "record": kind, "id": record["id"]}
            assert world.admin.post("/looking", json=look).status_code == 200

            said = who.api.post("/looking", json={**look, "screen": "theirs"})
            asked = who.api.get("/looking", params={"record": kind, "id": record["id"]})

            seen = world.sees(who, kind, record["owner_id"])
            wanted = (200, 200) if seen else (404, 404)
            assert (said.status_code, asked.status_code) == wanted, kind
            if seen:
                assert len(asked.json()["faces"]) >= 1
            who.api.post("/looking", json={"screen": "theirs", "record": None, "id": None})


@everybody
def test_nothing_that_can_be_read_names_a_record_that_is_hidden(
    world: World, who: Somebody
) -> None:
    """Each reading operation is asked about everything that there is, hidden or not."""
    ids = {kind: [record["id"] for record in _all_of(world, kind)] for kind in KINDS}
    for kind in KINDS:
        for record in _all_of(world, kind):
            for to, id in record.get("hung", ()):
                ids.setdefault(to, []).append(id)
    for operation in operations():
        if operation.method != "GET":
            continue
        for answer in _read(who.api, operation, ids):
            assert answer.status_code < 500, (operation.path, answer.text)
            assert world.told(who, answer.text) == set(), (operation.path, answer.text)


def _read(api: Api, operation: Operation, ids: dict[str, list[str]]) -> list[httpx.Response]:
    """What an operation answers about all that it can be asked about."""
    asked = {p["name"]: p["schema"] for p in operation.told["query_params"]}
    queries: list[dict[str, str]] = [{"limit": "200"} if "limit" in asked else {}]
    if operation.told["shared"] == "record":
        kinds = owned().keys() & set(operation.told["records"])
        about = [(kind, id) for kind in kinds for id in (ids[kind] if "id" in asked else [""])]
        queries = [{"record": kind} | ({"id": id} if id else {}) for kind, id in about]
    if "enum" in asked.get("by", ()):
        queries = [{"by": value} for value in asked["by"]["enum"]]
    kind = operation.path.split("/")[1]
    paths = [operation.path.format(id=id, merge=id) for id in ids.get(kind, ())]
    if "{" not in operation.path:
        paths = [operation.path]
    return [api.get(path, params=query) for path in paths for query in queries]


@everybody
def test_what_hidden_deals_did_to_a_customer_is_not_told(world: World, who: Somebody) -> None:
    for (kind, whose), record in world.records.items():
        deal = record.get("deal")
        if deal is None or not world.sees(who, kind, None):
            continue
        seen = world.sees(who, "opportunities", deal["owner_id"])
        timeline = who.api.see(f"/{kind}/{record['id']}/timeline", limit=200)["items"]
        found = who.api.see(f"/{kind}/{record['id']}")
        history = who.api.get("/history", params={"record": kind, "id": record["id"]})

        assert any(entry["kind"] == "deal_won" for entry in timeline) == seen, whose
        assert (found["customer_because"] is not None) == seen, whose
        assert (deal["word"] in history.text) == seen, whose
        assert found["customer_since"] is not None
        assert "because_id" not in history.text + str(timeline) + str(found)


@narrowed
def test_a_name_beside_an_id_is_for_who_may_see_the_record(world: World, who: Somebody) -> None:
    for (kind, name, whose), record in who.pointing.items():
        found = who.api.see(f"/{kind}/{record['id']}")
        target = world.records[who.kind, whose]
        beside = name.removesuffix("_id") + "_name"
        if beside in found:
            seen = world.sees(who, who.kind, world.owners[whose])
            assert (found[beside] is not None and target["word"] in found[beside]) == seen
        else:
            assert world.told(who, str(found)) == set()


@narrowed
def test_figures_add_up_what_the_list_shows(world: World, who: Somebody) -> None:
    shown = len(who.api.every("/opportunities", limit=200))
    for by in ("stage", "region", "rep", "product", "month", "manager", "currency"):
        assert who.api.see("/sales/summary", by=by)["total"]["count"] == shown, by


# --- answers about what is hidden ----------------------------------------------------------------


@narrowed
def test_a_hidden_record_is_answered_like_one_that_never_was(world: World, who: Somebody) -> None:
    for operation in of_kind(who.kind):
        body = operation.body()
        for hidden in world.hidden(who):
            before = world.admin.see(f"/{who.kind}/{hidden['id']}")
            told = []
            for id in (hidden["id"], str(uuid7())):
                path = operation.path.format(id=id, merge=id)
                sent: dict[str, Any] = {"headers": MATCH if operation.told["if_match"] else {}}
                if operation.told["upload"]:
                    sent["files"] = {"file": ("a.txt", b"x", "text/plain")}
                elif body is not None:
                    sent["json"] = body
                told.append(said(who.api.request(operation.method, path, **sent), id))

            assert told[0] == told[1], operation.path
            assert told[0][0] == 404, (operation.path, told[0])
            assert world.admin.see(f"/{who.kind}/{hidden['id']}") == before


@narrowed
def test_what_hangs_on_a_hidden_record_is_answered_like_what_never_was(
    world: World, who: Somebody
) -> None:
    for operation in operations():
        kind = operation.path.split("/")[1]
        for hidden in world.hidden(who):
            for to, id in hidden["hung"]:
                if to != kind or "{id}" not in operation.path:
                    continue
                told = []
                for one in (id, str(uuid7())):
                    path = operation.path.format(id=one, merge=one)
                    sent = {"json": operation.body()} if operation.body() is not None else {}
                    headers = MATCH if operation.told["if_match"] else {}
                    answer = who.api.request(operation.method, path, headers=headers, **sent)
                    told.append(said(answer, one))
                assert told[0] == told[1], operation.path
                assert told[0][0] == 404, (operation.path, told[0])


@narrowed
def test_its_history_is_answered_like_that_of_none(world: World, who: Somebody) -> None:
    for hidden in world.hidden(who):
        told = [
            said(who.api.get("/history", params={"record": who.kind, "id": id}), id)
            for id in (hidden["id"], str(uuid4()))
        ]
        assert told[0] == told[1]
        assert told[0][0] == 404


@narrowed
def test_a_reference_to_a_hidden_record_is_refused_like_one_to_nothing(
    world: World, who: Somebody
) -> None:
    for kind, name, of in references():
        if of != who.kind:
            continue
        mine = who.own[kind]
        for hidden in world.hidden(who):
            for method, path in (("POST", f"/{kind}"), ("PATCH", f"/{kind}/{mine['id']}")):
                told = []
                for id in (hidden["id"], str(uuid7())):
                    body = {name: id}
                    if method == "POST":
                        body[naming_field(kind)] = "x"
                    version = who.api.see(f"/{kind}/{mine['id']}")["version"]
                    headers = {"If-Match": f'"{version}"'} if method == "PATCH" else {}
                    answer = who.api.request(method, path, json=body, headers=headers)
                    told.append(said(answer, id))
                assert told[0] == told[1], (method, kind, name)
                assert told[0][0] == 422, told[0]
        # What may be seen is taken.
        own = who.own[of]["id"]
        if not (kind == of and own == mine["id"]):
            assert (
                who.api.post(f"/{kind}", json={name: own, naming_field(kind): "x"}).status_code
                == 201
            )


@narrowed
def test_a_filter_by_a_hidden_record_finds_what_one_by_nothing_finds(
    world: World, who: Somebody
) -> None:
    for (kind, name, whose), record in who.pointing.items():
        filtered = {
            p["name"] for o in operations() if o.path == f"/{kind}" for p in o.told["query_params"]
        }
        target = world.records[who.kind, whose]["id"]
        seen = world.sees(who, who.kind, world.owners[whose])
        if name not in filtered:
            continue
        for operator in ("", "[in]", "[ne]"):
            by_it = who.api.see(f"/{kind}", **{f"{name}{operator}": target}, count="true")
            by_none = who.api.see(f"/{kind}", **{f"{name}{operator}": str(uuid7())}, count="true")
            if not seen:
                assert by_it["count"] == by_none["count"], (kind, name, operator)
            elif operator != "[ne]":
                assert record["id"] in {item["id"] for item in by_it["items"]}
        # As a condition asks, with the id in any of the ways in which one may be written.
        none = str(uuid7())
        for operator, by_id, by_nobodys in (
            ("=", target, none),
            ("=", f"{{{target}}}", none),
            ("in", [f"urn:uuid:{target}", none], [none]),
            ("!=", target, none),
        ):
            by_it, by_none = (
                who.api.see(f"/{kind}", where=asked(name, operator, value), count="true")
                for value in (by_id, by_nobodys)
            )
            if not seen:
                assert by_it["count"] == by_none["count"], (kind, name, operator)
            elif operator != "!=":
                assert record["id"] in {item["id"] for item in by_it["items"]}


def asked(field: str, operator: str, value: Any) -> str:
    """A condition of one rule, as lists take it."""
    rule = {"field": field, "operator": operator, "value": value}
    return json.dumps({"combinator": "and", "rules": [rule]})


@narrowed
def test_a_record_may_not_be_written_out_of_sight(world: World, who: Somebody) -> None:
    mine = who.own[who.kind]
    version = who.api.see(f"/{who.kind}/{mine['id']}")["version"]
    for owner in (world.other, None):
        given = who.api.patch(
            f"/{who.kind}/{mine['id']}",
            json={"owner_id": owner},
            headers={"If-Match": f'"{version}"'},
        )
        assert given.status_code == 422, given.text
    named = naming_field(who.kind)
    made = who.api.post(f"/{who.kind}", json={named: "x", "owner_id": world.other})
    assert made.status_code == 422, made.text
    assert who.api.make(f"/{who.kind}", **{named: "x"})["owner_id"] == who.user


@narrowed
def test_an_external_id_that_a_hidden_record_has_is_refused_like_any_that_is_taken(
    world: World, who: Somebody
) -> None:
    named = naming_field(who.kind)
    mine, theirs = f"m-{uuid4().hex}", f"t-{uuid4().hex}"
    who.api.make(f"/{who.kind}", **{named: "x", "external_id": mine})
    world.make(who.kind, world.other, external_id=theirs)

    told = [
        said(who.api.post(f"/{who.kind}", json={named: "x", "external_id": id}), id)
        for id in (mine, theirs)
    ]

    assert told[0] == told[1]
    assert told[0][0] == 409


def test_a_warning_names_nobody_who_is_hidden(world: World) -> None:
    email = f"{uuid4().hex[:10]}@example.com"
    mail = {"emails": [{"address": email}]}
    theirs = world.make("contacts", world.other, **mail)
    for who in world.people:
        made = who.api.make("/contacts", last_name="Same mail", **mail)
        warned = {one["id"] for one in made["possible_duplicates"]}
        assert (theirs["id"] in warned) == world.sees(who, "contacts", world.other)
        assert world.told(who, str(made["possible_duplicates"])) == set()


# --- imports and jobs ----------------------------------------------------------------------------


def _file(kind: str, rows: list[dict[str, str]]) -> bytes:
    out = io.StringIO(newline="")
    writer = csv.DictWriter(out, ["external_id", naming_field(kind), "owner"])
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue().encode()


def _hand_in(api: Api, kind: str, rows: list[dict[str, str]]) -> dict[str, Any]:
    file = {"file": ("book.csv", _file(kind, rows), "text/csv")}
    made = api.post("/imports", params={"record": kind}, files=file)
    assert made.status_code == 201, made.text
    found: dict[str, Any] = made.json()
    return found


def _done(api: Api, id: str, verb: str) -> dict[str, Any]:
    started = api.post(f"/imports/{id}/{verb}")
    assert started.status_code == 202, started.text
    job = started.json()["job"]

    def ended() -> dict[str, Any] | None:
        found = api.see(f"/jobs/{job}")
        return found if found["status"] in ("done", "failed", "cancelled") else None

    assert wait_for("the job ends", ended, seconds=60)["status"] == "done"
    return api.see(f"/imports/{id}")


@narrowed
def test_a_file_writes_nothing_out_of_sight_and_meets_nothing_hidden(
    world: World, who: Somebody
) -> None:
    kind, named = who.kind, naming_field(who.kind)
    taken, fresh = f"t-{uuid4().hex}", f"f-{uuid4().hex}"
    theirs = world.make(kind, world.other, external_id=taken)
    mine = world.make(kind, who.user, external_id=f"m-{uuid4().hex}")
    other = world.admin.see(f"/users/{world.other}")["name"]
    rows = [
        {"external_id": fresh, named: "New"},
        {"external_id": f"o-{uuid4().hex}", named: "For another", "owner": other},
        {"external_id": taken, named: "Taken"},
        {"external_id": mine["external_id"], named: "Changed"},
        {"external_id": mine["external_id"] + "x", named: "Given away", "owner": other},
    ]
    shape = _hand_in(who.api, kind, rows)

    preview = who.api.post(f"/imports/{shape['id']}/preview")
    dry = _done(who.api, shape["id"], "dry-run")
    done = _done(who.api, shape["id"], "start")

    assert preview.status_code == 200, preview.text
    assert dry["counts"] == {
        "would_create": 1,
        "would_update": 1,
        "would_leave": 0,
        "would_fail": 3,
    }
    assert {n: done["counts"][n] for n in ("created", "updated", "failed")} == {
        "created": 1,
        "updated": 1,
        "failed": 3,
    }
    codes = {problem["code"]: problem["rows"] for problem in done["problems"]}
    assert codes == {"out_of_sight": [3, 6], "taken": [4]}
    assert world.admin.see(f"/{kind}/{theirs['id']}") == {
        name: value
        for name, value in theirs.items()
        if name in theirs and name != "word" and name != "possible_duplicates"
    }
    (made,) = world.admin.see(f"/{kind}", external_id=fresh)["items"]
    assert made["owner_id"] == who.user
    errors = who.api.get(f"/imports/{shape['id']}/errors")
    assert world.told(who, errors.text + preview.text + str(done)) == set()


@narrowed
def test_an_import_and_its_job_are_shown_like_a_record_of_who_handed_it_in(
    world: World, who: Somebody
) -> None:
    mine = _hand_in(who.api, who.kind, [{"external_id": f"x-{uuid4().hex}"}])
    theirs = _hand_in(world.admin, who.kind, [{"external_id": f"x-{uuid4().hex}"}])
    ended = _hand_in(
        world.admin,
        who.kind,
        [{"external_id": f"x-{uuid4().hex}", naming_field(who.kind): "From a file"}],
    )
    job = _done(world.admin, ended["id"], "start")["job_id"]

    listed = {item["id"] for item in who.api.every("/imports", limit=200)}
    assert mine["id"] in listed
    assert not {theirs["id"], ended["id"]} & listed
    assert job not in {item["id"] for item in who.api.every("/jobs", limit=200)}
    for method, path, body in (
        ("GET", "/imports/{id}", None),
        ("PATCH", "/imports/{id}", {"mapping": {}}),
        ("POST", "/imports/{id}/preview", None),
        ("POST", "/imports/{id}/dry-run", None),
        ("POST", "/imports/{id}/start", None),
        ("POST", "/imports/{id}/rollback", None),
        ("GET", "/imports/{id}/errors", None),
        ("GET", "/jobs/{id}", None),
        ("POST", "/jobs/{id}/cancel", None),
    ):
        for id in (job,) if "/jobs" in path else (theirs["id"], ended["id"]):
            told = [
                said(
                    who.api.request(
                        method, path.format(id=one, merge=one), json=body, headers=MATCH
                    ),
                    one,
                )
                for one in (id, str(uuid7()))
            ]
            assert told[0] == told[1], (method, path)
            assert told[0][0] == 404, (method, path, told[0])


def test_an_import_is_for_who_may_use_its_kind_of_record(world: World) -> None:
    staff = world.admin.post(
        "/imports",
        params={"record": "users"},
        files={"file": ("staff.csv", b"name,email\nGeheim,geheim@example.com\n", "text/csv")},
    ).json()
    everyday = [p for p in world.permissions if not p.startswith("users:")]
    token = world.admin.make("/tokens", label="import", permissions=everyday)["token"]
    api = world.running.api(token)

    assert staff["id"] not in {item["id"] for item in api.every("/imports", limit=200)}
    assert api.get(f"/imports/{staff['id']}").status_code == 404
    assert world.admin.get(f"/imports/{staff['id']}").status_code == 200


def test_whoever_operates_the_installation_sees_and_stops_all_jobs(world: World) -> None:
    who = world.people[-1]
    shape = _hand_in(who.api, KINDS[0], [{"external_id": f"x-{uuid4().hex}"}])
    started = who.api.post(f"/imports/{shape['id']}/dry-run").json()["job"]

    assert world.admin.see(f"/jobs/{started}")["id"] == started
    assert started in {job["id"] for job in world.admin.every("/jobs", limit=200)}
    assert world.admin.post(f"/jobs/{started}/cancel").status_code in (200, 409)
    others = next(one for one in world.people if one.rule == "all" or one is not who)
    if others is not who:
        assert others.api.post(f"/jobs/{started}/cancel").status_code in (403, 404)


# --- a change of owner ---------------------------------------------------------------------------


def test_a_deal_takes_its_traces_along_to_its_new_owner(world: World) -> None:
    who = next(p for p in world.people if (p.kind, p.rule) == ("opportunities", "own"))
    company = world.make("companies", None)
    deal = world.make("opportunities", world.other, company_id=company["id"])
    path = f"/companies/{company['id']}/timeline"
    wait_for("it is told", lambda: deal["word"] in world.admin.get(path).text)
    assert deal["word"] not in who.api.get(path).text

    world.admin.change(f"/opportunities/{deal['id']}", deal["version"], owner_id=who.user)

    wait_for("the new owner sees it", lambda: deal["word"] in who.api.get(path).text)
    moved = world.admin.see(f"/opportunities/{deal['id']}")
    world.admin.change(f"/opportunities/{deal['id']}", moved["version"], owner_id=world.other)
    wait_for("not any more", lambda: deal["word"] not in who.api.get(path).text)
