"""What requests and answers have in common."""

from pydantic import BaseModel, ConfigDict


class Model(BaseModel):
    """Unknown fields are refused: a misspelt option must not be ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True)
