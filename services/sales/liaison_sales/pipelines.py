"""Pipelines: ways of selling, each with its stages; every tenant has a default one."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast
from uuid import UUID

from sqlalchemy import Row, exists, func, or_, select, text, true
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from liaison_kit import records
from liaison_kit.context import context
from liaison_kit.events.outbox import emit
from liaison_kit.ids import uuid7
from liaison_kit.records.plain import refuse_nulls
from liaison_kit.records.recordtype import RecordType
from liaison_kit.records.search import fold
from liaison_sales.models import Opportunity, Pipeline, RemovedStage, Stage
from liaison_sdk.contracts import sales as contract
from liaison_sdk.contracts.sales import StageKind
from liaison_sdk.errors import Conflict, FieldError, InvalidInput
from liaison_sdk.labels import Label

_SHOWN = ("id", "code", "name", "position", "probability", "kind")

PIPELINES = RecordType(
    "pipelines",
    Label(en="Pipeline", fr="Pipeline"),
    model=Pipeline,
    shape=contract.Pipeline,
    columns={
        "stages": select(
            func.json_agg(
                aggregate_order_by(
                    func.json_build_object(
                        *(part for name in _SHOWN for part in (name, getattr(Stage, name)))
                    ),
                    Stage.position,
                )
            )
        )
        .where(Stage.pipeline_id == Pipeline.id)
        .correlate(Pipeline)
        .scalar_subquery(),
    },
    default_sort="name",
)

_NAMES = {
    "en": ("Sales", "Prospecting", "Engaging", "Proposal", "Negotiation", "Won", "Lost"),
    "fr": ("Ventes", "Prospection", "Engagement", "Proposition", "Négociation", "Gagnée", "Perdue"),
}
_USUAL: tuple[tuple[str, int, StageKind], ...] = (
    ("prospecting", 10, "open"),
    ("engaging", 30, "open"),
    ("proposal", 50, "open"),
    ("negotiation", 75, "open"),
    ("won", 100, "won"),
    ("lost", 0, "lost"),
)

_MAKE_DEFAULT = text("""
    WITH made AS (
        INSERT INTO pipelines (id, tenant_id, name, currency, is_default, version,
                               created_at, created_by, updated_at, updated_by)
        VALUES (:id, :tenant, :name, 'EUR', true, 1, :now, :user, :now, :user)
        ON CONFLICT (tenant_id) WHERE is_default DO NOTHING
        RETURNING id
    )
    INSERT INTO stages (id, tenant_id, pipeline_id, code, name, position, probability, kind)
    SELECT s.id, :tenant, made.id, s.code, s.name, s.position, s.probability, s.kind
      FROM made, unnest(CAST(:ids AS uuid[]), CAST(:codes AS text[]), CAST(:names AS text[]),
                        CAST(:positions AS int[]), CAST(:probabilities AS int[]),
                        CAST(:kinds AS text[]))
           AS s(id, code, name, position, probability, kind)
""")


@dataclass(frozen=True, slots=True)
class Step:
    """A stage as the rules of opportunities look at it."""

    id: str
    code: str
    name: str
    position: int
    probability: int
    kind: StageKind


class Steps:
    """The stages of one pipeline, in order."""

    def __init__(self, stages: Sequence[Step]) -> None:
        self._stages = sorted(stages, key=lambda step: step.position)

    @property
    def first(self) -> Step:
        """Where an opportunity starts."""
        return self.of_kind("open")

    def of_kind(self, kind: StageKind) -> Step:
        """The first stage of a kind; a pipeline has one of each."""
        return next(step for step in self._stages if step.kind == kind)

    def by_id(self, id: object) -> Step | None:
        """The stage of this id, if it is one of this pipeline's."""
        return next((step for step in self._stages if step.id == str(id)), None)

    def named(self, stage_id: UUID | None, stage: str | None) -> Step | None:
        """The stage that a request names by its id, its code or its name; none if it names none."""
        if stage_id is not None:
            found = self.by_id(stage_id)
            path = "stage_id"
        elif stage is not None:
            wanted = fold(stage)
            found = next(
                (step for step in self._stages if wanted in (step.code, fold(step.name))), None
            )
            path = "stage"
        else:
            return None
        if found is None:
            known = ", ".join(step.name for step in self._stages)
            raise InvalidInput.field(
                path, "unknown_reference", f"No such stage in this pipeline; it has {known}"
            )
        return found


# Made before the language was known, and touched by nobody since.
_SPEAK = text("""
    WITH spoken AS (
        UPDATE pipelines SET name = :name
         WHERE is_default AND version = 1 AND created_by IS NULL AND name <> :name
        RETURNING id
    )
    UPDATE stages s SET name = n.name
      FROM spoken, unnest(CAST(:codes AS text[]), CAST(:names AS text[])) AS n(code, name)
     WHERE s.pipeline_id = spoken.id AND s.code = n.code
""")


def start(session: Session, locale: str) -> None:
    """Give a new organisation its default pipeline, in its language."""
    if not ensure_default(session, locale):
        name, *names = _NAMES.get(locale, _NAMES["en"])
        codes = [code for code, _, _ in _USUAL]
        session.execute(_SPEAK, {"name": name, "codes": codes, "names": names})


def ensure_default(session: Session, locale: str | None = None) -> bool:
    """Give the tenant its default pipeline if it has none; tells whether it was made now.

    One statement, and a unique index allows one default per tenant, so any number of first requests
    at once make one pipeline.
    """
    about = context(session)
    spoken = locale or (about.principal.locale if about.principal else "en")
    name, *names = _NAMES.get(spoken, _NAMES["en"])
    done = session.execute(
        _MAKE_DEFAULT,
        {
            "id": uuid7(),
            "tenant": about.tenant,
            "name": name,
            "now": about.now,
            "user": about.user,
            "ids": [str(uuid7()) for _ in _USUAL],
            "codes": [code for code, _, _ in _USUAL],
            "names": names,
            "positions": list(range(len(_USUAL))),
            "probabilities": [probability for _, probability, _ in _USUAL],
            "kinds": [kind for _, _, kind in _USUAL],
        },
    )
    return bool(cast("Any", done).rowcount)


def steps(session: Session, pipeline_id: UUID | None) -> tuple[UUID, Steps]:
    """A pipeline's id and stages; the default one's unless told which."""
    wanted = select(Stage, Pipeline.id.label("pipeline")).join(
        Pipeline, Pipeline.id == Stage.pipeline_id
    )
    chosen = Pipeline.is_default if pipeline_id is None else Pipeline.id == pipeline_id
    rows = session.execute(wanted.where(chosen)).all()
    if not rows and pipeline_id is None:
        ensure_default(session)
        rows = session.execute(wanted.where(chosen)).all()
    if not rows:
        raise InvalidInput.field(
            "pipeline_id", "unknown_reference", "pipeline_id names no record of yours"
        )
    return rows[0].pipeline, Steps([_step(row.Stage) for row in rows])


def create(session: Session, new: contract.NewPipeline) -> UUID:
    """Add a pipeline; one that shall be the default takes that place over."""
    ensure_default(session)
    stages = new.stages if new.stages is not None else _usual_stages(session)
    wanted = _checked(stages)
    if new.is_default:
        _retire_default(session, None)
    pipeline = records.create(
        session,
        PIPELINES,
        Pipeline,
        name=new.name,
        currency=new.currency,
        is_default=new.is_default,
        external_id=new.external_id,
        custom=new.custom or None,
    )
    for values in wanted:
        _add_stage(session, pipeline.id, values)
    emit(session, contract.PipelinesSaved(pipeline_ids=[pipeline.id]))
    return pipeline.id


def change(session: Session, id: UUID, version: int, changes: contract.PipelineChanges) -> UUID:
    """Change what was sent; a list of stages replaces the one that is there."""
    pipeline = records.load(session, PIPELINES, Pipeline, id, version)
    refuse_nulls(changes, "name", "currency", "is_default", "stages", "custom")
    sent = changes.model_fields_set
    if "is_default" in sent and pipeline.is_default and not changes.is_default:
        raise InvalidInput.field(
            "is_default", "needed", "Make another pipeline the default instead"
        )
    if "is_default" in sent and changes.is_default:
        _retire_default(session, pipeline.id)
    values = {name: getattr(changes, name) for name in sent - {"stages"}}
    moved = _change_stages(session, pipeline, changes.stages) if "stages" in sent else None
    beside = None if moved is None else {"stages": moved}
    pipeline, changed = records.change(session, PIPELINES, pipeline, values, beside=beside)
    if changed:
        emit(session, contract.PipelinesSaved(pipeline_ids=[pipeline.id]))
    return id


def remove(session: Session, id: UUID, version: int) -> None:
    """Delete a pipeline that holds nothing."""
    pipeline = records.load(session, PIPELINES, Pipeline, id, version)
    if pipeline.is_default:
        raise Conflict("This is the default pipeline; make another one the default first")
    records.remove(session, PIPELINES, pipeline)
    emit(session, contract.PipelinesSaved(pipeline_ids=[id]))


def resolve(session: Session, values: Sequence[str]) -> dict[str, str]:
    """The ids of stages by name or code, the default pipeline's before any other's."""
    ensure_default(session)
    found: dict[str, str] = {}
    for row in _stages_by_pipeline(session):
        for key in (row.Stage.code, fold(row.Stage.name)):
            found.setdefault(key, str(row.Stage.id))
    return {value: found[fold(value)] for value in values if fold(value) in found}


def stage_names(session: Session) -> list[str]:
    """Every stage's name, for guessing what a misspelt one meant."""
    return list(dict.fromkeys(row.Stage.name for row in _stages_by_pipeline(session)))


def _stages_by_pipeline(session: Session) -> Sequence[Row[Stage, bool]]:
    return session.execute(
        select(Stage, Pipeline.is_default)
        .join(Pipeline, Pipeline.id == Stage.pipeline_id)
        .order_by(Pipeline.is_default.desc(), Pipeline.id, Stage.position)
    ).all()


def _step(stage: Stage) -> Step:
    return Step(
        str(stage.id),
        stage.code,
        stage.name,
        stage.position,
        stage.probability,
        cast("StageKind", stage.kind),
    )


def _usual_stages(session: Session) -> list[contract.NewStage]:
    principal = context(session).principal
    _, *names = _NAMES.get(principal.locale if principal else "en", _NAMES["en"])
    return [
        contract.NewStage(name=name, code=code, kind=kind, probability=probability)
        for name, (code, probability, kind) in zip(names, _USUAL, strict=True)
    ]


def _retire_default(session: Session, keep: UUID | None) -> None:
    for other in records.locked(session, PIPELINES, Pipeline, Pipeline.is_default == true()):
        if other.id != keep:
            records.change(session, PIPELINES, other, {"is_default": False})


def _checked(stages: Sequence[contract.NewStage]) -> list[dict[str, Any]]:
    """The stages as rows, in order; every bad one is named."""
    errors: list[FieldError] = []
    rows: list[dict[str, Any]] = []
    open_ones = sum(stage.kind == "open" for stage in stages)
    seen_open = 0
    for kind in ("open", "won", "lost"):
        if not any(stage.kind == kind for stage in stages):
            errors.append(
                FieldError("stages", "missing", f"A pipeline needs a stage that is {kind}")
            )
    for place, stage in enumerate(stages):
        code = stage.code or _code(stage.name)
        if any(row["code"] == code or fold(row["name"]) == fold(stage.name) for row in rows):
            errors.append(
                FieldError(f"stages.{place}.name", "taken", f"Two stages are called {stage.name}")
            )
        seen_open += stage.kind == "open"
        fixed = {"won": 100, "lost": 0}.get(stage.kind)
        if fixed is not None and stage.probability not in (None, fixed):
            errors.append(
                FieldError(
                    f"stages.{place}.probability",
                    "fixed",
                    f"A stage that is {stage.kind} has a probability of {fixed}",
                )
            )
        spread = round(100 * seen_open / (open_ones + 1))
        probability = stage.probability if stage.probability is not None else fixed
        rows.append(
            {
                "code": code,
                "name": stage.name,
                "position": place,
                "probability": spread if probability is None else probability,
                "kind": stage.kind,
            }
        )
    if errors:
        raise InvalidInput("These stages make no pipeline", errors)
    return rows


def _code(name: str) -> str:
    bare = re.sub(r"[^a-z0-9]+", "_", fold(name)).strip("_")
    return (bare if bare[:1].isalpha() else f"stage_{bare}".rstrip("_"))[:63]


def _add_stage(session: Session, pipeline_id: UUID, values: dict[str, Any]) -> None:
    about = context(session)
    session.add(Stage(id=uuid7(), tenant_id=about.tenant, pipeline_id=pipeline_id, **values))


def _change_stages(
    session: Session, pipeline: Pipeline, wanted: Sequence[contract.StageChanges]
) -> tuple[Any, Any] | None:
    """Make the stages those that are wanted; what they were and are, or nothing if all stays."""
    rows = _checked(wanted)
    there = {
        stage.id: stage
        for stage in session.scalars(select(Stage).where(Stage.pipeline_id == pipeline.id))
    }
    before = _listed(there.values())
    gone = there.keys() - {stage.id for stage in wanted}
    _let_go(session, [there[id] for id in gone])
    for place, (stage, values) in enumerate(zip(wanted, rows, strict=True)):
        if stage.id is None:
            _add_stage(session, pipeline.id, values)
            continue
        row = there.get(stage.id)
        if row is None:
            raise InvalidInput.field(
                f"stages.{place}.id", "unknown_reference", "This pipeline has no such stage"
            )
        if row.kind != stage.kind:
            # Opportunities in it would be won or lost without anybody saying so.
            raise InvalidInput.field(
                f"stages.{place}.kind", "fixed", "A stage keeps its kind; add another one"
            )
        if stage.code is None:
            values["code"] = row.code
        for name, value in values.items():
            setattr(row, name, value)
    session.flush()
    after = _listed(session.scalars(select(Stage).where(Stage.pipeline_id == pipeline.id)).all())
    return None if before == after else (before, after)


def _let_go(session: Session, stages: Sequence[Stage]) -> None:
    if not stages:
        return
    used = session.scalar(
        select(exists().where(or_(*(Opportunity.stage_id == stage.id for stage in stages))))
    )
    if used:
        raise Conflict("Opportunities are in a stage that would be gone; move them first")
    for stage in stages:
        session.add(RemovedStage(tenant_id=stage.tenant_id, id=stage.id, name=stage.name))
        session.delete(stage)
    try:
        session.flush()
    except IntegrityError:
        raise Conflict("An opportunity has just come into a stage that would be gone") from None


def _listed(stages: Any) -> list[dict[str, Any]]:
    return [
        {name: getattr(stage, name) for name in _SHOWN if name != "id"}
        for stage in sorted(stages, key=lambda stage: stage.position)
    ]
