"""The manifest of a run file. Only the keys that readers of the run need are validated."""

from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from models.field_problems import field_path, field_problems
from models.identifiers import Family, Sha256
from server.errors import LoadRefused

_BAND_NAMES = ("LOW", "MEDIUM", "HIGH", "CRITICAL")  # as in the .proto files, in ascending order of risk
CurrencyCode = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
STATUSES = ("SCORED", "NOT_ENOUGH_HISTORY", "CLOSED", "BLOCKED_BY_US", "MOVED_ENTITY")  # as in the .proto files


class BandBound(BaseModel):
    """A band and the largest probability that belongs to this band."""

    band: Literal["LOW", "MEDIUM", "HIGH", "CRITICAL"]
    max_pd: float = Field(gt=0, le=1)


class RunManifest(BaseModel):
    """The description of a run. The cut of a run is its as-of time: the predictions use data up to the cut only.

    Attributes:
        bands: The bands in ascending order of risk. A probability above the max_pd of the last band belongs to the last band.
        band_margin_log_odds: Hysteresis margin: a customer leaves the band of the previous run only if the log-odds are
            beyond the bound of that band by more than this margin.
        currency: ISO 4217 code of the currency of the amounts; XXX if the markets have different currencies.
        currencies: The currency of each market if the markets have different currencies.
        horizon_days: Number of days after the cut to which the probabilities refer.
        valid_days: Number of days after the cut for which the predictions may be used.
        campaign: The campaign whose hold-out group is marked in the run; "" if there is no campaign.
        hold_out_share: Share of customers in the hold-out group, 0 to 1.
        counts: Number of customers by status, in all markets of the file.
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
    currency: CurrencyCode
    currencies: dict[str, CurrencyCode] = {}
    bands: list[BandBound] = Field(min_length=1)
    band_margin_log_odds: float = Field(ge=0)
    horizon_days: int = Field(ge=1)
    valid_days: int = Field(ge=1)
    campaign: str = ""
    hold_out_share: float = Field(default=0.0, ge=0, lt=1)
    counts: dict[str, int]

    @model_validator(mode="after")
    def _check_lists(self) -> Self:
        """Check that the bands ascend by name and by bound, and that there are as many feature groups as features."""
        ranks = [_BAND_NAMES.index(band.band) for band in self.bands]
        bounds = [band.max_pd for band in self.bands]
        if ranks != sorted(set(ranks)) or bounds != sorted(set(bounds)):
            raise ValueError(f"bands: must be in the order {', '.join(_BAND_NAMES)}, with ascending max_pd")
        if len(self.feature_groups) != len(self.feature_names):
            raise ValueError("feature_groups: must have as many entries as feature_names")
        return self


REQUIRED_KEYS = {name for name, field in RunManifest.model_fields.items() if field.is_required()}


def parse_manifest(path: Path, manifest: dict[str, Any]) -> RunManifest:
    """Validate the manifest of a run.

    Raises:
        LoadRefused: The manifest is invalid. The message lists every problem.
    """
    try:
        return RunManifest.model_validate(manifest)
    except ValidationError as error:
        problems = [f"{field_path(field)}: {problem}" for field, problem in field_problems(error)]
        raise LoadRefused(f"{path}: manifest: {'; '.join(problems)}") from error
