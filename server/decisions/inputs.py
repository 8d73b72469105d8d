"""The inputs of a credit decision: checks the caller's values, and merges them with stored values.

The functions work on plain values. `server.edges.credit.messages` reads these values from a request or, for a replay,
from a recorded request.
"""

import datetime as dt
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from decimal import Decimal

from models.schema import FeatureInput, Schema
from server.decisions.assessment import CreditQuestion
from server.decisions.policy import Policy, PolicySection
from server.decisions.sourced_values import SourcedValue
from server.errors import CurrencyNotSupported, FeaturesInvalid, NoPolicy, Violation, summarize_violations


@dataclass(frozen=True, slots=True)
class CreditApplication:
    """A credit question as the caller sent it.

    Attributes:
        market: ISO 3166-1 alpha-2 code of the country.
        product: Product code; STANDARD if the request contains no product.
        amount: The requested amount, above 0.
        currency: ISO 4217 code of the amount's currency.
        features: Feature values in the request by feature: a number, or the name of a level.
        facts: Values in the request, in addition to features, that the policy's hard rules may use.
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
        """Return the question to assess: this application with a policy section, the inputs and the decision time."""
        return CreditQuestion(section, inputs, self.facts, self.amount, at, self.locale)


def applicable_section(policy: Policy, application: CreditApplication, at: dt.datetime) -> PolicySection:
    """Return the policy section that applies to an application, after checking currency and facts.

    Raises:
        NoPolicy: No section is in effect for the market and product on the day of `at`, in UTC.
        CurrencyNotSupported: The amount is not in the currency of the section.
        FeaturesInvalid: A fact is invalid; see `check_facts`.
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
        raise CurrencyNotSupported(summarize_violations([violation]), violations=[violation], market=market)
    check_facts(application.facts, section)
    return section


def check_features(values: Mapping[str, FeatureInput], schema: Schema, *, decides: bool) -> None:
    """Check the caller's feature values against the schema of the model.

    Args:
        values: Feature values in the request by feature.
        schema: The schema of the model that computes the score.
        decides: True for a decision, false for a simulation. A simulation also accepts features whose source is the
            store.

    Raises:
        FeaturesInvalid: Some values are invalid. The error lists all of them.
    """
    problems = schema.problems(values, decides=decides)
    _raise_if_any([Violation(f'features["{each.feature}"]', each.problem, each.kind) for each in problems])


def check_facts(facts: Mapping[str, FeatureInput], section: PolicySection) -> None:
    """Check that a rule of the section uses each fact, and that each fact has the expected kind and a known level.

    Without this check, a misspelt fact or level would be ignored, and nobody would notice.

    Raises:
        FeaturesInvalid: Some facts are invalid. The error lists all of them.
    """
    if not facts:
        return
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
    """Check that no fact has the name of a feature whose source is the store.

    Without this check, a caller could use a fact to replace a stored value, such as the days late, in a hard rule.

    Raises:
        FeaturesInvalid: Some facts have the name of such a feature. The error lists all of them.
    """
    problem = "is read from the feature store; remove it from the request"
    stored = sorted(schema.store_features & facts.keys())
    _raise_if_any([Violation(f'facts["{name}"]', problem, "SOURCE_NOT_ALLOWED") for name in stored])


def merge_inputs(
    schema: Schema,
    stored: Mapping[str, FeatureInput],
    as_of: dt.datetime | None,
    given: Mapping[str, FeatureInput],
) -> dict[str, SourcedValue]:
    """Return the input values of the model.

    A value of the caller takes precedence over a stored value of the same feature. A value that is the feature's code
    for a missing value, such as 98, is left out.

    Args:
        schema: The model's schema.
        stored: Stored values by feature; empty if the feature store has no row of this customer.
        as_of: The time to which the stored values refer; None if there are no stored values.
        given: Values of the caller by feature.
    """
    # Ignore stored values of features that only the caller may provide. Such values were stored under an older schema.
    ignored = schema.caller_features
    inputs = {name: SourcedValue(value, "STORE", as_of) for name, value in stored.items() if name not in ignored}
    inputs |= {name: SourcedValue(value, "CALLER", None) for name, value in given.items()}
    return {name: one for name, one in inputs.items() if not schema.stands_for_missing(name, one.value)}


def compatible_inputs(schema: Schema, inputs: Mapping[str, SourcedValue]) -> dict[str, SourcedValue]:
    """Return the inputs that a different model can use, because its schema has a feature of the same name and kind.

    A value that is the different model's code for a missing value is left out, as `merge_inputs` does.
    """
    usable = _inputs_of_same_kind(schema, inputs)
    return {name: given for name, given in usable.items() if not schema.stands_for_missing(name, given.value)}


def _inputs_of_same_kind(schema: Schema, inputs: Mapping[str, SourcedValue]) -> dict[str, SourcedValue]:
    """Return the inputs for which a schema has a feature of the same name and kind."""
    kinds = {feature.name: feature.kind for feature in schema.features}
    return {
        name: given
        for name, given in inputs.items()
        if name in kinds and isinstance(given.value, str) == (kinds[name] == "category")
    }


def features_without_record(schema: Schema, recorded: Collection[str], inputs: Mapping[str, SourcedValue]) -> list[str]:
    """Return the features of a different model about which a record states nothing that this model can use.

    Args:
        schema: The schema of the different model.
        recorded: Names of the recorded features, including those without a value.
        inputs: The recorded values.
    """
    usable = _inputs_of_same_kind(schema, inputs)
    missing = set(recorded) - set(inputs)
    return [feature.name for feature in schema.features if feature.name not in usable and feature.name not in missing]


def _known_levels(section: PolicySection, fact: str) -> list[str]:
    """Return the levels that a fact may have, sorted; empty if every level is valid, because a rule has no `passes`."""
    rules = [rule for rule in section.rules if rule.fact == fact and rule.level is not None]
    if not all(rule.passes for rule in rules):
        return []
    return sorted({level for rule in rules for level in (str(rule.level), *rule.passes)})


def _raise_if_any(violations: list[Violation]) -> None:
    """Raise FeaturesInvalid with all violations, unless the list is empty."""
    if violations:
        raise FeaturesInvalid(summarize_violations(violations), violations=violations)
