"""The trade's words: what address books call things, in English and French, and in which groups.

`Business Phone 2`, `Téléphone 2 (bureau)` and `Phone 2 - Value` are a kind of place, a thing and a
number: the names of a field are made of the words for each. Their order doesn't matter, and nor do
case, accents and punctuation.
"""

from collections.abc import Iterable, Sequence
from itertools import product

from liaison_kit.records.search import fold

Words = Sequence[str]

WORK: Words = ("work", "business", "office", "professional", "bureau", "professionnel",
               "professionnelle", "pro", "travail")  # fmt: skip
HOME: Words = ("home", "personal", "private", "domicile", "personnel", "personnelle", "perso",
               "privé", "privée", "maison")  # fmt: skip
OTHER: Words = ("other", "autre")
MOBILE: Words = ("mobile", "cell", "cellular", "portable", "gsm")
BILLING: Words = ("billing", "invoice", "facturation")
DELIVERY: Words = ("delivery", "shipping", "livraison")
MAILING: Words = ("mailing", "postal", "main", "primary")

EMAIL: Words = ("email", "e-mail", "mail", "email address", "e-mail address", "mail address",
                "courriel", "mél", "adresse e-mail", "adresse email", "adresse mail",
                "adresse électronique", "adresse courriel", "adresse de messagerie",
                "messagerie")  # fmt: skip
PHONE: Words = ("phone", "telephone", "tel", "téléphone", "tél", "phone number",
                "telephone number", "tel no", "numéro de téléphone", "n° de téléphone")  # fmt: skip
FAX: Words = ("fax", "fax number", "télécopie", "télécopieur", "fax phone", "numéro de fax")

STREET: Words = ("street", "address", "street address", "address line 1", "street 1", "address 1",
                 "rue", "adresse", "voie", "adresse 1", "adresse ligne 1")  # fmt: skip
STREET_2: Words = ("street 2", "address line 2", "address 2", "rue 2", "adresse 2",
                   "adresse ligne 2", "complément d'adresse", "complément adresse",
                   "extended address", "apartment", "suite", "bâtiment")  # fmt: skip
STREET_3: Words = ("street 3", "address line 3", "rue 3", "adresse 3", "adresse ligne 3")
PO_BOX: Words = ("po box", "p o box", "post office box", "boîte postale", "bp", "b p")
CITY: Words = ("city", "town", "ville", "commune", "localité", "locality")
REGION: Words = ("region", "state", "province", "county", "state region", "state province",
                 "région", "département", "dép région", "canton", "state code")  # fmt: skip
POSTAL_CODE: Words = ("postal code", "zip", "zip code", "postcode", "post code", "zip postal code",
                      "postal zip code", "code postal", "cp", "plz")  # fmt: skip
COUNTRY: Words = ("country", "country region", "nation", "country name", "pays", "pays région")
WHOLE: Words = ("full address", "formatted address", "address formatted", "formatted",
                "complete address", "adresse complète", "adresse postale complète")  # fmt: skip

_ADDRESSED: Words = (
    "mr", "mrs", "ms", "miss", "mx", "dr", "prof", "sir", "madam", "rev", "hon", "mr & mrs",
    "mr and mrs", "mister", "doctor", "professor", "m", "mme", "mlle", "mm", "mmes", "me", "pr",
    "monsieur", "madame", "mademoiselle", "maître", "docteur", "professeur", "m. et mme",
    "m et mme", "mme et m", "herr", "frau", "sr", "sra", "sig", "signora", "dr. med",
)  # fmt: skip
SALUTATIONS = frozenset(map(fold, _ADDRESSED))
"""What people are addressed as, folded and without dots around."""

_KINDS: tuple[tuple[str, frozenset[str]], ...] = tuple(
    (kind, frozenset(fold(word) for word in said))
    for kind, said in (
        ("fax", (*FAX, "facsimile")),
        ("mobile", (*MOBILE, "iphone", "smartphone", "cellphone")),
        ("billing", BILLING),
        ("delivery", DELIVERY),
        ("work", (*WORK, "company", "main", "société", "entreprise", "principal")),
        ("home", HOME),
    )
)
_SAYS_NOTHING = frozenset({"", "smtp", "ex", "internet", "pref", "voice", "voix"})


def kind_of(said: str, usual: str) -> str:
    """The kind of an address or number from what a file says of it, as in `* Work Fax`."""
    found = set(fold(said).replace("*", " ").replace("-", " ").replace("_", " ").split())
    if not found - _SAYS_NOTHING:
        return usual
    return next((kind for kind, known in _KINDS if found & known), "other")


def names(*groups: Words) -> tuple[str, ...]:
    """Every way to put a word of each group beside one another."""
    return tuple(" ".join(filter(None, each)) for each in product(*groups))


def also_of(things: Words, aliases: Iterable[str]) -> tuple[str, ...]:
    """The names, and the same said of the record: `Person - Email - Work`, `Contact email`."""
    plain = tuple(dict.fromkeys(aliases))
    return (*plain, *(f"{thing} {alias}" for thing in things for alias in plain))
