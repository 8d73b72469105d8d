"""Finds changes of an application with which the recorded model and policy would have approved it."""

from dataclasses import replace
from decimal import Decimal

from grounds.credit.v1 import credit_pb2
from models.reasons import DEFAULT_LOCALE, PlaceholderValue
from models.schema import FeatureInput
from server.decisions.assessment import Assessment, assess
from server.decisions.policy import PolicyOutcome
from server.decisions.sourced_values import SourcedValue
from server.edges.credit.recourse import RecourseFinder
from server.edges.explanations import feature_value


def _approvable_pd(assessment: Assessment) -> float:
    """Return the largest pd with which the policy may approve the requested amount; the cut-off if no grade allows it."""
    section, amount = assessment.section, assessment.question.amount
    grades = assessment.model.bundle.scorecard.grades
    allowed = [each.max_pd for each in grades if section.grade_limit(each.grade) >= amount]
    return min([section.approve_max_pd, *([max(allowed)] if allowed else [])])


def find_approved_changes(finder: RecourseFinder, assessment: Assessment) -> credit_pb2.Recourse | None:
    """Return the counterfactuals that the whole policy approves, with each change in words.

    The search for counterfactuals considers only the probability of default. A rule of the policy may still prevent the
    approval, and neither a notice nor a replay may state an approval that the policy would not grant.

    Args:
        finder: Searches for counterfactuals.
        assessment: The assessment of the application, in the language of the words.

    Returns:
        None if nothing can be said: no search was needed or possible, or a feature has no name in the language.
    """
    found = finder.find(assessment, _approvable_pd(assessment))
    if found.status not in {credit_pb2.RECOURSE_STATUS_FOUND, credit_pb2.RECOURSE_STATUS_NO_RECOURSE_FOUND}:
        return None
    approved = [each for each in found.counterfactuals if _is_approved(each, assessment)]
    schema, locale = assessment.model.bundle.schema, assessment.locale
    for change in (change for each in approved for change in each.changes):
        feature = schema.features[schema.position[change.feature]]
        if locale != DEFAULT_LOCALE and locale not in feature.names:
            return None
        change.text = _change_text(change, feature.name_in(locale), locale)
    status = credit_pb2.RECOURSE_STATUS_FOUND if approved else credit_pb2.RECOURSE_STATUS_NO_RECOURSE_FOUND
    return credit_pb2.Recourse(status=status, counterfactuals=approved)


def _is_approved(counterfactual: credit_pb2.Counterfactual, assessment: Assessment) -> bool:
    """Return whether the policy approves the application with the proposed values."""
    proposed = {}
    for change in counterfactual.changes:
        value, known = feature_value(change.proposed), assessment.inputs.get(change.feature)
        proposed[change.feature] = known._replace(value=value) if known else SourcedValue(value, "CALLER", None)
    question = replace(assessment.question, inputs={**assessment.inputs, **proposed})
    return assess(assessment.model, assessment.policy, question).outcome is PolicyOutcome.APPROVE


def _change_text(change: credit_pb2.FeatureChange, name: str, locale: str) -> str:
    """Return a change as text: the name of the feature, its recorded value and its proposed value.

    The proposed value has all its decimal places, because a rounded value may not suffice. The recorded value has as many, or more
    if the two would look the same.
    """
    now = feature_value(change.current) if change.HasField("current") else None
    proposed = feature_value(change.proposed)
    places = [_decimal_places(proposed), max(_decimal_places(proposed), _decimal_places(now))]
    texts = [_value_texts((now, proposed), each, locale) for each in places]
    return f"{name}: {' → '.join(next((each for each in texts if each[0] != each[1]), texts[-1]))}"


def _value_texts(values: tuple[FeatureInput | None, ...], places: int, locale: str) -> list[str]:
    """Return values as text with at most so many decimal places."""
    pattern = f"#,##0.{'#' * places}" if places else "#,##0"
    return [format(PlaceholderValue(value, None, locale), pattern) for value in values]


def _decimal_places(value: FeatureInput | None) -> int:
    """Return the number of decimal places that a number needs to be exact; 0 for a level or a missing value."""
    if not isinstance(value, float):
        return 0
    return max(0, -int(Decimal(repr(value)).normalize().as_tuple().exponent))
