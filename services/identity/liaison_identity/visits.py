"""Visits: the pages on which somebody asks for a new password, and chooses one."""

from pydantic import SecretStr

from liaison_identity import new_passwords
from liaison_identity.new_passwords import Invited
from liaison_kit.calls.wire import Reply, Visit
from liaison_kit.database.database import Database
from liaison_kit.pages.serving import Pages
from liaison_kit.trust.keys import Keyring
from liaison_kit.trust.links import LinkNotValid
from liaison_sdk.contracts.identity import LONGEST_PASSWORD, SHORTEST_PASSWORD
from liaison_sdk.labels import Label

PAGES = Pages("liaison_identity")
_FORGOTTEN = "/p/identity/forgotten"

_WORDS = {
    "forgotten": Label(en="Forgotten your password?", fr="Mot de passe oublié ?"),
    "how": Label(
        en="Tell us your e-mail, and we will send you a link to choose a new password.",
        fr="Indiquez votre e-mail : nous vous enverrons un lien pour choisir un nouveau mot de"
        " passe.",
    ),
    "email": Label(en="E-mail", fr="E-mail"),
    "organisation": Label(
        en="Organisation (if you work for several)", fr="Organisation (si vous en avez plusieurs)"
    ),
    "send": Label(en="Send the link", fr="Envoyer le lien"),
    "asked": Label(en="Look into your mail", fr="Consultez votre messagerie"),
    "on_its_way": Label(
        en="If somebody here has this e-mail, a link is on its way. It is good for an hour.",
        fr="Si cet e-mail est connu ici, un lien est en route. Il est valable une heure.",
    ),
    "new": Label(en="Choose a new password", fr="Choisissez un nouveau mot de passe"),
    "first": Label(en="Choose your password", fr="Choisissez votre mot de passe"),
    "whose": Label(en="For your account at", fr="Pour votre compte chez"),
    "password": Label(en="New password", fr="Nouveau mot de passe"),
    "again": Label(en="The same again", fr="Encore une fois"),
    "rule": Label(
        en="At least 10 characters; several words are easy to remember.",
        fr="Au moins 10 caractères ; plusieurs mots se retiennent facilement.",
    ),
    "save": Label(en="Save", fr="Enregistrer"),
    "length": Label(
        en="A password has 10 to 200 characters.", fr="Un mot de passe a 10 à 200 caractères."
    ),
    "differ": Label(en="The two are not the same.", fr="Les deux ne sont pas identiques."),
    "done": Label(en="Your password is set", fr="Votre mot de passe est enregistré"),
    "sign_in": Label(
        en="You can sign in with it now. Wherever you were signed in before, you are no longer.",
        fr="Vous pouvez maintenant vous connecter. Vos sessions précédentes sont terminées.",
    ),
    "not_valid": Label(
        en="This link is not valid, or not any more", fr="Ce lien n'est pas ou plus valable"
    ),
    "used": Label(
        en="It can be used once, and for a limited time.",
        fr="Il ne sert qu'une fois, et pour un temps limité.",
    ),
    "another": Label(en="Ask for another one", fr="En demander un autre"),
}


def forgotten(visit: Visit) -> Reply:
    """Where a link is asked for."""
    words = _words(visit)
    return PAGES.show(visit, "forgotten", words["forgotten"], {"words": words})


def asked(db: Database, visit: Visit) -> Reply:
    """It has been asked for."""
    email, organisation = visit.field("email")[:320], visit.field("organisation").strip()[:200]
    new_passwords.mail_links(db, email, organisation or None, visit.source)
    words = _words(visit)
    return _said(visit, words["asked"], words["on_its_way"])


def new_password(db: Database, keys: Keyring, visit: Visit, link: str) -> Reply:
    """Where a link leads."""
    try:
        return _choice(visit, new_passwords.look(db, keys, link))
    except LinkNotValid:
        return _not_valid(visit)


def chosen(db: Database, keys: Keyring, visit: Visit, link: str) -> Reply:
    """A password has been chosen."""
    words, password = _words(visit), visit.field("password")
    try:
        whose = new_passwords.look(db, keys, link)
        if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
            return _choice(visit, whose, words["length"])
        if password != visit.field("again"):
            return _choice(visit, whose, words["differ"])
        new_passwords.set_by_link(db, keys, link, SecretStr(password), visit.source)
    except LinkNotValid:
        return _not_valid(visit)
    return _said(visit, words["done"], words["sign_in"])


def _choice(visit: Visit, whose: Invited, problem: str | None = None) -> Reply:
    words = _words(visit)
    fields = {
        "words": words,
        "email": whose.email,
        "organisation": whose.organisation,
        "problem": problem,
    }
    title = words["first" if whose.kind == "invitation" else "new"]
    return PAGES.show(visit, "new_password", title, fields, 422 if problem else 200)


def _not_valid(visit: Visit) -> Reply:
    words = _words(visit)
    onward = f"{_FORGOTTEN}?lang={visit.language}", words["another"]
    return _said(visit, words["not_valid"], words["used"], onward, status=404)


def _said(
    visit: Visit,
    title: str,
    text: str,
    onward: tuple[str, str] = ("", ""),
    *,
    status: int = 200,
) -> Reply:
    fields = {"text": text, "onward": onward[0] or None, "further": onward[1]}
    return PAGES.show(visit, "said", title, fields, status)


def _words(visit: Visit) -> dict[str, str]:
    return {what: getattr(label, visit.language) for what, label in _WORDS.items()}
