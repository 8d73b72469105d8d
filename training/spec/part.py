"""The base of every table of the spec."""

from pydantic import BaseModel, ConfigDict


class SpecPart(BaseModel):
    """A table of the spec: frozen, and a misspelt key is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
