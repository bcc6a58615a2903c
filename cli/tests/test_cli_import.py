"""A file goes in: what is asked of Liaison, what the person is told, how the command ends."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import Result

Liaison = Callable[..., Result]

DRAFT: dict[str, Any] = {
    "id": "i1",
    "record": "opportunities",
    "file_name": "book.csv",
    "file_info": {
        "header": ["deal", "product", "Owner: name"],
        "rows": 3,
        "suggestions": [
            {"column": "deal", "field": "name", "confidence": 0.97, "reason": "It is called deal"},
            {"column": "product", "field": "product", "confidence": 1.0, "reason": "Its name"},
            {"column": "Owner: name", "field": None, "confidence": 0.0, "reason": "Nothing"},
        ],
        "samples": {"deal": ["Kœchlin – audit"]},
        "fields": [
            {"name": "name", "kind": "text"},
            {"name": "product", "kind": "reference"},
            {"name": "owner", "kind": "reference"},
        ],
    },
    "mapping": {"deal": "name", "product": "product", "Owner: name": None},
    "status": "draft",
    "counts": {},
    "problems": [],
    "version": 1,
}
UNKNOWN = {
    "field": "product",
    "column": "product",
    "value": "GTXPro",
    "count": 1480,
    "rows": [3, 7],
    "nearest": "GTX Pro",
    "score": 94,
}
JOB = {"id": "j1", "title": "book.csv", "status": "done", "done": 3, "total": 3, "error": None}


@pytest.fixture
def book() -> Path:
    file = Path("book.csv")
    file.write_text("deal,product,Owner: name\nA,GTXPro,Zoé\n", encoding="utf-8")
    return file


@pytest.fixture
def ready(signed_in: Any, book: Path) -> Any:
    """A Liaison that takes the file, finds nothing wrong, and imports all of it."""
    counts = {"created": 2, "updated": 1, "unchanged": 0, "failed": 0}
    signed_in.answers("POST", "/imports", (201, DRAFT))
    signed_in.answers("PATCH", "/imports/i1", (200, DRAFT | {"version": 2}))
    signed_in.answers("POST", "/imports/i1/preview", (200, {"unmatched": [], "notes": []}))
    signed_in.answers("POST", "/imports/i1/start", (202, {"job": "j1"}))
    signed_in.answers("GET", "/jobs/j1", (200, JOB))
    signed_in.answers("GET", "/imports/i1", (200, DRAFT | {"status": "done", "counts": counts}))
    return signed_in


def test_a_file_goes_in_as_it_is(ready: Any, liaison: Liaison, book: Path) -> None:
    done = liaison("import", "book.csv", "--as", "opportunities")

    assert done.exit_code == 0, done.output
    assert done.stdout == "opportunities of book.csv: 2 created, 1 updated, 0 unchanged, 0 failed\n"
    sent = ready.asked("POST", "/imports")[0]
    assert sent.query == {"record": "opportunities", "name": "book.csv"}
    assert sent.body == book.read_bytes()
    assert sent.headers["content-type"] == "text/csv"


def test_the_suggested_mapping_is_shown(ready: Any, liaison: Liaison) -> None:
    done = liaison("import", "book.csv", "--as", "opportunities")

    lines = [" ".join(line.split()) for line in done.stderr.splitlines()]
    assert "deal Kœchlin – audit name 97% It is called deal" in lines
    assert "Fed by no column: owner" in lines


def test_what_the_person_says_goes_to_the_import(ready: Any, liaison: Liaison) -> None:
    done = liaison(
        "import", "book.csv", "--as", "opportunities",
        "--map", "owner: NAME=owner", "--ignore", "deal",
        "--value", "product:GTXPro=GTX Pro", "--value", "Owner: name:Zoe=Zoé=Hale",
        "--value", "owner:nobody=", "--on-missing", "product=create",
        "--option", "currency=USD", "--option", "create_only=true",
        "--option", "formats.deal.dates=mdy", "--option", "defaults.custom.source=file",
    )  # fmt: skip

    assert done.exit_code == 0, done.output
    change = ready.asked("PATCH", "/imports/i1")[0]
    assert change.headers["if-match"] == '"1"'
    assert change.json == {
        "mapping": {"deal": "-", "product": "product", "Owner: name": "owner"},
        "value_map": {
            "product": {"GTXPro": "GTX Pro"},
            "owner": {"Zoe=Zoé": "Hale", "nobody": None},
        },
        "options": {
            "currency": "USD",
            "create_only": True,
            "formats": {"deal": {"dates": "mdy"}},
            "defaults": {"custom.source": "file"},
            "on_missing": {"product": "create"},
        },
    }


@pytest.mark.parametrize(
    "wrong",
    [
        ("--map", "deal"),
        ("--map", "nosuch=name"),
        ("--ignore", "nosuch"),
        ("--value", "nosuch:a=b"),
        ("--value", "product:a"),
        ("--on-missing", "product=maybe"),
        ("--option", "currency"),
    ],
)
def test_what_is_not_understood_starts_nothing(
    ready: Any, liaison: Liaison, wrong: tuple[str, str]
) -> None:
    done = liaison("import", "book.csv", "--as", "opportunities", *wrong)

    assert done.exit_code == 2
    assert done.stderr.strip()
    assert not ready.asked("POST", "/imports/i1/start")


def test_a_column_mapped_by_hand_takes_the_field_from_another(ready: Any, liaison: Liaison) -> None:
    liaison("import", "book.csv", "--as", "opportunities", "--map", "Owner: name=name")

    change = ready.asked("PATCH", "/imports/i1")[0].json
    assert change["mapping"] == {"deal": None, "product": "product", "Owner: name": "name"}


def test_values_that_match_nothing_stop_a_script_and_say_how_to_settle_them(
    ready: Any, liaison: Liaison
) -> None:
    far = UNKNOWN | {"value": "?", "nearest": None}
    ready.answers("POST", "/imports/i1/preview", (200, {"unmatched": [UNKNOWN, far]}))

    done = liaison("import", "book.csv", "--as", "opportunities")

    assert done.exit_code == 2
    assert "--value 'product:GTXPro=GTX Pro'" in done.stderr
    assert "--on-missing product=blank" in done.stderr
    assert "Nothing was imported" in done.stderr
    assert not ready.asked("POST", "/imports/i1/start")


def test_rows_that_fail_are_told_and_kept(ready: Any, liaison: Liaison) -> None:
    problems = [
        UNKNOWN | {"code": "unknown_value", "message": "GTXPro matches nothing"},
        {"column": "product", "code": "unknown_value", "message": "once more", "count": 9},
        {"column": None, "code": "ragged", "message": "4 cells", "count": 1, "rows": [5]},
    ]
    ended = DRAFT | {"status": "done", "counts": {"created": 1, "failed": 2}, "problems": problems}
    ready.answers("POST", "/imports/i1/preview", (200, {"unmatched": [UNKNOWN]}))
    ready.answers("GET", "/imports/i1", (200, ended))
    ready.answers("GET", "/imports/i1/errors", (200, b"row,deal,errors\n5,A,4 cells\n"))

    done = liaison("import", "book.csv", "--as", "opportunities", "--yes", "--errors", "bad.csv")

    assert done.exit_code == 1
    assert "product: GTXPro matches nothing, 1,480 times (row 3, 7)" in done.stderr
    assert "4 cells (row 5)" in done.stderr
    assert "once more" not in done.stderr
    assert Path("bad.csv").read_bytes() == b"row,deal,errors\n5,A,4 cells\n"


def test_a_dry_run_starts_nothing(ready: Any, liaison: Liaison) -> None:
    would = {"would_create": 3000, "would_update": 0, "would_leave": 0, "would_fail": 0}
    ready.answers("POST", "/imports/i1/dry-run", (202, {"job": "j1"}))
    ready.answers("GET", "/imports/i1", (200, DRAFT | {"counts": would}))

    done = liaison("import", "book.csv", "--as", "opportunities", "--dry-run")

    assert done.exit_code == 0, done.output
    assert "would create 3,000, update 0, leave 0, fail 0" in done.stdout
    assert not ready.asked("POST", "/imports/i1/start")


def test_a_file_too_large_to_look_at_at_once_is_looked_through_by_a_job(
    ready: Any, liaison: Liaison
) -> None:
    ready.answers("POST", "/imports/i1/preview", (503, {"title": "No answer in time"}))
    ready.answers("POST", "/imports/i1/dry-run", (202, {"job": "j1"}))
    ready.answers("GET", "/imports/i1", (200, DRAFT | {"problems": [UNKNOWN]}))

    done = liaison("import", "book.csv", "--as", "opportunities")

    assert done.exit_code == 2
    assert "GTXPro" in done.stderr


def test_an_import_that_failed_says_why(ready: Any, liaison: Liaison) -> None:
    ready.answers("GET", "/jobs/j1", (200, JOB | {"status": "failed", "error": "It is a picture"}))

    done = liaison("import", "book.csv", "--as", "opportunities")

    assert done.exit_code == 2
    assert "It is a picture" in done.stderr


def test_a_file_that_is_not_there_is_told(signed_in: Any, liaison: Liaison) -> None:
    done = liaison("import", "nothere.csv", "--as", "opportunities")

    assert done.exit_code == 2
    assert done.stderr == "nothere.csv can't be read: No such file or directory\n"


def test_an_import_is_taken_back(signed_in: Any, liaison: Liaison) -> None:
    back = DRAFT | {"counts": {"deleted": 8799, "restored": 0, "kept": 1}}
    signed_in.answers("GET", "/imports/i1", (200, DRAFT), (200, back))
    signed_in.answers("POST", "/imports/i1/rollback", (202, {"job": "j1"}))
    signed_in.answers("GET", "/jobs/j1", (200, JOB))

    done = liaison("import", "--rollback", "i1")

    assert done.exit_code == 1
    assert done.stdout == "opportunities of book.csv: 8,799 deleted, 0 restored, 1 kept\n"


def test_imports_are_listed(signed_in: Any, liaison: Liaison) -> None:
    one = DRAFT | {
        "status": "rolled_back",
        "counts": {"created": 8800, "failed": 0},
        "created_at": "2026-01-02T03:04:05Z",
    }
    signed_in.answers("GET", "/imports", (200, {"items": [one], "next": None}))

    done = liaison("imports")

    assert done.exit_code == 0, done.output
    last = " ".join(done.stdout.splitlines()[-1].split())
    assert last == "i1 opportunities book.csv rolled back 8,800 0 2026-01-02 03:04:05"


def test_how_a_file_is_read_is_said_with_it_and_stays_said(ready: Any, liaison: Liaison) -> None:
    done = liaison(
        *("import", "book.csv", "--as", "opportunities", "--encoding", "windows-1251"),
        *("--delimiter", "tab", "--sheet", "Deals", "--option", "currency=USD"),
    )

    assert done.exit_code == 0, done.output
    said = {"encoding": "windows-1251", "delimiter": "tab", "sheet": "Deals"}
    sent = ready.asked("POST", "/imports")[0]
    assert sent.query == {"record": "opportunities", "name": "book.csv"} | said
    change = ready.asked("PATCH", "/imports/i1")[0].json
    assert change["options"] == said | {"currency": "USD"}


def test_what_a_column_leaves_open_is_asked_with_the_option_that_answers(
    ready: Any, liaison: Liaison
) -> None:
    question = {
        "column": "close date",
        "option": "dates",
        "sample": "01/02/2026",
        "taken": "dmy",
        "readings": {"dmy": "2026-02-01", "mdy": "2026-01-02"},
        "must": True,
    }
    guess = question | {
        "column": "price",
        "option": "decimal",
        "sample": "1.500",
        "taken": ",",
        "readings": {".": "1.5", ",": "1500"},
        "must": False,
    }
    found = {"unmatched": [], "questions": [question, guess]}
    ready.answers("POST", "/imports/i1/preview", (200, found))
    failed = JOB | {"status": "failed", "error": "It is not clear how a column is written"}
    ready.answers("GET", "/jobs/j1", (200, failed))
    reasons = [{"code": "ambiguous_dates", "column": "x", "message": "This may be two days"}]
    ready.answers("GET", "/imports/i1", (200, DRAFT | {"status": "failed", "problems": reasons}))

    done = liaison("import", "book.csv", "--as", "opportunities", "--yes")

    assert done.exit_code == 2
    told = " ".join(done.stderr.split())
    assert "close date: 01/02/2026 may mean 2026-02-01 or 2026-01-02; say which with" in told
    assert "--option 'formats.close date.dates=mdy'" in told
    assert "price: 1.500 is read as 1500; if 1.5 is meant, add --option" in told
    assert "not clear how a column is written x: This may be two days" in told


def test_what_was_left_out_is_told_of_an_import_that_went_in(ready: Any, liaison: Liaison) -> None:
    left_out = {"column": None, "code": "sums", "message": "It holds sums", "rows": [4]}
    ended = DRAFT | {"status": "done", "counts": {"created": 2}, "problems": [left_out]}
    ready.answers("GET", "/imports/i1", (200, ended))

    done = liaison("import", "book.csv", "--as", "opportunities")

    assert done.exit_code == 0
    assert "It holds sums (row 4)" in done.stderr
