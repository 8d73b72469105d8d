"""google.type.Money to and from exact decimals."""

from decimal import Decimal

from google.type.money_pb2 import Money

NANOS = Decimal(10**9)


def amount_of(money: Money) -> Decimal:
    """Give the exact amount."""
    return Decimal(money.units) + Decimal(money.nanos) / NANOS


def money_of_minor(minor: int, currency: str) -> Money:
    """Give an amount in hundredths as Money."""
    units, hundredths = divmod(minor, 100)
    return Money(currency_code=currency, units=units, nanos=hundredths * 10**7)
