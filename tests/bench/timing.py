"""Times several ways of doing one thing in turn, so that a machine whose speed drifts drifts for all of them."""

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from tests.oracles import FloatArray

Way = Callable[[FloatArray], object]


@dataclass(frozen=True, slots=True)
class Timed:
    """One way's times in microseconds a row.

    Attributes:
        median: Over the rounds.
        low: The tenth part of the rounds was faster.
        ratio: Median over the rounds of yardstick / this way, each taken within one round: how many times
            cheaper than the yardstick.
    """

    median: float
    low: float
    ratio: float


def in_turn(
    ways: Mapping[str, Way], yardstick: str, batches: list[FloatArray], rounds: int, untimed: int = 0
) -> dict[str, Timed]:
    """Time every way on the same batches, round by round; one round before them warms up.

    Args:
        ways: By name.
        yardstick: The way that ratios are taken to.
        batches: What each way is called with, one after the other.
        rounds: How often.
        untimed: So many of the batches go before each turn, so that a way finds the processor's caches as it leaves them.
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
    return {name: timed(times, found[yardstick]) for name, times in found.items()}


def timed(times: list[float], yardstick: list[float]) -> Timed:
    """Sum up one way's rounds."""
    ratio = statistics.median(other / own for own, other in zip(times, yardstick, strict=True))
    return Timed(statistics.median(times), sorted(times)[len(times) // 10], ratio)
