"""What looks like nothing is nothing, and no text that has to say something may be blank."""

import importlib
import pkgutil
import typing
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, TypeAdapter, ValidationError, WithJsonSchema
from pydantic.fields import FieldInfo

import liaison_sdk.contracts
from liaison_sdk.closed import Closed
from liaison_sdk.labels import Label
from liaison_sdk.texts import ExternalId, Name, Paragraphs, Seen, ShortText, is_blank, trimmed

BLANK = "\t\n\u00a0\u00ad\u115f\u180e\u2003\u2028\u200b\u200d\u202e\u2060\u2800\u3000\u3164\ufeff"


def taken(kind: Any, value: str) -> Any:
    return TypeAdapter(kind).validate_python(value, strict=True)


@pytest.mark.parametrize("kind", [Name, ExternalId, Paragraphs])
@given(st.text(BLANK))
def test_a_blank_text_is_missing_whatever_it_is_made_of(kind: Any, blank: str) -> None:
    with pytest.raises(ValidationError) as caught:
        taken(kind, blank)

    assert [error["type"] for error in caught.value.errors()] == ["missing"]


def test_both_languages_of_a_label_say_something() -> None:
    with pytest.raises(ValidationError) as caught:
        Label(en=" ", fr="\u200b")

    assert [(e["loc"], e["type"]) for e in caught.value.errors()] == [
        (("en",), "missing"),
        (("fr",), "missing"),
    ]


@given(st.text(st.sampled_from(BLANK + "aé家👩"), max_size=8))
def test_trimming_takes_blanks_from_the_ends_and_nothing_else(text: str) -> None:
    left = trimmed(text)

    assert left in text
    assert trimmed(left) == left
    assert is_blank(text) == (left == "")
    assert [sign for sign in left if not is_blank(sign)] == [s for s in text if not is_blank(s)]


def test_what_joins_and_turns_letters_stays_where_there_are_letters() -> None:
    for text in ("👩\u200d💻", "می\u200cخواهم", "\u200fאבג\u200f", "🏴\U000e0067\U000e007f"):
        assert taken(Name, f"\u00a0{text}\u200b ") == text


def test_a_text_that_may_be_blank_is_trimmed() -> None:
    assert [taken(ShortText, text) for text in ("\u00a0 a \ufeff", "\u200b ")] == ["a", ""]


def texts(annotation: Any, marks: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The marks of each text in an annotation."""
    if annotation is str:
        yield marks
    elif typing.get_origin(annotation) is typing.Annotated:
        inner, *more = typing.get_args(annotation)
        yield from texts(inner, (*marks, *more))
    elif typing.get_origin(annotation) is not typing.Literal:
        for part in typing.get_args(annotation):
            yield from texts(part)


def bodies(module: Any) -> Iterator[tuple[type[BaseModel], str, FieldInfo]]:
    for model in vars(module).values():
        if isinstance(model, type) and issubclass(model, Closed):
            for name, field in model.model_fields.items():
                yield model, name, field


def test_no_text_that_a_body_needs_may_be_blank() -> None:
    """One that has a shape of its own can't be: its pattern says so. Services send each other more
    that no person writes, as tokens: those have no limits either."""
    loose = []
    for found in pkgutil.iter_modules(liaison_sdk.contracts.__path__):
        module = importlib.import_module(f"liaison_sdk.contracts.{found.name}")
        for model, name, field in bodies(module):
            for marks in texts(field.annotation, tuple(field.metadata)):
                least = any(getattr(mark, "min_length", None) for mark in marks)
                if any(shaped(mark) for mark in marks) or Seen in marks:
                    continue
                if least or (marks and field.is_required()):
                    loose.append(f"{model.__name__}.{name}")
    # A draft is what somebody has not written yet; who has forgotten a password is always told the
    # same.
    assert loose == ["DraftText.body", "PasswordResetWanted.email"]


def shaped(mark: Any) -> bool:
    if isinstance(mark, WithJsonSchema):
        return True
    pattern = getattr(mark, "pattern", None)
    return pattern is not None and not str(pattern).startswith(r"^[^\x00]")
