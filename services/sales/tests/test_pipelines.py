"""Every tenant has one default pipeline; its stages change only where opportunities allow it."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import text

from liaison_kit.context import Context
from liaison_kit.ids import uuid7
from liaison_kit.testing import principal
from liaison_sales import pipelines

STAGES = [
    {"name": "Premier contact"},
    {"name": "Démo", "probability": 40},
    {"name": "Signé", "kind": "won"},
    {"name": "Perdu", "kind": "lost"},
]


def call(desk: Any, name: str, body: Any = None, if_match: int | None = None, **path: Any) -> Any:
    sent = b"" if body is None else json.dumps(body).encode()
    reply = desk.call(name, sent, if_match, path={k: str(v) for k, v in path.items()})
    return reply.status, json.loads(reply.body) if reply.body else None


def default(desk: Any) -> Any:
    return next(p for p in call(desk, "list_pipelines")[1]["items"] if p["is_default"])


def test_a_new_tenant_has_a_default_pipeline(desk: Any) -> None:
    _, page = call(desk, "list_pipelines")

    (pipeline,) = page["items"]
    assert pipeline["is_default"]
    assert [(s["name"], s["probability"], s["kind"]) for s in pipeline["stages"]] == [
        ("Prospecting", 10, "open"),
        ("Engaging", 30, "open"),
        ("Proposal", 50, "open"),
        ("Negotiation", 75, "open"),
        ("Won", 100, "won"),
        ("Lost", 0, "lost"),
    ]


def test_looking_makes_nothing(desk: Any) -> None:
    # An organisation that sales was never told of.
    desk.who = principal()

    _, page = call(desk, "list_pipelines")

    assert page == {"items": [], "next": None}
    with desk.db.reading(desk.context()) as session:
        assert session.scalar(text("SELECT count(*) FROM pipelines")) == 0


def test_what_is_made_before_the_language_is_known_speaks_it_then_unless_it_was_changed(
    desk: Any,
) -> None:
    told, touched = Context(tenant=uuid7()), Context(tenant=uuid7())
    for who in (told, touched):
        with desk.db.writing(who) as session:
            assert pipelines.ensure_default(session)
    with desk.db.writing(touched) as session:
        session.execute(text("UPDATE pipelines SET version = 2"))

    for who in (told, touched):
        with desk.db.writing(who) as session:
            pipelines.start(session, "fr")

    names = text("SELECT name FROM stages ORDER BY position LIMIT 1")
    with desk.db.reading(told) as session:
        assert session.scalar(names) == "Prospection"
    with desk.db.reading(touched) as session:
        assert session.scalar(names) == "Prospecting"


def test_many_first_requests_at_once_make_one_default_pipeline(desk: Any) -> None:
    desk.who = principal()

    def first(number: int) -> int:
        if number % 2:
            status: int = call(desk, "list_pipelines")[0]
            return status
        return int(call(desk, "create_opportunity", {"name": f"Deal {number}"})[0])

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(first, range(16)))

    assert set(answers) <= {200, 201}
    with desk.db.reading(desk.context()) as session:
        assert session.scalar(text("SELECT count(*) FROM pipelines")) == 1
        assert session.scalar(text("SELECT count(*) FROM stages")) == 6
        assert session.scalar(text("SELECT count(*) FROM opportunities")) == 8


def test_a_tenant_that_is_told_of_in_french_gets_french_stages(desk: Any) -> None:
    with desk.db.writing(Context(tenant=uuid7())) as session:
        assert pipelines.ensure_default(session, "fr")
        assert not pipelines.ensure_default(session, "en")
        found = pipelines.resolve(session, ["engaging", "Négociation", "GAGNEE", "Won", "no"])

    assert set(found) == {"engaging", "Négociation", "GAGNEE", "Won"}
    assert found["GAGNEE"] == found["Won"]


def test_a_pipeline_of_ones_own_is_used_and_may_become_the_default(desk: Any) -> None:
    status, mine = call(desk, "create_pipeline", {"name": "Directe", "stages": STAGES})
    assert status == 201
    assert [(s["code"], s["probability"]) for s in mine["stages"]] == [
        ("premier_contact", 33),
        ("demo", 40),
        ("signe", 100),
        ("perdu", 0),
    ]
    before = default(desk)

    status, mine = call(
        desk, "change_pipeline", {"is_default": True}, mine["version"], id=mine["id"]
    )

    assert (status, default(desk)["id"]) == (200, mine["id"])
    _, deal = call(desk, "create_opportunity", {"name": "x", "stage": "Démo"})
    assert (deal["pipeline_id"], deal["probability"]) == (mine["id"], 40)
    status, _ = call(desk, "delete_pipeline", None, before["version"] + 1, id=before["id"])
    assert status == 204
    status, _ = call(desk, "delete_pipeline", None, mine["version"], id=mine["id"])
    assert status == 409


def test_stages_are_renamed_added_moved_and_let_go_when_empty(desk: Any) -> None:
    pipeline = default(desk)
    stages = {s["code"]: s for s in pipeline["stages"]}
    _, deal = call(desk, "create_opportunity", {"name": "x", "stage": "proposal"})

    def keep(code: str, **changes: Any) -> dict[str, Any]:
        return {k: stages[code][k] for k in ("id", "name", "kind", "probability")} | changes

    wanted = [
        keep("proposal", name="Offer", probability=60),
        keep("prospecting"),
        {"name": "Legal", "probability": 90},
        keep("won"),
        keep("lost"),
    ]
    status, changed = call(
        desk, "change_pipeline", {"stages": wanted}, pipeline["version"], id=pipeline["id"]
    )

    assert status == 200, changed
    assert [s["name"] for s in changed["stages"]] == [
        "Offer",
        "Prospecting",
        "Legal",
        "Won",
        "Lost",
    ]
    assert changed["version"] == pipeline["version"] + 1
    _, deal = call(desk, "get_opportunity", id=deal["id"])
    assert (deal["stage"], deal["stage_name"], deal["probability"]) == ("proposal", "Offer", 60)
    status, problem = call(
        desk, "change_pipeline", {"stages": wanted[1:]}, changed["version"], id=pipeline["id"]
    )
    assert status == 409
    status, problem = call(
        desk,
        "change_pipeline",
        {"stages": [keep("proposal", kind="won", probability=100), *wanted[1:]]},
        changed["version"],
        id=pipeline["id"],
    )
    assert (status, problem["errors"][0]["path"]) == (422, "stages.0.kind")


def test_a_stage_that_is_gone_keeps_its_name_in_the_history_of_deals(desk: Any) -> None:
    pipeline = default(desk)
    _, deal = call(desk, "create_opportunity", {"name": "x", "stage": "engaging"})
    _, deal = call(desk, "move_opportunity", {"stage": "proposal"}, deal["version"], id=deal["id"])
    kept = [
        {name: stage[name] for name in ("id", "name", "kind", "probability")}
        for stage in pipeline["stages"]
        if stage["code"] != "engaging"
    ]

    status, _ = call(
        desk, "change_pipeline", {"stages": kept}, pipeline["version"], id=pipeline["id"]
    )

    assert status == 200
    _, moves = call(desk, "list_stage_changes", id=deal["id"])
    assert [(move["from_stage"], move["to_stage"]) for move in moves["items"]] == [
        (None, "Engaging"),
        ("Engaging", "Proposal"),
    ]


@pytest.mark.parametrize(
    ("stages", "path"),
    [
        (STAGES[:3], "stages"),
        ([*STAGES, {"name": "demo"}], "stages.4.name"),
        (
            [*STAGES[:3], {"name": "Perdu", "kind": "lost", "probability": 5}],
            "stages.3.probability",
        ),
        ([*STAGES, {"name": "Haut", "probability": 101}], "stages.4.probability"),
        ([*STAGES, {"name": "Tiède", "kind": "warm"}], "stages.4.kind"),
    ],
)
def test_stages_that_make_no_pipeline_are_named(desk: Any, stages: Any, path: str) -> None:
    status, problem = call(desk, "create_pipeline", {"name": "x", "stages": stages})

    assert status == 422
    assert path in [error["path"] for error in problem["errors"]]


def test_the_default_pipeline_stays_one(desk: Any) -> None:
    pipeline = default(desk)

    status, problem = call(
        desk, "change_pipeline", {"is_default": False}, pipeline["version"], id=pipeline["id"]
    )

    assert (status, problem["errors"][0]["path"]) == (422, "is_default")
