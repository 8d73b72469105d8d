"""Applies a policy's section to one score and one amount."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_HALF_EVEN, Decimal

from models.schema import FeatureInput
from server.decisions.policy import CUT_OFF, GRADE_LIMIT, LARGEST_AMOUNT, Outcome, Rule, Section

CENT = Decimal("0.01")
AMOUNT_RULES = {GRADE_LIMIT, LARGEST_AMOUNT}


@dataclass(frozen=True, slots=True)
class RuleResult:
    """One rule and what came of it.

    Attributes:
        best: The best outcome that the rule allows; APPROVE where it passed.
        facts: What its text may name.
    """

    code: str
    best: Outcome
    facts: Mapping[str, float | str]

    @property
    def passed(self) -> bool:
        """Tell whether the rule leaves the outcome as it was."""
        return self.best is Outcome.APPROVE


def recommend(section: Section, pd: float) -> Outcome:
    """Give what the unrounded pd alone suggests."""
    if pd <= section.approve_max_pd:
        return Outcome.APPROVE
    return Outcome.REFER if pd <= section.refer_max_pd else Outcome.DECLINE


def hard_rules(section: Section, facts: Mapping[str, FeatureInput]) -> list[RuleResult]:
    """Apply the rules of the file, in their order."""
    return [hard_rule(rule, facts.get(rule.fact)) for rule in section.rules]


def hard_rule(rule: Rule, value: FeatureInput | None) -> RuleResult:
    """Apply one rule; a value of the wrong kind is as good as none."""
    bound = rule.level if rule.level is not None else rule.below if rule.below is not None else rule.above
    assert bound is not None
    if value is None or isinstance(value, str) != isinstance(bound, str):
        return RuleResult(rule.code, Outcome[rule.if_missing], {"value": "-", "bound": bound})
    applies = (
        value == rule.level
        if isinstance(value, str)
        else (rule.below is not None and value < rule.below) or (rule.above is not None and value > rule.above)
    )
    return RuleResult(
        rule.code, Outcome[rule.decision] if applies else Outcome.APPROVE, {"value": value, "bound": bound}
    )


def score_rules(section: Section, pd: float, grade: str, amount: Decimal) -> list[RuleResult]:
    """Apply cut-off, limit by grade, and largest amount. A larger amount never makes a result better."""
    limit = section.limit(grade)
    within = Outcome.APPROVE if amount <= limit else Outcome.APPROVE_REDUCED if limit else Outcome.REFER
    over = amount > section.largest_amount
    return [
        RuleResult(CUT_OFF, recommend(section, pd), {}),
        RuleResult(GRADE_LIMIT, within, {"limit": float(limit), "currency": section.currency, "grade": grade}),
        RuleResult(
            LARGEST_AMOUNT,
            Outcome.REFER if over else Outcome.APPROVE,
            {"largest_amount": float(section.largest_amount), "currency": section.currency},
        ),
    ]


def outcome_of(rules: Sequence[RuleResult]) -> Outcome:
    """Give the worst that any rule says."""
    return max(rule.best for rule in rules)


def approvable(section: Section, grade: str, rules: Sequence[RuleResult]) -> Decimal:
    """Give the largest amount that would be approved without a person; 0 where none would be."""
    others = [rule for rule in rules if rule.code not in AMOUNT_RULES]
    return section.limit(grade) if outcome_of(others) is Outcome.APPROVE else Decimal(0)


def expected_loss(section: Section, pd: float, amount: Decimal) -> Decimal:
    """Give pd x lgd x the requested amount, in the section's currency, rounded half to even to hundredths."""
    return (Decimal(pd) * section.lgd * amount).quantize(CENT, rounding=ROUND_HALF_EVEN)
