"""Questions that one service asks another, over RPC."""

from typing import Annotated
from uuid import UUID

from pydantic import BaseModel, Field

from liaison_sdk.contracts.contacts import CompanyRef, PersonRef
from liaison_sdk.contracts.identity import UserRef
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


class KnownCompanies(BaseModel):
    """Companies that were asked for by their ids, as far as who asks may see them."""

    companies: list[CompanyRef]


class KnownContacts(BaseModel):
    """People who were asked for by their ids, as far as who asks may see them."""

    contacts: list[PersonRef]


class KnownUsers(BaseModel):
    """Users who were asked for by their ids."""

    users: list[UserRef]
