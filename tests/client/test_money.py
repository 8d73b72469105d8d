"""Conversion of amounts between Python and messages."""

import decimal
from decimal import Decimal
from typing import Any

import pytest
from google.type.money_pb2 import Money
from hypothesis import given
from hypothesis import strategies as st

from grounds_client import Amount
from grounds_client.money import hundredths

VALUES = st.decimals(min_value=-(10**18), max_value=10**18, places=9)
UNITS_MAX, NANOS_MAX = 10**18 - 1, 10**9 - 1


@given(VALUES)
def test_an_amount_becomes_money_exactly_and_units_and_nanos_have_one_sign(value: Decimal) -> None:
    money = Amount(value, "EUR").to_money()

    assert money.units * 10**9 + money.nanos == int(value.scaleb(9))
    assert abs(money.nanos) <= NANOS_MAX
    assert money.units * money.nanos >= 0


@given(VALUES)
def test_money_is_converted_back_to_the_same_amount(value: Decimal) -> None:
    assert Amount.from_money(Amount(value, "EUR").to_money()) == Amount(value, "EUR")


@given(st.integers(0, UNITS_MAX), st.integers(0, NANOS_MAX), st.sampled_from([1, -1]))
def test_every_valid_money_is_unchanged_after_conversion_to_an_amount_and_back(
    units: int, nanos: int, sign: int
) -> None:
    money = Money(currency_code="TWD", units=sign * units, nanos=sign * nanos)

    assert Amount.from_money(money).to_money() == money


@given(VALUES)
def test_the_conversions_ignore_the_callers_decimal_precision(value: Decimal) -> None:
    with decimal.localcontext(prec=3):
        amount = Amount.from_money(Amount(value, "EUR").to_money())

    assert amount.value == value


@pytest.mark.parametrize(
    ("value", "units", "nanos"),
    [
        ("-0.5", 0, -500_000_000),
        ("-1.5", -1, -500_000_000),
        ("-1", -1, 0),
        ("0.000000001", 0, 1),
        ("500.25", 500, 250_000_000),
        ("-0", 0, 0),
        ("999999999999999999.999999999", UNITS_MAX, NANOS_MAX),
    ],
)
def test_an_amount_has_these_units_and_nanos(value: str, units: int, nanos: int) -> None:
    assert Amount(Decimal(value), "EUR").to_money() == Money(currency_code="EUR", units=units, nanos=nanos)


@pytest.mark.parametrize("value", ["0.0000000001", "1.0000000000000000000000000000000000000001", "1e-999"])
def test_an_amount_with_more_than_nine_decimals_is_rejected(value: str) -> None:
    with pytest.raises(ValueError, match="nine decimal places"):
        Amount(Decimal(value), "EUR")


def test_trailing_zeros_do_not_count_as_decimals() -> None:
    assert Amount(Decimal("1.50000000000000"), "EUR").to_money().nanos == 500_000_000


@pytest.mark.parametrize("value", ["1e19", "-1e19", "NaN", "Infinity"])
def test_an_amount_that_is_too_large_or_not_finite_is_rejected(value: str) -> None:
    with pytest.raises(ValueError, match="at most 1,000,000,000,000,000,000"):
        Amount(Decimal(value), "EUR")


@pytest.mark.parametrize("value", [120000.5, "120000", 120000], ids=["float", "text", "int"])
def test_a_value_that_is_not_a_decimal_is_rejected_with_an_example(value: Any) -> None:
    with pytest.raises(TypeError, match=r'Decimal\("120000.50"\)'):
        Amount(value, "EUR")


@pytest.mark.parametrize(
    ("text", "value", "currency"), [("120000TWD", "120000", "TWD"), ("99.50EUR", "99.50", "EUR"), ("7 USD", "7", "USD")]
)
def test_a_typed_amount_is_parsed(text: str, value: str, currency: str) -> None:
    assert Amount.parse(text) == Amount(Decimal(value), currency)


@pytest.mark.parametrize(
    "text", ["much", "TWD", "5", "-5EUR", "5eur", "5EURO", "1e5EUR", "1,000EUR", "5.EUR", "\u0665EUR", ""]
)
def test_text_that_is_not_an_amount_is_rejected_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="such as 120000TWD"):
        Amount.parse(text)


def test_an_amount_is_shown_with_two_decimals() -> None:
    assert str(Amount(Decimal("1234567.5"), "EUR")) == "1,234,567.50 EUR"
    assert str(Amount(Decimal("-0.5"), "EUR")) == "-0.50 EUR"


@given(st.integers(-(10**17), 10**17))
def test_hundredths_are_exact(minor: int) -> None:
    assert hundredths(Amount(Decimal(minor).scaleb(-2), "EUR").to_money()) == minor


def test_fractions_of_a_hundredth_are_truncated_toward_zero() -> None:
    assert hundredths(Money(units=0, nanos=19_999_999)) == 1
    assert hundredths(Money(units=0, nanos=-19_999_999)) == -1
