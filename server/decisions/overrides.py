"""Judges what a person decided otherwise: which side it is on, and everything that speaks against it, at once.

What counts is the amount that is granted: 0 where nothing is. It is held against what the policy granted, and against what
holds now.
"""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum

from server.decisions.policy import OverridePolicy, PolicyOutcome
from server.errors import OverrideInvalid, Violation

_LEFT_TO_A_PERSON = {PolicyOutcome.REFER, PolicyOutcome.NOT_SCORABLE}
_NOTHING = Decimal(0)


class OverrideSide(IntEnum):
    """How an override stands to the policy's decision. The numbers are those of the contract's OverrideSide."""

    HIGH = 1
    LOW = 2
    REFERRAL = 3
    WITHDRAWAL = 4


@dataclass(frozen=True, slots=True)
class OverriddenDecision:
    """What was decided, and what holds now.

    Attributes:
        outcome: Of the policy.
        approvable: What the policy would have granted without a person; 0 where nothing.
        standing: What the last override granted; None before the first.
        expires: Until when the decision holds.
    """

    outcome: PolicyOutcome
    requested: Decimal
    approvable: Decimal
    currency: str
    last_granted: Decimal | None
    expires: dt.datetime

    @property
    def policy_granted(self) -> Decimal:
        """Give what the policy granted."""
        reduced = self.approvable if self.outcome is PolicyOutcome.APPROVE_REDUCED else _NOTHING
        return self.requested if self.outcome is PolicyOutcome.APPROVE else reduced


@dataclass(frozen=True, slots=True)
class CurrencyAmount:
    """An amount with its currency."""

    amount: Decimal
    currency: str


@dataclass(frozen=True, slots=True)
class OverrideProposal:
    """What a person wants to hold; see the contract's RecordOverrideRequest."""

    outcome: PolicyOutcome
    granted: CurrencyAmount | None
    reason_code: str
    user: str
    authority: CurrencyAmount
    second_user: str
    at: dt.datetime


@dataclass(frozen=True, slots=True)
class OverrideRuling:
    """An override that may be recorded."""

    side: OverrideSide
    granted: Decimal


def judge_override(decided: OverriddenDecision, proposed: OverrideProposal, rules: OverridePolicy) -> OverrideRuling:
    """Say on which side an override is.

    Raises:
        OverrideInvalid: Names every field that is wrong.
    """
    granted = _granted_amount(decided, proposed)
    side = _override_side(decided, granted)
    violations = list(_amount_violations(decided, proposed))
    said = proposed.outcome is not PolicyOutcome.APPROVE_REDUCED or proposed.granted is not None
    if said:  # else nobody knows what is granted, and with which reasons it may be
        violations += [
            *_change_violations(decided, proposed, granted),
            *_person_violations(proposed, granted, rules, decided.currency),
            *_reason_violations(proposed, _allowed_reasons(side, granted, rules)),
        ]
    if violations:
        raise OverrideInvalid("; ".join(f"{v.field} {v.problem}" for v in violations[:3]), violations=violations)
    return OverrideRuling(side, granted)


def _granted_amount(decided: OverriddenDecision, proposed: OverrideProposal) -> Decimal:
    """Give what is granted; 0 where it is not said."""
    if proposed.outcome is PolicyOutcome.APPROVE:
        return decided.requested
    if proposed.outcome is PolicyOutcome.APPROVE_REDUCED and proposed.granted is not None:
        return proposed.granted.amount
    return _NOTHING


def _override_side(decided: OverriddenDecision, granted: Decimal) -> OverrideSide:
    """Hold what is granted against what the policy granted."""
    if decided.outcome in _LEFT_TO_A_PERSON:
        return OverrideSide.REFERRAL
    if granted == decided.policy_granted:
        return OverrideSide.WITHDRAWAL
    return OverrideSide.LOW if granted > decided.policy_granted else OverrideSide.HIGH


def _allowed_reasons(side: OverrideSide, granted: Decimal, rules: OverridePolicy) -> tuple[str, ...]:
    """Give the codes that are meant for a side; of a referral, those for granting or those for not granting."""
    if side is OverrideSide.WITHDRAWAL:
        return rules.high_side + rules.low_side
    grants = side is OverrideSide.LOW or (side is OverrideSide.REFERRAL and granted > _NOTHING)
    return rules.low_side if grants else rules.high_side


def _amount_violations(decided: OverriddenDecision, proposed: OverrideProposal) -> Iterator[Violation]:
    """Check that the amount fits the decision that is to hold."""
    field, granted = "granted_amount", proposed.granted
    if proposed.outcome is not PolicyOutcome.APPROVE_REDUCED:
        if granted is not None:
            yield Violation(field, "must be absent unless decision is DECISION_APPROVE_REDUCED", "NOT_ALLOWED")
    elif granted is None:
        yield Violation(field, "must be given where decision is DECISION_APPROVE_REDUCED", "REQUIRED")
    else:
        if granted.currency != decided.currency:
            yield Violation(f"{field}.currency_code", f"must be {decided.currency}, as requested", "CURRENCY")
        if granted.amount >= decided.requested:
            yield Violation(field, "must be below the requested amount; to grant all of it: DECISION_APPROVE", "RANGE")


def _change_violations(
    decided: OverriddenDecision, proposed: OverrideProposal, granted: Decimal
) -> Iterator[Violation]:
    """Check that something changes, and that what is granted may still be granted."""
    unchanged = decided.last_granted
    if unchanged is None and decided.outcome not in _LEFT_TO_A_PERSON:
        unchanged = decided.policy_granted
    if granted == unchanged:
        yield Violation("decision", "is what holds already; record what changes it", "UNCHANGED")
    if granted > _NOTHING and proposed.at > decided.expires:
        until = f"{decided.expires:%Y-%m-%d %H:%M} UTC"
        yield Violation("decision_id", f"this decision held until {until}; ask for a new one", "EXPIRED")


def _person_violations(
    proposed: OverrideProposal, granted: Decimal, rules: OverridePolicy, currency: str
) -> Iterator[Violation]:
    """Check that this person may grant so much, and that a second one agrees where the policy wants it."""
    if proposed.authority.currency != currency:
        yield Violation("authority_limit.currency_code", f"must be {currency}, as requested", "CURRENCY")
    elif granted > proposed.authority.amount:
        yield Violation(
            "authority_limit", "is below what is granted; a person with a higher limit decides", "AUTHORITY"
        )
    if proposed.second_user and proposed.second_user == proposed.user:
        yield Violation("second_user_id", "must not be the same person as user_id", "SAME_PERSON")
    elif granted > rules.second_person_above and not proposed.second_user:
        above = f"{rules.second_person_above:,f} {currency}"
        yield Violation("second_user_id", f"must be given where more than {above} is granted", "REQUIRED")


def _reason_violations(proposed: OverrideProposal, allowed: tuple[str, ...]) -> Iterator[Violation]:
    """Check the reason."""
    if proposed.reason_code not in allowed:
        yield Violation("reason_code", f"must be one of {', '.join(allowed)}", "UNKNOWN")
