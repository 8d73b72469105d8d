"""The manifest of a run file, as far as readers of the run need it."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from models.identifiers import Family, Sha256
from server.errors import LoadRefused

_BAND_NAMES = ("LOW", "MEDIUM", "HIGH", "CRITICAL")  # those of the contract, rising
STATUSES = ("SCORED", "NOT_ENOUGH_HISTORY", "CLOSED", "BLOCKED_BY_US", "MOVED_ENTITY")  # those of the contract


class BandBound(BaseModel):
    """A band and the largest probability in it."""

    band: Literal["LOW", "MEDIUM", "HIGH", "CRITICAL"]
    max_pd: float = Field(gt=0, le=1)


class RunManifest(BaseModel):
    """What a run says of itself.

    Attributes:
        bands: Rising; what is above the last one's max_pd is in it too.
        band_margin_log_odds: How far beyond a bound a customer must be to leave the band of the previous run.
        horizon_days: Days after the cut that the probabilities speak of.
        valid_days: Days after the cut in which they may be acted on.
        campaign: Whose hold-out the run marks; "" where there is none.
        counts: Customers by status, in all markets of the file.
    """

    model_config = ConfigDict(extra="ignore", allow_inf_nan=False, strict=True)

    family: Family
    run_id: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    bundle_id: Sha256
    feature_names: list[str] = Field(min_length=1)
    feature_groups: list[str]
    base_value: float
    method: Literal["interventional", "path_dependent"]
    baseline_sha256: Sha256
    baseline_rows: int = Field(ge=1)
    baseline_definition: str = Field(min_length=1)
    currency: Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
    bands: list[BandBound] = Field(min_length=1)
    band_margin_log_odds: float = Field(ge=0)
    horizon_days: int = Field(ge=1)
    valid_days: int = Field(ge=1)
    campaign: str = ""
    hold_out_share: float = Field(default=0.0, ge=0, lt=1)
    counts: dict[str, int]

    @model_validator(mode="after")
    def _check_lists(self) -> Self:
        """Refuse bands that do not rise in name and bound, and lists that do not go together."""
        places = [_BAND_NAMES.index(band.band) for band in self.bands]
        bounds = [band.max_pd for band in self.bands]
        if places != sorted(set(places)) or bounds != sorted(set(bounds)):
            raise ValueError("bands must rise, in name and in max_pd")
        if len(self.feature_groups) != len(self.feature_names):
            raise ValueError("feature_groups must be as many as feature_names")
        return self


REQUIRED_KEYS = {name for name, field in RunManifest.model_fields.items() if field.is_required()}


def parse_manifest(path: Path, manifest: dict[str, Any]) -> RunManifest:
    """Refuse a manifest that does not say what the run is.

    Raises:
        LoadRefused: Names everything that is wrong.
    """
    try:
        return RunManifest.model_validate(manifest)
    except ValidationError as error:
        problems = [f"{'.'.join(str(part) for part in e['loc'])}: {e['msg']}" for e in error.errors()]
        raise LoadRefused(f"{path}: the manifest: {'; '.join(problems)}") from error
