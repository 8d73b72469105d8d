"""Assesses a customer and a requested amount with a model and a policy."""

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

import numpy as np

from models.errors import AdditivityError
from models.explained_score import ExplainedScore
from models.model import Model
from models.reasons import REASONS_MAX, choose_locale
from models.schema import FeatureInput
from models.sign_conflicts import sign_conflicts
from models.stated_reasons import stated_reasons, stated_text
from server.decisions.input_rules import input_rule_results, unseen_features
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
from server.decisions.policy_rules import (
    RuleResult,
    approvable_amount,
    expected_loss,
    hard_rule_results,
    recommended_outcome,
    score_rule_results,
    worst_outcome,
)
from server.decisions.sourced_values import SourcedValue


@dataclass(frozen=True, slots=True)
class DecisionReason:
    """A reason with its text.

    Attributes:
        code: Code of a reason group of the model, or of a policy rule.
        kind: MODEL for a reason from the model's contributions, POLICY for a policy rule, INPUT for missing inputs.
        text: Text of the reason, in the locale of the assessment.
        features: Names of the features that the reason is about; may be empty.
        log_odds: Contribution of the reason group in log-odds; None unless `kind` is MODEL.
        points: Contribution of the reason group in points; None unless `kind` is MODEL.
    """

    code: str
    kind: Literal["MODEL", "POLICY", "INPUT"]
    text: str
    features: tuple[str, ...]
    log_odds: float | None = None
    points: int | None = None


@dataclass(frozen=True, slots=True)
class CreditQuestion:
    """The question that an assessment answers.

    Attributes:
        section: The policy section in effect.
        inputs: Known feature values by feature.
        facts: Values in the request, in addition to features, that the hard rules use.
        amount: Requested amount in the section's currency.
        at: Time of the decision. The age of stored inputs is measured at this time.
        locale: BCP 47 tag of the language of the reasons; "" for English.
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
        approvable: The largest amount that would be approved without manual review; 0 if no amount would be approved.
        expected_loss: The product of pd, loss given default, and requested amount.
    """

    approvable: Decimal
    expected_loss: Decimal


@dataclass(frozen=True, slots=True)
class Assessment:
    """The answer of a model and a policy to a question.

    Attributes:
        score: The explained score; None if the customer is not scorable.
        recommendation: The outcome that follows from the pd alone; None if the customer is not scorable.
        grant: What the policy would grant; None if the customer is not scorable.
        rules: Results of the policy rules in the order in which the rules were applied.
        outcome: The worst outcome of all rules.
        locale: BCP 47 tag of the language of the reasons.
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
        """Return the policy section that was applied."""
        return self.question.section

    @property
    def inputs(self) -> Mapping[str, SourcedValue]:
        """Return the inputs of the model by feature."""
        return self.question.inputs

    @property
    def unseen_features(self) -> list[str]:
        """Return the category features whose level did not occur in training."""
        return unseen_features(self.model.bundle, self.inputs)


def assess(model: Model, policy: Policy, question: CreditQuestion) -> Assessment:
    """Return the assessment of a question. The amount affects the policy rules only, never the score.

    Raises:
        AdditivityError: The contributions do not add up to the score, so there is no answer.
    """
    if missing := _missing_inputs(model, question):
        return _unscored_assessment(model, policy, question, missing)
    numbers = _encoded_inputs(model, question)
    return _scored_assessment(model, policy, question, numbers, model.explain(numbers))


def assess_several(
    model: Model, policy: Policy, questions: Sequence[CreditQuestion]
) -> list[Assessment | AdditivityError]:
    """Return what `assess` returns or raises for each question. The model scores all customers together, which is faster."""
    missing = [_missing_inputs(model, question) for question in questions]
    numbers = [_encoded_inputs(model, each) for each, lacks in zip(questions, missing, strict=True) if not lacks]
    scored = zip(numbers, _explain_several(model, numbers), strict=True)
    results: list[Assessment | AdditivityError] = []
    for question, lacks in zip(questions, missing, strict=True):
        if lacks:
            results.append(_unscored_assessment(model, policy, question, lacks))
            continue
        inputs, score = next(scored)
        if isinstance(score, AdditivityError):
            results.append(score)
        else:
            results.append(_scored_assessment(model, policy, question, inputs, score))
    return results


def _explain_several(
    model: Model, numbers: Sequence[Mapping[str, float]]
) -> Sequence[ExplainedScore | AdditivityError]:
    """Return what `Model.explain` returns or raises for each customer."""
    if not numbers:
        return []
    try:
        return model.explain_rows(np.concatenate([model.bundle.schema.row(each) for each in numbers]))
    except AdditivityError:  # of at least one customer; the others still have a score
        return [_explain_one(model, each) for each in numbers]


def _explain_one(model: Model, numbers: Mapping[str, float]) -> ExplainedScore | AdditivityError:
    """Return the explained score of a customer, or the error."""
    try:
        return model.explain(numbers)
    except AdditivityError as error:
        return error


def _encoded_inputs(model: Model, question: CreditQuestion) -> dict[str, float]:
    """Return the model's inputs by feature name; missing features are absent."""
    encode = model.bundle.schema.encode_value
    return {name: encode(name, given.value) for name, given in question.inputs.items()}


def _unscored_assessment(model: Model, policy: Policy, question: CreditQuestion, missing: Sequence[str]) -> Assessment:
    """Return the assessment of a customer who cannot be scored, because features are missing."""
    locale = choose_locale(model.bundle.schema.locales, question.locale, question.section.market)
    rule = RuleResult(MISSING_INPUT, PolicyOutcome.NOT_SCORABLE, {"features": ", ".join(missing)})
    reason = DecisionReason(MISSING_INPUT, "INPUT", policy.rule_text(MISSING_INPUT, locale, rule.facts), tuple(missing))
    return Assessment(
        model=model,
        policy=policy,
        question=question,
        score=None,
        recommendation=None,
        grant=None,
        rules=(rule,),
        outcome=PolicyOutcome.NOT_SCORABLE,
        locale=locale,
        reasons=(reason,),
    )


def _scored_assessment(
    model: Model, policy: Policy, question: CreditQuestion, numbers: Mapping[str, float], score: ExplainedScore
) -> Assessment:
    """Return the assessment of a customer with a score.

    Args:
        model: The model that computed the score.
        policy: The policy in force.
        question: The question.
        numbers: The model's inputs by feature name.
        score: The explained score of these inputs.
    """
    section = question.section
    locale = choose_locale(model.bundle.schema.locales, question.locale, question.section.market)
    values = {name: given.value for name, given in question.inputs.items()}
    # A contribution that contradicts the expected effect of its feature prevents approval: the outcome is REFER or
    # worse.
    contradictions = sign_conflicts(model.bundle, model.best_values, numbers, score.contributions)
    applied = (
        # If a fact and a feature have the same name, the rules use the value of the fact.
        *hard_rule_results(section, values | dict(question.facts)),
        *input_rule_results(section, model.bundle, question.inputs, question.at),
        _age_rule_result(question),
        RuleResult(
            AGAINST_SIGN,
            PolicyOutcome.REFER if contradictions else PolicyOutcome.APPROVE,
            {"features": ", ".join(contradictions)},
        ),
        *score_rule_results(section, score.pd, score.grade, question.amount),
    )
    grant = Grant(approvable_amount(section, score.grade, applied), expected_loss(section, score.pd, question.amount))
    outcome = worst_outcome(applied)
    model_reasons = _model_reasons(model, score, values, locale, is_required=outcome is not PolicyOutcome.APPROVE)
    return Assessment(
        model=model,
        policy=policy,
        question=question,
        score=score,
        recommendation=recommended_outcome(section, score.pd),
        grant=grant,
        rules=applied,
        outcome=outcome,
        locale=locale,
        reasons=_limited_reasons(model, applied, _policy_reasons(policy, applied, locale), model_reasons),
    )


def _missing_inputs(model: Model, question: CreditQuestion) -> list[str]:
    """Return the sorted names of features that the model or the policy requires and that have no value."""
    needed = {*model.bundle.schema.missing_mandatory(question.inputs)}
    needed |= {name for name in question.section.mandatory_inputs if name not in question.inputs}
    return sorted(needed)


def _age_rule_result(question: CreditQuestion) -> RuleResult:
    """Return REFER if a stored value is older than the policy allows, otherwise APPROVE."""
    times = [given.as_of for given in question.inputs.values() if given.as_of is not None]
    days = max(((question.at - time).days for time in times), default=0)
    allowed = question.section.features_max_age_days
    return RuleResult(
        FEATURES_TOO_OLD,
        PolicyOutcome.REFER if days > allowed else PolicyOutcome.APPROVE,
        {"days": float(days), "allowed_days": float(allowed)},
    )


def _policy_reasons(policy: Policy, rules: tuple[RuleResult, ...], locale: str) -> tuple[DecisionReason, ...]:
    """Return the reasons of the rules that failed.

    The PD cut-off has no reason of its own, because the model's reasons explain it. The reason of a failed grade limit
    is omitted if the PD cut-off or the largest amount failed too, because these two rules never allow a better outcome
    than the grade limit.
    """
    failed = [rule for rule in rules if not rule.is_passed]
    omitted = {CUT_OFF}
    if {CUT_OFF, LARGEST_AMOUNT} & {rule.code for rule in failed}:
        omitted.add(GRADE_LIMIT)
    return tuple(
        DecisionReason(rule.code, "POLICY", policy.rule_text(rule.code, locale, rule.facts), rule.features)
        for rule in failed
        if rule.code not in omitted
    )


def _limited_reasons(
    model: Model,
    rules: tuple[RuleResult, ...],
    policy_reasons: tuple[DecisionReason, ...],
    model_reasons: tuple[DecisionReason, ...],
) -> tuple[DecisionReason, ...]:
    """Return the reasons of the policy and then of the model, up to REASONS_MAX.

    If the PD cut-off failed, one of them is of the model, because the cut-off has no reason of its own. Bundles with
    `reason_rules` 1 keep the order alone, because their recorded decisions are replayed.
    """
    is_score_failed = any(rule.code == CUT_OFF and not rule.is_passed for rule in rules)
    if is_score_failed and model.bundle.schema.document.reason_rules > 1:
        policy_reasons = policy_reasons[: REASONS_MAX - len(model_reasons[:1])]
    return (policy_reasons + model_reasons)[:REASONS_MAX]


def _model_reasons(
    model: Model, score: ExplainedScore, values: Mapping[str, FeatureInput], locale: str, *, is_required: bool
) -> tuple[DecisionReason, ...]:
    """Return the principal reasons for the score, strongest first.

    Args:
        model: The model that computed the score.
        score: The explained score.
        values: The customer's values by feature name.
        locale: The locale of the texts.
        is_required: See `models.stated_reasons.stated_reasons`.
    """
    schema, typical = model.bundle.schema, model.bundle.baseline.typical
    return tuple(
        DecisionReason(
            code=reason.code,
            kind="MODEL",
            text=stated_text(schema, reason, locale, values, typical),
            features=reason.features,
            log_odds=reason.log_odds,
            points=reason.points,
        )
        for reason in stated_reasons(
            schema, score.contributions, score.points, values, typical, is_required=is_required
        )
    )
