"""The base class of every TOML table of the spec."""

from pydantic import BaseModel, ConfigDict


class SpecPart(BaseModel):
    """A TOML table of the spec. It is immutable, and rejects unknown keys and non-finite numbers."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
