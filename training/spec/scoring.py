"""The part of the spec about scoring runs: the campaign, the value at risk, and the validity of predictions."""

from pydantic import Field

from models.identifiers import FeatureName
from training.spec.part import SpecPart


class ProfitSpec(SpecPart):
    """Costs and acceptance of a campaign; training.measures.profit defines the fields and the EMPC."""

    clv: float = Field(gt=0)
    offer_cost: float = Field(ge=0)
    contact_cost: float = Field(ge=0)
    acceptance_alpha: float = Field(gt=0)
    acceptance_beta: float = Field(gt=0)


class CampaignSpec(SpecPart):
    """The campaign that uses the predictions.

    Attributes:
        name: Name of the campaign. The name is part of the hash that selects the hold-out group, so a different name
            selects a different group.
        hold_out_share: Share of customers who are scored but not contacted, so that the effect of the campaign can be
            measured.
        key_accounts: File of the customers who are never in the hold-out group, with the columns market and customer_id,
            relative to the spec file. They are no part of the experiment, so its effect is measured without them.
        capacity: Number of customers that the sales team can contact after a scoring run; if None, the capture rate is
            not measured.
        profit: Costs and acceptance of the campaign; if None, the EMPC is not measured.
    """

    name: str = Field(default="default", min_length=1)
    hold_out_share: float = Field(default=0.1, ge=0, lt=1)
    key_accounts: str | None = None
    capacity: int | None = Field(default=None, ge=1)
    profit: ProfitSpec | None = None


class RunSpec(SpecPart):
    """Facts that a scoring run states in addition to its predictions.

    Attributes:
        valid_days: Days after the date of the run for which a prediction is valid.
        band_margin_log_odds: Margin in log-odds. A customer leaves the band of the previous run only if the log-odds of
            the customer are outside of that band by more than the margin.
        horizon_days: Horizon of the labels of a table, in days. The horizon of a log is snapshots.horizon_days.
        currency: ISO 4217 code of the amounts of [value] in a table; XXX is the code for no currency. The currency of a log
            is log.currency.
    """

    valid_days: int = Field(default=35, ge=1)
    band_margin_log_odds: float = Field(default=0.1, ge=0)
    horizon_days: int = Field(default=30, ge=1)
    currency: str = Field(default="XXX", pattern=r"^[A-Z]{3}$")


class ValueSpec(SpecPart):
    """The spend (or margin) that is expected of a customer within the longest horizon: feature * factor.

    Without [value], a log uses the net spend of the shortest of the last 30, 90, 180 and 365 days that covers
    snapshots.active_days. If the spend of a customer of a log is 0 or less, the net spend of the whole history, per day of
    the tenure, replaces it.

    Attributes:
        feature: Name of the feature.
        factor: Factor that converts the feature to the spend within the longest horizon.
    """

    feature: FeatureName
    factor: float = Field(gt=0)
