"""What modules tell of lists that were taken out as files, for the audit trail.

Each tells it in its own name: the source of the event is who made the file.
"""

from typing import ClassVar
from uuid import UUID

from liaison_sdk.events import Event


class ListExported(Event):
    """Somebody has had a file made of a list: of which records, by which filters, how many.

    What the filters of personal fields and the search were is left out: nobody is named here.
    """

    source: ClassVar[str] = "exports"
    type: ClassVar[str] = "list_exported"
    key_field: ClassVar[str | None] = "export_id"

    export_id: UUID
    record: str
    format: str
    filters: list[str]
    fields: list[str]
    rows: int
