"""What files may bring in: people and companies, each matched to those who are there already."""

import json
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import ARRAY, Table, Text, bindparam, func, insert, select, text
from sqlalchemy.orm import Session

from liaison_contacts import beside, companies, naming, parties, people, reached
from liaison_contacts.companies import COMPANIES
from liaison_contacts.models import Company, Person
from liaison_contacts.owners import OWNERS
from liaison_contacts.people import PEOPLE
from liaison_contacts.vocabulary import SALUTATIONS, Words, also_of
from liaison_kit.context import context
from liaison_kit.copies import ids_among
from liaison_kit.events.resend import batches
from liaison_kit.ids import uuid7
from liaison_kit.imports.converting import BETWEEN
from liaison_kit.imports.drawing import Drawn
from liaison_kit.imports.fields import Batch, Importable, ImportField
from liaison_kit.imports.references import one_each
from liaison_kit.listing import row_rule
from liaison_kit.records.search import fold
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


# What other tools call the stages. An evangelist is a customer who speaks for us; of whom another
# tool knows no more than that they are something else, less is known than of a subscriber.
_STAGES: Mapping[str, Sequence[str]] = {
    "visitor": ("other", "autre"),
    "subscriber": ("newsletter", "abonnée", "inscrit"),
    "lead": ("new", "open", "prospect", "piste"),
    "mql": ("marketingqualifiedlead", "marketing qualified", "marketing-qualified lead",
            "lead qualifié marketing"),
    "sql": ("salesqualifiedlead", "sales qualified", "sales-qualified lead", "qualified",
            "lead qualifié ventes", "lead qualifié commercial"),
    "opportunity": ("deal", "affaire"),
    "customer": ("evangelist", "client", "cliente", "active customer", "ambassadeur", "évangéliste",
                 "partner customer"),
    "churned": ("former_customer", "former customer", "lost customer", "churn",
                "ancienne cliente", "ancien client"),
}  # fmt: skip

_person = Drawn(PEOPLE, contract.NewContact)
_company = Drawn(COMPANIES, contract.NewCompany)


def _field(name: str, en: str, fr: str, kind: Any = "text", **options: Any) -> ImportField:
    return ImportField(name, {"en": en, "fr": fr}, kind, **options)


def _of_company(name: str, en: str, fr: str, *aliases: str, **options: Any) -> ImportField:
    """A fact about the company that a person works for."""
    return _field(f"company_{name}", en, fr, aliases=aliases, beside=True, further=True, **options)


_FACTS = (
    _of_company("annual_revenue", "Company's annual revenue", "Chiffre d'affaires de la société",
                "annual revenue", "company annual revenue", "company revenue", "chiffre d'affaires",
                "CA annuel", kind="money", minimum=Decimal(0)),
    _of_company("website", "Company's website", "Site web de la société", "company website",
                "company domain", "company domain name", "company url", kind="url",
                max_length=200),
    _of_company("industry", "Company's industry", "Secteur de la société", "industry",
                "company industry", "secteur", "secteur d'activité", kind="choice",
                choices=_INDUSTRIES),
    _of_company("employees", "Company's employees", "Effectif de la société", "employees",
                "company size", "number of employees", "effectif", kind="integer",
                minimum=Decimal(0), maximum=Decimal(10_000_000)),
    _of_company("external_id", "Company's external id", "Identifiant externe de la société",
                "company id", "associated company id", "associated company ids",
                "primary associated company id", "account id", "organization id", max_length=200),
)  # fmt: skip


_PERSON = ("person", "contact")
_COMPANY = ("company", "organization", "organisation", "account", "société", "entreprise")


def _shared(things: Words) -> tuple[ImportField, ...]:
    """What people and companies share; `things` is what files call such a record."""

    def said(*aliases: str) -> tuple[str, ...]:
        return also_of(things, aliases)

    return (
        _field(
            "owner",
            "Owner",
            "Responsable",
            "reference",
            reference="users",
            column="owner_id",
            aliases=said("owner", "owner name", "owner email", "record owner", "account manager",
                         "sales rep", "sales owner", "salesperson", "lead owner", "assigned to",
                         "commercial",
                         "propriétaire", "responsable commercial", "account owner"),
        ),
        *reached.fields(things),
        _person("tags", *said("tag", "labels", "label", "keywords", "mots-clés", "mot clé",
                              "category", "categories", "catégorie", "catégories", "libellés",
                              "libellé", "groups", "group membership", "groupes", "étiquettes")),
        _person(
            "stage",
            *said("lifecycle", "lifecycle stage", "status", "statut", "stage", "phase du cycle",
                  "phase du cycle de vie"),
            default="lead",
            spellings=_STAGES,
        ),
        _field("notes", "Notes", "Notes", max_length=20_000, beside=True,
               aliases=said("note", "notes", "comment", "comments", "remarks", "remark",
                            "observations", "description", "memo", "commentaire", "commentaires",
                            "remarque", "remarques", "annotations")),
    )  # fmt: skip


_WEBSITES = ("website", "website_2", "website_3")
_EMPTY = {
    "emails": "'[]'",
    "phones": "'[]'",
    "addresses": "'[]'",
    "tags": "'{}'",
    "search": "''",
    "keys": "'{}'",
}


_WHOLE_NAMES = {"full_name": naming.split, "last_first_name": naming.split_last_first}
"""Fields that hold first and last name, and what tells them apart."""


def _people_columns(batch: Batch) -> dict[str, Sequence[str]]:
    first, last = batch.get("first_name"), batch.get("last_name")
    for name, split_of in _WHOLE_NAMES.items():
        if name not in batch.values:
            continue
        split = split_of(batch.get(name))
        first = [name or s[0] for name, s in zip(first, split, strict=True)]
        last = [name or s[1] for name, s in zip(last, split, strict=True)]
    found = {"first_name": first, "last_name": last, **reached.columns(PEOPLE, batch, first, last)}
    sites = [batch.values[name] for name in _WEBSITES if name in batch.values]
    if sites:
        rows = (BETWEEN.join(filter(None, row)) for row in zip(*sites, strict=True))
        found["websites"] = [
            json.dumps(list(dict.fromkeys(row.split(BETWEEN)))) if row else "" for row in rows
        ]
    return found


def _company_columns(batch: Batch) -> dict[str, Sequence[str]]:
    return reached.columns(COMPANIES, batch, batch.get("name"))


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
    # A file may leave parts of a record as they were: the database makes the text of the whole.
    "search": "t.search",
}


class CompaniesByName:
    """Finds, or makes, the company that a file names."""

    def resolve(self, session: Session, values: Sequence[str]) -> Mapping[str, str]:
        """The companies with these names, external ids or ids."""
        seen = parties.companies_seen.c
        folded = {fold(value) for value in values}
        given = func.any(bindparam("values", type_=ARRAY(Text)))
        orders = func.any(bindparam("orders", type_=ARRAY(Text)))
        rows = session.execute(
            select(seen.id, seen.name_order, seen.external_id).where(
                (seen.name_order == orders) | (seen.external_id == given)
            ),
            {"values": list(values), "orders": list(folded)},
        ).all()
        called = one_each((name, str(id)) for id, name, _ in rows)
        named = {value: called[fold(value)] for value in values if fold(value) in called}
        wanted = set(values)
        numbered = {number: str(id) for id, _, number in rows if number in wanted}
        return named | numbered | ids_among(session, select(seen.id), values)

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
                "search": "",
                "keys": [fold(name)],
            }
            for name in values
        ]
        session.execute(insert(Company), rows)
        companies.tell(session, [row["id"] for row in rows])
        return {name: str(row["id"]) for name, row in zip(values, rows, strict=True)}


def _people_saved(session: Session, created: Sequence[UUID], updated: Sequence[UUID]) -> None:
    _compared_again(session, Person, ("first_name", "last_name"), updated)
    people.tell(session, [*created, *updated])


def _companies_saved(session: Session, created: Sequence[UUID], updated: Sequence[UUID]) -> None:
    _compared_again(session, Company, ("name",), updated)
    companies.tell(session, [*created, *updated])


def _people_taken_back(session: Session, deleted: Sequence[UUID], restored: Sequence[UUID]) -> None:
    people.tell_removed(session, deleted)
    _people_saved(session, (), restored)


def _companies_taken_back(
    session: Session, deleted: Sequence[UUID], restored: Sequence[UUID]
) -> None:
    companies.tell_removed(session, deleted)
    _companies_saved(session, (), restored)


def _compared_again(
    session: Session, model: Any, names: Sequence[str], updated: Sequence[UUID]
) -> None:
    """An update may leave parts of a record as they were: its keys are made of the whole."""
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
                f"UPDATE {table.name} t SET keys = s.keys FROM (SELECT id,"
                " ARRAY(SELECT jsonb_array_elements_text(CAST(keys AS jsonb))) AS keys"
                " FROM unnest(CAST(:ids AS uuid[]), CAST(:keys AS text[])) g(id, keys)) s"
                " WHERE t.id = s.id AND t.keys <> s.keys"
            ),
            {
                "ids": [r.id for r in rows],
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
    covers=reached.COVERED | {"first_name", "last_name", *_WHOLE_NAMES, *_WEBSITES},
    # A first or a last name is the least to know of somebody.
    on_insert=_EMPTY
    | {
        "languages": "'{}'",
        "websites": "'{}'",
        "first_name": "CASE WHEN s.last_name IS NOT NULL THEN '' END",
        "last_name": "CASE WHEN s.first_name IS NOT NULL THEN '' END",
    },
    missing={"first_name": "A person needs a first or a last name"},
    merge=_MERGED,
    after_chunk=_people_saved,
    after_rollback=_people_taken_back,
    beside=beside.of_people,
    beside_undone=beside.Notes.take_back,
    takes_notes=True,
    fields=(
        _person(
            "external_id",
            *also_of(
                _PERSON,
                (
                    "id",
                    "record id",
                    "uid",
                    "customer id",
                    "employee id",
                    "client id",
                    "reference",
                    "référence",
                    "identifiant",
                    "code client",
                    "numéro client",
                    "n° client",
                ),
            ),
        ),
        _person(
            "first_name",
            *also_of(
                _PERSON,
                (
                    "first name",
                    "given name",
                    "forename",
                    "first",
                    "prénom",
                    "prénoms",
                    "prénom usuel",
                ),
            ),
        ),
        _person(
            "last_name",
            *also_of(
                _PERSON,
                ("last name", "surname", "family name", "last", "nom", "nom de famille"),
            ),
        ),
        _field(
            "full_name",
            "Full name",
            "Nom complet",
            max_length=200,
            aliases=also_of(
                _PERSON,
                (
                    "",
                    "name",
                    "contact name",
                    "contact",
                    "display name",
                    "file as",
                    "prénom nom",
                    "prénom et nom",
                    "nom du contact",
                ),
            ),
        ),
        _field(
            "last_first_name",
            "Last and first name",
            "Nom et prénom",
            max_length=200,
            aliases=also_of(
                _PERSON,
                (
                    "nom prénom",
                    "nom et prénoms",
                    "nom prénoms",
                    "last name first name",
                    "last first name",
                    "surname and first name",
                    "surname and name",
                    "family name and given name",
                ),
            ),
        ),
        _person(
            "middle_name",
            *also_of(
                _PERSON,
                (
                    "middle name",
                    "additional name",
                    "middle names",
                    "second name",
                    "deuxième prénom",
                    "second prénom",
                ),
            ),
        ),
        _person(
            "salutation",
            *also_of(
                _PERSON,
                (
                    "salutation",
                    "prefix",
                    "name prefix",
                    "honorific",
                    "honorific prefix",
                    "courtesy title",
                    "form of address",
                    "préfixe",
                    "anrede",
                    "titre de civilité",
                ),
            ),
            shared=("title", "titre", "contact title", "person title"),
            telling=SALUTATIONS,
        ),
        _person(
            "suffix", *also_of(_PERSON, ("suffix", "name suffix", "suffixe", "honorific suffix"))
        ),
        _person(
            "title",
            *also_of(
                _PERSON,
                (
                    "job title",
                    "position",
                    "poste",
                    "fonction",
                    "occupation",
                    "profession",
                    "role",
                    "rôle",
                    "titre",
                    "titre du poste",
                    "intitulé du poste",
                    "job",
                    "métier",
                    "organization 1 title",
                    "organization title",
                    "organisation title",
                    "title",
                ),
            ),
            "titre 1",
        ),
        _person(
            "department",
            *also_of(
                _PERSON,
                (
                    "department",
                    "organization 1 department",
                    "division",
                    "organization department",
                    "job department",
                    "service",
                    "direction",
                ),
            ),
        ),
        _field(
            "company",
            "Company",
            "Société",
            "reference",
            reference="companies",
            column="company_id",
            aliases=also_of(
                _PERSON,
                (
                    "company name",
                    "account",
                    "account name",
                    "organisation",
                    "organization",
                    "organization 1 name",
                    "organization name",
                    "organisation name",
                    "entreprise",
                    "raison sociale",
                    "associated company",
                    "primary company",
                    "employer",
                    "employeur",
                    "company account",
                    "nom de la société",
                    "nom de l'entreprise",
                    "structure",
                ),
            ),
        ),
        _person(
            "birthday",
            *also_of(
                _PERSON,
                (
                    "birthday",
                    "birth date",
                    "birthdate",
                    "date of birth",
                    "dob",
                    "anniversaire",
                    "naissance",
                    "né le",
                    "née le",
                    "birth day",
                ),
            ),
        ),
        _person(
            "languages",
            *also_of(
                _PERSON,
                (
                    "language",
                    "languages",
                    "langue",
                    "langues",
                    "preferred language",
                    "langue préférée",
                    "spoken languages",
                ),
            ),
        ),
        _field(
            "website",
            "Website",
            "Site web",
            "url",
            many=len(_WEBSITES),
            several=True,
            aliases=also_of(
                _PERSON,
                (
                    "website",
                    "websites",
                    "web page",
                    "website url",
                    "web",
                    "url",
                    "site",
                    "site internet",
                    "page web",
                    "homepage",
                    "website value",
                    "website 1",
                    "website 1 value",
                    "web page 1",
                ),
            ),
        ),
        *_shared(_PERSON),
        *_FACTS,
    ),
)

_COMPANIES_NOTES = beside.Notes("companies")

COMPANIES_IMPORT = Importable(
    record="companies",
    label={"en": "Companies", "fr": "Sociétés"},
    permission="companies:write",
    table=_companies,
    kind=COMPANIES,
    keys=("external_id", "name"),
    references={"companies": CompaniesByName(), "users": OWNERS},
    columns=_company_columns,
    covers=reached.COVERED,
    on_insert=_EMPTY,
    merge=_MERGED,
    beside=_COMPANIES_NOTES.add,
    beside_undone=beside.Notes.take_back,
    takes_notes=True,
    after_chunk=_companies_saved,
    after_rollback=_companies_taken_back,
    fields=(
        _company(
            "external_id",
            *also_of(
                _COMPANY,
                (
                    "id",
                    "record id",
                    "customer id",
                    "client id",
                    "reference",
                    "référence",
                    "code client",
                    "numéro client",
                    "n° client",
                ),
            ),
            "siren",
            "siret",
        ),
        _company(
            "name",
            *also_of(_COMPANY, ("", "name", "nom", "nom de la", "nom de l'")),
            "raison sociale",
        ),
        _field(
            "parent",
            "Parent company",
            "Société mère",
            "reference",
            reference="companies",
            column="parent_id",
            aliases=(
                "subsidiary of",
                "parent account",
                "parent company",
                "maison mère",
                "filiale de",
            ),
        ),
        _company(
            "industry", "sector", "secteur d'activité", "company industry", spellings=_INDUSTRIES
        ),
        _company(
            "website",
            *also_of(
                _COMPANY,
                (
                    "website",
                    "website url",
                    "url",
                    "web",
                    "web page",
                    "domain",
                    "domain name",
                    "site internet",
                    "page web",
                ),
            ),
            kind="url",
        ),
        _company("year_founded", "year established", "founded", "année de création"),
        _company("employees", "headcount", "number of employees", "company size", "salariés"),
        _company(
            "annual_revenue",
            "revenue",
            "turnover",
            "CA",
            "CA annuel",
            currency_column="annual_revenue_currency",
        ),
        *_shared(_COMPANY),
    ),
)
