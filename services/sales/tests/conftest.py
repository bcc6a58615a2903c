"""A tenant of its own for each test, on the sales service's real database."""

import datetime as dt
from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from liaison_kit.calls.wire import Reply
from liaison_kit.context import Context
from liaison_kit.database.database import Database
from liaison_kit.ids import uuid7
from liaison_kit.plugins import Hooks
from liaison_kit.testing import at_work, call, principal
from liaison_sales import pipelines
from liaison_sales.accounts import ACCOUNTS
from liaison_sales.reps import REPS
from liaison_sales.service import Sales
from liaison_sdk.contracts.contacts import CompanyRef
from liaison_sdk.contracts.identity import UserRef


def nobody_knows(_service: str, operation: str, *_rest: Any) -> bytes:
    """What other services answer about records that nobody has: this service's edge."""
    answers = {
        "known_people": b'{"ids": []}',
        "known_companies": b'{"companies": []}',
        "known_users": b'{"users": []}',
    }
    return answers[operation]


class Desk:
    """Somebody at work in a tenant: calls operations as the bus would."""

    def __init__(self, db: Database, who: Any) -> None:
        self.db = db
        self.who = who
        self.hooks = Hooks("sales", 0.5)
        known = staticmethod(nobody_knows)
        self.service = at_work(Sales, db, hooks=self.hooks, ask=known)
        with db.writing(Context(tenant=who.tenant)) as session:
            pipelines.start(session, "en")

    def context(self) -> Context:
        """What each transaction is about."""
        return Context(tenant=self.who.tenant, principal=self.who)

    def call(self, name: str, body: bytes = b"", if_match: int | None = None, **meta: Any) -> Reply:
        """The reply of an operation, whatever it is."""
        return call(self.service, name, self.who, body, if_match=if_match, **meta)

    def user(self, name: str, region: str | None = None, **facts: Any) -> UUID:
        """A user that identity has told of."""
        id = uuid7()
        values = {"team_id": None, "team": region, "manager_id": None, "manager": None} | facts
        ref = UserRef.model_validate(
            {"id": id, "name": name, "email": None, "region": region, "active": True, "version": 1}
            | values
        )
        with self.db.writing(self.context()) as session:
            REPS.learn(session, [ref])
        return id

    def company(self, name: str, **facts: Any) -> UUID:
        """A company that contacts has told of."""
        id = uuid7()
        values = {"external_id": None, "owner_id": None} | facts
        ref = CompanyRef.model_validate({"id": id, "name": name, "version": 1} | values)
        with self.db.writing(self.context()) as session:
            ACCOUNTS.learn(session, [ref])
        return id


@pytest.fixture
def desk(database: Callable[[str], Database]) -> Desk:
    """Somebody of a new tenant who may do everything."""
    return Desk(database("sales"), principal())


@pytest.fixture
def today() -> dt.date:
    """The day in UTC."""
    return dt.datetime.now(dt.UTC).date()
