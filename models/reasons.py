"""Reasons: the groups of features that raised the risk most, and their sentences in the customer's language.

Selection: the contributions of each group are summed. A group is material if it raises the risk, and its sum is at
least MATERIALITY times the total of all groups that raise the risk, or is the largest sum (not in bundles with
`reason_rules` 1). The material groups are sorted by contribution, and
ties by code. At most REASONS_MAX groups become reasons. The list is never padded: fewer material groups mean fewer
reasons. Source: 12 CFR 1002, Supplement I, comment 9(b)(2), paragraphs 1, 4 and 5.

Texts: sentences come from the spec, so they are data and not code. `TextFormatter` allows named placeholders and
nothing else. Numbers and plurals follow CLDR: https://unicode.org/reports/tr35/tr35-numbers.html.
"""

import decimal
import math
import string
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from typing import Any

from babel import Locale
from babel.core import get_global
from babel.numbers import NumberPattern, get_decimal_symbol, get_group_symbol, parse_pattern

from models.schema import FeatureInput, Schema

REASONS_MAX = 4  # comment 9(b)(2), paragraph 1: more than four reasons are not likely to help
MATERIALITY = 0.05
DEFAULT_LOCALE = "en"
FEATURES_NAMED_MAX = 2  # the largest number of features that a group's sentence lists
_PLURAL_CATEGORIES = {"zero", "one", "two", "few", "many", "other"}
_PATTERN_LENGTH_MAX = 64
_USUAL_MAX = 1e15  # numbers below this have at most 15 digits before the decimal separator, so their rounding is exact
_USUAL_PLACES_MAX = 9
_CACHED_MAX = 4096
_SIGNIFICANT_DIGITS = 3
_SIZE_PLACES_MAX = 6
# The words that a text without a text of its own needs, by language.
_WORDS = {
    "typical": {
        "en": "typical",
        "de": "üblich",
        "fr": "habituel",
        "it": "tipico",
        "pl": "zwykle",
        "es": "habitual",
        "zh": "一般",
    },
    "unknown": {
        "en": "not known",
        "de": "nicht bekannt",
        "fr": "inconnu",
        "it": "non noto",
        "pl": "brak danych",
        "es": "no conocido",
        "zh": "未知",
    },
    "raises": {
        "en": "compared with other customers, this raises the risk on average",
        "de": "verglichen mit anderen Kunden erhöht das im Mittel das Risiko",
        "fr": "par rapport à d'autres clients, cela augmente le risque en moyenne",
        "it": "rispetto ad altri clienti, ciò aumenta in media il rischio",
        "pl": "w porównaniu z innymi klientami średnio zwiększa to ryzyko",
        "es": "en comparación con otros clientes, esto aumenta el riesgo en promedio",
        "zh": "与其他客户相比平均会提高风险",
        "zh-Hant": "與其他客戶相比平均會提高風險",
    },
    "lowers_least": {
        "en": "compared with other customers, this lowers the risk least of all values",
        "de": "verglichen mit anderen Kunden senkt das von allen Angaben das Risiko am wenigsten",
        "fr": "par rapport à d'autres clients, c'est la valeur qui réduit le moins le risque",
        "it": "rispetto ad altri clienti, è il valore che riduce meno il rischio",
        "pl": "w porównaniu z innymi klientami ta wartość najmniej obniża ryzyko",
        "es": "en comparación con otros clientes, es el valor que menos reduce el riesgo",
        "zh": "与其他客户相比在所有数值中最少降低风险",
        "zh-Hant": "與其他客戶相比在所有數值中最少降低風險",
    },
}
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
    # Each sum adds the contributions in the order of the schema, so that the result has the same bits in every call.
    sums = {code: sum(contributions[index] for index in members) for code, members in schema.members.items()}
    raising = {code: log_odds for code, log_odds in sums.items() if log_odds > 0.0}
    # Materiality is relative to the groups that raise the risk: groups that lower it do not change the threshold.
    threshold = MATERIALITY * sum(raising.values())
    if schema.document.reason_rules > 1:  # of more than 20 equal groups, none is above the threshold
        threshold = min(threshold, max(raising.values(), default=0.0))
    material = sorted((-log_odds, code) for code, log_odds in raising.items() if log_odds >= threshold)
    return [_group_contribution(schema, code, sums[code], contributions, points) for _, code in material[:limit]]


def _group_contribution(
    schema: Schema, code: str, log_odds: float, contributions: Sequence[float], points: Sequence[int]
) -> GroupContribution:
    """Return the contribution of one group, whose sum in log-odds is known."""
    members = schema.members[code]
    raising = [index for index in members if contributions[index] > 0.0]
    raising.sort(key=lambda index: -contributions[index])  # stable: ties keep the order of the schema
    return GroupContribution(
        code=code,
        log_odds=log_odds,
        points=sum(points[index] for index in members),
        features=tuple(schema.names[index] for index in raising),
    )


def choose_locale(offered: Collection[str], requested: str, market: str) -> str:
    """Return the locale of all texts of an answer.

    It is the first of these that is offered: the requested locale, the locales that it most likely means, its language,
    the most likely locales of the market, English.

    Args:
        offered: The locales in which every text exists.
        requested: The requested locale as a BCP 47 tag; "" for English.
        market: The market as an ISO 3166-1 alpha-2 code.
    """
    requested = requested or DEFAULT_LOCALE
    if requested in offered:
        return requested
    language = requested.split("-", maxsplit=1)[0]
    # A complete tag such as zh-Hant-HK means zh-Hant rather than zh (RFC 4647, section 3.4).
    parts = requested.split("-")
    shorter = ["-".join(parts[:count]) for count in range(len(parts) - 1, 1, -1)]
    wanted = (*shorter, *_likely_locales(requested), language, *_likely_locales(f"und-{market}"))
    return next((locale for locale in wanted if locale in offered), DEFAULT_LOCALE)


@lru_cache(maxsize=256)
def _likely_locales(tag: str) -> tuple[str, ...]:
    """Return the locales that a tag most likely means, most specific first; () if it is unknown.

    For example, und-TW means the language that most people in Taiwan read. It gives zh-Hant-TW, zh-TW, zh-Hant and zh.
    Source: the likely subtags of CLDR, https://unicode.org/reports/tr35/#Likely_Subtags.
    """
    likely = get_global("likely_subtags").get(tag.replace("-", "_"), "").split("_")
    if len(likely) != len(("language", "script", "region")):
        return ()
    language, script, region = likely
    return f"{language}-{script}-{region}", f"{language}-{region}", f"{language}-{script}", language


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
        locale: A result of `choose_locale`.
        values: The customer's values by feature name; missing features are absent.
        typical: The baseline's medians by feature name; None if the median is missing.

    Raises:
        KeyError: A placeholder of the sentence is not the name of a feature.
    """
    placeholders = _Placeholders(schema, locale, values, typical)
    named = group.features[:FEATURES_NAMED_MAX]
    parts = [_feature_text(schema, name, placeholders.feature(name)) for name in named]
    placeholders["pushed"] = "; ".join(parts)
    return _FORMATTER.vformat(schema.group[group.code].texts[locale], (), placeholders)


def _feature_text(schema: Schema, name: str, value: "PlaceholderValue") -> str:
    """Return one feature's part of its group's sentence: its own text, or its description and values."""
    feature = schema.features[schema.position[name]]
    text = feature.texts.get(value.locale, feature.description + " {value} (typical: {typical})")
    return _FORMATTER.vformat(
        text, (), {"value": value, "typical": PlaceholderValue(value.typical, None, value.locale)}
    )


@dataclass(slots=True)
class PlaceholderValue:
    """A value that a placeholder inserts into a sentence.

    Attributes:
        value: The customer's value; None if missing.
        typical: The baseline's median, for {NAME.typical}; None if missing.
        locale: The BCP 47 tag of the sentence's language.
        by_size: Whether a number without a pattern has three significant digits, and a missing value is written in words;
            see models.stated_reasons.
    """

    value: FeatureInput | None
    typical: FeatureInput | None
    locale: str
    by_size: bool = False

    def __format__(self, pattern: str) -> str:
        """Return a number as the locale writes it, a level unchanged, and "-" for a missing value.

        Args:
            pattern: A CLDR number pattern, empty for whole numbers. Words by CLDR plural category may follow:
                `{gap:|one=day|other=days}`.

        Raises:
            ValueError: The words are malformed, or there is no word for `other`.
        """
        if isinstance(self.value, str):
            return self.value
        if self.by_size and self.value is None:
            return word_in(self.locale, "unknown")
        if self.by_size and self.value is not None and (not pattern or pattern.startswith("|")):
            pattern = _size_pattern(self.value) + pattern
        number_format = _number_format(pattern, self.locale)
        return number_format.missing() if self.value is None else number_format.apply(self.value)


def word_in(locale: str, word: str) -> str:
    """Return one of the words of texts, such as "typical", in the language of a locale; in English by default."""
    words = _WORDS[word]
    language = locale.partition("-")[0]
    meant = (locale, *_likely_locales(locale), language, DEFAULT_LOCALE)  # zh-TW means zh-Hant
    return next(words[tag] for tag in meant if tag in words)


def _size_pattern(value: float) -> str:
    """Return the number pattern that writes a number with three significant digits, and a whole number as it is."""
    if value == 0 or not math.isfinite(value) or value == math.floor(value):
        return "#,##0"
    places = _SIGNIFICANT_DIGITS - 1 - decimal.Decimal(value).adjusted()
    return "#,##0" if places <= 0 else f"#,##0.{'#' * min(places, _SIZE_PLACES_MAX)}"


class _Placeholders(dict[str, PlaceholderValue | str]):
    """The placeholders of a group's sentence, each created when the sentence uses it."""

    def __init__(
        self,
        schema: Schema,
        locale: str,
        values: Mapping[str, FeatureInput],
        typical: Mapping[str, FeatureInput | None],
    ) -> None:
        super().__init__()
        self._schema, self._locale, self._values, self._typical = schema, locale, values, typical

    def __missing__(self, name: str) -> PlaceholderValue:
        """Return the placeholder of a feature. Raises KeyError for any other name."""
        if name not in self._schema.position:
            raise KeyError(name)
        return self.feature(name)

    def feature(self, name: str) -> PlaceholderValue:
        """Return the placeholder of a feature."""
        return PlaceholderValue(self._values.get(name), self._typical[name], self._locale)


class _NumberFormat:
    """Writes numbers in one CLDR number pattern and one locale. A word in the number's plural form may follow.

    Babel looks up the parts of the pattern and the symbols of the locale again for every number. This class looks them
    up once, but only for usual patterns, which have no exponent, significant digits, percent sign or quotes. For all
    other patterns, and for numbers of 16 or more digits, it calls Babel. Both ways produce the same text.
    """

    def __init__(self, pattern: str, tag: str) -> None:
        """Prepare a format.

        Args:
            pattern: A CLDR number pattern, and words by plural category; see `PlaceholderValue.__format__`.
            tag: BCP 47 tag of the locale.
        """
        pattern, *self._words = pattern.split("|")
        self._pattern, self._tag = pattern or "#,##0", tag

    def missing(self) -> str:
        """Return the text of a missing value."""
        return " ".join(["-", *([_plural_word(self._words, "other")] if self._words else [])])

    def apply(self, value: float) -> str:
        """Return the text of a number.

        Raises:
            ValueError: The pattern or the words are malformed, or there is no word for `other`.
        """
        usual = self._is_usual and -_USUAL_MAX < value < _USUAL_MAX  # false for NaN
        text = self._write(value) if usual else self._write_by_babel(value)
        if not self._words:
            return text
        return (
            f"{text} {_plural_word(self._words, _plural_category(self._tag, self._plural_digits(value, usual=usual)))}"
        )

    def _plural_digits(self, value: float, *, usual: bool) -> str:
        """Return the digits of a number as it is written, because 1.4 is written "1" and needs the singular."""
        if usual and not self._places:
            return str(abs(round(value)))
        with _any_double():
            return str(abs(decimal.Decimal(value).quantize(self._quantum)))

    @cached_property
    def _number_pattern(self) -> NumberPattern:
        """Return the parsed pattern."""
        return _parse_number_pattern(self._pattern)

    @cached_property
    def _places(self) -> int:
        """Return the largest number of decimal places."""
        return int(self._number_pattern.frac_prec[1])

    @cached_property
    def _quantum(self) -> decimal.Decimal:
        """Return one unit of the last decimal place."""
        return decimal.Decimal(1).scaleb(-self._places)

    @cached_property
    def _symbols(self) -> tuple[str, str]:
        """Return the locale's group separator and decimal separator."""
        return get_group_symbol(_parse_locale(self._tag)), get_decimal_symbol(_parse_locale(self._tag))

    @cached_property
    def _is_usual(self) -> bool:
        """Return whether this class writes the pattern itself."""
        parsed = self._number_pattern
        texts = "".join((*parsed.prefix, *parsed.suffix, *self._symbols))
        unusual = parsed.exp_prec or parsed.scale or "@" in self._pattern or "'" in texts or not parsed.number_pattern
        return not unusual and self._places <= _USUAL_PLACES_MAX

    def _write_by_babel(self, value: float) -> str:
        """Return a number as Babel writes it in the pattern."""
        with _any_double():
            return str(self._number_pattern.apply(value, _parse_locale(self._tag)))

    def _write(self, value: float) -> str:
        """Return a number of at most 15 digits in a usual pattern."""
        parsed, (group, separator) = self._number_pattern, self._symbols
        negative = math.copysign(1.0, value) < 0.0  # -0.0 is written with a sign too
        fraction = ""
        if self._places:
            # Like Babel, round the shortest decimal number that is read back as this double.
            rounded = f"{abs(decimal.Decimal(str(value))).quantize(self._quantum):f}"
            whole, _, digits = rounded.partition(".")
            digits = digits[: parsed.frac_prec[0]] + digits[parsed.frac_prec[0] :].rstrip("0")
            fraction = separator + digits if digits else ""
        else:
            whole = str(
                abs(round(value))
            )  # rounds half to even, which equals the rounding of the decimal number for these doubles
        whole, grouped, size = whole.rjust(parsed.int_prec[0], "0"), "", parsed.grouping[0]
        while len(whole) > size:
            whole, grouped, size = whole[:-size], group + whole[-size:] + grouped, parsed.grouping[1]
        return f"{parsed.prefix[negative]}{whole}{grouped}{fraction}{parsed.suffix[negative]}"


_number_format = lru_cache(maxsize=_CACHED_MAX)(_NumberFormat)


def _any_double() -> Any:
    """Return a decimal context that represents every double exactly, unlike the default precision of 28 digits."""
    return decimal.localcontext(prec=_DECIMAL_PRECISION)


@lru_cache(maxsize=_CACHED_MAX)
def _plural_category(tag: str, digits: str) -> str:
    """Return the CLDR plural category of a number's digits. In some languages, "1.0" and "1" have different categories."""
    with _any_double():
        return str(_parse_locale(tag).plural_form(decimal.Decimal(digits)))


@cache  # without a size limit, because the tags are the few locales that specs and policies contain
def _parse_locale(tag: str) -> Locale:
    """Parse a BCP 47 tag."""
    return Locale.parse(tag, sep="-")


@lru_cache(maxsize=_CACHED_MAX)
def _parse_text(text: str) -> tuple[tuple[str, str | None, str], ...] | None:
    """Parse a text into literals, each with the name and format of the placeholder after it (None if there is none).

    Returns:
        The parts; None if a placeholder has a conversion or a nested placeholder, which only `string.Formatter`
        handles.
    """
    parts = []
    for literal, name, pattern, conversion in string.Formatter().parse(text):
        if conversion or "{" in (pattern or ""):
            return None
        parts.append((literal, name, pattern or ""))
    return tuple(parts)


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


@lru_cache(maxsize=1000)  # specs and policies contain few patterns; an untrusted bundle may contain many
def _parse_number_pattern(pattern: str) -> NumberPattern:
    """Parse a CLDR number pattern.

    Raises:
        ValueError: The pattern is invalid or too long.
    """
    if len(pattern) > _PATTERN_LENGTH_MAX:
        raise ValueError(f"a number pattern may have up to {_PATTERN_LENGTH_MAX} characters, got {len(pattern)}")
    return parse_pattern(pattern)


class TextFormatter(string.Formatter):
    """Formats a text of a spec or policy. Only the placeholders {NAME} and {NAME.typical} are allowed.

    `str.format` would read any attribute that a text names, such as {NAME.__class__}.
    """

    def vformat(self, format_string: str, args: Any, kwargs: Any) -> str:
        """Return the text with its placeholders filled in. The text is parsed at its first use."""
        parts = _parse_text(format_string)
        if parts is None:
            return super().vformat(format_string, args, kwargs)
        return "".join(
            [
                literal if name is None else literal + self.format_field(self.get_field(name, args, kwargs)[0], pattern)
                for literal, name, pattern in parts
            ]
        )

    def get_field(self, field_name: str, args: Any, kwargs: Any) -> Any:  # noqa: ARG002 - the base's signature
        """Return the value of a placeholder, and its name.

        Raises:
            KeyError: There is no value with the placeholder's name.
        """
        name, _, attribute = field_name.partition(".")
        if attribute not in {"", "typical"}:
            raise KeyError(field_name)
        try:
            value = kwargs[name]
        except KeyError:
            raise KeyError(field_name) from None
        if not attribute:
            return value, name
        if not isinstance(value, PlaceholderValue):
            raise KeyError(field_name)
        return PlaceholderValue(value.typical, None, value.locale, value.by_size), name

    def convert_field(self, value: Any, conversion: str | None) -> Any:
        """Return the value unchanged.

        Raises:
            ValueError: The placeholder has a conversion, such as {NAME!r}. It would turn the value into a plain text, and a
                format such as {NAME!r:>999999999} could then fill the memory.
        """
        if conversion is not None:
            raise ValueError(f"!{conversion} is not allowed; write the placeholder without it")
        return value

    def format_field(self, value: Any, format_spec: str) -> str:
        """Return a formatted value. A text is not formatted, because {NAME:>999999999} could fill the memory."""
        return value if isinstance(value, str) else super().format_field(value, format_spec)


_FORMATTER = TextFormatter()
