"""Compares the data of a cycle with the data on which the serving bundle was fitted, before anything is fitted."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from models.bundle import Bundle
from models.bundle_documents import FeaturePopulation
from models.stability_index import critical_psi, merge_rare_bins, psi_of_counts
from training.cycle.flow import DataChecks
from training.sources.samples import Samples

_FALSE_ALARM_RATE = 0.001


@dataclass(frozen=True, slots=True)
class DataCheck:
    """One comparison of the data with the earlier data.

    Attributes:
        subject: The name of a feature, or "rows".
        figure: What was compared.
        value: The figure.
        limit: The largest value with which the cycle continues.
    """

    subject: str
    figure: str
    value: float
    limit: float

    @property
    def is_passed(self) -> bool:
        """Return whether the value is within the limit."""
        return self.value <= self.limit

    def facts(self) -> dict[str, Any]:
        """Return the comparison for the journal and the page."""
        return {
            "subject": self.subject,
            "figure": self.figure,
            "value": self.value,
            "limit": self.limit,
            "is_passed": self.is_passed,
        }

    def sentence(self) -> str:
        """Return the comparison as a sentence."""
        return f"{self.subject}: {self.figure} is {self.value:.4g}, and may be at most {self.limit:g}"


def check_data(samples: Samples, earlier: Bundle, limits: DataChecks) -> list[DataCheck]:
    """Return every comparison of the fit part with the population of an earlier bundle, in the markets of that bundle.

    A feature that only one of the two has is not compared; the comparison of the models names it.

    Args:
        samples: The samples of the cycle.
        earlier: The earlier bundle; it must have a population.
        limits: The largest changes with which the cycle continues.
    """
    population = earlier.population
    assert population is not None, "the caller leaves out bundles without a population"
    rows = samples.part("FIT")
    rows = rows[rows["market"].isin(earlier.manifest.markets)]
    fall = 1 - len(rows) / population.rows
    found = [DataCheck("rows", "the share by which the fit rows fell", fall, limits.rows_fall_max)]
    for name in samples.names if len(rows) else ():
        if (then := population.features.get(name)) is not None:
            found += _feature_checks(name, rows[name], samples.levels.get(name), then, population.rows, limits)
    return found


def _feature_checks(
    name: str,
    column: pd.Series,
    levels: tuple[str, ...] | None,
    then: FeaturePopulation,
    rows_then: int,
    limits: DataChecks,
) -> Iterator[DataCheck]:
    """Yield the comparisons of one feature."""
    missing, missing_then = float(column.isna().mean()), then.missing / rows_then
    change = abs(missing - missing_then)
    yield DataCheck(name, "the change of the share of missing values", change, limits.missing_change_max)
    present = column.dropna().to_numpy(dtype=np.float64)
    if not len(present):
        yield DataCheck(name, "the share of missing values", missing, missing_then)
    elif levels is not None:
        yield from _psi_check(name, *_level_counts(present, levels, then.levels), limits)
    elif then.bins is not None and then.min is not None and then.max is not None:
        places = np.searchsorted(np.array(then.bins.edges), present, side="left")
        counts_now = np.bincount(places, minlength=len(then.bins.counts))
        yield from _psi_check(name, np.array(then.bins.counts), counts_now, limits)
        outside = float(np.mean((present < then.min) | (present > then.max)))
        yield DataCheck(name, "the share of values outside the earlier range", outside, limits.outside_share_max)


def _level_counts(
    codes: NDArray[np.float64], levels: tuple[str, ...], then: Mapping[str, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the rows of each earlier level then and now; all other levels, known or not, are the last count."""
    now = dict.fromkeys(then, 0)
    others = int(np.sum(codes < 0))
    for level, count in zip(
        levels, np.bincount(codes[codes >= 0].astype(np.int64), minlength=len(levels)), strict=True
    ):
        if level in now:
            now[level] = int(count)
        else:
            others += int(count)
    return np.array([*then.values(), 0]), np.array([*now.values(), others])


def _psi_check(name: str, then: NDArray[np.int64], now: NDArray[np.int64], limits: DataChecks) -> Iterator[DataCheck]:
    """Yield the population stability index (PSI) of a feature, unless fewer than two bins have rows.

    The limit is never below the PSI that chance alone exceeds in 1 of 1,000 cases, so that few rows raise no alarm.
    """
    used = (then > 0) | (now > 0)
    if not np.sum(then) or not np.sum(now):
        return
    then, now = merge_rare_bins(then[used], now[used])
    if len(then) > 1:
        chance = critical_psi(then, now, _FALSE_ALARM_RATE)
        yield DataCheck(name, "the population stability index", psi_of_counts(then, now), max(limits.psi_max, chance))
