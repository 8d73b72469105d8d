"""Checks an override, and determines its side.

The granted amount decides, 0 if nothing is granted: it is compared with what the policy granted (the side), and with what
the last override granted (whether anything changes).
"""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum

from server.decisions.policy import OverridePolicy, PolicyOutcome
from server.errors import OverrideInvalid, Violation, summarize_violations

_LEFT_TO_A_PERSON = {PolicyOutcome.REFER, PolicyOutcome.NOT_SCORABLE}
_NOTHING = Decimal(0)


class OverrideSide(IntEnum):
    """How an override relates to the policy's decision; the numbers are those of the contract's OverrideSide."""

    HIGH = 1
    LOW = 2
    REFERRAL = 3
    WITHDRAWAL = 4


@dataclass(frozen=True, slots=True)
class OverriddenDecision:
    """A decision and its last override.

    Attributes:
        outcome: Of the policy.
        requested: Amount.
        approvable: What the policy would have granted without manual review; 0 if nothing.
        currency: Of all amounts.
        last_granted: What the last override granted; None before the first.
        expires: Nothing can be granted later.
    """

    outcome: PolicyOutcome
    requested: Decimal
    approvable: Decimal
    currency: str
    last_granted: Decimal | None
    expires: dt.datetime

    @property
    def policy_granted(self) -> Decimal:
        """Return the amount that the policy granted."""
        reduced = self.approvable if self.outcome is PolicyOutcome.APPROVE_REDUCED else _NOTHING
        return self.requested if self.outcome is PolicyOutcome.APPROVE else reduced


@dataclass(frozen=True, slots=True)
class CurrencyAmount:
    """An amount with its currency."""

    amount: Decimal
    currency: str


@dataclass(frozen=True, slots=True)
class OverrideProposal:
    """An override as requested; see the contract's RecordOverrideRequest."""

    outcome: PolicyOutcome
    granted: CurrencyAmount | None
    reason_code: str
    user: str
    authority: CurrencyAmount
    second_user: str
    at: dt.datetime


@dataclass(frozen=True, slots=True)
class OverrideRuling:
    """An override that passed all checks."""

    side: OverrideSide
    granted: Decimal


def judge_override(decision: OverriddenDecision, proposal: OverrideProposal, rules: OverridePolicy) -> OverrideRuling:
    """Check an override, and return its side and the granted amount.

    Raises:
        OverrideInvalid: Names every field that is invalid.
    """
    granted = _granted_amount(decision, proposal)
    side = _override_side(decision, granted)
    violations = list(_amount_violations(decision, proposal))
    is_amount_known = proposal.outcome is not PolicyOutcome.APPROVE_REDUCED or proposal.granted is not None
    if is_amount_known:  # the other checks depend on the amount
        violations += [
            *_change_violations(decision, proposal, granted),
            *_person_violations(proposal, granted, rules, decision.currency),
            *_reason_violations(proposal, _allowed_reasons(side, granted, rules)),
        ]
    if violations:
        raise OverrideInvalid(summarize_violations(violations), violations=violations)
    return OverrideRuling(side, granted)


def _granted_amount(decision: OverriddenDecision, proposal: OverrideProposal) -> Decimal:
    """Return the granted amount; 0 if it is missing."""
    if proposal.outcome is PolicyOutcome.APPROVE:
        return decision.requested
    if proposal.outcome is PolicyOutcome.APPROVE_REDUCED and proposal.granted is not None:
        return proposal.granted.amount
    return _NOTHING


def _override_side(decision: OverriddenDecision, granted: Decimal) -> OverrideSide:
    """Compare what is granted with what the policy granted."""
    if decision.outcome in _LEFT_TO_A_PERSON:
        return OverrideSide.REFERRAL
    if granted == decision.policy_granted:
        return OverrideSide.WITHDRAWAL
    return OverrideSide.LOW if granted > decision.policy_granted else OverrideSide.HIGH


def _allowed_reasons(side: OverrideSide, granted: Decimal, rules: OverridePolicy) -> tuple[str, ...]:
    """Return the reason codes of a side; of a referral, those for granting or those for not granting."""
    if side is OverrideSide.WITHDRAWAL:
        return rules.high_side + rules.low_side
    grants = side is OverrideSide.LOW or (side is OverrideSide.REFERRAL and granted > _NOTHING)
    return rules.low_side if grants else rules.high_side


def _amount_violations(decision: OverriddenDecision, proposal: OverrideProposal) -> Iterator[Violation]:
    """Check that the amount fits the new decision."""
    field, granted = "granted_amount", proposal.granted
    if proposal.outcome is not PolicyOutcome.APPROVE_REDUCED:
        if granted is not None:
            yield Violation(field, "must be absent unless decision is DECISION_APPROVE_REDUCED", "NOT_ALLOWED")
    elif granted is None:
        yield Violation(field, "is required for DECISION_APPROVE_REDUCED", "REQUIRED")
    else:
        if granted.currency != decision.currency:
            yield Violation(f"{field}.currency_code", f"must be {decision.currency}, as requested", "CURRENCY")
        if granted.amount >= decision.requested:
            yield Violation(
                field, "must be below the requested amount; to grant all of it, use DECISION_APPROVE", "RANGE"
            )


def _change_violations(
    decision: OverriddenDecision, proposal: OverrideProposal, granted: Decimal
) -> Iterator[Violation]:
    """Check that the override changes something, and that the decision has not expired."""
    unchanged = decision.last_granted
    if unchanged is None and decision.outcome not in _LEFT_TO_A_PERSON:
        unchanged = decision.policy_granted
    if granted == unchanged:
        yield Violation(
            "decision",
            "changes nothing: the granted amount is the same as before; override only to change it",
            "UNCHANGED",
        )
    if granted > _NOTHING and proposal.at > decision.expires:
        until = f"{decision.expires:%Y-%m-%d %H:%M} UTC"
        yield Violation("decision_id", f"the decision expired on {until}; request a new one", "EXPIRED")


def _person_violations(
    proposal: OverrideProposal, granted: Decimal, rules: OverridePolicy, currency: str
) -> Iterator[Violation]:
    """Check the person's authority limit, and that there is a second person if the policy requires one."""
    if proposal.authority.currency != currency:
        yield Violation("authority_limit.currency_code", f"must be {currency}, as requested", "CURRENCY")
    elif granted > proposal.authority.amount:
        yield Violation(
            "authority_limit", "is below the granted amount; a person with a higher limit must decide", "AUTHORITY"
        )
    if proposal.second_user and proposal.second_user == proposal.user:
        yield Violation("second_user_id", "must not be the same person as user_id", "SAME_PERSON")
    elif granted > rules.second_person_above and not proposal.second_user:
        above = f"{rules.second_person_above:,f} {currency}"
        yield Violation("second_user_id", f"is required to grant more than {above}", "REQUIRED")


def _reason_violations(proposal: OverrideProposal, allowed: tuple[str, ...]) -> Iterator[Violation]:
    """Check that the reason is one of the side."""
    if proposal.reason_code not in allowed:
        yield Violation("reason_code", f"must be one of {', '.join(allowed)}", "UNKNOWN")
