"""Candidate values: the values that recourse may propose for a feature. They are round and within the baseline's range.

The bundle stores the upper end of the threshold interval of each baseline value (training/export/representatives.py), such as
1658.5000000000002, which nobody should be advised to pay. All values of an interval lead to the same leaves, so each interval
between neighbouring baseline values is represented by its roundest numbers: the multiples of the largest power of ten that
has a multiple in the interval. If all values of the feature are whole numbers, so are its candidates.
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

STEPS_MAX = 16  # the largest number of candidates that the search tries for each feature
_FINEST_POWER = -6  # power of ten: no candidate is finer than a millionth
_HALF_TOLERANCE = 1e-6  # thresholds between whole numbers are halves, plus the epsilon that LightGBM adds


@dataclass(frozen=True, slots=True)
class CandidateList:
    """The candidate values of one feature for one customer, nearest first.

    Attributes:
        name: Name of the feature.
        position: Index of the feature in the schema.
        values: The candidates by ascending cost; empty if the customer's value is missing.
        costs: The cost of each candidate: the share of the baseline between it and the customer's value, from 0 to 1.
        ordered: True if a farther candidate is never riskier, because the feature has a sign (a monotone constraint) or
            no candidates.
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
        feature: The feature, with its bounds and sign.
        position: Index of the feature in the schema.
        steps: Candidates that the search tries: the largest roundest number of each interval of the baseline. If there
            are more than STEPS_MAX intervals, STEPS_MAX of them are used, spread evenly from the first to the last.
        fine_steps: Candidates to which a change may shrink after the search: the smallest and the largest roundest number
            of every interval.
        population: The baseline's values of the feature, ascending, without missing values.
    """

    feature: FeatureSpec
    position: int
    steps: tuple[float, ...]
    fine_steps: tuple[float, ...]
    population: NDArray[np.float64]

    def candidates(self, value: float) -> CandidateList:
        """Return the candidates for a customer's value.

        If the feature has a sign, all candidates lie on the side on which the risk falls.
        """
        if np.isnan(value):
            return CandidateList(self.feature.name, self.position, (), (), ordered=True)
        # A step may be at distance 0, because no baseline value lies between the step and the customer's value. Such a step
        # stays in the list: a threshold of the model may still lie between the two, so the step may lower the risk.
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
        """Return fine steps between the proposed value and the next step toward the customer's value.

        At most STEPS_MAX are returned, nearest to the customer's value first.
        """
        low, high = min(value, proposed), max(value, proposed)
        # Unless the search stopped early, it has shown that no step nearer to the customer's value suffices. So only
        # the gap between the proposed value and the step next to it is left.
        passed = [step for step in self.steps if low < step < high]
        last = value if not passed else (passed[-1] if proposed > value else passed[0])
        low, high = min(last, proposed), max(last, proposed)
        between = [step for step in self.fine_steps if low < step < high]
        return tuple(_thin_out(between if proposed > value else between[::-1]))

    def distance(self, first: float, second: float) -> float:
        """Return the share of the baseline that lies between two values, from 0 to 1."""
        return abs(self._rank(first) - self._rank(second)) / len(self.population)

    def _rank(self, value: float) -> int:
        """Return how many baseline values are in intervals below the interval of the value."""
        return int(np.searchsorted(self.population, value, side="left"))


def candidate_grids(bundle: Bundle) -> tuple[CandidateGrid, ...]:
    """Return the grids of all numeric features of actionable groups; empty if the baseline has no rows."""
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
    # If all ends are whole numbers or halves, the thresholds lie between whole numbers, so the feature's values are
    # whole.
    finest = 0 if np.all(np.abs(population * 2 - np.round(population * 2)) <= _HALF_TOLERANCE) else _FINEST_POWER
    intervals: list[tuple[float, float] | None]
    if len(ends) == 1:
        # All baseline values are in one interval, of which only one end is known. Their median is inside this interval.
        intervals = [(typical, typical) if isinstance(typical, float) else None]
    else:
        # The first interval has no lower end.
        intervals = [_open_interval_number(ends[0], finest, above=False)]
        intervals += [_roundest_numbers(low, high, finest) for low, high in pairwise(ends)]
        # Values above the last threshold are stored as the next double above the threshold. In this case no round number
        # lies between the last two ends, and the last interval has no upper end.
        intervals[-1] = intervals[-1] or _open_interval_number(ends[-1], finest, above=True)
    return [pair for pair in intervals if pair is not None and all(is_in_range(feature, end) for end in pair)]


def _roundest_numbers(low: float, high: float, finest: int) -> tuple[float, float] | None:
    """Return the lowest and the highest roundest number in an interval; None if it has no round number.

    The roundest numbers are the multiples of the largest power of ten that has a multiple in the interval.

    Args:
        low: Lower end of the interval, exclusive.
        high: Upper end of the interval, inclusive.
        finest: Exponent of the smallest power of ten to try.
    """
    if low < 0.0 <= high:
        return 0.0, 0.0  # zero is a multiple of every power of ten
    for power in range(_magnitude(max(abs(low), abs(high))) + 1, finest - 1, -1):
        first, last = _floor_count(low, power) + 1, _floor_count(high, power)
        if first <= last:
            pair = _decimal_number(first, power), _decimal_number(last, power)
            # The double nearest to a decimal can be on the other side of an end, so the pair is checked as doubles.
            if low < pair[0] and pair[1] <= high:
                return pair
    return None


def _open_interval_number(end: float, finest: int, *, above: bool) -> tuple[float, float] | None:
    """Return the nearest number with two significant digits on the open side of an end of the baseline.

    An open interval has no second end, so the candidate stays close to the values that occur in the baseline.

    Args:
        end: The upper end of the lowest interval, or the double just above the lower end of the highest interval.
        finest: Exponent of the smallest power of ten to use.
        above: True if the open interval is the highest interval, False if it is the lowest interval.
    """
    power = max(_magnitude(end) - 1, finest)
    number = _decimal_number(_floor_count(end, power) + above, power)
    # An end closer to zero than the finest power of ten is rounding noise, so only zero may represent it.
    is_noise = finest < 0 and number != 0.0 and abs(end) < _decimal_number(1, finest)
    is_outside = number <= end if above else number > end
    return None if is_noise or is_outside else (number, number)


def _magnitude(value: float) -> int:
    """Return the exponent of the power of ten of the first significant digit."""
    return Decimal(value).adjusted()


def _floor_count(value: float, power: int) -> int:
    """Return floor(value / 10**power).

    The decimal text of the value is divided, because dividing doubles would round.
    """
    return int((Decimal(repr(value)) / Decimal(10) ** power).to_integral_value(ROUND_FLOOR))


def _decimal_number(count: int, power: int) -> float:
    """Return the double nearest to count * 10**power, which a multiplication of doubles may miss."""
    return float(f"{count}e{power}")


def _thin_out(values: Iterable[float]) -> list[float]:
    """Return at most STEPS_MAX of the values, evenly spread from the first to the last."""
    all_values = list(values)
    if len(all_values) <= STEPS_MAX:
        return all_values
    return [all_values[round(index * (len(all_values) - 1) / (STEPS_MAX - 1))] for index in range(STEPS_MAX)]
