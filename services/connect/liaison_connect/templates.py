"""Message templates: texts in Liquid that the tenant writes, one per code and language."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from psycopg2.errors import UniqueViolation
from sqlalchemy import case, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from liaison_connect.composing import one_line
from liaison_connect.models import Template
from liaison_kit import records
from liaison_kit.records import Held
from liaison_kit.records.recordtype import RecordType
from liaison_kit.templates import BadTemplate, check, render
from liaison_sdk.contracts import connect as contracts
from liaison_sdk.contracts.connect import Content, NewTemplate, TemplateChanges
from liaison_sdk.errors import Conflict, FieldError, InvalidInput
from liaison_sdk.labels import Label

TEMPLATES = RecordType(
    "templates",
    Label(en="Template", fr="Modèle"),
    model=Template,
    shape=contracts.Template,
)
_TEXTS = {"subject": False, "text": False, "html": True}
"""What of a template is Liquid, and whether it is HTML."""


class CodeTaken(Conflict):
    """There is a template of this code in this language."""

    code, title = "code_taken", "There is a template of this code in this language"


def create(session: Session, new: NewTemplate) -> Held[Template]:
    """A new template; what can't be read in it is named, with its line."""
    _check({name: getattr(new, name) for name in _TEXTS})
    values = new.model_dump(exclude={"custom"})
    try:
        return records.create(session, TEMPLATES, Template, custom=new.custom or None, **values)
    except IntegrityError as error:
        if isinstance(error.orig, UniqueViolation):
            taken = FieldError("code", "taken", "This code has a text in this language")
            raise CodeTaken("Change that one", [taken]) from None
        raise


def change(session: Session, id: UUID, changes: TemplateChanges, version: int) -> Held[Template]:
    """Set fields of a template; messages that are on their way stay as they are."""
    row = records.load(session, TEMPLATES, Template, id, version)
    values = {name: getattr(changes, name) for name in changes.model_fields_set}
    for name in ("name", "subject", "text"):
        if name in values and values[name] is None:
            raise InvalidInput.field(name, "missing", f"{name} can't be empty")
    _check({name: values[name] for name in _TEXTS if name in values})
    return records.change(session, TEMPLATES, row, values)[0]


def remove(session: Session, id: UUID, version: int) -> None:
    """Delete a template; intents that name it fail from now on."""
    records.remove(session, TEMPLATES, records.load(session, TEMPLATES, Template, id, version))


def find(session: Session, code: str, language: str) -> Template | None:
    """The template of a code in this language; else in English, else in any."""
    fitting = case((Template.language == language, 0), (Template.language == "en", 1), else_=2)
    return session.scalars(
        select(Template).where(Template.code == code).order_by(fitting, Template.id).limit(1)
    ).first()


def fill_in(template: Template, fields: Mapping[str, Any]) -> Content:
    """What a message of this template says; `BadTemplate` names the path and the line."""
    where = f"templates.{template.code}.{template.language}"
    return Content(
        subject=one_line(render(template.subject, f"{where}.subject", fields)),
        text=render(template.text, f"{where}.text", fields),
        html=None
        if template.html is None
        else render(template.html, f"{where}.html", fields, html=True),
    )


def _check(texts: Mapping[str, str | None]) -> None:
    errors: list[FieldError] = []
    for name, source in texts.items():
        try:
            check(source or "", name, html=_TEXTS[name])
        except BadTemplate as error:
            errors += error.errors
    if errors:
        raise BadTemplate(errors[0].message, errors)
