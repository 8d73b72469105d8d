"""What goes into a credit decision: the caller's question checked against policy and model, and merged with the store.

Everything here works on plain values. server.edges.credit.messages reads them from requests, and from the recorded
requests that a replay puts again.
"""

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal

from models.schema import FeatureInput, Schema
from server.decisions.assessment import CreditQuestion, SourcedValue
from server.decisions.policy import Policy, PolicySection
from server.errors import CurrencyNotServed, FeaturesInvalid, NoPolicy, Violation, summarize_violations


@dataclass(frozen=True, slots=True)
class CreditApplication:
    """A credit question as the caller sent it.

    Attributes:
        market: ISO 3166-1 alpha-2.
        product: STANDARD if the caller named none.
        amount: The requested amount, above 0.
        currency: Of the amount; ISO 4217.
        features: Values of the model's features that the caller gave: a number, or the name of a level.
        facts: Values beside the features that the policy's rules may ask for.
        locale: BCP 47 tag of the language of the reasons; "" for English.
    """

    market: str
    product: str
    amount: Decimal
    currency: str
    features: Mapping[str, FeatureInput]
    facts: Mapping[str, FeatureInput]
    locale: str

    def question(self, section: PolicySection, inputs: Mapping[str, SourcedValue], at: dt.datetime) -> CreditQuestion:
        """Return the question that this application asks of a policy section, for some inputs, at a time."""
        return CreditQuestion(section, inputs, self.facts, self.amount, at, self.locale)


def applicable_section(policy: Policy, application: CreditApplication, at: dt.datetime) -> PolicySection:
    """Return the policy section that answers an application.

    Raises:
        NoPolicy: No section is in force for the market and product on that day, in UTC.
        CurrencyNotServed: The amount is in another currency than the section.
        FeaturesInvalid: A fact is unknown to the rules of the section; see `check_facts`.
    """
    market, product = application.market, application.product
    section = policy.section(market, product, at.astimezone(dt.UTC).date())
    if section is None:
        raise NoPolicy(
            f"the policy has no section for product {product} in market {market} today; an operator can add one to the policy file",
            market=market,
        )
    if application.currency != section.currency:
        violation = Violation("requested_amount.currency_code", f"must be {section.currency} in {market}", "CURRENCY")
        raise CurrencyNotServed(summarize_violations([violation]), violations=[violation], market=market)
    check_facts(application.facts, section)
    return section


def check_features(values: Mapping[str, FeatureInput], schema: Schema, *, decides: bool) -> None:
    """Check the caller's feature values.

    Args:
        values: By feature.
        schema: Of the model that answers.
        decides: Whether a decision is made. A simulation also accepts values that only the store may give.

    Raises:
        FeaturesInvalid: Names every value that is invalid.
    """
    problems = schema.problems(values, decides=decides)
    _raise_if_any([Violation(f'features["{each.feature}"]', each.problem, each.kind) for each in problems])


def check_facts(facts: Mapping[str, FeatureInput], section: PolicySection) -> None:
    """Check that every fact is one that a rule of the section reads, of its kind and with a known level.

    A misspelt fact or level would decide nothing, without anybody noticing; therefore it is an error.

    Raises:
        FeaturesInvalid: Names every fact that is invalid.
    """
    kinds = {rule.fact: "number" if rule.level is None else "level" for rule in section.rules}
    allowed = ", ".join(sorted(kinds)) or "none"
    violations = []
    for name, value in sorted(facts.items()):
        field, levels = f'facts["{name}"]', _known_levels(section, name)
        if name not in kinds:
            violations.append(Violation(field, f"is used by no rule; the rules use: {allowed}", "UNKNOWN"))
        elif ("level" if isinstance(value, str) else "number") != kinds[name]:
            violations.append(Violation(field, f"must be a {kinds[name]}", "KIND"))
        elif levels and value not in levels:
            violations.append(Violation(field, f"must be one of: {', '.join(levels)}", "LEVEL"))
    _raise_if_any(violations)


def check_fact_sources(facts: Mapping[str, FeatureInput], schema: Schema) -> None:
    """Check that no fact replaces a feature of the store: a loan officer cannot overwrite days late in a rule either.

    Raises:
        FeaturesInvalid: Names every fact that is a feature of the store.
    """
    stored = {feature.name for feature in schema.features if feature.source == "STORE"}
    problem = "is read from the feature store; remove it from the request"
    _raise_if_any(
        [Violation(f'facts["{name}"]', problem, "SOURCE_NOT_ALLOWED") for name in sorted(stored & set(facts))]
    )


def merge_inputs(
    schema: Schema,
    stored: Mapping[str, FeatureInput],
    as_of: dt.datetime | None,
    given: Mapping[str, FeatureInput],
) -> dict[str, SourcedValue]:
    """Return the values that are fed to the model: the caller's, and those of the store for all other features.

    Args:
        schema: Of the model.
        stored: Values of the feature store, by feature; empty if it has none of this customer.
        as_of: Time as of which the stored values were true; None if there are none.
        given: Values of the caller, by feature.
    """
    # A feature that only the caller may give is never read from the store, where an older schema may have put one.
    sources = {feature.name: feature.source for feature in schema.features}
    inputs = {name: SourcedValue(value, "STORE", as_of) for name, value in stored.items() if sources[name] != "CALLER"}
    return inputs | {name: SourcedValue(value, "CALLER", None) for name, value in given.items()}


def compatible_inputs(schema: Schema, inputs: Mapping[str, SourcedValue]) -> dict[str, SourcedValue]:
    """Return the inputs that another model has too, as the same kind of feature: a number, or a level."""
    kinds = {feature.name: feature.kind for feature in schema.features}
    return {
        name: given
        for name, given in inputs.items()
        if name in kinds and isinstance(given.value, str) == (kinds[name] == "category")
    }


def _known_levels(section: PolicySection, fact: str) -> list[str]:
    """Return the levels that the rules name for a fact; empty if a rule accepts every other level."""
    rules = [rule for rule in section.rules if rule.fact == fact and rule.level is not None]
    if not all(rule.passes for rule in rules):
        return []
    return sorted({level for rule in rules for level in (str(rule.level), *rule.passes)})


def _raise_if_any(violations: list[Violation]) -> None:
    """Raise FeaturesInvalid for all violations at once, if there are any."""
    if violations:
        raise FeaturesInvalid(summarize_violations(violations), violations=violations)
