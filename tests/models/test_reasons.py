"""Only groups that raise the risk materially become reasons, and their sentences follow the customer's locale.

Source: 12 CFR 1002, Supplement I, comment 9(b)(2).
"""

import decimal
import math
from collections.abc import Mapping

import pytest
from babel import Locale
from babel.numbers import parse_pattern
from hypothesis import given, settings
from hypothesis import strategies as st

from models.bundle_documents import FeatureSpec, GroupSpec, SchemaDocument
from models.reasons import (
    FEATURES_NAMED_MAX,
    REASONS_MAX,
    GroupContribution,
    PlaceholderValue,
    TextFormatter,
    choose_locale,
    principal_reasons,
    reason_text,
)
from models.schema import Schema

CODES = ("DELAY", "AMOUNT", "BALANCE", "CHANGE", "ERRORS", "FRAUD")


def schema_of(texts: Mapping[str, Mapping[str, str]], features: Mapping[str, str], **own: dict[str, str]) -> Schema:
    """Return a schema from the texts of each group, the group of each feature, and the texts of some features."""
    return Schema(
        SchemaDocument(
            features=tuple(
                FeatureSpec(name=name, description=f"the {name}", group=code, texts=own.get(name, {}))
                for name, code in features.items()
            ),
            groups=tuple(GroupSpec(code=code, texts=dict(said)) for code, said in texts.items()),
        )
    )


# Six groups of two features each.
SIX = schema_of(
    {code: {"en": code} for code in CODES}, {f"{code.lower()}{number}": code for code in CODES for number in (1, 2)}
)


def reason_codes(*sums: float) -> list[str]:
    """Return the reason codes if the groups of SIX have these contributions, half from each of their two features."""
    contributions = [part for total in (*sums, *[0.0] * (6 - len(sums))) for part in (total / 2, total / 2)]
    return [push.code for push in principal_reasons(SIX, contributions, [0] * 12)]


def test_only_groups_that_raise_the_risk_are_reasons_largest_first() -> None:
    assert reason_codes(0.2, -0.9, 0.5, 0.0, -0.1) == ["BALANCE", "DELAY"]


def test_a_group_with_less_than_a_twentieth_of_all_contributions_to_risk_is_not_a_reason() -> None:
    assert reason_codes(0.9501, 0.0499) == ["DELAY"]
    assert reason_codes(0.95, 0.05) == ["DELAY", "AMOUNT"]


def test_contributions_that_lower_the_risk_do_not_raise_the_threshold() -> None:
    assert reason_codes(0.9, 0.06, -5.0) == ["DELAY", "AMOUNT"]


def test_at_most_four_groups_are_reasons() -> None:
    assert REASONS_MAX == 4
    assert reason_codes(0.1, 0.2, 0.3, 0.4, 0.5, 0.6) == ["FRAUD", "ERRORS", "CHANGE", "BALANCE"]


def test_fewer_reasons_can_be_requested() -> None:
    found = principal_reasons(SIX, [0.1] * 12, [0] * 12, limit=2)

    assert [push.code for push in found] == ["AMOUNT", "BALANCE"]


def test_equal_contributions_are_sorted_by_code() -> None:
    assert reason_codes(0.3, 0.3, 0.3) == ["AMOUNT", "BALANCE", "DELAY"]


def test_fewer_reasons_are_not_padded() -> None:
    assert reason_codes(0.4) == ["DELAY"]
    assert reason_codes(-0.4, -0.1, 0.0) == []
    assert reason_codes() == []


def test_a_group_has_the_sum_of_its_features_and_lists_those_that_raise_the_risk() -> None:
    contributions, points = [0.1, 0.4, 0.9, -0.6] + [0.0] * 8, [-3, -12, -26, 17] + [0] * 8

    delay, amount = principal_reasons(SIX, contributions, points)

    assert (delay.code, delay.log_odds, delay.points) == ("DELAY", pytest.approx(0.5), -15)
    assert delay.features == ("delay2", "delay1")
    assert (amount.code, amount.log_odds, amount.points) == ("AMOUNT", pytest.approx(0.3), -9)
    assert amount.features == ("amount1",)


def test_a_group_whose_features_cancel_out_is_not_a_reason() -> None:
    assert principal_reasons(SIX, [0.5, -0.5] + [0.0] * 10, [0] * 12) == []


@settings(max_examples=300, deadline=None, derandomize=True)
@given(contributions=st.lists(st.floats(-3, 3), min_size=12, max_size=12))
def test_no_group_that_is_left_out_contributes_more_than_a_reason(contributions: list[float]) -> None:
    sums = {code: contributions[2 * place] + contributions[2 * place + 1] for place, code in enumerate(CODES)}
    risk = sum(total for total in sums.values() if total > 0.0)

    found = principal_reasons(SIX, contributions, [0] * 12)

    strongest = sorted((code for code in CODES if sums[code] > 0.0), key=lambda code: (-sums[code], code))
    assert [push.code for push in found] == strongest[: len(found)]
    assert len(found) <= 4
    assert all(push.log_odds >= 0.05 * risk * (1 - 1e-12) for push in found)
    assert len(found) == 4 or all(sums[code] <= 0.05 * risk * (1 + 1e-12) for code in strongest[len(found) :])


# --- the sentences ---------------------------------------------------------------------------------------------------

VALUES = {"late": 12.0, "share": 0.256, "amount": 1234567.5}
TYPICAL = {"late": 3.0, "share": 0.1, "amount": 1000.0, "unknown": None}
GROUP_OF = dict.fromkeys(TYPICAL, "ALL")


def reason_texts(
    text: str,
    locale: str = "en",
    *,
    values: Mapping[str, float] = VALUES,
    features: tuple[str, ...] = ("late",),
    own: Mapping[str, dict[str, str]] | None = None,
) -> str:
    """Return the text of one reason."""
    schema = schema_of({"ALL": {"en": "x", locale: text}}, GROUP_OF, **(own or {}))
    return reason_text(schema, GroupContribution("ALL", 1.0, -10, features), locale, values, TYPICAL)


@pytest.mark.parametrize(
    ("offered", "requested", "market", "chosen"),
    [
        ("en de", "de", "FR", "de"),
        ("en de", "de-AT", "AT", "de"),
        ("en de de-AT", "de-AT", "DE", "de-AT"),
        ("en", "de", "DE", "en"),
        ("en de", "", "DE", "en"),  # no requested locale means English
        ("en de", "ja", "DE", "de"),  # the language of the market
        ("en pt-BR", "ja", "BR", "pt-BR"),
        ("en zh-Hant", "ja", "TW", "zh-Hant"),
        ("en zh-Hant", "zh-TW", "DE", "zh-Hant"),  # Chinese in Taiwan is written in traditional characters
        ("en zh-Hant", "zh", "DE", "en"),  # Chinese alone means simplified characters
        ("en de", "ja", "ZZ", "en"),
        ("en de", "xx-Abcd-99", "FR", "en"),
        ("en de-AT", "de", "FR", "en"),
        ("en zh-Hant", "zh-Hant-HK", "DE", "zh-Hant"),
        ("en zh-Hant de", "zh-Hant-TW", "DE", "zh-Hant"),
        ("en sr-Latn", "sr-Latn-RS", "FR", "sr-Latn"),
        ("en de", "de-CH-1996", "FR", "de"),
        ("en de", "en-GB", "DE", "en"),
        ("en de", "*", "FR", "en"),
    ],
)
def test_a_locale_that_is_not_offered_is_answered_in_its_language_or_that_of_the_market(
    offered: str, requested: str, market: str, chosen: str
) -> None:
    assert choose_locale(frozenset(offered.split()), requested, market) == chosen


def test_a_locale_that_one_group_lacks_is_not_offered_so_that_all_reasons_have_one_language() -> None:
    schema = schema_of({"A": {"en": "x", "de": "x"}, "B": {"en": "x"}}, {"late": "A", "orders": "B"})

    assert schema.locales == {"en"}


def test_a_text_has_the_customers_value_and_the_typical_one() -> None:
    assert reason_texts("Late by {late} days (typical: {late.typical})") == "Late by 12 days (typical: 3)"


def test_a_number_is_written_whole_and_in_the_format_of_the_locale_by_default() -> None:
    assert reason_texts("{amount}") == "1,234,568"
    assert reason_texts("{amount}", "de") == "1.234.568"
    assert reason_texts("{amount:#,##0.00}") == "1,234,567.50"
    assert reason_texts("{amount:#,##0.00}", "de") == "1.234.567,50"
    assert reason_texts("{share:0.0%}") == "25.6%"


def test_a_number_is_followed_by_the_plural_word_for_the_number_as_written() -> None:
    days, tage = "{late:|one=day|other=days}", "{late:#,##0.0|one=Tag|other=Tage}"
    dni = "{late:|one=dzień|few=dni|many=dni|other=dnia}"

    assert [reason_texts(days, values={"late": late}) for late in (0.0, 1.0, 2.0, 1.4, -1.0)] == [
        "0 days",
        "1 day",
        "2 days",
        "1 day",
        "-1 day",
    ]
    assert [reason_texts(tage, "de", values={"late": late}) for late in (1.0, 1.06, 2.0)] == [
        "1,0 Tage",
        "1,1 Tage",
        "2,0 Tage",
    ]
    assert [reason_texts(dni, "pl", values={"late": late}) for late in (1.0, 3.0, 12.0)] == [
        "1 dzień",
        "3 dni",
        "12 dni",
    ]
    assert reason_texts(days, values={}) == "- days"
    assert reason_texts("{late.typical:|one=day|other=days}") == "3 days"


@pytest.mark.parametrize("words", ["|one=day", "|day|days", "|one=day|others=days", "|"])
def test_malformed_plural_words_and_a_missing_word_for_other_are_rejected(words: str) -> None:
    with pytest.raises(ValueError, match="one for other"):
        reason_texts(f"{{late:{words}}}")


def test_a_missing_value_is_a_dash_even_with_a_pattern() -> None:
    assert reason_texts("{late}, {share:0.0%}, {unknown.typical}", values={}) == "-, -, -"
    assert reason_texts("{late.typical}", values={}) == "3"


def test_0_is_written_as_0_and_not_as_missing() -> None:
    assert reason_texts("{late} {share:0.0}", values={"late": 0.0, "share": 0.0}) == "0 0.0"


@pytest.mark.parametrize(
    "placeholder",
    [
        "{nothing}",
        "{}",
        "{0}",
        "{late.value}",
        "{late.locale}",
        "{late.__class__}",
        "{late.typical.typical}",
        "{late.typical.__class__}",
        "{late[0]}",
        "{late[value]}",
        "{pushed.typical}",
        "{pushed.__class__}",
        "{late:{nothing}}",
    ],
)
def test_an_unknown_placeholder_is_rejected(placeholder: str) -> None:
    with pytest.raises(KeyError):
        reason_texts(f"A text with {placeholder}")


def test_doubled_braces_are_written_as_braces() -> None:
    assert reason_texts("{{late}} {late}") == "{late} 12"


def test_pushed_lists_the_strongest_features_each_with_its_own_text() -> None:
    own = {"late": {"en": "{value} days late ({typical})"}, "share": {"en": "share {value:0.0%} ({typical:0%})"}}

    found = reason_texts("Behind: {pushed}", features=("share", "late", "amount"), own=own)

    assert FEATURES_NAMED_MAX == 2
    assert found == "Behind: share 25.6% (10%); 12 days late (3)"


def test_a_feature_without_a_text_is_shown_with_its_description() -> None:
    assert reason_texts("{pushed}") == "the late 12 (typical: 3)"
    assert reason_texts("{pushed}", features=("unknown",)) == "the unknown - (typical: -)"


def test_the_text_of_a_feature_can_insert_only_its_own_value() -> None:
    with pytest.raises(KeyError):
        reason_texts("{pushed}", own={"late": {"en": "{share}"}})


def test_a_placeholder_inside_a_value_is_not_replaced() -> None:
    own = {"late": {"en": "{{share}} {value}"}}

    assert reason_texts("{pushed}", own=own) == "{share} 12"


@pytest.mark.parametrize("value", [1e300, -1e300, 5e-324, 1e15, -0.4, math.pi])
def test_every_finite_value_can_be_written(value: float) -> None:
    assert reason_texts("{late} {late:0.0%} {late:#,##0.00}", values={"late": value})


# --- the numbers, compared with Babel --------------------------------------------------------------------------------

LOCALES = [
    "en",
    "de",
    "de-CH",
    "de-AT",
    "fr",
    "fr-CH",
    "pl",
    "ar",
    "hi",
    "en-IN",
    "es",
    "pt-PT",
    "sv",
    "lt",
    "cs",
    "ja",
    "bg",
]
PATTERNS = ["", "#,##0", "0", "000", "#,##0.0", "#,##0.00", "0.0##", "#.##", "#,##,##0.#", "+0;(0)", "0 'kg'", "¤0"]
UNUSUAL = ["0.0%", "#,##0\u2030", "0.00E0", "@@@", "0.0000000000", "'#'0"]


def babel_text(value: float, pattern: str, locale: str) -> str:
    """Return a number as Babel writes it."""
    with decimal.localcontext() as context:
        context.prec = 400
        return str(parse_pattern(pattern or "#,##0").apply(value, Locale.parse(locale, sep="-")))


def babel_category(value: float, pattern: str, locale: str) -> str:
    """Return the plural category of a number as it is written."""
    places = parse_pattern(pattern or "#,##0").frac_prec[1]
    with decimal.localcontext() as context:
        context.prec = 400
        written = decimal.Decimal(value).quantize(decimal.Decimal(1).scaleb(-places))
        return str(Locale.parse(locale, sep="-").plural_form(abs(written)))


NUMBERS = st.one_of(
    st.floats(allow_nan=False, allow_infinity=False),
    st.floats(-1e6, 1e6),
    st.integers(-(10**17), 10**17).map(float),
    st.integers(-4000, 4000).map(lambda eighths: eighths / 8),  # ties of the rounding
    st.integers(-(10**9), 10**9).map(lambda cents: cents / 1000),
    st.sampled_from([0.0, -0.0, 0.5, -0.5, 1.5, 2.5, 0.05, 1.005, 999.5, 999999.5, 1e15, -1e15, 1e15 - 0.5, 5e-324]),
)


@settings(max_examples=1500, deadline=None, derandomize=True)
@given(value=NUMBERS, pattern=st.sampled_from(PATTERNS + UNUSUAL), locale=st.sampled_from(LOCALES))
def test_every_number_is_written_as_babel_writes_it(value: float, pattern: str, locale: str) -> None:
    words = "|".join(f"{category}={category}" for category in ("zero", "one", "two", "few", "many", "other"))

    alone, counted = (f"{PlaceholderValue(value, None, locale):{each}}" for each in (pattern, f"{pattern}|{words}"))

    expected = babel_text(value, pattern, locale)
    assert alone == expected
    assert counted == f"{expected} {babel_category(value, pattern, locale)}"


def test_a_text_is_parsed_once_and_filled_in_with_each_customers_own_values() -> None:
    first = [reason_texts("{late} of {amount}", values={"late": late, "amount": 10.0}) for late in (1.0, 2.0)]

    assert first == ["1 of 10", "2 of 10"]


def test_a_nested_placeholder_is_handled_as_str_format_does() -> None:
    value = PlaceholderValue(12.0, 3.0, "en")
    expected = "{late:{late}}".format(late=value)

    assert TextFormatter().vformat("{late:{late}}", (), {"late": value}) == expected
