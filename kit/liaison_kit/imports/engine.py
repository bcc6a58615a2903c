"""Run an import: try it dry, or write it chunk by chunk.

Two chunks are worked on at a time (`overlap.py`): while one is written, the next is prepared. Each
chunk is one transaction together with the job's checkpoint, committed in the order of the file, so
a run that died goes on after the last chunk that was kept.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar
from uuid import UUID

from sqlalchemy.orm import Session

from liaison_kit.ids import uuid7
from liaison_kit.imports.converting import fold
from liaison_kit.imports.fields import Importable
from liaison_kit.imports.overlap import Turn, ahead, in_turn
from liaison_kit.imports.planning import Options, Plan, settle, survey
from liaison_kit.imports.preparing import Prepared, Preparing
from liaison_kit.imports.reading import Chunk, Table
from liaison_kit.imports.references import SEVERAL
from liaison_kit.imports.reporting import Tally, keep_errors
from liaison_kit.imports.writing import Outcome, Writer
from liaison_kit.records import custom

ROUNDS = 20

T = TypeVar("T")


class Looks(Protocol):
    """Transactions to look at a file in."""

    def step(self) -> AbstractContextManager[Session]:
        """One transaction."""

    def asking(self, work: Callable[[Session], T]) -> T:
        """Work in one transaction that may have questions, which are asked outside of it."""


class Steps(Looks, Protocol):
    """A resumable job, as `liaison_kit.jobs.Run` is one; each transaction keeps the checkpoint."""

    checkpoint: dict[str, Any]
    done: int
    total: int | None


def dry_run(
    looks: Looks,
    importable: Importable,
    table: Table,
    mapping: Mapping[str, str | None],
    value_map: Mapping[str, Mapping[str, str | None]],
    options: Options,
) -> tuple[Plan, Tally]:
    """All that a run does, chunk by chunk, of which nothing is kept: what `looks` begins is undone.

    So it counts what a run would, rows that the database refuses included. What comes in is
    remembered here, for the rows that refer to it.
    """
    with looks.step() as session:
        specs = importable.all_fields(session)
    surveyed = survey(importable, specs, table, mapping, value_map, options)
    found = looks.asking(lambda session: settle(session, surveyed))
    tally, come = Tally(), _Come(found)
    only = None
    while True:
        writer = _writer(found, options, uuid7(), _pretended(found))
        preparing = Preparing(found, only)
        for prepared in ahead(table.chunks(), preparing.prepare):
            if only is not None:
                prepared.chunk.bad.clear()
            with looks.step() as session:
                outcome = writer.write(session, prepared.columns, len(prepared.places))
                if prepared.beside and (also := importable.beside):
                    also(session, writer.import_id, prepared.beside, outcome.written)
            tally.take(prepared, outcome)
            come.take(prepared)
        if not found.waiting:
            return found, tally
        only = dict(found.waiting)
        for feed in found.feeds:
            if feed.matched is not None:
                feed.matched.come(come.id)
                found.unmatched += [u for u in feed.matched.unmatched if u not in found.unmatched]
        found.waiting = {
            feed.column: frozenset(feed.matched.waiting)
            for feed in found.feeds
            if feed.matched is not None and feed.matched.waiting
        }
        if found.waiting == only:
            _give_up_waiting(found)


class _Come:
    """What the rows that came in are called, each by an id that stands for it."""

    def __init__(self, found: Plan) -> None:
        keys = (*found.importable.keys, "name")
        self._called = [feed.position for feed in found.feeds if feed.spec.name in keys]
        self._ids: list[dict[str, str]] = [{} for _ in self._called]
        self._waits = bool(found.waiting)

    def take(self, prepared: Prepared) -> None:
        """See who came in, once it is known which rows failed."""
        if not self._waits:
            return
        for place in prepared.places:
            if place in prepared.failed:
                continue
            for position, ids in zip(self._called, self._ids, strict=True):
                name = fold(prepared.chunk.columns[position][place])
                ids[name] = SEVERAL if name in ids else str(uuid7())

    def id(self, name: str) -> str | None:
        """Who has come of this folded name, or `SEVERAL`."""
        met = [ids[name] for ids in self._ids if name in ids]
        return next((id for id in met if id != SEVERAL), met[0] if met else None)


def _pretended(found: Plan) -> dict[str, frozenset[str]]:
    return {
        feed.spec.column or feed.spec.name: feed.matched.pretended
        for feed in found.feeds
        if feed.matched is not None and feed.matched.pretended
    }


def run(
    steps: Steps,
    importable: Importable,
    table: Table,
    mapping: Mapping[str, str | None],
    value_map: Mapping[str, Mapping[str, str | None]],
    options: Options,
    import_id: UUID,
    errors_file: UUID,
) -> tuple[Plan, Tally]:
    """Write the file, from the job's last checkpoint on.

    Rows that name a record of this same file which isn't there yet (a parent company further down)
    wait for a later round.
    """
    state = steps.checkpoint
    tally = Tally(Counter(state.get("counts", {})), dict(state.get("problems", {})))
    with steps.step() as session:
        specs = importable.all_fields(session)
    surveyed = survey(importable, specs, table, mapping, value_map, options)
    state.setdefault("round", 0)
    state.setdefault("row", 0)
    steps.total = surveyed.plan.rows
    while True:
        found = steps.asking(lambda session: settle(session, surveyed, writes=True))
        only = None
        if state["round"] > 0:
            only = {column: frozenset(raws) for column, raws in state["waited"].items()}
            stuck = found.waiting and all(only.get(c) == raws for c, raws in found.waiting.items())
            if stuck or state["round"] > ROUNDS:
                _give_up_waiting(found)
        _one_round(steps, found, options, tally, only, import_id, errors_file)
        if not found.waiting:
            return found, tally
        state["waited"] = {column: sorted(raws) for column, raws in found.waiting.items()}
        state["round"] += 1
        state["row"] = 0


def _give_up_waiting(found: Plan) -> None:
    # What still waits names itself or runs in a circle: its rows are reported.
    for feed in found.feeds:
        if feed.matched is not None:
            found.unmatched += feed.matched.waiting.values()
    found.waiting = {}


def _one_round(
    steps: Steps,
    found: Plan,
    options: Options,
    tally: Tally,
    only: Mapping[str, frozenset[str]] | None,
    import_id: UUID,
    errors_file: UUID,
) -> None:
    state = steps.checkpoint
    writer = _writer(found, options, import_id)
    preparing = Preparing(found, only)
    after = state["row"]
    if after and found.key is not None:
        # The keys of the rows that an earlier attempt has written still count as seen.
        for chunk in found.table.chunks():
            if chunk.numbers and chunk.numbers[0] > after:
                break
            preparing.prepare(_until(chunk, after))

    def write(prepared: Prepared, turn: Turn) -> None:
        chunk = prepared.chunk
        if only is not None:
            # An earlier round has reported the rows that can't be read.
            chunk.bad.clear()
        with steps.step() as session:
            outcome = writer.write(session, prepared.columns, len(prepared.places))
            turn.come()
            _forget_removed_fields(session, found, outcome)
            if prepared.beside and (also := found.importable.beside):
                also(session, import_id, prepared.beside, outcome.written)
            if tell := found.importable.after_chunk:
                tell(session, outcome.created_ids, outcome.updated_ids)
            failed = tally.take(prepared, outcome)
            if failed:
                keep_errors(session, state, errors_file, found.table.header, failed)
            state["row"] = chunk.last
            state["columns"] = list(prepared.columns)
            state["counts"] = dict(tally.counts)
            state["problems"] = tally.problems
            steps.done = sum(tally.counts.values())

    in_turn(ahead(found.table.chunks(after=after), preparing.prepare), write)


def _forget_removed_fields(session: Session, found: Plan, outcome: Outcome) -> None:
    """What a field holds that was taken away since the import began does not come in."""
    own = [spec.name.removeprefix("custom.") for spec in found.specs if spec.custom]
    if own:
        ids = [*outcome.created_ids, *outcome.updated_ids]
        custom.forget(session, found.importable.record, found.importable.table, own, ids)


def _until(chunk: Chunk, last: int) -> Chunk:
    size = sum(1 for number in chunk.numbers if number <= last)
    return Chunk(chunk.numbers[:size], [c[:size] for c in chunk.columns], [], last)


def _writer(
    found: Plan,
    options: Options,
    import_id: UUID,
    pretended: Mapping[str, frozenset[str]] | None = None,
) -> Writer:
    return Writer(
        found.importable,
        import_id,
        found.key,
        clear_blanks=options.blanks == "clear",
        loose=found.loose,
        defaults=found.defaults,
        pretended=pretended,
        beside=any(spec.beside for spec in found.specs),
    )
