"""Applies the rules of a policy section about inputs of which the model knows too little.

A model answers for every input, and a tree treats a value that training never saw like its nearest neighbor. These rules
let a person decide instead (REFER). They never decline.
"""

import datetime as dt
from collections.abc import Iterator, Mapping

from models.bundle import Bundle
from models.schema import UNSEEN
from server.decisions.policy import InputRule, PolicyOutcome, PolicySection
from server.decisions.policy_rules import RuleResult
from server.decisions.sourced_values import SourcedValue


def input_rule_results(
    section: PolicySection, bundle: Bundle, inputs: Mapping[str, SourcedValue], at: dt.datetime
) -> list[RuleResult]:
    """Return the results of the input rules of a section, in the order in which the section lists the rules.

    Args:
        section: The section.
        bundle: The bundle of the model, which states the levels and the ranges of training.
        inputs: The known inputs by feature.
        at: The time at which the age of stored inputs is measured.
    """
    return [_input_rule_result(rule, bundle, inputs, at) for rule in section.input_rules]


def unseen_features(bundle: Bundle, inputs: Mapping[str, SourcedValue]) -> list[str]:
    """Return the category features whose level did not occur in training, in the order of the schema."""
    schema = bundle.schema
    known = [feature.name for feature in schema.categories if feature.name in inputs]
    return [name for name in known if schema.encode_value(name, inputs[name].value) == UNSEEN]


def _input_rule_result(
    rule: InputRule, bundle: Bundle, inputs: Mapping[str, SourcedValue], at: dt.datetime
) -> RuleResult:
    """Return the result of one rule, with the features for which it fails."""
    chosen = {name: given for name, given in inputs.items() if not rule.features or name in rule.features}
    days = 0
    if rule.when == "unseen_level":
        failed = unseen_features(bundle, chosen)
    elif rule.when == "outside_range":
        failed = list(_outside_range(bundle, chosen))
    else:
        assert rule.max_age_days is not None, "the policy was validated"
        ages = {name: (at - given.as_of).days for name, given in chosen.items() if given.as_of is not None}
        failed = [name for name, age in ages.items() if age > rule.max_age_days]
        days = max((ages[name] for name in failed), default=0)
    facts: dict[str, float | str] = {
        "features": ", ".join(failed),
        "days": float(days),
        "allowed_days": float(rule.max_age_days or 0),
    }
    return RuleResult(rule.code, PolicyOutcome.REFER if failed else PolicyOutcome.APPROVE, facts, tuple(failed))


def _outside_range(bundle: Bundle, inputs: Mapping[str, SourcedValue]) -> Iterator[str]:
    """Yield the numeric features whose value is outside the range of training.

    A bundle of format 1 states no ranges. Nobody can say then that a value is inside, so every value counts as outside.
    """
    for feature in bundle.schema.features:
        if feature.kind != "number" or feature.name not in inputs:
            continue
        value = inputs[feature.name].value
        assert not isinstance(value, str), "the inputs were validated"
        known = bundle.population.features.get(feature.name) if bundle.population is not None else None
        if known is None or known.min is None or known.max is None or not known.min <= value <= known.max:
            yield feature.name
