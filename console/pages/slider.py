"""The sliders of the What-if page: from one end of a feature's range to the other, as the model states it."""

import math
from collections.abc import Iterable
from dataclasses import dataclass

from grounds.credit.v1 import credit_pb2
from grounds.model.v1 import model_pb2

_FRACTION_STEPS = 100  # about as many steps as a keyboard user can count
_WHOLE_STEPS = 1000  # a slider is less wide than this many pixels
_WIDTH_MIN, _WIDTH_MAX = 1e-300, 1e300  # a range whose steps are floating-point numbers too


@dataclass(frozen=True, slots=True)
class Slider:
    """The slider of one feature. Its numbers are attributes of HTML.

    Attributes:
        low: The smallest valid value.
        high: The largest valid value.
        step: The distance between two positions.
        known: The customer's known value; "" if it is missing.
    """

    low: str
    high: str
    step: str
    known: str


def feature_sliders(features: Iterable[model_pb2.Feature], known: credit_pb2.CreditAssessment) -> dict[str, Slider]:
    """Return the sliders by feature name.

    A feature without a stated range has none: the page invents no range. A customer who is not scorable has no sliders,
    because an assessment without a score does not state the known values.
    """
    values = {line.feature: line.value for line in known.explanation.contributions}
    sliders = {}
    for feature in features:
        has_range = (
            feature.HasField("min") and feature.HasField("max") and _WIDTH_MIN < feature.max - feature.min < _WIDTH_MAX
        )
        if feature.kind != model_pb2.FEATURE_KIND_NUMBER or not has_range or feature.name not in values:
            continue
        value = values[feature.name]
        number = value.number if value.HasField("number") else None
        sliders[feature.name] = Slider(
            _number(feature.min),
            _number(feature.max),
            _number(_step(feature.min, feature.max, number)),
            "" if number is None else _number(number),
        )
    return sliders


def _step(low: float, high: float, known: float | None) -> float:
    """Return the distance between two positions: a power of ten, and a whole number if the values look like counts.

    A model does not state whether a feature is a count. It is treated as one if the known value and both ends are whole
    numbers that are more than 1 apart, so shares from 0 to 1 are not.
    """
    whole = high - low > 1 and all(number.is_integer() for number in (low, high, known or 0.0))
    power = math.floor(math.log10((high - low) / (_WHOLE_STEPS if whole else _FRACTION_STEPS)))
    return float(10.0 ** max(power, 0)) if whole else float(10.0**power)


def _number(number: float) -> str:
    """Return a number as an attribute of HTML, without an exponent's plus sign or a trailing ".0"."""
    return repr(number).removesuffix(".0").replace("e+", "e")
