"""Products: what is sold, and at what list price."""

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import exists, select
from sqlalchemy.orm import Session

from liaison_kit import records
from liaison_kit.events.outbox import emit
from liaison_kit.events.resend import batches
from liaison_kit.records import Held
from liaison_kit.records.recordtype import RecordType, money
from liaison_kit.records.search import search_text
from liaison_sales.models import Opportunity, Product
from liaison_sdk.contracts import sales as contract
from liaison_sdk.errors import Conflict, InvalidInput
from liaison_sdk.labels import Label
from liaison_sdk.types import Closed

CENT = Decimal("0.01")

PRODUCTS = RecordType(
    "products",
    Label(en="Product", fr="Produit"),
    model=Product,
    shape=contract.Product,
    columns={"list_price": money(Product.list_price_amount, Product.currency)},
    search=Product.search,
    restorable=True,
)


def create(session: Session, new: contract.NewProduct) -> Held[Product]:
    """Add a product."""
    values = _stored(new, set(type(new).model_fields) - {"custom"})
    values["search"] = found_by(values.get("name"), values.get("code"), values.get("family"))
    product = records.create(session, PRODUCTS, Product, **values, custom=new.custom or None)
    emit(session, contract.ProductsSaved(products=[reference(product)]))
    return product


def change(
    session: Session, id: UUID, version: int, changes: contract.ProductChanges
) -> Held[Product]:
    """Change what was sent, and nothing else."""
    product = records.load(session, PRODUCTS, Product, id, version)
    sent = changes.model_fields_set
    refuse_nulls(changes, "name", "active", "custom")
    values = _stored(changes, sent - {"custom"})
    values["search"] = found_by(
        *(values.get(name, getattr(product, name)) for name in ("name", "code", "family"))
    )
    if "custom" in sent:
        values["custom"] = changes.custom
    product, changed = records.change(session, PRODUCTS, product, values)
    if changed:
        emit(session, contract.ProductsSaved(products=[reference(product)]))
    return product


def remove(session: Session, id: UUID, version: int) -> None:
    """Delete a product that no opportunity is about; others are set inactive instead."""
    product = records.load(session, PRODUCTS, Product, id, version)
    if session.scalar(select(exists().where(Opportunity.product_id == id))):
        raise Conflict("Opportunities are about this product; set it inactive instead")
    records.remove(session, PRODUCTS, product)
    tell_removed(session, [id])


def tell(session: Session, ids: Sequence[UUID]) -> None:
    """Tell the other services what they keep of these products."""
    kept = (Product.id, Product.name, Product.external_id, Product.active, Product.version)
    for some in batches(ids):
        rows = session.execute(select(*kept).where(Product.id.in_(some)))
        told = [contract.ProductRef.model_construct(**row._mapping) for row in rows]
        emit(session, contract.ProductsSaved(products=told))


def tell_removed(session: Session, ids: Sequence[UUID]) -> None:
    """Tell the other services that these products are gone."""
    versions = records.removals(session, PRODUCTS, ids)
    for id in ids:
        emit(session, contract.ProductRemoved(product_id=id, record_version=versions.get(id)))


def reference(product: Held[Product]) -> contract.ProductRef:
    """The product as other services keep it."""
    return contract.ProductRef(
        id=product.id,
        name=product.name,
        external_id=product.external_id,
        active=product.active,
        version=product.version,
    )


def found_by(*parts: str | None) -> str:
    """What a product is found by."""
    return search_text(parts)


def refuse_nulls(changes: Closed, *names: str) -> None:
    """Null clears a field; these can't be clear."""
    for name in names:
        if name in changes.model_fields_set and getattr(changes, name) is None:
            raise InvalidInput.field(name, "missing", f"{name} can't be empty")


def _stored(given: Closed, names: Iterable[str]) -> dict[str, Any]:
    values = {name: getattr(given, name) for name in names}
    if "list_price" in values:
        price = values.pop("list_price")
        values["list_price_amount"] = price.amount.quantize(CENT) if price else None
        values["currency"] = price.currency if price else None
    return values
