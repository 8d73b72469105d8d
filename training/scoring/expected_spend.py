"""Computes the spend expected of each customer within the horizon.

Features are doubles. The computation starts from their values, and rounds each step to 28 decimal digits and the result
to minor units. It is therefore not exact, but the same on every machine.

A customer of a transaction log who has spent something on balance has an expected spend above 0.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

import pyarrow as pa
import pyarrow.compute as pc

from training.spec import Spec

_WINDOWS = (30, 90, 180, 365)  # features.sql has the net spend of these numbers of days
# Spend of the whole history: the first of these columns that the data have.
_TOTALS = ("net_spend_total", "spend_total")
_TENURE = "tenure_days"


@dataclass(frozen=True, slots=True)
class ExpectedSpend:
    """How the expected spend of a customer is computed from columns of the data.

    Attributes:
        longest: The longest horizon in days.
        feature: The column of the spend; "" for none.
        factor: The factor that converts this spend to the spend within the longest horizon.
        total: The column of the spend of the whole history, which replaces a spend of 0 or less; "" for none.
    """

    longest: int
    feature: str
    factor: Decimal
    total: str

    @classmethod
    def from_spec(cls, spec: Spec, present: Collection[str]) -> "ExpectedSpend":
        """Return how a spec computes the spend from the columns that are present.

        Without [value], a log uses the net spend of the shortest window that covers active_days. A window that is
        shorter would be empty for a customer whose last purchase is older than the window.
        """
        longest = spec.snapshots.horizon_days if spec.snapshots else spec.run.horizon_days
        total = next((name for name in _TOTALS if name in present), "") if _TENURE in present else ""
        if spec.value is not None:
            return cls(longest, spec.value.feature, Decimal(spec.value.factor), total if spec.log else "")
        if spec.snapshots is None:
            return cls(longest, "", Decimal(0), "")
        days = next((one for one in _WINDOWS if one >= spec.snapshots.active_days), 0)
        feature = next((name for name in (f"net_spend_{days}", f"spend_{days}") if name in present), "")
        return cls(longest, feature, Decimal(longest) / days if feature else Decimal(0), total)

    @property
    def columns(self) -> list[str]:
        """Return the columns that the computation reads."""
        return [name for name in (self.feature, self.total, _TENURE if self.total else "") if name]

    def amounts(self, scored: pa.Table) -> list[Decimal]:
        """Return the expected spend of every customer within the customer's own horizon; 0 if it is unknown."""
        days = scored["horizon_days"].to_pylist()
        spends = _decimals(scored, self.feature)
        totals, tenures = _decimals(scored, self.total), _decimals(scored, _TENURE if self.total else "")
        return [
            spend * self.factor * own / self.longest if spend > 0 else max(total, Decimal(0)) * own / max(tenure, own)
            for spend, total, tenure, own in zip(spends, totals, tenures, days, strict=True)
        ]


def minor_units(amount: Decimal) -> int:
    """Return an amount in minor units, rounded half to even; an amount above 0 is at least 1 minor unit."""
    rounded = int((amount * 100).quantize(Decimal(1), rounding=ROUND_HALF_EVEN))
    return max(rounded, 1) if amount > 0 else rounded


def _decimals(scored: pa.Table, name: str) -> Sequence[Decimal]:
    """Return the doubles of a column as decimals of the same value, with 0 for a missing value; all 0 without a name."""
    if not name:
        return [Decimal(0)] * len(scored)
    values = pc.cast(scored[name], pa.float64()).to_pylist()
    return [Decimal(0) if value is None or value != value else Decimal(value) for value in values]  # noqa: PLR0124 - NaN
