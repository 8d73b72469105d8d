"""Reads the recorded decisions of a window with their overrides and outcomes, grouped by market, month and bundle.

The reading is recorded once, with its purpose, before the first record is decrypted. No customer number and no id leaves
this module.
"""

import datetime as dt
import math
from array import array
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from grounds.audit.v1 import audit_pb2, bodies_pb2
from grounds.credit.v1 import credit_pb2
from server.decisions.policy import PolicyOutcome
from server.edges.audit.readings import WindowReading, record_window_reading
from server.edges.credit.events import CREDIT_OUTCOME, CREDIT_OVERRIDE
from server.edges.explanations import time_from_timestamp
from server.model_monitoring.months import month_of
from server.stores.record_log.decision_index import DecisionIndex, DecisionQuery
from server.stores.record_log.log import RecordLog
from server.stores.record_log.record_reader import CUSTOMER_ERASED

METHOD = "watch"  # in the record of the reading
_EARLIEST = dt.datetime.min.replace(tzinfo=dt.UTC)
_DAY = dt.timedelta(days=1)
CellKey = tuple[str, str, str]  # market, month, bundle_id


class _OutcomeEvent(NamedTuple):
    """An outcome without what the review does not need, because the outcomes of a window are kept until all are read."""

    outcome_id: str
    corrects: str
    event: str
    day: tuple[int, int, int]


@dataclass(slots=True)
class WatchedDecision:
    """A recorded decision with what happened to it later.

    Attributes:
        day: The day of the decision, UTC.
        outcome: The outcome of the policy.
        grade: The grade; "" if the customer is not scorable.
        pd: The probability of default; None if the customer is not scorable.
        log_odds: The calibrated log-odds; None in the same case.
        customer: A number that stands for the customer within the window.
        override_side: How the override in force relates to the decision; None if there is none.
        is_booked: Whether the credit was booked.
        default_day: The day of the first default; None if there is none.
    """

    day: dt.date
    outcome: PolicyOutcome
    grade: str
    pd: float | None
    log_odds: float | None
    customer: int
    override_side: credit_pb2.OverrideSide | None = None
    is_booked: bool = False
    default_day: dt.date | None = None


@dataclass(slots=True)
class WatchedCell:
    """The decisions of one market and month that were scored by one bundle.

    Attributes:
        features: The names of the model's features.
        decisions: All decisions that can be read.
        log_odds: The log-odds of each customer's first decision of the month, of those that were scored.
        newest: The time of the newest decision.
    """

    features: tuple[str, ...]
    decisions: list[WatchedDecision] = field(default_factory=list)
    log_odds: "array[float]" = field(default_factory=lambda: array("d"))
    newest: dt.datetime = _EARLIEST
    _values: "array[float]" = field(default_factory=lambda: array("d"))
    _ages: "array[float]" = field(default_factory=lambda: array("d"))
    _customers: set[int] = field(default_factory=set)

    def add(self, decision: WatchedDecision, recorded: audit_pb2.DecisionRecord) -> None:
        """Add a decision. Inputs are kept of a customer's first decision only, because samples must be independent."""
        self.decisions.append(decision)
        decided = time_from_timestamp(recorded.decide_time)
        self.newest = max(self.newest, decided)
        if decision.customer in self._customers:
            return
        self._customers.add(decision.customer)
        if decision.log_odds is not None:
            self.log_odds.append(decision.log_odds)
        by_name = {each.feature: each for each in recorded.features}
        for name in self.features:
            each = by_name.get(name)
            has_value, has_time = (
                each is not None and each.HasField("value"),
                each is not None and each.HasField("as_of_time"),
            )
            self._values.append(each.number if has_value and each is not None else math.nan)
            age = (decided - time_from_timestamp(each.as_of_time)) / _DAY if has_time and each is not None else math.nan
            self._ages.append(age)

    @property
    def customers(self) -> int:
        """Return the number of different customers."""
        return len(self._customers)

    def values(self) -> NDArray[np.float64]:
        """Return the encoded inputs of each customer's first decision, shape (customers, features); NaN if missing."""
        return np.frombuffer(self._values, dtype=np.float64).reshape(-1, len(self.features))

    def ages(self) -> NDArray[np.float64]:
        """Return the ages of these inputs in days; NaN if missing or sent with the request."""
        return np.frombuffer(self._ages, dtype=np.float64).reshape(-1, len(self.features))


@dataclass(slots=True)
class WatchCounts:
    """How many records of a window were read, and why others were not.

    Attributes:
        decisions: Number of decisions in the window.
        markets: The markets of these decisions, also of those that cannot be read.
        read: Number of decisions that were read.
        left_out: Number of decisions that were not read, by reason.
        erased_customers: Number of customers in the window who were erased.
        overrides: Number of overrides of these decisions.
        outcomes: Number of outcomes of these decisions.
        events_left_out: Number of overrides and outcomes that were not read, by reason. They may belong to decisions
            outside the window.
    """

    decisions: int = 0
    markets: Sequence[str] = ()
    read: int = 0
    left_out: Counter[str] = field(default_factory=Counter)
    erased_customers: int = 0
    overrides: int = 0
    outcomes: int = 0
    events_left_out: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class WatchedWindow:
    """The recorded decisions of a window.

    Attributes:
        start: The first moment of the window.
        end: The moment at which the window ends.
        as_of: The moment at which overrides and outcomes are known. Later ones are not used.
        cells: The decisions by market, month and bundle.
    """

    start: dt.datetime
    end: dt.datetime
    as_of: dt.datetime
    cells: dict[CellKey, WatchedCell] = field(default_factory=dict)
    counts: WatchCounts = field(default_factory=WatchCounts)


def read_window(
    log: RecordLog, query: DecisionQuery, as_of: dt.datetime, *, purpose: str, operator: str, at: dt.datetime
) -> WatchedWindow:
    """Record the reading of a window, then read its decisions, overrides and outcomes.

    Args:
        log: The record log.
        query: Conditions on the decisions, with a start and an end.
        as_of: The moment at which overrides and outcomes are known.
        purpose: Why the evidence is read, which is recorded permanently.
        operator: Account of the operator.
        at: The time of the record of the reading.

    Raises:
        StoreUnavailable: The database does not answer, or the reading was not recorded.
    """
    assert query.start is not None, "a window has a start"
    assert query.end is not None, "a window has an end"
    index = DecisionIndex(log.database)
    indexes = index.read_indexes(query)
    counts = WatchCounts(decisions=len(indexes), markets=index.read_markets(query))
    window = WatchedWindow(query.start, query.end, as_of, counts=counts)
    reading = WindowReading(
        method=METHOD, window=query, decision_count=len(indexes), purpose=purpose, operator=operator
    )
    record_window_reading(log, reading, at)
    by_id = _read_decisions(log, indexes, window)
    events = index.read_event_indexes((CREDIT_OVERRIDE, CREDIT_OUTCOME), query.start, as_of, query.market)
    _read_events(log, events, by_id, window.counts)
    return window


def _read_decisions(log: RecordLog, indexes: Sequence[int], window: WatchedWindow) -> dict[str, WatchedDecision]:
    """Add the decisions with these record indexes to their cells; return them by decision_id."""
    found, erased, counts = {}, set(), window.counts
    customers: dict[str, int] = {}
    for tag, record in log.reader.open_each(indexes):
        if isinstance(record, str):
            counts.left_out[record] += 1
            if record == CUSTOMER_ERASED:
                erased.add(tag)
            continue
        recorded = audit_pb2.DecisionRecord.FromString(record.body)
        decision = _watched_decision(recorded, customers.setdefault(tag, len(customers)))
        market, features = record.header.labels["market"], tuple(each.feature for each in recorded.features)
        key = (market, month_of(decision.day), recorded.bundle_id)
        window.cells.setdefault(key, WatchedCell(features)).add(decision, recorded)
        found[record.header.record_id] = decision
        counts.read += 1
    counts.erased_customers = len(erased)
    return found


def _watched_decision(recorded: audit_pb2.DecisionRecord, customer: int) -> WatchedDecision:
    """Return a decision from the body of its record."""
    answer = credit_pb2.CreditDecision.FromString(recorded.answer)
    is_scored = recorded.HasField("numbers")
    return WatchedDecision(
        day=time_from_timestamp(recorded.decide_time).date(),
        outcome=PolicyOutcome(int(answer.decision)),
        grade=answer.assessment.model_output.grade,
        pd=recorded.numbers.pd if is_scored else None,
        log_odds=recorded.numbers.log_odds if is_scored else None,
        customer=customer,
    )


def _read_events(
    log: RecordLog, indexes: Sequence[int], decisions: dict[str, WatchedDecision], counts: WatchCounts
) -> None:
    """Set the overrides and outcomes of decisions from the records with these indexes."""
    outcomes: dict[str, list[_OutcomeEvent]] = {}
    for _, record in log.reader.open_each(indexes):
        if isinstance(record, str):
            counts.events_left_out[record] += 1
            continue
        answer = bodies_pb2.EventRecord.FromString(record.body).answer
        if record.header.kind == CREDIT_OVERRIDE:
            override = credit_pb2.Override.FromString(answer)
            if override.decision_id in decisions:
                counts.overrides += 1
                withdrawn = override.side == credit_pb2.OVERRIDE_SIDE_WITHDRAWAL
                decisions[override.decision_id].override_side = None if withdrawn else override.side
            continue
        outcome = credit_pb2.Outcome.FromString(answer)
        if outcome.decision_id in decisions:
            counts.outcomes += 1
            outcomes.setdefault(outcome.decision_id, []).append(_outcome_event(outcome))
    for decision_id, found in outcomes.items():
        _apply_outcomes(decisions[decision_id], found)


def _outcome_event(outcome: credit_pb2.Outcome) -> _OutcomeEvent:
    """Return what the review needs of an outcome."""
    day = outcome.event_date
    return _OutcomeEvent(
        outcome_id=outcome.outcome_id,
        corrects=outcome.corrects_outcome_id,
        event=outcome.WhichOneof("event") or "",
        day=(day.year, day.month, day.day),
    )


def _apply_outcomes(decision: WatchedDecision, outcomes: Sequence[_OutcomeEvent]) -> None:
    """Set whether a decision was booked, and its first default. A corrected outcome does not count."""
    corrected = {each.corrects for each in outcomes}
    for each in outcomes:
        if each.outcome_id in corrected:
            continue
        if each.event == "booked":
            decision.is_booked = True
        elif each.event == "default":
            day = dt.date(*each.day)
            decision.default_day = min(day, decision.default_day or day)
