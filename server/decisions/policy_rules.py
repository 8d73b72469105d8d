"""Applies the rules of a policy section to a score and an amount."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

from models.schema import FeatureInput
from server.decisions.policy import CUT_OFF, GRADE_LIMIT, LARGEST_AMOUNT, HardRule, PolicyOutcome, PolicySection

_NEAR_LOG_ODDS = 0.1
_CENT = Decimal("0.01")
_AMOUNT_RULES = {GRADE_LIMIT, LARGEST_AMOUNT}


@dataclass(frozen=True, slots=True)
class RuleResult:
    """The result of a rule.

    Attributes:
        code: Code of the rule.
        best: The best outcome that the rule allows; APPROVE if the rule passed.
        facts: Values of the placeholders in the rule's text, by placeholder.
        features: Names of the features that caused the rule to fail, if the rule is about features.
    """

    code: str
    best: PolicyOutcome
    facts: Mapping[str, float | str]
    features: tuple[str, ...] = ()

    @property
    def is_passed(self) -> bool:
        """Return whether the rule passed. A rule that passed does not limit the outcome."""
        return self.best is PolicyOutcome.APPROVE


def recommended_outcome(section: PolicySection, pd: float) -> PolicyOutcome:
    """Return the outcome that follows from the unrounded pd alone."""
    if pd <= section.approve_max_pd:
        return PolicyOutcome.APPROVE
    return PolicyOutcome.REFER if pd <= section.refer_max_pd else PolicyOutcome.DECLINE


def is_near_cut_off(section: PolicySection, log_odds: float) -> bool:
    """Return whether log-odds are within 0.1 of a cut-off, so that a small change of the inputs could change the outcome."""
    cut_offs = section.approve_max_pd, section.refer_max_pd
    return any(abs(log_odds - math.log(pd / (1 - pd))) <= _NEAR_LOG_ODDS for pd in cut_offs if 0 < pd < 1)


def hard_rule_results(section: PolicySection, facts: Mapping[str, FeatureInput]) -> list[RuleResult]:
    """Return the results of the hard rules of a section, in the order in which the section lists the rules."""
    return [_hard_rule_result(rule, facts.get(rule.fact)) for rule in section.rules]


def _hard_rule_result(rule: HardRule, value: FeatureInput | None) -> RuleResult:
    """Return the result of one hard rule. A value of the wrong kind counts as missing."""
    bound = rule.level if rule.level is not None else rule.below if rule.below is not None else rule.above
    assert bound is not None
    if value is None or isinstance(value, str) != isinstance(bound, str):
        return RuleResult(rule.code, PolicyOutcome[rule.if_missing], {"value": "-", "bound": bound})
    applies = (
        value == rule.level
        if isinstance(value, str)
        else (rule.below is not None and value < rule.below) or (rule.above is not None and value > rule.above)
    )
    return RuleResult(
        rule.code, PolicyOutcome[rule.decision] if applies else PolicyOutcome.APPROVE, {"value": value, "bound": bound}
    )


def score_rule_results(section: PolicySection, pd: float, grade: str, amount: Decimal) -> list[RuleResult]:
    """Return the results of PD cut-off, grade limit and largest amount. A larger amount never improves a result."""
    limit = section.grade_limit(grade)
    within = (
        PolicyOutcome.APPROVE if amount <= limit else PolicyOutcome.APPROVE_REDUCED if limit else PolicyOutcome.REFER
    )
    over = amount > section.largest_amount
    return [
        RuleResult(CUT_OFF, recommended_outcome(section, pd), {}),
        RuleResult(GRADE_LIMIT, within, {"limit": float(limit), "currency": section.currency, "grade": grade}),
        RuleResult(
            LARGEST_AMOUNT,
            PolicyOutcome.REFER if over else PolicyOutcome.APPROVE,
            {"largest_amount": float(section.largest_amount), "currency": section.currency},
        ),
    ]


def worst_outcome(rules: Sequence[RuleResult]) -> PolicyOutcome:
    """Return the worst of the outcomes that the rules allow."""
    return max(rule.best for rule in rules)


def approvable_amount(section: PolicySection, grade: str, rules: Sequence[RuleResult]) -> Decimal:
    """Return the largest amount that would be approved without manual review; 0 if no amount would be approved."""
    others = [rule for rule in rules if rule.code not in _AMOUNT_RULES]
    return section.grade_limit(grade) if worst_outcome(others) is PolicyOutcome.APPROVE else Decimal(0)


def expected_loss(section: PolicySection, pd: float, amount: Decimal) -> Decimal:
    """Return pd x lgd x amount in the section's currency, rounded half to even to hundredths."""
    return (Decimal(pd) * section.lgd * amount).quantize(_CENT, rounding=ROUND_HALF_EVEN)
