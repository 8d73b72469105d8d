"""Money: conversion is exact in both directions, and units and nanos have the same sign."""

from decimal import Decimal

import pytest
from google.type.money_pb2 import Money
from hypothesis import given
from hypothesis import strategies as st

from server.edges.money import amount_from_money, money_from_amount, money_from_minor


@given(st.integers(-(10**15), 10**15))
def test_an_amount_in_cents_is_exact_and_its_parts_have_the_same_sign(minor: int) -> None:
    """google.type.Money: if units is negative, nanos must be negative or zero."""
    money = money_from_minor(minor, "EUR")

    assert amount_from_money(money) * 100 == minor
    assert money.units * money.nanos >= 0
    assert isinstance(money, Money)


@given(st.decimals(-(10**15), 10**15, places=9))
def test_an_amount_of_nine_decimal_places_is_exact_and_its_parts_have_the_same_sign(amount: Decimal) -> None:
    money = money_from_amount(amount, "EUR")

    assert amount_from_money(money) == amount
    assert money.units * money.nanos >= 0


@pytest.mark.parametrize(
    ("amount", "units", "nanos"), [("-0.5", 0, -500_000_000), ("-1.5", -1, -500_000_000), ("0.5", 0, 500_000_000)]
)
def test_the_parts_of_a_negative_amount_are_truncated_toward_zero(amount: str, units: int, nanos: int) -> None:
    for money in (money_from_amount(Decimal(amount), "EUR"), money_from_minor(int(Decimal(amount) * 100), "EUR")):
        assert (money.units, money.nanos) == (units, nanos)
        assert amount_from_money(money) == Decimal(amount)
