"""Looking: a screen says which record it shows, and asks who else looks at it."""

import json
import time
from typing import Annotated, Any
from uuid import UUID

from pydantic import StringConstraints, ValidationError

from liaison_gateway.auth import Caller
from liaison_gateway.bus import Bus, Target
from liaison_gateway.incoming import LONGEST_SHOWN, Incoming
from liaison_gateway.manifests import Registry
from liaison_gateway.onlookers import SAY_AGAIN_S, Onlookers, Place
from liaison_gateway.problems import ModuleDown
from liaison_sdk.errors import BadRequest, FieldError, Forbidden, InvalidInput, NotFound
from liaison_sdk.types import Closed

SCREEN = r"^[A-Za-z0-9_-]{1,64}$"
PARAMETERS = ("record", "id")
NO_SUCH = "There is no such record"


class Look(Closed):
    """What a screen says: what it is called, which record it shows, and whether it types.

    A screen that shows none says so by null.
    """

    screen: Annotated[str, StringConstraints(pattern=SCREEN)]
    record: str | None
    id: UUID | None
    typing: bool = False


class Looking:
    """Takes in what screens say, once the module that has the record lets their person read it."""

    def __init__(self, registry: Registry, bus: Bus, onlookers: Onlookers) -> None:
        self._registry = registry
        self._bus = bus
        self._onlookers = onlookers
        self._targets: dict[str, Target] = {}

    async def say(self, incoming: Incoming, caller: Caller, body: bytes) -> dict[str, Any]:
        """A screen shows a record, or none any more; gives who else looks at it."""
        look = _read(body)
        if look.record is None or look.id is None:
            self._onlookers.leave(caller, look.screen)
            return _told(None, [])
        place = await self._place(incoming, caller, look.record, look.id)
        self._onlookers.say(caller, look.screen, place, look.typing)
        return _told(place, self._onlookers.faces(caller, place))

    async def ask(self, incoming: Incoming, caller: Caller) -> dict[str, Any]:
        """Who else looks at a record."""
        record, id = _asked(incoming)
        place = await self._place(incoming, caller, record, id)
        return _told(place, self._onlookers.faces(caller, place))

    async def _place(self, incoming: Incoming, caller: Caller, record: str, id: UUID) -> Place:
        """The record, if it is there and the caller may read it."""
        owner = self._registry.owner_of(record)
        if owner is None:
            said = f"No module that is here has records {record[:LONGEST_SHOWN]!r}"
            raise InvalidInput.field("record", "unknown_record", said)
        service, permission = owner
        assert caller.tenant is not None
        place = Place(caller.tenant, record, str(id))
        if not caller.may(permission):
            self._onlookers.refused(caller, place)
            raise Forbidden(f"Your role needs the permission {permission}.")
        if not self._onlookers.may(caller, place):
            await self._ask_owner(incoming, caller, place, service)
        return place

    async def _ask_owner(
        self, incoming: Incoming, caller: Caller, place: Place, service: str
    ) -> None:
        if not self._registry.answers(service):
            raise ModuleDown(f"The module {service} is not running.", service)
        target = self._targets.setdefault(service, Target(service, "may_read", safe=True))
        incoming.principal = caller.principal
        body = json.dumps({"record": place.record, "id": place.id}).encode()
        asked_at = time.time()
        reply = await self._bus.call(target, incoming.head(query=[]), body, incoming.time_left())
        if reply.head.status in (403, 404):
            self._onlookers.refused(caller, place)
            raise NotFound(NO_SUCH)
        if reply.head.status >= 400:
            raise ModuleDown(f"The module {service} cannot tell who may read this.", service)
        self._onlookers.checked(caller, place, asked_at)


def _told(place: Place | None, faces: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "record": None if place is None else place.record,
        "id": None if place is None else place.id,
        "faces": faces,
        "say_again_s": SAY_AGAIN_S,
    }


def _read(body: bytes) -> Look:
    if not body:
        raise BadRequest("Send a JSON body")
    try:
        look = Look.model_validate_json(body, strict=True)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)
        if any(detail["type"] == "json_invalid" for detail in details):
            raise BadRequest(f"The body is not JSON: {details[0]['msg']}") from None
        errors = [
            FieldError(".".join(map(str, d["loc"])) or "body", d["type"], d["msg"]) for d in details
        ]
        raise InvalidInput("Some fields need another look", errors) from None
    if (look.record is None) != (look.id is None):
        missing = "record" if look.record is None else "id"
        said = "A record is named by its kind and its id; a screen that shows none says both null"
        raise InvalidInput.field(missing, "missing", said)
    return look


def _asked(incoming: Incoming) -> tuple[str, UUID]:
    errors = [
        FieldError(name, "unknown_parameter", f"There is no parameter {name[:LONGEST_SHOWN]}")
        for name, _ in incoming.query
        if name not in PARAMETERS
    ]
    record, given = incoming.parameter("record"), incoming.parameter("id")
    id: UUID | None = None
    if not record:
        errors.append(FieldError("record", "missing", "Name the kind of record, as in contacts"))
    try:
        id = UUID(given or "")
    except ValueError:
        errors.append(FieldError("id", "uuid_parsing", "id is the id of a record"))
    if errors or record is None or id is None:
        raise InvalidInput("Some parameters need another look", errors)
    return record, id
