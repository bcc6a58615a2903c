"""Imports into a real PostgreSQL: what is written, what is not, and what comes back."""

import csv
import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import text

from liaison_kit.database.database import Database
from liaison_kit.ids import uuid7
from liaison_kit.imports import engine
from liaison_kit.imports.fields import Importable
from liaison_kit.imports.mapping import suggest
from liaison_kit.imports.planning import Options, Plan, survey
from liaison_kit.imports.reading import Table, open_table
from liaison_kit.imports.reporting import Tally
from liaison_kit.imports.rollback import roll_back
from liaison_kit.records import custom, files
from liaison_sdk.errors import InvalidInput
from liaison_sdk.labels import Label

from .book import DEALS, FIRMS, PEOPLE, USER, Looks, Steps, about, csv_file


def suggested(importable: Importable, table: Table) -> dict[str, str | None]:
    first = next(table.chunks(size=200))
    samples = dict(zip(table.header, first.columns, strict=True))
    fields = [copy for spec in importable.fields for copy in spec.expanded()]
    return {s.column: s.field for s in suggest(table.header, samples, fields)}


def load(
    db: Database,
    importable: Importable,
    path: Path,
    value_map: Mapping[str, Mapping[str, str | None]] | None = None,
    mapping: Mapping[str, str | None] | None = None,
    steps: Steps | None = None,
    import_id: UUID | None = None,
    **options: Any,
) -> tuple[Plan, Tally, UUID]:
    """Import a file whole."""
    table = open_table(path)
    import_id = import_id or uuid4()
    found, tally = engine.run(
        steps or Steps(db),
        importable,
        table,
        mapping or suggested(importable, table),
        value_map or {},
        Options(**options),
        import_id,
        import_id,
    )
    return found, tally, import_id


def all_of(db: Database, sql: str, **parameters: Any) -> list[tuple[Any, ...]]:
    with db.writing(about()) as session:
        return [tuple(row) for row in session.execute(text(sql), parameters)]


def counts(tally: Tally) -> tuple[int, int, int, int]:
    c = tally.counts
    return c["created"], c["updated"], c["unchanged"], c["failed"]


PEOPLE_ROWS = [
    ["id", "Prénom", "Nom", "Email", "Tel", "tags"],
    ["1", "Zoé", "Dupont", "ZOE@Exemple.fr", "06 12 34 56 78", "vip; lyon"],
    ["2", "Jean", "Martin", "", "", ""],
    ["3", "Anne", "", "anne@exemple.fr", "", ""],
    ["4", "Luc", "Petit", "luc@", "", ""],
    ["1", "Zoé", "Encore", "", "", ""],
    ["", "Sans", "Clé", "", "", ""],
]
ZOE = [{"address": "zoe@exemple.fr"}]
MAPPED = {
    "id": "external_id",
    "Prénom": "first_name",
    "Nom": "last_name",
    "Email": "email",
    "Tel": "phone",
    "tags": "tags",
}


def test_good_rows_are_created_and_bad_ones_are_named(db: Database, tmp_path: Path) -> None:
    _, tally, import_id = load(db, PEOPLE, csv_file(tmp_path, PEOPLE_ROWS), mapping=MAPPED)

    assert counts(tally) == (2, 0, 0, 4)
    rows = all_of(
        db,
        "SELECT external_id, first_name, last_name, emails, phone, tags, version, created_by"
        " FROM book_people ORDER BY 1",
    )
    assert rows == [
        ("1", "Zoé", "Dupont", ZOE, "06 12 34 56 78", ["vip", "lyon"], 1, USER),
        ("2", "Jean", "Martin", [], None, [], 1, USER),
    ]
    codes = {(p["code"], p["column"], tuple(p["rows"])) for p in tally.as_list()}
    assert codes == {
        ("missing", "Nom", (4,)),
        ("bad_email", "Email", (5,)),
        ("duplicate_key", "id", (6,)),
        ("missing_key", "id", (7,)),
    }
    with db.writing(about()) as session:
        told = b"".join(files.chunks(session, import_id)).decode("utf-8-sig").splitlines()
    assert told[0] == "row,id,Prénom,Nom,Email,Tel,tags,errors"
    assert told[2] == "5,4,Luc,Petit,luc@,,,Email: “luc@” is not an e-mail address"
    assert len(told) == 5


def test_the_same_file_again_changes_nothing(db: Database, tmp_path: Path) -> None:
    path = csv_file(tmp_path, PEOPLE_ROWS)
    load(db, PEOPLE, path, mapping=MAPPED)
    before = all_of(db, "SELECT * FROM book_people ORDER BY id")

    _, tally, import_id = load(db, PEOPLE, path, mapping=MAPPED)

    assert counts(tally) == (0, 0, 2, 4)
    assert all_of(db, "SELECT * FROM book_people ORDER BY id") == before
    assert all_of(db, "SELECT count(*) FROM history") == [(0,)]
    assert all_of(
        db, "SELECT count(*) FROM import_changes WHERE import_id = :id", id=import_id
    ) == [(0,)]


def test_an_update_bumps_the_version_once_and_keeps_its_history(
    db: Database, tmp_path: Path
) -> None:
    load(
        db, PEOPLE, csv_file(tmp_path, [["id", "Nom", "phone"], ["1", "A", "0102"], ["2", "B", ""]])
    )
    told: list[tuple[int, int]] = []
    listening = _with(
        PEOPLE, after_chunk=lambda _s, made, changed: told.append((len(made), len(changed)))
    )

    _, tally, _ = load(
        db, listening, csv_file(tmp_path, [["id", "Nom", "phone"], ["1", "AA", ""], ["2", "B", ""]])
    )

    assert counts(tally) == (0, 1, 1, 0)
    assert all_of(db, "SELECT last_name, phone, version FROM book_people ORDER BY 1") == [
        ("AA", "0102", 2),
        ("B", None, 1),
    ]
    assert all_of(db, 'SELECT record, version, action, "by", changes FROM history') == [
        ("people", 2, "changed", USER, {"last_name": ["A", "AA"]})
    ]
    assert told == [(0, 1)]


def test_blank_cells_clear_only_when_asked_to(db: Database, tmp_path: Path) -> None:
    load(db, PEOPLE, csv_file(tmp_path, [["id", "Nom", "phone"], ["1", "A", "0102"]]))

    load(db, PEOPLE, csv_file(tmp_path, [["id", "Nom", "phone"], ["1", "A", ""]]), blanks="clear")

    assert all_of(db, "SELECT phone FROM book_people") == [(None,)]


def _with(importable: Importable, **changes: Any) -> Importable:
    return dataclasses.replace(importable, **changes)


def test_a_rollback_takes_back_what_nobody_touched(db: Database, tmp_path: Path) -> None:
    header = ["id", "Nom", "tags", "email"]
    load(db, PEOPLE, csv_file(tmp_path, [header, ["1", "A", "x", "a@b.fr"], ["2", "B", "", ""]]))
    _, tally, import_id = load(
        db,
        PEOPLE,
        csv_file(
            tmp_path,
            [
                header,
                ["1", "AA", "y;z", "c@d.fr"],
                ["2", "BB", "", ""],
                ["3", "C", "", ""],
                ["4", "D", "", ""],
            ],
        ),
    )
    assert counts(tally) == (2, 2, 0, 0)
    with db.writing(about()) as session:
        session.execute(
            text("UPDATE book_people SET version = version + 1 WHERE external_id IN ('2', '4')")
        )
    columns = ["external_id", "last_name", "tags", "emails"]

    undone = roll_back(Steps(db), PEOPLE, import_id, columns)

    assert undone == {"deleted": 1, "restored": 1, "kept": 2}
    assert all_of(
        db, "SELECT external_id, last_name, tags, emails, version FROM book_people ORDER BY 1"
    ) == [
        ("1", "A", ["x"], [{"address": "a@b.fr"}], 3),
        ("2", "BB", [], [], 3),
        ("4", "D", [], [], 2),
    ]
    assert roll_back(Steps(db), PEOPLE, import_id, columns) == {
        "deleted": 0,
        "restored": 0,
        "kept": 2,
    }
    assert all_of(db, "SELECT changes FROM history WHERE version = 3")[0][0]["last_name"] == [
        "AA",
        "A",
    ]


def test_a_record_that_others_refer_to_is_kept_by_a_rollback(db: Database, tmp_path: Path) -> None:
    _, _, import_id = load(
        db, FIRMS, csv_file(tmp_path, [["account", "city"], ["X", ""], ["Y", ""]])
    )
    load(
        db,
        DEALS,
        csv_file(
            tmp_path,
            [["opportunity_id", "product", "account", "deal_stage"], ["1", "GTX Pro", "X", "Won"]],
        ),
    )

    assert roll_back(Steps(db), FIRMS, import_id, ["name"]) == {
        "deleted": 1,
        "restored": 0,
        "kept": 1,
    }


def test_a_run_that_dies_goes_on_after_its_last_chunk(
    db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [["id", "Nom"], *([str(i), f"N{i}"] for i in range(10_000))]
    rows[7000] = ["3", "again"]
    path = csv_file(tmp_path, rows)
    import_id = uuid4()
    # Reading the fields, settling the references, one chunk.
    steps = Steps(db, dies_after=3)
    with pytest.raises(SystemError):
        load(db, PEOPLE, path, steps=steps, import_id=import_id)
    assert all_of(db, "SELECT count(*) FROM book_people") == [(4000,)]

    _, tally, _ = load(db, PEOPLE, path, steps=steps.again(), import_id=import_id)

    assert counts(tally) == (9999, 0, 0, 1)
    assert [p["code"] for p in tally.as_list()] == ["duplicate_key"]
    assert all_of(db, "SELECT count(*), sum(version) FROM book_people") == [(9999, 9999)]
    assert all_of(db, "SELECT count(*) FROM import_changes") == [(9999,)]


def test_of_new_records_those_that_clash_are_reported_and_the_others_made(
    db: Database, tmp_path: Path
) -> None:
    rows = [["id", "Nom"], *([str(i), f"N{i}"] for i in range(6000))]
    load(db, PEOPLE, csv_file(tmp_path, [rows[0], *rows[2001:4001]]))

    _, tally, _ = load(db, PEOPLE, csv_file(tmp_path, rows), create_only=True)

    assert counts(tally) == (4000, 0, 0, 2000)
    assert [(p["code"], p["rows"][0]) for p in tally.as_list()] == [("taken", 2002)]
    assert all_of(db, "SELECT count(*), sum(version) FROM book_people") == [(6000, 6000)]


def test_a_parent_further_down_the_file_is_found(db: Database, tmp_path: Path) -> None:
    path = csv_file(
        tmp_path,
        [
            ["account", "subsidiary_of"],
            ["Grandchild", "Child"],
            ["Child", "parent"],
            ["Parent", ""],
            ["Own", "Own"],
            ["Chicken", "Egg"],
            ["Egg", "Chicken"],
            ["Lost", "Nobody"],
        ],
    )

    _, tally, _ = load(db, FIRMS, path)

    assert counts(tally) == (3, 0, 0, 4)
    assert all_of(
        db,
        "SELECT c.name, p.name FROM book_firms c LEFT JOIN book_firms p ON p.id = c.parent_id"
        " ORDER BY 1",
    ) == [("Child", "Parent"), ("Grandchild", "Child"), ("Parent", None)]
    assert counts(load(db, FIRMS, path)[1]) == (0, 0, 3, 4)


def test_a_dry_run_tells_what_a_run_then_does(db: Database, tmp_path: Path) -> None:
    load(db, PEOPLE, csv_file(tmp_path, [["id", "Nom"], ["2", "B"], ["1", "Dupont"]]))
    table = open_table(csv_file(tmp_path, PEOPLE_ROWS))
    before = all_of(db, "SELECT * FROM book_people ORDER BY id")

    _, dry = engine.dry_run(Looks(db), PEOPLE, table, MAPPED, {}, Options())

    assert all_of(db, "SELECT * FROM book_people ORDER BY id") == before
    assert all_of(db, "SELECT count(*) FROM import_changes WHERE action = 'updated'") == [(0,)]
    _, tally, _ = load(db, PEOPLE, table.path, mapping=MAPPED)
    assert counts(dry) == counts(tally) == (0, 2, 0, 4)
    assert dry.as_list() == tally.as_list()


def test_a_value_that_the_database_refuses_fails_its_row_alone(
    db: Database, tmp_path: Path
) -> None:
    rows = [["opportunity_id", "product", "deal_stage", "close_value"]]
    rows += [[str(i), "GTX Pro", "Won", "10"] for i in range(500)]
    rows[17][3] = "-5"
    rows[333][3] = "-6"

    _, tally, _ = load(db, DEALS, csv_file(tmp_path, rows))

    assert counts(tally) == (498, 0, 0, 2)
    assert [(p["code"], p["rows"]) for p in tally.as_list()] == [("not_allowed", [18, 334])]
    assert "-5" not in str(tally.as_list())


def test_unknown_values_are_told_once_and_mapped_for_the_whole_file(
    db: Database, tmp_path: Path
) -> None:
    rows = [["opportunity_id", "product", "account", "deal_stage", "close_value"]]
    rows += [[str(i), "GTXPro" if i % 2 else "GTX Basic", "", "Won", "1"] for i in range(100)]
    path = csv_file(tmp_path, rows)

    found, tally, _ = load(db, DEALS, path)

    assert counts(tally) == (50, 0, 0, 50)
    (unknown,) = found.unmatched
    assert (unknown.value, unknown.count, unknown.nearest, unknown.rows[:2]) == (
        "GTXPro",
        50,
        "GTX Pro",
        (3, 5),
    )
    _, tally, _ = load(db, DEALS, path, {"product": {"GTXPro": "GTX Pro"}})
    assert counts(tally) == (50, 0, 50, 0)


@pytest.mark.parametrize(
    ("policy", "expected"), [("report", (1, 1)), ("blank", (2, 0)), ("create", (2, 0))]
)
def test_what_is_missing_is_reported_left_blank_or_created(
    db: Database, tmp_path: Path, policy: str, expected: tuple[int, int]
) -> None:
    rows = [["opportunity_id", "product", "account", "deal_stage"]]
    rows += [["1", "GTX Pro", "New firm", "Won"], ["2", "GTX Pro", "", "Lost"]]

    _, tally, _ = load(db, DEALS, csv_file(tmp_path, rows), on_missing={"firm": policy})

    assert (tally.counts["created"], tally.counts["failed"]) == expected
    firms = all_of(db, "SELECT name FROM book_firms")
    assert firms == ([("New firm",)] if policy == "create" else [])


def test_rows_of_another_tenant_are_neither_met_nor_shown(db: Database, tmp_path: Path) -> None:
    path = csv_file(tmp_path, [["id", "Nom"], ["1", "A"]])
    load(db, PEOPLE, path)
    other = about(tenant=uuid4())

    _, tally, import_id = load(db, PEOPLE, path, steps=Steps(db, other))

    assert counts(tally) == (1, 0, 0, 0)
    assert all_of(db, "SELECT count(*) FROM book_people") == [(1,)]
    assert roll_back(Steps(db), PEOPLE, import_id, ["last_name"])["deleted"] == 0
    assert roll_back(Steps(db, other), PEOPLE, import_id, ["last_name"])["deleted"] == 1


def test_a_hopeless_mapping_names_everything_that_is_wrong(db: Database, tmp_path: Path) -> None:
    table = open_table(csv_file(tmp_path, [["id", "Nom"], ["1", "A"]]))
    mapping = {"id": "last_name", "Nom": "last_name", "nowhere": "phone"}

    with db.writing(about()) as session, pytest.raises(InvalidInput) as caught:
        survey(
            PEOPLE,
            PEOPLE.all_fields(session),
            table,
            mapping,
            {"what": {}},
            Options(key="job", timezone="Mars/X"),
        )

    assert {(e.path, e.code) for e in caught.value.errors} == {
        ("mapping.Nom", "fed_twice"),
        ("mapping.nowhere", "unknown_column"),
        ("value_map.what", "unknown_field"),
        ("options.key", "not_a_key"),
        ("options.timezone", "unknown"),
    }
    with db.writing(about()) as session:
        fields = PEOPLE.all_fields(session)
    with pytest.raises(InvalidInput) as caught:
        survey(PEOPLE, fields, table, {"id": "external_id"}, {}, Options())
    assert [e.path for e in caught.value.errors] == ["mapping.last_name"]


def test_the_real_sales_book_goes_in_whole_and_only_once(db: Database, real_data: Path) -> None:
    book = real_data / "crm-sales-opportunities"
    sectors = {"sector": {"technolgy": "technology"}}
    found, tally, _ = load(db, FIRMS, book / "accounts.csv")
    assert {(u.value, u.count, u.nearest) for u in found.unmatched} == {
        ("technolgy", 12, "technology"),
        # It is in technology, so it failed, and its subsidiaries with it.
        ("Acme Corporation", 4, None),
    }
    assert counts(tally) == (72, 0, 0, 13)
    load(db, FIRMS, book / "accounts.csv", sectors)
    products = {"product": {"GTXPro": "GTX Pro"}}

    found, tally, _ = load(db, DEALS, book / "sales_pipeline.csv", products)

    assert counts(tally) == (8800, 0, 0, 0)
    assert all_of(db, "SELECT count(*), count(parent_id) FROM book_firms") == [(85, 15)]
    with (book / "sales_pipeline.csv").open(encoding="utf-8") as lines:
        deals = list(csv.DictReader(lines))
    won = sum(int(d["close_value"]) for d in deals if d["deal_stage"] == "Won")
    assert all_of(
        db,
        "SELECT count(*), sum(value_amount)::int, count(firm_id) FROM book_deals"
        " WHERE stage = 'won'",
    ) == [(4238, won, sum(d["account"] != "" and d["deal_stage"] == "Won" for d in deals))]
    assert counts(load(db, DEALS, book / "sales_pipeline.csv", products)[1]) == (0, 0, 8800, 0)
    assert counts(load(db, FIRMS, book / "accounts.csv", sectors)[1]) == (0, 0, 85, 0)
    assert all_of(db, "SELECT count(*) FROM history") == [(0,)]


def test_northwinds_customers_keep_their_accents(db: Database, real_data: Path) -> None:
    mapping = {"customer_id": "external_id", "company_name": "name", "city": "place"}

    _, tally, _ = load(
        db, FIRMS, real_data / "northwind" / "customers.csv", mapping=mapping, unmapped="skip"
    )

    assert counts(tally) == (91, 0, 0, 0)
    assert all_of(
        db, "SELECT name, place FROM book_firms WHERE external_id IN ('ANTON', 'TORTU') ORDER BY 1"
    ) == [
        ("Antonio Moreno Taquería", "México D.F."),
        ("Tortuga Restaurante", "México D.F."),
    ]


def test_ten_thousand_people_take_a_moment_only(db: Database, tmp_path: Path) -> None:
    rows: list[list[object]] = [["id", "Prénom", "Nom", "email", "phone", "company"]]
    rows += [
        [i, f"P{i}", f"N{i}", f"p{i}@exemple.fr", f"+33 6 00 00 {i % 100:02d}", f"S{i % 50}"]
        for i in range(10_000)
    ]
    path = csv_file(tmp_path, rows)
    started = time.process_time()

    _, tally, _ = load(db, PEOPLE, path)

    assert counts(tally) == (10_000, 0, 0, 0)
    # About 15 µs of this process's time per row; the limit leaves room for a busy machine.
    assert (time.process_time() - started) / 10_000 < 100e-6


def a_field(db: Database, name: str = "size") -> UUID:
    new = custom.NewCustomField(name=name, kind="text", label=Label(en=name, fr=name))
    with db.writing(about()) as session:
        return custom.define(session, "people", new).id


def take_away(db: Database, field: UUID) -> None:
    with db.writing(about()) as session:
        assert custom.remove(session, SimpleNamespace(table=PEOPLE.table), field)  # type: ignore[arg-type]


WITH_SIZES = {"id": "external_id", "Nom": "last_name", "size": "custom.size"}


def test_a_rollback_brings_no_value_back_of_a_field_that_is_gone(
    db: Database, tmp_path: Path
) -> None:
    field, header = a_field(db), ["id", "Nom", "size"]
    load(db, PEOPLE, csv_file(tmp_path, [header, ["1", "A", "large"]]), mapping=WITH_SIZES)
    after = csv_file(tmp_path, [header, ["1", "A", "small"]])
    _, _, import_id = load(db, PEOPLE, after, mapping=WITH_SIZES, import_id=uuid7())
    take_away(db, field)
    a_field(db)

    undone = roll_back(Steps(db), PEOPLE, import_id, ["external_id", "last_name", "custom"])

    assert undone["restored"] == 1
    assert all_of(db, "SELECT last_name, custom FROM book_people") == [("A", {})]


def test_a_rollback_puts_the_values_of_fields_back_that_are_there(
    db: Database, tmp_path: Path
) -> None:
    a_field(db)
    header = ["id", "Nom", "size"]
    load(db, PEOPLE, csv_file(tmp_path, [header, ["1", "A", "large"]]), mapping=WITH_SIZES)
    after = csv_file(tmp_path, [header, ["1", "A", "small"]])
    _, _, import_id = load(db, PEOPLE, after, mapping=WITH_SIZES, import_id=uuid7())

    roll_back(Steps(db), PEOPLE, import_id, ["external_id", "last_name", "custom"])

    assert all_of(db, "SELECT custom FROM book_people") == [({"size": "large"},)]


def test_a_field_that_is_taken_away_while_a_file_comes_in_does_not_come_in(
    db: Database, tmp_path: Path
) -> None:
    fields = [a_field(db)]
    a_field(db, "motto")

    def meanwhile(batch: Any) -> Mapping[str, Any]:
        while fields:
            take_away(db, fields.pop())
        return {"emails": ["[]"] * batch.size}

    path = csv_file(tmp_path, [["id", "Nom", "size", "motto"], ["1", "A", "large", "on"]])
    mapping = WITH_SIZES | {"motto": "custom.motto"}

    load(db, _with(PEOPLE, columns=meanwhile), path, mapping=mapping)

    assert all_of(db, "SELECT last_name, custom FROM book_people") == [("A", {"motto": "on"})]


def test_nothing_is_changed_on_a_name_alone(db: Database, tmp_path: Path) -> None:
    load(db, FIRMS, csv_file(tmp_path, [["name", "place"], ["Ibis", "Lyon"]]))
    path = csv_file(tmp_path, [["name", "place"], ["IBIS", "Paris"], ["Ibis", "Lyon"]])

    _, dry = engine.dry_run(
        Looks(db), FIRMS, open_table(path), {"name": "name", "place": "place"}, {}, Options()
    )
    _, tally, _ = load(db, FIRMS, path)

    assert counts(dry) == counts(tally) == (1, 0, 1, 0)
    firms = all_of(db, "SELECT name, place, version FROM book_firms ORDER BY place")
    assert firms == [("Ibis", "Lyon", 1), ("IBIS", "Paris", 1)]
    _, again, _ = load(db, FIRMS, path)
    assert counts(again) == (0, 0, 2, 0)


def test_a_name_that_is_chosen_as_the_key_changes_its_record(db: Database, tmp_path: Path) -> None:
    load(db, FIRMS, csv_file(tmp_path, [["name", "place"], ["Ibis", "Lyon"]]))

    path = csv_file(tmp_path, [["name", "place"], ["Ibis", "Paris"]])
    _, tally, _ = load(db, FIRMS, path, key="name")

    assert counts(tally) == (0, 1, 0, 0)


def test_who_is_to_be_told_apart_by_more_than_a_name_is_reported(
    db: Database, tmp_path: Path
) -> None:
    strict = dataclasses.replace(FIRMS, namesakes="report")
    load(db, strict, csv_file(tmp_path, [["name", "place"], ["Ibis", "Lyon"]]))

    path = csv_file(tmp_path, [["name", "place"], ["Ibis", "Paris"], ["Ibis", "Lyon"]])
    _, tally, _ = load(db, strict, path)

    assert counts(tally) == (0, 0, 1, 1)
    assert [p["code"] for p in tally.as_list()] == ["namesake"]


def test_a_name_that_several_bear_is_reported_and_none_is_made(
    db: Database, tmp_path: Path
) -> None:
    load(db, FIRMS, csv_file(tmp_path, [["name", "place"], ["Ibis", "Lyon"], ["Ibis", "Paris"]]))
    rows = [["id", "last_name", "account"], ["1", "A", "Ibis"], ["2", "B", "Novotel"]]
    path = csv_file(tmp_path, rows)
    mapping = {"id": "external_id", "last_name": "last_name", "account": "firm"}
    create = {"firm": "create"}

    _, dry = engine.dry_run(
        Looks(db), PEOPLE, open_table(path), mapping, {}, Options(on_missing=create)
    )
    found, tally, _ = load(db, PEOPLE, path, mapping=mapping, on_missing=create)

    assert counts(dry) == counts(tally) == (1, 0, 0, 1)
    assert dry.as_list() == tally.as_list()
    assert [p["code"] for p in tally.as_list()] == ["ambiguous"]
    assert [(u.value, u.code) for u in found.unmatched] == [("Ibis", "ambiguous")]
    assert all_of(db, "SELECT count(*) FROM book_firms") == [(3,)]


def test_a_try_waits_for_rows_further_down_as_the_run_does(db: Database, tmp_path: Path) -> None:
    rows = [
        ["name", "subsidiary of", "staff"],
        ["Child", "Parent", "1"],
        ["Orphan", "Bad", "1"],
        ["Circle", "Circle", "1"],
        ["Twin's child", "Twin", "1"],
        ["Parent", "", "2"],
        ["Bad", "", "many"],
        ["Twin", "", "1"],
        ["Twin", "", "2"],
    ]
    mapping = {"name": "name", "subsidiary of": "parent", "staff": "staff"}
    path = csv_file(tmp_path, rows)

    _, dry = engine.dry_run(Looks(db), FIRMS, open_table(path), mapping, {}, Options())
    _, tally, _ = load(db, FIRMS, path, mapping=mapping)

    assert counts(dry) == counts(tally) == (4, 0, 0, 4)
    assert dry.as_list() == tally.as_list()


def test_what_a_rollback_restores_is_taken_back_with_the_import_before(
    db: Database, tmp_path: Path
) -> None:
    by_id = [["id", "name", "place"], ["1", "Ibis", "Lyon"]]
    imports = []
    for place in ("Lyon", "Paris", "Nice"):
        by_id[1][2] = place
        imports.append(load(db, FIRMS, csv_file(tmp_path, by_id))[2])

    columns = ["external_id", "name", "place"]
    undone = [roll_back(Steps(db), FIRMS, each, columns) for each in reversed(imports)]

    assert [(u["deleted"], u["restored"], u["kept"]) for u in undone] == [
        (0, 1, 0),
        (0, 1, 0),
        (1, 0, 0),
    ]
    assert all_of(db, "SELECT count(*) FROM book_firms") == [(0,)]


def test_what_somebody_has_changed_between_two_imports_is_kept(
    db: Database, tmp_path: Path
) -> None:
    by_id = [["id", "name", "place"], ["1", "Ibis", "Lyon"]]
    first = load(db, FIRMS, csv_file(tmp_path, by_id))[2]
    all_of(db, "UPDATE book_firms SET staff = 7, version = version + 1 RETURNING id")
    by_id[1][2] = "Paris"
    second = load(db, FIRMS, csv_file(tmp_path, by_id))[2]

    columns = ["external_id", "name", "place"]
    roll_back(Steps(db), FIRMS, second, columns)
    counted = roll_back(Steps(db), FIRMS, first, columns)

    assert (counted["deleted"], counted["kept"]) == (0, 1)


def test_an_amount_has_the_decimals_of_its_currency(db: Database, tmp_path: Path) -> None:
    amounts = {"Yen": "100.5 JPY", "Whole": "100 JPY", "Euro": "1.005 EUR", "Dinar": "1.005 KWD"}
    path = csv_file(tmp_path, [["name", "revenue"], *map(list, amounts.items())])

    _, tally, _ = load(db, FIRMS, path, mapping={"name": "name", "revenue": "revenue"})

    told = {problem["code"]: problem["rows"] for problem in tally.as_list()}
    assert told == {"too_many_decimals": [2, 4]}
    assert tally.counts["created"] == 2
