"""A process of the next version of sales.

It offers an operation more, and in one that there was an optional field more.
"""

# First: what is imported before it stays unpatched.
from liaison_kit import serve

# isort: split

from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from liaison_kit.calls.operations import Operation, get, post
from liaison_kit.calls.wire import Raw, Version
from liaison_sales.service import Sales
from liaison_sdk.contracts.sales import Opportunity, Win

BEFORE: Operation = Sales.win_opportunity.operation  # type: ignore[attr-defined]


class WinRemarked(Win):
    """An opportunity is won, with a word about how."""

    remark: str | None = None


class NextSales(Sales):
    """Sales, one version on."""

    version = "99.0.0"

    @get("/sales/next", allow="opportunities:read")
    def what_is_next(self) -> Raw[Any]:
        """Only the next version knows."""
        return Raw(b'"next"')

    @post("/opportunities/{id}/win", allow="opportunities:write", status=200, problems=[404, 409])
    def win_opportunity(
        self, session: Session, id: UUID, win: WinRemarked, version: Version
    ) -> Raw[Opportunity]:
        """Win an open opportunity."""
        plain = Win.model_validate(win.model_dump(exclude={"remark"}, exclude_unset=True))
        won: Raw[Opportunity] = BEFORE.function(self, session, id, plain, version)
        return won


if __name__ == "__main__":
    serve.services = lambda: {"sales": "next_sales:NextSales"}
    serve.main(["sales"])
