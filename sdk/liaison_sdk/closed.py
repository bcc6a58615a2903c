"""What every request body is, and how one says which of its fields is at fault."""

from typing import LiteralString

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import InitErrorDetails, PydanticCustomError


class Closed(BaseModel):
    """A request body: fields it does not know are an error, not a silent loss."""

    model_config = ConfigDict(extra="forbid")

    def fault(self, name: str, code: LiteralString, said: str) -> ValidationError:
        """What a check of the whole raises where one of its fields is at fault."""
        wrong = PydanticCustomError(code, "{said}", {"said": said})
        at = InitErrorDetails(type=wrong, loc=(name,), input=getattr(self, name))
        return ValidationError.from_exception_data(type(self).__name__, [at])
