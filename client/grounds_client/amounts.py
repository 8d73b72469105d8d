"""Amounts as a person types them."""

import re
from decimal import Decimal

import typer


def amount_of(text: str) -> tuple[Decimal, str]:
    """Read an amount such as 120000TWD or 99.50EUR."""
    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,9})?)\s*([A-Z]{3})", text)
    if found is None:
        raise typer.BadParameter("write number and currency, such as 120000TWD or 99.50EUR")
    return Decimal(found[1]), found[2]
