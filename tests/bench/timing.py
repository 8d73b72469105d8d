"""Interleaved timing: several ways of doing one thing, round by round, so that a drifting machine drifts for all."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.oracles import FloatArray

Way = Callable[[FloatArray], object]


@dataclass(frozen=True, slots=True)
class Timing:
    """One way's times in microseconds a row.

    Attributes:
        median: Over the rounds.
        low: A tenth of the rounds was faster.
        ratio: Median over the rounds of yardstick / this way, each taken within one round: how many times
            cheaper than the yardstick.
    """

    median: float
    low: float
    ratio: float


def time_interleaved(
    ways: Mapping[str, Way], yardstick: str, batches: list[FloatArray], rounds: int, untimed: int = 0
) -> dict[str, Timing]:
    """Time every way on the same batches, round by round; one round before them warms up.

    Args:
        ways: By name.
        yardstick: The way that ratios are taken to.
        batches: What each way is called with, one after the other.
        rounds: How often.
        untimed: Number of batches run untimed before each turn, so that a way finds the caches as it leaves them itself.
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
    """Summarize one way's rounds."""
    ratio = statistics.median(other / own for own, other in zip(times, yardstick, strict=True))
    return Timing(statistics.median(times), sorted(times)[len(times) // 10], ratio)
