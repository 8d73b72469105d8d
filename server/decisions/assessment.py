"""One customer, one amount, one model, one policy -> an assessment."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from models.explained_score import ExplainedScore
from models.model import Model
from models.reasons import REASONS_MAX, principal_reasons, reason_text, resolve_locale
from models.schema import UNSEEN, FeatureInput
from models.sign_conflicts import sign_conflicts
from server.decisions.policy import (
    AGAINST_SIGN,
    CUT_OFF,
    FEATURES_TOO_OLD,
    GRADE_LIMIT,
    LARGEST_AMOUNT,
    MISSING_INPUT,
    Policy,
    PolicyOutcome,
    PolicySection,
)
from server.decisions.rules import (
    RuleResult,
    approvable_amount,
    expected_loss,
    hard_rule_results,
    recommended_outcome,
    score_rule_results,
    worst_outcome,
)


@dataclass(frozen=True, slots=True)
class SourcedValue:
    """A value, who gave it, and as of when it was true (None where the caller gave it)."""

    value: FeatureInput
    source: Literal["STORE", "CALLER"]
    as_of: dt.datetime | None


@dataclass(frozen=True, slots=True)
class DecisionReason:
    """One reason in words; the pushes are None where no model gave it."""

    code: str
    kind: Literal["MODEL", "POLICY", "INPUT"]
    text: str
    features: tuple[str, ...]
    log_odds: float | None = None
    points: int | None = None


@dataclass(frozen=True, slots=True)
class CreditQuestion:
    """What is asked: a customer's inputs, an amount, the section that applies, and the language of the reasons.

    Attributes:
        facts: What the caller says beside the features, for the hard rules.
        at: When; how old the inputs are depends on it.
    """

    section: PolicySection
    inputs: Mapping[str, SourcedValue]
    facts: Mapping[str, FeatureInput]
    amount: Decimal
    at: dt.datetime
    locale: str


@dataclass(frozen=True, slots=True)
class Grant:
    """What the policy would grant, in the section's currency.

    Attributes:
        approvable: The largest amount that would be approved without a person; 0 where none would be.
        expected_loss: pd x lgd x the requested amount.
    """

    approvable: Decimal
    expected_loss: Decimal


@dataclass(frozen=True, slots=True)
class Assessment:
    """What model and policy say.

    Attributes:
        score: None where the customer is not scorable, as are recommendation and grant.
        recommendation: What the pd alone suggests.
        rules: In the order in which they were applied.
        outcome: What holds after every rule.
    """

    model: Model
    policy: Policy
    question: CreditQuestion
    score: ExplainedScore | None
    recommendation: PolicyOutcome | None
    grant: Grant | None
    rules: tuple[RuleResult, ...]
    outcome: PolicyOutcome
    locale: str
    reasons: tuple[DecisionReason, ...]

    @property
    def section(self) -> PolicySection:
        """Give the section that was applied."""
        return self.question.section

    @property
    def inputs(self) -> Mapping[str, SourcedValue]:
        """Give the inputs as fed."""
        return self.question.inputs

    @property
    def unseen_features(self) -> list[str]:
        """Give the category features whose level training did not know."""
        schema = self.model.bundle.schema
        numbers = {name: schema.encode_value(name, given.value) for name, given in self.inputs.items()}
        return [f.name for f in schema.features if f.kind == "category" and numbers.get(f.name) == UNSEEN]


def assess(model: Model, policy: Policy, question: CreditQuestion) -> Assessment:
    """Assess one question. The amount enters policy only.

    Raises:
        AdditivityError: The explanation is not the score: nothing may be answered.
    """
    schema, section = model.bundle.schema, question.section
    locale = resolve_locale(schema, question.locale or "en")
    if missing := _missing_inputs(model, question):
        rule = RuleResult(MISSING_INPUT, PolicyOutcome.NOT_SCORABLE, {"features": ", ".join(missing)})
        reason = DecisionReason(
            MISSING_INPUT, "INPUT", policy.rule_text(MISSING_INPUT, locale, rule.facts), tuple(missing)
        )
        return Assessment(
            model, policy, question, None, None, None, (rule,), PolicyOutcome.NOT_SCORABLE, locale, (reason,)
        )
    values = {name: given.value for name, given in question.inputs.items()}
    numbers = {name: schema.encode_value(name, value) for name, value in values.items()}
    score = model.explain(numbers)
    contradictions = sign_conflicts(model.bundle, model.best_values, numbers, score.contributions)
    applied = (
        *hard_rule_results(section, values | dict(question.facts)),
        _age_rule_result(question),
        RuleResult(
            AGAINST_SIGN,
            PolicyOutcome.REFER if contradictions else PolicyOutcome.APPROVE,
            {"features": ", ".join(contradictions)},
        ),
        *score_rule_results(section, score.pd, score.grade, question.amount),
    )
    grant = Grant(approvable_amount(section, score.grade, applied), expected_loss(section, score.pd, question.amount))
    told = _policy_reasons(policy, applied, locale) + _model_reasons(model, score, values, locale)
    return Assessment(
        model,
        policy,
        question,
        score,
        recommended_outcome(section, score.pd),
        grant,
        applied,
        worst_outcome(applied),
        locale,
        told[:REASONS_MAX],
    )


def _missing_inputs(model: Model, question: CreditQuestion) -> list[str]:
    """Give what is needed for a score, by the model or by the policy, and is not known."""
    needed = {*model.bundle.schema.missing_mandatory(question.inputs)}
    needed |= {name for name in question.section.mandatory_inputs if name not in question.inputs}
    return sorted(needed)


def _age_rule_result(question: CreditQuestion) -> RuleResult:
    """Refer where a value of the store is older than the policy allows."""
    times = [given.as_of for given in question.inputs.values() if given.as_of is not None]
    days = max(((question.at - time).days for time in times), default=0)
    allowed = question.section.features_max_age_days
    return RuleResult(
        FEATURES_TOO_OLD,
        PolicyOutcome.REFER if days > allowed else PolicyOutcome.APPROVE,
        {"days": float(days), "allowed_days": float(allowed)},
    )


def _policy_reasons(policy: Policy, rules: tuple[RuleResult, ...], locale: str) -> tuple[DecisionReason, ...]:
    """Say the rules that did not pass.

    The cut-off is said by the model's own reasons; the limit of the grade only where it is what stands in
    the way, not the cut-off or the largest amount.
    """
    failed = [rule for rule in rules if not rule.passed]
    silent = {CUT_OFF}
    if {CUT_OFF, LARGEST_AMOUNT} & {rule.code for rule in failed}:
        silent.add(GRADE_LIMIT)
    return tuple(
        DecisionReason(rule.code, "POLICY", policy.rule_text(rule.code, locale, rule.facts), ())
        for rule in failed
        if rule.code not in silent
    )


def _model_reasons(
    model: Model, score: ExplainedScore, values: Mapping[str, FeatureInput], locale: str
) -> tuple[DecisionReason, ...]:
    """Say what pushed the score toward risk."""
    schema, typical = model.bundle.schema, model.bundle.baseline.typical
    return tuple(
        DecisionReason(
            code=push.code,
            kind="MODEL",
            text=reason_text(schema, push, locale, values, typical),
            features=push.features,
            log_odds=push.log_odds,
            points=push.points,
        )
        for push in principal_reasons(schema, score.contributions, score.points)
    )
