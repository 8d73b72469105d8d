"""The base of every table of the spec."""

from pydantic import BaseModel, ConfigDict


class SpecPart(BaseModel):
    """A table of the spec: immutable; unknown keys and non-finite numbers are rejected."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
