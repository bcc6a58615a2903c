"""A small world to import into: firms, people and deals, in a database of their own."""

import csv
import datetime as dt
import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

from sqlalchemy import ARRAY, Date, ForeignKey, Numeric, Table, Text, func, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, Session, mapped_column

from liaison_kit.context import Context, Principal
from liaison_kit.database.database import Database
from liaison_kit.database.tables import Base, Record
from liaison_kit.ids import uuid7
from liaison_kit.imports.fields import Batch, Importable, ImportField
from liaison_kit.imports.references import one_each

T = TypeVar("T")

SCHEMA = """
CREATE TABLE book_firms (
    {record},
    name text NOT NULL, sector text, founded bigint, revenue_amount numeric(18,2), currency text,
    staff integer, place text, parent_id uuid REFERENCES book_firms, owner_id uuid
);
CREATE INDEX ix_book_firms_name ON book_firms (tenant_id, lower(name));
CREATE UNIQUE INDEX uq_book_firms_external_id ON book_firms (tenant_id, external_id)
 WHERE external_id IS NOT NULL;
CREATE TABLE book_people (
    {record},
    first_name text, last_name text NOT NULL, emails jsonb NOT NULL DEFAULT '[]', phone text,
    job text, street text, city text, postcode text, firm_id uuid REFERENCES book_firms,
    firm_name text, tags text[] NOT NULL DEFAULT '{{}}'
);
CREATE UNIQUE INDEX uq_book_people_external_id ON book_people (tenant_id, external_id)
 WHERE external_id IS NOT NULL;
CREATE TABLE book_deals (
    {record},
    product text NOT NULL, agent text, firm_id uuid REFERENCES book_firms, stage text NOT NULL,
    opened date, closed date, value_amount numeric(18,2) CHECK (value_amount >= 0), currency text
);
CREATE UNIQUE INDEX uq_book_deals_external_id ON book_deals (tenant_id, external_id)
 WHERE external_id IS NOT NULL
"""


class Firm(Record, Base):
    __tablename__ = "book_firms"

    name: Mapped[str]
    sector: Mapped[str | None]
    founded: Mapped[int | None]
    revenue_amount: Mapped[Any] = mapped_column(Numeric(18, 2), nullable=True)
    currency: Mapped[str | None]
    staff: Mapped[int | None]
    place: Mapped[str | None]
    parent_id: Mapped[UUID | None] = mapped_column(ForeignKey("book_firms.id"))
    owner_id: Mapped[UUID | None]


class Person(Record, Base):
    __tablename__ = "book_people"

    first_name: Mapped[str | None]
    last_name: Mapped[str]
    emails: Mapped[list[Any]] = mapped_column(JSONB)
    phone: Mapped[str | None]
    job: Mapped[str | None]
    street: Mapped[str | None]
    city: Mapped[str | None]
    postcode: Mapped[str | None]
    firm_id: Mapped[UUID | None] = mapped_column(ForeignKey("book_firms.id"))
    firm_name: Mapped[str | None]
    tags: Mapped[list[str]] = mapped_column(ARRAY(Text))


class Deal(Record, Base):
    __tablename__ = "book_deals"

    product: Mapped[str]
    agent: Mapped[str | None]
    firm_id: Mapped[UUID | None] = mapped_column(ForeignKey("book_firms.id"))
    stage: Mapped[str]
    opened: Mapped[dt.date | None] = mapped_column(Date)
    closed: Mapped[dt.date | None] = mapped_column(Date)
    value_amount: Mapped[Any] = mapped_column(Numeric(18, 2), nullable=True)
    currency: Mapped[str | None]


class ByName:
    """Firms by name, case aside; may make them."""

    def resolve(self, session: Session, values: Sequence[str]) -> dict[str, str]:
        lowered = {value: value.lower() for value in values}
        rows = session.execute(
            select(func.lower(Firm.name), Firm.id).where(
                func.lower(Firm.name).in_(lowered.values())
            )
        )
        known = one_each((name, str(id)) for name, id in rows)
        return {value: known[low] for value, low in lowered.items() if low in known}

    def names(self, session: Session, near: Sequence[str]) -> Sequence[str]:
        return list(session.scalars(select(Firm.name).limit(5000)))

    def create(self, session: Session, values: Sequence[str]) -> Mapping[str, str]:
        about = session.info["context"]
        made = {value: uuid7() for value in values}
        session.add_all(
            Firm(
                id=id,
                tenant_id=about.tenant,
                version=1,
                custom={},
                name=value,
                created_at=about.now,
                updated_at=about.now,
            )
            for value, id in made.items()
        )
        session.flush()
        return {value: str(id) for value, id in made.items()}


SECTORS = [
    "employment",
    "entertainment",
    "finance",
    "marketing",
    "medical",
    "retail",
    "services",
    "software",
    "technology",
    "telecommunications",
]
PRODUCTS = ["GTX Basic", "GTX Pro", "MG Special", "MG Advanced", "GTX Plus Pro", "GTX Plus Basic"]
PRODUCTS.append("GTK 500")


def _label(en: str, fr: str) -> dict[str, str]:
    return {"en": en, "fr": fr}


def _table(model: type[Record]) -> Table:
    found = model.__table__
    assert isinstance(found, Table)
    return found


FIRMS = Importable(
    record="firms",
    label=_label("Companies", "Entreprises"),
    permission="firms:write",
    table=_table(Firm),
    keys=("external_id", "name"),
    match={"name": "lower(t.name) = lower(s.name)"},
    references={"firms": ByName()},
    fields=(
        ImportField("external_id", _label("Reference", "Référence"), aliases=("customer id", "id")),
        ImportField(
            "name",
            _label("Name", "Nom"),
            required=True,
            aliases=("account", "company", "company name", "société", "raison sociale"),
        ),
        ImportField(
            "sector",
            _label("Sector", "Secteur"),
            "choice",
            choices=dict.fromkeys(SECTORS, ()),
            aliases=("industry",),
        ),
        ImportField(
            "founded", _label("Founded", "Création"), "integer", aliases=("year established",)
        ),
        ImportField("revenue", _label("Revenue", "Chiffre d’affaires"), "money", aliases=("CA",)),
        ImportField("staff", _label("Employees", "Effectif"), "integer"),
        ImportField("place", _label("Place", "Lieu"), aliases=("office location", "city", "ville")),
        ImportField(
            "parent",
            _label("Parent company", "Maison mère"),
            "reference",
            reference="firms",
            column="parent_id",
            aliases=("subsidiary of",),
        ),
        ImportField("phone", _label("Phone", "Téléphone"), "phone", column="place"),
        ImportField("contact", _label("Contact", "Contact"), aliases=("contact name",)),
    ),
)


def _people_columns(batch: Batch) -> dict[str, Sequence[str]]:
    rows = batch.gathered("email", "email_2")
    lists = ([{"address": address} for address in row if address] for row in rows)
    return {"emails": [json.dumps(found) if found else "" for found in lists]}


PEOPLE = Importable(
    record="people",
    label=_label("People", "Personnes"),
    permission="people:write",
    table=_table(Person),
    references={"firms": ByName()},
    columns=_people_columns,
    covers=frozenset({"email", "email_2"}),
    on_insert={"emails": "'[]'::jsonb", "tags": "'{}'::text[]"},
    fields=(
        ImportField("external_id", _label("Reference", "Référence"), aliases=("id",)),
        ImportField("first_name", _label("First name", "Prénom")),
        ImportField("last_name", _label("Last name", "Nom"), required=True),
        ImportField(
            "email",
            _label("E-mail", "Courriel"),
            "email",
            many=2,
            aliases=("mail", "email address"),
        ),
        ImportField("phone", _label("Phone", "Téléphone"), "phone"),
        ImportField("job", _label("Job title", "Fonction"), aliases=("title",)),
        ImportField("street", _label("Street", "Rue"), aliases=("address", "adresse")),
        ImportField("city", _label("City", "Ville")),
        ImportField("postcode", _label("Postcode", "Code postal"), aliases=("zip", "postal code")),
        ImportField("firm_name", _label("Company", "Société")),
        ImportField(
            "firm",
            _label("Account", "Compte"),
            "reference",
            reference="firms",
            column="firm_id",
        ),
        ImportField("tags", _label("Tags", "Étiquettes"), "tags"),
    ),
)

DEALS = Importable(
    record="deals",
    label=_label("Opportunities", "Opportunités"),
    permission="deals:write",
    table=_table(Deal),
    references={"firms": ByName()},
    fields=(
        ImportField(
            "external_id", _label("Reference", "Référence"), aliases=("opportunity id", "id")
        ),
        ImportField("agent", _label("Owner", "Responsable"), aliases=("sales agent", "commercial")),
        ImportField(
            "product",
            _label("Product", "Produit"),
            "choice",
            required=True,
            choices=dict.fromkeys(PRODUCTS, ()),
        ),
        ImportField(
            "firm",
            _label("Company", "Société"),
            "reference",
            reference="firms",
            column="firm_id",
            aliases=("account",),
        ),
        ImportField(
            "stage",
            _label("Stage", "Étape"),
            "choice",
            required=True,
            aliases=("deal stage",),
            choices={"prospecting": (), "engaging": (), "won": ("gagné",), "lost": ("perdu",)},
        ),
        ImportField(
            "opened", _label("Opened", "Ouverture"), "date", aliases=("engage date", "start date")
        ),
        ImportField("closed", _label("Closed", "Clôture"), "date", aliases=("close date",)),
        ImportField(
            "value", _label("Value", "Montant"), "money", aliases=("close value", "amount")
        ),
    ),
)

TENANT = UUID("11111111-1111-7111-8111-111111111111")
USER = UUID("22222222-2222-7222-8222-222222222222")


def about(
    tenant: UUID = TENANT, user: UUID = USER, rows: Mapping[str, Any] | None = None
) -> Context:
    """Somebody of the tenant, who may do everything."""
    return Context(
        tenant=tenant,
        principal=Principal(tenant, user, "Anne", frozenset({"*"}), rows or {}, (user,)),
    )


@dataclass
class Steps:
    """A job in one process: its checkpoint is kept only when the step is."""

    db: Database
    context: Context = field(default_factory=about)
    checkpoint: dict[str, Any] = field(default_factory=dict)
    done: int = 0
    total: int | None = None
    kept: str = "{}"
    dies_after: int | None = None
    steps: int = 0

    @contextmanager
    def step(self) -> Iterator[Session]:
        """One transaction; dies instead of committing when it is time to."""
        with self.db.writing(self.context) as session:
            yield session
            self.steps += 1
            if self.dies_after is not None and self.steps > self.dies_after:
                raise SystemError("power cut")
        self.kept = json.dumps(self.checkpoint)

    def asking(self, work: Callable[[Session], T]) -> T:
        """Work in one transaction; here are no other services to ask."""
        with self.step() as session:
            return work(session)

    def again(self) -> "Steps":
        """The job as the next worker finds it."""
        return Steps(self.db, self.context, json.loads(self.kept))


class Looks(Steps):
    """Steps of which nothing is kept."""

    @contextmanager
    def step(self) -> Iterator[Session]:
        """One transaction that is undone."""
        with self.db.session(self.context) as session:
            yield session
            session.rollback()


def csv_file(folder: Path, rows: Sequence[Sequence[object]], name: str = "file.csv") -> Path:
    """A file of these rows, the header first."""
    out = io.StringIO(newline="")
    csv.writer(out).writerows(rows)
    path = folder / name
    path.write_text(out.getvalue(), encoding="utf-8", newline="")
    return path
