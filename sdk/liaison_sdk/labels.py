"""Labels: what people read, in each language that Liaison speaks."""

from pydantic import BaseModel

from liaison_sdk.texts import Name


class Label(BaseModel):
    """A text in English and in French."""

    en: Name
    fr: Name
