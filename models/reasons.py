"""Reasons: which groups of features pushed toward risk, in words.

The procedure: add the contributions of each group; keep the groups that pushed toward risk by at least
MATERIALITY of all pushes toward risk; strongest first, equal pushes by code; at most REASONS_MAX, fewer
rather than padded. Source: 12 CFR 1002 Supplement I, 9(b)(2), comments 1, 4 and 5.
"""

import decimal
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from babel import Locale
from babel.numbers import NumberPattern, parse_pattern

from models.schema import FeatureInput, Schema

REASONS_MAX = 4
MATERIALITY = 0.05
DEFAULT_LOCALE = "en"
# A sentence names so many of the features that pushed; more are not read.
FEATURES_NAMED_MAX = 2
_PLURAL_CATEGORIES = {"zero", "one", "two", "few", "many", "other"}  # CLDR's categories
_DECIMAL_PRECISION = 400  # digits: any double, however large, can be written whole


@dataclass(frozen=True, slots=True)
class GroupContribution:
    """A group that pushed toward risk.

    Attributes:
        log_odds: Sum of its contributions; above 0.
        points: Sum of its points.
        features: Those of the group that pushed toward risk, strongest first.
    """

    code: str
    log_odds: float
    points: int
    features: tuple[str, ...]


def principal_reasons(
    schema: Schema, contributions: Sequence[float], points: Sequence[int], limit: int = REASONS_MAX
) -> list[GroupContribution]:
    """Select the groups to tell, strongest first."""
    found = [_group_contribution(schema, code, contributions, points) for code in schema.group]
    risky = [push for push in found if push.log_odds > 0.0]
    floor = MATERIALITY * sum(push.log_odds for push in risky)
    material = [push for push in risky if push.log_odds >= floor]
    return sorted(material, key=lambda push: (-push.log_odds, push.code))[:limit]


def _group_contribution(
    schema: Schema, code: str, contributions: Sequence[float], points: Sequence[int]
) -> GroupContribution:
    """Add up one group."""
    members = [index for index, feature in enumerate(schema.features) if feature.group == code]
    risky = sorted((index for index in members if contributions[index] > 0.0), key=lambda index: -contributions[index])
    return GroupContribution(
        code=code,
        log_odds=sum(contributions[index] for index in members),
        points=sum(points[index] for index in members),
        features=tuple(schema.names[index] for index in risky),
    )


def resolve_locale(schema: Schema, requested: str) -> str:
    """Choose the locale: the one wanted, else its language, else English."""
    offered = set.intersection(*(set(group.texts) for group in schema.group.values()))
    language = requested.split("-", maxsplit=1)[0]
    return next((locale for locale in (requested, language) if locale in offered), DEFAULT_LOCALE)


def reason_text(
    schema: Schema,
    push: GroupContribution,
    locale: str,
    values: Mapping[str, FeatureInput],
    typical: Mapping[str, FeatureInput | None],
) -> str:
    """Say one group's reason with the customer's values and the baseline's.

    Raises:
        KeyError: A placeholder of the text names no fact.
    """
    facts = {name: PlaceholderValue(values.get(name), typical[name], locale) for name in schema.names}
    pushed = "; ".join(_feature_text(schema, name, locale, facts[name]) for name in push.features[:FEATURES_NAMED_MAX])
    return TextFormatter().vformat(schema.group[push.code].texts[locale], (), {**facts, "pushed": pushed})


def _feature_text(schema: Schema, name: str, locale: str, fact: "PlaceholderValue") -> str:
    """Say one feature as part of its group's sentence; without a text of its own, plainly."""
    feature = schema.features[schema.position[name]]
    text = feature.texts.get(locale, feature.description + " {value} (typical: {typical})")
    return TextFormatter().vformat(text, (), {"value": fact, "typical": PlaceholderValue(fact.typical, None, locale)})


@dataclass(frozen=True, slots=True)
class PlaceholderValue:
    """A value in a sentence; None where it is not known."""

    value: FeatureInput | None
    typical: FeatureInput | None
    locale: str

    def __format__(self, pattern: str) -> str:
        """Write a number as the locale does, whole unless the text gives another CLDR pattern; a level as it is.

        After the pattern may come the words that belong to it, by the locale's plural category of the number as it is
        written: `{gap:|one=day|other=days}`.
        """
        pattern, *words = pattern.split("|")
        if self.value is None:
            return " ".join(["-", *([_plural_word(words, "other")] if words else [])])
        if isinstance(self.value, str):
            return self.value
        locale, numbers = _parse_locale(self.locale), _parse_number_pattern(pattern or "#,##0")
        with decimal.localcontext() as context:
            context.prec = _DECIMAL_PRECISION
            written = str(numbers.apply(self.value, locale))
            if not words:
                return written
            decimals = decimal.Decimal(1).scaleb(-numbers.frac_prec[1])
            category = locale.plural_form(abs(decimal.Decimal(self.value).quantize(decimals)))
        return f"{written} {_plural_word(words, category)}"


def _plural_word(words: Sequence[str], category: str) -> str:
    """Choose the word of a plural category, else that of `other`.

    Raises:
        ValueError: There is none for `other`, or something is no category=word.
    """
    forms = dict(word.partition("=")[::2] for word in words)
    if "other" not in forms or not set(forms) <= _PLURAL_CATEGORIES:
        raise ValueError(
            f"words after | are category=word, with one for other; categories are {', '.join(sorted(_PLURAL_CATEGORIES))}"
        )
    return forms.get(category, forms["other"])


@cache
def _parse_number_pattern(pattern: str) -> NumberPattern:
    """Read a CLDR number pattern; a spec has few."""
    return parse_pattern(pattern)


@cache
def _parse_locale(name: str) -> Locale:
    """Find a locale; a spec has few."""
    return Locale.parse(name, sep="-")


class TextFormatter(string.Formatter):
    """Formats a text of the spec: known names and NAME.typical only, no other attribute and no index."""

    def get_field(self, field_name: str, args: Any, kwargs: Any) -> Any:  # noqa: ARG002 - the base's signature
        """Give the fact that a placeholder names."""
        name, _, rest = field_name.partition(".")
        if rest not in {"", "typical"} or name not in kwargs:
            raise KeyError(field_name)
        fact = kwargs[name]
        if not rest:
            return fact, name
        if not isinstance(fact, PlaceholderValue):
            raise KeyError(field_name)
        return PlaceholderValue(fact.typical, None, fact.locale), name
