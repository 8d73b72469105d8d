"""Compares the data of a cycle with the data on which the serving bundle was fitted, before anything is fitted."""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.stats import chi2

from models.bundle_documents import FeaturePopulation, PopulationDocument
from training.cycle.flow import DataChecks
from training.sources.samples import Samples

_SHARE_MIN = 1e-4  # replaces the share of an empty interval in the PSI, whose logarithm would be infinite
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


def check_data(samples: Samples, earlier: PopulationDocument, limits: DataChecks) -> list[DataCheck]:
    """Return every comparison of the fit part with the population of an earlier bundle.

    A feature that only one of the two has is not compared; the comparison of the models names it.
    """
    rows = samples.part("FIT")
    found = [
        DataCheck("rows", "the share by which the fit rows fell", 1 - len(rows) / earlier.rows, limits.rows_fall_max)
    ]
    for name in samples.names:
        if (then := earlier.features.get(name)) is not None:
            found += _feature_checks(name, rows[name], samples.levels.get(name), then, earlier.rows, limits)
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
    rise = float(column.isna().mean()) - then.missing / rows_then
    yield DataCheck(name, "the rise of the share of missing values", rise, limits.missing_rise_max)
    present = column.dropna().to_numpy(dtype=np.float64)
    if not len(present):
        return
    if levels is not None:
        names = list(then.levels)
        now = pd.Series([levels[int(code)] for code in present if code >= 0]).value_counts()
        new = [level for level in levels if level not in then.levels]
        counts_now = np.array([*(now.get(each, 0) for each in names), sum(now.get(each, 0) for each in new)])
        yield from _psi_check(name, np.array([*then.levels.values(), 0]), counts_now, limits)
    elif then.bins is not None and then.min is not None and then.max is not None:
        places = np.searchsorted(np.array(then.bins.edges), present, side="left")
        counts_now = np.bincount(places, minlength=len(then.bins.counts))
        yield from _psi_check(name, np.array(then.bins.counts), counts_now, limits)
        outside = float(np.mean((present < then.min) | (present > then.max)))
        yield DataCheck(name, "the share of values outside the earlier range", outside, limits.outside_share_max)


def _psi_check(name: str, then: NDArray[np.int64], now: NDArray[np.int64], limits: DataChecks) -> Iterator[DataCheck]:
    """Yield the population stability index (PSI) of a feature, unless one of the samples has no values.

    The index is the sum of (q - p) ln(q / p) over the intervals, with the shares p then and q now (Siddiqi 2017,
    chapter 15). Without any change, it is approximately (1/M + 1/N) times a chi-square variable with one degree of
    freedom less than there are intervals (Yurdakul 2018). The limit is never below the 99.9 % quantile of that, so that few
    rows raise no alarm.
    """
    used = (then > 0) | (now > 0)
    then, now = then[used], now[used]
    if not then.sum() or not now.sum() or len(then) == 1:
        return
    p, q = np.maximum(then / then.sum(), _SHARE_MIN), np.maximum(now / now.sum(), _SHARE_MIN)
    psi = math.fsum(((q - p) * np.log(q / p)).tolist())
    chance = float(chi2.ppf(1 - _FALSE_ALARM_RATE, len(then) - 1)) * (1 / then.sum() + 1 / now.sum())
    yield DataCheck(name, "the population stability index", psi, max(limits.psi_max, chance))
