"""Approval, referral and override rates by market and month, with Jeffreys intervals; decisions by outcome and grade."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from grounds.credit.v1 import credit_pb2
from server.decisions.policy import PolicyOutcome
from server.model_monitoring.intervals import FigureInterval, share_interval
from server.model_monitoring.recorded_window import CellKey, WatchedCell

CUSTOMERS_MIN = 50  # customers in a month below which only the number of decisions is said
_APPROVALS = {PolicyOutcome.APPROVE, PolicyOutcome.APPROVE_REDUCED}


@dataclass(frozen=True, slots=True)
class DecisionRates:
    """The decisions of one market and month. With too few customers, a rate is None and nothing is counted by group.

    Attributes:
        market: The market.
        month: The month.
        newest_bundle_id: The bundle of the newest decision. If several bundles decided in the month, estimates and
            vintages for alerts and plots are those of this one; the rates here are of all decisions.
        decisions: Number of decisions.
        customers: Number of different customers.
        approval: Share of approvals without a person, including those of a reduced amount.
        referral: Share of decisions that are left to a person.
        override: Share of decisions with an override in force.
        outcomes: Number of decisions by outcome.
        grades: Number of decisions by grade; "" for customers who are not scorable.
        sides: Number of overrides in force by side.
    """

    market: str
    month: str
    newest_bundle_id: str
    decisions: int
    customers: int
    approval: FigureInterval | None
    referral: FigureInterval | None
    override: FigureInterval | None
    outcomes: Mapping[str, int]
    grades: Mapping[str, int]
    sides: Mapping[str, int]


def decision_rates(cells: Mapping[CellKey, WatchedCell]) -> tuple[DecisionRates, ...]:
    """Return the rates of every market and month."""
    together: dict[tuple[str, str], dict[str, WatchedCell]] = {}
    for (market, month, bundle_id), cell in sorted(cells.items()):
        together.setdefault((market, month), {})[bundle_id] = cell
    return tuple(_rates(market, month, by_bundle) for (market, month), by_bundle in sorted(together.items()))


def _rates(market: str, month: str, cells: Mapping[str, WatchedCell]) -> DecisionRates:
    """Return the rates of one market and month from its cells by bundle."""
    newest_bundle_id = max(cells, key=lambda bundle_id: cells[bundle_id].newest)
    decisions = [each for cell in cells.values() for each in cell.decisions]
    count, customers = len(decisions), len({each.customer for each in decisions})
    if customers < CUSTOMERS_MIN:
        return DecisionRates(market, month, newest_bundle_id, count, customers, None, None, None, {}, {}, {})
    approved = sum(each.outcome in _APPROVALS for each in decisions)
    referred = sum(each.outcome is PolicyOutcome.REFER for each in decisions)
    sides = Counter(each.override_side for each in decisions if each.override_side is not None)
    return DecisionRates(
        market=market,
        month=month,
        newest_bundle_id=newest_bundle_id,
        decisions=count,
        customers=customers,
        approval=share_interval(approved, count),
        referral=share_interval(referred, count),
        override=share_interval(sum(sides.values()), count),
        outcomes=dict(sorted(Counter(each.outcome.name for each in decisions).items())),
        grades=dict(sorted(Counter(each.grade for each in decisions).items())),
        sides={
            credit_pb2.OverrideSide.Name(side).removeprefix("OVERRIDE_SIDE_"): number
            for side, number in sorted(sides.items())
        },
    )
