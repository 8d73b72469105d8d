"""One customer, one amount, one model, one policy -> an assessment."""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from models.explained import ExplainedScore
from models.model import Model
from models.reasons import REASONS_MAX, locale_for, pushes, text_of
from models.schema import UNSEEN, Value
from server.decisions.policy import (
    LARGEST_AMOUNT,
    MISSING_INPUT,
    MarketPolicy,
    Outcome,
    Policy,
    RuleResult,
    apply_rules,
    outcome_of,
    recommend,
)


@dataclass(frozen=True, slots=True)
class Input:
    """A value, who gave it, and as of when it was true (None where the caller gave it)."""

    value: Value
    source: Literal["STORE", "CALLER"]
    as_of: dt.datetime | None


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason in words; the pushes are None where no model gave it."""

    code: str
    kind: Literal["MODEL", "POLICY", "INPUT"]
    text: str
    features: tuple[str, ...]
    log_odds: float | None = None
    points: int | None = None


@dataclass(frozen=True, slots=True)
class Assessment:
    """What model and policy say.

    Attributes:
        score: None where the customer is not scorable.
        recommendation: What the pd alone suggests; None where there is none.
        rules: In the order in which they were applied.
        outcome: What holds after every rule.
    """

    model: Model
    policy: Policy
    market: MarketPolicy
    inputs: Mapping[str, Input]
    score: ExplainedScore | None
    recommendation: Outcome | None
    rules: tuple[RuleResult, ...]
    outcome: Outcome
    locale: str
    reasons: tuple[Reason, ...]

    @property
    def unseen(self) -> list[str]:
        """Give the category features whose level training did not know."""
        schema = self.model.bundle.schema
        numbers = {name: schema.number_of(name, given.value) for name, given in self.inputs.items()}
        return [f.name for f in schema.features if f.kind == "category" and numbers.get(f.name) == UNSEEN]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked: a customer's inputs, an amount, and the language of the reasons."""

    market: str
    inputs: Mapping[str, Input]
    amount: Decimal
    locale: str


def assess(model: Model, policy: Policy, question: Question) -> Assessment:
    """Assess one question. The amount enters policy only.

    Raises:
        DoesNotAddUp: The explanation is not the score: nothing may be answered.
    """
    schema = model.bundle.schema
    market = policy.document.markets[question.market]
    locale = locale_for(schema, question.locale or "en")
    missing = schema.missing_mandatory(question.inputs)
    if missing:
        text = policy.text(MISSING_INPUT, locale, {"features": ", ".join(missing)})
        reason = Reason(MISSING_INPUT, "INPUT", text, tuple(missing))
        rules = (RuleResult(MISSING_INPUT, Outcome.NOT_SCORABLE),)
        return Assessment(
            model, policy, market, question.inputs, None, None, rules, Outcome.NOT_SCORABLE, locale, (reason,)
        )
    values = {name: given.value for name, given in question.inputs.items()}
    score = model.explain({name: schema.number_of(name, value) for name, value in values.items()})
    recommendation = recommend(market, score.pd)
    applied = apply_rules(market, recommendation, question.amount)
    told = policy_reasons(policy, market, applied, locale) + model_reasons(model, score, values, locale)
    return Assessment(
        model,
        policy,
        market,
        question.inputs,
        score,
        recommendation,
        applied,
        outcome_of(applied),
        locale,
        told[:REASONS_MAX],
    )


def policy_reasons(
    policy: Policy, market: MarketPolicy, rules: tuple[RuleResult, ...], locale: str
) -> tuple[Reason, ...]:
    """Say the rules that did not pass; the cut-off is said by the model's own reasons."""
    facts: dict[str, float | str] = {"largest_amount": float(market.largest_amount), "currency": market.currency}
    return tuple(
        Reason(rule.code, "POLICY", policy.text(rule.code, locale, facts), ())
        for rule in rules
        if rule.code == LARGEST_AMOUNT and not rule.passed
    )


def model_reasons(model: Model, score: ExplainedScore, values: Mapping[str, Value], locale: str) -> tuple[Reason, ...]:
    """Say what pushed the score toward risk."""
    schema, typical = model.bundle.schema, model.bundle.baseline.typical
    return tuple(
        Reason(
            code=push.code,
            kind="MODEL",
            text=text_of(schema, push, locale, values, typical),
            features=push.features,
            log_odds=push.log_odds,
            points=push.points,
        )
        for push in pushes(schema, score.contributions, score.points)
    )
