"""Resources: what every kind of record is asked to do, from one declaration.

    class Sales(Service):
        resources = (
            Resource(PRODUCTS, "product", contract.NewProduct, contract.ProductChanges, products),
        )

makes `list_products`, `create_product`, `get_product`, `change_product`, `delete_product` and
`restore_product`, under `/products`, `export_products`, `change_many_products`, and where the kind
has boards `show_products_board` and `move_product_card`. A service that has an operation of that
name of its own keeps it: it does something more. Where files may belong to its records, it lists
and keeps those as well (`records.attachments`).

What people call the kind is said here once (`called`, `words`), and how others are told of it by
its rules; the service's records, permissions, menu, live events, imports and what it tells again
follow.

`declaration` says what there is to say, `operations` draws the operations from it.
"""

from liaison_kit.resources.declaration import TIDIES, Resource

__all__ = ["TIDIES", "Resource"]
