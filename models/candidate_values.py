"""The values that may be proposed for a feature: round ones, and only where the baseline population is.

The bundle holds of each value of the baseline the upper end of its threshold interval (training/frozen.py), and nobody
wants to be told to pay 1658.5000000000002. So each interval between neighbouring values of the baseline stands for
itself with the roundest numbers in it: those on the coarsest grid of a power of ten, whole ones where the feature is.
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

STEPS_MAX = 16
FINEST_POWER = -6  # power of ten: finer than a millionth is no number that a person is told
_HALF_TOLERANCE = 1e-6  # a threshold between whole numbers is a half, give or take what LightGBM adds


@dataclass(frozen=True, slots=True)
class CandidateList:
    """What may be proposed to one customer for one feature, nearest first.

    Attributes:
        costs: Share of the baseline between the customer's value and each proposed one; never falls.
        ordered: A farther value is never riskier, because the feature has a sign.
    """

    name: str
    position: int
    values: tuple[float, ...]
    costs: tuple[float, ...]
    ordered: bool


@dataclass(frozen=True, slots=True)
class CandidateGrid:
    """The values that may be proposed for one feature, ascending.

    Attributes:
        steps: What the search tries: at most STEPS_MAX, evenly over the intervals that the baseline is in, both ends
            among them; of each interval the roundest number nearest to its upper end.
        rungs: All of them, and of each interval also the roundest number nearest to its lower end.
        population: The baseline's values, ascending.
    """

    feature: FeatureSpec
    position: int
    steps: tuple[float, ...]
    fine_steps: tuple[float, ...]
    population: NDArray[np.float64]

    def candidates(self, value: float) -> CandidateList:
        """Give what may be proposed to a customer with this value: only toward less risk where there is a sign."""
        if np.isnan(value):
            return CandidateList(self.feature.name, self.position, (), (), ordered=True)
        # A step within the customer's own interval counts too: the model may ask where the baseline has nobody.
        wanted = [step for step in self.steps if step != value and (step - value) * self.feature.sign <= 0]
        costs = {step: self.distance(value, step) for step in wanted}
        nearest = tuple(sorted(wanted, key=lambda step: (costs[step], abs(step - value), step)))
        ordered = self.feature.sign != 0
        return CandidateList(
            self.feature.name, self.position, nearest, tuple(costs[step] for step in nearest), ordered=ordered
        )

    def finer_steps(self, value: float, proposed: float) -> tuple[float, ...]:
        """Give the rungs that are nearer to the customer's value than the proposed one, but no nearer than a step is.

        At most STEPS_MAX, nearest first.
        """
        low, high = min(value, proposed), max(value, proposed)
        passed = [step for step in self.steps if low < step < high]
        last = value if not passed else (passed[-1] if proposed > value else passed[0])
        low, high = min(last, proposed), max(last, proposed)
        between = [rung for rung in self.fine_steps if low < rung < high]
        return tuple(thin_out(between if proposed > value else between[::-1]))

    def distance(self, one: float, other: float) -> float:
        """Give the share of the baseline that is between two values."""
        return abs(self._rank(one) - self._rank(other)) / len(self.population)

    def _rank(self, value: float) -> int:
        """Count the customers of the baseline whose interval is below the value's."""
        return int(np.searchsorted(self.population, value, side="left"))


def candidate_grids(bundle: Bundle) -> tuple[CandidateGrid, ...]:
    """Give the ladders of all features that a customer can act on; none where the baseline has no rows."""
    schema = bundle.schema
    columns = np.array(bundle.baseline.rows, dtype=np.float64).reshape(-1, len(schema.features)).T
    ladders = []
    for position, feature in enumerate(schema.features):
        population = np.sort(columns[position][~np.isnan(columns[position])])
        if not schema.group[feature.group].actionable or feature.kind != "number" or not len(population):
            continue
        intervals = rounded_intervals(feature, population, bundle.baseline.typical[feature.name])
        steps = thin_out([high for _, high in intervals])
        rungs = sorted({end for interval in intervals for end in interval})
        ladders.append(CandidateGrid(feature, position, tuple(steps), tuple(rungs), population))
    return tuple(ladders)


def rounded_intervals(
    feature: FeatureSpec, population: NDArray[np.float64], typical: float | str | None
) -> list[tuple[float, float]]:
    """Give the lowest and the highest of the roundest numbers of each interval that the baseline is in, ascending."""
    ends = np.unique(population).tolist()
    finest = 0 if np.all(np.abs(population * 2 - np.round(population * 2)) <= _HALF_TOLERANCE) else FINEST_POWER
    found: list[tuple[float, float] | None]
    if len(ends) == 1:  # all are in one interval, so their median is, and it is a person's value
        found = [(typical, typical) if isinstance(typical, float) else None]
    else:
        found = [_open_interval_number(ends[0], finest, up=False)]
        found += [roundest_numbers(low, high, finest) for low, high in pairwise(ends)]
        # Beyond the last threshold the bundle holds the next double: no number is between the two.
        found[-1] = found[-1] or _open_interval_number(ends[-1], finest, up=True)
    return [pair for pair in found if pair is not None and all(is_in_range(feature, end) for end in pair)]


def roundest_numbers(low: float, high: float, finest: int) -> tuple[float, float] | None:
    """Give the lowest and the highest number of low < number <= high on the coarsest grid that has any."""
    if low < 0.0 <= high:
        return 0.0, 0.0
    for power in range(_magnitude(max(abs(low), abs(high))) + 1, finest - 1, -1):
        first, last = _floor_count(low, power) + 1, _floor_count(high, power)
        if first <= last:
            pair = _decimal_number(first, power), _decimal_number(last, power)
            # The nearest double of a decimal may be on the interval's other side.
            if low < pair[0] and pair[1] <= high:
                return pair
    return None


def _open_interval_number(end: float, finest: int, *, up: bool) -> tuple[float, float] | None:
    """Give the number of two digits nearest to an end of the baseline, on its open side: how far it goes nobody knows.

    Args:
        end: Upper end of the lowest interval, inclusive; or the highest interval's, which is just above its lower end.
        finest: Smallest power of ten.
        up: Of the highest interval.
    """
    power = max(_magnitude(end) - 1, finest)
    found = _decimal_number(_floor_count(end, power) + up, power)
    crumb = finest < 0 and found != 0.0 and abs(end) < _decimal_number(1, finest)
    return None if crumb or (found <= end if up else found > end) else (found, found)


def _magnitude(value: float) -> int:
    """Give the power of ten of the first digit."""
    return Decimal(value).adjusted()


def _floor_count(value: float, power: int) -> int:
    """Count how many times 10 to the power goes into the value as it is written, downwards."""
    return int((Decimal(repr(value)) / Decimal(10) ** power).to_integral_value(ROUND_FLOOR))


def _decimal_number(count: int, power: int) -> float:
    """Give the double nearest to count times 10 to the power, as it is written."""
    return float(f"{count}e{power}")


def thin_out(values: Iterable[float]) -> list[float]:
    """Keep at most STEPS_MAX, evenly, the first and the last among them."""
    listed = list(values)
    if len(listed) <= STEPS_MAX:
        return listed
    return [listed[round(index * (len(listed) - 1) / (STEPS_MAX - 1))] for index in range(STEPS_MAX)]
