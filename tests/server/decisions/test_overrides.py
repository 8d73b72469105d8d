"""Overrides without a server: the side of an override, and what an expired decision allows."""

import datetime as dt
from decimal import Decimal

import pytest

from server.decisions.overrides import (
    CurrencyAmount,
    OverriddenDecision,
    OverrideProposal,
    OverrideSide,
    judge_override,
)
from server.decisions.policy import OverridePolicy, PolicyOutcome

RULES = OverridePolicy(second_person_above=Decimal(100), high_side=("LESS",), low_side=("MORE",))
NOON = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("outcome", "standing", "proposed", "amount", "side"),
    [
        (PolicyOutcome.APPROVE, None, PolicyOutcome.DECLINE, None, OverrideSide.HIGH),
        (PolicyOutcome.APPROVE, None, PolicyOutcome.APPROVE_REDUCED, 70, OverrideSide.HIGH),
        (PolicyOutcome.APPROVE_REDUCED, None, PolicyOutcome.APPROVE_REDUCED, 30, OverrideSide.HIGH),
        (PolicyOutcome.APPROVE_REDUCED, None, PolicyOutcome.APPROVE_REDUCED, 70, OverrideSide.LOW),
        (PolicyOutcome.APPROVE_REDUCED, None, PolicyOutcome.APPROVE, None, OverrideSide.LOW),
        (PolicyOutcome.DECLINE, None, PolicyOutcome.APPROVE, None, OverrideSide.LOW),
        (PolicyOutcome.DECLINE, None, PolicyOutcome.APPROVE_REDUCED, 1, OverrideSide.LOW),
        (PolicyOutcome.REFER, None, PolicyOutcome.APPROVE, None, OverrideSide.REFERRAL),
        (PolicyOutcome.REFER, None, PolicyOutcome.DECLINE, None, OverrideSide.REFERRAL),
        (PolicyOutcome.NOT_SCORABLE, None, PolicyOutcome.APPROVE_REDUCED, 70, OverrideSide.REFERRAL),
        (PolicyOutcome.APPROVE, 0, PolicyOutcome.APPROVE, None, OverrideSide.WITHDRAWAL),
        (PolicyOutcome.DECLINE, 90, PolicyOutcome.DECLINE, None, OverrideSide.WITHDRAWAL),
    ],
)
def test_the_side_follows_from_what_the_policy_granted(
    outcome: PolicyOutcome, standing: int | None, proposed: PolicyOutcome, amount: int | None, side: OverrideSide
) -> None:
    granted = {PolicyOutcome.APPROVE: 90, PolicyOutcome.DECLINE: 0}.get(proposed, amount)
    code = "LESS" if side is OverrideSide.HIGH or granted == 0 else "MORE"

    judged = judge_override(
        OverriddenDecision(outcome, 90, 50, "EUR", standing, NOON),  # type: ignore[arg-type]
        OverrideProposal(
            proposed,
            None if amount is None else CurrencyAmount(Decimal(amount), "EUR"),
            code,
            "a",
            CurrencyAmount(Decimal(90), "EUR"),
            "",
            NOON,
        ),
        RULES,
    )

    assert (judged.side, judged.granted) == (side, granted)


def test_nothing_is_granted_on_an_expired_decision() -> None:
    late = NOON + dt.timedelta(seconds=1)
    asked = OverrideProposal(PolicyOutcome.APPROVE, None, "MORE", "a", CurrencyAmount(Decimal(90), "EUR"), "", late)

    with pytest.raises(Exception, match="the decision expired on 2026-03-01 12:00 UTC; request a new decision"):
        judge_override(OverriddenDecision(PolicyOutcome.DECLINE, 90, 0, "EUR", None, NOON), asked, RULES)  # type: ignore[arg-type]
