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

from models.schema import Schema, Value

REASONS_MAX = 4
MATERIALITY = 0.05
DEFAULT_LOCALE = "en"
# A sentence names so many of the features that pushed; more are not read.
PUSHED_MAX = 2
PLURALS = {"zero", "one", "two", "few", "many", "other"}  # CLDR's categories
PRECISION = 400  # digits: any double, however large, can be written whole


@dataclass(frozen=True, slots=True)
class GroupPush:
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


def pushes(
    schema: Schema, contributions: Sequence[float], points: Sequence[int], at_most: int = REASONS_MAX
) -> list[GroupPush]:
    """Select the groups to tell, strongest first."""
    found = [group_push(schema, code, contributions, points) for code in schema.group]
    risky = [push for push in found if push.log_odds > 0.0]
    floor = MATERIALITY * sum(push.log_odds for push in risky)
    material = [push for push in risky if push.log_odds >= floor]
    return sorted(material, key=lambda push: (-push.log_odds, push.code))[:at_most]


def group_push(schema: Schema, code: str, contributions: Sequence[float], points: Sequence[int]) -> GroupPush:
    """Add up one group."""
    members = [index for index, feature in enumerate(schema.features) if feature.group == code]
    risky = sorted((index for index in members if contributions[index] > 0.0), key=lambda index: -contributions[index])
    return GroupPush(
        code=code,
        log_odds=sum(contributions[index] for index in members),
        points=sum(points[index] for index in members),
        features=tuple(schema.names[index] for index in risky),
    )


def locale_for(schema: Schema, wanted: str) -> str:
    """Choose the locale: the one wanted, else its language, else English."""
    offered = set.intersection(*(set(group.texts) for group in schema.group.values()))
    language = wanted.split("-", maxsplit=1)[0]
    return next((locale for locale in (wanted, language) if locale in offered), DEFAULT_LOCALE)


def text_of(
    schema: Schema, push: GroupPush, locale: str, values: Mapping[str, Value], typical: Mapping[str, Value | None]
) -> str:
    """Say one group's reason with the customer's values and the baseline's.

    Raises:
        KeyError: A placeholder of the text names no fact.
    """
    facts = {name: Fact(values.get(name), typical[name], locale) for name in schema.names}
    pushed = "; ".join(feature_text(schema, name, locale, facts[name]) for name in push.features[:PUSHED_MAX])
    return Sentence().vformat(schema.group[push.code].texts[locale], (), {**facts, "pushed": pushed})


def feature_text(schema: Schema, name: str, locale: str, fact: "Fact") -> str:
    """Say one feature as part of its group's sentence; without a text of its own, plainly."""
    feature = schema.features[schema.position[name]]
    text = feature.texts.get(locale, feature.description + " {value} (typical: {typical})")
    return Sentence().vformat(text, (), {"value": fact, "typical": Fact(fact.typical_value, None, locale)})


@dataclass(frozen=True, slots=True)
class Fact:
    """A value in a sentence; None where it is not known."""

    value: Value | None
    typical_value: Value | None
    locale: str

    def __format__(self, pattern: str) -> str:
        """Write a number as the locale does, whole unless the text gives another CLDR pattern; a level as it is.

        After the pattern may come the words that belong to it, by the locale's plural category of the number as it is
        written: `{gap:|one=day|other=days}`.
        """
        pattern, *words = pattern.split("|")
        if self.value is None:
            return " ".join(["-", *([worded(words, "other")] if words else [])])
        if isinstance(self.value, str):
            return self.value
        locale, numbers = locale_named(self.locale), number_pattern(pattern or "#,##0")
        with decimal.localcontext() as context:
            context.prec = PRECISION
            written = str(numbers.apply(self.value, locale))
            if not words:
                return written
            decimals = decimal.Decimal(1).scaleb(-numbers.frac_prec[1])
            category = locale.plural_form(abs(decimal.Decimal(self.value).quantize(decimals)))
        return f"{written} {worded(words, category)}"


def worded(words: Sequence[str], category: str) -> str:
    """Choose the word of a plural category, else that of `other`.

    Raises:
        ValueError: There is none for `other`, or something is no category=word.
    """
    forms = dict(word.partition("=")[::2] for word in words)
    if "other" not in forms or not set(forms) <= PLURALS:
        raise ValueError(
            f"words after | are category=word, with one for other; categories are {', '.join(sorted(PLURALS))}"
        )
    return forms.get(category, forms["other"])


@cache
def number_pattern(pattern: str) -> NumberPattern:
    """Read a CLDR number pattern; a spec has few."""
    return parse_pattern(pattern)


@cache
def locale_named(name: str) -> Locale:
    """Find a locale; a spec has few."""
    return Locale.parse(name, sep="-")


class Sentence(string.Formatter):
    """Formats a text of the spec: known names and NAME.typical only, no other attribute and no index."""

    def get_field(self, field_name: str, args: Any, kwargs: Any) -> Any:  # noqa: ARG002 - the base's signature
        """Give the fact that a placeholder names."""
        name, _, rest = field_name.partition(".")
        if rest not in {"", "typical"} or name not in kwargs:
            raise KeyError(field_name)
        fact = kwargs[name]
        if not rest:
            return fact, name
        if not isinstance(fact, Fact):
            raise KeyError(field_name)
        return Fact(fact.typical_value, None, fact.locale), name
