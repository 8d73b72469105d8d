"""The sliders of the What-if page: from one end of a feature's range to the other, as the model states it."""

import math
from collections.abc import Iterable
from dataclasses import dataclass
from fractions import Fraction

from grounds.credit.v1 import credit_pb2
from grounds.model.v1 import model_pb2

_FRACTION_STEPS = 100  # about as many steps as a keyboard user can count
_WHOLE_STEPS = 1000  # a slider is less wide than this many pixels
_WHOLE_STEPS_MAX = 10_000
_COUNT_MAX = 2**53  # beyond, every floating-point number is whole
_WIDTH_MIN, _WIDTH_MAX = 1e-300, 1e300  # a range whose steps are floating-point numbers too


@dataclass(frozen=True, slots=True)
class Slider:
    """The slider of one feature. Its numbers are attributes of HTML.

    Attributes:
        low: The smallest valid value.
        high: The largest valid value.
        step: The distance between two positions, of which a whole number leads from `low` to `high`; "any" for a slider
            without fixed positions.
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
            _step(feature.min, feature.max, number),
            "" if number is None else _number(number),
        )
    return sliders


def _step(low: float, high: float, known: float | None) -> str:
    """Return the distance between two positions: a power of ten if that reaches both ends of the range.

    A model does not state whether a feature is a count. It is treated as one if the known value and both ends are whole
    numbers that are more than 1 apart, so shares from 0 to 1 are not. A slider of counts has whole positions only.
    """
    is_count = high - low > 1 and all(
        number.is_integer() and abs(number) <= _COUNT_MAX for number in (low, high, known or 0.0)
    )
    power = math.floor(math.log10((high - low) / (_WHOLE_STEPS if is_count else _FRACTION_STEPS)))
    step = _number(10.0 ** max(power, 0) if is_count else 10.0**power)
    # The decimal numbers of the page, because a browser computes the positions from them.
    width = Fraction(_number(high)) - Fraction(_number(low))
    if width % Fraction(step) == 0:
        return step
    if not is_count:
        return "any"
    counts = (count for count in range(_WHOLE_STEPS, _WHOLE_STEPS_MAX) if width % count == 0)
    return str(width / next(counts, width))


def _number(number: float) -> str:
    """Return a number as an attribute of HTML, without an exponent's plus sign or a trailing ".0"."""
    return repr(number).removesuffix(".0").replace("e+", "e")
