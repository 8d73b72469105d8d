"""The information value of each feature, and the drift of features and score between samples (CSI and PSI)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from training.measures.bins import Bins, CategoryBins, NumberBins, quantile_bins
from training.measures.information import InformationValue, information_value
from training.measures.single_feature import rank_by_single_feature
from training.measures.stability import StabilityIndex, reference_distribution, stability_index
from training.sources.samples import Samples
from training.validation.scored_sample import ScoredSample, measure_or_remark

# An information value of 0.5 corresponds to an AUC of about 0.69 if the values are normally distributed.
_SUSPECTED_AUC_MIN = 0.6
_BIN_COUNT = 10  # bins with equally many development rows; missing values have an additional bin


@dataclass(frozen=True, slots=True)
class FeatureStatistics:
    """The predictive power of one feature, and the drift of its values.

    Attributes:
        information: Information value on development rows.
        acknowledged: The spec's explanation why an information value above 0.5 is not target leakage; None if the spec has
            no explanation.
        shift: Drift from the development rows to the hold-out, on the latest row of each customer; None if the drift
            cannot be measured.
        missing_share: Share of the development rows without a value, from 0 to 1.
        auc: AUC of the feature alone on development rows, out of fold.
    """

    information: InformationValue
    acknowledged: str | None
    shift: StabilityIndex | None
    missing_share: float
    auc: float

    @property
    def leak_suspected(self) -> bool:
        """Return whether the information value suggests target leakage, and the feature also ranks out of fold.

        A category of many levels has a high information value by chance, but such a category does not rank the rows of
        other folds.
        """
        return self.information.leak_suspected and self.auc >= _SUSPECTED_AUC_MIN

    @property
    def leak_alarm(self) -> bool:
        """Return whether target leakage is suspected and the spec does not explain it."""
        return self.leak_suspected and self.acknowledged is None


def measure_features(
    samples: Samples,
    development: ScoredSample,
    hold_out: ScoredSample,
    acknowledged: Mapping[str, str],
    remarks: list[str],
) -> dict[str, FeatureStatistics]:
    """Measure every feature in bins that are fixed on development rows.

    Args:
        samples: Names and category levels of the features.
        development: Rows of the fit and calibration parts.
        hold_out: Rows of the hold-out.
        acknowledged: The spec's explanations of high information values, by feature.
        remarks: List to which a remark is appended for each measure that could not be computed.
    """
    statistics = {}
    before, after = development.latest_per_customer(), hold_out.latest_per_customer()
    for name in samples.names:
        values = _feature_values(development, name)
        bins = _feature_bins(values, samples.levels.get(name))
        statistics[name] = FeatureStatistics(
            information=information_value(bins.codes(values), development.labels, bins),
            acknowledged=acknowledged.get(name),
            shift=_measure_shift(
                bins, _feature_values(before, name), _feature_values(after, name), f"CSI of {name}", remarks
            ),
            missing_share=float(np.isnan(values).mean()),
            auc=rank_by_single_feature(
                values, development.labels, development.customers, category=name in samples.levels
            ).auc,
        )
    return statistics


def measure_score_shift(development: ScoredSample, later: ScoredSample, remarks: list[str]) -> StabilityIndex | None:
    """Return the drift of the score from development to later rows, on the latest row of each customer."""
    before, after = development.latest_per_customer().scores, later.latest_per_customer().scores
    return _measure_shift(quantile_bins(before, _BIN_COUNT), before, after, "PSI of the score", remarks)


def _measure_shift(
    bins: Bins, before: NDArray[np.float64], after: NDArray[np.float64], what: str, remarks: list[str]
) -> StabilityIndex | None:
    """Return the drift from `before` to `after`; if it cannot be measured, append a remark and return None."""
    before_codes, after_codes = bins.codes(before), bins.codes(after)
    return measure_or_remark(
        remarks, what, lambda: stability_index(reference_distribution(before_codes, bins), after_codes)
    )


def _feature_bins(values: NDArray[np.float64], levels: tuple[str, ...] | None) -> Bins:
    """Return bins of equal mass for a numeric feature, or one bin for each level of a category."""
    if levels is not None:
        return CategoryBins(tuple(float(code) for code in range(len(levels))))
    return quantile_bins(values, _BIN_COUNT) if np.isfinite(values).any() else NumberBins(())


def _feature_values(sample: ScoredSample, name: str) -> NDArray[np.float64]:
    """Return the values of a feature, shape (n,), NaN where missing."""
    return sample.rows[name].to_numpy(dtype=np.float64)
