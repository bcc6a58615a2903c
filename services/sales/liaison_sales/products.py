"""Products: what is sold, and at what list price."""

from uuid import UUID

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from liaison_kit.events.resend import told_by
from liaison_kit.records.plain import Plain
from liaison_kit.records.recordtype import RecordType, money
from liaison_sales.models import Opportunity, Product
from liaison_sdk.contracts import sales as contract
from liaison_sdk.errors import Conflict
from liaison_sdk.labels import Label

PRODUCTS = RecordType(
    "products",
    Label(en="Product", fr="Produit"),
    model=Product,
    shape=contract.Product,
    columns={"list_price": money(Product.list_price_amount, Product.currency)},
    restorable=True,
    subtitle=("code", "family"),
)
TOLD = told_by(PRODUCTS, contract.ProductsSaved, contract.ProductRemoved)


class Products(Plain):
    """A product that opportunities are about stays; it is set inactive instead."""

    def remove(self, session: Session, id: UUID, version: int) -> None:
        """Delete a product that no opportunity is about."""
        if session.scalar(select(exists().where(Opportunity.product_id == id))):
            raise Conflict("Opportunities are about this product; set it inactive instead")
        super().remove(session, id, version)


RULES = Products(PRODUCTS, TOLD)
