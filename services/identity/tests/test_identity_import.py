"""Importing reps with their managers and regions."""

import csv
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from identity_company import Company, call
from sqlalchemy import text
from sqlalchemy.orm import Session

from liaison_identity.importing import IMPORTED_USERS
from liaison_kit.ids import uuid7
from liaison_kit.imports import engine
from liaison_kit.imports.mapping import suggest
from liaison_kit.imports.planning import Options
from liaison_kit.imports.reading import open_table

Who = dict[str, Any]

BOOK = """sales_agent,manager,regional_office
Anna Snelling,Dustin Brinkmann,Central
Moses Frase,Dustin Brinkmann,Central
Hélène Marxen,Melvin Marxen,Central
Vicki Laflamme,Celia Rouche,West
"""


class Steps:
    """A job of one process, as the engine sees it."""

    def __init__(self, company: Company, who: Who) -> None:
        self.company, self.who = company, who
        self.checkpoint: dict[str, Any] = {}
        self.done = 0
        self.total: int | None = None

    @contextmanager
    def step(self) -> Iterator[Session]:
        """One transaction."""
        with self.company.db.writing(self.company.about(self.who)) as session:
            yield session

    def asking(self, work: Any) -> Any:
        """Work in one transaction; here are no other services to ask."""
        with self.step() as session:
            return work(session)


def run(
    company: Company, who: Who, path: Path, key: str | None = None, **mapping: str
) -> dict[str, int]:
    """Import a file; the counts of what became of its rows."""
    table = open_table(path)
    create = {"manager": "create", "team": "create"}
    _, tally = engine.run(
        Steps(company, who),
        IMPORTED_USERS,
        table,
        mapping,
        {},
        Options(on_missing=create, key=key),
        uuid7(),
        uuid7(),
    )
    return dict(tally.counts)


def written(folder: Path, content: str) -> Path:
    """A file."""
    path = folder / "team.csv"
    path.write_text(content)
    return path


def rep_columns() -> dict[str, str]:
    """The mapping of the shared sales book."""
    return {"sales_agent": "name", "manager": "manager", "regional_office": "region"}


def everybody(who: Who) -> dict[str, dict[str, Any]]:
    """All users by name."""
    items = call("list_users", who, query={"limit": 200}).body["items"]
    return {user["name"]: user for user in items}


def test_the_columns_of_a_sales_book_are_recognised(tmp_path: Path) -> None:
    table = open_table(written(tmp_path, BOOK))
    fields = [copy for spec in IMPORTED_USERS.fields for copy in spec.expanded()]

    suggested = suggest(table.header, {}, fields)

    assert [s.field for s in suggested] == ["name", "manager", "region"]


def test_reps_come_with_their_managers_and_teams(
    company: Company, admin: Who, tmp_path: Path
) -> None:
    counts = run(company, admin, written(tmp_path, BOOK), **rep_columns())

    people = everybody(admin)
    teams = call("list_teams", admin, query={"sort": "name"}).body["items"]
    assert counts["created"] == 4
    assert people["Anna Snelling"]["manager"] == "Dustin Brinkmann"
    assert people["Anna Snelling"]["region"] == "Central"
    assert people["Anna Snelling"]["can_sign_in"] is False
    assert [team["name"] for team in teams] == [
        "Central – Dustin Brinkmann",
        "Central – Melvin Marxen",
        "West – Celia Rouche",
    ]
    assert teams[0]["manager"] == "Dustin Brinkmann"
    assert teams[0]["members"] == 2
    assert call("list_users", admin, query={"q": "helene"}).body["items"] != []


def test_the_same_file_again_changes_nothing(company: Company, admin: Who, tmp_path: Path) -> None:
    path = written(tmp_path, BOOK)
    run(company, admin, path, **rep_columns())
    before, teams = everybody(admin), call("list_teams", admin).body

    counts = run(company, admin, path, **rep_columns())

    assert counts == {"created": 0, "updated": 0, "unchanged": 4, "failed": 0}
    assert everybody(admin) == before
    assert call("list_teams", admin).body == teams


def test_who_moves_to_another_region_moves_to_its_team(
    company: Company, admin: Who, tmp_path: Path
) -> None:
    run(company, admin, written(tmp_path, BOOK), **rep_columns())
    moved = BOOK.replace(
        "Anna Snelling,Dustin Brinkmann,Central", "Anna Snelling,Celia Rouche,West"
    )

    unsaid = run(company, admin, written(tmp_path, moved), **rep_columns())
    counts = run(company, admin, written(tmp_path, moved), key="name", **rep_columns())

    assert (unsaid["updated"], unsaid["failed"]) == (0, 1)
    assert counts["updated"] == 1
    assert everybody(admin)["Anna Snelling"]["team"] == "West – Celia Rouche"


def test_a_team_that_the_file_names_is_used_and_learns_its_region(
    company: Company, admin: Who, tmp_path: Path
) -> None:
    path = written(tmp_path, "name,team,region\nAnna,Tigers,North\nBo,Tigers,North\n")
    columns = {"name": "name", "team": "team", "region": "region"}

    run(company, admin, path, **columns)

    anna = everybody(admin)["Anna"]
    assert (anna["team"], anna["region"]) == ("Tigers", "North")
    assert run(company, admin, path, **columns)["unchanged"] == 2


def test_a_file_takes_no_sign_in_over(company: Company, admin: Who, tmp_path: Path) -> None:
    path = written(tmp_path, "name,email\nAda,thief@example.com\n")

    run(company, admin, path, name="name", email="email")

    assert everybody(admin)["Ada"]["email"] == company.email


def test_employees_report_to_each_other_by_their_numbers(
    company: Company, admin: Who, tmp_path: Path
) -> None:
    path = written(tmp_path, "id,name,reports_to\n1,Nancy,2\n2,Andrew,\n3,Janet,2\n")

    run(company, admin, path, id="external_id", name="name", reports_to="manager")

    people = everybody(admin)
    assert people["Nancy"]["manager"] == "Andrew"
    assert people["Andrew"]["manager_id"] is None
    assert len(people) == 4


def test_everybody_who_came_is_told(company: Company, admin: Who, tmp_path: Path) -> None:
    run(company, admin, written(tmp_path, BOOK), **rep_columns())

    with company.db.connection() as connection:
        told = connection.execute(
            text(
                "SELECT u ->> 'name' AS name, u ->> 'region' AS region, u ->> 'team' AS team"
                " FROM outbox, json_array_elements(body::json #> '{data,users}') u"
                " WHERE body::json ->> 'type' = 'users_saved'"
                " AND body::json ->> 'tenant' = :tenant ORDER BY seq"
            ),
            {"tenant": str(company.id)},
        ).all()
    last = {row.name: row for row in told}
    assert last["Anna Snelling"].team == "Central – Dustin Brinkmann"
    assert last["Vicki Laflamme"].region == "West"
    assert {"Dustin Brinkmann", "Celia Rouche", "Melvin Marxen"} <= last.keys()


def test_the_shared_sales_book(company: Company, admin: Who) -> None:
    root = Path(__file__).resolve().parents[3]
    folder = Path(os.environ.get("LIAISON_DATA", root.parent / "shared" / "data"))
    path = folder / "crm-sales-opportunities" / "sales_teams.csv"
    if not path.is_file():
        pytest.skip("the shared data is not here")
    with path.open() as file:
        rows = list(csv.DictReader(file))

    counts = run(company, admin, path, **rep_columns())
    again = run(company, admin, path, **rep_columns())

    people = everybody(admin)
    assert counts["created"] == len(rows) == 35
    assert again["unchanged"] == 35
    assert len(people) == 35 + len({row["manager"] for row in rows}) + 1
    for row in rows:
        found = people[row["sales_agent"]]
        assert (found["manager"], found["region"]) == (row["manager"], row["regional_office"])
    teams = call("list_teams", admin).body["items"]
    assert Counter(team["region"] for team in teams) == {"Central": 2, "East": 2, "West": 2}
    assert all(UUID(team["manager_id"]) for team in teams)
