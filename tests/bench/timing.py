"""Interleaved timing: compares several ways to compute the same thing, round by round.

If the speed of the machine changes over time, the change affects all ways alike.
"""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.oracles import FloatArray

Way = Callable[[FloatArray], object]


@dataclass(frozen=True, slots=True)
class Timing:
    """The times of one way in microseconds per row.

    Attributes:
        median: Median over the rounds.
        low: 10 % quantile over the rounds.
        ratio: How many times cheaper this way is than the yardstick: in each round, the yardstick's time is divided by
            this way's time; `ratio` is the median over the rounds.
    """

    median: float
    low: float
    ratio: float


def time_interleaved(
    ways: Mapping[str, Way], yardstick: str, batches: list[FloatArray], rounds: int, untimed: int = 0
) -> dict[str, Timing]:
    """Time every way on the same batches, round by round, after one untimed round as a warm-up.

    Args:
        ways: The ways by name.
        yardstick: Name of the way that all ways are compared with.
        batches: The batches that each way computes in a round, one after the other.
        rounds: Number of timed rounds.
        untimed: Number of batches that a way computes untimed before its timed batches in each round, so that the CPU caches
            contain the data of this way.
    """
    rows = sum(len(batch) for batch in batches)
    found: dict[str, list[float]] = {name: [] for name in ways}
    for number in range(rounds + 1):
        for name, way in ways.items():
            for batch in batches[:untimed]:
                way(batch)
            begun = time.perf_counter()
            for batch in batches:
                way(batch)
            if number:
                found[name].append((time.perf_counter() - begun) / rows * 1e6)
    return {name: _summary(times, found[yardstick]) for name, times in found.items()}


def _summary(times: list[float], yardstick: list[float]) -> Timing:
    """Return the summary of the rounds of one way."""
    ratio = statistics.median(other / own for own, other in zip(times, yardstick, strict=True))
    return Timing(statistics.median(times), sorted(times)[len(times) // 10], ratio)
