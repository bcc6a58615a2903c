"""Products: what is sold, and at what list price."""

from liaison_kit.events.resend import told_by
from liaison_kit.records.plain import Plain
from liaison_kit.records.recordtype import RecordType, money
from liaison_sales.models import Product
from liaison_sdk.contracts import sales as contract
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
RULES = Plain(PRODUCTS, TOLD)
