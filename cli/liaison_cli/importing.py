"""`liaison import` and `liaison imports`: a file goes in, with a look at it before.

Exit codes: 0 when all rows are in (or would be), 1 when some rows failed, 2 when nothing could be
done: the file is unusable, a choice is missing, or Liaison said no.
"""

import io
import mimetypes
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, BinaryIO, Literal

import typer

from liaison_cli import choices, screen
from liaison_cli.client import Client, segment
from liaison_cli.errors import Refused, Told
from liaison_cli.jobs import follow
from liaison_cli.signin import connect

Unmapped = Literal["custom", "note", "skip"]
Record = Literal["companies", "contacts", "users", "products", "opportunities"]
SHOWN_PROBLEMS = 20
SOME_FAILED = 1
# What the gateway answers when a look at a large file takes longer than one request may.
TOO_LONG = (503, 504)
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"

Import = dict[str, Any]


# --- the steps of an import -----------------------------------------------------------------------


def begin(
    client: Client,
    file: BinaryIO | bytes,
    record: str,
    name: str,
    read_as: Mapping[str, str] | None = None,
) -> Import:
    """Hand a file in; the answer suggests which column feeds which field.

    `read_as` says what is not to be found out: its encoding, delimiter or sheet.
    """
    source: BinaryIO = io.BytesIO(file) if isinstance(file, bytes) else file
    size = source.seek(0, os.SEEK_END)
    kind = XLSX if name.lower().endswith(".xlsx") else mimetypes.guess_type(name)[0] or "text/csv"
    with screen.progress(f"Sending {name}", total=size, counted=False) as bar:
        found: Import = client.upload(
            "/imports",
            source,
            size=size,
            content_type=kind,
            sent=bar.advance,
            record=record,
            name=name,
            **(read_as or {}),
        )
    return found


def change(client: Client, import_: Import, changes: Mapping[str, Any]) -> Import:
    """Correct the mapping, the values or the options."""
    found: Import = client.patch(path(import_["id"]), changes, import_["version"])
    return found


def unresolved(client: Client, import_: Import) -> list[dict[str, Any]]:
    """Every value that names nothing, in the whole file, with the nearest match."""
    return look(client, import_)[0]


def look(client: Client, import_: Import) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Every value that names nothing, and every column whose values feed no field."""
    try:
        found = client.post(f"{path(import_['id'])}/preview")
    except Refused as refused:
        if refused.problem.status not in TOO_LONG:
            raise
        # A file too large for one request to look through: a job does.
        tried = try_dry(client, import_)
        found = {"unmatched": unknown_values(tried), "unfed": unfed_columns(tried)}
    unmatched: list[dict[str, Any]] = found["unmatched"]
    for text in found.get("notes", ()):
        screen.note(f"Note: {text}.")
    for asked in found.get("questions", ()):
        screen.note(f"{'Question' if asked['must'] else 'Note'}: {_asked(asked)}.")
    return unmatched, found.get("unfed", [])


def _asked(question: Mapping[str, Any]) -> str:
    """What a column leaves open, and the option that answers it."""
    other = next(answer for answer in question["readings"] if answer != question["taken"])
    read, not_read = question["readings"][question["taken"]], question["readings"][other]
    means = f"may mean {read} or {not_read}" if question["must"] else f"is read as {read}"
    option = f"formats.{question['column']}.{question['option']}"
    answers = " or ".join(
        f"--option {_quoted(f'{option}={answer}')}"
        for answer in (question["readings"] if question["must"] else [other])
    )
    if_wrong = "say which with" if question["must"] else f"if {not_read} is meant, add"
    return f"{question['column']}: {question['sample']} {means}; {if_wrong} {answers}"


def _quoted(word: str) -> str:
    """A word for a shell, in quotes also where it needs none: a sentence may end behind it."""
    quoted = shlex.quote(word)
    return f"'{word}'" if quoted == word else quoted


def try_dry(client: Client, import_: Import) -> Import:
    """Everything but the writing; the import then tells what would happen."""
    job = client.post(f"{path(import_['id'])}/dry-run")
    return _ended(client, import_, job, f"Trying {import_['file_name']}")


def carry_out(client: Client, import_: Import, what: str) -> Import:
    """Start an import, follow it to its end, and return it as it is then."""
    job = client.post(f"{path(import_['id'])}/start")
    return _ended(client, import_, job, what)


def _ended(client: Client, import_: Import, job: Mapping[str, Any], what: str) -> Import:
    ended = follow(client, str(job["job"]), what)
    found: Import = client.get(path(import_["id"]))
    if ended["status"] == "failed":
        reasons = "".join(f"\n  {line}" for line in problem_lines(found)[:SHOWN_PROBLEMS])
        raise Told(f"{what}: {ended.get('error') or 'it failed'}{reasons}")
    return found


def path(id: str) -> str:
    """Where an import is."""
    return f"/imports/{segment(id)}"


# --- what is told about one -----------------------------------------------------------------------


def unknown_values(import_: Import) -> list[dict[str, Any]]:
    """The values that name nothing, among an import's problems."""
    return [problem for problem in import_["problems"] if "value" in problem]


def unfed_columns(import_: Import) -> list[dict[str, Any]]:
    """The columns whose values feed no field, among an import's problems."""
    return [problem for problem in import_["problems"] if problem.get("code") in _UNFED]


_UNFED = ("unfed_column", "undecided_column")


def problem_lines(import_: Import) -> list[str]:
    """What went wrong with rows, the most frequent first, each with the first rows it is in."""
    lines: list[str] = []
    for problem in import_["problems"]:
        # A value that names nothing is told by itself and once more among all such rows.
        if "value" not in problem and problem["code"] == "unknown_value" and lines:
            continue
        if problem.get("question") or problem.get("code") in _UNFED:
            # Asked before.
            continue
        rows = ", ".join(str(row) for row in problem.get("rows", ()))
        where = f"{problem['column']}: " if problem.get("column") else ""
        times = f", {problem['count']:,} times" if problem.get("count", 1) > 1 else ""
        lines.append(f"{where}{problem['message']}{times}{f' (row {rows})' if rows else ''}")
    return lines


def show_mapping(import_: Import) -> None:
    """Which column feeds which field, why, and what is left."""
    info = import_["file_info"]
    suggestions = {found["column"]: found for found in info.get("suggestions", ())}
    rows: list[tuple[str, ...]] = []
    empty: list[str] = []
    for column in info["header"]:
        field = import_["mapping"].get(column)
        suggestion = suggestions.get(column, {})
        chosen = field != suggestion.get("field")
        sample = next((text for text in info.get("samples", {}).get(column, ()) if text), "")
        if not field and not sample and "filled" in info:
            empty.append(column)
            continue
        sure = "" if field is None or chosen else f"{suggestion['confidence']:.0%}"
        said = f"as in {info['saved']['file_name']}" if "saved" in info else "you said so"
        why = said if chosen else suggestion.get("reason", "")
        rows.append((column, _short(sample), _FEEDS.get(field or "", field), sure, why))
    screen.table(
        ("column", "for example", "feeds", "sure", "why"), rows, right=("sure",), aside=True
    )
    if empty:
        screen.note(f"Empty, and feeding nothing: {', '.join(empty)}", style="dim")
    left = [
        field["name"]
        for field in info["fields"]
        if field["name"] not in import_["mapping"].values() and not field.get("further")
    ]
    if left:
        more = f" and {len(left) - SHOWN_FIELDS} more" if len(left) > SHOWN_FIELDS else ""
        screen.note(f"Fed by no column: {', '.join(left[:SHOWN_FIELDS])}{more}", style="dim")


SHOWN_FIELDS = 12
_FEEDS = {"": "–", "-": "(left out)", "custom": "(a custom field)", "note": "(a note)"}


def show_unfed(unfed: Sequence[Mapping[str, Any]]) -> None:
    """The columns whose values feed no field: what becomes of them, and how that is decided."""
    screen.note(f"\n{_count(len(unfed), 'column')} with values that feed no field:")
    screen.table(
        ("column", "values", "for example", "becomes"),
        [
            (
                each["column"],
                screen.number(each["count"]),
                _short(", ".join(each["examples"])),
                _BECOMES.get(each["decision"], "nothing: they would be lost"),
            )
            for each in unfed
        ],
        right=("values",),
        aside=True,
    )
    undecided = [each for each in unfed if not each["decision"]]
    if undecided:
        screen.note(
            "\nSay what becomes of them, for all:\n"
            "  --unmapped custom   a field of your own for each\n"
            "  --unmapped note     lines of a note\n"
            "  --unmapped skip     nothing, they are left out\n"
            "or for one, or name the field that it feeds:"
        )
        for each in undecided[:3]:
            screen.note(f"  --map {shlex.quote(each['column'] + '=custom')}")


_BECOMES = {"custom": "a custom field", "note": "lines of a note", "-": "left out"}


def show_unresolved(import_: Import, unmatched: Sequence[Mapping[str, Any]]) -> None:
    """The values that name nothing, the nearest match of each, and the option that settles it."""
    verb = "matches" if len(unmatched) == 1 else "match"
    screen.note(f"\n{_count(len(unmatched), 'value')} of the file {verb} nothing:")
    screen.table(
        ("column", "value", "rows", "nearest"),
        [
            (u["column"], u["value"], screen.number(u["count"]), u["nearest"] or "")
            for u in unmatched[:SHOWN_PROBLEMS]
        ],
        right=("rows",),
        aside=True,
    )
    if len(unmatched) > SHOWN_PROBLEMS:
        screen.note(f"… and {len(unmatched) - SHOWN_PROBLEMS:,} more")
    near = [u for u in unmatched if u["nearest"]]
    if near:
        screen.note("\nWhere the nearest is what is meant, say so for the whole file:")
        for u in near[:SHOWN_PROBLEMS]:
            screen.note(f"  {choices.value_option(u['field'], u['value'], u['nearest'])}")
    kinds = {field["name"]: field["kind"] for field in import_["file_info"]["fields"]}
    fields = sorted({u["field"] for u in unmatched})
    if fields:
        screen.note(
            "\nWhat is to be left blank, or made of its name, is told for the whole column:"
        )
    for field in fields:
        screen.note(f"  --on-missing {field}=blank")
        # A list of choices takes no new ones.
        if kinds.get(field) != "choice":
            screen.note(f"  --on-missing {field}=create")


def show_counts(import_: Import) -> None:
    """How many rows were created, updated, left as they were, and failed."""
    counts = import_["counts"]
    if "would_create" in counts:
        told = ", ".join(f"{verb} {counts.get(f'would_{verb}', 0):,}" for verb in _WOULD)
        told = f"would {told}"
    else:
        told = ", ".join(f"{counts.get(name, 0):,} {name}" for name in _DID)
    screen.say(f"{import_['record']} of {import_['file_name']}: {told}")


_DID = ("created", "updated", "unchanged", "failed")
_WOULD = ("create", "update", "leave", "fail")


def failed(import_: Import) -> int:
    """How many rows failed, or would."""
    counts = import_["counts"]
    return int(counts.get("failed", counts.get("would_fail", 0)))


def show_problems(import_: Import) -> None:
    """What is wrong with the rows that failed, and what was left out of others."""
    lines = problem_lines(import_)
    for line in lines[:SHOWN_PROBLEMS]:
        screen.note(f"  {line}")
    if len(lines) > SHOWN_PROBLEMS:
        screen.note(f"  … and {len(lines) - SHOWN_PROBLEMS:,} more kinds of problem")


def save_errors(client: Client, import_: Import, to: Path) -> None:
    """Keep the rows that failed, as they stood in the file, each with what is wrong."""
    try:
        with client.download(f"{path(import_['id'])}/errors") as parts, to.open("wb") as sink:
            for part in parts:
                sink.write(part)
    except OSError as error:
        raise Told(f"{to} can't be written: {error.strerror}") from None
    screen.note(f"The failed rows are in {to}: correct them there and import that file.")


def _short(text: str, length: int = 28) -> str:
    flat = " ".join(text.split())
    return flat if len(flat) <= length else f"{flat[: length - 1]}…"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


# --- the commands ---------------------------------------------------------------------------------


def import_file(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE]", help="A CSV, XLSX or vCard file.")
    ] = None,
    record: Annotated[
        Record | None, typer.Option("--as", help="What its rows are.", show_choices=True)
    ] = None,
    mapped: Annotated[
        list[str] | None,
        typer.Option(
            "--map",
            metavar="COLUMN=FIELD",
            help="This column feeds this field; or it becomes custom or a note.",
        ),
    ] = None,
    ignored: Annotated[
        list[str] | None,
        typer.Option("--ignore", metavar="COLUMN", help="Its values are left out."),
    ] = None,
    meant: Annotated[
        list[str] | None,
        typer.Option(
            "--value",
            metavar="FIELD:FROM=TO",
            help="In this field (or column) FROM stands for TO, in the whole file.",
        ),
    ] = None,
    on_missing: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FIELD=create|blank|report", help="What becomes of values that name nothing."
        ),
    ] = None,
    option: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE",
            help="key, create_only, blanks, currency, timezone, defaults.FIELD,"
            " formats.COLUMN.dates, formats.COLUMN.decimal.",
        ),
    ] = None,
    encoding: Annotated[
        str | None, typer.Option(help="How its letters are written, as windows-1251.")
    ] = None,
    delimiter: Annotated[
        str | None, typer.Option(help="What stands between its cells; tab for a tab.")
    ] = None,
    sheet: Annotated[
        str | None, typer.Option(metavar="NAME", help="The sheet of a workbook that is read.")
    ] = None,
    unmapped: Annotated[
        Unmapped | None,
        typer.Option(
            help="What becomes of columns that feed no field: a custom field each, lines of a"
            " note, or nothing.",
            show_choices=True,
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Tell what would happen; write nothing.")
    ] = False,
    yes: Annotated[
        bool, typer.Option("--yes", "-y", help="Do not ask; rows with problems are left out.")
    ] = False,
    errors: Annotated[
        Path | None, typer.Option(help="Where failed rows go (FILE-errors.csv unless named).")
    ] = None,
    rollback: Annotated[
        str | None, typer.Option(metavar="ID", help="Take this import back instead.")
    ] = None,
) -> None:
    """Import a file: see which column feeds which field, correct it, and let it run.

    Exits with 0 when all rows are in, 1 when some failed, 2 when nothing could be done.
    """
    if rollback:
        if file is not None or record is not None:
            raise Told("--rollback takes an import back; it goes without a file.")
        take_back(rollback)
        return
    if file is None or record is None:
        raise Told(
            "Name a file and what its rows are, as in: liaison import book.csv --as companies"
        )
    with connect() as client:
        said = {"encoding": encoding, "delimiter": delimiter, "sheet": sheet}
        read_as = {name: text for name, text in said.items() if text is not None}
        import_ = _handed_in(client, file, record, read_as)
        import_ = _chosen(client, import_, mapped or [], ignored or [], meant or [],
                          on_missing or [], option or [], unmapped, read_as)  # fmt: skip
        show_mapping(import_)
        unmatched, unfed = look(client, import_)
        if unfed:
            show_unfed(unfed)
        if unmatched:
            show_unresolved(import_, unmatched)
        if dry_run:
            import_ = try_dry(client, import_)
        else:
            _demand_decisions(unfed)
            _ask_to_go_on(import_, unmatched, yes)
            import_ = carry_out(client, import_, f"Importing {file.name}")
        show_counts(import_)
        if import_["status"] == "cancelled":
            raise Told(
                "It was cancelled on the way; what is in stays in.\n"
                f"  To take it back: liaison import --rollback {import_['id']}"
            )
        show_problems(import_)
        if failed(import_):
            if not dry_run:
                save_errors(client, import_, errors or Path(f"{file.stem}-errors.csv"))
            raise typer.Exit(SOME_FAILED)


def _handed_in(client: Client, file: Path, record: str, read_as: Mapping[str, str]) -> Import:
    try:
        with file.open("rb") as source:
            return begin(client, source, record, file.name, read_as)
    except OSError as error:
        raise Told(f"{file} can't be read: {error.strerror or error}") from None


def _chosen(
    client: Client,
    import_: Import,
    mapped: list[str],
    ignored: list[str],
    meant: list[str],
    on_missing: list[str],
    option: list[str],
    unmapped: str | None,
    read_as: Mapping[str, str],
) -> Import:
    """The import with what the person has said about it, checked by Liaison."""
    mapping = choices.mapping(import_["mapping"], mapped, ignored)
    options = choices.options(option)
    if unmapped:
        options["unmapped"] = unmapped
    if on_missing:
        options["on_missing"] = choices.on_missing(on_missing, mapping)
    if options:
        # Options are sent as a whole, with those that were kept of a file like this.
        kept = {name: said for name, said in import_.get("options", {}).items() if said}
        options = {**kept, **read_as, **options}
    values = choices.values(meant, mapping)
    for field, said in import_.get("value_map", {}).items():
        values[field] = {**said, **values.get(field, {})}
    changes: dict[str, Any] = {"mapping": mapping, "value_map": values}
    if options:
        changes["options"] = options
    return change(client, import_, changes)


def _demand_decisions(unfed: Sequence[Mapping[str, Any]]) -> None:
    """Nothing is lost undecided, whether or not somebody may be asked."""
    if undecided := [each["column"] for each in unfed if not each["decision"]]:
        raise Told(f"\nNothing was imported. Decide what becomes of {', '.join(undecided)}.")


def _ask_to_go_on(import_: Import, unmatched: Sequence[Mapping[str, Any]], yes: bool) -> None:
    """Ask the person; without one, go on only when there is nothing to settle."""
    if yes:
        return
    rows = import_["file_info"].get("rows")
    what = f"Import {_count(rows, 'row')}" if rows else "Import it"
    if unmatched:
        what = f"{what}, leaving out those with these values"
    if screen.is_terminal():
        if not typer.confirm(f"\n{what}?", default=not unmatched, err=True):
            raise Told("Nothing was imported.")
    elif unmatched:
        raise Told(
            "\nNothing was imported. Settle these values, or leave their rows out with --yes."
        )


def take_back(id: str) -> None:
    """Undo an import: what it made goes, what it changed returns, unless touched since."""
    with connect() as client:
        import_ = client.get(path(id))
        job = client.post(f"{path(id)}/rollback")
        import_ = _ended(client, import_, job, f"Taking {import_['file_name']} back")
    counts = import_["counts"]
    screen.say(
        f"{import_['record']} of {import_['file_name']}: {counts.get('deleted', 0):,} deleted,"
        f" {counts.get('restored', 0):,} restored, {counts.get('kept', 0):,} kept"
    )
    if counts.get("kept"):
        screen.note("Those that were kept have been changed since, or others refer to them.")
        raise typer.Exit(SOME_FAILED)


def imports(
    limit: Annotated[int, typer.Option(min=1, max=200, help="How many to list.")] = 20,
) -> None:
    """List imports, latest first."""
    with connect() as client:
        found = client.get("/imports", limit=limit)["items"]
    screen.table(
        ("id", "what", "file", "status", "created", "updated", "unchanged", "failed", "when"),
        [
            (
                i["id"], i["record"], i["file_name"], i["status"].replace("_", " "),
                *(screen.number(i["counts"].get(name)) for name in _DID),
                screen.when(i["created_at"]),
            )
            for i in found
        ],
        right=_DID,
    )  # fmt: skip
