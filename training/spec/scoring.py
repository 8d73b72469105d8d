"""The part of the spec about the scoring run: the campaign, the value at stake, how long predictions are valid."""

from pydantic import Field

from models.identifiers import FeatureName
from training.spec.part import SpecPart


class ProfitSpec(SpecPart):
    """Costs and acceptance of a campaign, for the EMPC; see training.measures.profit. There is no default."""

    clv: float = Field(gt=0)
    offer_cost: float = Field(ge=0)
    contact_cost: float = Field(ge=0)
    acceptance_alpha: float = Field(gt=0)
    acceptance_beta: float = Field(gt=0)


class CampaignSpec(SpecPart):
    """The campaign that uses the predictions.

    Attributes:
        name: Part of the hash that selects the hold-out group; another name selects another group.
        hold_out_share: Share of customers who are scored but not contacted, so that the effect can be measured.
        capacity: Customers that the sales team can call after a scoring run; if None, capture is not measured.
        profit: If None, the EMPC is not measured.
    """

    name: str = Field(default="default", min_length=1)
    hold_out_share: float = Field(default=0.1, ge=0, lt=1)
    capacity: int | None = Field(default=None, ge=1)
    profit: ProfitSpec | None = None


class RunSpec(SpecPart):
    """What a scoring run states beside its predictions.

    Attributes:
        valid_days: Days after the date of the run for which a prediction is valid.
        band_margin_log_odds: A customer leaves the band of the previous run only by crossing its bound by this much.
        horizon_days: Horizon of the labels of a table; that of a log is snapshots.horizon_days.
    """

    valid_days: int = Field(default=35, ge=1)
    band_margin_log_odds: float = Field(default=0.1, ge=0)
    horizon_days: int = Field(default=30, ge=1)


class ValueSpec(SpecPart):
    """The value at stake: expected spend (or margin) within the horizon = feature * factor."""

    feature: FeatureName
    factor: float = Field(gt=0)
