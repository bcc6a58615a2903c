"""What the demo company is told with: towns, trades, products, titles, notes, in both languages.

Nobody can be reached through it: e-mail and web addresses are in example.com, example.org and
example.net, and phone numbers in the ranges that ARCEP and Ofcom keep for fiction.
"""

from dataclasses import dataclass
from typing import Literal

Country = Literal["FR", "GB"]
COUNTRY_NAMES = {"FR": "France", "GB": "United Kingdom"}


@dataclass(frozen=True, slots=True)
class Town:
    """A town: which of our regions sells there, and the phone numbers that fiction may use."""

    name: str
    country: Country
    region: str
    area: str
    postcode: str
    phone: str
    weight: int


# Drawn in `postcode` and `phone`: # a digit, % one that is not 0, + one of 20 quarters, @ a letter.
TOWNS = (
    Town("Paris", "FR", "Île-de-France", "Île-de-France", "750+", "+33199 00####", 30),
    Town(
        "Boulogne-Billancourt", "FR", "Île-de-France", "Île-de-France", "92100", "+33199 00####", 6
    ),
    Town("Saint-Denis", "FR", "Île-de-France", "Île-de-France", "93200", "+33199 00####", 5),
    Town("Créteil", "FR", "Île-de-France", "Île-de-France", "94000", "+33199 00####", 4),
    Town("Lille", "FR", "Île-de-France", "Hauts-de-France", "59000", "+33353 01####", 8),
    Town("Nantes", "FR", "Grand Ouest", "Pays de la Loire", "44000", "+33261 91####", 10),
    Town("Rennes", "FR", "Grand Ouest", "Bretagne", "35000", "+33261 91####", 8),
    Town("Brest", "FR", "Grand Ouest", "Bretagne", "29200", "+33261 91####", 4),
    Town("Tours", "FR", "Grand Ouest", "Centre-Val de Loire", "37000", "+33261 91####", 4),
    Town("Bordeaux", "FR", "Grand Ouest", "Nouvelle-Aquitaine", "33000", "+33536 49####", 9),
    Town("Lyon", "FR", "Sud-Est", "Auvergne-Rhône-Alpes", "6900%", "+33465 71####", 14),
    Town("Saint-Étienne", "FR", "Sud-Est", "Auvergne-Rhône-Alpes", "42000", "+33465 71####", 4),
    Town("Grenoble", "FR", "Sud-Est", "Auvergne-Rhône-Alpes", "38000", "+33465 71####", 6),
    Town("Marseille", "FR", "Sud-Est", "Provence-Alpes-Côte d'Azur", "1300%", "+33465 71####", 9),
    Town("Montpellier", "FR", "Sud-Est", "Occitanie", "34000", "+33465 71####", 6),
    Town("Besançon", "FR", "Sud-Est", "Bourgogne-Franche-Comté", "25000", "+33353 01####", 3),
    Town("London", "GB", "London & South", "Greater London", "EC%A #@@", "+4420794 60###", 26),
    Town("Reading", "GB", "London & South", "Berkshire", "RG% #@@", "+44118496 0###", 5),
    Town("Bristol", "GB", "London & South", "Bristol", "BS% #@@", "+44117496 0###", 7),
    Town("Cardiff", "GB", "London & South", "South Glamorgan", "CF1% #@@", "+442920 180###", 4),
    Town("Birmingham", "GB", "Midlands & North", "West Midlands", "B% #@@", "+44121496 0###", 9),
    Town("Nottingham", "GB", "Midlands & North", "Nottinghamshire", "NG% #@@", "+44115496 0###", 4),
    Town(
        "Manchester", "GB", "Midlands & North", "Greater Manchester", "M% #@@", "+44161496 0###", 10
    ),
    Town("Leeds", "GB", "Midlands & North", "West Yorkshire", "LS% #@@", "+44113496 0###", 7),
    Town("Sheffield", "GB", "Midlands & North", "South Yorkshire", "S% #@@", "+44114496 0###", 4),
    Town("Liverpool", "GB", "Midlands & North", "Merseyside", "L% #@@", "+44151496 0###", 5),
    Town("Edinburgh", "GB", "Scotland", "City of Edinburgh", "EH% #@@", "+44131496 0###", 8),
    Town("Glasgow", "GB", "Scotland", "City of Glasgow", "G% #@@", "+44141496 0###", 8),
    Town("Aberdeen", "GB", "Scotland", "Aberdeenshire", "AB1% #@@", "+441632 960###", 3),
)
MOBILES = {"FR": "+33639 98####", "GB": "+447700 900###"}
REGIONS: dict[str, Country] = {town.region: town.country for town in TOWNS}
DOMAINS = ("example.com", "example.org", "example.net")


@dataclass(frozen=True, slots=True)
class Trade:
    """What companies of a kind are called and how large they are; `{}` is a family name."""

    industry: str
    weight: int
    employees: tuple[int, int]
    names: dict[Country, tuple[str, ...]]


TRADES = (
    Trade("manufacturing", 16, (30, 2200), {
        "FR": ("Ateliers {}", "{} Industries", "Mécanique {}", "Fonderies {}", "Établissements {}"),
        "GB": ("{} Engineering Ltd", "{} & Sons Ltd", "{} Castings Ltd", "{} Precision plc"),
    }),
    Trade("food", 13, (12, 900), {
        "FR": ("Maison {}", "Boulangeries {}", "Conserverie {}", "Fromageries {}", "Saveurs {}"),
        "GB": ("{} Bakeries Ltd", "{} Foods Ltd", "{} Dairies Ltd", "{} & Daughters Brewery"),
    }),
    Trade("retail", 13, (8, 1500), {
        "FR": ("{} Distribution", "Les Comptoirs {}", "Jardineries {}", "Meubles {}"),
        "GB": ("{} Stores Ltd", "{} Home & Garden", "{} Outfitters Ltd", "{}'s Department Stores"),
    }),
    Trade("hospitality", 11, (10, 600), {
        "FR": ("Hôtels {}", "Les Tables {}", "Auberge {}", "Résidences {}"),
        "GB": ("{} Hotels Ltd", "The {} Inn Group", "{} Leisure Ltd"),
    }),
    Trade("logistics", 9, (25, 1200), {
        "FR": ("Transports {}", "{} Logistique", "Messageries {}"),
        "GB": ("{} Haulage Ltd", "{} Logistics Ltd", "{} Cold Storage Ltd"),
    }),
    Trade("real_estate", 8, (6, 300), {
        "FR": ("{} Immobilier", "Foncière {}", "Régie {}"),
        "GB": ("{} Estates Ltd", "{} Property Management", "{} Land plc"),
    }),
    Trade("education", 7, (40, 800), {
        "FR": ("Institut {}", "École {}", "Campus {}"),
        "GB": ("{} College", "{} Academy Trust", "{} School"),
    }),
    Trade("medical", 7, (20, 1400), {
        "FR": ("Clinique {}", "Laboratoires {}", "Santé {}"),
        "GB": ("{} Clinics Ltd", "{} Healthcare Ltd", "{} Pharma Services Ltd"),
    }),
    Trade("construction", 6, (15, 700), {
        "FR": ("{} Construction", "Charpentes {}", "Bâtiment {} & Fils"),
        "GB": ("{} Builders Ltd", "{} Contracting Ltd", "{} Roofing Ltd"),
    }),
    Trade("automotive", 4, (12, 500), {
        "FR": ("Garages {}", "Carrosserie {}", "{} Automobiles"),
        "GB": ("{} Motors Ltd", "{} Garages Ltd"),
    }),
    Trade("technology", 4, (10, 400), {
        "FR": ("{} Numérique", "{} Données", "Hébergement {}"),
        "GB": ("{} Systems Ltd", "{} Data Centres Ltd", "{} Digital Ltd"),
    }),
    Trade("government", 2, (60, 2000), {
        "FR": ("Communauté de communes {}", "Syndicat {}"),
        "GB": ("{} Borough Services", "{} Harbour Board"),
    }),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Item:
    """A product: its price in euros, how many one orders, and to whom it suits (None: all)."""

    code: str
    name: str
    family: str
    price: int
    quantity: tuple[int, int]
    weight: int
    sizes: tuple[str, ...] = ("Small", "Medium", "Large")
    industries: tuple[str, ...] | None = None


CATALOGUE = (
    Item("VOL-S1", "Volta S1 meter", "Meters", 89, (10, 80), 9),
    Item("VOL-S3", "Volta S3 three-phase meter", "Meters", 189, (8, 120), 9, ("Medium", "Large")),
    Item("AQU-W1", "Aqua W1 water meter", "Meters", 149, (6, 50), 6),
    Item("AER-C2", "Aéris CO₂ sensor", "Meters", 129, (10, 90), 6),
    Item("PAS-G2", "Passerelle G2 gateway", "Gateways", 490, (1, 12), 6),
    Item("PAS-G5", "Passerelle G5 industrial gateway", "Gateways", 1290, (2, 14), 4,
         ("Medium", "Large"), ("manufacturing", "logistics", "food")),
    Item("CLA-ES", "Clarté Essentials subscription", "Software", 1800, (1, 1), 12,
         ("Small", "Medium")),
    Item("CLA-PR", "Clarté Pro subscription", "Software", 5400, (1, 2), 13),
    Item("CLA-EN", "Clarté Enterprise subscription", "Software", 18000, (1, 3), 6, ("Large",)),
    Item("CLA-CO", "Yearly carbon report", "Software", 3200, (1, 2), 7, ("Medium", "Large")),
    Item("AUD-S", "Energy audit of a small site", "Advice", 2900, (1, 3), 9, ("Small", "Medium")),
    Item("AUD-L", "Energy audit of a large site", "Advice", 9800, (1, 4), 6, ("Medium", "Large")),
    Item("INS-J", "Installation day", "Services", 780, (1, 12), 6),
    Item("FOR-J", "Training day", "Services", 1150, (1, 5), 4),
    Item("SUP-P", "Premium support", "Services", 4200, (1, 1), 6, ("Medium", "Large")),
    Item("KIT-SH", "Shop kit", "Kits", 1490, (1, 15), 7, ("Small", "Medium", "Large"),
         ("retail", "food", "automotive")),
    Item("KIT-HO", "Hotel kit", "Kits", 12900, (1, 3), 8, ("Small", "Medium", "Large"),
         ("hospitality", "medical", "education")),
    Item("KIT-FA", "Factory kit", "Kits", 24500, (1, 3), 8, ("Medium", "Large"),
         ("manufacturing", "food", "logistics")),
    Item("KIT-OF", "Office kit", "Kits", 2990, (1, 8), 7, ("Small", "Medium", "Large"),
         ("real_estate", "technology", "government", "construction")),
)  # fmt: skip
RETIRED = Item("VOL-S0", "Volta S0 meter", "Meters", 75, (10, 60), 0)

# Share of a year's deals that begin in each month: budgets, summer, and the end of the year.
SEASONS: dict[Country, tuple[float, ...]] = {
    "FR": (0.9, 1.0, 1.25, 1.0, 0.85, 1.2, 0.7, 0.3, 1.25, 1.2, 1.25, 1.1),
    "GB": (0.95, 1.05, 1.35, 0.9, 1.0, 1.1, 0.85, 0.7, 1.15, 1.1, 1.15, 0.7),
}
SOURCES = {
    "Website": (26, 0.92),
    "Referral": (18, 1.3),
    "Existing customer": (20, 1.35),
    "Trade show": (14, 0.95),
    "Partner": (10, 1.05),
    "Cold call": (12, 0.6),
}
COMPETITORS = ("Ampérage", "Wattwise", "Enerlogis", "MeterHouse")
LOSSES = {
    "FR": ("Prix", "Budget gelé", "Pas de décision", "Concurrent retenu", "Délai d'installation"),
    "GB": ("Price", "Budget frozen", "No decision", "Chose a competitor", "Lead time"),
}
WINS = {
    "FR": ("Qualité de l'accompagnement", "Économies démontrées", "Recommandation", "Prix"),
    "GB": ("Proven savings", "Quality of the service", "Recommendation", "Price"),
}
DEALS = {
    "FR": ("{company} – {item}", "{company} – {item}", "{item} pour {company}",
           "{company} – {item}, {town}"),
    "GB": ("{company} – {item}", "{company} – {item}", "{item} for {company}",
           "{company} – {item}, {town}"),
}  # fmt: skip
# What one buys again, and what one buys more of.
AGAIN = {
    "FR": {
        "Software": "{company} – renouvellement {item}",
        "Meters": "{company} – extension {item}",
    },
    "GB": {"Software": "{company} – {item} renewal", "Meters": "{company} – {item} roll-out"},
}
# French titles that say nothing about who is a man or a woman, as names are drawn at random.
TITLES = {
    "FR": ("Direction générale", "Responsable énergie", "Responsable achats", "Direction technique",
           "Direction financière", "Responsable maintenance", "Chef de projet", "Responsable QHSE",
           "Responsable de site", "Assistance de direction", "Responsable informatique",
           "Contrôle de gestion", "Responsable logistique", "Direction des opérations"),
    "GB": ("Managing Director", "Energy Manager", "Head of Procurement", "Facilities Manager",
           "Finance Director", "Operations Manager", "Sustainability Lead", "Plant Manager",
           "Office Manager", "Head of IT", "Buyer", "Maintenance Supervisor", "Project Manager",
           "Chief Operating Officer", "Estates Manager"),
}  # fmt: skip
COMPANY_TAGS = ("key account", "multi-site", "ISO 50001", "reference customer", "public tender")
PEOPLE_TAGS = ("decision maker", "technical contact", "newsletter", "met at trade show", "champion")
NOTES = {
    "FR": (
        "Appel avec {person} : le budget {year} est voté, retour attendu avant la fin du mois.",
        "Visite sur site à {town}. Une trentaine de points de mesure, deux tableaux à reprendre.",
        "{person} souhaite une démonstration avec les données de son propre bâtiment.",
        "Devis envoyé. Ils comparent avec {competitor} ; insister sur le rapport carbone.",
        "Le contrat actuel se termine au printemps : rappeler en janvier.",
        "Très bon échange au salon ; {person} est prescripteur en interne.",
        "Facturation : demander un bon de commande par site, sinon le paiement traîne.",
        "Ne pas appeler le mercredi. {person} préfère les e-mails.",
        "Économies constatées : 11 % après six mois. D'accord pour être cité en référence.",
        "Point d'étape : l'installation est finie à {town}, reste la formation des équipes.",
    ),
    "GB": (
        "Call with {person}: the {year} budget is approved, expects an answer by month end.",
        "Site visit in {town}. About thirty metering points, two boards need rewiring.",
        "{person} would like a demo with data from their own building.",
        "Quote sent. They are comparing us with {competitor}; lead with the carbon report.",
        "Their present contract ends in spring: call back in January.",
        "Good talk at the trade show; {person} is our champion inside.",
        "Billing: ask for one purchase order per site, or payment drags on.",
        "Please don't call on Fridays. {person} prefers e-mail.",
        "Savings so far: 11% after six months. Happy to be a reference.",
        "Progress: installation in {town} is done, training of the team is next.",
    ),
}
