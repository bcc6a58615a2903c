"""Required texts say something: spaces of all kinds and signs without a width are no text."""

import pytest
from pydantic import BaseModel, ValidationError

from liaison_sdk.contracts.connect import NewTemplate
from liaison_sdk.contracts.contacts import NewCompany, NewNote
from liaison_sdk.contracts.identity import NewTeam, NewUser
from liaison_sdk.contracts.sales import NewOpportunity, NewProduct

BLANKS = ["", " ", "\t\n", "\u00a0", "\u3000 \u2003", "\u200b", "\u2060\ufeff", " \u200d\u00ad "]
REQUIRED = [
    (NewCompany, "name"),
    (NewNote, "body"),
    (NewOpportunity, "name"),
    (NewProduct, "name"),
    (NewTeam, "name"),
    (NewUser, "name"),
    (NewTemplate, "name"),
    (NewTemplate, "subject"),
]


@pytest.mark.parametrize("blank", BLANKS, ids=ascii)
@pytest.mark.parametrize(("shape", "name"), REQUIRED)
def test_blanks_are_no_text(shape: type[BaseModel], name: str, blank: str) -> None:
    with pytest.raises(ValidationError) as caught:
        shape.model_validate({name: blank})

    wrong = {error["loc"]: error["type"] for error in caught.value.errors()}
    assert wrong[(name,)] in ("string_too_short", "missing")
