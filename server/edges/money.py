"""Converts google.type.Money to and from exact decimals. All such conversions of the server are in this module.

Money consists of whole units and nanos, which are billionths of a unit. Each is zero or has the sign of the
amount: the amount -0.5 has 0 units and -500,000,000 nanos.
"""

from decimal import Decimal

from google.type.money_pb2 import Money

_NANOS = Decimal(10**9)
_NANOS_PER_HUNDREDTH = 10**7


def amount_from_money(money: Money) -> Decimal:
    """Return the exact amount."""
    return Decimal(money.units) + Decimal(money.nanos) / _NANOS


def money_from_amount(amount: Decimal, currency: str) -> Money:
    """Return an amount of at most nine decimal places as Money."""
    units = int(amount)  # truncates toward zero, so the rest has the sign of the amount
    return Money(currency_code=currency, units=units, nanos=int((amount - units) * _NANOS))


def money_from_minor(minor: int, currency: str) -> Money:
    """Return an amount in hundredths as Money."""
    # Split the absolute value, because divmod rounds toward minus infinity: it would turn -50 into -1 unit and +50
    # hundredths.
    units, hundredths = divmod(abs(minor), 100)
    sign = -1 if minor < 0 else 1
    return Money(currency_code=currency, units=sign * units, nanos=sign * hundredths * _NANOS_PER_HUNDREDTH)
