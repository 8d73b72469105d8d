"""Values of features as a person reads them."""

from grounds.explain.v1.explain_pb2 import FeatureValue

AMOUNT_MIN = 1000


def value_text(value: FeatureValue, unit: str = "") -> str:
    """Write a feature's value; one that is not set is missing."""
    kind = value.WhichOneof("kind")
    if kind is None:
        return "missing"
    if kind == "level":
        return value.level
    return number_text(value.number) + (f" {unit}" if unit else "")


def number_text(number: float) -> str:
    """Write a number: from AMOUNT_MIN on to the hundredth, as amounts need it, below with six digits."""
    return f"{number:,.6g}" if abs(number) < AMOUNT_MIN else f"{number:,.2f}".removesuffix(".00")
