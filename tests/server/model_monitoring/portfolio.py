"""Made portfolios: recorded decisions of two markets over two years, with overrides, bookings and defaults.

The decisions are made by the model and the policy themselves, and written by the functions that the server uses. Only the
time is made. The customers come from the same law as those of the training, unless a change is planted.
"""

import datetime as dt
import itertools
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pandas as pd
from google.type.date_pb2 import Date

from grounds.audit.v1 import bodies_pb2
from grounds.credit.v1 import credit_pb2
from grounds_record.header import SUBJECT_LABEL
from models.bundle import Bundle
from models.model import Model, open_model
from server.decisions.assessment import assess_several
from server.decisions.policy import Policy, parse_policy
from server.decisions.sourced_values import SourcedValue
from server.edges.credit import decision_making
from server.edges.credit.decision_making import CheckedApplication, DecisionRequest, NewDecision
from server.edges.credit.events import CREDIT_OUTCOME, CREDIT_OVERRIDE
from server.edges.credit.messages import application_from_request
from server.edges.identity.callers import Caller
from server.edges.received_request import ReceivedRequest
from server.model_monitoring.months import add_months, months_between
from server.stores.record_log.entries import LogEntry, new_record_id
from server.stores.record_log.log import RecordLog
from tests.server.requests import customer, euros, score_request
from tests.small import POLICY, made_customers

START, END = dt.date(2024, 1, 1), dt.date(2026, 1, 1)
AS_OF = dt.datetime(2026, 1, 15, tzinfo=dt.UTC)
MONTHS = months_between(START, END)
POLICY_TEXT = POLICY.replace(
    "valid_days = 14\n",
    'valid_days = 14\n\n[sections.overrides]\nsecond_person_above = 10000\nhigh_side = ["FRAUD_SUSPECTED"]\n'
    'low_side = ["NEW_INFORMATION"]\n',
)
_CALLER = Caller("loan-desk")
_ACTIVATION = str(uuid.UUID(int=1))
_TOGETHER = 1000
Change = Callable[[str, str, pd.DataFrame, np.random.Generator], pd.DataFrame]  # market, month, customers, generator


@dataclass(slots=True)
class PortfolioTruth:
    """What was written, counted where it was made, by market and month."""

    decisions: dict[tuple[str, str], int] = field(default_factory=dict)
    booked: dict[tuple[str, str], int] = field(default_factory=dict)
    defaults: dict[tuple[str, str], int] = field(default_factory=dict)
    overrides: dict[tuple[str, str], int] = field(default_factory=dict)
    approvals: dict[tuple[str, str], int] = field(default_factory=dict)


def no_change(_market: str, _month: str, customers: pd.DataFrame, _generator: np.random.Generator) -> pd.DataFrame:
    """Return the customers as they are."""
    return customers


def write_portfolio(
    log: RecordLog, bundle: Bundle, *, per_month: int, seed: int, change: Change = no_change
) -> PortfolioTruth:
    """Write the portfolio to a log, month by month; return what was written.

    Args:
        log: The record log.
        bundle: The bundle that decides in both markets.
        per_month: Number of applicants in each market and month, before a change removes some.
        seed: Seed of everything that is random.
        change: Changes the customers of a market and month.
    """
    truth, generator = PortfolioTruth(), np.random.default_rng(seed)
    model, policy = open_model(bundle), replace(parse_policy(POLICY_TEXT.encode(), "policy"), activation_id=_ACTIVATION)
    for number, month in enumerate(MONTHS):
        entries: list[LogEntry] = []
        for market, offset in (("DE", 0), ("FR", 1)):
            own = made_customers(per_month, seed=seed + 2 * number + offset).assign(country=market)
            own = change(market, month, own.reset_index(drop=True), generator)
            entries.extend(_month_entries(model, policy, market, month, own, generator, truth))
        for start in range(0, len(entries), _TOGETHER):
            for result in log.append(entries[start : start + _TOGETHER]):
                assert not isinstance(result, Exception), result
    return truth


def _month_entries(
    model: Model,
    policy: Policy,
    market: str,
    month: str,
    customers: pd.DataFrame,
    generator: np.random.Generator,
    truth: PortfolioTruth,
) -> Iterator[LogEntry]:
    """Yield the decisions of a month with their events."""
    key = (market, month)
    requests = [
        _request(model, policy, market, month, index, row, generator)
        for index, row in enumerate(customers.to_dict("records"))
    ]
    for request, assessment in zip(
        requests, assess_several(model, policy, [each.question for each in requests]), strict=True
    ):
        assert not isinstance(assessment, Exception)
        request.assessment = assessment
        decision_making._build(request)
    for name in ("decisions", "booked", "defaults", "overrides", "approvals"):
        getattr(truth, name).setdefault(key, 0)
    for request, is_bad in zip(requests, customers["bad"].tolist(), strict=True):
        assert isinstance(request.outcome, NewDecision)
        yield request.outcome.entry
        truth.decisions[key] += 1
        yield from _events(request, bool(is_bad), generator, truth, key)


def _request(
    model: Model,
    policy: Policy,
    market: str,
    month: str,
    index: int,
    row: Mapping[Any, Any],
    generator: np.random.Generator,
) -> DecisionRequest:
    """Return the request of a customer, with its question."""
    at = dt.datetime.fromisoformat(f"{month}-01T00:00:00+00:00") + dt.timedelta(
        minutes=int(generator.integers(28 * 1440))
    )
    message = score_request(customer=customer(market, f"{month}-{index:05d}"), requested_amount=euros(1000))
    application = application_from_request(message)
    section = policy.section(market, application.product, at.date())
    assert section is not None
    values = {name: float(row[name]) for name in model.bundle.schema.names if not pd.isna(row[name])}
    inputs = {name: SourcedValue(value, "STORE", at - dt.timedelta(days=20)) for name, value in values.items()}
    request = DecisionRequest(ReceivedRequest(message, message.SerializeToString(), _CALLER), at)
    request.application = CheckedApplication(application, model, policy, section, at, _ACTIVATION)
    request.question = application.question(section, inputs, at)
    return request


def _events(
    request: DecisionRequest,
    is_bad: bool,  # noqa: FBT001 - a column of the table
    generator: np.random.Generator,
    truth: PortfolioTruth,
    key: tuple[str, str],
) -> Iterator[LogEntry]:
    """Yield the events of a decision: persons approve six of ten referrals, nearly all approvals are booked."""
    outcome, at = request.assessment.outcome.name, request.application.at
    is_approval, draw = outcome.startswith("APPROVE"), generator.random()
    truth.approvals[key] += is_approval
    is_override = outcome == "REFER" and draw < 0.6
    if is_override:
        truth.overrides[key] += 1
        yield _entry(request, at + dt.timedelta(days=1), _override(request))
    if not is_override and not (is_approval and draw < 0.95):
        return
    truth.booked[key] += 1
    booked = credit_pb2.Outcome(booked=credit_pb2.Booked(amount=euros(1000)))
    yield _entry(request, at + dt.timedelta(days=2), _set_decision(booked, request, at.date()))
    if is_bad:
        day = add_months(at.date(), int(generator.integers(1, 12)))
        late = dt.datetime.combine(day, dt.time(12, tzinfo=dt.UTC))
        truth.defaults[key] += 1
        bad = credit_pb2.Outcome(default=credit_pb2.Default(trigger_code="DPD_90"))
        yield _entry(request, late, _set_decision(bad, request, day))


def _override(request: DecisionRequest) -> credit_pb2.Override:
    """Return an approval by a person."""
    return credit_pb2.Override(
        decision_id=_decision_id(request),
        side=credit_pb2.OVERRIDE_SIDE_REFERRAL,
        decision=credit_pb2.DECISION_APPROVE,
        user_id="ana",
    )


def _set_decision(outcome: credit_pb2.Outcome, request: DecisionRequest, day: dt.date) -> credit_pb2.Outcome:
    """Return an outcome with its decision, its id and its day."""
    outcome.decision_id, outcome.outcome_id = _decision_id(request), str(uuid.uuid4())
    outcome.event_date.CopyFrom(Date(year=day.year, month=day.month, day=day.day))
    return outcome


def _decision_id(request: DecisionRequest) -> str:
    """Return the id of a decision."""
    assert isinstance(request.outcome, NewDecision)
    return request.outcome.entry.record_id


def _entry(request: DecisionRequest, at: dt.datetime, event: credit_pb2.Override | credit_pb2.Outcome) -> LogEntry:
    """Return the log entry of an event."""
    application = request.application.application
    body = bodies_pb2.EventRecord(answer=event.SerializeToString(deterministic=True), caller=_CALLER.name)
    customer_id = request.received.message.customer.customer_id
    return LogEntry(
        kind=CREDIT_OVERRIDE if isinstance(event, credit_pb2.Override) else CREDIT_OUTCOME,
        record_id=new_record_id(at),
        time=at,
        caller=_CALLER.name,
        body=body.SerializeToString(deterministic=True),
        customer=(application.market, customer_id),
        request_id=str(uuid.uuid4()),
        content=b"event",
        labels={"market": application.market, SUBJECT_LABEL: _decision_id(request)},
    )


def totals(counts: dict[tuple[str, str], int], market: str, months: Sequence[str]) -> int:
    """Return the sum of counts over months of a market."""
    return sum(counts[key] for key in itertools.product([market], months))
