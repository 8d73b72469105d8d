"""What each feature knows of the outcome, and how far it and the score have moved between samples."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.measures.bins import Bins, CategoryBins, NumberBins, quantile_bins
from training.measures.information import InformationValue, information_value
from training.measures.stability import StabilityIndex, reference_distribution, stability_index
from training.sources.samples import Samples
from training.validation.scored_sample import ScoredSample, measure_or_remark

BINS = 10  # of equal mass on development rows, and one for missing values


@dataclass(frozen=True, slots=True)
class FeatureStatistics:
    """One feature.

    Attributes:
        information: On development rows.
        acknowledged: Why an information value above 0.5 is no leak, in the words of the spec; None where it says
            nothing.
        shift: Hold-out against development, one row a customer; None where nothing can shift.
        missing: Share of the development rows without a value.
    """

    information: InformationValue
    acknowledged: str | None
    shift: StabilityIndex | None
    missing_share: float

    @property
    def leak_alarm(self) -> bool:
        """Say whether a leak is suspected that the spec does not explain."""
        return self.information.leak_suspected and self.acknowledged is None


def measure_features(
    samples: Samples,
    development: ScoredSample,
    hold_out: ScoredSample,
    acknowledged: Mapping[str, str],
    remarks: list[str],
) -> dict[str, FeatureStatistics]:
    """Measure every feature; bins are cut on development rows."""
    found = {}
    then, now = development.latest_per_customer(), hold_out.latest_per_customer()
    for name in samples.names:
        values = development.rows[name].to_numpy(dtype=np.float64)
        bins = bins_of(values, samples.levels.get(name))
        found[name] = FeatureStatistics(
            information=information_value(codes_of(bins, values), development.labels, bins),
            acknowledged=acknowledged.get(name),
            shift=shift_of(bins, (column(then, name), column(now, name)), f"CSI of {name}", remarks),
            missing_share=float(np.isnan(values).mean()),
        )
    return found


def measure_score_shift(development: ScoredSample, later: ScoredSample, remarks: list[str]) -> StabilityIndex | None:
    """Compare the distribution of the score with that of development, one row a customer."""
    then, now = development.latest_per_customer(), later.latest_per_customer()
    return shift_of(quantile_bins(then.scores, BINS), (then.scores, now.scores), "PSI of the score", remarks)


def shift_of(
    bins: Bins, values: tuple[NDArray[np.float64], NDArray[np.float64]], what: str, remarks: list[str]
) -> StabilityIndex | None:
    """Compare the values now with those then."""
    then, now = (codes_of(bins, one) for one in values)
    return measure_or_remark(remarks, what, lambda: stability_index(reference_distribution(then, bins), now))


def bins_of(values: NDArray[np.float64], levels: tuple[str, ...] | None) -> Bins:
    """Cut a feature into bins: ten of equal mass, or one for each level."""
    if levels is not None:
        return CategoryBins(tuple(float(code) for code in range(len(levels))))
    return quantile_bins(values, BINS) if np.isfinite(values).any() else NumberBins(())


def codes_of(bins: Bins, values: NDArray[np.float64]) -> NDArray[np.int64]:
    """Give the bin of every value."""
    return bins.codes(values)


def column(judged: ScoredSample, name: str) -> NDArray[np.float64]:
    """Give a feature's values."""
    return judged.rows[name].to_numpy(dtype=np.float64)
