"""Every service's database is what its models declare: columns are declared once."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

import pytest

from liaison_kit.agreement import Found, FoundColumn, differences, looked_at
from liaison_kit.database.migrations import Roles, services


def service(name: str) -> Any:
    place, _, class_name = services()[name].partition(":")
    return getattr(import_module(place), class_name)


@pytest.mark.parametrize("name", sorted(services()))
def test_the_migrated_database_is_what_the_models_ask_for(
    name: str, migrated: Callable[[str], Roles]
) -> None:
    lacking = differences(service(name), looked_at(migrated(name).owner))

    assert lacking.by_hand == []
    assert lacking.calls == [], f'run: make migration SERVICE={name} MESSAGE="…"'


@pytest.fixture(scope="module")
def sales(migrated: Callable[[str], Roles]) -> Found:
    """The database of sales, as it should be."""
    return looked_at(migrated("sales").owner)


def _changed(found: Found, table: str, **columns: FoundColumn | None) -> Found:
    """What there would be with these columns otherwise; None for none."""
    kept = {**found.tables[table], **columns}
    held = {name: column for name, column in kept.items() if column is not None}
    return Found(
        {**found.tables, table: held},
        found.views,
        found.held_apart,
        found.indexes,
        found.triggers,
        found.sources,
    )


def test_a_column_that_a_model_has_gained_is_added_with_what_hangs_on_it(sales: Found) -> None:
    lacking = differences(service("sales"), _changed(sales, "opportunities", contact_id=None))

    assert lacking.calls == [
        'add_column(op, "opportunities", "contact_id uuid")',
        'index(op, "opportunities", "contact_id")',
        'lands(op, "opportunities", "contact_id")',
    ]


def test_what_takes_two_releases_is_not_drawn_but_said(sales: Found) -> None:
    gone = FoundColumn("text", nullable=False, has_default=False)

    found = _changed(sales, "products", name=None, code=FoundColumn("uuid", True, False), old=gone)
    lacking = differences(service("sales"), found)

    assert [said.partition(" ")[0] for said in lacking.by_hand] == [
        "products.name",
        "products.code",
        "products.old",
    ]


def test_what_is_searched_by_other_columns_is_made_anew(sales: Found) -> None:
    others = Found(
        sales.tables,
        sales.views,
        sales.held_apart - {"stages"},
        sales.indexes - {"ix_products_updated"},
        sales.triggers,
        {**sales.sources, "search_products": "something else"},
    )

    lacking = differences(service("sales"), others)

    assert lacking.calls == [
        'record_indexes(op, "products")',
        'searched(op, "products", "name", "code", "family", refill=True)',
        'enable_tenancy(op, "stages")',
    ]
