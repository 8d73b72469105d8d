"""Checks an override: a person's decision that replaces the decision of the policy.

The amount that the person grants is compared with two amounts. The comparison with the amount that the policy granted
determines the side of the override. The comparison with the amount that the last override granted determines whether
the new override changes anything. For the first override of an approved or declined decision, both comparisons use the
amount that the policy granted. An amount is 0 if nothing is granted.
"""

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from decimal import Decimal
from enum import IntEnum

from server.decisions.policy import OverridePolicy, PolicyOutcome
from server.errors import OverrideInvalid, Violation, summarize_violations

_REFERRED_OUTCOMES = {PolicyOutcome.REFER, PolicyOutcome.NOT_SCORABLE}
_NOTHING = Decimal(0)


class OverrideSide(IntEnum):
    """The relation of an override to the policy's decision. The numbers equal those in the .proto files."""

    HIGH = 1  # the person grants less than the policy granted
    LOW = 2  # the person grants more than the policy granted
    REFERRAL = 3  # the policy left the decision to a person: REFER or NOT_SCORABLE
    WITHDRAWAL = 4  # the person grants the amount that the policy granted, which withdraws an earlier override


@dataclass(frozen=True, slots=True)
class OverriddenDecision:
    """A decision and its last override.

    Attributes:
        outcome: The policy's outcome.
        requested: The requested amount.
        approvable: The largest amount that the policy would have approved without manual review; 0 if there is no such
            amount.
        currency: ISO 4217 code of the currency of all amounts.
        last_granted: The amount that the last override granted; None if there is no override yet.
        expires: The time after which no amount can be granted.
        newest_override: Id of the last override; "" if there is none, or if retention removed it.
    """

    outcome: PolicyOutcome
    requested: Decimal
    approvable: Decimal
    currency: str
    last_granted: Decimal | None
    expires: dt.datetime
    newest_override: str = ""

    @property
    def policy_granted(self) -> Decimal:
        """Return the amount that the policy granted; 0 if it granted nothing."""
        reduced = self.approvable if self.outcome is PolicyOutcome.APPROVE_REDUCED else _NOTHING
        return self.requested if self.outcome is PolicyOutcome.APPROVE else reduced


@dataclass(frozen=True, slots=True)
class CurrencyAmount:
    """An amount with its currency."""

    amount: Decimal
    currency: str


@dataclass(frozen=True, slots=True)
class OverrideProposal:
    """An override as requested; see RecordOverrideRequest in the .proto files.

    Attributes:
        outcome: The person's decision.
        granted: The granted amount; only for APPROVE_REDUCED, otherwise None.
        reason_code: Code of the person's reason.
        user: Id of the person who decides.
        authority: The largest amount that this person may grant, as the caller states it.
        second_user: Id of the second person who agrees; "" if there is none.
        at: Time of the override.
        authority_max: The largest `authority` that the authority file allows for this person's role. None if the file
            sets no such limits for the caller.
        previous_override: Id of the last override that the person saw; "" if they saw none; None if this is unknown.
    """

    outcome: PolicyOutcome
    granted: CurrencyAmount | None
    reason_code: str
    user: str
    authority: CurrencyAmount
    second_user: str
    at: dt.datetime
    authority_max: Decimal | None = None
    previous_override: str | None = None


@dataclass(frozen=True, slots=True)
class OverrideRuling:
    """An override that passed all checks."""

    side: OverrideSide
    granted: Decimal


def judge_override(decision: OverriddenDecision, proposal: OverrideProposal, rules: OverridePolicy) -> OverrideRuling:
    """Check an override, and return its side and the granted amount.

    Raises:
        OverrideInvalid: Some fields are invalid. The error lists all of them.
    """
    granted = _granted_amount(decision, proposal)
    side = _override_side(decision, granted)
    violations = [*_amount_violations(decision, proposal), *_order_violations(decision, proposal)]
    is_amount_known = proposal.outcome is not PolicyOutcome.APPROVE_REDUCED or proposal.granted is not None
    if is_amount_known:  # if the amount is missing, the other checks would report errors that result from this one
        violations += [
            *_change_violations(decision, proposal, granted),
            *_person_violations(proposal, granted, rules, decision.currency),
            *_reason_violations(proposal, _allowed_reasons(side, granted, rules)),
        ]
    if violations:
        raise OverrideInvalid(summarize_violations(violations), violations=violations)
    return OverrideRuling(side, granted)


def _granted_amount(decision: OverriddenDecision, proposal: OverrideProposal) -> Decimal:
    """Return the granted amount; 0 if the proposal grants nothing or lacks its amount."""
    if proposal.outcome is PolicyOutcome.APPROVE:
        return decision.requested
    if proposal.outcome is PolicyOutcome.APPROVE_REDUCED and proposal.granted is not None:
        return proposal.granted.amount
    return _NOTHING


def _override_side(decision: OverriddenDecision, granted: Decimal) -> OverrideSide:
    """Return REFERRAL if the policy left the decision to a person, otherwise the side that follows from the amounts."""
    if decision.outcome in _REFERRED_OUTCOMES:
        return OverrideSide.REFERRAL
    if granted == decision.policy_granted:
        return OverrideSide.WITHDRAWAL
    return OverrideSide.LOW if granted > decision.policy_granted else OverrideSide.HIGH


def _allowed_reasons(side: OverrideSide, granted: Decimal, rules: OverridePolicy) -> tuple[str, ...]:
    """Return the reason codes that a side allows.

    For a referral, the codes depend on whether the person grants an amount.
    """
    if side is OverrideSide.WITHDRAWAL:
        return rules.high_side + rules.low_side
    grants = side is OverrideSide.LOW or (side is OverrideSide.REFERRAL and granted > _NOTHING)
    return rules.low_side if grants else rules.high_side


def _amount_violations(decision: OverriddenDecision, proposal: OverrideProposal) -> Iterator[Violation]:
    """Yield violations of granted_amount.

    Only APPROVE_REDUCED has an amount, and it must be below the requested amount.
    """
    field, granted = "granted_amount", proposal.granted
    if proposal.outcome is not PolicyOutcome.APPROVE_REDUCED:
        if granted is not None:
            yield Violation(field, "must be absent unless decision is DECISION_APPROVE_REDUCED", "NOT_ALLOWED")
    elif granted is None:
        yield Violation(field, "is required for DECISION_APPROVE_REDUCED", "REQUIRED")
    else:
        if granted.currency != decision.currency:
            yield Violation(
                f"{field}.currency_code", f"must be {decision.currency}, the currency of the decision", "CURRENCY"
            )
        if granted.amount >= decision.requested:
            yield Violation(
                field,
                "must be below the requested amount; to grant the requested amount, use DECISION_APPROVE",
                "RANGE",
            )


def _change_violations(
    decision: OverriddenDecision, proposal: OverrideProposal, granted: Decimal
) -> Iterator[Violation]:
    """Yield a violation if the override changes nothing, and one if it grants an amount after the decision expired."""
    previous = decision.last_granted
    if previous is None and decision.outcome not in _REFERRED_OUTCOMES:
        previous = decision.policy_granted
    if granted == previous:
        yield Violation(
            "decision",
            "changes nothing: the granted amount equals the present one; an override must change it",
            "UNCHANGED",
        )
    if granted > _NOTHING and proposal.at > decision.expires:
        until = f"{decision.expires:%Y-%m-%d %H:%M} UTC"
        yield Violation("decision_id", f"the decision expired on {until}; request a new decision", "EXPIRED")


def _order_violations(decision: OverriddenDecision, proposal: OverrideProposal) -> Iterator[Violation]:
    """Yield a violation if an override was recorded that the person has not seen."""
    seen, newest = proposal.previous_override, decision.newest_override
    if seen is not None and newest and seen.lower() != newest:
        yield Violation(
            "previous_override_id",
            f"the override {newest} is in force now; read it, and decide again",
            "OVERRIDDEN",
        )


def _person_violations(
    proposal: OverrideProposal, granted: Decimal, rules: OverridePolicy, currency: str
) -> Iterator[Violation]:
    """Yield a violation if the authority limit is invalid or too low, and one if a valid second person is missing."""
    if proposal.authority.currency != currency:
        yield Violation(
            "authority_limit.currency_code", f"must be {currency}, the currency of the decision", "CURRENCY"
        )
    elif proposal.authority_max is not None and proposal.authority.amount > proposal.authority_max:
        allowed = f"{proposal.authority_max:,f} {currency}"
        yield Violation(
            "authority_limit", f"must be at most {allowed}, the limit of this caller for the user_role", "AUTHORITY"
        )
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
    """Yield a violation if the side of the override does not allow the reason."""
    if proposal.reason_code not in allowed:
        yield Violation("reason_code", f"must be one of {', '.join(allowed)}", "UNKNOWN")
