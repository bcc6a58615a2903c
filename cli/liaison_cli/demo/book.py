"""Make up the demo company: who works there, whom they sell to, and two years of deals.

The same size, seed and day give the same book. What is drawn comes from one generator per chapter,
so that more people do not change the companies, nor more companies the users.
"""

import datetime as dt
import math
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from decimal import ROUND_HALF_UP, Decimal
from random import Random
from typing import TypeVar

from faker import Faker

from liaison_cli.demo import words
from liaison_cli.demo.words import Country, Item, Town, Trade

DEALS_PER_COMPANY = 8
LIVE_SHARE = 0.025
LIVE_DAYS = 75
NOTES_AT_MOST = 100
REPS_PER_TEAM = 4
EURO_IN_POUNDS = Decimal("0.86")
GROWTH_PER_YEAR = 0.18
STAGES = ("prospecting", "engaging", "proposal", "negotiation")
# The share of its time that a deal has behind it when it leaves each open stage.
LEAVES_AT = (0.2, 0.5, 0.8, 9.0)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Size:
    """How large the demo company shall be."""

    companies: int = 300
    people: int = 3000
    years: int = 2
    seed: int = 42


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who works for us; skill is how much more often than usual a rep wins."""

    external_id: str
    name: str
    email: str
    title: str
    manager: str
    team: str
    region: str
    skill: float = 1.0


@dataclass(frozen=True, slots=True)
class Company:
    """A company that we sell to, or would like to."""

    external_id: str
    name: str
    parent: str
    owner: User
    trade: Trade
    town: Town
    size: str
    employees: int
    revenue: int
    founded: int
    website: str
    domain: str
    email: str
    phone: str
    street: str
    postcode: str
    tags: tuple[str, ...]
    sites: int
    likes_us: float
    """How much more often than usual they buy."""

    @property
    def currency(self) -> str:
        """What they pay in."""
        return "EUR" if self.town.country == "FR" else "GBP"


@dataclass(frozen=True, slots=True)
class Person:
    """Somebody who works for one of the companies."""

    external_id: str
    first_name: str
    last_name: str
    title: str
    company: Company
    email: str
    phone: str
    mobile: str
    language: str
    newsletter: bool
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Step:
    """Something that happens to a deal: it goes to a stage, on a day, perhaps for a reason."""

    stage: str
    on: dt.date
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Deal:
    """An opportunity and the way it went so far; the last step is where it is today."""

    external_id: str
    name: str
    company: Company
    owner: User
    item: Item
    amount: Decimal
    engaged_on: dt.date
    expected_close: dt.date
    source: str
    competitor: str
    steps: tuple[Step, ...]

    @property
    def stage(self) -> str:
        """Where it is today."""
        return self.steps[-1].stage

    @property
    def closed_on(self) -> dt.date | None:
        """When it was won or lost, if it was."""
        return self.steps[-1].on if self.stage in ("won", "lost") else None


@dataclass(frozen=True, slots=True)
class Note:
    """A note about a company."""

    company: Company
    body: str


@dataclass(slots=True)
class Book:
    """Everything that the demo tenant is filled with."""

    today: dt.date
    size: Size
    users: list[User] = field(default_factory=list)
    companies: list[Company] = field(default_factory=list)
    people: list[Person] = field(default_factory=list)
    deals: list[Deal] = field(default_factory=list)
    """Those that come as a file."""
    live: list[Deal] = field(default_factory=list)
    """Some of the latest, opened and moved one by one, as people do."""
    notes: list[Note] = field(default_factory=list)


def make(size: Size, today: dt.date) -> Book:
    """Make the book up."""
    book = Book(today, size)
    book.users = _users(_Chance(size.seed, "users"))
    book.companies = _companies(_Chance(size.seed, "companies"), size, book.users)
    book.people = _people(_Chance(size.seed, "people"), size, book.companies)
    deals = _deals(_Chance(size.seed, "deals"), book)
    live = _live(_Chance(size.seed, "live"), deals, today)
    book.deals = [deal for number, deal in enumerate(deals) if number not in live]
    book.live = [
        replace(deals[number], external_id=f"demo-live-{place:03}")
        for place, number in enumerate(live, start=1)
    ]
    book.notes = _notes(_Chance(size.seed, "notes"), book)
    return book


class _Chance:
    """What is drawn for one chapter of the book."""

    def __init__(self, seed: int, chapter: str) -> None:
        # Seeding by text goes through SHA-512, so it is the same in every process.
        self.random = Random(f"{seed} {chapter}")
        self.fakers: dict[Country, Faker] = {"FR": Faker("fr_FR"), "GB": Faker("en_GB")}
        for faker in self.fakers.values():
            faker.seed_instance(self.random.getrandbits(64))
        self._numbers: set[str] = set()

    def pick(self, options: Sequence[T], weights: Sequence[float] | None = None) -> T:
        return self.random.choices(options, weights)[0]

    def happens(self, share: float) -> bool:
        return self.random.random() < share

    def some(self, options: Sequence[str], share: float) -> tuple[str, ...]:
        return tuple(option for option in options if self.happens(share))

    def digits(self, pattern: str) -> str:
        """The pattern with its places drawn; see `words.TOWNS`."""
        drawn = {
            "#": lambda: str(self.random.randrange(10)),
            "%": lambda: str(self.random.randrange(1, 10)),
            "+": lambda: f"{self.random.randrange(1, 21):02}",
            "@": lambda: self.random.choice("ABDEFGHJLNPQRSTUWXYZ"),
        }
        return "".join(drawn[c]() if c in drawn else c for c in pattern)

    def phone(self, pattern: str) -> str:
        """A number that nobody else in this book has; nothing when the range is used up."""
        for _ in range(20):
            number = "+" + self.digits(pattern[1:]).replace(" ", "")
            if number not in self._numbers:
                self._numbers.add(number)
                return number
        return ""

    def name(self, country: Country) -> tuple[str, str]:
        faker = self.fakers[country]
        return faker.first_name(), faker.last_name()


def _users(chance: _Chance) -> list[User]:
    """A director, a manager per region, reps under each: some much better than others."""
    taken: set[str] = set()

    def hire(country: Country, title: str, manager: str, team: str, region: str) -> User:
        while True:
            first, last = chance.name(country)
            if f"{first} {last}" not in taken:
                break
        taken.add(f"{first} {last}")
        email = f"{slug(first)}.{slug(last)}@example.com"
        skill = min(1.4, max(0.6, chance.random.gauss(1.0, 0.22)))
        id = f"demo-user-{len(users) + 1:02}"
        users.append(User(id, f"{first} {last}", email, title, manager, team, region, skill))
        return users[-1]

    users: list[User] = []
    head = hire("FR", "Direction commerciale", "", "Direction", "Île-de-France")
    for region, country in words.REGIONS.items():
        french = country == "FR"
        title = "Responsable de région" if french else "Regional Sales Manager"
        manager = hire(country, title, head.name, f"Sales {region}", region)
        for _ in range(REPS_PER_TEAM):
            title = "Responsable de comptes" if french else "Account Executive"
            hire(country, title, manager.name, f"Sales {region}", region)
    hire("FR", "Responsable marketing", head.name, "Direction", "Île-de-France")
    hire("GB", "Marketing Manager", head.name, "Direction", "London & South")
    return users


def _companies(chance: _Chance, size: Size, users: Sequence[User]) -> list[Company]:
    companies: list[Company] = []
    names: set[str] = set()
    domains: set[str] = set()
    sellers = {
        region: [user for user in users if user.region == region and user.title in _REPS]
        for region in words.REGIONS
    }
    weights = [town.weight for town in words.TOWNS]
    for number in range(1, size.companies + 1):
        town = chance.pick(words.TOWNS, weights)
        trade = chance.pick(words.TRADES, [trade.weight for trade in words.TRADES])
        name = _company_name(chance, trade, town, names)
        low, high = trade.employees
        size_drawn = chance.random.triangular(math.log(low), math.log(high))
        employees = round(math.exp(size_drawn))
        parent = ""
        if companies and chance.happens(0.07):
            # Part of a larger one in the same trade, which has no parent itself.
            parents = [
                c
                for c in companies
                if c.trade is trade and c.employees > employees and not c.parent
            ]
            parent = chance.pick(parents).external_id if parents else ""
        domain = _unique(f"{slug(name)}.{chance.pick(words.DOMAINS, (6, 2, 2))}", domains)
        bands = {"Small": employees < 50, "Medium": employees < 250, "Large": True}
        band = next(name for name, fits in bands.items() if fits)
        street = chance.fakers[town.country].street_address().replace("\n", ", ")
        companies.append(
            Company(
                external_id=f"demo-company-{number:04}",
                name=name,
                parent=parent,
                owner=chance.pick(sellers[town.region]),
                trade=trade,
                town=town,
                size=band,
                employees=employees,
                revenue=round(employees * chance.random.uniform(90, 260)) * 1000,
                founded=round(chance.random.triangular(1890, 2021, 1998)),
                website=f"https://www.{domain}",
                domain=domain,
                email=f"{'contact' if town.country == 'FR' else 'info'}@{domain}",
                phone=chance.phone(town.phone),
                street=street,
                postcode=chance.digits(town.postcode),
                tags=chance.some(words.COMPANY_TAGS, 0.09),
                # Two in five have not bought anything yet, or hardly.
                likes_us=0.08 if chance.happens(0.4) else chance.random.uniform(0.8, 1.5),
                sites=max(1, round(chance.random.expovariate(1 / (1 + employees / 150)))),
            )
        )
    return companies


_REPS = ("Responsable de comptes", "Account Executive")


def _company_name(chance: _Chance, trade: Trade, town: Town, taken: set[str]) -> str:
    faker = chance.fakers[town.country]
    while True:
        name = chance.pick(trade.names[town.country]).format(faker.last_name())
        if name in taken and chance.happens(0.3):
            name = f"{name} ({town.name})"
        if name not in taken:
            taken.add(name)
            return name


def _people(chance: _Chance, size: Size, companies: Sequence[Company]) -> list[Person]:
    people: list[Person] = []
    if not companies:
        return people
    addresses: set[str] = set()
    # One each, then the more the larger the company is.
    employers = list(companies[: size.people])
    weights = [company.employees**0.6 for company in companies]
    employers += chance.random.choices(companies, weights, k=max(0, size.people - len(employers)))
    for number, company in enumerate(employers, start=1):
        country = company.town.country
        # People move: one in twelve has a name of the other country.
        other: Country = "GB" if country == "FR" else "FR"
        first, last = chance.name(other if chance.happens(1 / 12) else country)
        email = _unique(f"{slug(first)}.{slug(last)}@{company.domain}", addresses)
        people.append(
            Person(
                external_id=f"demo-person-{number:05}",
                first_name=first,
                last_name=last,
                title=chance.pick(words.TITLES[country]),
                company=company,
                email=email if chance.happens(0.96) else "",
                phone=chance.phone(company.town.phone) if chance.happens(0.5) else "",
                mobile=chance.phone(words.MOBILES[country]) if chance.happens(0.55) else "",
                language="fr" if country == "FR" else "en",
                newsletter=chance.happens(0.35),
                tags=chance.some(words.PEOPLE_TAGS, 0.08),
            )
        )
    return people


def _deals(chance: _Chance, book: Book) -> list[Deal]:
    """Two years of deals in the order in which they began; the latest are still open."""
    size, today = book.size, book.today
    if not book.companies:
        return []
    weights = [
        company.employees**0.45 * (0.25 + company.likes_us) * chance.random.uniform(0.4, 1.6)
        for company in book.companies
    ]
    total = round(size.companies * DEALS_PER_COMPANY * size.years / 2)
    days = [today - dt.timedelta(days=back) for back in range(1, round(365.25 * size.years))]
    days = [day for day in days if day.weekday() < 5]
    busy = {country: [_busy(country, day, today) for day in days] for country in words.SEASONS}
    drawn: list[tuple[dt.date, Company]] = []
    for company in chance.random.choices(book.companies, weights, k=total):
        drawn.append((chance.pick(days, busy[company.town.country]), company))
    drawn.sort(key=lambda pair: (pair[0], pair[1].external_id))
    colleagues: dict[str, list[User]] = {}
    for user in book.users:
        if user.title in _REPS:
            colleagues.setdefault(user.region, []).append(user)
    return [
        _deal(chance, number, engaged_on, company, colleagues[company.town.region], today)
        for number, (engaged_on, company) in enumerate(drawn, start=1)
    ]


def _busy(country: Country, day: dt.date, today: dt.date) -> float:
    years_ago = (today - day).days / 365.25
    grown: float = (1 + GROWTH_PER_YEAR) ** -years_ago
    return words.SEASONS[country][day.month - 1] * grown


def _deal(
    chance: _Chance,
    number: int,
    engaged_on: dt.date,
    company: Company,
    team: Sequence[User],
    today: dt.date,
) -> Deal:
    random, country = chance.random, company.town.country
    owner = company.owner if chance.happens(0.88) else chance.pick(team)
    item = _item(chance, company, engaged_on, today)
    amount = _amount(chance, item, company)
    source = chance.pick(list(words.SOURCES), [share for share, _ in words.SOURCES.values()])
    competitor = chance.pick(words.COMPETITORS) if chance.happens(0.35) else ""
    # Dear things take longer; most deals end in one to four months.
    usual = 18 + 14 * math.log10(float(amount) / 200 + 1) ** 1.6
    length = max(3, round(random.lognormvariate(math.log(usual), 0.45)))
    close = _workday(engaged_on + dt.timedelta(days=length))
    if chance.happens(0.3):
        close = _month_end(close)
    expected = close + dt.timedelta(days=random.randint(-10, 25))
    luck = 0.44 * company.likes_us * owner.skill * words.SOURCES[source][1]
    luck *= {"Small": 1.1, "Medium": 1.0, "Large": 0.85}[company.size]
    luck *= 0.8 if competitor else 1.0
    won = chance.happens(min(0.9, luck))
    # Who loses has often not gone all the way.
    last = len(STAGES) if won else random.randint(1, len(STAGES))
    steps = [Step(STAGES[0], engaged_on)]
    for stage, share in zip(STAGES[1:last], LEAVES_AT, strict=False):
        on = min(close, _workday(engaged_on + (close - engaged_on) * share))
        if on <= today:
            steps.append(Step(stage, on))
    reasons = (words.WINS if won else words.LOSSES)[country]
    reason = chance.pick(reasons)
    if close < today:
        steps.append(Step("won" if won else "lost", close, reason))
    name = chance.pick(words.DEALS[country])
    if chance.happens(0.35):
        name = words.AGAIN[country].get(item.family, name)
    return Deal(
        external_id=f"demo-deal-{number:05}",
        name=name.format(company=company.name, item=item.name, town=company.town.name)[:200],
        company=company,
        owner=owner,
        item=item,
        amount=amount,
        engaged_on=engaged_on,
        expected_close=expected,
        source=source,
        competitor=competitor,
        steps=tuple(steps),
    )


def _item(chance: _Chance, company: Company, day: dt.date, today: dt.date) -> Item:
    # A product that was taken off the price list a year ago still is in the older deals.
    if (today - day).days > 365 and chance.happens(0.04):
        return words.RETIRED
    industry = company.trade.industry
    fitting = [
        item
        for item in words.CATALOGUE
        if company.size in item.sizes and (item.industries is None or industry in item.industries)
    ]
    # What was made for a trade is what this trade buys.
    return chance.pick(
        fitting, [item.weight * (1 if item.industries is None else 2) for item in fitting]
    )


def _amount(chance: _Chance, item: Item, company: Company) -> Decimal:
    low, high = item.quantity
    scale = {"Small": 0.25, "Medium": 0.55, "Large": 1.0}[company.size]
    quantity = chance.random.randint(low, max(low, round(low + (high - low) * scale)))
    discount = chance.pick((0, 5, 10, 15, 20), (50, 20, 15, 10, 5))
    euros = Decimal(item.price) * quantity * (100 - discount) / 100
    found = euros * EURO_IN_POUNDS if company.currency == "GBP" else euros
    return found.quantize(Decimal("0.01"), ROUND_HALF_UP)


def _live(chance: _Chance, deals: Sequence[Deal], today: dt.date) -> list[int]:
    """Which deals, by their place, are entered one by one."""
    recent = [n for n, deal in enumerate(deals) if (today - deal.engaged_on).days <= LIVE_DAYS]
    wanted = max(1, round(len(deals) * LIVE_SHARE))
    # At least one, however small the book: the last of them tells that all is in.
    candidates = recent or list(range(len(deals)))
    return sorted(chance.random.sample(candidates, min(len(candidates), wanted)))


def _notes(chance: _Chance, book: Book) -> list[Note]:
    staff: dict[str, list[Person]] = {}
    for person in book.people:
        staff.setdefault(person.company.external_id, []).append(person)
    known = [company for company in book.companies if company.external_id in staff]
    notes: list[Note] = []
    for _ in range(min(NOTES_AT_MOST, len(known))):
        company = chance.pick(known)
        person = chance.pick(staff[company.external_id])
        body = chance.pick(words.NOTES[company.town.country]).format(
            person=f"{person.first_name} {person.last_name}",
            town=company.town.name,
            year=book.today.year,
            competitor=chance.pick(words.COMPETITORS),
        )
        notes.append(Note(company, body))
    return notes


def slug(text: str) -> str:
    """A text as part of an address: plain letters, digits and hyphens."""
    told = text.lower().replace("&", " and ").replace("œ", "oe").replace("'", "")
    letters = unicodedata.normalize("NFKD", told).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]+", "-", letters).strip("-")[:50].strip("-")


def _unique(address: str, taken: set[str]) -> str:
    """The address, or the next that is free: jean.martin@, then jean.martin2@."""
    first, mark, rest = address.partition("@" if "@" in address else ".")
    number = 1
    while (found := f"{first}{number if number > 1 else ''}{mark}{rest}") in taken:
        number += 1
    taken.add(found)
    return found


def _workday(day: dt.date) -> dt.date:
    return day + dt.timedelta(days={5: 2, 6: 1}.get(day.weekday(), 0))


def _month_end(day: dt.date) -> dt.date:
    """The last working day of the month: when quotas are due."""
    first_of_next = (day.replace(day=1) + dt.timedelta(days=32)).replace(day=1)
    last = first_of_next - dt.timedelta(days=1)
    return last - dt.timedelta(days={5: 1, 6: 2}.get(last.weekday(), 0))
