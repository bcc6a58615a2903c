"""Additions: the fields, panels and actions that plugins give to the screens of a service.

They are asked for once, when a process starts; one plugin's bad declaration costs that plugin's
additions only, and is logged with its name. A field is kept as a tenant's own are, so it is
checked, filtered, imported, exported and erased as those are. A panel and an action are data: what
they show and change is the plugin's answer to a hook, put on the screen and into the record by us.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field
from sqlalchemy.orm import Session

from liaison_kit import listing
from liaison_kit.context import context
from liaison_kit.plugins import BadAnswer, Hooks
from liaison_kit.records import custom
from liaison_kit.records.custom import PluginField
from liaison_kit.records.recordtype import RecordType
from liaison_sdk import hooks as sdk
from liaison_sdk.errors import FieldError, InvalidInput, NotFound, Unavailable
from liaison_sdk.labels import Label
from liaison_sdk.types import Closed


@dataclass(frozen=True)
class Added:
    """What the installed plugins add, by kind of record; panels and actions by plugin and name."""

    panels: Mapping[tuple[str, str], sdk.Panel] = field(default_factory=dict)
    actions: Mapping[tuple[str, str], sdk.Action] = field(default_factory=dict)

    def panels_of(self, record: str) -> Iterator[tuple[str, str, sdk.Panel]]:
        """The panels of a kind of record: key, plugin, panel."""
        return _of(record, self.panels)

    def actions_of(self, record: str) -> Iterator[tuple[str, str, sdk.Action]]:
        """The actions of a kind of record: key, plugin, action."""
        return _of(record, self.actions)


def _of(record: str, added: Mapping[tuple[str, str], Any]) -> Iterator[tuple[str, str, Any]]:
    for (plugin, name), each in added.items():
        if each.record == record:
            yield f"{plugin}.{name}", plugin, each


class DrawnRow(BaseModel):
    """A line of a panel."""

    label: Label
    value: str
    tone: Literal["gray", "blue", "violet", "orange", "green", "red", "yellow"]
    link: str | None


class DrawnPanel(BaseModel):
    """What a panel shows beside a record."""

    rows: list[DrawnRow]
    note: Label | None


class FilledForm(Closed):
    """What somebody has filled in to start an action."""

    form: Annotated[dict[str, Any], Field(max_length=100)] = {}


# --- what there is ------------------------------------------------------------------------------


def gather(service: str, hooks: Hooks, kinds: Iterable[RecordType]) -> Added:
    """Ask every plugin what it adds to these kinds of record of a service."""
    known = {kind.name: kind for kind in kinds}
    fields: dict[str, list[PluginField]] = {name: [] for name in known}
    panels: dict[tuple[str, str], sdk.Panel] = {}
    actions: dict[tuple[str, str], sdk.Action] = {}
    hook = "screen_additions"
    for plugin, answer in hooks.ask_each(hook, service=service):
        try:
            _check(plugin, answer, known)
        except BadAnswer as bad:
            hooks.refuse(hook, plugin, str(bad))
            continue
        for added in answer.fields:
            fields[added.record].append(_field(plugin, added))
        panels |= {(plugin, panel.name): panel for panel in answer.panels}
        actions |= {(plugin, action.name): action for action in answer.actions}
    for record, of_record in fields.items():
        custom.add(record, of_record)
    return Added(panels, actions)


def _check(plugin: str, answer: sdk.Additions, known: Mapping[str, RecordType]) -> None:
    """Raise `BadAnswer` unless all of it makes sense here: a half of a plugin is of no use."""
    every: list[sdk.AddedField | sdk.Panel | sdk.Action] = [*answer.fields, *answer.panels]
    for each in [*every, *answer.actions]:
        if each.record not in known:
            raise BadAnswer(f"{each.name}: there are no records {each.record}")
    for added in answer.fields:
        if not added.name.startswith(f"{plugin}_"):
            raise BadAnswer(f"{added.name}: the name of a field begins with {plugin}_")
        if "custom" not in known[added.record].fields:
            raise BadAnswer(f"{added.name}: {added.record} can have no fields more")
        _check_choices(added.name, added)
    for action in answer.actions:
        for asked in action.form:
            _check_choices(f"{action.name}.{asked.name}", asked)
        _once(action.name, (asked.name for asked in action.form))
    _once("fields", ((added.record, added.name) for added in answer.fields))
    _once("panels", (panel.name for panel in answer.panels))
    _once("actions", (action.name for action in answer.actions))


def _check_choices(name: str, asked: sdk.AddedField | sdk.FormField) -> None:
    if (asked.kind == "choice") != bool(asked.choices):
        raise BadAnswer(f"{name}: a choice has choices, and nothing else does")


def _once(where: str, names: Iterable[Any]) -> None:
    listed = list(names)
    if len(set(listed)) < len(listed):
        raise BadAnswer(f"{where}: two have one name")


def _field(plugin: str, added: sdk.AddedField) -> PluginField:
    return PluginField(
        record=added.record,
        name=added.name,
        kind=added.kind,
        label=label(added.label),
        choices=list(added.choices),
        personal=added.personal,
        plugin=plugin,
        section=None if added.section is None else label(added.section),
    )


def label(said: sdk.Said) -> Label:
    """What a plugin says, as the manifest does."""
    return Label(en=said.en, fr=said.fr)


# --- what is done with it -----------------------------------------------------------------------


def draw(service: Any, session: Session, kind: RecordType, id: UUID, key: str) -> DrawnPanel:
    """What a panel shows beside a record, as the plugin that it comes from answers."""
    plugin = _plugin(key, service.added.panels_of(kind.name), "panel")
    _, name = key.split(".")
    facts = _facts(session, kind, id)
    drawn: sdk.Drawn | None = service.hooks.ask_one(plugin, "draw_panel", panel=name, record=facts)
    if drawn is None:
        raise Unavailable(f"The plugin {plugin} has nothing to show here right now")
    rows = [
        DrawnRow(label=label(row.label), value=row.value, tone=row.tone, link=row.link)
        for row in drawn.rows
    ]
    return DrawnPanel(rows=rows, note=None if drawn.note is None else label(drawn.note))


def changes_by(
    service: Any, session: Session, kind: RecordType, id: UUID, key: str, filled: FilledForm
) -> Mapping[str, Any]:
    """What an action changes of a record: values of fields that its plugin has added."""
    actions = {each: action for each, _, action in service.added.actions_of(kind.name)}
    plugin = _plugin(key, service.added.actions_of(kind.name), "action")
    form = _checked(actions[key], filled.form)
    facts = _facts(session, kind, id)
    hook = "do_action"
    answer: sdk.Done | sdk.Refused | None = service.hooks.ask_one(
        plugin, hook, action=actions[key].name, record=facts, form=form
    )
    if answer is None:
        raise Unavailable(f"The plugin {plugin} could not do this")
    if isinstance(answer, sdk.Refused):
        raise InvalidInput(f"The plugin {plugin} refused this", _refusals(session, answer))
    own = {added.name for added in custom.of_plugins(kind.name) if added.plugin == plugin}
    strange = sorted(answer.fields.keys() - own)
    if strange:
        service.hooks.refuse(hook, plugin, f"{strange[0]} is no field of its own")
        raise Unavailable(f"The plugin {plugin} could not do this")
    return answer.fields


def _plugin(key: str, known: Iterable[tuple[str, str, Any]], what: str) -> str:
    found = next((plugin for each, plugin, _ in known if each == key), None)
    if found is None:
        raise NotFound(f"There is no such {what} here")
    return found


def _facts(session: Session, kind: RecordType, id: UUID) -> sdk.RecordFacts:
    found = listing.read(session, kind, id)
    if found is None:
        raise NotFound(f"There is no such record in {kind.name}")
    return sdk.RecordFacts(kind.name, id, json.loads(found[0]))


def _checked(action: sdk.Action, given: Mapping[str, Any]) -> dict[str, Any]:
    """The form's values; what is missing, unknown or of another kind is named."""
    known = {asked.name: asked for asked in action.form}
    errors = [
        FieldError(f"form.{name}", "unknown", f"There is no field {name[:80]}")
        for name in given
        if name not in known
    ]
    values: dict[str, Any] = {}
    for name, asked in known.items():
        value = given.get(name)
        if value is None or value == "":
            values[name] = None
            if asked.required:
                errors.append(FieldError(f"form.{name}", "missing", f"{name} is required"))
            continue
        try:
            values[name] = custom.as_stored(_asked(action, asked), value)
        except ValueError as error:
            errors.append(FieldError(f"form.{name}", asked.kind, str(error)))
    if errors:
        raise InvalidInput("Some fields need another look", errors)
    return values


def _asked(action: sdk.Action, asked: sdk.FormField) -> PluginField:
    return PluginField(
        record=action.record,
        name=asked.name,
        kind=asked.kind,
        label=label(asked.label),
        choices=list(asked.choices),
        personal=False,
        plugin="",
        section=None,
    )


def _refusals(session: Session, refused: sdk.Refused) -> list[FieldError]:
    principal = context(session).principal
    french = principal is not None and principal.locale.startswith("fr")
    return [
        FieldError(f"form.{name}", "refused", said.fr if french else said.en)
        for name, said in refused.errors.items()
    ]
