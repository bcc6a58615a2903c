"""Mine: named lists of what is somebody's own, which the workspace shows them first."""

from collections.abc import Mapping
from dataclasses import dataclass

from liaison_kit.records.recordtype import RecordType
from liaison_sdk.labels import Label


@dataclass(frozen=True, eq=False)
class Mine:
    """A list by its name, and what it is asked for; `me` in it is whoever looks.

    Mine("open", Label(…), OPPORTUNITIES, {"owner_id": "me", "status": "open"})
    """

    name: str
    label: Label
    kind: RecordType
    query: Mapping[str, str]
