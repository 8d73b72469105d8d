"""Reasons: the groups of features that raised the risk most, and their sentences in the customer's language.

Selection: the contributions of each group are summed. A group is material if it raises the risk, and its sum is at
least MATERIALITY times the total of all groups that raise the risk. The material groups are sorted by contribution, and
ties by code. At most REASONS_MAX groups become reasons. The list is never padded: fewer material groups mean fewer
reasons. Source: 12 CFR 1002, Supplement I, comment 9(b)(2), paragraphs 1, 4 and 5.

Texts: sentences come from the spec, so they are data and not code. `TextFormatter` allows named placeholders and nothing
else. Numbers and plurals follow CLDR: https://unicode.org/reports/tr35/tr35-numbers.html.
"""

import decimal
import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any

from babel import Locale
from babel.numbers import NumberPattern, parse_pattern

from models.schema import FeatureInput, Schema

REASONS_MAX = 4  # comment 9(b)(2), paragraph 1: more than four reasons are not likely to help
MATERIALITY = 0.05
DEFAULT_LOCALE = "en"
FEATURES_NAMED_MAX = 2  # the largest number of features that a group's sentence lists
_PLURAL_CATEGORIES = {"zero", "one", "two", "few", "many", "other"}
_PATTERN_LENGTH_MAX = 64
_DECIMAL_PRECISION = 400  # digits: enough to write any double without an exponent


@dataclass(frozen=True, slots=True)
class GroupContribution:
    """The contribution of one group of features.

    Attributes:
        code: The reason code.
        log_odds: Sum of the contributions of the group's features; above 0 if the group raises the risk.
        points: Sum of the points of the group's features.
        features: Names of the group's features that raise the risk, largest contribution first.
    """

    code: str
    log_odds: float
    points: int
    features: tuple[str, ...]


def principal_reasons(
    schema: Schema, contributions: Sequence[float], points: Sequence[int], limit: int = REASONS_MAX
) -> list[GroupContribution]:
    """Return the groups that raise the risk materially, largest contribution first.

    Args:
        schema: Assigns every feature to a group.
        contributions: Contribution of each feature to the log-odds of the bad outcome, in the order of the schema.
        points: Points of each feature, in the order of the schema.
        limit: Largest number of groups.
    """
    groups = [_group_contribution(schema, code, contributions, points) for code in schema.group]
    raising = [group for group in groups if group.log_odds > 0.0]
    # Materiality is relative to the groups that raise the risk: groups that lower it do not change the threshold.
    threshold = MATERIALITY * sum(group.log_odds for group in raising)
    material = [group for group in raising if group.log_odds >= threshold]
    return sorted(material, key=lambda group: (-group.log_odds, group.code))[:limit]


def _group_contribution(
    schema: Schema, code: str, contributions: Sequence[float], points: Sequence[int]
) -> GroupContribution:
    """Return the contribution of one group."""
    members = [index for index, feature in enumerate(schema.features) if feature.group == code]
    raising = [index for index in members if contributions[index] > 0.0]
    raising.sort(key=lambda index: -contributions[index])  # stable: ties keep the order of the schema
    return GroupContribution(
        code=code,
        log_odds=sum(contributions[index] for index in members),
        points=sum(points[index] for index in members),
        features=tuple(schema.names[index] for index in raising),
    )


def resolve_locale(schema: Schema, requested: str) -> str:
    """Return the locale for all reasons: the requested one if available, else its language alone, else English."""
    # A locale is available only if every group has a sentence in it, because reasons in two languages would be worse than
    # reasons in English.
    available = set.intersection(*(set(group.texts) for group in schema.group.values()))
    language = requested.split("-", maxsplit=1)[0]
    return next((locale for locale in (requested, language) if locale in available), DEFAULT_LOCALE)


def reason_text(
    schema: Schema,
    group: GroupContribution,
    locale: str,
    values: Mapping[str, FeatureInput],
    typical: Mapping[str, FeatureInput | None],
) -> str:
    """Return a group's sentence with the customer's values and the baseline's medians.

    Args:
        schema: The schema with the sentences.
        group: A result of `principal_reasons`.
        locale: A result of `resolve_locale`.
        values: The customer's values by feature name; missing features are absent.
        typical: The baseline's medians by feature name; None if the median is missing.

    Raises:
        KeyError: A placeholder of the sentence is not the name of a feature.
    """
    placeholders = {name: PlaceholderValue(values.get(name), typical[name], locale) for name in schema.names}
    parts = (_feature_text(schema, name, locale, placeholders[name]) for name in group.features[:FEATURES_NAMED_MAX])
    return TextFormatter().vformat(
        schema.group[group.code].texts[locale], (), {**placeholders, "pushed": "; ".join(parts)}
    )


def _feature_text(schema: Schema, name: str, locale: str, value: "PlaceholderValue") -> str:
    """Return one feature's part of its group's sentence: its own text, or its description and values."""
    feature = schema.features[schema.position[name]]
    text = feature.texts.get(locale, feature.description + " {value} (typical: {typical})")
    return TextFormatter().vformat(
        text, (), {"value": value, "typical": PlaceholderValue(value.typical, None, value.locale)}
    )


@dataclass(frozen=True, slots=True)
class PlaceholderValue:
    """A value that a placeholder inserts into a sentence.

    Attributes:
        value: The customer's value; None if missing.
        typical: The baseline's median, for {NAME.typical}; None if missing.
        locale: The BCP 47 tag of the sentence's language.
    """

    value: FeatureInput | None
    typical: FeatureInput | None
    locale: str

    def __format__(self, pattern: str) -> str:
        """Return a number as the locale writes it, a level unchanged, and "-" for a missing value.

        Args:
            pattern: A CLDR number pattern, empty for whole numbers. Words by CLDR plural category may follow:
                `{gap:|one=day|other=days}`.

        Raises:
            ValueError: The words are malformed, or there is no word for `other`.
        """
        pattern, *words = pattern.split("|")
        if self.value is None:
            return " ".join(["-", *([_plural_word(words, "other")] if words else [])])
        if isinstance(self.value, str):
            return self.value
        locale, number_pattern = _parse_locale(self.locale), _parse_number_pattern(pattern or "#,##0")
        with decimal.localcontext() as context:
            # The default precision of 28 digits would fail on large doubles.
            context.prec = _DECIMAL_PRECISION
            text = str(number_pattern.apply(self.value, locale))
            if not words:
                return text
            # The plural follows the number as it is written: 1.4 is written "1", and needs the singular.
            decimals = decimal.Decimal(1).scaleb(-number_pattern.frac_prec[1])
            category = locale.plural_form(abs(decimal.Decimal(self.value).quantize(decimals)))
        return f"{text} {_plural_word(words, category)}"


def _plural_word(words: Sequence[str], category: str) -> str:
    """Return the word of a plural category, or the word of `other` if the category has none.

    Raises:
        ValueError: There is no word for `other`, or a word is not of the form category=word.
    """
    forms = dict(word.partition("=")[::2] for word in words)
    if "other" not in forms or not set(forms) <= _PLURAL_CATEGORIES:
        categories = ", ".join(sorted(_PLURAL_CATEGORIES))
        raise ValueError(f"words after | must be category=word, with one for other; categories are {categories}")
    return forms.get(category, forms["other"])


@lru_cache(maxsize=1000)  # specs and policies contain few patterns; the limit is for bundles that are not active
def _parse_number_pattern(pattern: str) -> NumberPattern:
    """Parse a CLDR number pattern.

    Raises:
        ValueError: The pattern is invalid or too long.
    """
    if len(pattern) > _PATTERN_LENGTH_MAX:
        raise ValueError(f"a number pattern may have up to {_PATTERN_LENGTH_MAX} characters, got {len(pattern)}")
    return parse_pattern(pattern)


@cache  # without a size limit, because the tags are the few locales that specs contain
def _parse_locale(tag: str) -> Locale:
    """Parse a BCP 47 tag."""
    return Locale.parse(tag, sep="-")


class TextFormatter(string.Formatter):
    """Formats a text of a spec or policy. Only the placeholders {NAME} and {NAME.typical} are allowed.

    `str.format` would read any attribute that a text names, such as {NAME.__class__}.
    """

    def get_field(self, field_name: str, args: Any, kwargs: Any) -> Any:  # noqa: ARG002 - the base's signature
        """Return the value of a placeholder, and its name.

        Raises:
            KeyError: There is no value with the placeholder's name.
        """
        name, _, attribute = field_name.partition(".")
        if attribute not in {"", "typical"} or name not in kwargs:
            raise KeyError(field_name)
        value = kwargs[name]
        if not attribute:
            return value, name
        if not isinstance(value, PlaceholderValue):
            raise KeyError(field_name)
        return PlaceholderValue(value.typical, None, value.locale), name

    def convert_field(self, value: Any, conversion: str | None) -> Any:
        """Return the value unchanged.

        Raises:
            ValueError: The placeholder has a conversion, such as {NAME!r}, after which a width of any size would apply.
        """
        if conversion is not None:
            raise ValueError(f"!{conversion} is not allowed; write the placeholder without it")
        return value

    def format_field(self, value: Any, format_spec: str) -> str:
        """Return a text unchanged, because a width such as {NAME:>999999999} could fill the memory; format a number."""
        return value if isinstance(value, str) else super().format_field(value, format_spec)
