"""The part of the spec about the scoring run: the campaign, the value at stake, how long predictions are valid."""

from pydantic import Field

from models.identifiers import FeatureName
from training.spec.part import SpecPart


class ProfitSpec(SpecPart):
    """What a campaign costs and how it is taken up, for the EMPC; see training.measures.profit. There is no default."""

    clv: float = Field(gt=0)
    offer_cost: float = Field(ge=0)
    contact_cost: float = Field(ge=0)
    acceptance_alpha: float = Field(gt=0)
    acceptance_beta: float = Field(gt=0)


class CampaignSpec(SpecPart):
    """What the risks are used for.

    Attributes:
        name: Part of the hash that chooses the hold-out: another name, another hold-out.
        hold_out_share: Share of customers who are scored and left alone, so that the effect can be measured.
        capacity: Customers whom the sales team can call after a run; None: not stated, and capture is not measured.
        profit: None: not stated, and EMPC is not measured.
    """

    name: str = Field(default="default", min_length=1)
    hold_out_share: float = Field(default=0.1, ge=0, lt=1)
    capacity: int | None = Field(default=None, ge=1)
    profit: ProfitSpec | None = None


class RunSpec(SpecPart):
    """What a run says beside the risks.

    Attributes:
        valid_days: A risk is valid until so many days after its run's date.
        band_margin_log_odds: A customer leaves the band of the previous run only beyond its bound by this much.
        horizon_days: Of a table, whose labels the spec did not make; a log's is that of its snapshots.
    """

    valid_days: int = Field(default=35, ge=1)
    band_margin_log_odds: float = Field(default=0.1, ge=0)
    horizon_days: int = Field(default=30, ge=1)


class ValueSpec(SpecPart):
    """What is at stake: expected spend (or margin) within the horizon = feature * factor."""

    feature: FeatureName
    factor: float = Field(gt=0)
