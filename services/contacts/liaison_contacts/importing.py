"""What files may bring in: people and companies, each matched to those who are there already."""

import json
from collections.abc import Mapping, Sequence
from json.encoder import encode_basestring as encoded
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Table, Text, bindparam, func, insert, select, text
from sqlalchemy.orm import Session

from liaison_contacts import companies, parties, people
from liaison_contacts.companies import COMPANIES
from liaison_contacts.models import Company, Person
from liaison_contacts.owners import OWNERS
from liaison_contacts.people import PEOPLE
from liaison_kit.context import context
from liaison_kit.copies import ids_among
from liaison_kit.events.resend import batches
from liaison_kit.ids import uuid7
from liaison_kit.imports.drawing import Drawn
from liaison_kit.imports.fields import Batch, Importable, ImportField
from liaison_kit.listing import row_rule
from liaison_kit.records.search import digits, fold
from liaison_sdk.contracts import contacts as contract

# Other spellings, in English and French, of what a company does.
_INDUSTRIES: Mapping[str, Sequence[str]] = {
    "agriculture": ("agriculture & food", "agroalimentaire"),
    "automotive": ("automobile",),
    "construction": ("bâtiment", "BTP"),
    "consulting": ("conseil",),
    "education": ("enseignement", "formation"),
    "employment": ("recruitment", "staffing", "recrutement", "emploi"),
    "energy": ("énergie",),
    "entertainment": ("divertissement", "loisirs"),
    "finance": ("banking", "banque", "financial services"),
    "food": ("food & beverage", "alimentation"),
    "government": ("public sector", "secteur public", "administration"),
    "hospitality": ("hotels", "restaurants", "hôtellerie", "restauration"),
    "insurance": ("assurance",),
    "legal": ("law", "juridique"),
    "logistics": ("transport", "logistique"),
    "manufacturing": ("industry", "industrie"),
    "marketing": ("advertising", "publicité"),
    "media": ("médias", "publishing", "édition"),
    "medical": ("health", "healthcare", "santé"),
    "nonprofit": ("non-profit", "association", "charity"),
    "real_estate": ("real estate", "immobilier"),
    "retail": ("commerce", "distribution"),
    "services": ("business services", "services aux entreprises"),
    "software": ("logiciel", "IT"),
    "technology": ("tech", "technologie"),
    "telecommunications": ("telecom", "télécoms"),
    "other": ("autre",),
}


_person = Drawn(PEOPLE, contract.NewContact)
_company = Drawn(COMPANIES, contract.NewCompany)


def _field(name: str, en: str, fr: str, kind: Any = "text", **options: Any) -> ImportField:
    return ImportField(name, {"en": en, "fr": fr}, kind, **options)


_ADDRESS = ("street", "postal_code", "city", "region", "country")
_SHARED = (
    _field(
        "owner",
        "Owner",
        "Responsable",
        "reference",
        reference="users",
        column="owner_id",
        aliases=("account manager", "sales rep", "commercial"),
    ),
    _field(
        "email", "E-mail", "E-mail", "email", many=3, aliases=("mail", "e-mail address", "courriel")
    ),
    _field(
        "phone",
        "Phone",
        "Téléphone",
        "phone",
        many=3,
        aliases=("tel", "telephone", "mobile", "portable"),
    ),
    _field("fax", "Fax", "Fax", "phone", aliases=("télécopie",)),
    _field(
        "street", "Street", "Rue", max_length=200, aliases=("address", "adresse", "street address")
    ),
    _field(
        "postal_code",
        "Postal code",
        "Code postal",
        max_length=200,
        aliases=("zip", "zip code", "postcode", "cp"),
    ),
    _field("city", "City", "Ville", max_length=200, aliases=("town", "commune")),
    _field(
        "region", "Region", "Région", max_length=200, aliases=("state", "province", "département")
    ),
    _field("country", "Country", "Pays", max_length=60, aliases=("office location", "nation")),
    _person("tags", "labels", "keywords", "mots-clés"),
    _person("stage", "lifecycle", "status", "statut", default="lead"),
)
_EMAILS = ("email", "email_2", "email_3")
_PHONES = {"phone": "work", "phone_2": "work", "phone_3": "work", "fax": "other"}
_COVERED = frozenset(
    {"email", "email_2", "email_3", "phone", "phone_2", "phone_3", "fax", *_ADDRESS}
)
_EMPTY = {
    "emails": "'[]'",
    "phones": "'[]'",
    "addresses": "'[]'",
    "tags": "'{}'",
    "search": "' '",
    "keys": "'{}'",
}


def _people_columns(batch: Batch) -> dict[str, Sequence[str]]:
    first, last = batch.get("first_name"), batch.get("last_name")
    if "full_name" in batch.values:
        split = [name.rpartition(" ")[::2] for name in batch.get("full_name")]
        first = [name or s[0].strip() for name, s in zip(first, split, strict=True)]
        last = [name or s[1] for name, s in zip(last, split, strict=True)]
    return {"first_name": first, "last_name": last, **_reached(batch, first, last)}


def _company_columns(batch: Batch) -> dict[str, Sequence[str]]:
    return dict(_reached(batch, batch.get("name")))


def _reached(batch: Batch, *names: Sequence[str]) -> dict[str, Sequence[str]]:
    """E-mails, phones and addresses as the JSON that the table holds, and the search text."""
    columns: dict[str, Sequence[str]] = {}
    emails = [batch.values[name] for name in _EMAILS if name in batch.values]
    if emails:
        # An address that passed the check holds nothing that JSON would escape.
        columns["emails"] = _lists(
            [[f'{{"address":"{v}","kind":"work"}}' if v else "" for v in c] for c in emails]
        )
    numbers: list[list[str]] = []
    phones: list[list[str]] = []
    for name, kind in _PHONES.items():
        if name in batch.values:
            column = [parties.e164(v) if v else "" for v in batch.values[name]]
            numbers.append([digits(v) for v in column])
            phones.append([f'{{"number":"{v}","kind":"{kind}"}}' if v else "" for v in column])
    if phones:
        columns["phones"] = _lists(phones)
    if any(name in batch.values for name in _ADDRESS):
        columns["addresses"] = _addresses(batch)
    folded = [fold(" ".join(filter(None, parts))) for parts in zip(*names, strict=True)]
    found_by = list(zip(folded, *emails, *numbers, strict=True))
    columns["search"] = [f" {' '.join(filter(None, parts))} " for parts in found_by]
    # Folded names hold no control characters, but a quote or a backslash they may.
    columns["keys"] = _lists(
        [
            [encoded(v) if v else "" for v in folded],
            *([f'"{v}"' if v else "" for v in column] for column in (*emails, *numbers)),
        ]
    )
    return columns


def _lists(columns: Sequence[Sequence[str]]) -> list[str]:
    """Row by row a JSON list of what the columns hold, each thing once; blank when it is empty."""
    if len(columns) == 1:
        return [f"[{item}]" if item else "" for item in columns[0]]
    rows = (",".join(dict.fromkeys(filter(None, row))) for row in zip(*columns, strict=True))
    return [f"[{items}]" if items else "" for items in rows]


def _addresses(batch: Batch) -> list[str]:
    """Row by row the one address that a file gives, as a JSON list; blank where it gives none."""
    nothing = ['""'] * batch.size
    street, code, city, region, country = (
        [encoded(v) for v in batch.values[name]] if name in batch.values else nothing
        for name in _ADDRESS
    )
    blank = tuple('""' for _ in _ADDRESS)
    return [
        ""
        if row == blank
        else f'[{{"street":{row[0]},"postal_code":{row[1]},"city":{row[2]},"region":{row[3]},'
        f'"country":{row[4]},"kind":"work"}}]'
        for row in zip(street, code, city, region, country, strict=True)
    ]


def _unless_the_same(column: str, told: str) -> str:
    """SQL of a list after an update; one that begins with what the file says stays as it is.

    Files have no room for the kinds of addresses and numbers, nor for more than a few.
    """

    def begins(row: str) -> str:
        elements = f"jsonb_array_elements({row}.{column}) WITH ORDINALITY AS x(e, n)"
        few = f"n <= jsonb_array_length(s.{column})"
        return f"(SELECT jsonb_agg({told} ORDER BY n) FROM {elements} WHERE {few})"

    same = f"s.{column} IS NULL OR {begins('t')} = {begins('s')}"
    return f"CASE WHEN {same} THEN t.{column} ELSE s.{column} END"


_MERGED = {
    "emails": _unless_the_same("emails", "e -> 'address'"),
    "phones": _unless_the_same("phones", "e -> 'number'"),
    "addresses": _unless_the_same("addresses", "e - 'kind'"),
}


class CompaniesByName:
    """Finds, or makes, the company that a file names."""

    def resolve(self, session: Session, values: Sequence[str]) -> Mapping[str, str]:
        """The companies with these names, external ids or ids."""
        seen = parties.companies_seen.c
        given = func.any(bindparam("names", type_=ARRAY(Text)))
        orders = func.any(bindparam("orders", type_=ARRAY(Text)))
        # By the order there is an index.
        by_name = (seen.name_order == orders) & (seen.name == given)
        rows = session.execute(
            select(seen.id, seen.name, seen.external_id)
            .where(by_name | (seen.external_id == given))
            .order_by(seen.id.desc()),
            {"names": list(values), "orders": list({fold(value) for value in values})},
        )
        wanted = set(values)
        found: dict[str, str] = {}
        for id, name, external_id in rows:
            for known in (external_id, name):
                if known in wanted:
                    found[known] = str(id)
        return found | ids_among(session, select(seen.id), values)

    def names(self, session: Session, near: Sequence[str]) -> Sequence[str]:
        """Names to suggest from."""
        return list(session.scalars(select(parties.companies_seen.c.name).limit(20_000)))

    def create(self, session: Session, values: Sequence[str]) -> Mapping[str, str]:
        """New companies of these names."""
        about = context(session)
        # Who may only see their own rows would lose sight of a row that has no owner.
        narrowed = row_rule(session, COMPANIES)[0] != "all"
        rows: list[dict[str, Any]] = [
            {
                "id": uuid7(),
                "tenant_id": about.tenant,
                "version": 1,
                "custom": {},
                "created_at": about.now,
                "created_by": about.user,
                "updated_at": about.now,
                "updated_by": about.user,
                "name": name[:200],
                "owner_id": about.user if narrowed else None,
                "emails": [],
                "phones": [],
                "addresses": [],
                "tags": [],
                "stage": "lead",
                "search": parties.found_by((name,), {"emails": [], "phones": []}),
                "keys": [fold(name)],
            }
            for name in values
        ]
        session.execute(insert(Company), rows)
        companies.tell(session, [row["id"] for row in rows])
        return {name: str(row["id"]) for name, row in zip(values, rows, strict=True)}


def _people_saved(session: Session, created: Sequence[UUID], updated: Sequence[UUID]) -> None:
    _found_again(session, Person, ("first_name", "last_name"), updated)
    people.tell(session, [*created, *updated])


def _companies_saved(session: Session, created: Sequence[UUID], updated: Sequence[UUID]) -> None:
    _found_again(session, Company, ("name",), updated)
    companies.tell(session, [*created, *updated])


def _people_taken_back(session: Session, deleted: Sequence[UUID], restored: Sequence[UUID]) -> None:
    people.tell_removed(session, deleted)
    _people_saved(session, (), restored)


def _companies_taken_back(
    session: Session, deleted: Sequence[UUID], restored: Sequence[UUID]
) -> None:
    companies.tell_removed(session, deleted)
    _companies_saved(session, (), restored)


def _found_again(
    session: Session, model: Any, names: Sequence[str], updated: Sequence[UUID]
) -> None:
    """An update may leave parts of a record as they were: its search text is made of the whole."""
    table: Table = model.__table__
    for ids in batches(updated):
        rows = session.execute(
            select(table.c.id, table.c.emails, table.c.phones, *(table.c[n] for n in names)).where(
                table.c.id == func.any(list(ids))
            )
        ).all()
        reached = [{"emails": r.emails, "phones": r.phones} for r in rows]
        named = [[getattr(r, name) for name in names] for r in rows]
        session.execute(
            text(
                f"UPDATE {table.name} t SET search = s.search,"
                " keys = ARRAY(SELECT jsonb_array_elements_text(CAST(s.keys AS jsonb)))"
                " FROM unnest(CAST(:ids AS uuid[]), CAST(:texts AS text[]), CAST(:keys AS text[]))"
                " s(id, search, keys) WHERE t.id = s.id AND t.search <> s.search"
            ),
            {
                "ids": [r.id for r in rows],
                "texts": [parties.found_by(*pair) for pair in zip(named, reached, strict=True)],
                "keys": [
                    json.dumps(parties.keys(*pair)) for pair in zip(named, reached, strict=True)
                ],
            },
        )


_people = Person.__table__
_companies = Company.__table__
assert isinstance(_people, Table)
assert isinstance(_companies, Table)

CONTACTS = Importable(
    record="contacts",
    label={"en": "Contacts", "fr": "Contacts"},
    permission="contacts:write",
    table=_people,
    kind=PEOPLE,
    keys=("external_id",),
    references={"companies": CompaniesByName(), "users": OWNERS},
    columns=_people_columns,
    covers=_COVERED | {"first_name", "last_name", "full_name"},
    # A first or a last name is the least to know of somebody.
    on_insert=_EMPTY
    | {
        "first_name": "CASE WHEN s.last_name IS NOT NULL THEN '' END",
        "last_name": "CASE WHEN s.first_name IS NOT NULL THEN '' END",
    },
    merge=_MERGED,
    after_chunk=_people_saved,
    after_rollback=_people_taken_back,
    fields=(
        _person(
            "external_id",
            "id",
            "contact id",
            "customer id",
            "employee id",
            "reference",
            "référence",
        ),
        _person("first_name", "given name", "forename"),
        _person("last_name", "surname", "family name", "nom de famille"),
        _field(
            "full_name",
            "Full name",
            "Nom complet",
            max_length=400,
            aliases=("name", "contact name", "contact", "nom et prénom"),
        ),
        _person("title", "contact title", "position", "poste"),
        _field(
            "company",
            "Company",
            "Société",
            "reference",
            reference="companies",
            column="company_id",
            aliases=("company name", "account", "organisation", "entreprise", "raison sociale"),
        ),
        *_SHARED,
    ),
)

COMPANIES_IMPORT = Importable(
    record="companies",
    label={"en": "Companies", "fr": "Sociétés"},
    permission="companies:write",
    table=_companies,
    kind=COMPANIES,
    keys=("external_id", "name"),
    references={"companies": CompaniesByName(), "users": OWNERS},
    columns=_company_columns,
    covers=_COVERED,
    on_insert=_EMPTY,
    merge=_MERGED,
    after_chunk=_companies_saved,
    after_rollback=_companies_taken_back,
    fields=(
        _company(
            "external_id",
            "id",
            "company id",
            "customer id",
            "account id",
            "reference",
            "référence",
            "siren",
            "siret",
        ),
        _company(
            "name",
            "company",
            "company name",
            "account",
            "account name",
            "société",
            "entreprise",
            "raison sociale",
        ),
        _field(
            "parent",
            "Parent company",
            "Société mère",
            "reference",
            reference="companies",
            column="parent_id",
            aliases=("subsidiary of", "parent account", "maison mère", "filiale de"),
        ),
        _company("industry", "sector", "secteur d'activité", spellings=_INDUSTRIES),
        _company("website", "url", "web", "domain", kind="url"),
        _company("year_founded", "year established", "founded", "année de création"),
        _company("employees", "headcount", "number of employees", "salariés"),
        _company(
            "annual_revenue", "revenue", "turnover", "CA", currency_column="annual_revenue_currency"
        ),
        *_SHARED,
    ),
)
