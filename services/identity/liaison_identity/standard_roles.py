"""The roles that each tenant starts with, in the words of the shipped modules.

Whoever sees a list may not take it out of the house for that: reps, agents and readers don't.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from liaison_sdk.contracts.identity import RowRule


def both(*records: str) -> list[str]:
    return [f"{record}:{verb}" for record in records for verb in ("read", "write")]


def read(*records: str) -> list[str]:
    return [f"{record}:read" for record in records]


def export(*records: str) -> list[str]:
    return [f"{record}:export" for record in records]


PEOPLE = ("contacts", "companies")
MERGING = ("contacts:merge", "companies:merge")
SELLING = ("opportunities", "leads", "activities", "quotes", "orders")
CATALOGUE = ("products", "pipelines")
MARKETING = ("segments", "templates", "campaigns", "journeys", "messages", "forms")
SUPPORT = ("tickets", "tasks", "articles", "conversations", "surveys")
FURTHER: tuple[str, ...] = ()
"""Kinds of record of other modules: for whoever works with people and companies."""

FIGURES = ("indicators", "reports", "dashboards")
STAFF = ("users", "teams")


@dataclass(frozen=True, slots=True)
class Standard:
    """A role that each tenant starts with; `key` is its external id, so that it may be renamed."""

    key: str
    en: str
    fr: str
    permissions: Iterable[str]
    rows: dict[str, RowRule]


def _in_rows(rule: RowRule) -> dict[str, RowRule]:
    return dict.fromkeys(SELLING, rule)


_EVERYDAY = (*read(*STAFF, "custom_fields", "history"), *both("jobs"))

STANDARD = (
    Standard("administrator", "Administrator", "Administrateur", ("*",), {}),
    Standard(
        "sales_manager",
        "Sales manager",
        "Responsable commercial",
        (
            *both(*PEOPLE, *FURTHER, *SELLING, *CATALOGUE, *FIGURES, "imports", "flows"),
            *MERGING,
            "views:share",
            *export(*PEOPLE, *FURTHER, "opportunities", *CATALOGUE),
            *_EVERYDAY,
        ),
        _in_rows("team"),
    ),
    Standard(
        "sales_rep",
        "Sales rep",
        "Commercial",
        (*both(*PEOPLE, *FURTHER, *SELLING), *read(*CATALOGUE, *FIGURES), *_EVERYDAY),
        _in_rows("own"),
    ),
    Standard(
        "marketer",
        "Marketer",
        "Chargé de marketing",
        (
            *both(*PEOPLE, *FURTHER, *MARKETING, "leads", "imports", "flows"),
            *MERGING,
            "views:share",
            *export(*PEOPLE, *FURTHER),
            *read("opportunities", "products", *FIGURES),
            *_EVERYDAY,
        ),
        {},
    ),
    Standard(
        "support_agent",
        "Support agent",
        "Agent de support",
        (
            *both(*SUPPORT, *FURTHER, "contacts"),
            *read("companies", "opportunities", "orders", "products"),
            *_EVERYDAY,
        ),
        {},
    ),
    Standard(
        "privacy_officer",
        "Privacy officer",
        "Délégué à la protection des données",
        (
            *read(*PEOPLE, *FURTHER, *SELLING, *MARKETING, *SUPPORT),
            *both("privacy"),
            *export(*PEOPLE, *FURTHER, "opportunities"),
            *read("audit"),
            *_EVERYDAY,
        ),
        {},
    ),
    Standard(
        "read_only",
        "Read-only",
        "Lecture seule",
        read(
            *PEOPLE,
            *FURTHER,
            *SELLING,
            *CATALOGUE,
            *MARKETING,
            *SUPPORT,
            *FIGURES,
            *STAFF,
            "roles",
            "custom_fields",
            "history",
            "jobs",
        ),
        {},
    ),
)
