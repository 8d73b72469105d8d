"""Exact amounts of money: `Decimal` in Python, `google.type.Money` in messages."""

import re
from dataclasses import dataclass
from decimal import Context, Decimal

from google.type.money_pb2 import Money

_NANOS_PER_UNIT = 10**9
_NANOS_PER_HUNDREDTH = 10**7
_VALUE_MAX = 10**18  # Money.units has 64 bits
_EXACT = Context(prec=40)  # precise enough for every amount; the caller's context may be less precise
_TYPED_AMOUNT = re.compile(r"(?P<value>[0-9]{1,15}(?:\.[0-9]{1,9})?)\s*(?P<currency>[A-Z]{3})")


@dataclass(frozen=True, slots=True)
class Amount:
    """An exact amount of money.

    Attributes:
        value: The number of currency units, such as Decimal("120000.50"). It has at most nine decimal places and a magnitude
            of at most 10**18, and may be negative.
        currency: The ISO 4217 code, such as "TWD".

    Raises:
        TypeError: `value` is not a Decimal. Binary floating point cannot represent most decimal amounts exactly.
        ValueError: `value` is not finite, too large, or has more than nine decimal places.
    """

    value: Decimal
    currency: str

    def __post_init__(self) -> None:
        if not isinstance(self.value, Decimal):
            raise TypeError(f'amount: must be a Decimal, such as Decimal("120000.50"), got {type(self.value).__name__}')
        if not self.value.is_finite() or not -_VALUE_MAX <= self.value <= _VALUE_MAX:
            raise ValueError(f"amount: magnitude must be at most {_VALUE_MAX:,}, got {self.value}")
        _nanos(self.value)

    def to_money(self) -> Money:
        """Return the amount as a message. `units` and `nanos` have the same sign, as google.type.Money requires."""
        total = _nanos(self.value)
        # divmod rounds toward minus infinity, so the magnitude is split, and then both parts get the sign.
        units, nanos = divmod(abs(total), _NANOS_PER_UNIT)
        sign = -1 if total < 0 else 1
        return Money(currency_code=self.currency, units=sign * units, nanos=sign * nanos)

    @classmethod
    def from_money(cls, money: Money) -> "Amount":
        """Return the exact amount of a message."""
        nanos = Decimal(money.units * _NANOS_PER_UNIT + money.nanos)
        return cls(nanos.scaleb(-9, _EXACT), money.currency_code)

    @classmethod
    def parse(cls, text: str) -> "Amount":
        """Parse a number and a currency code, such as "120000TWD" or "99.50 EUR".

        Raises:
            ValueError: The text is not a positive number with a currency code.
        """
        match = _TYPED_AMOUNT.fullmatch(text)
        if match is None:
            raise ValueError(
                f"must be a number and a three-letter currency code, such as 120000TWD or 99.50EUR, got {text!r}"
            )
        return cls(Decimal(match["value"]), match["currency"])

    def __str__(self) -> str:
        return f"{self.value:,.2f} {self.currency}"


def hundredths(money: Money) -> int:
    """Return an amount in hundredths of its currency, truncated toward zero."""
    nanos = money.units * _NANOS_PER_UNIT + money.nanos
    magnitude = abs(nanos) // _NANOS_PER_HUNDREDTH
    return int(-magnitude if nanos < 0 else magnitude)


def _nanos(value: Decimal) -> int:
    """Return a value in billionths of a unit, independent of the precision of the caller's decimal context."""
    numerator, denominator = value.as_integer_ratio()
    nanos, remainder = divmod(numerator * _NANOS_PER_UNIT, denominator)
    if remainder:
        raise ValueError(f"amount: must have at most nine decimal places, got {value}")
    return nanos
