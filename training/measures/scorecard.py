"""The WOE scorecard: the classical credit scorecard, against which a new model is compared.

A WOE scorecard is a logistic regression on binned features. Each value is replaced by the weight of evidence (WOE) of its
bin, and the regression weights each feature with a non-negative weight. If a feature has an expected direction (its sign),
the bad rates of its bins follow this direction. Together with the non-negative weights this ensures that the pd never moves
against the expected direction of a feature.

Source: Siddiqi 2006, Credit risk scorecards.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from training.errors import DataInvalid
from training.measures.bins import Bins, CategoryBins, Values, level_bins
from training.measures.information import weights_of_evidence
from training.measures.inputs import Labels, Pds, check_both_outcomes, check_matching
from training.measures.logistic import fit_logistic
from training.measures.monotone_binning import BIN_SHARE_MIN, monotone_bins

_BINS_MAX = 6


@dataclass(frozen=True, slots=True)
class Characteristic:
    """A feature of the scorecard.

    Attributes:
        bins: The bins of the feature.
        woes: Weight of evidence of every bin, in the order of the codes; 0 for a bin without development rows.
        weight: Decrease of the log-odds of bad per unit of WOE; 0 and up.
    """

    bins: Bins
    woes: tuple[float, ...]
    weight: float

    def woe(self, values: Values) -> Values:
        """Return the WOE of every value: shape (n,)."""
        codes = self.bins.codes(values)
        woes: Values = np.array(self.woes)[codes]
        return woes


@dataclass(frozen=True, slots=True)
class WoeScorecard:
    """A fitted scorecard: log-odds of bad = intercept - sum of weight * WOE.

    Attributes:
        characteristics: One characteristic for each feature, in the order of the columns.
        intercept: Log-odds of bad where every WOE is 0.
    """

    characteristics: tuple[Characteristic, ...]
    intercept: float

    def pds(self, rows: NDArray[np.float64]) -> Pds:
        """Return the probability of the bad outcome.

        Args:
            rows: Shape (n, features), NaN where missing; categories by their code.

        Returns:
            Shape (n,), in (0, 1).

        Raises:
            DataInvalid: The number of columns differs from the number of features.
        """
        if rows.ndim != 2 or rows.shape[1] != len(self.characteristics):  # noqa: PLR2004 - rows and columns
            raise DataInvalid(
                f"rows must have shape (n, {len(self.characteristics)}), got {rows.shape}; provide one column per characteristic"
            )
        log_odds = np.full(len(rows), self.intercept)
        for column, characteristic in zip(rows.T, self.characteristics, strict=True):
            log_odds -= characteristic.weight * characteristic.woe(column)
        pds: Pds = expit(log_odds)
        return pds


def fit_scorecard(
    rows: NDArray[np.float64],
    labels: Labels,
    signs: Sequence[int],
    categories: Collection[int] = (),
    bins_max: int = _BINS_MAX,
) -> WoeScorecard:
    """Fit a scorecard.

    Args:
        rows: Shape (n, features), NaN where missing; categories by their code.
        labels: Shape (n,); both outcomes occur.
        signs: Expected direction of every feature: 1 if a higher value is riskier, -1 if a higher value is safer, 0 if
            there is no expected direction. Category features have 0.
        categories: Column indices of the category features. Levels with less than 5 % of the rows share one bin, which
            also covers levels that do not occur in these rows.
        bins_max: Maximum number of bins of a numeric feature, not counting the bin for missing values; at least 1.

    Raises:
        DataInvalid: Shapes or signs do not match, only one outcome occurs, or the optimisation failed.
    """
    check_matching(labels, np.zeros(len(rows)))
    check_both_outcomes(labels)
    if rows.ndim != 2 or len(signs) != rows.shape[1] or not set(signs) <= {-1, 0, 1} or bins_max < 1:  # noqa: PLR2004
        raise DataInvalid(
            f"rows must have one sign (1, -1 or 0) per column and bins_max at least 1, got shape {rows.shape}, signs "
            f"{tuple(signs)} and bins_max {bins_max}; correct them"
        )
    if np.isinf(rows).any():
        raise DataInvalid("values must be finite; use NaN for missing values")
    if wrong := [column for column in categories if not 0 <= column < len(signs) or signs[column]]:
        raise DataInvalid(f"category features must have a column and sign 0; correct the column indices {wrong}")
    bins: list[Bins] = [
        _category_bins(values) if column in categories else monotone_bins(values, labels, sign, bins_max)
        for column, (sign, values) in enumerate(zip(signs, rows.T, strict=True))
    ]
    unweighted = [_unweighted_characteristic(*pair, labels) for pair in zip(bins, rows.T, strict=True)]
    woes = np.column_stack([feature.woe(values) for feature, values in zip(unweighted, rows.T, strict=True)])
    intercept, weights = fit_logistic(-woes, labels, np.ones(woes.shape[1], dtype=np.bool_))
    weighted = [
        Characteristic(feature.bins, feature.woes, weight)
        for feature, weight in zip(unweighted, weights.tolist(), strict=True)
    ]
    return WoeScorecard(tuple(weighted), intercept)


def _category_bins(codes: Values) -> CategoryBins:
    """Return bins in which each level with enough rows has its own bin."""
    levels, counts = np.unique(codes[~np.isnan(codes)], return_counts=True)
    return level_bins(levels[counts >= BIN_SHARE_MIN * len(codes)].tolist())


def _unweighted_characteristic(bins: Bins, values: Values, labels: Labels) -> Characteristic:
    """Return a feature with the weights of evidence of its bins, and weight 1."""
    codes = bins.codes(values)
    goods = np.bincount(codes[labels == 0], minlength=len(bins.names))
    bads = np.bincount(codes[labels == 1], minlength=len(bins.names))
    return Characteristic(bins, tuple(weights_of_evidence(goods, bads).tolist()), 1.0)
