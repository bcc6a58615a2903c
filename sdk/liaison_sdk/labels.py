"""Labels: what people read, in each language that Liaison speaks."""

from pydantic import BaseModel


class Label(BaseModel):
    """A text in English and in French."""

    en: str
    fr: str
