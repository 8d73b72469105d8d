"""Overrides: checks a requested override against its decision and today's policy, and builds the override."""

import datetime as dt
from decimal import Decimal

from google.type.money_pb2 import Money

from grounds.credit.v1 import credit_pb2 as pb
from server.decisions.overrides import CurrencyAmount, OverriddenDecision, OverrideProposal, judge_override
from server.decisions.policy import STANDARD, Policy, PolicyOutcome
from server.edges.credit.events import CREDIT_OVERRIDE, DecisionHistory, DecisionState, EventDraft
from server.edges.explanations import time_from_timestamp, timestamp
from server.edges.identity.callers import Caller
from server.edges.money import amount_from_money, money_from_amount
from server.errors import NoPolicy


def draft_override(
    request: pb.RecordOverrideRequest, policy: Policy, state: DecisionState, caller: Caller
) -> EventDraft:
    """Check an override against its decision and the policy, and return the event to record.

    Raises:
        NoPolicy: The policy allows no overrides for the decision's market and product.
        OverrideInvalid: The override is invalid; the error lists every invalid field.
    """
    decision, at = state.history.decision, state.at
    market, product = decision.customer.market, decision.assessment.policy_result.product or STANDARD
    section = policy.section(market, product, at.astimezone(dt.UTC).date())
    if section is None or section.overrides is None:
        raise NoPolicy(f"the policy allows no overrides for product {product} in market {market}", market=market)
    ruling = judge_override(_overridden_decision(state.history), _proposal(request, at, caller), section.overrides)
    locale, text = policy.reason_text(request.reason_code, request.locale, market)
    override = pb.Override(
        override_id=state.record_id,
        request_id=request.request_id,
        decision_id=state.decision_id,
        override_time=timestamp(at),
        side=pb.OverrideSide.Name(ruling.side),
        decision=request.decision,
        granted_amount=money_from_amount(ruling.granted, decision.requested_amount.currency_code),
        reason_code=request.reason_code,
        reason_text=text,
        locale=locale,
        user_id=request.user_id,
        user_role=request.user_role,
        authority_limit=request.authority_limit,
        second_user_id=request.second_user_id,
        comment=request.comment,
        policy_version=policy.document.version,
        policy_sha256=policy.sha256,
    )
    return EventDraft(CREDIT_OVERRIDE, override, {"side": ruling.side.name})


def _overridden_decision(history: DecisionHistory) -> OverriddenDecision:
    """Return the facts about a decision that an override must respect, with the last granted amount."""
    decision, overrides = history.decision, history.overrides
    return OverriddenDecision(
        outcome=PolicyOutcome(decision.decision),
        requested=amount_from_money(decision.requested_amount),
        approvable=amount_from_money(decision.assessment.policy_result.approvable_amount),
        currency=decision.requested_amount.currency_code,
        last_granted=amount_from_money(overrides[-1].granted_amount) if overrides else None,
        expires=time_from_timestamp(decision.expire_time),
        newest_override=overrides[-1].override_id if overrides else "",
    )


def _proposal(request: pb.RecordOverrideRequest, at: dt.datetime, caller: Caller) -> OverrideProposal:
    """Return the requested override as a proposal, with the limit of the authority file."""
    limits, currency = caller.override_limits, request.authority_limit.currency_code
    return OverrideProposal(
        outcome=PolicyOutcome(request.decision),
        granted=_currency_amount(request.granted_amount) if request.HasField("granted_amount") else None,
        reason_code=request.reason_code,
        user=request.user_id,
        authority=_currency_amount(request.authority_limit),
        authority_max=None if limits is None else limits.get((request.user_role, currency), Decimal(0)),
        second_user=request.second_user_id,
        at=at,
        previous_override=request.previous_override_id if request.HasField("previous_override_id") else None,
    )


def _currency_amount(money: Money) -> CurrencyAmount:
    """Return an amount with its currency."""
    return CurrencyAmount(amount_from_money(money), money.currency_code)
