"""One set of rules for users: what a file brings in the API takes, and a dry run says which."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from identity_company import Company, call
from sqlalchemy.orm import Session

from liaison_identity.importing import IMPORTED_USERS
from liaison_kit.ids import uuid7
from liaison_kit.imports import engine
from liaison_kit.imports.planning import Options
from liaison_kit.imports.reading import open_table

ROWS = {
    "name": st.sampled_from(["Ann", "Bo Li", "", "n" * 200, "n" * 201, "=1+1"]),
    "email": st.sampled_from(
        ["", "a@b.example", "A@B.example", "x@corp.local", "u@qa_under.example", "no", "a@@b.c"]
    ),
    "title": st.sampled_from(["", "Boss", "b" * 201]),
}


class Steps:
    """A job of one process, of which something is kept or nothing."""

    def __init__(self, company: Company, who: dict[str, Any], kept: bool) -> None:
        self.company, self.who, self.kept = company, who, kept
        self.checkpoint: dict[str, Any] = {}
        self.done, self.total = 0, None

    @contextmanager
    def step(self) -> Iterator[Session]:
        """One transaction."""
        db, about = self.company.db, self.company.about(self.who)
        if self.kept:
            with db.writing(about) as session:
                yield session
            return
        with db.session(about, job=True) as session:
            yield session
            session.rollback()

    def asking(self, work: Any) -> Any:
        """Work in one transaction; here are no other services to ask."""
        with self.step() as session:
            return work(session)


def one_rule(made: Callable[..., Company], rows: list[dict[str, str]], path: Path) -> None:
    company, elsewhere = made(), made()
    who, other = company.principal(), elsewhere.principal()
    names = ["external_id", *ROWS]
    lines = [",".join(f'"{row.get(n, "")}"' for n in names) for row in rows]
    path.write_text("\n".join([",".join(names), *lines]) + "\n")
    table, mapping = open_table(path), {name: name for name in names}
    asked: Any = (IMPORTED_USERS, table, mapping, {}, Options())

    _, dry = engine.dry_run(Steps(company, who, kept=False), *asked)
    _, real = engine.run(Steps(company, who, kept=True), *asked, uuid7(), uuid7())  # type: ignore[arg-type]

    assert dry.counts == real.counts
    assert dry.as_list() == real.as_list()
    users = call("list_users", who, query={"limit": 200}).body["items"]
    come = {user["external_id"] for user in users if user["external_id"]}
    assert len(come) == real.counts["created"]
    for row in rows:
        body = {n: v for n, v in row.items() if v} | {"invite": False}
        taken = call("create_user", other, body=body).status == 201
        assert taken == (row["external_id"] in come), (row, real.as_list())


def test_a_file_and_the_api_take_the_same_users_and_a_try_says_which(
    make_company: Callable[..., Company], tmp_path: Path
) -> None:
    @settings(
        max_examples=8,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.lists(st.fixed_dictionaries(ROWS), min_size=1, max_size=5))
    def over(rows: list[dict[str, str]]) -> None:
        numbered = [{"external_id": f"u{n}", **row} for n, row in enumerate(rows)]
        one_rule(make_company, numbered, tmp_path / "users.csv")

    over()
