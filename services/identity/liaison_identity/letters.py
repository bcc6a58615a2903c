"""What identity writes to people: an invitation, a link to a new password; English and French."""

from functools import cache
from importlib.resources import files
from typing import Literal

from liaison_kit.templates import render
from liaison_sdk.contracts.connect import Content
from liaison_sdk.labels import Label

_WORDS: dict[str, dict[str, Label]] = {
    "reset": {
        "subject": Label(en="Your new password", fr="Votre nouveau mot de passe"),
        "why": Label(
            en="somebody has asked for a new password for your account at",
            fr="quelqu'un a demandé un nouveau mot de passe pour votre compte chez",
        ),
        "act": Label(en="Choose a new password", fr="Choisir un nouveau mot de passe"),
        "until": Label(
            en="The link can be used once, within an hour. If it was not you, do nothing:"
            " your password stays as it is.",
            fr="Le lien est valable une seule fois, pendant une heure. Si ce n'était pas vous, ne"
            " faites rien : votre mot de passe reste le même.",
        ),
    },
    "invitation": {
        "subject": Label(en="Your account", fr="Votre compte"),
        "why": Label(en="there is an account for you at", fr="un compte vous attend chez"),
        "act": Label(en="Choose a password", fr="Choisir un mot de passe"),
        "until": Label(
            en="The link can be used once, within seven days. After that, ask whoever invited you"
            " for another one.",
            fr="Le lien est valable une seule fois, pendant sept jours. Ensuite, demandez-en un"
            " autre à la personne qui vous a invité.",
        ),
    },
}
_HELLO = Label(en="Hello", fr="Bonjour")


def of(
    kind: str, language: Literal["en", "fr"], name: str, organisation: str, link: str
) -> Content:
    """The letter of this kind."""
    words = {what: getattr(label, language) for what, label in _WORDS[kind].items()}
    fields = {
        **words,
        "hello": getattr(_HELLO, language),
        "language": language,
        # A name of several lines would write lines of its own into the letter.
        "name": " ".join(name.split()),
        "organisation": " ".join(organisation.split()),
        "link": link,
    }
    return Content(
        subject=f"{words['subject']} – {fields['organisation']}",
        text=render(_source("letter.txt"), "mail.letter.txt", fields),
        html=render(_source("letter.html"), "mail.letter.html", fields, html=True),
    )


@cache
def _source(name: str) -> str:
    return files("liaison_identity").joinpath("mail", name).read_text()
