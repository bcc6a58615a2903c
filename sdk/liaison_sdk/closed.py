"""What every request body is."""

from pydantic import BaseModel, ConfigDict


class Closed(BaseModel):
    """A request body: fields it does not know are an error, not a silent loss."""

    model_config = ConfigDict(extra="forbid")
