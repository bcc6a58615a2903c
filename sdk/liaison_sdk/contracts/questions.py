"""Questions that one service asks another, over RPC."""

from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, Field

from liaison_sdk.types import Closed


class Names(Closed):
    """Records that another service knows by name only."""

    names: Annotated[list[str], Field(max_length=200_000)]


class Ids(Closed):
    """Records of another service; in an answer, those of them that there are."""

    ids: Annotated[list[UUID], Field(max_length=1000)]


class FoundIds(BaseModel):
    """The ids of the records that were found, by the name that was asked for."""

    found: dict[str, UUID]
