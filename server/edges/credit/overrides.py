"""An override: the request held against its decision and against the policy of today, and the answer."""

import datetime as dt

from google.type.money_pb2 import Money

from grounds.credit.v1 import credit_pb2 as pb
from models.reasons import DEFAULT_LOCALE
from server.decisions import overrides as rules
from server.decisions.policy import STANDARD, Policy, PolicyOutcome
from server.edges.credit.events import CREDIT_OVERRIDE, DecisionState, EventDraft
from server.edges.explanations import timestamp
from server.edges.money import amount_from_money, money_from_amount
from server.errors import NoPolicy


def draft_override(request: pb.RecordOverrideRequest, policy: Policy, asking: DecisionState) -> EventDraft:
    """Give the override as it is to be recorded.

    Raises:
        NoPolicy: The policy allows no overrides there.
        OverrideInvalid: Names every field that is wrong.
    """
    decision, at = asking.decision, asking.at
    market, product = decision.customer.market, decision.assessment.policy_result.product or STANDARD
    section = policy.section(market, product, at.astimezone(dt.UTC).date())
    if section is None or section.overrides is None:
        raise NoPolicy(f"the policy allows no overrides for product {product} in market {market}", market=market)
    judged = rules.judge_override(decided(asking), proposed(request, at), section.overrides)
    locale, text = policy.reason_text(request.reason_code, request.locale or DEFAULT_LOCALE)
    override = pb.Override(
        override_id=asking.record_id,
        request_id=request.request_id,
        decision_id=asking.kept.header.record_id,
        override_time=timestamp(at),
        side=pb.OverrideSide.Name(judged.side),
        decision=request.decision,
        granted_amount=money_from_amount(judged.granted, decision.requested_amount.currency_code),
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
    return EventDraft(CREDIT_OVERRIDE, override, {"side": judged.side.name})


def decided(asking: DecisionState) -> rules.OverriddenDecision:
    """Read the decision, and what holds now."""
    decision, overrides = asking.decision, asking.overrides
    return rules.OverriddenDecision(
        outcome=PolicyOutcome(decision.decision),
        requested=amount_from_money(decision.requested_amount),
        approvable=amount_from_money(decision.assessment.policy_result.approvable_amount),
        currency=decision.requested_amount.currency_code,
        last_granted=amount_from_money(overrides[-1].granted_amount) if overrides else None,
        expires=decision.expire_time.ToDatetime(dt.UTC),
    )


def proposed(request: pb.RecordOverrideRequest, at: dt.datetime) -> rules.OverrideProposal:
    """Read the request."""
    return rules.OverrideProposal(
        outcome=PolicyOutcome(request.decision),
        granted=money(request.granted_amount) if request.HasField("granted_amount") else None,
        reason_code=request.reason_code,
        user=request.user_id,
        authority=money(request.authority_limit),
        second_user=request.second_user_id,
        at=at,
    )


def money(amount: Money) -> rules.CurrencyAmount:
    """Read an amount."""
    return rules.CurrencyAmount(amount_from_money(amount), amount.currency_code)
