"""What every kind of record has beside its own fields: as it is sent, read and told.

    class NewVehicle(NewOwned):
        name: Name

    class VehicleChanges(NewVehicle):
        name: Name = "-"

    class Vehicle(OwnedRecord):
        name: str = field("Name", "Nom", searchable=True, sortable=True)

Readers get a record's own fields first, whatever their order in the class is.
"""

import datetime as dt
from typing import Annotated, Any
from uuid import UUID

from pydantic import BaseModel, Field

from liaison_sdk.types import Closed, ExternalId, field

Custom = Annotated[dict[str, Any], Field(max_length=100)]
"""Values of the fields that a tenant has added, by their names."""


class NewRecord(Closed):
    """What is sent to add a record."""

    external_id: ExternalId | None = None
    custom: Custom = Field(default_factory=dict)


class KeptRecord(BaseModel):
    """A record as its readers get it."""

    id: UUID
    external_id: str | None = field("External id", "Identifiant externe")
    custom: dict[str, Any] = field("Custom fields", "Champs personnalisés", filterable=False)
    version: int = field("Version", "Version", filterable=False)
    created_at: dt.datetime = field("Created", "Créé le", sortable=True)
    created_by: UUID | None = field("Created by", "Créé par")
    updated_at: dt.datetime = field("Changed", "Modifié le", sortable=True)
    updated_by: UUID | None = field("Changed by", "Modifié par")


class NewOwned(NewRecord):
    """What is sent to add a record that belongs to somebody."""

    owner_id: UUID | None = None


class OwnedRecord(KeptRecord):
    """A record that belongs to somebody, as its readers get it."""

    owner_id: UUID | None = field("Owner", "Responsable")
    owner_name: str | None = field("Owner name", "Nom du responsable", filterable=False)


class RecordRef(BaseModel):
    """A record as other services keep it."""

    id: UUID
    name: str
    version: int


class Attachment(BaseModel):
    """A file that belongs to a record; `about` is its kind, size in bytes."""

    id: UUID
    about: str
    about_id: UUID
    name: str
    content_type: str
    size: int
    created_at: dt.datetime
    created_by: UUID | None
