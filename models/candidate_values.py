"""Candidate values: what recourse may propose for a feature. Round numbers, within the range of the baseline.

The bundle stores the upper end of the threshold interval of each baseline value (training/export/representatives.py), such as
1658.5000000000002, which nobody should be advised to pay. All values of an interval lead to the same leaves, so each interval
between neighbouring baseline values is represented by its roundest numbers: those on the coarsest grid of a power of ten
that has a point in it, whole numbers if the feature is whole.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import ROUND_FLOOR, Decimal
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from models.bundle import Bundle
from models.bundle_documents import FeatureSpec
from models.schema import is_in_range

STEPS_MAX = 16  # candidates a feature that the search tries
_FINEST_POWER = -6  # of ten: nobody is advised a change finer than a millionth
_HALF_TOLERANCE = 1e-6  # thresholds between whole numbers are halves, plus the epsilon that LightGBM adds


@dataclass(frozen=True, slots=True)
class CandidateList:
    """The candidate values of one feature for one customer, nearest first.

    Attributes:
        name: Of the feature.
        position: Of the feature, in the order of the schema.
        values: By cost, ascending; empty if the customer's value is missing.
        costs: Share of the baseline between the customer's value and each candidate, from 0 to 1; ascending.
        ordered: The feature has a sign, so a farther candidate is never riskier.
    """

    name: str
    position: int
    values: tuple[float, ...]
    costs: tuple[float, ...]
    ordered: bool


@dataclass(frozen=True, slots=True)
class CandidateGrid:
    """The candidate values of one feature for every customer, ascending.

    Attributes:
        feature: Its bounds and sign.
        position: Of the feature, in the order of the schema.
        steps: Candidates that the search tries: at most STEPS_MAX, spread evenly over the intervals of the baseline, the
            first and the last included; of each interval the roundest number nearest to its upper end.
        fine_steps: Candidates that a found change may shrink to: the roundest numbers nearest to both ends of every
            interval.
        population: The baseline's values, ascending, without missing ones.
    """

    feature: FeatureSpec
    position: int
    steps: tuple[float, ...]
    fine_steps: tuple[float, ...]
    population: NDArray[np.float64]

    def candidates(self, value: float) -> CandidateList:
        """Return the candidates for a customer's value; only toward less risk if the feature has a sign."""
        if np.isnan(value):
            return CandidateList(self.feature.name, self.position, (), (), ordered=True)
        # Steps at no distance stay: within the customer's own interval the model may still split where the baseline
        # has nobody.
        steps = [step for step in self.steps if step != value and (step - value) * self.feature.sign <= 0]
        costs = {step: self.distance(value, step) for step in steps}
        nearest = tuple(sorted(steps, key=lambda step: (costs[step], abs(step - value), step)))
        return CandidateList(
            self.feature.name,
            self.position,
            nearest,
            tuple(costs[step] for step in nearest),
            ordered=self.feature.sign != 0,
        )

    def finer_steps(self, value: float, proposed: float) -> tuple[float, ...]:
        """Return candidates between the proposed value and the step before it, seen from the customer's value.

        At most STEPS_MAX, nearest to the customer's value first.
        """
        low, high = min(value, proposed), max(value, proposed)
        # The search has shown that the steps nearer than the proposed one do not suffice, so only the last gap is open.
        passed = [step for step in self.steps if low < step < high]
        last = value if not passed else (passed[-1] if proposed > value else passed[0])
        low, high = min(last, proposed), max(last, proposed)
        between = [step for step in self.fine_steps if low < step < high]
        return tuple(_thin_out(between if proposed > value else between[::-1]))

    def distance(self, one: float, other: float) -> float:
        """Return the share of the baseline that lies between two values, from 0 to 1."""
        return abs(self._rank(one) - self._rank(other)) / len(self.population)

    def _rank(self, value: float) -> int:
        """Return how many baseline values are in intervals below the value's."""
        return int(np.searchsorted(self.population, value, side="left"))


def candidate_grids(bundle: Bundle) -> tuple[CandidateGrid, ...]:
    """Return the grids of all numeric features of actionable groups; none if the baseline has no rows."""
    schema = bundle.schema
    columns = np.array(bundle.baseline.rows, dtype=np.float64).reshape(-1, len(schema.features)).T
    grids = []
    for position, feature in enumerate(schema.features):
        population = np.sort(columns[position][~np.isnan(columns[position])])
        if not schema.group[feature.group].actionable or feature.kind != "number" or not len(population):
            continue
        intervals = _rounded_intervals(feature, population, bundle.baseline.typical[feature.name])
        steps = _thin_out([high for _, high in intervals])
        fine_steps = sorted({end for interval in intervals for end in interval})
        grids.append(CandidateGrid(feature, position, tuple(steps), tuple(fine_steps), population))
    return tuple(grids)


def _rounded_intervals(
    feature: FeatureSpec, population: NDArray[np.float64], typical: float | str | None
) -> list[tuple[float, float]]:
    """Return the lowest and the highest of the roundest numbers of each interval of the baseline, ascending.

    Intervals without a round number, or whose round numbers the feature does not accept, are left out.
    """
    ends = np.unique(population).tolist()
    # All ends are halves or whole: the thresholds lie between whole numbers, so the feature is whole.
    finest = 0 if np.all(np.abs(population * 2 - np.round(population * 2)) <= _HALF_TOLERANCE) else _FINEST_POWER
    intervals: list[tuple[float, float] | None]
    if len(ends) == 1:
        # The interval has no second end. Its median is a real customer's value, so it is in the interval.
        intervals = [(typical, typical) if isinstance(typical, float) else None]
    else:
        # Below the first end the interval is open.
        intervals = [_open_interval_number(ends[0], finest, above=False)]
        intervals += [_roundest_numbers(low, high, finest) for low, high in pairwise(ends)]
        # Values above the last threshold are stored as the double next to it. If that is so, no number lies between
        # the last two ends, and the last interval is open above.
        intervals[-1] = intervals[-1] or _open_interval_number(ends[-1], finest, above=True)
    return [pair for pair in intervals if pair is not None and all(is_in_range(feature, end) for end in pair)]


def _roundest_numbers(low: float, high: float, finest: int) -> tuple[float, float] | None:
    """Return the lowest and the highest number of low < number <= high on the coarsest grid that has any.

    Args:
        low: Exclusive.
        high: Inclusive.
        finest: Smallest power of ten of a grid.
    """
    if low < 0.0 <= high:
        return 0.0, 0.0  # zero is on every grid
    for power in range(_magnitude(max(abs(low), abs(high))) + 1, finest - 1, -1):
        first, last = _floor_count(low, power) + 1, _floor_count(high, power)
        if first <= last:
            pair = _decimal_number(first, power), _decimal_number(last, power)
            # The double nearest to a decimal can be on the other side of an end, so the pair is checked as doubles.
            if low < pair[0] and pair[1] <= high:
                return pair
    return None


def _open_interval_number(end: float, finest: int, *, above: bool) -> tuple[float, float] | None:
    """Return the number of two digits that is nearest to an end of the baseline, on its open side.

    The open interval has no other end, so the candidate stays next to the values that the baseline has.

    Args:
        end: Upper end of the lowest interval, inclusive; or of the highest interval, just above its lower end.
        finest: Smallest power of ten of a grid.
        above: True for the highest interval.
    """
    power = max(_magnitude(end) - 1, finest)
    number = _decimal_number(_floor_count(end, power) + above, power)
    # An end smaller than the finest grid is rounding noise about zero; only zero itself may stand for it.
    is_noise = finest < 0 and number != 0.0 and abs(end) < _decimal_number(1, finest)
    is_outside = number <= end if above else number > end
    return None if is_noise or is_outside else (number, number)


def _magnitude(value: float) -> int:
    """Return the power of ten of the first digit."""
    return Decimal(value).adjusted()


def _floor_count(value: float, power: int) -> int:
    """Return floor(value / 10**power) for the value as it is written: exact, unlike a division of doubles."""
    return int((Decimal(repr(value)) / Decimal(10) ** power).to_integral_value(ROUND_FLOOR))


def _decimal_number(count: int, power: int) -> float:
    """Return the double nearest to count * 10**power: exact, unlike a multiplication of doubles."""
    return float(f"{count}e{power}")


def _thin_out(values: Iterable[float]) -> list[float]:
    """Return at most STEPS_MAX of the values, evenly spread, the first and the last included."""
    every = list(values)
    if len(every) <= STEPS_MAX:
        return every
    return [every[round(index * (len(every) - 1) / (STEPS_MAX - 1))] for index in range(STEPS_MAX)]
