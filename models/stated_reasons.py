"""Reasons as people read them: which features a reason names, and what its sentence says.

`models.reasons` selects groups by their contributions alone. Bundles with `reason_rules` 2 in schema.json have further
rules, so that a reader can follow every sentence. Bundles of earlier releases keep theirs, because their recorded decisions are
replayed.

- A reason names only features that raise the risk, and whose value is worse than the typical one: not better in the
  direction of `sign`, not equal, and not equal as written. A group without such a feature is no reason, unless no other
  group is one.
- A score that a group raises has at least one reason. If no group has a feature as above, the strongest group is the reason.
  It names its strongest feature with the value and the direction of the contribution, and without the typical value. A
  score that no group raises has a reason only if one is required, which is the strongest feature.
- The group's sentence is used only if it is about the feature that raises the risk most, and writes no missing value and no
  typical value that is equal to or worse than the customer's. Otherwise the features' own texts are used.
- A number without a pattern is written with three significant digits, so that 0.5 is not written as 0.
- A missing value is written in words.
"""

import dataclasses
import string
from collections.abc import Mapping, Sequence
from functools import cache

from models.bundle_documents import FeatureSpec
from models.reasons import (
    FEATURES_NAMED_MAX,
    REASONS_MAX,
    GroupContribution,
    PlaceholderValue,
    TextFormatter,
    principal_reasons,
    reason_text,
    word_in,
)
from models.schema import FeatureInput, Schema

_Values = Mapping[str, FeatureInput]
_Typical = Mapping[str, FeatureInput | None]
_FORMATTER = TextFormatter()


def stated_reasons(
    schema: Schema,
    contributions: Sequence[float],
    points: Sequence[int],
    values: _Values,
    typical: _Typical,
    limit: int = REASONS_MAX,
    *,
    is_required: bool = False,
) -> list[GroupContribution]:
    """Return the reasons for a score, largest contribution first.

    Args:
        schema: The schema, which states the rules.
        contributions: Contribution of each feature to the log-odds of the bad outcome, in the order of the schema.
        points: Points of each feature, in the order of the schema.
        values: The customer's values by feature name; missing features are absent.
        typical: The baseline's medians by feature name; None if the median is missing.
        limit: Largest number of reasons.
        is_required: Whether a score that no group raises has a reason too. There is none only if all contributions are 0.
    """
    if schema.document.reason_rules == 1:
        return principal_reasons(schema, contributions, points, limit)
    groups = principal_reasons(schema, contributions, points, len(schema.group))
    if is_required and not groups:
        return _strongest_feature(schema, contributions, points)
    return name_features(schema, groups, values, typical)[:limit]


def name_features(
    schema: Schema, groups: Sequence[GroupContribution], values: _Values, typical: _Typical
) -> list[GroupContribution]:
    """Return the groups with the features that their reasons may name, without the groups that have no such feature.

    If no group has such a feature, return the first group with its strongest feature.
    """
    found = []
    for group in groups:
        named = tuple(
            name
            for name in group.features
            if _is_worse(schema.features[schema.position[name]], values.get(name), typical[name])
        )
        if named:
            found.append(dataclasses.replace(group, features=named))
    return found or [dataclasses.replace(group, features=group.features[:1]) for group in groups[:1]]


def _strongest_feature(
    schema: Schema, contributions: Sequence[float], points: Sequence[int]
) -> list[GroupContribution]:
    """Return the feature with the largest contribution as the only reason, with the code of its group.

    A contribution of 0 does not count, because the score may not depend on such a feature at all.
    """
    counted = [position for position, log_odds in enumerate(contributions) if log_odds != 0.0]
    if not counted:
        return []
    one = max(counted, key=contributions.__getitem__)  # of equal ones, the first of the schema
    return [GroupContribution(schema.features[one].group, contributions[one], points[one], (schema.names[one],))]


def stated_text(schema: Schema, group: GroupContribution, locale: str, values: _Values, typical: _Typical) -> str:
    """Return the sentence of a reason.

    Args:
        schema: The schema, which states the rules.
        group: A result of `stated_reasons`.
        locale: A result of `models.reasons.choose_locale`.
        values: The customer's values by feature name; missing features are absent.
        typical: The baseline's medians by feature name; None if the median is missing.

    Raises:
        KeyError: A placeholder of the sentence is not the name of a feature.
    """
    if schema.document.reason_rules == 1:
        return reason_text(schema, group, locale, values, typical)
    sentence = schema.group[group.code].texts[locale]
    features = [schema.features[schema.position[name]] for name in group.features[:FEATURES_NAMED_MAX]]
    first = features[0]
    is_raising = group.log_odds > 0.0
    if not is_raising or not _is_worse(first, values.get(first.name), typical[first.name]):
        return _effect_text(first, locale, values.get(first.name), is_raising=is_raising)
    own_texts = "; ".join(_own_text(one, locale, values.get(one.name), typical[one.name]) for one in features)
    if not _fits(schema, sentence, first.name, values, typical) and all(_has_own_text(one, locale) for one in features):
        return own_texts
    facts: dict[str, PlaceholderValue | str] = {
        name: PlaceholderValue(values.get(name), typical[name], locale, by_size=True)
        for name in text_features(sentence)
        if name in schema.position
    }
    return _FORMATTER.vformat(sentence, (), {**facts, "pushed": own_texts})


def _effect_text(feature: FeatureSpec, locale: str, value: FeatureInput | None, *, is_raising: bool) -> str:
    """Return a feature's name and value, and how its contribution compares with that of other customers' values.

    The typical value is omitted, because it may be equal or worse: a contribution is an average over all customers of the
    baseline, so that a typical value raises the risk too if the values of the others lower it.
    """
    name = feature.names.get(locale, feature.description)
    effect = word_in(locale, "raises" if is_raising else "lowers_least")
    return f"{name}: {PlaceholderValue(value, None, locale, by_size=True):} ({effect})"


def text_features(text: str) -> tuple[str, ...]:
    """Return the distinct names in the placeholders of a text, in the order of their first occurrence."""
    return tuple(dict.fromkeys(name for name, _, _ in _placeholders(text)))


@cache  # without a size limit, because the texts are those of the specs
def _placeholders(text: str) -> tuple[tuple[str, bool, str], ...]:
    """Return the placeholders of a text: the name, whether it is the typical value, and the number pattern."""
    return tuple(
        (field.partition(".")[0], field.endswith(".typical"), (pattern or "").partition("|")[0])
        for _, field, pattern, _ in string.Formatter().parse(text)
        if field
    )


def _fits(schema: Schema, sentence: str, first: str, values: _Values, typical: _Typical) -> bool:
    """Return whether a group's sentence is about the feature `first`, and writes nothing that confuses a reader."""
    placeholders = _placeholders(sentence)
    if any(name == "pushed" for name, _, _ in placeholders):
        return True
    written = {name: pattern for name, is_typical, pattern in placeholders if not is_typical}
    compared = {name for name, is_typical, _ in placeholders if is_typical}
    if first not in written or any(values.get(name) is None for name in written):
        return False
    return all(
        typical.get(name) is not None
        and _is_worse(schema.features[schema.position[name]], values.get(name), typical[name], (written.get(name, ""),))
        for name in compared
        if name in schema.position
    )


def _is_worse(
    feature: FeatureSpec,
    value: FeatureInput | None,
    typical: FeatureInput | None,
    patterns: Sequence[str] | None = None,
) -> bool:
    """Return whether a value that raises the risk reads as a reason beside the typical value.

    Args:
        feature: The feature.
        value: The customer's value; None if it is missing, which is written in words.
        typical: The baseline's median; None if it is missing.
        patterns: The number patterns in which both are written; None for those of the feature's own texts.
    """
    if value is None or typical is None:
        return True
    if isinstance(value, str) or isinstance(typical, str):
        return value != typical
    if value == typical or feature.sign * (value - typical) < 0:
        return False
    patterns = _own_patterns(feature) if patterns is None else patterns
    return all(_value_text(value, pattern) != _value_text(typical, pattern) for pattern in patterns)


def _own_patterns(feature: FeatureSpec) -> list[str]:
    """Return the number patterns in which a feature's own texts write its value."""
    found = [
        pattern
        for text in feature.texts.values()
        for name, is_typical, pattern in _placeholders(text)
        if name == "value" and not is_typical
    ]
    return found or [""]


def _value_text(value: float, pattern: str) -> str:
    """Return a number as a text writes it."""
    return format(PlaceholderValue(value, None, "en", by_size=True), pattern)


def _has_own_text(feature: FeatureSpec, locale: str) -> bool:
    """Return whether a feature has a text or a name in a locale."""
    return locale == "en" or locale in feature.texts or locale in feature.names


def _own_text(feature: FeatureSpec, locale: str, value: FeatureInput | None, typical: FeatureInput | None) -> str:
    """Return a feature's own text: that of the spec, or its name with the value and the typical value."""
    text = feature.texts.get(locale, "")
    writes_typical = any(name == "typical" for name, _, _ in _placeholders(text))
    facts = {
        "value": PlaceholderValue(value, None, locale, by_size=True),
        "typical": PlaceholderValue(typical, None, locale, by_size=True),
    }
    if text and value is not None and (typical is not None or not writes_typical):
        return _FORMATTER.vformat(text, (), facts)
    name = feature.names.get(locale, feature.description)
    compared = "" if value is None or typical is None else f" ({word_in(locale, 'typical')}: {facts['typical']:})"
    return f"{name}: {facts['value']:}{compared}"
