"""google.type.Money to and from exact decimals."""

from decimal import Decimal

from google.type.money_pb2 import Money

_NANOS = Decimal(10**9)


def amount_from_money(money: Money) -> Decimal:
    """Give the exact amount."""
    return Decimal(money.units) + Decimal(money.nanos) / _NANOS


def money_from_amount(amount: Decimal, currency: str) -> Money:
    """Give an exact amount of at most nine decimal places as Money."""
    whole = int(amount)
    return Money(currency_code=currency, units=whole, nanos=int((amount - whole) * _NANOS))


def money_from_minor(minor: int, currency: str) -> Money:
    """Give an amount in hundredths as Money: units and nanos have one sign."""
    units, hundredths = divmod(abs(minor), 100)
    sign = -1 if minor < 0 else 1
    return Money(currency_code=currency, units=sign * units, nanos=sign * hundredths * 10**7)
